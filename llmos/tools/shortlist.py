"""Which tools fit a request, when there are too many to show all of them to the model.

By words at once, and by meaning once an embedding model is loaded. Knows tools by what they say of themselves: name,
description, parameters, examples.
"""

from __future__ import annotations

import math
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from llmos.errors import LlmosError
from llmos.kernel.protocols import Device

if TYPE_CHECKING:
    from numpy.typing import NDArray

Embed = Callable[[Sequence[str]], "NDArray[Any]"]
"""Texts to unit vectors: shape (texts, dimensions), float32. May be slow the first time."""

_K1, _B = 1.2, 0.5
_WORD = re.compile(r"[^\W_]+", re.UNICODE)
_COMMON = frozenset(
    {
        *("a", "an", "and", "are", "as", "at", "be", "by", "can", "do", "does", "for", "from", "has", "have"),
        *("how", "i", "in", "is", "it", "its", "me", "my", "of", "on", "or", "our", "please", "than", "that"),
        *("the", "then", "there", "they", "this", "to", "us", "was", "we", "what", "when", "where", "which"),
        *("who", "will", "with", "you", "your"),
    }
)
_ENDINGS = ("ations", "ation", "ings", "ing", "edly", "ies", "ers", "ed", "er", "es", "ly", "s", "e")
# what a request has in place of a word: numbers with units, addresses, names of files
_SHAPES = (
    (re.compile(r"https?://\S+", re.I), " url website page "),
    (re.compile(r"\b[\w./-]+\.(?:txt|md|csv|json|py|log|pdf|html|ya?ml|toml|ics)\b", re.I), " file "),
    (re.compile(r"\d\s*[-+*/×÷^%]\s*\d?|\d\s*(?:percent|plus|minus|times)\b", re.I), " calculate "),
    (re.compile(r"\b\d{4}-\d\d-\d\d\b|\b\d{1,2}:\d\d\b"), " date time "),
)


class Shortlist:
    """A search over tools.

    Args:
        devices: All tools.
        embed: An embedding model; None for words alone.
        wait: Wait for the model's first answer instead of doing without it until it comes.
    """

    def __init__(self, devices: Iterable[Device], *, embed: Embed | None = None, wait: bool = False) -> None:
        self._texts = {device.spec.name: _sayings(device) for device in devices}
        self._lexicon = _Lexicon({name: " ".join(texts) for name, texts in self._texts.items()})
        self._embed = embed
        self._vectors: tuple[list[str], NDArray[Any]] | None = None
        self._loading: threading.Thread | None = None
        if embed and self._texts:
            self._loading = threading.Thread(target=self._load, name="shortlist", daemon=True)
            self._loading.start()
            if wait:
                self._loading.join()

    @property
    def ready(self) -> bool:
        """Whether requests are compared by meaning too."""
        return self._vectors is not None

    def best(self, query: str, k: int = 3) -> list[str]:
        """The names of the tools that fit a request best, best first; ties in alphabetical order.

        Args:
            query: A request, in the user's words.
            k: At most so many.
        """
        return [name for name, _ in self.scores(query)[:k]]

    def scores(self, query: str) -> list[tuple[str, float]]:
        """Every tool with how well it fits, best first: between 0 and 1, comparable within one request only."""
        words = self._lexicon.scores(query)
        found = _ranked(words) if self._vectors is None else _fused(words, self._meanings(query))
        return sorted(found.items(), key=lambda entry: (-entry[1], entry[0]))

    def _meanings(self, query: str) -> dict[str, float]:
        """By its nearest saying, each tool's similarity to a request."""
        if self._vectors is None or self._embed is None:
            return {}
        owners, vectors = self._vectors
        similar = vectors @ self._embed([query])[0]
        best: dict[str, float] = {}
        for owner, value in zip(owners, similar.tolist(), strict=True):
            best[owner] = max(best.get(owner, -1.0), value)
        return best

    def _load(self) -> None:
        owners = [name for name, texts in self._texts.items() for _ in texts]
        texts = [text for sayings in self._texts.values() for text in sayings]
        try:
            vectors = self._embed(texts) if self._embed else None
        except (OSError, RuntimeError, ImportError, ValueError, LlmosError):
            return  # words alone will do
        if vectors is not None:
            self._vectors = owners, vectors


class _Lexicon:
    """BM25 over a few short texts (Robertson and Zaragoza 2009)."""

    def __init__(self, texts: dict[str, str]) -> None:
        self._counts = {name: Counter(_words(text)) for name, text in texts.items()}
        self._mean = sum(sum(counts.values()) for counts in self._counts.values()) / max(1, len(texts))
        seen = Counter(word for counts in self._counts.values() for word in counts)
        self._rarity = {word: math.log(1 + (len(texts) - count + 0.5) / (count + 0.5)) for word, count in seen.items()}

    def scores(self, query: str) -> dict[str, float]:
        """How well each text matches a query; 0 and more."""
        for pattern, words in _SHAPES:
            if pattern.search(query):
                query += words
        wanted = set(_words(query))
        return {name: self._score(wanted, counts) for name, counts in self._counts.items()}

    def _score(self, wanted: set[str], counts: Counter[str]) -> float:
        length = sum(counts.values()) / (self._mean or 1)
        return sum(
            self._rarity[word] * counts[word] * (_K1 + 1) / (counts[word] + _K1 * (1 - _B + _B * length))
            for word in wanted
            if word in counts
        )


def _sayings(device: Device) -> list[str]:
    """What a tool says of itself: description with name, each use named in it, each example."""
    spec = device.spec
    name = spec.name.replace("_", " ")
    properties: dict[str, dict[str, Any]] = dict(spec.parameters.get("properties", {}))
    notes = " ".join(f"{key.replace('_', ' ')} {value.get('description', '')}" for key, value in properties.items())
    examples: Sequence[tuple[str, Any]] = getattr(device, "examples", ())
    return [f"{name}: {spec.description}", f"{name} {notes}".strip(), *(request for request, _ in examples)]


def _words(text: str) -> list[str]:
    return [_stem(word) for word in _WORD.findall(text.lower()) if word not in _COMMON]


@cache
def _stem(word: str) -> str:
    """A word without its ending: crude, but the same on both sides."""
    if word.isdigit():
        return "0"
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def _ranked(scores: dict[str, float]) -> dict[str, float]:
    highest = max(scores.values(), default=0.0)
    return {name: score / highest if highest else 0.0 for name, score in scores.items()}


def _fused(words: dict[str, float], meanings: dict[str, float]) -> dict[str, float]:
    """Both, by similarity with a bonus for shared words: similarity alone misses names, words alone miss synonyms."""
    lexical = _ranked(words)
    return {name: (2 * max(0.0, similar) + lexical.get(name, 0.0)) / 3 for name, similar in meanings.items()}
