"""Which pages leave a window that is full, and which come back because a message is about them.

Pure: the same pages and the same room give the same decision. Knows no engine, no clock and no journal.

What is given up has the least value per token, where the value comes from kind, age, earlier uses, and how much the
message is about it (after GreedyDual-Size, Cao and Irani 1997, "Cost-Aware WWW Proxy Caching Algorithms"). Leaving out
a page makes the processor read everything after it again, so pages go in batches, down to a low-water mark.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from llmos.kernel.calls import Label
from llmos.kernel.pages import BYTES_PER_TOKEN, COPY_TOKENS, NOTE_TOKENS, Book, Change, Copy, Page, PageKind
from llmos.kernel.paging_words import words_of

LOW_WATER = 0.7
"""The share of the room that is filled when pages have been left out."""

RECALL_SHARE = 0.25
"""The share of the room that what is brought back for one message may take."""

_NEEDED = 0.25  # a message is about a page that has so much of its words, by weight
_AT_ONCE = 3
_HALF_LIFE = 16.0  # in pages
_ABOUT = 8.0
_FRESH = 1000.0  # what was not read yet goes last
_LEAST_PART = 48  # tokens: a smaller part of a page is not worth bringing back
_WORTH: Mapping[PageKind, float] = {"conversation": 1.0, "retrieved": 0.5, "scratch": 0.4}
_TURN = re.compile(r"\bturn\s+(\d{1,6})(?:\s*[-\u2013]\s*(\d{1,6}))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a request needs.

    Attributes:
        room: Tokens that its prompt may have.
        fresh: The place of the first message that was not there at the last request; 0 where there was none.
        label: What is evicted counts as, where it has no label of its own.
    """

    room: int
    fresh: int = 0
    label: Label | None = None


class _Load:
    """Tokens that a prompt takes while pages are left out of it."""

    def __init__(self, book: Book, evicted: Collection[str], standing: Mapping[str, int], copies: int) -> None:
        self._pages = book.pages
        self._places = {page.id: place for place, page in enumerate(book.pages)}
        self._gone = [page.id in evicted for page in book.pages]
        self._standing = standing
        self._summary = book.summary_tokens
        self._resident = copies + sum(
            page.tokens + standing.get(page.id, 0) for page in book.pages if page.id not in evicted
        )
        self._gaps = sum(gone and not before for before, gone in zip([False, *self._gone], self._gone, strict=False))

    @property
    def tokens(self) -> int:
        """With the notes that stand in place of what is left out."""
        return self._resident + self._gaps * NOTE_TOKENS + (self._summary if self._gaps else 0)

    def leave_out(self, page: Page) -> None:
        """Leave out one more."""
        place = self._places[page.id]
        around = (place > 0 and self._gone[place - 1]) + (place + 1 < len(self._gone) and self._gone[place + 1])
        self._gone[place] = True
        self._gaps += 1 - around
        self._resident -= page.tokens + self._standing.get(page.id, 0)

    def add(self, tokens: int) -> None:
        """Take so many more, or fewer."""
        self._resident += tokens


def asked_page(book: Book) -> Page | None:
    """The page of the last question or request."""
    for page in reversed(book.pages):
        if page.kind == "conversation" and book.context.messages[page.start].role == "user":
            return page
    return None


def decide(book: Book, need: Need) -> Change:
    """What to leave out and what to bring back before a request.

    What is pinned, the message that is asked and the last page are never left out. If they alone are too much,
    everything else is left out, and whoever asked finds that it still does not fit.
    """
    asked = asked_page(book)
    kept = {page.id for page in book.pages if page.pinned} | {page.id for page in book.pages[-1:]}
    kept |= {asked.id} if asked is not None else set()
    restore = bool(book.gaps()) and _all_fits(book, need)
    evicted = set[str]() if restore else {page.id for page in book.pages if not page.resident} - kept
    standing = {} if restore else _standing(book)
    about = _about(book, asked, need) if asked is not None else {}
    needed = sorted((page for page in book.pages if page.id in about), key=lambda page: (-about[page.id], -page.start))
    there = {known.id for page in book.pages if page.id in standing for known, _ in book.copies(page)}
    hits = [page for page in needed[:_AT_ONCE] if page.id not in evicted or page.id in there]
    copies = _copies([page for page in needed[:_AT_ONCE] if page not in hits], int(need.room * RECALL_SHARE))
    load = _Load(book, evicted, standing, sum(copies.values()))
    leaving: set[str] = set()
    release = restore and bool(book.table.copies)
    if load.tokens > need.room:
        release = release or bool(standing)
        load = _Load(book, evicted, {}, sum(copies.values()))
        leaving = _leaving(book, load, need, evicted, kept, about)
        while copies and load.tokens > need.room:
            load.add(-copies.popitem()[1])
    return Change(
        evict=tuple(page.id for page in book.pages if page.id in leaving),
        label=need.label if leaving else None,
        stay=() if restore else tuple(sorted(book.table.evicted & kept)),
        restore=restore,
        release=release,
        before=asked.id if asked is not None and copies else "",
        copies=tuple(copies),
        hits=tuple(page.id for page in hits),
    )


def _standing(book: Book) -> dict[str, int]:
    """Tokens of the copies that stand before pages."""
    standing: dict[str, int] = {}
    for page in book.pages:
        sizes = [_size(known, copy) for known, copy in book.copies(page)]
        if sizes and page.resident:
            standing[page.id] = sum(sizes)
    return standing


def _size(page: Page, copy: Copy) -> int:
    whole = page.tokens + COPY_TOKENS
    return min(whole, copy.limit // BYTES_PER_TOKEN + COPY_TOKENS) if copy.limit else whole


def _all_fits(book: Book, need: Need) -> bool:
    """Whether nothing need be left out any more, with as much to spare as after an eviction."""
    return sum(page.tokens for page in book.pages) <= LOW_WATER * need.room


def _about(book: Book, asked: Page, need: Need) -> dict[str, float]:
    """By page, how much a message is about it, if the message is new; those named by their turn most of all."""
    if asked.start < need.fresh:
        return {}
    text = book.context.messages[asked.start].content
    words = words_of(text)
    turns = {number for match in _TURN.finditer(text) for number in _numbers(match[1], match[2])}
    rarity = book.rarity(besides=asked)
    found: dict[str, float] = {}
    for page in book.pages:
        if page.id == asked.id or page.pinned:
            continue
        if page.turn in turns and page.kind == "conversation":
            found[page.id] = 2.0
        elif (share := rarity.relevance(words, book.text(page))) >= _NEEDED:
            found[page.id] = share
    return found


def _numbers(first: str, last: str | None) -> range:
    return range(int(first), min(int(last or first), int(first) + _AT_ONCE) + 1)


def _copies(missing: Sequence[Page], room: int) -> dict[Copy, int]:
    """As many of some pages as fit, the first ones first, each with its tokens; the last one in part if need be."""
    copies: dict[Copy, int] = {}
    for page in missing:
        copy = Copy(page.id)
        if _size(page, copy) > room:
            if room < _LEAST_PART + COPY_TOKENS:
                break
            copy = Copy(page.id, (room - COPY_TOKENS) * BYTES_PER_TOKEN)
        copies[copy] = _size(page, copy)
        room -= copies[copy]
    return copies


def _leaving(
    book: Book, load: _Load, need: Need, evicted: Collection[str], kept: Collection[str], about: Mapping[str, float]
) -> set[str]:
    """What is worth least per token, down to the low-water mark, and what would then stand alone between gaps."""
    last = len(book.pages) - 1
    order = sorted(
        (_density(page, last - place, about.get(page.id, 0.0), fresh=0 < need.fresh <= page.start), place)
        for place, page in enumerate(book.pages)
        if page.id not in kept and page.id not in evicted
    )
    leaving: set[str] = set()
    for _, place in order:
        if load.tokens <= int(need.room * LOW_WATER):
            break
        leaving.add(book.pages[place].id)
        load.leave_out(book.pages[place])
    for page in _islands(book, leaving.union(evicted), {*kept, *about}):
        leaving.add(page.id)
        load.leave_out(page)
    return leaving


def _density(page: Page, age: int, about: float, *, fresh: bool) -> float:
    value = _WORTH.get(page.kind, 1.0) * math.exp2(-age / _HALF_LIFE) * (1 + page.uses) * (1 + _ABOUT * about)
    return value * (_FRESH if fresh else 1.0) / max(page.tokens, 1)


def _islands(book: Book, gone: Collection[str], kept: Collection[str]) -> list[Page]:
    """Resident pages between two gaps that together take no more than the note that goes with them."""
    islands: list[Page] = []
    run: list[Page] = []
    after_gap = False
    for page in book.pages:
        if page.id in gone:
            if after_gap and sum(one.tokens for one in run) <= NOTE_TOKENS:
                islands += run
            run, after_gap = [], True
        elif page.id in kept:
            run, after_gap = [], False
        else:
            run.append(page)
    return islands
