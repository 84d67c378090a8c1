"""A stream that lives in several processes looks like one."""

from __future__ import annotations

import math

from llmos.engine.frames import Run
from llmos.engine.inflight import CLEARED_AFTER, Stream
from llmos.events import EngineEvent, Finished, Started, Token, Usage
from llmos.messages import Context, Generate, Message

REQUEST = Generate(context=Context.chat("Hello?"), id="r")


def token(index: int, *, ident: int | None = None, text: str = "x", logprob: float = -1.0) -> Token:
    ident = 100 + index if ident is None else ident
    return Token(request="r", index=index, token=ident, text=text, logprob=logprob, seconds=0.0)


def started() -> Started:
    return Started(request="r", prompt_tokens=3, reused_tokens=0)


def finished() -> Finished:
    return Finished(request="r", reason="stop", message=Message("assistant"), context=Context(), usage=Usage())


def seen(stream: Stream) -> list[EngineEvent]:
    events = list[EngineEvent]()
    while not stream.events.empty():
        event = stream.events.get_nowait()
        assert isinstance(event, Started | Token | Finished)
        events.append(event)
    return events


def take(stream: Stream, *events: EngineEvent) -> None:
    for event in events:
        stream.take(event)


def resumed(stream: Stream, number: int) -> tuple[int, ...]:
    frame = stream.frame(number)
    assert isinstance(frame, Run)
    return frame.prefix


async def test_it_is_resumed_after_the_tokens_that_came() -> None:
    stream = Stream(REQUEST, ())
    assert resumed(stream, 1) == ()
    take(stream, started(), token(0), token(1))
    assert resumed(stream, 2) == (100, 101)
    take(stream, started(), token(2), finished())
    assert [event.kind for event in seen(stream)] == ["started", "token", "token", "token", "finished"]
    assert stream.ended


async def test_a_given_prefix_is_kept_in_front() -> None:
    stream = Stream(REQUEST, (7, 8))
    assert resumed(stream, 1) == (7, 8)
    stream.take(token(2))
    assert resumed(stream, 2) == (7, 8, 102)


async def test_a_beam_search_starts_again_and_nothing_is_delivered_twice() -> None:
    stream = Stream(Generate(context=Context.chat("Hello?"), beams=4, id="r"), ())
    stream.frame(1)
    take(stream, started(), token(0), token(1))
    assert resumed(stream, 2) == ()
    take(stream, started(), token(0), token(0, ident=-1), token(1), token(2), finished())
    assert [event.index for event in seen(stream) if isinstance(event, Token)] == [0, 1, 2]


async def test_more_text_of_one_token_is_delivered_and_not_counted() -> None:
    stream = Stream(REQUEST, ())
    stream.frame(1)
    take(stream, token(0), token(0, ident=-1, text="more", logprob=math.nan), token(1))
    assert [event.text for event in seen(stream) if isinstance(event, Token)] == ["x", "more", "x"]
    assert resumed(stream, 2) == (100, 101)


async def test_the_mean_log_probability_is_over_all_processes() -> None:
    stream = Stream(REQUEST, ())
    stream.frame(1)
    stream.take(token(0, logprob=-1.0))
    stream.frame(2)
    stream.take(token(1, logprob=-3.0))
    stream.take(finished())
    last = seen(stream)[-1]
    assert isinstance(last, Finished)
    assert last.logprob == -2.0


async def test_deaths_in_a_row_are_strikes_and_progress_takes_them_back() -> None:
    stream = Stream(REQUEST, ())
    for number in (1, 2):
        stream.frame(number)
        stream.struck()
    assert stream.strikes == 2
    stream.frame(3)
    for index in range(CLEARED_AFTER):
        assert not stream.cleared.is_set()
        stream.take(token(index))
    assert stream.cleared.is_set()
    stream.struck()
    assert stream.strikes == 1
