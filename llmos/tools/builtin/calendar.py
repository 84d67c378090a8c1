"""The calendar tools: find and add events in the calendar files (.ics) of the workspace.

How such files are read and changed is in `llmos.tools.ics`.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any

from annotated_types import MaxLen, MinLen

from llmos.errors import Unsupported
from llmos.kernel.protocols import Access
from llmos.tools.ics import Happening, NoCalendar, happenings, has_event, with_event
from llmos.tools.moments import later, moment_of, zone_of
from llmos.tools.output import Output
from llmos.tools.threads import in_thread
from llmos.tools.tool import Failed, Retry, tool
from llmos.tools.workspace import Workspace

MAX_FILE = 5_000_000
MAX_FILES = 50
MAX_SEARCHED = 5_000
MAX_SHOWN = 40
DEFAULT = "calendar.ics"

Day = Annotated[str, "today, tomorrow, next friday, 14 March 2027, this week, next month", MaxLen(60)]


@tool(
    effect="reads",
    steers=(),
    returns="files",
    confined="workspace",
    seconds=20,
    examples=(
        ("what is on my calendar tomorrow?", {"day": "tomorrow"}),
        ("when do I see the dentist?", {"text": "dentist"}),
    ),
)
def calendar_search(
    access: Access,
    day: Day = "",
    until: Annotated[str, "the last day, for a longer time", MaxLen(60)] = "",
    text: Annotated[str, "a word in the title or place", MaxLen(100)] = "",
) -> Output:
    """Look into the calendar: events, meetings and appointments of a day or week, or when something is."""
    now = datetime.now(zone_of(""))
    begin, end = _span(day, until, now, whole_year=bool(text.strip()))
    files, found, broken = 0, list[tuple[str, Happening]](), list[str]()
    workspace = Workspace(access.workspace)
    for path in _files(workspace):
        files += 1
        try:
            content = workspace.read(path, limit=MAX_FILE)
            found += [(path, happening) for happening in happenings(content, begin, end)]
        except (NoCalendar, Failed, Retry) as error:
            broken.append(f"{path} could not be read: {error}.")
    if not files:
        raise Failed("There is no calendar here: no file that ends in .ics.")
    words = text.casefold().split()
    hits = [(path, event) for path, event in found if _matches(event, words)]
    hits.sort(key=lambda hit: hit[1].start)
    rows = [_row(event) for _, event in hits[:MAX_SHOWN]] or [f"Nothing {_said(begin, end)}."]
    if len(hits) > MAX_SHOWN:
        rows.append(f"… {len(hits) - MAX_SHOWN} more")
    return Output("\n".join([*rows, *broken]), [_record(path, event) for path, event in hits[:MAX_SHOWN]])


@tool(
    effect="writes",
    steers=("start", "end"),
    returns="files",
    keyed=True,
    repeatable=True,
    confined="workspace",
    seconds=20,
    examples=(
        ("put lunch with Kim on Friday at noon into my calendar", {"title": "Lunch with Kim", "start": "friday 12:00"}),
        (
            "add a meeting on 3 May 2027 from 10:00 to 11:30",
            {"title": "Meeting", "start": "3 May 2027 10:00", "end": "11:30"},
        ),
    ),
)
async def calendar_add(
    access: Access,
    title: Annotated[str, "what it is", MinLen(1), MaxLen(200)],
    start: Annotated[str, "tomorrow at 15:00, 14 March 2027; without a time: all day", MinLen(1), MaxLen(60)],
    end: Annotated[str, "16:30, 2 hours, 15 March 2027; one hour by default", MaxLen(60)] = "",
    place: Annotated[str, "where", MaxLen(200)] = "",
) -> str:
    """Put an event, meeting or appointment into the calendar."""
    workspace = Workspace(access.workspace)
    planned = await in_thread(lambda: _plan(workspace, start, end))
    uid = _uid(access)

    def build() -> bytes | None:
        content = _content(workspace, planned.path)
        with _readable(planned.path):
            if has_event(content, uid) if content else False:
                return None
            return with_event(
                content,
                uid=uid,
                title=title,
                start=planned.start,
                end=planned.end,
                place=place,
                stamp=datetime.now(UTC),
            )

    changed = await in_thread(build)
    if changed is not None:
        with workspace.place(planned.path) as spot:
            absolute: Path = spot.absolute
        await access.keep(absolute)
        await in_thread(lambda: workspace.write(planned.path, changed))
    return f"{title}: {planned.said()}, in {planned.path}."


@calendar_add.shows
def show_add(access: Access, title: str, start: str, end: str, place: str) -> str:
    """The event, with its times worked out."""
    planned = _plan(Workspace(access.workspace), start, end)
    where = f"\n  at {place}" if place else ""
    return f"add to {planned.path}:\n  {title}\n  {planned.said()}{where}"


@calendar_add.reads_back
def was_added(access: Access, title: str, start: str, end: str) -> str | None:
    """Whether the calendar has the event of this call."""
    workspace = Workspace(access.workspace)
    uid = _uid(access)
    for path in _files(workspace):
        try:
            if has_event(workspace.read(path, limit=MAX_FILE), uid):
                return f"{title}: added to {path}."
        except NoCalendar as error:
            raise Unsupported(f"{path!r} can't be read: {error}.") from error
    return None


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where an event goes, and when it is; days without a time of day for one that takes all day."""

    path: str
    start: datetime | date
    end: datetime | date

    def said(self) -> str:
        if isinstance(self.start, datetime) and isinstance(self.end, datetime):
            same = self.start.date() == self.end.date()
            return f"{_day(self.start)} {self.start:%H:%M} to {'' if same else _day(self.end) + ' '}{self.end:%H:%M}"
        last = self.end - timedelta(1)
        return f"{_day(self.start)}, all day" if last == self.start else f"{_day(self.start)} to {_day(last)}, all day"


def _plan(workspace: Workspace, start: str, end: str) -> _Plan:
    """Work out when an event is.

    Raises:
        Retry: A time is not understood.
    """
    first, clock = moment_of(start, datetime.now(zone_of("")))
    last, last_clock = first + (timedelta(hours=1) if clock else timedelta(days=1)), clock
    if end.strip():
        try:
            last, fine = later(first, end)
            last_clock = clock or fine
        except Retry:
            last, last_clock = moment_of(end, first)
            if not last_clock and not clock:
                last += timedelta(days=1)  # the last day is named, and the first one after it is meant
    path = _target(workspace)
    timed = clock or last_clock
    planned = _Plan(path, first, last) if timed else _Plan(path, first.date(), last.date())
    if planned.end <= planned.start:
        raise Retry(f"It would end before it starts: {start!r} to {end!r}.")
    return planned


def _target(workspace: Workspace) -> str:
    """The calendar that is written to: `calendar.ics`, unless there is exactly one of another name."""
    paths = _files(workspace)
    return paths[0] if len(paths) == 1 else DEFAULT


def _files(workspace: Workspace) -> list[str]:
    found = (entry.path for entry in workspace.walk(".", limit=MAX_SEARCHED) if entry.path.lower().endswith(".ics"))
    return [path for path, _ in zip(found, range(MAX_FILES), strict=False)]


def _content(workspace: Workspace, path: str) -> bytes:
    with contextlib.suppress(Retry):
        return workspace.read(path, limit=MAX_FILE)
    return b""


@contextlib.contextmanager
def _readable(path: str) -> Generator[None]:
    try:
        yield
    except NoCalendar as error:
        raise Failed(f"{path} is no calendar that can be changed: {error}.") from error


def _uid(access: Access) -> str:
    """The same for the same call, so that a repetition finds what it did."""
    return f"{hashlib.sha256(access.key.encode()).hexdigest()[:32]}@llmos"


def _span(day: str, until: str, now: datetime, *, whole_year: bool) -> tuple[datetime, datetime]:
    """The time that is asked for: from now on if none is."""
    said = " ".join(day.lower().split())
    today = datetime.combine(now.date(), time(), now.tzinfo)
    if found := re.fullmatch(r"(this|next|last|the)? ?(week|month|year)", said):
        begin, end = _period(found[2], {"next": 1, "last": -1}.get(found[1], 0), today)
    elif not said:
        begin = today
        end = today + timedelta(days=366 if whole_year else 30)
    else:
        moment, _ = moment_of(day, now)
        begin = datetime.combine(moment.date(), time(), now.tzinfo)
        end = begin + timedelta(days=1)
    if until.strip():
        last, _ = moment_of(until, now)
        end = datetime.combine(last.date() + timedelta(1), time(), now.tzinfo)
    if end <= begin:
        raise Retry(f"{until!r} is before {day!r}.")
    return begin, end


def _period(unit: str, offset: int, today: datetime) -> tuple[datetime, datetime]:
    if unit == "week":
        begin = today - timedelta(days=today.weekday()) + timedelta(weeks=offset)
        return begin, begin + timedelta(weeks=1)
    first = today.replace(day=1) if unit == "month" else today.replace(month=1, day=1)
    begin, _ = later(first, f"{offset} {unit}")
    end, _ = later(begin, f"1 {unit}")
    return begin, end


def _matches(event: Happening, words: list[str]) -> bool:
    text = f"{event.title} {event.place} {event.notes}".casefold()
    return all(word in text for word in words)


def _day(moment: date) -> str:
    return f"{moment:%A} {moment.day} {moment:%B} {moment.year}"


def _row(event: Happening) -> str:
    when = _day(event.start)
    if event.all_day:
        last = event.end - timedelta(1)
        when += ", all day" if last.date() <= event.start.date() else f" to {_day(last)}"
    else:
        when += f" {event.start:%H:%M}-{event.end:%H:%M}"
    return f"{when}: {event.title}" + (f" ({event.place})" if event.place else "")


def _said(begin: datetime, end: datetime) -> str:
    last = end - timedelta(1)
    return f"on {_day(begin)}" if last <= begin else f"from {_day(begin)} to {_day(last)}"


def _record(path: str, event: Happening) -> dict[str, Any]:
    return {
        "title": event.title,
        "start": event.start.date().isoformat() if event.all_day else event.start.isoformat(),
        "end": event.end.date().isoformat() if event.all_day else event.end.isoformat(),
        "place": event.place,
        "path": path,
    }
