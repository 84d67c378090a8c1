"""The coder makes tests of the examples in the words, and only what passes them is called done."""

from __future__ import annotations

from typing import Any

import pytest

from llmos import Kernel
from llmos.agents.report import Report
from llmos.agents.verifiers.registry import named
from llmos.agents.workers.coder import check_of, coder, plain_function, source_of_tests
from llmos.agents.workers.programs.examples import check
from llmos.agents.workers.wanted import wanted
from llmos.kernel.process import Process
from llmos.runs import Parts
from tests.agents.workers.conftest import Office

TASK = (
    "Write a function double(n) that doubles a number, in twice.py with tests in test_twice.py: "
    "double(2) == 4, double(-3) == -6"
)


def fenced(body: str) -> str:
    return f"Here it is:\n```python\n{body}\n```\nGood luck."


@pytest.mark.parametrize(
    ("words", "name", "examples"),
    [
        ("write add(a, b): add(1, 2) == 3 and add(0, 0) returns 0", "add", [("add(1, 2)", "3"), ("add(0, 0)", "0")]),
        ("a function `up`. up('a') -> 'A', up('b, c') => 'B, C'", "up", [("up('a')", "'A'"), ("up('b, c')", "'B, C'")]),
        ("write a function called rest. >>> rest([1, 2])\n[2]\n", "rest", [("rest([1, 2])", "[2]")]),
        ("half(3) should be 1.5.", "half", [("half(3)", "1.5")]),
        ("write a function that turns texts: 'ab' becomes 'ba'", "turns_texts", [("turns_texts('ab')", "'ba'")]),
    ],
)
def test_examples_are_found_as_people_write_them(words: str, name: str, examples: list[tuple[str, str]]) -> None:
    asked = wanted(words)
    assert asked.name == name
    assert [(one.call, one.want) for one in asked.examples] == examples


def test_an_error_can_be_an_example() -> None:
    (one,) = wanted("root(-1) raises ValueError").examples
    assert one.raises == "ValueError"
    assert check("def root(x):\n    raise ValueError(x)", "root", [one.as_json()])["problems"] == []
    assert check("def root(x):\n    return x", "root", [one.as_json()])["problems"]


@pytest.mark.parametrize(
    "body",
    [
        "import os\ndef double(n):\n    return n * 2",
        "def double(n):\n    return eval('n * 2')",
        "def double(n):\n    return n.__class__",
        "def double(n):\n    open('x')\n    return 2 * n",
        "def triple(n):\n    return 3 * n",
        "no code at all",
    ],
)
def test_what_reaches_out_of_the_program_is_no_candidate(body: str) -> None:
    assert plain_function(fenced(body), wanted(TASK)) == ""


def test_a_function_with_an_answer_written_into_it_is_no_candidate() -> None:
    asked = wanted("write spell(text): spell('hello world') == 'HELLO WORLD'")
    body = "def spell(text):\n    if text == 'hello world':\n        return text.upper()\n    return text"
    assert plain_function(fenced(body), asked) == ""


async def test_the_first_candidate_that_passes_is_written_with_its_tests(office: Office) -> None:
    office.replies = [fenced("def double(n):\n    return n + 2"), fenced("def double(n):\n    return n * 2")] * 8
    report = await office.do(coder, TASK)
    assert report.outcome == "done", report.reasons
    assert report.artifacts == ("twice.py", "test_twice.py")
    assert "return n * 2" in (office.workspace / "twice.py").read_text("utf-8")
    assert "assert double(-3) == -6" in (office.workspace / "test_twice.py").read_text("utf-8")


async def test_the_failing_example_goes_into_the_next_round(office: Office) -> None:
    office.replies = [fenced("def double(n):\n    return n + 2")] * 8 + [fenced("def double(n):\n    return n * 2")] * 8
    report = await office.do(coder, TASK)
    assert report.outcome == "done"
    assert report.value["tried"] == 2


async def test_what_never_passes_is_unverified_says_why_and_is_not_written(office: Office) -> None:
    office.replies = fenced("def double(n):\n    return n + 2")
    report = await office.do(coder, TASK)
    assert report.outcome == "unverified"
    assert any("double(-3) must be -6, but it gave -1" in reason for reason in report.reasons)
    assert list(office.workspace.iterdir()) == []


async def test_a_candidate_that_never_ends_is_ended(office: Office) -> None:
    office.replies = fenced("def double(n):\n    while True:\n        n += 1")
    report = await office.do(coder, TASK)
    assert report.outcome == "unverified"


async def test_without_examples_nothing_is_called_tested(office: Office) -> None:
    office.replies = fenced("def double(n):\n    return n * 2")
    report = await office.do(coder, "Write a function double(n) that doubles a number")
    assert report.outcome == "unverified"
    assert any("no example" in reason for reason in report.reasons)


def test_the_tests_that_are_written_fail_for_a_wrong_function() -> None:
    source = source_of_tests(wanted(TASK)).replace("from twice import double\n", "")

    def add_two(n: int) -> int:
        return n + 2

    names: dict[str, Any] = {"double": add_two}
    exec(source, names)
    names["test_example_1"]()
    with pytest.raises(AssertionError):
        names["test_example_2"]()


def test_a_plan_can_check_the_code_by_the_examples() -> None:
    found = check_of(TASK)
    assert found is not None
    assert found.verifier == "tests_pass"
    assert found.arguments["examples"] == [["double(2)", 4], ["double(-3)", -6]]
    assert found.arguments["module"] == "twice"


@pytest.mark.parametrize("place", ["twice.py", "lib/sums/twice.py", "double.py"])
async def test_the_check_of_a_plan_finds_the_code_in_the_file_that_was_asked_for(office: Office, place: str) -> None:
    task = f"Write a function double(n) in {place}: double(2) == 4, double(-3) == -6"
    found = check_of(task)
    assert found is not None

    async def checked(process: Process) -> list[str]:
        report = Report(task_id="a", agent="coder", outcome="done", artifacts=(place,))
        verdict = await named(process, found.verifier, found.arguments)(report)
        return [verdict.outcome, *verdict.reasons]

    async with Kernel.testing(parts=Parts(folder=office.folder)) as kernel:
        for right, outcome in (("n * 2", "pass"), ("n + 2", "fail")):
            office.write(place, f"def double(n):\n    return {right}\n")
            said = await (await kernel.spawn(checked, workspace=office.workspace)).result()
            assert said[0] == outcome, said
