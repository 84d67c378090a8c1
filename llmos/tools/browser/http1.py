"""Messages of HTTP/1.1 as a proxy reads them and passes them on: heads under a limit, bodies piece by piece.

Strict with requests, which only a browser sends here, so that both sides of the proxy read the same (RFC 9112). Knows
no address and no rule.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

MAX_HEAD = 65_536
MAX_HEADERS = 200
PIECE = 65_536
MAX_CHUNK_LINE = 1_024

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_STATUS = re.compile(r"HTTP/1\.([01]) ([1-5]\d\d)(?: .*)?")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
# they hold for one connection, not for a message (RFC 9110 §7.6.1)
_OF_A_CONNECTION = frozenset({"connection", "keep-alive", "te", "trailer", "upgrade", "expect"})


class Malformed(Exception):
    """A message is no proper HTTP/1.1, or one that two sides could read differently."""


@dataclass(frozen=True, slots=True)
class Head:
    """Start line and headers of a message.

    Attributes:
        start: The start line.
        headers: Names as they were sent, and values.
    """

    start: str
    headers: tuple[tuple[str, str], ...]

    def values(self, name: str) -> list[str]:
        """All values of a header; its name in lower case."""
        return [value for key, value in self.headers if key.lower() == name]

    def lists(self, name: str) -> list[str]:
        """The parts of a header that is a list, in lower case."""
        return [part.strip().lower() for value in self.values(name) for part in value.split(",") if part.strip()]

    def passed_on(self, *, without: Iterable[str] = ()) -> list[tuple[str, str]]:
        """The headers that go on to the other side."""
        left_out = {*_OF_A_CONNECTION, *without, *self.lists("connection")}
        return [
            (name, value)
            for name, value in self.headers
            if name.lower() not in left_out and not name.lower().startswith("proxy-")
        ]


@dataclass(frozen=True, slots=True)
class Framing:
    """Where a body ends: there is none, after so many bytes, with its last chunk, or with the connection."""

    kind: Literal["none", "length", "chunked", "end"]
    length: int = 0


NO_BODY = Framing("none")


async def read_head(reader: asyncio.StreamReader, *, request: bool) -> Head | None:
    """The head of the next message; None if the connection ended before one.

    Raises:
        Malformed: It is not one, or too long.
        EOFError: The connection ended within it.
    """
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            return None
        raise
    except asyncio.LimitOverrunError as error:
        raise Malformed(f"a head is longer than {MAX_HEAD:,} bytes") from error
    start, *lines = raw[:-4].decode("latin-1").split("\r\n")
    if "\n" in start or "\r" in start or len(lines) > MAX_HEADERS:
        raise Malformed("a head is damaged or has too many lines")
    headers: list[tuple[str, str]] = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name) or any(char in line for char in "\n\r\0"):
            if request:
                raise Malformed("a header is damaged")
            continue  # browsers leave such lines out, too
        headers.append((name, value.strip(" \t")))
    return Head(start, tuple(headers))


def write_head(start: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """A head, ready to be sent."""
    return "\r\n".join([start, *(f"{name}: {value}" for name, value in headers), "", ""]).encode("latin-1")


def request_framing(head: Head) -> Framing:
    """Where the body of a request ends.

    Raises:
        Malformed: It could be read in two ways.
    """
    coding, length = head.lists("transfer-encoding"), _length(head)
    if coding:
        if coding != ["chunked"] or length is not None:
            raise Malformed("a request has a length that can be read in two ways")
        return Framing("chunked")
    return Framing("length", length) if length else Framing("none")


def status_of(head: Head) -> tuple[int, bool]:
    """The status of a response, and whether it is of HTTP/1.1.

    Raises:
        Malformed: It has none.
    """
    found = _STATUS.fullmatch(head.start)
    if found is None:
        raise Malformed("an answer has no status")
    return int(found[2]), found[1] == "1"


def response_framing(head: Head, *, method: str, status: int) -> Framing:
    """Where the body of a response ends (RFC 9112 §6.3).

    Raises:
        Malformed: It could be read in two ways.
    """
    if method == "HEAD" or status in (204, 304):
        return Framing("none")
    coding, length = head.lists("transfer-encoding"), _length(head)
    if coding:
        if coding[-1] != "chunked" or length is not None:
            raise Malformed("an answer has a length that can be read in two ways")
        return Framing("chunked")
    if length is None:
        return Framing("end")
    return Framing("length", length) if length else Framing("none")


def _length(head: Head) -> int | None:
    found = set(head.lists("content-length"))
    if not found:
        return None
    if len(found) > 1 or not re.fullmatch(r"\d{1,18}", next(iter(found)), re.ASCII):
        raise Malformed("a message has a length that can be read in two ways")
    return int(found.pop())


async def relay(
    framing: Framing, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, alive: Callable[[], None]
) -> None:
    """Pass a body on as it comes; no more of it is held than what the other side has not taken yet.

    Args:
        framing: Where it ends.
        reader: Where it comes from.
        writer: Where it goes.
        alive: Called after each piece.

    Raises:
        EOFError: It ended too early.
        Malformed: Its chunks are damaged.
    """
    match framing.kind:
        case "none":
            return
        case "length":
            await _relay_length(framing.length, reader, writer, alive)
        case "chunked":
            await _relay_chunks(reader, writer, alive)
        case "end":
            await relay_all(reader, writer, alive)


async def relay_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, alive: Callable[[], None]) -> None:
    """Pass on everything until the connection ends."""
    while piece := await reader.read(PIECE):
        writer.write(piece)
        await writer.drain()
        alive()


async def _relay_length(
    length: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, alive: Callable[[], None]
) -> None:
    while length:
        piece = await reader.read(min(PIECE, length))
        if not piece:
            raise EOFError("a body ended too early")
        length -= len(piece)
        writer.write(piece)
        await writer.drain()
        alive()


async def _relay_chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, alive: Callable[[], None]) -> None:
    while True:
        line = await _line(reader)
        found = _CHUNK.fullmatch(line) if len(line) <= MAX_CHUNK_LINE else None
        if found is None:
            raise Malformed("a body is damaged")
        size = int(found[1], 16)
        writer.write(b"%x\r\n" % size)
        if size == 0:
            break
        await _relay_length(size, reader, writer, alive)
        if await reader.readexactly(2) != b"\r\n":
            raise Malformed("a body is damaged")
        writer.write(b"\r\n")
    for _ in range(MAX_HEADERS):  # trailers say nothing that a browser needs
        if await _line(reader) == b"\r\n":
            break
    writer.write(b"\r\n")
    await writer.drain()


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\n")
    except asyncio.LimitOverrunError as error:
        raise Malformed("a body is damaged") from error
