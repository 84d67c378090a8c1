"""What benchmarks of the chat run on: chats as a user has them, each with its own data folder and workspace.

The words go the whole way that they go in `make chat`: commands, what is for the memory, the agent, the gate. Whoever
sits there agrees to everything that is asked for permission, and answers no question. Knows no request and no goal.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.report import Row, Skipped, show, write_json
from llmos.boot import Kernel
from llmos.config import EngineOptions, Settings, cache_dir, data_dir
from llmos.errors import LlmosError
from llmos.events import Event, Token
from llmos.kernel.protocols import Engine
from llmos.runs import Parts, look
from llmos.shell.approver import CHOICES, Asking
from llmos.shell.shell import Shell

SECONDS = 120.0
"""No message is waited for longer."""

_DOUBT = re.compile(r"\s*\(I am not sure of this\.\)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """What is measured.

    Attributes:
        model: A model, as in `Settings.model`; by default the embedded one.
        microcode: As the setting: `on` is what was chosen for it, `off` none, else the name of an adapter.
        squad: The development file of SQuAD 2.0, where a row takes text from it.
    """

    model: str | None = None
    microcode: str = "on"
    squad: Path | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call that was carried out."""

    tool: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a message.

    Attributes:
        text: What the chat said to it; of an error its name and message.
        calls: The tool calls of the run, in order.
        seconds: From the message to the prompt.
    """

    text: str
    calls: tuple[Call, ...]
    seconds: float


@asynccontextmanager
async def opened(how: How) -> AsyncGenerator[Engine]:
    """The engine that is measured, for any loop.

    Raises:
        Skipped: The adapter that was named can't be used.
        LlmosError: The model can't be opened.
    """
    settings = Settings(model=how.model, engine=EngineOptions(microcode=how.microcode))
    async with Kernel(settings=settings) as kernel:
        engine = await kernel.engine()
        if how.microcode not in ("on", "off") and engine.info.microcode is None:
            reason = engine.info.details.get("microcode", "it does not fit the model")
            raise Skipped(f"the adapter {how.microcode!r} is not used: {reason}".rstrip("."))
        yield engine


@contextmanager
def home() -> Generator[Path]:
    """A data folder for the time of the block, as `LLMOS_HOME`; what can be made again is where it always is.

    Yields:
        The workspace, empty, which is the current folder meanwhile. A folder beside it belongs to the caller.
    """
    cache = cache_dir()
    cache.mkdir(parents=True, exist_ok=True)
    before = os.environ.get("LLMOS_HOME")
    with tempfile.TemporaryDirectory(prefix="llmos-chat-", ignore_cleanup_errors=True) as folder:
        place, workspace = Path(folder).resolve() / "home", Path(folder).resolve() / "workspace"
        place.mkdir()
        workspace.mkdir()
        (place / "cache").symlink_to(cache.resolve(), target_is_directory=True)
        os.environ["LLMOS_HOME"] = str(place)
        try:
            with contextlib.chdir(workspace):
                yield workspace
        finally:
            if before is None:
                del os.environ["LLMOS_HOME"]
            else:
                os.environ["LLMOS_HOME"] = before


async def chat(engine: Engine, messages: Sequence[str]) -> list[Reply]:
    """One chat in the current home, from its first message to its end."""
    screen = _Screen()
    shell = Shell(Settings(), screen, folder=Path.cwd())
    session = shell.session
    await session.kernel.close()
    parts = Parts(approver=session.approver, store=session.knowing.memory)
    session.kernel = Kernel(settings=session.settings, engine=engine, parts=parts, shared=True)
    try:
        await session.kernel.engine()
        return [await _said(shell, screen, message) for message in messages]
    finally:
        await session.close()


async def _said(shell: Shell, screen: _Screen, message: str) -> Reply:
    screen.shown.clear()
    shell.session.last_pid = ""
    begun = time.perf_counter()
    try:
        async with asyncio.timeout(SECONDS):
            await shell.handle(message)
    except TimeoutError:
        screen.shown.append(f"no answer within {SECONDS:.0f} s")
    seconds = time.perf_counter() - begun
    pid = shell.session.last_pid
    calls = await asyncio.to_thread(_calls, pid) if pid else ()
    return Reply("\n".join(screen.shown).strip(), calls, seconds)


def _calls(pid: str) -> tuple[Call, ...]:
    """The tool calls of a run that were carried out, its children's too; those that failed are left out."""
    found: list[Call] = []
    for record in look(data_dir(), pid)[1]:
        if record.kind == "act" and record.done and not record.failed:
            tool, arguments = json.loads(record.arguments)
            result: Mapping[str, Any] = json.loads(record.result)
            if not (result.get("failed") or result.get("retry")):
                found.append(Call(tool, arguments))
    return tuple(found)


@dataclass(slots=True)
class _Screen:
    """Keeps what is shown to the user as an answer; remarks beside it are not kept (a `Screen`)."""

    shown: list[str] = field(default_factory=list[str])

    def say(self, text: str, /) -> None:
        self.shown.append(text)

    def warn(self, text: str, /) -> None:
        pass

    def fail(self, error: LlmosError, /) -> None:
        self.shown.append(f"{type(error).__name__}: {error.message} {error.hint}".strip())

    def markdown(self, text: str, /) -> None:
        self.shown.append(text)

    def answer(self) -> _View:
        return _View(self.shown)


class _View:
    """An answer while it comes (an `AnswerView`)."""

    def __init__(self, shown: list[str]) -> None:
        self._shown = shown
        self._text: list[str] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._text:
            self._shown.append("".join(self._text))

    def event(self, event: Event, /) -> None:
        if isinstance(event, Token) and event.channel == "answer":
            self._text.append(event.text)

    def note(self, text: str, /) -> None:
        pass

    @property
    def ask(self) -> Asking | None:
        return agree


async def agree(text: str, prompt: str) -> str | None:
    """Say yes to what needs a permission; a question that wants words is turned away."""
    if prompt.startswith(CHOICES):
        return "once"
    return "y" if prompt.rstrip().endswith("[y/N]") else None


def says(text: str, part: str) -> bool:
    """Whether words or a number stand in a text as they are, whatever their case; a longer number is another one."""
    words, wanted = plain(text), plain(part)
    before = r"(?<![\w.])(?<!\d[:,])" if wanted[:1].isdigit() else r"(?<!\w)" if wanted[:1].isalnum() else ""
    after = r"(?!\w)(?![.,]\d)" if wanted[-1:].isdigit() else r"(?!\w)" if wanted[-1:].isalnum() else ""
    return re.search(before + re.escape(wanted) + after, words) is not None


def plain(text: str) -> str:
    """A text without what does not count: case, white space, commas of thousands."""
    text = text.casefold().replace("\u2019", "'")
    return " ".join(re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text).split())


def outright(text: str) -> str:
    """An answer without the doubt that the agent puts behind what it made up: that is no way to decline."""
    return _DOUBT.sub("", text)


def command_line(name: str, rows: Callable[[How], Iterable[Row]], arguments: Sequence[str] | None = None) -> int:
    """The program of one benchmark: measure, print, and write what came of it.

    Returns:
        Exit code: 1 where nothing could be measured.
    """
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows there, with every reply")
    parser.add_argument("--microcode", default="on", metavar="on|off|NAME", help="with which adapter the model runs")
    parser.add_argument("--model", metavar="PATH", help="another model file, such as one with microcode merged in")
    parser.add_argument("--squad", type=Path, metavar="FILE", help="SQuAD 2.0's development file, for its paragraphs")
    given = parser.parse_args(arguments)
    measured: list[Row] = []
    skipped: list[str] = []
    try:
        measured = list(rows(How(model=given.model, microcode=given.microcode, squad=given.squad)))
    except Skipped as reason:
        skipped = [str(reason)]
    except LlmosError as error:
        print(f"{error.message} {error.hint}".strip(), file=sys.stderr)
        return 1
    show(name, measured, skipped)
    if given.json:
        write_json(given.json, name, measured, skipped)
    return 0 if measured else 1
