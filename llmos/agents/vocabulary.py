"""English as the default agent knows it, from `words.toml`, and how words are brought to one form.

Knows no tool.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

_WORD = re.compile(r"[a-z0-9']+(?:[-_][a-z0-9']+)*|%")
_ENDINGS = ("ing", "ies", "ed", "es", "s", "'s")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Words by what they are; see `words.toml`."""

    stop: frozenset[str]
    reading: frozenset[str]
    no_folder: frozenset[str]
    compounds: dict[str, str]
    same: dict[str, str]
    enum: dict[str, frozenset[str]]
    currency: frozenset[str]
    units: frozenset[str]
    numbers: frozenset[str]
    operations: dict[str, frozenset[str]]
    openers: frozenset[str]
    creative: frozenset[str]


@cache
def vocabulary() -> Vocabulary:
    """The vocabulary, read once."""
    data = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))
    same: dict[str, str] = {}
    for row in data["same"]:
        first, *_ = row.split()
        for word in row.split():
            same.setdefault(word, stem(first))
            same.setdefault(stem(word), stem(first))
    return Vocabulary(
        stop=frozenset(data["stop"].split()),
        reading=frozenset(stem(word) for word in data["reading"].split()),
        no_folder=frozenset(data["no_folder"].split()),
        compounds=data["compounds"],
        same=same,
        enum={value: frozenset(words.split()) for value, words in data["enum"].items()},
        currency=frozenset(data["currency"].split()),
        units=frozenset(data["units"].split()),
        numbers=frozenset(data["numbers"].split()),
        operations={name: frozenset(words.split()) for name, words in data["operations"].items()},
        openers=frozenset(data["chat"]["openers"].split()),
        creative=frozenset(data["chat"]["creative"].split()),
    )


def plain_words(text: str) -> list[str]:
    """The words of a text, in lower case; names with underscores are taken apart."""
    found = [part for word in _WORD.findall(text.lower()) for part in re.split(r"[_-]", word) if part]
    joined = vocabulary().compounds
    return [part for word in found for part in joined.get(word, word).split()]


@lru_cache(maxsize=8192)
def stem(word: str) -> str:
    """A word without the endings of plural and conjugation."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            cut = word[: -len(ending)]
            if ending == "ies":
                return cut + "y"
            if ending in ("ing", "ed") and len(cut) > 3 and cut[-1] == cut[-2]:
                cut = cut[:-1]
            return cut.rstrip("e")
    return word.rstrip("e") if len(word) > 3 else word


def concepts(text: str, *, stop: bool = False) -> list[str]:
    """What a text is about: its words brought to one form for all that mean the same. With `stop`, small words too."""
    known = vocabulary()
    found: list[str] = []
    for word in plain_words(text):
        if word in known.stop and not stop and word not in known.same:
            continue
        found.append(known.same.get(word) or known.same.get(stem(word)) or stem(word))
    return found
