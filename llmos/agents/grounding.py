"""Grounds a tool's arguments in the user's words: for each parameter, the values that it can have, and where from.

A value is a span of the words, a field of a record that they select, one of the schema's few values, or computed from
these; so a model only ever chooses among values that have a provenance. Knows tools by their schemas only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from llmos.agents import phrases, sums
from llmos.agents.records import Earlier, chosen
from llmos.agents.spans import Kind, Span, of_kind
from llmos.agents.vocabulary import plain_words, stem, vocabulary
from llmos.kernel.calls import Label, Provenance, Traits, join
from llmos.messages import ToolSpec

Role = Literal[
    "path", "folder", "url", "moment", "start", "end", "until", "duration", "zone", "sum", "command", "content", "old",
    "new", "query", "number", "enum", "flag", "free",
]  # fmt: skip
YOURS = "your request"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A value that an argument can have.

    Attributes:
        weight: How well it fits, a natural logarithm against the others of its parameter.
        span: Where in the words it stands; None if it comes from elsewhere.
    """

    value: Any
    provenance: Provenance
    weight: float = 0.0
    span: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Grounded:
    """What a tool could be called with.

    Attributes:
        values: For each parameter that the words say something about, its candidates, best first.
        missing: Required parameters that they say nothing about.
        findable: Those of `missing` that could be a record of a listing that the words describe.
    """

    values: Mapping[str, tuple[Candidate, ...]] = field(default_factory=dict[str, tuple[Candidate, ...]])
    missing: tuple[str, ...] = ()
    findable: tuple[str, ...] = ()


_NAMES: Mapping[Role, str] = {
    "path": "path file filename filepath",
    "folder": "folder directory dir",
    "url": "url uri link",
    "moment": "when date day moment",
    "start": "start begin since",
    "end": "end until",
    "duration": "span duration period",
    "zone": "zone timezone city place location",
    "sum": "expression formula sum",
    "command": "command code script",
    "content": "content contents body message note item",
    "old": "old before find",
    "new": "new replacement after",
    "query": "query q search term terms pattern keyword words",
}
_ROLES: Mapping[str, Role] = {name: role for role, names in _NAMES.items() for name in names.split()}


_OF_FOLDERS = re.compile(r"^(?!.*\bfile\b).*\b(?:folder|directory)\b", re.IGNORECASE | re.DOTALL)


def role(name: str, schema: Mapping[str, Any], traits: Traits) -> Role:
    """What kind of thing a parameter is, by its name and schema."""
    if "enum" in schema:
        return "enum"
    kind = schema.get("type")
    if kind == "boolean":
        return "flag"
    if kind in ("integer", "number"):
        return "number"
    if schema.get("format") == "uri":
        return "url"
    if name in ("text", "title", "summary", "name"):
        return "content" if traits.effect in ("writes", "irreversible") else "query"
    known = _ROLES.get(name, "free")
    return "folder" if known == "path" and _OF_FOLDERS.search(schema.get("description", "")) else known


@dataclass(frozen=True, slots=True)
class Request:
    """One step of what the user wants.

    Attributes:
        words: Its part of the user's words.
        offset: Where that part begins in them.
        label: Where the words come from.
        earlier: What the steps before it gave, oldest first.
    """

    words: str
    offset: int = 0
    label: Label = "user"
    earlier: tuple[Earlier, ...] = ()

    def span(self, value: Any, start: int, end: int, weight: float = 0.0) -> Candidate:  # noqa: ANN401 - JSON
        """A candidate that stands in the words."""
        place = (start + self.offset, end + self.offset)
        return Candidate(value, Provenance("span", self.label, YOURS, *place), weight, (start, end))

    def computed(self, value: Any, parts: Iterable[Span], weight: float = 0.0) -> Candidate:  # noqa: ANN401 - JSON
        """A candidate that is made of parts of the words."""
        sources = tuple(
            Provenance("span", self.label, YOURS, part.start + self.offset, part.end + self.offset) for part in parts
        )
        found = tuple((part.start, part.end) for part in parts)
        outer = (min(s for s, _ in found), max(e for _, e in found)) if found else None
        return Candidate(value, Provenance("computed", self.label, YOURS, of=sources), weight, outer)


def ground(spec: ToolSpec, traits: Traits, request: Request) -> Grounded:
    """What a tool could be called with for a request."""
    properties = cast("Mapping[str, Mapping[str, Any]]", spec.parameters.get("properties", {}))
    required = cast("Sequence[str]", spec.parameters.get("required", ()))
    roles: dict[str, Role] = {name: role(name, schema, traits) for name, schema in properties.items()}
    ends = {kind: name for name, kind in roles.items() if kind in ("start", "end")}
    if ends.keys() != {"start", "end"} or not set(ends.values()) <= set(required):
        instead: dict[Role, Role] = {"start": "moment", "end": "until"}
        roles = {name: instead.get(kind, kind) for name, kind in roles.items()}
    values: dict[str, tuple[Candidate, ...]] = {}
    for name, schema in properties.items():
        found = _found(roles[name], name, schema, request, traits, set(roles.values()))
        fitting = tuple(one for one in found if _fits(one.value, schema))
        if fitting:
            values[name] = fitting
    missing = tuple(name for name in required if name not in values)
    exists = traits.effect == "reads" or "old" in roles.values()  # what is to be made can't be found
    findable = tuple(name for name in missing if roles[name] == "path" and exists and describes_file(request.words))
    return Grounded(values, missing, findable)


def _fits(value: object, schema: Mapping[str, Any]) -> bool:
    if not isinstance(value, str):
        return True
    return int(schema.get("minLength", 0)) <= len(value) <= int(schema.get("maxLength", 1_000_000))


def _found(
    role: Role, name: str, schema: Mapping[str, Any], request: Request, traits: Traits, others: set[Role]
) -> list[Candidate]:
    match role:
        case "path":
            return _paths(request, name, traits)
        case "folder":
            return _folders(request)
        case "url":
            return _spans(request, "url")
        case "moment":
            return _moments(request) or ([_today(request)] if "duration" in others else [])
        case "start" | "end":
            return _period(request, role)
        case "until":
            return _moments(request)[1:2]
        case "duration":
            return _durations(request)
        case "zone":
            return _zones(request)
        case "sum":
            return _sums(request)
        case "command":
            return _commands(request)
        case "content":
            return _contents(request)
        case "old" | "new":
            return _sides(request, role)
        case "query":
            return [_phrase(request, one) for one in phrases.query(request.words)]
        case "enum":
            return _enum(request, cast("Sequence[str]", schema["enum"]))
        case "number":
            return [
                request.span(_number(one.text, schema), one.start, one.end) for one in of_kind(request.words, "number")
            ]
        case "flag":
            return []
        case "free":
            return _spans(request, "quoted")


def _spans(request: Request, *kinds: Kind) -> list[Candidate]:
    return [request.span(one.text, one.start, one.end) for one in of_kind(request.words, *kinds)]


def _phrase(request: Request, phrase: phrases.Phrase) -> Candidate:
    return request.span(phrase.text, phrase.start, phrase.end, phrase.weight)


def _number(text: str, schema: Mapping[str, Any]) -> int | float:
    number = float(text.replace(",", ""))
    return int(number) if schema.get("type") == "integer" else number


# -- files

_FOLDER = re.compile(
    r"\b(?:the |my )?(?!(?:the|my|this|that|a) )(?P<a>[\w./-]+) (?:folder|directory|dir)\b"
    r"|\b(?:folder|directory) (?:called |named )?(?P<b>[\w./~-]+)"
    r"|\bin(?:to|side)? (?P<c>[\w./-]+)(?=\s*(?:[.?!,]|$| and\b| sorted\b| by\b))",
    re.IGNORECASE,
)
_FILE = re.compile(
    r"\b(?:the |my )(?:[\w'-]+ ){1,3}?(?:file|document|doc|note|list|letter|report)\b"
    r"|\b(?:largest|biggest|smallest|newest|latest|oldest) (?:file|document|one)\b",
    re.IGNORECASE,
)


def describes_file(words: str) -> bool:
    """Whether words speak of a certain file without its name: `the largest file`, `my shopping list`."""
    return _FILE.search(words) is not None


def _paths(request: Request, name: str, traits: Traits) -> list[Candidate]:
    writes = traits.effect not in ("pure", "reads")
    ordered = phrases.targets(request.words) if writes else of_kind(request.words, "path")
    ordered = [one for one in ordered if not one.text.endswith("/")]
    found = [request.span(one.text, one.start, one.end, -2.0 * place) for place, one in enumerate(ordered)]
    if found or writes:
        return found
    return [Candidate(one.value, one.provenance, 0.0) for one in chosen(request.words, request.earlier, name)]


def _folders(request: Request) -> list[Candidate]:
    found = [one for one in _spans(request, "path") if one.value.endswith("/") or "." not in one.value]
    for match in _FOLDER.finditer(request.words):
        group = next(name for name in "abc" if match[name])
        text = match[group].strip(".,")
        if text.lower() not in vocabulary().no_folder and (group != "c" or "." not in text):
            found.append(request.span(text, *match.span(group), -1.0 if group == "c" else 0.0))
    return sorted(found, key=lambda one: -one.weight)


_ARTICLE = re.compile(r"(?:the|a|an|all|any|some)\s+(?=\S)", re.IGNORECASE)


def _sides(request: Request, role: Literal["old", "new"]) -> list[Candidate]:
    """One side of a replacement; the old one also without its article, which may not stand in the text."""
    pair = phrases.replacement(request.words)
    if pair is None:
        return []
    found = [_phrase(request, pair[role == "new"])]
    if role == "old" and (article := _ARTICLE.match(found[0].value)):
        start, end = pair[0].start + article.end(), pair[0].end
        found.append(request.span(request.words[start:end], start, end, found[0].weight - 2.0))
    return found


def _contents(request: Request) -> list[Candidate]:
    found: list[Candidate] = []
    for phrase in phrases.content(request.words):
        if not phrases.is_earlier(phrase.text):
            found.append(_phrase(request, phrase))
        elif request.earlier and request.earlier[-1].whole:
            last = request.earlier[-1]
            source = Provenance("computed", join(last.label, request.label), last.title)
            found.append(Candidate(last.plain, source, phrase.weight, (phrase.start, phrase.end)))
    return found


# -- dates

_BACK = re.compile(r"\b(?:ago|before|earlier|back|previous|prior)\b", re.IGNORECASE)
_FROM_NOW = re.compile(r"\b(?:until|till|before|left|to)\b|\bhow (?:long|far|soon|many)\b", re.IGNORECASE)
_SINCE = re.compile(r"\b(?:since|ago|passed|past)\b", re.IGNORECASE)
_BOTH = re.compile(r"\b(?:between|from|until|till|to|and|through|since|after|before)\b|[-\u2013]", re.IGNORECASE)
_ZONE = re.compile(
    r"\b(?:in|at|for) (?P<x>(?!the\b|me\b|my\b|this\b|an?\b|which\b|\d)[A-Za-z][\w'/+-]*(?: [A-Z][\w'-]*)*)"
    r"(?=\s*(?:[.?!,]|$|\b(?:right|now|at|please|currently)\b))"
)
_BESIDE = re.compile(r",? (?:(?:at|on) )?", re.IGNORECASE)


def _moments(request: Request) -> list[Candidate]:
    """Moments that the words name, the first one first; a day and the time of day beside it are one."""
    found: list[Candidate] = []
    parts = of_kind(request.words, "date", "clock")
    for place, part in enumerate(parts):
        before = parts[place - 1] if place else None
        weight = -2.0 * len(found)
        alone = before is not None and found[-1].span == (before.start, before.end)
        if before and alone and before.kind != part.kind and _BESIDE.fullmatch(request.words, before.end, part.start):
            text = request.words[before.start : part.end]
            found[-1] = request.span(text, before.start, part.end, found[-1].weight)
        elif part.kind == "clock" and before is not None and before.kind == "date" and len(found) == 1:
            found[-1] = request.computed(f"{before.text} {part.text}", [before, part])
        else:
            found.append(request.span(part.text, part.start, part.end, weight))
    return found


def _today(request: Request) -> Candidate:
    return Candidate("today", Provenance("default", request.label), -1.0)


def _period(request: Request, role: Literal["start", "end"]) -> list[Candidate]:
    """The two ends of a period: both named, or one of them and today."""
    found = of_kind(request.words, "date", "clock")
    moments = [request.span(one.text, one.start, one.end) for one in found]
    if len(moments) > 1 and _BOTH.search(request.words):
        return moments[:1] if role == "start" else moments[1:2]
    since = _SINCE.search(request.words) is not None
    if not moments or not (since or _FROM_NOW.search(request.words)):
        return []
    now = Candidate("now" if found[0].kind == "clock" else "today", Provenance("default", request.label), 0.0)
    return moments if (role == "start") == since else [now]


def _durations(request: Request) -> list[Candidate]:
    found: list[Candidate] = []
    for span in of_kind(request.words, "duration"):
        if _BACK.search(request.words, span.end) or _BACK.search(request.words[: span.start]):
            found.append(request.computed(f"-{span.text}", [span]))
        else:
            found.append(request.span(span.text, span.start, span.end))
    return found


def _zones(request: Request) -> list[Candidate]:
    match = _ZONE.search(request.words)
    if match and stem(match["x"].lower()) not in vocabulary().units:
        return [request.span(match["x"], *match.span("x"))]
    return []


# -- others

_COMMAND = re.compile(
    r"\b(?:run|execute|launch)\b(?!\s+(?:that|it)\b)"
    r"(?:\s+(?:this|the|following|these|a|in|shell|bash|terminal|python|command|code|script|program|line))*"
    r"\s*:?\s+(?P<x>\S.*?)(?:,?\s+(?:for me|please))*$",
    re.IGNORECASE | re.DOTALL,
)

_WONDERS = re.compile(
    r"\W*(?:(?:and|so|but|then) )*(?:what|which|who|whom|whose|when|where|why|how|is|are|was|were|does|did|has)\b",
    re.IGNORECASE,
)


def _commands(request: Request) -> list[Candidate]:
    quoted = [one for one in of_kind(request.words, "quoted") if request.words[one.start - 1] == "`"]
    if quoted:
        return [request.span(one.text, one.start, one.end) for one in quoted]
    # a question orders nothing: "how long does a run take" is about one
    match = None if _WONDERS.match(request.words) else _COMMAND.search(request.words)
    return [request.span(match["x"].strip(), *match.span("x"))] if match else []


def _sums(request: Request) -> list[Candidate]:
    number = next((one.number for one in reversed(request.earlier) if one.number), "")
    found: list[Candidate] = []
    for reading in sums.readings(request.words, number):
        if reading.whole:
            found.append(request.span(reading.text, reading.parts[0].start, reading.parts[0].end, reading.weight))
        elif reading.parts:
            found.append(request.computed(reading.text, reading.parts, reading.weight))
        else:
            last = request.earlier[-1]
            source = Provenance("computed", join(last.label, request.label), last.title)
            found.append(Candidate(reading.text, source, reading.weight, (0, len(request.words))))
    return found


def _enum(request: Request, options: Sequence[str]) -> list[Candidate]:
    """The options that the words mean, by their own name or what people say instead; a file's name says nothing."""
    words = request.words
    for one in of_kind(words, "path", "url"):
        words = words[: one.start] + " " * len(one.text) + words[one.start + len(one.text) :]
    said = plain_words(words)
    found: list[Candidate] = []
    for option in options:
        means = vocabulary().enum.get(option, frozenset({option}))
        hits = sum(word in means or stem(word) in means for word in said)
        if hits:
            found.append(Candidate(option, Provenance("enum", request.label, YOURS), float(hits)))
    return sorted(found, key=lambda one: -one.weight)
