"""The servers that a kernel has running: each starts at its first call, is shared by all, and ends with the kernel.

Knows when to start one again and when not to; no protocol.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmos.errors import McpError
from llmos.tools.mcp import pins
from llmos.tools.mcp.settings import Server
from llmos.tools.threads import in_thread

if TYPE_CHECKING:
    from mcp_types import CallToolResult

    from llmos.tools.mcp.connection import Connection, Progress

MAX_STARTS, START_WINDOW = 4, 60.0
"""A server that was started so often within so many seconds is not started again until they are over."""


@dataclass(slots=True)
class _Place:
    """One server on one event loop."""

    opening: asyncio.Task[Connection] | None = None
    starts: deque[float] = field(default_factory=lambda: deque[float](maxlen=MAX_STARTS))


class Pool:
    """Connections by event loop and server: one set of tools may serve several kernels."""

    def __init__(self) -> None:
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Place]] = (
            weakref.WeakKeyDictionary()
        )

    async def call(
        self, server: Server, definition: pins.Definition, arguments: Mapping[str, Any], progress: Progress
    ) -> CallToolResult:
        """Call a tool as it was accepted, on a server that is started if need be.

        Raises:
            McpError: Nothing came of it, or the tool is not the one that was accepted.
            LlmosError: One of the server's secrets can't be had.
        """
        connection = await self._connection(server)
        name = str(definition["name"])
        now = (await connection.tools()).get(name)
        if now is None or pins.digest(now) != pins.digest(definition):
            what = "has changed since you accepted it" if now else "is gone"
            raise McpError(
                f"The tool {name!r} of the MCP server {server.name!r} {what}; it was not called.",
                reason="changed",
                hint=f"`llmos mcp test {server.name}` shows how, and with --accept it is accepted.",
            )
        return await connection.call(name, arguments, progress)

    async def close(self) -> None:
        """End the servers of the running loop, all at once. A second call does nothing."""
        places = self._loops.pop(asyncio.get_running_loop(), {})
        opening = [place.opening for place in places.values() if place.opening is not None]
        await asyncio.gather(*(_closed(task) for task in opening))

    async def _connection(self, server: Server) -> Connection:
        places = self._loops.setdefault(asyncio.get_running_loop(), {})
        place = places.setdefault(server.name, _Place())
        task = place.opening
        if task is not None and task.done() and not await _is_good(task):
            if place.opening is task:
                place.opening = None
            await _closed(task)
        if place.opening is None:
            now = time.monotonic()
            if len(place.starts) == MAX_STARTS and now - place.starts[0] < START_WINDOW:
                raise McpError(
                    f"The MCP server {server.name!r} did not last: {MAX_STARTS} starts within {START_WINDOW:g} s.",
                    reason="died",
                    hint=f"`llmos mcp test {server.name}` says more.",
                )
            place.starts.append(now)
            place.opening = asyncio.create_task(_opened(server))
            place.opening.add_done_callback(_seen)
        opening = place.opening
        # a call that is given up meanwhile leaves the server starting for the next one
        await asyncio.wait({opening})
        if opening.cancelled():
            raise McpError(f"The MCP server {server.name!r} was closed before it was ready.", reason="died")
        return opening.result()


async def _opened(server: Server) -> Connection:
    def load() -> type[Connection]:
        from llmos.tools.mcp.connection import Connection

        return Connection

    # half a second of imports, not on the loop that streams tokens
    connection = await in_thread(load, name="import mcp")
    from llmos.tools.mcp.connection import secrets

    return await connection.connect(server, secrets())


async def _is_good(task: asyncio.Task[Connection]) -> bool:
    """Whether a server that was started is there and answers."""
    if task.cancelled() or task.exception():
        return False
    connection = task.result()
    return connection.usable and await connection.answers()


def _seen(task: asyncio.Task[Connection]) -> None:
    """Take note of a failure, so that asyncio does not complain where nobody waits any more."""
    if not task.cancelled():
        task.exception()


async def _closed(task: asyncio.Task[Connection]) -> None:
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled() and not task.exception():
        await task.result().close()
