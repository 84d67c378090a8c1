"""The running system: process table, signals, limits, grants, and runs that begin, end, resume and replay.

It holds what processes use (engine, tools, policy, approver, memory, secrets, journal) and hands it to their calls.
Knows no implementation of any of them.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from llmos.errors import ConfigError, Interrupted, LlmosError, NobodyThere, NoSuchProcess, StorageError
from llmos.events import KernelEvent, Notice, ProcessChanged, Token
from llmos.kernel import resuming
from llmos.kernel.branch import Branch
from llmos.kernel.budget import Meter
from llmos.kernel.calls import Approval, Decision, Grant, ProposedCall, Reply
from llmos.kernel.entry import AgentCode, Entry, Profile, State
from llmos.kernel.journal import Journal, Letter, RunState, canonical
from llmos.kernel.limits import Limit
from llmos.kernel.process import Child, Process
from llmos.kernel.protocols import Approver, Device, Engine, Memo, Policy, Similar, Store, Vault
from llmos.kernel.task import Task as Task
from llmos.messages import Context, Sampling, new_id
from llmos.wire import ErrorData

Listener = Callable[[KernelEvent | Token | Notice], None]

_THINKS = 64
_GRACE_SECONDS = 5.0


class Nobody:
    """The approver where there is none: every question finds nobody."""

    async def approve(self, approval: Approval, /) -> Reply:
        """Find nobody."""
        raise NobodyThere("Nobody is there to approve.", hint="Grant it beforehand, or run it in a terminal.")

    async def answer(self, pid: str, question: str, /) -> str:
        """Find nobody."""
        raise NobodyThere(f"Nobody is there to answer: {question}", hint="Run it in a terminal.")


class Scratch:
    """A memory that ends with the system: texts, found by the words they share with a query."""

    def __init__(self) -> None:
        self._memos: dict[str, Memo] = {}

    async def remember(self, text: str, /, *, label: Any, source: str = "", key: str = "") -> None:  # noqa: ANN401
        """Keep a text."""
        self._memos.setdefault(key or new_id(), Memo(text, label, source))

    async def recall(self, query: str, /, *, limit: int = 5) -> tuple[Memo, ...]:
        """The texts with most words of the query."""
        words = _words(query)
        scored = [
            replace(memo, score=len(words & _words(memo.text)) / max(len(words), 1)) for memo in self._memos.values()
        ]
        return tuple(sorted((memo for memo in scored if memo.score), key=lambda memo: -memo.score)[:limit])


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))


class NoSecrets:
    """The vault where there is none."""

    def resolve(self, tool: str, arguments: Mapping[str, Any], /) -> Mapping[str, Any]:
        """The arguments as they are."""
        return arguments

    def redact(self, text: str, /) -> str:
        """The text as it is."""
        return text


class Grants:
    """Standing permissions, in the journal."""

    def __init__(self, journal: Journal, clock: Callable[[], float] = time.time) -> None:
        self._journal, self._clock = journal, clock

    def add(self, grant: Grant) -> None:
        """Enter one."""
        self._journal.put_grant(grant.id, canonical(asdict(grant)))

    def use(self, grant: str) -> None:
        """Count a call that it covered."""
        self._journal.use_grant(grant)

    def revoke(self, grant: str) -> bool:
        """End one; False if there is none of this id."""
        return self._journal.revoke_grant(grant)

    def of(self, run: str = "", workspace: str = "") -> tuple[Grant, ...]:
        """Those in force for a run in a workspace, with the calls they still cover."""
        found: list[Grant] = []
        for body, used in self._journal.grants():
            data = json.loads(body)
            data["targets"] = {name: tuple(patterns) for name, patterns in data["targets"].items()}
            data["tools"], data["origins"] = tuple(data["tools"]), tuple(data["origins"])
            grant = Grant(**data)
            left = None if grant.calls is None else grant.calls - used
            in_force = (left is None or left > 0) and (grant.expires is None or grant.expires > self._clock())
            if in_force and grant.run in ("", run) and grant.workspace in ("", workspace):
                found.append(replace(grant, calls=left))
        return tuple(found)


class System:
    """Runs processes. Belongs to one event loop.

    Args:
        engine: Gives the engine, when it is first needed.
        engines: The same for engines by name, on which agents may think instead.
        agents: Code by name; what is started by name can be resumed.
        tools: By name.
        folder: Where runs keep their files.
        hot: Where KV states of pinned pages are kept; None keeps none.
        similar: Compares meanings; None where nobody can.
        owner: What this kernel is called in the journal.
        sampling, max_tokens: How thinks choose tokens, and how many at most (None: the budget's), unless a run or a
            think says otherwise. A run keeps what it began with.
        clock: Seconds since the epoch.
        random: Numbers from 0 to 1.
    """

    def __init__(
        self,
        *,
        engine: Callable[[], Awaitable[Engine]],
        journal: Journal,
        policy: Policy,
        folder: Path,
        hot: Path | None = None,
        engines: Mapping[str, Callable[[], Awaitable[Engine]]] | None = None,
        agents: Mapping[str, AgentCode] | None = None,
        tools: Mapping[str, Device] | None = None,
        approver: Approver | None = None,
        store: Store | None = None,
        vault: Vault | None = None,
        similar: Similar | None = None,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
        owner: str = "",
        clock: Callable[[], float] = time.time,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._engine, self.journal, self.policy = engine, journal, policy
        self.engines = dict(engines or {})
        self.agents, self.tools = dict(agents or {}), dict(tools or {})
        self.approver: Approver = approver or Nobody()
        self.store: Store = store or Scratch()
        self.vault: Vault = vault or NoSecrets()
        self.similar = similar
        self.sampling, self.max_tokens = sampling or Sampling(), max_tokens
        self.owner, self.clock, self.random = owner or new_id(), clock, random
        self.grants = Grants(journal, clock)
        self.replaying = False
        self._folder, self.hot = folder, hot
        self._limits: dict[str, Limit] = {}
        self._table: dict[tuple[str, str], Entry] = {}
        self._listeners: list[Listener] = []
        self._letters: dict[str, list[Letter]] = {}
        self._used: dict[str, resuming.Used] = {}
        self._closing = False

    # -- runs

    def start(
        self,
        task: Task,
        *,
        code: AgentCode | None = None,
        deps: object = None,
        tools: Iterable[Device] | None = None,
        run: str | None = None,
        anew: bool = False,
    ) -> Child:
        """Start a run's first process.

        Args:
            code: The agent's code, where the task's agent is not known by name.
            deps: The application's typed context, for its tools and agents.
            tools: What the run may call; all of the system's if None.
            run: The id of a run to go on with, which the caller has taken over.
            anew: It gets its whole budget once more.

        Raises:
            NoSuchProcess: There is no agent of this name.
            ConfigError: Its profile names an engine that there is not.
            StorageError: The journal can't be written.
        """
        code = code or self.agent(task.agent)[1]
        profile = Profile.of(code)
        self.check_engine(profile.engine)
        resumed = run is not None
        run = run or self._free_id()
        if task.sampling is None:
            task = replace(task, sampling=self.sampling, max_tokens=self.max_tokens)
        context = task.begins_with
        if not resumed:
            self.journal.open_run(run, owner=self.owner, agent=task.agent, task=task.to_json())
        entry = Entry(
            run=run,
            path="0",
            agent=task.agent,
            meter=Meter(
                task.budget.within(profile.budget), clock=asyncio.get_running_loop().time, wall=self.clock, anew=anew
            ),
            priority=task.priority,
            level=profile.narrowed(task.level),
            words=task.said,
            sampling=task.sampling or self.sampling,
            max_tokens=task.max_tokens,
            seen=list(task.observed),
            workspace=Path(task.workspace).absolute(),
            deps=deps,
            devices=profile.among(self._devices(task, tools, code)),
            engine=profile.engine,
        )
        if resumed:
            self._letters[run] = self.journal.letters(run)
            self._used[run] = resuming.used(self.journal.calls(run), entry.devices)
        return self.launch(entry, code, task.arguments, context)

    def _free_id(self) -> str:
        """A short id that no run has: people type it."""
        while self.journal.runs(found := new_id()[:6]):
            pass
        return found

    def _devices(self, task: Task, tools: Iterable[Device] | None, code: AgentCode) -> dict[str, Device]:
        own: Iterable[Device] = getattr(code, "devices", ())  # those that a declared agent brings with it
        given = {**self.tools, **{one.spec.name: one for one in own}}
        given = given if tools is None else {tool.spec.name: tool for tool in tools}
        return {name: tool for name, tool in given.items() if task.tools is None or name in task.tools}

    def resume(
        self,
        run: str,
        *,
        code: AgentCode | None = None,
        deps: object = None,
        tools: Iterable[Device] | None = None,
    ) -> Child:
        """Go on with a run whose kernel is gone: its code runs again, and what it did is not done again.

        The caller has made sure that its owner is gone. A run that had ended gets its budget anew: to go on with it was
        the user's decision. One that was cut off does not.

        Raises:
            NoSuchProcess: There is no such run, it is over, or somebody else has it.
        """
        known = self.journal.run(run)
        if known.state == "done":
            raise NoSuchProcess(f"The run {run!r} is done.", hint=f"`llmos log {run}` shows what it did.")
        if not known.task:
            raise NoSuchProcess(f"The contents of run {run!r} were forgotten: it can't be resumed.")
        if not self.journal.take_run(run, owner=self.owner, before=known.owner):
            raise NoSuchProcess(f"The run {run!r} was taken over by another kernel just now.")
        return self.start(
            Task.from_json(known.task), code=code, deps=deps, tools=tools, run=run, anew=known.state != "running"
        )

    async def replay(self, run: str, *, code: AgentCode | None = None) -> Any:  # noqa: ANN401  # JSON data
        """Run a finished run's code on its recorded outputs only; nothing is generated, and nothing happens.

        Raises:
            JournalMismatch: The code makes calls that the run did not.
        """
        known = self.journal.run(run)
        task = Task.from_json(known.task)
        mirror = System(
            engine=no_engine, journal=self.journal, policy=self.policy, folder=self._folder, agents=self.agents,
            tools=self.tools, sampling=self.sampling, max_tokens=self.max_tokens, owner=self.owner,
            clock=self.clock, random=self.random,
        )  # fmt: skip
        mirror.replaying = True
        return await mirror.start(task, code=code, run=run, anew=True).result()

    def launch(self, entry: Entry, code: AgentCode, arguments: tuple[object, ...], context: Context) -> Child:
        """Put a process into the table and start its code."""
        key = (entry.run, entry.path)
        entry.may_run.set()
        self._table[key] = entry
        undelivered = self._letters.get(entry.run, ())
        entry.inbox.extend((one.sender, one.number, one.body) for one in undelivered if one.receiver == entry.path)
        if not self.replaying:
            parent = entry.parent.path if entry.parent is not None else ""
            self.journal.enter_process(entry.run, entry.path, parent, entry.agent)
        self._tell(entry)
        if entry.run in self._used:
            resuming.restore(entry, self._used[entry.run])
            code = resuming.known_end(self.journal, entry) or code
        entry.task = asyncio.create_task(self._live(entry, code, arguments, context), name=f"llmos {entry.pid}")
        entry.task.add_done_callback(lambda task: self._gone(entry, task))
        return Child(entry)

    async def _live(self, entry: Entry, code: AgentCode, arguments: tuple[object, ...], context: Context) -> Any:  # noqa: ANN401
        """A process's life: its code, then its children's end, then the end of the run if it is the first."""
        outcome: object = None
        state: State = "failed"
        try:
            result = await code(Process(self, entry, context), *arguments)
            if entry.interrupted == "kill":
                self.check_signals(entry)
            self.settle(entry)
            outcome = json.loads(canonical(result))
            state = "done"
            return outcome
        except asyncio.CancelledError:
            state = "killed"
            raise
        except LlmosError as error:
            state = "killed" if isinstance(error, Interrupted) else "failed"
            data = ErrorData.of(error)
            outcome = {"error": data.name, "message": data.message, "hint": data.hint}
            raise
        except Exception as error:
            outcome = {"error": type(error).__name__, "message": str(error), "hint": ""}
            raise
        finally:
            await self._end(entry, state, outcome)

    async def _end(self, entry: Entry, state: State, outcome: object) -> None:
        for child in entry.children:
            if child.entry.task is not None and not child.entry.task.done():
                self.kill(child.entry)
        entry.interrupted = "kill"  # what its code left running makes no more calls
        entry.may_run.set()
        for task in entry.calling:
            task.cancel()
        tasks = [child.entry.task for child in entry.children if child.entry.task is not None]
        try:
            if tasks or entry.calling:
                await asyncio.wait([*tasks, *entry.calling], timeout=_GRACE_SECONDS)
        finally:
            self._leave(entry, state, outcome)

    def _leave(self, entry: Entry, state: State, outcome: object) -> None:
        """Take a process out of the table."""
        entry.state = state
        self._table.pop((entry.run, entry.path), None)
        if not self.replaying and not self._closing:
            self.journal.leave_process(entry.run, entry.path, state)
            if entry.path == "0":
                ended: RunState = "killed" if state == "killed" else "done" if state == "done" else "failed"
                self.journal.close_run(entry.run, ended, canonical(outcome))
        self._tell(entry)

    def _gone(self, entry: Entry, task: asyncio.Task[Any]) -> None:
        """Take note of how a process's task ended: nobody may ever wait for it."""
        if not task.cancelled():
            task.exception()
        elif (entry.run, entry.path) in self._table:  # it was killed before its first step, so that it had no end
            with suppress(StorageError):
                self._leave(entry, "killed", None)

    def settle(self, entry: Entry, path: str = "") -> None:
        """Enter the errors that code has gone on after; see `llmos.kernel.resuming`."""
        if not self.replaying and entry.interrupted != "kill":
            resuming.settle(self.journal, entry, path)

    # -- the table and signals

    def entries(self) -> list[Entry]:
        """Every live process, in the order they began."""
        return list(self._table.values())

    def living(self, run: str, pid: str) -> Entry:
        """A live process of a run.

        Raises:
            NoSuchProcess: It has ended, or never was.
        """
        for entry in self._table.values():
            if entry.run == run and entry.pid == pid:
                return entry
        raise NoSuchProcess(f"There is no live process {pid!r}.", hint="`llmos ps` lists them.")

    def find(self, pid: str) -> Entry:
        """A live process by its id.

        Raises:
            NoSuchProcess: It has ended, or never was.
        """
        return self.living(pid.partition(".")[0], pid)

    def stop(self, entry: Entry) -> None:
        """Hold a process and its children at their next system call."""

        def hold(one: Entry) -> None:
            one.may_run.clear()
            self._set(one, "stopped")

        self._for_all(entry, hold)

    def go_on(self, entry: Entry) -> None:
        """Let stopped processes go on."""

        def release(one: Entry) -> None:
            one.may_run.set()
            self._set(one, "running")

        self._for_all(entry, release)

    def interrupt(self, entry: Entry) -> None:
        """Raise `Interrupted` in a process, at the call it is in or its next one; it may finish with what it has."""
        if entry.interrupted:
            return
        entry.interrupted = "interrupt"
        if not entry.may_run.is_set():
            entry.may_run.set()
            self._set(entry, "running")
        for task in entry.calling:
            entry.calling[task] = True
            task.cancel()

    def kill(self, entry: Entry) -> None:
        """End a process and all its children at once."""
        self._for_all(entry, self._kill)

    def check_signals(self, entry: Entry) -> None:
        """Obey a pending signal.

        Raises:
            Interrupted: There is one.
        """
        if entry.interrupted == "kill":
            raise Interrupted(f"Process {entry.pid!r} was killed.")
        if entry.interrupted:
            entry.interrupted = ""
            raise Interrupted(f"Process {entry.pid!r} was interrupted.", hint="What it did so far is kept.")

    async def close(self) -> None:
        """Leave all runs as they are, to be resumed later, and wait until their code has ended."""
        self._closing = True
        entries = self.entries()
        for entry in entries:
            self._kill(entry)
        tasks = [entry.task for entry in entries if entry.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=_GRACE_SECONDS)

    def _kill(self, entry: Entry) -> None:
        if entry.interrupted == "kill":
            return  # a second cancellation would disturb its end
        entry.interrupted = "kill"
        entry.may_run.set()
        if entry.task is not None:
            entry.task.cancel()

    def _for_all(self, entry: Entry, do: Callable[[Entry], None]) -> None:
        do(entry)
        for child in entry.children:
            if (child.entry.run, child.entry.path) in self._table:
                self._for_all(child.entry, do)

    def _set(self, entry: Entry, state: State) -> None:
        entry.state = state
        self._tell(entry)

    # -- what processes use

    def agent(self, agent: str | AgentCode) -> tuple[str, AgentCode]:
        """Name and code of an agent.

        Raises:
            NoSuchProcess: There is none of this name.
        """
        if not isinstance(agent, str):
            return name_of(agent), agent
        if agent not in self.agents:
            known = ", ".join(sorted(self.agents)) or "none"
            raise NoSuchProcess(f"There is no agent {agent!r}.", hint=f"Known: {known}.")
        return agent, self.agents[agent]

    def check_engine(self, name: str) -> None:
        """See that there is an engine of a name; the empty one is the kernel's own. A replay needs none.

        Raises:
            ConfigError: There is none.
        """
        if name and name not in self.engines and not self.replaying:
            known = ", ".join(sorted(self.engines)) or "none"
            raise ConfigError(f"There is no engine {name!r}.", hint=f"Known: {known}. [engines.{name}] adds it.")

    async def engine(self, name: str = "") -> Engine:
        """The engine of a name, opened when it is first asked for; the empty name is the kernel's own.

        Raises:
            ConfigError: There is none.
            LlmosError: It can't be opened.
        """
        if not name:
            return await self._engine()
        self.check_engine(name)
        return await self.engines.get(name, no_engine)()

    def place(self, branch: Branch, kind: str, places: int = _THINKS) -> AbstractAsyncContextManager[None]:
        """A place among the calls of a kind that may run at once."""
        limit = self._limits.setdefault(kind, Limit(places))
        entry, left = branch.entry, branch.entry.meter.left("seconds")
        seconds = None if left == float("inf") else left
        return limit.place(entry.priority, entry.agent, seconds=seconds, deadline=entry.meter.deadline)

    def run_folder(self, run: str) -> Path:
        """A run's own folder."""
        folder = self._folder / run
        if not folder.is_dir():  # most often it is there, and making what is there costs three times as much
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    @contextmanager
    def waiting_for_a_person(self, entry: Entry) -> Generator[None]:
        """Don't count this time against the budget."""
        with entry.meter.held():
            yield

    def redact(self, text: str) -> str:
        """A text without secrets."""
        return self.vault.redact(text)

    def redacted(self, data: dict[str, Any]) -> dict[str, Any]:
        """JSON data without secrets."""
        before = canonical(data)
        after = self.vault.redact(before)
        return data if after == before else json.loads(after)

    # -- telling

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have every event told; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def emit(self, event: KernelEvent | Token | Notice) -> None:
        """Tell an event."""
        for listener in tuple(self._listeners):
            listener(event)

    def progress(self, pid: str, text: str) -> None:
        """Tell how a tool gets on."""
        self.emit(Notice(text=f"{pid}: {self.redact(text)}"))

    def decided(self, pid: str, call: ProposedCall, decision: Decision) -> None:
        """Tell what the policy decided."""
        if decision.verdict != "allow":
            self.emit(Notice(text=f"{pid}: {call.tool}: {decision.verdict}: {decision.reason}"))

    def _tell(self, entry: Entry) -> None:
        parent = entry.parent.pid if entry.parent is not None else ""
        self.emit(ProcessChanged(pid=entry.pid, agent=entry.agent, state=entry.state, parent=parent))


def name_of(code: AgentCode) -> str:
    """What an agent's code is called: a function's own name, or that of an object."""
    name: object = getattr(code, "__name__", "") or getattr(code, "name", "")
    return name if isinstance(name, str) and name else "agent"


async def no_engine() -> Engine:
    """The engine of a replay: there is none."""
    raise Interrupted("A replay has no engine: it uses recorded outputs only.")
