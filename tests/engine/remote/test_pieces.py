"""Streams cut anywhere give the same: events, text on its channels, stop strings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.engine.remote.sse import EventReader, NotAStream
from llmos.engine.remote.text import Splitter


def cut(whole: str, places: list[int]) -> list[str]:
    """A text in pieces."""
    ends = sorted({place % (len(whole) + 1) for place in places} | {len(whole)})
    return [whole[start:end] for start, end in zip([0, *ends], ends, strict=False)]


PLACES = st.lists(st.integers(0, 500), max_size=20)
LINES = st.sampled_from(["data: a", "data:b", "data", ": note", "", "", "id: 1", "event: x", "error: e", "data:  c"])


@given(st.lists(LINES, max_size=20), st.sampled_from(["\n", "\r\n"]), PLACES)
def test_events_do_not_depend_on_how_the_bytes_arrive(lines: list[str], newline: str, places: list[int]) -> None:
    whole = newline.join([*lines, ""])
    at_once, in_pieces = EventReader(), EventReader()
    expected = at_once.feed(whole.encode()) + at_once.end()
    events = [event for piece in cut(whole, places) for event in in_pieces.feed(piece.encode())]
    assert events + in_pieces.end() == expected


def test_an_event_may_have_several_lines_and_no_end() -> None:
    reader = EventReader()
    assert reader.feed(b"\xef\xbb\xbfdata: a\ndata: b\n\n: c\nda") == [b"a\nb"]
    assert reader.feed(b"ta: c") == []
    assert reader.end() == [b"c"]


@pytest.mark.parametrize("stream", [b"<html>\n", b"data: " + b"x" * 200, b"data: x\n" * 60])
def test_what_is_no_stream_or_too_big_is_refused(stream: bytes) -> None:
    with pytest.raises(NotAStream):
        EventReader(limit=100).feed(stream)


def spoken(pieces: list[str], stop: tuple[str, ...]) -> tuple[str, str, bool]:
    """Reasoning, answer, and whether a stop string ended it."""
    splitter = Splitter(stop)
    told = [part for piece in pieces for part in splitter.feed(piece)] + splitter.end()
    by_channel = ["".join(text for channel, text in told if channel == name) for name in ("reasoning", "answer")]
    return by_channel[0], by_channel[1], splitter.stopped


PARTS = st.lists(st.sampled_from(["<think>", "</think>", "<th", "ink>", "\n", " ", "a", "STOP", "ST", "OP", "é"]))


@given(PARTS, PLACES)
def test_text_does_not_depend_on_how_it_arrives(parts: list[str], places: list[int]) -> None:
    whole = "".join(parts)
    stop = ("STOP", "OPS")
    assert spoken(cut(whole, places), stop) == spoken([whole], stop)
    assert not any(mark in spoken([whole], stop)[1] for mark in stop)


@pytest.mark.parametrize(
    ("whole", "expected"),
    [
        ("Hello", ("", "Hello", False)),
        ("  Hello", ("", "  Hello", False)),
        ("<think>\na\n\nb\n</think>\n\nHello", ("a\n\nb", "Hello", False)),
        ("<think></think>Hello", ("", "Hello", False)),
        ("<think>no end", ("no end", "", False)),
        ("see <think>this</think>", ("", "see <think>this</think>", False)),
        ("<think>STOP</think>a STOP b", ("STOP", "a ", True)),
        ("<thin", ("", "<thin", False)),
        ("a ST", ("", "a ST", False)),
    ],
)
def test_thoughts_and_stop_strings_are_taken_out(whole: str, expected: tuple[str, str, bool]) -> None:
    assert spoken([whole], ("STOP",)) == expected
