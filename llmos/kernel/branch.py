"""A context with the system calls that work on it: think, act, recall, remember, ask, and what replays time and chance.

A call is numbered, journaled before and after, and answered from the journal when its run is resumed. Knows no tool,
model or terminal: the `System` gives it what it may use.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from llmos.errors import (
    BadArguments,
    BudgetExceeded,
    EngineClosed,
    EngineCrashed,
    Interrupted,
    JournalMismatch,
    LlmosError,
    RemoteError,
    StorageError,
    Unfinished,
)
from llmos.events import CallEnded, CallStarted, Usage
from llmos.kernel import gate, paging, remembering, thinking
from llmos.kernel.budget import TICK, Meter
from llmos.kernel.calls import Provenance, Result
from llmos.kernel.entry import Entry, Failure, Thought
from llmos.kernel.journal import Kind, Record, canonical
from llmos.kernel.protocols import Device, Engine, Memo
from llmos.messages import Constraint, Context, Message, Sampling, ToolCall
from llmos.wire import ErrorData

if TYPE_CHECKING:
    from pydantic import BaseModel

    from llmos.kernel.system import System

T = TypeVar("T")
ModelT = TypeVar("ModelT", bound="BaseModel")

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

_SHOWN = 200
_LOOK_SECONDS = 0.1  # how often to see whether a person has answered
_EMPTY = Context()


class Branch:
    """A context and the system calls that work on it. Made by `fork` and `aside`; the process itself is one too.

    Attributes:
        context: The context window's contents.
        told: How many of its messages the last `think` had before it.
        saved: Where a checkpoint of an earlier life kept its KV state, to be brought back before the next think.
        pages: Which parts of the context are in the window, and which were left out.
    """

    def __init__(
        self, system: System, entry: Entry, path: str, context: Context, pages: paging.Pages | None = None
    ) -> None:
        self.system, self.entry, self.path = system, entry, path
        self.context, self.pages = context, paging.Pages() if pages is None else pages.copy()
        self.told = 0
        self.saved: Path | None = None
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

    async def engine(self) -> Engine:
        """The engine that its process thinks with.

        Raises:
            LlmosError: It can't be opened.
        """
        return await self.system.engine(self.entry.engine)

    def device(self, tool: str) -> Device:
        """A tool that this run may call.

        Raises:
            BadArguments: There is none of this name.
        """
        if tool not in self.entry.devices:
            known = ", ".join(sorted(self.entry.devices)) or "none"
            raise BadArguments(f"There is no tool {tool!r}.", hint=f"There are: {known}.")
        return self.entry.devices[tool]

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
        return await gate.act(self, tool, arguments, provenance or {})

    async def recall(self, query: str, *, limit: int = 5) -> tuple[Memo, ...]:
        """What memory has on a query, best first."""
        return await remembering.recall(self, query, limit)

    async def remember(self, text: str, *, source: str = "") -> None:
        """Keep a text in memory, with the label of everything that this context has seen."""
        await remembering.remember(self, text, source)

    async def compare(self, words: str, texts: Mapping[str, Sequence[str]]) -> dict[str, float] | None:
        """How near in meaning the nearest text of each name is to some words: cosines, -1 to 1; None where nobody can
        tell.
        """
        return await remembering.compare(self, words, texts)

    async def ask(self, question: str) -> str:
        """Put a question to the user.

        Raises:
            NobodyThere: Nobody can answer.
        """

        async def work(_: int) -> str:
            with self.system.waiting_for_a_person(self.entry):
                return await self.system.approver.answer(self.pid, question)

        async def before() -> None:
            self.entry.meter.charge("questions")

        answer = str(await self.call("ask", question, {"question": question}, work, before=before))
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
        tasks: list[asyncio.Future[T]] = []

        async def work() -> int:
            tasks.extend(asyncio.ensure_future(contender()) for contender in contenders)
            try:
                return await _first_success(tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

        winner = int(await self.once("", len(contenders), work))
        return winner, tasks[winner].result() if tasks else await contenders[winner]()

    async def once(self, title: str, arguments: object, work: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401
        """Journal what came of work that makes its calls on other branches; a resumed run doesn't begin it again.

        Args:
            arguments: JSON data by which it is recognized.
            work: Returns JSON data. An error of it is not entered: a resumed run does the work again.
        """
        number, text = self._take_number(), canonical(arguments)
        record = self._find(number, "race", text)
        if record is not None and record.done:
            return _recorded(record)
        with self._noting(number, "race", title, text):
            result = canonical(await work())
        self._record(number, "race", text, result, title)
        return json.loads(result)

    async def first(self, pending: Sequence[asyncio.Future[Any]]) -> int:
        """Wait for whichever of some running lines of work ends next, well or badly, and return its index.

        Called again with the rest, it gives results in the order in which they come. A resumed run waits for the same
        ones in the same order. Nothing is cancelled. Each line should work on a branch or child of its own.

        Raises:
            BadArguments: There is nothing to wait for.
        """
        if not pending:
            raise BadArguments("There is nothing to wait for.", hint="Give at least one line of work.")

        async def work(_: int) -> int:
            await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            return next(place for place, line in enumerate(pending) if line.done())

        place = int(await self.call("first", f"of {len(pending)}", [len(pending)], work))
        await asyncio.wait([pending[place]])
        return place

    def aside(self, context: Context = _EMPTY) -> Branch:
        """A branch with a context of its own, to think something over that leaves no trace in this one.

        It is numbered as a fork is, and its calls are journaled under its own path; no KV state is shared, but for
        what the engine finds to be the same. Several may be used at once.
        """
        self._forks += 1
        return Branch(self.system, self.entry, f"{self.path}~{self._forks}", context, self.pages)

    async def fork(self) -> Branch:
        """A branch of this context, driven by the caller: it shares what was read, and no token is read again."""
        self._forks += 1
        path = f"{self.path}~{self._forks}"

        async def work(_: int) -> None:
            engine = await self.engine()
            if "fork" in engine.info.capabilities:
                self.context = await paging.shared(self, engine)

        await self.call("fork", path, [path], work)
        branch = Branch(self.system, self.entry, path, self.context, self.pages)
        branch.told = self.told
        return branch

    async def checkpoint(self) -> None:
        """Make everything so far survive a power cut, and keep the context's KV state for a quick resume."""
        file = self.system.run_folder(self.entry.run) / f"{self.path}.kv"
        self.saved = file

        async def work(_: int) -> None:
            self.saved = None
            engine = await self.engine()
            if "save" in engine.info.capabilities:
                await engine.save(paging.view_of(self, engine), file)

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
        before: Callable[[], Awaitable[None]] | None = None,
        decision: Mapping[str, Any] | None = None,
        recover: Callable[[Record], Awaitable[Any]] | None = None,
        finish: Callable[[Any], Mapping[str, Any]] | None = None,
    ) -> Any:  # noqa: ANN401  # JSON data
        """Journal a call around its work, or answer it from the journal.

        Args:
            arguments: JSON data by which it is recognized.
            work: Does it, given the call's number; returns JSON data.
            durable: Its rows survive a power cut.
            timed: Whether it counts against the time budget.
            before: What decides whether it may be made at all; runs before the intent row of a call that is new.
            decision: JSON data on why it may, which `before` fills in; it is journaled with the intent.
            recover: What to do with a call that was under way when the run ended; by default it is made again.
            finish: More for the journal's row, from the result.

        Raises:
            JournalMismatch: The journal has another call here, or the run is being replayed and never came so far.
        """
        number = self._take_number()
        text = canonical(arguments)
        if self.entry.interrupted == "kill":
            self.system.check_signals(self.entry)
        record = self._find(number, kind, text)
        if record is not None and record.done:
            return _recorded(record)
        journal, place = self.system.journal, (self.entry.run, self.path, number)
        with self._noting(number, kind, title, text):
            await self._may_run()
            entered = record is not None
            self.entry.meter.charge("steps", 0 if entered else 1)  # one that is made again was counted
            with self._telling(kind, title, number) as told:
                try:
                    if not entered:
                        if before is not None:
                            await before()
                        why = canonical(decision) if decision else ""
                        journal.intend(*place, kind, title, text, decision=why, durable=durable)
                        entered = True
                    doing = work(number) if record is None or recover is None else recover(record)
                    result = await self._within_budget(doing) if timed else await doing
                    more: Mapping[str, Any] = finish(result) if finish is not None else {}
                    answer = canonical(result)
                    journal.finish(*place, answer, durable=durable, **more)
                    told.update(failed=False, **_gist(kind, result))
                    return json.loads(answer)
                except LlmosError as error:
                    if not isinstance(error, _PASSING):
                        answer = canonical(asdict(ErrorData.of(error)))
                        if entered:
                            journal.finish(*place, answer, failed=True, durable=durable)
                        else:  # at once: with an intent alone, a resumed run would take it for one that was allowed
                            why = canonical(decision) if decision else ""
                            journal.record(
                                *place, kind, title, text, answer, failed=True, decision=why, durable=durable
                            )
                    raise

    @contextmanager
    def _telling(self, kind: Kind, title: str, number: int) -> Generator[dict[str, Any]]:
        """Tell of a call's begin and end, and let it be interrupted in between.

        Raises:
            Interrupted: It was.
        """
        told: dict[str, Any] = {"failed": True}
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self.entry.calling[task] = False
        self.entry.doing = f"{kind} {title}"[:100]
        self.system.emit(CallStarted(pid=self.pid, path=self.path, number=number, call=kind, title=title))
        started = self.system.clock()
        try:
            yield told
        except asyncio.CancelledError:
            if not self.entry.calling[task]:
                raise
            self.system.check_signals(self.entry)
            raise Interrupted(f"Process {self.pid!r} was interrupted.") from None  # with another of its calls
        except LlmosError as error:
            told["detail"] = error.message
            raise
        finally:
            if self.entry.calling.pop(task):
                task.uncancel()
            self.entry.doing = ""
            seconds = self.system.clock() - started
            self.system.emit(
                CallEnded(pid=self.pid, path=self.path, number=number, call=kind, title=title, seconds=seconds, **told)
            )

    @contextmanager
    def _noting(self, number: int, kind: Kind, title: str, arguments: str) -> Generator[None]:
        """Remember an error of a call, in case that the code goes on after it."""
        try:
            yield
        except JournalMismatch:
            raise
        except LlmosError as error:
            self.entry.failures.append(Failure(self.path, number, kind, title, arguments, error))
            raise

    def note(self, kind: Kind, value: Callable[[], Any], *, title: str = "") -> Any:  # noqa: ANN401  # JSON data
        """Journal a value that can't be had twice, at once; `title` says for people what it is."""
        if self.entry.interrupted == "kill":
            self.system.check_signals(self.entry)
        number = self._take_number()
        record = self._find(number, kind, "[]")
        if record is not None and record.done:
            return _recorded(record)
        result = value()
        self._record(number, kind, "[]", canonical(result), title)
        return result

    def key(self, number: int) -> str:
        """The idempotency key of a call: the same when it is made again."""
        return f"{self.entry.run}:{self.path}:{number}"

    def _take_number(self) -> int:
        if self.entry.failures:
            self.system.settle(self.entry, self.path)
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

    def _record(self, number: int, kind: Kind, arguments: str, result: str, title: str) -> None:
        self.system.journal.record(self.entry.run, self.path, number, kind, title, arguments, result)

    async def _may_run(self) -> None:
        """Wait while stopped.

        Raises:
            Interrupted: The process was interrupted or killed.
        """
        while not self.entry.may_run.is_set():
            await self.entry.may_run.wait()
        self.system.check_signals(self.entry)

    async def _within_budget(self, work: Awaitable[Any]) -> Any:  # noqa: ANN401  # JSON data
        """Wait for a call as long as there is time, which stands still while a person is waited for."""
        meter = self.entry.meter
        if meter.left("seconds") == math.inf:
            return await work
        loop, limit = asyncio.get_running_loop(), asyncio.timeout(None)
        timer: asyncio.TimerHandle | None = None

        def look() -> None:
            nonlocal timer
            left = meter.left("seconds")
            if left > TICK:
                timer = loop.call_later(max(left, _LOOK_SECONDS) if meter.holding else left, look)
            else:
                limit.reschedule(loop.time())

        try:
            async with limit:
                look()
                return await work
        except TimeoutError:
            if limit.expired():
                meter.check_time()
            raise
        finally:
            if timer is not None:
                timer.cancel()


def _gist(kind: Kind, result: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON data
    """What to tell of a call besides that it was made: a tool's first line, a think's cost."""
    if kind == "act":
        return {"detail": str(result["text"]).partition("\n")[0][:_SHOWN]}
    if kind == "think":
        return {"usage": Usage(**result["usage"])}
    return {}


def _recorded(record: Record) -> Any:  # noqa: ANN401  # JSON data
    data = json.loads(record.result)
    if record.failed:
        raise ErrorData(**data).error()
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
