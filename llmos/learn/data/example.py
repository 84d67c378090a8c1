"""What a training example is, and how pools of words are divided among training, validation and test.

Knows no job and no model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal, TypeVar

from llmos.agents.jobs import Done, Job
from llmos.messages import Constraint, Context, ToolSpec

Split = Literal["train", "validation", "test"]

_T = TypeVar("_T")
_SHARES: tuple[tuple[Split, float], ...] = (("train", 0.76), ("validation", 0.08), ("test", 0.16))


@dataclass(frozen=True, slots=True)
class Example:
    """One thing that the model is asked, and what it should say.

    Attributes:
        job: What it is an example of.
        context: What the model reads.
        answer: What it should say, to the end of its turn.
        choices: All that it may say, where it chooses; `answer` is one of them.
        kind: What it is a case of, for tables of results: `seen`, `near`, `ask`, `not found` …
        within: What the kernel lets the model write (`llmos.agents.allowed`).
        request: In the user's words, where words and meanings help.
        tools, ways, passages: What a tool or an agent is chosen from, and an answer read from; of arguments, their
            tool.
        done: What was done before, of arguments.
        turned: The same with what is chosen from in another order, for where the first leaves doubt.
        schema: Of fields, which; the text is `request`.
        alike: Other answers that count as much in measuring.
    """

    job: Job
    context: Context
    answer: str
    choices: tuple[str, ...] = ()
    kind: str = ""
    within: Constraint | None = None
    request: str = ""
    tools: tuple[ToolSpec, ...] = ()
    ways: Mapping[str, str] = field(default_factory=dict[str, str])
    passages: tuple[str, ...] = ()
    alike: tuple[str, ...] = ()
    done: tuple[Done, ...] = ()
    turned: tuple[Context, ...] = ()
    schema: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def accepted(self) -> tuple[str, ...]:
        """All answers that count as right in measuring."""
        return (self.answer, *self.alike)


Sheet = Sequence[Example]
"""Examples whose contexts begin alike (the same system message); read in one go."""

SheetMaker = Callable[[Random, Split], Sheet]
"""Makes one sheet; deterministic given the state of the random numbers."""


def part(pool: Sequence[_T], split: Split, salt: str = "") -> list[_T]:
    """The items of a pool that belong to a split: about 76, 8 and 16 of 100. An item's place depends on itself alone.

    Small pools can leave a part empty: give pools of 15 or more.
    """
    return [item for item in pool if split_of(f"{salt}{item}") == split]


def share_of(text: str) -> float:
    """A number from 0 to 1 that depends on a text alone, evenly spread."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32


def split_of(text: str) -> Split:
    """The split that a text belongs to."""
    share = share_of(text)
    for name, width in _SHARES:
        if share < width:
            return name
        share -= width
    return "test"
