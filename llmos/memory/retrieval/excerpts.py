"""What is shown around a hit: passages that stand next to it in its source, and hits that touch, joined to one.

Knows no scores beyond their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from llmos.memory.items import Hit, Item


class HasNeighbours(Protocol):
    """Where items are kept, as far as it is needed here."""

    def neighbours(self, item: Item, *, before: int = 1, after: int = 1) -> list[Item]:
        """The items before and after one in its source, in order, without itself."""
        ...


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A run of items of one source in their order.

    Attributes:
        items: Hits, and what stands around and between them.
        hits: Those of them that were found, the best first.
    """

    items: tuple[Item, ...]
    hits: tuple[Hit, ...]


def excerpts(store: HasNeighbours, hits: Sequence[Hit], *, before: int = 1, after: int = 1) -> list[Excerpt]:
    """Hits with their neighbours, those that touch or overlap as one; in the order of the best hit of each.

    Args:
        before, after: How many items of the same source come along on either side. Items without a source (facts and
            preferences, as a rule) stand alone.
    """
    runs: list[dict[int, Item]] = []
    found: list[list[Hit]] = []
    for hit in hits:
        around = store.neighbours(hit.item, before=before, after=after) if hit.item.source else []
        run = {item.id: item for item in (*around, hit.item)}
        touching = [number for number, other in enumerate(runs) if run.keys() & other.keys()]
        if not touching:
            runs.append(run)
            found.append([hit])
            continue
        first = touching[0]
        runs[first] |= run
        found[first].append(hit)
        for number in reversed(touching[1:]):  # this run joins two that did not touch before
            runs[first] |= runs.pop(number)
            found[first] = sorted([*found[first], *found.pop(number)], key=lambda one: -one.score)
    return [Excerpt(tuple(run[id] for id in sorted(run)), tuple(those)) for run, those in zip(runs, found, strict=True)]
