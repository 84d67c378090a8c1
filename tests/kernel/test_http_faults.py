"""The k-th HTTP exchange of a run breaks, for every k and in every way: its engine is remote, and it reads web pages.

The run ends with a typed error, or goes on with a tool's failed result; on a sound line it is gone on with to its end,
and what was answered is not asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import pytest

from llmos.engine.remote import RemoteEngine, Timeouts
from llmos.errors import RemoteError
from llmos.kernel.calls import Result, Traits
from llmos.kernel.journal import Journal
from llmos.kernel.process import Process
from llmos.kernel.protocols import Access, Device
from llmos.kernel.system import System, Task
from llmos.messages import ToolSpec
from llmos.tools.builtin.http import http_tools
from tests.engine.remote.server import CHAT, MODELS, Server, Talk, chunk, ending
from tests.kernel.conftest import Permissive

STEPS = 2
EXCHANGES = 1 + 2 * STEPS  # what the server is, then thoughts and pages
WAYS = ("gone", "reset", "cut", "cut in the answer", "garbage", "hangs", "fails")
SHORT = Timeouts(connect=2, first=0.4, idle=0.4, total=5)


@pytest.fixture(autouse=True)
def _remote_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is scripted: no real model is behind it."""
    monkeypatch.delenv("LLMOS_FORBID_REAL_MODELS", raising=False)


class Line(Server):
    """A server for a model and for pages, whose k-th exchange breaks.

    Attributes:
        wanted: The port; any if 0.
        at, way: Which exchange breaks, and how.
        exchanges: How many there were.
        answered: What was answered to the end, in order: prompts and paths.
    """

    wanted = 0
    at = 0
    way = ""
    exchanges = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.wanted)
        return self

    def prepare(self) -> None:
        self.answered: list[str] = []
        self.on(CHAT, self._say)
        self.on(MODELS, self._list)
        for n in range(STEPS):
            self.on(f"/page{n}", self._page)

    async def _say(self, talk: Talk) -> None:
        if await self._breaks(talk):
            return
        asked = talk.request.body["messages"][-1]["content"]
        await talk.begin()
        for text in ("re: ", asked):
            await talk.event(chunk(content=text))
        await talk.event(ending())
        await talk.end()
        self.answered.append(asked)

    async def _list(self, talk: Talk) -> None:
        if not await self._breaks(talk):
            await talk.json({"object": "list", "data": [{"id": "m", "object": "model"}]})

    async def _page(self, talk: Talk) -> None:
        if await self._breaks(talk):
            return
        await talk.body(f"page {talk.request.path[-1]}".encode(), kind="text/plain", Connection="close")
        self.answered.append(talk.request.path)

    async def _breaks(self, talk: Talk) -> bool:
        self.exchanges += 1
        if self.exchanges != self.at:
            return False
        match self.way:
            case "reset":
                talk.cut()
            case "cut":
                await talk.head(Content_Type="text/plain", Content_Length="1000")
                await talk.raw(b"only so much")
                await asyncio.sleep(0.01)
                talk.cut()
            case "cut in the answer":
                await talk.begin()
                await talk.event(chunk(content="re: "))
                await asyncio.sleep(0.01)
                talk.cut()
            case "garbage":
                await talk.raw(b"\x16\x03\x01 is no HTTP\r\n\r\n\xff")
                talk.cut()
            case "hangs":
                with suppress(TimeoutError):
                    await talk.gone()
            case "fails":
                await talk.json({"error": {"message": "out of order"}}, status=500)
            case _:  # gone: nobody takes connections any more, from here on
                assert self._server is not None
                self._server.close()
                talk.cut()
        return True


@dataclass
class Hasty:
    """A tool that is not waited for long."""

    tool: Device

    @property
    def spec(self) -> ToolSpec:
        return self.tool.spec

    @property
    def traits(self) -> Traits:
        return replace(self.tool.traits, seconds=0.4)

    def check(self, arguments: Mapping[str, Any], /) -> Mapping[str, Any]:
        return self.tool.check(arguments)

    def show(self, arguments: Mapping[str, Any], access: Access, /) -> str:
        return self.tool.show(arguments, access)

    async def call(self, arguments: Mapping[str, Any], access: Access, /) -> Result:
        return await self.tool.call(arguments, access)

    async def done(self, arguments: Mapping[str, Any], access: Access, /) -> Result | None:
        return await self.tool.done(arguments, access)


async def reader(process: Process, port: int) -> list[list[Any]]:
    """Thinks and reads, in turn."""
    found: list[list[Any]] = []
    for n in range(STEPS):
        thought = await process.think(f"step {n}")
        page = await process.act("http_get", {"url": f"http://127.0.0.1:{port}/page{n}"})
        found.append([thought.text, page.failed, page.text])
    return found


@asynccontextmanager
async def system(folder: Path, port: int) -> AsyncGenerator[System]:
    """A kernel on a remote engine, closed in the end."""
    engine = RemoteEngine(f"http://127.0.0.1:{port}/v1", "m", timeout=SHORT, retries=0, logprobs=False)

    async def get() -> RemoteEngine:
        return engine

    get_page, _ = http_tools(allow_private=lambda host, address: address == "127.0.0.1")
    tools: dict[str, Device] = {"http_get": Hasty(get_page)}
    journal = Journal(folder)
    living = System(
        engine=get, journal=journal, policy=Permissive(), folder=folder / "runs", agents={"reader": reader}, tools=tools
    )
    yield living
    await living.close()
    await engine.close()
    journal.close()


@pytest.mark.parametrize("way", WAYS)
async def test_any_exchange_breaks(tmp_path: Path, way: str) -> None:
    broken = 0
    while await _breaks_at(broken + 1, way, tmp_path / f"{broken + 1}"):
        broken += 1
    assert broken == EXCHANGES


async def _breaks_at(at: int, way: str, folder: Path) -> bool:
    """A run whose `at`-th exchange breaks, and its end on a sound line; False if it has not so many."""
    async with Line() as line:
        line.prepare()
        line.at, line.way, port = at, way, line.port
        async with system(folder, port) as first:
            child = first.start(Task(agent="reader", arguments=(port,)))
            try:
                _check(await asyncio.wait_for(child.result(), 20), broke=at <= line.exchanges)
            except RemoteError:
                assert first.journal.run(child.pid).state == "failed"
    sound = Line()
    sound.wanted = port
    async with sound:
        sound.prepare()
        async with system(folder, port) as second:
            if second.journal.run(child.pid).state != "done":
                found = await asyncio.wait_for(second.resume(child.pid).result(), 20)
                _check(found, broke=True)
            again = set(line.answered) & set(sound.answered)
            assert not again, "what was answered was asked again"
            calls = second.journal.calls(child.pid)
            assert [call.kind for call in calls if call.done] == ["think", "act"] * STEPS
            assert second.journal.audit() is None
            await second.replay(child.pid)
    return at <= line.exchanges


def _check(found: list[list[Any]], *, broke: bool) -> None:
    """Thoughts are whole; one page at most failed, if anything broke, and the others are whole."""
    assert [text for text, _, _ in found] == [f"re: step {n}" for n in range(STEPS)]
    failed = [n for n, (_, failed, _) in enumerate(found) if failed]
    assert len(failed) <= broke * STEPS
    for n, (_, _, text) in enumerate(found):
        assert text == f"page {n}" or (n in failed and text)
