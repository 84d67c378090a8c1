"""`llmos memory add` and `watch`: files and pages go into memory, with a bar on stderr that says how far it is.

Knows no command line: `llmos.shell.cli_memory` has the commands.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from llmos.errors import ModelError, RealModelForbidden, StorageError
from llmos.memory.places import named
from llmos.shell import jsonl, memories, waiting
from llmos.shell.text import harmless

if TYPE_CHECKING:
    from llmos.memory.ingest import Progress
    from llmos.memory.memory import Memory
    from llmos.memory.protocols import Embedder
    from llmos.memory.vectors import Moved

_INTERRUPTED = 130
_LISTED = 20


@dataclass(slots=True)
class _Count:
    """What has become of the sources so far."""

    added: int = 0
    unchanged: int = 0
    removed: int = 0
    passages: int = 0
    seconds: float = 0.0
    skipped: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    partly: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def take(self, event: Progress) -> None:
        self.seconds = event.seconds
        if event.state == "added":
            self.added += 1
            self.passages += event.added
            if event.reason:
                self.partly.append((event.source, event.reason))
        elif event.state == "unchanged":
            self.unchanged += 1
        elif event.state == "removed":
            self.removed += 1
        elif event.state == "skipped":
            self.skipped.append((event.source, event.reason))


def is_address(place: str) -> bool:
    """Whether a place is a page and no file."""
    return place.lower().startswith(("http://", "https://"))


def add(places: Sequence[str], tenant: str | None, *, namespace: str, exclude: Sequence[str], as_json: bool) -> int:
    """Add files, folders and pages.

    Returns:
        Exit code: 0 done, 1 something could not be read, 130 interrupted.

    Raises:
        StorageError: A path is not there, or memory can't be written.
    """
    missing = [place for place in places if not is_address(place) and not Path(place).expanduser().exists()]
    if missing:
        raise StorageError(f"There is no file or folder {missing[0]!r}.", hint="Nothing was added.")
    count = _Count()
    with memories.opened(tenant) as memory:
        try:
            with _shown(as_json=as_json) as show:
                for event in _events(memory, places, namespace=namespace, exclude=exclude):
                    count.take(event)
                    show(event)
                if not memory.trouble:
                    for moved in memory.meaning.settle():  # now, and not when the first question waits for it
                        show(_embedding(moved, count))
        except KeyboardInterrupt:
            waiting.say(f"interrupted: {_summary(count)}; the same command goes on from here")
            return _INTERRUPTED
        trouble = memory.trouble
    _tell(count, trouble, as_json=as_json)
    return 1 if count.skipped else 0


def _events(memory: Memory, places: Sequence[str], *, namespace: str, exclude: Sequence[str]) -> Iterator[Progress]:
    from llmos.memory.ingest import Progress, add_paths, add_url

    embedder = _embedder(memory)
    paths = [Path(place).expanduser() for place in places if not is_address(place)]
    if paths:
        yield from add_paths(
            memory.store, paths, tenant=memory.tenant, namespace=namespace, embedder=embedder, exclude=exclude
        )
    for place in filter(is_address, places):
        try:
            yield add_url(
                memory.store, place, tenant=memory.tenant, namespace=namespace, embedder=embedder, allow_private=True
            )
        except StorageError as error:
            yield Progress(state="skipped", source=place, done=1, total=1, seconds=0.0, reason=str(error))


def _embedding(moved: Moved, count: _Count) -> Progress:
    from llmos.memory.ingest import Progress

    return Progress(
        state="embedding", source="", done=moved.done, total=moved.all, seconds=count.seconds, part=moved.done,
        parts=moved.all,
    )  # fmt: skip


def _embedder(memory: Memory) -> Embedder | None:
    """The embedding model; None where it can't be had, which is told at the end."""
    try:
        return memory.meaning.embedder
    except (ModelError, RealModelForbidden) as error:
        memory.meaning.trouble = str(error)
        return None


def watch(places: Sequence[Path], tenant: str | None, *, namespace: str, exclude: Sequence[str], as_json: bool) -> int:
    """Add files and folders, and follow their changes until Ctrl-C.

    Returns:
        Exit code 0.

    Raises:
        StorageError: A path is not there or can't be watched, or memory can't be written.
    """
    from llmos.memory.watching import watch as follow

    stop = threading.Event()
    with memories.opened(tenant) as memory, _until_interrupted(stop):
        embedder = _embedder(memory)
        events = follow(
            memory.store,
            [place.expanduser() for place in places],
            tenant=memory.tenant,
            stop=stop,
            namespace=namespace,
            embedder=embedder,
            exclude=exclude,
        )
        if not as_json:
            waiting.say(f"watching {', '.join(map(str, places))}; Ctrl-C ends it")
        for event in events:
            if event.state in ("added", "removed", "skipped"):
                print(_json(event) if as_json else _line(event), flush=True)
    return 0


@contextmanager
def _until_interrupted(stop: threading.Event) -> Generator[None]:
    """Set an event at Ctrl-C, so that what is being written is written whole."""

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# -- showing


@contextmanager
def _shown(*, as_json: bool) -> Generator[Callable[[Progress], None]]:
    """What shows progress: lines of JSON, a bar on a terminal, else nothing."""
    if as_json:
        yield lambda event: print(_json(event), flush=True)
        return
    if not sys.stderr.isatty():
        yield lambda event: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}", markup=False))
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def paint(event: Progress) -> None:
            name = harmless(named(event.source))
            part = f" {event.state} {event.part} of {event.parts}" if event.parts else ""
            bar.update(task, completed=event.done, total=event.total, description=f"{name}{part}"[-60:])

        yield paint


def _json(event: Progress) -> str:
    data = asdict(event)
    return jsonl.line({"kind": "source", **data, "seconds": round(event.seconds, 3)})


def _line(event: Progress) -> str:
    name = named(event.source)
    if event.state == "skipped":
        return harmless(f"skipped {name}: {event.reason}")
    if event.state == "removed":
        return harmless(f"removed {name}: {event.removed:,} passages")
    return harmless(f"added {name}: {event.added:,} new, {event.removed:,} gone, {event.passages:,} in all")


def _summary(count: _Count) -> str:
    parts = [f"{count.added:,} added with {count.passages:,} new passages"]
    parts += [f"{count.unchanged:,} unchanged"] if count.unchanged else []
    parts += [f"{count.removed:,} gone"] if count.removed else []
    parts += [f"{len(count.skipped):,} skipped"] if count.skipped else []
    return ", ".join(parts)


def _tell(count: _Count, trouble: str, *, as_json: bool) -> None:
    if as_json:
        values = {
            "kind": "result",
            "added": count.added,
            "unchanged": count.unchanged,
            "removed": count.removed,
            "passages": count.passages,
            "skipped": [{"source": source, "reason": reason} for source, reason in count.skipped],
            "trouble": trouble,
            "seconds": round(count.seconds, 3),
        }
        print(jsonl.line(values), flush=True)
        return
    for title, found in (("could not be read", count.skipped), ("read in part", count.partly)):
        for source, reason in found[:_LISTED]:
            waiting.say(harmless(f"{title}: {named(source)}: {reason}"))
        if len(found) > _LISTED:
            waiting.say(f"and {len(found) - _LISTED:,} more; --json lists them all")
    if trouble:
        waiting.say(harmless(f"found by words only, until the embedding model works: {trouble}"))
    print(f"{_summary(count)}, in {count.seconds:.1f} s")


def in_chat(memory: Memory, places: Sequence[str], folder: Path | None) -> str:
    """Add files and pages from the chat; returns what became of them.

    Args:
        folder: What relative paths start from.

    Raises:
        StorageError: A path is not there, or memory can't be written.
    """
    count = _Count()
    whole = [place if is_address(place) else str((folder or Path()) / Path(place).expanduser()) for place in places]
    for place in whole:
        if not is_address(place) and not Path(place).exists():
            raise StorageError(f"There is no file or folder {place!r}.", hint="Nothing was added.")
    for event in _events(memory, whole, namespace="", exclude=()):
        count.take(event)
    lines = [f"could not be read: {named(source)}: {reason}" for source, reason in count.skipped[:_LISTED]]
    return "\n".join([*lines, f"{_summary(count)}, in {count.seconds:.1f} s"])
