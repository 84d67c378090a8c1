"""What the user types: a command or a message. The same for a terminal and for a pipe.

Knows no terminal library; where things are shown is a `Screen`.
"""

from __future__ import annotations

import re
from pathlib import Path

from llmos.config import Settings
from llmos.errors import LlmosError
from llmos.shell.attach import attach
from llmos.shell.commands import find, names_like
from llmos.shell.commands_browse import COMMANDS as COMMANDS  # with the commands for runs, memory and the browser
from llmos.shell.commands_memory import heard
from llmos.shell.screen import Screen
from llmos.shell.session import Session, Turn

_COMMAND = re.compile(r"/([a-z?]*)(?:\s+(.*))?$", re.DOTALL)
FENCE = re.compile(r"^\s{0,3}```", re.MULTILINE)


class Shell:
    """A session, where it is shown, and whether it is over.

    Attributes:
        done: The user wants to leave.
    """

    def __init__(self, settings: Settings, screen: Screen, *, folder: Path | None = None) -> None:
        self.screen = screen
        self.session = Session(settings, warnings=screen.warn)
        self.folder = folder
        self.done = False

    async def handle(self, line: str) -> None:
        """Do what the user typed; errors are shown, not raised."""
        line = line.strip()
        command = _COMMAND.match(line)
        try:
            if command is not None:
                await self._command(command[1], (command[2] or "").strip())
            elif line and not await heard(self, line):
                await self.ask(line)
        except LlmosError as error:
            self.screen.fail(error)

    async def ask(self, words: str) -> Turn:
        """Answer a message and show it.

        Raises:
            LlmosError: A file can't be attached, or the request failed.
        """
        attached = attach(words, folder=self.folder)
        for name in attached.missing:
            self.screen.warn(f"no file {name!r} here: sent as it is written")
        return await self.answer(attached.words, attached=attached.material)

    async def answer(self, words: str, *, attached: str = "") -> Turn:
        """Answer words that are complete.

        Raises:
            LlmosError: The request failed.
        """
        async with self.screen.answer() as view:
            with self.session.approver.attached(view.ask):
                turn = await self.session.ask(words, view.event, attached=attached, note=view.note)
        self._explain(turn)
        return turn

    async def go_on(self, run: str) -> Turn:
        """Go on with a run that was interrupted.

        Raises:
            LlmosError: There is no such run, or it failed.
        """
        async with self.screen.answer() as view:
            with self.session.approver.attached(view.ask):
                turn = await self.session.go_on(run, view.event, note=view.note)
        self._explain(turn)
        return turn

    def _explain(self, turn: Turn) -> None:
        if turn.reason == "length":
            self.screen.warn(f"stopped at {turn.usage.generated_tokens:,} tokens (max_tokens); say “go on” for more")
        elif turn.reason == "context":
            self.screen.warn("the context is full: /undo takes a turn back, /clear begins anew")
        elif turn.reason == "cancelled" and turn.pid:
            self.screen.warn(f"interrupted; /continue {turn.pid} goes on with it")
        elif turn.reason == "cancelled":
            self.screen.warn("stopped; what was said is kept" if turn.text else "stopped before anything was said")

    async def _command(self, name: str, argument: str) -> None:
        command = find(name)
        if command is None:
            near = " or ".join(f"/{known}" for known in names_like(name))
            self.screen.warn(f"no command /{name}; " + (f"did you mean {near}?" if near else "/help lists them"))
            return
        await command.run(self, argument)


def is_open(text: str) -> bool:
    """Whether a code block was begun and not ended, so that the message goes on."""
    return len(FENCE.findall(text)) % 2 == 1
