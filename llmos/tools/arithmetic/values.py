"""Exact numbers with units, and what can be done with them; every result is bounded.

Knows no expressions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Context, Decimal, InvalidOperation, Overflow, localcontext
from fractions import Fraction
from functools import partial
from typing import Any

from llmos.tools import units

MAX_BITS = 12_000
"""Of a numerator or denominator: 3,600 digits."""

_PRECISION = Context(prec=50, Emax=10_000, Emin=-10_000, traps=[InvalidOperation, Overflow])


class ArithmeticProblem(ValueError):
    """An expression can't be read or worked out; the message says where."""


@dataclass(frozen=True, slots=True)
class Value:
    """A number, whether it is exact, and its unit. `percent`: it was written as a percentage and not yet used."""

    number: Fraction
    exact: bool = True
    unit: Any = None
    percent: bool = False


def bounded(number: Fraction) -> Fraction:
    """A number that is not too large.

    Raises:
        ArithmeticProblem: It has none, or is too large.
    """
    if number.numerator.bit_length() > MAX_BITS or number.denominator.bit_length() > MAX_BITS:
        raise ArithmeticProblem("the number is too large")
    return number


def convert(number: Fraction, source: Any, target: Any) -> Fraction:  # noqa: ANN401 - pint units
    """A number of one unit in another.

    Raises:
        ArithmeticProblem: It has none, or is too large.
    """
    try:
        return units.convert(number, source, target)
    except ValueError as error:
        raise ArithmeticProblem(str(error)) from error


def add(left: Value, right: Value) -> Value:
    """The sum, in the unit of the first.

    Raises:
        ArithmeticProblem: It has none, or is too large.
    """
    if (left.unit is None) != (right.unit is None):
        raise ArithmeticProblem("a number with a unit and one without can't be added")
    number = right.number
    if left.unit is not None and left.unit != right.unit:
        number = convert(number, right.unit, left.unit)
    percent = left.percent and right.percent
    return Value(bounded(left.number + number), left.exact and right.exact, left.unit, percent)


def multiply(left: Value, right: Value) -> Value:
    """The product, with the product of the units.

    Raises:
        ArithmeticProblem: It has none, or is too large.
    """
    unit = left.unit if right.unit is None else right.unit if left.unit is None else left.unit * right.unit
    return Value(bounded(left.number * right.number), left.exact and right.exact, unit)


def divide(left: Value, right: Value) -> Value:
    """The quotient; things of one kind give a plain number.

    Raises:
        ArithmeticProblem: It has none, or is too large.
    """
    if right.number == 0:
        raise ArithmeticProblem("division by zero")
    unit, number = left.unit, left.number / right.number
    if right.unit is not None:
        if left.unit is not None and left.unit.is_compatible_with(right.unit):
            number = convert(left.number, left.unit, right.unit) / right.number
            unit = None
        else:
            unit = 1 / right.unit if left.unit is None else left.unit / right.unit
            unit = getattr(unit, "units", unit)
    return Value(bounded(number), left.exact and right.exact, unit)


def modulo(left: Value, right: Value) -> Value:
    """The rest of a division.

    Raises:
        ArithmeticProblem: It has none, or is too large.
    """
    if left.unit is not None or right.unit is not None:
        raise ArithmeticProblem("the rest of a division needs numbers without units")
    if right.number == 0:
        raise ArithmeticProblem("division by zero")
    return Value(left.number % right.number, left.exact and right.exact)


def floor(left: Value, right: Value) -> Value:
    """The quotient, rounded down.

    Raises:
        ArithmeticProblem: It has none, or is too large.
    """
    quotient = divide(left, right)
    return replace(quotient, number=Fraction(math.floor(quotient.number)))


def power(base: Value, exponent: Value) -> Value:
    """A power; exact where the exponent is whole, or a root comes out even.

    Raises:
        ArithmeticProblem: It has none, or is too large.
    """
    if exponent.unit is not None:
        raise ArithmeticProblem("an exponent has no unit")
    if exponent.number.denominator == 1:
        power = exponent.number.numerator
        bits = max(base.number.numerator.bit_length(), base.number.denominator.bit_length())
        if abs(power) > MAX_BITS or bits * abs(power) > MAX_BITS + bits:
            raise ArithmeticProblem("the number is too large")
        if power < 0 and base.number == 0:
            raise ArithmeticProblem("division by zero")
        unit = base.unit**power if base.unit is not None and power else None
        return Value(bounded(base.number**power), base.exact and exponent.exact, unit)
    if base.unit is not None:
        raise ArithmeticProblem("a number with a unit can only be raised to a whole power")
    if base.number < 0:
        raise ArithmeticProblem("a negative number has no such root")
    return _root(base, exponent) or _approximate(_raised, base, exponent)


def _raised(base: Decimal, exponent: Decimal) -> Decimal:
    return base**exponent if base else base


def _root(base: Value, exponent: Value) -> Value | None:
    """The exact root of a perfect square, cube and so on; None where there is none."""
    degree = exponent.number.denominator
    if degree > 64 or not base.exact or not exponent.exact:
        return None
    parts = [_integer_root(part, degree) for part in (base.number.numerator, base.number.denominator)]
    if parts[0] is None or not parts[1]:
        return None
    return power(Value(Fraction(parts[0], parts[1])), Value(Fraction(exponent.number.numerator)))


def _integer_root(number: int, degree: int) -> int | None:
    if degree == 2:
        root = math.isqrt(number)
        return root if root * root == number else None
    low, high = 0, 1 << (number.bit_length() // degree + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**degree <= number else (low, middle - 1)
    return low if low**degree == number else None


def _decimal(number: Fraction) -> Decimal:
    return _PRECISION.divide(Decimal(number.numerator), Decimal(number.denominator))


def _approximate(function: Callable[..., Decimal], *values: Value) -> Value:
    try:
        with localcontext(_PRECISION):
            result = function(*(_decimal(value.number) for value in values))
    except (InvalidOperation, Overflow) as error:
        raise ArithmeticProblem("the number is too large or has no such value") from error
    if not result.is_finite():
        raise ArithmeticProblem("there is no such value")
    if abs(result.adjusted()) > 3_000:
        raise ArithmeticProblem("the number is too large")
    return Value(bounded(Fraction(result)), exact=False)


def _float(function: Callable[[float], float]) -> Callable[[Value], Value]:
    def work(value: Value) -> Value:
        try:
            result = function(float(value.number))
        except (ValueError, OverflowError) as error:
            raise ArithmeticProblem("the number is too large or has no such value") from error
        return Value(Fraction(round(result, 15)), exact=False)

    return work


def _sqrt(value: Value) -> Value:
    return power(value, Value(Fraction(1, 2)))


def whole(value: Value, what: str) -> int:
    """A whole number.

    Raises:
        ArithmeticProblem: It has none, or is too large.
    """
    if value.number.denominator != 1 or value.unit is not None:
        raise ArithmeticProblem(f"{what} must be a whole number")
    return value.number.numerator


def factorial(value: Value) -> Value:
    """The product of all numbers up to one.

    Raises:
        ArithmeticProblem: It has none, or is too large.
    """
    number = whole(value, "what stands before '!'")
    if not 0 <= number <= 1000:
        raise ArithmeticProblem("a factorial goes from 0 to 1000")
    return Value(bounded(Fraction(math.factorial(number))))


def _absolute(value: Value) -> Value:
    return replace(value, number=abs(value.number))


def _cbrt(value: Value) -> Value:
    return power(value, Value(Fraction(1, 3)))


def _down(value: Value) -> Value:
    return Value(Fraction(math.floor(value.number)), value.exact)


def _up(value: Value) -> Value:
    return Value(Fraction(math.ceil(value.number)), value.exact)


def _rounded(value: Value) -> Value:
    half = Fraction(1, 2)
    number = math.floor(abs(value.number) + half)
    return Value(Fraction(number if value.number >= 0 else -number), value.exact)


def _total(values: list[Value]) -> Value:
    total = values[0]
    for value in values[1:]:
        total = add(total, value)
    return total


def _product_of(values: list[Value]) -> Value:
    product = values[0]
    for value in values[1:]:
        product = multiply(product, value)
    return product


def _mean(values: list[Value]) -> Value:
    return divide(_total(values), Value(Fraction(len(values))))


def _greatest(values: list[Value], *, least: bool = False) -> Value:
    """The greatest of some numbers, in the unit of the first."""
    best = values[0]
    for value in values[1:]:
        above = add(value, replace(best, number=-best.number)).number > 0
        best = value if above != least else best
    return best if best.unit is None else add(replace(values[0], number=Fraction(0)), best)


def _difference(values: list[Value]) -> Value:
    if len(values) != 2:
        raise ArithmeticProblem("a difference is between two numbers")
    result = add(values[0], replace(values[1], number=-values[1].number))
    return replace(result, number=abs(result.number))


BINARY = {"*": multiply, "of": multiply, "/": divide, "//": floor, "mod": modulo}
FUNCTIONS: dict[str, Callable[[Value], Value]] = {
    "sqrt": _sqrt,
    "cbrt": _cbrt,
    "abs": _absolute,
    "round": _rounded,
    "floor": _down,
    "ceil": _up,
    "ln": partial(_approximate, Decimal.ln),
    "log": partial(_approximate, Decimal.log10),
    "exp": partial(_approximate, Decimal.exp),
    "sin": _float(math.sin),
    "cos": _float(math.cos),
    "tan": _float(math.tan),
}
LISTS: dict[str, Callable[[list[Value]], Value]] = {
    "sum": _total,
    "total": _total,
    "product": _product_of,
    "average": _mean,
    "mean": _mean,
    "max": _greatest,
    "maximum": _greatest,
    "min": partial(_greatest, least=True),
    "minimum": partial(_greatest, least=True),
    "difference": _difference,
}
