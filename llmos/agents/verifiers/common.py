"""What verifiers share: what of a value is its text, its data or its code, and what an error says of a check.

Knows no process and no verifier.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import wraps
from typing import Any, cast

from llmos.agents.report import Report
from llmos.agents.verdict import Verdict
from llmos.errors import (
    BadArguments,
    Denied,
    LoopDetected,
    NobodyThere,
    PromptTooLong,
    SandboxUnavailable,
    Unsupported,
)

MAX_REASON = 240
"""Characters of a reason: it goes into the next attempt's prompt."""

MAX_REASONS = 5

_CANT = (BadArguments, Denied, LoopDetected, NobodyThere, PromptTooLong, SandboxUnavailable, Unsupported)
_FENCED = re.compile(r"^[ \t]*```[ \t]*(?:python|py)?[ \t]*\n(.*?)^[ \t]*```", re.DOTALL | re.MULTILINE)

Check = Callable[[Any], Awaitable[Verdict]]


def unsure_if_refused(check: Check) -> Check:
    """A check that can't tell where a call it makes is refused or can't be made here: that says nothing of the work.

    Errors of the run (budget, interrupt, engine) go on up.
    """

    @wraps(check)
    async def checking(value: Any) -> Verdict:  # noqa: ANN401  # whatever is checked
        try:
            return await check(value)
        except _CANT as error:
            return Verdict("unsure", (f"It could not be checked: {brief(error.message)}",))

    return checking


def brief(text: str, limit: int = MAX_REASON) -> str:
    """A text on one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def several(reasons: Sequence[str]) -> tuple[str, ...]:
    """The first few reasons, and how many there are more."""
    more = len(reasons) - MAX_REASONS
    kept = tuple(brief(reason) for reason in reasons[:MAX_REASONS])
    return kept if more <= 0 else (*kept, f"And {more} more.")


def text_of(value: object) -> str:
    """What a value says in words: a text itself, a report's text, else the value as JSON."""
    match value:
        case str():
            return value
        case Report(text=text) if text:
            return text
        case Report():
            return text_of("" if value.value is None else value.value)
        case {"text": str(said)} if said:
            return said
        case _:
            return as_json(value)


def data_of(value: object) -> object:
    """A value as JSON data: a report's value, or what a text is when it is read as JSON.

    Raises:
        ValueError: A text is no JSON.
    """
    if isinstance(value, Report):
        return data_of(value.text) if value.value is None else value.value
    if not isinstance(value, str):
        return value
    fenced = re.fullmatch(r"\s*```(?:json)?[ \t]*\n(.*?)\n?[ \t]*```\s*", value, re.DOTALL)
    try:
        return json.loads(fenced[1] if fenced else value)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def code_of(value: object) -> str:
    """The Python in a value: its fenced blocks, or all of its text where it has none."""
    own = value.value if isinstance(value, Report) else value
    if isinstance(own, dict):
        own = cast("Mapping[str, Any]", own).get("code", own)
    text = own if isinstance(own, str) else text_of(value)
    blocks = blocks_of(text)
    return "\n\n".join(blocks) if blocks else text


def blocks_of(text: str) -> list[str]:
    """The fenced blocks of Python in a text."""
    return [block[1] for block in _FENCED.finditer(text)]


def without_blocks(text: str) -> str:
    """A text without its fenced blocks."""
    return _FENCED.sub("\n", text)


def as_json(value: object) -> str:
    """Any value as JSON; what has no form in JSON as its representation."""
    from pydantic_core import to_json

    return to_json(value, fallback=repr).decode()
