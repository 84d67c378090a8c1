"""Exact arithmetic on what people write: `12% of 1,840`, `3 times (4 + 5)`, `5 km in miles`.

A precedence parser over fractions; nothing is ever evaluated as code, and numbers, nesting and length are bounded.
Knows no tool.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

from llmos.tools import units
from llmos.tools.arithmetic.reading import MAX_LENGTH, Token, tokens
from llmos.tools.arithmetic.values import (
    BINARY,
    FUNCTIONS,
    LISTS,
    ArithmeticProblem,
    Value,
    add,
    bounded,
    convert,
    factorial,
    modulo,
    multiply,
    power,
    whole,
)

__all__ = ["MAX_LENGTH", "ArithmeticProblem", "Value", "evaluate"]

MAX_NESTING = 40
MAX_POWER = 20
_SCALES = ("hundred", "thousand", "million", "billion")


def evaluate(expression: str) -> Value:
    """Work out an expression.

    Raises:
        ArithmeticProblem: It can't be read, has no result, or is too large.
    """
    return _Parser(tokens(expression)).whole()


class _Parser:
    """Precedence climbing: `to` < `+ -` < `* / of mod` < sign < power < postfix."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._place = 0
        self._depth = 0

    def whole(self) -> Value:
        if not self._tokens:
            raise ArithmeticProblem("there is nothing to calculate")
        value = self._sum()
        while self._take("to"):
            value = self._converted(value)
        if self._place < len(self._tokens):
            raise ArithmeticProblem(f"{self._tokens[self._place].text!r} is not expected there")
        return value

    def _peek(self) -> str:
        return self._tokens[self._place].kind if self._place < len(self._tokens) else ""

    def _take(self, *kinds: str) -> Token | None:
        if self._peek() in kinds:
            self._place += 1
            return self._tokens[self._place - 1]
        return None

    def _sum(self) -> Value:
        value = self._product()
        while token := self._take("+", "-"):
            right = self._product()
            if right.percent and not value.percent:  # "80 minus 15%": of the 80
                right = replace(multiply(value, right), percent=False)
            value = add(value, right if token.kind == "+" else replace(right, number=-right.number))
        return value

    def _product(self) -> Value:
        value = self._signed()
        while True:
            if token := self._take("*", "/", "//", "of", "mod"):
                self._take("of")  # "twice of"
                value = BINARY[token.kind](value, self._signed())
            elif self._peek() == "%" and self._starts(self._place + 1):
                self._place += 1
                value = modulo(value, self._signed())
            elif self._peek() in ("unit", "spoken", "(", "function") or (
                self._peek() == "number" and self._measured_again(value)
            ):
                value = self._beside(value)
            else:
                return value

    def _measured_again(self, value: Value) -> bool:
        """Whether a number with a unit of the same kind follows: `3 hours 20 minutes`."""
        after = self._tokens[self._place + 1].kind if self._place + 1 < len(self._tokens) else ""
        return value.unit is not None and after == "unit"

    def _beside(self, value: Value) -> Value:
        """Two things without a sign between: `2 pi`, `3 hours 20 minutes`, `two thirds`, `five thousand`."""
        if self._peek() == "number":
            return add(value, self._signed())
        return multiply(value, self._signed())

    def _starts(self, place: int) -> bool:
        kind = self._tokens[place].kind if place < len(self._tokens) else ""
        return kind in ("number", "(", "function")

    def _signed(self) -> Value:
        if self._take("-"):
            self._nest()
            value = self._signed()
            self._depth -= 1
            return replace(value, number=-value.number)
        if self._take("+"):
            return self._signed() if self._peek() not in ("+", "-") else self._unexpected()
        return self._power()

    def _power(self) -> Value:
        value = self._postfix(self._atom())
        if self._take("^"):
            self._nest()
            value = power(value, self._signed())
            self._depth -= 1
        return value

    def _postfix(self, value: Value) -> Value:
        while True:
            if self._peek() == "%" and not self._starts(self._place + 1):
                self._place += 1
                value = Value(value.number / 100, value.exact, value.unit, percent=True)
            elif self._take("²"):
                value = power(value, Value(Fraction(2)))
            elif self._take("³"):
                value = power(value, Value(Fraction(3)))
            elif self._take("!"):
                value = factorial(value)
            elif value.unit is None and self._peek() == "unit":
                value = self._measured(value)
            else:
                return value

    def _measured(self, value: Value) -> Value:
        token = self._tokens[self._place]
        self._place += 1
        unit = self._unit(token.text)
        exponent = 2 if self._take("²") else 3 if self._take("³") else 1
        place = self._place
        if self._take("^"):
            if (power := self._take("number")) and power.value:
                exponent = whole(power.value, "a power of a unit")
                if exponent > MAX_POWER:
                    raise ArithmeticProblem("the power of a unit is too large")
            else:
                self._place = place
        return Value(value.number, value.exact, unit**exponent if exponent != 1 else unit)

    def _unit(self, name: str) -> Any:  # noqa: ANN401 - a pint unit
        """The unit of a name; C, F and K are temperatures where another temperature stands in the expression."""
        scales = {"c", "f", "k", "celsius", "fahrenheit", "kelvin", "degc", "degf"}
        others = [token.text.lower() for token in self._tokens if token.kind == "unit"]
        if name.lower() in ("c", "f", "k") and all(other in scales for other in others):
            return units.temperature(name)
        found = units.unit(name)
        if found is None:
            raise ArithmeticProblem(f"{name!r} is not understood")
        return found

    def _atom(self) -> Value:
        if token := self._take("number"):
            return self._scaled(token.value or self._unexpected())
        if token := self._take("spoken"):
            return self._spoken(token)
        if self._take("("):
            self._nest()
            value = self._sum()
            if not self._take(")"):
                raise ArithmeticProblem("a parenthesis is not closed")
            self._depth -= 1
            return replace(value, percent=False)
        if token := self._take("function", "√"):
            return self._function("sqrt" if token.kind == "√" else token.text)
        if self._peek() == "unit":
            return self._measured(Value(Fraction(1)))
        return self._unexpected()

    def _scaled(self, value: Value) -> Value:
        """A number and the words that scale it: `3 million`."""
        while self._peek() == "spoken" and self._tokens[self._place].text in (
            "hundred",
            "thousand",
            "million",
            "billion",
        ):
            value = multiply(value, self._tokens[self._place].value or value)
            self._place += 1
        return value

    def _spoken(self, first: Token) -> Value:
        """A number in words: `three hundred forty five`, `two thirds`."""
        total = Fraction(0)
        part = (first.value or self._unexpected()).number
        exact = first.value is not None and first.value.exact
        while self._peek() == "spoken":
            token = self._tokens[self._place]
            number = (token.value or self._unexpected()).number
            if number in (1000, 10**6, 10**9):
                total, part = total + part * number, Fraction(0)
            elif number == 100 or number < 1:
                part *= number
            elif part % 100 == 0 or (part % 10 == 0 and part % 100 >= 20 and number < 10):
                part += number
            else:
                break
            self._place += 1
        return Value(total + part, exact)

    def _function(self, name: str) -> Value:
        if name in LISTS:
            self._take("of")
            arguments = self._arguments()
            return LISTS[name](arguments)
        self._take("of")
        self._nest()
        value = self._atom() if self._peek() == "(" else self._signed()
        self._depth -= 1
        if value.unit is not None:
            raise ArithmeticProblem(f"{name} needs a number without a unit")
        return FUNCTIONS[name](value)

    def _arguments(self) -> list[Value]:
        self._nest()
        closed = self._take("(")
        values = [self._sum()]
        while self._take(","):
            self._take(",")
            values.append(self._sum())
        if closed and not self._take(")"):
            raise ArithmeticProblem("a parenthesis is not closed")
        self._depth -= 1
        return values

    def _converted(self, value: Value) -> Value:
        if self._take("%"):
            return Value(value.number, value.exact, value.unit, percent=True)
        target = self._product()
        if target.unit is None or target.number != 1:
            raise ArithmeticProblem("after 'in' a unit is expected")
        if value.unit is None:
            raise ArithmeticProblem(f"a number without a unit can't be given in {units.label(target.unit)}")
        return Value(bounded(convert(value.number, value.unit, target.unit)), value.exact, target.unit)

    def _nest(self) -> None:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise ArithmeticProblem("the expression is nested too deeply")

    def _unexpected(self) -> Value:
        if self._place < len(self._tokens):
            raise ArithmeticProblem(f"{self._tokens[self._place].text!r} is not expected there")
        raise ArithmeticProblem("the expression ends too early")
