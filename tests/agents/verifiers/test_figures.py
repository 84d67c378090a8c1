"""Recomputation: equations, code with what it prints, and figures that must appear."""

from __future__ import annotations

import time

import pytest

from llmos.agents.report import Report
from llmos.agents.verifiers import recomputed
from llmos.agents.verifiers.figures import Equation, agrees, appears, equations
from tests.agents.verifiers.conftest import Place


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("So 12 * 3 = 36.", [("12 * 3", "36")]),
        ("12.5% of 1,840 = 230, and 230 + 17 = 247", [("12.5% of 1,840", "230"), ("230 + 17", "247")]),
        ("The sum of 5 + 3 is 8.", [("5 + 3", "8")]),
        ("7 times 8 makes 56 and 10 divided by 4 equals 2.5", [("7 * 8", "56"), ("10 / 4", "2.5")]),
        ("2 + 3 = 5 = 10 / 2", [("2 + 3", "5")]),
        ("(2 + 3) * 4 = 20", [("(2 + 3) * 4", "20")]),
        ("(as 2 + 2 = 4)", [("2 + 2", "4")]),
        ("3 x 4 = 12", [("3 * 4", "12")]),
        ("$4.50 + $1.50 = $6.00", [("$4.50 + $1.50", "6.00")]),
        ("5 \u2212 8 = \u22123", [("5 - 8", "-3")]),
        ("25 / 200 = 12.5%", [("25 / 200", "12.5")]),
        ("x = 5, y - 2 * 3 = 4, f(2) + 3 = 9, a == 3 + 1", []),
        ("Pages 3 - 4 are 7 cm wide on 2024-05-01.", []),
        ("There are 5 of them.", []),
    ],
)
def test_what_a_text_calculates_is_read_and_nothing_else(text: str, found: list[tuple[str, str]]) -> None:
    assert [(one.left, one.right) for one in equations(text)] == found


def test_a_stated_number_may_be_rounded_to_its_last_digit_and_no_further() -> None:
    third = 10 / 3
    assert agrees(Equation("10 / 3", "3.33"), third)
    assert not agrees(Equation("10 / 3", "3.34"), third)
    assert agrees(Equation("10 / 3", "3"), third)
    assert not agrees(Equation("2 + 2", "5"), 4)
    assert agrees(Equation("1 / 8", "12.5", percent=True), 0.125)


def test_figures_appear_with_separators_and_rounded() -> None:
    assert appears(1840, "It is 1,840 in all.")
    assert appears("1840.00", "It is 1,840 in all.")
    assert appears(3.14159, "about 3.14")
    assert not appears(184, "It is 1,840 in all.")


async def test_right_arithmetic_passes_and_wrong_is_corrected(place: Place) -> None:
    assert (await place.check(recomputed, "12.5% of 1,840 = 230, and 230 + 17 = 247.")).passed
    verdict = await place.check(recomputed, "12.5% of 1,840 = 230, and 230 + 17 = 257.")
    assert verdict.reasons == ("230 + 17 is 247, and not 257.",)


async def test_the_same_equation_is_worked_out_once(place: Place) -> None:
    await place.check(recomputed, "2 + 2 = 5", "2 + 2 = 5", "2 + 2 = 5", "2 + 2 = 4")
    assert len(place.calls("act")) == 1


async def test_a_text_without_figures_cannot_be_told_unless_that_is_allowed(place: Place) -> None:
    assert (await place.check(recomputed, "Rome.")).outcome == "unsure"
    assert (await place.check(lambda process: recomputed(process, needed=False), "Rome.")).passed


async def test_what_can_not_be_worked_out_is_said(place: Place) -> None:
    verdict = await place.check(recomputed, "1 / 0 = 3")
    assert verdict.outcome == "unsure"
    assert verdict.reasons == ("1 / 0 can't be worked out.",)


async def test_code_is_run_and_must_print_what_is_said(place: Place) -> None:
    text = "```python\nprint(sum(range(10)))\n```\nIt prints {}."
    assert (await place.check(recomputed, text.format(45))).passed
    assert (await place.check(recomputed, text.format(46))).outcome == "fail"
    verdict = await place.check(recomputed, "```python\nboom\n```\nIt prints 1.")
    assert "NameError" in verdict.reasons[0]


async def test_given_figures_and_a_reports_value_must_be_in_the_text(place: Place) -> None:
    assert (await place.check(lambda process: recomputed(process, figures=(247,)), "It is 247.")).passed
    verdict = await place.check(lambda process: recomputed(process, figures=(247,)), "It is 250.")
    assert verdict.reasons == ("The figure 247 came out, and is not in the text.",)
    assert (await place.check(recomputed, Report(value=12, text="There are 13."))).outcome == "fail"


@pytest.mark.parametrize(
    "text", ["1" * 100_000 + "a = 3", "(" * 50_000 + "1 + 1 = 2", "1+" * 50_000 + "1 = 2", "=" * 99_999]
)
def test_hostile_text_is_read_in_reasonable_time(text: str) -> None:
    started = time.process_time()
    equations(text)
    assert time.process_time() - started < 20
