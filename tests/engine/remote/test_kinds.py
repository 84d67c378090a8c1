"""What a remote engine learns of its server: its kind, its context, what it refuses."""

from __future__ import annotations

import logging

import pytest

from llmos.engine.remote import ServerKind
from llmos.errors import RemoteError, Unsupported
from llmos.messages import Context, Generate, Sampling, ToolSpec
from tests.engine.remote.conftest import Open, collect
from tests.engine.remote.server import CHAT, MODELS, RAW, Server, Talk, answers, ending, lists, refuses, says, streams

HELLO = Context.chat("Hello")
ASK = Generate(context=HELLO, sampling=Sampling(seed=1, repeat_penalty=1.1))
PROPS = {"default_generation_settings": {"n_ctx": 8192}, "build_info": "b9000-abc"}


def llama_server(server: Server) -> None:
    server.on(MODELS, lists("llamacpp", meta={"n_vocab": 49152, "n_ctx_train": 32768}))
    server.on("/props", answers(PROPS))


async def test_a_llama_server_tells_its_context_and_gives_ids(server: Server, remote: Open) -> None:
    llama_server(server)
    info = await remote().connect()
    assert (info.context, info.vocabulary, info.details["server"]) == (8192, 49152, "llama-server b9000-abc")
    assert info.capabilities == {"constrain", "tools", "logprobs", "score", "tokenize"}
    assert info.template == info.tool_format == "remote"


async def test_vllm_tells_its_context_and_version(server: Server, remote: Open) -> None:
    server.on(MODELS, lists("vllm", max_model_len=4096))
    server.on("/version", answers({"version": "0.12.0"}))
    info = await remote().connect()
    assert (info.context, info.details["server"]) == (4096, "vllm 0.12.0")
    assert info.capabilities == {"constrain", "tools", "logprobs", "score"}


async def test_ollama_tells_the_context_of_a_loaded_model(server: Server, remote: Open) -> None:
    server.on(MODELS, lists("library"))
    server.on("/api/version", answers({"version": "0.13.0"}))
    server.on("/api/ps", answers({"models": [{"name": "x"}, {"name": "m:latest", "context_length": 4096}]}))
    info = await remote().connect()
    assert (info.context, info.details["server"]) == (4096, "ollama 0.13.0")
    assert "silently" in info.details["note"]
    assert info.capabilities == {"constrain", "tools"}


async def test_any_other_server_works_without_telling_anything(server: Server, remote: Open) -> None:
    server.on(CHAT, says("ok"))
    engine = remote()
    await collect(engine, ASK)
    await collect(engine, ASK)
    assert [request.path for request in server.probes] == [MODELS]
    assert (engine.info.context, engine.info.details["server"]) == (0, "other")
    assert engine.info.capabilities == {"constrain", "tools"}


@pytest.mark.parametrize("value", [None, 7, [], {"data": 3}, {"data": [3]}, {"data": [{"id": "m", "owned_by": ["x"]}]}])
async def test_a_strange_list_of_models_tells_nothing(value: object, server: Server, remote: Open) -> None:
    server.on(MODELS, answers(value))
    assert (await remote().connect()).details["server"] == "other"


async def test_connecting_to_nobody_is_an_error(remote: Open) -> None:
    with pytest.raises(RemoteError, match="can't be reached"):
        await remote(url="http://127.0.0.1:9/v1", retries=0).connect()


@pytest.mark.parametrize(
    ("kind", "extras"),
    [
        ("llama-server", {"top_k": 40, "min_p": 0.05, "repeat_penalty": 1.1, "repeat_last_n": 64}),
        ("vllm", {"top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1}),
        ("ollama", {}),
        ("other", {"top_k": 40, "min_p": 0.05, "repeat_penalty": 1.1}),
        ("openai", {}),
    ],
)
async def test_each_kind_gets_the_settings_that_it_knows(
    kind: ServerKind, extras: dict[str, float], server: Server, remote: Open
) -> None:
    server.on(CHAT, says("ok"))
    await collect(remote(kind=kind), ASK)
    names = {"top_k", "min_p", "repeat_penalty", "repetition_penalty", "repeat_last_n"}
    assert {name: value for name, value in server.received[-1].body.items() if name in names} == extras


async def test_what_is_passed_over_without_a_word_is_told(server: Server, remote: Open) -> None:
    engine = remote(kind="ollama")
    await engine.connect()
    assert engine.info.details["not taken by the server"] == "min_p, repeat_penalty, top_k"
    with pytest.raises(Unsupported, match="logit_bias"):
        await collect(engine, Generate(context=HELLO, sampling=Sampling(logit_bias={1: 2.0})))


async def test_log_probabilities_refused_only_with_tools_stay_for_the_rest(server: Server, remote: Open) -> None:
    async def picky(talk: Talk) -> None:
        both = {"logprobs", "tools"} <= talk.request.body.keys()
        words = "logprobs is not supported with tools + stream"
        await (refuses(400, words) if both else says("ok"))(talk)

    server.on(CHAT, picky)
    engine = remote(logprobs=True)
    await collect(engine, Generate(context=Context.chat("Hi", tools=(ToolSpec("add"),))))
    await collect(engine, ASK)
    assert ["logprobs" in request.body for request in server.received] == [True, False, True]


async def test_settings_that_a_server_refuses_are_left_out_and_told_once(
    server: Server, remote: Open, caplog: pytest.LogCaptureFixture
) -> None:
    async def strict(talk: Talk) -> None:
        for name in ("top_k", "min_p", "repeat_penalty", "logprobs"):
            if name in talk.request.body:
                await talk.json({"error": {"message": f"Unrecognized request argument supplied: {name}"}}, status=400)
                return
        await says("ok")(talk)

    server.on(CHAT, strict)
    engine = remote(logprobs=True)
    with caplog.at_level(logging.WARNING, "llmos"):
        await collect(engine, ASK)
        await collect(engine, ASK)
    assert len(server.received) == 6
    refused = engine.info.details["not taken by the server"]
    assert refused == "logprobs, min_p, repeat_penalty, top_k, top_logprobs"
    assert [caplog.text.count(name) for name in ("top_k", "min_p", "repeat_penalty")] == [1, 1, 1]
    assert "logprobs" not in engine.info.capabilities


async def test_a_refusal_without_a_name_is_answered_by_the_plain_request(server: Server, remote: Open) -> None:
    async def mute(talk: Talk) -> None:
        await (refuses(422, "invalid") if "top_k" in talk.request.body else says("ok"))(talk)

    server.on(CHAT, mute)
    engine = remote()
    await collect(engine, ASK)
    await collect(engine, ASK)
    assert len(server.received) == 3


async def test_a_refusal_that_the_plain_request_gets_too_is_the_first_one(server: Server, remote: Open) -> None:
    server.on(CHAT, refuses(400, "first"), refuses(400, "second"))
    engine = remote()
    with pytest.raises(RemoteError, match="first"):
        await collect(engine, ASK)
    assert "not taken by the server" not in engine.info.details


async def test_a_value_out_of_range_is_an_error_and_not_left_out(server: Server, remote: Open) -> None:
    server.on(CHAT, refuses(400, "temperature must be at most 2"))
    with pytest.raises(RemoteError, match="at most 2"):
        await collect(remote(kind="openai"), ASK)
    assert len(server.received) == 1


async def test_the_limit_gets_its_newer_name_when_asked_for(server: Server, remote: Open) -> None:
    words = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    server.on(CHAT, refuses(400, words), says("ok"))
    await collect(remote(), Generate(context=HELLO, max_tokens=5))
    assert server.received[1].body["max_completion_tokens"] == 5
    assert "max_tokens" not in server.received[1].body


async def test_a_seed_that_was_not_taken_is_not_reported(server: Server, remote: Open) -> None:
    server.on(CHAT, refuses(422, "seed: Extra inputs are not permitted"), says("ok"))
    _, finished = await collect(remote(), ASK)
    assert finished.seed == 0


async def test_raw_text_without_a_limit_asks_for_more_than_sixteen_tokens(server: Server, remote: Open) -> None:
    done = {"choices": [{"index": 0, "text": "a", "finish_reason": "length"}]}
    server.on(RAW, streams(done))
    _, finished = await collect(remote(), Generate(context=Context(text="The")))
    assert server.received[0].body["max_tokens"] == 4096
    assert finished.reason == "length"


async def test_raw_text_in_a_small_context_asks_for_less(server: Server, remote: Open) -> None:
    async def small(talk: Talk) -> None:
        fits = talk.request.body["max_tokens"] <= 300
        done = {"choices": [{"index": 0, "text": "a", "finish_reason": "length"}]}
        await (streams(done) if fits else refuses(400, "maximum context length is 500 tokens"))(talk)

    server.on(RAW, small)
    engine = remote()
    reasons = [
        (await collect(engine, Generate(context=Context(text="The"), max_tokens=limit)))[1].reason
        for limit in (None, 1000)
    ]
    assert reasons == ["length", "context"]


async def test_token_ids_come_from_a_llama_server(server: Server, remote: Open) -> None:
    llama_server(server)
    server.on("/tokenize", answers({"tokens": [1, 2]}))
    server.on("/detokenize", answers({"content": "aé"}), answers({"content": "a\ufffd"}))
    engine = remote()
    assert await engine.tokenize("aé", special=True) == (1, 2)
    assert server.received[-1].body == {"content": "aé", "add_special": False, "parse_special": True}
    assert await engine.detokenize([1, 2]) == "aé".encode()
    with pytest.raises(Unsupported, match="whole characters"):
        await engine.detokenize([1])


async def test_token_ids_that_are_none_are_garbage(server: Server, remote: Open) -> None:
    llama_server(server)
    engine = remote()
    values: list[object] = [{}, {"tokens": 3}, {"tokens": ["a"]}, [], None]
    for value in values:
        server.on("/tokenize", answers(value))
        with pytest.raises(RemoteError):
            await engine.tokenize("a")


async def test_other_servers_give_no_token_ids(server: Server, remote: Open) -> None:
    engine = remote()
    with pytest.raises(Unsupported):
        await engine.tokenize("a")
    with pytest.raises(Unsupported):
        await engine.detokenize([1])


async def test_the_endings_of_every_server_are_known(server: Server, remote: Open) -> None:
    engine = remote()
    for word in ("stop", "eos", "end_turn"):
        server.on(CHAT, streams({"choices": [{"index": 0, "delta": {"content": "a"}}]}, ending(word)))
        assert (await collect(engine, ASK))[1].reason == "stop"
