"""Chains of calls: patterns of requests from `episodes.toml` that take several calls of certain tools, and the slots of
their words.

A value is said in the request or comes up in an earlier result. Knows no job.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from llmos.errors import ConfigError
from llmos.learn.data import values
from llmos.learn.data.example import Split, part, split_of
from llmos.learn.data.noise import dressed, noisy
from llmos.learn.data.schemas import Parameter, ToolKind, builtin_tools, skeleton, tools
from llmos.tools.arithmetic import ArithmeticProblem, evaluate
from llmos.tools.builtin.calculator import written

_TRIES = 40
_SLOT = re.compile(r"\{(\w+)\}")
_FAILURE = re.compile(r"error|^no |no such|not |4\d\d ", re.IGNORECASE)
_SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Said:
    """What stands in a slot, and what it means."""

    text: str
    value: Any


@dataclass(frozen=True, slots=True)
class Call:
    """A call and what it gave; its arguments have the tool's own names."""

    tool: ToolKind
    arguments: Mapping[str, Any]
    result: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """A call of a pattern.

    Attributes:
        given: Arguments that are not the slots of their own names: texts with slots, or constants.
        gives: What it may give; empty for what the tool prints.
    """

    tool: ToolKind
    given: Mapping[str, Any]
    gives: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pattern:
    """Requests that say the same, and the ways that it may go.

    Attributes:
        slots: Kinds of slots that are named after neither a parameter nor a kind.
        computed: Slots that are a sum, a difference or a product of two others: `a + b`.
    """

    requests: tuple[str, ...]
    ways: tuple[tuple[Link, ...], ...]
    slots: Mapping[str, str] = field(default_factory=dict[str, str])
    computed: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def tools(self) -> list[ToolKind]:
        """All that is called, in any way, each once."""
        return list({one.tool.name: one.tool for way in self.ways for one in way}.values())


@cache
def patterns(split: Split, builtin: bool) -> tuple[Pattern, ...]:
    """The patterns whose tools belong to a split, or are those of llmos and have requests for it."""
    own = {one.name for one in (builtin_tools() if builtin else tools(split))}
    return tuple(
        one
        for one in every()
        if all(tool.builtin == builtin and tool.name in own for tool in one.tools) and requests(one, split)
    )


def requests(pattern: Pattern, split: Split) -> list[str]:
    """The requests of a pattern for a split: all of them where its tools belong to the split."""
    if not pattern.tools[0].builtin:
        return list(pattern.requests)
    allowed = set(part([skeleton(one) for one in pattern.requests], split, "episode:"))
    return [one for one in pattern.requests if skeleton(one) in allowed]


def chain(random: Random, split: Split, pattern: Pattern) -> tuple[str, list[Call]]:
    """A request by a pattern, and the calls of one of the ways that it may go."""
    say = dressed(random, random.choice(requests(pattern, split)), split)
    way = random.choice(pattern.ways)
    said: dict[str, Said] = {}
    operands = set(re.findall(r"\w+", " ".join(pattern.computed.values())))
    for slot in slots_of(say):
        source = source_of(slot, pattern.slots, pattern.tools)
        said[slot] = drawn(random, split, source, said.values(), digits=slot in operands)
    text = noisy(random, filled(say, said), keep=[one.text for one in said.values()])
    known = set(said)
    for slot, sum_ in pattern.computed.items():
        said[slot] = _computed(sum_, said)
    calls: list[Call] = []
    for link in way:
        arguments = {
            one.name: _argument(one, link, said)
            for one in link.tool.parameters
            if one.name in link.given or one.name in known
        }
        if link.gives:
            gives = random.choice(link.gives)
            result = given(random, split, gives, said, pattern.tools, pattern.slots)
            known |= set(slots_of(gives))
        else:
            own = {name: Said(str(value), value) for name, value in arguments.items()}
            result = came(random, split, link.tool, arguments, {**said, **own})
        calls.append(Call(link.tool, arguments, result, result.startswith("error")))
    return text, calls


def came(random: Random, split: Split, tool: ToolKind, arguments: Mapping[str, Any], said: dict[str, Said]) -> str:
    """What a call gave where all went well; of a sum, what it comes to."""
    if tool.name == "calculator":
        with suppress(ArithmeticProblem):
            return written(evaluate(str(arguments["expression"])))
    return given(random, split, random.choice(good_results(tool)), said, (tool,))


def good_results(tool: ToolKind) -> Sequence[str]:
    """What a tool prints where all went well."""
    return [one for one in tool.results if not _FAILURE.search(one)] or ["done"]


def _argument(parameter: Parameter, link: Link, said: Mapping[str, Said]) -> Any:  # noqa: ANN401 - any argument
    text = link.given.get(parameter.name, f"{{{parameter.name}}}")
    only = _SLOT.fullmatch(text) if isinstance(text, str) else None
    return meant(parameter, said[only[1]]) if only else filled(text, said)


def _computed(sum_: str, said: Mapping[str, Said]) -> Said:
    left, sign, right = sum_.split()
    a, b = said[left].value, said[right].value
    value = {"+": a + b, "-": a - b, "*": a * b}[sign]
    return Said(str(value), value)


# -- slots


def slots_of(*texts: Any) -> list[str]:  # noqa: ANN401 - arguments of any type
    """The slots of some texts, each once."""
    return list(dict.fromkeys(slot for one in texts if isinstance(one, str) for slot in _SLOT.findall(one)))


def filled(text: Any, said: Mapping[str, Said]) -> Any:  # noqa: ANN401 - an argument of any type stays
    """A text with what stands in its slots."""
    if not isinstance(text, str):
        return text
    return _SLOT.sub(lambda found: said[found[1]].text if found[1] in said else found[0], text)


def given(
    random: Random, split: Split, text: str, said: dict[str, Said], known: Sequence[ToolKind],
    slots: Mapping[str, str] | None = None,
) -> str:  # fmt: skip
    """A text with its slots filled; values that come up in it are added to what was said."""
    for slot in slots_of(text):
        if slot not in said:
            said[slot] = drawn(random, split, source_of(slot, slots or {}, known), said.values())
    return str(filled(text, said))


def source_of(slot: str, slots: Mapping[str, str], known: Sequence[ToolKind]) -> Parameter | str:
    """Where a slot's values come from: a parameter of one of some tools, or a kind of values.

    Raises:
        ConfigError: It is named after neither.
    """
    if slot in slots:
        return slots[slot]
    plain = slot.rstrip("0123456789")
    for name in (slot, plain):
        for tool in known:
            if found := [one for one in tool.parameters if one.name == name]:
                return found[0]
    if plain in values.kinds():
        return plain
    raise ConfigError(f"Nothing fills the slot {slot!r}.", hint="Name a parameter or a kind of values.")


def drawn(
    random: Random, split: Split, source: Parameter | str, taken: Iterable[Said], *, digits: bool = False
) -> Said:
    """What is said for a slot, unlike what stands in others.

    Args:
        digits: Write numbers plainly.
    """
    others = [one.text.lower() for one in taken]
    if isinstance(source, str):
        return _distinct(random, split, source, others, digits=digits)
    if source.options:
        value = random.choice(list(source.options))
        return Said(random.choice(source.options[value]), value == "true" if source.type == "boolean" else value)
    if source.type != "list":
        return _distinct(random, split, source.kind, others, digits=digits)
    items: list[Said] = []
    for _ in range(random.choice((2, 3))):
        items.append(_distinct(random, split, source.kind, [*others, *(one.text.lower() for one in items)]))
    text = ", ".join(one.text for one in items[:-1]) + f" and {items[-1].text}"
    return Said(text, [one.value for one in items])


def meant(parameter: Parameter, said: Said) -> Any:  # noqa: ANN401 - any argument
    """The argument for what is said: text is copied."""
    return said.text if parameter.type == "string" else said.value


def _distinct(random: Random, split: Split, kind: str, others: Sequence[str], *, digits: bool = False) -> Said:
    value = values.draw(kind, random, split, digits=digits)
    for _ in range(_TRIES):
        words = value.text.lower()
        if not any(words in other or other in words for other in others):
            break
        value = values.draw(kind, random, split, digits=digits)
    return Said(value.text, value.value)


# -- the file


@cache
def data() -> Mapping[str, Any]:
    """What `episodes.toml` says."""
    return tomllib.loads(Path(__file__).with_name("episodes.toml").read_text(encoding="utf-8"))


@cache
def every() -> tuple[Pattern, ...]:
    """All patterns.

    Raises:
        ConfigError: One calls a tool that is not there, mixes splits, or does not say what a call needs.
    """
    builtin = {one.name: one for one in builtin_tools()}
    others = {one.name: one for split in _SPLITS for one in tools(split)}
    found: list[Pattern] = []
    for entry in data()["pattern"]:
        where = f"The pattern {entry['requests'][0]!r}"
        names = {one["call"] for way in entry["ways"] for one in way}
        known = builtin if names <= builtin.keys() else others
        if missing := sorted(names - known.keys()):
            raise ConfigError(f"{where} calls {missing[0]!r}.", hint="There is no such tool.")
        ways = tuple(
            tuple(Link(known[one["call"]], one.get("with", {}), tuple(one.get("gives", ()))) for one in way)
            for way in entry["ways"]
        )
        pattern = Pattern(tuple(entry["requests"]), ways, entry.get("slots", {}), entry.get("computed", {}))
        _check(pattern, where)
        found.append(pattern)
    return tuple(found)


def _check(pattern: Pattern, where: str) -> None:
    """Whether the tools belong to one split, and each call gets what it needs in every way."""
    if len({one.builtin or split_of(one.family) for one in pattern.tools}) > 1:
        raise ConfigError(f"{where} mixes tools of several splits.", hint="Take tools of one.")
    for say in pattern.requests:
        for way in pattern.ways:
            known = {*slots_of(say), *pattern.computed}
            for link in way:
                own = {one.name: one.required for one in link.tool.parameters}
                if unknown := sorted(link.given.keys() - own.keys()):
                    raise ConfigError(f"{where}: {link.tool.name!r} has no {unknown[0]!r}.", hint="Mend `with`.")
                needed = {name: set(slots_of(link.given.get(name, f"{{{name}}}"))) for name in own}
                for name, required in own.items():
                    if (required or name in link.given) and not needed[name] <= known:
                        missing = sorted(needed[name] - known)[0]
                        raise ConfigError(f"{where}: {link.tool.name!r} lacks {missing!r} in {say!r}.", hint="Say it.")
                known |= {slot for slot in slots_of(*link.gives) if all(f"{{{slot}}}" in text for text in link.gives)}
