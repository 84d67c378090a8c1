"""One HTTP exchange that can't be turned against this machine or its network.

Only http and https. A name is resolved once, every address is checked, and the connection goes to the very address that
was checked, so that a second answer of the name server changes nothing; at a redirect all of it happens again. Size and
time are bounded, compressed content too. Knows nothing of tools but their errors.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Protocol

from llmos.addresses import is_public
from llmos.tools.tool import Failed, Retry

if TYPE_CHECKING:
    import httpx

MAX_BYTES = 5_000_000
MAX_REDIRECTS = 5
MAX_URL = 2_000
SECONDS = 25.0
AGENT = "llmos/0.1"

_MOVED = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Page:
    """What a server answered.

    Attributes:
        url: After redirects.
        status: HTTP status.
        kind: Media type without parameters, in lower case.
        charset: As the server says; empty if it does not.
        body: Decompressed, at most `MAX_BYTES`.
        cut: There was more.
        location: Where a redirect that was not followed leads.
    """

    url: str
    status: int
    kind: str
    charset: str
    body: bytes
    cut: bool = False
    location: str = ""


class Resolver(Protocol):
    """Turns a name into addresses."""

    async def __call__(self, host: str, port: int) -> list[str]:
        """The addresses of a host, those to try first first.

        Raises:
            OSError: There are none.
        """
        ...


async def resolve(host: str, port: int) -> list[str]:
    """The system's resolver."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def fetch(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    follow: bool = True,
    allow: Callable[[str, str], bool] = lambda host, address: False,
    resolver: Resolver = resolve,
    trust: ssl.SSLContext | None = None,
    max_bytes: int = MAX_BYTES,
) -> Page:
    """Ask a server for something.

    Args:
        method: HTTP method.
        url: http or https.
        headers: Besides the usual ones. They are not sent on to another host.
        body: To send.
        follow: Follow redirects, with GET.
        allow: May this address that is not public be used for this host? Set by an application, never by a model.
        resolver: Finds addresses.
        trust: Certificates that are accepted; the usual ones by default.
        max_bytes: More of a body is not read.

    Raises:
        Failed: The address is refused, or the server can't be reached or does not answer properly.
        Retry: This is no URL.
    """
    import httpx

    target = _checked(url)
    try:
        # tools have their own limit; this one is for those who call this without one
        async with asyncio.timeout(SECONDS):
            for _ in range(MAX_REDIRECTS + 1):
                addresses = await _addresses(target, allow, resolver)
                request = _request(method, target, headers or {}, body)
                page = await _exchange(request, addresses, trust or _usual_trust(), max_bytes)
                if not follow or not page.location:
                    return page
                after = _checked(page.location)
                if after.host != target.host or after.port != target.port or after.scheme != target.scheme:
                    headers = {}
                if page.status not in (307, 308) and method != "HEAD":
                    method, body = "GET", b""
                target = after
    except TimeoutError:
        raise Failed(f"{target.host} did not answer within {SECONDS:g} s.") from None
    except httpx.HTTPError as error:
        raise Failed(f"{target.host} could not be reached: {_reason(error)}.") from error
    raise Failed(f"{url} redirects more than {MAX_REDIRECTS} times.")


def _checked(url: str) -> httpx.URL:
    import httpx

    if len(url) > MAX_URL:
        raise Retry(f"The URL is longer than {MAX_URL} characters.")
    try:
        parsed = httpx.URL(url.strip())
    except (httpx.InvalidURL, UnicodeError) as error:
        raise Retry(f"{url!r} is no URL.") from error
    if parsed.scheme not in ("http", "https"):
        raise Retry(f"{url!r} is neither http nor https.")
    if not parsed.host:
        raise Retry(f"{url!r} names no host.")
    if parsed.userinfo:
        raise Failed("A URL with a user name or password in it is not used.")
    return parsed


def _request(method: str, url: httpx.URL, headers: Mapping[str, str], body: bytes) -> httpx.Request:
    import httpx

    usual = {"User-Agent": AGENT, "Accept": "text/html,application/json,text/*;q=0.9,*/*;q=0.5"}
    fixed = {"Accept-Encoding": "gzip, deflate", "Connection": "close"}
    timeout = {"connect": 8.0, "read": 15.0, "write": 15.0, "pool": 8.0}
    return httpx.Request(
        method,
        url,
        headers={**usual, **headers, **fixed},
        content=body or None,
        extensions={"timeout": timeout, "sni_hostname": url.host},
    )


async def _exchange(request: httpx.Request, addresses: list[str], trust: ssl.SSLContext, max_bytes: int) -> Page:
    """Send a request to the first of some addresses that can be reached; name and certificate stay the host's."""
    import httpx

    url = request.url
    # connections are not kept: another host may have the same address and another certificate
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncHTTPTransport(verify=trust, trust_env=False, limits=limits) as transport:
        for place, address in enumerate(addresses):
            request.url = url.copy_with(host=address)
            try:
                response = await transport.handle_async_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if place + 1 < len(addresses):
                    continue
                raise
            try:
                return await _page(response, url, max_bytes)
            finally:
                await response.aclose()
    raise Failed(f"{url.host} has no address.")


@cache
def _usual_trust() -> ssl.SSLContext:
    import httpx

    return httpx.create_ssl_context(trust_env=False)


async def _addresses(url: httpx.URL, allow: Callable[[str, str], bool], resolver: Resolver) -> list[str]:
    """The addresses of a host, at most three.

    Raises:
        Failed: There is none, or one of them is not public.
    """
    host = url.host
    try:
        found = await resolver(host, url.port or (443 if url.scheme == "https" else 80))
    except (OSError, UnicodeError) as error:
        raise Failed(f"There is no host {host!r}.") from error
    for address in found:
        if not is_public(address) and not allow(host, address):
            raise Failed(f"{host!r} is an address of this machine or its network, which is not allowed.")
    return found[:3]


async def _page(response: httpx.Response, url: httpx.URL, max_bytes: int) -> Page:
    kind, _, parameters = response.headers.get("content-type", "").partition(";")
    charset = parameters.lower().partition("charset=")[2].split(";")[0].strip(" \"'")
    location = ""
    if response.status_code in _MOVED and response.headers.get("location"):
        location = str(url.join(response.headers["location"]))
    body, cut = await _body(response, max_bytes) if not location else (b"", False)
    return Page(str(url), response.status_code, kind.strip().lower(), charset, body, cut, location)


async def _body(response: httpx.Response, max_bytes: int) -> tuple[bytes, bool]:
    """The body, unpacked by hand, because a few compressed bytes may stand for any number of others."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "", "gzip", "x-gzip", "deflate"):
        raise Failed(f"The server sent content packed as {encoding!r}, which was not asked for.")
    unpack = None if encoding in ("identity", "") else _Unpacker(encoding)
    found = bytearray()
    async for chunk in _raw(response):
        left = max_bytes - len(found)
        piece = chunk if unpack is None else unpack(chunk, left + 1)
        found += piece[:left]
        if len(piece) > left:
            return bytes(found), True
    return bytes(found), False


async def _raw(response: httpx.Response) -> AsyncIterator[bytes]:
    import httpx

    stream = response.stream
    if not isinstance(stream, httpx.AsyncByteStream):
        raise Failed("The server's answer can't be read.")
    async for chunk in stream:
        yield chunk


class _Unpacker:
    """gzip or deflate, never more than asked for."""

    def __init__(self, encoding: str) -> None:
        self._raw = zlib.decompressobj(-zlib.MAX_WBITS)
        self._packed = zlib.decompressobj(zlib.MAX_WBITS | (32 if encoding != "deflate" else 0))
        self._started = False

    def __call__(self, chunk: bytes, limit: int) -> bytes:
        if limit <= 0:
            return b""
        try:
            piece = self._packed.decompress(chunk, limit)
        except zlib.error as error:
            if self._started:
                raise Failed("The server's answer is damaged.") from error
            self._packed = self._raw  # some servers send deflate without its envelope
            try:
                piece = self._packed.decompress(chunk, limit)
            except zlib.error:
                raise Failed("The server's answer is damaged.") from error
        self._started = True
        return piece


def _reason(error: Exception) -> str:
    return str(error).strip().rstrip(".") or type(error).__name__
