"""Conversations on disk: one JSON file each, written whole after every turn.

Knows no engine and no terminal. KV state and token ids are not kept: they can be made again from the words.
"""

from __future__ import annotations

import json
import re
import secrets
import time
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard, get_args

from llmos.config import data_dir, write_atomically
from llmos.errors import StorageError
from llmos.kernel.calls import Effect, Label, Observed
from llmos.kernel.pages import PageTable
from llmos.messages import Message, Role, ToolCall

_VERSION = 1
_TITLE = 60
_SLUG = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A conversation as it is kept.

    Attributes:
        path: Its file, which need not exist yet.
        title: For people; by default the beginning of the first question.
        summary: What came of it, in a sentence or two; empty where nobody has said so.
        updated: When it was last saved, seconds since the epoch.
        model: The name of the model that was last used.
        seen: What its messages hold besides the user's words, with label and source; None where that is not known.
        pages: Which of its messages were left out of the window, and what else is remembered of its pages.
    """

    path: Path
    title: str
    summary: str = ""
    updated: float = 0.0
    model: str = ""
    messages: tuple[Message, ...] = field(default=())
    seen: tuple[Observed, ...] | None = None
    pages: PageTable = field(default_factory=PageTable)

    @property
    def turns(self) -> int:
        """How many questions it has."""
        return sum(message.role == "user" for message in self.messages)


def folder() -> Path:
    """Where conversations are kept."""
    return data_dir() / "conversations"


def begin(words: str, *, where: Path | None = None) -> Conversation:
    """A new conversation named after its first question; nothing is written yet."""
    title = title_of(words)
    name = f"{time.strftime('%Y-%m-%d-%H%M')}-{_slug(title)}-{secrets.token_hex(2)}.json"
    return Conversation(path=(where or folder()) / name, title=title)


def title_of(words: str) -> str:
    """What a conversation is called by its first question."""
    return shorten(words) or "conversation"


def shorten(words: str, length: int = _TITLE) -> str:
    """The first line of a text, cut to a length at the end of a word."""
    line = next((line.strip() for line in words.splitlines() if line.strip()), "")
    line = "".join(character for character in line if character.isprintable())
    if len(line) <= length:
        return line
    head = line[: length - 1]
    return (head.rsplit(" ", 1)[0] if " " in head[length // 2 :] else head) + "…"


def _slug(title: str) -> str:
    ascii_only = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", ascii_only.lower())[:_SLUG].strip("-") or "conversation"


def save(conversation: Conversation) -> Conversation:
    """Write a conversation to its file, all of it or nothing.

    Raises:
        StorageError: It can't be written: full disk, missing rights.
    """
    saved = replace(conversation, updated=time.time())
    document: dict[str, object] = {
        "version": _VERSION,
        "title": saved.title,
        "summary": saved.summary,
        "updated": round(saved.updated, 3),
        "model": saved.model,
        "messages": [_plain(message) for message in saved.messages],
    }
    if saved.seen is not None:
        document["seen"] = [asdict(one) for one in saved.seen]
    if pages := saved.pages.to_json():
        document["pages"] = pages
    text = json.dumps(document, ensure_ascii=False, indent=1)
    write_atomically(saved.path, text.encode("utf-8", "replace").decode() + "\n")
    return saved


def load(path: Path) -> Conversation:
    """Read a conversation.

    Raises:
        StorageError: It can't be read, or it is damaged.
    """
    try:
        document: object = json.loads(path.read_text("utf-8"))
        return _parse(path, document)
    except OSError as error:
        raise StorageError(f"The conversation {path.name!r} can't be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        hint = f"The file is left as it is: {path}"
        raise StorageError(f"The conversation {path.name!r} is damaged: {error}.", hint=hint) from error


def newest_first(where: Path | None = None) -> Iterator[Path]:
    """The files of all conversations, the one saved last first."""
    files: list[tuple[float, Path]] = []
    for path in (where or folder()).glob("*.json"):
        try:
            files.append((path.stat().st_mtime, path))
        except OSError:  # deleted meanwhile
            continue
    return (path for _, path in sorted(files, reverse=True))


def recent(limit: int, *, where: Path | None = None) -> tuple[list[Conversation], list[StorageError]]:
    """The conversations saved last, and what is wrong with the damaged files among them."""
    good: list[Conversation] = []
    bad: list[StorageError] = []
    for path in newest_first(where):
        try:
            good.append(load(path))
        except StorageError as error:
            bad.append(error)
        if len(good) == limit:
            break
    return good, bad


def _plain(message: Message) -> dict[str, object]:
    calls = [{"name": call.name, "arguments": dict(call.arguments), "id": call.id} for call in message.tool_calls]
    values: dict[str, object] = {
        "content": message.content,
        "reasoning": message.reasoning,
        "tool_calls": calls,
        "name": message.name,
        "tool_call_id": message.tool_call_id,
    }
    return {"role": message.role} | {key: value for key, value in values.items() if value}


def _parse(path: Path, document: object) -> Conversation:
    if not _is_object(document) or document.get("version") != _VERSION:
        raise ValueError(f"it is not a conversation of version {_VERSION}")
    messages, updated = document.get("messages"), document.get("updated", 0.0)
    if not _is_list(messages) or not isinstance(updated, int | float):
        raise ValueError("it has no list of messages")
    seen = document.get("seen")
    if seen is not None and not _is_list(seen):
        raise ValueError("what was seen is not a list")
    return Conversation(
        path=path,
        title=_text(document, "title"),
        summary=_text(document, "summary"),
        updated=float(updated),
        model=_text(document, "model"),
        messages=tuple(_message(message) for message in messages),
        seen=None if seen is None else tuple(_observed(one) for one in seen),
        pages=PageTable.from_json(document.get("pages", {})),
    )


def _observed(value: object) -> Observed:
    if not _is_object(value):
        raise ValueError("something seen is not an object")
    arguments = value.get("arguments")
    label: Label | None = next((one for one in get_args(Label) if one == value.get("label")), None)
    effect: Effect | None = next((one for one in get_args(Effect) if one == value.get("effect")), None)
    if label is None or effect is None or not _is_object(arguments):
        raise ValueError("something seen has no label, effect or arguments")
    return Observed(_text(value, "tool"), arguments, value.get("value"), label, effect)


def _message(value: object) -> Message:
    if not _is_object(value):
        raise ValueError("a message is not an object")
    role = value.get("role")
    if not _is_role(role):
        raise ValueError(f"a message has the role {role!r}")
    calls = value.get("tool_calls", [])
    if not _is_list(calls):
        raise ValueError("the tool calls of a message are not a list")
    return Message(
        role,
        _text(value, "content"),
        reasoning=_text(value, "reasoning"),
        tool_calls=tuple(_call(call) for call in calls),
        name=_text(value, "name"),
        tool_call_id=_text(value, "tool_call_id"),
    )


def _call(value: object) -> ToolCall:
    if not _is_object(value):
        raise ValueError("a tool call is not an object")
    arguments = value.get("arguments", {})
    if not _is_object(arguments):
        raise ValueError("the arguments of a tool call are not an object")
    return ToolCall(_text(value, "name"), arguments, id=_text(value, "id"))


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key, "")
    if not isinstance(value, str):
        raise ValueError(f"{key!r} is not a text")
    return value


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list)


def _is_role(value: object) -> TypeGuard[Role]:
    return value in get_args(Role)
