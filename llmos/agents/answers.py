"""Takes an answer out of a text: the lines that speak of what was asked. Knows no tool and no model."""

from __future__ import annotations

import re

from llmos.agents.vocabulary import concepts, plain_words, stem, vocabulary

_RETELL = re.compile(
    r"\b(?:summari[sz]e|summary|sum up|in short|in brief|translate|rephrase|paraphrase|explain|main points?|gist)\b",
    re.I,
)
_DAY_OR_DIGIT = re.compile(r"\d|(?:mon|tues|wednes|thurs|fri|satur|sun)day", re.I)
_AMOUNT = re.compile(r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|twelve)\b", re.I)
_KINDS = (
    (re.compile(r"\b(?:when|what (?:date|time|day))\b", re.I), _DAY_OR_DIGIT),
    (re.compile(r"\b(?:how (?:much|many|long)|price|cost|amount)\b", re.I), _AMOUNT),
    (re.compile(r"\bwho\b", re.I), re.compile(r"\b[A-Z][a-z]+")),
)
"""What a question asks for, and what a line that answers it has."""
_SENTENCES = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])")


def wants_retelling(words: str) -> bool:
    """Whether a request asks for a text in other words."""
    return _RETELL.search(words) is not None


def best_lines(words: str, text: str, spoken: set[str]) -> list[str]:
    """The lines of a text that a question is about, those that share most with it; empty where it asks for all.

    Args:
        spoken: Values of the call that brought the text, which say nothing about its contents.
    """
    for value in spoken:
        words = words.replace(value, " ")
    known = vocabulary()
    asked = {
        stem(word)
        for word in plain_words(words)
        if word not in known.stop and not {*concepts(word), stem(word)} & known.reading
    }
    if not asked:
        return []
    lines = [line for part in text.splitlines() for line in sentences(part)]
    scored = [(_score(words, asked, line), line) for line in lines]
    best = max((score for score, _ in scored), default=0.0)
    return [line for score, line in scored if score == best] if best >= 1 else []


def _score(words: str, asked: set[str], line: str) -> float:
    """How many words of a question a line has, and half a point if it has what the question asks for."""
    common = len(asked & {stem(word) for word in plain_words(line)})
    return common + 0.5 * has_kind(words, line) if common else 0.0


def has_kind(words: str, line: str) -> bool:
    """Whether a line has the kind of thing that a question asks for: a date, an amount, a name."""
    return any(question.search(words) and answer.search(line) for question, answer in _KINDS)


def sentences(line: str) -> list[str]:
    """The sentences of a line, as they stand there."""
    return [one for one in _SENTENCES.split(line.strip()) if one]


def whole(text: str, *, cut: bool) -> str:
    """A text that ends with a sentence, where it was cut."""
    if not cut:
        return text
    end = max(text.rfind(mark) for mark in (". ", "! ", "? ", ".\n"))
    return text[: end + 1] if end > len(text) // 3 else f"{text} …"
