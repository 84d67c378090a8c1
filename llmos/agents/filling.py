"""Joins what rules found for a tool's arguments with what microcode read out of the request.

Rules know kinds of values: paths, addresses, dates, sums, records. Microcode knows what words are for, whatever a
parameter is called. Every value keeps a provenance: a place in the user's words or in an earlier result, an option of
the schema. Knows no engine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from llmos.agents.allowed import NUMBERS
from llmos.agents.grounding import YOURS, Candidate, Grounded, Request
from llmos.agents.microcode import Filled
from llmos.kernel.calls import Label, Provenance, join
from llmos.messages import ToolSpec

LEARNT = frozenset({"free", "number", "query"})
"""Roles in which microcode is right more often than the rules, measured on tools that neither knows."""

PLACES = frozenset({"path", "folder", "url", "command"})
"""Roles of which the rules find all that is there: what they don't find is left out, unless it is needed or looks like
a place."""

AHEAD = 1.0
"""By so much what microcode read weighs more than what rules found, or less: it is not asked again."""

_NUMBER = re.compile(r"-?\d+(?:,\d{3}(?!\d))*(?:\.\d+)?|[A-Za-z]+")
_ARTICLE = re.compile(r"^(?:the|an?|my) ", re.IGNORECASE)
_PLACE = re.compile(r"[~.]*/|.*/.|~$")


def joined(spec: ToolSpec, roles: Mapping[str, str], grounded: Grounded, filled: Filled, request: Request) -> Grounded:
    """What a tool could be called with.

    Args:
        roles: Of the parameters (`llmos.agents.grounding.role`).
        grounded: What rules found.
        filled: What microcode read.
    """
    required: Sequence[str] = spec.parameters.get("required", ())
    values: dict[str, tuple[Candidate, ...]] = {}
    read = {name: one for name, value in filled.values.items() if (one := located(value, request)) is not None}
    own = {
        name: one for name, one in read.items() if one.span and (roles[name] in LEARNT or name not in grounded.values)
    }
    for name in spec.parameters.get("properties", {}):
        said = read.get(name)
        elsewhere = {one.span for other, one in own.items() if other != name}
        known = tuple(one for one in grounded.values.get(name, ()) if one.span not in elsewhere)
        if said is None:
            both = known if name in required or roles[name] not in LEARNT else ()
        elif roles[name] == "number" and name not in required and said.span is None:
            both = ()  # a number out of what a tool gave is hardly an option of the next one
        elif roles[name] in LEARNT:
            both = _ahead(_bare(said, known), known)
        elif known and (meant := _meant(said, known)):
            both = _ahead(meant, known)
        elif known:
            last = replace(said, weight=min(one.weight for one in known) - AHEAD)
            both = (*known, *([] if any(one.value == said.value for one in known) else [last]))
        else:
            open_ = roles[name] not in PLACES or name in required or _PLACE.match(str(said.value))
            both = (said,) if open_ else ()
        if both:
            values[name] = both
    missing = tuple(name for name in required if name not in values)
    return Grounded(values, missing, tuple(name for name in grounded.findable if name in missing))


def is_open(roles: Mapping[str, str], grounded: Grounded) -> bool:
    """Whether rules leave something to read: a parameter of which they know no value or several, or little."""
    return any(role in LEARNT or len(grounded.values.get(name, ())) != 1 for name, role in roles.items())


def _meant(said: Candidate, known: Sequence[Candidate]) -> Candidate | None:
    """Which of the values that rules found microcode means: the one that stands where it read; its own if all of them
    are only what goes without saying, or go on after a sentence's end. None if it read elsewhere."""
    if all(one.provenance.origin == "default" for one in known):
        return said
    meant = next((one for one in known if one.span and said.span and _overlap(one.span, said.span)), None)
    goes_on = meant is not None and re.match(rf"{re.escape(str(said.value))}[.:!?]\s", str(meant.value))
    return said if goes_on else meant


def _bare(said: Candidate, known: Sequence[Candidate]) -> Candidate:
    """A value as rules found it, if that is without an article: a search for it finds at least as much."""
    return next((one for one in known if _ARTICLE.sub("", str(said.value)) == one.value), said)


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _ahead(first: Candidate, known: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """A value before all others."""
    others = [one for one in known if one.value != first.value]
    return (replace(first, weight=max((one.weight for one in known), default=0.0) + AHEAD), *others)


def located(value: Any, request: Request) -> Candidate | None:  # noqa: ANN401  # JSON data
    """A value with its place in the user's words, or in what an earlier step gave; None where it stands nowhere."""
    match value:
        case bool():
            return Candidate(value, Provenance("enum", join(request.label, *_labels(request)), YOURS))
        case int() | float():
            places = [match for match in _NUMBER.finditer(request.words) if _number(match[0]) == value]
            return request.span(value, *places[0].span()) if places else _earlier(value, request)
        case str():
            start = _find(value, request.words)
            if start >= 0:
                return request.span(value, start, start + len(value))
            return _earlier(value, request) or _computed(value, request)
        case list():
            parts = [located(one, request) for one in cast("list[object]", value)]
            found = [one for one in parts if one is not None]
            if not found or len(found) < len(parts):
                return None
            labels: list[Label] = [one.provenance.label for one in found]
            label = join(request.label, *labels)
            source = Provenance("computed", label, YOURS, of=tuple(one.provenance for one in found))
            return Candidate(value, source)
        case _:
            return None


def _earlier(value: Any, request: Request) -> Candidate | None:  # noqa: ANN401
    text = value if isinstance(value, str) else json.dumps(value)
    for one in reversed(request.earlier):
        if (start := _find(text, one.text)) >= 0:
            return Candidate(value, Provenance("span", one.label, one.title, start, start + len(text)))
    return None


def _computed(value: str, request: Request) -> Candidate:
    """A value that stands nowhere as it is: an option, a sum, a time before. What was read may have decided it."""
    words = set(re.findall(r"\w+", request.words.casefold()))
    own = words.issuperset(re.findall(r"\w+", value.casefold()))
    label = request.label if own else join(request.label, *_labels(request))
    return Candidate(value, Provenance("computed", label, YOURS))


def _labels(request: Request) -> list[Label]:
    return [one.label for one in request.earlier]


def _find(value: str, text: str) -> int:
    """Where a value stands in a text, by itself rather than within a word; -1 where it does not."""
    match = re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text) if value else None
    return match.start() if match else text.find(value) if value else -1


def _number(text: str) -> float | None:
    if text.lower() in NUMBERS:
        return float(NUMBERS[text.lower()])
    return float(text.replace(",", "")) if text[-1].isdigit() else None
