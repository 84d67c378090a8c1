"""A process: the handle that an agent gets, whose methods are the system calls. It has no other way to act.

A call is numbered, journaled before and after, and answered from the journal when its run is resumed. A `Branch` is a
context with its own numbering; a `Process` is a branch that has children and a mailbox. Knows no tool, model or
terminal: the `System` gives it what it may use.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast, overload

from llmos.errors import (
    BudgetExceeded,
    EngineClosed,
    EngineCrashed,
    Interrupted,
    JournalMismatch,
    LlmosError,
    NoSuchProcess,
    RemoteError,
    StorageError,
    Unfinished,
)
from llmos.events import CallEnded, CallStarted, FinishReason, Usage
from llmos.kernel.budget import Budget, LoopGuard, Meter
from llmos.kernel.calls import Label, Level, Observed, Provenance, Result, join
from llmos.kernel.journal import Kind, Record, canonical
from llmos.messages import Constraint, Context, Message, Priority, Sampling, ToolCall
from llmos.wire import ErrorData

if TYPE_CHECKING:
    from pydantic import BaseModel

    from llmos.kernel.protocols import Memo
    from llmos.kernel.system import System

T = TypeVar("T")
ModelT = TypeVar("ModelT", bound="BaseModel")
State = Literal["running", "stopped", "done", "failed", "killed"]
AgentCode = Callable[..., Awaitable[Any]]

# What says nothing about the call itself: it is tried again when the run is resumed.
_PASSING = (
    BudgetExceeded,
    EngineClosed,
    EngineCrashed,
    Interrupted,
    JournalMismatch,
    RemoteError,
    StorageError,
    Unfinished,
)
_MAILBOX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Thought(Generic[T]):
    """What a `think` came to.

    Attributes:
        value: The text, the action, the choice, or the parsed output.
        text: As the model wrote it.
        confidence: 0 to 1: of a choice its probability, of free text the geometric mean probability of its tokens;
            None where the engine does not tell.
        probabilities: Of all choices, in their order; empty otherwise.
        usage: What it cost.
    """

    value: T
    text: str
    confidence: float | None
    probabilities: tuple[float, ...] = ()
    reason: FinishReason = "stop"
    usage: Usage = field(default_factory=Usage)


@dataclass(eq=False, slots=True)
class Entry:
    """What a process and its branches share, and what the process table shows.

    Attributes:
        words: What the root user has said in this run.
        deps: The typed context that the embedding application gave to the run.
    """

    run: str
    path: str
    agent: str
    meter: Meter
    priority: Priority = "normal"
    level: Level = "L3"
    parent: Entry | None = None
    state: State = "running"
    words: tuple[str, ...] = ()
    workspace: Path = field(default_factory=Path)
    deps: Any = None
    seen: list[Observed] = field(default_factory=list[Observed])
    guard: LoopGuard = field(default_factory=LoopGuard)
    children: list[Child] = field(default_factory=list["Child"])
    inbox: list[tuple[str, int, str]] = field(default_factory=list[tuple[str, int, str]])
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    may_run: asyncio.Event = field(default_factory=asyncio.Event)
    interrupted: str = ""
    task: asyncio.Task[Any] | None = None
    doing: str = ""
    tokens: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def pid(self) -> str:
        """The run's id for its first process; a child's has numbers after it."""
        return self.run + self.path[1:]

    def count(self, usage: Usage) -> None:
        """Add what a think cost to what the process table shows."""
        for name in ("prompt_tokens", "reused_tokens", "generated_tokens"):
            self.tokens[name] = self.tokens.get(name, 0) + getattr(usage, name)

    @property
    def label(self) -> Label:
        """The least trusted thing that its context contains."""
        return join(*(one.label for one in self.seen))


class Branch:
    """A context and the system calls that work on it. Made by `Process.fork`; the process itself is one too.

    Attributes:
        context: The context window's contents.
        told: How many of its messages the last `think` had before it.
    """

    def __init__(self, system: System, entry: Entry, path: str, context: Context) -> None:
        self.system, self.entry, self.path = system, entry, path
        self.context = context
        self.told = 0
        self._number = 0
        self._forks = 0

    @property
    def pid(self) -> str:
        """Its process's id."""
        return self.entry.pid

    @property
    def budget(self) -> Meter:
        """What its process has used and has left."""
        return self.entry.meter

    @property
    def deps(self) -> Any:  # noqa: ANN401  # the application's own type
        """The typed context that the embedding application gave to the run."""
        return self.entry.deps

    def hear(self, *messages: Message) -> None:
        """Add messages to the context; they are read at the next `think`."""
        self.context = self.context.add(*messages)

    # -- think

    @overload
    async def think(
        self,
        prompt: str | None = None,
        *,
        output: type[ModelT],
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
    ) -> Thought[ModelT]: ...

    @overload
    async def think(
        self, prompt: str | None = None, *, actions: Sequence[str], sampling: Sampling | None = None
    ) -> Thought[ToolCall]: ...

    @overload
    async def think(
        self,
        prompt: str | None = None,
        *,
        choices: Sequence[str],
        baseline: str | None = None,
        temperature: float = 1.0,
    ) -> Thought[str]: ...

    @overload
    async def think(
        self,
        prompt: str | None = None,
        *,
        constraint: Constraint | None = None,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
    ) -> Thought[str]: ...

    async def think(
        self,
        prompt: str | None = None,
        *,
        output: type[BaseModel] | None = None,
        actions: Sequence[str] | None = None,
        choices: Sequence[str] | None = None,
        baseline: str | None = None,
        temperature: float = 1.0,
        constraint: Constraint | None = None,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
    ) -> Thought[Any]:
        """Continue the context.

        Args:
            prompt: A user turn to add first.
            output: The answer is a value of this pydantic model.
            actions: The answer is a call of one of these tools, valid by construction.
            choices: The answer is one of these, by comparing their likelihoods; with probabilities.
            baseline: For `choices`: a turn without the question's content, by which the model's bias for a choice is
                taken out (see `Score.baseline`).
            temperature: For `choices`: divides the log-likelihoods (see `Score.temperature`).
            constraint: What the answer may look like.
            sampling: How tokens are chosen, by default as in the settings.
            max_tokens: At most so many new tokens, and never more than the budget has left.
            stop: Strings that end the answer.

        Raises:
            BudgetExceeded: No tokens or no time is left.
            ConstraintError: The answer was cut before it was a value of `output`, or its validator rejects it.
            EngineError: The engine failed.
        """
        from llmos.kernel import thinking

        if choices is not None:
            return await thinking.choose(self, prompt, tuple(choices), baseline, temperature)
        request = thinking.Wish(
            prompt,
            output,
            tuple(actions) if actions is not None else None,
            constraint,
            sampling,
            max_tokens,
            tuple(stop),
        )
        return await thinking.say(self, request)

    # -- act

    async def act(
        self, tool: str, arguments: Mapping[str, Any], *, provenance: Mapping[str, Provenance] | None = None
    ) -> Result:
        """Call a tool, through the gate.

        Args:
            provenance: Where arguments came from, as far as their decoding guarantees it.

        Raises:
            BadArguments: There is no such tool, or the arguments don't fit its schema.
            Denied: The policy or the user refused.
            BudgetExceeded, LoopDetected: See there.
        """
        from llmos.kernel import gate

        return await gate.act(self, tool, arguments, provenance or {})

    async def recall(self, query: str, *, limit: int = 5) -> tuple[Memo, ...]:
        """What memory has on a query, best first."""
        from llmos.kernel.protocols import Memo

        async def work(_: int) -> list[dict[str, Any]]:
            found = await self.system.store.recall(query, limit=limit)
            return [
                {"text": memo.text, "label": memo.label, "source": memo.source, "score": memo.score} for memo in found
            ]

        rows = await self.call("recall", query, {"query": query, "limit": limit}, work)
        memos = tuple(Memo(row["text"], row["label"], row["source"], row["score"]) for row in rows)
        self.entry.seen.extend(Observed("recall", {"query": query}, memo.text, memo.label) for memo in memos)
        return memos

    async def remember(self, text: str, *, source: str = "") -> None:
        """Keep a text in memory, with the label of everything that this context has seen."""
        label = self.entry.label

        async def work(number: int) -> None:
            await self.system.store.remember(text, label=label, source=source, key=self.key(number))

        await self.call("remember", text, {"text": text, "source": source}, work)

    async def ask(self, question: str) -> str:
        """Put a question to the user.

        Raises:
            NobodyThere: Nobody can answer.
        """

        async def work(_: int) -> str:
            with self.system.waiting_for_a_person(self.entry):
                return await self.system.approver.answer(self.pid, question)

        self.entry.meter.charge("questions")
        answer = str(await self.call("ask", question, {"question": question}, work, timed=False))
        self.entry.words = (*self.entry.words, answer)
        return answer

    # -- time, chance, order

    async def sleep(self, seconds: float) -> None:
        """Wait; a resumed run waits for the rest only."""

        async def work(number: int) -> None:
            record = self.system.journal.find(self.entry.run, self.path, number, "sleep", canonical([seconds]))
            until = (record.started if record is not None else self.system.clock()) + seconds
            await asyncio.sleep(max(until - self.system.clock(), 0.0))

        await self.call("sleep", f"{seconds:g} s", [seconds], work)

    def now(self) -> float:
        """Seconds since the epoch, the same again when the run is resumed."""
        return float(self.note("now", self.system.clock))

    def random(self) -> float:
        """A number from 0 to 1, the same again when the run is resumed."""
        return float(self.note("random", self.system.random))

    async def race(self, *contenders: Callable[[], Awaitable[T]]) -> tuple[int, T]:
        """Start all at once, take the first that succeeds and cancel the others; returns its index and result.

        Each should work on a branch or child of its own. A resumed run starts the winner only.

        Raises:
            LlmosError: That of the last one, if all fail.
        """
        number = self._take_number()
        record = self._find(number, "race", canonical(len(contenders)))
        if record is not None and record.done:
            winner = int(json.loads(record.result))
            return winner, await contenders[winner]()
        tasks = [asyncio.ensure_future(contender()) for contender in contenders]
        try:
            winner = await _first_success(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._record(number, "race", canonical(len(contenders)), canonical(winner))
        return winner, tasks[winner].result()

    async def fork(self) -> Branch:
        """A branch of this context, driven by the caller: it shares what was read, and no token is read again."""
        self._forks += 1
        path = f"{self.path}~{self._forks}"

        async def work(_: int) -> None:
            engine = await self.system.engine()
            if "fork" in engine.info.capabilities:
                (self.context,) = await engine.fork(self.context, 1)

        await self.call("fork", path, [path], work)
        branch = Branch(self.system, self.entry, path, self.context)
        branch.told = self.told
        return branch

    async def checkpoint(self) -> None:
        """Make everything so far survive a power cut, and keep the context's KV state for a quick resume."""
        file = self.system.run_folder(self.entry.run) / f"{self.path}.kv"

        async def work(_: int) -> None:
            engine = await self.system.engine()
            if "save" in engine.info.capabilities:
                await engine.save(self.context, file)

        await self.call("checkpoint", "", [], work, durable=True)

    # -- the form of every call

    async def call(
        self,
        kind: Kind,
        title: str,
        arguments: object,
        work: Callable[[int], Awaitable[Any]],
        *,
        durable: bool = False,
        timed: bool = True,
        late: bool = False,
        recover: Callable[[Record], Awaitable[Any]] | None = None,
        finish: Callable[[Any], Mapping[str, Any]] | None = None,
    ) -> Any:  # noqa: ANN401  # JSON data
        """Journal a call around its work, or answer it from the journal.

        Args:
            arguments: JSON data by which it is recognized.
            work: Does it, given the call's number; returns JSON data.
            durable: Its rows survive a power cut.
            timed: Whether it counts against the time budget.
            late: The work enters the intent row itself, when it is about to have its effect.
            recover: What to do with a call that was under way when the run ended; by default it is made again.
            finish: More for the journal's row, from the result.

        Raises:
            JournalMismatch: The journal has another call here, or the run is being replayed and never came so far.
        """
        number = self._take_number()
        await self._may_run()
        text = canonical(arguments)
        record = self._find(number, kind, text)
        if record is not None and record.done:
            return _recorded(record)
        self.entry.meter.charge("steps")
        self.entry.doing = f"{kind} {title}"[:100]
        self.system.emit(CallStarted(pid=self.pid, path=self.path, number=number, call=kind, title=title))
        started = self.system.clock()
        failed = True
        try:
            if record is None and not late:
                self.system.journal.intend(self.entry.run, self.path, number, kind, title, text, durable=durable)
            doing = work(number) if record is None or recover is None else recover(record)
            result = await self._within_budget(doing) if timed else await doing
            failed = False
        except asyncio.CancelledError:
            if self.entry.interrupted != "interrupt":
                raise
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            self.system.check_signals(self.entry)
            raise
        except LlmosError as error:
            if not isinstance(error, _PASSING):
                data = ErrorData.of(error)
                if late:
                    self.system.journal.intend(self.entry.run, self.path, number, kind, title, text, durable=durable)
                told = canonical({"name": data.name, "message": data.message, "hint": data.hint})
                self.system.journal.finish(self.entry.run, self.path, number, told, failed=True, durable=durable)
            raise
        finally:
            self.entry.doing = ""
            seconds = self.system.clock() - started
            self.system.emit(
                CallEnded(
                    pid=self.pid, path=self.path, number=number, call=kind, title=title, seconds=seconds, failed=failed
                )
            )
        more = finish(result) if finish is not None else {}
        self.system.journal.finish(self.entry.run, self.path, number, canonical(result), durable=durable, **more)
        return json.loads(canonical(result))

    def note(self, kind: Kind, value: Callable[[], Any]) -> Any:  # noqa: ANN401  # JSON data
        """Journal a value that can't be had twice, at once."""
        number = self._take_number()
        record = self._find(number, kind, "[]")
        if record is not None and record.done:
            return _recorded(record)
        result = value()
        self._record(number, kind, "[]", canonical(result))
        return result

    def key(self, number: int) -> str:
        """The idempotency key of a call: the same when it is made again."""
        return f"{self.entry.run}:{self.path}:{number}"

    def _take_number(self) -> int:
        self._number += 1
        return self._number

    def _find(self, number: int, kind: Kind, arguments: str) -> Record | None:
        record = self.system.journal.find(self.entry.run, self.path, number, kind, arguments)
        if self.system.replaying and (record is None or not record.done):
            raise JournalMismatch(
                f"The replay of {self.entry.run!r} came to call {number} ({kind}) of process {self.path!r},"
                f" which the run never finished.",
                hint="The agent's code has changed since; `llmos resume` goes on where the run ended.",
            )
        return record

    def _record(self, number: int, kind: Kind, arguments: str, result: str) -> None:
        self.system.journal.record(self.entry.run, self.path, number, kind, "", arguments, result)

    async def _may_run(self) -> None:
        """Wait while stopped.

        Raises:
            Interrupted: The process was interrupted or killed.
        """
        if not self.entry.may_run.is_set():
            await self.entry.may_run.wait()
        self.system.check_signals(self.entry)

    async def _within_budget(self, work: Awaitable[Any]) -> Any:  # noqa: ANN401  # JSON data
        left = self.entry.meter.left("seconds")
        try:
            async with asyncio.timeout(None if left == float("inf") else left) as limit:
                return await work
        except TimeoutError:
            if limit.expired():
                self.entry.meter.check_time()
            raise


class Process(Branch):
    """A running agent's handle: all system calls."""

    def __init__(self, system: System, entry: Entry, context: Context) -> None:
        super().__init__(system, entry, entry.path, context)
        self._spawned = 0

    async def spawn(
        self,
        agent: str | AgentCode,
        *arguments: object,
        forked: bool = False,
        budget: Budget | None = None,
        priority: Priority | None = None,
    ) -> Child:
        """Start a child process.

        Args:
            agent: An agent by name, or a function that gets its process and the arguments.
            arguments: JSON data.
            forked: It begins with this context (and what it has seen) in place of an empty one.
            budget: Bounds of its own, within this process's.
            priority: By default this process's.

        Raises:
            NoSuchProcess: There is no agent of this name.
        """
        self._spawned += 1
        path = f"{self.path}.{self._spawned}"
        name, code = self.system.agent(agent)

        async def work(_: int) -> None:
            return None

        await self.call("spawn", f"{name} {path}", [name, path, list(arguments), forked], work)
        entry = Entry(
            run=self.entry.run,
            path=path,
            agent=name,
            meter=Meter(budget or Budget(), self.entry.meter),
            priority=priority or self.entry.priority,
            level=self.entry.level,
            parent=self.entry,
            words=self.entry.words,
            workspace=self.entry.workspace,
            deps=self.entry.deps,
            seen=list(self.entry.seen) if forked else [],
        )
        child = self.system.launch(entry, code, arguments, self.context if forked else Context())
        self.entry.children.append(child)
        return child

    async def wait(self, child: Child) -> Any:  # noqa: ANN401  # whatever the child's code returned, as JSON data
        """A child's result.

        Raises:
            LlmosError: The child's own error.
        """

        async def work(_: int) -> Any:  # noqa: ANN401
            return await child.result()

        result = await self.call("wait", child.entry.pid, [child.entry.path], work)
        if not any(one.arguments.get("pid") == child.entry.pid for one in self.entry.seen):
            self.entry.seen.append(Observed("spawn", {"pid": child.entry.pid}, result, child.entry.label))
        return result

    async def send(self, to: str | Child, message: BaseModel) -> None:
        """Put a typed message into a process's mailbox.

        Raises:
            NoSuchProcess: It has ended, or never was; or its mailbox is full.
        """
        body = canonical({"type": type(message).__name__, "body": message.model_dump(mode="json")})
        pid = to if isinstance(to, str) else to.entry.pid
        sent: list[tuple[Entry, int]] = []

        async def work(number: int) -> None:
            receiver = self.system.living(self.entry.run, pid)
            if len(receiver.inbox) >= _MAILBOX:
                raise NoSuchProcess(f"The mailbox of {pid!r} is full with {_MAILBOX:,} messages.")
            sent.append((receiver, number))

        await self.call("send", pid, [pid, body], work, finish=lambda _: {"letter": (sent[0][0].path, body)})
        for receiver, number in sent:
            receiver.inbox.append((self.path, number, body))
            receiver.arrived.set()

    async def receive(self, kind: type[ModelT], *, seconds: float | None = None) -> ModelT:
        """The next message of a type; others stay in the mailbox.

        Raises:
            BudgetExceeded: None came within so many seconds.
        """
        taken: list[tuple[str, int, str]] = []

        async def work(_: int) -> Any:  # noqa: ANN401
            taken.append(await self._letter(kind.__name__, seconds))
            return json.loads(taken[0][2])["body"]

        body = await self.call(
            "receive", kind.__name__, [kind.__name__], work, finish=lambda _: {"read": (taken[0][0], taken[0][1])}
        )
        return kind.model_validate(body)

    async def _letter(self, name: str, seconds: float | None) -> tuple[str, int, str]:
        try:
            async with asyncio.timeout(seconds):
                while True:
                    for letter in self.entry.inbox:
                        if json.loads(letter[2])["type"] == name:
                            self.entry.inbox.remove(letter)
                            return letter
                    self.entry.arrived.clear()
                    await self.entry.arrived.wait()
        except TimeoutError:
            raise BudgetExceeded(
                f"No message of type {name!r} came within {seconds or 0:g} s.", hint="Wait longer, or ask again."
            ) from None


class Child:
    """A process as its parent sees it."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    @property
    def pid(self) -> str:
        """Its process id."""
        return self.entry.pid

    async def result(self) -> Any:  # noqa: ANN401  # JSON data
        """What its code returned, or its error raised; the waiter's cancellation is not the child's."""
        task = self.entry.task
        assert task is not None, "a child is launched before anybody can wait for it"
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            raise Interrupted(f"Process {self.pid!r} was killed.") from None


def _recorded(record: Record) -> Any:  # noqa: ANN401  # JSON data
    data = json.loads(record.result)
    if record.failed:
        raise ErrorData(data["name"], data["message"], data["hint"]).error()
    return data


async def _first_success(tasks: Sequence[asyncio.Future[T]]) -> int:
    """The index of the first to succeed; raises the last one's error if all fail."""
    pending: set[asyncio.Future[T]] = set(tasks)
    error: BaseException | None = None
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in sorted(done, key=tasks.index):
            error = task.exception()
            if error is None:
                return tasks.index(task)
    raise cast("BaseException", error)
