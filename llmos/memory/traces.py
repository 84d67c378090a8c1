"""Recognizes texts that are to be forgotten where they were quoted, and as bytes in files.

A text is recognized by runs of its words, whatever stands between them: marks, line breaks, the escapes of JSON. Short
texts must stand as a whole. What only means the same is not recognized. Knows no file format and no store.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from llmos.errors import StorageError

RUN = 5
"""So many words in a row of a text are enough to recognize it by."""

_CONTENT = 3
_NEEDLES = 64
_NEEDLE = 48
_EXACT = 12
_BLOCK = 1 << 22
_WORD = re.compile(r"[^\W_]+")
_ESCAPE = re.compile(r"\\+(?:u[0-9a-fA-F]{4}|[nrtbf\"/\\])")
_SMALL = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "but",
        "by",
        "can",
        "do",
        "for",
        "from",
        "had",
        "has",
        "have",
        "he",
        "her",
        "his",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "may",
        "me",
        "my",
        "no",
        "not",
        "of",
        "on",
        "or",
        "our",
        "she",
        "so",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "to",
        "us",
        "was",
        "we",
        "were",
        "what",
        "when",
        "which",
        "who",
        "will",
        "with",
        "you",
        "your",
    ]
)


def words_of(text: str) -> list[str]:
    """The words of a text in lower case; of JSON, those of the texts in it."""
    return _WORD.findall(_ESCAPE.sub(" ", text).casefold())


@dataclass(frozen=True)
class Traces:
    """What gives some texts away.

    Attributes:
        texts: They themselves.
        exact: Texts that count only where nothing else stands beside them, such as answers that were made of them.
    """

    texts: tuple[str, ...]
    exact: frozenset[str] = frozenset()

    @cached_property
    def _runs(self) -> tuple[frozenset[tuple[str, ...]], frozenset[tuple[str, ...]]]:
        long: set[tuple[str, ...]] = set()
        short: set[tuple[str, ...]] = set()
        for text in self.texts:
            words = words_of(text)
            runs = [run for run in _windows(words, RUN) if _says_much(run)]
            long.update(runs)
            if words and not runs:
                short.add(tuple(words))
        return frozenset(long), frozenset(short)

    def and_exactly(self, more: Iterable[str]) -> Traces:
        """The same with more exact texts; short ones say nothing, and are left out."""
        kept = (text.strip() for text in more)
        return Traces(self.texts, self.exact | {text for text in kept if len(text) >= _EXACT})

    def within(self, text: str) -> bool:
        """Whether a text has any of them in it."""
        if text.strip() in self.exact:
            return True
        long, short = self._runs
        words = words_of(text)
        if any(run in long for run in _windows(words, RUN)):
            return True
        sizes = {len(one) for one in short}
        return any(run in short for size in sizes for run in _windows(words, size))

    def needles(self) -> list[str]:
        """Pieces of them to look for as bytes: the beginning of each text's longest lines, as they stand there."""
        found: dict[str, None] = {}
        for text in self.texts:
            lines = sorted((line.strip() for line in text.splitlines()), key=len, reverse=True)
            for line in lines[:2]:
                piece = line[:_NEEDLE].rsplit(" ", 1)[0] if len(line) > _NEEDLE else line
                if len(piece) > 3:
                    found[piece] = None
        every = list(found)
        step = max(len(every) // _NEEDLES, 1)
        return every[::step][:_NEEDLES]


def _windows(words: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    return (tuple(words[place : place + size]) for place in range(len(words) - size + 1)) if size else iter(())


def _says_much(run: tuple[str, ...]) -> bool:
    """Whether a run of words is not one that stands in every text."""
    return sum(word not in _SMALL for word in run) >= _CONTENT


def files_with(folder: Path, needles: Iterable[str]) -> dict[Path, str]:
    """The files below a folder that have one of some texts in their bytes, in any of the usual encodings.

    Returns:
        By file the first text found.

    Raises:
        StorageError: A file can't be read.
    """
    patterns = [(needle, form) for needle in needles for form in _forms(needle)]
    found: dict[Path, str] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            hit = _first(path, patterns)
            if hit:
                found[path] = hit
    return found


def _forms(needle: str) -> set[bytes]:
    plain = needle.encode("utf-8", "surrogatepass")
    wide = [needle.encode(code, "surrogatepass") for code in ("utf-16-le", "utf-16-be")]
    return {plain, *wide}


def _first(path: Path, patterns: Sequence[tuple[str, bytes]]) -> str:
    overlap = max((len(form) for _, form in patterns), default=1) - 1
    tail = b""
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                data = tail + block
                for needle, form in patterns:
                    if form in data:
                        return needle
                tail = data[-overlap:] if overlap else b""
    except FileNotFoundError:  # gone meanwhile
        return ""
    except OSError as error:
        raise StorageError(f"{str(path)!r} can't be read: {error.strerror or error}.") from error
    return ""
