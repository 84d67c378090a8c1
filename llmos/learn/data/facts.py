"""Questions of world knowledge: which the base model answers rightly, and what it should say to the others.

The questions are in `facts.toml`; `facts_known.json` says how often the embedded model was right when it was asked all
of them (`scripts/label_facts.py` writes it). Knows no model itself.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from llmos.agents import jobs
from llmos.agents.prompts import prompts
from llmos.learn.data.example import Example, Sheet, Split, split_of
from llmos.learn.data.noise import noisy
from llmos.learn.data.pools import dealt, drawn, filled, lines
from llmos.messages import Context

KNOWN = Path(__file__).with_name("facts_known.json")
YES, NO = "yes", "no"
_SALT = "facts"
_EVERYDAY, _OPEN, _DOUBTFUL = 0.2, 0.2, 0.25
"""Of the questions with a sure answer, those that everybody can answer; of the others, those that nobody can; and of
the rest, those that the base model got right in one wording only: they are left open, since a guess would often be
wrong."""
_LOOSE_HEAD = 4
"""Loose questions that begin with the same so many words are worded alike, and stay in one split."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A question of world knowledge.

    Attributes:
        key: Identifies it, and keeps its place in the file of labels.
        group: What it is split by: its subject, or the wording where it stands alone.
        asked: Ways to ask it, in training.
        held: Ways to ask it, in validation and test.
        answers: Any of them is right; the first is the one to say.
        said: Sentences that answer it.
        common: Everybody knows it, so it is not left open, even if the base model got it wrong.
    """

    key: str
    group: str
    asked: tuple[str, ...]
    held: tuple[str, ...]
    answers: tuple[str, ...]
    said: tuple[str, ...]
    common: bool


@cache
def facts() -> tuple[Fact, ...]:
    """All questions."""
    data = _data()
    found = [fact for family in data["family"] for fact in _family(family)]
    found += [_loose(line, common=False) for line in _lines(data["loose"])]
    found += [_loose(line, common=True) for line in _lines(data["common"])]
    return tuple(found)


def right(fact: Fact, said: str) -> bool:
    """Whether one of the answers stands in the first sentence of what was said.

    Answers of one or two letters are symbols, whose case counts.
    """
    start = re.split(r"(?<=[.!?])\s+", said.strip())[0]
    return any(
        re.search(rf"(?<!\w){re.escape(one)}(?!\w)", start, 0 if len(one) < 3 else re.IGNORECASE)
        for one in fact.answers
    )


@cache
def labels() -> Mapping[str, int]:
    """How often of two times the base model was right, by the key of the question."""
    data = json.loads(KNOWN.read_text(encoding="utf-8"))
    return {key: int(times) for key, times in data["right"].items()}


@cache
def divided(split: Split, times: int) -> tuple[Fact, ...]:
    """The questions of a split that the base model answered rightly so many times of two."""
    return tuple(
        fact
        for fact in facts()
        if labels()[fact.key] == times and not (fact.common and times < 2) and split_of(f"{_SALT}{fact.group}") == split
    )


def know_sheet(random: Random, split: Split) -> Sheet:
    """Whether the model knows an answer, of questions that it does and that it doesn't."""
    count = random.randint(12, 20)
    return [_known(random, split, sure=index < count / 2) for index in random.sample(range(count), count)]


def fact_sheet(random: Random, split: Split) -> Sheet:
    """Questions in a chat: answered, or left open honestly."""
    count = random.randint(12, 20)
    return [_told(random, split, sure=index < count / 2) for index in random.sample(range(count), count)]


def unsure(random: Random) -> str:
    """What to say to a question without a sure answer."""
    wordings: Sequence[str] = _data()["unsure"]
    return random.choice(wordings)


def unknowable(random: Random, split: Split) -> str:
    """A question that no model can answer by itself."""
    template = random.choice(dealt(_data()["open"]["templates"], split, _SALT))
    return filled(template, drawn(template, _data()["slots"], random, split))


def everyday(split: Split) -> Sequence[tuple[str, str]]:
    """Questions that everybody can answer, each with its answer; also for simple advice and the meaning of words."""
    rows = dealt(_lines(_data()["everyday"]), split, _SALT)
    for kind in ("advice", "explain"):
        rows += dealt(_lines(talk_rows()[kind]), split, kind)
    return [(ask, say) for ask, _, say in (row.partition(" | ") for row in rows)]


@cache
def talk_rows() -> Mapping[str, Mapping[str, Any]]:
    """Messages each with its own reply, by kind."""
    return tomllib.loads(Path(__file__).with_name("talk_rows.toml").read_text(encoding="utf-8"))


def _known(random: Random, split: Split, *, sure: bool) -> Example:
    question, _, kind = _question(random, split, sure=sure)
    return Example("know", jobs.know(question), YES if sure else NO, (YES, NO), kind)


def _told(random: Random, split: Split, *, sure: bool) -> Example:
    question, answer, kind = _question(random, split, sure=sure)
    return Example("chat", Context.chat(question, system=prompts().chat), answer, kind=kind)


def _question(random: Random, split: Split, *, sure: bool) -> tuple[str, str, str]:
    """A question, what to say, and what it is a case of."""
    if sure and random.random() < _EVERYDAY:
        ask, say = random.choice(everyday(split))
        return noisy(random, ask), say, "everyday"
    if not sure and random.random() < _OPEN:
        return noisy(random, unknowable(random, split)), unsure(random), "open"
    doubtful = not sure and random.random() < _DOUBTFUL
    fact = random.choice(divided(split, 2 if sure else int(doubtful)))
    question = random.choice(fact.asked if split == "train" else fact.held)  # as it was measured, without noise
    kind = "known" if sure else "doubtful" if doubtful else "unknown"
    return question, random.choice(fact.said) if sure else unsure(random), kind


def _family(family: Mapping[str, Any]) -> list[Fact]:
    found: list[Fact] = []
    for line in _lines(family):
        subject, _, rest = line.partition(": ")
        answers = tuple(one.strip() for one in rest.split(";"))

        def worded(templates: Sequence[str], values: Mapping[str, str]) -> tuple[str, ...]:
            return tuple(_upper(filled(one, values), one) for one in templates)

        values = {"x": subject, "a": answers[0]}

        found.append(
            Fact(
                f"{family['name']}/{subject}",
                subject.lower(),
                worded(family["ask"], values),
                worded(family["held"], values),
                answers,
                worded(family["say"], values),
                family.get("common", False),
            )
        )
    return found


def _upper(text: str, template: str) -> str:
    """A sentence begins with a capital letter, also where its first word is filled in."""
    return text[0].upper() + text[1:] if template.startswith(("{x}", "{a}")) and template.endswith(".") else text


def _loose(line: str, *, common: bool) -> Fact:
    question, again, answers, said = (one.strip() for one in line.split(" | "))
    group = " ".join(question.split()[:_LOOSE_HEAD]).lower()
    wordings = (question, again)
    return Fact(f"loose/{question}", group, wordings, wordings, tuple(answers.split("; ")), (said,), common)


def _lines(table: Mapping[str, Any]) -> list[str]:
    return lines(table["rows"])


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
