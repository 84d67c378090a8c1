"""Where the value of an argument came from, found out by looking: the user's words, a record that they select, a
computation, text from elsewhere, or nowhere.

`trace` answers for one value, `trace_call` for a whole call, where values explain each other: an amount belongs to the
recipient in its sentence, an end to a start and a duration. Only the root user's words make a value theirs; that it was
seen somewhere never does. Decides nothing: `policy` does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmos.kernel.calls import Effect, Label, ProposedCall, Provenance, Situation, join
from llmos.kernel.policy_dates import Numeral, clock_of, numerals
from llmos.kernel.policy_leaks import where_seen
from llmos.kernel.policy_records import Sight, begins_with, is_name
from llmos.kernel.policy_values import (
    Moment,
    hidden,
    is_email,
    is_url,
    leaves,
    lookalike,
    moment,
    name_tokens,
    number,
    path,
    same_as,
    singular,
    url,
    word_set,
)
from llmos.kernel.policy_words import FUNCTION_WORDS, Span, Words, stems

YOURS = "your request"
MAX_PLACES = 50
"""So many places where a number stands are looked at."""

MAX_FIELD = 120
"""A longer text is no field of a record that words could select, but content."""

_DESTINATIONS = word_set("to cc bcc recipient participant attendee invitee email user channel destination dest")
_MONEY = word_set("amount price total cost sum fee payment budget")
_MONEY_WORDS = word_set(
    "amount pay send transfer price cost rent fee sum total refund owe bill share wire payment salary deposit tip"
)
_CURRENCY_WORDS = word_set("euro euros eur dollar dollars usd pound pounds gbp chf franc francs yen jpy cents")
_AFTER_NUMBER = word_set(
    "to for from into in on per and or each now via by back as at with please i you we he she they it that which this"
    " is was instead of today tomorrow next every because since if when"
)
_CURRENCIES = "$€£¥"
_COUNTING = {"id": frozenset({"id", "number", "no", "nr"}), "n": frozenset({"last", "first", "top", "recent"})}
_CASELESS = re.compile(r"[^\W\d_]+(?:[ .'&-]+[^\W\d_]+)*\.?|[A-Z]{2}\d{2}[A-Z0-9]{8,30}")
_FROM = re.compile(r"\bfrom\s+(?:[^\s,]+(?:\s*,\s*(?:and\s+|or\s+)?|\s+and\s+|\s+or\s+|\s*&\s*))*[\"'(<@]*$")
_RUN = re.compile(r"\b(?:run|execute|command|type|do)\s*:?\s*$")
# several words that are a value by themselves: names, and what begins and ends with a digit or a capital
_PROPER = re.compile(r"[\"'(]?(?:[A-Z\d][^\s]*)(?:\s+(?:[^\s]+\s+){0,6}?[A-Z\d][^\s]*)+", re.ASCII)
# digits, or signs between letters
_PECULIAR = re.compile(r"[^\s\"'(]*(?:\d|\w[@./_:#+-]+\w|^[./~$#@-]+\w)[^\s\"'),;!?]*", re.ASCII)
_QUERIES = word_set("query question search term keyword q prompt topic")
_COMMANDS = word_set("command cmd shell script code argv")
_TO = re.compile(r"\bto\s+[\"'(@#]*$")
_ADDRESSES = word_set("url uri link href")
_WEB = re.compile(r"\b(?:[a-z][a-z0-9+.-]*://|www\.)[^\s\"'<>)\]]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about one value.

    Attributes:
        origin: Where it came from.
        spans: Where in the user's words its authority stands.
        authorized: The user's words, or a record that they select, say so.
        why: What is wrong otherwise, for people; continues "recipient 'x' ".
    """

    origin: Provenance
    spans: tuple[Span, ...] = ()
    authorized: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Place:
    """What a value is for."""

    argument: str
    effect: Effect
    sight: Sight

    @property
    def words(self) -> Words:
        """What the user said."""
        return self.sight.words

    @property
    def situation(self) -> Situation:
        """What is in sight."""
        return self.sight.situation


def trace(value: Any, situation: Situation, *, argument: str = "", effect: Effect = "external") -> Provenance:  # noqa: ANN401
    """Where a value came from.

    Args:
        value: Any JSON value.
        situation: The user's words and what else is in sight.
        argument: What it is for; a number needs that to be found in the user's words, a field to fit.
        effect: Of the tool that it is for.

    Returns:
        `span` with label `user` or `record` when the user's words say it; `span` or `record` of a source with another
        label when it was only seen there; `computed` for what a pure tool made of values that are all known; else
        `model`.
    """
    return evidence(value, Sight(situation), argument=argument, effect=effect).origin


def evidence(value: Any, sight: Sight, *, argument: str = "", effect: Effect = "external") -> Evidence:  # noqa: ANN401
    """As `trace`, with what the authority rests on."""
    return _any(value, _Place(argument, effect, sight), {})


def trace_call(call: ProposedCall, sight: Sight, names: frozenset[str]) -> dict[str, Evidence]:
    """Where the named arguments of a call came from; numbers and ends are read together with the others."""
    found: dict[str, Evidence] = {}
    present = [name for name in call.arguments if name in names and leaves(call.arguments[name])]
    for name in sorted(present, key=lambda name: (_depends(call.arguments[name]), "end" in name_tokens(name))):
        place = _Place(name, call.traits.effect, sight)
        others = {other: call.arguments[other] for other in found if found[other].authorized}
        spans = [span for other in others for span in found[other].spans]
        found[name] = claimed(call, name, sight.situation) or _any(call.arguments[name], place, others, spans)
    return {name: found[name] for name in call.arguments if name in found}


def _depends(value: Any) -> int:  # noqa: ANN401 - any JSON value
    """Numbers are read after the names beside them."""
    return 1 if isinstance(value, str | int | float) and number(value) is not None else 0


def claimed(call: ProposedCall, name: str, situation: Situation) -> Evidence | None:
    """What is known by construction and can't be found by looking; None for what can.

    A span or record is looked up again: decoding knows that it is one, not whether the words rule it out, or only quote
    it. A computed value counts only while nothing from outside is in sight, which could have chosen what is computed.
    """
    claim = call.provenance.get(name)
    if claim is None:
        return None
    if claim.origin in ("enum", "default") and claim.label == "user":
        return Evidence(claim, (), True)
    foreign = situation.spawned or any(seen.label == "outside" for seen in situation.seen)
    labels: list[Label] = [claim.label, *(part.label for part in claim.of)]
    if claim.origin == "computed" and claim.of and not foreign and join(*labels) == "user":
        known = all(part.origin != "model" for part in claim.of)
        return Evidence(claim, (), known, "was computed from values of the model's own")
    return None


def _any(value: Any, place: _Place, others: Mapping[str, Any], beside: list[Span] | None = None) -> Evidence:  # noqa: ANN401
    if isinstance(value, list | tuple | Mapping):
        if isinstance(value, list | tuple) and (chosen := _selected(value, place)):
            return chosen
        parts = [_scalar(leaf, place, others, beside or []) for leaf in leaves(value)]  # pyright: ignore[reportUnknownArgumentType]
        if not parts:
            return Evidence(Provenance("default", "user"), (), True)
        worst = next((part for part in parts if not part.authorized), parts[0])
        return Evidence(worst.origin, tuple(s for p in parts for s in p.spans), worst.authorized, worst.why)
    if value is None or value == "":
        return Evidence(Provenance("default", "user"), (), True)
    return _scalar(value, place, others, beside or [])


def _scalar(value: str | int | float | bool, place: _Place, others: Mapping[str, Any], beside: list[Span]) -> Evidence:
    if isinstance(value, bool):
        return _flag(place, value=value)
    if number(value) is not None:
        said = _number(value, place, beside)
    elif isinstance(value, str) and (name := hidden(value)):
        return Evidence(Provenance("model", "outside"), (), False, f"has a character in it that can't be seen ({name})")
    elif isinstance(value, str) and (when := moment(value)) is not None:
        said = _moment(value, when, place, others)
    else:
        said = _text(str(value), place)
    if said.authorized:
        return said
    return _selected(value, place) or _computed(value, place) or _elsewhere(value, said, place)


def _flag(place: _Place, *, value: bool) -> Evidence:
    """A yes or no: the words must speak of a yes, and a no is what they don't speak of."""
    wanted = name_tokens(place.argument)
    spans = [
        place.words.span(token.start, token.start + len(token.text))
        for token in place.words.tokens
        if token.lower in wanted or token.lower.rstrip("s") in wanted
    ]
    if any(not span.negated for span in spans) is value:
        return Evidence(Provenance("enum", "user", YOURS), tuple(spans), True)
    return Evidence(Provenance("model", "user"), (), False, f"is {str(value).lower()}, which your request doesn't say")


def _number(value: str | int | float, place: _Place, beside: list[Span]) -> Evidence:
    """A number counts with its role, and beside what it belongs to: "rent is 2200", "file 13"."""
    wanted, words = number(value), place.words
    standing = [n for n in numerals(words) if n.value == wanted][:MAX_PLACES]
    fitting = [words.span(n.start, n.end) for n in standing if _has_role(n, place)]
    fitting = [span for span in fitting if not (span.pasted or span.negated)]
    sentences = {span.sentence for span in beside}
    alone = bool(fitting) and len({n.value for n in numerals(words) if _has_role(n, place)}) == 1
    for span in fitting:
        if span.sentence in sentences or alone:
            return _said(span, words)
    if not standing:
        return Evidence(Provenance("model", "outside"))
    why = "is a number in your request that stands for something else, or for nothing in particular"
    if fitting:
        why = "is one of several such numbers in your request, and doesn't stand beside the rest of this call"
    return Evidence(Provenance("model", "user", "a bare number in your request"), (), False, why)


def _has_role(found: Numeral, place: _Place) -> bool:
    """Whether a number plays the part of an argument: by its sign, by the word after it, or by a word before it."""
    names = name_tokens(place.argument)
    money = bool(names & _MONEY)
    if money and found.unit != "" and found.unit in _CURRENCIES:
        return True
    before, after = place.words.around(found.start, found.end)
    if money and after in _CURRENCY_WORDS:
        return True
    if found.unit == "%" or (after and after not in _AFTER_NUMBER):  # so many apples, so many times
        return False
    for role in names & set(_COUNTING):
        names |= _COUNTING[role]
    wanted = names | _MONEY_WORDS if money else names
    return any(not wanted.isdisjoint(stems(word)) for word in before)


def _moment(value: str, when: Moment, place: _Place, others: Mapping[str, Any]) -> Evidence:
    """A day and time: named by the words, or a duration in the words after another one of this call."""
    if spans := place.words.find(value):
        return _first(spans, place)
    said = clock_of(place.situation)
    days = said.day(when.day, place.situation.now)
    if days:
        clock = said.minutes(when.minutes) if when.minutes is not None else []
        if clock or when.minutes is None or (not said.clock and when.minutes in (0, 23 * 60 + 59)):
            return _said(days[0], place.words, *days[1:], *clock)
    if when.minutes is None:
        return Evidence(Provenance("model", "outside"))
    for other in others.values():
        start = moment(other) if isinstance(other, str) else None
        if start and start.minutes is not None:
            length = (when.day - start.day).days * 1440 + when.minutes - start.minutes
            if length > 0 and length in said.lengths:
                source = Provenance("computed", "user", YOURS, of=(Provenance("span", "user", YOURS),))
                return Evidence(source, (), True)
    return Evidence(Provenance("model", "outside"))


def _text(value: str, place: _Place) -> Evidence:
    words = place.words
    if is_url(value) and url(value) is None:
        return Evidence(Provenance("model", "outside"), (), False, "is a URL that can be read in two ways")
    names = name_tokens(place.argument)
    if "email" in names and not is_email(value):
        return Evidence(Provenance("model", "outside"), (), False, "is no e-mail address")
    if names & _ADDRESSES and "." not in value and "://" not in value:
        return Evidence(Provenance("model", "outside"), (), False, "is no URL")
    if value != " ".join(value.split()) and value not in words.text:
        return Evidence(Provenance("model", "outside"), (), False, "has blanks or line breaks that your request hasn't")
    spans = words.find(value)
    if not spans and (is_email(value) or _CASELESS.fullmatch(value)):
        spans = words.find(value, caseless=True)
    if not spans and (address := url(value)) is not None:
        for found in _WEB.finditer(words.text):
            written = found[0].rstrip(".,;:!?")
            if (named := url(written)) is not None and named.same(address):
                spans.append(words.span(found.start(), found.start() + len(written)))
    if not spans and value.startswith("./") and (short := path(value)) is not None:
        spans = words.find(short)
    if not spans:
        return _abbreviation(value, place)
    meant = [span for span in spans if _meant(span, value, place)]
    if not meant:
        why = "stands in your request, but not clearly as a name or a value"
        return Evidence(Provenance("model", "user", "words in your request"), (), False, why)
    return _first(meant, place)


def _meant(span: Span, value: str, place: _Place) -> bool:
    """Whether words in the request are a value there, and not any piece of a sentence.

    What has digits or signs inside is. Other words must be quoted, be names, or stand beside the argument's own name or
    at the end of "to …"; commands after "run"; for a search any words will do.
    """
    words, names = place.words, name_tokens(place.argument)
    if names & _QUERIES or is_name(span, words):
        return True
    if value.lower() in FUNCTION_WORDS or names == frozenset({singular(value.lower())}):
        return False
    if names & _COMMANDS:
        return words.after(span, _RUN)
    if " " not in value:
        if _PECULIAR.fullmatch(value) or words.near(span, names, within=1):
            return True
        return words.after(span, _TO) and words.text[span.end : span.end + 1] in ("", *".,!?;:\n")
    return _PROPER.fullmatch(value) is not None and not words.begins_sentence(span)


def _abbreviation(value: str, place: _Place) -> Evidence:
    """One or two letters that begin the words before the argument's name: "read permissions" is permission r."""
    if value.isalpha() and len(value) <= 2:
        tokens = [t for t in place.words.tokens if t.lower not in ("and", "or")]
        wanted = name_tokens(place.argument)
        for index, token in enumerate(tokens):
            before = tokens[max(0, index - len(value)) : index]
            if token.lower.rstrip("s") in wanted and "".join(t.lower[0] for t in before) == value.lower():
                span = place.words.span(before[0].start, token.start + len(token.text))
                if not span.negated and all(t.sentence == token.sentence for t in before):
                    return _said(span, place.words)
    return Evidence(Provenance("model", "outside"))


def _first(spans: list[Span], place: _Place) -> Evidence:
    """The authority of one of several places in the words: none if any of them rules the value out."""
    words = place.words
    source = Provenance("model", "user", YOURS)
    if any(span.negated for span in spans):
        return Evidence(source, (), False, "is something that your request rules out")
    said = [span for span in spans if not span.pasted]
    if not said:
        quoted = Provenance("span", "outside", "text that you quote in your request", *words.origin(spans[0]))
        return Evidence(quoted, (), False, "stands only in text that your request quotes")
    if name_tokens(place.argument) & _DESTINATIONS:
        said = [span for span in said if not words.after(span, _FROM)]
        if not said:
            return Evidence(
                source, (), False, "is named in your request as where something comes from, not as a target"
            )
    return _said(said[0], words, *said[1:])


def _said(span: Span, words: Words, *more: Span) -> Evidence:
    return Evidence(Provenance("span", "user", YOURS, *words.origin(span)), (span, *more), True)


def _selected(value: Any, place: _Place) -> Evidence | None:  # noqa: ANN401 - any JSON value
    if place.words.delegates or not place.argument or (isinstance(value, str) and len(value) > MAX_FIELD):
        return None
    chosen = place.sight.select(value, place.argument, effect=place.effect)
    if chosen is None:
        spans = begins_with(value, place.sight) if isinstance(value, str) else ()
        return Evidence(Provenance("record", "files", "a listing of your own"), spans, True) if spans else None
    source = Provenance("record", chosen.record.label, f"{chosen.field} of a record of {chosen.record.tool}")
    return Evidence(source, chosen.spans, True)


def _computed(value: str | int | float, place: _Place) -> Evidence | None:
    """The result of a pure tool whose numbers all stand in the user's words, while nothing from outside is in sight."""
    situation = place.situation
    if situation.spawned or place.words.delegates or any(seen.label == "outside" for seen in situation.seen):
        return None
    known = {n.value for n in numerals(place.words) if not place.words.is_pasted(n.start)}
    for seen in situation.seen:
        if seen.effect == "pure" and same_as(value)(seen.value):
            used = [m[0] for leaf in leaves(seen.arguments) for m in re.finditer(r"\d+(?:\.\d+)?", str(leaf))]
            if used and all(number(digits) in known for digits in used):
                source = Provenance("computed", "user", seen.tool, of=(Provenance("span", "user", YOURS),))
                return Evidence(source, (), True)
    return None


def _elsewhere(value: str | int | float, said: Evidence, place: _Place) -> Evidence:
    """Where an unauthorized value was seen, to explain it."""
    if said.why:
        return said
    if (found := where_seen(str(value), place.sight)) is not None:
        label: Label = found.label
        why = f"came from {found.source}, not from your request"
        if found.encoding:
            why = f"came from {found.source} ({found.encoding}), not from your request"
        return Evidence(Provenance("span", label, found.source, found.start, found.end), (), False, why)
    why = "is not in your request, nor in a record that it names"
    if isinstance(value, str) and not value.isascii() and place.words.find(lookalike(value), caseless=True):
        why = "looks like something in your request, but is written with other letters"
    return Evidence(Provenance("model", join("user", *place.sight.labels)), (), False, why)
