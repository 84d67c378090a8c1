"""Wishes about words that stand in the message: rewrite, list, sort, count. The answer is computed, so it is right.

Ways to ask, sentences and things are in `wording.toml`. Knows no job.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from llmos.learn.data.example import Split
from llmos.learn.data.pools import dealt, filled, lines

_PLURAL = ("I", "We", "They", "You")
_SMALL = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_NOT_A_NAME = re.compile(r"(?:We|They|She|He|My|The|Our|You)\b")
_ABOUT_THINGS = (
    "I have lost the {x}.", "The {x} is next to the door.", "Where is the {x}?", "She drew a {x} on the card.",
    "My {x} is better than yours.", "Everybody talks about the {x}.", "There is a {x} in the story.",
    "Put the {x} on the list.",
)  # fmt: skip
_ABOUT_CITIES = ("We fly to {x} in May.", "My aunt lives in {x}.", "The train to {x} is late.", "I like {x}.")
_HELD = 6
"""At least so many things of a group are for validation and test."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A message about words, and what to say to it."""

    ask: str
    say: str
    kind: str


def wish(random: Random, split: Split) -> Wish:
    """One wish, of any kind."""
    kind = random.choice(KINDS)
    values, say = _MAKERS[kind](random, split, kind)
    template = random.choice(dealt(_data()["asks"][kind], split, kind))
    return Wish(filled(template, values), say, kind)


def enumerated(items: Sequence[str]) -> str:
    """Things in a row as one says them: `a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def with_article(text: str) -> str:
    """`a` is `an` before vowels, where a slot was filled in."""
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)


# -- sentences

_Made = tuple[Mapping[str, str], str]


def _text(text: str, say: str) -> _Made:
    return {"text": text}, say


def _polite(random: Random, split: Split, kind: str) -> _Made:
    request = random.choice(_lines("requests", split))
    values = {"r": request, "R": _capital(request)}
    harsh = filled(random.choice(_data()["pools"]["harsh"]), values)
    return _text(harsh, filled(random.choice(_data()["pools"]["kind"]), values))


def _pair(random: Random, split: Split, kind: str) -> _Made:
    pool = {"shorter": "shorts", "formal": "formals"}[kind]
    ask, _, say = random.choice(_lines(pool, split)).partition(" | ")
    return _text(ask, say)


def _spelling(random: Random, split: Split, kind: str) -> _Made:
    text = random.choice(_lines("marked", split))
    parts = re.compile(r"\{(\w+)/(\w+)\}")
    return _text(parts.sub(r"\1", text), parts.sub(r"\2", text))


def _punctuation(random: Random, split: Split, kind: str) -> _Made:
    text = random.choice(_lines("plain", split))
    bare = text.rstrip(".")
    return _text(bare if bare.startswith("I ") else bare[0].lower() + bare[1:], text)


def _case(random: Random, split: Split, kind: str) -> _Made:
    text = random.choice(_lines("plain", split)) if random.random() < 0.6 else random.choice(_lines("requests", split))
    titled = re.sub(r"(?<!\w)\w", lambda found: found[0].upper(), text.rstrip("."))
    return _text(text, {"upper": text.upper(), "lower": text.lower(), "title": titled, "repeat": text}[kind])


def _inflected(random: Random, split: Split, kind: str) -> _Made:
    subject = random.choice(_lines("subjects", split))
    base, third, past, _, rest = (one.strip() for one in random.choice(_lines("verbs", split)).split("|"))
    many = subject in _PLURAL or _is_many(subject)
    spoken = _small(subject) if _NOT_A_NAME.match(subject) else subject
    text = f"{subject} {base if many else third} {rest}."
    said = {
        "past": f"{subject} {past} {rest}.",
        "future": f"{subject} will {base} {rest}.",
        "negative": f"{subject} {'do' if many else 'does'} not {base} {rest}.",
        "question": f"{'Do' if many else 'Does'} {spoken} {base} {rest}?",
    }
    return _text(text, said[kind])


def _is_many(subject: str) -> bool:
    return " and " in subject or (subject.endswith(("s", "children")) and subject != "Jonas")


def _replace(random: Random, split: Split, kind: str) -> _Made:
    group = random.choice(sorted(set(_data()["items"]) - {"tasks", "groceries", "names", "colours"}))
    old, new = random.sample(_items(group, split), 2)
    frame = random.choice(_ABOUT_THINGS)
    if group == "cities":
        frame = random.choice(_ABOUT_CITIES)
    return {"old": old, "new": new, "text": with_article(frame.format(x=old))}, with_article(frame.format(x=new))


def _words(random: Random, split: Split, kind: str) -> _Made:
    text = random.choice(_lines("plain", split))
    return _text(text, f"{_capital(_SMALL[len(text.split())])} words.")


# -- lists


def _listed(random: Random, split: Split, kind: str) -> _Made:
    group = random.choice(sorted(_data()["items"]))
    pool = _items(group, split)
    items = random.sample(pool, random.randint(3, min(len(pool), 7)))
    separator = random.choice([", ", ", ", ", ", "; ", " and "]) if kind != "dedupe" else ", "
    values = {"list": separator.join(items), "lines": "\n".join(f"- {one}" for one in items)}
    match kind:
        case "sort":
            say = ", ".join(sorted(items, key=str.lower))
        case "reverse":
            say = ", ".join(reversed(items))
        case "count":
            say = f"{_capital(_SMALL[len(items)])}." if random.random() < 0.3 else f"There are {_SMALL[len(items)]}."
        case "bullets":
            say = "\n".join(f"- {one}" for one in items)
        case "numbered":
            say = "\n".join(f"{number}. {one}" for number, one in enumerate(items, 1))
        case "joined":
            say = enumerated(items)
        case "first":
            say = f"The first one is {items[0]}."
        case "last":
            say = f"The last one is {items[-1]}."
        case _:
            raise ValueError(f"no list is made for {kind!r}")
    return values, say


def _changed(random: Random, split: Split, kind: str) -> _Made:
    group = random.choice(sorted(_data()["items"]))
    pool = _items(group, split)
    items = random.sample(pool, random.randint(3, min(len(pool) - 1, 6)))
    other = random.choice([one for one in pool if one not in items])
    match kind:
        case "add":
            say, values = ", ".join([*items, other]), {"item": other, "list": ", ".join(items)}
        case "remove":
            gone = random.choice(items)
            say, values = ", ".join(one for one in items if one != gone), {"item": gone, "list": ", ".join(items)}
        case "among":
            there = random.random() < 0.5
            item = random.choice(items) if there else other
            say = f"Yes, {item} is in the list." if there else f"No, {item} is not in the list."
            values = {"item": item, "list": ", ".join(items)}
        case _:
            twice = [*items, *random.sample(items, 2)]
            random.shuffle(twice)
            say, values = ", ".join(dict.fromkeys(twice)), {"list": ", ".join(twice)}
    return values, say


def _which(random: Random, split: Split, kind: str) -> _Made:
    one, other = random.sample(sorted(set(_data()["items"]) - {"groceries", "tasks"}), 2)
    wanted = random.sample(_items(one, split), random.randint(2, 3))
    items = [*wanted, *random.sample(_items(other, split), random.randint(1, 3))]
    random.shuffle(items)
    say = _capital(enumerated([item for item in items if item in wanted])) + "."
    return {"kind": one, "list": ", ".join(items)}, say


def _numbers(random: Random, split: Split, kind: str) -> _Made:
    top = random.choice([20, 100, 1000])
    numbers = random.sample(range(1, top), random.randint(3, 6))
    values = {"list": ", ".join(map(str, numbers))}
    match kind:
        case "ascending":
            return values, ", ".join(map(str, sorted(numbers)))
        case "descending":
            return values, ", ".join(map(str, sorted(numbers, reverse=True)))
        case "largest":
            return values, f"{max(numbers)} is the largest."
        case _:
            return values, f"{min(numbers)} is the smallest."


_MAKERS: Mapping[str, Callable[[Random, Split, str], _Made]] = {
    "polite": _polite,
    **dict.fromkeys(("shorter", "formal"), _pair),
    "spelling": _spelling,
    "punctuation": _punctuation,
    **dict.fromkeys(("upper", "lower", "title", "repeat"), _case),
    **dict.fromkeys(("past", "future", "negative", "question"), _inflected),
    "replace": _replace,
    "words": _words,
    **dict.fromkeys(("sort", "reverse", "count", "bullets", "numbered", "joined", "first", "last"), _listed),
    **dict.fromkeys(("add", "remove", "among", "dedupe"), _changed),
    "which": _which,
    **dict.fromkeys(("ascending", "descending", "largest", "smallest"), _numbers),
}
KINDS = tuple(_MAKERS)


# -- words


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _small(text: str) -> str:
    return text[:1].lower() + text[1:]


def _items(group: str, split: Split) -> list[str]:
    """Things of a group: lists need some, so validation and test share a third of them."""
    pool: Sequence[str] = _data()["items"][group]
    ordered = sorted(pool, key=lambda item: hashlib.sha256(f"{group}{item}".encode()).digest())
    cut = max(_HELD, len(pool) // 3)
    return ordered[cut:] if split == "train" else ordered[:cut]


def _lines(pool: str, split: Split) -> list[str]:
    return dealt(lines(_data()["pools"][pool]), split, pool)


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
