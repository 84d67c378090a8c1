from __future__ import annotations

import itertools
from typing import Literal

from hypothesis import example, given
from hypothesis import strategies as st

from llmos.engine.chat import StreamParser, ToolFormat
from llmos.messages import Message, ToolCall

FORMS: tuple[ToolFormat, ...] = ("generic", "hermes", "llama3", "mistral")
FRAGMENTS = [
    *("<think>", "</think>", "<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>"),
    *('{"name": "f", "arguments": {"a": "</tool_call>"}}', '{"name": "f", "parameters": {}}', '[{"name": "f"}]'),
    *("<", ">", "</", "{", "}", '"', "\\", "\n", "\n\n", " ", ";", "name", "word", "ö", "🙂", "{'a': \"it's\"}"),
]
texts = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=5), max_size=12).map("".join)


def parse(parser: StreamParser, pieces: list[str]) -> tuple[list[tuple[str, str]], Message]:
    """The pieces that came out, neighbours of one channel joined, and the message."""
    out: list[tuple[str, str]] = []
    for channel, text in [piece for fed in pieces for piece in parser.feed(fed)] + parser.flush():
        assert text
        if out and out[-1][0] == channel:
            text = out.pop()[1] + text
        out.append((channel, text))
    return out, parser.finish()


def whole(text: str, form: ToolFormat | None = "hermes", *, inside: bool = False) -> Message:
    return parse(StreamParser(form, inside=inside), [text])[1]


@given(texts, st.lists(st.integers(0, 80), max_size=12), st.sampled_from([None, *FORMS]), st.booleans())
@example("<think>a</think>\n<tool_call>{}</tool_call>", [3, 9, 20], "hermes", False)
@example('{"name": "f", "parameters": {}}', [1, 2, 5], "llama3", False)
def test_the_result_does_not_depend_on_how_the_text_is_cut(
    text: str, cuts: list[int], form: ToolFormat | None, inside: bool
) -> None:
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in itertools.pairwise(edges)]
    assert parse(StreamParser(form, inside=inside), pieces) == parse(StreamParser(form, inside=inside), [text])


@given(texts, st.sampled_from([None, *FORMS]), st.booleans())
def test_nothing_but_the_tags_around_the_reasoning_is_left_out(
    text: str, form: ToolFormat | None, inside: bool
) -> None:
    rest = text
    if not inside and text.lstrip().startswith("<think>"):
        rest = text.replace("<think>", "", 1)
        inside = True
        expected = rest.replace("</think>", "", 1)
    else:
        expected = text.replace("</think>", "", 1) if inside else text
    out, _ = parse(StreamParser(form, inside=inside and rest is text), list(text))
    assert "".join(piece for _, piece in out) == expected


@given(texts, st.sampled_from(FORMS))
def test_what_is_no_call_stays_in_the_answer(text: str, form: ToolFormat) -> None:
    message = whole("answer " + text, form)
    if not message.tool_calls:
        assert message.content == "answer " + text


def test_reasoning_is_kept_apart() -> None:
    message = whole("<think>\nhm\n</think>\n\nyes\n")
    assert (message.reasoning, message.content) == ("hm", "yes\n")


def test_reasoning_that_the_prompt_has_opened_is_kept_apart() -> None:
    message = whole("hm\n</think>\n\nyes", inside=True)
    assert (message.reasoning, message.content) == ("hm", "yes")


def test_reasoning_that_never_ends_is_no_answer() -> None:
    message = whole("<think>hm, <tool_call>")
    assert (message.reasoning, message.content) == ("hm, <tool_call>", "")


def test_a_think_tag_further_on_is_ordinary_text() -> None:
    assert whole("Write <think>so</think>.").content == "Write <think>so</think>."


def test_calls_are_taken_out_of_the_answer() -> None:
    calls = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>\n<tool_call>{"name": "g"}</tool_call>'
    message = whole("Let me see.\n" + calls)
    assert message.content == "Let me see."
    assert message.tool_calls == (ToolCall("f", {"a": 1}), ToolCall("g"))


def test_a_closing_tag_inside_an_argument_does_not_end_the_call() -> None:
    message = whole('<tool_call>{"name": "f", "arguments": {"a": "\\"</tool_call>"}}</tool_call>!')
    assert message.tool_calls == (ToolCall("f", {"a": '"</tool_call>'}),)
    assert message.content == "!"


def test_a_call_without_its_closing_tag_counts() -> None:
    assert whole('<tool_call>{"name": "f", "arguments": {}}').tool_calls == (ToolCall("f"),)


def test_a_malformed_call_stays_in_the_answer() -> None:
    text = 'so: <tool_call>{"name": "f", "arguments": {"a": }</tool_call>'
    message = whole(text)
    assert message.tool_calls == ()
    assert message.content == text


def test_a_readable_call_counts_beside_a_malformed_one() -> None:
    message = whole('<tool_call>nothing</tool_call><tool_call>{"name": "f"}</tool_call>')
    assert message.tool_calls == (ToolCall("f"),)
    assert message.content == "<tool_call>nothing</tool_call>"


def test_without_tools_their_tags_are_ordinary_text() -> None:
    text = '{"name": "f", "parameters": {}} <tool_call>{"name": "f"}</tool_call> [TOOL_CALLS][] <|python_tag|>'
    assert whole(text, None) == Message("assistant", text)


def test_llama_calls_are_bare_json_at_the_beginning() -> None:
    assert whole('{"name": "f", "parameters": {"a": 1}}; {"name": "g", "parameters": {}}', "llama3").tool_calls == (
        ToolCall("f", {"a": 1}),
        ToolCall("g"),
    )
    assert whole('<|python_tag|>{"name": "f", "parameters": {}}', "llama3").tool_calls == (ToolCall("f"),)
    late = 'see: {"name": "f", "parameters": {}}'
    assert whole(late, "llama3").content == late


def test_json_that_is_no_call_is_an_answer_for_llama_too() -> None:
    for text in ('{"name": "Ann", "age": 3', '{"town": "Bonn"}', "{}", "{"):
        message = whole(text, "llama3")
        assert (message.content, message.tool_calls) == (text, ())


def test_mistral_calls_are_read_in_both_ways() -> None:
    old = whole('[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}, "id": "abcdefghi"}, {"name": "g"}]', "mistral")
    assert old.tool_calls == (ToolCall("f", {"a": 1}, "abcdefghi"), ToolCall("g"))
    new = whole('Wait.[TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]g[CALL_ID]abcdefghi[ARGS]{}', "mistral")
    assert new.tool_calls == (ToolCall("f", {"a": 1}), ToolCall("g", {}, "abcdefghi"))
    assert new.content == "Wait."


def test_pieces_come_as_early_as_they_are_certain() -> None:
    parser = StreamParser("hermes")
    fed: list[tuple[str, list[tuple[Literal["answer", "reasoning", "tool"], str]]]] = [
        ("<th", []),
        ("ink>I wo", [("reasoning", "I wo")]),
        ("nder</", [("reasoning", "nder")]),
        ("think>\n", [("reasoning", "\n")]),
        ("Hello", [("answer", "Hello")]),
        (" <", [("answer", " ")]),
        ("b", [("answer", "<b")]),
        ("<tool_ca", []),
        ('ll>{"na', [("tool", '<tool_call>{"na')]),
    ]
    for text, pieces in fed:
        assert parser.feed(text) == pieces, text
