"""Sums, conversions and counts with their results, and with what usual mistakes give.

Knows no wording.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

_TRIES = 50


@dataclass(frozen=True, slots=True)
class Found:
    """What an operation gave.

    Attributes:
        values: Its numbers, by the letters of the templates.
        result: What is right.
        calc: How it is got, if that can be written in a line.
        wrong: What a usual mistake gives.
    """

    values: Mapping[str, str]
    result: str
    calc: str = ""
    wrong: tuple[str, ...] = ()


def wrong(random: Random, found: Found) -> str:
    """Another result: a usual mistake's, or with a digit changed."""
    usual = [one for one in found.wrong if one != found.result]
    if usual and (random.random() < 0.5 or not any(sign.isdigit() for sign in found.result)):
        return random.choice(usual)
    return altered(random, found.result)


def altered(random: Random, text: str) -> str:
    """A text with numbers, with one digit of them changed, or two changed places."""
    places = [place for place, sign in enumerate(text) if sign.isdigit()]
    for _ in range(_TRIES):
        place = random.choice(places)
        digit = random.choice("0123456789")
        first = place == 0 or not (text[place - 1].isdigit() or text[place - 1] in ".,")
        if digit == text[place] or (first and digit == "0"):
            continue
        changed = text[:place] + digit + text[place + 1 :]
        if place + 1 in places and random.random() < 0.3 and text[place] != text[place + 1] != "0":
            changed = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
        return changed
    return f"{text}1"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.2f}".rstrip("0")


def _two(low: int, high: int, low2: int, high2: int) -> Callable[[Random], tuple[int, int]]:
    return lambda random: (random.randint(low, high), random.randint(low2, high2))


def _simple(
    pair: Callable[[Random], tuple[int, int]],
    result: Callable[[int, int], float],
    calc: str,
    *wrong: Callable[[int, int], float],
) -> Callable[[Random], Found]:
    """An operation on two numbers; `calc` is a template."""

    def make(random: Random) -> Found:
        a, b = pair(random)
        values = {"a": str(a), "b": str(b)}
        return Found(
            values, _number(result(a, b)), put(calc, values), tuple(_number(one(a, b)) for one in wrong)
        )  # fmt: skip

    return make


def _hundreds(random: Random) -> tuple[int, int]:
    """Small numbers more often than large ones: that is what can be checked without a tool."""
    most = random.choice((99, 99, 980))
    return random.randint(5, most), random.randint(5, most)


def _factors(random: Random) -> tuple[int, int]:
    most = random.choice((12, 12, 60))
    return random.randint(2, most), random.randint(2, 12)


def _percents(random: Random) -> tuple[int, int]:
    return 20 * random.randint(1, random.choice((10, 40))), random.choice((5, 10, 10, 15, 20, 20, 25, 30, 50, 50))


def _tens(random: Random) -> tuple[int, int]:
    return 5 * random.randint(-2, 18), 1


def _tens_an_hour(random: Random) -> tuple[int, int]:
    return 10 * random.randint(2, 12) + random.choice((0, 0, 5)), random.randint(2, 9)


def _halves(random: Random) -> tuple[int, int]:
    return random.randint(4, random.choice((50, 50, 900))), 2


def _larger(pair: Callable[[Random], tuple[int, int]]) -> Callable[[Random], tuple[int, int]]:
    def make(random: Random) -> tuple[int, int]:
        a, b = pair(random)
        return (a + b, b)

    return make


def _multiple(pair: Callable[[Random], tuple[int, int]]) -> Callable[[Random], tuple[int, int]]:
    def make(random: Random) -> tuple[int, int]:
        a, b = pair(random)
        return (a * b, b)

    return make


def _add3(random: Random) -> Found:
    a, b, c = (random.randint(2, random.choice((20, 20, 300))) for _ in range(3))
    values = {"a": str(a), "b": str(b), "c": str(c)}
    return Found(values, str(a + b + c), f"{a} + {b} + {c}", (str(a + b), str(b + c), str(a + b + c + 10)))


def _average(random: Random) -> Found:
    a, b = random.randint(2, 60), random.randint(2, 60)
    c = random.randint(2, 60)
    c += -(a + b + c) % 3
    values = {"a": str(a), "b": str(b), "c": str(c)}
    total = a + b + c
    return Found(values, str(total // 3), f"({a} + {b} + {c}) / 3", (str(total), _number(total / 2)))


def _extreme(choose: Callable[[list[int]], int]) -> Callable[[Random], Found]:
    def make(random: Random) -> Found:
        numbers = random.sample(range(random.choice((11, 101, 1001)), 9999), 4)
        values = {name: str(one) for name, one in zip("abcd", numbers, strict=True)}
        result = choose(numbers)
        return Found(values, str(result), "", tuple(str(one) for one in numbers if one != result))

    return make


def _minutes(random: Random) -> Found:
    a, b = random.randint(1, 9), random.randint(10, 55)
    return Found(
        {"a": str(a), "b": str(b)}, str(a * 60 + b), f"{a} * 60 + {b}", (str(a * 100 + b), str(a * 60), str(a + b))
    )


def clock(minutes: int) -> str:
    """The time so many minutes after midnight, as 14:05."""
    return f"{minutes // 60 % 24:02}:{minutes % 60:02}"


def _later(random: Random) -> Found:
    start, length = 5 * random.randint(72, 230), random.choice((20, 25, 35, 40, 45, 50, 55, 65, 75, 80, 90, 95, 110))
    hundred = clock(start + length + 40) if (start % 60 + length) >= 60 else clock(start + length + 10)
    wrong = (hundred, clock(start - length), clock(start + length + 60), clock(start + length - 5))
    return Found({"t": clock(start), "b": str(length)}, clock(start + length), "", wrong)


def _between(random: Random) -> Found:
    start, length = 5 * random.randint(72, 230), 5 * random.randint(3, 35)
    wrong = (str(length + 40), str(length + 60), str(length + 5), str(length - 10))
    return Found({"t": clock(start), "u": clock(start + length)}, str(length), "", wrong)


def _age(random: Random) -> Found:
    a = random.randint(1890, 2005)
    b = random.randint(a + 5, min(a + 110, 2040))
    return Found(
        {"a": str(a), "b": str(b)}, str(b - a), f"{b} - {a}", (str(b - a + 10), str(b - a - 1), str(b - a + 1))
    )


def _weekday(random: Random) -> Found:
    day, later = random.randrange(7), random.randint(2, 20)
    right = WEEKDAYS[(day + later) % 7]
    return Found(
        {"w": WEEKDAYS[day], "b": str(later)}, right, "", tuple(one for one in WEEKDAYS if one != right)
    )  # fmt: skip


def _letters(random: Random) -> Found:
    word = random.choice(_spelled())
    count = len(word)
    return Found({"x": word}, str(count), "", (str(count + 1), str(count - 1), str(count + 2)))


def _words(random: Random) -> Found:
    words = random.sample(_spelled(), random.randint(3, 8))
    return Found(
        {"x": " ".join(words)}, str(len(words)), "", (str(len(words) + 1), str(len(words) - 1), str(len(words) + 2))
    )


def _remainder(random: Random) -> Found:
    b = random.randint(3, 9)
    a = b * random.randint(4, 60) + random.randint(1, b - 1)
    return Found({"a": str(a), "b": str(b)}, str(a % b), f"{a} mod {b}", (str(a // b), str(b - a % b), str(a % b + 1)))


WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

OPERATIONS: Mapping[str, Callable[[Random], Found]] = {
    "add": _simple(_hundreds, lambda a, b: a + b, "{a} + {b}", lambda a, b: abs(a - b), lambda a, b: a + b + 10),
    "add3": _add3,
    "sub": _simple(_larger(_hundreds), lambda a, b: a - b, "{a} - {b}", lambda a, b: a + b, lambda a, b: a - b + 10),
    "mul": _simple(_factors, lambda a, b: a * b, "{a} * {b}", lambda a, b: a + b, lambda a, b: a * (b + 1)),
    "div": _simple(_multiple(_factors), lambda a, b: a / b, "{a} / {b}", lambda a, b: a - b, lambda a, b: a / b + 1),
    "percent": _simple(
        _percents, lambda a, b: a * b / 100, "{a} * {b} / 100", lambda a, b: a * b / 10, lambda a, b: a - b
    ),
    "discount": _simple(
        _percents, lambda a, b: a - a * b / 100, "{a} - {b}% of {a}", lambda a, b: a * b / 100, lambda a, b: a - b
    ),
    "raise": _simple(
        _percents, lambda a, b: a + a * b / 100, "{a} + {b}% of {a}", lambda a, b: a * b / 100, lambda a, b: a + b
    ),
    "area": _simple(_factors, lambda a, b: a * b, "{a} * {b}", lambda a, b: 2 * (a + b), lambda a, b: a + b),
    "perimeter": _simple(
        _two(3, 40, 3, 30), lambda a, b: 2 * (a + b), "2 * ({a} + {b})", lambda a, b: a * b, lambda a, b: a + b
    ),
    "average": _average,
    "largest": _extreme(max),
    "smallest": _extreme(min),
    "metres": _simple(
        _two(2, 95, 2, 9), lambda a, _: a * 1000, "{a} * 1000", lambda a, _: a * 100, lambda a, _: a * 10
    ),
    "grams": _simple(_two(2, 95, 2, 9), lambda a, _: a * 1000, "{a} * 1000", lambda a, _: a * 100, lambda a, _: a * 10),
    "minutes": _minutes,
    "hours": _simple(_two(2, 40, 2, 9), lambda a, _: a * 24, "{a} * 24", lambda a, _: a * 12, lambda a, _: a * 60),
    "dozens": _simple(_two(2, 40, 2, 9), lambda a, _: a * 12, "{a} * 12", lambda a, _: a * 10, lambda a, _: a * 24),
    "fahrenheit": _simple(
        _tens, lambda a, _: a * 9 / 5 + 32, "{a} * 9 / 5 + 32", lambda a, _: a * 9 / 5, lambda a, _: a + 32
    ),
    "speed": _simple(_tens_an_hour, lambda a, b: a * b, "{a} * {b}", lambda a, b: a + b, lambda a, b: a * (b - 1)),
    "later": _later,
    "between": _between,
    "age": _age,
    "weekday": _weekday,
    "letters": _letters,
    "words": _words,
    "square": _simple(_two(2, 20, 2, 9), lambda a, _: a * a, "{a} * {a}", lambda a, _: 2 * a, lambda a, _: a * a + a),
    "change": _simple(
        _larger(_two(20, 400, 15, 500)), lambda a, b: a - b, "{a} - {b}", lambda a, b: a + b, lambda a, b: a - b + 10
    ),
    "remainder": _remainder,
    "half": _simple(_multiple(_halves), lambda a, _: a / 2, "{a} / 2", lambda a, _: a * 2, lambda a, _: a / 4),
    "weeks": _simple(_two(2, 30, 2, 9), lambda a, _: a * 7, "{a} * 7", lambda a, _: a * 5, lambda a, _: a * 12),
}
"""Where values are made by `_two`, a second one that no template asks for does no harm."""


def put(template: str, values: Mapping[str, str]) -> str:
    """A template with the slots that are known filled; other braces stay."""
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), template)


@cache
def _spelled() -> list[str]:
    data = tomllib.loads(Path(__file__).with_name("verdicts.toml").read_text(encoding="utf-8"))
    return list(data["spelled"]["words"])
