"""Reads what can be read of a damaged database, page by page, without SQLite.

Whatever else is broken, a page that holds rows of a table says so itself, and a row says how many columns it has and
of which types. See https://www.sqlite.org/fileformat2.html. Knows no table.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_LEAF = 0x0D  # a page with rows of a table
_LOG_MAGIC = (0x377F0682, 0x377F0683)
_MOST_BYTES = 1 << 30  # of one row, SQLite's own bound
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


class Pages:
    """The pages of a database file, the newer ones of its write-ahead log in their places.

    Args:
        path: The database; the log stands beside it.
        size: Bytes in a page.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._size = size
        self._file = path.open("rb")
        log = path.with_name(f"{path.name}-wal")
        self._log = log.open("rb") if log.exists() else None
        self._newer = dict(self._committed())
        self.count = max([path.stat().st_size // size, *self._newer])

    def close(self) -> None:
        self._file.close()
        if self._log:
            self._log.close()

    def __getitem__(self, number: int) -> bytes:
        """A page by its number, from 1; empty if it is not there."""
        if self._log and number in self._newer:
            self._log.seek(self._newer[number])
            return self._log.read(self._size)
        self._file.seek((number - 1) * self._size)
        page = self._file.read(self._size)
        return page if len(page) == self._size else b""

    def _committed(self) -> Iterator[tuple[int, int]]:
        """Number and place in the log of every page that a finished transaction wrote."""
        if self._log is None:
            return
        head = self._log.read(32)
        if len(head) < 32 or struct.unpack(">I", head[:4])[0] not in _LOG_MAGIC:
            return
        salts, begun = head[16:24], list[tuple[int, int]]()
        while len(frame := self._log.read(24)) == 24 and frame[8:16] == salts:
            number, commits = struct.unpack(">II", frame[:8])
            begun.append((number, self._log.tell()))
            self._log.seek(self._size, 1)
            if commits:
                yield from begun
                begun.clear()

    def rows(self) -> Iterator[tuple[int, list[Any]]]:
        """Row number and values of every row of every table that can be read."""
        for number in range(1, self.count + 1):
            page = self[number]
            start = 100 if number == 1 else 0
            if not page or page[start] != _LEAF:
                continue
            cells = int.from_bytes(page[start + 3 : start + 5])
            for cell in range(min(cells, (self._size - start - 8) // 2)):
                place = int.from_bytes(page[start + 8 + 2 * cell :][:2])
                # what a damaged row says of its own lengths is nonsense in any way
                try:
                    yield self._row(page, place)
                except (IndexError, ValueError, OverflowError, struct.error):
                    continue

    def _row(self, page: bytes, place: int) -> tuple[int, list[Any]]:
        length, place = _varint(page, place)
        rowid, place = _varint(page, place)
        if length > _MOST_BYTES:
            raise ValueError(length)
        most = self._size - 35
        if length <= most:
            payload = page[place : place + length]
        else:
            least = (self._size - 12) * 32 // 255 - 23
            here = least + (length - least) % (self._size - 4)
            here = here if here <= most else least
            follows = int.from_bytes(page[place + here : place + here + 4])
            payload = page[place : place + here] + self._rest(follows, length - here)
        if len(payload) != length:
            raise ValueError(length)
        return rowid, list(_values(payload))

    def _rest(self, number: int, length: int) -> bytes:
        """What of a row did not fit on its page."""
        parts: list[bytes] = []
        while length > 0:
            page = self[number] if 0 < number <= self.count else b""
            if not page:
                raise ValueError(number)
            parts.append(page[4 : 4 + min(length, self._size - 4)])
            length -= len(parts[-1])
            number = int.from_bytes(page[:4])
        return b"".join(parts)


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """An integer of 1 to 9 bytes, and the place after it."""
    value = 0
    for at in range(place, place + 8):
        byte = data[at]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + 1
    return value << 8 | data[place + 8], place + 9


def _values(payload: bytes) -> Iterator[Any]:
    end, place = _varint(payload, 0)
    data = end
    while place < end:
        kind, place = _varint(payload, place)
        if kind in _INTEGERS:
            length = _INTEGERS[kind]
            yield int.from_bytes(payload[data : data + length], signed=True)
        elif kind == 7:
            length = 8
            yield struct.unpack(">d", payload[data : data + 8])[0]
        elif kind >= 12:
            length = (kind - 12) // 2
            value = payload[data : data + length]
            if len(value) != length:
                raise ValueError(length)
            yield value.decode() if kind % 2 else value
        else:
            length = 0
            yield {0: None, 8: 0, 9: 1}.get(kind)
        data += length
    if data != len(payload):
        raise ValueError(data)
