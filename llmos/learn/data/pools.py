"""Pools of words dealt out to training, validation and test, and templates with slots filled from them.

Knows no job.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from random import Random
from typing import TypeVar

from llmos.learn.data.example import Split

_T = TypeVar("_T")
_SLOT = re.compile(r"\{(\w+)\}")
_TEST, _VALIDATION = 0.16, 0.08

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip


def lines(text: str) -> list[str]:
    """The lines of a text that have something on them."""
    return [line for line in text.split("\n") if line.strip()]


def dealt(pool: Sequence[_T], split: Split, salt: str = "") -> list[_T]:
    """The items of a pool that belong to a split: as `part` gives them, but of pools of three none is left empty.

    An item's place depends on the other items too, by the order of their hashes.
    """
    return list(_dealt(tuple(pool), split, salt))


@cache
def _dealt(pool: tuple[_T, ...], split: Split, salt: str) -> tuple[_T, ...]:
    ordered = sorted(pool, key=lambda item: hashlib.sha256(f"{salt}{item}".encode()).digest())
    test = max(1, round(_TEST * len(pool)))
    held = test + max(1, round(_VALIDATION * len(pool)))
    places = {"test": slice(0, test), "validation": slice(test, held), "train": slice(held, None)}
    return tuple(ordered[places[split]])


def drawn(template: str, pools: Mapping[str, Sequence[str]], random: Random, split: Split) -> dict[str, str]:
    """A value for each slot of a template, of the split's part of the pools; `{name2}` is another value of `name`."""
    values: dict[str, str] = {}
    for slot in dict.fromkeys(_SLOT.findall(template)):
        name = slot.rstrip("0123456789")
        taken = set(values.values())
        left = [one for one in dealt(pools[name], split, name) if one not in taken]
        if not left and split != "train":
            other: Split = "validation" if split == "test" else "test"
            left = [one for one in dealt(pools[name], other, name) if one not in taken]
        values[slot] = random.choice(left)
    return values


def filled(template: str, values: Mapping[str, str]) -> str:
    """A template with its slots filled in."""
    return _SLOT.sub(lambda found: values[found[1]], template)
