"""What speaks for a candidate, in numbers that can be weighed: each 0 to 1 or nearly, the more the better.

Knows no weights.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from llmos.memory.items import Item
from llmos.memory.protocols import Embedder
from llmos.memory.retrieval.candidates import Candidates
from llmos.memory.retrieval.situations import situations
from llmos.memory.retrieval.words import Words

AROUND = 2
"""Turns on either side in which a word counts for an episode."""
_SPEAKER = re.compile(r"([^:\n]{1,40}):\s")
_FULL = 15  # words from which on an episode says as much as others
_BESIDE = 0.5  # what the vector of a neighbour counts against an episode's own


@dataclass(frozen=True, slots=True)
class Features:
    """What speaks for one candidate. Of what is no episode, nothing around it counts.

    Attributes:
        lexical: Its BM25, as a share of the best one.
        before: The same of the two turns before it.
        around: The share of the query's words that it and the turns around it have, weighted by how rare they are.
        window: The cosine of the query and it together with the turns beside it.
        speaker: Whether the query names who says it.
        length: Whether there is enough of it to say something.
        situation: Whether the query calls the same situations to mind as a preference.
    """

    lexical: float
    before: float
    around: float
    window: float
    speaker: float
    length: float
    situation: float


def features(found: Candidates, words: Words, embedder: Embedder | None) -> dict[int, Features]:
    """What speaks for each of the candidates that may be found, by id."""
    has = {id: words.found(item.text) for id, item in found.items.items()}
    weights = words.weights(list(has.values()))
    total = sum(weights) or 1.0
    best = max(found.lexical.values(), default=0.0) or 1.0
    common = _common(found, embedder)

    def lexical(id: int | None) -> float:
        return found.lexical.get(id, 0.0) / best if id is not None else 0.0

    def coverage(ids: Iterable[int]) -> float:
        return sum(weights[number] for number in frozenset[int]().union(*(has[id] for id in ids))) / total

    result: dict[int, Features] = {}
    for id in found.chosen:
        item, beside = found.items[id], found.beside.get(id, {})
        near = [other for distance, other in beside.items() if abs(distance) <= AROUND]
        result[id] = Features(
            lexical=lexical(id),
            before=0.6 * lexical(beside.get(-1)) + 0.4 * lexical(beside.get(-2)),
            around=coverage([id, *near]),
            window=_window(found, id),
            speaker=_is_named(item, words),
            length=min(1.0, len(item.text.split()) / _FULL),
            situation=common.get(id, 0.0),
        )
    return result


def _window(found: Candidates, id: int) -> float:
    """The cosine of the query with the sum of a text's vector and half of those beside it.

    The query's cosines with all of them are known; what is still needed is the length of the sum.
    """
    dot, own, beside = found.dense.get(id, 0.0), found.vectors.get(id), found.beside.get(id)
    if own is None or not beside:
        return dot
    total = own
    for distance in (-1, 1):
        other = beside.get(distance)
        if other is not None and other in found.vectors:
            total = total + _BESIDE * found.vectors[other]
            dot += _BESIDE * found.dense[other]
    return dot / math.sqrt(float(total @ total))


def _common(found: Candidates, embedder: Embedder | None) -> dict[int, float]:
    """How much the query and each preference have in common by the situations in which they matter."""
    ids = [id for id in found.chosen if found.items[id].kind == "preference" and id in found.vectors]
    if not ids or embedder is None or found.query is None:
        return {}
    common = situations(embedder).common(found.query, np.stack([found.vectors[id] for id in ids]))
    return dict(zip(ids, common.tolist(), strict=True))


def _is_named(item: Item, words: Words) -> float:
    """1 if the query has a name of who says an episode."""
    if item.kind != "episode":
        return 0.0
    name = item.metadata.get("sender")
    if not isinstance(name, str):
        said = _SPEAKER.match(item.text)
        name = said[1] if said else ""
    return float(any(part in words.asked for part in re.findall(r"\w{3,}", name.lower())))
