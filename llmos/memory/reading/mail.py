"""Reads mail: single messages (.eml) and mailboxes (.mbox), by the standard library. A message is an episode.

Attachments are named and not read. What a message says comes from outside, wherever it is kept.
"""

from __future__ import annotations

import email
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import default
from email.utils import parsedate_to_datetime
from typing import Any

from llmos.errors import StorageError
from llmos.memory.reading.content import Content, decoded
from llmos.memory.reading.document import Block, Document, Section
from llmos.memory.reading.html import text_of
from llmos.memory.reading.plain import paragraphs

_FROM = re.compile(rb"^From [^\n]*\n", re.MULTILINE)
_QUOTED_FROM = re.compile(rb"^>(>*From )", re.MULTILINE)
_MAX_PARTS = 200


@dataclass(frozen=True, slots=True)
class _Message:
    head: str
    body: str
    metadata: dict[str, Any]


def read_eml(content: Content) -> Document:
    """One message.

    Raises:
        StorageError: It is none.
    """
    message = _message(content.data)
    if message is None:
        raise StorageError(f"{content.name!r} is no mail message.")
    return _document([message], message.metadata["subject"] or content.name, content.name)


def read_mbox(content: Content) -> Document:
    """A mailbox: messages after lines that begin with "From " (RFC 4155).

    Raises:
        StorageError: There is no message in it.
    """
    found = [line.span() for line in _FROM.finditer(content.data) if _begins(content.data, line.start())]
    ends = [start for start, _ in found[1:]] + [len(content.data)]
    messages: list[_Message] = []
    unread = 0
    for (_, start), end in zip(found, ends, strict=False):
        message = _message(_QUOTED_FROM.sub(rb"\1", content.data[start:end]))
        if message:
            messages.append(message)
        else:
            unread += 1
    if not messages:
        raise StorageError(f"{content.name!r} is no mailbox: no message was found in it.")
    notes = (f"{unread:,} of its messages could not be read",) if unread else ()
    return _document(messages, content.name, content.name, notes)


def _begins(data: bytes, place: int) -> bool:
    """Whether a line stands at the beginning or after an empty one, as the first of a message must."""
    return place == 0 or data[max(0, place - 2) : place] == b"\n\n" or data[max(0, place - 3) : place] == b"\n\r\n"


def _document(messages: list[_Message], title: str, name: str, notes: tuple[str, ...] = ()) -> Document:
    parts: list[str] = []
    sections: list[Section] = []
    place = 0
    for message in messages:
        text = f"{message.head}\n\n{message.body}\n\n"
        blocks = [Block(place, place + len(message.head), "heading")]
        blocks += [Block(place + start, place + stop) for start, stop in paragraphs(text, len(message.head))]
        heading = message.metadata["subject"]
        sections.append(Section(blocks=tuple(blocks), heading=heading, metadata=message.metadata))
        parts.append(text)
        place += len(text)
    return Document(
        title=title or name,
        text="".join(parts),
        sections=tuple(sections),
        form="mail",
        verbatim=False,
        kind="episode",
        label="outside",
        notes=notes,
    )


def _message(data: bytes) -> _Message | None:
    """What a message says; None if it is none."""
    try:
        message = email.message_from_bytes(data, policy=default)
        if not {"from", "date", "subject"} & {name.lower() for name in message}:
            return None
        head = {name: _header(message, name) for name in ("From", "To", "Date", "Subject")}
        body = _body(message)
    except Exception:  # the parser of the standard library raises anything for hostile headers; the caller reports it
        return None
    metadata: dict[str, Any] = {"subject": head["Subject"], "sender": head["From"], "to": head["To"]}
    if when := _time(_header(message, "Date")):
        metadata["time"] = when
    if identifier := _header(message, "Message-ID"):
        metadata["message_id"] = identifier
    if attached := [name for part in message.iter_attachments() if (name := part.get_filename())][:20]:
        metadata["attachments"] = attached
    shown = "\n".join(f"{name}: {value}" for name, value in head.items() if value)
    return _Message(shown, body, metadata)


def _header(message: EmailMessage, name: str) -> str:
    return " ".join(_clean(str(message.get(name) or "")).split())[:500]


def _body(message: EmailMessage) -> str:
    plain = [part for part in _parts(message) if part.get_content_type() == "text/plain"]
    chosen = plain or [part for part in _parts(message) if part.get_content_type() == "text/html"]
    texts = [_content(part) for part in chosen]
    return "\n\n".join(text.strip() for text in texts if text.strip())


def _parts(message: EmailMessage) -> Iterator[EmailMessage]:
    for number, part in enumerate(message.walk()):
        if number == _MAX_PARTS:
            return
        if part.get_content_disposition() != "attachment":
            yield part


def _content(part: EmailMessage) -> str:
    data = part.get_payload(decode=True)
    if not isinstance(data, bytes) or not data:
        return ""
    try:
        text = decoded(Content("a message", data), declared=str(part.get_content_charset() or ""))
    except StorageError:  # something else that says it is text
        return ""
    return _clean(text_of(text) if part.get_content_type() == "text/html" else text)


def _clean(text: str) -> str:
    """Without lone surrogates, which the parser leaves where bytes fit no encoding."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def _time(date: str) -> float | None:
    try:
        when: datetime = parsedate_to_datetime(date)
        return when.timestamp()
    except (ValueError, TypeError, OverflowError, OSError):
        return None
