"""Runs of agents, from the outside: a system on the kernel's own loop, and handles that work from every loop.

Wires the kernel's parts to the data folder: journal, presence, tools, policy. Knows no terminal.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from llmos.config import MemoryOptions, NamedEngine, RunsOptions, data_dir
from llmos.engine.named import Engines
from llmos.errors import Denied, NoSuchProcess, StorageError
from llmos.events import KernelEvent, Notice, ProcessChanged, Token, Usage
from llmos.kernel import control, paging_hot, pruning
from llmos.kernel.calls import Observed
from llmos.kernel.entry import AgentCode, Entry
from llmos.kernel.gate import digest_of
from llmos.kernel.journal import Journal, Kept, Record, Run
from llmos.kernel.process import Child
from llmos.kernel.protocols import Approver, Device, Engine, Policy, Store, Vault
from llmos.kernel.pruning import Pruning
from llmos.kernel.system import Listener, System, Task, no_engine
from llmos.memory.memory import Memory
from llmos.messages import Sampling
from llmos.portal import Portal

RunEvent = KernelEvent | Token | Notice

_EARLY = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a kernel's runs are made of; None takes the default.

    Attributes:
        folder: Where journal and runs are kept; by default llmos's data folder.
        agents: Code by name, besides those that come with llmos and those in files.
        engines: Engines by name on which agents may think, besides those of the settings. They are closed with the
            kernel.
        tools: What runs may call unless they say otherwise; by default all that are installed.
        approver: Who answers for the user; by default nobody.
        listeners: Told of every event of every run, such as `llmos.otel.Spans`.
        store: What agents remember and recall; by default the user's memory, in the data folder.
        durable: Make every row of the journal survive a power cut, not only those before effects.
    """

    folder: Path | None = None
    agents: Mapping[str, AgentCode] = field(default_factory=dict[str, AgentCode])
    engines: Mapping[str, Engine] = field(default_factory=dict[str, Engine])
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
        used = _tokens(self._child.entry)
        return Usage(
            prompt_tokens=used.get("prompt_tokens", 0),
            reused_tokens=used.get("reused_tokens", 0),
            generated_tokens=used.get("generated_tokens", 0),
        )

    @property
    def used(self) -> Mapping[str, float]:
        """What it and its children used up so far, by resource; tokens are those read and generated."""
        return {str(name): value for name, value in self._child.entry.meter.used.items()}

    @property
    def seen(self) -> tuple[Observed, ...]:
        """What it was given and has seen so far, oldest first: what its context contains besides the user's words."""
        return tuple(self._child.entry.seen)

    @property
    def denied(self) -> tuple[Denied, ...]:
        """What the policy or the user refused, and what was not done to the same target since."""
        return tuple(self._child.entry.denied.values())

    async def call(self, path: str, number: int) -> Record | None:
        """One of its system calls as the journal has it; None if it has none such."""

        async def read() -> Record | None:
            return self._system.journal.call(self.pid, path, number)

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


class Runs:
    """The system of one kernel. Everything but `Running` is used on the portal's loop, through `Portal.call`.

    Raises:
        StorageError: The data folder can't be used.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        engine: Callable[[], Awaitable[Engine]],
        sampling: Sampling,
        max_tokens: int | None,
        keep: RunsOptions,
        engines: Mapping[str, NamedEngine] | None = None,
        memory: MemoryOptions | None = None,
    ) -> None:
        from llmos.memory.embedding.meanings import Meanings  # slow, and not needed at the prompt

        self.folder = parts.folder or data_dir()
        self._loop = asyncio.get_running_loop()
        own = None if parts.store is not None else memory_of(memory or MemoryOptions(), self.folder, notify=self._say)
        self._memory = own
        self._pruning = Pruning(self.folder, keep)
        self._presence = control.Presence.enter(self.folder)
        self.journal = Journal(self.folder, durable=parts.durable)
        vault = parts.vault or _Keyring(self.folder)
        self._engines = Engines(engines or {}, parts.engines, reveal=partial(_revealed, vault))
        self.system = System(
            engine=engine,
            engines=self._engines.openers(),
            journal=self.journal,
            policy=parts.policy or _policy(),
            folder=self.folder / "runs",
            hot=self.folder / paging_hot.FOLDER,
            agents={**agents_here(), **parts.agents},
            tools={**_tools(parts.tools), **_given_by(parts.agents.values())},
            approver=parts.approver,
            store=parts.store or self._memory,
            vault=vault,
            similar=Meanings(self._say),
            sampling=sampling,
            max_tokens=max_tokens,
            owner=self._presence.owner,
        )
        for listener in parts.listeners:
            self.system.listen(listener)

    def _say(self, sentence: str) -> None:
        """Tell everybody what takes long; called on any thread."""
        with suppress(RuntimeError):  # the loop is closed, so nobody waits
            self._loop.call_soon_threadsafe(self.system.emit, Notice(text=sentence))

    async def open(self) -> None:
        """Answer other terminals."""
        await self._presence.serve(self.system)
        self._pruning.start()

    async def close(self) -> None:
        """Leave what runs as it is, to be resumed, and go."""
        from llmos.tools.registry import close_tools

        given = [device for entry in self.system.entries() for device in entry.devices.values()]
        await self.system.close()
        await close_tools([*self.system.tools.values(), *given])
        await self._engines.close()
        await self._presence.close()
        if self._memory is not None:
            await asyncio.to_thread(self._memory.close)
        await asyncio.to_thread(self._pruning.end)
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


def memory_of(
    options: MemoryOptions, folder: Path | None = None, *, notify: Callable[[str], None] | None = None
) -> Memory:
    """The memory of the settings; nothing is opened yet.

    Args:
        folder: The data folder, by default llmos's own.
        notify: Told, in a sentence for people, what takes long when the embedding model is opened.

    Raises:
        ConfigError: The tenant's name can't be used.
    """
    return Memory(
        folder or data_dir(),
        tenant=options.tenant,
        embedder=options.embedder,
        reranker=options.reranker,
        notify=notify,
    )


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
            pruning.forget(journal, folder, run)
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
        pruning.forget(journal, folder, run)


async def replay(folder: Path, run: str) -> Any:  # noqa: ANN401  # JSON
    """Run a finished run's code on its recorded outputs only; nothing is generated and nothing happens.

    Raises:
        NoSuchProcess: There is no such run, or no such agent any more.
        JournalMismatch: The code makes calls that the run did not.
    """
    with closing(Journal(folder)) as journal:
        if not journal.run(run).task:
            raise NoSuchProcess(f"The contents of run {run!r} were forgotten: it can't be replayed.")
        system = System(
            engine=no_engine, journal=journal, policy=_policy(), folder=folder / "runs", agents=agents_here(),
            tools=_tools(None),
        )  # fmt: skip
        return await system.replay(run)


def look(folder: Path, run: str) -> tuple[Run, list[Record]]:
    """A run and all its calls.

    Raises:
        NoSuchProcess: There is no such run.
    """
    with closing(Journal(folder)) as journal:
        return journal.run(run), journal.calls(run)


def _tokens(entry: Entry) -> Counter[str]:
    """What a process and all its children read and wrote."""
    total = Counter(entry.tokens)
    for child in entry.children:
        total.update(_tokens(child.entry))
    return total


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
        place = str(arguments.get("url") or arguments.get("origin", ""))
        return self._secrets.resolve(arguments, tool=tool, host=urlsplit(place).hostname or "")

    def redact(self, text: str, /) -> str:
        """A text with handles in place of the values."""
        return self._secrets.redact(text)


def _policy() -> Policy:
    from llmos.kernel.policy import DefaultPolicy

    return DefaultPolicy()


def agents_here() -> dict[str, AgentCode]:
    """The agents that can be started by name: those that come with llmos, the user's, and this folder's approved ones.

    Raises:
        StorageError: The list of approvals is damaged.
    """
    from llmos.agents import built_in
    from llmos.agents.markdown import load

    own = built_in()
    return {**own, **{name: one.agent for name, one in load(own).agents.items()}}


def _given_by(agents: Iterable[AgentCode]) -> dict[str, Device]:
    """The tools that declared agents bring with them."""
    devices: list[Device] = [device for code in agents for device in getattr(code, "devices", ())]
    return {device.spec.name: device for device in devices}


def _revealed(vault: Vault, text: str, url: str) -> str:
    return str(vault.resolve("engine", {"url": url, "key": text})["key"])


def _tools(tools: Iterable[Device] | None) -> dict[str, Device]:
    if tools is None:
        from llmos.tools.registry import load_tools

        return {**load_tools(), **skill_tools()}
    return {tool.spec.name: tool for tool in tools}


def skill_tools() -> dict[str, Device]:
    """The tool that reads skills, where there are any."""
    from llmos.agents import skills

    known = skills.load().skills
    if not known:
        return {}
    from llmos.tools.skills import SkillReader

    return {skills.READ_SKILL: SkillReader(known.values())}
