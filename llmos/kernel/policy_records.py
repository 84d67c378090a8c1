"""Records that the user's words select: "the same participants as the 'Introductory meeting'".

A record is an object in what a tool of the user's own data gave back. The words select it when they contain the whole
of a field that names it, and no other record anywhere in sight fits as well. What comes from outside selects nothing;
it can only make a selection ambiguous. Knows no rule about effects.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

from llmos.kernel.calls import Effect, Label, Observed, Situation
from llmos.kernel.policy_dates import Times, clock_of
from llmos.kernel.policy_values import is_email, leaves, moment, name_tokens, number, same_as, word_set
from llmos.kernel.policy_words import PIECE, Span, Words, read

MAX_RECORDS = 5_000
"""More records than this select nothing: the decision must stay quick, and nobody means one of so many."""

MAX_SEARCHED = 200_000
"""Characters of material that are searched for an explanation, the newest first."""

_MAX_NAME, _MAX_NAME_WORDS = 80, 12
_NESTED = (dict, list)
_IDS = frozenset({"id", "uid", "uuid", "key", "ref", "pid"})
_ADDRESSES = frozenset({"email", "mail", "address", "participant", "attendee", "member", "recipient"})
_DESTINATIONS = frozenset({"to", "cc", "bcc", "recipient", "participant", "attendee", "email", "address", "invitee"})
# what a thing is called; who owns, sent or shares it does not name it
_NAMES = word_set(
    "name title subject filename file path label summary topic heading headline username nickname login code sku number"
    " isbn id uid key"
)
_EMPTY_WORDS = frozenset({"id", "name", "value", "type", "text", "title", "new", "old", "my"})
_KIN = ({"amount", "price", "total", "cost", "sum", "fee"}, {"path", "file", "filename"}, {"channel", "room"})
_GREATEST = {
    "largest": "size", "biggest": "size", "longest": "size", "latest": "time", "newest": "time", "last": "time",
    "most recent": "time", "most expensive": "price",
}  # fmt: skip
_LEAST = {"smallest": "size", "shortest": "size", "oldest": "time", "earliest": "time", "cheapest": "price"}
_BEGINS = re.compile(r"\b(?:start|begin)(?:s|ning|ing)?\s+with\s+[\"'#]?([\w-]{3,})")
_MEASURES = {
    "size": frozenset({"size", "byte", "length"}),
    "time": frozenset({"date", "time", "timestamp", "modified", "created", "updated", "at"}),
    "price": frozenset({"price", "amount", "cost", "total"}),
}


@dataclass(frozen=True, slots=True)
class Record:
    """One object of a result."""

    fields: dict[str, Any]
    tool: str
    label: Label
    listing: int


@dataclass(frozen=True, slots=True)
class Selection:
    """A record that the words select: where they name it."""

    record: Record
    field: str
    spans: tuple[Span, ...]


class Sight:
    """What the agent has in sight, taken apart once for one decision."""

    def __init__(self, situation: Situation) -> None:
        self.situation = situation
        self.words = read(situation.words)

    @cached_property
    def when(self) -> Times:
        """The times in the user's words."""
        return clock_of(self.situation)

    @property
    def labels(self) -> tuple[Label, ...]:
        """The labels of everything in sight."""
        return tuple(seen.label for seen in self.situation.seen)

    @cached_property
    def records(self) -> list[Record]:
        """All records in sight, oldest first; none if they are too many."""
        found: list[Record] = []
        for index, seen in enumerate(self.situation.seen):
            objects: list[dict[str, Any]] = []
            _objects(seen.value, objects, 0)
            found += [Record(fields, seen.tool, seen.label, index) for fields in objects]
            if len(found) > MAX_RECORDS:
                return []
        return found

    @cached_property
    def written(self) -> frozenset[Any]:
        """What the agent itself has put into effects: coming back in a record, it is no more than it was."""
        acts = [seen for seen in self.situation.seen if seen.effect not in ("pure", "reads")]
        return frozenset(leaf for seen in acts for leaf in leaves(dict(seen.arguments)) if not isinstance(leaf, bool))

    @cached_property
    def texts(self) -> list[tuple[Observed, str]]:
        """What each result says, in lower case, newest first, as far as it is searched for explanations."""
        found: list[tuple[Observed, str]] = []
        left = MAX_SEARCHED
        for seen in reversed(self.situation.seen):
            text = seen.value if isinstance(seen.value, str) else "\n".join([str(leaf) for leaf in leaves(seen.value)])
            found.append((seen, text[:left].lower()))
            left -= len(text)
            if left <= 0:
                break
        return found

    def select(self, value: Any, argument: str, *, effect: Effect) -> Selection | None:  # noqa: ANN401 - any JSON value
        """The record that the user's words select and whose field this value is; None if there is none, or several.

        Args:
            value: A scalar, or a list of scalars for a field with several values.
            argument: The argument that it is meant for; the field must fit it.
            effect: Of the tool. Undoable writes may name a record by the first words of its name.
        """
        if not self.written.isdisjoint(leaves(value)):
            return None
        wanted = _Wanted(value)
        own = [
            (record, field)
            for record in self.records
            if record.label != "outside"
            for field in wanted.fields(record)
            if fits(argument, field, record, value)
        ]
        part = effect == "writes"
        for record, field in own:
            named = _named(record, self, skip=field, part=part)
            if named and not any(_rivals(named, other, field, wanted, self, part=part) for other in self.records):
                return Selection(record, field, (*named.names, *named.days))
        for record, field in own:
            if (spans := _extreme(record, field, argument, self)) is not None:
                return Selection(record, field, spans)
        return None


def _objects(value: Any, found: list[dict[str, Any]], depth: int) -> None:  # noqa: ANN401 - any JSON value
    if depth > 6 or len(found) > MAX_RECORDS:
        return
    if isinstance(value, dict):
        found.append(value)  # pyright: ignore[reportUnknownArgumentType] - JSON
        value = list(value.values())  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list):
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            if isinstance(item, _NESTED):
                _objects(item, found, depth + 1)


class _Wanted:
    """A value that is looked for in many records."""

    def __init__(self, value: Any) -> None:  # noqa: ANN401 - any JSON value
        self._many = isinstance(value, list | tuple)
        self._tests = [same_as(item) for item in (value if self._many else [value])]

    def fields(self, record: Record) -> list[str]:
        """The fields of a record that have the value, or all values of a list."""
        found: list[str] = []
        for name, held in record.fields.items():
            if isinstance(held, list):
                if all(any(map(test, held)) for test in self._tests) and self._tests:  # pyright: ignore[reportUnknownArgumentType]
                    found.append(name)
            elif not self._many and self._tests[0](held):
                found.append(name)
        return found


def begins_with(value: str, sight: Sight) -> tuple[Span, ...]:
    """Where the words ask for the one name in a complete listing that begins so: "the channel starting with ext"."""
    words = sight.words
    for seen in sight.situation.seen:
        held = seen.value
        if seen.label == "outside" or seen.arguments or not isinstance(held, list) or value not in held:
            continue
        for found in _BEGINS.finditer(words.lower):
            span = words.span(*found.span())
            alike = [name for name in held if isinstance(name, str) and name.lower().startswith(found[1])]  # pyright: ignore
            if alike == [value] and value.isprintable() and " " not in value and not (span.pasted or span.negated):
                return (span,)
    return ()


def fits(argument: str, field: str, record: Record, value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Whether a field's role is that of an argument: event_id and the id of an event, recipients and an e-mail."""
    wanted, had = name_tokens(argument), name_tokens(field)
    if "id" in wanted or argument in _IDS:
        nouns = wanted - _IDS
        if nouns and nouns <= had - _EMPTY_WORDS:
            return True
        about = name_tokens(record.tool).union(*(name_tokens(name) for name in record.fields))
        return bool(had & _IDS) and had <= _IDS | nouns and all(any(noun in word for word in about) for noun in nouns)
    if (wanted & had) - _EMPTY_WORDS:
        return True
    if any(wanted & kin and had & kin for kin in _KIN):
        return True
    first = value[0] if isinstance(value, list | tuple) and value else value  # pyright: ignore[reportUnknownVariableType]
    return isinstance(first, str) and is_email(first) and bool(wanted & _DESTINATIONS and had & _ADDRESSES)


@dataclass(frozen=True, slots=True)
class _Named:
    """Where the words contain a record's names, and its days."""

    names: tuple[Span, ...]
    days: tuple[Span, ...]


def _named(record: Record, sight: Sight, *, skip: str, part: bool) -> _Named | None:
    """Where the words name a record, by other fields than the one in question; None if they don't."""
    names: list[Span] = []
    days: list[Span] = []
    pieces = sight.words.pieces
    for field, held in record.fields.items():
        if field == skip or not isinstance(held, str) or not 3 <= len(held) <= _MAX_NAME or "\n" in held:
            continue
        first = PIECE.search(held)
        if first is None:
            continue
        if (day := moment(held)) is not None:
            days += _day_spans(day.day, sight.when)
        elif first[0].lower() in pieces and number(held) is None and _is_name_field(field):
            names += naming(held, sight.words, part=part)
    return _Named(tuple(names), tuple(days)) if names else None


def _is_name_field(field: str) -> bool:
    tokens = name_tokens(field)
    return not tokens.isdisjoint(_NAMES) or tokens == frozenset({"email"})


def _day_spans(day: date, when: Times) -> list[Span]:
    return [d.span for d in when.days if (d.month, d.day) == (day.month, day.day) and d.year in (None, day.year)]


def naming(text: str, words: Words, *, part: bool = False) -> list[Span]:
    """Where the words contain a whole name; a single everyday word must be quoted or written as a name.

    With `part`, a file may be called without its ending, and by two or more words from the beginning of its name.
    """
    if len(text.split()) > _MAX_NAME_WORDS:
        return []
    spans = words.find(text, caseless=True)
    spans = [s for s in spans if not (s.pasted or s.negated) and (_is_peculiar(text) or is_name(s, words))]
    if spans or "." not in text or not part:
        return spans
    spoken = re.sub(r"[-_]+", " ", text.rpartition(".")[0]).strip()
    pieces = spoken.split()
    for count in range(len(pieces), 1, -1):
        spans = words.find(" ".join(pieces[:count]), caseless=True)
        if spans := [s for s in spans if not (s.pasted or s.negated)]:
            return spans
    return []


def _is_peculiar(text: str) -> bool:
    """Several words, or digits or signs inside: nobody says that by chance."""
    return len(text.split()) > 1 or not text.isalpha()


def is_name(span: Span, words: Words) -> bool:
    """Whether words in the request are marked as a name: quoted, or a capitalized word inside a sentence."""
    if words.quoted(span):
        return True
    text = words.text[span.start : span.end]
    return text[0].isupper() and " " not in text and not words.begins_sentence(span)


def _rivals(ours: _Named, other: Record, field: str, wanted: _Wanted, sight: Sight, *, part: bool) -> bool:
    """Whether the same words could mean another record as well, which has something else in this field."""
    held = other.fields.get(field)
    if held is None or isinstance(held, dict):
        return False
    theirs = _named(other, sight, skip=field, part=part)
    if theirs is None or not any(_overlap(a, b) for a in theirs.names for b in ours.names):
        return False
    if field in wanted.fields(other):
        return False
    mine, others = {*ours.names, *ours.days}, {*theirs.names, *theirs.days}
    inside = all(any(a.start >= b.start and a.end <= b.end for b in mine) for a in others)
    return not inside or mine == others


def _overlap(one: Span, other: Span) -> bool:
    return one.start < other.end and other.start < one.end


def _extreme(record: Record, field: str, argument: str, sight: Sight) -> tuple[Span, ...] | None:
    """Where the words ask for the largest, newest … record of a complete listing, if this is the one."""
    words = sight.words
    if sight.situation.seen[record.listing].arguments:  # a search shows only what was searched for
        return None
    nouns = name_tokens(argument) - _IDS or name_tokens(record.tool)
    for table, best in ((_GREATEST, max), (_LEAST, min)):
        for word, measure in table.items():
            for span in words.find(word, caseless=True):
                following = words.lower[span.end : span.end + 20].split()
                noun = following[0].strip(".,;!?'\"") if following else ""
                if span.pasted or span.negated or not any(n == noun.rstrip("s") or n == noun for n in nouns):
                    continue
                peers = [r for r in sight.records if r.listing == record.listing and field in r.fields]
                key = next((name for name in record.fields if name_tokens(name) & _MEASURES[measure]), "")
                ranks = [_rank(r.fields.get(key)) for r in peers]
                mine = _rank(record.fields.get(key))
                if (
                    mine is not None
                    and None not in ranks
                    and mine == best(r for r in ranks if r)
                    and ranks.count(mine) == 1
                ):
                    return (span,)
    return None


def _rank(value: Any) -> tuple[int, float | str] | None:  # noqa: ANN401 - any JSON value
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return 0, float(value)
    return (1, value) if isinstance(value, str) and moment(value) else None
