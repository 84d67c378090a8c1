"""Examples of finding who does a task, and of the first decision about a request: answer, look up, or act.

Half of the tasks are for the agents that come with llmos, under their own descriptions; the others for agents that the
model has not seen in training. Words are in `routes_data.toml`. Knows no router.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from llmos.agents import jobs
from llmos.agents.knowledge import knowledge
from llmos.agents.shortlist import ANSWER
from llmos.agents.ways import RETRIEVE
from llmos.learn.data.example import Example, Sheet, Split, part, split_of
from llmos.learn.data.noise import noisy
from llmos.learn.data.pools import dealt
from llmos.learn.data.values import draw

_SLOT = re.compile(r"(\b[Aa] )?(\{([a-z]+)\d?\})")
_NUMBERS: Mapping[str, tuple[int, int]] = {"n": (100, 4900), "m": (11, 95), "k": (3, 9), "g": (10, 40)}
_SHARED = {"name": "first_name", "city": "city"}
_SAME = ("month", "day")
"""Kinds of values that are too few to be divided."""

_SIZES = (14, 20)
_MIXED = 0.2
_FEWER = 0.25
_FALLBACK = 0.25
_OTHER_WAYS = 0.3
_NEAR = 0.2
_OVERLAPPING = ("assistant", "analyst")
"""Agents whose tasks could be a single tool's."""

_SEARCHING = ("tool read_file", "tool search_files", "tool list_files")
"""Tools whose tasks could be a question to memory or documents."""

_PURE = ("assistant", "coder", "analyst", "operator")
"""Agents of llmos that no added agent of `[mixed]` could be taken for."""


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent that does not come with llmos.

    Attributes:
        names: What it may be called; the first one says which split it belongs to.
        about: What it says of itself, in several wordings.
        field: Its subject.
    """

    names: tuple[str, ...]
    about: tuple[str, ...]
    tasks: tuple[str, ...]
    field: str


def route_sheet(random: Random, split: Split) -> Sheet:
    """Tasks for the agents of a list: half of the sheets with those that come with llmos."""
    return _own_sheet(random, split) if random.random() < 0.5 else _other_sheet(random, split)


def decide_sheet(random: Random, split: Split) -> Sheet:
    """Requests that are answered, looked up, or acted on; some with the three ways under other names."""
    names = {way: way for way in jobs.DECISIONS}
    ways = dict(jobs.DECISIONS)
    own = random.random() >= _OTHER_WAYS
    if not own:
        worded: Mapping[str, str] = random.choice(_ways(split))
        names = dict(zip(jobs.DECISIONS, worded, strict=True))
        ways = _shuffled(random, worded)
    asked = _spread(random, list(jobs.DECISIONS), random.randint(*_SIZES))
    sheet: list[Example] = []
    used: set[str] = set()
    for way in asked:
        template = _another(random, _templates("decide", way, split), used)
        request = filled(random, split, template)
        context = jobs.decide(request) if own else jobs.whom(ways, request)
        sheet.append(Example("whom", context, names[way], tuple(ways), "decide" if own else "decide, other words"))
    return sheet


def _own_sheet(random: Random, split: Split) -> Sheet:
    tasks: Mapping[str, Sequence[str]] = _texts()["own"]
    about: Mapping[str, Mapping[str, str]] = knowledge()["agents"]
    ways = {name: about[name]["description"] for name in tasks}
    pools = {name: _templates("own", name, split) for name in tasks}
    kind = "own"
    if random.random() < _NEAR:
        return _near_sheet(random, split)
    if random.random() < _MIXED:
        added = [one for one in _agents(split) if one.field in _texts()["mixed"]["fields"]]
        chosen = _together(random, added, random.randint(1, 3))
        named = {random.choice(one.names): one for one in chosen}
        pools = {name: pools[name] for name in _PURE} | {name: one.tasks for name, one in named.items()}
        ways |= {name: random.choice(one.about) for name, one in named.items()}
        kind = "mixed"
    elif random.random() < _FEWER:
        left = random.sample(list(ways), random.randint(3, 5))
        pools = {name: pools[name] for name in left}
        ways = {name: ways[name] for name in left}
    return _sheet(random, split, _shuffled(random, ways), pools, kind)


def _near_sheet(random: Random, split: Split) -> Sheet:
    """A few ways of any kind, as the router leaves them to the model: agents, single tools, talk, memory."""
    about: Mapping[str, Mapping[str, str]] = knowledge()["agents"]
    tools: Mapping[str, Mapping[str, str]] = _texts()["tool"]
    ways: dict[str, str] = {}
    pools: dict[str, Sequence[str]] = {}
    for name in random.sample(list(tools), random.randint(0, 2)):
        ways[f"tool {name}"] = tools[name]["about"]
        pools[f"tool {name}"] = _templates("tool", name, split)
    agents = [name for name in about if not (name in _OVERLAPPING and ways)]
    searched = any(name in _SEARCHING for name in ways)
    for name in random.sample([RETRIEVE, ANSWER], random.randint(1, 2)):
        if name == RETRIEVE and searched:
            continue
        ways[name] = knowledge()[name]["description"]
        pools[name] = _templates("decide", name, split)
    if RETRIEVE in ways or searched:
        agents = [name for name in agents if name not in ("researcher", "assistant")]
    for name in random.sample(agents, random.randint(1, 3)):
        ways[name] = about[name]["description"]
        pools[name] = _templates("own", name, split)
    if len(ways) < 3:
        return _near_sheet(random, split)
    return _sheet(random, split, _shuffled(random, ways), pools, "near")


def _other_sheet(random: Random, split: Split) -> Sheet:
    chosen = _together(random, _agents(split), random.randint(3, 8))
    named = {random.choice(one.names): one for one in chosen}
    ways = {name: random.choice(one.about) for name, one in named.items()}
    pools = {name: list(one.tasks) for name, one in named.items()}
    kind = "others"
    absent = [one for one in _agents(split) if not any(_clash(one, other) for other in chosen)]
    if absent and random.random() < _FALLBACK:
        rest: Mapping[str, Sequence[str]] = _texts()["fallback"]
        name = random.choice(part(rest["names"], split, "fallback") or [rest["names"][0]])
        ways[name] = random.choice(part(rest["about"], split, "fallback") or [rest["about"][0]])
        pools[name] = [task for one in absent for task in one.tasks]
        kind = "fallback"
    return _sheet(random, split, _shuffled(random, ways), pools, kind)


def _sheet(
    random: Random, split: Split, ways: Mapping[str, str], pools: Mapping[str, Sequence[str]], kind: str
) -> Sheet:
    sheet: list[Example] = []
    used: set[str] = set()
    for name in _spread(random, [name for name in ways if pools.get(name)], random.randint(*_SIZES)):
        template = _another(random, pools[name], used)
        request = filled(random, split, template)
        context = jobs.whom(ways, request)
        sheet.append(Example("whom", context, name, tuple(ways), kind, request=request, ways=ways))
    return sheet


def _ways(split: Split) -> list[Mapping[str, str]]:
    """Other names and descriptions of the three ways, in the order of `jobs.DECISIONS`."""
    listed: Sequence[Mapping[str, str]] = _texts()["decide"]["ways"]
    firsts = dealt([next(iter(one)) for one in listed], split, "decide ways")
    return [one for one in listed if next(iter(one)) in firsts]


# -- which


def _spread(random: Random, names: Sequence[str], count: int) -> list[str]:
    """So many names, each about as often as the others, in any order."""
    rounds = [name for _ in range(-(-count // len(names))) for name in random.sample(names, len(names))]
    chosen = rounds[:count]
    random.shuffle(chosen)
    return chosen


def _another(random: Random, pool: Sequence[str], used: set[str]) -> str:
    """An item that was not used yet, as long as there is one."""
    chosen = random.choice([one for one in pool if one not in used] or pool)
    used.add(chosen)
    return chosen


def _shuffled(random: Random, ways: Mapping[str, str]) -> dict[str, str]:
    return dict(random.sample(list(ways.items()), len(ways)))


def _together(random: Random, agents: Sequence[Agent], count: int) -> list[Agent]:
    """Some agents of which none could have another one's task."""
    chosen: list[Agent] = []
    for one in random.sample(agents, len(agents)):
        if len(chosen) < count and not any(_clash(one, other) for other in chosen):
            chosen.append(one)
    return chosen


def _clash(one: Agent, other: Agent) -> bool:
    clashes: Mapping[str, Sequence[str]] = _texts()["clashes"]
    return (
        one.field == other.field
        or other.field in clashes.get(one.field, ())
        or one.field in clashes.get(other.field, ())
    )  # fmt: skip


@cache
def _agents(split: Split) -> tuple[Agent, ...]:
    read = [
        Agent(tuple(one["names"]), tuple(one["about"]), tuple(one["tasks"]), one["field"]) for one in _texts()["agent"]
    ]
    return tuple(one for one in read if split_of(f"agent {one.names[0]}") == split)


# -- words


def filled(random: Random, split: Split, template: str) -> str:
    """A request made of a template, as somebody types it; a slot's values differ, also among `{city}` and `{city2}`."""
    values: dict[str, str] = {}

    def value(found: re.Match[str]) -> str:
        article, slot, kind = found[1] or "", found[2], found[3]
        while slot not in values:
            drawn = _value(random, split, kind)
            if drawn not in values.values():
                values[slot] = drawn
        if article and values[slot][0] in "aeiou":
            article = f"{article.rstrip()}n "
        return f"{article}{values[slot]}"

    return noisy(random, _SLOT.sub(value, template), keep=tuple(values.values()))


def _value(random: Random, split: Split, kind: str) -> str:
    if kind in _NUMBERS:
        return str(random.randint(*_NUMBERS[kind]))
    if kind in _SHARED:
        return draw(_SHARED[kind], random, split).text
    extensions: Mapping[str, Sequence[str]] = _texts()["extensions"]
    if kind in extensions:
        return f"{random.choice(_pool('stem', split))}.{random.choice(extensions[kind])}"
    return random.choice(_pool(kind, split))


@cache
def _templates(table: str, name: str, split: Split) -> tuple[str, ...]:
    pool: Any = _texts()[table][name]
    return tuple(part(pool["tasks"] if table == "tool" else pool, split, f"{table} {name}"))


@cache
def _pool(kind: str, split: Split) -> tuple[str, ...]:
    pools: Mapping[str, Sequence[str]] = {**_texts()["slots"], **_texts()["slots_decide"]}
    return tuple(pools[kind] if kind in _SAME else part(pools[kind], split, f"slot {kind}"))


@cache
def _texts() -> Mapping[str, Any]:
    path = Path(__file__).with_name("routes_data.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))
