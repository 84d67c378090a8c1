"""One child process with an engine in it, seen from the parent: start it, talk to it, know why it died.

Knows the frames, not what they are for, and never starts a second process.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Callable, Sequence

from llmos.engine.frames import FROM_HOST, TO_HOST, Boot, Failed, FromHost, Ready, ToHost
from llmos.errors import EngineCrashed, EngineError
from llmos.messages import EngineInfo

_LONGEST_LINE = 1 << 28
_TAIL_LINES = 20
_TAIL_WIDTH = 300
_REAP_SECONDS = 10.0
_DRAIN_SECONDS = 1.0


class Child:
    """A running host process. Make one with `spawn`."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._listening = asyncio.create_task(self._listen(process.stderr))

    @classmethod
    async def spawn(cls, command: Sequence[str]) -> Child:
        """Start a process.

        Raises:
            EngineCrashed: The system can't start it.
        """
        try:
            # A session of its own: Ctrl-C in a terminal is for the parent, which decides what it means.
            process = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=_LONGEST_LINE, start_new_session=True
            )
        except OSError as error:
            raise EngineCrashed(f"Can't start the engine's process {command[0]!r}: {error}.") from error
        return cls(process)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def boot(self, boot: Boot, *, seconds: float) -> EngineInfo:
        """Have it make its engine. After any error the process has ended.

        Raises:
            EngineCrashed: It died, talked nonsense, or was not ready after so many seconds.
            LlmosError: What the engine's factory raised.
        """
        ready = False
        try:
            self.send(boot)
            frame, problem = await self._first(seconds)
            if isinstance(frame, Ready):
                ready = True
                return frame.info
            if isinstance(frame, Failed):
                raise frame.error.error()
        finally:
            if not ready:
                await self.end()
        raise EngineCrashed(
            f"The engine's process {problem}{self.death()}",
            hint="Its last words may say why; a slow disk or a big model may need more seconds.",
        )

    async def _first(self, seconds: float) -> tuple[FromHost | None, str]:
        try:
            return await asyncio.wait_for(self._next(), seconds), "ended before it was ready"
        except TimeoutError:
            return None, f"was not ready after {seconds:g} s and was ended"
        except EngineError as error:
            return None, f"sent something that is no frame ({error})"

    def send(self, frame: ToHost) -> None:
        """Write a frame. To a dead process it goes nowhere: `run` tells of the death.

        Raises:
            EngineError: The frame has no JSON form.
        """
        line = TO_HOST.encode(frame)
        if not self._stdin.is_closing():
            self._stdin.write(line)

    async def run(self, handle: Callable[[FromHost], None], *, stall_seconds: float) -> str:
        """Hand on every frame until the process is dead or useless; `end` makes it dead.

        Returns:
            What was wrong with what it sent (a line that is no frame, an `EngineError` of `handle`, nothing for so many
            seconds), or nothing.
        """
        try:
            while (frame := await asyncio.wait_for(self._next(), stall_seconds)) is not None:
                handle(frame)
        except TimeoutError:
            return f" after it gave no sign of life for {stall_seconds:g} s"
        except EngineError as error:
            return f" after it sent nonsense ({error})"
        return ""

    def hang_up(self) -> None:
        """Close its input: it ends its engine, then itself."""
        self._stdin.close()

    async def end(self) -> None:
        """Kill it if it is alive, and collect what it left."""
        if self._stdout.at_eof():
            # It is about to end by itself: then the cause of its death is not our signal.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), _DRAIN_SECONDS)
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        self._stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), _REAP_SECONDS)
        # Its own children may hold its stderr open: then what has arrived must do.
        await asyncio.wait({self._listening}, timeout=_DRAIN_SECONDS)
        self._listening.cancel()

    def death(self) -> str:
        """How it ended and its last words, as the end of a sentence."""
        return f": {_cause(self._process.returncode)}{self.last_words()}"

    def last_words(self) -> str:
        """The last lines of its stderr."""
        return f". Its last words:\n{chr(10).join(self._tail)}" if self._tail else "."

    async def _next(self) -> FromHost | None:
        """The next frame; None at the end, a line that was cut off by a death included."""
        try:
            line = await self._stdout.readline()
        except ValueError as error:
            raise EngineError(f"Can't read a line of more than {_LONGEST_LINE:,} bytes.") from error
        return FROM_HOST.decode(line) if line.endswith(b"\n") else None

    async def _listen(self, stderr: asyncio.StreamReader) -> None:
        """Keep the last lines; whatever is not a line in time is cut into lines."""
        while chunk := await stderr.read(1 << 16):
            for line in chunk.decode("utf-8", "replace").splitlines():
                if line.strip():
                    self._tail.append(line[:_TAIL_WIDTH])


def _cause(code: int | None) -> str:
    if code is None:
        return "it can't be ended"
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
