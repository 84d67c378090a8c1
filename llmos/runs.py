"""Runs of agents, from the outside: a system on the kernel's own loop, and handles that work from every loop.

Wires the kernel's parts to the data folder: journal, presence, tools, policy. Knows no terminal.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from llmos.config import data_dir
from llmos.errors import NoSuchProcess, StorageError
from llmos.events import KernelEvent, Notice, ProcessChanged, Token, Usage
from llmos.kernel import control
from llmos.kernel.calls import Decision, ProposedCall
from llmos.kernel.entry import AgentCode
from llmos.kernel.gate import digest_of
from llmos.kernel.journal import Journal, Kept, Record, Run, canonical
from llmos.kernel.process import Child
from llmos.kernel.protocols import Approver, Device, Engine, Policy, Store, Vault
from llmos.kernel.system import Listener, System, Task, no_engine
from llmos.messages import Sampling
from llmos.portal import Portal

RunEvent = KernelEvent | Token | Notice

_EARLY = 10_000
_DECISIONS = "decisions.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a kernel's runs are made of; None takes the default.

    Attributes:
        folder: Where journal and runs are kept; by default llmos's data folder.
        agents: Code by name, besides those that come with llmos.
        tools: What runs may call unless they say otherwise; by default all that are installed.
        approver: Who answers for the user; by default nobody.
        listeners: Told of every event of every run, such as `llmos.otel.Spans`.
        durable: Make every row of the journal survive a power cut, not only those before effects.
    """

    folder: Path | None = None
    agents: Mapping[str, AgentCode] = field(default_factory=dict[str, AgentCode])
    tools: Iterable[Device] | None = None
    policy: Policy | None = None
    approver: Approver | None = None
    store: Store | None = None
    vault: Vault | None = None
    durable: bool = False
    listeners: tuple[Listener, ...] = ()


class Running:
    """A run under way, usable from every loop and thread."""

    def __init__(self, system: System, portal: Portal, child: Child) -> None:
        self._system, self._portal, self._child = system, portal, child
        self._lock = threading.Lock()
        entry = child.entry
        begun = ProcessChanged(pid=entry.pid, agent=entry.agent, state=entry.state)  # told before anybody could listen
        self._early: deque[RunEvent] | None = deque([begun], maxlen=_EARLY)
        self._watchers: list[Callable[[RunEvent], None]] = []
        end = system.listen(self._take)
        self._outcome: Future[Any] = portal.submit(child.result())
        self._outcome.add_done_callback(lambda _: end())

    @property
    def pid(self) -> str:
        """The id of the run, and of its first process."""
        return self._child.pid

    @property
    def usage(self) -> Usage:
        """Tokens so far, of all its processes."""
        used = self._child.entry.tokens
        return Usage(
            prompt_tokens=used.get("prompt_tokens", 0),
            reused_tokens=used.get("reused_tokens", 0),
            generated_tokens=used.get("generated_tokens", 0),
        )

    @property
    def used(self) -> Mapping[str, float]:
        """What it and its children used up so far, by resource; tokens are those read and generated."""
        return {str(name): value for name, value in self._child.entry.meter.used.items()}

    async def call(self, path: str, number: int) -> Record | None:
        """One of its system calls as the journal has it; None if it has none such."""

        async def read() -> Record | None:
            calls = self._system.journal.calls(self.pid, path)
            return next((call for call in calls if call.number == number), None)

        return await self._portal.call(read())

    async def result(self) -> Any:  # noqa: ANN401  # whatever the agent's code returned, as JSON data
        """What the agent returned. Being cancelled while waiting leaves the run running.

        Raises:
            LlmosError: The agent's own error; `Interrupted` if it was killed.
        """
        return await self._portal.result(self._outcome)

    async def events(self) -> AsyncIterator[RunEvent]:
        """What happens in this run until it ends; whoever asks first also gets what has happened already."""
        loop, wake = asyncio.get_running_loop(), asyncio.Event()
        arrived: deque[RunEvent] = deque()

        def wake_up(_: object = None) -> None:
            with suppress(RuntimeError):  # the asking loop is closed, so nobody waits
                loop.call_soon_threadsafe(wake.set)

        def put(event: RunEvent) -> None:
            arrived.append(event)
            wake_up()

        with self._lock:
            arrived.extend(self._early or ())
            self._early = None
            self._watchers.append(put)
        self._outcome.add_done_callback(wake_up)
        try:
            while True:
                over = self._outcome.done()
                while arrived:
                    yield arrived.popleft()
                if over:
                    return
                await wake.wait()
                wake.clear()
        finally:
            with self._lock:
                self._watchers.remove(put)

    def _take(self, event: RunEvent) -> None:
        """Runs on the portal's thread."""
        if _run_of(event) in (self.pid, ""):
            with self._lock:
                if self._early is not None:
                    self._early.append(event)
                for put in self._watchers:
                    put(event)

    async def signal(self, signal: str) -> None:
        """Send `stop`, `continue`, `interrupt` or `kill`. A run that has ended takes no notice."""

        async def send() -> None:
            with suppress(NoSuchProcess):
                control.send_signal(self._system, self.pid, signal)

        await self._portal.call(send())


class _Telling(System):
    """A system that also writes down what the policy decided, for people who look into a run."""

    def decided(self, pid: str, call: ProposedCall, decision: Decision) -> None:
        """Tell it, and keep it in the run's folder, which is forgotten with the run."""
        super().decided(pid, call, decision)
        origins = {**call.provenance, **decision.provenance}
        line = canonical(
            {
                "pid": pid,
                "call": [call.tool, call.arguments],
                "verdict": decision.verdict,
                "reason": decision.reason,
                "from": {name: [one.origin, one.label, one.source] for name, one in origins.items()},
            }
        )
        path = self.run_folder(pid.partition(".")[0]) / _DECISIONS
        with suppress(OSError), path.open("a", encoding="utf-8") as file:  # a run does not fail for want of it
            file.write(self.redact(line) + "\n")


class Runs:
    """The system of one kernel. Everything but `Running` is used on the portal's loop, through `Portal.call`.

    Raises:
        StorageError: The data folder can't be used.
    """

    def __init__(
        self, parts: Parts, *, engine: Callable[[], Awaitable[Engine]], sampling: Sampling, max_tokens: int | None
    ) -> None:
        self.folder = parts.folder or data_dir()
        self._presence = control.Presence.enter(self.folder)
        self.journal = Journal(self.folder, durable=parts.durable)
        self.system = _Telling(
            engine=engine,
            journal=self.journal,
            policy=parts.policy or _policy(),
            folder=self.folder / "runs",
            agents={**_agents(), **parts.agents},
            tools=_tools(parts.tools),
            approver=parts.approver,
            store=parts.store,
            vault=parts.vault or _Keyring(self.folder),
            sampling=sampling,
            max_tokens=max_tokens,
            owner=self._presence.owner,
        )
        for listener in parts.listeners:
            self.system.listen(listener)

    async def open(self) -> None:
        """Answer other terminals."""
        await self._presence.serve(self.system)

    async def close(self) -> None:
        """Leave what runs as it is, to be resumed, and go."""
        await self.system.close()
        await self._presence.close()
        self.journal.close()

    def start(self, task: Task, portal: Portal, **more: Any) -> Running:  # noqa: ANN401  # see System.start
        """Start a run."""
        return Running(self.system, portal, self.system.start(task, **more))

    def resume(self, run: str, portal: Portal, **more: Any) -> Running:  # noqa: ANN401  # see System.resume
        """Go on with a run whose kernel is gone.

        Raises:
            NoSuchProcess: There is no such run, it is over, or its kernel lives.
        """
        known = self.journal.run(run)
        if known.state == "running" and control.is_alive(self.folder, known.owner):
            raise NoSuchProcess(f"The run {run!r} is running.", hint=f"`llmos log {run}` shows how far it is.")
        return Running(self.system, portal, self.system.resume(run, **more))


def undo(folder: Path, run: str, *, force: bool = False) -> list[str]:
    """Take back what a run did to files, the last change first.

    Args:
        force: Also where a file was changed since.

    Returns:
        The files, as they are named in the journal.

    Raises:
        NoSuchProcess: There is no such run.
        StorageError: A file was changed since, or can't be written; what was taken back before it stays so.
    """
    with closing(Journal(folder)) as journal:
        journal.run(run)
        files: list[str] = []
        for kept in journal.kept(run):
            _restore(folder / "runs" / run / "kept", kept, force=force)
            journal.undone(run, kept)
            files.append(kept.file)
        return files


def _restore(copies: Path, kept: Kept, *, force: bool) -> None:
    file = Path(kept.file)
    if not force and kept.after != digest_of(file):
        raise StorageError(
            f"{kept.file!r} was changed since.",
            hint="Look at it first; --force takes it back all the same.",
        )
    try:
        if not kept.copy:
            file.unlink(missing_ok=True)
            return
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        with open(handle, "wb") as new, (copies / kept.copy).open("rb") as old:
            shutil.copyfileobj(old, new)
        shutil.copystat(copies / kept.copy, name)
        Path(name).replace(file)
    except OSError as error:
        raise StorageError(f"{kept.file!r} could not be taken back: {error.strerror or error}.") from error


def forget(folder: Path, *, older_than: float, now: float) -> list[str]:
    """Forget the contents of runs that ended so many seconds ago; their rows and the audit chain stay.

    Returns:
        The runs' ids.
    """
    with closing(Journal(folder)) as journal:
        old = [run.id for run in journal.runs() if run.ended is not None and run.task and now - run.ended > older_than]
        for run in old:
            _forget(journal, folder, run)
        return old


def forget_run(folder: Path, run: str) -> None:
    """Forget the contents of one run; its rows and the audit chain stay.

    Raises:
        NoSuchProcess: There is no such run, or it is running.
    """
    with closing(Journal(folder)) as journal:
        known = journal.run(run)
        if known.state == "running" and control.is_alive(folder, known.owner):
            raise NoSuchProcess(f"The run {run!r} is running.", hint=f"`llmos kill {run}` ends it.")
        _forget(journal, folder, run)


def _forget(journal: Journal, folder: Path, run: str) -> None:
    journal.forget(run)
    shutil.rmtree(folder / "runs" / run, ignore_errors=True)


async def replay(folder: Path, run: str, *, sampling: Sampling, max_tokens: int | None) -> Any:  # noqa: ANN401  # JSON
    """Run a finished run's code on its recorded outputs only; nothing is generated and nothing happens.

    Raises:
        NoSuchProcess: There is no such run, or no such agent any more.
        JournalMismatch: The code makes calls that the run did not.
    """
    with closing(Journal(folder)) as journal:
        if not journal.run(run).task:
            raise NoSuchProcess(f"The contents of run {run!r} were forgotten: it can't be replayed.")
        system = System(
            engine=no_engine, journal=journal, policy=_policy(), folder=folder / "runs", agents=_agents(),
            tools=_tools(None), sampling=sampling, max_tokens=max_tokens,
        )  # fmt: skip
        return await system.replay(run)


def look(folder: Path, run: str) -> tuple[Run, list[Record]]:
    """A run and all its calls.

    Raises:
        NoSuchProcess: There is no such run.
    """
    with closing(Journal(folder)) as journal:
        return journal.run(run), journal.calls(run)


def decisions(folder: Path, run: str) -> list[Mapping[str, Any]]:
    """What the policy decided in a run, in order: `pid`, `call` (tool and arguments), `verdict`, `reason`, and `from`
    (origin, label and source by argument). Empty where nothing was decided, or it was forgotten."""
    try:
        text = (folder / "runs" / run / _DECISIONS).read_text("utf-8", "replace")
    except OSError:
        return []
    found: list[Mapping[str, Any]] = []
    for line in text.splitlines():
        with suppress(ValueError):  # a line that a crash cut
            found.append(json.loads(line))
    return found


def _run_of(event: RunEvent) -> str:
    """The run that an event belongs to; empty for a notice to everybody."""
    match event:
        case Token():
            return event.request.partition(":")[0]
        case Notice():
            return ""
        case _:
            return event.pid.partition(".")[0]


class _Keyring:
    """The vault of `llmos.tools.secrets`: a secret is bound to a tool and to the host of the call's URL."""

    def __init__(self, folder: Path) -> None:
        from llmos.tools.secrets import Secrets

        self._secrets = Secrets(folder)

    def resolve(self, tool: str, arguments: Mapping[str, Any], /) -> Mapping[str, Any]:
        """Arguments with the values in place of handles."""
        return self._secrets.resolve(arguments, tool=tool, host=urlsplit(str(arguments.get("url", ""))).hostname or "")

    def redact(self, text: str, /) -> str:
        """A text with handles in place of the values."""
        return self._secrets.redact(text)


def _policy() -> Policy:
    from llmos.kernel.policy import DefaultPolicy

    return DefaultPolicy()


def _agents() -> Mapping[str, AgentCode]:
    from llmos.agents import built_in

    return built_in()


def _tools(tools: Iterable[Device] | None) -> dict[str, Device]:
    if tools is None:
        from llmos.tools.registry import load_tools

        return load_tools()
    return {tool.spec.name: tool for tool in tools}
