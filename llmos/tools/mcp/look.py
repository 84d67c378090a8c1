"""One look at a server, outside of any kernel: connect, list its tools, compare them with what was accepted, close.

Knows no terminal.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmos.kernel.calls import Effect
from llmos.tools.mcp import pins
from llmos.tools.mcp.connection import Connection, secrets
from llmos.tools.mcp.device import MAX_DESCRIPTION, named, traits
from llmos.tools.mcp.schema import Arguments, Unusable, brief
from llmos.tools.mcp.settings import Server


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenTool:
    """One tool of a server.

    Attributes:
        name: As agents call it.
        tool: As the server calls it.
        state: What has become of it since it was accepted.
        effect: What it counts as.
        steers: The arguments that decide what is affected.
        hints: What the server says of it, which nothing is decided by.
        changed: Which parts of its definition have changed.
        problem: Why it can't be used; empty if it can.
    """

    name: str
    tool: str
    state: pins.State
    effect: Effect
    steers: tuple[str, ...]
    hints: Mapping[str, bool]
    description: str
    changed: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was found.

    Attributes:
        title: What the server calls itself.
        connect_seconds: Until it was ready.
        list_seconds: To list its tools.
        definitions: Its tools as it lists them now.
    """

    server: Server
    protocol: str
    title: str
    connect_seconds: float
    list_seconds: float
    tools: Sequence[SeenTool]
    definitions: Mapping[str, pins.Definition] = field(repr=False)

    @property
    def good(self) -> bool:
        """Whether everything is as it was accepted."""
        return all(tool.state == "accepted" and not tool.problem for tool in self.tools)


async def look(server: Server) -> Look:
    """Look at a server as it is now.

    Raises:
        McpError: It can't be reached, or does not do what the protocol wants.
        LlmosError: One of its secrets can't be had, or what was accepted can't be read.
    """
    began = time.monotonic()
    connection = await Connection.connect(server, secrets())
    try:
        ready = time.monotonic()
        now = await connection.tools()
        listed = time.monotonic()
    finally:
        await connection.close()
    chosen = {name: one for name, one in now.items() if not server.only or name in server.only}
    return Look(
        server=server,
        protocol=connection.protocol,
        title=connection.title,
        connect_seconds=ready - began,
        list_seconds=listed - ready,
        tools=_compared(server, chosen),
        definitions=chosen,
    )


def _compared(server: Server, now: Mapping[str, pins.Definition]) -> list[SeenTool]:
    before = pins.accepted(server)
    before = {name: one for name, one in before.items() if not server.only or name in server.only}
    names = named(server, {**before, **now})
    states = pins.compare(before, now)
    return [
        _seen(server, names[tool], now.get(tool) or before[tool], before.get(tool), states[tool]) for tool in states
    ]


def _seen(
    server: Server, name: str, one: pins.Definition, before: pins.Definition | None, state: pins.State
) -> SeenTool:
    problem, arguments = "", frozenset[str]()
    try:
        arguments = Arguments(name, one.get("inputSchema") or {}).names
    except Unusable as error:
        problem = str(error)
    counts = traits(server, str(one["name"]), arguments)
    annotations: Mapping[str, Any] = one.get("annotations") or {}
    changed = () if state != "changed" or before is None else tuple(
        part for part in pins.PARTS if before.get(part) != one.get(part)
    )  # fmt: skip
    return SeenTool(
        name=name,
        tool=brief(str(one["name"]), 120),
        state=state,
        effect=counts.effect,
        steers=tuple(sorted(counts.steers)),
        hints={str(key): value for key, value in annotations.items() if isinstance(value, bool)},
        description=brief(str(one.get("description") or ""), MAX_DESCRIPTION),
        changed=changed,
        problem=problem,
    )
