"""The chat's answers on a terminal: Markdown while it is written, a line that says how it goes, keys that stop it.

Knows the prompt library only for reading keys.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType
from typing import Self, TextIO

from prompt_toolkit.input import Input
from prompt_toolkit.input.typeahead import store_typeahead
from prompt_toolkit.key_binding import KeyPress
from prompt_toolkit.keys import Keys

from llmos.errors import LlmosError
from llmos.events import Event, Token
from llmos.shell.session import Session
from llmos.shell.text import complaint, harmless, traced

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PICTURE_SECONDS = 1 / 12
_ESCAPE_SECONDS = 0.05  # a lone Esc is told from the beginning of an arrow key by the silence after it
_DIM, _YELLOW, _RED = "2", "33", "31"


def styled(text: str, code: str) -> str:
    """A text in a style of the terminal, unless `NO_COLOR` is set."""
    return text if os.environ.get("NO_COLOR") else f"\x1b[{code}m{text}\x1b[0m"


class TerminalScreen:
    """Shows a chat on a terminal (a `Screen`)."""

    def __init__(self, source: Input, out: TextIO | None = None) -> None:
        self._source = source
        self._out = out or sys.stdout
        self.session: Session | None = None

    def say(self, text: str, /) -> None:
        """Print a text."""
        print(harmless(text), file=self._out, flush=True)

    def warn(self, text: str, /) -> None:
        """Print a text so that it stands back."""
        print("\n".join(styled(line, _DIM) for line in harmless(text).split("\n")), file=self._out, flush=True)

    def fail(self, error: LlmosError, /) -> None:
        """Print what went wrong."""
        first, _, rest = complaint(error.message, error.hint).partition("\n")
        print(traced(error) + styled(first, _RED) + (f"\n{rest}" if rest else ""), file=self._out, flush=True)

    def markdown(self, text: str, /) -> None:
        """Print rendered Markdown."""
        from llmos.shell.render import MarkdownStream

        stream = MarkdownStream(self._out)
        stream.feed(text)
        stream.finish()

    def answer(self) -> TerminalAnswer:
        """Show an answer while it comes."""
        assert self.session is not None, "the screen was not told its session"
        return TerminalAnswer(self.session, self._source, self._out)


class TerminalAnswer:
    """Paints one answer, several times a second, until it is complete."""

    def __init__(self, session: Session, source: Input, out: TextIO) -> None:
        from llmos.shell.render import MarkdownStream

        self._session = session
        self._source = source
        self._out = out
        self._stream = MarkdownStream(out)
        self._begun = time.monotonic()
        self._thinking = False
        self._cleanup = ExitStack()
        self._painter: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        print(file=self._out, flush=True)

    def _begin(self) -> None:
        self._cleanup.enter_context(stop_keys(self._source, self._session.stop))
        self._painter = asyncio.create_task(self._paint())

    def _end(self) -> None:
        if self._painter is not None:
            self._painter.cancel()
        self._cleanup.close()
        self._stream.finish()

    def event(self, event: Event, /) -> None:
        """Take what it adds to the answer; the next picture shows it."""
        if isinstance(event, Token):
            self._thinking = event.channel == "reasoning"
            if event.channel == "answer":
                self._stream.feed(event.text)

    def note(self, text: str, /) -> None:
        """Print a line above the picture, for good."""
        self._stream.finish()
        print(styled(harmless(text), _DIM), file=self._out, flush=True)

    async def ask(self, text: str, prompt: str, /) -> str | None:
        """Put a question in between."""
        from llmos.shell.questions import put

        self._end()
        try:
            return await put(text, prompt, source=self._source, out=self._out)
        finally:
            self._begin()

    async def _paint(self) -> None:
        for frame in range(sys.maxsize):
            begun = time.monotonic()
            self._stream.paint(styled(f"{_FRAMES[frame % len(_FRAMES)]} {self._status()}", _DIM))
            # Rendering must not take more than a tenth of the processor from the model.
            await asyncio.sleep(max(_PICTURE_SECONDS, 9 * (time.monotonic() - begun)))

    def _status(self) -> str:
        session, passed = self._session, time.monotonic() - self._begun
        if session.kernel.state == "loading":
            return f"loading the model · {passed:.0f} s · Esc stops"
        if session.running is not None:
            return f"{session.doing} · Esc interrupts"
        if not session.generating:
            return f"reading · {passed:.1f} s · Esc stops"
        doing = "thinking · " if self._thinking else ""
        speed = f"{session.tokens_per_second:.0f} tokens/s · " if session.tokens_per_second else ""
        return f"{doing}{session.generating:,} tokens · {speed}Esc stops"


@contextmanager
def stop_keys(source: Input, stop: Callable[[], None]) -> Generator[None]:
    """Call `stop` at Esc, Ctrl-C or an interrupt; what else is typed goes to the next prompt."""
    loop = asyncio.get_running_loop()
    typed: list[KeyPress] = []
    flush: list[asyncio.TimerHandle] = []

    def take(keys: list[KeyPress]) -> None:
        if [press.key for press in keys] == [Keys.Escape] or any(press.key == Keys.ControlC for press in keys):
            stop()
        else:
            typed.extend(press for press in keys if press.key != Keys.CPRResponse)

    def ready() -> None:
        for handle in flush:
            handle.cancel()
        take(source.read_keys())
        flush[:] = [loop.call_later(_ESCAPE_SECONDS, lambda: take(source.flush_keys()))]

    with suppress(NotImplementedError):  # no such handlers on Windows, where Ctrl-C comes as a key
        loop.add_signal_handler(signal.SIGINT, stop)
    try:
        with source.raw_mode(), source.attach(ready):
            yield
    finally:
        for handle in flush:
            handle.cancel()
        with suppress(NotImplementedError):
            loop.remove_signal_handler(signal.SIGINT)
        store_typeahead(source, typed)
