"""Finds what can stand for an argument in the user's words: paths, dates, times, durations, numbers, sums, quotes.

Everything found is a span of the words, or computed from spans of them: nothing is made up. English. Knows no tool.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from llmos.agents.vocabulary import vocabulary

Kind = Literal["quoted", "url", "path", "date", "clock", "duration", "expression", "number", "name"]


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the words.

    Attributes:
        text: Its value: the words themselves, without quotes around them.
        start, end: Where it stands, in characters.
    """

    kind: Kind
    text: str
    start: int
    end: int


_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\b\.?"
)
_WEEKDAY = r"(?:monday|tuesday|wednesday|thursday|friday|saturday|sunday)"
_COUNT = r"(?:\d+|an?|one|two|three|four|five|six|seven|eight|nine|ten)"
_TIME_UNIT = r"(?:second|minute|hour|day|week|fortnight|month|year)s?"
NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"

_QUOTED = re.compile(
    r"\"(\{[^\n]*\}|\[[^\n]*\])\"|\"([^\"\n]+)\"|“([^”\n]+)”|`([^`\n]+)`|«([^»\n]+)»|(?<!\w)'([^'\n]+)'(?!\w)"
)
_URL = re.compile(r"\bhttps?://[^\s\"'<>]+|\bwww\.[^\s\"'<>]+", re.IGNORECASE)
_PATH = re.compile(
    r"(?<![\w@./:-])(?:"
    r"(?:~|\.{1,2})?/?(?:[\w.-]+/)*[\w-][\w.-]*?\.(?!(?:com|org|net|io)\b)[A-Za-z][A-Za-z0-9]{0,7}"
    r"|(?:~|\.{1,2})?/?[A-Za-z_][\w.-]*/(?:[\w.-]+/)*(?:[\w.-]*\w)?|(?:~|\.{1,2})/[\w.-]*\w"
    r")(?![\w@/])"
)
_DATE = re.compile(
    rf"\b\d{{4}}-\d{{1,2}}-\d{{1,2}}\b|(?<![\w./])\d{{1,2}}(?:/\d{{1,2}}/|\.\d{{1,2}}\.)\d{{4}}(?![\w/]|\.\d)"
    rf"|\b(?:the )?\d{{1,2}}(?:st|nd|rd|th)?(?: of)? {_MONTH}(?:,? \d{{4}}\b)?"
    rf"|\b{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?\b(?:,? \d{{4}}\b)?"
    rf"|\bthe day (?:after tomorrow|before yesterday)\b|\b(?:today|tonight|tomorrow|yesterday)\b"
    rf"|\b(?:(?:next|last|this|coming) )?{_WEEKDAY}\b|\bchristmas(?: eve)?\b|\bnew year(?:'s (?:day|eve))?\b",
    re.IGNORECASE,
)
_CLOCK = re.compile(r"\b\d{1,2}:\d{2}(?::\d{2})?(?: ?[ap]\.?m\b\.?)?|\b\d{1,2} ?[ap]m\b|\bnoon\b", re.IGNORECASE)
_DURATION = re.compile(
    rf"(?<![\w.,]){_COUNT}[ -]{_TIME_UNIT}\b(?:(?:,| and|, and)? {_COUNT} {_TIME_UNIT}\b)*", re.IGNORECASE
)
_NUMBER = re.compile(rf"(?<![\w.,:/-])[$€£]?({NUMBER})(?![\w:/]|[.,]\d)")
_NAME = re.compile(r"(?<=[a-z,] )(?!I\b)[A-Z][\w'-]*(?: (?:de |of )?[A-Z][\w'-]*)*")


@lru_cache(maxsize=512)
def spans(words: str) -> tuple[Span, ...]:
    """Everything that is recognized, in the order in which it stands there; a part of one thing is not another."""
    found: list[Span] = []

    def add(kind: Kind, matches: Iterator[re.Match[str]]) -> None:
        for match in matches:
            group = next((number for number, text in enumerate(match.groups(), 1) if text is not None), 0)
            start, end = match.span(group)
            outer = match.span() if kind == "quoted" else (start, end)
            if not any(one.start < outer[1] and outer[0] < one.end for one in found):
                found.append(
                    Span(kind, words[start:end].rstrip(".,;:!?") if kind != "quoted" else match[group], start, end)
                )

    add("quoted", _QUOTED.finditer(words))
    add("url", _URL.finditer(words))
    add("path", _PATH.finditer(words))
    add("date", _DATE.finditer(words))
    add("clock", _CLOCK.finditer(words))
    for span in sums(words):
        if not any(one.start < span.end and span.start < one.end for one in found):
            found.append(span)
    add("duration", _DURATION.finditer(words))
    add("number", _NUMBER.finditer(words))
    add("name", _NAME.finditer(words))
    return tuple(sorted(found, key=lambda span: span.start))


def of_kind(words: str, *kinds: Kind) -> list[Span]:
    """The spans of some kinds, in their order."""
    return [span for span in spans(words) if span.kind in kinds]


# -- sums: what a calculator reads as it stands there

_TOKEN = re.compile(
    rf"(?P<number>[$€£]?{NUMBER}(?:st|nd|rd|th)?\b(?![./-]\w)|[$€£]?{NUMBER})"
    r"|(?P<function>\b(?:square|cube) root(?: of)?\b|\b(?:sqrt|average|mean|median|sum|product)(?: of)?\b|√)"
    r"|(?P<operator>\*\*|[-+*/^×÷\u2212]|\b(?:plus|minus|times|multiplied by|divided by|over|mod|x"
    r"|to the power of|raised to)\b)"
    r"|(?P<percent>%(?: of\b)?|\bper ?cent(?: of\b)?)"
    r"|(?P<power>²|³|!|\b(?:squared|cubed)\b)"
    r"|(?P<open>\()|(?P<close>\))|(?P<comma>,| and\b)"
    r"|(?P<convert>\b(?:in|to|into|as)\b)|(?P<of>\bof\b)"
    r"|(?P<word>[A-Za-z°µ/]+)|(?P<space>\s+)|(?P<other>.)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Piece:
    kind: str
    text: str
    start: int
    end: int


def sums(words: str) -> list[Span]:
    """Arithmetic that stands in the words: numbers joined by signs or words for them, conversions of units."""
    found: list[Span] = []
    run: list[_Piece] = []
    for piece in [*_pieces(words), _Piece("other", "", len(words), len(words))]:
        if piece.kind != "other":
            run.append(piece)
            continue
        kept = _trimmed(run)
        run = []
        if _is_sum(kept):
            start, end = kept[0].start, kept[-1].end
            found.append(Span("expression", words[start:end], start, end))
    return found


def _pieces(words: str) -> Iterator[_Piece]:
    """Tokens of arithmetic; everything else is `other`. Currency's names count as blanks."""
    known = vocabulary()
    before = ""
    for match in _TOKEN.finditer(words):
        kind, text = match.lastgroup or "other", match[0]
        if kind == "space":
            continue
        if kind == "word":
            lower = text.lower()
            if lower in known.numbers:
                kind = "number"
            elif lower in known.currency and before == "number":
                continue
            elif lower in known.units and before in ("number", "convert", "unit"):
                kind = "unit"
            else:
                kind = "other"
        if text == "-" and words[match.start() - 1 : match.start()].isalpha():
            kind = "other"  # a hyphen, as in a code: K-2041
        if kind == "convert" and before not in ("number", "unit", "power", "percent", "close"):
            kind = "other"
        before = kind
        yield _Piece(kind, text, match.start(), match.end())


_STARTS = {"number", "function", "open"}
_ENDS = {"number", "unit", "percent", "power", "close"}


def _trimmed(run: list[_Piece]) -> list[_Piece]:
    """The longest part of a run that could be a sum: it starts with a value and ends with one."""
    while True:
        start, end = 0, len(run)
        while start < end and run[start].kind not in _STARTS and not _is_sign(run, start):
            start += 1
        while end > start and (run[end - 1].kind not in _ENDS or run[end - 1].text.lower().endswith(" of")):
            end -= 1
        kept = run[start:end]
        place = next((number for number in range(len(kept)) if _breaks(kept, number)), None)
        if place is None:
            return kept
        before = kept[:place]
        run = before if kept[place].kind == "convert" or _is_sum(before) else kept[place + 1 :]


def _breaks(run: list[_Piece], place: int) -> bool:
    """Whether a sum ends here: at a conversion to no unit, or at a comma outside of a list for a function."""
    if run[place].kind == "convert":
        return place + 1 == len(run) or run[place + 1].kind not in ("unit", "percent")
    return run[place].kind == "comma" and not any(one.kind in ("function", "open") for one in run[:place])


def _is_sign(run: list[_Piece], place: int) -> bool:
    return run[place].text in "-\u2212√" and place + 1 < len(run) and run[place + 1].kind in _STARTS


def _is_sum(run: list[_Piece]) -> bool:
    kinds = {piece.kind for piece in run}
    brackets = [piece.kind for piece in run]
    if "number" not in kinds or len(run) < 2 or brackets.count("open") != brackets.count("close"):
        return False
    if kinds == {"number", "operator"} and len(run) == 2:
        return False  # a number with its sign
    if kinds <= {"number", "unit", "comma", "of"}:
        return "of" in kinds and "comma" not in kinds and "unit" not in kinds
    if kinds <= {"number", "unit", "percent", "comma"}:
        return any(piece.kind == "percent" and piece.text.lower().endswith("of") for piece in run)
    return True
