"""Requests over HTTP with limits on everything: time, size, number of tries.

Knows addresses, bytes and faults, and nothing of models. A try is repeated after a refused or broken connection, 429
and 5xx, with exponential backoff and jitter, or when the server says (`Retry-After`). Redirects are never followed, so
that the key goes nowhere else. Compressed answers are not asked for.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar, cast

import httpx

from llmos.engine.remote.address import Address
from llmos.engine.remote.faults import Fault, garbage, one_line, refused
from llmos.engine.remote.lifetime import Lifetime
from llmos.engine.remote.sse import LIMIT, EventReader, NotAStream
from llmos.errors import ConfigError, EngineError, RemoteError, RemoteTimeout

T = TypeVar("T")

_ERROR_BODY = 64 << 10
_BACKOFF = 0.25
_BACKOFF_MAX = 8.0
_WAIT_MAX = 60.0
# After the answer's last word only the token counts are missing: not worth a long wait.
_GRACE = 5.0
_DONE_GRACE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long to wait, in seconds.

    Attributes:
        connect: For a connection, at every try.
        first: From sending a request to its first token, at every try: a long prompt takes its time.
        idle: Between two pieces of an answer.
        total: For a whole request with all its tries.
    """

    connect: float = 10.0
    first: float = 300.0
    idle: float = 60.0
    total: float = 3600.0

    def __post_init__(self) -> None:
        if not all(0 < seconds < math.inf for seconds in (self.connect, self.first, self.idle, self.total)):
            raise ConfigError(f"Can't use {self}.", hint="Every timeout is a number of seconds above 0.")


class Deadline:
    """The end of the time that something has.

    Attributes:
        seconds: How much time it had.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = asyncio.get_running_loop().time() + seconds

    def left(self) -> float:
        """Seconds until then, not below 0."""
        return max(0.0, self._end - asyncio.get_running_loop().time())


class Transport:
    """One server: its connections and the rules for using them.

    Args:
        address: Where it is.
        timeouts: How long to wait.
        retries: How often a failed try is repeated.
        connections: How many may be open.
        model: For error messages.
    """

    def __init__(
        self, address: Address, lifetime: Lifetime, *, timeouts: Timeouts, retries: int, connections: int, model: str
    ) -> None:
        self.address = address
        self.lifetime = lifetime
        self.timeouts = timeouts
        self._retries = retries
        self._model = model
        self._connections = connections
        self._client: httpx.AsyncClient | None = None
        try:
            httpx.URL(address.base)
        except httpx.InvalidURL as error:
            raise ConfigError(f"{address.base!r} is not an address: {error}.", hint="Check base_url.") from error

    @asynccontextmanager
    async def post(self, path: str, body: object, total: Deadline) -> AsyncGenerator[Stream]:
        """Send a request once and get hold of its answer while it arrives; leaving closes the connection.

        Raises:
            Fault: There is no answer, or not a good one.
        """
        first = Deadline(min(self.timeouts.first, total.left()))
        response = await self._send("POST", self.address.base + path, body, first)
        try:
            yield Stream(self, response, first, total)
        finally:
            await response.aclose()

    async def call(self, method: str, url: str, body: object = None, *, seconds: float | None = None) -> object:
        """Send a request, again if need be, and read its whole answer as JSON.

        Args:
            method: `GET` or `POST`.
            url: The whole address.
            body: What to send as JSON, None for nothing.
            seconds: One try in this time instead of several in `Timeouts.first` each.

        Raises:
            Fault: It failed for good.
        """
        total = Deadline(self.timeouts.total if seconds is None else seconds)

        async def once() -> object:
            first = Deadline(min(self.timeouts.first, total.left()))
            response = await self._send(method, url, body, first)
            try:
                return self.parse(await self.read(response, LIMIT, first))
            finally:
                await response.aclose()

        return await self.again(once, total) if seconds is None else await once()

    async def again(self, once: Callable[[], Awaitable[T]], total: Deadline) -> T:
        """Do something until it succeeds, fails for good or has been tried often enough."""
        tried = 0
        while True:
            try:
                return await once()
            except Fault as fault:
                await self.pause(fault, tried, total)
                tried += 1

    async def pause(self, fault: Fault, tried: int, total: Deadline) -> None:
        """Wait before the next try; raises the fault itself when there is no sense in one."""
        backoff = min(_BACKOFF_MAX, _BACKOFF * 2**tried) * random.uniform(0.5, 1.0)
        wait = backoff if fault.after is None else min(_WAIT_MAX, fault.after)
        if not fault.retry or tried >= self._retries or wait >= total.left():
            raise fault
        async with self.lifetime.within(wait + 1.0):
            await asyncio.sleep(wait)

    async def read(self, response: httpx.Response, limit: int, deadline: Deadline, *, cut: bool = False) -> bytes:
        """A whole body.

        Args:
            response: Where it comes from.
            limit: Bytes that it may have.
            deadline: When it must be there.
            cut: Leave out what is over the limit instead of failing.
        """
        body = bytearray()
        pieces = response.aiter_bytes()
        while piece := await self.wait(lambda: anext(pieces, b""), deadline, "sent only a part of its answer"):
            body += piece
            if len(body) > limit and not cut:
                raise garbage(self.address, f"with over {limit:,} bytes")
            if len(body) > limit:
                break
        return bytes(body[:limit])

    def parse(self, body: bytes) -> object:
        """A body as JSON."""
        try:
            parsed: object = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise garbage(self.address, "something that is not JSON", body[:400].decode("utf-8", "replace")) from error
        return parsed

    async def wait(self, step: Callable[[], Awaitable[T]], deadline: Deadline, otherwise: str) -> T:
        """Wait for one step of an exchange; every way in which it can fail becomes a fault."""
        where = f"The server at {self.address.base!r}"
        try:
            async with self.lifetime.within(deadline.left()):
                return await step()
        except TimeoutError as error:
            hint = "Check that it is well, or allow more time with Timeouts."
            late = RemoteTimeout(f"{where} {otherwise} within {deadline.seconds:g} seconds.", hint=hint)
            raise Fault(late) from error
        except httpx.ConnectTimeout as error:
            late = RemoteTimeout(
                f"{where} did not accept a connection within {self.timeouts.connect:g} seconds.",
                hint="Check the address, and that nothing blocks the way to it.",
            )
            raise Fault(late, retry=True) from error
        except (httpx.HTTPError, httpx.StreamError) as error:
            self.lifetime.check()
            said = self.address.hide(one_line(str(error))) or type(error).__name__
            if isinstance(error, httpx.ConnectError | httpx.ProxyError | httpx.UnsupportedProtocol):
                broken = RemoteError(f"{where} can't be reached: {said}.", hint="Check that it runs, and its address.")
            else:
                broken = RemoteError(f"The connection to {self.address.base!r} broke: {said}.", hint="Try again.")
            raise Fault(broken, retry=not isinstance(error, httpx.UnsupportedProtocol)) from error

    async def close(self) -> None:
        """Close every connection; `Lifetime.close` comes first."""
        if self._client is not None:
            await self._client.aclose()

    async def _send(self, method: str, url: str, body: object, deadline: Deadline) -> httpx.Response:
        """The answer's head, if it is a good one."""
        self.lifetime.check()
        client = self._open()
        request = client.build_request(method, url, content=None if body is None else encode(body))
        response = await self.wait(lambda: client.send(request, stream=True), deadline, "did not answer")
        if response.status_code == 200:
            return response
        try:
            said = await self.read(response, _ERROR_BODY, Deadline(min(deadline.left(), self.timeouts.idle)), cut=True)
        except Fault:
            said = b""
        finally:
            await response.aclose()
        raise refused(self.address, response.status_code, response.headers, said, model=self._model)

    def _open(self) -> httpx.AsyncClient:
        if self._client is None:
            headers = {"Accept-Encoding": "identity", "Content-Type": "application/json", "User-Agent": "llmos"}
            if self.address.key:
                headers["Authorization"] = f"Bearer {self.address.key}"
            try:
                self._client = httpx.AsyncClient(
                    headers=headers,
                    timeout=httpx.Timeout(None, connect=self.timeouts.connect),
                    limits=httpx.Limits(max_connections=self._connections, keepalive_expiry=30.0),
                    # A proxy is for other machines: one named in the environment must not see what stays on this one.
                    trust_env=not self.address.local,
                )
            except (ImportError, OSError, ValueError) as error:
                raise ConfigError(
                    f"The environment's proxy or certificate settings can't be used: {one_line(str(error))}",
                    hint="Look at HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE and SSL_CERT_DIR.",
                ) from error
        return self._client


class Stream:
    """An answer that is arriving.

    Attributes:
        flowing: Set by the reader at the first token: from then on pauses are bounded by `Timeouts.idle`.
        ending: Set by the reader when nothing but token counts is missing.
        done: Set by the reader when nothing is missing: what is still read lets the connection be used again.
    """

    def __init__(self, transport: Transport, response: httpx.Response, first: Deadline, total: Deadline) -> None:
        self.flowing = False
        self.ending = False
        self.done = False
        self._transport = transport
        self._response = response
        self._first = first
        self._total = total

    async def events(self) -> AsyncGenerator[bytes]:
        """The data of each event.

        Raises:
            Fault: The stream stalls, breaks or is not one.
        """
        kind = self._response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/json":
            # A server that does not stream answers at once: one event.
            yield await self._transport.read(self._response, LIMIT, self._first)
            return
        if kind not in ("text/event-stream", ""):
            body = await self._transport.read(self._response, _ERROR_BODY, self._first, cut=True)
            shown = body.decode("utf-8", "replace")
            raise garbage(self._transport.address, f"with {kind!r} instead of a stream", shown)
        pieces, reader = self._response.aiter_bytes(), EventReader()
        try:
            while piece := await self._piece(pieces):
                for event in reader.feed(piece):
                    yield event
            for event in reader.end():
                yield event
        except NotAStream as error:
            raise garbage(self._transport.address, f"with {error.what}", error.shown) from error

    async def _piece(self, pieces: AsyncIterator[bytes]) -> bytes:
        """The next bytes, none at the end."""
        if not self.flowing:
            return await self._transport.wait(lambda: anext(pieces, b""), self._first, "sent no token")
        grace = _DONE_GRACE if self.done else _GRACE if self.ending else math.inf
        idle = min(grace, self._transport.timeouts.idle)
        if self._total.left() <= idle:
            return await self._transport.wait(lambda: anext(pieces, b""), self._total, "did not end its answer")
        return await self._transport.wait(
            lambda: anext(pieces, b""), Deadline(idle), "fell silent in its answer: nothing came"
        )


def encode(body: object) -> bytes:
    """A request as JSON in UTF-8. Lone surrogates, which UTF-8 can't hold, become U+FFFD.

    Raises:
        EngineError: Something in it, such as NaN, has no JSON form.
    """
    try:
        text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise EngineError(
            f"The request can't be written as JSON: {error}.",
            hint="Schemas, arguments and sampling settings must be made of finite numbers, texts, lists and tables.",
        ) from error
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _plain(value: object) -> object:

    if isinstance(value, Mapping):
        return dict(cast("Mapping[object, object]", value))
    raise TypeError(f"a {type(value).__name__!r} has no JSON form")
