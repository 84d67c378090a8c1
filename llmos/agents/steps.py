"""Cuts a request into the steps that it asks for: "calculate 12 * 7 and write the result to a file".

A cut is made where a new clause begins with a verb or a question word, and undone where the parts only make sense
together. English. Knows tools by their specs only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from llmos.agents.answering import names_documents
from llmos.agents.grounding import Request
from llmos.agents.records import Earlier
from llmos.agents.shortlist import ANSWER, Scored, roles_of, shortlist
from llmos.agents.spans import Kind, of_kind
from llmos.kernel.protocols import Device

_VERB = (
    r"(?:please |also |now |finally )?(?:read|open|show|display|print|list|find|search|look|write|save|put|store|create"
    r"|make|note"
    r"|calculate|compute|work out|add|subtract|multiply|divide|convert|tell|say|give|change|replace|delete|remove|edit"
    r"|count|fetch|download|run|execute|summarize|summarise|explain|copy|append|record|sum)\b"
)
_ASK = r"(?:what|which|who|when|where|why|how|is|are|does|do|can|could)\b"
_ORDER = re.compile(rf"\W*(?:{_VERB}|{_ASK})", re.IGNORECASE)
_CUT = re.compile(
    rf"(?:,|;)?\s+(?:and\s+)?then\s+|;\s+|[.!]\s+(?=[A-Za-z])|\?\s+(?=[A-Za-z])|,\s+(?:and\s+)?(?={_VERB}|{_ASK})"
    rf"|\s+and\s+(?:also\s+)?(?={_VERB}|(?:what|which|who|when|where|how)\b)",
    re.IGNORECASE,
)
_POINTS = re.compile(
    r"\b(?:it|that|this|them|these|those|one|the (?:largest|biggest|smallest|newest|oldest))\b"
    r"|^\W*(?:tell me |say |show me )?which is\b",
    re.I,
)
_CONTENT = re.compile(
    r":\s+\S|\b(?:that says|which says|saying|containing|that reads|with the (?:text|content|contents|line|words?))\b",
    re.I,
)
_WHICH = re.compile(
    r"^\W*(?:(?:please )?(?:tell me|say|show me|find out|see) )?(?:which|what)"
    r" (?:one|of (?:them|these|those)|is the|file is)\b"
    r"|^\W*(?:how (?:many|much) [\w ]{1,40}? (?:is|are) (?:that|it)|what(?: is|'s) (?:that|it) in)\b",
    re.I,
)
_SPANS: tuple[Kind, ...] = ("quoted", "url", "path", "date", "clock", "duration", "expression", "number", "name")
_TRAILING = re.compile(
    r"^\W*(?:so )?(?:how (?:much|many|far|long)|what(?:'s| is| are| does| do) (?:the|my|that|it|each|i|you|we)\b)", re.I
)
MAX_PARTS = 12
# stand for what earlier steps will give, while nothing has been done yet
_NUMBER = Earlier("an earlier step", "1", 1, "user")
_RECORDS = Earlier("an earlier step", "a", [{"path": "a.txt", "bytes": 1, "modified": "1"}], "user")


def steps(words: str, devices: Mapping[str, Device]) -> list[Request]:
    """The steps that a request asks for, in their order; each is a part of its words."""
    parts = _parts(words)
    if len(parts) == 1 or len(parts) > MAX_PARTS:  # a text, and no list of things to do
        return [Request(words)]
    found: list[Request] = []
    for start, end in parts:
        part = Request(words[start:end], start, earlier=_after(found, devices))
        if found and _belongs(found[-1], part, words, devices):
            first = found[-1]
            found[-1] = replace(first, words=words[first.offset : end])
        else:
            found.append(part)
    return [replace(one, earlier=()) for one in found]


def _parts(words: str) -> list[tuple[int, int]]:
    """Where clauses begin and end; none is cut inside quotes or in a text that is to be written."""
    content = _CONTENT.search(words)
    stop = content.start() if content and of_kind(words, "path") else len(words)
    quoted = of_kind(words, "quoted")
    bounds: list[tuple[int, int]] = []
    begin = 0
    for match in _CUT.finditer(words):
        inside = any(span.start - 1 <= match.start() < span.end + 1 for span in quoted)
        if inside or match.start() >= stop or not words[begin : match.start()].strip():
            continue
        keep = match.start() + (words[match.start()] in ".?!")
        bounds.append((begin, keep))
        begin = match.end()
    return [*bounds, (begin, len(words))]


def _after(before: Sequence[Request], devices: Mapping[str, Device]) -> tuple[Earlier, ...]:
    """What the steps before will give, as far as it is known: records, and a number where something is calculated."""
    if not before:
        return ()
    first = shortlist(devices, before[-1])[0].name
    counts = first != ANSWER and "sum" in roles_of(devices[first]).values()
    return (_RECORDS, _NUMBER) if counts else (_RECORDS,)


def _belongs(before: Request, part: Request, words: str, devices: Mapping[str, Device]) -> bool:
    """Whether a clause is only a part of the step before it."""
    first, second = shortlist(devices, before)[0], shortlist(devices, part)[0]
    joined = shortlist(devices, replace(before, words=words[before.offset : part.offset + len(part.words)]))[0]
    if any(names_documents(one.words) and not _ORDER.match(one.words) for one in (before, part)):
        return True  # it only says where the answer is to come from
    if first.name != ANSWER and _WHICH.search(part.words) and not of_kind(part.words, *_SPANS):
        return True
    if second.name in (ANSWER, first.name) and not _own(second):
        asks_on = _POINTS.search(part.words) or (first.name != ANSWER and _TRAILING.search(part.words))
        if asks_on or second.name == first.name != ANSWER:
            return True
    if _idle(first) and _idle(second) and not _idle(joined):
        return True
    if first.name != ANSWER and _idle(first) and not _idle(joined):
        return True
    return second.name != ANSWER and _idle(second) and not _idle(first)


def _own(choice: Scored) -> bool:
    """Whether a clause brings arguments of its own."""
    return any(one.provenance.origin != "enum" for found in choice.grounded.values.values() for one in found[:1])


def _idle(choice: Scored) -> bool:
    """Whether nothing can be done with a clause: no tool, or one that lacks an argument."""
    return choice.name == ANSWER or bool(set(choice.grounded.missing) - set(choice.grounded.findable))
