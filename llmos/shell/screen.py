"""What a chat needs of the place where it is shown, and the plain form of it: lines of text, no colours, no cursor.

Knows no terminal library, so that it starts at once and works in a pipe.
"""

from __future__ import annotations

import sys
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Protocol, Self, TextIO

from llmos.errors import LlmosError
from llmos.events import Event, Token
from llmos.shell.approver import Asking
from llmos.shell.text import complaint, harmless, traced


class AnswerView(Protocol):
    """Shows one answer while it comes."""

    def event(self, event: Event, /) -> None:
        """Something happened."""
        ...

    def note(self, text: str, /) -> None:
        """Say what is being done for it, in a line."""
        ...

    @property
    def ask(self) -> Asking | None:
        """Puts a question to the user in between; None where nobody can answer."""
        ...


class Screen(Protocol):
    """Where a chat is shown."""

    def say(self, text: str, /) -> None:
        """Show what was asked for."""
        ...

    def warn(self, text: str, /) -> None:
        """Show what the user should know although nothing failed."""
        ...

    def fail(self, error: LlmosError, /) -> None:
        """Show why something did not work."""
        ...

    def markdown(self, text: str, /) -> None:
        """Show an answer that is complete."""
        ...

    def answer(self) -> AbstractAsyncContextManager[AnswerView]:
        """Show an answer that is about to come, inside a `with` block."""
        ...


class PlainScreen:
    """Answers on `out`, everything else that nobody asked for on `err` (a `Screen`)."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr

    def say(self, text: str, /) -> None:
        """Print a text."""
        print(harmless(text), file=self._out, flush=True)

    def warn(self, text: str, /) -> None:
        """Print a text on the error stream."""
        print(harmless(text), file=self._err, flush=True)

    def fail(self, error: LlmosError, /) -> None:
        """Print what went wrong on the error stream."""
        print(traced(error) + complaint(error.message, error.hint), file=self._err, flush=True)

    def markdown(self, text: str, /) -> None:
        """Print it as it was written."""
        self.say(text)

    def answer(self) -> PlainAnswer:
        """Print tokens as they come."""
        return PlainAnswer(self._out, self._err)


class PlainAnswer:
    """Writes the answer's text as it comes, and ends the line."""

    ask: Asking | None = None

    def __init__(self, out: TextIO, err: TextIO | None = None) -> None:
        self._out = out
        self._err = err or sys.stderr
        self._last = "\n"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def event(self, event: Event, /) -> None:
        """Write what it adds to the answer."""
        if isinstance(event, Token) and event.channel == "answer":
            self.write(event.text)

    def note(self, text: str, /) -> None:
        """Print it on the error stream."""
        print(harmless(text), file=self._err, flush=True)

    def write(self, text: str) -> None:
        """Write a piece of the answer."""
        if text:
            self._out.write(harmless(text))
            self._out.flush()
            self._last = text[-1]

    def end(self) -> None:
        """End the line, if one was begun."""
        if self._last != "\n":
            self.write("\n")
