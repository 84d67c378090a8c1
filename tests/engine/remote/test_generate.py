"""What a remote engine makes of an answer that is well."""

from __future__ import annotations

import json
import math

from llmos.events import Started
from llmos.messages import Context, Generate, Message, Sampling, ToolCall, ToolSpec
from tests.engine.remote.conftest import Open, collect, text
from tests.engine.remote.server import CHAT, RAW, Server, Talk, chunk, ending, says, streams, usage

HELLO = Context.chat("Hello", system="Be brief.")
NEUTRAL = Sampling(temperature=0.5, top_k=0, top_p=1, min_p=0, seed=7)


async def test_an_answer_streams_and_can_be_continued(server: Server, remote: Open) -> None:
    server.on(CHAT, says("Good", " day", counts=usage(12, 2, cached=8)))
    tokens, finished = await collect(remote(), Generate(context=HELLO, sampling=NEUTRAL))
    assert [token.text for token in tokens] == ["Good", " day"]
    assert all(token.token == -1 and math.isnan(token.logprob) for token in tokens)
    assert finished.reason == "stop"
    assert finished.message == Message("assistant", "Good day")
    assert finished.context == HELLO.add(finished.message)
    assert finished.seed == 7
    assert (finished.usage.prompt_tokens, finished.usage.reused_tokens, finished.usage.generated_tokens) == (12, 8, 2)
    assert 0 < finished.usage.first_token_seconds <= finished.usage.seconds


async def test_a_request_says_what_was_asked_for(server: Server, remote: Open) -> None:
    server.on(CHAT, says("ok"))
    sampling = Sampling(
        temperature=0, top_k=0, min_p=0, frequency_penalty=0.5, presence_penalty=0.25, logit_bias={5: -100}, seed=3
    )
    await collect(remote(api_key="k"), Generate(context=HELLO, sampling=sampling, max_tokens=9, stop=("END",)))
    [request] = server.received
    assert request.headers["authorization"] == "Bearer k"
    assert request.body == {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
        "temperature": 0,
        "top_p": 0.95,
        "frequency_penalty": 0.5,
        "presence_penalty": 0.25,
        "logit_bias": {"5": -100},
        "seed": 3,
        "max_tokens": 9,
        "stop": ["END"],
    }


async def test_a_conversation_with_tool_calls_is_sent_with_matching_ids(server: Server, remote: Open) -> None:
    server.on(CHAT, says("ok"))
    calls = (ToolCall("add", {"a": 1}), ToolCall("add", {"a": 2}))
    context = Context.chat("Add", tools=(ToolSpec("add", "Adds."),)).add(
        Message("assistant", tool_calls=calls), Message("tool", "1", name="add"), Message("tool", "2", name="add")
    )
    await collect(remote(), Generate(context=context, sampling=NEUTRAL))
    body = server.received[0].body
    assistant, first, second = body["messages"][1:]
    assert assistant["content"] is None
    assert [call["id"] for call in assistant["tool_calls"]] == [first["tool_call_id"], second["tool_call_id"]]
    assert assistant["tool_calls"][1]["function"] == {"name": "add", "arguments": '{"a": 2}'}
    assert body["tools"][0]["function"]["parameters"] == {"type": "object", "properties": {}}


async def test_tool_calls_are_put_together_from_their_parts(server: Server, remote: Open) -> None:
    def part(index: int, **fields: object) -> object:
        return chunk(tool_calls=[{"index": index, **fields}])

    server.on(
        CHAT,
        streams(
            part(0, id="a", type="function", function={"name": "add", "arguments": ""}),
            part(0, function={"arguments": '{"x":'}),
            part(0, function={"arguments": " 1}"}),
            part(1, id="b", type="function", function={"name": "now", "arguments": ""}),
            ending("tool_calls"),
        ),
    )
    tokens, finished = await collect(remote(), Generate(context=HELLO, sampling=NEUTRAL))
    assert finished.reason == "tool_calls"
    assert finished.message.tool_calls == (ToolCall("add", {"x": 1}, "a"), ToolCall("now", {}, "b"))
    assert text(tokens, "tool").startswith('{"name": "add", "arguments": {"x": 1}}{"name": "now"')


async def test_tool_calls_without_an_index_or_with_a_table_are_understood(server: Server, remote: Open) -> None:
    calls = [{"id": f"c{n}", "function": {"name": "add", "arguments": {"x": n}}} for n in (1, 2)]
    server.on(CHAT, streams(chunk(tool_calls=[calls[0]]), chunk(tool_calls=[calls[1]]), ending("stop")))
    _, finished = await collect(remote(), Generate(context=HELLO, sampling=NEUTRAL))
    assert finished.reason == "tool_calls"
    assert [call.arguments for call in finished.message.tool_calls] == [{"x": 1}, {"x": 2}]


async def test_reasoning_is_kept_apart_whatever_its_field(server: Server, remote: Open) -> None:
    inline = (chunk(content=part) for part in ("<th", "ink>\nhm", "m\n</thi", "nk>\n\nYes"))
    server.on(
        CHAT,
        streams(chunk(reasoning_content="hm"), chunk(reasoning_content="m"), chunk(content="Yes"), ending()),
        streams(chunk(reasoning="hmm"), chunk(content="Yes"), ending()),
        streams(*inline, ending()),
    )
    engine = remote()
    for _ in range(3):
        tokens, finished = await collect(engine, Generate(context=HELLO, sampling=NEUTRAL))
        assert finished.message == Message("assistant", "Yes", reasoning="hmm")
        assert (text(tokens, "reasoning"), text(tokens)) == ("hmm", "Yes")


async def test_log_probabilities_come_with_their_tokens(server: Server, remote: Open) -> None:
    def told(token: str, logprob: float) -> dict[str, object]:
        other = {"token": "x", "logprob": -4.0, "id": 9}
        return {"token": token, "logprob": logprob, "id": 5, "top_logprobs": [other, other, other]}

    piece = chunk(content="Good day")
    piece["choices"][0]["logprobs"] = {"content": [told("Good", -0.5), told(" day", -1.5)]}
    split = chunk(content="é")
    split["choices"][0]["logprobs"] = {"content": [told("\\xc3", -1.0), told("\\xa9", -1.0)]}
    server.on(CHAT, streams(piece, split, ending()))
    engine = remote(logprobs=True)
    tokens, finished = await collect(engine, Generate(context=HELLO, sampling=NEUTRAL, top_logprobs=2))
    assert [(token.text, token.logprob, token.token) for token in tokens] == [
        ("Good", -0.5, 5),
        (" day", -1.5, 5),
        ("", -1.0, 5),
        ("é", -1.0, 5),
    ]
    assert [len(token.top) for token in tokens] == [2, 2, 2, 2]
    assert finished.logprob == -1.0
    assert server.received[0].body["top_logprobs"] == 2
    assert "logprobs" in engine.info.capabilities


async def test_raw_text_is_continued_without_a_chat(server: Server, remote: Open) -> None:
    logprobs = {"tokens": [" cat"], "token_logprobs": [-0.25], "top_logprobs": [{" cat": -0.25, " dog": -2}]}
    piece = {"choices": [{"index": 0, "text": " cat", "logprobs": logprobs, "finish_reason": None}]}
    server.on(RAW, streams(piece, {"choices": [{"index": 0, "text": "", "finish_reason": "length"}]}))
    request = Generate(context=Context(text="<think> The"), sampling=NEUTRAL, max_tokens=1, top_logprobs=2)
    tokens, finished = await collect(remote(), request)
    assert [(token.text, token.logprob) for token in tokens] == [(" cat", -0.25)]
    assert [other.text for other in tokens[0].top] == [" cat", " dog"]
    assert finished.reason == "length"
    assert finished.context == Context(text="<think> The cat")
    assert server.received[0].body["prompt"] == "<think> The"


async def test_stop_strings_hold_even_where_the_server_ignores_them(server: Server, remote: Open) -> None:
    server.on(CHAT, says("one E", "N", "two EN", "D three"))
    request = Generate(context=HELLO, sampling=NEUTRAL, stop=("1", "2", "3", "4", "END"))
    tokens, finished = await collect(remote(), request)
    assert (text(tokens), finished.message.content, finished.reason) == ("one ENtwo ", "one ENtwo ", "stop")
    assert server.received[0].body["stop"] == ["1", "2", "3", "4"]


async def test_the_end_of_the_context_is_told_from_a_limit(server: Server, remote: Open) -> None:
    server.on(CHAT, says("a", reason="length", counts=usage(5, 3)))
    engine = remote()
    reasons = [
        (await collect(engine, Generate(context=HELLO, sampling=NEUTRAL, max_tokens=limit)))[1].reason
        for limit in (None, 3, 8)
    ]
    assert reasons == ["context", "length", "context"]


async def test_a_server_that_does_not_stream_is_understood(server: Server, remote: Open) -> None:
    async def whole(talk: Talk) -> None:
        message = {"role": "assistant", "content": "Good day"}
        counts = usage(5, 2)["usage"]
        await talk.json({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": counts})

    server.on(CHAT, whole)
    _, finished = await collect(remote(), Generate(context=HELLO, sampling=NEUTRAL))
    assert (finished.message.content, finished.usage.prompt_tokens) == ("Good day", 5)


async def test_events_cut_at_any_byte_and_comments_between_them_make_no_difference(
    server: Server, remote: Open
) -> None:
    async def crumbs(talk: Talk) -> None:
        await talk.begin()
        stream = b": waiting\r\n\r\n"
        for event in (chunk(content="Grüße "), chunk(content="日本"), ending()):
            stream += b"event: message\r\ndata: " + json.dumps(event, ensure_ascii=False).encode() + b"\r\n\r\n"
        for place in range(0, len(stream), 7):
            await talk.piece(stream[place : place + 7])
        await talk.end()

    server.on(CHAT, crumbs)
    tokens, _ = await collect(remote(), Generate(context=HELLO, sampling=NEUTRAL))
    assert [token.text for token in tokens] == ["Grüße ", "日本"]


async def test_connections_are_used_again(server: Server, remote: Open) -> None:
    server.on(CHAT, says("a"))
    engine = remote()
    for _ in range(4):
        await collect(engine, Generate(context=HELLO, sampling=NEUTRAL))
    assert server.connections == 1


async def test_lone_surrogates_are_replaced_before_they_are_sent(server: Server, remote: Open) -> None:
    server.on(CHAT, says("ok"))
    await collect(remote(), Generate(context=Context.chat("a\udc80b 😀"), sampling=NEUTRAL))
    assert server.received[0].body["messages"][0]["content"] == "a\ufffdb 😀"


async def test_a_drawn_seed_is_sent_and_reported(server: Server, remote: Open) -> None:
    server.on(CHAT, says("ok"))
    _, finished = await collect(remote(), Generate(context=HELLO))
    assert finished.seed == server.received[0].body["seed"]


async def test_started_comes_before_the_first_token(server: Server, remote: Open) -> None:
    server.on(CHAT, says("ok"))
    events = [event async for event in remote().generate(Generate(context=HELLO, id="r1"))]
    assert events[0] == Started(request="r1", prompt_tokens=0, reused_tokens=0)
