"""Values for invented documents: names, dates, amounts, codes. Knows no document."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from llmos.learn.data.example import Split
from llmos.learn.data.pools import MONTHS

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip
_CURRENCIES = ("${}", "£{}", "€{}", "{} euros", "{} dollars", "{} pounds", "CHF {}", "{} EUR", "USD {}", "{} kr")


@dataclass(frozen=True, slots=True)
class Value:
    """A value as it stands in a text, and the number that it is or holds, if any."""

    text: str
    number: int | float | None = None


def value(random: Random, split: Split, kind: str) -> Value:
    """A value of a kind.

    Args:
        kind: A name, and for some what it needs: `person`, `city`, `date`, `day`, `month`, `email`, `phone`, `url`,
            `company`, `street`, `code PREFIX`, `time FROM TO` (in hours; both may be left out), `year FROM TO`,
            `count FROM TO` (a bare number), `money FROM TO`, `percent FROM TO`, `number FROM TO UNIT` (also of
            decimals: `1.5 8 kg`), `span FROM TO UNIT…` (a duration in one of some units), or a pool of words.
    """
    name, *rest = kind.split()
    maker = _MAKERS.get(name)
    return maker(random, split, rest) if maker else Value(random.choice(pool(name, split)))


@cache
def pool(name: str, split: Split) -> tuple[str, ...]:
    """The words of a pool that belong to a split."""
    text = _pools()[name]
    words = [" ".join(one.split()) for one in text.split("|")] if "|" in text else text.split()
    return shares(dict.fromkeys(one for one in words if one), split)


def shares(words: Iterable[str], split: Split) -> tuple[str, ...]:
    """The words of a split, of any pool of six or more: about 72, 11 and 17 of 100, two at least."""
    ordered = sorted(words, key=lambda one: hashlib.sha256(one.encode()).digest())
    test, validation = max(2, round(0.17 * len(ordered))), max(2, round(0.11 * len(ordered)))
    cut = len(ordered) - test
    return tuple(
        {"train": ordered[: cut - validation], "validation": ordered[cut - validation : cut], "test": ordered[cut:]}[
            split
        ]
    )


@cache
def _pools() -> dict[str, str]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def _person(random: Random, split: Split, _: Sequence[str]) -> Value:
    return Value(f"{random.choice(pool('given', split))} {random.choice(pool('family', split))}")


def _street(random: Random, split: Split, _: Sequence[str]) -> Value:
    return Value(f"{random.randint(1, 180)} {random.choice(pool('streets', split))}")


def _company(random: Random, split: Split, _: Sequence[str]) -> Value:
    return Value(f"{random.choice(pool('brands', split))} {random.choice(pool('trades', split))}")


def _email(random: Random, split: Split, _: Sequence[str]) -> Value:
    name = random.choice(
        [
            random.choice(pool("given", split)).lower(),
            f"{random.choice(pool('given', split))}.{random.choice(pool('family', split))}".lower(),
            random.choice(("info", "office", "help", "bookings", "team", "desk", "hello", "orders")),
        ]
    )
    return Value(f"{name}@{_domain(random, split)}")


def _url(random: Random, split: Split, _: Sequence[str]) -> Value:
    path = random.choice(("", "", "/help", "/docs", "/join", "/start", "/news", "/2024/info"))
    return Value(f"{random.choice(('https://', 'www.', 'https://www.'))}{_domain(random, split)}{path}")


def _domain(random: Random, split: Split) -> str:
    ending = random.choice(("example", "test", "org", "net", "com", "io", "co.uk", "de", "pt"))
    brand, trade = random.choice(pool("brands", split)), random.choice(pool("trades", split))
    return f"{brand}{random.choice(('', '-'))}{trade}.{ending}".lower()


def _phone(random: Random, split: Split, _: Sequence[str]) -> Value:
    form = random.choice(
        ("+## ### ### ###", "0## ### ####", "(###) ###-####", "0####-######", "ext. ####", "+# ### ### ####")
    )
    return Value(re.sub("#", lambda _: str(random.randint(1, 9)), form))


def _code(random: Random, split: Split, rest: Sequence[str]) -> Value:
    prefix = rest[0] if rest else "".join(random.choice("ABCDEFGHKLMNPRSTUVWX") for _ in range(2))
    digits = "".join(str(random.randint(0, 9)) for _ in range(random.randint(3, 6)))
    form = random.choice(("{}-{}", "{}{}", "{}-{}-" + random.choice("ABCDEFX"), "{}/{}"))
    return Value(form.format(prefix, digits))


def _date(random: Random, split: Split, _: Sequence[str]) -> Value:
    day, month, year = random.randint(1, 28), random.randint(1, 12), random.randint(2019, 2027)
    name = MONTHS[month - 1]
    ending = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd"}.get(day, "th")
    forms = (
        f"{day} {name} {year}", f"{name} {day}, {year}", f"{year}-{month:02}-{day:02}", f"{day} {name}",
        f"{name} {day}", f"{name} {day}{ending}", f"{day:02}.{month:02}.{year}", f"{day} {name[:3]} {year}",
        f"{day}{ending} {name} {year}",
    )  # fmt: skip
    return Value(random.choice(forms))


def _day(random: Random, split: Split, _: Sequence[str]) -> Value:
    return Value(random.choice(_DAYS))


def _month(random: Random, split: Split, _: Sequence[str]) -> Value:
    return Value(random.choice(MONTHS))


def _time(random: Random, split: Split, rest: Sequence[str]) -> Value:
    first, last = (int(rest[0]), int(rest[1])) if rest else (6, 21)
    hour, minute = random.randint(first, last), random.choice((0, 0, 15, 30, 30, 45, 10, 20, 50))
    half = "am" if hour < 12 else "pm"
    twelve = (hour - 1) % 12 + 1
    forms = [f"{hour}:{minute:02}", f"{hour:02}:{minute:02}", f"{twelve}:{minute:02} {half}"]
    if minute == 0:
        forms += [f"{twelve} {half}", f"{twelve}{half}", f"{twelve} o'clock"]
    return Value(random.choice(forms))


def _year(random: Random, split: Split, rest: Sequence[str]) -> Value:
    year = random.randint(int(rest[0]), int(rest[1]))
    return Value(str(year), year)


def _count(random: Random, split: Split, rest: Sequence[str]) -> Value:
    number = random.randint(int(rest[0]), int(rest[1]))
    if number < len(_SMALL) and random.random() < 0.2:
        return Value(_SMALL[number], number)
    return Value(_digits(random, number), number)


def _money(random: Random, split: Split, rest: Sequence[str]) -> Value:
    low, high = int(rest[0]), int(rest[1])
    number: int | float = random.randint(low, high)
    if high > 300 and random.random() < 0.6:
        number = max(low, int(number) // 10 * 10)
    text = _digits(random, int(number))
    if random.random() < 0.25:
        cents = random.choice((50, 90, 95, 99, random.randint(1, 98)))
        text, number = f"{text}.{cents:02}", round(number + cents / 100, 2)
    return Value(random.choice(_CURRENCIES).format(text), number)


def _percent(random: Random, split: Split, rest: Sequence[str]) -> Value:
    number = random.randint(int(rest[0]), int(rest[1]))
    return Value(f"{number}{random.choice(('%', '%', ' %', ' percent', ' per cent'))}", number)


def _number(random: Random, split: Split, rest: Sequence[str]) -> Value:
    low, high, unit = rest[0], rest[1], " ".join(rest[2:])
    if "." in low:
        number: int | float = round(random.uniform(float(low), float(high)), 1)
        text = str(number)
    else:
        number = random.randint(int(low), int(high))
        text = _digits(random, int(number))
    return Value(f"{text} {unit}".strip(), number)


def _span(random: Random, split: Split, rest: Sequence[str]) -> Value:
    number, unit = random.randint(int(rest[0]), int(rest[1])), random.choice(rest[2:])
    if number == 1:
        unit = unit.removesuffix("s")
    text = _SMALL[number] if number < len(_SMALL) and random.random() < 0.3 else str(number)
    return Value(f"{text} {unit}", number)


def _digits(random: Random, number: int) -> str:
    return f"{number:,}" if number > 999 and random.random() < 0.5 else str(number)


_MAKERS: dict[str, Callable[[Random, Split, Sequence[str]], Value]] = {
    "person": _person, "street": _street, "company": _company, "email": _email, "url": _url, "phone": _phone,
    "code": _code, "date": _date, "day": _day, "month": _month, "time": _time, "year": _year, "count": _count,
    "money": _money, "percent": _percent, "number": _number, "span": _span,
}  # fmt: skip

NUMBERS = frozenset(("count", "money", "percent", "number", "year", "span"))
"""Kinds whose values hold a number."""
