"""An engine in a child process: when native code kills it, that costs a restart, not the application.

Calls that were under way are made again in the new process; a stream goes on after the tokens that have come, by their
ids. Knows no model: what runs in the child is the business of `llmos.engine.host`.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from llmos.engine.child import Child
from llmos.engine.frames import (
    BOOT,
    Ask,
    Boot,
    Cancel,
    Compare,
    Contexts,
    Data,
    Detokenize,
    Done,
    Emit,
    Failed,
    Fork,
    FromHost,
    Ids,
    Pulse,
    Ready,
    Restore,
    Result,
    Save,
    Scored,
    Tokenize,
)
from llmos.engine.inflight import Call, Stream
from llmos.errors import EngineClosed, EngineCrashed, EngineError, LlmosError
from llmos.events import EngineEvent, Finished
from llmos.messages import Context, EngineInfo, Generate, Score, Scores

R = TypeVar("R", bound=Result)

_COMMAND = (sys.executable, "-P", "-m", "llmos.engine.host")
_BACKOFF_SECONDS = 0.1
_TRIAL_SECONDS = 30.0


class IsolatedEngine:
    """An engine in a child process that is replaced when it dies. Make one with `start`.

    It belongs to the event loop that started it. A request that was there when the process died, twice in a row, fails
    with `EngineCrashed`; where several were there both times, each runs alone for a moment to find out which it is.
    """

    def __init__(
        self,
        boot: Boot,
        *,
        ready_seconds: float,
        close_seconds: float,
        stall_seconds: float,
        restarts: int,
        window_seconds: float,
        command: Sequence[str],
    ) -> None:
        self._boot = boot
        self._ready_seconds = ready_seconds
        self._close_seconds = close_seconds
        self._stall_seconds = stall_seconds
        self._restarts = restarts
        self._window_seconds = window_seconds
        self._command = command
        self._calls: list[Call] = []
        self._issued: dict[int, Call] = {}
        self._last_number = BOOT
        self._deaths: list[float] = []
        self._open = False
        self._closed = False
        self._child: Child | None = None
        self._info: EngineInfo | None = None
        self._keeper: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls,
        factory: str,
        options: Mapping[str, Any],
        *,
        ready_seconds: float = 300.0,
        close_seconds: float = 10.0,
        stall_seconds: float = 120.0,
        restarts: int = 3,
        window_seconds: float = 60.0,
        command: Sequence[str] = _COMMAND,
    ) -> IsolatedEngine:
        """Start a process and wait until its engine stands.

        Args:
            factory: What makes the engine there: `llama` or `scripted` (`llmos.engine.host`).
            options: Its options, with a JSON form.
            ready_seconds: How long it may take to be ready, the first time and after each restart.
            close_seconds: How long it may take to close before it is killed.
            stall_seconds: After so long without a sign of life it is taken for hung and killed. One step of a big model
                must fit in.
            restarts: How often it may be restarted within `window_seconds`. After one more death what is under way
                fails with `EngineCrashed`, and so does every call until the window has moved on.
            window_seconds: See `restarts`.
            command: How the process is started.

        Raises:
            EngineCrashed: It died, or was not ready in time.
            LlmosError: What the factory raised.
        """
        engine = cls(
            Boot(factory, options, stall_seconds / 4),
            ready_seconds=ready_seconds,
            close_seconds=close_seconds,
            stall_seconds=stall_seconds,
            restarts=restarts,
            window_seconds=window_seconds,
            command=command,
        )
        child = await engine._spawn()
        engine._keeper = asyncio.create_task(engine._keep(child))
        return engine

    @property
    def info(self) -> EngineInfo:
        """What the engine in the child is and can do."""
        assert self._info is not None
        return self._info

    @property
    def pid(self) -> int | None:
        """The child's process id; None while there is none."""
        return self._child.pid if self._child else None

    async def generate(self, request: Generate, /, *, prefix: tuple[int, ...] = ()) -> AsyncGenerator[EngineEvent]:
        """Continue a context; a death of the child does not show in the stream, except as a pause.

        Raises:
            EngineClosed: It is closed, or was closed meanwhile.
            EngineCrashed: The child can't be kept alive, or this request is what kills it.
            LlmosError: What the engine in the child raised.
        """
        if request.sampling.seed is None:
            # Drawn here, so that a second process goes on with the same one.
            request = replace(request, sampling=replace(request.sampling, seed=random.getrandbits(32)))
        stream = Stream(request, prefix)
        self._submit(stream)
        try:
            while True:
                event = await stream.events.get()
                if isinstance(event, LlmosError):
                    raise event
                yield event
                if isinstance(event, Finished):
                    return
        finally:
            self._withdraw(stream)

    async def score(self, request: Score, /) -> Scores:
        """How likely each choice is as the continuation of a context."""
        return (await self._ask(lambda number: Compare(number, request), Scored)).scores

    async def tokenize(self, text: str, /, *, special: bool = False) -> tuple[int, ...]:
        """The token ids of a text."""
        return (await self._ask(lambda number: Tokenize(number, text, special), Ids)).tokens

    async def detokenize(self, tokens: Sequence[int], /) -> bytes:
        """The bytes of token ids."""
        ids = tuple(tokens)
        return bytes((await self._ask(lambda number: Detokenize(number, ids), Data)).data)

    async def fork(self, context: Context, n: int, /) -> tuple[Context, ...]:
        """n branches of a context."""
        return (await self._ask(lambda number: Fork(number, context, n), Contexts)).contexts

    async def save(self, context: Context, path: Path, /) -> None:
        """Have the child write a context's state to a file."""
        place = str(path.absolute())
        await self._ask(lambda number: Save(number, context, place), Done)

    async def restore(self, path: Path, /) -> Context:
        """Have the child read a context's state from a file."""
        place = str(path.absolute())
        return (await self._ask(lambda number: Restore(number, place), Contexts)).contexts[0]

    async def close(self) -> None:
        """End all calls with `EngineClosed`, and the child."""
        if self._closed:
            return
        self._closed = True
        self._fail_all(lambda call: EngineClosed(f"The engine was closed during {call.name}."))
        assert self._keeper is not None
        if self._child is not None:
            self._child.hang_up()
            await asyncio.wait({self._keeper}, timeout=self._close_seconds)
        self._keeper.cancel()
        await asyncio.wait({self._keeper})

    # Calls

    async def _ask(self, ask: Callable[[int], Ask], kind: type[R]) -> R:
        call = Call(ask)
        self._submit(call)
        try:
            result = await call.answer()
        finally:
            self._withdraw(call)
        if not isinstance(result, kind):
            raise EngineError(f"The engine's process answered {call.name} with a {type(result).__name__!r}.")
        return result

    def _submit(self, call: Call) -> None:
        if self._closed:
            raise EngineClosed(f"Can't start {call.name}: the engine is closed.")
        if self._keeper is None or self._keeper.done():
            if self._worn_out():
                raise self._crashed(f"Can't start {call.name}: the engine's process died too often.")
            self._keeper = asyncio.create_task(self._keep(None))
        self._calls.append(call)
        if self._open:
            self._issue(call)

    def _withdraw(self, call: Call) -> None:
        """The caller has its answer, or has gone away."""
        if call in self._calls:
            self._calls.remove(call)
        if not call.ended:
            self._recall(call)
            call.ended = True
            call.cleared.set()

    def _issue(self, call: Call) -> None:
        assert self._child is not None
        self._last_number += 1
        self._issued[self._last_number] = call
        try:
            self._child.send(call.frame(self._last_number))
        except EngineError as error:
            del self._issued[self._last_number]
            call.fail(error)

    def _recall(self, call: Call) -> None:
        """Have the child stop a call; what it still says about it is not heard."""
        if self._issued.pop(call.number, None) and self._child is not None:
            self._child.send(Cancel(call.number))

    def _fail_all(self, error: Callable[[Call], LlmosError]) -> None:
        for call in self._calls:
            call.fail(error(call))
        self._calls.clear()
        self._issued.clear()

    def _handle(self, frame: FromHost) -> None:
        match frame:
            case Ready():
                raise EngineError("it was ready twice")
            case Pulse():
                pass
            case Failed(number, error) if number == BOOT:
                raise EngineError(error.message)
            case Emit(number, event):
                if isinstance(stream := self._issued.get(number), Stream):
                    stream.take(event)
                    if stream.ended:
                        del self._issued[number]
            case Failed(number, error):
                if failed := self._issued.pop(number, None):
                    failed.fail(error.error())
            case _:
                if answered := self._issued.pop(frame.call, None):
                    answered.finish(frame)

    # The child

    async def _spawn(self) -> Child:
        child = await Child.spawn(self._command)
        self._info = await child.boot(self._boot, seconds=self._ready_seconds)
        self._child = child
        return child

    async def _keep(self, child: Child | None) -> None:
        """Keep a child alive until the engine is closed, or the children die too often."""
        death, cause = "", "the engine's process is gone."
        try:
            while True:
                child = child or await self._respawn(death)
                death = await self._live(child)
                if self._closed:
                    return
                child = None
        except EngineCrashed as error:
            cause = error.message
        finally:
            self._fail_all(lambda call: self._crashed(f"Lost {call.name}: {cause}"))

    async def _live(self, child: Child) -> str:
        """The life of one child, from the calls it inherits to what it died of."""
        reading = asyncio.create_task(child.run(self._handle, stall_seconds=self._stall_seconds))
        nonsense = ""
        try:
            await self._admit(reading)
            nonsense = await reading
        finally:
            self._open = False
            self._child = None
            reading.cancel()
            await child.end()
        death = nonsense + child.death()
        if not self._closed:
            self._bury(death)
        return death

    async def _admit(self, reading: asyncio.Task[str]) -> None:
        """Issue the calls that wait: first the suspects, one at a time, then all the others at once."""
        while suspect := next((call for call in self._calls if call.strikes > 1 and not call.ended), None):
            self._issue(suspect)
            clearing = asyncio.create_task(suspect.cleared.wait())
            await asyncio.wait({reading, clearing}, timeout=_TRIAL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            clearing.cancel()
            if reading.done():
                return
            self._recall(suspect)
            suspect.acquitted()
        self._open = True
        for call in self._calls:
            if not call.ended:
                self._issue(call)

    def _bury(self, death: str) -> None:
        """Find out who is to blame for a death: the only call that was there this time and the time before."""
        present = list(self._issued.values())
        self._issued.clear()
        for call in present:
            call.struck()
        suspects = [call for call in present if call.strikes > 1]
        if len(suspects) == 1:
            guilty = suspects[0]
            self._calls.remove(guilty)
            # Its deaths end with it: they say nothing about how long the next process will live.
            del self._deaths[-(guilty.strikes - 1) :]
            guilty.fail(
                EngineCrashed(
                    f"The engine's process died twice in a row with {guilty.name} in it{death}",
                    hint="Other requests go on; change or leave out this one.",
                )
            )
        else:
            self._deaths.append(time.monotonic())

    async def _respawn(self, death: str) -> Child:
        """The next child.

        Raises:
            EngineCrashed: There were too many already.
        """
        delay = 0.0
        while not self._worn_out():
            await asyncio.sleep(delay)
            try:
                return await self._spawn()
            except LlmosError as error:
                death = f": {error}"
                self._deaths.append(time.monotonic())
                delay = max(_BACKOFF_SECONDS, 2 * delay)
        raise EngineCrashed(f"the engine's process died {len(self._deaths)} times in {self._window_seconds:g} s{death}")

    def _worn_out(self) -> bool:
        oldest = time.monotonic() - self._window_seconds
        self._deaths = [death for death in self._deaths if death > oldest]
        return len(self._deaths) > self._restarts

    def _crashed(self, message: str) -> EngineCrashed:
        return EngineCrashed(
            message,
            hint=f"It can be tried again after {self._window_seconds:g} s; a smaller context may keep it alive.",
        )
