"""A small OpenAI-compatible server on this machine for tests: it does what its script says, misbehaviour included.

Real sockets and HTTP/1.1 with connections that are used again; runs in the event loop of the test.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

Json = dict[str, Any]
CHAT = "/v1/chat/completions"
RAW = "/v1/completions"
MODELS = "/v1/models"
_PATIENCE = 20.0


@dataclass(frozen=True)
class Received:
    """One request as it came in."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Json


class Talk:
    """One request and the way to answer it."""

    def __init__(self, request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.request = request
        self._reader = reader
        self._writer = writer
        self._left = asyncio.Event()
        self.reusable = False

    async def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    async def head(self, status: int = 200, **headers: str) -> None:
        """Send the status line and headers; underscores in names become hyphens."""
        lines = [
            f"HTTP/1.1 {status} Scripted",
            *(f"{name.replace('_', '-')}: {text}" for name, text in headers.items()),
        ]
        await self.raw("\r\n".join([*lines, "", ""]).encode())

    async def body(self, data: bytes, *, status: int = 200, kind: str = "application/json", **headers: str) -> None:
        """Send a whole answer."""
        await self.head(status, Content_Type=kind, Content_Length=str(len(data)), **headers)
        await self.raw(data)
        self.reusable = True

    async def json(self, value: object, *, status: int = 200, **headers: str) -> None:
        """Send a whole answer of JSON."""
        await self.body(json.dumps(value).encode(), status=status, **headers)

    async def begin(self) -> None:
        """Begin a stream of events."""
        await self.head(Content_Type="text/event-stream; charset=utf-8", Transfer_Encoding="chunked")

    async def piece(self, data: bytes) -> None:
        """Send bytes of the stream."""
        await self.raw(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def event(self, value: object) -> None:
        """Send one event of the stream."""
        await self.piece(f"data: {value if isinstance(value, str) else json.dumps(value)}\n\n".encode())

    async def end(self) -> None:
        """End the stream as it should be."""
        await self.event("[DONE]")
        await self.raw(b"0\r\n\r\n")
        self.reusable = True

    async def stream(self, *events: object) -> None:
        """Send a whole stream."""
        await self.begin()
        for event in events:
            await self.event(event)
        await self.end()

    def cut(self) -> None:
        """Break the connection as a crash would."""
        self._writer.transport.abort()

    async def gone(self) -> None:
        """Wait until the client has closed the connection."""
        async with asyncio.timeout(_PATIENCE):
            while await self._reader.read(4096):
                pass


Handler = Callable[[Talk], Awaitable[None]]


@dataclass
class Server:
    """The server.

    Attributes:
        received: Every request but those for what the server is, in order.
        probes: Those requests.
        connections: How many connections were opened.
        left: How many handlers saw the client go.
    """

    received: list[Received] = field(default_factory=list[Received])
    probes: list[Received] = field(default_factory=list[Received])
    connections: int = 0
    running: int = 0
    most_running: int = 0
    _handlers: dict[str, list[Handler]] = field(default_factory=dict[str, list[Handler]])
    _tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    _server: asyncio.Server | None = None

    def on(self, path: str, *handlers: Handler) -> None:
        """Answer requests for a path with these, one after the other; the last one stays."""
        self._handlers[path] = list(handlers)

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=1 << 24)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._serve(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = await _read(reader)
        own = not request.path.endswith("completions") or request.method == "GET"
        (self.probes if own and request.path not in self._handlers else self.received).append(request)
        talk = Talk(request, reader, writer)
        queue = self._handlers.get(request.path, [_missing])
        handler = queue.pop(0) if len(queue) > 1 else queue[0]
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            await handler(talk)
        finally:
            self.running -= 1
        return talk.reusable


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.strip().lower(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
    data = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, json.loads(data) if data else {})


async def _missing(talk: Talk) -> None:
    await talk.json({"error": {"message": "no such path"}}, status=404)


def chunk(**delta: object) -> Json:
    """An event of a chat that adds something."""
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def ending(reason: str = "stop") -> Json:
    """The event that says why a chat's answer ends."""
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


def usage(prompt: int, generated: int, cached: int = 0) -> Json:
    """The event with the token counts."""
    counts = {"prompt_tokens": prompt, "completion_tokens": generated}
    return {"choices": [], "usage": counts | {"prompt_tokens_details": {"cached_tokens": cached}}}


def says(*texts: str, reason: str = "stop", counts: Json | None = None) -> Handler:
    """A handler that streams an answer."""

    async def handler(talk: Talk) -> None:
        events = [chunk(role="assistant", content=""), *(chunk(content=text) for text in texts), ending(reason)]
        await talk.stream(*events, *([counts] if counts else []))

    return handler


def streams(*events: object) -> Handler:
    """A handler that streams these events."""

    async def handler(talk: Talk) -> None:
        await talk.stream(*events)

    return handler


def refuses(status: int, message: str, **headers: str) -> Handler:
    """A handler that refuses as OpenAI does."""

    async def handler(talk: Talk) -> None:
        await talk.json({"error": {"message": message, "type": "scripted"}}, status=status, **headers)

    return handler


def answers(value: object) -> Handler:
    """A handler that answers with JSON."""

    async def handler(talk: Talk) -> None:
        await talk.json(value)

    return handler


def lists(owner: str, **fields: object) -> Handler:
    """A handler for the list of models: one model named `m`."""
    return answers({"object": "list", "data": [{"id": "m", "object": "model", "owned_by": owner, **fields}]})
