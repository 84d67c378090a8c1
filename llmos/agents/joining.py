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
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from llmos.agents.jobs import ANSWER, ASK
from llmos.agents.shortlist import Scored

COLUMNS = ("words", "meaning", "model")
"""What is weighed of a tool: its score by words, its cosine, and the model's log-probability."""

REFUSAL = ("model", "bias", "words")
"""What is weighed of calling none: the model's log-odds, 1, and how far `ANSWER` is above the best tool by words."""

_LEAST = 1e-6
_HALF = 0.5
_TEXTS = 8
_PARTS = re.compile(r"(?<=[a-z])(?=[A-Z])|[_.\-]+")


def sayings(name: str, description: str, examples: Sequence[str] = ()) -> tuple[str, ...]:
    """What a request is compared with by meaning: a tool's name with its description, and some of its examples."""
    head = description.strip().partition("\n")[0]
    return (f"{_PARTS.sub(' ', name).lower()}: {head}", *examples[:_TEXTS])


def rows(
    choices: Sequence[Scored], near: Mapping[str, float] | None, said: Mapping[str, float]
) -> dict[str, tuple[float, ...]]:
    """The `COLUMNS` of every tool.

    Args:
        choices: Tools and `ANSWER`.
        near: How near in meaning each tool is, -1 to 1; None where nobody can tell.
        said: How likely microcode finds each choice, and `ASK`.
    """
    meaning = near or {}
    tools = [one for one in choices if one.name != ANSWER]
    return {one.name: (one.score, meaning.get(one.name, 0.0), _log(said.get(one.name, 0.0))) for one in tools}


def refusal(choices: Sequence[Scored], said: Mapping[str, float]) -> tuple[float, ...]:
    """What `REFUSAL` weighs; arguments as for `rows`."""
    tools = [one for one in choices if one.name != ANSWER]
    answer = next((one.score for one in choices if one.name == ANSWER), 0.0)
    none = said.get(ANSWER, 0.0) + said.get(ASK, 0.0)
    odds = _log(none) - _log(sum(said.get(one.name, 0.0) for one in tools))
    return odds, 1.0, answer - max((one.score for one in tools), default=answer)


def joined(choices: Sequence[Scored], near: Mapping[str, float] | None, said: Mapping[str, float]) -> dict[str, float]:
    """The share of every choice and of `ASK`; what is decided comes first: the best tool, unless none is likelier than
    all of them together. Arguments as for `rows`.
    """
    known = weights(meaning=near is not None)
    found = rows(choices, near, said)
    scores = {name: _sum(known.tools, row) for name, row in found.items()}
    top = max(scores.values(), default=0.0)
    powers = {name: math.exp(score - top) for name, score in scores.items()}
    none = 1.0 if not powers else 1 / (1 + math.exp(-_sum(known.refusal, refusal(choices, said))))
    total = sum(powers.values())
    tools = {name: (1 - none) * power / total for name, power in powers.items()}
    asked = said.get(ASK, 0.0) / max(said.get(ANSWER, 0.0) + said.get(ASK, 0.0), _LEAST)
    others = {ANSWER: none * (1 - asked), ASK: none * asked}
    first, second = (_sorted(tools), _sorted(others)) if none <= _HALF else (_sorted(others), _sorted(tools))
    return {**first, **second}


@dataclass(frozen=True, slots=True)
class Weights:
    """What `COLUMNS` weigh of a tool, and `REFUSAL` of calling none."""

    tools: tuple[float, ...]
    refusal: tuple[float, ...]


@cache
def weights(*, meaning: bool) -> Weights:
    """What everything weighs, with meanings or where nobody can tell them."""
    data = json.loads(Path(__file__).with_name("weights.json").read_text(encoding="utf-8"))
    found = data["joined" if meaning else "joined_without_meaning"]
    return Weights(tuple(map(float, found["tools"])), tuple(map(float, found["refusal"])))


def _sorted(shares: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(shares.items(), key=lambda one: (-one[1], one[0])))


def _sum(weighs: Sequence[float], row: Sequence[float]) -> float:
    return sum(weight * value for weight, value in zip(weighs, row, strict=True))


def _log(share: float) -> float:
    return math.log(max(share, _LEAST))
