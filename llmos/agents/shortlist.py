"""Scores tools against a request: words in common, likeness to the tools' own examples, and whether the words hold what
the tool needs. What the figures weigh is in `weights.json`, fitted on development requests.

Deterministic, and made again when a run is resumed. Knows tools by their specs, traits and examples only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from llmos.agents.grounding import Grounded, Request, ground, role
from llmos.agents.likeness import About, about, cosine, pieces_of, rarities
from llmos.agents.spans import Span, spans
from llmos.agents.vocabulary import concepts, vocabulary
from llmos.kernel.protocols import Device

ANSWER = "answer"
"""The choice to call no tool."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A tool, or `ANSWER`, as a choice for a request.

    Attributes:
        features: By name.
        score: Their weighted sum: a natural logarithm, up to a constant.
    """

    name: str
    features: Mapping[str, float]
    score: float
    grounded: Grounded


@cache
def weights() -> Mapping[str, float]:
    """What each feature weighs; `answer_` features belong to the choice to call no tool."""
    data: dict[str, Any] = json.loads(Path(__file__).with_name("weights.json").read_text(encoding="utf-8"))
    return {name: float(weight) for name, weight in data["weights"].items()}


def shortlist(devices: Mapping[str, Device], request: Request) -> list[Scored]:
    """All choices for a request, best first."""
    rarity = rarities(tuple((name, _about(device).words) for name, device in sorted(devices.items())))
    found = [_scored(name, device, request, rarity) for name, device in devices.items()]
    found.append(_answer(request))
    return sorted(found, key=lambda one: (-one.score, one.name))


def probabilities(choices: Sequence[Scored]) -> list[float]:
    """The share of each choice: a softmax of the scores."""
    top = max((one.score for one in choices), default=0.0)
    shares = [math.exp(one.score - top) for one in choices]
    return [share / sum(shares) for share in shares]


def _scored(name: str, device: Device, request: Request, rarity: Mapping[str, float]) -> Scored:
    grounded = ground(device.spec, device.traits, request)
    features = _features(device, grounded, request, rarity)
    return Scored(name, features, weigh(features), grounded)


def weigh(features: Mapping[str, float]) -> float:
    """The weighted sum of features."""
    known = weights()
    return sum(known.get(name, 0.0) * value for name, value in features.items())


def _answer(request: Request) -> Scored:
    said = concepts(request.words, stop=True)
    strong = [one for one in spans(request.words) if one.kind not in ("name", "number", "quoted")]
    features = {
        "answer_bias": 1.0,
        "answer_opener": float(bool(said) and said[0] in vocabulary().openers),
        "answer_creative": float(bool(set(said) & vocabulary().creative)),
        "answer_strong": float(bool(strong)),
        "answer_long": min(len(said) / 20, 1.0),
    }
    return Scored(ANSWER, features, weigh(features), Grounded())


# -- what a tool is about


def examples_of(device: Device) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    """A tool's examples, if it has any: requests with the arguments that answer them."""
    return tuple(getattr(device, "examples", ()))


def _about(device: Device) -> About:
    spec = device.spec
    properties: Mapping[str, Mapping[str, Any]] = spec.parameters.get("properties", {})
    notes = " ".join(f"{name} {schema.get('description', '')}" for name, schema in properties.items())
    return about(spec.name, spec.description, notes, tuple(request for request, _ in examples_of(device)))


def _features(device: Device, grounded: Grounded, request: Request, rarity: Mapping[str, float]) -> dict[str, float]:
    said_of = _about(device)
    used = _used(grounded)
    said = set(concepts(_left(request.words, used)))
    unknown = max(rarity.values(), default=1.0)
    total = sum(rarity.get(word, unknown) for word in said) or 1.0
    common = sum(rarity.get(word, unknown) for word in said & said_of.words)
    pieces = pieces_of(request.words)
    strong = [one for one in spans(request.words) if one.kind not in ("name", "number", "quoted")]
    taken = [one for one in strong if _within(one, used)]
    numbers = [one for one in spans(request.words) if one.kind == "number"]
    required = device.spec.parameters.get("required", ())
    leading = concepts(request.words)[:1]
    return {
        "bias": 1.0,
        "words": common / total,
        "covered": min(common, 6.0) / 6.0,
        "example": max((cosine(pieces, example, rarity, unknown) for example in said_of.examples), default=0.0),
        "ready": float(bool(required) and not grounded.missing),
        "free": float(not required),
        "said": float(bool(grounded.values)),
        "arguments": min(len(used), 3) / 3,
        "numbers": float(bool(numbers)) * sum(_within(one, used) for one in numbers) / max(len(numbers), 1),
        "unnumbered": float(sum(not _within(one, used) for one in numbers)),
        "missing": float(len(set(grounded.missing) - set(grounded.findable))),
        "findable": float(bool(grounded.findable)),
        "strong": min(len(taken), 2) / 2,
        "unused": float(len(strong) - len(taken)),
        "named": len(set(concepts(request.words)) & said_of.name) / max(len(said_of.name), 1),
        "verb": float(bool(set(leading) & said_of.name)),
        "writes": float(device.traits.effect == "writes"),
        "external": float(device.traits.effect in ("external", "irreversible") or device.traits.returns == "outside"),
    }


def _within(span: Span, used: Sequence[tuple[int, int]]) -> bool:
    return any(start <= span.start and span.end <= end for start, end in used)


def _used(grounded: Grounded) -> list[tuple[int, int]]:
    return [found[0].span for found in grounded.values.values() if found[0].span is not None]


def _left(words: str, used: Sequence[tuple[int, int]]) -> str:
    """Words without those that became arguments."""
    return "".join(
        " " if any(start <= place < end for start, end in used) else character for place, character in enumerate(words)
    )


def roles_of(device: Device) -> Mapping[str, str]:
    """The role of each parameter."""
    properties: Mapping[str, Mapping[str, Any]] = device.spec.parameters.get("properties", {})
    return {name: role(name, schema, device.traits) for name, schema in properties.items()}
