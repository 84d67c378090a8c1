"""The calculator tool: exact arithmetic on what people write, with percentages and units.

How it is worked out is in `llmos.tools.arithmetic`.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated

from annotated_types import MaxLen, MinLen

from llmos.tools import units
from llmos.tools.arithmetic import MAX_LENGTH, ArithmeticProblem, Value, evaluate
from llmos.tools.output import Output
from llmos.tools.tool import Retry, tool

DIGITS = 12
"""Significant digits shown of a number that has no end."""


@tool(
    effect="pure",
    returns="user",
    seconds=5,
    examples=(
        ("what is 15% of 240?", {"expression": "15% of 240"}),
        ("how many miles are 42 km?", {"expression": "42 km in miles"}),
    ),
)
def calculator(
    expression: Annotated[
        str, "what to work out, as 15% of 240, (3 + 4) * 2.5 or 42 km in miles", MinLen(1), MaxLen(MAX_LENGTH)
    ],
) -> Output:
    """Calculate: plus, minus, times, divided, percent, powers, roots, averages, and convert units."""
    try:
        value = evaluate(expression)
    except ArithmeticProblem as error:
        raise Retry(f"{expression!r} can't be calculated: {error}.") from error
    return Output(written(value), _plain(value))


def written(value: Value) -> str:
    """A value for people: all digits where they end soon, and the exact fraction where they don't."""
    number = value.number * 100 if value.percent else value.number
    text, exact = _digits(number)
    if value.unit is not None:
        return f"{text} {units.label(value.unit, one=number == 1)}".strip()
    if value.percent:
        return f"{text}%"
    if exact and number.denominator == 1 and 10**6 <= abs(number) < 10**15:
        return f"{text} ({number.numerator:,})"
    if not exact and value.exact and number.denominator < 10**6 and len(str(number)) <= 100:
        return f"{text} (exactly {number})"
    return text


def _digits(number: Fraction) -> tuple[str, bool]:
    """A number in decimal digits, and whether these are all of it."""
    if number.denominator == 1:
        text = str(number.numerator)
        return (text, True) if len(text) <= 60 else (_scientific(number), False)
    places = _places(number.denominator)
    if places is not None and places <= DIGITS and abs(number) < 10**15:
        return _fixed(number, places), True
    if not Fraction(1, 10**6) <= abs(number) < 10**15:
        return _scientific(number), False
    whole = abs(number.numerator) // number.denominator
    places = max(2, DIGITS - (len(str(whole)) if whole else 0))
    return _fixed(number, places).rstrip("0").rstrip("."), False


def _places(denominator: int) -> int | None:
    """Decimal places of a fraction that ends; None if it does not."""
    twos = fives = 0
    while denominator % 2 == 0:
        denominator, twos = denominator // 2, twos + 1
    while denominator % 5 == 0:
        denominator, fives = denominator // 5, fives + 1
    return max(twos, fives) if denominator == 1 else None


def _fixed(number: Fraction, places: int) -> str:
    scaled = round(abs(number) * 10**places)
    whole, rest = divmod(scaled, 10**places)
    return f"{'-' if number < 0 and scaled else ''}{whole}" + (f".{rest:0{places}}" if places else "")


def _scientific(number: Fraction) -> str:
    exponent = len(str(abs(number.numerator))) - len(str(number.denominator))
    if abs(number) < Fraction(10) ** exponent:
        exponent -= 1
    if round(abs(number) / Fraction(10) ** exponent, DIGITS - 1) >= 10:
        exponent += 1
    mantissa = _fixed(number / Fraction(10) ** exponent, DIGITS - 1).rstrip("0").rstrip(".")
    return f"{mantissa}e{exponent:+d}"


def _plain(value: Value) -> int | float | str:
    """The number as JSON data; as digits where it is too large for a number."""
    number = value.number
    if number.denominator == 1:
        return number.numerator if abs(number) < 10**30 else str(number.numerator)
    try:
        return float(number)
    except OverflowError:
        return written(value)
