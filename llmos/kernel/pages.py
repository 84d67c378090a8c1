"""The context window as a list of pages: which there are, which of them are resident, and what the model sees of it.

A context keeps all of its messages. What is sent to the processor is a view of it: pages that were evicted are left out
behind a visible note, and copies of those that a later message needs stand before that message. What is remembered of
pages (`PageTable`) is kept by a hash of their first message, so that it holds for every context that has them. Knows no
engine and decides nothing: `paging_plan` does.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal, cast, get_args

from llmos.kernel.calls import Label
from llmos.kernel.paging_words import Rarity, in_brief, sentences_of, words_of
from llmos.messages import Context, Message

PageKind = Literal["system", "profile", "tools", "retrieved", "conversation", "scratch", "note"]
"""The system prompt; what is known of the user; what tools there are; passages and documents; questions and answers;
tool calls with their results; what says that something was left out or brought back."""

KINDS: tuple[PageKind, ...] = get_args(PageKind)
TOOLS = "tools"
NOTE_TOKENS = 48
"""What a note takes at most, the summary in it not counted."""
COPY_TOKENS = 32
"""What a copy takes besides the text that is copied."""
BYTES_PER_TOKEN = 3
"""How texts that were not tokenized are reckoned; English has about four."""
_NOTE = re.compile(r"\[(?:… [\d,]+ earlier |Turn \d+, )[^\x00]{0,6000}\]")
_OVERHEAD = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What somebody said of a page. None leaves it to what the page looks like.

    Attributes:
        owner: Who put it there; empty for the process itself.
        pinned: It is never evicted.
    """

    kind: PageKind | None = None
    owner: str = ""
    pinned: bool = False
    label: Label | None = None


_UNMARKED = Mark()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some messages of a context that come and go together.

    Attributes:
        id: Of its first message: it stays the same when an answer is added.
        owner, pinned, label: See `Mark`.
        turn: The user's turn that it belongs to, from 1; 0 before the first.
        start, stop: The places of its messages in the context; equal for the tools.
        tokens: What it takes in the window, the template's own tokens too, as far as they are known.
        resident: Whether it is in the window in its own place.
        uses: How often later messages were about it.
    """

    id: str
    kind: PageKind
    turn: int
    start: int
    stop: int
    tokens: int = 0
    owner: str = ""
    pinned: bool = False
    label: Label | None = None
    resident: bool = True
    uses: int = 0


@dataclass(frozen=True, slots=True)
class Copy:
    """A page that is brought back: whole, or its parts that matter, of `limit` bytes at most if that is not 0."""

    page: str
    limit: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to become of some pages: a decision, as plain data that the journal keeps.

    Attributes:
        evict: Pages to leave out from now on.
        label: The label of those among them that have none of their own.
        stay: Pages that must not be left out, although they were in another context.
        restore: All evicted pages come back to their places first.
        release: Copies that stand in the window from earlier on are given up first.
        before, copies: Copies to stand before a page.
        hits: Pages that were needed, and were there.
    """

    evict: tuple[str, ...] = ()
    label: Label | None = None
    stay: tuple[str, ...] = ()
    restore: bool = False
    release: bool = False
    before: str = ""
    copies: tuple[Copy, ...] = ()
    hits: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.evict or self.stay or self.restore or self.release or self.copies or self.hits)

    def to_json(self) -> dict[str, Any]:
        """As JSON data, what is empty left out."""
        data: dict[str, Any] = {
            "evict": list(self.evict),
            "label": self.label,
            "stay": list(self.stay),
            "restore": self.restore,
            "release": self.release,
            "before": self.before,
            "copies": [[copy.page, copy.limit] for copy in self.copies],
            "hits": list(self.hits),
        }
        return {name: value for name, value in data.items() if value}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Change:
        """What `to_json` gave."""
        return cls(
            evict=tuple(data.get("evict", ())),
            label=data.get("label"),
            stay=tuple(data.get("stay", ())),
            restore=data.get("restore", False),
            release=data.get("release", False),
            before=data.get("before", ""),
            copies=tuple(Copy(page, limit) for page, limit in data.get("copies", ())),
            hits=tuple(data.get("hits", ())),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTable:
    """What is remembered of the pages of a context.

    Attributes:
        evicted: Ids of pages that are not in their place in the window.
        copies: By page, the copies that stand before it.
        uses: By page, how often later messages were about it.
        marks: By page, what somebody said of it.
        hits: How often a page was needed and was in the window.
        faults: How often one was needed and had to be brought back.
        evictions: How many pages were left out, all in all.
    """

    evicted: frozenset[str] = frozenset()
    copies: Mapping[str, tuple[Copy, ...]] = field(default_factory=dict[str, tuple[Copy, ...]])
    uses: Mapping[str, int] = field(default_factory=dict[str, int])
    marks: Mapping[str, Mark] = field(default_factory=dict[str, Mark])
    hits: int = 0
    faults: int = 0
    evictions: int = 0

    def apply(self, change: Change) -> PageTable:
        """The table after a decision."""
        if not change:
            return self
        copies = {} if change.release else dict(self.copies)
        if change.copies:
            copies[change.before] = (*copies.get(change.before, ()), *change.copies)
        marks = dict(self.marks)
        if change.label is not None:
            for page in change.evict:
                known = marks.get(page, _UNMARKED)
                marks[page] = replace(known, label=known.label or change.label)
        uses = Counter(self.uses)
        uses.update([*change.hits, *(copy.page for copy in change.copies)])
        evicted = frozenset[str]() if change.restore else self.evicted - frozenset(change.stay)
        return replace(
            self,
            evicted=evicted | frozenset(change.evict),
            copies=copies,
            uses=dict(uses),
            marks=marks,
            hits=self.hits + len(change.hits),
            faults=self.faults + len(change.copies),
            evictions=self.evictions + len(change.evict),
        )

    def mark(self, page: str, mark: Mark) -> PageTable:
        """The table with something said of a page."""
        return replace(self, marks={**self.marks, page: mark})

    def of(self, messages: Sequence[Message]) -> PageTable:
        """Only what it says of the pages of these messages, and the counters."""
        there = {page.id for page in pages_of(Context(messages=tuple(messages)), self)}
        return replace(
            self,
            evicted=self.evicted & there,
            copies={
                page: tuple(copy for copy in copies if copy.page in there)
                for page, copies in self.copies.items()
                if page in there
            },
            uses={page: count for page, count in self.uses.items() if page in there},
            marks={page: mark for page, mark in self.marks.items() if page in there},
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON data, what is empty left out."""
        marks = {
            page: {"kind": mark.kind, "owner": mark.owner, "pinned": mark.pinned, "label": mark.label}
            for page, mark in sorted(self.marks.items())
        }
        data: dict[str, Any] = {
            "evicted": sorted(self.evicted),
            "copies": {
                page: [[copy.page, copy.limit] for copy in copies] for page, copies in sorted(self.copies.items())
            },
            "uses": dict(sorted(self.uses.items())),
            "marks": {page: {name: said for name, said in mark.items() if said} for page, mark in marks.items()},
            "hits": self.hits,
            "faults": self.faults,
            "evictions": self.evictions,
        }
        return {name: value for name, value in data.items() if value}

    @classmethod
    def from_json(cls, data: object) -> PageTable:
        """What `to_json` gave.

        Raises:
            ValueError: It is something else.
        """
        try:
            given = cast("dict[str, Any]", data)
            table = cls(
                evicted=frozenset(map(_checked, given.get("evicted", ()))),
                copies={
                    page: tuple(Copy(_checked(one), int(limit)) for one, limit in copies)
                    for page, copies in given.get("copies", {}).items()
                },
                uses={page: int(count) for page, count in given.get("uses", {}).items()},
                marks={page: _mark(mark) for page, mark in given.get("marks", {}).items()},
                hits=int(given.get("hits", 0)),
                faults=int(given.get("faults", 0)),
                evictions=int(given.get("evictions", 0)),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError("what it says of its pages can't be read") from error
        return table


def _checked(page: object) -> str:
    if not isinstance(page, str):
        raise TypeError("a page has an id")
    return page


def _mark(data: Mapping[str, Any]) -> Mark:
    kind, label = data.get("kind"), data.get("label")
    if kind not in (None, *KINDS) or label not in (None, *get_args(Label)):
        raise ValueError("a page has a kind and a label")
    return Mark(kind=kind, owner=str(data.get("owner", "")), pinned=bool(data.get("pinned")), label=label)


def text_of(message: Message) -> str:
    """Everything of a message that the model reads."""
    calls = [json.dumps([call.name, dict(call.arguments)], default=str) for call in message.tool_calls]
    return "\n".join(part for part in (message.reasoning, message.content, *calls) if part)


def hash_of(message: Message) -> str:
    """Sixteen hexadecimal digits that stand for a message."""
    return _digest(message.role, message.name, text_of(message))


@lru_cache(maxsize=4096)
def _digest(role: str, name: str, text: str) -> str:
    whole = "\x00".join((role, name, text)).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(whole, digest_size=8).hexdigest()


def pages_of(context: Context, table: PageTable, sizes: Mapping[str, int] | None = None) -> list[Page]:
    """The pages of a context, in its order; the tools, if there are any, come first.

    Args:
        sizes: Tokens by `hash_of` a message, and those of the tools under `TOOLS`; what is missing is reckoned.
    """
    known: Mapping[str, int] = {} if sizes is None else sizes
    pages = _grouped(context.messages, table, known)
    if context.tools:
        tokens = known.get(TOOLS, 0)
        pages.insert(0, Page(id=TOOLS, kind="tools", turn=0, start=0, stop=0, tokens=tokens, pinned=True))
    return pages


def _grouped(messages: Sequence[Message], table: PageTable, sizes: Mapping[str, int]) -> list[Page]:
    pages: list[Page] = []
    times: Counter[str] = Counter()
    turn = 0
    for place, message in enumerate(messages):
        digest = hash_of(message)
        tokens = sizes.get(digest, estimate(text_of(message))) + _OVERHEAD
        last = pages[-1] if pages else None
        if last is not None and _joins(message, messages[place - 1], last):
            pages[-1] = replace(last, stop=place + 1, tokens=last.tokens + tokens)
            continue
        times[digest] += 1
        name = digest if times[digest] == 1 else f"{digest}.{times[digest]}"
        mark = table.marks.get(name, _UNMARKED)
        kind = mark.kind or _kind(message, last)
        pinned = mark.pinned or kind in ("system", "profile", "note")
        asks = message.role == "user" and kind == "conversation"
        if asks and (last is None or messages[place - 1].role != "user" or last.kind != "conversation"):
            turn += 1
        pages.append(
            Page(
                id=name,
                kind=kind,
                turn=turn,
                start=place,
                stop=place + 1,
                tokens=tokens,
                owner=mark.owner,
                pinned=pinned,
                label=mark.label,
                resident=pinned or name not in table.evicted,
                uses=table.uses.get(name, 0),
            )
        )
    return pages


def _joins(message: Message, before: Message, page: Page) -> bool:
    """Whether a message belongs to the page before it: an answer to its question, a result to its call."""
    if message.role == "tool":
        return page.kind == "scratch"
    return (
        message.role == "assistant" and not message.tool_calls and page.kind == "conversation" and before.role == "user"
    )


def _kind(message: Message, last: Page | None) -> PageKind:
    if message.role == "system" and (last is None or last.kind in ("system", "profile")):
        return "system" if last is None else "profile"
    if message.role == "user" and _NOTE.fullmatch(message.content):
        return "note"
    return "scratch" if message.role == "tool" or message.tool_calls else "conversation"


def estimate(text: str) -> int:
    """About how many tokens a text has, where nothing can count them."""
    return len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN + 1


class Book:
    """The pages of one context, with what is needed to choose among them and to show them.

    Args:
        window: Tokens that the window holds; summaries get a sixteenth of them.
        sizes: See `pages_of`.
    """

    def __init__(
        self, context: Context, table: PageTable, *, window: int, sizes: Mapping[str, int] | None = None
    ) -> None:
        self.context, self.table, self.window = context, table, window
        self.pages = pages_of(context, table, sizes)
        self.summary_tokens = window // 16
        self._sizes = sizes
        self._places = {page.id: place for place, page in enumerate(self.pages)}

    def of(self, context: Context) -> Book:
        """The pages of another context, as this table has them."""
        return Book(context, self.table, window=self.window, sizes=self._sizes)

    def rarity(self, *, besides: Page) -> Rarity:
        """How rare words are among its pages, one left aside."""
        return Rarity(self.text(page) for page in self.pages if page.id != besides.id)

    def find(self, page: str) -> Page | None:
        """A page by its id."""
        place = self._places.get(page)
        return None if place is None else self.pages[place]

    def messages(self, page: Page) -> Sequence[Message]:
        """Those of a page."""
        return self.context.messages[page.start : page.stop]

    def text(self, page: Page) -> str:
        """What a page says, without roles."""
        return "\n".join(map(text_of, self.messages(page)))

    def gaps(self) -> list[list[Page]]:
        """The runs of neighbouring pages that are left out."""
        found: list[list[Page]] = []
        inside = False
        for page in self.pages:
            if not page.resident:
                if not inside:
                    found.append([])
                found[-1].append(page)
            inside = not page.resident
        return found

    def copies(self, page: Page) -> list[tuple[Page, Copy]]:
        """The copies that stand before a page; of what has come back to its place there is none."""
        found = ((self.find(copy.page), copy) for copy in self.table.copies.get(page.id, ()))
        return [(known, copy) for known, copy in found if known is not None and not known.resident]

    def view(self) -> Context:
        """What the model sees: the context with a note in place of what is left out, and copies where they belong."""
        gaps = self.gaps()
        if not gaps:
            return self.context
        notes = {gap[0].id: self.note(gap, gaps) for gap in gaps}
        messages: list[Message] = []
        for page in self.pages:
            if page.id in notes:
                messages.append(Message("user", notes[page.id]))
            if page.resident:
                messages += (Message("user", self.copied(known, copy, page)) for known, copy in self.copies(page))
                messages += self.messages(page)
        return replace(self.context, messages=tuple(messages))

    def note(self, gap: Sequence[Page], gaps: Sequence[Sequence[Page]]) -> str:
        """What stands in place of a gap: how much is left out, and the gist of it.

        It depends on nothing but what is left out, so that a prompt keeps its beginning until more is.
        """
        whole = sum(page.tokens for one in gaps for page in one)
        share = sum(page.tokens for page in gap) / max(whole, 1)
        limit = int(self.summary_tokens * share) * BYTES_PER_TOKEN
        texts = tuple((f"({page.turn})", self._said(page)) for page in gap)
        gist = in_brief(texts, limit)
        turns = sorted({page.turn for page in gap if self.context.messages[page.start].role == "user"})
        if turns:
            named = f"{turns[0]}" if len(turns) == 1 else f"{turns[0]}-{turns[-1]}"
            head = f"… {len(turns):,} earlier turn{'' if len(turns) == 1 else 's'} ({named}) left out: ask about them"
        else:
            head = f"… {len(gap):,} earlier step{'' if len(gap) == 1 else 's'} of turn {gap[0].turn} left out"
        return f"[{head}. In brief: {gist}]" if gist else f"[{head}]"

    def copied(self, page: Page, copy: Copy, before: Page) -> str:
        """The text of a copy that stands before a page, marked with the turn that it is from."""
        said = self._said(page, named=True)
        if copy.limit:
            asked = words_of(self._asked(before))
            said = Rarity(sentences_of(said)).excerpt(asked, said, copy.limit)
        part = ", in part" if copy.limit else ""
        return f"[Turn {page.turn}, brought back{part} for what comes next:\n{said}]"

    def _asked(self, page: Page) -> str:
        return text_of(self.context.messages[page.start])

    def _said(self, page: Page, *, named: bool = False) -> str:
        texts = [(message.role, text_of(message)) for message in self.messages(page)]
        return "\n".join(f"{role}: {text}" if named else text for role, text in texts if text)
