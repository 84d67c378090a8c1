"""Verifiers that ask a model or a person: consistency, judge, human."""

from __future__ import annotations

import pytest

from llmos.agents import jobs
from llmos.agents.calibration import Calibration, Fitted
from llmos.agents.verifiers import consistent, human, judge
from llmos.agents.verifiers.agreement import first_word, last_number, normalized
from llmos.agents.verifiers.judging import combined, questions
from llmos.engine.scripted import ScriptedEngine
from llmos.errors import BadArguments, BudgetExceeded
from llmos.kernel.budget import Budget
from llmos.kernel.process import Process
from llmos.messages import Microcode, Score
from tests.agents.verifiers.conftest import Place


def test_answers_are_compared_without_what_does_not_matter() -> None:
    assert normalized("The Answer: 1,840.50!") == normalized("answer 1840.5")
    assert normalized("Paris.") != normalized("Rome.")
    assert last_number("of 3 the total is 1,200.0 euros") == "1200"
    assert last_number("none") == ""
    assert first_word("Yes, it does") == "yes"


async def test_forks_that_mostly_agree_with_the_value_pass_it(place: Place) -> None:
    place.engine = ScriptedEngine(["Rome", "rome.", "Milan"])
    verdict = await place.check(lambda process: consistent(*[process] * 3, question="Which city?"), "ROME")
    assert verdict.passed
    assert verdict.confidence == pytest.approx(3 / 5)
    assert verdict.reasons == ("2 of 3 who answered it anew agree.",)


async def test_forks_that_agree_on_something_else_fail_it_and_say_on_what(place: Place) -> None:
    place.engine = ScriptedEngine(["Rome", "Rome", "Milan"])
    verdict = await place.check(lambda process: consistent(*[process] * 3, question="Which city?"), "Turin")
    assert verdict.outcome == "fail"
    assert verdict.reasons == ("0 of 3 who answered it anew agree; 2 say: rome.",)


async def test_forks_that_do_not_agree_at_all_can_not_tell(place: Place) -> None:
    place.engine = ScriptedEngine(["Rome", "Turin", "Milan"])
    verdict = await place.check(lambda process: consistent(*[process] * 3, question="Which city?"), "Naples")
    assert verdict.outcome == "unsure"


async def test_empty_answers_agree_on_nothing(place: Place) -> None:
    place.engine = ScriptedEngine(["...", "!", "?"])
    verdict = await place.check(lambda process: consistent(*[process] * 3, question="Which city?"), "-")
    assert verdict.outcome == "unsure"


async def test_forks_leave_no_trace_in_the_context_they_come_from(place: Place) -> None:
    place.engine = ScriptedEngine("Rome")

    async def agent(process: Process, _: str) -> list[int]:
        await consistent(process, question="Which city?")("Rome")
        return [len(process.context.messages)]

    assert await place.start(agent) == [0]
    with pytest.raises(BadArguments):
        consistent(question="Which city?")


def likes(first: float, second: float) -> ScriptedEngine:
    """A judge that gives yes this log-odds in the first and second order."""

    def scores(request: Score) -> list[float]:
        odds = first if request.choices[0] == "Yes" else second
        return [odds if choice == "Yes" else 0.0 for choice in request.choices]

    return ScriptedEngine("x", scores=scores)


async def test_a_judge_passes_or_fails_what_it_is_sure_of_in_both_orders(place: Place) -> None:
    place.engine = likes(4.0, 3.0)
    verdict = await place.check(lambda process: judge(process, "It names a city."), "Rome")
    assert verdict.passed
    assert verdict.confidence == pytest.approx(0.9707, abs=1e-3)
    place.engine = likes(-4.0, -3.0)
    assert (await place.check(lambda process: judge(process, "It names a city."), "Rome")).outcome == "fail"


async def test_a_judge_that_only_likes_what_stands_first_cannot_tell(place: Place) -> None:
    place.engine = likes(5.0, -5.0)
    verdict = await place.check(lambda process: judge(process, "It names a city."), "Rome")
    assert verdict.outcome == "unsure"
    assert verdict.confidence == pytest.approx(0.5)


async def test_an_uncalibrated_judge_says_so_and_a_calibrated_one_is_less_sure(place: Place) -> None:
    place.engine = likes(4.0, 4.0)
    verdict = await place.check(lambda process: judge(process, "It is good."), "x")
    assert "not calibrated" in verdict.reasons[0]
    cool = Calibration("m", {"judge": Fitted(temperature=8.0)})
    verdict = await place.check(lambda process: judge(process, "It is good.", calibration=cool), "x")
    assert verdict.outcome == "unsure"
    assert verdict.confidence == pytest.approx(0.6225, abs=1e-3)


@pytest.mark.parametrize(
    ("liked", "odds", "outcome", "reason"),
    [
        ("pass", 4.0, "pass", "Holds: It names a city."),
        ("fail: missing part", 4.0, "fail", "Does not hold: It names a city. (missing part)"),
        ("can't tell", 4.0, "unsure", "can't tell"),
        ("pass", 0.5, "unsure", "can't tell"),
    ],
)
async def test_a_judge_with_microcode_is_asked_once_and_says_what_is_wrong(
    place: Place, liked: str, odds: float, outcome: str, reason: str
) -> None:
    def scores(request: Score) -> list[float]:
        return [odds if choice == liked else 0.0 for choice in request.choices]

    code = Microcode(name="kernel", prompts=jobs.fingerprint())
    place.engine = engine = ScriptedEngine("x", scores=scores, microcode=code)
    verdict = await place.check(lambda process: judge(process, "It names a city."), "Rome")
    assert verdict.outcome == outcome
    assert reason in verdict.reasons[0]
    assert [one.context for one in engine.score_requests] == [jobs.verdict("It names a city.", "Rome")]


async def test_an_engine_that_can_not_score_must_write_the_same_in_both_orders(place: Place) -> None:
    place.engine = ScriptedEngine(["Yes", "Yes", "Yes", "No"], capabilities=frozenset())
    verdict = await place.check(lambda process: judge(process, "It is good."), "x")
    assert (verdict.outcome, verdict.confidence) == ("pass", None)
    assert (await place.check(lambda process: judge(process, "It is good."), "x")).outcome == "unsure"


def test_text_that_looks_like_a_hole_of_the_prompt_stays_text() -> None:
    first, second = questions("ignore {criterion} {first}", "It is {work}.")
    assert first.ask.startswith("ignore {criterion} {first}")
    assert "It is {work}." in first.ask
    assert first.choices == second.choices[::-1]
    assert first.ask != second.ask


def test_both_orders_count_the_same() -> None:
    assert combined([(0.9, 0.1), (0.1, 0.9)]) == pytest.approx((0.5, 0.5))
    assert combined([(1.0, 0.0), (1.0, 0.0)])[0] <= 1.0


@pytest.mark.parametrize(
    ("said", "outcome"), [("yes", "pass"), ("No", "fail"), ("the date is missing", "fail"), ("", "unsure")]
)
async def test_the_user_decides_and_other_words_are_the_reason(place: Place, said: str, outcome: str) -> None:
    place.person.answers = [said]
    verdict = await place.check(lambda process: human(process, "Is it fine?"), "a letter")
    assert verdict.outcome == outcome
    assert "a letter" in place.person.asked[0]
    assert "Is it fine?" in place.person.asked[0]
    if said == "the date is missing":
        assert verdict.reasons == ("The user says: the date is missing",)


async def test_where_nobody_is_there_it_is_not_verified(place: Place) -> None:
    assert (await place.check(human, "a letter")).outcome == "unsure"


async def test_the_end_of_a_budget_is_no_verdict(place: Place) -> None:
    place.engine = ScriptedEngine("Rome")

    async def agent(process: Process, _: str) -> str:
        child = await process.spawn(asking, budget=Budget(tokens=1))
        try:
            await process.wait(child)
        except BudgetExceeded:
            return "budget"
        return "none"

    async def asking(process: Process) -> str:
        return (await consistent(process, question="Which city is it, then?")("Rome")).outcome

    assert await place.start(agent) == "budget"
