"""The default agent on the embedded model."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from llmos.config import EngineOptions
from llmos.engine import open_engine
from llmos.kernel.protocols import Engine
from tests.agents.conftest import MakeDesk

pytestmark = pytest.mark.model


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    opened = await open_engine(None, EngineOptions())
    yield opened
    await opened.close()


async def test_percentages_are_calculated(make_desk: MakeDesk, engine: Engine) -> None:
    desk = await make_desk(engine)
    assert await desk.ask("what is 12.5% of 1,840 plus 17?") == "247"
    assert desk.titles == ["calculator(expression='12.5% of 1,840 plus 17')"]


async def test_the_largest_file_is_named_and_talk_needs_no_tool(make_desk: MakeDesk, engine: Engine) -> None:
    desk = await make_desk(engine)
    assert "Largest: long.md" in await desk.ask("list the files here and tell me which is the largest")
    assert await desk.ask("hi, how are you?")
    assert desk.calls == []
