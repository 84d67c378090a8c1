"""How people type: case, punctuation and mistakes, outside of the words that must stay as they are; and what they say
around a request.

Knows no job and no tool.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random

from llmos.learn.data.example import Split, part

_LOWER = 0.3
_UPPER = 0.015
_TITLE = 0.015
_BARE = 0.35
_TYPO = 0.05
_POLITE = 0.3
_BEFORE = 0.18
_AFTER = 0.1
_WORD = re.compile(r"[A-Za-z]{4,}")


def noisy(random: Random, text: str, keep: Sequence[str] = ()) -> str:
    """A text as somebody types it: often in lower case, without its last mark, now and then with a typing mistake.

    Args:
        keep: Parts that stay letter for letter; places of the text that equal one of them are not touched.
    """
    pieces = _pieces(text, keep)
    chance = random.random()
    if chance < _LOWER:
        pieces = [(words if kept else words.lower(), kept) for words, kept in pieces]
    elif chance < _LOWER + _UPPER:
        pieces = [(words if kept else words.upper(), kept) for words, kept in pieces]
    elif chance < _LOWER + _UPPER + _TITLE:
        pieces = [(words if kept else _titled(words), kept) for words, kept in pieces]
    if random.random() < _TYPO:
        pieces = _mistyped(random, pieces)
    if random.random() < _BARE and pieces and not pieces[-1][1]:
        words, kept = pieces[-1]
        pieces[-1] = (words.rstrip().rstrip(".?!"), kept)
    return "".join(words for words, _ in pieces)


def dressed(random: Random, template: str, split: Split) -> str:
    """A request as somebody says it: often with please or could you, now and then among other sentences.

    Slots for values in those sentences end in 9.
    """
    first = re.match(r"[A-Za-z]+(?= )", template)
    if first and first[0].lower() in _verbs() and random.random() < _POLITE:
        template = f"{random.choice(_said('polite', 'train'))} {template[0].lower()}{template[1:]}"
    if random.random() < _BEFORE:
        template = f"{random.choice(_said('before', split))} {template}"
    if random.random() < _AFTER:
        template = (
            f"{template}{'' if template[-1] in '.?!' else random.choice('.,')} {random.choice(_said('after', split))}"
        )
    return template


@cache
def _data() -> dict[str, str]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


@cache
def _verbs() -> frozenset[str]:
    return frozenset(_data()["verbs"].split())


@cache
def _said(what: str, split: Split) -> list[str]:
    """Sentences of a split; words of politeness are few and the same in all."""
    pool = [one for line in _data()[what].strip().splitlines() for one in line.split(" | ")]
    return pool if what == "polite" else part(pool, split)


def _pieces(text: str, keep: Sequence[str]) -> list[tuple[str, bool]]:
    """A text cut into parts that may change and parts that may not."""
    kept = sorted({one for one in keep if one}, key=lambda one: (-len(one), one))
    if not kept:
        return [(text, False)]
    found = re.split("(" + "|".join(re.escape(one) for one in kept) + ")", text)
    return [(words, number % 2 == 1) for number, words in enumerate(found) if words]


def _titled(words: str) -> str:
    return re.sub(r"(?<![\w'])[a-z]", lambda found: found[0].upper(), words)


def _mistyped(random: Random, pieces: list[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """One word with two letters swapped, a letter lost, or a letter doubled."""
    places = [
        (number, found) for number, (words, kept) in enumerate(pieces) if not kept for found in _WORD.finditer(words)
    ]
    if not places:
        return pieces
    number, found = random.choice(places)
    words = pieces[number][0]
    at = found.start() + random.randrange(1, len(found[0]) - 1)
    match random.randrange(3):
        case 0:
            words = words[:at] + words[at + 1] + words[at] + words[at + 2 :]
        case 1:
            words = words[:at] + words[at + 1 :]
        case _:
            words = words[:at] + words[at] + words[at:]
    changed = list(pieces)
    changed[number] = (words, False)
    return changed
