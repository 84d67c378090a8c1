"""A disk for SQLite on which the k-th write or sync fails: a real VFS of SQLite's, in front of the usual one.

Every file that this process's SQLite opens while it is in place goes through it: database, write-ahead log, journal.
See https://www.sqlite.org/vfs.html for the structures.
"""

from __future__ import annotations

import _sqlite3
import ctypes
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["write", "sync"]

_CODES = {"write": 778, "sync": 1034}  # SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC
_FULL = 13  # SQLITE_FULL

# the name as a pointer: SQLite keeps it, and a copy in bytes would be gone
_OPEN = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(ctypes.c_int)
)
_WRITE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64)
_SYNC = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)


class _Methods(ctypes.Structure):
    """`sqlite3_io_methods`, version 3."""

    _fields_ = [
        ("version", ctypes.c_int),
        *((name, ctypes.c_void_p) for name in ("close", "read", "write", "truncate", "sync")),
        ("others", ctypes.c_void_p * 13),
    ]


class _Vfs(ctypes.Structure):
    """`sqlite3_vfs`, version 3."""

    _fields_ = [
        ("version", ctypes.c_int),
        ("file_size", ctypes.c_int),
        ("path_size", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("open", ctypes.c_void_p),
        ("others", ctypes.c_void_p * 15),
    ]


@dataclass
class Faults:
    """What fails: the writes or syncs from the `at`-th on, one of them or all. Counted from 1; 0 for none."""

    kind: Kind
    at: int = 0
    lasting: bool = False
    seen: int = 0

    def fails(self, kind: Kind) -> bool:
        if kind != self.kind:
            return False
        self.seen += 1
        return self.seen == self.at or (self.lasting and 0 < self.at < self.seen)


def _library() -> Any:  # noqa: ANN401
    """The SQLite that Python's module uses."""
    library = ctypes.CDLL(_sqlite3.__file__)
    library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
    library.sqlite3_vfs_find.argtypes = [ctypes.c_char_p]
    library.sqlite3_vfs_register.argtypes = [ctypes.POINTER(_Vfs), ctypes.c_int]
    return library


class _Disk:
    """The structures, which SQLite uses as long as any file is open: they are never given back."""

    def __init__(self) -> None:
        self.library = _library()
        self.real = self.library.sqlite3_vfs_find(None)
        self.faults = Faults("write")
        self._methods: dict[int, _Methods] = {}
        self._kept: list[object] = []
        self._open = _OPEN(self._opened)
        self.vfs = _Vfs.from_buffer_copy(self.real.contents)
        self.vfs.name, self.vfs.next = b"faulty", None
        self.vfs.open = ctypes.cast(self._open, ctypes.c_void_p)

    def _opened(self, _: int, name: int, file: int, flags: int, flags_out: Any) -> int:  # noqa: ANN401
        real = ctypes.cast(self.real.contents.open, _OPEN)
        code = real(ctypes.addressof(self.real.contents), name, file, flags, flags_out)
        place = ctypes.cast(file, ctypes.POINTER(ctypes.c_void_p))
        if place[0]:
            place[0] = ctypes.addressof(self._faulty(int(place[0])))
        return int(code)

    def _faulty(self, address: int) -> _Methods:
        if address not in self._methods:
            methods = _Methods.from_buffer_copy(_Methods.from_address(address))
            real_write, real_sync = ctypes.cast(methods.write, _WRITE), ctypes.cast(methods.sync, _SYNC)

            def write(file: int, data: int, amount: int, offset: int) -> int:
                if self.faults.fails("write"):
                    return _FULL if self.faults.lasting else _CODES["write"]
                return int(real_write(file, data, amount, offset))

            def sync(file: int, flags: int) -> int:
                return _CODES["sync"] if self.faults.fails("sync") else int(real_sync(file, flags))

            callbacks = (_WRITE(write), _SYNC(sync))
            methods.write = ctypes.cast(callbacks[0], ctypes.c_void_p)
            methods.sync = ctypes.cast(callbacks[1], ctypes.c_void_p)
            self._methods[address] = methods
            self._kept.append(callbacks)
        return self._methods[address]


_disk: _Disk | None = None


@contextmanager
def faulty_disk(faults: Faults) -> Generator[Faults]:
    """SQLite files opened inside the block are on a disk with these faults."""
    global _disk
    _disk = _disk or _Disk()
    _disk.faults = faults
    _disk.library.sqlite3_vfs_register(ctypes.byref(_disk.vfs), 1)
    try:
        yield faults
    finally:
        _disk.library.sqlite3_vfs_register(_disk.real, 1)
        _disk.faults = Faults(faults.kind)
