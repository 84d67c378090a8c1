"""Short Python programs: requests in everyday words, each with a program that prints the result.

Families of tasks are in `programs/`, a file for each subject; wrappers around a task and the pools of words are in
`programs/wording.toml`. Some families are never trained on, so that a test tells what was learnt from what was seen.
Knows no model and runs no program.
"""

from __future__ import annotations

import json
import re
import tomllib
from calendar import day_name, month_name
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from random import Random
from string import Template
from typing import Any

from llmos.agents import jobs
from llmos.errors import ConfigError
from llmos.learn.data import values
from llmos.learn.data.example import Example, Sheet, Split, share_of, split_of
from llmos.learn.data.noise import noisy
from llmos.learn.data.pools import dealt, drawn, filled, lines

_FOLDER = Path(__file__).with_suffix("")
_WORDING = _FOLDER / "wording.toml"
_SALT = "programs"
_HELD, _UNSEEN, _NOISY, _POLITE, _LOOSE, _ROUND, _SPELLED = 0.18, 0.4, 0.45, 0.3, 0.4, 0.35, 0.2
"""How often: a family that isn't common is only tested; a test is of such a family; a request is typed carelessly; it
is polite; it leaves hints at the form of the output out; a number is a round one; a small one is written as a word."""

_MANY = 60
"""A range of so many numbers is divided among the splits."""

_TRIES = 200
_LENGTHY = re.compile(r"\b(?:ten|10|eight|twelve|12|dozen) lines\b", re.I)
"""Asks for more lines than the shortest program has."""
_VERB = re.compile(r"\[(\w+)\]")
_QUOTED = re.compile(r'"[^"]+"')
_SPELLINGS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Given:
    """A value in a request and in a program.

    Attributes:
        said: How a request says it; by the ending of the slot's name, which is mostly empty.
        code: How a program writes it; by the ending of the slot's name.
        value: What it is, for the checks of results.
    """

    said: Mapping[str, str]
    code: Mapping[str, str]
    value: Any


@dataclass(frozen=True, slots=True)
class Family:
    """Tasks that differ in their values alone.

    Attributes:
        name: Identifies it, and decides whether it is only tested.
        subject: The file it stands in.
        asks: Phrasings of the task: `do` (imperative, with its verbs in brackets), `np` (noun phrase) or `q`
            (question), and the words with slots in braces.
        programs: Equally good answers, with slots after `$`.
        slots: The kind of value of each slot.
        check: A Python expression of the slots that gives the output in another way; empty where there is none. A list
            stands for lines.
        content: What the file that the request names could hold; with slots after `$`.
        common: Many people want it, so it is trained on.
    """

    name: str
    subject: str
    asks: tuple[tuple[str, str], ...]
    programs: tuple[str, ...]
    slots: Mapping[str, str] = field(default_factory=dict[str, str])
    check: str = ""
    content: str = ""
    common: bool = False

    @property
    def unseen(self) -> bool:
        """Whether it is only tested."""
        return not self.common and share_of(f"{_SALT}:{self.name}") < _HELD


@cache
def families() -> tuple[Family, ...]:
    """All families, in the order of their files."""
    files = sorted(path for path in _FOLDER.glob("*.toml") if path != _WORDING)
    return tuple(
        _family(path.stem, one) for path in files for one in tomllib.loads(path.read_text(encoding="utf-8"))["family"]
    )


def sheet(random: Random, split: Split) -> Sheet:
    """Requests of different families, each with its program."""
    seen = [one for one in families() if not one.unseen]
    unseen = [one for one in families() if one.unseen]
    count = random.randint(6, 10)
    new = sum(random.random() < _UNSEEN for _ in range(count)) if split == "test" else 0
    chosen = random.sample(seen, count - new) + random.sample(unseen, new)
    random.shuffle(chosen)
    return [_example(family, random, split) for family in chosen]


def given(family: Family, random: Random, split: Split) -> Mapping[str, Given]:
    """A value of a split for each slot of a family, all different where that is possible.

    Raises:
        ConfigError: There is no such kind of value.
    """
    found: dict[str, Given] = {}
    for name, kind in family.slots.items():
        for _ in range(_TRIES):
            found[name] = _value(kind, random, split)
            if found[name].value not in [found[other].value for other in found if other != name]:
                break
    return found


def request(family: Family, slots: Mapping[str, Given], random: Random, split: Split) -> str:
    """A task in words: one of its phrasings, in one of the wrappers."""
    asks = family.asks if family.unseen else dealt(family.asks, split, f"{_SALT}:{family.name}")
    kind, phrase = random.choice(asks)
    form = random.choice(("do", "that")) if kind == "do" else kind
    said = {f"{name}{ending}": text for name, one in slots.items() for ending, text in one.said.items()}
    if random.random() < _LOOSE:
        phrase = _loose().sub("", phrase)
    task = filled(_inflected(phrase, third=form == "that"), said)
    wrapper = random.choice(dealt(lines(_words()["wrappers"][form]), split, form))
    imperative = wrapper.startswith("~")
    wrapper = wrapper.removeprefix("~")
    pools = {name: tuple(_items(text)) for name, text in _words()["parts"].items()}
    if imperative and random.random() < _POLITE:
        wrapper = f"{random.choice(pools['polite'])} {wrapper}"
    pools[form] = (task,) * 3
    asked = filled(wrapper, {**drawn(wrapper, pools, random, split), form: task})
    if not wrapper.startswith("{") or not phrase.startswith("{"):
        asked = asked[0].upper() + asked[1:]
    if random.random() < _NOISY:
        asked = noisy(random, asked, keep=[*(text for text in said.values() if text in task), *_QUOTED.findall(task)])
    return asked


def written(template: str, slots: Mapping[str, Given]) -> str:
    """A program, or what a file holds, with its values filled in."""
    codes = {f"{name}{ending}": text for name, one in slots.items() for ending, text in one.code.items()}
    return Template(template).substitute(codes).strip("\n")


def _example(family: Family, random: Random, split: Split) -> Example:
    slots = given(family, random, split)
    asked = request(family, slots, random, split)
    programs = family.programs
    if _LENGTHY.search(asked):
        programs = (max(programs, key=lambda one: one.count("\n")),)
    answer = written(random.choice(programs), slots)
    return Example("program", jobs.program(asked), answer, kind="unseen" if family.unseen else "seen")


def _family(subject: str, data: Mapping[str, Any]) -> Family:
    asks: list[tuple[str, str]] = []
    for line in lines(data["ask"]):
        kind, _, words = line.partition(" ")
        asks.append((kind, words))
    return Family(
        data["name"],
        subject,
        tuple(asks),
        tuple(data["program"]),
        data.get("slots", {}),
        data.get("check", ""),
        data.get("content", ""),
        data.get("common", False),
    )


def _inflected(phrase: str, *, third: bool) -> str:
    """A phrase without brackets: its verbs as they are, or in the third person."""
    return _VERB.sub(lambda found: _third(found[1]) if third else found[1], phrase)


@cache
def _loose() -> re.Pattern[str]:
    return re.compile("|".join(lines(_words()["optional"]["lines"])))


def _third(verb: str) -> str:
    if verb in ("do", "go") or verb.endswith(("s", "sh", "ch", "x", "z")):
        return f"{verb}es"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return f"{verb[:-1]}ies"
    return f"{verb}s"


# -- values


def _value(kind: str, random: Random, split: Split) -> Given:
    name, _, rest = kind.partition(" ")
    maker = _MAKERS.get(name)
    if maker is None:
        raise ConfigError(f"There are no values of the kind {name!r} for programs.", hint="Add a maker for it.")
    return maker(random, split, rest.split())


def _plain(text: str, value: object) -> Given:
    return Given({"": text}, {"": text}, value)


def _of_split(random: Random, split: Split, low: int, high: int, step: int = 1) -> int:
    """A whole number from low to high, often a round one; of the split's own where there are many."""
    value = low
    for _ in range(_TRIES):
        value = random.randrange(low, high + 1, step)
        if step == 1 and random.random() < _ROUND:
            unit = 1000 if high >= 10000 else 100 if high >= 1500 else 10 if high >= 60 else 5
            value = min(max(low, round(value / unit) * unit), high)
        if (high - low) // step < _MANY or split_of(f"{_SALT}:{value}") == split:
            break
    return value


def _integer(random: Random, split: Split, args: Sequence[str]) -> Given:
    """`int LOW HIGH [STEP]`; a large one may have a comma in a request; `_th` is its ordinal."""
    value = _of_split(random, split, *map(int, args))
    text = f"{value:,}" if value >= 1000 and random.random() < _SPELLED else str(value)
    return Given({"": text, "_th": f"{value}{_ordinal(value)}"}, {"": str(value)}, value)


def _count(random: Random, split: Split, args: Sequence[str]) -> Given:
    """`count LOW HIGH`: a number of things, which may be written as a word."""
    value = _of_split(random, split, *map(int, args))
    spelled = value < len(_SPELLINGS) and random.random() < _SPELLED
    return Given({"": _SPELLINGS[value] if spelled else str(value)}, {"": str(value)}, value)


def _year(random: Random, split: Split, args: Sequence[str]) -> Given:
    """`year LOW HIGH`: a number without commas."""
    value = _of_split(random, split, *map(int, args))
    return _plain(str(value), value)


def _until(random: Random, split: Split, args: Sequence[str]) -> Given:
    """`until LOW HIGH`: words for where a range ends, and the number that a program stops before."""
    value = _of_split(random, split, *map(int, args))
    with_end = random.random() < 0.5
    words = random.choice(lines(_words()["ends"]["with" if with_end else "without"]))
    code = f"{value} + 1" if with_end else str(value)
    return Given({"": filled(words, {"n": str(value)})}, {"": code, "_end": str(value)}, value + with_end)


def _span(random: Random, split: Split, args: Sequence[str]) -> Given:
    """`span LOW HIGH LOW HIGH`: words for a range, the arguments of `range`, and both its bounds."""
    low, high = _of_split(random, split, *map(int, args[:2])), _of_split(random, split, *map(int, args[2:]))
    kind = random.choice(("with", "with", "with", "without", "within"))
    text = filled(random.choice(lines(_words()["spans"][kind])), {"a": str(low), "b": str(high)})
    start = f"{low} + 1" if kind == "within" else str(low)
    end = f"{high} + 1" if kind == "with" else str(high)
    return Given({"": text}, {"": f"{start}, {end}"}, range(low + (kind == "within"), high + (kind == "with")))


def _float(random: Random, split: Split, args: Sequence[str]) -> Given:
    """`float LOW HIGH DIGITS`: a decimal number that ends in no zero."""
    low, high, digits = float(args[0]), float(args[1]), int(args[2])
    value = round(random.uniform(low, high), digits)
    for _ in range(_TRIES):
        if split_of(f"{_SALT}:{value}") == split and f"{value:.{digits}f}"[-1] != "0":
            break
        value = round(random.uniform(low, high), digits)
    return _plain(str(value), value)


def _money(random: Random, split: Split, args: Sequence[str]) -> Given:
    """`money LOW HIGH`: with two digits, or a whole number now and then."""
    whole = _of_split(random, split, *map(int, args))
    cents = random.choice((99, 50, 95, 25, 49, 75, 20, random.randint(1, 99)))
    text = str(whole) if random.random() < 0.2 else f"{whole}.{cents:02}"
    return _plain(text, float(text))


def _integers(random: Random, split: Split, args: Sequence[str]) -> Given:
    """`ints LEAST MOST LOW HIGH [twice|mode]`: different ones, or some come again, or one comes three times."""
    least, most, low, high = map(int, args[:4])
    numbers = random.sample(range(low, high + 1), random.randint(least, most))
    if len(args) > 4:
        numbers += 2 * numbers[:1] if args[4] == "mode" else random.sample(numbers, random.randint(1, 3))
        random.shuffle(numbers)
    return Given({"": _listed(random, list(map(str, numbers)), spaced=True)}, {"": str(numbers)}, numbers)


def _decimals(random: Random, split: Split, args: Sequence[str]) -> Given:
    """`floats LEAST MOST LOW HIGH`: with one digit."""
    least, most, low, high = map(int, args)
    numbers = [random.randint(10 * low, 10 * high) / 10 for _ in range(random.randint(least, most))]
    return Given({"": _listed(random, list(map(str, numbers)), spaced=True)}, {"": str(numbers)}, numbers)


def _matrix(random: Random, split: Split, args: Sequence[str]) -> Given:
    """`matrix ROWS COLUMNS LOW HIGH`: a list of lists; so many rows and columns at most, two at least."""
    rows, columns, low, high = map(int, args)
    width = random.randint(2, columns)
    found = [[random.randint(low, high) for _ in range(width)] for _ in range(random.randint(2, rows))]
    return _plain(str(found), found)


def _pool_word(pool: str, random: Random, split: Split) -> str:
    """A word of a pool: names begin with a capital letter, so that their order is plain."""
    own = _words()["pools"].get(pool)
    if own is not None:
        return random.choice(dealt(_items(own), split, pool))
    text = values.draw(pool, random, split, digits=True).text
    return text[0].upper() + text[1:] if pool in ("first_name", "city", "country") else text


def _different(pool: str, random: Random, split: Split, count: int) -> list[str]:
    """Words of a pool without repeats. Lists need some, so validation and test share theirs."""
    found: dict[str, str] = {}
    for _ in range(_TRIES):
        if len(found) == count:
            return list(found.values())
        own: Split = "train" if split == "train" else random.choice(("validation", "test"))
        word = _pool_word(pool, random, own)
        found.setdefault(word.lower(), word)
    raise ConfigError(
        f"The pool {pool!r} has fewer than {count} words for {split!r}.", hint="Add words, or ask for fewer."
    )


def _word(random: Random, split: Split, args: Sequence[str]) -> Given:
    """`word POOL`: bare or quoted in a request; `_bare` is without quotes in a program too."""
    word = _pool_word(args[0], random, split)
    text = random.choice((word, word, f'"{word}"', f"'{word}'" if "'" not in word else word))
    return Given({"": text, "_bare": word}, {"": _literal(word), "_bare": word}, word)


def _word_list(random: Random, split: Split, args: Sequence[str]) -> Given:
    """`words POOL LEAST MOST [twice]`: different ones, or with some that come again."""
    words = _different(args[0], random, split, random.randint(int(args[1]), int(args[2])))
    if len(args) > 3:
        words += random.sample(words, random.randint(1, min(3, len(words))))
        random.shuffle(words)
    code = "[" + ", ".join(map(_literal, words)) + "]"
    return Given({"": _listed(random, words, code=code)}, {"": code, "_text": _literal(" ".join(words))}, words)


def _sentence(random: Random, split: Split, args: Sequence[str]) -> Given:
    """`sentence [bare]`: quoted in a request; or in small letters from a to z, without marks."""
    text = ""
    for _ in range(_TRIES):
        template = random.choice(dealt(lines(_words()["sentences"]["lines"]), split, "sentences"))
        text = values.filled(template, random, split)
        if text.isascii() and not (args and re.search(r"[0-9]", text)):
            break
    text = re.sub(r"[^a-z ]", "", text.lower()) if args else text[0].upper() + text[1:]
    said = f"'{text}'" if "'" not in text and random.random() < 0.3 else f'"{text}"'
    return Given({"": said}, {"": _literal(text), "_bare": text}, text)


def _letter(random: Random, split: Split, args: Sequence[str]) -> Given:
    letter = random.choice("aeiourstlnmdgpbch")
    return Given({"": random.choice((letter, f'"{letter}"', f"'{letter}'"))}, {"": _literal(letter)}, letter)


def _choice(random: Random, split: Split, args: Sequence[str]) -> Given:
    """`pick A|B=CODE|C`: one of a few; `_` stands for a blank."""
    said, differs, code = random.choice(" ".join(args).split("|")).partition("=")
    said = said.replace("_", " ")
    code = code if differs else said
    return Given({"": said}, {"": code}, code)


def _table(random: Random, split: Split, args: Sequence[str]) -> Given:
    """`table POOL LEAST MOST int|money LOW HIGH`: things, each with a number of its own."""
    pool, least, most, kind, low, high = args
    names = _different(pool, random, split, random.randint(int(least), int(most)))
    numbers = random.sample(range(int(low), int(high) + 1), len(names))
    texts = [
        f"{one}.{random.choice((99, 50, 95, 25, 49, 75, 20)):02}" if kind == "money" else str(one) for one in numbers
    ]
    code = "{" + ", ".join(f"{_literal(name)}: {text}" for name, text in zip(names, texts, strict=True)) + "}"
    mark = random.choice((" ", " ", ": ", ": ", " = "))
    pairs = [f"{name}{mark}{text}" for name, text in zip(names, texts, strict=True)]
    number: Callable[[str], float] = float if kind == "money" else int
    value = dict(zip(names, map(number, texts), strict=True))
    one = random.randrange(len(names))
    said = {"": code if random.random() < 0.2 else _listed(random, pairs), "_one": names[one]}
    return Given(said, {"": code, "_one": _literal(names[one])}, {**value, "": names[one]})


def _date(random: Random, split: Split, args: Sequence[str]) -> Given:
    """`date LOW HIGH`: of those years; a program writes it as arguments, or as `_iso` text."""
    low, high = int(args[0]), int(args[1])
    first, days = date(low, 1, 1), (date(high, 12, 31) - date(low, 1, 1)).days
    day = first
    for _ in range(_TRIES):
        day = first + timedelta(days=random.randint(0, days))
        if split_of(f"{_SALT}:{day}") == split:
            break
    name, number = month_name[day.month], day.day
    text = random.choice((
        day.isoformat(), day.isoformat(), f"{number} {name} {day.year}", f"{name} {number}, {day.year}",
        f"{number} {name[:3]} {day.year}", f"{name} {number}{_ordinal(number)}, {day.year}",
        f"the {number}{_ordinal(number)} of {name} {day.year}",
    ))  # fmt: skip
    return Given({"": text}, {"": f"{day.year}, {day.month}, {number}", "_iso": f'"{day}"'}, day)


def _month(random: Random, split: Split, args: Sequence[str]) -> Given:
    number = random.randint(1, 12)
    return Given({"": month_name[number]}, {"": str(number), "_name": _literal(month_name[number])}, number)


def _weekday(random: Random, split: Split, args: Sequence[str]) -> Given:
    """A weekday; a program writes its number, from 0 for Monday, or its `_name`."""
    number = random.randrange(7)
    return Given({"": day_name[number]}, {"": str(number), "_name": _literal(day_name[number])}, number)


def _clock(random: Random, split: Split, args: Sequence[str]) -> Given:
    """`clock LOW HIGH`: a time between those hours; `_h` and `_m` are its parts in a program."""
    hour, minute = random.randint(int(args[0]), int(args[1])), random.choice((0, 15, 30, 45, random.randint(1, 59)))
    text = f"{hour}:{minute:02}" if random.random() < 0.5 else f"{hour:02}:{minute:02}"
    return Given({"": text}, {"": f'"{text}"', "_h": str(hour), "_m": str(minute)}, 60 * hour + minute)


def _file(random: Random, split: Split, args: Sequence[str]) -> Given:
    """`file ENDING…`: the name of a file of the workspace."""
    name = f"{values.draw('stem', random, split).text}.{random.choice(args)}"
    text = random.choice((name, name, name, f'"{name}"', f"'{name}'"))
    return Given({"": text}, {"": _literal(name), "_bare": name}, name)


_MAKERS: Mapping[str, Callable[[Random, Split, Sequence[str]], Given]] = {
    "int": _integer, "count": _count, "year": _year, "until": _until, "span": _span, "float": _float, "money": _money,
    "ints": _integers, "floats": _decimals, "matrix": _matrix, "word": _word, "words": _word_list,
    "sentence": _sentence, "letter": _letter, "pick": _choice, "table": _table, "date": _date, "month": _month,
    "weekday": _weekday, "clock": _clock, "file": _file,
}  # fmt: skip


# -- words


def _listed(random: Random, items: Sequence[str], *, code: str = "", spaced: bool = False) -> str:
    """Items as people write them one after another."""
    forms = [", ".join(items), ", ".join(items), f"{', '.join(items[:-1])} and {items[-1]}"]
    if code or spaced:
        forms.append(code or f"[{', '.join(items)}]")
    if spaced:
        forms.append(" ".join(items))
    return random.choice(forms)


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _ordinal(number: int) -> str:
    if number % 100 in (11, 12, 13):
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")


def _items(text: str) -> list[str]:
    return [item for line in lines(text) for item in line.split(" | ")]


@cache
def _words() -> Mapping[str, Mapping[str, str]]:
    return tomllib.loads(_WORDING.read_text(encoding="utf-8"))
