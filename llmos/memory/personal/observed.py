"""What a person prefers without saying so: counters of choices that decay, and when they amount to a preference.

Each choice counts with its weight, halved every `HALF_LIFE`. A value is preferred as long as its count is at least
`EVIDENCE` and `MARGIN` times that of its strongest rival. Nothing is written when that begins or ends: it is worked out
from the observations and the clock. Knows no store.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from llmos.memory.personal.facts import Fact
from llmos.memory.personal.vocabulary import value_key

HALF_LIFE = 60 * 86_400.0
"""Seconds after which a choice counts half."""

EVIDENCE = 2.5
"""So much must speak for a value: three choices in the last two weeks do."""

MARGIN = 2.0
"""So many times what speaks for any other value of the attribute."""

MOST = 0.65
"""The confidence that evidence comes near to, less than that of what was said."""


@dataclass(frozen=True, slots=True)
class Count:
    """How much speaks for a value.

    Attributes:
        latest: The newest observation.
        weight: The sum of the decayed weights.
        times: How often it was seen.
    """

    latest: Fact
    weight: float
    times: int


def counts(observations: Iterable[tuple[Fact, float]], *, now: float) -> dict[str, list[Count]]:
    """For each attribute how much speaks for each value, most first.

    Args:
        observations: With their weights.
        now: Seconds since 1970; what was seen later counts as if it were seen now.
    """
    found: dict[tuple[str, str], Count] = {}
    for fact, weight in observations:
        name = (fact.attribute, value_key(fact.value))
        share = weight * math.exp2(-max(0.0, now - fact.time) / HALF_LIFE)
        known = found.get(name)
        if known is None:
            found[name] = Count(fact, share, 1)
        else:
            latest = max(known.latest, fact, key=lambda one: (one.time, one.id))
            found[name] = Count(latest, known.weight + share, known.times + 1)
    by_attribute: dict[str, list[Count]] = {}
    for (attribute, _), count in sorted(found.items()):
        by_attribute.setdefault(attribute, []).append(count)
    for rivals in by_attribute.values():
        rivals.sort(key=lambda count: (-count.weight, value_key(count.latest.value)))
    return by_attribute


def preferred(observations: Iterable[tuple[Fact, float]], *, now: float) -> list[Fact]:
    """The values that enough speaks for, one of an attribute that has one at a time."""
    found: list[Fact] = []
    for _, rivals in sorted(counts(observations, now=now).items()):
        if rivals[0].latest.many:  # one may like several things
            found += [_preference(count, 0.0) for count in rivals if count.weight >= EVIDENCE]
            continue
        best, second = rivals[0], max(0.0, rivals[1].weight) if len(rivals) > 1 else 0.0
        if best.weight >= EVIDENCE and best.weight >= MARGIN * second:
            found.append(_preference(best, second))
    return found


def _preference(count: Count, rival: float) -> Fact:
    return replace(count.latest, confidence=MOST * count.weight / (count.weight + rival + 1.0))
