"""The chat on a terminal: a prompt that is there at once, while the model loads behind it.

Knows the prompt library. What the user types is handled in `llmos.shell.shell`.
"""

from __future__ import annotations

import asyncio
import textwrap
import time
from collections.abc import Callable
from importlib import import_module

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.input import create_input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.styles import Style

from llmos.config import Settings, data_dir
from llmos.errors import LlmosError
from llmos.shell import banner
from llmos.shell.completion import ShellCompleter
from llmos.shell.shell import Shell, is_open
from llmos.shell.terminal import TerminalScreen
from llmos.shell.text import complaint, traced
from llmos.shell.waiting import prepares, without_microcode

_STYLE = Style.from_dict(
    {
        "bottom-toolbar": "noreverse fg:ansibrightblack",
        "low": "fg:ansiyellow bold",
        "bad": "fg:ansired bold",
        "wait": "fg:ansicyan",
        "headline": "bold",
        "note": "fg:ansibrightblack",
        "prompt": "fg:ansicyan bold",
    }
)
_LOADING_PICTURE_SECONDS = 0.25


def run_repl(settings: Settings, *, first: str = "") -> int:
    """Chat on the terminal until the user leaves.

    Args:
        first: A command to begin with, such as `/resume 1`.

    Returns:
        Exit code 0.
    """
    asyncio.run(_Repl(settings).run(first))
    return 0


class _Repl:
    def __init__(self, settings: Settings) -> None:
        self._input = create_input()
        self._screen = TerminalScreen(self._input)
        self._shell = Shell(settings, self._screen)
        self._screen.session = self._shell.session
        self._begun = time.monotonic()
        self._notes: list[str] = []
        self._greeting = True
        self._prepares = False
        self._prompt: PromptSession[str] = PromptSession(
            message=self._message,
            input=self._input,
            history=_history(self._screen.warn),
            completer=ShellCompleter(self._shell),
            complete_while_typing=True,
            multiline=True,
            prompt_continuation="  ",
            bottom_toolbar=self._toolbar,
            key_bindings=_bindings(),
            style=_STYLE,
            reserve_space_for_menu=6,
            enable_open_in_editor=False,
        )
        self._prompt.app.after_render += self._first_picture
        self._behind: asyncio.Task[None] | None = None

    async def run(self, first: str) -> None:
        try:
            if first:
                await self._shell.handle(first)
            while not self._shell.done:
                try:
                    words = await self._prompt.prompt_async()
                except KeyboardInterrupt:
                    self._screen.warn("Ctrl-D leaves")
                    continue
                except EOFError:
                    break
                finally:
                    self._greeting = self._greeting and self._shell.session.kernel.info is None
                await self._shell.handle(words)
        finally:
            if self._behind is not None:
                self._behind.cancel()
            await self._shell.session.close()

    def _first_picture(self, _: object) -> None:
        """The prompt is on the screen: now everything slow may begin."""
        if self._behind is None:
            self._behind = asyncio.create_task(self._load())

    async def _load(self) -> None:
        """Load the model and what answers are rendered with, and keep the prompt's picture up to date meanwhile."""
        session = self._shell.session
        loading = asyncio.create_task(session.kernel.engine())
        self._prepares = await asyncio.to_thread(prepares, session.settings)
        asyncio.get_running_loop().run_in_executor(None, import_module, "llmos.shell.render")
        while not loading.done():
            await asyncio.wait({loading}, timeout=_LOADING_PICTURE_SECONDS)
            self._prompt.app.invalidate()
        try:
            loading.result()
            info = loading.result().info
            said = [text for text in (banner.how(info), without_microcode(info)) if text]
            self._notes = [*said, *await asyncio.to_thread(banner.notes, session.settings.model)]
        except LlmosError as error:
            self._notes = [*traced(error).splitlines(), *complaint(error.message, error.hint).splitlines()]
        self._prompt.app.invalidate()

    def _message(self) -> StyleAndTextTuples:
        prompt: StyleAndTextTuples = [("class:prompt", "> ")]
        return [*self._banner(), *prompt] if self._greeting else prompt

    def _banner(self) -> StyleAndTextTuples:
        session, width = self._shell.session, max(_columns() - 1, 20)
        headline = banner.headline(banner.pending(session), session.kernel.info)
        lines: StyleAndTextTuples = [("class:headline", headline), ("class:note", "      /help for commands\n")]
        for note in [*filter(None, [banner.mode(session)]), *self._notes]:
            lines += [("class:note", f"{line}\n") for line in textwrap.wrap(note, width)]
        return lines

    def _toolbar(self) -> StyleAndTextTuples:
        passed = time.monotonic() - self._begun
        line: StyleAndTextTuples = []
        parts = banner.status(self._shell.session, loading_seconds=passed, prepares=self._prepares)
        for kind, text in banner.fitting(parts, _columns()):
            line += [("", " · " if line else ""), (f"class:{kind}" if kind else "", text)]
        return line


def _columns() -> int:
    return get_app().output.get_size().columns


class _Remembering(FileHistory):
    """A history that goes on in memory when its file can't be written."""

    def __init__(self, filename: str, warn: Callable[[str], None]) -> None:
        super().__init__(filename)
        self._warn = warn
        self._failed = False

    def store_string(self, string: str) -> None:
        try:
            super().store_string(string)
        except OSError as error:
            if not self._failed:
                self._warn(f"what you type is not remembered for the next time: {error}")
            self._failed = True


def _history(warn: Callable[[str], None]) -> History:
    path = data_dir() / "history"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError as error:
        warn(f"what you type is not remembered for the next time: {error}")
        return InMemoryHistory()
    return _Remembering(str(path), warn)


def _bindings() -> KeyBindings:
    bindings = KeyBindings()

    @bindings.add("enter")
    def _send(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.complete_state is not None and buffer.complete_state.current_completion is not None:
            buffer.complete_state = None
        elif is_open(buffer.text):
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @bindings.add("escape", "enter")
    def _new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @bindings.add("c-c")
    def _discard(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt, style="class:aborting")

    return bindings
