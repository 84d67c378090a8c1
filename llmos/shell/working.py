"""`llmos run` with tools: an agent works on a request; its answer on stdout, what it does on stderr.

Ctrl-C interrupts the run, a second one kills it; either way it can be resumed. Knows no terminal library.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from llmos.boot import Kernel
from llmos.config import Settings
from llmos.errors import Interrupted, LlmosError, RunError
from llmos.events import CallEnded, CallStarted, Notice, Token
from llmos.messages import Context, Message
from llmos.runs import Parts, RunEvent, Running, skill_tools
from llmos.shell import jsonl, sources, waiting
from llmos.shell.approver import Terminal
from llmos.shell.calls import cost_of, follow, is_report, one_line, result_text, work_line
from llmos.shell.knowing import Knowing
from llmos.shell.text import complaint, harmless

if TYPE_CHECKING:
    from llmos.kernel.budget import Budget
    from llmos.kernel.protocols import Device

DEFAULT_AGENT = "assistant"
_INTERRUPTED = 130
_PICTURE_SECONDS = 0.1
_DECISION = re.compile(r"\S+: \S+: (?:ask|deny): ")
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What `llmos run` was asked to do with tools.

    Attributes:
        prompt: The user's words; what may be done is decided by them alone. If empty, the material is the request,
            which then authorizes nothing.
        material: What was piped in: it is worked on, and authorizes nothing.
        attached: Files that the words name with `@`; the same holds for them.
        agent: Who works on it; the default one if empty.
        tools: Only these; all that are installed if None.
        unsafe: Code may run unconfined where this machine can't confine it.
        json: Write events as JSON lines.
    """

    prompt: str = ""
    material: str = ""
    attached: str = ""
    agent: str = ""
    tools: tuple[str, ...] | None = None
    workspace: Path | None = None
    budget: Budget | None = None
    unsafe: bool = False
    json: bool = False


def run_job(job: Job, settings: Settings) -> int:
    """Work on a request to its end.

    Returns:
        Exit code: 0 done, 1 something was denied or could not be done, 130 interrupted.

    Raises:
        LlmosError: The model can't be loaded, or the run failed.
        KeyboardInterrupt: Ctrl-C before the run began.
    """
    agent = agent_named(job.agent)

    material = job.material if job.prompt.strip() else ""
    seen = [sources.piped(job.material)] if job.material else []
    seen += [sources.attached(job.attached)] if job.attached else []

    async def begin(kernel: Kernel) -> Running:
        return await kernel.spawn(
            agent,
            job.prompt if job.prompt.strip() else job.material,
            words=(job.prompt,) if job.prompt.strip() else (),
            seen=seen,
            level=settings.level,
            budget=job.budget,
            workspace=job.workspace,
            context=beginning(await _with_profile(settings, job.prompt), material, job.attached),
        )

    return asyncio.run(_work(job, settings, begin))


def resume_run(run: str, job: Job, settings: Settings) -> int:
    """Go on with a run whose kernel is gone.

    Returns:
        Exit code: 0 done, 1 something was denied or could not be done, 130 interrupted.

    Raises:
        NoSuchProcess: There is no such run, it is over, or it is running.
        LlmosError: The model can't be loaded, or the run failed.
    """
    from llmos.shell.processes import resumable

    resumable(run)

    async def begin(kernel: Kernel) -> Running:
        return await kernel.resume(run)

    return asyncio.run(_work(job, settings, begin))


def agent_named(name: str) -> str:
    """An agent by name, or the default one.

    Raises:
        NoSuchProcess: There is none, or it waits for approval.
    """
    if name and name != DEFAULT_AGENT:
        from llmos.shell.agents import find

        find(name)
    return name or DEFAULT_AGENT


async def _with_profile(settings: Settings, words: str) -> str:
    """The system prompt with what is known of the user."""
    knowing = Knowing(settings.memory, waiting.say)
    try:
        return await asyncio.to_thread(knowing.system, settings.system, words)
    finally:
        await asyncio.to_thread(knowing.close)


def beginning(system: str, *material: str) -> Context | None:
    """The context that a run begins with; None for an empty one."""
    messages = [Message("system", system)] if system else []
    messages += [Message("user", text) for text in material if text]
    return Context(messages=tuple(messages)) if messages else None


def chosen_tools(names: Iterable[str] | None, *, unsafe: bool) -> list[Device]:
    """The tools of a run.

    Raises:
        ConfigError: One that was named is not there.
    """
    from llmos.agents.skills import READ_SKILL
    from llmos.tools import load_tools

    skills = skill_tools() if names is None or READ_SKILL in names else {}
    wanted = None if names is None else [name for name in names if name not in skills]
    tools = {**load_tools(wanted, notify=lambda notice: waiting.say(harmless(notice.text))), **skills}
    if unsafe:
        from llmos.tools.builtin.code import code_tools

        tools |= {tool.spec.name: tool for tool in code_tools(unsafe=True) if tool.spec.name in tools}
    return list(tools.values())


class _Begin(Protocol):
    async def __call__(self, kernel: Kernel, /) -> Running: ...


async def _work(job: Job, settings: Settings, begin: _Begin) -> int:
    approver = Terminal()
    parts = Parts(tools=chosen_tools(job.tools, unsafe=job.unsafe), approver=approver)
    async with Kernel(settings=settings, parts=parts) as kernel:
        await waiting.loaded(kernel, notice=_write_notice if job.json else waiting.say)
        show = _Json() if job.json else _Lines()
        asking = show.ask if sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty() else None
        with approver.attached(asking):  # before the run begins: it may ask at once
            return await _follow(await begin(kernel), show)


async def _follow(running: Running, show: _Lines | _Json) -> int:
    show.running = running
    stop = Stop(running)
    with stop.at_interrupts(), show.painting():
        try:
            async for event in follow(running):
                show.event(event)
            value = await running.result()
        except Interrupted as error:
            show.clear()
            if not stop.asked:
                show.fail(error)
                raise
            show.interrupted()
            return _INTERRUPTED
        except LlmosError as error:
            show.fail(error)
            raise
        except Exception as error:  # an agent's own bug, whatever it is
            failure = RunError(
                f"The agent failed: {type(error).__name__}: {error}.",
                hint=f"`llmos trace {running.pid}` shows what it did until then.",
            )
            show.fail(failure)
            raise failure from error
    show.end(value)
    if stop.asked:
        return _INTERRUPTED
    for denied in running.denied:
        show.denied(denied, value)
    undone = is_report(value) and value["outcome"] == "failed"
    return 1 if running.denied or undone else 0


def _write_notice(text: str) -> None:
    print(jsonl.event_line(Notice(text=text)), flush=True)


class Stop:
    """Interrupts a run, and kills it the second time.

    Attributes:
        asked: How often it was told to.
    """

    def __init__(self, running: Running) -> None:
        self._running = running
        self._tasks: set[asyncio.Task[None]] = set()
        self.asked = 0

    def __call__(self) -> None:
        """Once more."""
        self.asked += 1
        signal_name = "interrupt" if self.asked == 1 else "kill"
        task = asyncio.get_running_loop().create_task(self._running.signal(signal_name))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @contextmanager
    def at_interrupts(self) -> Generator[None]:
        """Do so at Ctrl-C."""
        loop = asyncio.get_running_loop()
        with suppress(NotImplementedError, RuntimeError):  # not on Windows, and not outside the main thread
            loop.add_signal_handler(signal.SIGINT, self)
        try:
            yield
        finally:
            with suppress(NotImplementedError, RuntimeError):
                loop.remove_signal_handler(signal.SIGINT)


@dataclass(slots=True)
class _Lines:
    """A line on stderr for each tool call, on a terminal also one that says how it goes; the answer on stdout."""

    running: Running | None = None
    begun: float = field(default_factory=time.monotonic)
    doing: str = "reading"
    written: str = ""
    _painter: asyncio.Task[None] | None = None
    _painted: bool = False

    def event(self, event: RunEvent) -> None:
        match event:
            case CallEnded(call="act"):
                self.say(work_line(event, self.cost))
            case CallStarted():
                self.doing = "thinking" if event.call == "think" else one_line(event.title, 60) or event.call
                self.written = ""
            case Token(channel="answer"):
                self.written = (self.written + event.text)[-200:]
            case Notice() if not is_decision(event):
                self.say(f"  {harmless(event.text)}")
            case _:
                pass

    @property
    def pid(self) -> str:
        return self.running.pid if self.running is not None else ""

    @property
    def cost(self) -> str:
        return cost_of(self.running, time.monotonic() - self.begun) if self.running is not None else ""

    def say(self, text: str) -> None:
        self.clear()
        waiting.say(dim(text))

    def interrupted(self) -> None:
        waiting.say(f"interrupted; go on with: llmos resume {self.pid}")

    def fail(self, error: LlmosError) -> None:
        self.say(f"  pid {self.pid} · `llmos trace {self.pid}` shows what it did")

    def denied(self, error: LlmosError, value: object) -> None:
        self.fail(error)
        if error.message not in result_text(value):
            waiting.say(complaint(error.message, error.hint))

    def end(self, value: object) -> None:
        self.clear()
        text = harmless(result_text(value))
        if text:
            print(text, flush=True)

    async def ask(self, text: str, prompt: str) -> str | None:
        from llmos.shell.questions import put

        self._stop()
        try:
            return await put(text, prompt)
        finally:
            self._start()

    @contextmanager
    def painting(self) -> Generator[None]:
        self._start()
        try:
            yield
        finally:
            self._stop()

    def _start(self) -> None:
        if sys.stderr.isatty():
            self._painter = asyncio.get_running_loop().create_task(self._paint())

    def _stop(self) -> None:
        if self._painter is not None:
            self._painter.cancel()
        self._painter = None
        self.clear()

    def clear(self) -> None:
        if self._painted:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        self._painted = False

    async def _paint(self) -> None:
        for frame in range(sys.maxsize):
            await asyncio.sleep(_PICTURE_SECONDS)
            tail = " ".join(self.written.split())[-40:]
            line = f"{_FRAMES[frame % len(_FRAMES)]} {self.doing} · {self.cost}" + (f" · …{tail}" if tail else "")
            room = max(shutil.get_terminal_size().columns - 1, 20)
            print(f"\r\x1b[K{dim(harmless(line)[:room])}", end="", file=sys.stderr, flush=True)
            self._painted = True


@dataclass(slots=True)
class _Json:
    """Every event as a line of JSON, the result as the last one."""

    running: Running | None = None
    begun: float = field(default_factory=time.monotonic)

    @property
    def pid(self) -> str:
        return self.running.pid if self.running is not None else ""

    def event(self, event: RunEvent) -> None:
        print(jsonl.event_line(event), flush=True)

    def interrupted(self) -> None:
        print(jsonl.line({"kind": "interrupted", "pid": self.pid}), flush=True)
        waiting.say(f"interrupted; go on with: llmos resume {self.pid}")

    def fail(self, error: LlmosError) -> None:
        values = {"kind": "error", "pid": self.pid, "error": type(error).__name__}
        print(jsonl.line({**values, "message": error.message, "hint": error.hint}), flush=True)

    def denied(self, error: LlmosError, value: object) -> None:
        self.fail(error)

    def end(self, value: object) -> None:
        values = {
            "kind": "result",
            "pid": self.pid,
            "output": value,
            "used": {name: used for name, used in used_by(self.running).items() if used},
            "seconds": round(time.monotonic() - self.begun, 3),
        }
        print(jsonl.line(values), flush=True)

    def clear(self) -> None:
        """Nothing is painted."""

    async def ask(self, text: str, prompt: str) -> str | None:
        from llmos.shell.questions import put

        return await put(text, prompt)

    @contextmanager
    def painting(self) -> Generator[None]:
        yield


def used_by(running: Running | None) -> Mapping[str, float]:
    """What a run used up so far, by resource."""
    return running.used if running is not None else {}


def is_decision(notice: Notice) -> bool:
    """Whether a notice only says what the policy decided: the question, or the error, says it again."""
    return _DECISION.match(notice.text) is not None


def dim(text: str) -> str:
    """A text that stands back, on a terminal that has styles."""
    if not sys.stderr.isatty() or os.environ.get("NO_COLOR"):
        return text
    return "\n".join(f"\x1b[2m{line}\x1b[0m" for line in text.split("\n"))
