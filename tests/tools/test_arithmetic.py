"""Arithmetic on what people write is exact, and nothing that they write takes long."""

from __future__ import annotations

import contextlib
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.tools.arithmetic import ArithmeticProblem, evaluate
from llmos.tools.builtin.calculator import calculator, written
from tests.tools.helpers import Place


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("2(3 + 4)", "14"),
        ("10 / 4", "2.5"),
        ("7 // 2", "3"),
        ("17 % 5", "2"),
        ("17 mod 5", "2"),
        ("-2^2", "-4"),
        ("(-2)**2", "4"),
        ("2^3^2", "512"),
        ("2^-2", "0.25"),
        ("5 - -3", "8"),
        ("0.1 + 0.2", "0.3"),
        ("1/3 + 1/6", "0.5"),
        ("1/3", "0.333333333333 (exactly 1/3)"),
        ("1.5e3", "1500"),
        (".5 * 4.", "2"),
        ("10!", "3628800 (3,628,800)"),
        ("\N{MINUS SIGN}5 × 3 ÷ 2", "-7.5"),
        ("1,234,567.5 * 2", "2469135 (2,469,135)"),
        ("$1,250 + $99.99", "1349.99"),
    ],
)
def test_signs(expression: str, result: str) -> None:
    assert written(evaluate(expression)) == result


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("15% of 240", "36"),
        ("15 percent of 240", "36"),
        ("7.5% * 1,200 - 3", "87"),
        ("80 minus 15%", "68"),
        ("80 + 25%", "100"),
        ("20% off 50", "40"),
        ("10% + 5%", "15%"),
        ("5/8 as %", "62.5%"),
        ("50% (20)", "10"),
        ("200 * 10% + 5", "25"),
        ("(10%) + 1", "1.1"),
    ],
)
def test_percentages(expression: str, result: str) -> None:
    assert written(evaluate(expression)) == result


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("what is 6 times 7?", "42"),
        ("how much is 100 divided by 8", "12.5"),
        ("calculate 3 multiplied by 4 plus 1 =", "13"),
        ("three hundred forty five times two", "690"),
        ("two thirds of 90", "60"),
        ("half of 7", "3.5"),
        ("twice 12", "24"),
        ("2.5 million / 4", "625000"),
        ("four dozen", "48"),
        ("square root of 144", "12"),
        ("the cube root of 27", "3"),
        ("√16 + 1", "5"),
        ("3 squared plus 4 squared", "25"),
        ("2 to the power of 10", "1024"),
        ("the average of 3, 5 and 10", "6"),
        ("the sum of 1, 2 and 3", "6"),
        ("the difference between 4 and 10", "6"),
        ("max(3, 9, 4)", "9"),
        ("round(2.5) + abs(-1)", "4"),
        ("2 pi", "6.28318530718"),
        ("log(1000) + ln(1)", "3"),
    ],
)
def test_words(expression: str, result: str) -> None:
    assert written(evaluate(expression)) == result


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("5 km in miles", "3.10685596119 miles"),
        ("1 mile in km", "1.609344 kilometers"),
        ("72 F to C", "22.2222222222 °C"),
        ("20 degrees celsius in fahrenheit", "68 °F"),
        ("3 hours 20 minutes in minutes", "200 minutes"),
        ("5 ft 3 in in cm", "160.02 centimeters"),
        ("5 in to cm", "12.7 centimeters"),
        ("90 km/h in m/s", "25 meters/second"),
        ("10 m * 3 m", "30 meter²"),
        ("2 m^2 in cm^2", "20000 centimeter²"),
        ("1 km + 300 m", "1.3 kilometers"),
        ("1 day / 8 hours", "3"),
        ("12% of 50 kg", "6 kilograms"),
        ("the average of 1 kg and 500 g", "0.75 kilograms"),
    ],
)
def test_units(expression: str, result: str) -> None:
    assert written(evaluate(expression)) == result


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("", "nothing to calculate"),
        ("1 / 0", "division by zero"),
        ("0 ^ -1", "division by zero"),
        ("5 mod 0", "division by zero"),
        ("1 +", "ends too early"),
        ("12 5", "'5' is not expected"),
        ("(1 + 2", "not closed"),
        ("1 + 2)", "not expected"),
        ("1,84", "not expected"),
        ("foo + 1", "'foo' is not understood"),
        ("__import__('os').system('x')", "not understood"),
        ("sqrt(-1)", "no such root"),
        ("ln(0)", "no such value"),
        ("1 kg + 1 m", "can't be converted"),
        ("1 kg + 1", "can't be added"),
        ("5 in km", "without a unit"),
        ("5 km in 3 miles", "a unit is expected"),
        ("1.5!", "whole number"),
    ],
)
def test_what_can_not_be_worked_out_is_said(expression: str, said: str) -> None:
    with pytest.raises(ArithmeticProblem, match=said):
        evaluate(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "9**9**9",
        "9^9^9^9",
        "(9^999)^999",
        "1000000!",
        "1000!!",
        "1e9999 * 1e9999",
        "2^0.5^99999999",
        "9" * 400 + "^9",
        "1e1000^1e1000",
        "exp(99999999)",
        "exp(exp(exp(9)))",
        "0.0000001^99999.5",
        "(((" * 100,
        "-" * 399 + "1",
        "2^" * 199 + "2",
        "sqrt " * 79 + "2",
        "1" * 5000,
        "m^99999 * 1",
        "7 km^(99999999)",
        "sum of " + "1 and " * 60 + "1",
    ],
)
def test_nothing_takes_long(expression: str) -> None:
    started = time.perf_counter()
    with contextlib.suppress(ArithmeticProblem):
        written(evaluate(expression))
    assert time.perf_counter() - started < 3


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="0123456789.,+-*/^%()! ²√eEkmincafto°ofandhlg", max_size=40))
def test_any_text_gives_a_value_or_says_why_not(text: str) -> None:
    with contextlib.suppress(ArithmeticProblem):
        assert written(evaluate(text))


NUMBERS = st.integers(-10_000, 10_000)


@settings(max_examples=200, deadline=None)
@given(NUMBERS, NUMBERS, st.integers(1, 1000), st.sampled_from("+-*"), st.sampled_from("+-*/"))
def test_it_agrees_with_exact_fractions(a: int, b: int, c: int, first: str, second: str) -> None:
    expected = eval(f"Fraction({a}) {first} Fraction({b}) {second} Fraction({c})", {"Fraction": Fraction})
    assert evaluate(f"({a}) {first} ({b}) {second} {c}").number == expected


async def test_the_tool_gives_text_and_number_or_says_what_to_change(place: Place) -> None:
    result = await calculator.call({"expression": "12% of 1,250"}, place.access())
    assert (result.text, result.value, result.label) == ("150", 150, "user")
    result = await calculator.call({"expression": "1 +"}, place.access())
    assert (result.retry, result.text) == (True, "'1 +' can't be calculated: the expression ends too early.")
    assert (await calculator.call({"expression": "1/8"}, place.access())).value == 0.125
    assert (await calculator.call({"expression": "99!"}, place.access())).value == str(evaluate("99!").number)
