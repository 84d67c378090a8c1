"""The only way from the browser to the network: a proxy on this machine that checks where every connection leads.

Pages, redirects, subresources and WebSockets all come through here. A host is brought into canonical form, resolved
once, every address of it is checked, and the connection goes to the very address that was checked: what a name server
says afterwards changes nothing. Each session has credentials of its own, by which its rules are found; without them
nothing is let through. Does not look into TLS, and knows no page.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
import socket
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Literal

from llmos.addresses import is_public
from llmos.errors import BrowserError
from llmos.tools.browser import origins
from llmos.tools.browser.http1 import (
    MAX_HEAD,
    NO_BODY,
    PIECE,
    Framing,
    Head,
    Malformed,
    read_head,
    relay,
    relay_all,
    request_framing,
    response_framing,
    status_of,
    write_head,
)
from llmos.tools.browser.origins import Origin
from llmos.tools.web import Resolver, resolve

HELLO = "http://hello.invalid/"
"""Answered by the proxy itself: with a request for this a browser learns to show its credentials."""
MAX_CONNECTIONS = 512
"""Of one session."""
MAX_BLOCKED = 50
"""Refusals that are remembered until they are asked for."""
RESOLVE_SECONDS = 8.0
CONNECT_SECONDS = 8.0
HEAD_SECONDS = 30.0
ANSWER_SECONDS = 120.0
IDLE_SECONDS = 90.0
"""Between two requests, and between two pieces of a body."""
TUNNEL_SECONDS = 600.0
"""A tunnel that carries nothing for so long is closed; half closed, after `HEAD_SECONDS`."""
RESOLVED_SECONDS = 10.0
MAX_RESOLVED = 256
MAX_ADDRESSES = 3
MAX_DRAINED = 1_000_000

# link-local and metadata: nobody means these by a name, whatever was allowed
_NEVER4 = tuple(map(IPv4Network, ("0.0.0.0/8", "169.254.0.0/16", "168.63.129.16/32", "192.0.0.0/24", "224.0.0.0/3")))
_NEVER6 = tuple(map(IPv6Network, ("::/128", "fe80::/10", "fd00:ec2::254/128", "ff00::/8")))


@dataclass(frozen=True, slots=True)
class Blocked:
    """A request that was refused.

    Attributes:
        where: The origin that it was for; for what is no address, that as it was sent.
        why: Continues "it".
    """

    where: str
    why: str

    def __str__(self) -> str:
        return f"{self.where} was blocked: it {self.why}."


class Wall:
    """The rules of one session, and how its browser gets by: a context's proxy settings.

    Attributes:
        server: URL of the proxy.
        user, password: Credentials of this session, random.
        allow: Origins that are opened although they are not public.
    """

    def __init__(self, proxy: Proxy, allow: frozenset[Origin]) -> None:
        self.server = proxy.server
        self.user = secrets.token_hex(8)
        self.password = secrets.token_hex(24)
        self.allow = allow
        self.tasks: set[asyncio.Task[object]] = set()
        self._proxy = proxy
        self._blocked: deque[Blocked] = deque(maxlen=MAX_BLOCKED)

    @property
    def credentials(self) -> str:
        """The header by which the proxy knows this session."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    def opened(self, url: str) -> str:
        """The canonical form of a URL that may be opened, as far as that is known before its name is resolved.

        Raises:
            BrowserError: `blocked`: it may not.
        """
        return str(origins.opened(url, self.allow))

    def note(self, where: str, why: str) -> None:
        """Remember a refusal, once."""
        refused = Blocked(where, why)
        if refused not in self._blocked:
            self._blocked.append(refused)

    def blocked(self) -> tuple[Blocked, ...]:
        """What was refused since this was last asked, oldest first."""
        found = tuple(self._blocked)
        self._blocked.clear()
        return found

    async def close(self) -> None:
        """Let nothing more through: credentials are forgotten, connections end."""
        await self._proxy.dismiss(self)


class Proxy:
    """The proxy of a browser, for any number of sessions. Started by `start`, ended by `close`.

    Args:
        resolver: Turns names into addresses.
    """

    def __init__(self, *, resolver: Resolver = resolve) -> None:
        self._resolver = resolver
        self._listening: asyncio.Server | None = None
        self._walls: dict[str, Wall] = {}
        self._strangers: set[asyncio.Task[object]] = set()
        self._resolved: dict[tuple[str, int], tuple[float, list[str]]] = {}
        self.server = ""

    async def start(self) -> None:
        """Listen on a free port of this machine.

        Raises:
            BrowserError: `missing`: there is none.
        """
        try:
            self._listening = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=MAX_HEAD, backlog=256)
        except OSError as error:
            raise BrowserError(
                f"The browser's proxy could not be started: {error.strerror or error}.",
                reason="missing",
                hint="Allow this program to listen on 127.0.0.1.",
            ) from error
        self.server = f"http://127.0.0.1:{self._listening.sockets[0].getsockname()[1]}"

    def wall(self, allow: Iterable[str] = ()) -> Wall:
        """Rules for a session, under credentials of its own.

        Args:
            allow: Origins that may be opened besides those of the public internet, such as `http://localhost:8000`.

        Raises:
            BrowserError: `blocked`: one is no origin.
        """
        wall = Wall(self, origins.allowed(allow))
        self._walls[wall.credentials] = wall
        return wall

    async def dismiss(self, wall: Wall) -> None:
        """Forget a session's credentials and end its connections."""
        self._walls.pop(wall.credentials, None)
        await _end_all(wall.tasks)

    async def close(self) -> None:
        """End everything. A second call does nothing."""
        if self._listening is None:
            return
        listening, self._listening = self._listening, None
        listening.close()
        tasks = self._strangers.union(*(wall.tasks for wall in self._walls.values()))
        self._walls.clear()
        await _end_all(tasks)
        with contextlib.suppress(TimeoutError):  # a browser that takes nothing any more is not waited for
            async with asyncio.timeout(2):
                await listening.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        client = _Client(self, reader, writer, task)
        self._strangers.add(task)
        try:
            if len(self._strangers) <= MAX_CONNECTIONS:
                await client.serve()
        except (OSError, EOFError):
            pass  # one side has left, or was too slow
        except asyncio.CancelledError:
            pass  # the session or the proxy is closed; asyncio's server takes a cancelled task for a fault
        finally:
            self._strangers.discard(task)
            if client.wall is not None:
                client.wall.tasks.discard(task)
            client.end()

    def known(self, head: Head) -> Wall | None:
        """The session that a request belongs to."""
        given = head.values("proxy-authorization")
        return self._walls.get(given[0]) if len(given) == 1 else None

    async def addresses(self, origin: Origin, allow: frozenset[Origin]) -> list[str]:
        """The checked addresses of an origin, at most three.

        Raises:
            _Refused: One of them may not be reached.
            OSError: There is none.
        """
        if why := origins.refusal(origin, allow):
            raise _Refused(str(origin), why)
        if origin.address:
            return [origin.address]
        found = await self._resolve(origin.host, origin.port)
        permitted = _is_meant if origin in allow else is_public
        if not all(permitted(address) for address in found):
            raise _Refused(str(origin), "leads to an address of this machine or its network")
        return found[:MAX_ADDRESSES]

    async def _resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a name. An answer is kept for a moment, since a page makes many connections at once."""
        now = time.monotonic()
        known = self._resolved.get((host, port))
        if known is not None and known[0] > now:
            return known[1]
        async with asyncio.timeout(RESOLVE_SECONDS):
            try:
                found = await self._resolver(host, port)
            except UnicodeError as error:
                raise OSError(f"{host!r} is no name") from error
        if not found:
            raise OSError(f"{host!r} has no address")
        if len(self._resolved) >= MAX_RESOLVED:
            self._resolved.clear()
        self._resolved[host, port] = (now + RESOLVED_SECONDS, found)
        return found


class _Refused(Exception):
    """A request leads where it may not."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where} was blocked: it {why}.")
        self.where, self.why = where, why


class _Client:
    """One connection of a browser, with the one to a server that its last request went to."""

    def __init__(
        self,
        proxy: Proxy,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        task: asyncio.Task[object],
    ) -> None:
        self.wall: Wall | None = None
        self._proxy, self._reader, self._writer, self._task = proxy, reader, writer, task
        self._server: tuple[Origin, asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def serve(self) -> None:
        """Answer requests until one side has enough.

        Raises:
            OSError: A side left, or was too slow.
            EOFError: A side left within a message.
        """
        while True:
            try:
                async with asyncio.timeout(IDLE_SECONDS if self.wall else HEAD_SECONDS):
                    head = await read_head(self._reader, request=True)
                if head is None or not await self._request(head):
                    return
            except Malformed as error:
                await self._answer(400, f"The request can't be passed on: {error}.", close=True)
                return

    def end(self) -> None:
        """Close both sides; what is still to be written is."""
        self._part()
        self._writer.close()

    async def _request(self, head: Head) -> bool:
        """Carry out one request; says whether the connection stays.

        Raises:
            Malformed: It is not one.
        """
        method, _, rest = head.start.partition(" ")
        target, _, version = rest.rpartition(" ")
        if version != "HTTP/1.1" or not target or not method.isascii() or not method.isalpha():
            raise Malformed("it has no proper first line")
        framing = NO_BODY if method == "CONNECT" else request_framing(head)
        wall = self._proxy.known(head)
        if wall is None or (self.wall not in (None, wall)):
            return await self._answer(407, "Not known here.", framing=framing)
        if self.wall is None:
            self.wall = wall
            wall.tasks.add(self._task)
            self._proxy._strangers.discard(self._task)  # pyright: ignore[reportPrivateUsage]
        if len(wall.tasks) > MAX_CONNECTIONS:
            return await self._answer(503, "Too many connections.", close=True)
        if target == HELLO:
            return await self._answer(200, "Known.", framing=framing)
        try:
            if method == "CONNECT":
                await self._tunnel(wall, target)
                return False
            return await self._forward(wall, method, target, head, framing)
        except BrowserError as error:
            wall.note(origins.shown(target), "is no address that can be opened")
            return await self._answer(403, error.message, framing=framing)
        except _Refused as refused:
            wall.note(refused.where, refused.why)
            return await self._answer(403, str(refused), framing=framing)

    async def _forward(self, wall: Wall, method: str, target: str, head: Head, framing: Framing) -> bool:
        """A request for an http URL."""
        if not target.lower().startswith("http://"):
            raise Malformed("it is for no http URL")
        address = origins.parse(target)
        path = address.rest.partition("#")[0]
        host = str(address.origin).partition("://")[2]
        sent = write_head(f"{method} {path} HTTP/1.1", [("Host", host), *head.passed_on(without=("host",))])
        again = method in ("GET", "HEAD") and framing.kind == "none"
        for attempt in (1, 2):
            try:
                kept, reader, writer = await self._connected(wall, address.origin, reuse=again and attempt == 1)
            except OSError as error:
                return await self._answer(502, f"{host} can't be reached: {_reason(error)}.", framing=framing)
            try:
                async with asyncio.timeout(ANSWER_SECONDS) as limit:
                    writer.write(sent)
                    with contextlib.suppress(ConnectionError):  # it may have answered before it had everything
                        await relay(framing, self._reader, writer, lambda: _longer(limit, ANSWER_SECONDS))
                        await writer.drain()
                    _acknowledge(writer)
                    answer = await _final_head(reader)
            except (ConnectionError, asyncio.IncompleteReadError, Malformed) as error:
                self._part()
                if kept and attempt == 1:
                    continue  # it was closed while it was idle
                return await self._answer(502, f"{host} did not answer properly: {_reason(error)}.", close=True)
            except TimeoutError:
                self._part()
                return await self._answer(504, f"{host} did not answer.", close=True)
            return await self._respond(method, answer, reader)
        return False

    async def _respond(self, method: str, answer: Head | None, reader: asyncio.StreamReader) -> bool:
        """Pass an answer on; says whether the browser's connection stays."""
        if answer is None:
            self._part()
            return await self._answer(502, "The server closed the connection.", close=True)
        try:
            status, modern = status_of(answer)
            framing = response_framing(answer, method=method, status=status)
        except Malformed as error:
            self._part()
            return await self._answer(502, f"The server did not answer properly: {error}.", close=True)
        if status == 407:  # that is the proxy's to say: the browser would answer it with credentials
            self._part()
            return await self._answer(502, "The server asks for a proxy's credentials.", close=True)
        stays = framing.kind != "end"
        headers = answer.passed_on()
        self._writer.write(write_head(answer.start, headers if stays else [*headers, ("Connection", "close")]))
        try:
            async with asyncio.timeout(IDLE_SECONDS) as limit:
                await relay(framing, reader, self._writer, lambda: _longer(limit, IDLE_SECONDS))
                await self._writer.drain()
        except Malformed:
            self._part()
            return False
        if not stays or not modern or "close" in answer.lists("connection"):
            self._part()
        return stays

    async def _tunnel(self, wall: Wall, target: str) -> None:
        """A connection that the browser speaks TLS or WebSocket through.

        Which scheme it is shows in its first byte, and an origin that was allowed is allowed with its scheme only.
        """
        secure = origins.parse(f"https://{target}").origin
        plain = Origin("http", secure.host, secure.port)
        try:
            found = await self._proxy.addresses(plain if plain in wall.allow else secure, wall.allow)
            reader, writer = await _connect(found, secure.port)
        except OSError as error:
            await self._answer(502, f"{secure.host} can't be reached: {_reason(error)}.", close=True)
            return
        self._server = (secure, reader, writer)
        self._writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await self._writer.drain()
        async with asyncio.timeout(TUNNEL_SECONDS) as limit:
            first = await self._reader.read(PIECE)
            scheme = _scheme(first)
            origin = {"https": secure, "http": plain, "": None}[scheme]
            if origin is None:
                if first:
                    wall.note(str(secure), "carries something else than web pages")
                return
            if why := origins.refusal(origin, wall.allow):
                wall.note(str(origin), why)
                return
            if origin not in wall.allow and not all(is_public(address) for address in found):
                wall.note(str(origin), "leads to an address of this machine or its network")
                return
            writer.write(first)
            await _both_ways((self._reader, self._writer), (reader, writer), limit)

    async def _connected(
        self, wall: Wall, origin: Origin, *, reuse: bool
    ) -> tuple[bool, asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to a server, and whether it was there before.

        Raises:
            _Refused: It may not be reached.
            OSError: It can't be reached.
        """
        if self._server is not None:
            known, reader, writer = self._server
            if reuse and known == origin and not reader.at_eof() and not writer.is_closing():
                return True, reader, writer
            self._part()
        reader, writer = await _connect(await self._proxy.addresses(origin, wall.allow), origin.port)
        self._server = (origin, reader, writer)
        return False, reader, writer

    def _part(self) -> None:
        """Leave the server."""
        if self._server is not None:
            self._server[2].close()
            self._server = None

    async def _answer(self, status: int, text: str, *, framing: Framing = NO_BODY, close: bool = False) -> bool:
        """An answer of the proxy's own; says whether the connection stays."""
        close = close or framing.kind != "none"
        body = f"{text}\n".encode()
        headers = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ]
        if status == 407:
            headers.append(("Proxy-Authenticate", 'Basic realm="llmos"'))
        if close:
            headers.append(("Connection", "close"))
        self._writer.write(write_head(f"HTTP/1.1 {status} llmos", headers) + body)
        await self._writer.drain()
        if framing.kind != "none":  # to close over unread data would take the answer away
            with contextlib.suppress(OSError, EOFError):
                async with asyncio.timeout(2):
                    left = MAX_DRAINED
                    while left > 0 and (piece := await self._reader.read(PIECE)):
                        left -= len(piece)
        return not close


async def _connect(addresses: list[str], port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the first of some checked addresses that can be reached.

    Raises:
        OSError: None can.
    """
    trouble: OSError = OSError("there is no address")
    for address in addresses:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await asyncio.open_connection(address, port, limit=MAX_HEAD)
        except OSError as error:
            trouble = error
    raise trouble


def _acknowledge(writer: asyncio.StreamWriter) -> None:
    """Let what comes next be acknowledged at once: a server that writes head and body apart waits 40 ms for that."""
    option = getattr(socket, "TCP_QUICKACK", None)  # Linux only
    found = writer.get_extra_info("socket")
    if option is not None and found is not None:
        with contextlib.suppress(OSError):
            found.setsockopt(socket.IPPROTO_TCP, option, 1)


async def _final_head(reader: asyncio.StreamReader) -> Head | None:
    """The head of an answer, those that only announce one left out.

    Raises:
        Malformed: It is none.
    """
    for _ in range(10):
        head = await read_head(reader, request=False)
        if head is None or not head.start.startswith(("HTTP/1.1 1", "HTTP/1.0 1")):
            return head
        if status_of(head)[0] == 101:
            break
    raise Malformed("it changes to another protocol")


async def _both_ways(
    one: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    other: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    limit: asyncio.Timeout,
) -> None:
    """Carry bytes between two connections until both are done, or nothing comes any more."""
    ended = False

    def alive() -> None:
        _longer(limit, HEAD_SECONDS if ended else TUNNEL_SECONDS)

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal ended
        await relay_all(reader, writer, alive)
        ended = True
        alive()
        if writer.can_write_eof():
            writer.write_eof()

    tasks = [asyncio.create_task(carry(one[0], other[1])), asyncio.create_task(carry(other[0], one[1]))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _scheme(first: bytes) -> Literal["https", "http", ""]:
    """What a tunnel carries, by its first bytes: a TLS handshake, or a WebSocket's request."""
    if first[:1] == b"\x16":
        return "https"
    return "http" if first.startswith(b"GET ") else ""


def _is_meant(address: str) -> bool:
    """Whether a name that was allowed may have this address."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        mapped = found.ipv4_mapped
        if mapped is None:
            return not any(found in network for network in _NEVER6)
        found = mapped
    return not any(found in network for network in _NEVER4)


def _longer(limit: asyncio.Timeout, seconds: float) -> None:
    limit.reschedule(asyncio.get_running_loop().time() + seconds)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it took too long"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")


async def _end_all(tasks: Iterable[asyncio.Task[object]]) -> None:
    waiting = list(tasks)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
