"""A tool of an MCP server as the kernel sees it.

What it may do is what the user says of it, and the safe assumption otherwise: it reaches beyond this machine, every
argument decides where, and what it gives back is from outside. What the server says of that is only shown.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from llmos.errors import LlmosError, Unsupported
from llmos.kernel.calls import Result, Traits
from llmos.kernel.protocols import Access, Device
from llmos.messages import ToolSpec
from llmos.tools.mcp import pins, settings
from llmos.tools.mcp.pool import Pool
from llmos.tools.mcp.results import as_output
from llmos.tools.mcp.schema import Arguments, Unusable, brief
from llmos.tools.mcp.settings import Server
from llmos.tools.output import as_result, visible

MAX_DESCRIPTION = 1000
MAX_NAME = 64
START_SECONDS = 60.0
"""Beside the time of the call itself: to start the server and list its tools."""

PROGRESS_SECONDS = 0.2
PARALLEL = 4


class RemoteTool:
    """A `Device` that calls a tool of a server.

    Args:
        name: As agents call it.
        definition: As it was accepted.
        pool: Where its server runs.

    Raises:
        Unusable: Its schema can't be used.
    """

    examples: tuple[tuple[str, Mapping[str, Any]], ...] = ()

    def __init__(self, name: str, server: Server, definition: pins.Definition, pool: Pool) -> None:
        self.server = server
        self.definition = definition
        self._pool = pool
        self._arguments = Arguments(name, definition.get("inputSchema") or {})
        said = str(definition.get("description") or definition.get("title") or definition["name"])
        self._spec = ToolSpec(name, brief(said, MAX_DESCRIPTION), self._arguments.shown)
        self._traits = traits(server, str(definition["name"]), self._arguments.names)

    def __repr__(self) -> str:
        return f"<tool {self._spec.name!r} of an MCP server, {self._traits.effect}>"

    @property
    def spec(self) -> ToolSpec:
        """Name, description and JSON schema, for the model."""
        return self._spec

    @property
    def traits(self) -> Traits:
        """What it may do to the world."""
        return self._traits

    def check(self, arguments: Mapping[str, Any], /) -> Mapping[str, Any]:
        """Arguments as validated JSON data; defaults are the server's.

        Raises:
            BadArguments: They don't fit the schema.
        """
        return self._arguments.check(arguments)

    def show(self, arguments: Mapping[str, Any], access: Access, /) -> str:
        """Which server gets what."""
        inside = json.dumps(dict(arguments), ensure_ascii=False, indent=1)
        what = f"{self.definition['name']} of the MCP server {self.server.name!r} ({self.server.where})"
        return visible(f"{what}\n{inside}")

    async def call(self, arguments: Mapping[str, Any], access: Access, /) -> Result:
        """Do it. Trouble comes back as a failed `Result`; only cancellation is raised."""
        progress = _Progress(self._spec.name, access.progress)
        try:
            answer = await self._pool.call(self.server, self.definition, arguments, progress.tell)
            return await as_result(
                as_output(answer),
                tool=self._spec.name,
                label="outside",
                limit=self._traits.output_bytes,
                access=access,
            )
        except (LlmosError, OSError, ValueError) as error:
            return Result(str(error), None, "outside", failed=True)

    async def done(self, arguments: Mapping[str, Any], access: Access, /) -> Result | None:
        """Nobody can tell.

        Raises:
            Unsupported: Always.
        """
        raise Unsupported(f"{self._spec.name} can't tell whether a call was carried out.", hint="Look for its effect.")

    async def kernel_closed(self) -> None:
        """End the servers of this loop."""
        await self._pool.close()


class _Progress:
    """A server's reports of one call, not too often."""

    def __init__(self, tool: str, say: Callable[[str], None]) -> None:
        self._tool, self._say = tool, say
        self._said = 0.0

    async def tell(self, done: float, total: float | None, message: str | None) -> None:
        now = time.monotonic()
        if now - self._said < PROGRESS_SECONDS:
            return
        self._said = now
        share = f"{done / total:.0%}" if total and 0 <= done <= total else f"{done:g}"
        self._say(f"{self._tool}: {share} {brief(message or '', 120)}".rstrip())


def traits(server: Server, tool: str, names: frozenset[str]) -> Traits:
    """What a tool counts as: what the user says of it, else the safe assumption."""
    rule = server.rules.get(tool, settings.ToolRule())
    effect = rule.effect or "external"
    return Traits(
        effect=effect,
        steers=names if rule.steers is None else rule.steers & names,
        returns="outside",
        repeatable=effect in ("pure", "reads"),
        seconds=server.seconds + START_SECONDS,
        parallel=PARALLEL,
    )


def named(server: Server, tools: Iterable[str]) -> dict[str, str]:
    """The names under which agents call the tools of a server, by its own names; no two are the same."""
    plain = {tool: f"{server.name}__{re.sub(r'[^A-Za-z0-9_-]', '_', tool)}" for tool in tools}
    counts = Counter(name.lower()[:MAX_NAME] for name in plain.values())
    return {
        tool: name if counts[name.lower()[:MAX_NAME]] == 1 and len(name) <= MAX_NAME else _shortened(name, tool)
        for tool, name in plain.items()
    }


def devices(server: Server, pool: Pool) -> tuple[dict[str, Device], list[str]]:
    """The tools of a server that were accepted, by the name agents use, and why others are left out.

    Raises:
        StorageError: What was accepted can't be read.
    """
    accepted = pins.accepted(server)
    chosen = {tool: one for tool, one in accepted.items() if not server.only or tool in server.only}
    found: dict[str, Device] = {}
    left: list[str] = []
    for tool, name in named(server, chosen).items():
        try:
            found[name] = RemoteTool(name, server, chosen[tool], pool)
        except Unusable as error:
            left.append(f"The tool {brief(tool, 80)!r} of the MCP server {server.name!r} is left out: {error}.")
    if not accepted:
        left.append(
            f"The MCP server {server.name!r} is not used: nothing of it was accepted yet."
            f" `llmos mcp test {server.name} --accept` looks at it."
        )
    return found, left


def load_devices(notify: Callable[[str], None]) -> dict[str, Device]:
    """The tools of all servers that count, as they were accepted: nothing is started for this.

    Args:
        notify: Told of what is left out.
    """
    try:
        known = settings.load()
    except LlmosError as error:
        notify(str(error))
        return {}
    found: dict[str, Device] = {}
    pool = Pool()
    for server in known.servers.values():
        try:
            tools, left = devices(server, pool)
        except LlmosError as error:
            tools, left = dict[str, Device](), [str(error)]
        found |= tools
        for notice in left:
            notify(notice)
    for notice in known.notices:
        notify(notice)
    return found


def _shortened(name: str, tool: str) -> str:
    return f"{name[: MAX_NAME - 7]}-{hashlib.sha256(tool.encode()).hexdigest()[:6]}"
