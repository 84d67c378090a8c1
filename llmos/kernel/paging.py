"""Paging the context window: a request that would not fit is made to fit, visibly, and what it needs comes back.

Between `pages`, which only shows, `paging_plan`, which only decides, and an engine, which counts. What was decided is
journaled with the think that it was decided for, so that a resumed run has the same pages. Documentation:
docs/paging.md.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from llmos.errors import PromptTooLong
from llmos.events import Notice
from llmos.kernel.calls import Label, Observed
from llmos.kernel.journal import canonical
from llmos.kernel.pages import (
    TOOLS,
    Book,
    Change,
    Mark,
    Page,
    PageKind,
    PageTable,
    estimate,
    hash_of,
    pages_of,
    text_of,
)
from llmos.kernel.paging_hot import HotPages
from llmos.kernel.paging_plan import Need, decide
from llmos.messages import Context, Message

if TYPE_CHECKING:
    from llmos.kernel.branch import Branch
    from llmos.kernel.protocols import Engine

HOT_TOKENS = 512
"""Pinned pages at the beginning of a context that take so many tokens keep their KV state on disk."""

_TRIES = 2
_SLACK = (0.0, 1 / 8, 1 / 4, 1 / 2)  # of the window, to spare at each further try
_PER_MESSAGE = 16  # tokens of a template around a message, at most
_TEMPLATE = 64
_TOOLS_TEMPLATE = 1024
_NAMED = 3

Attempt = Callable[[Context, Callable[[Context], Context]], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A context made to fit.

    Attributes:
        view: What the model is to see.
        change: What was decided for that; not applied yet.
        book: The pages as they are then; None where the context fits without a look at its pages.
    """

    view: Context
    change: Change
    book: Book | None = None

    @property
    def seen(self) -> tuple[Observed, ...]:
        """What is brought back counts as seen, with its label."""
        return () if self.book is None else brought_back(self.book, self.change)


class Pages:
    """The pages of one context.

    Attributes:
        table: What is remembered of them.
    """

    def __init__(self, table: PageTable | None = None) -> None:
        self.table = table or PageTable()
        self._sizes: dict[str, int] = {}
        self._model = ""
        self._hot: set[str] = set()

    def copy(self) -> Pages:
        """The same pages, for a branch that goes its own way."""
        other = Pages(self.table)
        other._sizes, other._model, other._hot = self._sizes, self._model, self._hot
        return other

    async def fit(
        self, engine: Engine, context: Context, *, reserve: int, fresh: int, label: Label | None, slack: int = 0
    ) -> Fitted:
        """What to send of a context, so that `reserve` tokens are left for the answer.

        A context that is small enough is sent as it is. So is one whose window nobody knows, and raw text.

        Args:
            fresh, label: See `Need`.
            slack: Tokens to spare beyond that.
        """
        window = engine.info.context
        room = window - reserve - slack
        if not window or context.text is not None or (not slack and surely_fits(context, room)):
            return Fitted(context, Change())
        before = await self.book(engine, context)
        need = Need(room=room, fresh=fresh, label=label)
        for tries in range(_TRIES, -1, -1):
            change = decide(before, need)
            book = Book(context, self.table.apply(change), window=window, sizes=self._sizes)
            view = book.view()
            over = await self._tokens(engine, view) - room
            if over <= 0 or not tries:
                return Fitted(view, change, book)
            need = replace(need, room=need.room - over)  # notes and copies were reckoned, and take more
        raise AssertionError("the last try returns")

    async def book(self, engine: Engine, context: Context) -> Book:
        """The pages of a context with their sizes in tokens of an engine."""
        await self._count(engine, context)
        return Book(context, self.table, window=engine.info.context, sizes=self._sizes)

    def view(self, context: Context, window: int) -> Context:
        """What the model has seen of a context at the last request."""
        return Book(context, self.table, window=window, sizes=self._sizes).view()

    async def _count(self, engine: Engine, context: Context) -> None:
        """Know the sizes of all messages; each is counted once."""
        if self._model != engine.info.fingerprint:
            self._sizes, self._model = {}, engine.info.fingerprint
        for message in context.messages:
            if (digest := hash_of(message)) not in self._sizes:
                self._sizes[digest] = await _length(engine, text_of(message))
        if context.tools:
            texts = [canonical(asdict(tool)) for tool in context.tools]
            self._sizes[TOOLS] = sum([await _length(engine, text) for text in texts])

    async def _tokens(self, engine: Engine, view: Context) -> int:
        """What a view takes, its notes and copies counted as well."""
        await self._count(engine, view)
        return sum(page.tokens for page in pages_of(view, PageTable(), self._sizes))

    async def map_in(self, hot: HotPages, book: Book) -> None:
        """Bring the KV state of pinned pages that a context begins with from disk, once, or keep it there."""
        first = next((place for place, page in enumerate(book.pages) if not page.pinned), len(book.pages))
        leading = book.pages[:first]
        if not any(_is_pinned(book, page) for page in leading) or sum(page.tokens for page in leading) < HOT_TOKENS:
            return
        key = canonical([page.id for page in leading])
        if key not in self._hot:
            self._hot.add(key)
            with suppress(PromptTooLong):  # whoever asks is told
                await hot.prefix(book.context.messages[: leading[-1].stop], tools=book.context.tools)


def reserved(window: int, max_tokens: int | None) -> int:
    """How many tokens of a window are kept for an answer: as many as it may have, a quarter of the window at most."""
    wished = window // 8 if max_tokens is None else min(max_tokens, window // 4)
    return max(wished, 1)


def hear(
    branch: Branch,
    *messages: Message,
    kind: PageKind | None = None,
    owner: str = "",
    pinned: bool = False,
    label: Label | None = None,
) -> None:
    """Add messages to a branch's context, as `Branch.hear` does, and say what pages they are.

    Args:
        kind: What they are; None for what they look like.
        owner: Who puts them there.
        pinned: They are never left out. Pinned pages that a context begins with keep their KV state on disk.
        label: Where their text comes from; they count as seen with it. None where the process has seen it already.
    """
    before = len(branch.context.messages)
    branch.hear(*messages)
    table = branch.pages.table
    mark = Mark(kind=kind, owner=owner, pinned=pinned, label=label)
    for page in pages_of(branch.context, table):
        if page.start >= before and page.id != TOOLS:
            table = table.mark(page.id, mark)
    branch.pages.table = table
    if label is not None:
        _see(branch, owner or kind or "heard", {}, "\n".join(map(text_of, messages)), label)


async def attempt(branch: Branch, context: Context, max_tokens: int | None, work: Attempt) -> dict[str, Any]:
    """Do a request on as much of a context as fits.

    Where the engine finds a prompt too long all the same, because it counts otherwise than was reckoned, more is left
    out and it is tried again, a few times.

    Args:
        max_tokens: The bound of the answer.
        work: Makes the request, given what the model is to see and what shows another context in the same way; returns
            JSON data.

    Returns:
        What `work` returned; with `pages`, what was decided, where anything was.

    Raises:
        PromptTooLong: What can't be left out does not fit.
    """
    engine = await branch.engine()
    window = engine.info.context
    refused: tuple[PromptTooLong, Fitted] | None = None
    for share in _SLACK:
        fitted = await branch.pages.fit(
            engine,
            context,
            reserve=reserved(window, max_tokens),
            fresh=branch.told,
            label=branch.entry.label,
            slack=int(window * share),
        )
        if refused is not None and fitted.view == refused[1].view:
            continue
        if fitted.book is not None and branch.system.hot is not None:
            await branch.pages.map_in(HotPages(branch.system.hot, engine), fitted.book)
        try:
            data = await work(fitted.view, _shower(fitted))
        except PromptTooLong as error:
            refused = error, fitted
        else:
            for text in told(fitted):
                branch.system.emit(Notice(text=f"{branch.pid}: {text}"))
            return {**data, "pages": fitted.change.to_json()} if fitted.change else data
    assert refused is not None, "the first view is tried"
    raise _explained(*refused)


def settle(branch: Branch, context: Context, data: dict[str, Any]) -> None:
    """Do with a branch's pages what was decided in a call, which has ended just now or in an earlier life."""
    change = Change.from_json(data.get("pages", {}))
    if not change:
        return
    table = branch.pages.table = branch.pages.table.apply(change)
    book = Book(context, table, window=1)
    for observed in brought_back(book, change):
        _see(branch, observed.tool, dict(observed.arguments), str(observed.value), observed.label)


def brought_back(book: Book, change: Change) -> tuple[Observed, ...]:
    """What a decision brings back, with its label."""
    pages = (book.find(copy.page) for copy in change.copies)
    return tuple(
        Observed("page", {"turn": page.turn}, book.text(page), page.label or "outside")
        for page in pages
        if page is not None
    )


async def shared(branch: Branch, engine: Engine) -> Context:
    """A branch's context with the tokens that an engine has read for it, so that a fork shares them.

    What does not fit is not read now: the next think leaves out what is too much.
    """
    with suppress(PromptTooLong):
        (known,) = await engine.fork(view_of(branch, engine), 1)
        return replace(branch.context, tokens=known.tokens, model=known.model)
    return branch.context


def view_of(branch: Branch, engine: Engine) -> Context:
    """What the model has seen of a branch's context."""
    return branch.pages.view(branch.context, engine.info.context)


def told(fitted: Fitted) -> list[str]:
    """What a person is told of a decision."""
    change, book = fitted.change, fitted.book
    if book is None:
        return []
    lines: list[str] = []
    gone = [page for page in map(book.find, change.evict) if page is not None]
    if gone:
        tokens = sum(page.tokens for page in gone)
        lines.append(
            f"the context is full: {_counted(len(gone), 'page')} ({tokens:,} tokens) left out, {_turns(gone)};"
            f" {_counted(sum(not page.resident for page in book.pages), 'page')} are out now"
        )
    back = [page for page in (book.find(copy.page) for copy in change.copies) if page is not None]
    if back:
        lines.append(f"brought back for this message: {_turns(back)}")
    if change.restore:
        lines.append("everything fits into the context again")
    return lines


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _turns(pages: Sequence[Page]) -> str:
    turns = sorted({page.turn for page in pages})
    if len(turns) <= _NAMED:
        return f"turn {', '.join(map(str, turns))}"
    return f"turns {turns[0]}-{turns[-1]}"


def _is_pinned(book: Book, page: Page) -> bool:
    mark = book.table.marks.get(page.id)
    return mark is not None and mark.pinned


def _shower(fitted: Fitted) -> Callable[[Context], Context]:
    book = fitted.book

    def show(context: Context) -> Context:
        return context if book is None else book.of(context).view()

    return show


def _explained(error: PromptTooLong, fitted: Fitted) -> PromptTooLong:
    """The error with what is pinned, where that is part of the reason."""
    pinned = [page for page in fitted.book.pages if _is_pinned(fitted.book, page)] if fitted.book is not None else []
    if not pinned:
        return error
    names = ", ".join(f"{page.owner or page.kind} {page.tokens:,}" for page in pinned)
    return PromptTooLong(
        f"{error.message} Of these, pinned pages take {sum(page.tokens for page in pinned):,}: {names}.",
        hint="Pin less, or open the model with a larger context.",
    )


def _see(branch: Branch, tool: str, arguments: dict[str, Any], text: str, label: Label) -> None:
    """Take note of a text that the context has from now on, unless it is known to have it."""
    if label != "user" and not any(one.label == label and one.value == text for one in branch.entry.seen):
        branch.entry.seen.append(Observed(tool, arguments, text, label))


def surely_fits(context: Context, room: int) -> bool:
    """Whether a context fits even if every byte is a token."""
    size = _TEMPLATE + sum(
        _PER_MESSAGE + len(text_of(message).encode("utf-8", "replace")) for message in context.messages
    )
    if context.tools:
        size += _TOOLS_TEMPLATE + sum(len(canonical(asdict(tool)).encode()) for tool in context.tools)
    return size <= room


async def _length(engine: Engine, text: str) -> int:
    return len(await engine.tokenize(text)) if "tokenize" in engine.info.capabilities else estimate(text)
