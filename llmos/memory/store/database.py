"""Connections to one SQLite file that several threads and processes use: one that writes, some that read.

The file may be put in place of a damaged one while others have it open (`llmos.memory.store.repair`). So every change
holds a shared lock on a file beside it, which a repair holds alone, and every use looks whether the file is still the
one that was opened. Knows no table.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from llmos.errors import StorageError

T = TypeVar("T")

_BUSY_SECONDS = 30.0
_IDLE_READERS = 4
_WRITER_CACHE, _READER_CACHE = -65_536, -16_384  # KiB, negative by SQLite's convention
_CHECKPOINT_PAGES = 4_000
_WAL_BYTES = 64 << 20  # what is left of the log after a checkpoint


class Damaged(Exception):
    """The file's contents are not what SQLite wrote.

    Attributes:
        words: That may be true of the index of words alone.
        file: Number of the file (inode); 0 if it could not be opened.
    """

    def __init__(self, message: str, *, words: bool = False) -> None:
        super().__init__(message)
        self.words = words
        self.file = 0


class Database:
    """Opens a file that exists, or is empty.

    Args:
        path: The database.
        lock: The file whose lock a repair holds.
    """

    def __init__(self, path: Path, lock: Path) -> None:
        self.path, self._lock_path = path, lock
        self._writing = threading.RLock()
        self._pool = threading.RLock()
        self._idle: list[sqlite3.Connection] = []
        self._writer: sqlite3.Connection | None = None
        self._file = 0
        self._closed = False

    def close(self) -> None:
        """Close all connections; those in use when they are given back."""
        with self._writing, self._pool:
            self._closed = True
            self._drop()

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` reads, on a connection of its own.

        Raises:
            StorageError: It can't be read.
            Damaged: It is damaged.
        """
        with self._trouble("read"):
            connection = self._borrow()
            file = self._file
            try:
                return work(connection)
            finally:
                self._give_back(connection, file)

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in one transaction: all of it, durable, or nothing.

        Raises:
            StorageError: It can't be written; nothing has changed.
            Damaged: It is damaged; nothing has changed.
        """
        with self.alone() as connection, self._trouble("written"):
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return result

    @contextmanager
    def alone(self) -> Generator[sqlite3.Connection]:
        """The connection that writes, outside any transaction; no repair runs meanwhile."""
        with self._writing, locked(self._lock_path, shared=True):
            with self._trouble("opened"), self._pool:
                self._follow()
                if self._writer is None:
                    self._writer = connect(self.path, writes=True)
                connection = self._writer
            yield connection

    @contextmanager
    def repairing(self, file: int) -> Generator[bool]:
        """Nobody else writes, and all connections here are closed.

        Args:
            file: What was found damaged; 0 if that is not known.

        Returns:
            Whether it is still in its place; if not, somebody else has repaired it.
        """
        with self._writing, locked(self._lock_path, shared=False):
            with self._pool:
                self._drop()
            yield file == 0 or number(self.path) in (file, 0)

    def _drop(self) -> None:
        for connection in [*self._idle, *([self._writer] if self._writer else [])]:
            connection.close()
        self._idle, self._writer, self._file = [], None, 0

    def _follow(self) -> None:
        """Open anew what has taken the place of the file."""
        if self._closed:
            raise StorageError(f"The memory in {str(self.path.parent)!r} is closed.")
        now = number(self.path)
        if not now:  # a repair is about to put it there
            with locked(self._lock_path, shared=True):
                now = self.path.stat().st_ino
        if now != self._file:
            self._drop()
            self._file = now

    def _borrow(self) -> sqlite3.Connection:
        with self._pool:
            self._follow()
            if self._idle:
                return self._idle.pop()
        return connect(self.path, writes=False)

    def _give_back(self, connection: sqlite3.Connection, file: int) -> None:
        with self._pool:
            if not self._closed and file == self._file and len(self._idle) < _IDLE_READERS:
                self._idle.append(connection)
                return
        connection.close()

    @contextmanager
    def _trouble(self, what: str) -> Generator[None]:
        try:
            with trouble(self.path.parent, what):
                yield
        except Damaged as damage:
            damage.file = damage.file or self._file
            raise


def number(path: Path) -> int:
    """The inode of a file, 0 if there is none."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def connect(path: Path, *, writes: bool) -> sqlite3.Connection:
    """A connection that any thread may use, one at a time."""
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    settings = [
        f"cache_size={_WRITER_CACHE if writes else _READER_CACHE}",
        "cell_size_check=ON",
        "synchronous=FULL",  # what a commit acknowledges survives a power cut
        "secure_delete=ON",
        f"wal_autocheckpoint={_CHECKPOINT_PAGES}",
        f"journal_size_limit={_WAL_BYTES}",
        *([] if writes else ["query_only=ON"]),
    ]
    try:
        for setting in settings:
            connection.execute(f"PRAGMA {setting}")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def locked(path: Path, *, shared: bool) -> Generator[None]:
    """Hold the lock of a file.

    Raises:
        StorageError: Somebody else holds it for too long, or the file can't be opened.
    """
    with trouble(path.parent, "locked"):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StorageError(
                        f"Another process has held {str(path)!r} for {_BUSY_SECONDS:.0f} s.",
                        hint="Wait for it to end, and try again.",
                    ) from None
                time.sleep(0.01)
        yield
    finally:
        os.close(handle)


@contextmanager
def trouble(folder: Path, what: str, *, opening: bool = False) -> Generator[None]:
    """Errors of SQLite and of the file system as ours.

    Args:
        opening: What SQLite does not understand is damage, too: a format or a table that is not there.
    """
    try:
        yield
    except (sqlite3.Error, OSError, MemoryError) as error:  # a damaged length is taken for a huge one
        number = getattr(error, "sqlite_errorcode", 0)
        damage = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, *([sqlite3.SQLITE_ERROR] if opening else []))
        if number & 0xFF in damage or isinstance(error, MemoryError):
            raise Damaged(str(error), words=number == sqlite3.SQLITE_CORRUPT_VTAB) from error
        hint = "Free some disk space and try again."
        if number & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            hint = "Another process is writing: wait for it to end, and try again."
        elif isinstance(error, PermissionError) or number & 0xFF in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            hint = "Look at the rights of the folder."
        raise StorageError(f"The memory in {str(folder)!r} could not be {what}: {error}.", hint=hint) from error
