"""What the store tells of itself: changes, sources, losses. Plain data."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmos.memory.items import Kind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Changed:
    """What became of a source's items.

    Attributes:
        added: Ids of new ones, in the order given.
        kept: Ids of those that were there already and stay, in the order given.
        removed: Ids of those that are gone.
    """

    added: tuple[int, ...] = ()
    kept: tuple[int, ...] = ()
    removed: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Changes:
    """What has changed since a number, oldest first. An item that changed twice is in it once.

    Attributes:
        seqs: Numbers of the changes, int64, growing.
        ids: Of the items, int64.
        removed: Whether the item is gone; otherwise it is new, or its row was written again.
        last: Where to go on.
        more: Whether there is more to go on with.
    """

    seqs: NDArray[np.int64]
    ids: NDArray[np.int64]
    removed: NDArray[np.bool_]
    last: int
    more: bool


@dataclass(frozen=True, slots=True)
class Columns:
    """What items are filtered by, as arrays of one length; names as 64-bit numbers (`llmos.memory.store.code`).

    Attributes:
        ids, tenants, namespaces, sources: int64.
        kinds, labels: int8, places in `KINDS` and `LABELS`.
        created: float64, seconds since 1970.
        current: Nothing has superseded it.
        hashes: Of the texts.
    """

    ids: NDArray[np.int64]
    tenants: NDArray[np.int64]
    namespaces: NDArray[np.int64]
    sources: NDArray[np.int64]
    kinds: NDArray[np.int8]
    labels: NDArray[np.int8]
    created: NDArray[np.float64]
    current: NDArray[np.bool_]
    hashes: list[bytes]

    def chosen(self, which: NDArray[np.bool_]) -> Columns:
        """Those of some rows."""
        arrays: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        hashes = [key for key, wanted in zip(arrays.pop("hashes"), which.tolist(), strict=True) if wanted]
        return Columns(**{name: values[which] for name, values in arrays.items()}, hashes=hashes)


@dataclass(frozen=True, slots=True)
class Source:
    """A file, page or conversation that items are from.

    Attributes:
        items: How many.
        characters: Of all their texts.
        added: When the last of them was written down, seconds since 1970.
    """

    source: str
    kind: Kind
    items: int
    characters: int
    added: float
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Lost:
    """What a damaged database could not give back.

    Attributes:
        reason: What was found damaged.
        kept: How many items could be read and are there.
        items: How many could not.
        ids: Their ids, as ranges of first and last; those at the end are not known if the end is what is lost.
        copy: The damaged file; it is deleted by `purge`.
    """

    reason: str
    kept: int
    items: int
    ids: tuple[tuple[int, int], ...]
    copy: Path

    def __str__(self) -> str:
        shown = ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in self.ids[:5])
        gone = f"{self.items:,} could not be read (ids {shown}{' …' if len(self.ids) > 5 else ''})"
        return (
            f"The memory was damaged ({self.reason}): {self.kept:,} items were kept, {gone if self.items else 'none'}"
            f"{'' if self.items else ' is known to be lost'}. The damaged file is {self.copy.name!r}."
        )
