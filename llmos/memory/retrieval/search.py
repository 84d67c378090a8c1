"""Finds what fits a query: by words and by meaning, weighed by the kind of memory, with an honest "nothing relevant".

Knows no model by name and no data set; what it is given is any store, any index and any embedder.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llmos.memory.items import Filter, Hit, Item, Kind
from llmos.memory.protocols import Embedder
from llmos.memory.retrieval.candidates import Candidates, Index, Store, gather
from llmos.memory.retrieval.duplicates import distinct
from llmos.memory.retrieval.features import Features, features
from llmos.memory.retrieval.policy import POLICIES, RELEVANT
from llmos.memory.retrieval.reranking import Reranker
from llmos.memory.retrieval.words import Words, content_words

_RERANKED = 30  # hits that a reranker sees


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was found.

    Attributes:
        hits: Best first, without near-duplicates. Some may be there even if nothing is relevant.
        relevant: Whether any of them is likely to answer the query. If not, "not in memory" is the answer.
    """

    hits: tuple[Hit, ...]
    relevant: bool


def search(
    store: Store,
    index: Index | None,
    embedder: Embedder | None,
    query: str,
    filter: Filter,
    *,
    limit: int = 10,
    now: float | None = None,
    reranker: Reranker | None = None,
) -> Found:
    """Find what fits a query.

    Args:
        index, embedder: The vectors and the model they are of; None to go by words alone.
        query: A question, a request or some words; any text is legal.
        filter: What may be found at all.
        limit: At most so many hits.
        now: The time at which facts are asked for, seconds since 1970; None for the present. Of facts that contradict
            each other, the latest that holds then comes first.
        reranker: Takes a second look at the best hits; its probabilities replace the scores.

    Raises:
        StorageError: The store can't be read.
        ModelInvalid: The embedding model is damaged.
    """
    asked = content_words(query)
    if not asked or limit < 1:
        return Found(hits=(), relevant=False)
    found = gather(store, index, embedder, query, " ".join(asked), filter)
    hits = _scored(found, features(found, Words(asked), embedder), dense=bool(found.dense))
    if reranker is not None:
        hits = _reranked(reranker, query, hits)
    hits = _latest_first(hits, time.time() if now is None else now)
    kept = [hits[place] for place in distinct([hit.item.text for hit in hits], limit)]
    return Found(hits=tuple(kept), relevant=bool(kept) and max(hit.score for hit in kept) >= RELEVANT)


def _scored(found: Candidates, evidence: dict[int, Features], *, dense: bool) -> list[Hit]:
    """All candidates as hits, best first. In each kind the weighted sum decides, between kinds the probability."""
    kinds: dict[Kind, list[tuple[float, int]]] = {}
    for id, one in evidence.items():
        kind = found.items[id].kind
        kinds.setdefault(kind, []).append((POLICIES[kind].fit(one), id))
    hits: list[Hit] = []
    for kind, fits in kinds.items():
        policy = POLICIES[kind]
        calibration = policy.calibration if dense else policy.words_only
        fits.sort(key=lambda one: (-one[0], one[1]))
        score = 1.0
        for fit, id in fits:
            # what fits less is never more probable
            score = min(score, calibration.probability(evidence[id], fit - fits[0][0]))
            hits.append(Hit(found.items[id], score, found.dense.get(id), found.lexical.get(id)))
    hits.sort(key=lambda hit: -hit.score)  # stable: among equals the order of their kind stays
    return hits


def _reranked(reranker: Reranker, query: str, hits: list[Hit]) -> list[Hit]:
    best = hits[:_RERANKED]
    scores = reranker.scores(query, [hit.item.text for hit in best])
    seen = [replace(hit, score=score) for hit, score in zip(best, scores, strict=True)]
    seen.sort(key=lambda hit: -hit.score)
    least = seen[-1].score if seen else 0.0
    return [*seen, *(replace(hit, score=min(hit.score, least)) for hit in hits[_RERANKED:])]


def _latest_first(hits: Sequence[Hit], now: float) -> list[Hit]:
    """Facts of the same subject and attribute with other values: the places that they have are theirs by time."""
    places: dict[tuple[str, str, str, str], list[int]] = {}
    for place, hit in enumerate(hits):
        slot = _slot(hit.item)
        if slot is not None:
            places.setdefault(slot, []).append(place)
    result = list(hits)
    for taken in places.values():
        if len(taken) > 1:
            by_time = sorted((hits[place] for place in taken), key=lambda hit: _since(hit.item, now), reverse=True)
            for place, hit in zip(taken, by_time, strict=True):
                result[place] = replace(hit, score=hits[place].score)
    return result


def _slot(item: Item) -> tuple[str, str, str, str] | None:
    """What only one fact can hold; None for anything else."""
    subject, attribute = item.metadata.get("subject"), item.metadata.get("attribute")
    if item.kind not in ("fact", "preference") or not subject or not attribute or item.metadata.get("many"):
        return None
    return item.kind, item.namespace, str(subject), str(attribute)


def _since(item: Item, now: float) -> tuple[bool, float]:
    since = item.valid_from if item.valid_from is not None else item.created or 0.0
    return since <= now, since
