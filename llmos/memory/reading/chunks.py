"""Divides a document into passages: pieces that are found and cited as one, of about the length a model embeds well.

A passage is a run of whole units: sentences, list items, rows, lines of code. It ends where the text itself has its
strongest break near the wanted length; among equal ones a checksum of the following words decides, so that a change at
the beginning of a long section does not move all later passages. Neighbours in a section share their last units. Knows
no kind of file and no tokenizer: lengths are estimates.
"""

from __future__ import annotations

import re
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from llmos.memory.items import Span
from llmos.memory.reading.document import Block, Document, Passage, Reading, Section
from llmos.memory.reading.sentences import estimate, sentences

TOKENS = 200
"""MiniLM reads 256 word pieces, and the estimate is not exact."""

OVERLAP = 30

_FULL = 0.6  # a passage may end early for a stronger break once it is that full
_WORD = 60  # characters that are cut where there is no space at all

# how strong a break is before a unit
_FORCED, _SENTENCE, _LINE, _BLOCK, _HEADING = range(5)  # a block's: there is an empty line before it


@dataclass(frozen=True, slots=True)
class _Unit:
    """What is not divided. `strength` is that of the break before it."""

    start: int
    stop: int
    tokens: int
    strength: int
    heading: bool = False


def passages(document: Document, *, tokens: int = TOKENS, overlap: int = OVERLAP) -> list[Passage]:
    """The passages of a document, in order. Together they hold every character that is not blank.

    Args:
        document: What was read.
        tokens: Estimated word pieces that a passage has at most.
        overlap: Estimated word pieces that are repeated at most from the passage before in the same section.

    Raises:
        ValueError: `tokens` is less than 8, or `overlap` is not less than half of it.
    """
    if tokens < 8 or not 0 <= overlap < tokens / 2:
        raise ValueError(f"passages of {tokens!r} tokens with an overlap of {overlap!r} can't be made")
    lines = _line_starts(document.text) if document.verbatim else []
    found: list[Passage] = []
    for section in _complete(document):
        units = _units(document.text, section, tokens)
        for first, last in _packed(document.text, units, tokens, overlap):
            found.append(_passage(document, section, lines, units[first].start, units[last].stop))
    return found


def reading_of(document: Document, *, tokens: int = TOKENS, overlap: int = OVERLAP) -> Reading:
    """A document in passages."""
    return Reading(
        title=document.title,
        form=document.form,
        kind=document.kind,
        label=document.label,
        passages=tuple(passages(document, tokens=tokens, overlap=overlap)),
        characters=len(document.text),
        notes=document.notes,
        digest=document.digest,
    )


def _passage(document: Document, section: Section, lines: Sequence[int], start: int, stop: int) -> Passage:
    span = Span(
        start=start,
        stop=stop,
        line=bisect_right(lines, start) if lines else None,
        last_line=bisect_right(lines, max(start, stop - 1)) if lines else None,
        page=section.page,
        heading=section.heading,
    )
    return Passage(text=document.text[start:stop], span=span, metadata={**document.metadata, **section.metadata})


def _line_starts(text: str) -> list[int]:
    starts, place = [0], text.find("\n")
    while place >= 0:
        starts.append(place + 1)
        place = text.find("\n", place + 1)
    return starts


def _complete(document: Document) -> Iterator[Section]:
    """The sections, with blocks for the text that no reader's block holds, so that nothing is lost."""
    text, place = document.text, 0
    sections = document.sections or (Section(blocks=()),)
    for number, section in enumerate(sections):
        blocks: list[Block] = []
        for block in section.blocks:
            start = max(block.start, place)
            if start < block.stop:
                blocks += [*_gap(text, place, start), Block(start, block.stop, block.shape)]
                place = block.stop
        following = [block.start for later in sections[number + 1 :] for block in later.blocks[:1]][:1]
        end = max(place, following[0] if following else len(text))
        blocks += _gap(text, place, end)
        place = end
        yield Section(blocks=tuple(blocks), heading=section.heading, page=section.page, metadata=section.metadata)


def _gap(text: str, start: int, stop: int) -> list[Block]:
    return [Block(start, stop)] if start < stop and not text[start:stop].isspace() else []


def _units(text: str, section: Section, limit: int) -> list[_Unit]:
    """What a section consists of: blocks that are short enough, else their lines or sentences, else words."""
    found: list[_Unit] = []
    for block in section.blocks:
        start, stop = _trimmed(text, block.start, block.stop, keep_indent=block.shape == "lines")
        heading = block.shape == "heading"
        size = estimate(text[start:stop])
        if 0 < size <= limit:
            found.append(_Unit(start, stop, size, _HEADING if heading else _LINE, heading))
            continue
        by_line = block.shape == "lines"
        parts, inner = (_lines, _LINE) if by_line else (sentences, _SENTENCE)
        for number, (first, last) in enumerate(parts(text, start, stop)):
            strength = inner if number else _HEADING if heading else _LINE
            found += _parted(text, first, last, limit, strength, heading=heading)
    return [
        replace(unit, strength=_BLOCK) if unit.strength < _BLOCK and _is_wide(text[before.stop : unit.start]) else unit
        for before, unit in zip([*found[:1], *found], found, strict=False)
    ]


def _is_wide(gap: str) -> bool:
    return gap.count("\n") > 1


def _parted(text: str, start: int, stop: int, limit: int, strength: int, *, heading: bool) -> Iterator[_Unit]:
    """A unit, or several if it is too long for one."""
    stop = start + len(text[start:stop].rstrip())
    size = estimate(text[start:stop])
    if 0 < size <= limit:
        yield _Unit(start, stop, size, strength, heading)
    elif size:
        yield from _pieces(text, start, stop, limit, strength)


def _trimmed(text: str, start: int, stop: int, *, keep_indent: bool) -> tuple[int, int]:
    """Without blank at both ends; the indentation of code stays."""
    whole = text[start:stop]
    end = start + len(whole.rstrip())
    begin = min(end, start + len(whole) - len(whole.lstrip()))
    if keep_indent:
        begin = max(start, text.rfind("\n", start, begin) + 1)
    return begin, end


def _lines(text: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    while start < stop:
        end = text.find("\n", start, stop) + 1 or stop
        yield start, end
        start = end


def _pieces(text: str, start: int, stop: int, limit: int, strength: int) -> Iterator[_Unit]:
    """What is too long for a unit, at spaces where there are any."""
    allowed = max(1, limit // 4)
    words = re.compile(rf"\s*\S{{1,{min(_WORD, allowed)}}}")
    first, last, size = start, start, 0
    for found in words.finditer(text, start, stop):
        tokens = estimate(found[0])
        if size and size + tokens > allowed:
            yield _Unit(first, last, size, strength)
            first, size, strength = found.end() - len(found[0].lstrip()), 0, _FORCED
        last, size = found.end(), size + tokens
    if size:
        yield _Unit(first, last, size, strength)


def _packed(text: str, units: Sequence[_Unit], limit: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Which units make a passage: (first, last)."""
    first, begin = 0, 0  # of the passage, and of what no earlier passage has
    while begin < len(units):
        size, end = 0, first
        while end < len(units) and size + units[end].tokens <= limit:
            size += units[end].tokens
            end += 1
        if end < len(units):
            end = _break(text, units, first, begin, end, limit)
        yield first, end - 1
        begin = end
        first = _shared(units, begin, limit, overlap) if begin < len(units) else begin


def _break(text: str, units: Sequence[_Unit], first: int, begin: int, end: int, limit: int) -> int:
    """The best place to end a passage that could reach to `end`, and must go beyond `begin`."""
    size, choices = 0, list[int]()
    for place in range(first, end):
        size += units[place].tokens
        if place >= begin and not units[place].heading and (size >= limit * _FULL or place == end - 1):
            choices.append(place + 1)
    if not choices:  # nothing but headings, or a heading at the end
        earlier = [place for place in range(begin + 1, end) if not units[place - 1].heading]
        return earlier[-1] if earlier else end
    return max(choices, key=lambda place: (units[place].strength, _checksum(text, units[place]), place))


def _checksum(text: str, unit: _Unit) -> int:
    return zlib.crc32(text[unit.start : unit.stop].encode("utf-8", "surrogatepass"))


def _shared(units: Sequence[_Unit], begin: int, limit: int, overlap: int) -> int:
    """Where a passage starts that repeats the last units of the one before. A heading begins anew."""
    first, size = begin, 0
    room = min(overlap, limit - units[begin].tokens)
    while first > 0 and not units[first].heading and not units[first - 1].heading:
        size += units[first - 1].tokens
        if size > room:
            break
        first -= 1
    return first
