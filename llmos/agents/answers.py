"""Takes an answer out of a text: the lines that speak of what was asked. Knows no tool and no model."""

from __future__ import annotations

import re

from llmos.agents.allowed import NUMBERS
from llmos.agents.vocabulary import concepts, plain_words, stem, vocabulary
from llmos.gist import gist

_REWORD = re.compile(r"\b(?:translate|rephrase|paraphrase|explain)\b", re.I)
_GIST = re.compile(
    r"\b(?:summari[sz]e|summary|sum\b.{0,40}\bup|in short|in brief|in a nutshell|brief(?:ly)?|shorten|condense"
    r"|boil\b.{0,60}\bdown|(?:main|key) (?:points?|ideas?|facts)|gist|essence|overview|recap|tl;?dr)\b"
    r"|\bwhat(?:'s| is)\b.{1,60}\babout\W*$",
    re.I,
)
_IT = re.compile(r"\b(?:it|this|that|them|the (?:file|text|page|document|contents?|whole))\b", re.I)
_COUNTED = re.compile(
    r"\b(?P<n>\d|one|two|three|four|five|six)\s+(?:short\s+|brief\s+)?(?:sentences?|lines?|points?)\b", re.I
)
GIST_WORDS = 60
"""A summary made of sentences has about so many words at most."""

_DAY_OR_DIGIT = re.compile(r"\d|(?:mon|tues|wednes|thurs|fri|satur|sun)day", re.I)
_AMOUNT = re.compile(r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|twelve)\b", re.I)
_KINDS = (
    (re.compile(r"\b(?:when|what (?:date|time|day))\b", re.I), _DAY_OR_DIGIT),
    (re.compile(r"\b(?:how (?:much|many|long)|price|cost|amount)\b", re.I), _AMOUNT),
    (re.compile(r"\bwho\b", re.I), re.compile(r"\b[A-Z][a-z]+")),
)
"""What a question asks for, and what a line that answers it has."""
_SENTENCES = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])")


def wants_gist(words: str) -> bool:
    """Whether a request asks for what a text is about, in short."""
    return _GIST.search(words) is not None


def wants_retelling(words: str) -> bool:
    """Whether a request asks for a text in other words, or in short."""
    return wants_gist(words) or _REWORD.search(words) is not None


def retells(words: str) -> bool:
    """Whether a request asks for what was read before in other words, or in short: `and summarize it`."""
    return _IT.search(words) is not None and wants_retelling(words)


def gist_of(words: str, text: str) -> str:
    """The sentences of a text that say most of what it is about, as many as a request asks for, three else."""
    asked = _COUNTED.search(words)
    count = 3 if asked is None else int(NUMBERS.get(asked["n"].lower(), asked["n"]))
    lines = [line for line in text.splitlines() if not re.match(r"\s*(?:#|[-=*_|]{3,}|```)", line)]
    found = [one for one in sentences(" ".join(lines)) if len(one.split()) > 2]
    stop = vocabulary().stop

    def content(sentence: str) -> list[str]:
        return [stem(word) for word in plain_words(sentence) if word not in stop]

    return " ".join(gist(found, content, words=max(GIST_WORDS, 20 * count), most=count, first=True))


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
