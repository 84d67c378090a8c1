"""`llmos memory` but for adding and forgetting: finds, lists, shows, exports and draws what is remembered.

Knows no command line: `llmos.shell.cli_memory` has the commands.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmos.config import MemoryOptions, load_settings
from llmos.errors import ConfigError, StorageError
from llmos.memory.exporting import export as write_all
from llmos.memory.exporting import load as load_all
from llmos.memory.exporting import plain, write
from llmos.memory.items import KINDS, Filter, Hit, Item, Kind
from llmos.memory.memory import Memory
from llmos.memory.places import day_of, named, place_of
from llmos.runs import memory_of
from llmos.shell import jsonl, waiting
from llmos.shell.conversations import shorten
from llmos.shell.text import columns, harmless

if TYPE_CHECKING:
    from llmos.memory.map_layout import By

_WIDTH = 100
_SNIPPET = 3


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which items are meant, as they are written on the command line; None leaves it open."""

    kinds: Sequence[str] | None = None
    sources: Sequence[str] | None = None
    namespace: str | None = None
    history: bool = False

    @property
    def open(self) -> bool:
        """Whether nothing is chosen."""
        return not (self.kinds or self.sources or self.namespace or self.history)


@contextmanager
def opened(tenant: str | None, options: MemoryOptions | None = None) -> Generator[Memory]:
    """The memory of the settings, closed after the block.

    Args:
        tenant: Another one's; None for that of the settings.

    Raises:
        ConfigError: A setting or the tenant can't be used.
    """
    options = options or load_settings().memory
    options = options if tenant is None else replace(options, tenant=tenant)
    memory = memory_of(options, notify=waiting.say)
    try:
        yield memory
    finally:
        memory.close()


def filter_of(memory: Memory, chosen: Chosen) -> Filter:
    """A filter of what was chosen.

    Raises:
        ConfigError: There is no such kind.
    """
    from llmos.memory.forgetting import sources_of

    return memory.filter(
        kinds=None if chosen.kinds is None else [_kind(name) for name in chosen.kinds],
        sources=None if chosen.sources is None else sources_of(memory, chosen.sources),
        namespaces=None if chosen.namespace is None else [chosen.namespace],
        current=None if chosen.history else True,
    )


def _kind(name: str) -> Kind:
    found: Kind | None = next((kind for kind in KINDS if kind == name.lower().rstrip("s")), None)
    if found is None:
        raise ConfigError(f"There is no kind {name!r} of memory.", hint=f"There are {', '.join(KINDS)}.")
    return found


# -- search


def search(query: str, chosen: Chosen, tenant: str | None, *, limit: int, as_json: bool) -> int:
    """Print what fits a query.

    Returns:
        Exit code: 1 if nothing relevant is there.
    """
    with opened(tenant) as memory:
        found = memory.search(query, limit=limit, within=filter_of(memory, chosen) if memory.exists else None)
        trouble = memory.trouble
    hits = found.hits if found.relevant else ()
    if as_json:
        for hit in found.hits:
            values = {"score": hit.score, "dense": hit.dense, "lexical": hit.lexical, "relevant": found.relevant}
            print(jsonl.line({**plain(hit.item), "place": place_of(hit.item), **values}))
        return 0 if hits else 1
    if trouble:
        waiting.say(harmless(f"by words only: {trouble}"))
    if not hits:
        print("nothing relevant is remembered")
        return 1
    print("\n\n".join(map(hit_text, hits)))
    return 0


def hit_text(hit: Hit) -> str:
    """A hit for people: number, place and score, and below it the beginning of its text."""
    lines = [line.strip() for line in hit.item.text.splitlines() if line.strip()]
    shown = [line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…" for line in lines[:_SNIPPET]]
    more = ["…"] if len(lines) > _SNIPPET else []
    head = f"{hit.item.id}  {place_of(hit.item, heading=True)}  ({hit.score:.2f})"
    return harmless("\n".join([head, *(f"    {line}" for line in [*shown, *more])]))


# -- list and show


def show_list(chosen: Chosen, tenant: str | None, *, items: bool, as_json: bool) -> None:
    """Print the sources and what was told, or every item."""
    with opened(tenant) as memory:
        if not memory.exists:
            print(jsonl.line([]) if as_json else _EMPTY)
        elif items or not chosen.open:
            found = memory.store.items(filter_of(memory, chosen))
            print("\n".join(jsonl.line(plain(item)) for item in found) if as_json else items_text(found))
        elif as_json:
            rows = memory.store.sources(memory.filter())
            print(jsonl.line([{name: getattr(row, name) for name in _COLUMNS} for row in rows]))
        else:
            print(listing(memory))


_COLUMNS = ("source", "kind", "namespace", "items", "characters", "added")
_EMPTY = "nothing is remembered yet; llmos memory add PATH adds documents"


def listing(memory: Memory) -> str:
    """The sources, and what the user told, for people."""
    if not memory.exists:
        return _EMPTY
    rows = [
        (named(one.source), f"{one.items:,} {one.kind}{'' if one.items == 1 else 's'}, {day_of(one.added)}")
        for one in memory.store.sources(memory.filter(kinds=("passage", "episode", "skill")))
    ]
    told = memory.store.items(memory.filter(kinds=("fact", "preference")))
    parts = [columns(rows, indent=0)] if rows else []
    parts += [items_text(told)] if told else []
    return harmless("\n\n".join(parts) or _EMPTY)


def items_text(items: Sequence[Item]) -> str:
    """Items, a line each."""
    rows = [
        (str(item.id), f"{item.kind:<10}  {shorten(item.text, _WIDTH)}  ({place_of(item)}){_past(item)}")
        for item in items
    ]
    return harmless(columns(rows, indent=0)) if rows else "nothing of this is remembered"


def _past(item: Item) -> str:
    return "" if item.superseded_by is None else f"  superseded by {item.superseded_by}"


def show(numbers: Sequence[int], tenant: str | None, *, as_json: bool) -> int:
    """Print items whole.

    Returns:
        Exit code: 1 if one is not there.
    """
    with opened(tenant) as memory:
        found = memory.get(numbers)
    for item in found:
        print(jsonl.line(plain(item)) if as_json else item_text(item))
    missing = [number for number in numbers if number not in {item.id for item in found}]
    for number in missing:
        waiting.say(f"there is no item {number}")
    return 1 if missing else 0


def pin(numbers: Sequence[int], tenant: str | None, *, off: bool) -> int:
    """Have facts in every context, or no longer.

    Returns:
        Exit code: 1 if one is no fact or preference.
    """
    with opened(tenant) as memory:
        facts = {item.id: item for item in memory.get(numbers) if item.kind in ("fact", "preference")}
        change = memory.personal.unpin if off else memory.personal.pin
        change(*facts)
    for item in facts.values():
        print(f"{'unpinned' if off else 'pinned'}: {harmless(item.text)}")
    missing = [number for number in numbers if number not in facts]
    for number in missing:
        waiting.say(f"{number} is no fact or preference: `llmos memory list --kind preference` has their numbers")
    return 1 if missing else 0


def item_text(item: Item) -> str:
    """An item with all that is known of it, for people."""
    moment = time.strftime("%Y-%m-%d %H:%M", time.localtime(item.created)) if item.created is not None else ""
    rows = [
        ("item", f"{item.id}, {item.kind}"),
        ("from", place_of(item, heading=True)),
        ("label", item.label),
        ("written", moment),
        *([("namespace", item.namespace)] if item.namespace else []),
        *([("superseded by", str(item.superseded_by))] if item.superseded_by is not None else []),
        *((name, str(value)) for name, value in item.metadata.items()),
    ]
    return harmless(f"{columns(rows, indent=0)}\n\n{item.text}\n")


# -- what there is


def stats(tenant: str | None, *, as_json: bool) -> None:
    """Print how much there is."""
    with opened(tenant) as memory:
        facts = memory.stats()
    print(jsonl.line(facts) if as_json else stats_text(facts))


def stats_text(facts: dict[str, Any]) -> str:
    """How much there is, for people."""
    kinds = ", ".join(f"{count:,} {kind}{'' if count == 1 else 's'}" for kind, count in facts["kinds"].items())
    rows = [
        ("tenant", facts["tenant"]),
        ("items", f"{facts['items']:,}" + (f": {kinds}" if kinds else "")),
        *([("superseded", f"{facts['superseded']:,}")] if facts.get("superseded") else []),
        ("sources", f"{facts['sources']:,}"),
        ("on disk", f"{facts['bytes'] / 1e6:,.1f} MB"),
        *([("embedding", facts["embedder"])] if facts.get("embedder") else []),
        *([("waiting", f"{facts['waiting']:,} texts have no vector yet")] if facts.get("waiting") else []),
        *([("trouble", facts["trouble"])] if facts.get("trouble") else []),
        *([("lost", facts["lost"])] if facts.get("lost") else []),
    ]
    return harmless(columns(rows, indent=0))


# -- export, import, map


def export(file: Path, tenant: str | None) -> None:
    """Write everything into a file, or to stdout.

    Raises:
        StorageError: It can't be written.
    """
    with opened(tenant) as memory:
        if str(file) == "-":
            for _ in write(memory, sys.stdout):
                pass
            return
        count = write_all(memory, file)
    waiting.say(f"{count:,} item{'' if count == 1 else 's'} in {harmless(str(file))}, in clear text")


def load(file: Path, tenant: str | None) -> None:
    """Take over what was exported.

    Raises:
        ConfigError: It is no such file, or a line of it is damaged.
        StorageError: It can't be read, or memory can't be written.
    """
    with opened(tenant) as memory:
        came = load_all(memory, file)
    known = f", {came.known:,} were there already" if came.known else ""
    print(f"{came.added:,} item{'' if came.added == 1 else 's'} added{known}")


def draw(file: Path, tenant: str | None, *, query: str, like: str, by: By, as_json: bool) -> None:
    """Draw the map: a page, and a picture beside it.

    Raises:
        ConfigError: `like` is no sum of words.
        ModelError: The embedding model can't be used.
        StorageError: A file can't be written.
    """
    from llmos.memory.map import memory_map

    page = file.with_suffix(".html")
    with opened(tenant) as memory:
        drawn = memory_map(memory.store, memory.meaning.embedder, memory.filter(), query=query, like=like, by=by)
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(drawn.html, encoding="utf-8")
        page.with_suffix(".png").write_bytes(drawn.png)
    except OSError as error:
        raise StorageError(f"{str(page)!r} can't be written: {error.strerror or error}.") from error
    near = [
        {"asked": one.text, "near": [{"cosine": round(each.cosine, 4), **plain(each.item)} for each in one.nearest]}
        for one in drawn.neighbours
    ]
    if as_json:
        print(jsonl.line({"page": str(page), "picture": str(page.with_suffix(".png")), "neighbours": near}))
        return
    for one in drawn.neighbours:
        rows = [
            (f"{each.cosine:.2f}", f"{shorten(each.item.text, 70)}  ({place_of(each.item)})") for each in one.nearest
        ]
        print(harmless(f"{one.text}\n{columns(rows)}"))
    for note in drawn.notes:
        waiting.say(harmless(note))
    print(f"written: {page} and {page.with_suffix('.png').name}")
