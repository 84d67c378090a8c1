"""Whatever goes over a pipe arrives as it was, and whatever else comes out of one is a typed error."""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import is_dataclass
from types import MappingProxyType
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos import errors, wire
from llmos.errors import EngineError, LlmosError, PromptTooLong, RemoteError
from llmos.events import Token
from llmos.messages import Context, EngineInfo, Generate, Message, Sampling, ToolCall, ToolSpec

TEXT = st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
JSON_OBJECT = st.dictionaries(TEXT, JSON, max_size=3)


def mappings(kind: object) -> st.SearchStrategy[Mapping[Any, Any]]:
    """Mappings of the hinted type; where anything may be inside, anything that JSON has."""
    key, value = get_args(kind)
    return JSON_OBJECT if value is Any else st.dictionaries(st.from_type(key), st.from_type(value), max_size=3)


st.register_type_strategy(Mapping, mappings)


def same(one: object, other: object) -> bool:
    """Equality in which NaN equals NaN."""
    return type(one) is type(other) and (one == other or repr(one) == repr(other))


@pytest.mark.parametrize("kind", wire.MESSAGES, ids=lambda kind: kind.__name__)
def test_every_message_comes_back_as_it_was(kind: type[object]) -> None:
    @settings(max_examples=30, deadline=None)
    @given(st.from_type(kind))
    def comes_back(value: object) -> None:
        line = wire.encode(value)
        assert line.count(b"\n") == 1
        assert line.endswith(b"\n")
        assert same(wire.decode(line), value)

    comes_back()


def test_every_class_of_messages_and_events_can_be_sent() -> None:
    from llmos import events, messages

    defined = {
        value
        for module in (messages, events)
        for value in vars(module).values()
        if isinstance(value, type) and is_dataclass(value)
    }
    assert defined == set(wire.MESSAGES)


@pytest.mark.parametrize("kind", wire.error_classes().values(), ids=lambda kind: kind.__name__)
def test_an_error_comes_back_as_the_same_class(kind: type[LlmosError]) -> None:
    back = wire.decode(wire.encode(kind("It broke.", hint="Mend it.")))
    assert isinstance(back, LlmosError)
    assert type(back) is kind
    assert (back.message, back.hint) == ("It broke.", "Mend it.")


def test_a_remote_error_keeps_its_status() -> None:
    back = wire.decode(wire.encode(RemoteError("No.", status=503)))
    assert isinstance(back, RemoteError)
    assert back.status == 503


def test_an_error_class_from_elsewhere_arrives_as_its_base() -> None:
    class Odd(PromptTooLong):
        pass

    assert type(wire.decode(wire.encode(Odd("Too long.")))) is PromptTooLong


@pytest.mark.parametrize("name", ["SystemExit", "OSError", "annotations", "__builtins__", "errors.EngineError"])
def test_no_other_class_is_ever_made_from_an_error(name: str) -> None:
    line = json.dumps({"type": "ErrorData", "name": name, "message": "boo"}).encode()
    with pytest.raises(EngineError, match="unknown class"):
        wire.decode(line)


def test_all_errors_are_on_the_allow_list() -> None:
    defined = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert set(wire.error_classes()) == defined


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"ggml_assert(0)\n",
        b"{",
        b"[]",
        b"null",
        b'{"type":7}',
        b'{"type":"Started"}',
        b'{"type":"NoSuch"}',
        b'{"type":"Message","role":"wizard"}',
        b'{"type":"Message","role":"user","content":3}',
        b'{"type":"Token","request":"a","index":"0","token":1,"text":"","logprob":0.0,"seconds":0.0}',
        b'{"type":"Message","role":"user","content":"\xff\xfe"}',
        b"[" * 10_000,
    ],
)
def test_a_malformed_line_is_a_typed_error(line: bytes) -> None:
    with pytest.raises(EngineError, match="Can't decode"):
        wire.decode(line)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_a_typed_error(line: bytes) -> None:
    with pytest.raises(EngineError):
        wire.decode(line)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_a_damaged_line_is_a_typed_error_or_another_message(place: int, damage: bytes) -> None:
    line = bytearray(wire.encode(Generate(context=Context.chat("hello", system="be brief"), stop=("\n",))))
    line[place : place + len(damage)] = damage
    with contextlib.suppress(EngineError):
        wire.decode(bytes(line))


def test_a_message_says_how_long_a_bad_line_was_without_showing_it_all() -> None:
    with pytest.raises(EngineError) as caught:
        wire.decode(b"x" * 1_000_000)
    assert "999,800 bytes more" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_nan_survives() -> None:
    token = Token(request="r", index=0, token=-1, text="a", logprob=math.nan, seconds=0.0)
    back = wire.decode(wire.encode(token))
    assert isinstance(back, Token)
    assert math.isnan(back.logprob)


def test_a_negative_infinity_among_the_biases_survives() -> None:
    request = Generate(context=Context(), sampling=Sampling(logit_bias={7: -math.inf}))
    assert wire.decode(wire.encode(request)) == request


def test_text_that_utf_8_cannot_hold_is_sent_with_replacement_characters() -> None:
    context = Context(messages=(Message("user", "a\udc80b", tool_calls=(ToolCall("f", {"k\ud800": "v\udfff"}),)),))
    back = wire.decode(wire.encode(context))
    assert back == Context(messages=(Message("user", "a\ufffdb", tool_calls=(ToolCall("f", {"k\ufffd": "v\ufffd"}),)),))


def test_mappings_of_any_kind_are_sent_as_objects() -> None:
    spec = ToolSpec("f", parameters=MappingProxyType({"type": "object"}))
    assert wire.decode(wire.encode(spec)) == ToolSpec("f", parameters={"type": "object"})


def test_a_value_without_a_json_form_is_refused() -> None:
    with pytest.raises(EngineError, match="Can't encode a 'ToolCall'"):
        wire.encode(ToolCall("f", {"x": object()}))


@pytest.mark.parametrize("value", [1, "text", None, {"type": "Message"}, ValueError("no")])
def test_what_is_no_message_is_refused(value: object) -> None:
    with pytest.raises(EngineError, match="Can't encode"):
        wire.encode(value)


def test_a_context_of_32_thousand_tokens_is_one_line() -> None:
    context = Context(tokens=tuple(range(32_768)), messages=(Message("user", "line\nline\n" * 10_000),))
    line = wire.encode(context)
    assert line.count(b"\n") == 1
    assert wire.decode(line) == context


def test_sets_come_back_as_sets() -> None:
    info = EngineInfo(name="m", capabilities=frozenset({"fork", "score"}))
    assert wire.decode(wire.encode(info)) == info


def test_importing_wire_does_not_import_pydantic() -> None:
    code = "import sys, llmos.wire; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
