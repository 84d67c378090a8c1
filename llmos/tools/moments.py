"""Reads dates, times, spans of time and time zones from what people write, and counts with them.

Nothing is guessed that has two meanings: 2/3/2027 is refused; 2027-03-02, 2.3.2027 and 2/13/2027 are not. Knows no
tool.
"""

from __future__ import annotations

import contextlib
import os
import re
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from llmos.tools.tool import Retry

_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_COUNTS = ("a", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {"an": 1, **{word: max(1, number) for number, word in enumerate(_COUNTS)}}
_RELATIVE = {
    "": 0,
    "now": 0,
    "today": 0,
    "tonight": 0,
    "tomorrow": 1,
    "yesterday": -1,
    "the day after tomorrow": 2,
    "the day before yesterday": -2,
}
_FEASTS = {
    "christmas": (12, 25),
    "christmas eve": (12, 24),
    "new year": (1, 1),
    "new year's day": (1, 1),
    "new year's eve": (12, 31),
}
_UNITS = "second|minute|hour|day|week|fortnight|month|year"
_ISO = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[T ]+(\d{1,2}:\d{2}.*))?$")
_DAY_FIRST = re.compile(
    r"(?:the )?(\d{1,2})(?:st|nd|rd|th)?(?: of)?[ .-]+([a-z]{3,9})\.?,?(?: (\d{4}))?(?:,? (?:at )?(.+))?$"
)
_MONTH_FIRST = re.compile(r"([a-z]{3,9})\.? (\d{1,2})(?:st|nd|rd|th)?,?(?: (\d{4}))?(?:,? (?:at )?(.+))?$")
_NUMERIC = re.compile(r"(\d{1,2})([./])(\d{1,2})\2(\d{4})(?:,? (?:at )?(.+))?$")
_CLOCK_FIRST = re.compile(r"(\d{1,2}(?::\d{2}(?: ?[ap]\.?m\.?)?| ?[ap]\.?m\.?)),? (?:on )?(\S.*)$")
_CLOCK = re.compile(r"(\d{1,2})(?::(\d{2}))?(?::(\d{2}))? ?(am|pm|a\.m\.|p\.m\.)?$")
_SPAN = re.compile(rf"([+-]?\d+|{'|'.join(_NUMBERS)})\s*({_UNITS})s?")
_CITIES = {
    "beijing": "Asia/Shanghai",
    "boston": "America/New_York",
    "delhi": "Asia/Kolkata",
    "mumbai": "Asia/Kolkata",
    "india": "Asia/Kolkata",
    "china": "Asia/Shanghai",
    "geneva": "Europe/Zurich",
    "munich": "Europe/Berlin",
    "hamburg": "Europe/Berlin",
    "frankfurt": "Europe/Berlin",
    "germany": "Europe/Berlin",
    "france": "Europe/Paris",
    "uk": "Europe/London",
    "england": "Europe/London",
    "washington": "America/New_York",
    "miami": "America/New_York",
    "san francisco": "America/Los_Angeles",
    "seattle": "America/Los_Angeles",
    "california": "America/Los_Angeles",
    "texas": "America/Chicago",
    "utc": "UTC",
    "gmt": "UTC",
    "z": "UTC",
    "est": "America/New_York",
    "pst": "America/Los_Angeles",
    "cet": "Europe/Paris",
}


def moment_of(text: str, now: datetime) -> tuple[datetime, bool]:
    """The moment a text names, and whether it says a time of day.

    Raises:
        Retry: It names none, or one of two.
    """
    said = " ".join(text.lower().split()).strip(" .?")
    said = re.sub(r"^(?:on|at|the date|date) ", "", said)
    midnight = datetime.combine(now.date(), time(), now.tzinfo)
    if said in _RELATIVE:
        return (now, said == "now") if said in ("", "now") else (midnight + timedelta(_RELATIVE[said]), False)
    for read in (_day_with_clock, _weekday, _distance):
        if moment := read(said, now):
            return moment
    return _calendar(said, text, now)


def _day_with_clock(said: str, now: datetime) -> tuple[datetime, bool] | None:
    """`tomorrow at 5pm`, `friday 10:30`, `10:30 on friday`."""
    if found := _CLOCK_FIRST.match(said):
        with contextlib.suppress(Retry):
            day, clock = moment_of(found[2], now)
            if not clock:
                return datetime.combine(day.date(), _clock(found[1]), now.tzinfo), True
    found = re.fullmatch(r"(.+?) (?:at )?(\d{1,2}(?::\d{2}.*| ?(?:am|pm)))", said)
    if not found or not (found[1] in _RELATIVE or found[1].split()[-1] in _DAYS):
        return None
    day, _ = moment_of(found[1], now)
    return datetime.combine(day.date(), _clock(found[2]), now.tzinfo), True


def _weekday(said: str, now: datetime) -> tuple[datetime, bool] | None:
    """`friday`, `next friday`: the first one after today."""
    found = re.fullmatch(r"(next |this |last |coming )?([a-z]+)", said)
    day = _index(found[2], _DAYS, 3) if found else None
    if not found or day is None:
        return None
    ahead = _ahead(day, now.weekday(), (found[1] or "").strip())
    return datetime.combine(now.date() + timedelta(ahead), time(), now.tzinfo), False


def _distance(said: str, now: datetime) -> tuple[datetime, bool] | None:
    """`in 3 days`, `two weeks ago`."""
    found = re.fullmatch(r"(?:in )?(.+?)( ago| from (?:now|today)| later)?", said)
    if not found or not _SPAN.fullmatch(found[1]) or not (found[2] or said.startswith("in ")):
        return None
    moment, fine = later(now, f"-{found[1]}" if found[2] == " ago" else found[1])
    return (moment, True) if fine else (datetime.combine(moment.date(), time(), now.tzinfo), False)


def _ahead(day: int, today: int, which: str) -> int:
    if which == "last":
        return -((today - day) % 7 or 7)
    return (day - today) % 7 or (7 if which in ("next", "") else 0)


def _calendar(said: str, text: str, now: datetime) -> tuple[datetime, bool]:
    """A date with a month, or a time of day alone."""
    with contextlib.suppress(ValueError):
        if ":" in text and "-" in text:
            exact = datetime.fromisoformat(text.strip())
            return (exact.astimezone(now.tzinfo) if exact.tzinfo else exact.replace(tzinfo=now.tzinfo)), True
    said = re.sub(rf"^(?:{'|'.join(_DAYS)}),? ", "", said)
    year: str | None = None
    clock: str | None = None
    if found := _ISO.match(said):
        year, month, day, clock = found[1], int(found[2]), int(found[3]), found[4]
    elif (found := _DAY_FIRST.match(said)) and (index := _index(found[2], _MONTHS, 3)) is not None:
        year, month, day, clock = found[3], index + 1, int(found[1]), found[4]
    elif (found := _MONTH_FIRST.match(said)) and (index := _index(found[1], _MONTHS, 3)) is not None:
        year, month, day, clock = found[3], index + 1, int(found[2]), found[4]
    elif found := _NUMERIC.match(said):
        year, clock = found[4], found[5]
        day, month = _day_and_month(int(found[1]), int(found[3]), found[2], text)
    elif said in _FEASTS:
        month, day = _FEASTS[said]
    elif _CLOCK.match(said) and not said.isdigit():
        return datetime.combine(now.date(), _clock(said), now.tzinfo), True
    else:
        raise Retry(f"{text!r} is no date that is understood: write it as 2027-03-14 or 14 March 2027.")
    try:
        found_day = date(int(year or now.year), month, day)
        if year is None and found_day < now.date():  # a date without a year is the next one
            found_day = date(now.year + 1, month, day)
    except ValueError as error:
        raise Retry(f"{text!r} is no date: there is no such day.") from error
    return datetime.combine(found_day, _clock(clock) if clock else time(), now.tzinfo), bool(clock)


def _day_and_month(first: int, second: int, between: str, text: str) -> tuple[int, int]:
    """With dots the day comes first; with slashes either does, so it must be one that no month can be."""
    if between == "/" and first != second and first <= 12 and second <= 12:
        raise Retry(f"{text!r} may be two dates: write it as 2027-03-14 or 14 March 2027.")
    return (second, first) if between == "/" and second > 12 else (first, second)


def _index(word: str, names: tuple[str, ...], least: int) -> int | None:
    if len(word) < least:
        return None
    return next((number for number, name in enumerate(names) if name.startswith(word)), None)


def _clock(text: str) -> time:
    found = _CLOCK.match(text.strip())
    if not found:
        raise Retry(f"{text!r} is no time of day: write it as 14:30.")
    hour = int(found[1])
    half = (found[4] or "").replace(".", "")
    if half:
        if not 1 <= hour <= 12:
            raise Retry(f"{text!r} is no time of day.")
        hour = hour % 12 + (12 if half == "pm" else 0)
    try:
        return time(hour, int(found[2] or 0), int(found[3] or 0))
    except ValueError as error:
        raise Retry(f"{text!r} is no time of day.") from error


def later(moment: datetime, span: str) -> tuple[datetime, bool]:
    """A moment some time later, and whether the span is finer than a day."""
    said = " ".join(span.lower().split())
    sign = -1 if re.search(r"\b(?:ago|before|earlier|back)\b", said) or said.startswith(("-", "minus ")) else 1
    said = re.sub(r"^(?:in|plus|minus|\+|-|after) ?", "", said)
    parts = _SPAN.findall(said)
    left = re.sub(r"\b(?:and|ago|before|earlier|back|later|after|from now)\b|,", "", _SPAN.sub("", said)).strip()
    if not parts or left:
        raise Retry(f"{span!r} is no span of time: write it as 3 weeks or -10 days.")
    fine = False
    try:
        for count, unit in parts:
            number = sign * (_NUMBERS[count] if count in _NUMBERS else int(count))
            fine = fine or unit in ("second", "minute", "hour")
            moment = _later(moment, number, unit)
    except (OverflowError, ValueError) as error:
        raise Retry(f"{span!r} leads out of the calendar.") from error
    return moment, fine


def _later(moment: datetime, number: int, unit: str) -> datetime:
    if unit in ("month", "year"):
        months = moment.month - 1 + number * (12 if unit == "year" else 1)
        year, month = moment.year + months // 12, months % 12 + 1
        last = (date(year + month // 12, month % 12 + 1, 1) - timedelta(1)).day
        return moment.replace(year=year, month=month, day=min(moment.day, last))
    if unit in ("day", "week", "fortnight"):  # by the calendar, also where a day has 23 or 25 hours
        return moment + timedelta(number * {"day": 1, "week": 7, "fortnight": 14}[unit])
    return (moment.astimezone(UTC) + timedelta(**{f"{unit}s": number})).astimezone(moment.tzinfo)


@cache
def _zones() -> dict[str, str]:
    """Time zones by the lower-case name of their city or their whole name."""
    found: dict[str, str] = {}
    for name in sorted(available_timezones()):
        if "/" in name and not name.startswith(("Etc/", "posix/", "right/", "SystemV/")):
            found.setdefault(name.rpartition("/")[2].replace("_", " ").lower(), name)
        found[name.lower()] = name
    return found | _CITIES


def zone_of(text: str) -> tzinfo:
    """The time zone of a city, a country or an offset; the local one for nothing.

    Raises:
        Retry: None is known by that name.
    """
    said = " ".join(text.lower().replace("_", " ").split()).strip(" .?")
    if not said or said in ("here", "local"):
        return _local()
    if found := re.fullmatch(r"(?:utc|gmt)? ?([+-])(\d{1,2})(?::?(\d{2}))?", said):
        minutes = int(found[2]) * 60 + int(found[3] or 0)
        if minutes < 24 * 60:
            return timezone(timedelta(minutes=minutes if found[1] == "+" else -minutes))
    name = _zones().get(said) or _zones().get(said.replace(" ", "_")) or _zones().get(said.partition(",")[0])
    if not name:
        raise Retry(f"{text!r} is no time zone that is known: write a large city there, or Europe/Berlin.")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError) as error:
        raise Retry(f"The time zone {name!r} is not installed.") from error


def _local() -> tzinfo:
    """The zone of this machine, with its rules for summer time where the system names it."""
    name = os.environ.get("TZ", "").removeprefix(":") or os.path.realpath("/etc/localtime").partition("zoneinfo/")[2]
    with contextlib.suppress(ZoneInfoNotFoundError, OSError, ValueError):
        return ZoneInfo(name)
    return datetime.now().astimezone().tzinfo or UTC
