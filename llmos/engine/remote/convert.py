"""From contexts and requests to the JSON that servers want.

Knows the fields' names and which server takes which; sends nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from llmos.engine.remote.server import Server
from llmos.messages import Generate, Message, Sampling, ToolSpec

Json = dict[str, Any]

# OpenAI takes four; what a server does not get is looked for here.
STOPS = 4
# For raw text most servers stop after 16 tokens if they are not told how many.
RAW_TOKENS = 4096


def request_body(request: Generate, server: Server, *, seed: int, limit: int | None, logprobs: bool) -> Json:
    """The body for `/chat/completions`, or for `/completions` if the context is raw text, without any constraint.

    Args:
        request: What is asked for.
        server: Decides which fields there are.
        seed: The seed to send.
        limit: The most tokens to ask for, None for no limit.
        logprobs: Whether to ask for log-probabilities that the request itself does not need.
    """
    body: Json = {"model": server.model, "stream": True, "stream_options": {"include_usage": True}}
    if request.context.text is None:
        body["messages"] = messages(request.context.messages)
        if request.context.tools:
            body["tools"] = tools(request.context.tools)
    else:
        body["prompt"] = request.context.text
    body |= sampling(request.sampling, server) | {"seed": seed}
    if limit is not None:
        chat = request.context.text is None
        body["max_completion_tokens" if server.completion_tokens and chat else "max_tokens"] = limit
    if request.stop:
        body["stop"] = list(request.stop if server.kind in ("llama-server", "vllm") else request.stop[:STOPS])
    # llama-server has none for tool calls, and gives none when asked for 0 alternatives.
    llama_server = server.kind == "llama-server"
    if request.top_logprobs or (logprobs and not (llama_server and request.context.tools)):
        top = max(request.top_logprobs, 1 if llama_server else 0)
        if request.context.text is None:
            body |= {"logprobs": True} | ({"top_logprobs": top} if top else {})
        else:
            body["logprobs"] = top
    return {name: value for name, value in body.items() if name not in server.refused}


def max_tokens(request: Generate, server: Server) -> int | None:
    """The limit to begin with; None is none, which for chats means up to the end of the context."""
    if (
        request.max_tokens is None
        and request.context.text is not None
        and server.kind not in ("llama-server", "ollama")
    ):
        return RAW_TOKENS
    return request.max_tokens


def sampling(settings: Sampling, server: Server) -> Json:
    """Sampling settings; those beyond OpenAI's only where they change something and the server may take them."""
    body: Json = {"temperature": settings.temperature, "top_p": settings.top_p}
    if settings.frequency_penalty:
        body["frequency_penalty"] = settings.frequency_penalty
    if settings.presence_penalty:
        body["presence_penalty"] = settings.presence_penalty
    if settings.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in settings.logit_bias.items()}
    if settings.top_k > 0:
        body["top_k"] = settings.top_k
    if settings.min_p > 0:
        body["min_p"] = settings.min_p
    if settings.repeat_penalty != 1:
        name = "repetition_penalty" if server.kind == "vllm" else "repeat_penalty"
        body[name] = settings.repeat_penalty
    if server.kind == "llama-server":
        # Its own defaults are not neutral, so nothing is left to them.
        body |= {"top_k": settings.top_k, "min_p": settings.min_p, "repeat_last_n": settings.penalty_window}
    return body


def messages(conversation: Sequence[Message]) -> list[Json]:
    """A conversation. Tool calls without an id get one, and the results that follow refer to it by their order."""
    converted, open_ids = list[Json](), list[str]()
    for place, message in enumerate(conversation):
        if message.role == "assistant":
            open_ids = [call.id or f"call{place:03d}{number:02d}" for number, call in enumerate(message.tool_calls)]
            converted.append(_assistant(message, open_ids))
        elif message.role == "tool":
            call_id = message.tool_call_id or (open_ids[0] if open_ids else "call00000")
            open_ids = [known for known in open_ids if known != call_id]
            named = {"name": message.name} if message.name else {}
            converted.append({"role": "tool", "tool_call_id": call_id, "content": message.content, **named})
        else:
            converted.append({"role": message.role, "content": message.content})
    return converted


def _assistant(message: Message, ids: Sequence[str]) -> Json:
    calls = [
        {"id": call_id, "type": "function", "function": {"name": call.name, "arguments": _arguments(call.arguments)}}
        for call_id, call in zip(ids, message.tool_calls, strict=True)
    ]
    if not calls:
        return {"role": "assistant", "content": message.content}
    return {"role": "assistant", "content": message.content or None, "tool_calls": calls}


def _arguments(arguments: Mapping[str, Any]) -> str:
    return json.dumps(dict(arguments), ensure_ascii=False, default=dict)


def tools(specs: Sequence[ToolSpec]) -> list[Json]:
    """What the model may call."""
    return [
        {
            "type": "function",
            "function": {"name": spec.name, "description": spec.description, "parameters": spec.parameters},
        }
        for spec in specs
    ]
