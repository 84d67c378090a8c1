"""Joins what words, meanings and microcode say of the tools for a request.

Words know names, kinds of values and the tools' own examples; meanings (sentence embeddings) know synonyms and tools
that nobody has seen; microcode knows what tools are for, that none fits, and that something is missing. What each
weighs is in `weights.json`, fitted by `python -m bench.choosing`. Knows no engine.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from llmos.agents.jobs import ANSWER, ASK
from llmos.agents.shortlist import Scored

COLUMNS = ("words", "meaning", "model", ANSWER, ASK)
"""What is weighed of a choice: its score by words, its cosine, the model's log-probability, and which one it is."""

_LEAST = 1e-6
_TEXTS = 8
_PARTS = re.compile(r"(?<=[a-z])(?=[A-Z])|[_.\-]+")


def sayings(name: str, description: str, examples: Sequence[str] = ()) -> tuple[str, ...]:
    """What a request is compared with by meaning: a tool's name with its description, and some of its examples."""
    head = description.strip().partition("\n")[0]
    return (f"{_PARTS.sub(' ', name).lower()}: {head}", *examples[:_TEXTS])


def rows(
    choices: Sequence[Scored], near: Mapping[str, float] | None, said: Mapping[str, float]
) -> dict[str, tuple[float, ...]]:
    """The `COLUMNS` of every choice, and of `ASK`, which is about the best tool.

    Args:
        choices: Tools and `ANSWER`.
        near: How near in meaning each tool is, -1 to 1; None where nobody can tell.
        said: How likely microcode finds each choice.
    """
    tools = [one for one in choices if one.name != ANSWER]
    meaning = near or {}
    best = max((one.score for one in tools), default=0.0)
    nearest = max((meaning.get(one.name, 0.0) for one in tools), default=0.0)

    def row(name: str, words: float, cosine: float) -> tuple[float, ...]:
        log = math.log(max(said.get(name, 0.0), _LEAST))
        return (words, cosine, log, float(name == ANSWER), float(name == ASK))

    found = {one.name: row(one.name, one.score, meaning.get(one.name, 0.0)) for one in choices}
    return {**found, ASK: row(ASK, best, nearest)}


def joined(choices: Sequence[Scored], near: Mapping[str, float] | None, said: Mapping[str, float]) -> dict[str, float]:
    """The share of every choice and of `ASK`, likeliest first; arguments as for `rows`."""
    known = weights(meaning=near is not None)
    scores = {
        name: sum(weight * value for weight, value in zip(known, row, strict=True))
        for name, row in rows(choices, near, said).items()
    }
    top = max(scores.values())
    powers = {name: math.exp(score - top) for name, score in scores.items()}
    total = sum(powers.values())
    shares = {name: power / total for name, power in powers.items()}
    return dict(sorted(shares.items(), key=lambda one: (-one[1], one[0])))


@cache
def weights(*, meaning: bool) -> tuple[float, ...]:
    """What each column weighs, with meanings or where nobody can tell them."""
    data = json.loads(Path(__file__).with_name("weights.json").read_text(encoding="utf-8"))
    return tuple(float(one) for one in data["joined" if meaning else "joined_without_meaning"])
