"""Which actions on a page show a taste, and which of them were the user's own choice."""

from __future__ import annotations

from typing import Any

import pytest

from llmos.agents.operator.page import Page
from llmos.agents.operator.preferring import Choice, choice, preferences
from tests.agents.operator.pages import element, page, shown, text


def seats(**more: Any) -> Page:  # noqa: ANN401  # whatever an element has
    """A group with one option, and the list `e2` beside it."""
    radio = {**element("e1", "radio", "Window", tag="input", kind="radio", states=["checked"]), **more}
    meal = element("e2", "combobox", "Meal", tag="select", options=["Soup", "Salad"])
    return page([radio, meal], [text("Seat", "group", shown("e1", "Window")), shown("e2", "Meal")])


def test_an_option_is_chosen_for_its_group_or_list() -> None:
    here = seats()
    assert choice(here.parts["e1"], (), here, here) == Choice("Seat", "Window")
    assert choice(here.parts["e2"], ("Soup",), here, here) == Choice("Meal", "Soup")
    box = seats(role="checkbox", kind="checkbox")
    assert choice(box.parts["e1"], (), box, box) == Choice("Seat", "Window", several=True)


@pytest.mark.parametrize(
    "more",
    [
        {"states": []},  # it was not chosen, or chosen no more
        {"autocomplete": "sex"},
        {"role": "button", "kind": "submit"},
        {"name": "12"},
        {"name": "I agree that my data is kept for as long as it takes to send me all letters"},
    ],
)
def test_other_clicks_show_no_taste(more: dict[str, Any]) -> None:
    here = seats(**more)
    assert choice(here.parts["e1"], (), here, here) is None


@pytest.mark.parametrize("name", ["Country", "Card type", "Date of birth: year", "Title", "Security question", ""])
def test_what_asks_who_one_is_shows_none(name: str) -> None:
    here = page([element("e1", "combobox", name, tag="select", options=["Soup"])])
    assert choice(here.parts["e1"], ("Soup",), here, here) is None


def test_only_what_the_user_said_counts_and_only_of_what_was_done() -> None:
    report = {"outcome": "done", "value": {"choices": {"Seat": ["Window"], "Meal": ["Soup", "Salad"]}}}
    assert preferences(report, "a seat at the window, and soup") == [("Seat", "Window"), ("Meal", "Soup")]
    assert preferences(report, "windows and soups") == []
    assert preferences({**report, "outcome": "failed"}, "window") == []
    assert preferences({"outcome": "done", "value": None}, "window") == []
    assert preferences(None, "window") == []
