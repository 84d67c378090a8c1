"""How a task is made: what of it is the asker's own words, how many things it asks for, and what ties them together.

Text that was put in (quotes, code, a letter below the request) decides nothing here: whoever wrote it did not ask.
English. Knows no tool and no agent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache

from llmos.agents.knowledge import knowledge
from llmos.agents.spans import of_kind

MAX_WORDS = 4000
"""Only so many characters of a task are looked at: what it asks for stands at its beginning."""

_MATERIAL = re.compile(
    r"```.*?(?:```|\Z)"  # code
    r"|^[ \t]*>[^\n]*$"  # what somebody else wrote
    r"|\"[^\"]*(?:\"|\Z)|“[^”]*(?:”|\Z)|«[^»]*(?:»|\Z)"
    r"|<(?P<tag>\w+)>.*?(?:</(?P=tag)>|\Z)"
    r"|(?<!\w)'[^'\n]+'(?!\w)",
    re.DOTALL | re.MULTILINE,
)
_BELOW = re.compile(
    r":[ \t]*\n(?![ \t]*(?:[-*•]|\d{1,2}[.)])[ \t])(?=\s*\S)"  # a text below, and no list
    r"|\n[ \t]*\n(?=\s*\S)"
    r"|\b(?:this|following|below|these|text|sentences?|e-?mail|message|letter|comment|post|review|note|line|tweet"
    r"|transcript|article|paragraph|reply|page|document)\b[^:.\n]{0,40}:[ \t]+(?=\S)",
    re.IGNORECASE,
)
_ITEM = re.compile(r"(?:^|\n|(?<=\s))[ \t]*(?:[-*•]|\d{1,2}[.)])[ \t]+(?=\S)")
_GAP = "…"


def own_words(task: str) -> str:
    """A task without what was put into it; all of it if nothing else would be left."""
    said = task[:MAX_WORDS]
    bare = _MATERIAL.sub(_GAP, said)
    if (below := _BELOW.search(bare)) and len(bare[: below.end()].split()) >= 2 and not _asks_below(bare, below):
        bare = bare[: below.end()].rstrip() + f" {_GAP}"
    return bare if re.search(r"\w", bare.replace(_GAP, "")) else said


def _asks_below(bare: str, below: re.Match[str]) -> bool:
    """Whether what comes after the first part of a task is still of it: a list of things to do on the same line."""
    return (
        "\n" not in below[0] and re.search(r"\b(?:these|following)\b[^:]*$", bare[: below.end() - 2], re.I) is not None
    )


@dataclass(frozen=True, slots=True)
class Structure:
    """What a task is made of.

    Attributes:
        parts: How many things it asks for, at least 1.
        orders: How many of them are orders, and no questions.
        together: Words that put parts together.
        parallel, ordered, divided: Ways of saying how the parts are to be worked on.
        objects: How many files and addresses it names.
        items: Items of a list.
    """

    parts: int
    orders: int
    together: tuple[str, ...]
    parallel: tuple[str, ...]
    ordered: tuple[str, ...]
    divided: tuple[str, ...]
    objects: int
    items: int


@dataclass(frozen=True, slots=True)
class _Words:
    cut: re.Pattern[str]
    order: re.Pattern[str]
    together: re.Pattern[str]
    parallel: re.Pattern[str]
    ordered: re.Pattern[str]
    divided: re.Pattern[str]


@cache
def _patterns() -> _Words:
    known = knowledge()["structure"]
    verbs = "|".join(sorted(known["verbs"].split(), key=len, reverse=True))
    polite = r"(?:\d{1,2}[.)]\s+)?(?:(?:please|first|could you|can you|would you|let us|let)\s+)*"
    little = (
        r"(?:(?:please|also|now|then|finally|and|next|lastly|afterwards|after that|in the end|somebody(?: else)?)\s+)*"
    )
    cut = (
        rf"(?:[,;:.!?]\s+|\s+and\s+(?:also\s+|then\s+)?|\s+then\s+|{_ITEM.pattern}){little}"
        rf"(?=(?:{verbs})s?\b(?!\s+(?:is|are|was|were|of|has|have)\b))"
        r"|(?:[,;:.!?]\s+|\s+and\s+)" + little + r"(?=(?:what|which|who|when|where|why|how)\b)"
    )

    def either(words: list[str]) -> re.Pattern[str]:
        return re.compile(rf"\b(?:{'|'.join(map(re.escape, words))})\b", re.IGNORECASE)

    return _Words(
        re.compile(cut, re.IGNORECASE),
        re.compile(rf"{polite}{little}(?:{verbs})s?\b", re.IGNORECASE),
        either(known["together"].split()),
        *(either(known[name]) for name in ("parallel", "ordered", "divided")),
    )


@lru_cache(maxsize=256)
def structure(words: str) -> Structure:
    """How some words are made, as far as they are the asker's own."""
    found = _patterns()

    def said(pattern: re.Pattern[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(match[0].lower() for match in pattern.finditer(words)))

    return Structure(
        parts=len(clauses(words)),
        orders=sum(is_order(clause) for clause in clauses(words)),
        together=said(found.together),
        parallel=said(found.parallel),
        ordered=said(found.ordered),
        divided=said(found.divided),
        objects=len({one.text for one in of_kind(words, "path", "url")}),
        items=len(_ITEM.findall(words)),
    )


def is_order(clause: str) -> bool:
    """Whether a part begins with a verb that asks for something to be done."""
    return _patterns().order.match(clause) is not None


def clauses(words: str) -> list[str]:
    """The parts of some words that each ask for something."""
    return [words[start:end] for start, end in bounds(words)]


def bounds(words: str) -> list[tuple[int, int]]:
    """Where those parts begin and end."""
    places = [match for match in _patterns().cut.finditer(words) if words[: match.start()].strip(" ,;:.!?\n")]
    starts = [0, *(match.end() for match in places)]
    ends = [*(match.start() for match in places), len(words)]
    parts = [(start, end) for start, end in zip(starts, ends, strict=True) if words[start:end].strip()]
    return [_trimmed(words, start, end) for start, end in parts]


def _trimmed(words: str, start: int, end: int) -> tuple[int, int]:
    part = words[start:end]
    return start + len(part) - len(part.lstrip()), start + len(part.rstrip())


def parts_of(task: str) -> list[tuple[int, int]]:
    """Where the parts of a task begin and end; a cut is made in the asker's own words only, at most `MAX_WORDS` in."""
    said = task[:MAX_WORDS]
    bare = _MATERIAL.sub(lambda found: _GAP * len(found[0]), said)
    if (below := _BELOW.search(bare)) and len(bare[: below.end()].split()) >= 2 and not _asks_below(bare, below):
        bare = bare[: below.end()]
    found = bounds(bare) or [(0, len(task))]
    return [*found[:-1], (found[-1][0], len(task.rstrip()))]
