"""`python -m llmos.engine.host`: an engine in a process of its own, served over stdin and stdout.

The first line on stdin names a factory and its options, then come calls (`llmos.engine.frames`). stdout carries frames
and nothing else: whatever libraries print goes to stderr. The process ends when its stdin does, that is with its
parent, however that died. Knows no parent, restarts nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar, assert_never

from pydantic import TypeAdapter, ValidationError

from llmos.engine.frames import (
    BOOT,
    FROM_HOST,
    TO_HOST,
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
    Run,
    Save,
    Scored,
    Tokenize,
)
from llmos.errors import ConfigError, EngineError, LlmosError
from llmos.events import EngineEvent
from llmos.kernel.protocols import Engine
from llmos.messages import Generate
from llmos.wire import ErrorData

_GRACE_SECONDS = 5.0


class ResumableEngine(Engine, Protocol):
    """An engine that can go on with an answer which another process began."""

    def generate(self, request: Generate, /, *, prefix: tuple[int, ...] = ()) -> AsyncGenerator[EngineEvent]:
        """As `Engine.generate`, after the tokens that this very request got already.

        Events come for new tokens only, with indexes that go on after `prefix`. Everything else is about the whole
        answer: `max_tokens`, stop strings, constraint and penalties reach back into the prefix, and `Finished` has the
        whole message and counts all tokens.
        """
        ...

    async def pulse(self) -> None:
        """Return when the engine gets round to it: soon, unless native code hangs."""
        ...


T = TypeVar("T")
Factory = Callable[[Mapping[str, Any]], Awaitable[ResumableEngine]]


async def _llama(options: Mapping[str, Any]) -> ResumableEngine:
    """`path`: the GGUF file; `options`: the fields of `LlamaOptions`."""
    from llmos.engine.llama import LlamaEngine, LlamaOptions

    path, chosen = _checked(Path, options.get("path")), _checked(LlamaOptions, options.get("options", {}))
    return await LlamaEngine.load(path, chosen)


async def _scripted(options: Mapping[str, Any]) -> ResumableEngine:
    """`replies`: a text, a list of texts or a mapping to texts; `context`, `seconds_per_token`: as `ScriptedEngine`."""
    from llmos.engine.scripted import ScriptedEngine

    chosen = _checked(_Scripted, options)
    return ScriptedEngine(chosen.replies, context=chosen.context, seconds_per_token=chosen.seconds_per_token)


@dataclass(frozen=True, slots=True)
class _Scripted:
    replies: str | list[str] | dict[str, str]
    context: int = 4096
    seconds_per_token: float = 0.0


def _checked(kind: type[T], value: object) -> T:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise ConfigError(f"Can't start an engine with the options {value!r}: {error}.") from error


FACTORIES: Mapping[str, Factory] = {"llama": _llama, "scripted": _scripted}


def main(factories: Mapping[str, Factory] = FACTORIES) -> None:
    """Serve one engine until stdin ends.

    Args:
        factories: What a `Boot` may name. Each gets its options and makes an engine.
    """
    calls, answers = _claim_pipes()
    asyncio.run(_serve(calls, answers, factories))
    # Not an ordinary exit: the thread that waits on stdin can't be ended.
    sys.stderr.flush()
    os._exit(0)


def _claim_pipes() -> tuple[BinaryIO, BinaryIO]:
    """stdin and stdout under new numbers, not inherited by child processes; the old ones lead nowhere and to stderr."""
    calls, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)
    os.dup2(2, 1)
    return calls, answers


async def _serve(calls: BinaryIO, answers: BinaryIO, factories: Mapping[str, Factory]) -> None:
    host = _Host(answers)
    lines = _lines(calls)
    try:
        engine = await _boot(host, lines, factories)
        if engine is None:
            return
        try:
            host.watch(engine)
            while (line := await lines.get()) is not None:
                host.handle(engine, line)
        finally:
            await engine.close()
    finally:
        await host.end()


def _lines(calls: BinaryIO) -> asyncio.Queue[bytes | None]:
    """The lines of stdin as they come, None at its end. From then on the process has some seconds to live.

    A thread reads them, so that the end is seen also while native code holds up the event loop.
    """
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[bytes | None] = asyncio.Queue()

    def put(line: bytes | None) -> None:
        with contextlib.suppress(RuntimeError):  # The loop may have ended first.
            loop.call_soon_threadsafe(lines.put_nowait, line)

    def read() -> None:
        for line in calls:
            put(line)
        put(None)
        time.sleep(_GRACE_SECONDS)
        os._exit(1)

    threading.Thread(target=read, name="llmos-host-stdin", daemon=True).start()
    return lines


async def _boot(
    host: _Host, lines: asyncio.Queue[bytes | None], factories: Mapping[str, Factory]
) -> ResumableEngine | None:
    """The engine that the first line asks for; None when it can't be made or nobody wants it any more."""
    line = await lines.get()
    if line is None:
        return None
    try:
        boot = TO_HOST.decode(line)
        if not isinstance(boot, Boot) or boot.factory not in factories:
            raise ConfigError(f"Can't start an engine from {boot!r}.", hint=f"Factories: {sorted(factories)}.")
        engine = await factories[boot.factory](boot.options)
    except LlmosError as error:
        host.send(Failed(BOOT, ErrorData.of(error)))
        return None
    host.pulse_seconds = boot.pulse_seconds
    host.send(Ready(engine.info))
    return engine


class _Host:
    """The calls that run, and the pipe for what comes of them."""

    def __init__(self, answers: BinaryIO) -> None:
        self._answers = answers
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self.pulse_seconds = 0.0

    def watch(self, engine: ResumableEngine) -> None:
        """Tell the parent every now and then that the engine lives."""

        async def beat() -> None:
            while True:
                await asyncio.sleep(self.pulse_seconds)
                await engine.pulse()
                self.send(Pulse())

        self._tasks[BOOT] = asyncio.create_task(beat())

    def send(self, frame: FromHost) -> None:
        # Blocking is right here: a parent that does not read gets no more tokens. Of its death stdin tells.
        line = FROM_HOST.encode(frame)
        with contextlib.suppress(BrokenPipeError):
            self._answers.write(line)
            self._answers.flush()

    def handle(self, engine: ResumableEngine, line: bytes) -> None:
        try:
            frame = TO_HOST.decode(line)
        except EngineError as error:
            self.send(Failed(BOOT, ErrorData.of(error)))
            return
        if isinstance(frame, Cancel):
            if task := self._tasks.get(frame.call):
                self._stopping.add(task)
                task.cancel()
        elif not isinstance(frame, Boot):
            self._start(engine, frame)

    def _start(self, engine: ResumableEngine, ask: Ask) -> None:
        task = asyncio.create_task(self._answer(engine, ask))
        self._tasks[ask.call] = task
        task.add_done_callback(lambda task: self._ended(ask.call, task))

    async def end(self) -> None:
        """Cancel what still runs and wait for it."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _ended(self, call: int, task: asyncio.Task[None]) -> None:
        del self._tasks[call]
        self._stopping.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if not isinstance(error, LlmosError):
            traceback.print_exception(error)
            error = EngineError(f"The engine failed with {type(error).__name__}: {error}")
        self.send(Failed(call, ErrorData.of(error)))

    async def _answer(self, engine: ResumableEngine, ask: Ask) -> None:
        if self._stopping:
            # A request may come again at once, and an engine knows it by its id: the old one has to be gone by then.
            await asyncio.wait(set(self._stopping))
        match ask:
            case Run(call, request, prefix):
                async for event in engine.generate(request, prefix=prefix):
                    self.send(Emit(call, event))
            case Compare(call, score):
                self.send(Scored(call, await engine.score(score)))
            case Tokenize(call, text, special):
                self.send(Ids(call, await engine.tokenize(text, special=special)))
            case Detokenize(call, tokens):
                self.send(Data(call, tuple(await engine.detokenize(tokens))))
            case Fork(call, context, n):
                self.send(Contexts(call, await engine.fork(context, n)))
            case Save(call, context, path):
                await engine.save(context, Path(path))
                self.send(Done(call))
            case Restore(call, path):
                self.send(Contexts(call, (await engine.restore(Path(path)),)))
            case _:
                assert_never(ask)


if __name__ == "__main__":
    main()
