"""Cuts an expression as people write it into tokens: digits, signs, and words for either.

Knows the words, not the grammar.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

from llmos.tools.arithmetic.values import FUNCTIONS, LISTS, ArithmeticProblem, Value, bounded

MAX_LENGTH = 400


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of an expression. `kind` is the sign itself, or number, spoken, unit, function, of, mod, to."""

    kind: str
    text: str
    value: Value | None = None


_PATTERN = re.compile(
    r"(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d,]*\d)(?:[eE][+-]?\d{1,4}(?![\w.]))?"
    r"|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,4}(?![\w.]))?)"
    r"|(?P<word>[A-Za-zµμΩπ°]+)"
    r"|(?P<operator>\*\*|//|[-+*/^%(),!×÷·\u2212\u2013²³√:])"
    r"|(?P<skip>[\s$€£¥]+)"
)
_SIGNS = {"×": "*", "·": "*", "÷": "/", ":": "/", "\N{MINUS SIGN}": "-", "\N{EN DASH}": "-", "**": "^"}
_PHRASES: list[tuple[re.Pattern[str], str]] = [
    (re.compile(pattern, re.IGNORECASE), instead)
    for pattern, instead in (
        (
            r"^\s*(?:please\s+)?(?:what(?:'s|\s+is|\s+are|\s+does)|how\s+much\s+(?:is|are)|calculate|compute|work\s+out)\b",
            "",
        ),
        (r"[\s=?.!]*[=?.]\s*$", ""),
        (r"\bmultiplied\s+by\b", " * "),
        (r"\bdivided\s+by\b", " / "),
        (r"\bto\s+the\s+(?:power\s+of|power)\b|\braised\s+to\b", " ^ "),
        (r"\b(?:square\s+)root(?:\s+of)?\b", " sqrt "),
        (r"\bcube\s+root(?:\s+of)?\b", " cbrt "),
        (r"\bper\s+cent\b", " percent "),
        (r"(\d+(?:\.\d+)?)\s*(?:%|percent)\s+(?:off|discount\s+on)\b", r" (1 - \1%) *"),
    )
]
_OPERATORS = {
    "plus": "+",
    "and": ",",
    "minus": "-",
    "less": "-",
    "times": "*",
    "x": "*",
    "over": "/",
    "per": "/",
    "mod": "mod",
    "modulo": "mod",
    "percent": "%",
    "pct": "%",
    "squared": "²",
    "cubed": "³",
    "of": "of",
    "in": "to",
    "to": "to",
    "into": "to",
    "as": "to",
}
_SKIPPED = {"between", "a", "an", "the", "degrees", "degree", "°", "is", "equal", "equals"}
_UNDER_TWENTY = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_NUMBERS = {
    **{word: Fraction(number) for number, word in enumerate(_UNDER_TWENTY)},
    **{word: Fraction(number) for number, word in zip(range(20, 100, 10), _TENS, strict=True)},
    "half": Fraction(1, 2),
    "third": Fraction(1, 3),
    "thirds": Fraction(1, 3),
    "quarter": Fraction(1, 4),
    "quarters": Fraction(1, 4),
    "dozen": Fraction(12),
    "hundred": Fraction(100),
    "thousand": Fraction(1000),
    "million": Fraction(10**6),
    "billion": Fraction(10**9),
}
_TIMES = {"twice": Fraction(2), "double": Fraction(2), "triple": Fraction(3)}
_PI = Value(Fraction(math.pi), exact=False)


def tokens(expression: str) -> list[Token]:
    """The tokens of an expression.

    Raises:
        ArithmeticProblem: It is too long, or something in it is not understood.
    """
    if len(expression) > MAX_LENGTH:
        raise ArithmeticProblem(f"the expression is longer than {MAX_LENGTH} characters")
    text = expression
    for pattern, instead in _PHRASES:
        text = pattern.sub(instead, text)
    found: list[Token] = []
    place = 0
    while place < len(text):
        match = _PATTERN.match(text, place)
        if not match:
            raise ArithmeticProblem(f"{text[place]!r} is not understood")
        place = match.end()
        spelled = match[0]
        match match.lastgroup:
            case "number":
                found.append(Token("number", spelled, Value(bounded(Fraction(spelled.replace(",", ""))))))
            case "operator":
                found.append(Token(_SIGNS.get(spelled, spelled), spelled))
            case "word":
                found += _word(spelled)
            case _:
                pass
    return _tidied(found)


def _word(word: str) -> list[Token]:
    lower = word.lower()
    if lower in FUNCTIONS or lower in LISTS:
        return [Token("function", lower)]
    if lower in _TIMES:
        return [Token("spoken", lower, Value(_TIMES[lower])), Token("of", lower)]
    if lower in _NUMBERS or lower in ("pi", "π"):
        return [Token("spoken", lower, Value(_NUMBERS[lower]) if lower in _NUMBERS else _PI)]
    if word != "X" and lower in _OPERATORS:
        return [Token(_OPERATORS[lower], word)]
    if lower in _SKIPPED:
        return []
    return [Token("unit", word.strip("°"))]


def _tidied(tokens: list[Token]) -> list[Token]:
    """Settle words that mean two things: `in` after a number and before another `in` or the end is the inch."""
    for place, token in enumerate(tokens):
        after = tokens[place + 1].kind if place + 1 < len(tokens) else ""
        before = tokens[place - 1].kind if place else ""
        if token.kind == "to" and token.text == "in" and before == "number" and after not in ("unit", "function"):
            tokens[place] = Token("unit", "inch")
    return tokens
