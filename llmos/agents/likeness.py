"""How alike a request is to what something says of itself: words in common, and the form of its examples.

Tools and agents are compared with requests by it. Deterministic. Knows neither: only names, descriptions and examples.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from llmos.agents.spans import spans
from llmos.agents.vocabulary import concepts


@dataclass(frozen=True, slots=True)
class About:
    """What something says of itself.

    Attributes:
        name: Concepts in its name.
        words: Those in its description, its parameters' and its examples.
        examples: Each example as counted pieces, what its arguments are made of replaced by their kinds.
    """

    name: frozenset[str]
    words: frozenset[str]
    examples: tuple[Counter[str], ...]


@lru_cache(maxsize=1024)
def about(name: str, description: str, notes: str, examples: tuple[str, ...]) -> About:
    """What something says of itself, its words brought to one form.

    Args:
        notes: More of its description, such as its parameters'.
    """
    words = {*concepts(name), *concepts(description), *concepts(notes)}
    for example in examples:
        words.update(concepts(masked(example)))
    return About(frozenset(concepts(name)), frozenset(words), tuple(pieces_of(example) for example in examples))


def masked(words: str) -> str:
    """Words with what they name replaced by its kind, so that two requests of one form look alike."""
    result, end = "", 0
    for span in spans(words):
        result += f"{words[end : span.start]} xx{span.kind}xx "
        end = span.end
    return result + words[end:]


def pieces_of(words: str) -> Counter[str]:
    """Concepts and pairs of them."""
    said = concepts(masked(words), stop=True)
    return Counter([*said, *(f"{one} {two}" for one, two in zip(["^", *said], [*said, "$"], strict=True))])


@lru_cache(maxsize=64)
def rarities(names: tuple[tuple[str, frozenset[str]], ...]) -> Mapping[str, float]:
    """How much a concept says: the rarer among the things of these names and words, the more."""
    counts = Counter(word for _, words in names for word in words)
    return {word: math.log((len(names) + 1) / (count + 0.5)) for word, count in counts.items()}


def cosine(one: Counter[str], other: Counter[str], rarity: Mapping[str, float], unknown: float) -> float:
    """How much of two requests' pieces is common, rare ones counting more: 0 to 1.

    Args:
        unknown: The rarity of a kind of thing that no description has.
    """

    def weight(piece: str) -> float:
        return sum(rarity.get(word, unknown if word.startswith("xx") else 0.5) for word in piece.split())

    common = sum(min(count, other[piece]) * weight(piece) for piece, count in one.items() if piece in other)
    sizes = [sum(count * weight(piece) for piece, count in counted.items()) for counted in (one, other)]
    return common / math.sqrt(sizes[0] * sizes[1]) if all(sizes) else 0.0
