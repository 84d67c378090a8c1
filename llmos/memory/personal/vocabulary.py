"""English as personal memory knows it, from `words.toml`, and the forms in which words are compared.

Knows no item and no grammar.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

USER = "user"
"""The subject of statements about the one who speaks."""

_WORD = re.compile(r"[^\W_]+(?:[.'+#-][^\W_]+)*[+#]*")
_DETERMINERS = frozenset({"a", "an", "the", "my", "our", "some", "any"})
_FRESH = frozenset({"new", "current", "present", "own", "actual", "preferred", "usual", "go-to"})
_SPELLED = {
    "favorite": "favourite",
    "fave": "favourite",
    "fav": "favourite",
    "color": "colour",
    "neighbor": "neighbour",
}
_PLURALS = {"children": "child", "people": "person", "wives": "wife", "mice": "mouse", "feet": "foot", "teeth": "tooth"}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Words by what they are; see `words.toml`.

    Attributes:
        same: The attribute under which another is kept.
        many: Attributes that have several values at once.
        profile: Attributes that matter for every task, the most important first.
    """

    several: frozenset[str]
    relations: frozenset[str]
    about_me: frozenset[str]
    same: dict[str, str]
    many: frozenset[str]
    profile: tuple[str, ...]
    diets: frozenset[str]
    health: frozenset[str]
    conditions: frozenset[str]
    marital: frozenset[str]
    work_states: frozenset[str]
    occupations: frozenset[str]
    things: frozenset[str]
    demonyms: frozenset[str]
    languages: frozenset[str]
    pairs: tuple[str, ...]
    stop: frozenset[str]


@cache
def vocabulary() -> Vocabulary:
    """The vocabulary, read once."""
    data = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))
    same: dict[str, str] = {}
    for row in data["same"]:
        first, *others = row.split("|")
        same |= {_joined(other): _joined(first) for other in others}
    several = frozenset(data["several"].split())
    return Vocabulary(
        several=several,
        relations=several | frozenset(data["single"].split()),
        about_me=frozenset(_joined(name) for name in _phrases(data["about_me"])),
        same=same,
        many=frozenset(data["many"].split()),
        profile=tuple(_phrases(data["profile"])),
        diets=frozenset(data["diets"].split()),
        health=frozenset(data["health"].split()),
        conditions=frozenset(data["conditions"].split()),
        marital=frozenset(data["marital"].split()),
        work_states=frozenset(data["work_states"].split()),
        occupations=frozenset(data["occupations"].split()),
        things=frozenset(data["things"].split()),
        demonyms=frozenset(data["demonyms"].split()),
        languages=frozenset(data["languages"].split()),
        pairs=tuple(_phrases(data["pairs"])),
        stop=frozenset(data["stop"].split()),
    )


def _phrases(text: str) -> list[str]:
    return [" ".join(part.split()) for part in text.split("|")]


@lru_cache(maxsize=4096)
def singular(word: str) -> str:
    """A word without the ending of the plural, roughly: good for comparing, not for showing."""
    if word in _PLURALS:
        return _PLURALS[word]
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    if len(word) > 4 and word.endswith(("sses", "xes", "zes", "ches", "shes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def words_of(text: str) -> list[str]:
    """The words of a text in one form: lower case, one spelling, singular."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")
    found = (word.removesuffix("'s") for word in _WORD.findall(folded))
    return [singular(_SPELLED.get(word, word)) for word in found]


@lru_cache(maxsize=8192)
def content_words(text: str) -> frozenset[str]:
    """The words of a text that carry something."""
    return frozenset(words_of(text)) - _stop()


@cache
def _stop() -> frozenset[str]:
    return vocabulary().stop | frozenset(map(singular, vocabulary().stop))


def value_key(value: str) -> str:
    """What two ways of writing one value have in common; the text itself if it has no words."""
    words = words_of(value)
    while len(words) > 1 and words[0] in _DETERMINERS:
        del words[0]
    return " ".join(words) or value.strip()


def attribute_key(attribute: str) -> str:
    """The name under which an attribute is kept: `e-mail address` is `email`, `new offices` is `office`."""
    name = _joined(attribute)
    return vocabulary().same.get(name, name)


def subject_key(subject: str) -> str:
    """The name under which a subject is kept: `user`, a relation (`wife`) or a name in lower case."""
    return attribute_key(subject) if subject != USER else USER


def _joined(attribute: str) -> str:
    words = words_of(attribute)
    while len(words) > 1 and words[0] in _DETERMINERS | _FRESH:
        del words[0]
    return " ".join(words) or attribute.strip().casefold()


def is_relation(name: str) -> bool:
    """Whether a word names a person or an animal by what it is to the user, as in `my younger sister`."""
    words = words_of(name)
    return bool(words) and len(words) <= 3 and words[-1] in _relations()


@cache
def _relations() -> frozenset[str]:
    return frozenset(singular(word) for word in vocabulary().relations)


@cache
def _several() -> frozenset[str]:
    return frozenset(singular(word) for word in vocabulary().several)


def has_many(attribute: str) -> bool:
    """Whether an attribute has several values at once: likes, allergies, children.

    A relation that is told apart (`younger sister`) has one.
    """
    name = attribute_key(attribute)
    return name in _several() or name in {attribute_key(one) for one in vocabulary().many}
