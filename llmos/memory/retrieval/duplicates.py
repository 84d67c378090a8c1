"""Texts that say the same in nearly the same words: of each such group one is enough in an answer.

Knows no scores and no database: it keeps the first of each group in the order it is given.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_WORD = re.compile(r"\w+")
_SHINGLE = 3  # words
_LIKE = 0.9  # share of common shingles from which two texts are taken to be one (Broder 1997, resemblance)
_NUMBER = re.compile(r"\d+")


def distinct(texts: Sequence[str], limit: int | None = None) -> list[int]:
    """The places of those texts that are not near-duplicates of an earlier one, in order.

    Two texts are near-duplicates if they have nine tenths of their three-word shingles in common, and the same numbers:
    the same report for another year is another text.

    Args:
        limit: At most so many; None for all.
    """
    kept: list[int] = []
    seen: list[tuple[frozenset[object], frozenset[str]]] = []
    for place, text in enumerate(texts):
        if limit is not None and len(kept) >= limit:
            break
        mark = _shingles(text), frozenset(_NUMBER.findall(text))
        if any(mark[1] == other[1] and _resemblance(mark[0], other[0]) >= _LIKE for other in seen):
            continue
        seen.append(mark)
        kept.append(place)
    return kept


def _shingles(text: str) -> frozenset[object]:
    words = _WORD.findall(text.casefold())
    if not words:
        return frozenset({text.strip()})
    if len(words) < _SHINGLE:
        return frozenset({tuple(words)})
    return frozenset(tuple(words[start : start + _SHINGLE]) for start in range(len(words) - _SHINGLE + 1))


def _resemblance(one: frozenset[object], other: frozenset[object]) -> float:
    smaller, larger = sorted((len(one), len(other)))
    if smaller < _LIKE * larger:
        return 0.0
    common = len(one & other)
    return common / (len(one) + len(other) - common)
