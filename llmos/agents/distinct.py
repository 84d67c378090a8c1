"""Lets no two values be the same words of a text: `from 5 km to 5 km` is nothing that anybody wants.

What a model reads twice is an argument that the request leaves out, or one of the two is read again without those
words. Knows no engine: who asks the model is given.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from llmos.agents import allowed, jobs
from llmos.agents.jobs import Done
from llmos.messages import Constraint, ToolSpec


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a model may read out of what.

    Attributes:
        source: What it reads.
        within: What it may write where some values are settled (`llmos.agents.allowed`).
        optional: Values that may be left out.
    """

    source: str
    within: Callable[[Mapping[str, Any]], Constraint]
    optional: Collection[str] = ()


def of_call(tool: ToolSpec, request: str, done: Sequence[Done] = ()) -> Bounds:
    """Of the arguments of a call."""
    optional = set(tool.parameters.get("properties", {})) - set(tool.parameters.get("required", ()))
    source = "\n".join([request, *(one.result for one in done)])
    return Bounds(source, partial(allowed.arguments, tool, request, done), optional)


def of_fields(schema: Mapping[str, Any], text: str) -> Bounds:
    """Of fields that a text may say; none is left out, since it can be null."""
    return Bounds(text, partial(allowed.fields, schema, text))


async def distinct(
    text: str,
    bounds: Bounds,
    write: Callable[[Constraint], Awaitable[str]],
    weigh: Callable[[Sequence[str]], Awaitable[Sequence[float]]],
) -> str:
    """The values that a model read, each out of words of its own.

    Args:
        text: What it wrote, as JSON.
        write: Asks it again under a constraint.
        weigh: How likely it finds each of some texts.
    """
    values: dict[str, Any] = loaded(text)
    pair = doubled(values, bounds.source)
    if pair is None:
        return text
    if free := [name for name in pair if name in bounds.optional]:
        del values[free[-1]]
        return jobs.arguments(values)
    again = [await write(bounds.within({name: values[name]})) for name in pair]
    again = [one for one in again if loaded(one)]
    if not again:
        return text
    shares = await weigh(again)
    return again[max(range(len(again)), key=shares.__getitem__)]


def doubled(values: Mapping[str, Any], source: str) -> tuple[str, str] | None:
    """Two values that are the same word of a text, where it stands once; None where there are none."""
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, str | int | float) and not isinstance(value, bool) and str(value):
            said = str(value)
            if said in found and source.count(said) == 1:
                return found[said], name
            found[said] = name
    return None


def loaded(text: str) -> dict[str, Any]:
    """Values as the model wrote them; none where it was cut."""
    try:
        return dict(json.loads(text))
    except ValueError:  # cut at the token limit
        return {}
