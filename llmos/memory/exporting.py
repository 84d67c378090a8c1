"""A tenant's memory as one readable file, and back: JSON Lines, the first one says what it is, then an item a line.

What is superseded is in it too, with what took its place. Vectors are not: they are made again from the texts. An item
that is there already is not added a second time. Knows no index.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast, get_args

from llmos.errors import ConfigError, StorageError
from llmos.kernel.calls import Label
from llmos.memory.items import KINDS, Item, Kind, NewItem, Span

if TYPE_CHECKING:
    from llmos.memory.memory import Memory

VERSION = 1
_BATCH = 500
_LABELS: tuple[Label, ...] = get_args(Label)

Progress = Callable[[int], None]
"""Told how many items are done."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import came to.

    Attributes:
        added: Items that are new.
        known: Items that were there already.
    """

    added: int
    known: int


def export(memory: Memory, path: Path, *, progress: Progress = lambda done: None) -> int:
    """Write all items of a tenant to a file, all of them or nothing; only its owner can read it.

    Returns:
        How many there are.

    Raises:
        StorageError: It can't be written, or the store can't be read.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    count = 0
    try:
        try:
            with open(partial, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                for count in write(memory, file):
                    progress(count)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{str(path)!r} can't be written: {error.strerror or error}.") from error
    return count


def write(memory: Memory, file: TextIO) -> Iterator[int]:
    """Write all items of a tenant; gives after each how many there are until then."""
    head = {"llmos": "memory", "version": VERSION, "tenant": memory.tenant, "written": round(time.time(), 3)}
    file.write(json.dumps(head, ensure_ascii=False) + "\n")
    for count, item in enumerate(_items(memory), 1):
        file.write(json.dumps(plain(item), ensure_ascii=False).encode("utf-8", "replace").decode() + "\n")
        yield count


def plain(item: Item) -> dict[str, Any]:
    """An item as JSON data; what it leaves open is left out."""
    data: dict[str, Any] = {"id": item.id, "kind": item.kind, "label": item.label, "text": item.text}
    span = {name: value for name, value in asdict(item.span).items() if value not in (None, "")}
    rest: dict[str, Any] = {
        "namespace": item.namespace,
        "source": item.source,
        "span": span,
        "metadata": dict(item.metadata),
        "created": item.created,
        "valid_from": item.valid_from,
        "key": item.key,
        "superseded_by": item.superseded_by,
    }
    return data | {name: value for name, value in rest.items() if value not in (None, "", {})}


def _items(memory: Memory) -> Iterator[Item]:
    after = 0
    while memory.exists:
        batch = memory.store.items(memory.filter(current=None), after=after, limit=_BATCH)
        yield from batch
        if len(batch) < _BATCH:
            return
        after = batch[-1].id


def load(memory: Memory, path: Path, *, progress: Progress = lambda done: None) -> Imported:
    """Take over the items of a file that `export` wrote, as this tenant's.

    Raises:
        ConfigError: It is no such file, or a line of it is damaged; what stands before that line is taken over.
        StorageError: It can't be read, or the store can't be written.
    """
    try:
        with path.open(encoding="utf-8") as file:
            return _load(memory, file, str(path), progress)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{str(path)!r} is not UTF-8 text.") from error
    except OSError as error:
        raise StorageError(f"{str(path)!r} can't be read: {error.strerror or error}.") from error


def _load(memory: Memory, file: TextIO, name: str, progress: Progress) -> Imported:
    _check_head(file.readline(), name)
    known = {_mark(item): item.id for item in _items(memory)}
    before = len(known)
    ids: dict[int, int] = {}
    superseded: dict[int, list[int]] = {}
    batch: list[tuple[int, NewItem]] = []
    done = already = 0

    def flush() -> None:
        nonlocal already
        new = [(old, item) for old, item in batch if _mark(item) not in known]
        ids.update({old: known[_mark(item)] for old, item in batch if _mark(item) in known})
        already += len(batch) - len(new)
        for (old, item), made in zip(new, memory.store.add([item for _, item in new]), strict=True):
            ids[old] = known[_mark(item)] = made
        batch.clear()

    for number, line in enumerate(file, 2):
        if not line.strip():
            continue
        old, item, by = _read(line, memory.tenant, f"line {number} of {name!r}")
        batch.append((old, item))
        if by is not None:
            superseded.setdefault(by, []).append(old)
        done += 1
        if len(batch) == _BATCH:
            flush()
            progress(done)
    flush()
    progress(done)
    for by, olds in superseded.items():
        if by in ids:
            memory.store.supersede([ids[old] for old in olds], ids[by])
    return Imported(added=max(len(known) - before, 0), known=already)


def _mark(item: NewItem) -> tuple[object, ...]:
    """What two items have in common that are the same one."""
    if item.key:
        return (item.key,)
    return (item.kind, item.label, item.namespace, item.source, item.hash, item.created)


def _check_head(line: str, name: str) -> None:
    try:
        head: object = json.loads(line)
    except ValueError:
        head = None
    said: Mapping[str, object] = cast("dict[str, object]", head) if isinstance(head, dict) else {}
    if said.get("llmos") != "memory":
        raise ConfigError(f"{name!r} is no exported memory.", hint="`llmos memory export FILE` writes one.")
    if said.get("version") != VERSION:
        raise ConfigError(f"{name!r} is of version {said.get('version')!r}; this is {VERSION}.", hint="Update llmos.")


def _read(line: str, tenant: str, where: str) -> tuple[int, NewItem, int | None]:
    """An item, the number it had, and the number of the one in its place."""
    try:
        data: dict[str, Any] = json.loads(line)
        kind: Kind = next(one for one in KINDS if one == data["kind"])
        label: Label = next(one for one in _LABELS if one == data["label"])
        item = NewItem(
            tenant=tenant,
            kind=kind,
            text=_text(data["text"]),
            label=label,
            namespace=_text(data.get("namespace", "")),
            source=_text(data.get("source", "")),
            span=Span(**data.get("span", {})),
            metadata=dict(data.get("metadata", {})),
            created=_number(data.get("created")),
            valid_from=_number(data.get("valid_from")),
            key=_text(data.get("key", "")),
        )
        by = data.get("superseded_by")
        return int(data["id"]), item, None if by is None else int(by)
    except (KeyError, TypeError, ValueError, StopIteration, AttributeError) as error:
        raise ConfigError(f"The {where} is no item of a memory.", hint="Take the line out, or export anew.") from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _number(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("no number")
    return float(value)
