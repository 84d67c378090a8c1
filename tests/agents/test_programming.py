"""Programs that the assistant writes: when it does, which draft wins, and what is said where none works."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from llmos.agents import jobs
from llmos.agents.programming import DRAFTS, Written, asks, fits
from llmos.engine.scripted import Reply, ScriptedEngine
from llmos.messages import Microcode
from tests.agents.conftest import MakeDesk

CODE = Microcode(name="kernel", prompts=jobs.fingerprint())
WANTED = "Write a small Python script that adds up the numbers from 1 to 4, and run it."


def drafts(*texts: str, sure: float = 0.2, code: Microcode | None = CODE) -> ScriptedEngine:
    replies: Sequence[Reply] = [Reply(text, logprob=math.log(sure)) for text in texts]
    return ScriptedEngine(replies, microcode=code)


@pytest.mark.parametrize(
    "words",
    [
        WANTED,
        "Write about ten lines of Python that count down from ten.",
        "use python to list all cubes under 500",
        "How old is the oldest? Solve it with a Python script that you write.",
        "I need a program that prints the days of March",
        'python: reverse the word "lamp", in a short script',
    ],
)
def test_a_program_is_asked_for(words: str) -> None:
    assert asks(words)


@pytest.mark.parametrize(
    "words",
    [
        "what is Python?",
        "how do I write a Python script?",
        "run print(3 * 4) in python",
        "run the script report.py",
        "start my script",
        "write a poem about a python",
        "Write a function is_even(n) with tests: is_even(2) == True",
        "write a shell script that lists files",
        "make a program for the wedding",
        'translate "write a python script" into French',
        "",
    ],
)
def test_no_program_is_asked_for(words: str) -> None:
    assert not asks(words)


async def test_a_draft_that_is_sure_is_run_and_shown(make_desk: MakeDesk) -> None:
    model = drafts("print(sum(range(1, 5)))", sure=0.99)
    desk = await make_desk(model)
    assert await desk.ask(WANTED) == "```python\nprint(sum(range(1, 5)))\n```\nIt prints:\n\n10"
    assert len(model.requests) == 1
    assert model.requests[0].context.messages == jobs.program(WANTED).messages
    assert [call.title.partition("(")[0] for call in desk.calls] == ["compute"]


async def test_what_most_drafts_print_wins(make_desk: MakeDesk) -> None:
    six = ("print(9)", "print(sum([1, 2, 3, 4]))", "print(1 / 0)", "no program", "print(10)", "print(5 + 5)")
    model = drafts(*six, *six)
    desk = await make_desk(model)
    answer = await desk.ask(WANTED)
    assert "print(sum([1, 2, 3, 4]))" in answer
    assert answer.endswith("\n\n10\n\n(I am not sure of this: 6 of 12 drafts gave it.)")
    assert len(model.requests) == DRAFTS


@pytest.mark.parametrize(
    ("words", "output", "right"),
    [
        ("add up the odd numbers", "25", True),
        ("add up the odd numbers", "1\n3", False),
        ("count the words of a line", "4", True),
        ("all odd numbers below 5", "[1, 3]", True),
        ("all odd numbers below 5", "2", False),
        ("which months have 30 days", "4\n6\n9\n11", True),
        ("print a tree", "*\n**", True),
    ],
)
def test_an_output_is_of_the_kind_that_is_asked_for(words: str, output: str, right: bool) -> None:
    assert fits(words, output) is right


async def test_a_draft_is_not_sure_without_microcode(make_desk: MakeDesk) -> None:
    model = drafts(*["```python\nprint(10)\n```"] * DRAFTS, sure=0.99, code=None)
    desk = await make_desk(model)
    assert await desk.ask(WANTED) == "```python\nprint(10)\n```\nIt prints:\n\n10"
    assert len(desk.calls) == 1


async def test_where_no_draft_works_the_reason_is_said(make_desk: MakeDesk) -> None:
    desk = await make_desk(drafts(*["print(1 / 0)"] * DRAFTS))
    answer = await desk.ask(WANTED)
    assert answer.startswith("I could not write a program that works.")
    assert "ZeroDivisionError" in answer


async def test_a_draft_can_change_nothing(make_desk: MakeDesk) -> None:
    desk = await make_desk(drafts(*["open('a.txt', 'w').write('x'); print(1)"] * DRAFTS, sure=0.99))
    answer = await desk.ask(WANTED)
    assert answer.startswith("I could not write a program that works.")
    assert (desk.workspace / "a.txt").read_text() == "alpha\n"


def test_a_doubt_is_told() -> None:
    assert "not sure" not in Written("print(1)", "1", 4, 6).shown()
    assert "3 of 6" in Written("print(1)", "1", 3, 6).shown()
