"""What a file or a page is once it has been read: its text, in sections and blocks. Plain data.

Knows no kind of file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from llmos.kernel.calls import Label
from llmos.memory.items import Kind, Span

Form = Literal["text", "markdown", "html", "pdf", "office", "code", "mail", "chat"]
"""What kind of source it was."""

Shape = Literal["heading", "prose", "lines"]
"""How a block is divided where it is too long: a heading is kept with what follows it; prose is divided between
sentences; code, rows and lists of data between lines."""

READING = 1
"""Raised when readers or passages change: what was read by an earlier one is read again."""


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a text that belongs together: a paragraph, a list item, a row, a piece of code.

    Attributes:
        start, stop: Offsets in characters of the document's text.
    """

    start: int
    stop: int
    shape: Shape = "prose"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Blocks under one heading, on one page, of one message. No passage goes beyond a section.

    Attributes:
        heading: The headings above it, outermost first, joined by " > "; of code the names of its definitions.
        page: From 1; None for sources without pages.
        metadata: JSON data for its passages, such as who sent a message. `time` is when, seconds since 1970.
    """

    blocks: tuple[Block, ...]
    heading: str = ""
    page: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A source that was read.

    Attributes:
        title: What it calls itself, else its name.
        text: All of it. Of sources that are text it is their own text, decoded, with lines that end in a single line
            feed, as `Path.read_text` gives it; of others it is what was taken out of them.
        sections: In the order of the text. What stands between blocks belongs to the section before it.
        form: What kind of source it was.
        verbatim: The text is the source's own, so that its lines can be counted.
        kind: What its passages are in memory.
        label: Whose words they are at best: what others wrote is from outside, wherever it is kept. None if the
            source's own label says it.
        metadata: JSON data for all of its passages.
        notes: What could not be read of it, for people.
        digest: Of the bytes that were read, hexadecimal.
    """

    title: str
    text: str
    sections: tuple[Section, ...]
    form: Form
    verbatim: bool = True
    kind: Kind = "passage"
    label: Label | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    notes: tuple[str, ...] = ()
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A piece of a document that is found and cited as one.

    Attributes:
        text: A verbatim part of the document's text.
        span: Where.
        metadata: JSON data: the document's and the section's.
    """

    text: str
    span: Span
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A document in passages: what is left of it when it goes into memory. The fields are those of `Document`.

    Attributes:
        passages: In the order of the text.
        characters: How many the text had.
    """

    title: str
    form: Form
    kind: Kind
    label: Label | None
    passages: tuple[Passage, ...]
    characters: int
    notes: tuple[str, ...] = ()
    digest: str = ""
