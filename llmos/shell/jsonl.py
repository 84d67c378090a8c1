"""Events and errors as lines of JSON, for programs that run `llmos run --json`.

Strict JSON: what is not a number becomes null, lone surrogates become U+FFFD. The context is left out of `finished`,
since it repeats the input.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import MappingProxyType
from typing import cast

from llmos.boot import confidence_of
from llmos.errors import LlmosError
from llmos.events import Event, Finished
from llmos.messages import Constraint, Context


def event_line(event: Event) -> str:
    """An event as one line, its class told by `kind`."""
    return line(event)


def finished_line(
    event: Finished, constraint: Constraint | None = None, shares: Mapping[str, float] = MappingProxyType({})
) -> str:
    """The last event as one line, with its `confidence`; for an answer out of several also `choices`.

    Args:
        shares: How likely each choice is beside the others; the answer's share is then the confidence.
    """
    values = cast("dict[str, object]", plain(event))
    values["confidence"] = shares.get(event.message.content, confidence_of(event.logprob, constraint))
    return line({**values, "choices": shares} if shares else values)


def error_line(error: LlmosError) -> str:
    """An error as the last line."""
    return line({"kind": "error", "error": type(error).__name__, "message": error.message, "hint": error.hint})


def line(values: object) -> str:
    """Plain values as one line of JSON, without its newline."""
    return json.dumps(plain(values), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def plain(value: object) -> object:
    """A value made of what JSON has."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value):
        parts = ((item.name, getattr(value, item.name)) for item in fields(value))
        return {name: plain(part) for name, part in parts if not isinstance(part, Context)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in cast("Mapping[object, object]", value).items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in cast("list[object]", value)]
    return value
