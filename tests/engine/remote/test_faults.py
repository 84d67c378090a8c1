"""A remote server that hangs, cuts, refuses or answers garbage: a typed error in bounded time, never a silent loss."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from llmos.engine.remote import RemoteEngine, Timeouts
from llmos.engine.remote.faults import retry_after, server_words
from llmos.errors import EngineError, LlmosError, PromptTooLong, RemoteError, RemoteTimeout, Unsupported
from llmos.events import EngineEvent, Token
from llmos.messages import Context, Generate, Sampling, ToolSpec
from tests.engine.remote.conftest import Open, collect
from tests.engine.remote.server import CHAT, Server, Talk, chunk, ending, refuses, says, streams

ASK = Generate(context=Context.chat("Hello"), sampling=Sampling(temperature=0, top_k=0, min_p=0, seed=1))
SHORT = Timeouts(connect=2, first=0.3, idle=0.3, total=5)


async def fails(engine: RemoteEngine, request: Generate = ASK) -> tuple[LlmosError, list[Token]]:
    """The error of a request and the tokens that came before it."""
    tokens = list[Token]()

    async def read() -> None:
        async with asyncio.timeout(20):
            async for event in engine.generate(request):
                if isinstance(event, Token):
                    tokens.append(event)

    with pytest.raises(LlmosError) as caught:
        await read()
    return caught.value, tokens


async def silent(talk: Talk) -> None:
    await talk.gone()


async def headers_only(talk: Talk) -> None:
    await talk.begin()
    await talk.gone()


async def comments_only(talk: Talk) -> None:
    await talk.begin()
    while True:
        await talk.piece(b": still here\n\n")
        await asyncio.sleep(0.05)


async def endless_headers(talk: Talk) -> None:
    await talk.raw(b"HTTP/1.1 200 OK\r\n")
    while True:
        await talk.raw(b"X-More: " + b"y" * 1000 + b"\r\n")
        await asyncio.sleep(0)


async def dripping_headers(talk: Talk) -> None:
    await talk.raw(b"HTTP/1.1 200 OK\r\n")
    while True:
        await talk.raw(b"X-More: y\r\n")
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("handler", [silent, headers_only, comments_only, dripping_headers])
async def test_a_server_that_hangs_before_the_first_token_times_out(
    handler: Callable[[Talk], Awaitable[None]], server: Server, remote: Open
) -> None:
    server.on(CHAT, handler)
    began = time.monotonic()
    error, tokens = await fails(remote(timeout=SHORT))
    assert isinstance(error, RemoteTimeout)
    assert "0.3 seconds" in str(error)
    assert not tokens
    assert time.monotonic() - began < 5
    assert len(server.received) == 1


async def test_a_server_that_falls_silent_in_its_answer_times_out(server: Server, remote: Open) -> None:
    async def stalls(talk: Talk) -> None:
        await talk.begin()
        await talk.event(chunk(content="a"))
        await talk.event(chunk(content="b"))
        await talk.gone()

    server.on(CHAT, stalls)
    error, tokens = await fails(remote(timeout=SHORT))
    assert isinstance(error, RemoteTimeout)
    assert "2 tokens arrived" in str(error)
    assert [token.text for token in tokens] == ["a", "b"]


async def test_a_server_that_never_ends_its_answer_times_out(server: Server, remote: Open) -> None:
    async def endless(talk: Talk) -> None:
        await talk.begin()
        while True:
            await talk.event(chunk(content="a"))
            await asyncio.sleep(0.02)

    server.on(CHAT, endless)
    error, tokens = await fails(remote(timeout=Timeouts(first=5, idle=0.5, total=1)))
    assert isinstance(error, RemoteTimeout)
    assert tokens


async def test_a_server_that_takes_no_connection_is_an_error_with_its_address(remote: Open) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        error, _ = await fails(remote(url=url, retries=1))
    assert isinstance(error, RemoteError)
    assert url in str(error)
    assert error.status == 0
    assert "Check that it runs" in error.hint


async def test_a_cut_after_tokens_is_told_and_not_tried_again(server: Server, remote: Open) -> None:
    async def breaks(talk: Talk) -> None:
        await talk.begin()
        for text in ("a", "b", "c"):
            await talk.event(chunk(content=text))
        await asyncio.sleep(0.05)
        talk.cut()

    server.on(CHAT, breaks, says("never asked"))
    error, tokens = await fails(remote())
    assert isinstance(error, RemoteError)
    assert "incomplete, 3 tokens arrived" in str(error)
    assert len(tokens) == 3
    assert len(server.received) == 1


async def test_a_stream_that_ends_without_a_reason_was_cut(server: Server, remote: Open) -> None:
    server.on(CHAT, streams(chunk(content="a")))
    error, tokens = await fails(remote())
    assert isinstance(error, RemoteError)
    assert "1 tokens arrived" in str(error)
    assert "cut" in str(error)
    assert len(tokens) == 1


async def test_a_line_that_breaks_after_the_last_word_loses_nothing(server: Server, remote: Open) -> None:
    async def breaks(talk: Talk) -> None:
        await talk.begin()
        await talk.event(chunk(content="a"))
        await talk.event(ending())
        await asyncio.sleep(0.05)
        talk.cut()

    server.on(CHAT, breaks)
    _, finished = await collect(remote(), ASK)
    assert finished.message.content == "a"


async def test_a_cut_before_the_first_token_is_tried_again(server: Server, remote: Open) -> None:
    async def breaks(talk: Talk) -> None:
        talk.cut()

    async def breaks_later(talk: Talk) -> None:
        await talk.begin()
        await talk.event(chunk(role="assistant", content=""))
        talk.cut()

    server.on(CHAT, breaks, breaks_later, says("a"))
    _, finished = await collect(remote(), ASK)
    assert finished.message.content == "a"
    assert len(server.received) == 3


async def test_a_busy_server_is_asked_again_when_it_says(server: Server, remote: Open) -> None:
    server.on(CHAT, refuses(429, "busy", Retry_After="1"), refuses(503, "loading"), says("a"))
    began = time.monotonic()
    _, finished = await collect(remote(), ASK)
    assert finished.message.content == "a"
    assert time.monotonic() - began >= 1
    assert len(server.received) == 3


async def test_a_server_that_stays_busy_is_given_up(server: Server, remote: Open) -> None:
    server.on(CHAT, refuses(503, "overloaded"))
    error, _ = await fails(remote(retries=2))
    assert isinstance(error, RemoteError)
    assert (error.status, len(server.received)) == (503, 3)
    assert "overloaded" in str(error)


async def test_a_wait_beyond_the_total_time_is_not_begun(server: Server, remote: Open) -> None:
    server.on(CHAT, refuses(429, "busy", Retry_After="3600"))
    began = time.monotonic()
    error, _ = await fails(remote(timeout=SHORT))
    assert isinstance(error, RemoteError)
    assert error.status == 429
    assert time.monotonic() - began < 4


async def test_an_empty_account_is_not_asked_again(server: Server, remote: Open) -> None:
    server.on(CHAT, refuses(429, "insufficient_quota: check your billing details"))
    error, _ = await fails(remote())
    assert len(server.received) == 1
    assert "quota" in error.hint


@pytest.mark.parametrize(
    ("status", "hint"), [(401, "api_key"), (403, "'m'"), (404, "'m'"), (400, "refuses"), (418, "refuses")]
)
async def test_refusals_are_typed_with_a_hint_and_not_repeated(
    status: int, hint: str, server: Server, remote: Open
) -> None:
    server.on(CHAT, refuses(status, "no \x1b[31mway"))
    error, _ = await fails(remote(kind="openai"))
    assert isinstance(error, RemoteError)
    assert error.status == status
    assert "no [31mway" in str(error)
    assert hint in error.hint
    assert len(server.received) == 1


async def test_a_redirect_is_not_followed(server: Server, remote: Open) -> None:
    async with Server() as other:
        other.on(CHAT, says("a"))

        async def elsewhere(talk: Talk) -> None:
            await talk.body(b"", status=307, Location=f"{other.url}/chat/completions?token=1")

        server.on(CHAT, elsewhere)
        error, _ = await fails(remote(api_key="secret"))
        assert isinstance(error, RemoteError)
        assert error.status == 307
        assert other.url in error.hint
        assert not other.received


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 4096 tokens. However, your messages resulted in 5000 tokens.",
        "the request exceeds the available context size. try increasing the context size or enable context shift",
    ],
)
async def test_a_prompt_that_does_not_fit_is_recognized(message: str, server: Server, remote: Open) -> None:
    server.on(CHAT, refuses(400, message))
    error, _ = await fails(remote())
    assert isinstance(error, PromptTooLong)
    assert message in str(error)


async def test_a_limit_that_does_not_fit_is_left_to_the_context(server: Server, remote: Open) -> None:
    too_much = "This model's maximum context length is 4096 tokens. However, you requested 4500 tokens (500 + 4000)."
    server.on(CHAT, refuses(400, too_much), says("a", reason="length"))
    _, finished = await collect(remote(), Generate(context=Context.chat("Hello"), max_tokens=4000))
    assert finished.reason == "context"
    assert "max_tokens" not in server.received[1].body


async def html(talk: Talk) -> None:
    await talk.body(b"<html><title>Login</title>Please log in</html>", kind="text/html")


async def html_as_stream(talk: Talk) -> None:
    await talk.body(b"<html>\nPlease log in\n</html>", kind="text/event-stream")


async def bad_json(talk: Talk) -> None:
    await talk.stream('{"choices": [{"delta": {"content": "a"')


async def deep_json(talk: Talk) -> None:
    await talk.stream('{"choices":' + "[" * 100_000)


async def wrong_types(talk: Talk) -> None:
    await talk.stream({"choices": [{"index": 0, "delta": {"content": ["a"]}}]})


async def a_number(talk: Talk) -> None:
    await talk.stream(17)


async def bad_utf8(talk: Talk) -> None:
    await talk.begin()
    await talk.piece(b'data: {"choices": [{"delta": {"content": "\xff\xfe"}}]}\n\n')
    await talk.end()


async def huge_line(talk: Talk) -> None:
    await talk.begin()
    while True:
        await talk.piece(b"data: " + b"x" * 500_000)


async def nameless_call(talk: Talk) -> None:
    await talk.stream(chunk(tool_calls=[{"index": 0, "function": {"arguments": "{}"}}]), ending("tool_calls"))


async def broken_call(talk: Talk) -> None:
    call = {"index": 0, "id": "a", "function": {"name": "add", "arguments": '{"x": '}}
    await talk.stream(chunk(tool_calls=[call]), ending("tool_calls"))


async def no_http(talk: Talk) -> None:
    await talk.raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")


async def no_list(talk: Talk) -> None:
    await talk.json([1, 2])


async def filtered(talk: Talk) -> None:
    await talk.stream(chunk(content="a"), ending("content_filter"))


async def aborted(talk: Talk) -> None:
    await talk.stream(chunk(content="a"), ending("abort"))


async def reports(talk: Talk) -> None:
    await talk.stream(chunk(content="a"), {"error": {"message": "slot lost", "code": 500}})


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (html, "Please log in"),
        (html_as_stream, "no stream of events"),
        (bad_json, "can't be read"),
        (deep_json, "can't be read"),
        (wrong_types, "choices.0.delta.content"),
        (a_number, "can't be read"),
        (bad_utf8, "can't be read"),
        (huge_line, "bytes"),
        (endless_headers, ""),
        (nameless_call, "no name"),
        (broken_call, "'add'"),
        (no_http, ""),
        (no_list, "can't be read"),
        (filtered, "content filter"),
        (aborted, "'abort'"),
        (reports, "slot lost"),
    ],
)
async def test_garbage_is_a_typed_error(
    handler: Callable[[Talk], Awaitable[None]], words: str, server: Server, remote: Open
) -> None:
    server.on(CHAT, handler)
    error, _ = await fails(remote(retries=0))
    assert type(error) is RemoteError
    assert words in str(error)
    assert error.hint
    assert len(str(error)) < 1500


async def test_one_bad_answer_leaves_the_others_running(server: Server, remote: Open) -> None:
    go_on = asyncio.Event()

    async def slow(talk: Talk) -> None:
        await talk.begin()
        await talk.event(chunk(content="a"))
        await go_on.wait()
        await talk.event(ending())
        await talk.end()

    server.on(CHAT, slow, bad_json)
    engine = remote(retries=0)
    good = asyncio.create_task(collect(engine, ASK))
    while not server.received:
        await asyncio.sleep(0.01)
    await fails(engine)
    go_on.set()
    assert (await good)[1].message.content == "a"


async def test_a_model_without_tools_is_unsupported(server: Server, remote: Open) -> None:
    server.on(CHAT, refuses(400, "registry.ollama.ai/library/m does not support tools"))
    context = Context.chat("Add", tools=(ToolSpec("add"),))
    error, _ = await fails(remote(), Generate(context=context))
    assert isinstance(error, Unsupported)


@pytest.mark.parametrize(
    "request_", [Generate(context=ASK.context, adapter="a"), Generate(context=ASK.context, beams=2)]
)
async def test_what_no_remote_engine_can_do_is_unsupported(request_: Generate, remote: Open) -> None:
    error, _ = await fails(remote(), request_)
    assert isinstance(error, Unsupported)


async def test_a_request_that_is_no_json_is_refused_before_it_is_sent(server: Server, remote: Open) -> None:
    server.on(CHAT, says("a"))
    error, _ = await fails(remote(), Generate(context=ASK.context, sampling=Sampling(temperature=float("nan"))))
    assert type(error) is EngineError
    assert not server.received


async def test_started_comes_once_however_often_it_is_tried(server: Server, remote: Open) -> None:
    server.on(CHAT, streams(), says("a"))
    kinds = [event.kind for event in await _events(remote())]
    assert kinds == ["started", "token", "finished"]


async def _events(engine: RemoteEngine) -> list[EngineEvent]:
    return [event async for event in engine.generate(ASK)]


def test_retry_after_is_a_number_or_a_date() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert retry_after("2.5") == 2.5
    assert retry_after(format_datetime(now + timedelta(seconds=30), usegmt=True), now=now) == 30
    assert retry_after(format_datetime(now - timedelta(days=1), usegmt=True), now=now) == 0
    assert [retry_after(value) for value in ("", "soon", "-1", "nan", "inf", "99 Foo 2026")] == [None] * 6


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error": {"message": "a", "code": 3}}', "a (3)"),
        (b'{"error": "a"}', "a"),
        (b'{"detail": [{"loc": ["body", "top_k"], "msg": "b"}]}', '[{"loc": ["body", "top_k"], "msg": "b"}]'),
        (b'{"object": "error", "message": "a", "type": "T"}', "a (T)"),
        (b"<html>\n<b>Bad</b> gateway</html>", "Bad gateway"),
        (b"\xff\x00", "\ufffd"),
        (b"", ""),
        (b"null", "null"),
    ],
)
def test_the_words_of_every_known_form_of_error_are_found(body: bytes, words: str) -> None:
    assert server_words(body) == words
