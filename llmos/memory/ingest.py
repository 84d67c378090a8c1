"""Files, folders and pages become items of memory, and stay what their sources are.

Reads ahead while it embeds; writes each file in one transaction. What was read already is not read again, a changed
file changes only its changed passages, and one that is gone loses them. Knows readers, store and embedder, no index and
no retrieval.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

from llmos.errors import LlmosError, StorageError
from llmos.kernel.calls import Label
from llmos.memory.fetching import MAX_BYTES as MAX_PAGE
from llmos.memory.fetching import fetch
from llmos.memory.items import Filter, NewItem, hash_of
from llmos.memory.reading.chunks import reading_of
from llmos.memory.reading.content import MAX_BYTES, Content, digest_of
from llmos.memory.reading.document import READING, Reading
from llmos.memory.reading.reader import is_simple, read
from llmos.memory.reading.readers import Page, read_all, read_page
from llmos.memory.walking import Skipped, walk

if TYPE_CHECKING:
    from llmos.memory.protocols import Embedder
    from llmos.memory.store import MemoryStore

BATCH = 256
"""Texts that are embedded at once, of several files if they are short."""

_DIRECTLY = 4_000_000  # bytes of simple files that are read in this process: starting others takes longer
_TRUST: tuple[Label, ...] = ("user", "files", "outside")

State = Literal["reading", "embedding", "added", "unchanged", "removed", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What happened while something was added.

    Attributes:
        state: A part of a long source is read or embedded; or the source is done: it was added (or changed), was there
            already, was removed because it is gone, or can't be read.
        source: Its path or URL.
        done, total: Of all sources.
        seconds: Since the beginning.
        passages: How many it has now.
        added, removed: How many of them are new, how many others are gone.
        part, parts: Of a source in work: its pages or passages, and how many there are.
        reason: Why it can't be read; or what of it could not be.
    """

    state: State
    source: str
    done: int
    total: int
    seconds: float
    passages: int = 0
    added: int = 0
    removed: int = 0
    part: int = 0
    parts: int = 0
    reason: str = ""


def add_paths(
    store: MemoryStore,
    paths: Sequence[Path],
    *,
    tenant: str,
    namespace: str = "",
    label: Label = "files",
    embedder: Embedder | None = None,
    exclude: Sequence[str] = (),
    max_bytes: int = MAX_BYTES,
    jobs: int | None = None,
) -> Generator[Progress]:
    """Add files, and folders with all below them. Nothing happens before the first event is asked for.

    Killed or given up at any moment, it has added some files whole and others not at all, and goes on with those when
    it is called again.

    Args:
        store: Where they go.
        paths: Files and folders. Those inside are told by `llmos.memory.walking`.
        tenant, namespace: Whose memory, and which part of it.
        label: Of what the files say. What others wrote to the user, as mail, is from outside in any case.
        embedder: Passages are embedded and the vectors kept in the store; None leaves that for later.
        exclude: Patterns of names or paths inside the folders that are left out.
        max_bytes: Larger files are skipped.
        jobs: Processes that read; None for as many as there are cores, less one.

    Yields:
        Each source once when it is done, and now and then how far a long one is.

    Raises:
        StorageError: The store can't be written, for instance because the disk is full. What was reported is kept.
        ModelError: The embedder can't be used.
    """
    adding = _Adding(store, tenant, namespace, label, embedder)
    roots = [Path(os.path.abspath(path)) for path in paths]
    files: dict[Path, None] = {}
    skipped: list[Skipped] = []
    for root in roots:
        for found in walk(root, exclude=exclude):
            if isinstance(found, Skipped):
                skipped.append(found)
            else:
                files[found] = None
    gone = adding.gone([root for root in roots if root.is_dir()])
    adding.total = len(files) + len(skipped) + len(gone)
    yield from (adding.removed(source) for source in gone)
    changed: list[Path] = []
    for path in files:
        if (event := adding.seen(path, max_bytes)) is None:
            changed.append(path)
        else:
            yield event
    yield from adding.read(changed, max_bytes, jobs)
    yield from (adding.skipped(str(one.path), one.reason) for one in skipped)


def remove_paths(store: MemoryStore, paths: Sequence[Path], *, tenant: str, namespace: str = "") -> Generator[Progress]:
    """Remove what came from files that are not there any more, or from folders that are not.

    Raises:
        StorageError: The store can't be written.
    """
    adding = _Adding(store, tenant, namespace, "files", None)
    gone = adding.gone([Path(os.path.abspath(path)) for path in paths])
    adding.total = len(gone)
    yield from (adding.removed(source) for source in gone)


def add_url(
    store: MemoryStore,
    url: str,
    *,
    tenant: str,
    namespace: str = "",
    embedder: Embedder | None = None,
    allow_private: bool = False,
    max_bytes: int = MAX_PAGE,
    seconds: float = 30.0,
) -> Progress:
    """Add a page from the web, or renew it. Its label is "outside".

    Args:
        store, tenant, namespace, embedder: As in `add_paths`.
        allow_private: The user named this address: it may be one of this machine or its network.
        max_bytes: Larger pages are refused.
        seconds: The server may take in all.

    Raises:
        StorageError: The page can't be had or read, or the store not be written.
        ModelError: The embedder can't be used.
    """
    adding = _Adding(store, tenant, namespace, "outside", embedder, total=1)
    page = fetch(url, allow_private=allow_private, max_bytes=max_bytes, seconds=seconds)
    name = unquote(urlsplit(page.url).path).rstrip("/").rpartition("/")[2] or urlsplit(page.url).hostname or url
    reading = read_page(Content(name, page.data), kind=page.kind, charset=page.charset, url=page.url)
    *_, last = adding.take([(url, reading)])
    return last


@dataclass(slots=True)
class _Adding:
    """One call: where it writes to and how far it is."""

    store: MemoryStore
    tenant: str
    namespace: str
    label: Label
    embedder: Embedder | None
    total: int = 0
    done: int = 0
    began: float = field(default_factory=time.monotonic)

    # -- what there is to do

    def gone(self, roots: Sequence[Path]) -> list[str]:
        """Sources below some folders, or files themselves, that are not there any more."""
        if not roots:
            return []
        names = {*map(str, roots), *map(os.path.realpath, roots)}
        known = dict.fromkeys(one.source for one in self.store.sources(self._filter()) if os.path.isabs(one.source))
        below = (source for source in known if names & {source, *map(str, Path(source).parents)})
        return [source for source in below if not os.path.lexists(source)]

    def seen(self, path: Path, max_bytes: int) -> Progress | None:
        """That a file is in the store as it is, or can't be read at all; None if it has to be read."""
        source = str(path)
        try:
            digest = digest_of(path, max_bytes=max_bytes)
        except StorageError as error:
            return self.skipped(source, str(error))
        if self.store.setting(self._record(source)) != _state(digest, self.label):
            return None
        count = self.store.count(self._filter(source))
        return self._over("unchanged", source, passages=count) if count else None

    def read(self, paths: Sequence[Path], max_bytes: int, jobs: int | None) -> Iterator[Progress]:
        """Read files and take them, simple ones in this process if they are not many."""
        simple = [path for path in paths if is_simple(path)]
        others = [path for path in paths if not is_simple(path)]
        if sum(map(_size, simple)) > _DIRECTLY:
            simple, others = [], list(paths)
        yield from self._take_all(_directly(simple, max_bytes))
        if others:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            with closing(read_all(others, jobs=jobs or max(1, cores - 1), max_bytes=max_bytes)) as found:
                yield from self._take_all(
                    event if isinstance(event, Page) else (event.path, event.result) for event in found
                )

    def _take_all(self, found: Iterator[Page | tuple[Path, Reading | LlmosError]]) -> Iterator[Progress]:
        """Take what was read, several short files together."""
        waiting: list[tuple[str, Reading]] = []
        for event in found:
            if isinstance(event, Page):
                yield self._event("reading", str(event.path), part=event.read, parts=event.of)
                continue
            path, result = event
            if isinstance(result, LlmosError):
                yield self.skipped(str(path), str(result))
                continue
            waiting.append((str(path), result))
            if sum(len(reading.passages) for _, reading in waiting) >= BATCH or self.embedder is None:
                yield from self.take(waiting)
                waiting = []
        yield from self.take(waiting)

    # -- what is done

    def take(self, readings: Sequence[tuple[str, Reading]]) -> Iterator[Progress]:
        """Embed the passages of some sources and write each."""
        yield from self._embed(readings)
        for source, reading in readings:
            items = self._items(source, reading)
            changed = self.store.replace_source(self.tenant, self.namespace, source, items)
            self.store.set_setting(self._record(source), _state(reading.digest, self.label))
            yield self._over(
                "added",
                source,
                passages=len(items),
                added=len(changed.added),
                removed=len(changed.removed),
                reason="; ".join(reading.notes),
            )

    def _embed(self, readings: Sequence[tuple[str, Reading]]) -> Iterator[Progress]:
        """Keep vectors for all texts that have none, a batch at a time."""
        if self.embedder is None:
            return
        texts = {hash_of(one.text): (one.text, source) for source, reading in readings for one in reading.passages}
        known = self.store.vectors(list(texts), self.embedder.name)
        # alike in length, so that none waits for a longer one in its batch
        missing = sorted((hash for hash in texts if hash not in known), key=lambda hash: len(texts[hash][0]))
        for start in range(0, len(missing), BATCH):
            batch = missing[start : start + BATCH]
            vectors = self.embedder.embed([texts[hash][0] for hash in batch])
            self.store.keep_vectors(self.embedder.name, dict(zip(batch, vectors, strict=True)))
            if start + BATCH < len(missing):
                yield self._event("embedding", texts[batch[0]][1], part=start + len(batch), parts=len(missing))

    def removed(self, source: str) -> Progress:
        """Remove a source that is gone."""
        changed = self.store.replace_source(self.tenant, self.namespace, source, [])
        self.store.set_setting(self._record(source), "")
        return self._over("removed", source, removed=len(changed.removed))

    def skipped(self, source: str, reason: str) -> Progress:
        """That a source can't be read. What it was before stays."""
        return self._over("skipped", source, reason=reason)

    # -- inside

    def _items(self, source: str, reading: Reading) -> list[NewItem]:
        label = (
            reading.label if reading.label and _TRUST.index(reading.label) > _TRUST.index(self.label) else self.label
        )
        seen: dict[str, int] = {}
        items: list[NewItem] = []
        for passage in reading.passages:
            number = seen[passage.text] = seen.get(passage.text, -1) + 1
            metadata = {"title": reading.title, "form": reading.form, **passage.metadata}
            items.append(
                NewItem(
                    tenant=self.tenant,
                    namespace=self.namespace,
                    kind=reading.kind,
                    text=passage.text,
                    label=label,
                    source=source,
                    span=passage.span,
                    metadata=metadata,
                    created=_time(metadata),
                    key=_key(self.namespace, source, label, passage.text, str(number)),
                )
            )
        return items

    def _filter(self, source: str | None = None) -> Filter:
        sources = None if source is None else (source,)
        return Filter(tenant=self.tenant, namespaces=(self.namespace,), sources=sources, current=None)

    def _record(self, source: str) -> str:
        """The setting that says which content of a source was read: a name that does not tell the source."""
        return f"read {_key(self.tenant, self.namespace, source)}"

    def _over(self, state: State, source: str, **values: Any) -> Progress:  # noqa: ANN401 - fields of Progress
        self.done += 1
        return self._event(state, source, **values)

    def _event(self, state: State, source: str, **values: Any) -> Progress:  # noqa: ANN401 - fields of Progress
        self.total = max(self.total, self.done)
        seconds = time.monotonic() - self.began
        return Progress(state=state, source=source, done=self.done, total=self.total, seconds=seconds, **values)


def _directly(paths: Sequence[Path], max_bytes: int) -> Iterator[tuple[Path, Reading | LlmosError]]:
    for path in paths:
        try:
            yield path, reading_of(read(path, max_bytes=max_bytes))
        except LlmosError as error:
            yield path, error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _state(digest: str, label: Label) -> str:
    return f"{READING} {digest} {label}"


def _key(*parts: str) -> str:
    return hash_of("\0".join(parts)).hex()


def _time(metadata: Mapping[str, Any]) -> float | None:
    """When a message was written; None for documents, which are new when they are added."""
    when = metadata.get("time")
    return float(when) if isinstance(when, int | float) else None
