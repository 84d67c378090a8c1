"""Conversations with a title and a summary, which come from the same slots and so are faithful.

They are in `conversations.toml`; names, places and things are those of `talk.toml`. Knows no model.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from llmos.agents import jobs
from llmos.learn.data.example import Example, Sheet, Split
from llmos.learn.data.noise import noisy
from llmos.learn.data.pools import dealt, drawn, filled, lines
from llmos.learn.data.talk import sentence, slots
from llmos.learn.data.wording import with_article
from llmos.messages import Context, Message

_OPENED, _CLOSED, _NOISY = 0.25, 0.35, 0.4


def title_sheet(random: Random, split: Split) -> Sheet:
    """Conversations, each with a title of two to six words."""
    return _sheet(random, split, "title", jobs.title)


def summary_sheet(random: Random, split: Split) -> Sheet:
    """Conversations, each in one or two sentences."""
    return _sheet(random, split, "summary", jobs.summary)


def _sheet(random: Random, split: Split, job: jobs.Job, context: Callable[[Sequence[Message]], Context]) -> Sheet:
    sheet: list[Example] = []
    subjects = dealt(range(len(_data()["talk"])), split, "conversations")
    for number in random.sample(subjects, min(len(subjects), random.randint(6, 10))):
        found: Mapping[str, Any] = _data()["talk"][number]
        pools = {**slots(), **_data()["slots"]}
        values = drawn(found["turns"] + found["title"] + found["summary"], pools, random, split)
        spoken = _spoken(found["turns"], values, random, split)
        sheet.append(Example(job, context(spoken), sentence(filled(found[job], values)), kind=job))
    return sheet


def _spoken(turns: str, values: Mapping[str, str], random: Random, split: Split) -> list[Message]:
    """The turns of a conversation, now and then after a greeting, or with thanks at the end."""
    said: list[Message] = []
    if random.random() < _OPENED:
        said += _aside("open", random, split)
    for line in lines(turns):
        role, _, ways = line.partition(": ")
        way = random.choice(ways.split(" // "))
        text = filled(way, values).replace(" / ", "\n")
        text = sentence(text) if way.startswith("{") else with_article(text)
        if role == "U" and random.random() < _NOISY:
            text = noisy(random, text, keep=tuple(values.values()))
        said.append(Message("user" if role == "U" else "assistant", text))
    if random.random() < _CLOSED and said[-1].role == "assistant":
        said += _aside("close", random, split)
    return said


def _aside(place: str, random: Random, split: Split) -> list[Message]:
    ask, _, say = random.choice(dealt(lines(_data()["extra"][place]), split, place)).partition(" | ")
    return [Message("user", ask), Message("assistant", say)]


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
