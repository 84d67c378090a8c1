"""Dates and times that words name, written as a field wants them, and where to click in a calendar.

Knows a calendar only as parts of a page: a month and a year that are shown, controls that lead to others, days.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time

from llmos.agents.operator.lexicon import means, words_of
from llmos.agents.operator.matching import option_of
from llmos.agents.operator.page import Page, Part

MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
_NAMED = r"(?P<month>jan\w*|feb\w*|mar\w*|apr\w*|may|jun\w*|jul\w*|aug\w*|sep\w*|oct\w*|nov\w*|dec\w*)\.?"
_FORMS = (
    re.compile(r"\b(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})\b"),
    re.compile(r"\b(?P<m>\d{1,2})[-/](?P<d>\d{1,2})[-/](?P<y>\d{4}|\d{2})\b"),
    re.compile(r"\b(?P<d>\d{1,2})\.(?P<m>\d{1,2})\.(?P<y>\d{4})\b"),
    re.compile(rf"\b(?P<d>\d{{1,2}})(?:st|nd|rd|th)?(?: of)? {_NAMED},? (?P<y>\d{{4}})\b", re.I),
    re.compile(rf"\b{_NAMED} (?P<d>\d{{1,2}})(?:st|nd|rd|th)?,? (?P<y>\d{{4}})\b", re.I),
)
_CLOCK = re.compile(r"\b(?P<h>\d{1,2})(?::(?P<m>\d{2}))?(?::\d{2})?\s*(?P<half>[ap])?\.?(?:m\b)?", re.I)
_SHOWN = re.compile(rf"\b{_NAMED}\s*,?\s*(?P<y>\d{{4}})\b", re.I)


def day_of(text: str) -> date | None:
    """The day that a text names; figures with slashes are month, day, year, unless only the other order is a date."""
    for form in _FORMS:
        if match := form.search(text):
            groups = match.groupdict()
            month = _month(groups["month"]) if groups.get("month") else int(groups["m"])
            day, year = int(groups["d"]), int(groups["y"])
            year += 2000 if year < 100 else 0
            if month > 12 >= day:
                month, day = day, month
            try:
                return date(year, month, day)
            except ValueError:
                return None
    return None


def clock_of(text: str) -> time | None:
    """The time of day that a text names."""
    match = _CLOCK.search(text)
    if not match or not (match["m"] or match["half"]):
        return None
    hour = int(match["h"])
    half = (match["half"] or "").lower()
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    minute = int(match["m"] or 0)
    return time(hour, minute) if hour < 24 and minute < 60 else None


def _month(name: str) -> int:
    return next(number for number, month in enumerate(MONTHS, 1) if month.startswith(name.lower()[:3]))


def written(text: str, kind: str) -> str:
    """A date or time as an `input` of a type takes it; the text itself for other types, and where it is none."""
    day, clock = day_of(text), clock_of(text)
    match kind:
        case "date":
            return day.isoformat() if day else text
        case "time":
            return clock.strftime("%H:%M") if clock else text
        case "month":
            return day.strftime("%Y-%m") if day else text
        case "week":
            return f"{day.isocalendar().year}-W{day.isocalendar().week:02d}" if day else text
        case "datetime-local":
            return datetime.combine(day, clock or time()).isoformat(timespec="minutes") if day else text
        case _:
            return text


def same_moment(one: str, other: str) -> bool:
    """Whether two texts name the same day, or the same time."""
    days, clocks = (day_of(one), day_of(other)), (clock_of(one), clock_of(other))
    if days[0] and days[1]:
        return days[0] == days[1]
    return clocks[0] is not None and clocks[0] == clocks[1]


@dataclass(frozen=True, slots=True)
class Step:
    """What to do next in a calendar.

    Attributes:
        option: To be chosen in a list; empty for a click.
        last: It is the day itself.
    """

    part: Part
    option: str = ""
    last: bool = False


def calendar_step(page: Page, day: date) -> Step | None:
    """The next step towards a day in the calendar that a page shows; None if it shows none."""
    lists = [one for one in page.parts.values() if one.options]
    for name, said in ((str(day.year), str(day.year)), (MONTHS[day.month - 1], MONTHS[day.month - 1][:3])):
        for one in lists:
            option, fit = option_of(one, name)
            option, fit = (option, fit) if fit >= 0.9 else option_of(one, said)
            if fit >= 0.9 and _is_calendar(one, name) and option.casefold() != one.value.casefold():
                return Step(one, option)
    shown = _shown(page)
    if shown is None:
        return None
    if shown == (day.year, day.month):
        found = _day(page, day.day)
        return Step(page.inner(found), last=True) if found else None
    later = (day.year, day.month) > shown
    arrow = _arrow(page, "next" if later else "previous")
    return Step(page.inner(arrow)) if arrow else None


def _is_calendar(part: Part, name: str) -> bool:
    return len(part.options) >= 2 and (name.isdigit() or sum(one.lower()[:3] in _SHORT for one in part.options) >= 2)


_SHORT = frozenset(month[:3] for month in MONTHS)


def _shown(page: Page) -> tuple[int, int] | None:
    """The year and month that a calendar shows."""
    pieces = [one.text for one in page.texts]
    for place, text in enumerate(pieces):
        for said in (text, " ".join(pieces[place : place + 2])):
            match = _SHOWN.fullmatch(said.strip())
            if match:
                return int(match["y"]), _month(match["month"])
    return None


def _day(page: Page, day: int) -> Part | None:
    """The part that is a day; of several those that are not of another month."""
    found = [one for one in page.parts.values() if one.name.strip() == str(day) and "disabled" not in one.states]
    if len(found) > 1 and day > 15:
        return found[-1]  # the end of the month before stands first
    return found[0] if found else None


def _arrow(page: Page, way: str) -> Part | None:
    known: Sequence[Part] = list(page.parts.values())
    named = [one for one in known if any(means(way, word.text) for word in words_of(f"{one.name} {one.label}"))]
    return next((one for one in named if "disabled" not in one.states and not one.editable), None)
