"""`/context`: the pages of a conversation, which of them are in the model's window, and what each takes. For people."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from llmos.errors import LlmosError
from llmos.kernel.pages import Book, Mark, Page
from llmos.shell.conversations import shorten
from llmos.shell.text import columns

if TYPE_CHECKING:
    from llmos.kernel.protocols import Engine
    from llmos.shell.session import Session

_BAR = 60
_SIGNS = {
    "system": "█",
    "profile": "▉",
    "tools": "▇",
    "retrieved": "▒",
    "conversation": "▓",
    "scratch": "░",
    "note": "▪",
}
_FREE = "·"
_REQUEST = re.compile(r"(pin|unpin)\s+(\d{1,6})")


async def shown(session: Session, engine: Engine) -> str:
    """A bar of what the window holds, and a line for each page; what was left out, in a line for each gap."""
    book = await session.pages.book(engine, session.context)
    if not book.pages:
        return "  the conversation is empty"
    resident = [page for page in book.pages if page.resident]
    lines = [*bar(resident, engine.info.context), "", columns(_rows(book))]
    table = book.table
    if table.evictions or table.hits or table.faults:
        lines.append(f"  {table.hits:,} hits, {table.faults:,} faults, {table.evictions:,} pages left out so far")
    if session.tokens_used:
        lines.append(f"  {session.tokens_used:,} of {engine.info.context:,} tokens in all, with the template's own")
    return "\n".join(lines)


def bar(pages: Sequence[Page], window: int) -> list[str]:
    """How much of a window each kind of page takes, as a bar and its legend."""
    sums = {kind: sum(page.tokens for page in pages if page.kind == kind) for kind in _SIGNS}
    whole = sum(sums.values())
    size = max(window, whole, 1)
    cells: list[str] = []
    for place in range(_BAR):
        cells.append(_sign_at((place + 0.5) * size / _BAR, sums))
    legend = [f"{_SIGNS[kind]} {kind} {tokens:,}" for kind, tokens in sums.items() if tokens]
    if window:
        legend.append(f"{_FREE} free {max(window - whole, 0):,}")
    return [f"  {''.join(cells)}  {whole:,} of {window:,} tokens", f"  {'  '.join(legend)}"]


def _sign_at(token: float, sums: dict[str, int]) -> str:
    for kind, tokens in sums.items():
        if token < tokens:
            return _SIGNS[kind]
        token -= tokens
    return _FREE


def _rows(book: Book) -> list[tuple[str, str]]:
    gaps = {gap[0].id: gap for gap in book.gaps()}
    rows: list[tuple[str, str]] = []
    for page in book.pages:
        for known, _ in book.copies(page) if page.resident else ():
            rows.append((_head("copy", known.tokens, known.turn), shorten(book.text(known))))
        if page.resident:
            pinned = " (pinned)" if page.pinned and page.kind not in ("system", "tools") else ""
            used = f" (used {page.uses}×)" if page.uses else ""
            text = ", ".join(tool.name for tool in book.context.tools) if page.kind == "tools" else book.text(page)
            rows.append((_head(page.kind, page.tokens, page.turn), f"{shorten(text)}{pinned}{used}"))
        elif page.id in gaps:
            gap = gaps[page.id]
            turns = f"turns {gap[0].turn}-{gap[-1].turn}" if gap[0].turn != gap[-1].turn else f"turn {page.turn}"
            rows.append((_head("out", sum(one.tokens for one in gap), None), f"{turns}: {shorten(book.text(page))} …"))
    return rows


def _head(kind: str, tokens: int, turn: int | None) -> str:
    return f"{turn if turn else '':>4} {kind:<12} {tokens:>7,}"


async def pin(session: Session, engine: Engine, request: str) -> str:
    """Pin a turn, or let it go: `pin 3`, `unpin 3`.

    Raises:
        LlmosError: There is no such turn, or what is pinned would take more than half of the window.
    """
    match = _REQUEST.fullmatch(request.strip())
    if match is None:
        raise LlmosError(f"/context does not know {request!r}.", hint="/context, /context pin 3 or /context unpin 3.")
    pinned, turn = match[1] == "pin", int(match[2])
    book = await session.pages.book(engine, session.context)
    chosen = [page for page in book.pages if page.turn == turn and page.kind not in ("system", "tools", "note")]
    if not chosen:
        raise LlmosError(f"There is no turn {turn} in this conversation.", hint="/context lists them.")
    taken = sum(page.tokens for page in book.pages if page.pinned and page not in chosen)
    tokens, window = sum(page.tokens for page in chosen), engine.info.context
    if pinned and window and taken + tokens > window // 2:
        raise LlmosError(
            f"Turn {turn} takes {tokens:,} tokens and other pinned pages {taken:,}; the window holds {window:,},"
            " of which half may be pinned.",
            hint="Unpin another one, or open the model with a larger context.",
        )
    table = session.pages.table
    for page in chosen:
        table = table.mark(page.id, replace(table.marks.get(page.id, Mark()), pinned=pinned))
    session.pages.table = table
    if session.conversation is not None:
        session.save()
    return f"turn {turn} {'is pinned' if pinned else 'is not pinned any more'}: {shorten(book.text(chosen[0]))}"
