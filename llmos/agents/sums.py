"""Reads a calculation out of a request: as it stands there, turned round ("add 5 to 8% of 300"), or told as a story.

A reading is built from the numbers of the request only, so that none can be invented. English. Knows no tool.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from llmos.agents.spans import NUMBER, Span, of_kind, spans
from llmos.agents.vocabulary import plain_words, vocabulary


@dataclass(frozen=True, slots=True)
class Reading:
    """An expression for the calculator.

    Attributes:
        text: It.
        parts: The spans of the words that it is made of.
        weight: How sure it is, as a natural logarithm against other readings.
        whole: It is a span of the words as it is.
    """

    text: str
    parts: tuple[Span, ...]
    weight: float
    whole: bool = False


_AMOUNT = rf"[$€£]?{NUMBER}(?: ?%| per ?cent)?(?: of [$€£]?{NUMBER})?(?: (?:euros?|dollars?|pounds|cents|francs))?"
_A, _B = rf"(?P<a>{_AMOUNT})", rf"(?P<b>{_AMOUNT})"
_LIST = rf"(?P<list>{_AMOUNT}(?:(?:, ?| and |, and ){_AMOUNT})+)"
_QUANTITY = rf"(?P<q>{NUMBER} ?(?P<from>[A-Za-z°/]+))"
_TURNED: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), form)
    for pattern, form in (
        (rf"\badd {_A} (?:to|onto|on top of) {_B}", "{b} + {a}"),
        (rf"\b(?:add|sum)(?: up)?(?: the numbers)? {_LIST}", "+"),
        (rf"\b(?:subtract|take away|take|deduct) {_A} from {_B}", "{b} - {a}"),
        (rf"\b(?:take|subtract) {_A} (?:away|off) from {_B}", "{b} - {a}"),
        (rf"\bmultiply {_A} (?:by|with|and|times) {_B}", "{a} * {b}"),
        (rf"\bdivide {_A} (?:by|through|into|among|between) {_B}", "{a} / {b}"),
        (rf"\b(?:increase|raise|grow) {_A} by {_B}", "{a} + {b}"),
        (rf"\b(?:decrease|reduce|lower|cut) {_A} by {_B}", "{a} - {b}"),
        (rf"\bwhat (?:percentage|per ?cent) of {_A} (?:is|are) {_B}", "{b} / {a} to %"),
        (rf"\bwhat (?:percentage|per ?cent) (?:is|are) {_A} of {_B}", "{a} / {b} to %"),
        (rf"(?P<b>{NUMBER} ?(?:%|per ?cent)) (?:off|discount on|less than) {_A}", "{a} - {b}"),
        (rf"{_A}\b.*?(?P<b>{NUMBER} ?(?:%|per ?cent)) (?:off|discount|cheaper|reduction)", "{a} - {b}"),
        (
            rf"{_A}\b.*?(?:plus|and|with) (?:a )?(?P<b>{NUMBER} ?(?:%|per ?cent)) (?:tip|tax|vat|more|extra)",
            "{a} + {b}",
        ),
        (rf"\bdouble {_A}", "2 * {a}"),
    )
)
_MEASURED = re.compile(
    rf"\bhow (?:many|much) (?P<unit>[A-Za-z°/]+) (?:(?:are|is|do|does|make|makes|has|have|in|there|equal|equals) )*"
    rf"{_QUANTITY}",
    re.IGNORECASE,
)
_ASKED = re.compile(
    r"\bhow (?:much|many|far)\b"
    r"|\bwhat(?:'s| is| does| do)? .{0,80}\b(?:cost|price|total|sum|per|each|left|owes?|pays?|everyone|everybody)\b",
    re.IGNORECASE,
)
_EARLIER = re.compile(r"\b(?:the (?:result|answer|total|sum|number)|this|that|it)\b", re.IGNORECASE)
_SPOKEN = "zero one two three four five six seven eight nine ten eleven twelve"
_DIGITS = {word: str(number) for number, word in enumerate(re.findall(r"\w+", _SPOKEN))}
_STORY_WEIGHT = -1.0
_HINT = 2.0


def readings(words: str, earlier: str = "") -> list[Reading]:
    """What could be calculated, best first.

    Args:
        earlier: A number that came out before, which `the result` and the like stand for.
    """
    if earlier and (place := _EARLIER.search(words)):
        put = words[: place.start()] + earlier + words[place.end() :]
        if found := [*_turned(put), *_standing(put)]:
            return [Reading(one.text, (), one.weight) for one in found]
    return [*_turned(words), *_measured(words), *_standing(words), *_story(words)]


def _standing(words: str) -> list[Reading]:
    known = vocabulary().currency
    found: list[Reading] = []
    for span in of_kind(words, "expression"):
        text = " ".join(word for word in span.text.split() if word.lower().strip(".,") not in known)
        found.append(Reading(text, (span,), len(span.text) / 20, whole=text == span.text))
    return sorted(found, key=lambda one: -one.weight)


def _turned(words: str) -> list[Reading]:
    for pattern, form in _TURNED:
        if match := pattern.search(words):
            groups = match.groupdict()
            parts = tuple(_part(words, match, name) for name in groups if match[name])
            if form == "+":
                numbers = re.findall(_AMOUNT, match["list"])
                text = " + ".join(_plain(number, True) for number in numbers)
            else:
                several = form.count("{") > 1
                text = form.format(**{name: _plain(value, several) for name, value in groups.items() if value})
            return [Reading(text, parts, 4.0)]
    return []


def _measured(words: str) -> list[Reading]:
    match = _MEASURED.search(words)
    known = vocabulary().units
    if match and match["unit"].lower() in known and match["from"].lower() in known:
        parts = (_part(words, match, "q"), _part(words, match, "unit"))
        return [Reading(f"{match['q']} in {match['unit']}", parts, 4.0)]
    return []


def _part(words: str, match: re.Match[str], name: str) -> Span:
    start, end = match.span(name)
    return Span("number", words[start:end], start, end)


def _plain(amount: str, several: bool) -> str:
    """An amount without its currency, in brackets where it is a sum of its own."""
    known = vocabulary().currency
    text = " ".join(word for word in amount.split() if word.lower() not in known).strip("$€£")
    return f"({text})" if several and " of " in text else text


def _story(words: str) -> list[Reading]:
    """Readings of a story: two or three numbers, and words that hint at what to do with them."""
    if not _ASKED.search(words):
        return []
    numbers = _counts(words)
    if len(numbers) not in (2, 3):
        return []
    said = set(plain_words(words))
    hints = {name: len(said & cues) for name, cues in vocabulary().operations.items()}
    values = [_DIGITS.get(number.text.lower(), number.text.replace(",", "")) for number in numbers]
    forms: dict[str, Callable[[list[str]], str]] = {
        "times": " * ".join,
        "minus": " - ".join,
        "divide": lambda them: " / ".join(sorted(them, key=float, reverse=True)),  # the whole first, then the heads
        "plus": " + ".join,
    }
    found = [
        Reading(form(values), tuple(numbers), _STORY_WEIGHT + _HINT * hints[name])
        for name, form in forms.items()
        if hints[name]
    ]
    return sorted(found, key=lambda one: -one.weight)


def _counts(words: str) -> list[Span]:
    """The numbers of a story, those in words too."""
    known = vocabulary()
    taken = [span for span in spans(words) if span.kind != "duration"]
    found = [span for span in taken if span.kind == "number"]
    for span in of_kind(words, "duration"):
        if digits := re.match(r"\d+", span.text):
            found.append(Span("number", digits[0], span.start, span.start + digits.end()))
    for match in re.finditer(r"[A-Za-z]+", words):
        free = not any(span.start < match.end() and match.start() < span.end for span in taken)
        if free and match[0].lower() in known.numbers - {"one", "second", "third", "half", "quarter", "pi"}:
            found.append(Span("number", match[0], *match.span()))
    return sorted(found, key=lambda span: span.start)
