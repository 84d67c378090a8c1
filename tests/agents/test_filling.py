"""Arguments that microcode read, joined with what rules found: each value keeps the place that it is from."""

from __future__ import annotations

from llmos.agents.filling import joined, located
from llmos.agents.grounding import Grounded, Request
from llmos.agents.microcode import Filled
from llmos.agents.records import Earlier
from llmos.messages import ToolSpec

TOOL = ToolSpec(
    "book",
    "Book a table.",
    {
        "type": "object",
        "properties": {
            "place": {"type": "string"},
            "people": {"type": "integer"},
            "path": {"type": "string"},
            "note": {"type": "string"},
        },
        "required": ["place", "people"],
    },
)
ROLES = {"place": "free", "people": "number", "path": "path", "note": "free"}


def test_a_word_is_found_as_a_word_and_not_within_one() -> None:
    request = Request("the cathedral cat", offset=10)
    found = located("cat", request)
    assert found is not None
    assert found.span == (14, 17)
    assert (found.provenance.origin, found.provenance.start, found.provenance.label) == ("span", 24, "user")


def test_a_number_is_found_as_digits_or_as_a_word() -> None:
    for words in ("a table for six", "a table for 6", "for 6 at 16"):
        found = located(6, Request(words))
        assert found is not None
        assert found.provenance.origin == "span"
    assert located(7, Request("a table for six")) is None


def test_what_a_page_said_keeps_its_label() -> None:
    page = Earlier("http_get https://example.org", "Write to eve@example.org", None, "outside")
    found = located("eve@example.org", Request("mail them", earlier=(page,)))
    assert found is not None
    assert (found.provenance.label, found.provenance.source) == ("outside", page.title)


def test_what_a_page_may_have_decided_is_not_the_users() -> None:
    page = Earlier("http_get https://example.org", "say yes", None, "outside")
    flag = located(True, Request("go on", earlier=(page,)))
    made = located("12 + 7", Request("add them", earlier=(page,)))
    own = located("12 + 7", Request("add 12 and 7", earlier=(page,)))
    assert flag is not None
    assert made is not None
    assert own is not None
    assert [one.provenance.label for one in (flag, made, own)] == ["outside", "outside", "user"]


def test_a_list_is_as_good_as_its_worst_part() -> None:
    page = Earlier("http_get https://example.org", "Eve", None, "outside")
    found = located(["Ana", "Eve"], Request("invite Ana and her", earlier=(page,)))
    assert found is not None
    assert found.provenance.label == "outside"
    assert located(["Ana", 5], Request("invite Ana")) is None


def test_microcode_fills_what_rules_leave_open_and_rules_keep_what_they_know() -> None:
    request = Request("a table at Luigi's for four, see plan.md")
    path = request.span("plan.md", 33, 40)
    grounded = Grounded({"path": (path,)}, ("place", "people"))
    filled = Filled({"place": "Luigi's", "people": 4, "path": "plan"}, 0.9)
    found = joined(TOOL, ROLES, grounded, filled, request)
    assert {name: values[0].value for name, values in found.values.items()} == {
        "place": "Luigi's",
        "people": 4,
        "path": "plan.md",
    }
    assert found.missing == ()


def test_an_optional_value_that_microcode_does_not_see_is_left_out() -> None:
    request = Request("a table at Luigi's for 4")
    grounded = Grounded({"note": (request.span("Luigi's", 11, 18),)}, ("place",))
    found = joined(TOOL, ROLES, grounded, Filled({"place": "Luigi's", "people": 4}, 0.9), request)
    assert "note" not in found.values


def test_what_nobody_found_is_missing() -> None:
    found = joined(TOOL, ROLES, Grounded({}, ("place", "people")), Filled({"people": 9}, 0.1), Request("a table"))
    assert found.missing == ("place", "people")


def _said(
    roles: dict[str, str], words: str, known: dict[str, list[str]], filled: dict[str, object]
) -> dict[str, object]:
    """What comes of values that rules found in words, the first one first, and those that microcode read."""
    schema: dict[str, object] = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in roles},
        "required": [],
    }
    request = Request(words)
    values = {
        name: tuple(
            request.span(one, words.index(one), words.index(one) + len(one), -2.0 * place)
            for place, one in enumerate(found)
        )
        for name, found in known.items()
    }
    found = joined(ToolSpec("go", "Go.", schema), roles, Grounded(values, ()), Filled(filled, 0.9), request)
    return {name: candidates[0].value for name, candidates in found.values.items()}


def test_of_several_values_microcode_tells_which_one_is_meant() -> None:
    words = "my machine needed 24 seconds for that. 46 days after 25 March 2019"
    known = {"when": ["25 March 2019"], "span": ["24 seconds", "46 days"]}
    filled: dict[str, object] = {"when": "25 March", "span": "46 days"}
    roles = {"when": "moment", "span": "duration"}
    assert _said(roles, words, known, filled) == {"when": "25 March 2019", "span": "46 days"}


def test_a_time_or_an_option_that_microcode_does_not_see_is_kept() -> None:
    roles = {"when": "moment", "sort": "enum"}
    known = {"when": ["yesterday"], "sort": ["size"]}
    assert _said(roles, "files of yesterday by size", known, {}) == {"when": "yesterday", "sort": "size"}


def test_what_is_looked_for_has_no_article() -> None:
    words = "anything in my documents about a drill"
    assert _said({"text": "query"}, words, {"text": ["drill"]}, {"text": "a drill"}) == {"text": "drill"}


def test_a_number_that_only_a_tool_gave_is_no_option() -> None:
    tool = ToolSpec("read", "Read.", {"type": "object", "properties": {"start": {"type": "integer"}}, "required": []})
    found = Earlier("search_files tiles", "notes/meeting.md:4: tiles", None, "user")
    request = Request("read the file you found", earlier=(found,))
    assert joined(tool, {"start": "number"}, Grounded({}, ()), Filled({"start": 4}, 0.9), request).values == {}


def test_what_is_one_argument_is_no_other() -> None:
    roles = {"start": "start", "when": "free"}
    filled: dict[str, object] = {"start": "Lagos", "when": "21 May"}
    assert _said(roles, "a flight from Lagos on 21 May", {"start": ["21 May"]}, filled) == {
        "start": "Lagos",
        "when": "21 May",
    }


def test_a_new_text_ends_with_its_sentence() -> None:
    known = {"new": ["Maple Works. I owe you one"]}
    assert _said({"new": "new"}, "make it Maple Works. I owe you one", known, {"new": "Maple Works"}) == {
        "new": "Maple Works"
    }


def test_a_folder_that_looks_like_one_is_taken_from_microcode() -> None:
    roles = {"folder": "folder"}
    assert _said(roles, "what is in ~/Desktop", {}, {"folder": "~/Desktop"}) == {"folder": "~/Desktop"}
    assert _said(roles, "the most recent files", {}, {"folder": "most recent"}) == {}


def test_numbers_before_a_comma_and_lists_of_them_are_found() -> None:
    found = located([639, 495, 73253], Request("average of 639, 495, 73,253"))
    assert found is not None
    assert found.value == [639, 495, 73253]
