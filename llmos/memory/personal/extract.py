"""Facts that a model finds in the user's own turns, kept only if every word of them was said.

Optional, and outside of the write path: the caller decides when, at which priority, and with which model. It can find
what no grammar expects; it can't make anything up: attributes are of a list, values verbatim words of the user's that
nobody else wrote, and what is a question, a supposition or somebody else's text is not shown to the model at all.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

from llmos.kernel.calls import Label
from llmos.memory.personal.statements import Statement
from llmos.memory.personal.turns import own_clauses
from llmos.memory.personal.values import solid
from llmos.memory.personal.vocabulary import attribute_key, content_words, has_many

Think = Callable[[str, Mapping[str, Any]], Awaitable[str]]
"""A model's answer to a prompt, decoded under a JSON schema."""

MOST = 4
"""So many facts are taken from a turn."""

MAX_LENGTH = 60
"""So many characters a value has."""

_DENIES = re.compile(r"\b(?:not|never|no|nor|neither|without|\w+n't|cannot)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """A turn of a conversation.

    Attributes:
        text: The whole turn.
        label: Where its words come from.
        source: The conversation.
        time: When it was said, seconds since 1970.
    """

    text: str
    label: Label
    source: str = ""
    time: float


@dataclass(frozen=True, slots=True)
class Extracted:
    """Something a model found, and the turn it stands in."""

    statement: Statement
    turn: Spoken


@dataclass(frozen=True, slots=True)
class _Task:
    version: int
    prompt: str
    attributes: tuple[str, ...]


@cache
def _task() -> _Task:
    data = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return _Task(int(data["version"]), str(data["prompt"]).strip(), tuple(data["attributes"].split()))


def schema() -> dict[str, Any]:
    """The JSON schema of a model's answer."""
    fact = {
        "type": "object",
        "properties": {
            "attribute": {"enum": list(_task().attributes)},
            "value": {"type": "string", "minLength": 2, "maxLength": MAX_LENGTH},
        },
        "required": ["attribute", "value"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"facts": {"type": "array", "items": fact, "maxItems": MOST}},
        "required": ["facts"],
        "additionalProperties": False,
    }


async def extract(think: Think, turns: Sequence[Spoken]) -> tuple[Extracted, ...]:
    """What a model finds in the user's turns. `Personal.learn` keeps it.

    Args:
        think: Asks the model; what it raises is raised here. An answer that does not fit the schema is no fact.
        turns: Those that are not the user's words, and what the user quotes, are left out.
    """
    found: dict[tuple[str, str, str], Extracted] = {}
    for turn in turns:
        clauses = own_clauses(turn.text) if turn.label == "user" else []
        if not clauses:
            continue
        answer = await think(_task().prompt.replace("{turn}", "\n".join(clauses)), schema())
        for statement in _statements(answer, clauses):
            found.setdefault(statement.slot, Extracted(statement, turn))
    return tuple(found.values())


def _statements(answer: str, clauses: Sequence[str]) -> Iterator[Statement]:
    """The facts of an answer that stand in the clauses word for word."""
    kept = [
        (attribute, value, clause)
        for attribute, value in _pairs(answer)
        if solid(value)
        and content_words(value)
        and len(value) <= MAX_LENGTH
        and (clause := next((one for one in clauses if _stands_in(value, one)), ""))
    ]
    facts_in = Counter(clause for _, _, clause in kept)
    for attribute, value, clause in kept:
        if _DENIES.search(clause):
            continue  # what is denied is left to the grammar
        name = attribute_key(attribute.replace("-", " ").replace("dislikes", "likes"))
        yield Statement(
            attribute=name,
            value=value,
            kind="preference" if name == "like" else "fact",
            holds=attribute != "dislikes",
            many=has_many(name),
            # of several facts in a clause each has its own words only, so that one can be forgotten
            text=clause if facts_in[clause] == 1 else f"{name}: {value}",
        )


def _pairs(answer: str) -> Iterator[tuple[str, str]]:
    """Attributes and values of an answer, as far as it fits the schema."""
    try:
        data: object = json.loads(answer)
    except ValueError:
        return
    facts = cast(dict[str, object], data).get("facts") if isinstance(data, dict) else None
    for fact in cast(list[object], facts)[:MOST] if isinstance(facts, list) else ():
        if isinstance(fact, dict):
            attribute, value = (cast(dict[str, object], fact).get(name) for name in ("attribute", "value"))
            if isinstance(attribute, str) and isinstance(value, str) and attribute in _task().attributes:
                yield attribute, value.strip(" .,;:!?")


def _stands_in(value: str, clause: str) -> bool:
    """Whether a value is words of a clause, whole ones, and not the whole of it."""
    start = clause.find(value)
    end = start + len(value)
    return (
        start >= 0
        and len(value) < len(clause.strip(" .!"))
        and not clause[:start][-1:].isalnum()
        and not clause[end:][:1].isalnum()
    )
