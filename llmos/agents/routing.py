"""Scores the ways to have a task done: likeness to what each says of itself, how the task is made, whether a tool has
all it needs. What the figures weigh is in `routes.json`, fitted on requests (`python -m bench.routing --write`).

Deterministic. Knows ways and tools by what they say of themselves, and no model.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from llmos.agents.asking import logs_of
from llmos.agents.grounding import Request
from llmos.agents.joining import sayings
from llmos.agents.knowledge import knowledge
from llmos.agents.likeness import About, about, cosine, pieces_of, rarities
from llmos.agents.shortlist import ANSWER, Scored, probabilities, shortlist
from llmos.agents.spans import of_kind
from llmos.agents.structure import Structure, clauses, own_words, structure
from llmos.agents.vocabulary import concepts, plain_words
from llmos.agents.ways import Way
from llmos.kernel.protocols import Device

_QUESTION = frozenset({"what", "who", "why", "how", "when", "where", "which", "is", "are", "can", "does", "do"})
_POLITE = frozenset(["please", "now", "just", "could", "can", "would", "will", "you", "let", "us", "ok", "and", "then"])
_OWN = frozenset({"i", "my", "me", "mine", "our", "we", "us"})
_PAST = frozenset(
    {"did", "said", "told", "tell", "remember", "remind", "before", "know", "mentioned", "decided", "last"}
)
_FAR = 4.0
_REMOTE = 30.0  # a way so many times less likely than the best one is not near
_CALLS = 3  # more steps than this are no mere chain of calls

ADDRESSED = 6.0
"""What it weighs that an agent is named: a rule and not fitted, since whoever the user names is meant."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """A way as a choice for a task.

    Attributes:
        features: By name.
        score: Their weighted sum: a natural logarithm, up to a constant.
        share: Of all ways, 0 to 1, before anybody was asked.
    """

    way: Way
    features: Mapping[str, float]
    score: float
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class Weights:
    """What features weigh; see `routes.json`.

    Attributes:
        features: By words alone.
        with_meaning: Where meanings are known, too.
        model: The weight of the model's log-probabilities.
        temperature: Divides the scores, so that a share is the frequency of being right.
    """

    features: Mapping[str, float]
    with_meaning: Mapping[str, float]
    model: float
    temperature: float


@cache
def weights() -> Weights:
    """The weights, read once."""
    data: dict[str, Any] = json.loads(Path(__file__).with_name("routes.json").read_text(encoding="utf-8"))

    def read(key: str) -> dict[str, float]:
        return {name: float(weight) for name, weight in data[key].items()} | {"addressed": ADDRESSED}

    return Weights(read("weights"), read("with_meaning"), float(data["model"]), float(data["temperature"]))


def weigh(
    task: str, ways: Sequence[Way], devices: Mapping[str, Device], similar: Mapping[str, float] | None = None
) -> list[Weighed]:
    """The ways for a task, the best one first. Of the tools only the best one is among them, see `spread`.

    Args:
        devices: The tools, by name.
        similar: How near in meaning each way but the tools is to the task (by title, -1 to 1), where that is known.
    """
    words = own_words(task)
    tools = tools_for(task, ways, devices)
    known = weights()
    heavy = known.with_meaning if similar else known.features
    found = [
        Weighed(way, features, sum(heavy.get(name, 0.0) * value for name, value in features.items()))
        for way, features in features_of(words, ways, tools, devices, similar or {})
    ]
    shares = softmax([one.score / known.temperature for one in found])
    found = [replace(one, share=share) for one, share in zip(found, shares, strict=True)]
    return sorted(found, key=lambda one: (-one.score, one.way.kind, one.way.name))


def sayings_of(ways: Sequence[Way]) -> dict[str, tuple[str, ...]]:
    """What a task is compared with by meaning: what each way but the tools says of itself, by title."""
    return {way.title: sayings(way.name, way.description, way.examples) for way in ways if way.kind != "tool"}


def judged(found: Sequence[Weighed], said: Mapping[str, float], weight: float) -> list[Weighed]:
    """The ways once a model has said of some of them how likely each is (by title), best first; the others keep their
    score.

    Args:
        weight: What the model's log-probabilities weigh.
    """
    logs = dict(zip(said, logs_of(list(said.values())), strict=True))
    mean = sum(logs.values()) / len(logs)
    scored = [replace(one, score=one.score + weight * (logs.get(one.way.title, mean) - mean)) for one in found]
    scaled = softmax([one.score / weights().temperature for one in scored])
    joined = [replace(one, share=share) for one, share in zip(scored, scaled, strict=True)]
    return sorted(joined, key=lambda one: (-one.score, one.way.kind, one.way.name))


def nearest(found: Sequence[Weighed], count: int) -> list[Weighed]:
    """The few ways that a model is asked about; two at least."""
    near = [one for one in found[:count] if one.share >= found[0].share / _REMOTE]
    return near if len(near) > 1 else list(found[:2])


def softmax(scores: Sequence[float]) -> list[float]:
    """Shares that add up to 1."""
    top = max(scores, default=0.0)
    sizes = [math.exp(score - top) for score in scores]
    return [size / sum(sizes) for size in sizes]


def tools_for(task: str, ways: Sequence[Way], devices: Mapping[str, Device]) -> list[Scored]:
    """The tools among the ways, and `ANSWER`, by how well they fit the first thing that a task asks for."""
    named = {way.name: devices[way.name] for way in ways if way.kind == "tool" and way.name in devices}
    return shortlist(named, Request(task))


def spread(share: float, tools: Sequence[Scored]) -> dict[str, float]:
    """The share of each tool, given that of all of them."""
    only = [one for one in tools if one.name != ANSWER]
    return {one.name: share * part for one, part in zip(only, probabilities(only), strict=True)}


# -- features


def features_of(
    words: str,
    ways: Sequence[Way],
    tools: Sequence[Scored],
    devices: Mapping[str, Device],
    similar: Mapping[str, float],
) -> list[tuple[Way, dict[str, float]]]:
    """What speaks for and against each way; one entry for all tools, which is that of the best.

    Args:
        words: The asker's own words.
    """
    texts = {way: _about(way) for way in ways if way.kind != "tool"}
    rarity = rarities(tuple(sorted((f"{way.kind} {way.name}", one.words) for way, one in texts.items())))
    made = structure(words)
    best = next((one for one in tools if one.name != ANSWER), None)
    gap = _gap(tools)
    found: list[tuple[Way, dict[str, float]]] = []
    for way, said in texts.items():
        like = _likeness(words, said, rarity)
        match way.kind:
            case "answer":
                features = _answer(words, tools, gap, like)
            case "retrieve":
                features = _retrieve(words, made, like)
            case _:
                features = _agent(way, words, made, like, gap)
        if similar:
            features["similar"] = similar.get(way.title, 0.0) - sum(similar.values()) / len(similar)
        if way.kind == "agent" and is_addressed(words, way.name):
            features["addressed"] = 1.0
        found.append((way, features))
    if best is not None:
        way = next(one for one in ways if one.kind == "tool" and one.name == best.name)
        found.append((way, _tool(best, words, made, gap)))
    _compare(found, clauses(words), texts, rarity)
    return found


@lru_cache(maxsize=1024)
def _about(way: Way) -> About:
    return about(way.name, way.description, "", way.examples)


def _likeness(words: str, said: About, rarity: Mapping[str, float]) -> dict[str, float]:
    """Words in common and likeness to an example; the names of files and the like count as their kinds."""
    unknown = max(rarity.values(), default=1.0)
    spoken = set(concepts(_unnamed(words)))
    total = sum(rarity.get(word, unknown) for word in spoken) or 1.0
    common = sum(rarity.get(word, unknown) for word in spoken & said.words)
    pieces = pieces_of(words)
    return {
        "words": common / total,
        "covered": min(common, 6.0) / 6.0,
        "example": max((cosine(pieces, example, rarity, unknown) for example in said.examples), default=0.0),
    }


def is_addressed(words: str, name: str) -> bool:
    """Whether somebody is told to do it by name: `ask the analyst …`, `@analyst …`, `the analyst should …`."""
    if name.casefold() not in words.casefold().replace(" ", "-") + words.casefold():
        return False
    written = re.escape(name).replace(r"\-", "[- ]").replace("_", "[_ ]")
    return (
        re.search(
            rf"(?:^\W*(?:hey\s+)?|@|\b(?:ask|let|have|tell|get|use|to|by|with|via)\s+)(?:the\s+|my\s+|our\s+|an?\s+)?"
            rf"{written}(?:\s+agent)?\b(?!\s+of\b|'s\b|\.\w)",
            words,
            re.IGNORECASE,
        )
        is not None
    )


def _unnamed(words: str) -> str:
    """Words without the paths, addresses and quotes in them."""
    for span in reversed(of_kind(words, "path", "url", "quoted")):
        words = f"{words[: span.start]} {words[span.end :]}"
    return words


def _gap(tools: Sequence[Scored]) -> float:
    """How much better the best tool fits than none: -1 to 1."""
    best = max((one.score for one in tools if one.name != ANSWER), default=-_FAR)
    none = next((one.score for one in tools if one.name == ANSWER), 0.0)
    return max(-_FAR, min(_FAR, best - none)) / _FAR


def _answer(words: str, tools: Sequence[Scored], gap: float, like: Mapping[str, float]) -> dict[str, float]:
    spoken = set(plain_words(words))
    features = {
        name: value
        for one in tools
        if one.name == ANSWER
        for name, value in one.features.items()
        if name in ("answer_opener", "answer_creative", "answer_strong")
    }
    return {
        "answer_bias": 1.0,
        **features,
        "answer_gap": gap,
        "answer_example": like["example"],
        "answer_question": float(next(iter(plain_words(words)), "") in _QUESTION and not spoken & _OWN),
        "answer_own": float(bool(spoken & _OWN)),
        "answer_order": float(_orders(words)),
        "answer_sources": float(bool(spoken & set(knowledge()["structure"]["sources"].split()))),
        "answer_things": float(bool(of_kind(words, "path", "url", "expression"))),
    }


def _orders(words: str) -> bool:
    """Whether words begin with an order that talk alone can't obey."""
    known = knowledge()["structure"]
    first = next((word for word in plain_words(words) if word not in _POLITE), "")
    return first in known["verbs"].split() and first not in known["talk"].split()


def _retrieve(words: str, made: Structure, like: Mapping[str, float]) -> dict[str, float]:
    spoken = set(plain_words(words))
    return {
        "retrieve_bias": 1.0,
        "retrieve_words": like["words"],
        "retrieve_example": like["example"],
        "retrieve_own": float(bool(spoken & _OWN)),
        "retrieve_past": float(bool(spoken & _OWN) and bool(spoken & _PAST)),
        "retrieve_things": float(made.objects > 0 or bool(of_kind(words, "expression"))),
        "retrieve_parts": float(made.parts > 1),
    }


def _tool(best: Scored, words: str, made: Structure, gap: float) -> dict[str, float]:
    families = _families(words)
    return {
        "tool_bias": 1.0,
        "tool_gap": gap,
        "tool_ready": float(not best.grounded.missing),
        "tool_example": best.features.get("example", 0.0),
        "tool_one": float(made.parts == 1),
        "tool_many": float(made.parts > 2),
        "tool_special": float(bool(families & {"data", "code"})),
        "tool_web": float(bool(of_kind(words, "url"))),
    }


def _agent(way: Way, words: str, made: Structure, like: Mapping[str, float], gap: float) -> dict[str, float]:
    if way.takes == "parts":
        return {
            "parts_bias": 1.0,
            "parts_example": like["example"],
            "parts_one": float(made.parts == 1),
            "parts_three": float(made.orders >= 3),
            "parts_more": min(max(made.orders - 2, 0), 3) / 3,
            "parts_items": float(made.items >= 2),
            "parts_together": float(bool(made.together)),
            "parts_parallel": float(bool(made.parallel or made.divided)),
            "parts_ordered": min(len(made.ordered), 3) / 3,
            "parts_objects": float(made.objects >= 2),
        }
    if way.takes == "chain":
        return {
            "chain_bias": 1.0,
            "chain_example": like["example"],
            "chain_length": float(2 <= made.parts <= _CALLS),
            "chain_gap": gap,
            "chain_special": float(bool(_families(words) & {"data", "code"})),
            "chain_divided": float(bool(made.parallel or made.divided or made.together)),
        }
    own = _families(" ".join(way.examples))
    named = _families(words)
    kind = "stranger" if not own else "home" if named & own - {"text"} else "away"
    return {
        "agent_bias": 1.0,
        **{f"agent_{name}": value for name, value in like.items()},
        "agent_home": float(kind == "home"),
        "agent_away": float(kind == "away" and bool(named)),
        "agent_parts": float(made.orders >= 3),
        "agent_web": float(bool(of_kind(words, "url")) and bool(of_kind(" ".join(way.examples), "url"))),
    }


@lru_cache(maxsize=256)
def _families(words: str) -> frozenset[str]:
    """The kinds of files that words name."""
    ends = {one.text.rpartition(".")[2].lower() for one in of_kind(words, "path") if "." in one.text}
    return frozenset(family for family, known in knowledge()["files"].items() if ends & set(known.split()))


def _compare(
    found: Sequence[tuple[Way, dict[str, float]]],
    parts: Sequence[str],
    texts: Mapping[Way, About],
    rarity: Mapping[str, float],
) -> None:
    """Add what only shows beside the others: who is alone with its subject, and whether the parts are for several."""
    ones = {way: one for way, one in texts.items() if way.kind == "agent" and way.takes == "one"}
    likes = {way: features["agent_example"] + features["agent_words"] for way, features in found if way in ones}
    top = max(likes.values(), default=0.0)
    experts = _experts(parts, ones, rarity)
    for way, features in found:
        if way in likes:
            others = max((like for other, like in likes.items() if other != way), default=0.0)
            features["agent_ahead"] = max(likes[way] - others, 0.0)
            features["agent_alone"] = float(set(experts) == {way.name})
            features["agent_experts"] = float(len(experts) >= 2)
        elif way.kind in ("answer", "tool"):
            features[f"{way.kind}_expert"] = top
        elif way.takes == "parts":
            features["parts_experts"] = float(len(experts) >= 2 and len(parts) >= 2)
            features["parts_alone"] = float(len(experts) == 1 and len(parts) >= 2)
        elif way.takes == "chain":
            features["chain_expert"] = top


_FIT = 0.55  # likeness and words together, from which an agent is one that a part of a task could be for


def _experts(parts: Sequence[str], ones: Mapping[Way, About], rarity: Mapping[str, float]) -> Counter[str]:
    """For how many parts of a task each agent is the nearest one, where one is near."""
    found: Counter[str] = Counter()
    for part in parts:
        fits: dict[str, float] = {}
        for way, said in ones.items():
            like = _likeness(part, said, rarity)
            fits[way.name] = like["example"] + like["words"]
        first, second = (*sorted(fits.values(), reverse=True), 0.0, 0.0)[:2]
        if first >= _FIT and first > second:  # of two that are alike neither is the one
            found[max(fits, key=fits.__getitem__)] += 1
    return found
