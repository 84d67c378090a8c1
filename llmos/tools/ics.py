"""Calendar files (RFC 5545): what happens in a span of time, and adding an event.

Adding inserts text and leaves every other byte as it is, so that properties nobody here knows survive. Knows no tool.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import islice
from typing import Any, cast

MAX_REPEATS = 400
_DAY = timedelta(days=1)
# events that repeat so often are not expanded: one rule could fill any list
_TOO_OFTEN = frozenset({"SECONDLY", "MINUTELY"})


class NoCalendar(ValueError):
    """A file is not a calendar that can be read or changed; the message says why."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One event, or one time of an event that repeats. `end` is the first moment after it."""

    uid: str
    title: str
    start: datetime
    end: datetime
    all_day: bool
    place: str
    notes: str


def happenings(content: bytes, begin: datetime, end: datetime) -> list[Happening]:
    """What happens between two moments, in order; times are in the zone of `begin`.

    Raises:
        NoCalendar: The content can't be read.
    """
    zone = begin.tzinfo or UTC
    events = [event for calendar in _calendars(content) for event in calendar.walk("VEVENT")]
    moved = _moved(events, zone)
    found: list[Happening] = []
    for event in events:
        if str(event.get("status", "")).upper() == "CANCELLED":
            continue
        try:
            found += _times(event, begin, end, zone, moved)
        except (ValueError, TypeError, OverflowError, AttributeError):
            continue  # one damaged event does not hide the others
    return sorted(found, key=lambda happening: (happening.start, happening.title))


def has_event(content: bytes, uid: str) -> bool:
    """Whether a calendar has an event of this identifier.

    Raises:
        NoCalendar: The content can't be read.
    """
    return any(
        str(event.get("uid", "")) == uid for calendar in _calendars(content) for event in calendar.walk("VEVENT")
    )


def with_event(
    content: bytes, *, uid: str, title: str, start: datetime | date, end: datetime | date, place: str, stamp: datetime
) -> bytes:
    """A calendar with one more event; an empty content becomes a new calendar.

    Raises:
        NoCalendar: The content can't be read, or has no end.
    """
    import icalendar

    event: Any = icalendar.Event()
    event.add("uid", uid)
    event.add("dtstamp", stamp.astimezone(UTC))
    event.add("dtstart", start.astimezone(UTC) if isinstance(start, datetime) else start)
    event.add("dtend", end.astimezone(UTC) if isinstance(end, datetime) else end)
    event.add("summary", title)
    if place:
        event.add("location", place)
    added: bytes = event.to_ical()
    if not content.strip():
        return b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//llmos//EN\r\n" + added + b"END:VCALENDAR\r\n"
    _calendars(content)
    place_of_end = content.upper().rfind(b"END:VCALENDAR")
    if place_of_end < 0:
        raise NoCalendar("it has no END:VCALENDAR")
    if b"\r\n" not in content:
        added = added.replace(b"\r\n", b"\n")
    return content[:place_of_end] + added + content[place_of_end:]


def _calendars(content: bytes) -> list[Any]:
    import icalendar

    try:
        return list(cast("Any", icalendar.Calendar.from_ical(content, multiple=True)))
    except (ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise NoCalendar(str(error).splitlines()[0] if str(error) else "it is damaged") from error


def _moved(events: list[Any], zone: tzinfo) -> set[tuple[str, datetime]]:
    """Which times of repeated events have an entry of their own."""
    found: set[tuple[str, datetime]] = set()
    for event in events:
        with contextlib.suppress(AttributeError, TypeError, ValueError, OverflowError):
            if "recurrence-id" in event:
                found.add((str(event.get("uid", "")), _moment(event["recurrence-id"].dt, zone)))
    return found


def _times(
    event: Any,  # noqa: ANN401 - icalendar's components are dictionaries
    begin: datetime,
    end: datetime,
    zone: tzinfo,
    moved: set[tuple[str, datetime]],
) -> Iterator[Happening]:
    first = event.start
    length = event.end - first
    uid = str(event.get("uid", ""))
    all_day = not isinstance(first, datetime)
    starts = [first] if "recurrence-id" in event else _starts(event, first, begin - length - _DAY, end)
    for start in starts:
        moment = _moment(start, zone)
        if "recurrence-id" not in event and (uid, moment) in moved:
            continue
        if moment < end and (moment + length > begin or (not length and moment >= begin)):
            yield Happening(
                uid,
                " ".join(str(event.get("summary", "(no title)")).split()),
                moment,
                moment + length,
                all_day,
                " ".join(str(event.get("location", "")).split()),
                str(event.get("description", "")),
            )


def _starts(event: Any, first: datetime | date, begin: datetime, end: datetime) -> Iterator[datetime | date]:  # noqa: ANN401
    """When an event that may repeat starts, as far as it matters."""
    rules = list(event.rrules)
    if not rules:
        yield first
    skipped = set(event.exdates)
    base = first if isinstance(first, datetime) else datetime.combine(first, time())
    for rule in rules:
        if str(rule.get("FREQ", [""])[0]).upper() in _TOO_OFTEN:
            yield first
            continue
        after = begin if base.tzinfo else begin.replace(tzinfo=None)
        for start in islice(_repeated(rule, base).xafter(after, inc=True), MAX_REPEATS):
            if start > (end if base.tzinfo else end.replace(tzinfo=None)):
                break
            again = start if isinstance(first, datetime) else start.date()
            if again not in skipped:
                yield again
    for extra in event.rdates:
        yield extra[0] if isinstance(extra, tuple) else extra


def _repeated(rule: Any, base: datetime) -> Any:  # noqa: ANN401 - dateutil has no types
    """A rule of repetition, its end given as dateutil wants it: in UTC if the start has a zone, else without."""
    from dateutil.rrule import rrulestr  # type: ignore[import-untyped] # it has no stubs of its own

    plain = {name: values for name, values in rule.items() if name.upper() != "UNTIL"}
    text = ";".join(f"{name}={','.join(_written(value) for value in values)}" for name, values in plain.items())
    for until in rule.get("UNTIL", [])[:1]:
        moment = until if isinstance(until, datetime) else datetime.combine(until, time.max)
        if base.tzinfo:
            moment = (moment if moment.tzinfo else moment.replace(tzinfo=base.tzinfo)).astimezone(UTC)
            text += f";UNTIL={moment:%Y%m%dT%H%M%SZ}"
        else:
            text += f";UNTIL={moment:%Y%m%dT%H%M%S}"
    return rrulestr(text, dtstart=base)


def _written(value: Any) -> str:  # noqa: ANN401
    return value.to_ical().decode() if hasattr(value, "to_ical") else str(value)


def _moment(value: datetime | date, zone: tzinfo) -> datetime:
    """A time of a calendar; one without a zone is local, a day begins at midnight."""
    if not isinstance(value, datetime):
        return datetime.combine(value, time(), zone)
    return value.astimezone(zone) if value.tzinfo else value.replace(tzinfo=zone)
