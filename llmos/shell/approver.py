"""Whoever sits at the terminal answers for the user: what an effect is exactly, and why it must be asked about.

The kernel asks on its own loop; the question hops over to the loop of the terminal. Knows no terminal library: a
question is put by whoever is attached. Where nobody is, nobody answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager

from llmos.errors import NobodyThere
from llmos.kernel.calls import Approval, Provenance, Reply
from llmos.shell.calls import shown_value
from llmos.shell.text import columns, harmless

Asking = Callable[[str, str], Awaitable[str | None]]
"""Shows a text and puts a question below it; the answer, or None for Ctrl-C or the end of the input."""

CHOICES = "once / for this run / always for this target / no"
_ORIGINS: Mapping[str, str] = {
    "span": "stands in",
    "record": "from a record of",
    "enum": "one of the tool's own values",
    "computed": "computed from",
    "default": "the tool's default",
    "model": "written by the model",
}
_LABELS: Mapping[str, str] = {"user": "", "files": " (your files)", "outside": " (outside)"}
_EFFECTS: Mapping[str, str] = {
    "pure": "only computes",
    "reads": "reads",
    "writes": "changes your data",
    "external": "reaches beyond this machine",
    "irreversible": "can't be undone",
}
_REPLIES: Mapping[str, Reply] = {
    **dict.fromkeys(("once", "o", "yes", "y"), "once"),
    **dict.fromkeys(("run", "r", "for this run"), "run"),
    **dict.fromkeys(("always", "a", "always for this target"), "always"),
}


class Terminal:
    """An `Approver` that asks whoever is attached, one question at a time."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asking: Asking | None = None
        self._turn = asyncio.Lock()

    @contextmanager
    def attached(self, asking: Asking | None) -> Generator[None]:
        """Put questions through `asking`, on the loop that runs now; None is nobody."""
        self._loop, self._asking = asyncio.get_running_loop(), asking
        self._turn = asyncio.Lock()
        try:
            yield
        finally:
            self._loop = self._asking = None

    async def approve(self, approval: Approval, /) -> Reply:
        """Show an effect; whatever is not a clear yes is a no.

        Raises:
            NobodyThere: No terminal is attached.
        """
        said = await self._put(described(approval), f"{CHOICES} [no]: ")
        return reply_of(said)

    async def answer(self, pid: str, question: str, /) -> str:
        """Put an open question.

        Raises:
            NobodyThere: No terminal is attached, or the question was turned away.
        """
        said = await self._put(f"\n{_quoted(question)}", f"your answer (pid {pid}): ")
        if said is None:
            raise NobodyThere("The question was not answered.", hint="Ask again, or go on without the answer.")
        return said

    async def _put(self, text: str, prompt: str) -> str | None:
        loop = self._loop
        if loop is None or self._asking is None:
            raise NobodyThere("Nobody sits at a terminal.", hint="Grant it beforehand, or run it in a terminal.")
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._ask(text, prompt), loop))

    async def _ask(self, text: str, prompt: str) -> str | None:
        async with self._turn:
            if self._asking is None:
                return None
            return await self._asking(text, prompt)


def reply_of(said: str | None) -> Reply:
    """The reply that an answer means; no, unless it is clearly another one."""
    return _REPLIES.get(" ".join((said or "").casefold().split()), "no")


def described(approval: Approval) -> str:
    """The whole question: the exact effect, each argument with where it came from, and why it must be asked.

    What comes from tools and models stands behind a bar, so that it can't look like the question itself.
    """
    call = approval.call
    origins = {**call.provenance, **approval.decision.provenance}
    arguments = [
        (f"{name} = {shown_value(value)}", came_from(origins[name]) if name in origins else "unknown where from")
        for name, value in call.arguments.items()
    ]
    head = f"{harmless(call.tool)} {_EFFECTS[call.traits.effect]}. May it?   pid {approval.pid}"
    parts = [f"\n{head}", _quoted(approval.shown)]
    if arguments:
        parts.append(columns(arguments))
    parts.append(f"  why it is asked: {harmless(approval.decision.reason)}")
    return "\n".join(parts)


def came_from(origin: Provenance) -> str:
    """Where a value came from, in words."""
    if origin.origin == "computed" and origin.of:
        return f"computed from {', '.join(came_from(one) for one in origin.of)}"
    words = _ORIGINS[origin.origin]
    source = f" {harmless(origin.source)}" if origin.source and origin.origin in ("span", "record", "computed") else ""
    if not source and words.endswith((" in", " of", " from")):
        source = " something read"
    return f"{words}{source}{_LABELS[origin.label]}"


def _quoted(text: str) -> str:
    return "\n".join(f"  │ {line}" for line in harmless(text).splitlines() or [""])
