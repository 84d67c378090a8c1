"""Words for paging: how much a text is about another one, which part of it is, and what a long one says in brief.

Lexical and deterministic: the same texts give the same answer in every process. Knows no language: words that are
everywhere count for nothing, so no list of them is needed. Meaning without common words is not seen.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

_WORD = re.compile(r"\w+")
_WIDE = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]+")  # scripts without spaces between words
_SENTENCE = re.compile(r"(?<=[.!?…])\s+|(?<=[\u3002\uff01\uff1f])|\n+")
_BLOCK_WORDS = 60
_NEW = 0.5
_TELLING = 3.0
_MANY = 50_000


def words_of(text: str) -> frozenset[str]:
    """The words of a text in the form in which they are compared: no case, no plural s; pairs of ideographs."""
    return frozenset(_words(text))


def _words(text: str) -> Iterator[str]:
    for match in _WORD.finditer(text.casefold()):
        word = match[0]
        if _WIDE.search(word):
            for run in _WIDE.findall(word):
                yield from (run[place : place + 2] for place in range(max(len(run) - 1, 1)))
        elif len(word) > 1 or word.isdigit():
            yield word[:-1] if len(word) > 3 and word[-1] == "s" and word[-2] != "s" else word


@lru_cache(maxsize=4096)
def blocks_of(text: str) -> tuple[tuple[str, frozenset[str]], ...]:
    """A text as runs of whole sentences of some 60 words, each with its words."""
    blocks: list[str] = []
    size = 0
    for sentence in sentences_of(text):
        count = len(_WORD.findall(sentence))
        if blocks and size + count <= _BLOCK_WORDS:
            blocks[-1] += f" {sentence}"
            size += count
        else:
            blocks.append(sentence)
            size = count
    return tuple((block, words_of(block)) for block in blocks)


def sentences_of(text: str) -> list[str]:
    """The sentences and lines of a text."""
    return [part.strip() for part in _SENTENCE.split(text) if part.strip()]


class Rarity:
    """How much a word tells, by how few of some texts have it.

    The weight is that of BM25's inverse document frequency in its form without negative values (Robertson and Zaragoza
    2009, "The Probabilistic Relevance Framework").

    Args:
        texts: All of them.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._having: Counter[str] = Counter()
        self._count = 0
        for text in texts:
            self._count += 1
            self._having.update(frozenset[str]().union(*(words for _, words in blocks_of(text))))

    def weight(self, word: str) -> float:
        """What a word counts; one that no text has says little, as nothing can match it."""
        having = self._having[word]
        if not having:
            return _NEW * math.log(1 + self._count)
        return math.log(1 + (self._count - having + 0.5) / (having + 0.5))

    def is_rare(self, word: str) -> bool:
        """Whether few enough texts have a word that having it in common means something."""
        return 0 < self._having[word] <= max(2, self._count // 10)

    def shared(self, asked: frozenset[str], words: frozenset[str]) -> float:
        """The share of what is asked, by weight, that some words have, 0 to 1; 0 without a rare word in common."""
        common = asked & words
        if not any(self.is_rare(word) for word in common):
            return 0.0
        whole = sum(self.weight(word) for word in sorted(asked))
        return sum(self.weight(word) for word in sorted(common)) / whole if whole else 0.0

    def relevance(self, asked: frozenset[str], text: str) -> float:
        """How much the best part of a text has of what is asked, 0 to 1."""
        return max((self.shared(asked, words) for _, words in blocks_of(text)), default=0.0)

    def excerpt(self, asked: frozenset[str], text: str, limit: int) -> str:
        """The parts of a text that have most of what is asked, in their order, `limit` bytes at most."""
        blocks = blocks_of(text)
        ranked = sorted(range(len(blocks)), key=lambda place: (-self.shared(asked, blocks[place][1]), place))
        chosen: list[int] = []
        left = limit
        for place in ranked:
            size = len(blocks[place][0].encode()) + 5
            if size <= left:
                chosen.append(place)
                left -= size
        if not chosen and ranked:
            return cut(blocks[ranked[0]][0], limit)
        return " … ".join(blocks[place][0] for place in sorted(chosen))


def cut(text: str, limit: int) -> str:
    """A text of `limit` bytes at most, with a mark where it was cut."""
    data = text.encode()
    return text if len(data) <= limit else f"{data[: max(limit - 3, 0)].decode('utf-8', 'ignore')}…"


@lru_cache(maxsize=256)
def in_brief(texts: tuple[tuple[str, str], ...], limit: int) -> str:
    """What some texts say, by a few of their own sentences, `limit` bytes at most.

    Sentences are taken greedily by how many words they add that no chosen one has, per byte (coverage: Lin and Bilmes
    2011, "A Class of Submodular Functions for Document Summarization"). Names and numbers count more than other words.

    Args:
        texts: A title and a text each; the title stands before its first sentence that is taken.
        limit: 0 gives an empty text.
    """
    found: list[tuple[int, int, str, dict[str, float]]] = []
    for number, (_, text) in enumerate(texts):
        for place, sentence in enumerate(sentences_of(text[:_MANY])):
            found.append((number, place, sentence, _telling(sentence)))
    chosen: set[tuple[int, int]] = set()
    covered: set[str] = set()
    left = limit
    while found:
        fitting = [one for one in found if len(one[2].encode()) + 8 <= left and one[3].keys() - covered]
        if not fitting:
            break
        best = max(fitting, key=lambda one: (_gain(one[3], covered, one[2]), -one[0], -one[1]))
        chosen.add(best[:2])
        covered |= best[3].keys()
        left -= len(best[2].encode()) + len(texts[best[0]][0].encode()) + 4
        found.remove(best)
    return _joined(texts, sorted(chosen))


def _telling(sentence: str) -> dict[str, float]:
    """The words of a sentence with what each tells: names and numbers most, short words nothing."""
    names = {word.casefold() for word in _WORD.findall(sentence)[1:] if word[:1].isupper()}
    return {
        word: _TELLING if any(sign.isdigit() for sign in word) or word in names else 1.0
        for word in sorted(words_of(sentence))
        if len(word) > 3 or word in names or any(sign.isdigit() for sign in word) or _WIDE.search(word)
    }


def _gain(words: dict[str, float], covered: set[str], sentence: str) -> float:
    return sum(weight for word, weight in words.items() if word not in covered) / (16 + len(sentence.encode()))


def _joined(texts: Sequence[tuple[str, str]], chosen: Sequence[tuple[int, int]]) -> str:
    parts: list[str] = []
    last = -1
    for number, place in chosen:
        title, text = texts[number]
        sentence = sentences_of(text[:_MANY])[place]
        parts.append(sentence if number == last or not title else f"{title} {sentence}")
        last = number
    return " ".join(parts)
