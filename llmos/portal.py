"""An event loop in a thread of its own, and an engine that lives there but can be used from any loop.

An engine belongs to one event loop, but a kernel is used from many places: from the application's loop, from plain
code, from a notebook whose loop is running already. So the engine gets a loop of its own, and calls hop over to it.
Knows no model and no kernel.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

from llmos.errors import EngineClosed
from llmos.events import EngineEvent
from llmos.kernel.protocols import Engine
from llmos.messages import Context, EngineInfo, Generate, Score, Scores

T = TypeVar("T")


class Portal:
    """An event loop in a daemon thread, from the first use until `close`."""

    def __init__(self, name: str = "llmos-portal") -> None:
        self._name = name
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._closed = False
        self._open: set[Future[Any]] = set()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop; starts the thread if need be.

        Raises:
            EngineClosed: After `close`.
        """
        with self._lock:
            if self._closed:
                raise _closed()
            if self._loop is None:
                running = threading.Event()
                self._thread = threading.Thread(target=self._main, args=(running,), name=self._name, daemon=True)
                self._thread.start()
                running.wait()
            assert self._loop is not None
            return self._loop

    @property
    def is_current(self) -> bool:
        """Whether this code runs on the portal's own thread."""
        return threading.current_thread() is self._thread

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the loop. Cancelling the future cancels it."""
        try:
            future = asyncio.run_coroutine_threadsafe(work, self.loop)
        except BaseException:
            work.close()
            raise
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        return future

    async def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Await a coroutine that runs on the loop, from whichever loop this is."""
        if self.is_current:
            return await work
        future = self.submit(work)
        try:
            return await self.result(future)
        except asyncio.CancelledError:
            future.cancel()
            raise

    async def result(self, future: Future[T]) -> T:
        """Await what `submit` returned. Being cancelled while waiting leaves the work running."""
        try:
            return await asyncio.shield(asyncio.wrap_future(future))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if future.cancelled() and task is not None and not task.cancelling():
                raise _closed() from None
            raise

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and block until it is done, also while another loop runs in this thread.

        An interrupt (Ctrl-C) cancels it and is raised again.
        """
        future = self.submit(work)
        try:
            return future.result()
        except CancelledError:
            raise _closed() from None
        except BaseException:
            future.cancel()
            raise

    def close(self, *, timeout: float = 10.0) -> None:
        """Cancel what still runs and end the thread, waiting at most `timeout` seconds for it. Twice is harmless."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            loop, stop = self._loop, self._stop
        if loop is None or stop is None or self._thread is None:
            return
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(stop.set)
        if not self.is_current:
            self._thread.join(timeout)

    def _main(self, running: threading.Event) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            self._stop = asyncio.Event()
            self._loop.call_soon(running.set)
            runner.run(self._serve(self._stop))
        for future in tuple(self._open):  # what the loop had not begun when it ended
            with suppress(InvalidStateError):
                future.set_exception(_closed())

    @staticmethod
    async def _serve(stop: asyncio.Event) -> None:
        await stop.wait()


def _closed() -> EngineClosed:
    return EngineClosed("The kernel is closed.", hint="Open a new one.")


def closing(events: AsyncIterator[T]) -> aclosing[AsyncGenerator[T, None]]:
    """A context manager that closes a stream of events on leaving, which cancels its request."""
    return aclosing(cast("AsyncGenerator[T, None]", events))


class _Relay:
    """Carries the events of one request from the portal's loop to the loop that asked.

    It wakes the asking loop once for all events that have gathered, so a fast stream costs few wake-ups.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: deque[EngineEvent] = deque()
        self._wake = asyncio.Event()
        self._waking = False
        self._task: asyncio.Task[None] | None = None
        self._cancelled = False
        self._outcome: Future[None] | None = None

    async def pump(self, engine: Engine, request: Generate) -> None:
        """Runs on the portal's loop."""
        if self._cancelled:
            return
        self._task = asyncio.current_task()
        async with closing(engine.generate(request)) as events:
            async for event in events:
                self._events.append(event)
                if not self._waking:
                    self._waking = True
                    self._loop.call_soon_threadsafe(self._wake.set)

    def cancel(self) -> None:
        """Runs on the portal's loop."""
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()

    def end(self, outcome: Future[None]) -> None:
        """Nothing more comes. Runs on the portal's thread."""
        self._outcome = outcome
        with suppress(RuntimeError):  # the asking loop is closed, so nobody waits
            self._loop.call_soon_threadsafe(self._wake.set)

    async def events(self) -> AsyncIterator[EngineEvent]:
        """What has arrived, until the end."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._waking = False
            outcome = self._outcome
            while self._events:
                yield self._events.popleft()
            if outcome is not None:
                break
        try:
            outcome.result()
        except CancelledError:
            raise _closed() from None

    async def settled(self) -> None:
        """Wait until nothing more comes."""
        while self._outcome is None:
            await self._wake.wait()
            self._wake.clear()


class PortalEngine:
    """An engine that lives on a portal's loop, usable from every loop (an `Engine`)."""

    def __init__(self, engine: Engine, portal: Portal) -> None:
        self._engine = engine
        self._portal = portal

    @property
    def info(self) -> EngineInfo:
        """What the engine is and can do."""
        return self._engine.info

    async def generate(self, request: Generate, /) -> AsyncIterator[EngineEvent]:
        """Continue a context, see `Engine.generate`."""
        if self._portal.is_current:
            async with closing(self._engine.generate(request)) as events:
                async for event in events:
                    yield event
            return
        relay = _Relay()
        self._portal.submit(relay.pump(self._engine, request)).add_done_callback(relay.end)
        try:
            async with closing(relay.events()) as events:
                async for event in events:
                    yield event
        finally:
            with suppress(EngineClosed, RuntimeError):
                self._portal.loop.call_soon_threadsafe(relay.cancel)
            await relay.settled()

    async def score(self, request: Score, /) -> Scores:
        """How likely each choice is as the continuation of a context."""
        return await self._portal.call(self._engine.score(request))

    async def tokenize(self, text: str, /, *, special: bool = False) -> tuple[int, ...]:
        """The token ids of a text."""
        return await self._portal.call(self._engine.tokenize(text, special=special))

    async def detokenize(self, tokens: Sequence[int], /) -> bytes:
        """The bytes that token ids stand for."""
        return await self._portal.call(self._engine.detokenize(tokens))

    async def fork(self, context: Context, n: int, /) -> tuple[Context, ...]:
        """n branches of a context."""
        return await self._portal.call(self._engine.fork(context, n))

    async def save(self, context: Context, path: Path, /) -> None:
        """Write the KV state of a context to a file."""
        await self._portal.call(self._engine.save(context, path))

    async def restore(self, path: Path, /) -> Context:
        """Bring a saved context back."""
        return await self._portal.call(self._engine.restore(path))

    async def close(self) -> None:
        """End all requests and free the model."""
        await self._portal.call(self._engine.close())
