"""One server, running or reached: connect, list its tools, call one, close.

All of the SDK's work for it happens in one task, since its scopes belong to the task that opens them. What goes wrong
is an `McpError` in bounded time. Knows no tool and no kernel.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, cast

import mcp_types as types
from mcp.client.client import Client
from mcp.client.session import IncomingMessage
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from llmos.config import data_dir
from llmos.errors import LlmosError, McpError
from llmos.tools.mcp.http import Site
from llmos.tools.mcp.pins import PARTS, Definition
from llmos.tools.mcp.schema import brief
from llmos.tools.mcp.settings import Server
from llmos.tools.mcp.stdio import MAX_MESSAGE, Child
from llmos.tools.secrets import HANDLE, Secrets
from llmos.tools.threads import in_thread

START_SECONDS = 30.0
"""A server has so long to start and to agree on the protocol; what a first start downloads counts too."""

LIST_SECONDS = 20.0
PROBE_SECONDS = 5.0
MAX_TOOLS, MAX_PAGES = 500, 50
FRESH_SECONDS = 300.0
"""A list of tools is asked for again after so long."""

_CLOSE_SECONDS = 6.0
# what the SDK says where there is only a status
_STATUS_ONLY = ("Server returned an error response", "Not Found")
_NOT_KNOWN = "It is not known whether the call was carried out."

Progress = Callable[[float, float | None, str | None], Awaitable[None]]

for _name in ("mcp", "client"):  # else Python prints what the SDK logs about a bad server, with tracebacks
    logging.getLogger(_name).addHandler(logging.NullHandler())


class Connection:
    """A server that answers. Made by `connect`.

    Attributes:
        protocol: The version of the protocol that was agreed on.
        title: What the server calls itself.
    """

    def __init__(self, server: Server, secrets: Secrets) -> None:
        self.server = server
        self.protocol = ""
        self.title = ""
        self._secrets = secrets
        self._transport: Child | Site | None = None
        self._client: Client | None = None
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._over = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._tools: dict[str, Definition] = {}
        self._listed = -FRESH_SECONDS
        self._heard = 0.0
        self._suspect = False

    @classmethod
    async def connect(cls, server: Server, secrets: Secrets) -> Connection:
        """Start or reach a server.

        Raises:
            McpError: It can't be reached, or does not speak the protocol in time.
            LlmosError: One of its secrets can't be had.
        """
        made = cls(server, secrets)
        made._task = asyncio.create_task(made._live(), name=f"mcp {server.name}")
        try:
            async with asyncio.timeout(START_SECONDS):
                await asyncio.shield(made._ready)
        except TimeoutError as error:
            await made.close()
            raise made._error("timeout", f"was not ready after {START_SECONDS:g} s", made._last_words()) from error
        except BaseException:
            await made.close()
            raise
        return made

    @property
    def usable(self) -> bool:
        """Whether it is there, as far as is known."""
        alive = self._task is not None and not self._task.done() and not self._over.is_set()
        return alive and not (isinstance(self._transport, Child) and self._transport.problem is not None)

    async def answers(self) -> bool:
        """Whether it still says something, after a call that it let run out of time without a word."""
        if self._suspect:
            try:
                self._tools = await self._asked(self._list(), PROBE_SECONDS, "answer")
            except McpError:
                return False
        return True

    async def tools(self, *, fresh: bool = False) -> Mapping[str, Definition]:
        """The definitions of its tools by name, as it lists them now or did a moment ago.

        Raises:
            McpError: It does not list them.
        """
        if fresh or time.monotonic() - self._listed > FRESH_SECONDS:
            began = time.monotonic()
            self._tools = await self._asked(self._list(), LIST_SECONDS, "list its tools")
            self._listed = began if self._listed < began else self._listed
        return self._tools

    async def call(self, tool: str, arguments: Mapping[str, Any], progress: Progress) -> types.CallToolResult:
        """Call a tool. Being cancelled tells the server so.

        Raises:
            McpError: Nothing came of it.
        """
        params = types.CallToolRequestParams(name=tool, arguments=dict(arguments))
        request = types.CallToolRequest(params=params)

        async def heard(done: float, total: float | None, message: str | None) -> None:
            self._heard = time.monotonic()
            await progress(done, total, message)

        # not `call_tool`, which also runs the server's own schema, regular expressions and all, over the answer
        sent = self._session.send_request(request, types.CallToolResult, progress_callback=heard)
        answer = await self._asked(sent, self.server.seconds, f"answer {tool!r}", note=_NOT_KNOWN)
        return cast("types.CallToolResult", answer)

    async def close(self) -> None:
        """End it; what it started has ended then. A second call does nothing."""
        self._over.set()
        if self._task is None:
            return
        done, _ = await asyncio.wait({self._task}, timeout=_CLOSE_SECONDS)
        if not done:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=_CLOSE_SECONDS)

    # -- its task

    async def _live(self) -> None:
        """Hold it open until `close`, or until it breaks."""
        try:
            async with contextlib.AsyncExitStack() as stack:
                transport = await self._open(stack)
                client = Client(
                    transport,
                    cache=None,
                    message_handler=self._notified,
                    client_info=types.Implementation(name="llmos", version="1"),
                )
                entering = asyncio.ensure_future(self._over.wait())
                try:
                    await self._entered(stack, client, entering)
                finally:
                    entering.cancel()
                self._ready.set_result(None)
                await self._over.wait()
        except (Exception, asyncio.CancelledError) as error:
            # anything may come out of a task group; what it means for callers is said here, and nobody awaits this task
            if not self._ready.done():
                self._ready.set_exception(self._broken(error))
                self._ready.exception()  # seen, even if the caller has gone
        finally:
            self._over.set()

    async def _entered(self, stack: contextlib.AsyncExitStack, client: Client, over: asyncio.Future[Any]) -> None:
        """Agree on the protocol; given up when `close` is called before that."""
        task = asyncio.current_task()
        assert task is not None
        given_up = False

        def give_up(_: object) -> None:
            nonlocal given_up
            given_up = not over.cancelled()
            if given_up:
                task.cancel()

        over.add_done_callback(give_up)
        try:
            self._client = await stack.enter_async_context(client)
        except asyncio.CancelledError:
            if given_up:
                task.uncancel()
            raise
        finally:
            over.remove_done_callback(give_up)
        self.protocol = self._client.protocol_version
        known = self._client.server_info
        self.title = brief(f"{known.name} {known.version}", 80) if known else ""

    async def _open(self, stack: contextlib.AsyncExitStack) -> Any:  # noqa: ANN401 - any of the SDK's transports
        server = self.server
        if server.command:
            env = await self._revealed(server.env)
            folder = Path(server.cwd).expanduser() if server.cwd else server.project or Path.cwd()
            child = Child(server.name, server.command, env, folder)
            self._transport = child
            return child.streams()
        site = Site(server.name, server.url, await self._revealed(server.headers), server.seconds)
        self._transport = site
        client = await stack.enter_async_context(site.client())
        return streamable_http_client(server.url, http_client=client, max_sse_event_size=MAX_MESSAGE)

    async def _revealed(self, table: Mapping[str, str]) -> dict[str, str]:
        """Values with secrets in place of handles. A keyring may ask the system, so not on this thread."""
        if not any(HANDLE.search(value) for value in table.values()):
            return dict(table)
        scope, host = self.server.scope, self.server.host
        return await in_thread(lambda: self._secrets.resolve(table, tool=scope, host=host), name="secrets")

    async def _notified(self, message: IncomingMessage) -> None:
        self._heard = time.monotonic()
        if isinstance(message, types.ToolListChangedNotification):
            self._listed = time.monotonic() - 2 * FRESH_SECONDS

    # -- asking

    @property
    def _session(self) -> Any:  # noqa: ANN401 - its methods are generic over results
        assert self._client is not None
        return self._client.session

    async def _list(self) -> dict[str, Definition]:
        found: dict[str, Definition] = {}
        cursor: str | None = None
        assert self._client is not None
        for _ in range(MAX_PAGES):
            page = await self._client.list_tools(cursor=cursor)
            for tool in page.tools:
                if tool.name in found:
                    raise self._error("nonsense", f"lists two tools named {brief(tool.name, 80)!r}")
                plain = tool.model_dump(mode="json", by_alias=True, exclude_none=True)
                found[tool.name] = {key: plain[key] for key in PARTS if key in plain}
            if len(found) > MAX_TOOLS:
                raise self._error("too large", f"lists more than {MAX_TOOLS} tools")
            cursor = page.next_cursor
            if not cursor:
                return found
        raise self._error("too large", f"lists its tools on more than {MAX_PAGES} pages")

    async def _asked(self, sent: Awaitable[Any], seconds: float, what: str, *, note: str = "") -> Any:  # noqa: ANN401
        """Wait for an answer, so long and no longer."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                answer = await sent
        except TimeoutError as error:
            # one that has said nothing at all meanwhile is asked again before the next call
            self._suspect = self._suspect or self._heard < began
            hint = " ".join(filter(None, (note, self._last_words())))
            raise self._error("timeout", f"did not {what} within {seconds:g} s", hint) from error
        except MCPError as error:
            raise self._refused(error, what, note) from error
        except ValidationError as error:
            raise self._error("nonsense", f"did not {what} as the protocol wants it", note) from error
        self._heard, self._suspect = time.monotonic(), False
        return answer

    def _refused(self, error: MCPError, what: str, note: str) -> McpError:
        problem: McpError | None = getattr(self._transport, "problem", None)
        # servers answer with a bad status and say in the body what is wrong; then that counts
        if problem is not None and (problem.reason != "refused" or error.message in _STATUS_ONLY):
            self._over.set()
            hint = " ".join(filter(None, (note, problem.hint)))
            return McpError(self._clean(problem.message), reason=problem.reason, hint=self._clean(hint))
        # a server may use the same code for something else
        closed = error.code == types.CONNECTION_CLOSED and error.message == "Connection closed"
        if closed or self._over.is_set():
            self._over.set()
            return self._error("died", f"went away and did not {what}", note)
        if error.message == "Session terminated":
            self._over.set()
            return self._error("died", f"has forgotten this session and did not {what}", "Try again.")
        if error.code == types.PARSE_ERROR:
            return self._error("nonsense", f"did not {what} in a way that can be read", note)
        return self._error("refused", f"did not {what}: {brief(error.message, 500)}")

    def _broken(self, error: BaseException) -> LlmosError:
        """What came out of the task, as an error that says what happened."""
        if problem := getattr(self._transport, "problem", None):
            assert isinstance(problem, McpError)
            return McpError(self._clean(problem.message), reason=problem.reason, hint=self._clean(problem.hint))
        leaf = error
        while isinstance(leaf, BaseExceptionGroup):
            leaf = cast("BaseExceptionGroup[BaseException]", leaf).exceptions[0]
        if isinstance(leaf, LlmosError):
            return leaf
        if isinstance(leaf, asyncio.CancelledError):
            return self._error("timeout", "was closed before it was ready")
        if isinstance(leaf, MCPError | ValidationError | RuntimeError):
            said = brief(str(leaf), 300)
            return self._error("nonsense", f"can't agree with llmos on the protocol: {said}", self._last_words())
        said = brief(f"{type(leaf).__name__} {leaf}", 300)
        return self._error("unreachable", f"can't be reached at {self.server.where}: {said}")

    def _last_words(self) -> str:
        return self._transport.last_words() if isinstance(self._transport, Child) else ""

    def _error(self, reason: str, what: str, hint: str = "") -> McpError:
        message = f"The MCP server {self.server.name!r} {what}."
        return McpError(self._clean(message), reason=reason, hint=self._clean(hint))

    def _clean(self, text: str) -> str:
        """A text without the user's secrets, which a server may repeat."""
        return self._secrets.redact(text)


def secrets() -> Secrets:
    """The user's."""
    return Secrets(data_dir())
