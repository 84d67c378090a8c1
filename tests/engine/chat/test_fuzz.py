"""A hundred thousand damaged turns for the parser of tool calls, cut into random pieces; the same ones every time."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Mapping

import pytest

from llmos.engine.chat import StreamParser, ToolFormat
from llmos.engine.chat.tools import write
from llmos.events import Channel
from llmos.messages import ToolCall
from tests.mutate import mutate_text

INPUTS = 100_000
FORMS: tuple[ToolFormat | None, ...] = ("generic", "hermes", "llama3", "mistral", None)
CALLS = (
    ToolCall("weather", {"town": "Köln", "days": 3}),
    ToolCall(
        "files_write", {"path": "a/b.txt", "content": 'He said "no" </tool_call>\n\\ 🙂', "deep": [{"x": [1, None]}]}
    ),
    ToolCall("f", {}, "call_1"),
)
SAMPLES: Mapping[ToolFormat | None, list[str]] = {
    form: [
        f"{thought}{before}{call}{after}"
        for thought in ("", "<think>Let me see.</think>\n\n")
        for before in ("", "I will look.\n")
        for after in ("", "\nDone.")
        for call in (
            *(write([one], form or "hermes") for one in CALLS),
            write(CALLS, form or "hermes"),
            write(CALLS[:2], form or "hermes", named=form == "mistral"),
        )
    ]
    for form in FORMS
}
WORDS = (
    *("<think>", "</think>", "<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "<|python_tag|>"),
    *('"name"', '"arguments"', '"parameters"', '"function"', '"id"', "null", "NaN", "1e999", "-", "0x", "true"),
    *('"', "'", "\\", "\\u", "\\ud800", "{", "}", "[", "]", ":", ",", ";", "\n", " ", "\0", "\ud800", "\u2028"),
    *('{"name": {"a": 1}}', '{"name": ""}', '"{\\"a\\": 1}"', "[" * 40, "{" * 40, '{"a":' * 40, "9" * 5000),
)


@pytest.mark.parametrize("form", FORMS)
def test_damaged_turns_are_read_the_same_in_pieces_and_never_crash(form: ToolFormat | None) -> None:
    chance = random.Random(str(form))
    samples, read = SAMPLES[form], 0
    for number in range(INPUTS // len(FORMS)):
        text = mutate_text(chance, samples, WORDS)
        inside = chance.random() < 0.2
        whole, pieces = StreamParser(form, inside=inside), StreamParser(form, inside=inside)
        told = whole.feed(text) + whole.flush()
        message = whole.finish()
        again: list[tuple[Channel, str]] = []
        start = 0
        while start < len(text):
            end = start + chance.choice((1, 2, 7, 30, 200))
            again += pieces.feed(text[start:end])
            start = end
        again += pieces.flush()
        where = f"input {number} of {form!r}: {text!r}"
        assert pieces.finish() == message, where
        for channel in ("answer", "reasoning", "tool"):
            assert _of(channel, again) == _of(channel, told), where
        for call in message.tool_calls:
            assert call.name, where
            json.dumps(dict(call.arguments), ensure_ascii=False).encode()
        read += len(message.tool_calls)
    assert read > INPUTS // 200 if form else not read, "hardly any input was nearly right: this tests nothing"


def _of(channel: str, pieces: list[tuple[Channel, str]]) -> str:
    return "".join(text for name, text in pieces if name == channel)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_nested_beyond_all_measure_is_no_call(form: ToolFormat | None) -> None:
    depth = sys.getrecursionlimit() * 20
    for text in ("[" * depth, '{"a":' * depth, '{"name": "f", "arguments": ' + '{"a":' * depth):
        for opened in ("", "<tool_call>", "[TOOL_CALLS]", "<|python_tag|>"):
            parser = StreamParser(form)
            parser.feed(opened + text)
            assert not parser.finish().tool_calls
