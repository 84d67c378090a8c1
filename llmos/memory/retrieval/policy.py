"""How what speaks for a candidate is weighed, by what kind of memory it is.

Scores are fused, not ranks: how clearly something is best must not get lost (Bruch, Gai, Ingber 2023, "An Analysis of
Fusion Functions for Hybrid Retrieval"). A weighted sum of features orders the candidates of one kind. A logistic
function then says how likely a hit answers the query at all, so that kinds can be compared and "nothing relevant" can
be said (Platt 1999). Where the weights come from is in docs/retrieval.md. Knows no data set: the kind of an item is all
that it goes by.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from llmos.memory.items import Kind
from llmos.memory.retrieval.features import Features

RELEVANT = 0.4
"""The score from which a hit is taken to answer the query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The logistic function of a hit's own likeness in meaning, of the query's words it has, of how far it fits less
    than the best, and for preferences of the situations in common."""

    bias: float
    meaning: float
    words: float
    gap: float
    situation: float = 0.0

    def probability(self, one: Features, gap: float) -> float:
        """About the probability that a hit answers the query, 0 to 1.

        Args:
            gap: How much less it fits than the best of its kind, 0 or negative.
        """
        own = self.meaning * one.window + self.words * one.around + self.situation * one.situation
        return 1 / (1 + math.exp(-(self.bias + own + self.gap * gap)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The weights of one kind of memory.

    Attributes:
        lexical, before, around, window, speaker, length, situation: Of the features of these names.
        calibration: With an index of vectors.
        words_only: Without one.
    """

    lexical: float = 0.0
    before: float = 0.0
    around: float = 0.0
    window: float = 0.0
    speaker: float = 0.0
    length: float = 0.0
    situation: float = 0.0
    calibration: Calibration
    words_only: Calibration

    def fit(self, one: Features) -> float:
        """How well a candidate fits, beside others of its kind: the weighted sum."""
        return (
            self.lexical * one.lexical
            + self.before * one.before
            + self.around * one.around
            + self.window * one.window
            + self.speaker * one.speaker
            + self.length * one.length
            + self.situation * one.situation
        )


_PASSAGE = Policy(
    lexical=0.5,
    around=0.6,
    window=1.3,
    calibration=Calibration(bias=-5.7, meaning=6.3, words=8.2, gap=2.0),
    words_only=Calibration(bias=-4.0, meaning=0.0, words=10.6, gap=2.0),
)
_EPISODE = Policy(
    lexical=0.2,
    before=0.12,
    around=0.55,
    window=0.8,
    speaker=0.3,
    length=0.47,
    calibration=Calibration(bias=-5.3, meaning=9.4, words=3.5, gap=2.5),
    words_only=Calibration(bias=-2.1, meaning=0.0, words=5.0, gap=2.5),
)
# one sentence each: words in common say little, so they only decide between what is equally near in meaning
_FACT = Policy(
    lexical=0.05,
    window=1.0,
    calibration=Calibration(bias=-5.0, meaning=13.9, words=0.3, gap=4.0),
    words_only=Calibration(bias=-0.75, meaning=0.0, words=5.9, gap=4.0),
)
_PREFERENCE = replace(
    _FACT,
    situation=0.3,
    calibration=Calibration(bias=-4.1, meaning=11.6, words=0.0, gap=4.0, situation=1.4),
)
POLICIES: Mapping[Kind, Policy] = MappingProxyType(
    {
        "passage": _PASSAGE,
        "episode": _EPISODE,
        "fact": _FACT,
        "preference": _PREFERENCE,
        "skill": _PASSAGE,
    }
)
"""The policy of each kind."""
