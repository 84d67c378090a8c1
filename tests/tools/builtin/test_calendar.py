"""The calendar tools, on real .ics files."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from llmos.kernel.calls import Result
from llmos.kernel.protocols import Device
from llmos.tools.builtin.calendar import calendar_add, calendar_search
from llmos.tools.ics import happenings
from tests.tools.helpers import Place

CALENDAR = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//someone//EN
X-WR-CALNAME:Mine
BEGIN:VEVENT
UID:standup
SUMMARY:Standup\\, weekly
LOCATION:Room 3
DTSTART;TZID=Europe/Berlin:20270301T090000
DTEND;TZID=Europe/Berlin:20270301T091500
RRULE:FREQ=WEEKLY;BYDAY=MO;UNTIL=20270430T000000Z
EXDATE;TZID=Europe/Berlin:20270308T090000
X-UNKNOWN;STRANGE=1:kept
END:VEVENT
BEGIN:VEVENT
UID:standup
RECURRENCE-ID;TZID=Europe/Berlin:20270315T090000
SUMMARY:Standup (late)
DTSTART;TZID=Europe/Berlin:20270315T110000
DTEND;TZID=Europe/Berlin:20270315T111500
END:VEVENT
BEGIN:VEVENT
UID:trip
SUMMARY:Trip to Rome
DTSTART;VALUE=DATE:20270312
DTEND;VALUE=DATE:20270315
END:VEVENT
BEGIN:VEVENT
UID:off
SUMMARY:Off
STATUS:CANCELLED
DTSTART:20270312T100000Z
END:VEVENT
END:VCALENDAR
"""


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")


async def run(device: Device, place: Place, /, **arguments: str | int) -> Result:
    return await device.call(device.check(arguments), place.access())


async def test_events_of_a_time_are_found_repeated_ones_too(place: Place) -> None:
    place.write("home/mine.ics", CALENDAR)
    result = await run(calendar_search, place, day="2027-03-01", until="2027-04-05")
    assert result.text.splitlines() == [
        "Monday 1 March 2027 09:00-09:15: Standup, weekly (Room 3)",
        "Friday 12 March 2027 to Sunday 14 March 2027: Trip to Rome",
        "Monday 15 March 2027 11:00-11:15: Standup (late)",
        "Monday 22 March 2027 09:00-09:15: Standup, weekly (Room 3)",
        "Monday 29 March 2027 09:00-09:15: Standup, weekly (Room 3)",
        "Monday 5 April 2027 09:00-09:15: Standup, weekly (Room 3)",
    ]
    assert result.value[1] == {
        "title": "Trip to Rome",
        "start": "2027-03-12",
        "end": "2027-03-15",
        "place": "",
        "path": "home/mine.ics",
    }


async def test_one_day_and_a_word(place: Place) -> None:
    place.write("mine.ics", CALENDAR)
    assert (await run(calendar_search, place, day="13 March 2027")).text.endswith("Trip to Rome")
    assert (await run(calendar_search, place, day="8 March 2027")).text == "Nothing on Monday 8 March 2027."
    result = await run(calendar_search, place, day="March 1 2027", until="2027-12-31", text="ROME trip")
    assert [record["title"] for record in result.value] == ["Trip to Rome"]


async def test_weeks_and_months_are_understood(place: Place) -> None:
    place.write("mine.ics", CALENDAR)
    for day in ("this week", "next week", "next month", "this month", "last year"):
        assert not (await run(calendar_search, place, day=day)).failed
    assert (await run(calendar_search, place, day="2027-03-05", until="2027-03-01")).retry


async def test_an_event_is_added_and_every_other_byte_stays(place: Place) -> None:
    file = place.write("mine.ics", CALENDAR)
    arguments = {"title": "Dentist; be early", "start": "3 May 2027 10:00", "end": "11:30", "place": "Main St 1"}
    assert calendar_add.show(calendar_add.check(arguments), place.access()) == (
        "add to mine.ics:\n  Dentist; be early\n  Monday 3 May 2027 10:00 to 11:30\n  at Main St 1"
    )
    assert file.read_text() == CALENDAR
    result = await run(calendar_add, place, **arguments)
    assert result.text == "Dentist; be early: Monday 3 May 2027 10:00 to 11:30, in mine.ics."
    changed = file.read_text()
    head, _, rest = CALENDAR.rpartition("END:VCALENDAR")
    assert changed.startswith(head)
    assert changed.endswith(f"END:VCALENDAR{rest}")
    assert "\nSUMMARY:Dentist\\; be early\n" in changed
    assert "\nLOCATION:Main St 1\n" in changed
    found = await run(calendar_search, place, day="3 May 2027")
    assert found.text == "Monday 3 May 2027 10:00-11:30: Dentist; be early (Main St 1)"
    place.undo()
    assert file.read_text() == CALENDAR


async def test_adding_twice_under_one_key_adds_once_and_can_be_read_back(place: Place) -> None:
    arguments = calendar_add.check({"title": "Lunch", "start": "2027-05-03"})
    assert await calendar_add.done(arguments, place.access()) is None
    for _ in range(2):
        result = await calendar_add.call(arguments, place.access())
        assert result.text == "Lunch: Monday 3 May 2027, all day, in calendar.ics."
    assert (place.workspace / "calendar.ics").read_bytes().count(b"BEGIN:VEVENT\r\n") == 1
    assert await calendar_add.done(arguments, place.access()) is not None
    place.key = "run/1/2"
    assert await calendar_add.done(arguments, place.access()) is None
    await calendar_add.call(arguments, place.access())
    assert (place.workspace / "calendar.ics").read_bytes().count(b"BEGIN:VEVENT\r\n") == 2


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        ("3 May 2027 10:00", "", "10:00 to 11:00"),
        ("3 May 2027 10:00", "90 minutes", "10:00 to 11:30"),
        ("3 May 2027 22:00", "4 May 2027 01:00", "22:00 to Tuesday 4 May 2027 01:00"),
        ("3 May 2027", "5 May 2027", "Monday 3 May 2027 to Wednesday 5 May 2027, all day"),
        ("3 May 2027", "2 days", "Monday 3 May 2027 to Tuesday 4 May 2027, all day"),
    ],
)
async def test_when_an_event_ends(start: str, end: str, said: str, place: Place) -> None:
    assert said in (await run(calendar_add, place, title="x", start=start, end=end)).text


@pytest.mark.parametrize(("start", "end"), [("3 May 2027 10:00", "09:00"), ("someday", ""), ("3 May 2027", "x")])
async def test_times_that_make_no_sense_are_refused(start: str, end: str, place: Place) -> None:
    assert (await run(calendar_add, place, title="x", start=start, end=end)).retry
    assert list(place.workspace.iterdir()) == []


async def test_a_broken_calendar_does_not_hide_the_others_and_is_not_changed(place: Place) -> None:
    place.write("a.ics", "junk")
    place.write("b.ics", CALENDAR)
    result = await run(calendar_search, place, day="13 March 2027")
    assert "Trip to Rome" in result.text
    assert "a.ics could not be read" in result.text
    (place.workspace / "b.ics").unlink()
    assert (await run(calendar_add, place, title="x", start="3 May 2027")).failed
    assert (place.workspace / "a.ics").read_text() == "junk"


async def test_no_calendar_is_said(place: Place) -> None:
    assert "no file that ends in .ics" in (await run(calendar_search, place)).text


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=SECONDLY",
        "FREQ=MINUTELY",
        "FREQ=HOURLY;INTERVAL=1",
        "FREQ=DAILY;UNTIL=20200101",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=NEVER",
        "FREQ=DAILY;COUNT=x",
    ],
)
@pytest.mark.parametrize(
    "start", ["DTSTART:19900101T000000Z", "DTSTART;VALUE=DATE:19900101", "DTSTART:19900101T000000"]
)
def test_strange_rules_do_not_take_long_or_stop_the_rest(rule: str, start: str) -> None:
    content = CALENDAR.replace(
        "BEGIN:VEVENT\nUID:trip", f"BEGIN:VEVENT\nUID:r\n{start}\nRRULE:{rule}\nEND:VEVENT\nBEGIN:VEVENT\nUID:trip"
    ).encode()
    zone = ZoneInfo("Europe/Berlin")
    found = happenings(content, datetime(2027, 3, 12, tzinfo=zone), datetime(2027, 3, 14, tzinfo=zone))
    assert "Trip to Rome" in {happening.title for happening in found}
    assert len(found) <= 402
