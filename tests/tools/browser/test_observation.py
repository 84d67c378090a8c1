"""How pages are written down for a model. Needs no browser."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.tools.browser.elements import Element, Node, Observation
from llmos.tools.browser.observation import difference, estimate, found, write


def text(words: str, *, seen: bool = True) -> Node:
    return Node("", words, seen=seen)


def page(*root: Node | Element, **fields: Any) -> Observation:  # noqa: ANN401  (any field of an observation)
    """A page of nodes; elements stand for themselves."""
    elements = {node.ref: node for node in root if isinstance(node, Element)}
    nodes = tuple(place(node) if isinstance(node, Element) else node for node in root)
    everything = {**elements, **fields.pop("elements", {})}
    values: dict[str, Any] = {
        "url": "http://shop.example/",
        "title": "Shop",
        "root": nodes,
        "elements": everything,
        **fields,
    }
    return Observation(**values)


def place(element: Element, *children: Node) -> Node:
    """Where an element is in the tree."""
    return Node(element.role, element.name, element.ref, children, seen=element.seen)


def button(ref: str, name: str = "", **fields: Any) -> Element:  # noqa: ANN401  (any field of an element)
    values: dict[str, Any] = {"ref": ref, "role": "button", "name": name, **fields}
    return Element(**values)


def table(rows: int, *, seen: int = 20, start: int = 0) -> tuple[Node, dict[str, Element]]:
    """A table of customers with a button in each row, of which `seen` rows from `start` on are in view."""
    elements = {f"e{at}": button(f"e{at}", "Edit") for at in range(rows)}
    head = Node("row", children=(Node("columnheader", "Name"), Node("columnheader", "")))
    body = [
        Node(
            "row",
            children=(Node("cell", f"Customer {at}"), Node("cell", children=(place(elements[f"e{at}"]),))),
            seen=start <= at < start + seen,
        )
        for at in range(rows)
    ]
    return Node("table", children=(head, *body)), elements


def lines(written: str) -> list[str]:
    return written.splitlines()[1:]


@pytest.mark.parametrize(
    ("element", "line"),
    [
        (button("e12", "Add to cart"), '[e12] button "Add to cart"'),
        (
            Element(ref="e4", role="textbox", name="Name", value="Ann", states=frozenset({"required"}), kind="text"),
            '[e4] textbox "Name" = "Ann" (required)',
        ),
        (
            Element(ref="e5", role="textbox", name="Word", states=frozenset({"filled"}), kind="password"),
            '[e5] textbox "Word" (password, filled)',
        ),
        (
            Element(ref="e6", role="combobox", name="City", value="Oslo", options=("Rome", "Oslo")),
            '[e6] combobox "City" = "Oslo" of: Rome, Oslo',
        ),
        (button("e7", "CV", kind="file"), '[e7] file "CV"'),
        (button("e8", label="trash", near="Ann"), "[e8] button (trash)"),
        (button("e9", near="Ann 32"), "[e9] button (Ann 32)"),
        (button("e1", 'a "b" [e9]'), "[e1] button \"a 'b' (e9)\""),
    ],
)
def test_an_element_is_a_line(element: Element, line: str) -> None:
    assert lines(write(page(element))) == [line]


def test_structure_is_written_in_few_signs() -> None:
    link = Element(ref="e1", role="link", name="here")
    written = write(
        page(
            Node("heading", "Head", level=2),
            Node("paragraph", children=(text("Click"), place(link), text("now."))),
            Node("list", children=(Node("listitem", "One"), Node("listitem", children=(text("Two"), place(link))))),
            Node("row", children=(Node("cell", "a"), Node("cell", "b"))),
            Node("group", "Size", children=(text("inside"),)),
            Node("img", "A cat"),
            elements={"e1": link},
        )
    )
    assert lines(written) == [
        "## Head",
        'Click [e1] link "here" now.',
        "- One",
        '- Two [e1] link "here"',
        "a | b",
        'group "Size":',
        "  inside",
        "(A cat)",
    ]


def test_long_tables_are_folded_and_rows_out_of_view_wait() -> None:
    tree, elements = table(300)
    written = write(page(tree, elements=elements))
    assert lines(written)[:2] == ["Name | ", 'Customer 0 | [e0] button "Edit"']
    assert lines(written)[-1] == "… 284 more rows: use find"
    assert estimate(written) <= 500
    tree, elements = table(300, start=100)
    written = write(page(tree, elements=elements))
    assert "… 100 rows before these: use find" in written
    assert 'Customer 100 | [e100] button "Edit"' in written
    assert "… 184 more rows: use find" in written


def test_what_is_in_view_comes_before_what_is_not() -> None:
    far = [text(f"Line {at} is far down on this page and says little.", seen=False) for at in range(200)]
    written = write(page(text("In view"), *far, button("e1", "Last", seen=False)), budget=300)
    assert "In view" in written
    assert "Line 0 " in written
    assert "Line 199 " not in written
    assert written.endswith("with 1 element: scroll or use find")
    written = write(page(*far, text("In view")), budget=300)
    assert written.endswith("In view")
    assert "Line 199 " in written


def test_of_a_dialog_on_top_only_the_dialog_is_written() -> None:
    yes = button("e2", "Yes", modal=True)
    dialog = Node("dialog", "Sure?", children=(place(yes),), modal=True)
    written = write(page(button("e1", "Behind"), dialog, elements={"e2": yes}))
    assert lines(written) == ["A dialog is on top; 1 elements are behind it.", 'dialog "Sure?":', '  [e2] button "Yes"']


def test_long_texts_are_shortened_only_where_the_budget_is_small() -> None:
    article = page(*(text("word " * 200) for _ in range(10)))
    assert "more characters" in write(article, budget=1500)
    assert "more characters" not in write(page(text("word " * 100)), budget=1500)


def test_tabs_and_notices_are_told() -> None:
    written = write(page(text("x"), tabs={1: "Shop", 2: "Help"}, tab=2, notices=("A file came.",)))
    assert lines(written) == ["tabs: 1 Shop, 2* Help", "! A file came.", "x"]


words = st.text(st.sampled_from('abc "[]e12\n…é漢 '), max_size=300)
refs = st.integers(1, 10**6).map(lambda number: f"e{number}")


@st.composite
def pages(draw: st.DrawFn) -> Observation:
    elements: dict[str, Element] = {}

    def node(depth: int) -> Node:
        times = draw(st.sampled_from([1, 1, 1, 30])) if depth == 0 else 1
        role = draw(st.sampled_from(["", "paragraph", "heading", "list", "listitem", "row", "cell", "group", "button"]))
        count = draw(st.integers(0, 4)) if depth < 3 else 0
        children = tuple(node(depth + 1) for _ in range(count)) * times
        ref = draw(refs) if role == "button" else ""
        name, seen = draw(words), draw(st.booleans())
        if ref:
            elements[ref] = Element(ref=ref, role=role, name=name, value=draw(words), label=draw(words), seen=seen)
        modal = role == "group" and draw(st.integers(0, 9)) == 0
        return Node(role, name, ref, children, draw(st.integers(0, 6)), seen, modal)

    root = tuple(node(0) for _ in range(draw(st.integers(0, 5))))
    return Observation(url="http://a.example/", title=draw(words), root=root, elements=elements)


@settings(max_examples=60, deadline=None)
@given(pages(), st.integers(150, 2000))
def test_no_page_takes_more_than_its_budget_and_names_only_its_own_refs(observation: Observation, budget: int) -> None:
    written = write(observation, budget=budget)
    assert estimate(written) <= budget
    assert set(re.findall(r"\[(e\d+)\]", written)) <= set(observation.elements)
    assert difference(observation, observation) == "Nothing changed."
    found(observation, "a")


def test_a_difference_has_what_came_changed_and_went() -> None:
    old = Element(ref="e1", role="textbox", name="Name")
    gone = button("e2", "Old")
    before = page(old, gone, text("Same"), text("Bye"))
    after = page(replace(old, value="Ann"), text("Same"), button("e3", "New"), notices=("A dialog came.",))
    assert difference(before, after).splitlines() == [
        "A dialog came.",
        '~ [e1] textbox "Name" = "Ann"',
        '+ [e3] button "New"',
        '- [e2] button "Old"',
        "- Bye",
    ]


def test_a_difference_sees_the_end_of_a_long_text() -> None:
    written = difference(page(text("word " * 500 + "old")), page(text("word " * 500 + "new")))
    assert [line[0] for line in written.splitlines()] == ["+", "-"]
    assert len(written) < 800


def test_a_difference_tells_where_the_focus_is_only_with_something_else() -> None:
    old = Element(ref="e1", role="textbox", name="Name")
    assert difference(page(old), page(replace(old, states=frozenset({"focused"})))) == "Nothing changed."


def test_a_difference_to_another_page_is_that_page() -> None:
    after = page(button("e9", "There"), url="http://shop.example/there")
    assert difference(page(button("e1", "Here")), after) == write(after)


def test_a_difference_keeps_to_its_budget() -> None:
    before = page(button("e1", "x"))
    after = page(button("e1", "x"), *(text(f"Line {at} is new") for at in range(500)))
    written = difference(before, after, budget=200)
    assert estimate(written) <= 200
    assert "more changes: look again" in written


def test_after_scrolling_a_difference_has_what_came_into_view() -> None:
    far = button("e1", "Far", seen=False)
    written = difference(page(text("Near"), far, below=900), page(replace(far, seen=True), text("Near"), above=900))
    assert written == '+ [e1] button "Far"'


def test_find_gets_at_what_is_folded_or_far_away() -> None:
    tree, elements = table(300)
    observation = page(Node("heading", "Customers", level=1), tree, elements=elements)
    assert found(observation, "customer 233") == '# Customers\nCustomer 233 | [e233] button "Edit"'
    assert found(observation, "edit 299") == '# Customers\nCustomer 299 | [e299] button "Edit"'
    assert found(observation, "nowhere") == "Nothing on the page says 'nowhere'."
    assert found(observation, "edit", limit=5).endswith("… 295 more lines: look for something narrower")


def test_find_shows_the_part_of_a_long_text_that_holds_the_words() -> None:
    long = page(text("before " * 200 + "the needle is here " + "after " * 200))
    written = found(long, "needle")
    assert "the needle is here" in written
    assert len(written) < 400
