"""A host process for the tests of `IsolatedEngine`, with scripted engines that misbehave on request.

The last message of a request decides: `crash` kills the process before any token, `crash N` after N tokens in this
process, `print` writes to stdout, `hang` stops the engine for good. Anything else is answered by a long text made from
it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

from llmos.engine.host import FACTORIES, ResumableEngine, main
from llmos.engine.scripted import ScriptedEngine
from llmos.errors import ModelInvalid
from llmos.events import EngineEvent, Token
from llmos.messages import Generate, Score


def story(words: str, length: int = 60) -> str:
    """The answer to `words`."""
    return " ".join(f"{words}-{n}" for n in range(length))


class MisbehavingEngine(ScriptedEngine):
    """Scripted, but it can kill its process, and hang."""

    _gate = threading.Event()
    _gate.set()

    async def pulse(self) -> None:
        """As an engine whose thread may hang."""
        while not self._gate.is_set():
            await asyncio.sleep(0.1)

    async def generate(self, request: Generate, /, *, prefix: tuple[int, ...] = ()) -> AsyncGenerator[EngineEvent]:
        """As a scripted engine, with accidents."""
        words = request.context.messages[-1].content.split()
        fuse = int(words[1]) if words[0] == "crash" and len(words) > 1 else 0
        if words[0] == "hang":
            self._gate.clear()
        if words[0] == "print":
            os.write(1, b"a stray print\n")
        async for event in super().generate(request, prefix=prefix):
            if words[0] == "crash" and not fuse:
                os.write(2, b"GGML_ASSERT(poison) failed\n")
                os.kill(os.getpid(), signal.SIGABRT)
            await self.pulse()
            if words[0] == "broken":
                raise ZeroDivisionError("a bug")
            fuse -= isinstance(event, Token)
            yield event


async def _misbehaving(options: Mapping[str, Any]) -> ResumableEngine:
    if options.get("log"):
        with Path(options["log"]).open("a") as log:
            log.write(f"{os.getpid()}\n")
    match options.get("start"):
        case "slow":
            await asyncio.sleep(600)
        case "stuck":
            time.sleep(600)
        case "exit":
            sys.exit("no such quantization")
        case "abort":
            os.abort()
        case "garbage":
            os.write(_protocol_pipe(), b"Hello, I am a log line\n")
        case "invalid":
            raise ModelInvalid("'x.gguf' is not a GGUF file.", hint="Pull it again.")
        case "once" if len(Path(options["log"]).read_text().splitlines()) > 1:
            sys.exit("only once")
        case _:
            pass

    def scores(request: Score) -> list[float]:
        if "crash" in request.choices:
            os.abort()
        return [-float(len(choice)) for choice in request.choices]

    return MisbehavingEngine(
        lambda request: story(request.context.messages[-1].content, options.get("length", 60)),
        seconds_per_token=options.get("seconds_per_token", 0.002),
        context=options.get("context", 4096),
        scores=scores,
    )


def _protocol_pipe() -> int:
    """The number under which the host keeps its stdout: the pipe that is not 1 or 2."""
    parent_end = os.environ["TEST_STDOUT"]
    return next(
        int(number)
        for number in os.listdir("/proc/self/fd")
        if int(number) > 2 and os.path.realpath(f"/proc/self/fd/{number}").endswith(parent_end)
    )


if __name__ == "__main__":
    os.environ["TEST_STDOUT"] = os.path.realpath("/proc/self/fd/1").rsplit("/", 1)[-1]
    main({**FACTORIES, "misbehaving": _misbehaving})
