"""Requests that take several calls, with what each call gave: which tool comes next, with which arguments, and when all
is done.

There are chains (`chains.py`), requests made of two or three others, one tool twice, errors that are mended, repeated
or final, and second choices. An argument comes from the request or from an earlier result. Knows no model and no
running tool.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import Any

from llmos.agents import allowed, jobs
from llmos.agents.jobs import Done
from llmos.learn.data.chains import (
    Call,
    Pattern,
    Said,
    came,
    chain,
    data,
    drawn,
    filled,
    given,
    meant,
    patterns,
    slots_of,
    source_of,
)
from llmos.learn.data.example import Example, Sheet, Split
from llmos.learn.data.noise import dressed, noisy
from llmos.learn.data.pools import dealt
from llmos.learn.data.schemas import Shown, Template, ToolKind, builtin_tools, families
from llmos.messages import ToolSpec

_BUILTIN = 1 / 3
_ORIGINAL = 0.6
_CHAIN = 0.55
_AGAIN = 0.8
_NEIGHBOURS = 0.4
_WELL = 0.4
_STUMBLES = 0.12
_LEAST, _MOST = 6, 12
_MOST_TOOLS = 10
_TRIES = 40
_NAMED = frozenset((
    "artist", "branch", "city", "company", "country", "device", "dish", "domain", "email", "file", "first_name",
    "folder", "grocery", "id", "image", "ip", "medicine", "path", "person", "place", "plant", "plate", "product",
    "room", "song", "street", "symbol", "table", "team", "text_file", "title", "url", "username", "word",
))  # fmt: skip
"""Kinds of values that stand for one thing: another of the kind can take their place."""


@dataclass(frozen=True, slots=True)
class Step:
    """A call that is right at its place, and what it gives.

    Attributes:
        after_error: The call before it failed.
    """

    name: str
    arguments: Mapping[str, Any]
    result: str
    after_error: bool = False


@dataclass(frozen=True, slots=True)
class Episode:
    """A request, the tools in view, and the calls that serve it; after them comes the answer."""

    request: str
    tools: tuple[ToolSpec, ...]
    steps: tuple[Step, ...]

    def done(self, count: int) -> list[Done]:
        """The first calls as a model sees them."""
        return [Done(one.name, one.arguments, one.result) for one in self.steps[:count]]


def episode_sheet(random: Random, split: Split) -> Sheet:
    """All steps of some episodes over the same tools: which tool, its arguments, and the end."""
    view, pattern = _begun(random, split)
    kinds = [one.kind for one in view]
    found: dict[str, Example] = {}
    for _ in range(_TRIES):
        plan = _plan(random, split, kinds, pattern)
        if plan and len(found) + 2 * len(plan.calls) + 1 <= _MOST:
            for one in _examples(_played(plan, view)):
                found.setdefault(f"{one.job} {one.context.messages}", one)
        if len(found) >= _LEAST:
            break
    return tuple(found.values())


def episode(random: Random, split: Split, *, calls: int | None = None) -> Episode:
    """One episode, to be played step by step.

    Args:
        calls: How many calls it takes; by default two to four.

    Raises:
        LookupError: No such episode was found.
    """
    for _ in range(10 * _TRIES):
        view, pattern = _begun(random, split)
        plan = _plan(random, split, [one.kind for one in view], pattern)
        if plan and (len(plan.calls) == calls if calls else len(plan.calls) > 1):
            return _played(plan, view)
    raise LookupError(f"{calls} calls")


# -- what is done


@dataclass(frozen=True, slots=True)
class _Plan:
    request: str
    calls: tuple[Call, ...]


def _begun(random: Random, split: Split) -> tuple[list[Shown], Pattern | None]:
    """Tools in view, and a pattern for them, or none."""
    builtin = random.random() < _BUILTIN
    pattern = random.choice(patterns(split, builtin)) if random.random() < _CHAIN else None
    members = [(one,) for one in builtin_tools()] if builtin else list(families(split).values())
    needed = pattern.tools if pattern else []
    return _view(random, members, needed, original=builtin and random.random() < _ORIGINAL), pattern


def _view(
    random: Random, members: Sequence[Sequence[ToolKind]], needed: Sequence[ToolKind], *, original: bool
) -> list[Shown]:
    """The tools that are needed among others, some of them of the same family."""
    chosen = {one.name: one for one in needed}
    size = max(len(chosen) + random.randint(0, 3), random.randint(3, _MOST_TOOLS))
    known = {one.family for one in needed}
    near = [one for family in members for one in family if one.family in known and one.name not in chosen]
    random.shuffle(near)
    for one in near:
        if random.random() < _NEIGHBOURS and len(chosen) < size:
            chosen[one.name] = one
    for family in random.sample(list(members), len(members)):
        if len(chosen) < size and not any(one.name in chosen for one in family):
            one = random.choice(family)
            chosen[one.name] = one
    shown: dict[str, Shown] = {}
    for one in chosen.values():
        spec = one.spec(random, original=original)
        if spec.name in shown or spec.name in (jobs.ANSWER, jobs.ASK):
            spec = one.spec(random, original=True)
        shown[spec.name] = spec
    view = list(shown.values())
    random.shuffle(view)
    return view


def _played(plan: _Plan, view: Sequence[Shown]) -> Episode:
    shown = {one.kind.name: one for one in view}
    steps: list[Step] = []
    failed = False
    for call in plan.calls:
        one = shown[call.tool.name]
        own = {name: canonical for canonical, name in one.names.items()}
        order = [name for name in one.spec.parameters["properties"] if own[name] in call.arguments]
        steps.append(Step(one.name, {name: call.arguments[own[name]] for name in order}, call.result, failed))
        failed = call.failed
    return Episode(plan.request, tuple(one.spec for one in view), tuple(steps))


def _examples(episode: Episode) -> Iterable[Example]:
    specs = {one.name: one for one in episode.tools}
    for number, step in enumerate(episode.steps):
        kind = "after error" if step.after_error else "step"
        done = episode.done(number)
        yield _next(episode, number, step.name, kind)
        tool = specs[step.name]
        yield Example(
            "fill",
            jobs.fill(tool, episode.request, done),
            jobs.arguments(step.arguments),
            kind=kind,
            within=allowed.arguments(tool, episode.request, done),
            request=episode.request,
            tools=(tool,),
            done=tuple(done),
        )
    yield _next(episode, len(episode.steps), jobs.ANSWER, "finish")


def _next(episode: Episode, number: int, answer: str, kind: str) -> Example:
    """What comes after some steps."""
    tools, done = episode.tools, episode.done(number)
    form, turned = jobs.choose_in_turn(tools, episode.request, done)
    names = (*(one.name for one in tools), jobs.ANSWER, jobs.ASK)
    return Example("choose", form, answer, names, kind, turned=(turned,))


# -- kinds of plans


def _plan(random: Random, split: Split, pool: Sequence[ToolKind], pattern: Pattern | None) -> _Plan | None:
    """A plan for some tools: mostly by the pattern if there is one, else of another kind."""
    if pattern and random.random() < _AGAIN:
        request, calls = chain(random, split, pattern)
        return _stumbling(random, split, _Plan(request, tuple(calls)))
    makers: tuple[Callable[[Random, Split, Sequence[ToolKind]], _Plan | None], ...] = (
        _parts, _parts, _parts, _twice, _twice, _mended, _instead, _otherwise, _repeated, _once,
    )  # fmt: skip
    plan = random.choice(makers)(random, split, pool)
    return plan and _stumbling(random, split, plan)


def _stumbling(random: Random, split: Split, plan: _Plan) -> _Plan:
    """Now and then, one of several calls fails for a moment and is repeated."""
    if len(plan.calls) < 2 or any(one.failed for one in plan.calls) or random.random() > _STUMBLES:
        return plan
    number = random.randrange(len(plan.calls))
    failed = replace(plan.calls[number], result=_word(random, split, "again"), failed=True)
    return replace(plan, calls=(*plan.calls[:number], failed, *plan.calls[number:]))


def _parts(random: Random, split: Split, pool: Sequence[ToolKind]) -> _Plan | None:
    """Two or three requests in one."""
    asked = [_asked(random, split, random.choice(pool)) for _ in range(random.choice((2, 2, 3)))]
    said = [one for one in asked if one]
    if len(said) < len(asked) or len({one.text for one in said}) < len(said):
        return None
    text = _told(random, split, "two" if len(said) == 2 else "three", said)
    return _Plan(text, tuple(_succeeds(random, split, one) for one in said))


def _twice(random: Random, split: Split, pool: Sequence[ToolKind]) -> _Plan | None:
    """A request, and the same for something else."""
    one = _asked(random, split, random.choice(pool))
    other = one and _replaced(random, split, one)
    if not (one and other):
        return None
    text = _told(random, split, "same", [one], other.changed)
    return _Plan(text, (_succeeds(random, split, one), _succeeds(random, split, other)))


def _mended(random: Random, split: Split, pool: Sequence[ToolKind]) -> _Plan | None:
    """A call whose error names what is meant."""
    one = _asked(random, split, random.choice(pool))
    other = one and _replaced(random, split, one)
    if not (one and other):
        return None
    error = _word(random, split, "near").format(x=one.said[other.slot].text, y=other.changed)
    return _Plan(_told(random, split, "one", [one]), (_fails(one, error), _succeeds(random, split, other)))


def _instead(random: Random, split: Split, pool: Sequence[ToolKind]) -> _Plan | None:
    """A request with a second choice, which an error calls for or not."""
    one = _asked(random, split, random.choice(pool))
    other = one and _replaced(random, split, one)
    if not (one and other):
        return None
    text = _told(random, split, "or_value", [one], other.changed)
    if random.random() < _WELL:
        return _Plan(text, (_succeeds(random, split, one),))
    return _Plan(text, (_fails(one, _word(random, split, "refused")), _succeeds(random, split, other)))


def _otherwise(random: Random, split: Split, pool: Sequence[ToolKind]) -> _Plan | None:
    """A request with another one for the case that it fails."""
    first, second = (_asked(random, split, one) for one in random.sample(pool, 2))
    if not (first and second):
        return None
    text = _told(random, split, "or_else", [first, second])
    if random.random() < _WELL:
        return _Plan(text, (_succeeds(random, split, first),))
    return _Plan(text, (_fails(first, _word(random, split, "refused")), _succeeds(random, split, second)))


def _repeated(random: Random, split: Split, pool: Sequence[ToolKind]) -> _Plan | None:
    """A call that fails for a moment."""
    one = _asked(random, split, random.choice(pool))
    if not one:
        return None
    calls = (_fails(one, _word(random, split, "again")), _succeeds(random, split, one))
    return _Plan(_told(random, split, "one", [one]), calls)


def _once(random: Random, split: Split, pool: Sequence[ToolKind]) -> _Plan | None:
    """One call, after which all is done, or nothing can be done."""
    one = _asked(random, split, random.choice(pool))
    if not one:
        return None
    well = random.random() > _WELL
    call = _succeeds(random, split, one) if well else _fails(one, _word(random, split, "refused"))
    return _Plan(_told(random, split, "one", [one]), (call,))


# -- requests for one tool


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request for one tool.

    Attributes:
        slot: The slot that was changed, in a request made from another.
        changed: What stands there now.
    """

    tool: ToolKind
    text: str
    said: Mapping[str, Said]
    template: Template
    slot: str = ""
    changed: str = ""

    @property
    def bare(self) -> str:
        """The text without its last mark, unless the mark belongs to a value."""
        return self.text if self.template.say.endswith("}") else self.text.rstrip(" .?!")

    def arguments(self) -> dict[str, Any]:
        """The arguments that the request says, by the tool's own names."""
        own = {one.name: one for one in self.tool.parameters}
        found = {slot: meant(own[slot], said) for slot, said in self.said.items() if slot in own}
        found |= {name: filled(value, self.said) for name, value in self.template.given.items()}
        return {name: found[name] for name in own if name in found}


def _asked(random: Random, split: Split, tool: ToolKind) -> _Asked | None:
    """A request for a tool; None if the split has no words for it."""
    templates = tool.templates(split, fill=True)
    if not templates:
        return None
    template = random.choice(templates)
    said: dict[str, Said] = {}
    for slot in slots_of(template.say, *template.given.values()):
        said[slot] = drawn(random, split, source_of(slot, template.slots, (tool,)), said.values())
    return _Asked(tool, str(filled(template.say, said)), said, template)


def _replaced(random: Random, split: Split, asked: _Asked) -> _Asked | None:
    """The same request with something else in its only slot for a text; None if there is none."""
    own = {one.name: one for one in asked.tool.parameters}
    texts = [slot for slot in asked.said if not (slot in own and (own[slot].options or own[slot].type != "string"))]
    if len(texts) != 1 or texts[0] not in own or own[texts[0]].kind not in _NAMED or asked.template.given:
        return None
    slot = texts[0]
    new = drawn(random, split, own[slot], asked.said.values())
    said = {**asked.said, slot: new}
    return _Asked(asked.tool, str(filled(asked.template.say, said)), said, asked.template, slot, new.text)


def _succeeds(random: Random, split: Split, asked: _Asked) -> Call:
    arguments = asked.arguments()
    return Call(asked.tool, arguments, came(random, split, asked.tool, arguments, dict(asked.said)))


def _fails(asked: _Asked, error: str) -> Call:
    return Call(asked.tool, asked.arguments(), error, failed=True)


# -- words


def _told(random: Random, split: Split, form: str, asked: Sequence[_Asked], other: str = "") -> str:
    """Requests put together.

    Args:
        form: Which pool of words says how.
        other: A value that stands beside them.
    """
    say = dressed(random, _word(random, split, form), split)
    said = {name: Said(one.bare, None) for name, one in zip("abc", asked, strict=False)}
    said["x"] = Said(other, None)
    text = given(random, split, say, said, ())
    kept = [value.text for one in asked for value in one.said.values()]
    return noisy(random, text, keep=[*kept, other])


def _word(random: Random, split: Split, name: str) -> str:
    return random.choice(_words(name, split))


@cache
def _words(name: str, split: Split) -> list[str]:
    if name == "one":
        return ["{a}"]
    pool = [line.replace("⏎", "\n") for line in data()["words"][name].strip().splitlines()]
    return dealt(pool, split, name)
