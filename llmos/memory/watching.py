"""Follows files and folders: what is written, renamed or deleted there is soon so in memory. Uses watchfiles."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from llmos.errors import StorageError
from llmos.kernel.calls import Label
from llmos.memory.ingest import Progress, add_paths, remove_paths
from llmos.memory.reading.content import MAX_BYTES, unreadable
from llmos.memory.walking import is_included

if TYPE_CHECKING:
    from watchfiles import Change

    from llmos.memory.protocols import Embedder
    from llmos.memory.store import MemoryStore

DEBOUNCE = 0.5
"""Seconds of quiet after a change before it is read, so that a file is not read while it is being saved."""

_LONGEST = 10  # times as long, and changes are read although there is no quiet
_LOOK_MS = 200  # between two looks whether it is to end

Changes = set[tuple["Change", str]]


def watch(
    store: MemoryStore,
    paths: Sequence[Path],
    *,
    tenant: str,
    stop: threading.Event,
    namespace: str = "",
    label: Label = "files",
    embedder: Embedder | None = None,
    exclude: Sequence[str] = (),
    max_bytes: int = MAX_BYTES,
    debounce: float = DEBOUNCE,
    jobs: int | None = None,
) -> Generator[Progress]:
    """Add files and folders, and follow their changes until it is stopped.

    Args:
        stop: Set it to end: the iterator ends within a second, after the file it is at.
        debounce: Seconds of quiet that are waited for after a change.
        store, paths, tenant, namespace, label, embedder, exclude, max_bytes, jobs: As in `add_paths`.

    Raises:
        StorageError: A path is not there or can't be watched, or the store can't be written.
        ModelError: The embedder can't be used.
    """
    roots = [_root(path) for path in paths]

    def add(what: Sequence[Path]) -> Iterator[Progress]:
        return add_paths(
            store,
            what,
            tenant=tenant,
            namespace=namespace,
            label=label,
            embedder=embedder,
            exclude=exclude,
            max_bytes=max_bytes,
            jobs=jobs,
        )

    with ExitStack() as stack:
        watches = [stack.enter_context(closing(one)) for one in _watches(roots, stop, debounce)]
        early = [_changes(one) for one in watches]  # from here on nothing is missed
        yield from add(roots)
        while not stop.is_set():
            there, gone = _sorted(Changes().union(*early), roots, exclude)
            yield from remove_paths(store, gone, tenant=tenant, namespace=namespace) if gone else ()
            yield from add(there) if there else ()
            early = [_changes(one) for one in watches]


def _root(path: Path) -> Path:
    try:
        return path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise unreadable(path, error) from error


def _watches(roots: Sequence[Path], stop: threading.Event, debounce: float) -> Iterator[Generator[Changes]]:
    """Folders with all below them; of files the folders they are in, because saving often puts new ones there."""
    from watchfiles import watch as follow

    folders = {root for root in roots if root.is_dir()}
    parents = {root.parent for root in roots if root not in folders}
    step = max(1, round(debounce * 1000))
    for places, recursive in ((folders, True), (parents, False)):
        if places:
            yield follow(
                *places,
                watch_filter=None,
                step=step,
                debounce=step * _LONGEST,
                stop_event=stop,
                rust_timeout=_LOOK_MS,
                yield_on_timeout=True,
                recursive=recursive,
                ignore_permission_denied=True,
            )


def _changes(watch: Generator[Changes]) -> Changes:
    """What has changed since the last time; waits for a moment if nothing has."""
    try:
        return next(watch, Changes())
    except OSError as error:
        hint = "On Linux, /proc/sys/fs/inotify/max_user_watches says how many folders can be."
        raise StorageError(f"The folders can't be watched: {error.strerror or error}.", hint=hint) from error


def _sorted(changes: Changes, roots: Sequence[Path], exclude: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """What is to be read, and what is not there any more."""
    there: dict[Path, None] = {}
    gone: dict[Path, None] = {}
    for change, name in sorted(changes, key=lambda one: one[1]):
        path = Path(name)
        if not any(path.is_relative_to(root) and is_included(path, root, exclude) for root in roots):
            continue
        if not os.path.lexists(path):
            gone[path] = None
        elif not path.is_symlink() and (path.is_file() or (path.is_dir() and change.raw_str() == "added")):
            there[path] = None
    return list(there), list(gone)
