"""The map of what is remembered: items as points, near each other where their texts mean alike.

A plane can't show what some hundred dimensions hold, so neighbours of a query are searched among the vectors and then
shown, never read off the map. Knows no command line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmos.errors import ConfigError
from llmos.memory.items import Filter, Item
from llmos.memory.map_layout import By, Near, Neighbours, Projection, Role, Sheet, project
from llmos.memory.map_page import page
from llmos.memory.map_picture import picture
from llmos.memory.protocols import Embedder

if TYPE_CHECKING:
    from llmos.memory.store import MemoryStore

MOST = 20_000
_BATCH = 4096
_SIGNS = {"+": 1, "-": -1, "\u2212": -1, "\u2013": -1}
# signs stand between blanks or quotes: the hyphen of a compound and the signs of "C++" belong to their words
_TOKEN = re.compile(r"""\s*([+\-\u2212\u2013]|["“”][^"“”]*["“”]|[^\s"“”]\S*)""")


@dataclass(frozen=True, slots=True)
class Asked:
    """A place in the space of meanings.

    Attributes:
        role: `query` for a query, `like` for a sum of words.
        text: As it was asked.
        vector: Shape (d,), float32, of length 1.
        without: Texts, in lower case, that are no answer: the words of the sum itself.
    """

    role: Role
    text: str
    vector: NDArray[np.float32]
    without: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Map:
    """A drawn map.

    Attributes:
        html: A page that needs nothing else.
        png: The same as a picture.
        neighbours: One for each that was asked.
        notes: What the reader should know: how it was projected, and whether only a part is drawn.
    """

    html: str
    png: bytes
    neighbours: tuple[Neighbours, ...]
    notes: tuple[str, ...]


def memory_map(
    store: MemoryStore,
    embedder: Embedder,
    filter: Filter,
    *,
    query: str = "",
    like: str = "",
    by: By = "source",
    near: int = 10,
    most: int = MOST,
) -> Map:
    """Draw what is remembered. Texts without a vector get one, which is kept.

    Args:
        query: A text whose neighbours are shown; empty for none.
        like: A sum of words whose neighbours are shown, such as `king - man + woman`; empty for none.
        by: What colours the points at first.
        near: How many neighbours are shown.
        most: How many points are drawn. Of more, a sample is: the same one each time, with all neighbours.

    Raises:
        ConfigError: `like` is no sum of words.
        ModelNotFound, ModelInvalid: The embedding model can't be used.
        StorageError: The store can't be read.
    """
    asked = [each for each in (asked_by_query(embedder, query), asked_by_sum(embedder, like)) if each]
    ids = store.ids(filter)
    total = len(ids)
    if total > most:
        drawn = np.random.default_rng(0).choice(ids, size=most, replace=False)
        nearest = _nearest_of_all(store, embedder, ids, asked, near)
        ids = np.union1d(drawn, np.array(sorted(nearest), ids.dtype))
    items: list[Item] = []
    vectors = [np.zeros((0, embedder.dimension), np.float32)]
    for some, theirs in _loaded(store, embedder, ids):
        items += some
        vectors.append(theirs)
    return draw(np.vstack(vectors), items, asked=asked, by=by, near=near, total=total)


def draw(
    vectors: NDArray[np.float32],
    items: Sequence[Item],
    *,
    asked: Sequence[Asked] = (),
    by: By = "source",
    near: int = 10,
    total: int | None = None,
) -> Map:
    """Draw items at the places of their vectors.

    Args:
        vectors: Shape (n, d), float32, each of length 1.
        items: As many.
        asked: Places whose neighbours are shown.
        by: What colours the points at first.
        near: How many neighbours are shown.
        total: Of how many items these are a sample; None if they are all.
    """
    neighbours = tuple(
        Neighbours(one.role, one.text, _nearest(_cosines(vectors, items, one), one, near)) for one in asked
    )
    places = np.array([one.vector for one in asked], np.float32).reshape(len(asked), vectors.shape[1])
    projection = project(vectors, places)
    sheet = Sheet(
        title=_title(len(items) if total is None else total),
        items=items,
        projection=projection,
        neighbours=neighbours,
        by=by,
        notes=_notes(projection, len(items), total, vectors.shape[1]),
    )
    png = picture(sheet)
    return Map(page(sheet, png), png, neighbours, sheet.notes)


def asked_by_query(embedder: Embedder, query: str) -> Asked | None:
    """Where a query stands; None for an empty one."""
    if not query.strip():
        return None
    return Asked("query", query.strip(), embedder.embed([query.strip()], role="query")[0])


def asked_by_sum(embedder: Embedder, like: str) -> Asked | None:
    """Where a sum of words stands, such as `king - man + woman`; None for an empty one.

    Source: Mikolov, Yih and Zweig 2013: unit vectors are added and subtracted, and the words themselves are no answer.

    Raises:
        ConfigError: It is no sum of words, or comes to nothing.
    """
    if not like.strip():
        return None
    parts = terms(like)
    vectors = embedder.embed([words for _, words in parts])
    signs = np.array([sign for sign, _ in parts], np.float32)
    combined = signs @ vectors
    length = float(np.linalg.norm(combined))
    if length < 1e-6:
        raise ConfigError(f"The words of {like!r} cancel each other out.", hint="Leave one of them out.")
    without = frozenset(words.casefold() for _, words in parts)
    return Asked("like", like.strip(), (combined / length).astype(np.float32), without)


def terms(like: str) -> list[tuple[int, str]]:
    """The words of a sum with their signs, 1 or -1. Phrases need no quotes, except where a sign stands at a word.

    Raises:
        ConfigError: It is no sum of words.
    """
    hint = 'Write words with + and - between them, such as king - man + woman; quote what has signs: "a - b".'
    parts: list[tuple[int, list[str]]] = []
    place, end = 0, len(like.rstrip())
    while place < end:
        found = _TOKEN.match(like, place)
        if found is None:
            raise ConfigError(f"{like!r} is no sum of words: {like[place:].strip()!r} has no second quote.", hint=hint)
        sign = _SIGNS.get(found[1])
        if sign is not None or not parts:
            parts.append((sign or 1, []))
        if sign is None:
            parts[-1][1].append(" ".join(found[1].strip('"“”').split()))
        place = found.end()
    summed = [(sign, " ".join(words)) for sign, words in parts]
    if not all(words for _, words in summed):
        raise ConfigError(f"{like!r} is no sum of words: a sign has nothing to stand before.", hint=hint)
    if all(sign < 0 for sign, _ in summed):
        raise ConfigError(f"{like!r} only takes away, and there is nothing to take it from.", hint=hint)
    return summed


def _loaded(
    store: MemoryStore, embedder: Embedder, ids: NDArray[np.int64]
) -> Iterator[tuple[list[Item], NDArray[np.float32]]]:
    """Items with their vectors, some at a time."""
    for begin in range(0, len(ids), _BATCH):
        items = store.get([int(each) for each in ids[begin : begin + _BATCH]])
        if not items:  # removed since
            continue
        texts = {item.hash: item.text for item in items}
        known = store.vectors(list(texts), embedder.name)
        missing = [each for each in texts if each not in known]
        if missing:
            made = embedder.embed([texts[each] for each in missing])
            new = dict(zip(missing, made, strict=True))
            store.keep_vectors(embedder.name, new)
            known = {**known, **new}
        yield items, np.array([known[item.hash] for item in items], np.float32)


def _nearest_of_all(
    store: MemoryStore, embedder: Embedder, ids: NDArray[np.int64], asked: Sequence[Asked], near: int
) -> set[int]:
    """The ids of the neighbours among all items, of which only some at a time are in memory."""
    best: list[tuple[Near, ...]] = [() for _ in asked]
    if asked:
        for items, vectors in _loaded(store, embedder, ids):
            for number, one in enumerate(asked):
                best[number] = _nearest([*best[number], *_cosines(vectors, items, one)], one, near)
    return {each.item.id for found in best for each in found}


def _cosines(vectors: NDArray[np.float32], items: Sequence[Item], asked: Asked) -> list[Near]:
    return [Near(item, cosine) for item, cosine in zip(items, (vectors @ asked.vector).tolist(), strict=True)]


def _nearest(found: Sequence[Near], asked: Asked, near: int) -> tuple[Near, ...]:
    """The nearest of some, each text once."""
    seen = set(asked.without)
    nearest: list[Near] = []
    for each in sorted(found, key=lambda each: (-each.cosine, each.item.id)):
        text = each.item.text.strip().casefold()
        if len(nearest) == near:
            break
        if text not in seen:
            seen.add(text)
            nearest.append(each)
    return tuple(nearest)


def _title(total: int) -> str:
    return f"llmos memory · {total:,} item{'' if total == 1 else 's'}"


def _notes(projection: Projection, drawn: int, total: int | None, dimension: int) -> tuple[str, ...]:
    notes: list[str] = []
    if not drawn:
        return ("Nothing is remembered here.",)
    if total is not None and drawn < total:
        notes.append(f"{drawn:,} of {total:,} items are drawn, chosen at random; neighbours were searched among all.")
    if projection.method == "PCA":
        how = f"the two principal components, which show {projection.kept or 0.0:.0%} of the variance"
    else:
        how = "UMAP, which keeps what is near together and says nothing by distances"
    notes.append(f"Places: {how}. Cosines are of all {dimension} dimensions.")
    return tuple(notes)
