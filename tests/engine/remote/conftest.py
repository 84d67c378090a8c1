"""What the tests of remote engines share: a server, and engines for it that are closed in the end."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol, TypedDict, Unpack

import pytest

from llmos.engine.remote import RemoteEngine, ServerKind, Timeouts
from llmos.events import EngineEvent, Finished, Token
from llmos.messages import Generate
from tests.engine.remote.server import Server


class Options(TypedDict, total=False):
    """The options of a remote engine."""

    api_key: str
    timeout: Timeouts
    retries: int
    concurrency: int
    kind: ServerKind
    logprobs: bool


class Open(Protocol):
    """Opens an engine for the test's server, or for another address."""

    def __call__(self, url: str = "", **options: Unpack[Options]) -> RemoteEngine: ...


QUICK = Timeouts(connect=5, first=10, idle=10, total=30)


@pytest.fixture(autouse=True)
def _remote_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers of these tests are scripted: no real model is behind them."""
    monkeypatch.delenv("LLMOS_FORBID_REAL_MODELS", raising=False)


@pytest.fixture
async def server() -> AsyncGenerator[Server]:
    async with Server() as running:
        yield running


@pytest.fixture
async def remote(server: Server) -> AsyncGenerator[Open]:
    """Opens engines for the server; without further options they ask for no log-probabilities."""
    opened = list[RemoteEngine]()

    def engine(url: str = "", **options: Unpack[Options]) -> RemoteEngine:
        settings: Options = {"timeout": QUICK, "logprobs": False, **options}
        opened.append(RemoteEngine(url or server.url, "m", **settings))
        return opened[-1]

    yield engine
    for one in opened:
        await one.close()


async def collect(engine: RemoteEngine, request: Generate) -> tuple[list[Token], Finished]:
    """All tokens of a request and its last event; checks the protocol on the way."""
    events = list[EngineEvent]()
    async for event in engine.generate(request):
        events.append(event)
    started, *tokens, finished = events
    assert started.kind == "started"
    assert isinstance(finished, Finished)
    kept = [token for token in tokens if isinstance(token, Token)]
    assert [token.index for token in kept] == list(range(len(tokens)))
    return kept, finished


def text(tokens: list[Token], channel: str = "answer") -> str:
    return "".join(token.text for token in tokens if token.channel == channel)
