"""A server behind a URL: the HTTP client that the SDK's transport uses, with bounds on what comes back.

No redirect leaves the server (the SDK sees to that), no answer is unpacked, none is longer than a message may be. Knows
nothing of the protocol inside.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from urllib.parse import urlsplit

import httpx2

from llmos.errors import McpError
from llmos.tools.mcp.stdio import MAX_MESSAGE

MAX_STREAM = 64 * 1024 * 1024
"""Bytes of one event stream; its single events may be as long as a message."""

CONNECT_SECONDS = 10.0


class Site:
    """One server's address.

    Attributes:
        problem: What was wrong with its last answer, as an error; None if nothing was.
    """

    def __init__(self, name: str, url: str, headers: Mapping[str, str], seconds: float) -> None:
        self.problem: McpError | None = None
        self._name, self._url, self._headers, self._seconds = name, url, headers, seconds

    def client(self) -> httpx2.AsyncClient:
        """A new client, to be closed."""
        host = urlsplit(self._url).hostname or ""
        return httpx2.AsyncClient(
            headers={**self._headers, "accept-encoding": "identity", "user-agent": "llmos"},
            timeout=httpx2.Timeout(CONNECT_SECONDS, read=self._seconds + CONNECT_SECONDS),
            event_hooks={"response": [self._bound]},
            trust_env=host not in ("localhost", "127.0.0.1", "::1"),
        )

    async def _bound(self, response: httpx2.Response) -> None:
        """Runs before a body is read."""
        self.problem = None
        if response.status_code >= 400 and response.status_code != 405:  # 405: it has no stream of its own
            self.problem = self._error("refused", f"answered with HTTP status {response.status_code}", _hint(response))
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise self._fail("nonsense", "sent a packed answer, which was not asked for")
        streamed = response.headers.get("content-type", "").lower().startswith("text/event-stream")
        if isinstance(response.stream, httpx2.AsyncByteStream):
            response.stream = _Bounded(response.stream, MAX_STREAM if streamed else MAX_MESSAGE, self)

    def _fail(self, reason: str, what: str) -> McpError:
        self.problem = self._error(reason, what, "")
        return self.problem

    def too_long(self, most: int) -> McpError:
        """The error for an answer of more than so many bytes."""
        return self._fail("too large", f"sent an answer of more than {most:,} bytes")

    def _error(self, reason: str, what: str, hint: str) -> McpError:
        return McpError(f"The MCP server {self._name!r} {what}.", reason=reason, hint=hint)


class _Bounded(httpx2.AsyncByteStream):
    """A body that ends with an error where it gets too long."""

    def __init__(self, body: httpx2.AsyncByteStream, most: int, site: Site) -> None:
        self._body, self._most, self._site = body, most, site

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._most
        async for part in self._body:
            left -= len(part)
            if left < 0:
                raise self._site.too_long(self._most)
            yield part

    async def aclose(self) -> None:
        await self._body.aclose()


def _hint(response: httpx2.Response) -> str:
    if response.status_code in (401, 403):
        return "Give it a header: llmos mcp add NAME --url URL --header 'Authorization=Bearer secret://NAME'."
    return ""
