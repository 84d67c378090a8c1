"""Reads conversations: saved ones of llmos, lists of messages in JSON, and messages by line, as phones export them.

A turn is an episode. What others said comes from outside, wherever it is kept. Knows no model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeGuard

from llmos.kernel.calls import Label
from llmos.memory.reading.document import Block, Document, Section
from llmos.memory.reading.plain import paragraphs

_WHO = ("role", "sender", "from", "author", "speaker", "user", "username", "sender_name")
_WHAT = ("content", "text", "message", "body", "msg")
_WHEN = ("time", "timestamp", "date", "created_at", "create_time", "sent_at", "ts", "timestamp_ms", "datetime")
_LISTS = ("messages", "chat_messages", "conversation", "turns", "history")
_UNSAID = frozenset({"system", "tool", "function", "developer"})
_CLEAR = 0.8  # of the entries of a list must be messages
_LONGEST_NAME = 80

# `[31.12.20, 21:41:22] Name: text`, `12/31/20, 9:41 PM - Name: text`, `2020-12-31 21:41 Name: text`
_LINE = re.compile(
    r"\u200e?\[?(\d{1,4})[./-](\d{1,2})[./-](\d{1,4}),? (?:um )?(\d{1,2}):(\d{2})(?::(\d{2}))?"
    r"[ \u202f]?([AaPp])?\.?(?:[Mm]\.?)?\]?(?: -| \u2013|:)? ([^:\n]{1,80}?): (.*)"
)
_MIN_LINES = 3
_LEVELS = frozenset({"TRACE", "DEBUG", "INFO", "NOTICE", "WARN", "WARNING", "ERROR", "CRITICAL", "FATAL"})  # of a log


@dataclass(frozen=True, slots=True)
class _Turn:
    who: str
    words: str
    when: float | None


@dataclass(frozen=True, slots=True)
class _Conversation:
    title: str
    turns: tuple[_Turn, ...]
    label: Label


def read_json_chat(text: str, name: str) -> Document | None:
    """Conversations in JSON: lists of messages, objects with such lists, or one message a line. None if it is no such.

    System messages and results of tools are left out: nobody said them.
    """
    value = _parsed(text)
    several = _is_list(value) and value and all(_is_object(one) and _messages(one) is not None for one in value)
    found: list[_Conversation] = []
    for one in value if several and _is_list(value) else [value]:
        entries = _messages(one) if _is_object(one) else one
        if not _is_list(entries) or not entries:
            continue
        turns = [_turn(entry) for entry in entries]
        if sum(turn is not None for turn in turns) < len(turns) * _CLEAR:
            return None
        said = tuple(turn for turn in turns if turn and turn.words.strip() and turn.who not in _UNSAID)
        title = next((one[key] for key in ("title", "name") if _is_object(one) and isinstance(one.get(key), str)), "")
        found += [_Conversation(title or name, said, _label(one))] if said else []
    return _document(found, name) if found else None


def _messages(value: dict[str, Any]) -> list[Any] | None:
    """The list of messages of an object; None if it has none."""
    tree = value.get("mapping")  # as ChatGPT exports them: nodes by id, in the order of writing
    if _is_object(tree):
        return [node["message"] for node in tree.values() if _is_object(node) and node.get("message")]
    return next((value[key] for key in _LISTS if _is_list(value.get(key))), None)


def read_line_chat(text: str, name: str) -> Document | None:
    """Messages that each begin with a date, a time and a name. None if it is not that."""
    if not _LINE.match(text.lstrip("\ufeff \n")):
        return None
    lines = text.split("\n")
    dated = [_LINE.match(line) for line in lines]
    found = [match for match in dated if match]
    if len(found) < _MIN_LINES or any(_LEVELS & {*match[8].upper().split()} for match in found):
        return None
    months_first = _months_first(found)
    begun: list[tuple[re.Match[str], list[str]]] = []
    for line, match in zip(lines, dated, strict=True):
        if match:
            begun.append((match, [match[9]]))
        elif begun and line.strip():
            begun[-1][1].append(line)
    turns = [
        _Turn(match[8].strip(), "\n".join(words), _line_time(match, months_first=months_first))
        for match, words in begun
    ]
    return _document([_Conversation(name, tuple(turns), "outside")], name)


def _document(conversations: Sequence[_Conversation], name: str) -> Document:
    parts: list[str] = []
    sections: list[Section] = []
    place = 0
    for title, turn in ((one.title, turn) for one in conversations for turn in one.turns):
        text = f"{turn.who}: {turn.words.strip()}\n\n" if turn.who else f"{turn.words.strip()}\n\n"
        metadata: dict[str, Any] = {"conversation": title}
        if turn.who:
            metadata["sender"] = turn.who
        if turn.when is not None:
            metadata["time"] = turn.when
        blocks = tuple(Block(place + start, place + stop) for start, stop in paragraphs(text))
        sections.append(Section(blocks=blocks, metadata=metadata))
        parts.append(text)
        place += len(text)
    return Document(
        title=conversations[0].title if len(conversations) == 1 else name,
        text="".join(parts),
        sections=tuple(sections),
        form="chat",
        verbatim=False,
        kind="episode",
        label="files" if all(one.label == "files" for one in conversations) else "outside",
    )


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except RecursionError:
        return None
    except ValueError:
        pass
    try:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        return None


def _label(value: object) -> Label:
    """A conversation of llmos says what its answers were made from; all others come from outside."""
    seen = value.get("seen") if _is_object(value) else None
    if _is_object(value) and value.get("version") == 1 and _is_list(seen):
        return "files" if all(_is_object(one) and one.get("label") in ("user", "files") for one in seen) else "outside"
    return "outside"


def _turn(entry: object) -> _Turn | None:
    """A message; None if it is none."""
    if not _is_object(entry):
        return None
    who = next((_named(entry[key]) for key in _WHO if key in entry), None)
    what = next((_words(entry[key]) for key in _WHAT if key in entry), None)
    when = next((_time(entry[key]) for key in _WHEN if key in entry), None)
    if who is None and when is not None and what is not None:  # many other things have a name and a text
        who = _named(entry.get("name"))
    # without words it is a call of a tool, or a picture
    return None if who is None else _Turn(_clean(who)[:_LONGEST_NAME], _clean(what or ""), when)


def _named(value: object) -> str:
    if _is_object(value):
        value = next((value[key] for key in (*_WHO, "name") if isinstance(value.get(key), str)), "")
    return value if isinstance(value, str) else ""


def _words(value: object) -> str:
    """The text of a message; of one in parts, the parts that are text."""
    if isinstance(value, str):
        return value
    if _is_object(value):
        return _words(value.get("text", value.get("parts", "")))
    if _is_list(value):
        return "".join(_words(part) for part in value)
    return ""


def _clean(text: str) -> str:
    text = text.encode("utf-8", "replace").decode()
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")


def _time(value: object) -> float | None:
    """Seconds since 1970, from seconds, milliseconds or an ISO date."""
    if isinstance(value, str):
        try:
            when = datetime.fromisoformat(value)
        except ValueError:
            try:
                return _time(float(value))
            except ValueError:
                return None
        return _seconds(when)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e14:
        return value / 1000 if value > 1e11 else float(value)
    return None


def _months_first(found: Sequence[re.Match[str]]) -> bool:
    """Whether dates are written as in the United States: some day is above 12, or the clock has halves."""
    if any(int(match[1]) > 12 for match in found):
        return False
    return any(int(match[2]) > 12 for match in found) or bool(found[0][7])


def _line_time(match: re.Match[str], *, months_first: bool) -> float | None:
    first, second, third, hour = int(match[1]), int(match[2]), int(match[3]), int(match[4])
    if first > 31:
        year, month, day = first, second, third
    else:
        day, month, year = (second, first, third) if months_first else (first, second, third)
    if match[7]:
        hour = hour % 12 + (12 if match[7] in "pP" else 0)
    try:
        when = datetime(year + 2000 if year < 100 else year, month, day, hour, int(match[5]), int(match[6] or 0))
    except ValueError:
        return None
    return _seconds(when)


def _seconds(when: datetime) -> float | None:
    """Since 1970. Without a time zone it is the local one: it was exported by the user's own device."""
    try:
        return when.timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)
