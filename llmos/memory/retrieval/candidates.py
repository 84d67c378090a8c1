"""What may fit a query, and what speaks for each: words in common, likeness in meaning, and both of what stands beside.

Episodes answer together: a question in one turn, its answer in the next. So their neighbours come along, and count.
Weighs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from llmos.memory.items import Filter, Item
from llmos.memory.protocols import Embedder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

POOL = 200
"""So many are taken from either index: what is not among them is not found."""
REACH = 3
"""How many neighbours on either side of an episode are looked at."""
_WITH_NEIGHBOURS = 60  # of the most promising episodes


class Store(Protocol):
    """Where items are kept, as far as it is needed here."""

    def neighbours(self, item: Item, *, before: int = 1, after: int = 1) -> list[Item]:
        """The items before and after one in its source, in order, without itself."""
        ...

    def get(self, ids: Sequence[int]) -> list[Item]:
        """Items by id, in the order asked."""
        ...

    def matching(self, query: str, filter: Filter, *, limit: int) -> list[tuple[int, float]]:
        """Items with words in common: (id, BM25), best first."""
        ...

    def vectors(self, hashes: Sequence[bytes], model: str) -> dict[bytes, NDArray[np.float32]]:
        """Embeddings that are known, under the hashes of their texts."""
        ...


class Index(Protocol):
    """Where vectors are compared."""

    def search(self, vector: NDArray[np.float32], filter: Filter, *, limit: int) -> list[tuple[int, float]]:
        """Items whose vectors are most like one: (id, cosine), best first."""
        ...


@dataclass(slots=True)
class Candidates:
    """Items with what speaks for them.

    Attributes:
        items: By id; those that are only looked at as neighbours included.
        lexical: BM25 by id; those without words in common are missing.
        dense: Cosine by id; those whose vector is not known are missing.
        chosen: Ids of those that may be found: neighbours only where the filter allows them.
        beside: For an episode the ids around it by their distance, negative before it.
        query: The query's vector; None without an embedder.
        vectors: Of preferences, of episodes and what is beside these, as far as they are known.
    """

    items: dict[int, Item] = field(default_factory=dict[int, Item])
    lexical: dict[int, float] = field(default_factory=dict[int, float])
    dense: dict[int, float] = field(default_factory=dict[int, float])
    chosen: set[int] = field(default_factory=set[int])
    beside: dict[int, dict[int, int]] = field(default_factory=dict[int, dict[int, int]])
    query: NDArray[np.float32] | None = None
    vectors: dict[int, NDArray[np.float32]] = field(default_factory=lambda: dict[int, "NDArray[np.float32]"]())


def gather(
    store: Store, index: Index | None, embedder: Embedder | None, query: str, words: str, filter: Filter
) -> Candidates:
    """What may fit a query.

    Args:
        index, embedder: None for words alone.
        words: Those of the query that are asked for.
    """
    found = Candidates()
    found.lexical.update(store.matching(words, filter, limit=POOL))
    if index is not None and embedder is not None:
        vector = embedder.embed([query], role="query")[0]
        found.query = vector
        found.dense.update(index.search(vector, filter, limit=POOL))
    for item in store.get(list(found.lexical.keys() | found.dense.keys())):
        found.items[item.id] = item
    found.chosen.update(found.items)
    _add_neighbours(store, found, filter)
    if embedder is not None and found.query is not None:
        _complete(store, found, found.query, embedder.name)
    return found


def _add_neighbours(store: Store, found: Candidates, filter: Filter) -> None:
    """Bring in what stands beside the most promising episodes."""
    best = max(found.lexical.values(), default=0.0) or 1.0
    episodes = [item for item in found.items.values() if item.kind == "episode" and item.source]
    episodes.sort(key=lambda item: -found.lexical.get(item.id, 0.0) / best - found.dense.get(item.id, 0.0))
    for item in episodes[:_WITH_NEIGHBOURS]:
        around = store.neighbours(item, before=REACH, after=REACH)
        for one in around:
            if one.id not in found.items and allows(filter, one):
                found.chosen.add(one.id)
            found.items.setdefault(one.id, one)
        _note(found, item, around)


def _note(found: Candidates, item: Item, around: Iterable[Item]) -> None:
    """Write down who stands how far from whom: of the item, and of those around it among each other."""
    run = sorted({one.id: one for one in (*around, item)}.values(), key=lambda one: (one.span.start or 0, one.id))
    for place, one in enumerate(run):
        beside = found.beside.setdefault(one.id, {})
        for other in range(max(0, place - REACH), min(len(run), place + REACH + 1)):
            if other != place:
                beside[other - place] = run[other].id


def _complete(store: Store, found: Candidates, vector: NDArray[np.float32], model: str) -> None:
    """Compare those, too, that the index did not give, and keep the vectors of what stands beside each other."""
    wanted = [
        item
        for id, item in found.items.items()
        if id not in found.dense or id in found.beside or item.kind == "preference"
    ]
    known = store.vectors(list({item.hash for item in wanted}), model) if wanted else {}
    for item in wanted:
        own = known.get(item.hash)
        if own is not None:
            found.dense.setdefault(item.id, float(own @ vector))
            found.vectors[item.id] = own


def allows(filter: Filter, item: Item) -> bool:
    """Whether a filter chooses an item."""
    return (
        item.tenant == filter.tenant
        and (filter.namespaces is None or item.namespace in filter.namespaces)
        and (filter.kinds is None or item.kind in filter.kinds)
        and (filter.labels is None or item.label in filter.labels)
        and (filter.sources is None or item.source in filter.sources)
        and (filter.since is None or (item.created is not None and item.created >= filter.since))
        and (filter.until is None or (item.created is not None and item.created < filter.until))
        and (filter.current is None or (item.superseded_by is None) == filter.current)
    )
