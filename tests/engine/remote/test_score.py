"""Scores of choices, from the log-probabilities of each kind of server."""

from __future__ import annotations

import math

import pytest

from llmos.errors import ConfigError, RemoteError, Unsupported
from llmos.messages import Context, Score
from tests.engine.remote.conftest import Open
from tests.engine.remote.server import CHAT, MODELS, RAW, Server, Talk, answers, lists, refuses

ASK = Score(context=Context.chat("Is it?"), choices=("yes", "no"))
IDS = {"yes": [5], "no": [6, 7], "Is it?": [1, 2, 3]}
LOGPROBS = {5: -1.0, 6: -2.0, 7: -0.5}


async def tokenize(talk: Talk) -> None:
    body = talk.request.body
    text = body.get("content") or body.get("prompt") or body["messages"][-1]["content"]
    await talk.json({"tokens": IDS[text]})


def llama_server(server: Server) -> None:
    async def template(talk: Talk) -> None:
        await talk.json({"prompt": talk.request.body["messages"][-1]["content"]})

    async def forced(talk: Talk) -> None:
        [[token, bias]] = talk.request.body["logit_bias"]
        assert bias > 1000
        await talk.json({"content": "", "completion_probabilities": [{"id": token, "logprob": LOGPROBS[token]}]})

    server.on(MODELS, lists("llamacpp"))
    server.on("/apply-template", template)
    server.on("/tokenize", tokenize)
    server.on("/completion", forced)


def vllm(server: Server) -> None:
    async def echo(talk: Talk) -> None:
        body = talk.request.body
        assert body["echo"] is True
        values = [None, *(LOGPROBS.get(token, -9.0) for token in body["prompt"][1:]), -3.0]
        logprobs = {"tokens": ["x"] * len(values), "token_logprobs": values}
        await talk.json({"choices": [{"index": 0, "text": "x", "logprobs": logprobs, "finish_reason": "length"}]})

    server.on(MODELS, lists("vllm"))
    server.on("/tokenize", tokenize)
    server.on(RAW, echo)


@pytest.mark.parametrize("serve", [llama_server, vllm])
async def test_whole_choices_are_scored_token_by_token(serve: object, server: Server, remote: Open) -> None:
    assert callable(serve)
    serve(server)
    scores = await remote().score(ASK)
    assert [(choice.logprob, choice.tokens) for choice in scores.choices] == [(-1.0, 1), (-2.5, 2)]
    assert scores.choices[0].probability == pytest.approx(1 / (1 + math.exp(-1.5)))
    assert sum(choice.probability for choice in scores.choices) == pytest.approx(1)
    assert scores.prompt_tokens == 3
    assert scores.best.choice == "yes"


async def test_a_baseline_and_a_temperature_calibrate(server: Server, remote: Open) -> None:
    llama_server(server)
    request = Score(context=ASK.context, choices=ASK.choices, baseline=ASK.context, temperature=2)
    scores = await remote().score(request)
    assert [choice.probability for choice in scores.choices] == [0.5, 0.5]
    assert scores.choices[0].logprob == -1.0


def first_tokens(**logprobs: float) -> object:
    top = [{"token": token, "logprob": value} for token, value in logprobs.items()]
    told = {"content": [{"token": "x", "logprob": -0.1, "top_logprobs": top}]}
    message = {"role": "assistant", "content": "x"}
    choice = {"index": 0, "message": message, "logprobs": told, "finish_reason": "length"}
    return {"choices": [choice], "usage": {"prompt_tokens": 9}}


async def test_other_servers_score_choices_of_one_token(server: Server, remote: Open) -> None:
    server.on(CHAT, answers(first_tokens(yes=-0.5, no=-1.5, maybe=-3)))
    scores = await remote().score(ASK)
    assert [choice.logprob for choice in scores.choices] == [-0.5, -1.5]
    assert scores.prompt_tokens == 9
    assert server.received[0].body["top_logprobs"] == 20


async def test_other_servers_score_raw_text_too(server: Server, remote: Open) -> None:
    logprobs = {"tokens": ["yes"], "token_logprobs": [-1], "top_logprobs": [{"yes": -1, "no": -2}]}
    server.on(RAW, answers({"choices": [{"index": 0, "text": "yes", "logprobs": logprobs}]}))
    scores = await remote().score(Score(context=Context(text="Is it? "), choices=("no", "yes")))
    assert [choice.logprob for choice in scores.choices] == [-2, -1]


@pytest.mark.parametrize(
    "value", [first_tokens(yes=-0.5), {"choices": [{"index": 0, "message": {"content": "yes"}}]}, {"choices": []}]
)
async def test_what_the_list_does_not_have_is_unsupported_with_a_hint(
    value: object, server: Server, remote: Open
) -> None:
    server.on(CHAT, answers(value))
    with pytest.raises(Unsupported) as caught:
        await remote().score(ASK)
    assert "llama-server" in caught.value.hint


async def test_a_server_that_refuses_logprobs_is_unsupported(server: Server, remote: Open) -> None:
    server.on(CHAT, refuses(400, "logprobs are not supported"))
    with pytest.raises(Unsupported):
        await remote().score(ASK)


async def test_scores_that_are_garbage_are_errors(server: Server, remote: Open) -> None:
    vllm(server)
    server.on(RAW, answers({"choices": [{"index": 0, "text": "x", "logprobs": {"token_logprobs": [None]}}]}))
    with pytest.raises(RemoteError):
        await remote().score(ASK)
    llama_server(server)
    server.on("/completion", answers({"content": "x"}))
    with pytest.raises(Unsupported):
        await remote().score(ASK)


@pytest.mark.parametrize(
    "request_",
    [
        Score(context=ASK.context, choices=()),
        Score(context=ASK.context, choices=("a", "")),
        Score(context=ASK.context, choices=("a",), temperature=0),
    ],
)
async def test_a_score_without_sense_is_refused(request_: Score, server: Server, remote: Open) -> None:
    with pytest.raises(ConfigError):
        await remote().score(request_)
    assert not server.received
