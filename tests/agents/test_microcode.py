"""The default agent on a model with microcode: what it is asked, and what comes of what it says."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from llmos.agents import jobs
from llmos.agents.microcode import in_turn
from llmos.agents.prompts import prompts
from llmos.engine.scripted import Reply, ScriptedEngine
from llmos.messages import Context, Generate, Microcode, Score
from tests.agents.conftest import MakeDesk, Person

CODE = Microcode(name="kernel", prompts=jobs.fingerprint(), thresholds={"know": 0.5})


def likes(*choices: str) -> object:
    """Scores under which these choices are far likelier than others."""

    def scores(request: Score) -> list[float]:
        return [0.0 if choice in choices else -9.0 for choice in request.choices]

    return scores


def engine(*choices: str, replies: object = "Never.", code: Microcode | None = CODE) -> ScriptedEngine:
    """An engine that likes some choices."""
    return ScriptedEngine(replies, scores=likes(*choices), microcode=code)  # type: ignore[arg-type]


async def test_the_forms_are_those_that_it_was_trained_on(make_desk: MakeDesk) -> None:
    model = engine("list_files")
    desk = await make_desk(model)
    await desk.ask("show me everything that lies around here")
    asked = model.score_requests[0]
    system = asked.context.messages[0].content
    assert system.startswith("Choose the tool that comes next.")
    assert set(asked.choices) >= {"list_files", jobs.ANSWER, jobs.ASK}
    assert len(asked.choices) <= 14
    assert desk.titles == ["list_files(folder='.', sort='name')"]


async def test_microcode_of_other_forms_is_not_asked(make_desk: MakeDesk) -> None:
    model = engine(code=Microcode(name="old", prompts="another"))
    desk = await make_desk(model)
    await desk.ask("show me everything that lies around here")
    assert all("Choose the tool that comes next" not in one.context.messages[0].content for one in model.score_requests)


async def test_an_adapter_that_each_request_would_have_to_name_is_not_asked(make_desk: MakeDesk) -> None:
    model = engine(code=replace(CODE, adapter="kernel"))
    desk = await make_desk(model)
    await desk.ask("show me everything that lies around here")
    assert all("Choose the tool that comes next" not in one.context.messages[0].content for one in model.score_requests)


async def test_an_argument_that_no_rule_finds_is_read_out_of_the_words(make_desk: MakeDesk) -> None:
    def replies(request: Generate) -> Reply:
        if request.context.messages[0].content.startswith("Call search_files"):
            return Reply(json.dumps({"text": "plumber"}))
        return Reply("Never.")

    desk = await make_desk(engine("search_files", replies=replies))
    answer = await desk.ask("which of my files mentions a plumber somewhere")
    assert "letters/anna.txt" in answer
    assert "plumber" in desk.titles[0]


async def test_a_list_that_is_made_again_in_another_order_is_told_once(make_desk: MakeDesk) -> None:
    desk = await make_desk(engine("list_files"))
    answer = await desk.ask("show me everything that lies around here. Then put the lot by size")
    assert desk.titles == ["list_files(folder='.', sort='name')", "list_files(folder='.', sort='size')"]
    assert answer.count("letters") == 1


async def test_what_the_request_lacks_is_asked_for(make_desk: MakeDesk) -> None:
    person = Person(answers=["a.txt"])
    model = engine("read_file", jobs.ASK)
    desk = await make_desk(model, person)
    assert "alpha" in await desk.ask("please read that thing to me")
    assert len(person.questions) == 1


async def test_what_the_model_does_not_know_is_not_made_up(make_desk: MakeDesk) -> None:
    model = engine("no", jobs.ANSWER)
    desk = await make_desk(model)
    assert await desk.ask("who was the third king of Atlantis?") == prompts().unsure
    assert model.requests == []


async def test_what_the_model_knows_it_says(make_desk: MakeDesk) -> None:
    desk = await make_desk(engine("yes", jobs.ANSWER, replies="Paris is the capital of France."))
    assert await desk.ask("what is the capital of France?") == "Paris is the capital of France."


async def test_a_doubtful_choice_is_made_once_more_in_the_other_order() -> None:
    asked: list[str] = []
    shares = {"first": (0.6, 0.4), "other": (0.1, 0.9), "sure": (0.97, 0.03)}

    async def ask(form: Context) -> tuple[float, float]:
        asked.append(form.text or "")
        return shares[asked[-1]]

    first, other, sure = (Context(text=name) for name in shares)
    found = await in_turn(ask, [first, other])
    assert found[1] > found[0]
    assert sum(found) == pytest.approx(1.0)
    assert found[0] / found[1] == pytest.approx(math.sqrt(0.6 * 0.1 / (0.4 * 0.9)))
    assert await in_turn(ask, [sure, other]) == pytest.approx((0.97, 0.03))
    assert asked == ["first", "other", "sure"]
