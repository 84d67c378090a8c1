"""Best-of-n."""

from __future__ import annotations

import math

import pytest

from llmos.engine.decoding import best_of_n
from llmos.engine.scripted import Reply, ScriptedEngine
from llmos.errors import ConfigError, EngineError, Unsupported
from llmos.messages import GREEDY, Context, Generate, Sampling

REQUEST = Generate(context=Context.chat("hi"), sampling=Sampling(temperature=0.8, seed=7))


async def test_the_likeliest_answer_comes_first() -> None:
    engine = ScriptedEngine([Reply("bad", logprob=-3.0), Reply("good", logprob=-0.1), Reply("fair", logprob=-1.0)])
    answers = await best_of_n(engine, REQUEST, 3)
    assert [answer.message.content for answer in answers] == ["good", "fair", "bad"]
    assert sorted(answer.seed for answer in answers) == [7, 8, 9]
    assert len({request.id for request in engine.requests}) == 3


async def test_answers_of_unknown_likelihood_come_last() -> None:
    engine = ScriptedEngine([Reply("unknown", logprob=math.nan), Reply("known", logprob=-9.0)])
    assert [answer.message.content for answer in await best_of_n(engine, REQUEST, 2)] == ["known", "unknown"]


async def test_they_run_at_once() -> None:
    engine = ScriptedEngine("word word word", seconds_per_token=0.01)
    most = 0

    def look(request: Generate) -> str:
        nonlocal most
        most = max(most, engine.active + 1)
        return "word word"

    engine = ScriptedEngine(look, seconds_per_token=0.01)
    await best_of_n(engine, REQUEST, 4)
    assert most == 4


async def test_without_a_seed_one_is_drawn() -> None:
    engine = ScriptedEngine("x")
    request = Generate(context=Context.chat("hi"), sampling=Sampling(temperature=0.8))
    seeds = sorted(answer.seed for answer in await best_of_n(engine, request, 2))
    assert seeds[1] == seeds[0] + 1


async def test_one_failure_is_the_callers_error_and_cancels_the_others() -> None:
    engine = ScriptedEngine([Reply("a b c " * 100), Reply("x", error=EngineError("broke"))], seconds_per_token=0.01)
    with pytest.raises(EngineError, match="broke"):
        await best_of_n(engine, REQUEST, 2)
    assert engine.active == 0
    assert len(engine.cancelled) == 1


async def test_what_makes_no_sense_is_refused() -> None:
    engine = ScriptedEngine("x")
    with pytest.raises(ConfigError, match="best of 0"):
        await best_of_n(engine, REQUEST, 0)
    with pytest.raises(ConfigError, match="the same"):
        await best_of_n(engine, Generate(context=Context.chat("hi"), sampling=GREEDY), 2)
    with pytest.raises(Unsupported, match="log-probabilities"):
        await best_of_n(ScriptedEngine("x", capabilities=frozenset()), REQUEST, 2)
