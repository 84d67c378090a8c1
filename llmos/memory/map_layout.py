"""Where things stand on the map of what is remembered, in which group, and what is said of them.

Knows no database, no page and no picture.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from llmos.memory.items import Item
from llmos.memory.places import named

By = Literal["source", "kind"]
Role = Literal["query", "like"]

# They differ by lightness too, and are seen on white as on black.
COLOURS = (
    *("#2f7ed8", "#e0802f", "#2f9e5b", "#c9484f", "#8d6cd9"),
    *("#b8901a", "#d768a8", "#1f9fb0", "#8a5f42", "#7a8f1f"),
)
REST = "#8a8f98"
_FEW = 50  # below so many, almost all are neighbours of all others, and UMAP has nothing to go by
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Near:
    """An item that is near to what was asked, with its cosine in all dimensions."""

    item: Item
    cosine: float


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What is nearest to a text.

    Attributes:
        role: `query` for a query, `like` for a sum of words.
        text: As it was asked.
        nearest: The nearest first; of items with the same text, one.
    """

    role: Role
    text: str
    nearest: tuple[Near, ...]


@dataclass(frozen=True, slots=True)
class Projection:
    """Points in the plane.

    Attributes:
        points: Shape (n, 2), float64, from -1 to 1.
        asked: Shape (m, 2): where the vectors are that were asked for, from -1 to 1.
        method: How it was made.
        kept: For PCA the part of the variance that is seen, 0 to 1; None for others.
    """

    points: NDArray[np.float64]
    asked: NDArray[np.float64]
    method: Literal["PCA", "UMAP"]
    kept: float | None


@dataclass(frozen=True, slots=True)
class Groups:
    """Which point is of which colour.

    Attributes:
        names: The biggest first; what has no colour of its own is counted together in the last one.
        colours: One for each name.
        of: The group of each item.
    """

    names: tuple[str, ...]
    colours: tuple[str, ...]
    of: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """What is drawn.

    Attributes:
        items: One for each point.
        neighbours: One for each that was asked, in the order of `projection.asked`.
        notes: What the reader should know of the picture.
    """

    title: str
    items: Sequence[Item]
    projection: Projection
    neighbours: tuple[Neighbours, ...]
    by: By
    notes: tuple[str, ...]


def project(vectors: NDArray[np.float32], asked: NDArray[np.float32]) -> Projection:
    """Vectors in the plane, the same place for the same vectors: UMAP if it is installed, else PCA.

    Only `vectors` decide about the plane; what is asked for is put into it.

    Args:
        vectors: Shape (n, d).
        asked: Shape (m, d).

    Source: McInnes, Healy and Melville 2018 (UMAP); Pearson 1901 (PCA).
    """
    found = _umap(vectors, asked) if len(vectors) >= _FEW else None
    method: Literal["PCA", "UMAP"] = "UMAP" if found else "PCA"
    points, places, kept = found or _components(vectors, asked)
    everything = np.vstack([points, places])
    if not len(everything):
        return Projection(points, places, method, kept)
    middle = (everything.min(axis=0) + everything.max(axis=0)) / 2
    reach = float(np.abs(everything - middle).max()) or 1.0
    return Projection((points - middle) / reach, (places - middle) / reach, method, kept)


def _umap(
    vectors: NDArray[np.float32], asked: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64], None] | None:
    try:
        umap: Any = import_module("umap")
    except ImportError:
        return None
    # with a seed it runs in one thread, and says so if it is not told to
    mapper = umap.UMAP(n_neighbors=15, min_dist=0.1, metric="cosine", random_state=0, n_jobs=1)
    points = np.asarray(mapper.fit_transform(vectors), np.float64)
    places = np.asarray(mapper.transform(asked), np.float64) if len(asked) else np.zeros((0, 2))
    return points, places, None


def _components(
    vectors: NDArray[np.float32], asked: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    if len(vectors) < 2:
        return np.zeros((len(vectors), 2)), np.zeros((len(asked), 2)), 0.0
    middle = vectors.mean(axis=0, dtype=np.float64)
    centred = vectors.astype(np.float64) - middle
    # of the d × d matrix: the same axes as of the n × d one, in a tenth of the time
    axes, spread, _ = np.linalg.svd(centred.T @ centred)
    plane = axes[:, :2]
    # an axis has no direction: the same one each time
    plane = plane * np.sign(plane[np.abs(plane).argmax(axis=0), range(plane.shape[1])])
    if plane.shape[1] < 2:
        plane = np.hstack([plane, np.zeros_like(plane)])
    whole = float(spread.sum())
    kept = float(spread[:2].sum()) / whole if whole > 0 else 0.0
    return centred @ plane, (asked.astype(np.float64) - middle) @ plane, kept


def groups(items: Sequence[Item], by: By) -> Groups:
    """The groups of items by source or kind, with a colour for each of the biggest."""
    sources = {source: named(source) or "(no source)" for source in {item.source for item in items}}
    names = [sources[item.source] if by == "source" else item.kind for item in items]
    ranked = sorted(Counter(names).items(), key=lambda each: (-each[1], each[0]))
    own = [name for name, _ in ranked]
    shared: list[str] = []
    if len(own) > len(COLOURS):
        own, shared = own[: len(COLOURS)], own[len(COLOURS) :]
    place = {name: number for number, name in enumerate(own)}
    rest = [f"{len(shared):,} others"] if shared else []
    return Groups(
        names=(*own, *rest),
        colours=(*COLOURS[: len(own)], *([REST] if shared else [])),
        of=tuple(place.get(name, len(own)) for name in names),
    )


def brief(text: str, most: int) -> str:
    """The beginning of a text in one line, without what can't be printed."""
    line = _UNPRINTABLE.sub("\ufffd", " ".join(text[: 4 * most].split()))
    whole = len(line) <= most and len(text) <= 4 * most
    return line if whole else line[: most - 1].rstrip() + "…"


def tail(source: str, most: int) -> str:
    """The end of a source's name in one line: of paths and addresses, what tells them apart."""
    line = _UNPRINTABLE.sub("\ufffd", " ".join(source.split()))
    return line if len(line) <= most else "…" + line[len(line) - most + 1 :]


def place_of(item: Item) -> str:
    """Where in its source an item stands, as far as that is known."""
    span = item.span
    if span.page is not None:
        where = f"p. {span.page}"
    elif span.line is not None:
        where = f"line {span.line}"
    else:
        where = ""
    return " · ".join(part for part in (where, brief(span.heading, 120)) if part)
