"""What vectors are filtered by, as columns beside them: row n of every column belongs to vector n.

Names are compared as 64-bit numbers. Rows are only ever added; those of removed items are marked, and match nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmos.memory.items import KINDS, Filter
from llmos.memory.store import Columns
from llmos.memory.store.schema import code
from llmos.memory.store.store import LABELS

Mask = NDArray[np.bool_]

COLUMNS: dict[str, Any] = {
    "ids": np.int64,
    "tenants": np.int64,
    "namespaces": np.int64,
    "sources": np.int64,
    "kinds": np.int8,
    "labels": np.int8,
    "created": np.float64,
    "current": np.bool_,
    "alive": np.bool_,
    "hashes": "V16",
}
_REMEMBERED = 16  # masks


class Rows:
    """Starts empty; grows by doubling."""

    def __init__(self) -> None:
        self.count = 0
        self._columns: dict[str, NDArray[Any]] = {name: np.zeros(0, kind) for name, kind in COLUMNS.items()}
        self._order: NDArray[np.int64] | None = None
        self._masks: OrderedDict[Filter, tuple[Mask, int]] = OrderedDict()

    def __getitem__(self, column: str) -> NDArray[Any]:
        """A column, of `count` values; what is written into it is kept."""
        return self._columns[column][: self.count]

    @property
    def alive(self) -> int:
        """How many rows belong to items that are there."""
        return int(np.count_nonzero(self["alive"]))

    def add(self, columns: Columns) -> None:
        """Append rows."""
        count = self.count + len(columns.ids)
        for name, values in self._columns.items():
            if count > len(values):
                grown = np.zeros(max(count, 2 * len(values)), values.dtype)
                grown[: self.count] = values[: self.count]
                self._columns[name] = grown
            self._columns[name][self.count : count] = _values(columns, name)
        self.count = count
        self._order = None
        self._masks.clear()

    def put(self, column: str, values: NDArray[Any]) -> None:
        """Set a whole column, as it was saved."""
        self._columns[column] = values
        self.count = len(values)
        self._order = None
        self._masks.clear()

    def find(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of items; -1 for those that have none."""
        if not self.count:
            return np.full(len(ids), -1)
        if self._order is None:
            self._order = np.argsort(self["ids"], kind="stable")
        known = self["ids"][self._order]
        places = np.minimum(np.searchsorted(known, ids), self.count - 1)
        return np.where(known[places] == ids, self._order[places], -1)

    def change(self, rows: NDArray[np.int64], columns: Columns) -> None:
        """Write rows anew, in the order of `columns`."""
        for name, values in self._columns.items():
            values[rows] = _values(columns, name)
        self._masks.clear()

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Mark rows as belonging to nothing, and forget what they held but their ids."""
        for name, values in self._columns.items():
            if name != "ids":
                values[rows] = np.zeros((), values.dtype)
        self._masks.clear()

    def mask(self, filter: Filter) -> tuple[Mask, int]:
        """Which rows a filter chooses, and how many they are."""
        known = self._masks.get(filter)
        if known is not None:
            self._masks.move_to_end(filter)
            return known
        chosen = self._choose(filter)
        self._masks[filter] = result = chosen, int(np.count_nonzero(chosen))
        if len(self._masks) > _REMEMBERED:
            self._masks.popitem(last=False)
        return result

    def _choose(self, filter: Filter) -> Mask:
        chosen: Mask = self["alive"] & (self["tenants"] == code(filter.tenant))
        wanted: list[tuple[str, list[int] | None]] = [
            ("namespaces", _codes(filter.namespaces)),
            ("sources", _codes(filter.sources)),
            ("kinds", None if filter.kinds is None else [KINDS.index(kind) for kind in filter.kinds]),
            ("labels", None if filter.labels is None else [LABELS.index(label) for label in filter.labels]),
        ]
        for column, values in wanted:
            if values is not None:
                chosen &= np.isin(self[column], np.array(values, COLUMNS[column]))
        if filter.since is not None:
            chosen &= self["created"] >= filter.since
        if filter.until is not None:
            chosen &= self["created"] < filter.until
        if filter.current is not None:
            chosen &= self["current"] == filter.current
        return chosen


def _values(columns: Columns, name: str) -> NDArray[Any] | bool:
    if name == "hashes":
        return np.frombuffer(b"".join(columns.hashes), COLUMNS[name])
    return True if name == "alive" else getattr(columns, name)


def _codes(names: tuple[str, ...] | None) -> list[int] | None:
    return None if names is None else [code(name) for name in names]
