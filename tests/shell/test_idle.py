"""What a chat does while nothing is asked: memory is tidied, the model reads the user's words; questions go first."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from llmos.config import MemoryOptions, load_settings
from llmos.memory.items import NewItem
from llmos.memory.personal.consolidation import LEAST
from llmos.shell import idle
from llmos.shell.idle import Idle
from llmos.shell.knowing import Knowing
from llmos.shell.session import Session
from tests.shell.helpers import script

BAKERY = "Since last year I run a small bakery."


@pytest.fixture
def knowing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Knowing]:
    monkeypatch.setenv("LLMOS_HOME", str(tmp_path))
    monkeypatch.setattr(idle, "QUIET_SECONDS", 0.0)
    knowing = Knowing(MemoryOptions(), warn=lambda text: None)
    yield knowing
    knowing.close()


class Model:
    """Finds an occupation in every turn, when it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self.go_on = asyncio.Event()

    async def __call__(self, prompt: str, schema: Mapping[str, Any]) -> str:
        self.asked += 1
        await self.go_on.wait()
        return json.dumps({"facts": [{"attribute": "occupation", "value": "run a small bakery"}]})


async def nothing() -> None:
    """Head no conversation."""


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.01)


async def test_when_it_is_quiet_memory_is_tidied(knowing: Knowing) -> None:
    old = [
        NewItem(tenant="me", kind="episode", text=f"We spoke about whale {n}.", label="user", source="a", created=1.0)
        for n in range(LEAST)
    ]
    knowing.memory.store.add(old)
    behind = Idle(knowing, None, nothing)
    behind.begin("hello", "chat")
    store = knowing.memory.store
    await until(lambda: store.count(knowing.memory.filter()) == LEAST + 1)
    behind.end()


async def test_what_no_rule_settles_is_asked(knowing: Knowing) -> None:
    knowing.memory.told("remember that my office is in Leeds")
    knowing.memory.told("my office is in York")
    knowing.tidy()
    (question,) = knowing.news
    assert "Which is right?" in question
    knowing.tidy()
    assert knowing.news == (question,)


async def test_a_question_goes_before_what_the_model_reads_and_that_is_done_later(knowing: Knowing) -> None:
    model = Model()
    behind = Idle(knowing, model, nothing)
    behind.begin(BAKERY, "chat 1")
    await until(lambda: model.asked == 1)
    behind.end()
    model.go_on.set()
    behind.begin("what is the weather like?", "chat 1")
    await until(lambda: bool(knowing.news))
    behind.end()
    (fact,) = knowing.memory.personal.facts()
    assert (fact.value, fact.strength, fact.source, fact.turn) == (
        "run a small bakery",
        "extracted",
        "chat 1",
        BAKERY[:-1],
    )
    assert knowing.news == ("noted, as the model read it: occupation: run a small bakery",)


async def test_nothing_is_done_before_it_has_been_quiet_for_a_while(
    knowing: Knowing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle, "QUIET_SECONDS", 60.0)
    model = Model()
    behind = Idle(knowing, model, nothing)
    behind.begin(BAKERY, "chat 1")
    await asyncio.sleep(0.05)
    behind.end()
    assert model.asked == 0
    assert not knowing.memory.exists


@pytest.mark.parametrize("extracts", [True, False])
async def test_the_chats_model_reads_what_the_user_said_if_the_settings_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extracts: bool
) -> None:
    monkeypatch.setenv("LLMOS_HOME", str(tmp_path))
    monkeypatch.setattr(idle, "QUIET_SECONDS", 0.0)
    found = json.dumps({"facts": [{"attribute": "occupation", "value": "run a small bakery"}]})
    model = script(tmp_path, ["How nice!", found])
    flags = {"model": model, "tools": False, "memory.extract": extracts}
    session = Session(load_settings(flags=flags), warnings=lambda text: None)
    try:
        await session.ask(BAKERY, lambda event: None)
        if extracts:
            await until(lambda: bool(session.knowing.news))
            assert [fact.value for fact in session.knowing.memory.personal.facts()] == ["run a small bakery"]
        else:
            await asyncio.sleep(0.2)
            assert session.knowing.news == ()
    finally:
        await session.close()
