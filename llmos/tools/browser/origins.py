"""Which origin an address belongs to, read as a browser reads it, and which origins a session was opened to.

A browser repairs addresses: `0x7f.1`, `2130706433` and `127.0.0.1.` all lead to this machine, `https://a@b` to `b`. So
hosts are brought into the one form in which they are judged and resolved, and what people and browsers would read
differently is refused. Method: the URL standard (https://url.spec.whatwg.org/#host-parsing). Resolves no names
and opens no connection: `proxy` does.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address
from typing import Protocol

from llmos.addresses import is_public
from llmos.errors import BrowserError

MAX_URL = 4_000
PORTS = {"http": 80, "https": 443}

_SOCKETS = {"ws": "http", "wss": "https"}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?!\d+(?:[/?#]|$))")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"0[xX][0-9A-Fa-f]*|\d+")
_INHERITS = re.compile(r"about:(?:blank|srcdoc)(?:[?#].*)?|", re.DOTALL)
_HINT = "Only http and https addresses of the public internet are opened, and origins that were allowed."


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port, all three in canonical form.

    Attributes:
        scheme: `http` or `https`; sockets belong to them.
        host: In lower case and ASCII, an IPv6 address in brackets.
        port: Also where it is the usual one.
    """

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}" + ("" if self.port == PORTS[self.scheme] else f":{self.port}")

    @property
    def address(self) -> str:
        """The address that the host is, without brackets; empty if it is a name."""
        bare = self.host.strip("[]")
        try:
            return str(ip_address(bare))
        except ValueError:
            return ""


@dataclass(frozen=True, slots=True)
class Address:
    """A URL that can be opened: its origin, and path (from its `/` on), query and fragment as they were written."""

    origin: Origin
    rest: str

    def __str__(self) -> str:
        return f"{self.origin}{self.rest}"


def parse(url: str) -> Address:
    """The canonical form of a URL. Without a scheme it is https.

    Raises:
        BrowserError: `blocked`: it is no http(s) URL, hides where it leads, or can be read in two ways.
    """
    text = url.strip()
    if not text or len(text) > MAX_URL:
        raise _refused(text, f"has {len(text):,} characters" if text else "is empty")
    if any(char <= " " or char == "\x7f" or unicodedata.category(char) in ("Cf", "Cc", "Zl", "Zp") for char in text):
        raise _refused(text, "has blanks or characters in it that can't be seen")
    found = _SCHEME.match(text)
    scheme = _SOCKETS.get(found[1].lower(), found[1].lower()) if found else "https"
    if scheme not in PORTS:
        raise _refused(text, "is neither http nor https")
    rest = text[found.end() :] if found else f"//{text}"
    if not rest.startswith("//") or rest.startswith("///") or "\\" in re.split(r"[?#]", rest, maxsplit=1)[0]:
        raise _refused(text, "can be read in two ways")
    authority, tail = _split(rest[2:])
    if "@" in authority:
        raise _refused(text, "has a user name or password in it")
    host, port = _host_and_port(text, authority)
    return Address(
        Origin(scheme, canonical_host(host), PORTS[scheme] if port is None else port),
        tail if tail[:1] == "/" else f"/{tail}",
    )


def origin_of(url: str) -> Origin:
    """The origin of a URL.

    Raises:
        BrowserError: As `parse`.
    """
    return parse(url).origin


def canonical_host(host: str) -> str:
    """A host in the form in which it is compared and resolved: numbers in any notation as the address that they are.

    Raises:
        BrowserError: `blocked`: it is no host.
    """
    if host.startswith("[") and host.endswith("]"):
        try:
            if "%" in host:
                raise AddressValueError("a zone")
            return f"[{IPv6Address(host[1:-1]).compressed}]"
        except AddressValueError as error:
            raise _refused(host, "is no IPv6 address") from error
    name = host if host.isascii() else _ascii(host)
    name = name.lower().removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return str(_ipv4(host, labels))
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise _refused(host, "is no host name")
    return name


def allowed(origins: Iterable[str]) -> frozenset[Origin]:
    """The origins that a session is opened to.

    Raises:
        BrowserError: `blocked`: one is no origin: it has a path, or no scheme.
    """
    found: set[Origin] = set()
    for text in origins:
        address = parse(text)
        if "://" not in text or address.rest != "/":
            raise _refused(text, "is no origin", hint="Write scheme, host and port, such as http://localhost:8000.")
        found.add(address.origin)
    return frozenset(found)


def refusal(origin: Origin, allow: frozenset[Origin]) -> str:
    """Why an origin may not be opened, as far as that is known without resolving its name; empty if it may."""
    if origin in allow:
        return ""
    if origin.host == "localhost" or origin.host.endswith(".localhost"):
        return "leads to this machine"
    if origin.address and not is_public(origin.address):
        return "is an address of this machine or its network"
    return ""


def opened(url: str, allow: frozenset[Origin]) -> Address:
    """A URL that may be opened, in canonical form.

    Raises:
        BrowserError: `blocked`: it may not.
    """
    address = parse(url)
    if why := refusal(address.origin, allow):
        raise _refused(str(address), why, hint=f"If it is meant, allow the origin {str(address.origin)!r}.")
    return address


class Framed(Protocol):
    """A frame, as Playwright has it. Its URL comes from the browser's process: no page can lie about it."""

    @property
    def url(self) -> str:
        """Of its document."""
        ...

    @property
    def parent_frame(self) -> Framed | None:
        """The frame around it."""
        ...


def origin_of_frame(frame: Framed) -> Origin | None:
    """The origin of a frame's document; None where it has none of its own. An empty frame has that of its parent."""
    at: Framed | None = frame
    while at is not None:
        url = at.url
        if not _INHERITS.fullmatch(url):
            return origin_or_none(url.removeprefix("blob:"))
        at = at.parent_frame
    return None


def origin_or_none(url: str) -> Origin | None:
    """The origin of a document's URL; None for what has none (`data:`, `about:blank`)."""
    if not url.startswith(("http://", "https://")):
        return None
    try:
        return origin_of(url)
    except BrowserError:
        return None


def shown(text: str) -> str:
    """An address that a page or a person wrote, for a message: short, and nothing hidden in it."""
    cut = text if len(text) <= 100 else f"{text[:99]}…"
    return repr(cut.encode("ascii", "backslashreplace").decode("ascii"))


def _split(text: str) -> tuple[str, str]:
    """Authority and the rest."""
    found = re.search(r"[/?#]", text)
    return (text, "") if found is None else (text[: found.start()], text[found.start() :])


def _host_and_port(url: str, authority: str) -> tuple[str, int | None]:
    found = re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]+)(?::(\d{0,5}))?", authority, re.ASCII)
    if found is None or "%" in authority:
        raise _refused(url, "names no host that can be read in one way only")
    port = int(found[2]) if found[2] else None
    if port is not None and not 0 < port < 65_536:
        raise _refused(url, f"has the port {port}, which there is not")
    return found[1], port


def _ascii(host: str) -> str:
    """A host in other letters as the name that is resolved (UTS 46, not transitional)."""
    import idna

    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise _refused(host, "is no host name") from error


def _ipv4(host: str, labels: list[str]) -> IPv4Address:
    """An address of one to four numbers, each decimal, octal or hexadecimal; the last one fills what is left."""
    numbers: list[int] = []
    for label in labels:
        if not _NUMBER.fullmatch(label):
            raise _refused(host, "ends in a number and is no address")
        try:
            if label[:2] in ("0x", "0X"):
                numbers.append(int(label[2:] or "0", 16))
            else:
                numbers.append(int(label, 8 if len(label) > 1 and label[0] == "0" else 10))
        except ValueError as error:
            raise _refused(host, "ends in a number and is no address") from error
    *heads, last = numbers
    if len(numbers) > 4 or any(number > 255 for number in heads) or last >= 256 ** (5 - len(numbers)):
        raise _refused(host, "ends in a number and is no address")
    return IPv4Address(sum(number << 8 * (3 - place) for place, number in enumerate(heads)) + last)


def _refused(what: str, why: str, *, hint: str = _HINT) -> BrowserError:
    return BrowserError(f"{shown(what)} was not opened: it {why}.", reason="blocked", hint=hint)
