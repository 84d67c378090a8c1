"""What is found in the user's words, and that nothing else is."""

from __future__ import annotations

import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.choosing import REQUESTS, requests, tools
from llmos.agents import phrases, sums
from llmos.agents.grounding import Request, ground
from llmos.agents.shortlist import ANSWER, shortlist
from llmos.agents.spans import of_kind, spans
from llmos.agents.steps import steps
from llmos.kernel.calls import Traits
from llmos.messages import ToolSpec

TOOLS = tools()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("see notes/a.md and b.txt", [("path", "notes/a.md"), ("path", "b.txt")]),
        ("on 3 June 2028 at 9:30", [("date", "3 June 2028"), ("clock", "9:30")]),
        ("in 3 weeks", [("duration", "3 weeks")]),
        ("by 21.1.2026 or 04/28/2026", [("date", "21.1.2026"), ("date", "04/28/2026")]),
        ("what is 12/4", [("expression", "12/4")]),
        ('send "{"active": true}" there', [("quoted", '{"active": true}')]),
        ("look into ./output or ~/Desktop", [("path", "./output"), ("path", "~/Desktop")]),
        ('say "well done" twice', [("quoted", "well done")]),
        ("get https://example.com/a.json now", [("url", "https://example.com/a.json")]),
        ("what is 4% of 25?", [("expression", "4% of 25")]),
        ("version 2.5 costs 1,200", [("number", "2.5"), ("number", "1,200")]),
        ("e.g. nothing here", []),
        ("I like Berlin", [("name", "Berlin")]),
    ],
)
def test_spans_have_kinds(words: str, found: list[tuple[str, str]]) -> None:
    assert [(span.kind, span.text) for span in spans(words) if span.text not in ("e.g",)] == found


@given(st.text(alphabet=st.sampled_from("ab 1234.,%+-*/()\"':?\nÀ€x"), max_size=60))
def test_every_span_stands_in_the_words(words: str) -> None:
    for span in spans(words):
        assert words[span.start : span.end].startswith(span.text)


@given(st.text(max_size=80))
def test_no_reading_has_a_number_that_the_words_have_not(words: str) -> None:
    for reading in sums.readings(words):
        for number in re.findall(r"\d+", reading.text):
            assert number in words.replace(",", "") or number in (
                "0",
                "2",
                "3",
                "4",
                "5",
                "6",
                "7",
                "8",
                "9",
                "10",
                "11",
                "12",
            )


@pytest.mark.parametrize("words", ["When is order K-2041 due?", "A-17 and B-18", "It was -5 outside.", "Room 12"])
def test_codes_and_single_numbers_are_no_sums(words: str) -> None:
    assert of_kind(words, "expression") == []


@pytest.mark.parametrize(
    ("words", "expression"),
    [
        ("add 3 to 10% of 50", "(10% of 50) + 3"),
        ("subtract 4 from 9", "9 - 4"),
        ("how many feet are 3 m?", "3 m in feet"),
        ("I have 20 apples and eat 4, how many are left?", "20 - 4"),
        ("a bike costs 400 euros and is 10% off, what is the price?", "400 - 10%"),
    ],
)
def test_sums_are_read_out_of_requests(words: str, expression: str) -> None:
    assert sums.readings(words)[0].text == expression


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("write so long to a.txt", "so long"),
        ("make a file a.txt that says to be or not to be", "to be or not to be"),
        ("put this in a.txt: one, two", "one, two"),
        ('save "x in y.txt" to z.txt', "x in y.txt"),
    ],
)
def test_what_is_to_be_written_is_a_part_of_the_words(words: str, text: str) -> None:
    assert phrases.content(words)[0].text == text


def test_a_replacement_has_both_sides() -> None:
    found = phrases.replacement("in a.txt replace the word left by right")
    assert found is not None
    assert [one.text for one in found] == ["left", "right"]
    assert phrases.replacement("read a.txt") is None


def test_a_parameter_that_nobody_speaks_of_is_missing() -> None:
    spec = ToolSpec("send", "Send.", {"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"]})
    assert ground(spec, Traits(), Request("send it")).missing == ("url",)
    found = ground(spec, Traits(), Request("send it to https://a.example/x"))
    assert found.values["url"][0].value == "https://a.example/x"


def test_a_span_keeps_its_place_in_the_whole_request() -> None:
    words = "what is 2 + 3 and what does b.txt say?"
    step = steps(words, TOOLS)[1]
    one = ground(TOOLS["read_file"].spec, TOOLS["read_file"].traits, step).values["path"][0]
    assert words[one.provenance.start : one.provenance.end] == one.value == "b.txt"


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("read a.txt and then list the files", 2),
        ("what is 2 + 3, and which weekday is tomorrow?", 2),
        ("list the files and tell me which is the newest", 1),
        ("write salt and pepper to a.txt", 1),
        ('write "stop and read this" to a.txt', 1),
        ("make a file a.txt that says wait and open the door", 1),
    ],
)
def test_a_request_is_cut_into_its_steps(words: str, parts: int) -> None:
    assert len(steps(words, TOOLS)) == parts


def test_development_requests_of_several_steps_are_cut_as_they_should() -> None:
    data = tomllib.loads(REQUESTS.read_text(encoding="utf-8"))
    wrong = [words for words, count in data["steps"] if len(steps(words, TOOLS)) != count]
    assert not wrong


def test_most_development_requests_get_their_tool_and_arguments() -> None:
    tools = arguments = 0
    for words, tool, expected in requests():
        best = shortlist(TOOLS, Request(words))[0]
        tools += best.name == (tool or ANSWER)
        given = {name: found[0].value for name, found in best.grounded.values.items()}
        arguments += best.name == tool and all(given.get(name, ".") == value for name, value in expected.items())
    assert tools >= 0.9 * len(requests())
    assert arguments >= 0.75 * sum(bool(tool) for _, tool, _ in requests())


def _tool(**properties: object) -> ToolSpec:
    return ToolSpec("go", "Go.", {"type": "object", "properties": properties, "required": list(properties)})


def _first(tool: ToolSpec, words: str) -> dict[str, object]:
    found = ground(tool, Traits(effect="reads"), Request(words)).values
    return {name: values[0].value for name, values in found.items()}


@pytest.mark.parametrize(
    ("properties", "words", "values"),
    [
        ({"when": "day"}, "dentist next Wednesday at 10:15 pm", {"when": "next Wednesday at 10:15 pm"}),
        ({"when": "day"}, "dentist 11:00 am Friday", {"when": "11:00 am Friday"}),
        ({"start": "day", "duration": "time"}, "add a week to 1.2.2024", {"start": "1.2.2024", "duration": "a week"}),
        ({"folder": "where"}, "the contents of the directory thesis", {"folder": "thesis"}),
        ({"path": "the folder to list"}, "files in recipes by date", {"path": "recipes"}),
        ({"command": "to run"}, "run touch a.yaml for me", {"command": "touch a.yaml"}),
        ({"command": "to run"}, "mv a.sql b/\n^ run that in a terminal", {}),
    ],
)  # fmt: skip
def test_values_are_found_whole(properties: dict[str, str], words: str, values: dict[str, object]) -> None:
    tool = _tool(**{name: {"type": "string", "description": about} for name, about in properties.items()})
    assert _first(tool, words) == values


def test_a_files_name_is_no_option() -> None:
    tool = _tool(target={"enum": ["jpg", "png"]})
    assert _first(tool, "avatar.jpg -> PNG") == {"target": "png"}
    assert _first(tool, "convert avatar.jpg") == {}
