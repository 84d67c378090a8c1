"""Sheets of requests over tools: which tool comes next, and with which arguments.

Knows no particular tool.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random

from llmos.agents import allowed, jobs
from llmos.errors import ConfigError
from llmos.learn.data import values
from llmos.learn.data.example import Example, Sheet, Split, part
from llmos.learn.data.noise import noisy
from llmos.learn.data.schemas import Asked, Shown, ToolKind, builtin_tools, families, tools

_MOST = 12
_BUILTIN = 0.5
_ORIGINAL = 0.6
_MIXED = 0.25
_NEAR = 1 / 3
_LEAST = 8
_MANY = (14, 20)
_FEW = 0.25
_NONE = 0.09
_NONE_OF_FEW = 0.25
_ASK = 0.05
_TALK = 0.5
_TO_NEAR = 0.65
_TRIES = 30
_GENERAL = frozenset({"web_search", "http_get", "http_request", "python", "shell"})
"""Tools that could do much of what others do: where one is in view, only what a computer can't do alone has no tool."""

_GROUPS = (
    {"builtin", "files", "system", "developer", "database", "web", "images", "security", "office", "text_language"},
    {"builtin", "files", "system", "developer", "networks_cloud", "documents_pdf", "repairs_hardware"},
    {"builtin", "calendar", "office", "messages", "health", "travel", "work_hr", "education", "social"},
    {"builtin", "calendar", "office", "messages", "personal_records", "documents_pdf", "animals_farming"},
    {"builtin", "calendar", "office", "messages", "legal_public", "government", "work_hr"},
    {"builtin", "maths", "money", "weather_maps", "health", "science", "realestate", "text_language", "games_puzzles"},
    {"travel", "weather_maps", "food", "sports_games", "logistics", "vehicles", "games_puzzles"},
    {"food", "shopping", "money", "office", "logistics", "government", "repairs_hardware"},
    {"media", "music", "home", "system", "web", "sports_games", "iot_energy", "social", "vehicles"},
    {"home", "system", "iot_energy", "networks_cloud", "games_puzzles", "repairs_hardware"},
    {"social", "music", "iot_energy", "shopping", "animals_farming"},
    {"calendar", "office", "messages", "social", "sports_games", "music", "media", "food", "work_hr", "events_clubs"},
    {"office", "files", "shopping", "money", "images", "home", "logistics", "printing_crafts"},
)
"""Domains whose tools can do some of each other's work."""

_KNOWING = frozenset({
    "builtin", "text_language", "science", "education", "web", "music", "media", "health", "government", "maths",
})  # fmt: skip
"""Domains whose tools could look up what is asked out of curiosity."""


def choose_sheet(random: Random, split: Split) -> Sheet:
    """Requests over the same tools, each answered by the name of the tool that comes next: half over tools of llmos."""
    return choose_builtin(random, split) if random.random() < _BUILTIN else choose_unseen(random, split)


def choose_seen(random: Random, split: Split) -> Sheet:
    """As `choose_sheet`, over tools that training knows; what is asked for, and with which words, is of the split."""
    if random.random() < _BUILTIN:
        return choose_builtin(random, split)
    return _choices(random, split, lambda: _view(random, list(families("train").values())))


def choose_unseen(random: Random, split: Split) -> Sheet:
    """As `choose_sheet`, over tools of the split only."""
    return _choices(random, split, lambda: _view(random, list(families(split).values())))


def choose_builtin(random: Random, split: Split) -> Sheet:
    """As `choose_sheet`, over the tools of llmos, as they are or under other names; now and then with others."""
    original = random.random() < _ORIGINAL
    guests = random.randint(1, 4) if random.random() < _MIXED else 0

    def view() -> list[Shown]:
        own = _view(random, _builtin_families(), whole=True, original=original)
        others = [one for one in tools("train") if one.name in _worldly()]
        names = {one.name for one in own}
        more = [one.spec(random) for one in random.sample(others, guests)]
        own = [*own, *(one for one in more if one.name not in names)][-_MOST:]
        random.shuffle(own)
        return own

    return _choices(random, split, view)


def call_seen(random: Random, split: Split) -> Sheet:
    """Whole calls: for each request two examples, one of choosing among tools as in `choose_seen`, one of filling in
    the arguments of the right one."""
    own = random.random() < _BUILTIN
    by_family = _builtin_families() if own else list(families("train").values())
    return _whole(random, split, _view(random, by_family, whole=own))


def call_unseen(random: Random, split: Split) -> Sheet:
    """As `call_seen`, over tools of the split only."""
    return _whole(random, split, _view(random, list(families(split).values())))


def fill_sheet(random: Random, split: Split) -> Sheet:
    """Requests for one tool, each answered by its arguments: half of them for tools of llmos."""
    return fill_builtin(random, split) if random.random() < _BUILTIN else fill_unseen(random, split)


def fill_seen(random: Random, split: Split) -> Sheet:
    """As `fill_sheet`, for tools that training knows; what is asked for, and with which words, is of the split."""
    if random.random() < _BUILTIN:
        return fill_builtin(random, split)
    return _calls(random, split, _fillable(random, split, tools("train")), original=False)


def fill_unseen(random: Random, split: Split) -> Sheet:
    """As `fill_sheet`, for a tool of the split."""
    return _calls(random, split, _fillable(random, split, tools(split)), original=False)


def fill_builtin(random: Random, split: Split) -> Sheet:
    """As `fill_sheet`, for a tool of llmos: as it is, or under another name."""
    tool = _fillable(random, split, builtin_tools())
    return _calls(random, split, tool, original=random.random() < _ORIGINAL)


# -- choosing


@cache
def _builtin_families() -> Sequence[Sequence[ToolKind]]:
    found: dict[str, list[ToolKind]] = {}
    for one in builtin_tools():
        found.setdefault(one.family, []).append(one)
    return list(found.values())


def _view(
    random: Random, by_family: Sequence[Sequence[ToolKind]], *, whole: bool = False, original: bool = False
) -> list[Shown]:
    """Some tools, 1 to 12; in a third of the views near-duplicates stand together.

    Args:
        whole: Tools of a family may always stand together.
        original: They are shown as they are.
    """
    size = random.randint(1, 5) if random.random() < _FEW else random.randint(6, _MOST)
    chosen: list[ToolKind] = []
    several = [members for members in by_family if len(members) > 1]
    near = bool(several) and random.random() < _NEAR
    if near:
        for members in random.sample(several, min(len(several), random.choice((1, 1, 2)))):
            chosen += random.sample(members, min(len(members), random.randint(2, 4)))
    taken = {one.family for one in chosen}
    rest = [
        one
        for members in random.sample(by_family, len(by_family))
        if members[0].family not in taken
        for one in random.sample(members, len(members) if whole and not near else 1)
    ]
    if whole:
        random.shuffle(rest)
    chosen += rest[: max(0, size - len(chosen))]
    shown = [one.spec(random, original=original) for one in chosen[:_MOST]]
    by_name = {one.name: one for one in shown if one.name not in (jobs.ANSWER, jobs.ASK)}
    view = list(by_name.values())
    random.shuffle(view)
    return view


def _choices(random: Random, split: Split, views: Callable[[], Sequence[Shown]]) -> Sheet:
    """A sheet over one of some views: the first one for which the split has enough to ask."""
    for _ in range(_TRIES):
        view = views()
        found: dict[str, Example] = {}
        count = random.randint(*_MANY)
        for _ in range(3 * count):
            if len(found) < count and (made := _choice(random, split, view)):
                request, answer, kind = made
                found.setdefault(request, _chosen(view, request, answer, kind))
        if len(found) >= _LEAST:
            return tuple(found.values())
    raise ConfigError(f"No tools of the split {split!r} have enough requests.", hint="Add requests to tools/*.toml.")


def _choice(random: Random, split: Split, view: Sequence[Shown]) -> tuple[str, str, str] | None:
    """A request, what comes next, and what it is a case of; None where the split has no words for what was drawn."""
    none = _NONE if len(view) > 3 else _NONE_OF_FEW
    chance = random.random()
    if chance < none:
        text = _beyond(random, split, view)
        return (text, jobs.ANSWER, "none") if text else None
    near = [one for one in view if _is_near(one, view)]
    one = random.choice(near if near and random.random() < _TO_NEAR else view)
    if chance < none + _ASK:
        unclear = [other for other in view if other.kind.vague_requests(split)]
        text = random.choice(unclear).kind.unclear(random, split) if unclear else ""
        return (text, jobs.ASK, "ask") if text else None
    if not one.kind.templates(split):
        return None
    asked = one.kind.request(random, split, one)
    return asked.text, one.name, "near" if _is_near(one, view) else "tool"


def _chosen(view: Sequence[Shown], request: str, answer: str, kind: str) -> Example:
    specs = tuple(one.spec for one in view)
    names = (*(one.name for one in view), jobs.ANSWER, jobs.ASK)
    form, turned = jobs.choose_in_turn(specs, request)
    return Example("choose", form, answer, names, kind, request=request, tools=specs, turned=(turned,))


def _is_near(one: Shown, view: Sequence[Shown]) -> bool:
    return any(other is not one and other.kind.family == one.kind.family for other in view)


def _beyond(random: Random, split: Split, view: Sequence[Shown]) -> str:
    """A request that no tool in view serves; empty if none was found."""
    domains = {one.kind.domain for one in view}
    if random.random() < _TALK:
        pool = _talk("knowledge" if not domains & _KNOWING and random.random() < 0.4 else "talk", split)
        return noisy(random, values.filled(random.choice(pool), random, split))
    builtin = "builtin" in domains
    if builtin or any(one.kind.name in _GENERAL for one in view):
        known = [one for one in tools("train" if builtin else split) if one.name in _worldly()]
    else:
        known = list(tools(split))
        domains |= {other for group in _GROUPS if group & domains for other in group}
    known = [one for one in known if one.domain not in domains]
    for _ in range(_TRIES):
        tool = random.choice(known) if known else None
        if tool and tool.templates(split):
            return tool.request(random, split, tool.spec(random)).text
    return ""


@cache
def _data() -> Mapping[str, str]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


@cache
def _worldly() -> frozenset[str]:
    return frozenset(_data()["worldly"].split())


@cache
def _talk(kind: str, split: Split) -> list[str]:
    return part([line for line in _data()[kind].strip().splitlines() if line], split)


# -- filling in


def _fillable(random: Random, split: Split, pool: Sequence[ToolKind]) -> ToolKind:
    """A tool that can be asked for in many ways rather than one that can't."""
    return random.choices(pool, [len(one.templates(split, fill=True)) for one in pool])[0]


def _whole(random: Random, split: Split, view: Sequence[Shown]) -> Sheet:
    found: list[Example] = []
    for one in view:
        templates = one.kind.templates(split, fill=True)
        if not templates:
            continue
        asked = one.kind.request(random, split, one, template=random.choice(templates))
        kind = "near" if _is_near(one, view) else "tool"
        found += [
            _chosen(view, asked.text, one.name, kind),
            replace(_filled(one, asked), kind=kind),
        ]
    return tuple(found)


def _filled(shown: Shown, asked: Asked) -> Example:
    return Example(
        "fill",
        jobs.fill(shown.spec, asked.text),
        jobs.arguments(asked.arguments),
        kind=_case(shown.kind, asked),
        within=allowed.arguments(shown.spec, asked.text),
        request=asked.text,
        tools=(shown.spec,),
    )


def _calls(random: Random, split: Split, tool: ToolKind, *, original: bool) -> Sheet:
    shown = tool.spec(random, original=original)
    found: dict[str, Example] = {}
    count = random.randint(8, 14)
    templates = tool.templates(split, fill=True)
    for attempt in range(_TRIES):
        if attempt % len(templates) == 0:
            random.shuffle(templates)
        if len(found) < count:
            asked = tool.request(random, split, shown, template=templates[attempt % len(templates)])
            found.setdefault(asked.text, _filled(shown, asked))
    return tuple(found.values())


def _case(tool: ToolKind, asked: Asked) -> str:
    """What a call is a case of: `computed`, `extra` (values stand in the request that are no arguments) or `plain`."""
    if any(isinstance(value, str) and "{" in value for value in asked.template.given.values()):
        return "computed"
    own = {one.name for one in tool.parameters}
    return "extra" if any(slot not in own for slot in asked.said) else "plain"
