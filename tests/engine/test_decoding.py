"""Best-of-n."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from llmos.engine.decoding import best_of_n, shares_of_choices
from llmos.engine.scripted import Reply, ScriptedEngine
from llmos.errors import ConfigError, EngineError, Unsupported
from llmos.messages import GREEDY, Choices, Context, Generate, Regex, Sampling

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


async def test_progress_tells_complete_answers_and_tokens() -> None:
    told: list[tuple[int, int]] = []
    engine = ScriptedEngine([Reply("a"), Reply("b c d")])
    await best_of_n(engine, REQUEST, 2, progress=lambda complete, tokens: told.append((complete, tokens)))
    assert told == sorted(told)
    assert told[-1] == (2, 4)


async def test_choices_share_the_probability() -> None:
    engine = ScriptedEngine("no", scores={"yes": math.log(0.02), "no": math.log(0.06)})
    request = Generate(
        context=Context.chat("hi"), constraint=Choices(("yes", "no")), priority="background", client="me"
    )
    assert await shares_of_choices(engine, request) == {"yes": pytest.approx(0.25), "no": pytest.approx(0.75)}
    (asked,) = engine.score_requests
    assert (asked.context, asked.priority, asked.client) == (request.context, "background", "me")


async def test_shares_are_unknown_without_choices_and_where_the_engine_can_not_tell() -> None:
    chosen = Generate(context=Context.chat("hi"), constraint=Choices(("yes", "no")))
    assert await shares_of_choices(ScriptedEngine("x"), Generate(context=Context.chat("hi"))) == {}
    assert await shares_of_choices(ScriptedEngine("x"), replace(chosen, constraint=Regex("x"))) == {}
    assert await shares_of_choices(ScriptedEngine("x", capabilities=frozenset()), chosen) == {}
    closed = ScriptedEngine("x")
    await closed.close()
    assert await shares_of_choices(closed, chosen) == {}
