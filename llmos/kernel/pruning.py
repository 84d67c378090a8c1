"""Runs that are over are not kept for ever: their contents and files are forgotten when they get old or too many.

Nothing is taken from a run that has not ended, nor from one that ended less than a day ago; rows and the audit chain
stay. One kernel at a time does it, in a thread of its own, at most once an hour; one that is killed leaves each run
either whole or forgotten, and what is left of its files goes the next time. Knows no process: it works on the journal.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from llmos.config import RunsOptions
from llmos.errors import LlmosError, StorageError
from llmos.kernel.journal import Journal

DAY = 86400.0
_EVERY_SECONDS = 3600.0
_LONGEST_SECONDS = 60.0
_END_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Usage:
    """What runs take.

    Attributes:
        runs: How many there are on record.
        forgotten: Of how many only the record is left.
        bytes: Journal and the runs' files.
    """

    runs: int = 0
    forgotten: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Over:
    """A run that has ended."""

    id: str
    ended: float
    forgotten: bool


def usage(folder: Path) -> Usage:
    """What the runs of a data folder take. Nothing is made where there are none.

    Raises:
        StorageError: The journal can't be read.
    """
    if not (folder / "journal.sqlite3").exists():
        return Usage()
    with _reading(folder) as database:
        runs, forgotten = database.execute("SELECT COUNT(*), COALESCE(SUM(salt IS NULL), 0) FROM runs").fetchone()
        return Usage(runs, forgotten, _used_pages(database) + sum(_bytes_under(folder / "runs")))


def forget(journal: Journal, folder: Path, run: str) -> None:
    """Forget a run's contents, then its files.

    Raises:
        StorageError: The journal can't be written.
    """
    journal.forget(run)
    shutil.rmtree(folder / "runs" / run, ignore_errors=True)


def prune(
    folder: Path,
    keep: RunsOptions,
    *,
    now: float,
    stop: threading.Event | None = None,
    seconds: float = _LONGEST_SECONDS,
) -> list[str]:
    """Forget what the policy does not keep; at once, whenever it was done before.

    Args:
        now: Seconds since the epoch.
        stop: Set by another thread to end it after the run it is at.
        seconds: It ends after so many; the rest is for the next time.

    Returns:
        The forgotten runs' ids, those that ended first first. None where another kernel is at it.

    Raises:
        StorageError: The journal can't be read or written.
    """
    end = time.monotonic() + seconds

    def over() -> bool:
        return time.monotonic() > end or (stop is not None and stop.is_set())

    with _alone(folder) as alone:
        if not alone:
            return []
        done: list[str] = []
        with closing(Journal(folder)) as journal:
            for run in _chosen(folder, keep, now):
                if over():
                    return done
                forget(journal, folder, run)
                done.append(run)
        os.utime(_stamp(folder))
        return done


def _chosen(folder: Path, keep: RunsOptions, now: float) -> Iterator[str]:
    """The runs to be forgotten, found one after the other; what killed kernels left of others is removed on the way."""
    with _reading(folder) as database:
        rows = database.execute(
            "SELECT id, ended, salt IS NULL FROM runs WHERE state != 'running' AND ended IS NOT NULL ORDER BY ended, id"
        ).fetchall()
    ended = [_Over(run, when, bool(forgotten)) for run, when, forgotten in rows]
    for run in ended:
        if run.forgotten:
            shutil.rmtree(folder / "runs" / run.id, ignore_errors=True)
    free = [run for run in ended if not run.forgotten and run.ended <= now - DAY]
    limit = now - keep.keep_days * DAY
    old = [run for run in free if keep.keep_days and run.ended <= limit]
    yield from (run.id for run in old)
    if keep.keep_bytes and usage(folder).bytes > keep.keep_bytes:
        yield from _beyond(folder, [run.id for run in free[len(old) :]], keep.keep_bytes)


def _beyond(folder: Path, free: list[str], most: int) -> Iterator[str]:
    """The oldest runs, until all that is left takes no more than `most` bytes."""
    with _reading(folder) as database:
        query = "SELECT run, SUM(LENGTH(CAST(body AS BLOB))) FROM contents GROUP BY run"
        sizes: dict[str, int] = dict(database.execute(query).fetchall())
    with suppress(OSError):
        for place in (folder / "runs").iterdir():
            sizes[place.name] = sizes.get(place.name, 0) + sum(_bytes_under(place))
    total = sum(sizes.values())
    for run in free:
        if total <= most:
            return
        total -= sizes.get(run, 0)
        yield run


class Pruning:
    """Prunes in the background, if it is time.

    Args:
        folder: The data folder.
        keep: The policy.
    """

    def __init__(self, folder: Path, keep: RunsOptions) -> None:
        self._folder, self._keep = folder, keep
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, and return at once. The first kernel on a folder only notes the time."""
        if (self._keep.keep_days or self._keep.keep_bytes) and _is_due(self._folder):
            self._thread = threading.Thread(target=self._run, name="llmos-pruning", daemon=True)
            self._thread.start()

    def end(self) -> None:
        """End after the run that is being forgotten; waits for that a second at most."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        with suppress(LlmosError):  # the next kernel tries again, and `llmos doctor` shows what is left
            prune(self._folder, self._keep, now=time.time(), stop=self._stop)


def described(keep: RunsOptions) -> str:
    """A policy in words."""
    bounds = [f"for {keep.keep_days:,} days"] if keep.keep_days else []
    bounds += [f"up to {keep.keep_bytes / 1e9:,.4g} GB"] if keep.keep_bytes else []
    return f"contents are kept {' and '.join(bounds) or 'for ever'}"


# -- the lock


def _stamp(folder: Path) -> Path:
    """The file that is locked by whoever prunes, and whose time says when it was last done."""
    return folder / "pruning.lock"


def _is_due(folder: Path) -> bool:
    try:
        return abs(time.time() - _stamp(folder).stat().st_mtime) > _EVERY_SECONDS
    except FileNotFoundError:
        with suppress(OSError):
            _stamp(folder).touch(0o600)
        return False
    except OSError:
        return False


@contextmanager
def _alone(folder: Path) -> Generator[bool]:
    """Whether nobody else prunes, and nobody begins to during the block."""
    try:
        lock = os.open(_stamp(folder), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(f"{str(_stamp(folder))!r} can't be opened: {error.strerror or error}.") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
    finally:
        os.close(lock)


# -- reading


@contextmanager
def _reading(folder: Path) -> Generator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(folder / "journal.sqlite3", isolation_level=None)) as database:
            database.execute("PRAGMA query_only=ON")
            yield database
    except sqlite3.Error as error:
        raise StorageError(f"The journal in {str(folder)!r} could not be read: {error}.") from error


def _used_pages(database: sqlite3.Connection) -> int:
    """Bytes of the journal that are in use."""
    pages, free, size = (
        int(database.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def _bytes_under(place: Path) -> Iterator[int]:
    """What all files in a folder take on the disk, links not followed."""
    for parent, _, names in os.walk(place):
        for name in names:
            with suppress(OSError):
                yield os.lstat(os.path.join(parent, name)).st_blocks * 512
