"""A server as a process: its messages as lines on its stdin and stdout, in bounds that it can't get around.

The SDK's own transport reads a line of any length and passes over what is no message; this one ends a server that does
so, and knows why a server died. Between the two stands `keeper`, so that nothing is left when llmos is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCNotification, jsonrpc_message_adapter

from llmos.errors import McpError
from llmos.tools.mcp import keeper
from llmos.tools.mcp.schema import brief

MAX_MESSAGE = 4 * 1024 * 1024
"""Bytes of one message of a server."""

MAX_NONSENSE = 20
"""Lines that are no messages before a server is given up; some write a banner."""

MAX_NOTICES = 10_000
"""Notifications in a row that nobody asked for, without an answer between them."""

Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]

KEPT = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER")
"""What a server gets of the environment; everything else only by its entry."""

_TAIL_LINES, _TAIL_WIDTH = 5, 200
_END_SECONDS = 2 * keeper.GRACE + 1.5


class Child:
    """A server's process. Used as `async with child.streams() as (read, write)`, once.

    Attributes:
        problem: Why it can't be used any more, as an error; None while it can.
    """

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        self.problem: McpError | None = None
        self._name, self._command, self._cwd = name, list(command), cwd
        self._env = {**{key: os.environ[key] for key in KEPT if key in os.environ}, **env}
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._odd: list[str] = []
        self._notices = 0

    @asynccontextmanager
    async def streams(self) -> AsyncGenerator[Streams]:
        """Start it; at the end it and all that it started have ended.

        Raises:
            McpError: It can't be started.
        """
        process, lifeline = await self._start()
        assert process.stdout is not None
        assert process.stderr is not None
        arrived, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        write, leaving = anyio.create_memory_object_stream[SessionMessage](0)
        tasks = [
            asyncio.create_task(self._read(process, arrived)),
            asyncio.create_task(self._write(process, leaving)),
            asyncio.create_task(self._listen(process.stderr)),
        ]
        try:
            yield read, write
        finally:
            if self.problem is not None:  # it broke the rules, or is dead: no grace
                with contextlib.suppress(OSError):
                    lifeline.send(keeper.AT_ONCE)
            ending = asyncio.ensure_future(_end(process, lifeline, tasks))
            try:
                await asyncio.shield(ending)
            except asyncio.CancelledError:  # it ends all the same, and in bounds
                await asyncio.wait({ending})
                raise
            finally:
                for stream in (arrived, read, write, leaving):
                    stream.close()

    async def _start(self) -> tuple[Process, socket.socket]:
        program = shutil.which(self._command[0], path=self._env.get("PATH"))
        if program is None:
            raise McpError(
                f"The MCP server {self._name!r} can't be started: there is no program {self._command[0]!r}.",
                reason="unreachable",
                hint="Install it, or give its whole path.",
            )
        if not self._cwd.is_dir():
            raise McpError(
                f"The MCP server {self._name!r} can't be started: there is no folder {str(self._cwd)!r}.",
                reason="unreachable",
            )
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-I", "-S", keeper.__file__, str(theirs.fileno())),
                    *(program, *self._command[1:]),
                    stdin=PIPE, stdout=PIPE, stderr=PIPE, env=self._env, cwd=self._cwd,
                    limit=MAX_MESSAGE, pass_fds=(theirs.fileno(),), start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                ours.close()
                raise McpError(
                    f"The MCP server {self._name!r} can't be started: {error.strerror or error}.", reason="unreachable"
                ) from error
        return process, ours

    async def _read(self, process: Process, arrived: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
        """Pass messages on until the server ends or breaks a rule; then its calls end, since the stream does."""
        assert process.stdout is not None
        with arrived, contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            while self.problem is None:
                try:
                    line = await process.stdout.readuntil(b"\n")
                except asyncio.LimitOverrunError:
                    self._fail("too large", f"sent a message of more than {MAX_MESSAGE:,} bytes")
                    return
                except (asyncio.IncompleteReadError, OSError):
                    await self._died(process)
                    return
                message = self._message(line)
                if message is not None:
                    await arrived.send(message)

    def _message(self, line: bytes) -> SessionMessage | None:
        if not line.strip():
            return None
        try:
            message = jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError:
            self._odd.append(brief(line[:_TAIL_WIDTH].decode("utf-8", "replace"), _TAIL_WIDTH))
            if len(self._odd) > MAX_NONSENSE:
                self._fail("nonsense", f"writes what is no message of the protocol, such as {self._odd[0]!r}")
            return None
        self._notices = self._notices + 1 if isinstance(message, JSONRPCNotification) else 0
        if self._notices > MAX_NOTICES:
            self._fail("nonsense", f"sent more than {MAX_NOTICES:,} notifications in a row")
            return None
        return SessionMessage(message)

    async def _write(self, process: Process, leaving: MemoryObjectReceiveStream[SessionMessage]) -> None:
        assert process.stdin is not None
        with leaving, contextlib.suppress(OSError):  # it is dead: reading tells
            async for message in leaving:
                text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                process.stdin.write(text.encode() + b"\n")
                await process.stdin.drain()

    async def _listen(self, stderr: asyncio.StreamReader) -> None:
        """Keep its last words."""
        while chunk := await stderr.read(1 << 16):
            for line in chunk.decode("utf-8", "replace").splitlines()[-_TAIL_LINES:]:
                if line.strip():
                    self._tail.append(brief(line, _TAIL_WIDTH))

    async def _died(self, process: Process) -> None:
        await _exited(process, keeper.GRACE)
        code = process.returncode
        how = "closed its output" if code is None else f"ended with exit status {code}"
        if code is not None and code > 128:
            how = f"was killed by signal {code - 128}"
        self._fail("died", how)

    def _fail(self, reason: str, what: str) -> None:
        self.problem = McpError(f"The MCP server {self._name!r} {what}.", reason=reason, hint=self.last_words())

    def last_words(self) -> str:
        """What it wrote to stderr last, and to stdout that is no message; empty if nothing."""
        said = [*self._odd[-1:], *self._tail]
        return f"It said: {' | '.join(said)}" if said else ""


async def _end(process: Process, lifeline: socket.socket, tasks: Sequence[asyncio.Task[None]]) -> None:
    """End a server: close its input, let the keeper end what stays, and kill the keeper if even that hangs."""
    assert process.stdin is not None
    process.stdin.close()
    lifeline.close()
    if not await _exited(process, _END_SECONDS):
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await _exited(process, 1.0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    transport = getattr(process, "_transport", None)  # nothing public closes the pipes of a server that left some open
    if transport is not None:
        transport.close()
        await asyncio.sleep(0)


async def _exited(process: Process, seconds: float) -> bool:
    """Whether it ends within so many seconds. `Process.wait` would wait for its pipes too, which others may hold."""
    end = time.monotonic() + seconds
    while process.returncode is None and time.monotonic() < end:
        await asyncio.sleep(0.01)
    return process.returncode is not None
