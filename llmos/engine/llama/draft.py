"""Prompt-lookup drafting: guess that a run of tokens seen before comes again.

After Saxena 2023 (github.com/apoorvumang/prompt-lookup-decoding). Verification is the sampler's: a drafted token
counts only if the sampler would have chosen it, so output and distribution don't change. Pays when an answer copies
from its prompt, costs elsewhere; so it asks for a match of at least `MATCH` tokens and falls silent while fewer than
half of its guesses come true. Knows no model.
"""

from __future__ import annotations

MATCH = 3
LENGTH = 8
_MEMORY = 32  # drafted tokens that the acceptance rate looks back on
_SILENCE = 64  # tokens to wait after giving up, before trying again


class Drafter:
    """Guesses continuations for one growing token sequence."""

    def __init__(self) -> None:
        self._places: dict[tuple[int, ...], int] = {}
        self._indexed = 0
        self._drafted = self._accepted = 0
        self._quiet_until = 0

    def propose(self, tokens: list[int]) -> list[int]:
        """Up to `LENGTH` tokens that may come next, from the last place where the sequence's end stood before."""
        self._index(tokens)
        if len(tokens) < max(self._quiet_until, MATCH + 1):
            return []
        place = self._places.get(tuple(tokens[-MATCH:]))
        return [] if place is None else tokens[place : place + LENGTH]

    def learn(self, length: int, drafted: int, accepted: int) -> None:
        """Take in how a draft did; `length` is the sequence's length now."""
        self._drafted += drafted
        self._accepted += accepted
        if self._drafted >= _MEMORY:
            if self._accepted * 2 < self._drafted:
                self._quiet_until = length + _SILENCE
            self._drafted = self._accepted = 0

    def _index(self, tokens: list[int]) -> None:
        """Remember where each run of `MATCH` tokens was last followed by something."""
        for end in range(max(self._indexed, MATCH), len(tokens)):
            self._places[tuple(tokens[end - MATCH : end])] = end
        self._indexed = max(len(tokens), MATCH)
