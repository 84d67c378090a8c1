"""Values for slots of requests: names, places, times, numbers, paths, texts, from pools of words, divided by split.

The pools stand in `values.toml`. Knows no tool and no job.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from llmos.errors import ConfigError
from llmos.learn.data.example import Split, part, split_of
from llmos.learn.data.pools import MONTHS

_SLOT = re.compile(r"\{([a-z_]+?)(\d*)\}")
_ENOUGH = 15
_TRIES = 200
_LOWERED = 0.12
_SPELLED = 0.25
_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Value:
    """What is said, and what is meant: a number where the kind is one of numbers, else the words themselves."""

    text: str
    value: str | int | float


def draw(kind: str, random: Random, split: Split, *, digits: bool = False) -> Value:
    """A value of a kind; those of one split never come in another, except of kinds with few values (days, colors …).

    Args:
        digits: Write numbers plainly, as 1200 and 3, never as 1,200 and three.

    Raises:
        ConfigError: There is no such kind.
    """
    if maker := _NUMBERS.get(kind):
        return _number(kind, maker, random, split, digits)
    if writer := _WRITTEN.get(kind):
        text = _of_split(kind, writer, random, split)
        return Value(text, text)
    pool = _pool(kind, split)
    text = filled(random.choice(pool), random, split)
    if kind in _lowered() and random.random() < _LOWERED:
        text = text.lower()
    return Value(text, text)


def filled(template: str, random: Random, split: Split) -> str:
    """A text whose slots, named after kinds, are filled with values; other braces stay."""
    return _SLOT.sub(
        lambda found: draw(found[1], random, split, digits=True).text if found[1] in kinds() else found[0], template
    )


@cache
def kinds() -> frozenset[str]:
    """All kinds of values."""
    return frozenset({*_NUMBERS, *_WRITTEN, *_pools()})


def is_number(kind: str) -> bool:
    """Whether values of a kind are numbers."""
    return kind in _NUMBERS


# -- pools


@cache
def _data() -> Mapping[str, Mapping[str, str]]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


@cache
def _pools() -> Mapping[str, tuple[str, ...]]:
    both = {**_data()["pools"], **_data()["closed"], **_data()["composed"]}
    whole = _data()["case"]["lines"].split()
    return {
        kind: tuple(dict.fromkeys(re.split(r"\n" if kind in whole else r" \| |\n", text.strip())))
        for kind, text in both.items()
    }


@cache
def _lowered() -> frozenset[str]:
    return frozenset(_data()["case"]["lowered"].split())


@cache
def _pool(kind: str, split: Split) -> tuple[str, ...]:
    pool = _pools().get(kind)
    if pool is None:
        raise ConfigError(f"There are no values of the kind {kind!r}.", hint="Add a pool to values.toml.")
    if kind not in _data()["pools"] or len(pool) < _ENOUGH:
        return pool
    return tuple(part(pool, split, f"{kind}:")) or pool


# -- numbers


def _number(kind: str, maker: Callable[[Random], float], random: Random, split: Split, digits: bool) -> Value:
    value = _whole(maker(random))
    for _ in range(_TRIES):
        if kind in _FEW or split_of(f"{kind}:{value}") == split:
            break
        value = _whole(maker(random))
    if digits:
        return Value(f"{value:.2f}" if kind == "money" and isinstance(value, float) else str(value), value)
    if kind in ("small", "count") and 0 <= value <= 12 and random.random() < _SPELLED:
        return Value(_WORDS[int(value)], value)
    if isinstance(value, int) and value >= 1000 and kind != "year" and random.random() < 0.2:
        return Value(f"{value:,}", value)
    if kind == "money" and isinstance(value, float):
        return Value(f"{value:.2f}", value)
    return Value(str(value), value)


def _whole(value: float) -> float:
    return int(value) if value == int(value) else value


def _integer(random: Random) -> int:
    low, high = random.choice(((13, 99), (13, 99), (100, 999), (100, 999), (1000, 9999), (10000, 99999)))
    return random.randint(low, high)


def _percent(random: Random) -> float:
    if random.random() < 0.12:
        return random.randint(0, 29) + random.choice((0.5, 0.5, 0.2, 0.25, 0.75, 0.9))
    return random.randint(1, 95) if random.random() < 0.6 else 5 * random.randint(1, 19)


def _decimal(random: Random) -> float:
    return round(random.uniform(0.1, random.choice((10, 10, 100, 500))), random.choice((1, 1, 2, 2, 3)))


def _money(random: Random) -> float:
    if random.random() < 0.3:
        return round(random.randint(1, 400) + random.choice((0.99, 0.5, 0.95, 0.25, 0.49, 0.75, 0.2)), 2)
    return random.choice((random.randint(3, 99), 5 * random.randint(2, 60), 50 * random.randint(2, 200)))


_NUMBERS: Mapping[str, Callable[[Random], float]] = {
    "integer": _integer,
    "small": lambda random: random.randint(2, 12),
    "count": lambda random: random.randint(2, 30),
    "percent": _percent,
    "decimal": _decimal,
    "money": _money,
    "whole_percent": lambda random: random.randint(0, 100),
    "right_angle": lambda random: random.choice((90, 180, 270)),
    "year": lambda random: random.randint(1850, 2040),
    "angle": lambda random: random.choice((random.randint(1, 359), 15 * random.randint(1, 23))),
    "latitude": lambda random: round(random.uniform(-66, 70), random.choice((2, 3, 4))),
    "longitude": lambda random: round(random.uniform(-179, 179), random.choice((2, 3, 4))),
    "port": lambda random: random.choice((random.randint(1025, 9999), 8000 + random.randint(0, 999))),
}
_FEW = frozenset({"small", "count", "right_angle"})


# -- values that are written by rules


def _of_split(kind: str, writer: Callable[[Random], tuple[str, str]], random: Random, split: Split) -> str:
    text = ""
    for _ in range(_TRIES):
        text, identity = writer(random)
        if split_of(f"{kind}:{identity}") == split:
            break
    return text


def _date(random: Random) -> tuple[str, str]:
    day, month, year = random.randint(1, 28), random.randint(1, 12), random.randint(2019, 2029)
    name = MONTHS[month - 1]
    ending = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd"}.get(day, "th")
    short = name[:3]
    text = random.choice((
        f"{year}-{month:02}-{day:02}", f"{year}-{month:02}-{day:02}", f"{day} {name} {year}", f"{name} {day}, {year}",
        f"{day} {name}", f"{name} {day}", f"{name} {day}{ending}", f"{day}{ending} of {name}", f"{day} {short} {year}",
        f"{short} {day}", f"{day} {short}", f"the {day}{ending} of {name}", f"{day}.{month}.{year}",
        f"{month:02}/{day:02}/{year}", f"{short}. {day}, {year}", f"{name.lower()} {day}",
    ))  # fmt: skip
    return text, f"{year}-{month}-{day}"


def _time(random: Random) -> tuple[str, str]:
    hour, minute = random.randint(6, 22), random.choice((0, 0, 0, 0, 15, 30, 30, 45, 5 * random.randint(0, 11)))
    half, twelve = ("am" if hour < 12 else "pm"), (hour - 1) % 12 + 1
    forms = [
        f"{hour}:{minute:02}",
        f"{hour:02}:{minute:02}",
        f"{twelve}:{minute:02} {half}",
        f"{twelve}:{minute:02}{half}",
    ]
    if not minute:
        forms += [
            f"{twelve}{half}",
            f"{twelve} {half}",
            f"{twelve} o'clock",
            f"{twelve}{half}",
            f"{twelve} {half.upper()}",
        ]
    if (hour, minute) == (12, 0):
        forms += ["noon", "noon"]
    text = random.choice(forms)
    return text, text


_SPANS = (
    "half an hour", "an hour", "a week", "an hour and a half", "a quarter of an hour", "a day", "two and a half hours",
)  # fmt: skip
_CLOCK_UNITS = (("second", 90), ("minute", 90), ("minute", 60), ("hour", 48), ("day", 60), ("week", 12))


def _duration(random: Random) -> tuple[str, str]:
    if random.random() < 0.12:
        text = random.choice(_SPANS)
        return text, text
    unit, most = random.choice(_CLOCK_UNITS)
    number = random.randint(2, most)
    short = {"second": "s", "minute": "min", "hour": "h", "day": "d", "week": "wk"}[unit]
    word = _WORDS[number] if number <= 12 and random.random() < 0.4 else str(number)
    forms = [f"{word} {unit}s", f"{word} {unit}s", f"{word} {unit}s", f"{number} {short}", f"{number}{short}"]
    if unit == "hour":
        forms.append(f"{number} hours and {random.choice((10, 15, 20, 30, 45))} minutes")
    text = random.choice(forms)
    return text, text


def _digit_days(random: Random) -> tuple[str, str]:
    unit, most = random.choice((("day", 200), ("day", 90), ("week", 30), ("month", 18), ("year", 15)))
    text = f"{random.randint(2, most)} {unit}s"
    return text, text


def _days(random: Random) -> tuple[str, str]:
    unit, most = random.choice((("day", 200), ("day", 90), ("week", 30), ("month", 18), ("year", 15)))
    number = random.randint(2, most)
    word = _WORDS[number] if number <= 10 and random.random() < 0.4 else str(number)
    return f"{word} {unit}s", f"{number} {unit}"


def _letters(random: Random, count: int) -> str:
    return "".join(random.choice("ABCDEFGHJKLMNPRSTUVWXYZ") for _ in range(count))


def _id(random: Random) -> tuple[str, str]:
    number = random.randint(11, 99999)
    text = random.choice((
        f"A-{number}", f"INV-{number}", f"#{number}", f"ORD-{number}", f"TK{number}", f"{_letters(random, 2)}-{number}",
        f"{_letters(random, 3)}{number}", f"{number}", f"REQ-{number}", f"{_letters(random, 1)}{number}-X",
        f"PO-{number}", f"{number}-{random.randint(10, 99)}", f"JIRA-{number % 3000 + 1}", f"bug-{number % 5000 + 1}",
    ))  # fmt: skip
    return text, text


def _pin(random: Random) -> tuple[str, str]:
    text = f"{random.randint(0, 9999):04}"
    return text, text


def _phone(random: Random) -> tuple[str, str]:
    tail = f"{random.randint(100, 999)} {random.randint(1000, 9999)}"
    area = random.randint(20, 99)
    text = random.choice((
        f"555-{random.randint(1000, 9999)}", f"+{area} {random.randint(100, 999)} {tail}", f"0{area} {tail}",
        f"+1 555 {tail}", f"0{area}{random.randint(1000000, 9999999)}", f"(555) {tail.replace(' ', '-')}",
    ))  # fmt: skip
    return text, text


def _plate(random: Random) -> tuple[str, str]:
    text = random.choice((
        f"{_letters(random, 2)}-{random.randint(10, 99)}-{_letters(random, 2)}",
        f"{_letters(random, 3)} {random.randint(100, 9999)}",
        f"{_letters(random, 1)} {_letters(random, 2)} {random.randint(1, 9999)}",
        f"{random.randint(1, 9)}{_letters(random, 3)}{random.randint(100, 999)}",
    ))  # fmt: skip
    return text, text


def _ip(random: Random) -> tuple[str, str]:
    start = random.choice(("10.", "192.168.", "172.16.", "203.0.", "198.51."))
    rest = [str(random.randint(1, 254)) for _ in range(4 - start.count("."))]
    text = start + ".".join(rest)
    return text, text


def _version(random: Random) -> tuple[str, str]:
    major, minor, patch = random.randint(0, 12), random.randint(0, 30), random.randint(0, 20)
    text = random.choice(
        (f"{major}.{minor}", f"v{major}.{minor}.{patch}", f"{major}.{minor}.{patch}", f"v{major}.{minor}")
    )
    return text, text


def _formula(random: Random) -> tuple[str, str]:
    a, b, c = (random.randint(2, random.choice((12, 99, 999))) for _ in range(3))
    d = round(random.uniform(0.5, 60), random.choice((1, 2)))
    space = random.choice(("", " "))
    plus, minus, times, over = (f"{space}{sign}{space}" for sign in "+-*/")
    text = random.choice((
        f"{a}{times}{b}", f"{a}{plus}{b}", f"{a}{minus}{b}", f"{a}{over}{b}", f"{a}{times}({b}{plus}{c})",
        f"({a}{plus}{b}){times}{c}", f"({a}{minus}{b}){over}{c}", f"{d}{times}{a}", f"{a}{plus}{b}{plus}{c}",
        f"{a % 95 + 1}% of {b * 10}", f"{a % 40 + 1} percent of {c}", f"{a} times {b}", f"{a} plus {b}",
        f"{a} minus {b}", f"{a} divided by {b}", f"{a}^2", f"{a} squared", f"sqrt({a * a})",
        f"the square root of {a * a}",
        f"{d}{plus}{a}{minus}{c}", f"{a} x {b}", f"{a}{times}{b}{plus}{c}", f"2**{a % 20 + 2}", f"{a} mod {b % 12 + 2}",
        f"{a} / {b} * {c}", f"{a},000 / {b}", f"{a} to the power of {b % 5 + 2}", f"{d}{times}{d}",
    ))  # fmt: skip
    return text, text


_WRITTEN: Mapping[str, Callable[[Random], tuple[str, str]]] = {
    "date": _date,
    "time": _time,
    "duration": _duration,
    "days": _days,
    "digit_days": _digit_days,
    "id": _id,
    "pin": _pin,
    "phone": _phone,
    "plate": _plate,
    "ip": _ip,
    "version": _version,
    "formula": _formula,
}
