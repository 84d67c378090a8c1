"""The ways of reasoning on the embedded model: each ends with an answer in its form."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from llmos.agents.reasoning import (
    NUMBER,
    Reasoned,
    best_of_n,
    chain_of_thought,
    least_to_most,
    plan_and_solve,
    reflect_and_refine,
    self_ask,
    span_of,
    tree_of_thoughts,
)
from llmos.agents.verdict import Verifier
from llmos.config import EngineOptions
from llmos.engine import open_engine
from llmos.kernel.process import Process
from llmos.kernel.protocols import Engine
from tests.agents.reasoning.conftest import Run

pytestmark = [pytest.mark.model, pytest.mark.asyncio(loop_scope="module")]
QUESTION = "Tom has 3 pens and buys 4 more. How many pens has he?"
PASSAGE = "The mill was built by Ada Lund in 1880. It has two wheels."


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[Engine]:
    opened = await open_engine(None, EngineOptions())
    yield opened
    await opened.close()


METHODS: dict[str, Callable[[Process], Awaitable[Reasoned]]] = {
    "chain of thought": lambda p: chain_of_thought(p, QUESTION, form=NUMBER, max_tokens=30),
    "self-ask": lambda p: self_ask(p, QUESTION, form=NUMBER, questions=1),
    "least to most": lambda p: least_to_most(p, QUESTION, form=NUMBER, parts=1),
    "plan and solve": lambda p: plan_and_solve(p, QUESTION, form=NUMBER, steps=2),
    "reflect and refine": lambda p: reflect_and_refine(p, QUESTION, form=NUMBER, rounds=1),
    "best of n": lambda p: best_of_n(p, QUESTION, Verifier(lambda _: None), n=2, form=NUMBER, max_tokens=20),
    "tree of thoughts": lambda p: tree_of_thoughts(p, QUESTION, form=NUMBER, beam=2, proposals=2, depth=2),
}


@pytest.mark.parametrize("name", list(METHODS))
async def test_a_method_ends_with_a_number(on_a_system: Run, engine: Engine, name: str) -> None:
    reasoned = await on_a_system(engine, METHODS[name])
    assert re.fullmatch(NUMBER.pattern, reasoned.answer)
    assert reasoned.usage.generated_tokens > 0


async def test_an_answer_can_be_bound_to_a_few_words_of_a_text(on_a_system: Run, engine: Engine) -> None:
    asked = f"{PASSAGE}\n\nWho built the mill?"
    reasoned = await on_a_system(engine, lambda p: chain_of_thought(p, asked, form=span_of(PASSAGE, 3), max_tokens=20))
    assert reasoned.answer in PASSAGE
    assert 1 <= len(reasoned.answer.split()) <= 3
