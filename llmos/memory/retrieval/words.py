"""The words of a query that say what it is about, and which of them a text has.

Function and question words are left out: they stand in nearly every text, and in a question they say what kind of
answer is wanted, not what about. Those and the endings of words are only known of English; elsewhere a word is found as
it is written. Knows no index.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

_WORD = re.compile(r"\w+")
_FUNCTION = frozenset(
    re.findall(
        r"\w+",
        """
        a about after all am an and any are as at be because been before being between both but by can could d
        did do does doing done during each for from had has have having he her hers him his how i if in into is
        it its just ll m may me might mine must my no nor not of on or other our ours over re s shall she should
        so some such t than that the their theirs them then there these they this those to us ve was we were
        what when where which while who whom whose why will with would you your yours
        """,
    )
)
_ENDINGS = ("ings", "ing", "ies", "ied", "ed", "es", "ly", "s", "y", "e")
_ENDING = "(?:ings?|ies|ied|ed|es|ly|s|y|e)?"
_SHORTEST = 3  # letters that are left of a word without its ending
# writing without spaces: two characters that follow each other are as good as a word
_DENSE = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]")
_MOST = 64  # words of a query: with more it is compared as a whole


def content_words(query: str) -> list[str]:
    """The words of a query without function words, each once, in lower case; all of them if nothing else is left."""
    words = list(dict.fromkeys(_WORD.findall(query.lower())))
    return [word for word in words if word not in _FUNCTION] or words


def stem(word: str) -> str:
    """A word in lower case without its English ending, roughly: enough to see that two forms are of one word."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST:
            word = word[: -len(ending)]
            break
    if len(word) > _SHORTEST and word[-1] == word[-2] and word[-1] not in "aeiouls":
        word = word[:-1]
    return word


class Words:
    """The words of a query, to be looked for in texts.

    Args:
        words: In lower case, as `content_words` gives them.

    Attributes:
        asked: The words themselves.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.asked = frozenset(words)
        self._stems: list[str] = []
        for word in words[:_MOST]:
            dense = _DENSE.search(word) and len(word) > 1
            parts = [word[at : at + 2] for at in range(len(word) - 1)] if dense else [stem(word)]
            self._stems += (part for part in parts if part not in self._stems)
        alternatives = "|".join(f"({_form(part)})" for part in self._stems)
        self._pattern = re.compile(alternatives) if self._stems else None

    def __len__(self) -> int:
        return len(self._stems)

    def found(self, text: str) -> frozenset[int]:
        """The numbers of the words that a text has in some form."""
        if self._pattern is None:
            return frozenset()
        return frozenset(match.lastindex - 1 for match in self._pattern.finditer(text.lower()) if match.lastindex)

    def weights(self, found: Sequence[frozenset[int]]) -> list[float]:
        """How much each word tells: the logarithm of the inverse of the share of texts that have it (Robertson 2004).
        One that none has weighs as much as one that a single text has.

        Args:
            found: Of each text the words that it has.
        """
        counts = [0] * len(self)
        for one in found:
            for number in one:
                counts[number] += 1
        total = max(1, len(found))
        return [math.log(1 + (total - max(1, n) + 0.5) / (max(1, n) + 0.5)) for n in counts]


def _form(part: str) -> str:
    """An expression for the forms of a word by its stem."""
    if _DENSE.search(part):
        return re.escape(part)
    doubled = f"{re.escape(part[-1])}?" if part[-1].isascii() and part[-1].isalpha() else ""
    return rf"\b{re.escape(part)}{doubled}{_ENDING}\b"
