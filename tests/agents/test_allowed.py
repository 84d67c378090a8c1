"""What the model may say in the kernel's jobs: nothing that does not stand in what it has read."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer

from llmos.agents import allowed, jobs
from llmos.agents.spans import spans
from llmos.messages import Grammar, ToolSpec

BYTES = LLTokenizer("byte")


def accepts(grammar: Grammar, text: str) -> bool:
    """Whether a whole text is an answer."""
    matcher = LLMatcher(BYTES, LLMatcher.grammar_from_lark(grammar.lark))
    assert not matcher.is_error(), matcher.get_error()
    tokens = BYTES.tokenize_str(text)
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


def spec(required: tuple[str, ...] = (), **properties: object) -> ToolSpec:
    """A tool with these parameters."""
    return ToolSpec("go", "Go.", {"type": "object", "properties": properties, "required": list(required)})


@pytest.mark.parametrize(
    ("said", "good"),
    [
        ('{"city": "São Paulo", "days": 3}', True),
        ('{"days": 3}', True),
        ('{"city": "São Paulo"}', False),  # days is required
        ('{"city": "Sao Paulo", "days": 3}', False),  # not as it stands there
        ('{"city": "ão Paulo", "days": 3}', False),  # not a whole word
        ('{"city": "Paris", "days": 3}', False),
        ('{"city": "São Paulo", "days": 4}', False),
        ('{"days": 12}', True),
        ('{"days": 12.5}', False),  # no integer
        ('{"city": "today", "days": 3}', True),
    ],
)
def test_values_stand_in_the_request(said: str, good: bool) -> None:
    tool = spec(("days",), city={"type": "string"}, days={"type": "integer"})
    assert accepts(allowed.arguments(tool, "rain in São Paulo for three days, or 12, or 12.5?"), said) == good


def test_an_option_a_flag_a_list_and_a_sum() -> None:
    tool = spec(
        unit={"enum": ["°C", "°F"]},
        now={"type": "boolean"},
        names={"type": "array", "items": {"type": "string"}},
        sum={"type": "string"},
    )
    grammar = allowed.arguments(tool, "Ana and Li, 12 and 7.5")
    assert accepts(grammar, '{"unit": "°C", "now": true, "names": ["Ana", "Li"], "sum": "12 - 7.5"}')
    assert accepts(grammar, "{}")
    assert not accepts(grammar, '{"unit": "K"}')
    assert not accepts(grammar, '{"names": ["Bo"]}')
    assert not accepts(grammar, '{"sum": "12 - 8"}')


def test_a_value_may_come_from_what_was_done() -> None:
    tool = spec(("to",), to={"type": "string"})
    done = [jobs.Done("find", {"name": "Ana"}, "Ana: ana@example.org")]
    assert accepts(allowed.arguments(tool, "mail Ana", done), '{"to": "ana@example.org"}')
    assert not accepts(allowed.arguments(tool, "mail Ana"), '{"to": "ana@example.org"}')


def test_every_field_is_there_or_null() -> None:
    schema = {"type": "object", "properties": {"who": {"type": "string"}, "price": {"type": "number"}}}
    grammar = allowed.fields(schema, "It costs 12.50.")
    assert accepts(grammar, '{"who": null, "price": 12.5}')
    assert accepts(grammar, '{"who": null, "price": null}')
    assert not accepts(grammar, '{"price": 12.5}')


def test_an_answer_stands_in_the_passage_that_it_names() -> None:
    grammar = allowed.answer(["The lease ends in March.", 'It says "March 2027" and [1].'])
    assert accepts(grammar, "March [1]")
    assert accepts(grammar, 'says "March 2027" [2]')
    assert not accepts(grammar, "2027 [1]")
    assert not accepts(grammar, "March [3]")


words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=40).filter(
    lambda text: text == text.strip()  # a run of blanks is one
)


@settings(max_examples=150, deadline=None)
@given(words, words, words)
def test_whatever_stands_in_a_request_can_be_said_of_it(before: str, value: str, after: str) -> None:
    """Also quotes, backslashes, control characters and other scripts: the answer is JSON that says the value."""
    request = f"{before} {value} {after}"
    tool = spec(("text",), text={"type": "string"})
    assume(not any(one.kind in ("quoted", "url", "path", "date", "clock") for one in spans(request)))
    assume("(" not in request)
    for said in (value, request):
        assert accepts(allowed.arguments(tool, request), json.dumps({"text": said}, ensure_ascii=False))


@pytest.mark.parametrize(
    ("request_", "whole", "part"),
    [
        ('reply "see you on Friday" to it', "see you on Friday", "Friday"),
        ("turn img/cover.jpg into png", "img/cover.jpg", "cover"),
        ("get http://127.0.0.1:5000/team. Thanks", "http://127.0.0.1:5000/team", "127.0.0.1"),
        ("until 24 December 2029 at 8:00 pm", "24 December 2029", "24 December"),
        ("until 24 December 2029 at 8:00 pm", "8:00 pm", "8:00"),
        ('run print(sorted("harbor")) now', 'print(sorted("harbor"))', "print(sorted("),
    ],
)
def test_what_is_one_value_is_said_whole(request_: str, whole: str, part: str) -> None:
    grammar = allowed.arguments(spec(("text",), text={"type": "string"}), request_)
    assert accepts(grammar, json.dumps({"text": whole}))
    assert accepts(grammar, json.dumps({"text": request_}))
    assert not accepts(grammar, json.dumps({"text": part}))


def test_words_that_are_settled_are_no_other_argument() -> None:
    tool = spec(
        ("start", "end", "nights"), start={"type": "string"}, end={"type": "string"}, nights={"type": "integer"}
    )
    grammar = allowed.arguments(tool, "from Oslo to Turku for 3", given={"start": "Oslo", "nights": 3})
    assert accepts(grammar, '{"start": "Oslo", "end": "Turku", "nights": 3}')
    assert not accepts(grammar, '{"start": "Oslo", "end": "Oslo", "nights": 3}')
    assert not accepts(grammar, '{"start": "Turku", "end": "Turku", "nights": 3}')
    assert not accepts(grammar, '{"start": "Oslo", "end": "3", "nights": 3}')


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32) | st.integers(-(10**9), 10**9), max_size=5))
def test_numbers_are_json(values: list[float]) -> None:
    for number in allowed.numbers(" and ".join(map(str, values))):
        assert isinstance(json.loads(number), int | float)


@pytest.mark.parametrize(
    ("words", "sum_"),
    [
        ("first add 168 and 98325, and then times 6", "(168 + 98325) * 6"),
        ("1,250 and 3,5", "1,250 + 3 * 5"),
        ("what is half of 433", "433 / 2"),
        ("a dozen eggs at 30 cents", "12 * 30"),
        ("three of 9.99", "three * 9.99"),
        ("26.25 percent off 36", "36 - 26.25 percent"),
        ("how many miles are 42 km?", "42 km in miles"),
        ("how many centimeters make nine inches", "nine inches to centimeters"),
    ],
)
def test_sums_have_the_numbers_that_stand_there_or_that_a_word_means(words: str, sum_: str) -> None:
    said = json.dumps({"sum": sum_})
    assert accepts(allowed.arguments(spec(sum={"type": "string"}), words), said)


def test_sums_have_no_others() -> None:
    tool = spec(sum={"type": "string"})
    for words, sum_ in (("half of 433", "433 / 3"), ("168 and 98325, then", "168 + 983"), ("42 km", "42 km in miles")):
        assert not accepts(allowed.arguments(tool, words), json.dumps({"sum": sum_}))
