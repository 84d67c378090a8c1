"""Forgets what memory holds so that no byte of it stays in any file of the data folder.

Besides the store and its index it goes through what was made of it: runs that recalled it or were told it, saved chats,
what was typed, KV states, pictures. First it is found out what would go; then it goes; then all files are looked
through for what should be gone. Knows no terminal. What other programs keep (a backup, a terminal's scrollback, the
memory of a chat that is open elsewhere), and texts that only mean the same, it can't know.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from llmos.config import write_atomically
from llmos.errors import NoSuchProcess, StorageError
from llmos.kernel import control, paging_hot, pruning
from llmos.kernel.journal import Journal
from llmos.kernel.task import Task
from llmos.memory.items import Item
from llmos.memory.personal import summaries_of
from llmos.memory.traces import Traces, files_with

if TYPE_CHECKING:
    from llmos.memory.memory import Memory

FORGOTTEN = "(forgotten)"
"""Stands in a saved chat for what was taken out of it."""

RELEVANT = 0.5
"""What a query finds with less than this is not meant by it."""

_FOUND = 50
_STORED = 400
_TYPED = re.compile(r"(?m)^# ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would be forgotten.

    Attributes:
        items: Of memory, superseded ones too.
        runs: Whose contents would go.
        alive: Runs that hold it and are under way: they must end first.
        chats: Files of saved chats that have it.
        typed: How many lines of what was typed.
        traces: By which it is recognized.
    """

    items: tuple[Item, ...] = ()
    runs: tuple[str, ...] = ()
    alive: tuple[str, ...] = ()
    chats: tuple[Path, ...] = ()
    typed: int = 0
    traces: Traces = field(default_factory=lambda: Traces(()))

    @property
    def empty(self) -> bool:
        """Whether there is nothing to forget."""
        return not (self.items or self.runs or self.chats or self.typed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What became of it.

    Attributes:
        items, runs, chats, typed: How many went.
        renamed: Chats whose file has another name now, old to new: the old one had words of it.
        left: Files in which something of it still stands, with the words: another program holds them, or the same
            text is there for another reason.
    """

    items: int
    runs: int
    chats: int
    typed: int
    renamed: dict[Path, Path]
    left: dict[Path, str]


# -- what is meant


def meant(
    memory: Memory,
    *,
    query: str = "",
    sources: Sequence[str] = (),
    since: float | None = None,
    until: float | None = None,
) -> list[Item]:
    """The items that somebody means; without any argument all of the tenant's.

    Args:
        query: What they are about: those in which it stands, and those that fit it well.
        sources: Files, folders, addresses or conversations.
        since, until: When they were written down, seconds since 1970, `until` excluded.
    """
    if not memory.exists:
        return []
    wanted = sources_of(memory, sources) if sources else None
    if wanted is not None and not wanted:
        return []
    within = memory.filter(sources=wanted, since=since, until=until, current=None)
    if not query:
        return _all(memory, within)
    plain = " ".join(query.casefold().split())
    found = memory.search(query, limit=_FOUND, within=within)
    ids = [hit.item.id for hit in found.hits if found.relevant and hit.score >= RELEVANT]
    for identity, _ in memory.store.matching(query, within, limit=1000):
        ids.append(identity)
    items = {item.id: item for item in memory.get(list(dict.fromkeys(ids)))}
    relevant = {hit.item.id for hit in found.hits if found.relevant and hit.score >= RELEVANT}
    return [item for item in items.values() if item.id in relevant or plain in " ".join(item.text.casefold().split())]


def sources_of(memory: Memory, given: Sequence[str]) -> list[str]:
    """The sources that are meant by paths, folders or the beginning of an address."""
    known = [one.source for one in memory.store.sources(memory.filter(current=None))]
    found: list[str] = []
    for one in given:
        place = str(Path(one).expanduser().absolute())
        below = place.rstrip("/") + "/"
        found += [source for source in known if source in (one, place) or source.startswith((below, one + "#"))]
    return list(dict.fromkeys(found))


def _all(memory: Memory, within: Any) -> list[Item]:  # noqa: ANN401  # a Filter
    items: list[Item] = []
    while batch := memory.store.items(within, after=items[-1].id if items else 0, limit=1000):
        items += batch
    return items


# -- what holds it


def plan(memory: Memory, items: Iterable[Item], *, also: Sequence[str] = ()) -> Plan:
    """What holds some items.

    Args:
        also: More texts to be forgotten, such as the words by which they were told.

    Raises:
        StorageError: The journal or a file can't be read.
    """
    chosen = _with_summaries(memory, _with_history(memory, list(items)))
    folder = memory.folder.parent
    traces = Traces(tuple(_still_alone(memory, chosen)) + tuple(text for text in also if text.strip()))
    if not traces.texts:
        return Plan(items=tuple(chosen))
    runs, said = _runs_with(folder, traces)
    traces = traces.and_exactly(said)
    chats = {path: _Chat.read(path, traces) for path in sorted((folder / "conversations").glob("*.json"))}
    held = tuple(path for path, chat in chats.items() if chat.holds)
    traces = traces.and_exactly(text for path in held for text in chats[path].asked)
    return Plan(
        items=tuple(chosen),
        runs=tuple(run for run in runs if not runs[run]),
        alive=tuple(run for run in runs if runs[run]),
        chats=held,
        typed=sum(traces.within(_said(entry)) for entry in _entries(folder / "history")),
        traces=traces,
    )


def _with_history(memory: Memory, items: list[Item]) -> list[Item]:
    """The items with those that they took the place of, and theirs."""
    chosen = {item.id: item for item in items}
    if not chosen:
        return []
    older = [item for item in _all(memory, memory.filter(current=None)) if item.superseded_by is not None]
    while more := [item for item in older if item.superseded_by in chosen and item.id not in chosen]:
        chosen.update({item.id: item for item in more})
    return sorted(chosen.values(), key=lambda item: item.id)


def _with_summaries(memory: Memory, chosen: list[Item]) -> list[Item]:
    """The items with the summaries that were made of some of them."""
    told = [item for item in chosen if item.kind == "episode"]
    found = memory.get(summaries_of(memory.store, memory.tenant, told))
    return sorted({item.id: item for item in (*chosen, *found)}.values(), key=lambda item: item.id)


def _still_alone(memory: Memory, chosen: Sequence[Item]) -> list[str]:
    """The texts by which items are recognized, without those that another item of the tenant has as well."""
    gone = {item.id for item in chosen}
    texts: list[str] = []
    for item in chosen:
        for text in texts_of(item):
            same = memory.store.matching(text[:_STORED], memory.filter(current=None), limit=10)
            others = memory.get([identity for identity, _ in same if identity not in gone])
            if not any(text in other.text for other in others):
                texts.append(text)
    return list(dict.fromkeys(texts))


def texts_of(item: Item) -> list[str]:
    """What an item says, in all the words that it has: its text, and of something told the words it was told in."""
    found = [item.text]
    if item.kind in ("fact", "preference"):
        for name in ("words", "value", "turn"):
            text = item.metadata.get(name)
            if isinstance(text, str) and len(text) > 3:
                found.append(text)
    return found


def _runs_with(folder: Path, traces: Traces) -> tuple[dict[str, bool], list[str]]:
    """The runs whose contents have it, with whether they are under way; and what they were asked and answered."""
    if not (folder / "journal.sqlite3").exists():
        return {}, []
    found: dict[str, bool] = {}
    said: list[str] = []
    try:
        with closing(sqlite3.connect(folder / "journal.sqlite3", isolation_level=None)) as database:
            database.execute("PRAGMA query_only=ON")
            for run, body in database.execute("SELECT run, body FROM contents ORDER BY run"):
                if run not in found and traces.within(str(body)):
                    found[run] = False
    except sqlite3.Error as error:
        raise StorageError(f"The journal in {str(folder)!r} could not be read: {error}.") from error
    with closing(Journal(folder)) as journal:
        for run in found:
            known = journal.run(run)
            found[run] = known.state == "running" and control.is_alive(folder, known.owner)
            said += Task.from_json(known.task).said if known.task else ()
            said += _texts(json.loads(known.outcome)) if known.outcome else []
    return found, said


def _texts(value: object) -> list[str]:
    """All texts in JSON data, the names of fields left out."""
    match value:
        case str():
            return [value]
        case dict():
            return [text for one in cast("dict[str, object]", value).values() for text in _texts(one)]
        case list():
            return [text for one in cast("list[object]", value) for text in _texts(one)]
        case _:
            return []


@dataclass(frozen=True, slots=True)
class _Chat:
    """A saved chat.

    Attributes:
        data: Its JSON; None if it is damaged.
        marked: The numbers of the messages that go: those that have it, with the whole turn that they are of.
        holds: Whether any of it has to go.
    """

    data: dict[str, Any] | None
    marked: frozenset[int] = frozenset()
    holds: bool = False

    @classmethod
    def read(cls, path: Path, traces: Traces) -> _Chat:
        """Look through a file."""
        try:
            text = path.read_text("utf-8", "replace")
        except OSError as error:
            raise StorageError(f"{str(path)!r} can't be read: {error.strerror or error}.") from error
        try:
            data: object = json.loads(text)
        except (ValueError, RecursionError):  # damaged: its bytes count all the same
            return cls(None, holds=traces.within(text))
        if not isinstance(data, dict):
            return cls(None, holds=traces.within(text))
        known = cast("dict[str, Any]", data)
        messages = _messages(known)
        marked: set[int] = set()
        for turn in _turns(messages):
            if any(traces.within(text) for number in turn for text in _texts(messages[number])):
                marked.update(turn)
        return cls(known, frozenset(marked), bool(marked) or any(map(traces.within, _texts(known))))

    @property
    def asked(self) -> list[str]:
        """What the user said in the turns that go."""
        messages = _messages(self.data or {})
        return [str(messages[one].get("content", "")) for one in self.marked if messages[one].get("role") == "user"]

    def without(self, traces: Traces) -> dict[str, Any]:
        """Its data with all of that taken out."""
        data, messages = dict(self.data or {}), _messages(self.data or {})
        clean = {name: _without(value, traces) for name, value in data.items() if name != "messages"}
        first = next((number for number, one in enumerate(messages) if one.get("role") == "user"), -1)
        if first in self.marked:
            clean["title"] = FORGOTTEN
        clean["messages"] = [
            {"role": one.get("role", "user"), "content": FORGOTTEN} if number in self.marked else one
            for number, one in enumerate(messages)
        ]
        return clean


def _messages(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: object = data.get("messages")
    rows = cast("list[object]", found) if isinstance(found, list) else []
    return [cast("dict[str, Any]", one) for one in rows if isinstance(one, dict)]


def _turns(messages: Sequence[Mapping[str, Any]]) -> Iterator[list[int]]:
    """The numbers of the messages of each turn: what the user says and all up to the next; a system prompt alone."""
    turn: list[int] = []
    for number, message in enumerate(messages):
        if turn and message.get("role") in ("user", "system"):
            yield turn
            turn = []
        turn.append(number)
    if turn:
        yield turn


# -- forgetting


def forget(memory: Memory, what: Plan, *, cache: Path | None = None) -> Forgotten:
    """Forget what a plan says, and look whether anything stayed.

    Args:
        cache: Where swapped KV states are.

    Raises:
        NoSuchProcess: A run that holds it is under way.
        StorageError: Something can't be written. What went before that is gone; it can be done again.
    """
    if what.alive:
        names = ", ".join(map(repr, what.alive))
        hint = f"`llmos kill {what.alive[0]}` ends it."
        raise NoSuchProcess(f"What is to be forgotten is in use by a run that is under way: {names}.", hint=hint)
    folder = memory.folder.parent
    _forget_runs(folder, what.runs)
    renamed = {path: new for path in what.chats if (new := _redacted(path, what.traces)) != path}
    typed = _forget_typed(folder / "history", what.traces) if what.typed else 0
    if what.items:
        personal = [item.id for item in what.items if item.kind in ("fact", "preference")]
        if personal:
            memory.personal.forget(ids=personal)  # with what is written about them
        memory.store.remove([item.id for item in what.items])
        memory.store.purge()
        memory.meaning.save()
    _drop_states(folder, cache)
    _drop_pictures(memory.folder)
    return Forgotten(
        items=len(what.items),
        runs=len(what.runs),
        chats=len(what.chats),
        typed=typed,
        renamed=renamed,
        left=files_with(folder, what.traces.needles()) if folder.is_dir() else {},
    )


def _forget_runs(folder: Path, runs: Sequence[str]) -> None:
    if not (folder / "journal.sqlite3").exists():
        return
    with closing(Journal(folder)) as journal:
        for run in runs:
            pruning.forget(journal, folder, run)
    try:
        with closing(sqlite3.connect(folder / "journal.sqlite3", isolation_level=None)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # what was written before stands in the log until then
    except sqlite3.Error as error:
        raise StorageError(f"The journal in {str(folder)!r} could not be cleaned: {error}.") from error


def _redacted(path: Path, traces: Traces) -> Path:
    """Take it out of a saved chat; returns its file, which has another name if the old one had words of it."""
    chat = _Chat.read(path, traces)
    if chat.data is None:
        path.unlink(missing_ok=True)  # nothing can be taken out of what can't be read
        return path
    clean = chat.without(traces)
    new = path
    if clean.get("title") == FORGOTTEN:
        new = path.with_name(f"{path.name[:15]}-forgotten-{os.urandom(2).hex()}.json")
    write_atomically(new, json.dumps(clean, ensure_ascii=False, indent=1) + "\n")
    if new != path:
        path.unlink(missing_ok=True)
    return new


def _without(value: object, traces: Traces) -> object:
    match value:
        case str():
            return FORGOTTEN if traces.within(value) else value
        case dict():
            return {name: _without(one, traces) for name, one in cast("dict[str, object]", value).items()}
        case list():
            return [_without(one, traces) for one in cast("list[object]", value)]
        case _:
            return value


def _entries(path: Path) -> list[str]:
    """What was typed, an entry each, as the prompt keeps it."""
    try:
        text = path.read_text("utf-8", "replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"{str(path)!r} can't be read: {error.strerror or error}.") from error
    starts = [match.start() for match in _TYPED.finditer(text)]
    return [text[start:stop] for start, stop in zip(starts, [*starts[1:], len(text)], strict=True)]


def _forget_typed(path: Path, traces: Traces) -> int:
    entries = _entries(path)
    kept = [entry for entry in entries if not traces.within(_said(entry))]
    write_atomically(path, "\n" + "".join(kept))
    return len(entries) - len(kept)


def _said(entry: str) -> str:
    return "\n".join(line[1:] for line in entry.splitlines() if line.startswith("+"))


def _drop_states(folder: Path, cache: Path | None) -> None:
    """Remove KV states: they can be made again, and nobody can tell what they hold. Who misses one reads anew."""
    paging_hot.forget(folder / paging_hot.FOLDER)
    if cache is not None:
        for path in (cache / "kv").rglob("*.kv"):
            with suppress(OSError):  # of a kernel that lives, and that has just taken it back
                path.unlink()


def _drop_pictures(folder: Path) -> None:
    """Remove maps of the memory: they show what was in it."""
    for path in (*folder.glob("*.html"), *folder.glob("*.png")):
        path.unlink(missing_ok=True)
