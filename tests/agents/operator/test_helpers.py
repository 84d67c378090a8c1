"""Dates and times as fields want them, days in a calendar, colours, sums, values and tables of a page."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from llmos.agents.operator import dates
from llmos.agents.operator.colours import colours_in
from llmos.agents.operator.extracting import answers, by_schema
from llmos.agents.operator.instructions import read
from llmos.agents.operator.page import Page, read_page
from llmos.agents.operator.sums import solved
from tests.agents.operator.pages import element, page, shown, text


@given(st.dates(min_value=date(1900, 1, 1), max_value=date(2199, 12, 31)))
def test_a_day_is_known_however_it_is_written(day: date) -> None:
    for form in ("%Y-%m-%d", "%m/%d/%Y", "%d.%m.%Y", "%d %B %Y", "%B %d, %Y"):
        assert dates.day_of(f"on {day.strftime(form)}") == day
    assert dates.written(day.strftime("%B %d, %Y"), "date") == day.isoformat()


@pytest.mark.parametrize(
    ("said", "written"), [("2:30 PM", "14:30"), ("12:05 am", "00:05"), ("23:59", "23:59"), ("x", "x")]
)
def test_a_time_is_written_as_its_field_wants_it(said: str, written: str) -> None:
    assert dates.written(said, "time") == written


def calendar(month: str, *days: int) -> Page:
    parts = [element("e1", "link", "Prev"), element("e2", "link", "Next")]
    parts += [element(f"d{day}", "link", str(day)) for day in days]
    return page(
        parts, [shown("e1", "Prev"), text(month), shown("e2", "Next"), *(shown(f"d{day}", str(day)) for day in days)]
    )


def test_a_calendar_is_turned_to_the_month_and_then_the_day_is_clicked() -> None:
    wanted = date(2027, 3, 14)
    for month, ref in (("May 2027", "e1"), ("December 2026", "e2")):
        step = dates.calendar_step(calendar(month, 14), wanted)
        assert step is not None
        assert (step.part.ref, step.last) == (ref, False)
    step = dates.calendar_step(calendar("March 2027", 4, 14), wanted)
    assert step is not None
    assert (step.part.ref, step.last) == ("d14", True)
    assert dates.calendar_step(page([element("e1", "button", "14")]), wanted) is None


def test_colours_are_known_by_their_figures() -> None:
    assert "red" in colours_in("rgb(200, 30, 30)")
    assert "blue" in colours_in("#1020e0")
    assert "white" in colours_in("#fff")
    assert colours_in("no colour") == frozenset()


@pytest.mark.parametrize(
    ("texts", "value"),
    [
        (["3 * 4 ="], "12"),
        (["x - 3 = 5"], "8"),
        (["2", "+", "9", "= ?"], "11"),
        (["7 = 10 - x"], "3"),
        (["1/4 + 1/2"], "0.75"),
    ],
)
def test_sums_on_a_page_are_worked_out(texts: list[str], value: str) -> None:
    assert solved(texts) == value


def test_what_is_no_sum_comes_to_nothing() -> None:
    assert solved(["2027-03-14 is a day", "call 555", "a = b", "1 / 0 =", "__import__('os')"]) == ""


SHOP = [
    text("Lamp Alba", "heading"),
    text(
        "",
        "list",
        text("", "listitem", text("Alba"), text("€ 49.90")),
        text("", "listitem", text("Berta"), text("€ 12.00")),
    ),
    text("Weight: 2.5 kg"),
    text("Opening hours"),
    text("9:00 to 17:00"),
]


def answer(words: str) -> str:
    found = answers(page([], SHOP), read(words)[0].target, words)
    return found[0].value if found else ""


def test_questions_are_answered_with_what_stands_there() -> None:
    assert answer("What is the price of Berta?") == "€ 12.00"
    assert answer("What is the weight?") == "2.5 kg"
    assert answer("What are the opening hours?") == "9:00 to 17:00"
    assert answer("What is the name of the mayor?") == ""


class Line(BaseModel):
    product: str
    price: float


class Order(BaseModel):
    number: int
    paid: bool
    lines: list[Line]
    note: str | None = None


def test_a_model_is_filled_from_labels_boxes_and_tables_with_their_places() -> None:
    rows = [text("", "row", *(text(cell, "cell") for cell in cells)) for cells in (
        ("Product", "Price"), ("Cup", "€ 4.50"), ("Plate", "€ 7.00"))]  # fmt: skip
    where = page(
        [element("e1", "checkbox", "Paid", states=["checked"])],
        [text("Number: 2207"), shown("e1", "Paid", "checkbox"), text("Order", "table", *rows)],
    )
    values, sources = by_schema(where, Order.model_json_schema(), "")
    assert Order.model_validate(values) == Order(
        number=2207, paid=True, lines=[Line(product="Cup", price=4.5), Line(product="Plate", price=7.0)]
    )
    assert sources["paid"].ref == "e1"
    assert sources["number"].place == "Number: 2207"
    assert "lines[1]" in sources


def test_a_result_without_a_page_is_none() -> None:
    assert read_page(None) is None
    assert read_page({"reason": "stale"}) is None
    assert read_page("text") is None
