"""Instructions become goals: what is done, to what, with which value; every value stands in the words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.agents.operator.instructions import Goal, by_hand, read


def only(task: str) -> Goal:
    goals = read(task)
    assert len(goals) == 1, goals
    return goals[0]


def acts(task: str) -> list[str]:
    return [one.act for one in read(task)]


def test_clauses_become_goals_in_their_order() -> None:
    assert acts("Choose Norway from the list and click Save.") == ["select", "click"]
    assert acts("Tick red, green and blue, then press “Order”") == ["check", "click"]
    assert acts('Type "hi" into the box, press Enter. Scroll down') == ["fill", "press", "scroll"]


def test_a_name_in_quotes_is_not_read_as_an_instruction() -> None:
    goal = only('Click "Save and close, then log out"')
    assert goal.target.names == ("Save and close, then log out",)


@pytest.mark.parametrize(
    ("words", "field", "text"),
    [
        ('Enter "Ann" as the first name', ("firstname",), "Ann"),
        ("Set the quantity to 3", ("quantity",), "3"),
        ("Change the city to Paris", ("city",), "Paris"),
        ("Fill in the form with email ann@example.org", ("email",), "ann@example.org"),
        ("Put 12 March 2027 into the arrival date field", ("arrival", "date", "field"), "12 March 2027"),
        ("Type hello there in the search box", ("searchbox",), "hello there"),
    ],
)
def test_a_value_finds_its_field(words: str, field: tuple[str, ...], text: str) -> None:
    (pair,) = only(words).pairs
    assert pair.field.words == field
    assert pair.value.text == text
    assert words[pair.value.start : pair.value.end] == text


def test_several_fields_in_one_clause() -> None:
    goal = only('Enter the user name "ann" and the password "s3" into the form fields')
    assert [(pair.field.fields, pair.value.text) for pair in goal.pairs] == [
        (("username",), "ann"),
        (("password",), "s3"),
    ]


def test_ordinals_places_roles_and_neighbours() -> None:
    goal = only("Click the second checkbox on the left next to “Milk”")
    assert (goal.target.ordinal, goal.target.places) == (2, ("left",))
    assert "checkbox" in goal.target.roles
    assert only("Press the delete button for the letter from Omar").target.beside.endswith("from Omar")


def test_what_it_is_for_and_how_it_is_done_say_which_one_is_meant() -> None:
    assert only("Close the dialog by clicking the cross").target.words == ("cross",)
    found = read("Find the letter by Omar and click the star icon to mark it")
    assert [(one.act, one.context.text) for one in found] == [("click", "the letter by Omar")]
    assert found[0].target.words == ("star", "icon")


def test_a_path_through_menus_is_one_click_after_the_other() -> None:
    assert [one.target.text for one in read("Open File > Export > PDF")] == ["File", "Export", "PDF"]


def test_keys_and_buttons_are_told_apart() -> None:
    assert only("Press Ctrl+Shift+Escape").keys == "Control+Shift+Escape"
    assert only("Press the Enter button").act == "click"


def test_words_that_say_nothing_to_do_give_no_goal() -> None:
    assert read("") == ()
    assert read("the weather of yesterday") == ()


@given(st.text(max_size=200))
def test_any_text_can_be_read_and_values_stand_in_it(task: str) -> None:
    for goal in read(task):
        for pair in goal.pairs:
            assert task[pair.value.start : pair.value.end].strip() in (pair.value.text, pair.value.text.strip(), "")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("On https://example.org there is a “Ring the bell” button. Hit it please", "Ring the bell"),
        ("The page has a link called Opening hours. Click it.", "Opening hours"),
        ("There's a button named “Stop” at https://example.org/a; press it for me", "Stop"),
    ],
)
def test_it_is_what_was_said_to_be_there(words: str, name: str) -> None:
    assert only(words).target.names == (name,)


@pytest.mark.parametrize(
    "words",
    [
        "Open https://example.org/a and press “Start”",
        "tap on Subscribe at https://example.org",
        "log in to https://example.org as ann",
        "Fill in the form on https://example.org/join with the name Ann",
        "At https://example.org type 'moss' into the search box",
        "Look at https://example.org in the browser and read the headline",
    ],
)
def test_what_only_a_hand_does_on_a_page_is_told_apart(words: str) -> None:
    assert by_hand(words)


@pytest.mark.parametrize(
    "words",
    [
        "Press “Start”",
        "Read https://example.org/a and sum it up",
        "What does https://example.org/a say about frogs?",
        "Fetch https://example.org/data.json and save it in data.json",
        "open the page https://example.org",
        "How do I press the button on https://example.org?",
        "check whether https://example.org is up",
        "open notes.txt and compare it with https://example.org/a",
        "hit https://example.org/api",
        "",
    ],
)
def test_what_can_be_fetched_needs_no_hand(words: str) -> None:
    assert not by_hand(words)
