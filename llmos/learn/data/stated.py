"""Texts made of values that they state, in several wordings, and the questions that ask for them.

The texts are the `record`s of `verdicts.toml`. Knows no job.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from llmos.learn.data.example import Split
from llmos.learn.data.operations import WEEKDAYS, clock
from llmos.learn.data.pools import MONTHS, dealt
from llmos.learn.data.values import draw

_RANGES: Mapping[str, tuple[int, int]] = {
    "count": (11, 95), "small": (3, 9), "year": (1790, 2024), "n": (100, 4900), "m": (11, 95), "k": (3, 9),
    "d": (10, 28), "y": (1950, 2030),
}  # fmt: skip
_UNITS: Mapping[str, tuple[int, int, tuple[str, ...]]] = {
    "money": (11, 4900, ("{} euros", "€{}", "${}", "{} dollars", "{} pounds", "£{}", "{}.50 euros")),
    "squares": (18, 190, ("{} m²", "{} square metres")),
    "ordinal": (4, 19, ("{}th",)),
    "percent": (2, 60, ("{}%", "{} %", "{} percent")),
    "grams": (50, 900, ("{} g", "{} grams")),
    "degrees": (40, 240, ("{} °C", "{} degrees")),
    "duration": (12, 95, ("{} minutes", "{} min")),
    "kilos": (2, 60, ("{} kg", "{}.5 kg")),
    "kilometres": (12, 900, ("{} km", "{} kilometres")),
    "metres": (12, 190, ("{} m", "{} metres")),
    "megabytes": (3, 900, ("{} MB",)),
    "tons": (2, 90, ("{} tons", "{} t")),
}
DIGITS = frozenset({*_RANGES, *_UNITS, "code", "thousands", "version"}) - {"ordinal", "small", "k"}


_Field = tuple[str, str, str, tuple[str, ...], tuple[str, ...]]
"""Subject, label, kind, wordings and questions."""


@dataclass(frozen=True, slots=True)
class Stated:
    """A value that a text states, or could.

    Attributes:
        subject: What the text is about, a thing.
        says: How it stands there.
        asks: How it is asked for.
    """

    subject: str
    label: str
    kind: str
    value: str
    says: tuple[str, ...]
    asks: tuple[str, ...]

    def said(self, random: Random, value: str = "") -> str:
        """It in a sentence, or another value in its place."""
        return opened(random.choice(self.says).replace("{v}", value or self.value))


def text_values(random: Random, split: Split, other: Sequence[Stated] = ()) -> list[Stated]:
    """The values of some text, each different, in any order; of another text than `other` is of."""
    asks = {ask for one in other for ask in one.asks}
    others = [text for text in _records(split) if not any(ask in asks for *_, listed in text for ask in listed)]
    found: list[Stated] = []
    for subject, label, kind, says, listed in random.choice(others):
        value = drawn_value(random, split, kind)
        while value in {one.value for one in found}:
            value = drawn_value(random, split, kind)
        found.append(Stated(subject, label, kind, value, says, listed))
    random.shuffle(found)
    return found


@cache
def _records(split: Split) -> tuple[tuple[_Field, ...], ...]:
    """The texts of a split, each with the fields of its values. Wordings that other splits have too are left
    to training."""
    listed: Sequence[Mapping[str, Any]] = texts()["record"]
    names = dealt([one["name"] for one in listed], split, "record")
    elsewhere = {
        words
        for one in listed if one["name"] not in names and split != "train"
        for known in one["fields"] for words in (*known["says"], *known["asks"])
    }  # fmt: skip
    found: list[tuple[_Field, ...]] = []
    for one in listed:
        if one["name"] not in names:
            continue
        fields = [
            (
                one["name"], known["label"], known["kind"],
                tuple(words for words in known["says"] if words not in elsewhere),
                tuple(words for words in known["asks"] if words not in elsewhere),
            )
            for known in one["fields"]
        ]  # fmt: skip
        found.append(tuple(known for known in fields if known[3] and known[4]))
    return tuple(found)


def drawn_value(random: Random, split: Split, kind: str) -> str:
    """A value of a kind, as text."""
    if kind in _RANGES:
        low, high = _RANGES[kind]
        return str(random.randint(low, high))
    if kind in _UNITS:
        low, high, units = _UNITS[kind]
        return random.choice(units).format(random.randint(low, high))
    if kind in texts()["pools"]:
        return str(random.choice(dealt(texts()["pools"][kind], split, kind)))
    match kind:
        case "date":
            day, month, year = random.randint(1, 28), random.choice(MONTHS), random.randint(2015, 2029)
            return random.choice(
                (f"{day} {month}", f"{day} {month} {year}", f"{month} {day}", f"{month} {day}, {year}")
            )
        case "time" | "t":
            return clock(5 * random.randint(72, 270))
        case "score":
            return f"{random.randint(0, 5)}:{random.randint(0, 5)}"
        case "weekday" | "w":
            return random.choice(WEEKDAYS)
        case "code":
            return f"{random.choice('ABCDEHKLMPRST')}{random.randint(10, 9999)}"
        case "thousands":
            return f"{random.randint(1, 60)},{random.randint(0, 999):03}"
        case "first" | "name":
            return _capital(draw("first_name", random, split).text)
        case "person" | "city" | "company":
            return _capital(draw(kind, random, split).text)
        case _:
            return draw(kind, random, split).text


def _capital(text: str) -> str:
    return " ".join(word[:1].upper() + word[1:] for word in text.split(" "))


def opened(text: str) -> str:
    """A text with a capital first."""
    return text[:1].upper() + text[1:]


@cache
def texts() -> Mapping[str, Any]:
    """The words of `verdicts.toml`."""
    return tomllib.loads(Path(__file__).with_name("verdicts.toml").read_text(encoding="utf-8"))
