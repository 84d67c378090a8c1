"""Dates are read from what people write, and what has two meanings is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from llmos.tools.builtin.dates import date_add, date_between, date_time
from llmos.tools.moments import later, moment_of, zone_of
from llmos.tools.tool import Retry
from tests.tools.helpers import Place

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 18, 15, 30, tzinfo=BERLIN)  # a Wednesday


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("", "2026-11-18T15:30"),
        ("now", "2026-11-18T15:30"),
        ("today", "2026-11-18T00:00"),
        ("Tomorrow", "2026-11-19T00:00"),
        ("the day before yesterday", "2026-11-16T00:00"),
        ("friday", "2026-11-20T00:00"),
        ("next wednesday", "2026-11-25T00:00"),
        ("this wednesday", "2026-11-18T00:00"),
        ("last monday", "2026-11-16T00:00"),
        ("2027-03-02", "2027-03-02T00:00"),
        ("2 March 2027", "2027-03-02T00:00"),
        ("the 2nd of March 2027", "2027-03-02T00:00"),
        ("March 2nd, 2027", "2027-03-02T00:00"),
        ("on 2 mar 2027 at 10:15", "2027-03-02T10:15"),
        ("Tuesday, 2 March 2027", "2027-03-02T00:00"),
        ("5 March", "2027-03-05T00:00"),
        ("20 November", "2026-11-20T00:00"),
        ("tomorrow at 5pm", "2026-11-19T17:00"),
        ("friday 9:15", "2026-11-20T09:15"),
        ("12 am", "2026-11-18T00:00"),
        ("12pm", "2026-11-18T12:00"),
        ("in 3 days", "2026-11-21T00:00"),
        ("two weeks ago", "2026-11-04T00:00"),
        ("in 90 minutes", "2026-11-18T17:00"),
        ("christmas", "2026-12-25T00:00"),
        ("2027-03-02T08:00:00+00:00", "2027-03-02T09:00"),
        ("2.3.2027", "2027-03-02T00:00"),
        ("3/14/2027", "2027-03-14T00:00"),
        ("14/3/2027 at 9:30", "2027-03-14T09:30"),
        ("3/3/2027", "2027-03-03T00:00"),
        ("11:00 am friday", "2026-11-20T11:00"),
        ("10:15 on 2 March 2027", "2027-03-02T10:15"),
        ("5pm, tomorrow", "2026-11-19T17:00"),
    ],
)
def test_dates(text: str, result: str) -> None:
    assert moment_of(text, NOW)[0].strftime("%Y-%m-%dT%H:%M") == result


@pytest.mark.parametrize(
    "text",
    [
        "2/3/2027",
        "02.03.27",
        "31 June 2027",
        "31.6.2027",
        "13/14/2027",
        "9:30 on 10:15",
        "2027-13-01",
        "someday",
        "25:00",
        "13pm",
        "7",
        "99999999999",
    ],
)
def test_what_is_no_date_or_two_is_refused(text: str) -> None:
    with pytest.raises(Retry):
        moment_of(text, NOW)


@pytest.mark.parametrize(
    ("start", "span", "result"),
    [
        ("2024-01-31", "1 month", "2024-02-29"),
        ("2024-02-29", "1 year", "2025-02-28"),
        ("2026-11-18", "-10 days", "2026-11-08"),
        ("2026-11-18", "10 days ago", "2026-11-08"),
        ("2026-11-18", "3 weeks and 2 days", "2026-12-11"),
        ("2026-11-18", "a fortnight", "2026-12-02"),
        ("2026-11-18", "-14 months", "2025-09-18"),
    ],
)
def test_spans(start: str, span: str, result: str) -> None:
    assert later(moment_of(start, NOW)[0], span)[0].date().isoformat() == result


@pytest.mark.parametrize("span", ["", "soon", "3", "3 apples", "99999999999 years", "5 days and more"])
def test_what_is_no_span_is_refused(span: str) -> None:
    with pytest.raises(Retry):
        later(NOW, span)


def test_an_hour_is_an_hour_where_the_clock_is_changed_and_a_day_is_a_day() -> None:
    before = datetime(2027, 3, 28, 1, 30, tzinfo=BERLIN)
    assert later(before, "1 hour")[0] == datetime(2027, 3, 28, 3, 30, tzinfo=BERLIN)
    assert later(before, "1 day")[0].hour == 1


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Tokyo", "Asia/Tokyo"),
        ("new york", "America/New_York"),
        ("europe/berlin", "Europe/Berlin"),
        ("Paris, France", "Europe/Paris"),
        ("UTC", "UTC"),
    ],
)
def test_time_zones(text: str, name: str) -> None:
    assert zone_of(text) == ZoneInfo(name)


def test_offsets_and_unknown_places() -> None:
    assert NOW.astimezone(zone_of("UTC+5:30")).strftime("%H:%M") == "20:00"
    for text in ("Atlantis", "+99:00", "../etc/passwd"):
        with pytest.raises(Retry):
            zone_of(text)


def test_the_local_zone_knows_summer_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    assert zone_of("") == BERLIN


async def test_the_tools(place: Place) -> None:
    access = place.access()
    day = await date_time.call(date_time.check({"when": "14 March 2027"}), access)
    assert day.text == "Sunday, 14 March 2027 (2027-03-14)"
    assert day.value == {"date": "2027-03-14", "weekday": "Sunday", "week": 10}
    now = await date_time.call(date_time.check({"zone": "UTC"}), access)
    assert abs(datetime.fromisoformat(now.value["iso"]) - datetime.now(UTC)).total_seconds() < 60
    added = await date_add.call({"when": "1 May 2027", "span": "3 weeks"}, access)
    assert added.text == "Saturday, 22 May 2027 (2027-05-22)"
    days = await date_between.call({"start": "2024-02-28", "end": "1 March 2024"}, access)
    assert days.text == "2 days: 2024-03-01 (Friday) is after 2024-02-28 (Wednesday)."
    hours = await date_between.call({"start": "9:15", "end": "17:30"}, access)
    assert (hours.text, hours.value["hours"]) == ("8 hours 15 minutes", 8.25)
    assert (await date_add.call({"when": "2/3/2027", "span": "1 day"}, access)).retry
