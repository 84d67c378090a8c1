"""Texts cut into passages that can be cited, and found by words: BM25 by SQLite's full-text index, in memory.

Knows no tool and no model.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from llmos.agents.answers import sentences
from llmos.agents.vocabulary import plain_words, stem, vocabulary

MAX_PASSAGE = 600
"""Characters of a passage; longer sentences are cut into several."""

_NAME = re.compile(r"\b[A-Z][\w'\u2019-]+(?: (?:of |de |van |von )?[A-Z][\w'\u2019-]+)*\b")
_CODE = re.compile(r"\b(?=[\w/-]*\d)(?=[\w/-]*[A-Za-z])[\w]+(?:[-/][\w]+)*\b")
_QUOTED = re.compile(r"[\"“]([^\"”\n]{3,60})[\"”]")
_FILE = re.compile(r"\b[\w-]+\.(?:md|txt|csv|json|toml|yaml|yml|ini|log|rst|html)\b")
_HEADING = re.compile(r"^\s*(?:#{1,6}\s+(?P<marked>.+)|(?P<plain>[A-Z][\w ,&-]{2,50}):?)\s*$")
_GENERAL = frozenset(
    {"again", "also", "file", "files", "find", "gets", "notes", "number", "people", "person", "please", "somebody"}
    | {"someone", "tell", "thing", "things"}
)
"""What questions say of anything."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A sentence with where it stands.

    Attributes:
        place: File and line, or an address.
        around: The heading above it, and its file's name: what it is about, but not part of what it says.
    """

    text: str
    place: str
    around: str = ""

    def stems(self) -> frozenset[str]:
        """Its own words, brought to one form."""
        return frozenset(map(stem, plain_words(self.text)))

    def context(self) -> frozenset[str]:
        """Words around it."""
        return frozenset(map(stem, plain_words(re.sub(r"[/_.-]", " ", self.around))))


def passages_of(text: str, source: str, *, lines: bool = True) -> list[Passage]:
    """The sentences of a text; with `lines`, a place has the line that a sentence begins in."""
    found: list[Passage] = []
    heading = ""
    for number, line in enumerate(text.splitlines(), 1):
        place = f"{source}:{number}" if lines else source
        if match := _HEADING.match(line):
            heading = match["marked"] or match["plain"]
            if match["marked"]:
                continue
        for sentence in sentences(line):
            for start in range(0, len(sentence), MAX_PASSAGE):
                piece = sentence[start : start + MAX_PASSAGE].strip().lstrip("-*•| ")
                if re.search(r"\w", piece):
                    found.append(Passage(piece, place, f"{heading} {source}"))
    return found


def entities(text: str) -> list[str]:
    """What a passage names: people, places, codes, files, quoted titles; longest first."""
    found = [match[1] for match in _QUOTED.finditer(text)]
    for pattern in (_FILE, _CODE, _NAME):
        found += [match[0] for match in pattern.finditer(text)]
    known = vocabulary().stop
    good = [one for one in dict.fromkeys(found) if one.lower() not in known and len(one) > 2]
    return sorted(good, key=len, reverse=True)


def asked_stems(words: str) -> list[str]:
    """The words of a question that say what it is about, brought to one form."""
    known = vocabulary()
    plain = [word for word in plain_words(words) if word not in known.stop | _GENERAL and len(word) > 1]
    return list(dict.fromkeys(stem(word) for word in plain if stem(word) not in known.reading))


class Library:
    """Passages that can be looked up."""

    def __init__(self, passages: Iterable[Passage]) -> None:
        self.passages = list(passages)
        self._base = sqlite3.connect(":memory:")
        self._base.execute("create virtual table found using fts5(said, near, tokenize = 'unicode61')")
        rows = [(" ".join(sorted(one.stems())), " ".join(sorted(one.context()))) for one in self.passages]
        self._base.executemany("insert into found values (?, ?)", rows)

    @cached_property
    def _counts(self) -> Counter[str]:
        return Counter(word for one in self.passages for word in one.stems() | one.context())

    def weight(self, word: str) -> float:
        """How much a word says: the rarer it is here, the more."""
        return math.log(1 + len(self.passages) / (1 + self._counts[word]))

    def search(self, stems: Iterable[str], *, limit: int = 8) -> list[Passage]:
        """The passages that fit words best (BM25), best first."""
        query = " OR ".join(f'"{word}"' for word in stems if word.isalnum())
        if not query:
            return []
        rows = self._base.execute(
            "select rowid from found where found match ? order by bm25(found, 1.0, 0.3), rowid limit ?", (query, limit)
        )
        return [self.passages[rowid - 1] for (rowid,) in rows]

    def naming(self, entity: str) -> list[Passage]:
        """The passages that have a name in them, word for word."""
        pattern = re.compile(rf"(?<!\w){re.escape(entity)}(?!\w)")
        return [one for one in self.passages if pattern.search(one.text)]
