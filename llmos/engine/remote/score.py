"""How likely choices are, by the log-probabilities that a server gives.

- vLLM echoes the prompt with the log-probability of each of its tokens: one request for each choice.
- llama-server gives the log-probability of the token that it samples, from the model's own distribution; a bias makes
  it sample the choice's token. One request for each token; what was read stays in the server's cache.
- Any other server lists the likeliest first tokens: that is enough where each choice is one token in the list.

A vote over sampled answers is no substitute and not offered. Knows no retries and no queue.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llmos.engine.remote.chunks import Chunk, parse_chunk
from llmos.engine.remote.convert import Json, messages, tools
from llmos.engine.remote.faults import Fault, garbage
from llmos.engine.remote.server import Server
from llmos.engine.remote.tokens import call, choice_ids, prompt_ids
from llmos.engine.remote.transport import Transport, encode
from llmos.errors import ConfigError, Unsupported
from llmos.messages import Context, Score, ScoredChoice, Scores

_TOP = 20
_TOP_RAW = 5
# Far beyond any logit, so that the biased token is always the one that is sampled.
_BIAS = 1e5


@dataclass(frozen=True, slots=True)
class _Measured:
    logprobs: tuple[float, ...]
    tokens: tuple[int, ...]
    prompt_tokens: int = 0


async def score(request: Score, server: Server, transport: Transport) -> Scores:
    """The scores of a request's choices.

    Raises:
        Fault: The server failed.
        Unsupported: It does not give the log-probabilities that are needed.
        ConfigError: There are no choices, an empty one, or a temperature that is not above 0.
    """
    if not request.choices or not all(request.choices) or not request.temperature > 0:
        raise ConfigError(
            f"Can't score {request.choices!r} at temperature {request.temperature!r}.",
            hint="Give at least one choice, none of them empty, and a temperature above 0.",
        )
    measured = await _measure(request.context, request.choices, server, transport)
    values = list(measured.logprobs)
    if request.baseline is not None:
        base = await _measure(request.baseline, request.choices, server, transport)
        values = [_minus(value, bias) for value, bias in zip(values, base.logprobs, strict=True)]
    shares = _softmax([value / request.temperature for value in values])
    scored = zip(request.choices, measured.logprobs, measured.tokens, shares, strict=True)
    return Scores(tuple(ScoredChoice(*items) for items in scored), prompt_tokens=measured.prompt_tokens)


def _minus(value: float, bias: float) -> float:
    """A calibrated value; what is impossible stays so, whatever the baseline says."""
    return value if math.isinf(value) or math.isinf(bias) else value - bias


def _softmax(values: Sequence[float]) -> list[float]:
    top = max(values)
    if math.isinf(top):
        return [1 / len(values)] * len(values)
    weights = [math.exp(value - top) for value in values]
    return [weight / sum(weights) for weight in weights]


async def _measure(context: Context, choices: tuple[str, ...], server: Server, transport: Transport) -> _Measured:
    if server.kind not in ("vllm", "llama-server"):
        return await _by_first_tokens(context, choices, server, transport)
    prompt = await prompt_ids(context, server, transport)
    ids = [await choice_ids(choice, server, transport) for choice in choices]
    if server.kind == "vllm":
        logprobs = [await _echoed(prompt, choice, server, transport) for choice in ids]
    else:
        known = dict[tuple[int, ...], float]()
        logprobs = [await _forced(prompt, choice, transport, known) for choice in ids]
    return _Measured(tuple(logprobs), tuple(len(choice) for choice in ids), len(prompt))


async def _echoed(prompt: tuple[int, ...], choice: tuple[int, ...], server: Server, transport: Transport) -> float:
    body: Json = {"model": server.model, "prompt": [*prompt, *choice], "max_tokens": 1, "temperature": 0}
    chunk = await _chunk(transport, "/completions", body | {"echo": True, "logprobs": 1})
    told = chunk.choices[0].logprobs if chunk.choices else None
    values = (told.token_logprobs if told else None) or []
    wanted = [value for value in values[len(prompt) : len(prompt) + len(choice)] if value is not None]
    if len(wanted) != len(choice):
        raise garbage(transport.address, "without the log-probabilities of the prompt")
    return sum(wanted)


async def _forced(
    prompt: tuple[int, ...], choice: tuple[int, ...], transport: Transport, known: dict[tuple[int, ...], float]
) -> float:
    total = 0.0
    for end in range(1, len(choice) + 1):
        path = choice[:end]
        if path not in known:
            known[path] = await _forced_token([*prompt, *path[:-1]], path[-1], transport)
        total += known[path]
    return total


async def _forced_token(prompt: list[int], token: int, transport: Transport) -> float:
    body: Json = {"prompt": prompt, "n_predict": 1, "temperature": 0, "n_probs": 1, "cache_prompt": True}
    answer = await call(transport, "/completion", body | {"logit_bias": [[token, _BIAS]], "stream": False})
    match answer.get("completion_probabilities"):
        case [{"id": int(sampled), "logprob": float() | int() as logprob}, *_] if sampled == token:
            return min(0.0, float(logprob))
        case _:
            raise Unsupported(
                f"The server at {transport.address.base!r} does not give the log-probability of a token.",
                hint="Use llama-server from 2025 or later.",
            )


async def _by_first_tokens(
    context: Context, choices: tuple[str, ...], server: Server, transport: Transport
) -> _Measured:
    body: Json = {"model": server.model, "temperature": 0, "stream": False}
    body["max_completion_tokens" if server.completion_tokens and context.text is None else "max_tokens"] = 1
    if context.text is None:
        body |= {"messages": messages(context.messages), "logprobs": True, "top_logprobs": _TOP}
        body |= {"tools": tools(context.tools)} if context.tools else {}
        path = "/chat/completions"
    else:
        body |= {"prompt": context.text, "logprobs": _TOP_RAW}
        path = "/completions"
    try:
        chunk = await _chunk(transport, path, body)
    except Fault as fault:
        if "logprobs" in fault.text:
            raise _no_logprobs(server) from fault
        raise
    likeliest = _first_token(chunk)
    if not likeliest:
        raise _no_logprobs(server)
    missing = [choice for choice in choices if choice not in likeliest]
    if missing:
        raise Unsupported(
            f"The server at {server.base!r} lists only the {len(likeliest)} likeliest first tokens, and "
            f"{missing!r} are not among them.",
            hint="Use choices of one token each, such as letters, or a local model, llama-server or vLLM.",
        )
    prompt_tokens = (chunk.usage.prompt_tokens if chunk.usage else None) or 0
    return _Measured(tuple(likeliest[choice] for choice in choices), (1,) * len(choices), prompt_tokens)


def _first_token(chunk: Chunk) -> dict[str, float]:
    """The likeliest first tokens with their log-probabilities."""
    told = chunk.choices[0].logprobs if chunk.choices else None
    if told is None:
        return {}
    if told.content:
        items = told.content[0].top_logprobs or []
        return {item.token: item.logprob for item in items if item.logprob is not None}
    return dict((told.top_logprobs or [None])[0] or {})


def _no_logprobs(server: Server) -> Unsupported:
    return Unsupported(
        f"The server at {server.base!r} gives no log-probabilities for {server.model!r}.",
        hint="Choices are scored by a local model, llama-server or vLLM; or ask for one with a Choices constraint.",
    )


async def _chunk(transport: Transport, path: str, body: Json) -> Chunk:
    """An answer that comes in one piece."""
    answer = await transport.call("POST", transport.address.base + path, body)
    return parse_chunk(encode(answer), transport.address)
