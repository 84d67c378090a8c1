"""Words find the control that they describe: by name, role, place, order, and what stands beside it."""

from __future__ import annotations

from llmos.agents.operator.goals import choices, clicks, fields, openers, submits
from llmos.agents.operator.instructions import read
from llmos.agents.operator.page import Page
from llmos.agents.operator.phrases import NOTHING
from tests.agents.operator.pages import element, page, shown, text


def clicked(where: Page, words: str) -> str:
    goal = read(words)[-1]
    ways = clicks(where, words, goal.target, goal.context)
    assert ways.found, words
    part = ways.moves[0].part
    assert part is not None
    return part.ref


def test_the_exact_name_goes_before_one_that_only_has_it() -> None:
    where = page([element("e1", "button", "Save draft"), element("e2", "button", "Save")])
    assert clicked(where, "Click “Save”") == "e2"
    assert clicked(where, "click save draft") == "e1"


def test_a_sign_is_known_by_what_it_means() -> None:
    where = page([element("e1", "button", "Menu"), element("e2", "button", "×")])
    assert clicked(where, "Click close") == "e2"


def test_the_role_decides_between_two_of_one_name() -> None:
    where = page([element("e1", "link", "Delivery"), element("e2", "tab", "Delivery")])
    assert clicked(where, "Click the Delivery tab") == "e2"
    assert clicked(where, "Click the Delivery link") == "e1"


def test_order_is_counted_among_its_kind() -> None:
    boxes = [element(f"e{number}", "checkbox", "") for number in (2, 3, 4)]
    where = page([element("e1", "button", "Go"), *boxes])
    assert clicked(where, "Click the second checkbox") == "e3"
    assert clicked(where, "Click the last checkbox") == "e4"


def test_results_are_counted_in_the_list_and_not_in_the_head_of_the_page() -> None:
    head = [element("e1", "link", "Home"), element("e2", "link", "Cart")]
    listed = [element(f"e{number}", "link", f"Letter {number}") for number in (3, 4, 5)]
    tree = [shown("e1", "Home", "link"), shown("e2", "Cart", "link")]
    tree.append(text("", "list", *(shown(one["ref"], one["name"], "link") for one in listed)))
    assert clicked(page(head + listed, tree), "Open the second message") == "e4"


def test_a_control_is_found_by_the_row_that_it_stands_in() -> None:
    elements = [element(ref, "button", "Delete") for ref in ("e1", "e2", "e3")]
    rows = [
        text("", "row", text(name, "cell"), text("", "cell", shown(ref, "Delete")))
        for name, ref in (("Ann Lee", "e1"), ("Omar Haddad", "e2"), ("Ines Roth", "e3"))
    ]
    where = page(elements, [text("People", "table", *rows)])
    assert clicked(where, "Click Delete for Omar Haddad") == "e2"


def test_it_is_found_by_the_text_before_it_where_there_is_no_structure() -> None:
    elements = [element("e1", "button", "Like"), element("e2", "button", "Like")]
    tree = [text("@ann"), shown("e1", "Like"), text("@omar"), shown("e2", "Like")]
    assert clicked(page(elements, tree), "For the user @omar, click “Like”") == "e2"


def test_place_and_size() -> None:
    where = page([
        element("e1", "button", "", box=[0, 0, 20, 20]),
        element("e2", "button", "", box=[300, 0, 80, 80]),
        element("e3", "button", "", box=[0, 300, 20, 20]),
    ])  # fmt: skip
    assert clicked(where, "Click the large button") == "e2"
    assert clicked(where, "Click the button at the bottom") == "e3"


def test_a_dialog_on_top_goes_first_and_what_is_disabled_last() -> None:
    where = page([element("e1", "button", "OK"), element("e2", "button", "OK", modal=True)])
    assert clicked(where, "Click OK") == "e2"
    where = page([element("e1", "button", "Next", states=["disabled"]), element("e2", "link", "Next")])
    assert clicked(where, "Click Next") == "e2"


def test_a_text_that_only_repeats_the_task_says_nothing() -> None:
    task = "Click the star beside the letter from Omar and then the button"
    elements = [element("e1", "clickable", "", near=task), element("e2", "clickable", "", label="star", near="Omar")]
    assert clicked(page(elements), "Click the star beside the letter from Omar and then the button") in ("e1", "e2")
    goal = read(task)[0]
    assert clicks(page(elements), task, goal.target, goal.context).moves[0].part == page(elements).parts["e2"]


def test_nothing_that_fits_is_not_called_found() -> None:
    where = page([element("e1", "button", "Reply"), element("e2", "link", "Inbox")])
    goal = read("Archive it")[0]
    assert not clicks(where, "Archive it", goal.target, NOTHING).found


def test_fields_are_found_by_label_by_what_they_are_for_and_by_order() -> None:
    where = page([
        element("e1", "textbox", "", tag="input", kind="text", label="E-mail"),
        element("e2", "textbox", "", tag="input", kind="password"),
        element("e3", "textbox", "Street", tag="input", kind="text", autocomplete="street-address"),
    ])  # fmt: skip

    def field(words: str) -> str:
        (pair,) = read(words)[0].pairs
        return fields(where, words, pair.field, NOTHING)[0].part.ref

    assert field('Enter "a@b.example" as the email') == "e1"
    assert field('Enter the password "x"') == "e2"
    assert field('Put "Main Street 4" into the address field') == "e3"
    assert field('Type "x" into the third text field') == "e3"


def test_options_of_a_list_and_boxes_are_choices() -> None:
    where = page([
        element("e1", "combobox", "Country", tag="select", options=["Norway", "North Macedonia"]),
        element("e2", "checkbox", "North Sea"),
    ])  # fmt: skip
    goal = read("Select North Macedonia from the list")[0]
    move = choices(where, "", goal.target, goal.context).moves[0]
    assert (move.action, move.text) == ("select", "North Macedonia")
    goal = read("Select North Sea")[0]
    assert choices(where, "", goal.target, goal.context).moves[0].part == where.parts["e2"]


def test_a_form_is_sent_with_its_own_button() -> None:
    where = page([
        element("e1", "button", "Search", tag="button", kind="submit", form="f1"),
        element("e2", "button", "Send", tag="button", kind="submit", form="f2"),
    ])  # fmt: skip
    assert submits(where, "", NOTHING, form="f2").moves[0].part == where.parts["e2"]


def test_what_is_folded_is_opened_and_what_sends_is_not() -> None:
    where = page([
        element("e1", "button", "Shipping", states=["collapsed"]),
        element("e2", "button", "Send", kind="submit"),
        element("e3", "tab", "Reviews"),
        element("e4", "tab", "Details", states=["selected"]),
    ])  # fmt: skip
    goal = read("Click “Returns”")[0]
    assert {one.part.ref for one in openers(where, goal, frozenset()) if one.part} == {"e1", "e3"}
    assert [one.part.ref for one in openers(where, goal, frozenset({"e1"})) if one.part] == ["e3"]
