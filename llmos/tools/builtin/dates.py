"""The date and time tools: now, anywhere, and counting with days.

How dates are read is in `llmos.tools.moments`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from annotated_types import MaxLen, MinLen

from llmos.tools.moments import later, moment_of, zone_of
from llmos.tools.output import Output
from llmos.tools.tool import tool

When = Annotated[str, "2027-03-14, 14 March 2027, today, next friday, 5pm", MaxLen(60)]


@tool(
    name="datetime",
    effect="pure",
    returns="user",
    seconds=5,
    examples=(
        ("which weekday is 14 March 2027?", {"when": "14 March 2027"}),
        ("what time is it in Tokyo?", {"zone": "Tokyo"}),
    ),
)
def date_time(
    when: When = "now", zone: Annotated[str, "a city or time zone: Tokyo, Europe/Berlin", MaxLen(40)] = ""
) -> Output:
    """What time it is now, here or in a city; today's date; which weekday a date is."""
    moment, clock = moment_of(when, datetime.now(zone_of(zone)))
    return _shown(moment, clock or not when.strip())


@tool(
    effect="pure",
    returns="user",
    seconds=5,
    examples=(
        ("what date is it 3 weeks after 1 May 2027?", {"when": "1 May 2027", "span": "3 weeks"}),
        ("what day was it 10 days ago?", {"when": "today", "span": "-10 days"}),
    ),
)
def date_add(when: When, span: Annotated[str, "3 weeks, -10 days, 2 hours", MinLen(1), MaxLen(60)]) -> Output:
    """The date some days, weeks, months or years after a date, or before it."""
    moment, clock = moment_of(when, datetime.now(zone_of("")))
    moment, fine = later(moment, span)
    return _shown(moment, clock or fine)


@tool(
    effect="pure",
    returns="user",
    seconds=5,
    examples=(
        ("how many days until 1 May 2027?", {"start": "today", "end": "1 May 2027"}),
        ("how long is it from 9:15 to 17:30?", {"start": "9:15", "end": "17:30"}),
    ),
)
def date_between(start: When, end: When) -> Output:
    """How many days or weeks are between two dates, or until a date; how long it is between two times."""
    now = datetime.now(zone_of(""))
    return _difference(*moment_of(start, now), *moment_of(end, now))


def _shown(moment: datetime, clock: bool) -> Output:
    day = f"{moment:%A}, {moment.day} {moment:%B} {moment.year}"
    value: dict[str, Any] = {
        "date": moment.date().isoformat(),
        "weekday": f"{moment:%A}",
        "week": moment.isocalendar().week,
    }
    if not clock:
        return Output(f"{day} ({value['date']})", value)
    value |= {"time": f"{moment:%H:%M:%S}", "zone": str(moment.tzinfo), "iso": moment.isoformat(timespec="seconds")}
    return Output(f"{day}, {moment:%H:%M} {moment.tzname()} ({moment.isoformat(timespec='seconds')})", value)


def _difference(start: datetime, start_clock: bool, end: datetime, end_clock: bool) -> Output:
    if start_clock or end_clock:
        seconds = int((end.astimezone(UTC) - start.astimezone(UTC)).total_seconds())
        hours, rest = divmod(abs(seconds), 3600)
        text = (
            f"{hours // 24} days {hours % 24} hours {rest // 60} minutes"
            if hours >= 24
            else f"{hours} hours {rest // 60} minutes"
        )
        return Output(text + (" ago" if seconds < 0 else ""), {"seconds": seconds, "hours": seconds / 3600})
    days = (end.date() - start.date()).days
    weeks, left = divmod(abs(days), 7)
    text = _count(abs(days), "day")
    if weeks:
        text += f" ({_count(weeks, 'week')}" + (f" and {_count(left, 'day')})" if left else ")")
    order = "after" if days >= 0 else "before"
    return Output(
        f"{text}: {end.date()} ({end:%A}) is {order} {start.date()} ({start:%A}).", {"days": days, "weeks": days / 7}
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
