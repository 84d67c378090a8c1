"""One real engine for all tests that only ask it things; tests that change its options open their own."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

from llmos.engine.llama import LlamaEngine, LlamaOptions
from llmos.engine.store.builtin import find
from llmos.events import Finished, Started, Token
from llmos.messages import GREEDY, Context, Generate, Sampling


@pytest.fixture(scope="session")
def model() -> Path:
    """The embedded model as shipped."""
    return find().path


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engine(model: Path) -> AsyncGenerator[LlamaEngine]:
    opened = await LlamaEngine.load(model, LlamaOptions(context=1024, cells=4096, slots=16))
    yield opened
    await opened.close()


def ask(prompt: str | Context, *, max_tokens: int | None = 24, sampling: Sampling = GREEDY, **more: object) -> Generate:
    """A greedy request of a few tokens."""
    context = Context.chat(prompt) if isinstance(prompt, str) else prompt
    return Generate(context=context, max_tokens=max_tokens, sampling=sampling, **more)  # type: ignore[arg-type]


async def run(engine: LlamaEngine, request: Generate) -> tuple[list[Token], Finished]:
    """All of a request's tokens and its end; checks the order of events on the way."""
    tokens: list[Token] = []
    started = 0
    async for event in engine.generate(request):
        match event:
            case Started():
                assert not tokens
                started += 1
            case Token():
                assert started == 1
                tokens.append(event)
            case Finished():
                return tokens, event
    raise AssertionError("the stream ended without Finished")
