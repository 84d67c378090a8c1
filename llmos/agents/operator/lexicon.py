"""English as it is used to tell somebody what to do on a page, from `words.toml`, and how words are compared.

Knows no page.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from llmos.agents.vocabulary import stem

_WORD = re.compile(r"[^\W_]+(?:['\u2019.@+-][^\W_]+)*|[#@$€£%+×✕✖♥☰≡\u203a»\u2039«→←…>]|[-\u2212]?\d+")


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Words by what they are for; see `words.toml`.

    Attributes:
        verbs: What an instruction's verb wants, by the verb.
        roles: The roles that a word for a control stands for.
        tags: And the element, where it says that.
        same: For a word, the words that mean the same on a control.
    """

    verbs: Mapping[str, str]
    joined: Mapping[str, str]
    roles: Mapping[str, frozenset[str]]
    tags: Mapping[str, str]
    fields: Mapping[str, frozenset[str]]
    same: Mapping[str, frozenset[str]]
    places: Mapping[str, str]
    ordinals: Mapping[str, int]
    sizes: Mapping[str, int]
    explore: frozenset[str]
    stop: frozenset[str]
    counted: frozenset[str]
    colours: frozenset[str]
    shapes: frozenset[str]
    keys: frozenset[str]


@cache
def lexicon() -> Lexicon:
    """The words, read once."""
    data: dict[str, Any] = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))
    roles = {word: frozenset(str(found).split()) for word, found in data["roles"].items()}
    plurals = {f"{word[:-1]}ies" if word.endswith("y") else f"{word}es" if word.endswith(("x", "h")) else f"{word}s":
               found for word, found in roles.items()}  # fmt: skip
    return Lexicon(
        verbs={verb: kind for kind, verbs in data["verbs"].items() for verb in verbs.split()},
        joined=data["joined"],
        roles=plurals | roles,
        tags=data["tags"],
        fields={name: frozenset(words.split()) for name, words in data["fields"].items()},
        same={name: frozenset({name, *words.split()}) for name, words in data["same"].items()},
        places={word: place for place, words in data["places"].items() for word in words.split()},
        ordinals=data["ordinals"],
        sizes=data["sizes"],
        explore=frozenset(data["explore"]["words"].split()),
        stop=frozenset(data["plain"]["stop"].split()),
        counted=frozenset(data["plain"]["counted"].split()),
        colours=frozenset(data["plain"]["colours"].split()),
        shapes=frozenset(data["plain"]["shapes"].split()),
        keys=frozenset(data["plain"]["keys"].split()),
    )


@dataclass(frozen=True, slots=True)
class Word:
    """A word of an instruction.

    Attributes:
        text: It in lower case; several words that are one are joined (`text box` → `textbox`).
        start, end: Where it stands.
    """

    text: str
    start: int
    end: int


@lru_cache(maxsize=2048)
def words_of(text: str) -> tuple[Word, ...]:
    """The words of a text, in their order; signs that controls are named with count as words."""
    found = [Word(match[0].lower(), *match.span()) for match in _WORD.finditer(text)]
    joined = lexicon().joined
    result: list[Word] = []
    place = 0
    while place < len(found):
        two = " ".join(one.text for one in found[place : place + 2])
        if place + 1 < len(found) and two in joined and not text[found[place].end : found[place + 1].start].strip():
            result.append(Word(joined[two], found[place].start, found[place + 1].end))
            place += 2
        else:
            result.append(Word(joined.get(found[place].text, found[place].text), found[place].start, found[place].end))
            place += 1
    return tuple(result)


@lru_cache(maxsize=8192)
def form_of(word: str) -> str:
    """A word in the form in which words are compared; figures and short words stay."""
    return word if len(word) < 4 or not word.isalpha() else stem(word)


def ordinal_of(word: str) -> int | None:
    """The place that an ordinal names, from 1; -1 for the last one; None for other words."""
    known = lexicon().ordinals.get(word)
    if known is not None:
        return known
    match = re.fullmatch(r"(\d{1,3})(?:st|nd|rd|th)", word)
    return int(match[1]) if match else None


@lru_cache(maxsize=4096)
def means(word: str, other: str) -> bool:
    """Whether two words are the same, in any form, or say the same on a control."""
    if form_of(word) == form_of(other):
        return True
    same = lexicon().same
    return other in same.get(word, ()) or word in same.get(other, ())
