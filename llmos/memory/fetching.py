"""Gets one page from the web, so that neither its size nor its time nor where it leads can do harm.

Only http and https. A name is resolved once, each of its addresses is checked, and the connection goes to the address
that was checked; at a redirect all of it happens again. What decides about addresses is shared with the tools
(`llmos.addresses`), the exchange is not: theirs is async, sends any method and cuts what is too long, while this one
runs in threads without a loop and refuses it. Knows no store and no kind of document.
"""

from __future__ import annotations

import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmos.addresses import is_public, is_tunnelled
from llmos.errors import StorageError

if TYPE_CHECKING:
    import httpx

MAX_BYTES = 20_000_000
SECONDS = 30.0
MAX_REDIRECTS = 5

_MAX_URL = 2_000
_CONNECT_SECONDS = 8.0
_MOVED = frozenset({301, 302, 303, 307, 308})
_PACKED = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a server gave.

    Attributes:
        url: After redirects.
        kind: Media type without parameters, in lower case; may be empty.
        charset: As the server says; may be empty.
        data: Unpacked.
    """

    url: str
    kind: str
    charset: str
    data: bytes


def fetch(
    url: str,
    *,
    allow_private: bool = False,
    max_bytes: int = MAX_BYTES,
    seconds: float = SECONDS,
) -> Fetched:
    """Get a page.

    Args:
        allow_private: The user named this address: its host may be this machine or one of its network. Redirects to
            other such hosts are refused all the same.
        max_bytes: Larger ones are refused.
        seconds: It may take in all.

    Raises:
        StorageError: It is no such URL, the address is refused, or the server can't be reached, says no, is too slow or
            sends too much.
    """
    import httpx

    target = _checked(url)
    named = target.host if allow_private else ""
    deadline = time.monotonic() + seconds
    try:
        for _ in range(MAX_REDIRECTS + 1):
            addresses = _addresses(target, allowed=target.host == named)
            found = _get(target, addresses, deadline, seconds, max_bytes)
            if isinstance(found, Fetched):
                return found
            target = _checked(found)
    except httpx.HTTPError as error:
        said = str(error).strip().rstrip(".") or type(error).__name__
        raise StorageError(f"{url!r} can't be reached: {said}.", hint="Check the address and the network.") from error
    raise StorageError(f"{url!r} redirects more than {MAX_REDIRECTS} times.")


def _checked(url: str) -> httpx.URL:
    import httpx

    if len(url) > _MAX_URL:
        raise StorageError(f"{url[:80]!r}… has {len(url):,} characters, and at most {_MAX_URL:,} are a URL here.")
    try:
        parsed = httpx.URL(url.strip())
    except (httpx.InvalidURL, UnicodeError) as error:
        raise StorageError(f"{url!r} is no URL.") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise StorageError(f"{url!r} is neither http nor https.", hint="A file is added by its path.")
    if parsed.userinfo:
        raise StorageError(f"A URL of {parsed.host!r} with a password in it is not used.", hint="Leave it out.")
    return parsed


def _addresses(url: httpx.URL, *, allowed: bool) -> list[str]:
    """The addresses of a host.

    Raises:
        StorageError: There is none, or one is private and not allowed.
    """
    try:
        found = socket.getaddrinfo(
            url.host, url.port or (443 if url.scheme == "https" else 80), type=socket.SOCK_STREAM
        )
    except (OSError, UnicodeError) as error:
        raise StorageError(f"There is no host {url.host!r}.", hint="Check the address and the network.") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not allowed and (private := [address for address in addresses if not is_open(address)]):
        raise StorageError(
            f"{url.host!r} is {private[0]}, an address of this machine or its network, which was not named.",
            hint="Allow private addresses if you mean it.",
        )
    return addresses[:3]


def is_open(address: str) -> bool:
    """Whether pages are fetched from an address that was not named: anybody could reach it, and it is no gateway's."""
    return is_public(address) and not is_tunnelled(address)


def _get(url: httpx.URL, addresses: list[str], deadline: float, seconds: float, max_bytes: int) -> Fetched | str:
    """What the first address that can be reached answers, or where it sends one."""
    import httpx

    for place, address in enumerate(addresses):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        timeout = httpx.Timeout(min(left, seconds), connect=min(left, _CONNECT_SECONDS))
        request = httpx.Request(
            "GET",
            url,
            headers={
                "User-Agent": "llmos",
                "Accept": "text/html,text/*;q=0.9,application/pdf;q=0.9,*/*;q=0.5",
                "Accept-Encoding": "gzip, deflate",
            },
            extensions={"timeout": timeout.as_dict(), "sni_hostname": url.host},
        )
        request.url = url.copy_with(host=address)  # the name in the request stays the host's
        with httpx.HTTPTransport(trust_env=False) as transport:
            try:
                response = transport.handle_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if place + 1 < len(addresses):
                    continue
                raise
            with closing(response):
                return _answer(response, url, deadline, max_bytes)
    raise StorageError(f"{str(url)!r} did not answer within {seconds:g} s.")


def _answer(response: httpx.Response, url: httpx.URL, deadline: float, max_bytes: int) -> Fetched | str:
    if response.status_code in _MOVED and response.headers.get("location"):
        return str(url.join(response.headers["location"]))
    if response.status_code >= 400:
        raise StorageError(f"{str(url)!r} can't be had: the server answered with status {response.status_code}.")
    kind, _, parameters = response.headers.get("content-type", "").partition(";")
    charset = parameters.lower().partition("charset=")[2].split(";")[0].strip(" \"'")
    data = bytearray()
    for piece in _unpacked(response, url, max_bytes + 1):
        data += piece
        if len(data) > max_bytes:
            raise StorageError(
                f"{str(url)!r} has more than {max_bytes:,} bytes.", hint="Get it as a file and add that."
            )
        if time.monotonic() > deadline:
            raise StorageError(f"{str(url)!r} came too slowly: {len(data):,} bytes arrived.")
    return Fetched(str(url), kind.strip().lower(), charset, bytes(data))


def _unpacked(response: httpx.Response, url: httpx.URL, most: int) -> Iterator[bytes]:
    """The body, unpacked in small steps, because a few packed bytes may stand for any number of others."""
    packing = response.headers.get("content-encoding", "").strip().lower()
    if packing in ("", "identity"):
        yield from response.iter_raw()
        return
    if packing not in _PACKED:
        raise StorageError(f"{str(url)!r} is packed as {packing!r}, which was not asked for.")
    unpack = zlib.decompressobj(_PACKED[packing])
    try:
        for piece in response.iter_raw():
            yield unpack.decompress(piece, most)
            while unpack.unconsumed_tail:
                yield unpack.decompress(unpack.unconsumed_tail, most)
    except zlib.error as error:
        raise StorageError(f"What {url.host!r} sent is damaged.") from error
