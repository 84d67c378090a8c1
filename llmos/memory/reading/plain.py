"""Reads text without a format: paragraphs, list items, underlined headings; or line by line where lines are the data.

Knows no bytes: text comes decoded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from llmos.memory.reading.document import Block, Document, Section
from llmos.memory.reading.outline import Outline

_ITEM = re.compile(r"[ \t]*(?:[-*+•‣◦]|\(?[0-9a-z]{1,3}[.)])[ \t]+\S", re.IGNORECASE)
_UNDERLINE = re.compile(r"([=\-~^\"'`#*+.:_])\1{2,}[ \t]*$")
_ROW = re.compile(r"[ \t]*\|.*\|[ \t]*$|[^\t]*\t.*\t")


def read_text(text: str, name: str) -> Document:
    """Text for people: paragraphs are divided by empty lines.

    A line with a line of the same sign below it, at least as long, is a heading (as in reStructuredText): which signs
    mean which level follows from their order.
    """
    outline = Outline()
    signs: list[str] = []
    for start, stop in paragraphs(text):
        if heading := _heading(text, start, stop):
            title, sign, below = heading
            if sign not in signs:
                signs.append(sign)
            outline.heading(signs.index(sign), title, start, below)
            start = below
        for block in _items(text, start, stop):
            outline.block(block.start, block.stop, block.shape)
    return Document(title=_title(text) or name, text=text, sections=outline.sections(), form="text")


def read_lines(text: str, name: str) -> Document:
    """Data whose lines are the records: tables, logs, settings."""
    blocks = tuple(Block(start, stop, "lines") for start, stop in lines_of(text))
    return Document(title=name, text=text, sections=(Section(blocks=blocks),), form="text")


def lines_of(text: str, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int]]:
    """The lines of a part of a text that are not empty, without their ends: (start, stop)."""
    end = len(text) if stop is None else stop
    while start < end:
        after = text.find("\n", start, end)
        after = end if after < 0 else after
        if text[start:after].strip():
            yield start, after
        start = after + 1


def paragraphs(text: str, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int]]:
    """The runs of lines without an empty one between them: (start, stop)."""
    begin = end = -1
    for first, last in lines_of(text, start, stop):
        if begin >= 0 and first > end + 1:
            yield begin, end
            begin = first
        begin, end = (first if begin < 0 else begin), last
    if begin >= 0:
        yield begin, end


def _heading(text: str, start: int, stop: int) -> tuple[str, str, int] | None:
    """Title, sign and end of the heading that a paragraph begins with."""
    lines: list[tuple[int, int]] = []
    for line in lines_of(text, start, stop):
        lines.append(line)
        if len(lines) == 3:
            break
    over = bool(len(lines) == 3 and _UNDERLINE.match(text, *lines[0]))
    if len(lines) < 2 + over:
        return None
    title = text[slice(*lines[over])].strip()
    first, last = lines[1 + over]
    found = _UNDERLINE.match(text, first, last)
    if not found or last - first < len(title) or len(title) > 200 or not any(map(str.isalnum, title)):
        return None
    return title, found[1] * (1 + over), last


def _items(text: str, start: int, stop: int) -> Iterator[Block]:
    """A paragraph, or the items and rows that it consists of."""
    begin = start
    for first, last in lines_of(text, start, stop):
        row = _ROW.match(text, first, last)
        if first > begin and (row or _ITEM.match(text, first, last)):
            yield Block(begin, first)
            begin = first
        if row:
            yield Block(begin, last, "lines")
            begin = min(last + 1, stop)
    if begin < stop:
        yield Block(begin, stop)


def _title(text: str) -> str:
    """The first line, if it looks like a title."""
    first = next(lines_of(text[:2000]), (0, 0))
    line = text[slice(*first)].strip()
    return line if 0 < len(line) <= 100 and not line.endswith((".", ",", ";", ":", "{", ">")) else ""
