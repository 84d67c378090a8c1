"""The public `Kernel`: wires settings, an engine and the system that runs agents together.

Knows no terminal and no kind of engine: `llmos.engine.open_engine` decides what a model name means.
"""

from __future__ import annotations

import asyncio
import math
import threading
import weakref
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, Self, TypeVar, Unpack, overload

from llmos import wire
from llmos.config import Settings, load_settings
from llmos.errors import ConstraintError, EngineClosed, EngineError, LlmosError
from llmos.events import Event, Finished, FinishReason, Usage
from llmos.kernel.protocols import Engine
from llmos.messages import Constraint, Context, EngineInfo, Generate, JsonSchema, Message, Priority, Sampling
from llmos.portal import Portal, PortalEngine, closing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydantic import BaseModel

    from llmos.browsing import Browsed, Browsing
    from llmos.engine.scripted import Script
    from llmos.kernel.budget import Budget
    from llmos.kernel.calls import Level, Observed
    from llmos.kernel.entry import AgentCode
    from llmos.kernel.protocols import Device
    from llmos.runs import Parts, Running, Runs

T = TypeVar("T")
OutputT = TypeVar("OutputT", covariant=True)
ModelT = TypeVar("ModelT", bound="BaseModel")
State = Literal["new", "loading", "ready", "failed", "closed"]


class Closable(Protocol):
    """What is closed with the kernel, on its loop."""

    async def close(self) -> None:
        """End it."""
        ...


_CLOSE_SECONDS = 10.0
_LEAVE_SECONDS = 1.0  # for a model that is still loading, of which nothing is lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Generic[OutputT]):
    """What a run came to.

    Attributes:
        text: What the model said, without its reasoning.
        confidence: Geometric mean probability of the answer's tokens, 0 to 1. None where the engine does not tell, and
            under a constraint: its tokens were not the model's choice, so their probability says nothing of the answer.
            For `Choices`, `Engine.score` tells how likely each is.
        output: The parsed answer if the run asked for an output type, otherwise None.
        message: The model's whole turn, reasoning included.
        context: The conversation with this answer: give it to the next run to go on.
        reason: Why the answer ended.
        usage: What it cost: tokens read, reused and generated; seconds.
    """

    text: str
    confidence: float | None
    output: OutputT
    message: Message
    context: Context
    reason: FinishReason
    usage: Usage


def confidence_of(logprob: float, constraint: Constraint | None = None) -> float | None:
    """The geometric mean probability that a mean log-probability stands for; None for NaN and under a constraint."""
    return None if math.isnan(logprob) or constraint is not None else min(1.0, math.exp(logprob))


class Kernel:
    """Runs tasks on a model.

    The engine loads in the background, on the first run or at `start`, and lives in a thread of its own. So one kernel
    can be used from several event loops and from plain code at the same time. Leaving `async with` or `with` closes it;
    a kernel that is never closed is closed at the end of the program.

    Args:
        model: Which model, as in `Settings.model`; None leaves it to the settings.
        engine: An engine to use instead of opening one. The kernel takes it over and closes it, unless it is `shared`.
        settings: By default those of the settings file and the environment.
        parts: What runs of agents are made of: tools, approver, policy, memory, folder.
        shared: The engine belongs to somebody else: other kernels go on with it when this one is closed.

    Raises:
        ConfigError: A setting can't be used.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        engine: Engine | None = None,
        settings: Settings | None = None,
        parts: Parts | None = None,
        shared: bool = False,
    ) -> None:
        settings = settings or load_settings()
        self.settings = settings if model is None else replace(settings, model=model)
        self._portal = Portal()
        self._given = engine
        self._lock = threading.Lock()
        self._loading: Future[Engine] | None = None
        self._parts = parts
        self._runs: Future[Runs] | None = None
        self._opened: list[Closable] = [] if engine is None or shared else [engine]
        self._finalizer = weakref.finalize(self, _shut_down, self._portal, self._opened)

    @classmethod
    def testing(cls, replies: Script = "Fine.", *, parts: Parts | None = None) -> Self:
        """A kernel for tests: a scripted engine, a memory that ends with it, and a folder that is removed with it.

        Args:
            replies: What the engine answers, as for `ScriptedEngine`.
            parts: Its folder may be given to look at it afterwards.
        """
        from llmos.engine.scripted import ScriptedEngine
        from llmos.kernel.system import Scratch
        from llmos.runs import Parts

        parts = parts or Parts()
        parts = replace(parts, store=parts.store or Scratch())
        kernel = cls(engine=ScriptedEngine(replies), settings=Settings(), parts=parts)
        if parts.folder is None:
            folder = _Folder()
            kernel._parts = replace(parts, folder=folder.path)
            kernel._opened.append(folder)
        return kernel

    async def __aenter__(self) -> Self:
        """Start loading; the model may not be ready yet."""
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __enter__(self) -> Self:
        """Start loading; the model may not be ready yet."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finalizer()

    @property
    def state(self) -> State:
        """Where the engine is: `new`, `loading`, `ready`, `failed`, `closed`."""
        if not self._finalizer.alive:
            return "closed"
        loading = self._loading
        if loading is None:
            return "new"
        if not loading.done():
            return "loading"
        return "failed" if loading.cancelled() or loading.exception() is not None else "ready"

    @property
    def folder(self) -> Path | None:
        """Where journal and runs are kept; None for llmos's data folder."""
        return self._parts.folder if self._parts is not None else None

    @property
    def info(self) -> EngineInfo | None:
        """What the engine is and can do; None until it is ready."""
        return self._loading.result().info if self._loading is not None and self.state == "ready" else None

    def start(self) -> None:
        """Begin to load the engine in the background, unless it is loading or loaded. A failed load is tried again.

        Raises:
            EngineClosed: After `close`.
        """
        self._load()

    async def engine(self) -> Engine:
        """The engine, usable from this loop, once it is loaded.

        Raises:
            LlmosError: It can't be loaded: no such model, too little memory, …
        """
        engine = await self._portal.result(self._load())
        return PortalEngine(engine, self._portal)

    def request(
        self,
        prompt: str,
        *,
        context: Context | None = None,
        constraint: Constraint | None = None,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
        priority: Priority = "interactive",
    ) -> Generate:
        """What `run` would send to the engine, for callers that go on from there.

        Arguments are those of `run`.
        """
        if context is None:
            context = Context.chat(prompt, system=self.settings.system)
        else:
            context = context.add(Message("user", prompt))
        return Generate(
            context=context,
            constraint=constraint,
            sampling=sampling or self.settings.sampling,
            max_tokens=self.settings.max_tokens if max_tokens is None else max_tokens,
            priority=priority,
        )

    @overload
    async def run(
        self,
        prompt: str,
        *,
        output: type[ModelT],
        context: Context | None = None,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
        priority: Priority = "interactive",
    ) -> Answer[ModelT]: ...

    @overload
    async def run(
        self,
        prompt: str,
        *,
        output: None = None,
        context: Context | None = None,
        constraint: Constraint | None = None,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
        priority: Priority = "interactive",
    ) -> Answer[None]: ...

    async def run(
        self,
        prompt: str,
        *,
        output: type[BaseModel] | None = None,
        context: Context | None = None,
        constraint: Constraint | None = None,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
        priority: Priority = "interactive",
    ) -> Answer[BaseModel] | Answer[None]:
        """Answer a prompt.

        Args:
            prompt: The user's words.
            output: A pydantic model: the answer is constrained to its JSON schema and parsed into `Answer.output`.
            context: The conversation to go on with, such as an earlier `Answer.context`; None begins a new one.
            constraint: What the answer may look like; not together with `output`.
            sampling: How tokens are chosen, by default as in the settings.
            max_tokens: At most this many new tokens, by default as in the settings.
            priority: Who goes first when the engine is busy.

        Raises:
            ConstraintError: The answer is not a value of `output`: it was cut at a limit, or a validator rejects it.
            LlmosError: The engine can't be loaded or the request failed.
        """
        if output is not None:
            constraint = JsonSchema(output.model_json_schema())
        request = self.request(
            prompt,
            context=context,
            constraint=constraint,
            sampling=sampling,
            max_tokens=max_tokens,
            priority=priority,
        )
        finished = await _last(self._stream(request))
        confidence = confidence_of(finished.logprob, constraint)
        if output is None:
            return _answer(finished, confidence, None)
        return _answer(finished, confidence, _parse(output, finished))

    async def run_stream(
        self,
        prompt: str,
        *,
        context: Context | None = None,
        constraint: Constraint | None = None,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
        priority: Priority = "interactive",
    ) -> AsyncIterator[Event]:
        """Answer a prompt, event by event: `Started`, any number of `Token`, one `Finished`.

        Arguments and errors are those of `run`. Leaving the loop cancels the request.
        """
        request = self.request(
            prompt,
            context=context,
            constraint=constraint,
            sampling=sampling,
            max_tokens=max_tokens,
            priority=priority,
        )
        async with closing(self._stream(request)) as events:
            async for event in events:
                yield event

    @overload
    def run_sync(
        self,
        prompt: str,
        *,
        output: type[ModelT],
        context: Context | None = None,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
    ) -> Answer[ModelT]: ...

    @overload
    def run_sync(
        self,
        prompt: str,
        *,
        output: None = None,
        context: Context | None = None,
        constraint: Constraint | None = None,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
    ) -> Answer[None]: ...

    def run_sync(
        self,
        prompt: str,
        *,
        output: type[BaseModel] | None = None,
        context: Context | None = None,
        constraint: Constraint | None = None,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
    ) -> Answer[BaseModel] | Answer[None]:
        """`run` for code that is not async. It works inside a running event loop too, which it blocks meanwhile.

        Arguments and errors are those of `run`. Ctrl-C cancels the request and is raised.
        """
        if self._portal.is_current:
            raise EngineError(
                "run_sync was called by code that the kernel itself runs, which would wait for itself.",
                hint="Use `await kernel.run(…)` there.",
            )
        if output is None:
            return self._portal.wait(
                self.run(prompt, context=context, constraint=constraint, sampling=sampling, max_tokens=max_tokens)
            )
        return self._portal.wait(
            self.run(prompt, output=output, context=context, sampling=sampling, max_tokens=max_tokens)
        )

    async def spawn(
        self,
        agent: str | AgentCode,
        *arguments: object,
        tools: Iterable[Device] | None = None,
        level: Level = "L3",
        budget: Budget | None = None,
        workspace: Path | str | None = None,
        deps: object = None,
        context: Context | None = None,
        words: Sequence[str] | None = None,
        seen: Sequence[Observed] | None = None,
        priority: Priority = "interactive",
    ) -> Running:
        """Start an agent as a process; it goes on when nobody waits for it.

        Args:
            agent: An agent by name (such a run can be resumed after a crash), or a function that gets its process.
            arguments: What the agent gets besides: JSON data.
            tools: What it may call; those of the kernel if None.
            level: How far it may go by itself, from L0 (suggest) to L5 (nobody to ask).
            budget: What it may use up.
            workspace: The folder it may work in, by default the current one.
            deps: A typed context of the application, for its tools and agents.
            context: The conversation that its own context begins with.
            words: The root user's own words, which alone authorize what it does; by default the texts among the
                arguments. Give them where the arguments have other text as well.
            seen: What is in the arguments and the context besides, each piece with its label and source. By default all
                of the context counts as from outside.
            priority: Who goes first when the engine is busy.

        Raises:
            NoSuchProcess: There is no agent of this name.
            StorageError: The journal can't be written.
        """
        from llmos.kernel.budget import DEFAULT
        from llmos.kernel.system import Task, name_of

        given = None if tools is None else list(tools)
        task = Task(
            agent=agent if isinstance(agent, str) else name_of(agent),
            arguments=arguments,
            words=None if words is None else tuple(words),
            seen=None if seen is None else tuple(seen),
            level=level,
            priority=priority,
            workspace=str(workspace or "."),
            budget=budget or DEFAULT,
            context="" if context is None else wire.encode(context).decode(),
            tools=None if given is None else tuple(tool.spec.name for tool in given),
        )
        code = None if isinstance(agent, str) else agent
        runs = await self._system()

        async def begin() -> Running:
            return runs.start(task, self._portal, code=code, deps=deps, tools=given)

        return await self._portal.call(begin())

    async def resume(self, run: str, *, code: AgentCode | None = None, deps: object = None) -> Running:
        """Go on with a run whose kernel is gone; what it did is not done again.

        Raises:
            NoSuchProcess: There is no such run, it is over, or its kernel lives.
        """
        runs = await self._system()

        async def begin() -> Running:
            return runs.resume(run, self._portal, code=code, deps=deps)

        return await self._portal.call(begin())

    @overload
    async def browse(self, task: str, *, output: type[ModelT], **more: Unpack[Browsing]) -> Browsed[ModelT]: ...

    @overload
    async def browse(self, task: str, *, output: None = None, **more: Unpack[Browsing]) -> Browsed[None]: ...

    async def browse(
        self, task: str, *, output: type[BaseModel] | None = None, **more: Unpack[Browsing]
    ) -> Browsed[Any]:
        """Do a task on web pages in a browser; what may be said besides is in `llmos.browsing.Browsing`.

        Args:
            output: A pydantic model, filled from the last page; `Browsed.sources` says where each field stood.

        Raises:
            Unverified: It was not done; the message says why.
            ConstraintError: What the page says is not a value of `output`.
        """
        from llmos.browsing import browse

        return await browse(self, task, output, more)

    async def close(self) -> None:
        """End all runs with `EngineClosed` and free the model. A second call does nothing."""
        if self._finalizer.alive:
            await asyncio.to_thread(self._finalizer)

    async def _stream(self, request: Generate) -> AsyncIterator[Event]:
        engine = await self.engine()
        async with closing(engine.generate(request)) as events:
            async for event in events:
                yield event

    async def _system(self) -> Runs:
        with self._lock:
            if self._runs is None or (self._runs.done() and self._runs.exception() is not None):
                self._runs = self._portal.submit(self._open_runs())
            opening = self._runs
        return await self._portal.result(opening)

    async def _open_runs(self) -> Runs:
        from llmos.runs import Parts, Runs

        runs = Runs(
            self._parts or Parts(),
            engine=self._engine_here,
            sampling=self.settings.sampling,
            max_tokens=self.settings.max_tokens,
            keep=self.settings.runs,
            engines=self.settings.engines,
            memory=self.settings.memory,
        )
        self._opened.insert(0, runs)
        await runs.open()
        return runs

    async def _engine_here(self) -> Engine:
        """The engine, for use on the portal's own loop."""
        return await self._portal.result(self._load())

    def _load(self) -> Future[Engine]:
        with self._lock:
            if self._loading is None or self.state == "failed":
                self._loading = self._portal.submit(_open(self._given, self.settings, self._opened))
            return self._loading


class _Folder:
    """A temporary folder that is removed when it is closed."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="llmos-", ignore_cleanup_errors=True)
        self.path = Path(self._folder.name)

    async def close(self) -> None:
        """Remove it."""
        self._folder.cleanup()


async def _open(given: Engine | None, settings: Settings, opened: list[Closable]) -> Engine:
    if given is not None:
        return given
    from llmos.engine import open_engine

    try:
        engine = await open_engine(settings.model, settings.engine)
    except LlmosError:
        raise
    except Exception as error:  # a broken installation or native code: whatever it is, the caller can go on
        model = "The model" if settings.model is None else f"The model {settings.model!r}"
        raise EngineError(
            f"{model} could not be loaded: {type(error).__name__}: {error}.",
            hint="`llmos doctor` says what is missing; LLMOS_DEBUG=1 shows where it failed.",
        ) from error
    opened.append(engine)
    return engine


def _shut_down(portal: Portal, opened: list[Closable]) -> None:
    """Close what was opened on its own loop, then end it. Must not hold the kernel, which may be collected already."""

    async def close_all() -> None:
        for part in opened:
            await part.close()

    try:
        with suppress(EngineClosed, TimeoutError):
            if opened:
                portal.submit(close_all()).result(_CLOSE_SECONDS)
    finally:
        portal.close(timeout=_CLOSE_SECONDS if opened else _LEAVE_SECONDS)


async def _last(events: AsyncIterator[Event]) -> Finished:
    finished: Finished | None = None
    async with closing(events) as stream:
        async for event in stream:
            if isinstance(event, Finished):
                finished = event
    if finished is None:
        raise EngineError("The engine ended a request without saying how it went.", hint="Try again.")
    return finished


def _answer(finished: Finished, confidence: float | None, output: T) -> Answer[T]:
    return Answer(
        text=finished.message.content,
        confidence=confidence,
        output=output,
        message=finished.message,
        context=finished.context,
        reason=finished.reason,
        usage=finished.usage,
    )


def _parse(output: type[ModelT], finished: Finished) -> ModelT:
    try:
        return output.model_validate_json(finished.message.content)
    except ValueError as error:  # pydantic's ValidationError is one
        if finished.reason in ("length", "context"):
            problem = f"it was cut after {finished.usage.generated_tokens} tokens"
            hint = "Raise max_tokens or bound the lengths in the model's fields."
        else:
            problem, hint = f"{error}", "Put what the validator wants into the field's type or description."
        raise ConstraintError(f"The answer is not a {output.__name__!r}: {problem}.", hint=hint) from error
