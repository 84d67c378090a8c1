"""Dates, times of day, durations and numbers that stand in the user's words.

Knows the words only, as `policy_words` reads them. Days are counted in UTC; a date that can be read in two ways counts
for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache

from llmos.kernel.calls import Situation
from llmos.kernel.policy_words import Span, Words, read

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_ISO = re.compile(r"(?<![\w-])(\d{4})[-/](\d\d?)[-/](\d\d?)(?![\w-])|(?<![\w-])(\d{4})-(\d\d)-(\d\d)(?=T\d)")
_DOTTED = re.compile(r"(?<![\w.])(\d\d?)\.(\d\d?)\.(\d{4})(?!\w)")
_SLASHED = re.compile(r"(?<![\w/])(\d\d?)/(\d\d?)/(\d{4})(?![\w/])")
_MONTH_DAY = re.compile(rf"\b{_MONTH}\s+(\d\d?)(?:st|nd|rd|th)?\b(?:,?\s+(\d{{4}}))?", re.IGNORECASE)
_DAY_MONTH = re.compile(rf"\b(\d\d?)(?:st|nd|rd|th)?\s+(?:of\s+)?{_MONTH}\b(?:,?\s+(\d{{4}}))?", re.IGNORECASE)
_RELATIVE = re.compile(r"\b(day after tomorrow|today|tonight|tomorrow|yesterday)\b", re.IGNORECASE)
_WEEKDAY = re.compile(rf"\b({'|'.join(_DAYS)})\b", re.IGNORECASE)
_YEAR = re.compile(r"(?<![\w.,-])(20\d\d)(?![\w,]|[.-]\d)")
_CLOCK = re.compile(r"(?<![\w:.])(\d\d?)[:.h](\d\d)\s*([ap]\.?m\b)?(?![\d:])|\b(\d\d?)\s*([ap]\.?m\b)", re.IGNORECASE)
_NAMED_TIMES = {"noon": 720, "midday": 720, "midnight": 0}
_COUNTS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
_DURATION = re.compile(
    rf"\b(half\s+an?|an?|\d+(?:\.\d+)?|{'|'.join(_COUNTS)})(?:\s+|-)?(hours?|hrs?|h|minutes?|mins?|days?|weeks?)\b",
    re.IGNORECASE,
)
_UNIT = {"h": 60, "m": 1, "d": 1440, "w": 10080}
_NUMERAL = re.compile(r"(?<![\w.,:/@#-])([-+]?)([$€£¥]?)((?:\d{1,3}(?:[,'  ]\d{3})+|\d+)(?:\.\d+)?)(?![\w:/@-]|[.,]\d)")
_COMMA = re.compile(r"(?<![\w.,:/@#-])([$€£¥]?)((?:\d{1,3}(?:\.\d{3})+|\d+),\d{1,2})(?![\w:/@-]|[.,]\d)")


@dataclass(frozen=True, slots=True)
class Day:
    """A day that the words name; year None where they leave it out."""

    year: int | None
    month: int
    day: int
    span: Span


@dataclass(frozen=True, slots=True)
class Numeral:
    """A number in the words, and whether a sign of currency or percent stands at it."""

    value: Decimal
    unit: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Times:
    """Everything about time in a request: days, clock times in minutes, lengths in minutes, years."""

    days: tuple[Day, ...]
    clock: tuple[tuple[int, Span], ...]
    lengths: frozenset[int]
    years: frozenset[int]

    def day(self, wanted: date, now: float) -> list[Span]:
        """Where the words name a day; without a year, that is this year's, the last one's or the next one's."""
        alike = [day for day in self.days if (day.month, day.day) == (wanted.month, wanted.day) and _usable(day.span)]
        plausible = self._plausible(wanted.year, now)
        return [day.span for day in alike if day.year == wanted.year or (day.year is None and plausible)]

    def _plausible(self, year: int, now: float) -> bool:
        if self.years:
            return year in self.years
        return now > 0 and abs(datetime.fromtimestamp(now, UTC).year - year) <= 1

    def minutes(self, wanted: int) -> list[Span]:
        """Where the words name a time of day."""
        return [span for minutes, span in self.clock if minutes == wanted and _usable(span)]


def _usable(span: Span) -> bool:
    return not (span.pasted or span.negated)


def clock_of(situation: Situation) -> Times:
    """The times in the user's words, read on the day of the decision."""
    return times(read(situation.words), int(situation.now // 86400) if situation.now > 0 else -1)


@lru_cache(maxsize=64)
def times(words: Words, today: int) -> Times:
    """The times in some words, read on the day with this number since the epoch (-1: unknown)."""
    text = words.text
    days = list(_absolute(words))
    if today >= 0:
        base = date(1970, 1, 1) + timedelta(days=today)
        days += _relative(words, base)
    lengths = {_length(found[1].lower(), found[2].lower()) for found in _DURATION.finditer(text)}
    years = {int(found[1]) for found in _YEAR.finditer(text)} | {day.year for day in days if day.year}
    return Times(tuple(days), tuple(_clock(words)), frozenset(lengths), frozenset(years))


def _absolute(words: Words) -> Iterator[Day]:
    text = words.text
    for found in _ISO.finditer(text):
        year, month, day = (int(part) for part in found.groups() if part)
        yield Day(year, month, day, words.span(*found.span()))
    for found in _DOTTED.finditer(text):
        yield Day(int(found[3]), int(found[2]), int(found[1]), words.span(*found.span()))
    for found in _SLASHED.finditer(text):
        first, second = int(found[1]), int(found[2])
        if first > 12 or second > 12 or first == second:
            yield Day(int(found[3]), min(first, second), max(first, second), words.span(*found.span()))
    for found in _MONTH_DAY.finditer(text):
        month = _MONTHS.index(found[1][:3].lower()) + 1
        yield Day(int(found[3]) if found[3] else None, month, int(found[2]), words.span(*found.span()))
    for found in _DAY_MONTH.finditer(text):
        month = _MONTHS.index(found[2][:3].lower()) + 1
        yield Day(int(found[3]) if found[3] else None, month, int(found[1]), words.span(*found.span()))


def _relative(words: Words, today: date) -> Iterator[Day]:
    shift = {"today": 0, "tonight": 0, "tomorrow": 1, "yesterday": -1, "day after tomorrow": 2}
    for found in _RELATIVE.finditer(words.text):
        day = today + timedelta(days=shift[found[1].lower()])
        yield Day(day.year, day.month, day.day, words.span(*found.span()))
    for found in _WEEKDAY.finditer(words.text):
        ahead = (_DAYS.index(found[1].lower()) - today.weekday() - 1) % 7 + 1
        day = today + timedelta(days=ahead)
        yield Day(day.year, day.month, day.day, words.span(*found.span()))


def _clock(words: Words) -> Iterator[tuple[int, Span]]:
    for found in _CLOCK.finditer(words.text):
        hours, minutes = int(found[1] or found[4]), int(found[2] or 0)
        half = (found[3] or found[5] or "").replace(".", "").lower()
        if half:
            hours = hours % 12 + (12 if half == "pm" else 0)
        if hours < 24 and minutes < 60:
            yield hours * 60 + minutes, words.span(*found.span())
    for name, minutes in _NAMED_TIMES.items():
        for span in words.find(name, caseless=True):
            yield minutes, span


def _length(count: str, unit: str) -> int:
    if count.startswith("half"):
        number = Decimal("0.5")
    elif count in ("a", "an"):
        number = Decimal(1)
    elif count in _COUNTS:
        number = Decimal(_COUNTS.index(count))
    else:
        number = Decimal(count)
    return int(number * _UNIT[unit[0]])


@lru_cache(maxsize=64)
def numerals(words: Words) -> tuple[Numeral, ...]:
    """The numbers in some words: 1,840 and 1.840,50 are read as people write them, parts of names and dates are not."""
    found: list[Numeral] = []
    text = words.text
    for match in _NUMERAL.finditer(text):
        digits = re.sub("[,'  ]", "", match[3])
        value = Decimal(f"{match[1]}{digits}").normalize()
        found.append(Numeral(value, match[2] or text[match.end() : match.end() + 1].strip(" .,;"), *match.span()))
    for match in _COMMA.finditer(text):
        value = Decimal(match[2].replace(".", "").replace(",", ".")).normalize()
        found.append(Numeral(value, match[1], *match.span()))
    return tuple(found)
