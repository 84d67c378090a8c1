"""What a scripted engine says, token by token: a tokenizer without a vocabulary, and replies cut to their limits.

Knows no engine and keeps no state.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from llmos.errors import EngineError
from llmos.events import Alternative, Channel, FinishReason
from llmos.messages import Context, Generate, Message, ToolCall

_PIECE = 6
_WORD = re.compile(rb"\s?\S+|\s")
DEFAULT_LOGPROB = math.log(0.9)


@dataclass(frozen=True, slots=True)
class Reply:
    """One scripted answer.

    Attributes:
        text: The answer.
        reasoning: What comes before it on the channel `reasoning`.
        tool_calls: What it asks for after the text; each arrives as JSON on the channel `tool`.
        error: Raised after all of that was streamed, instead of `Finished`.
        logprob: Natural-log probability of each token.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    error: Exception | None = None
    logprob: float = DEFAULT_LOGPROB


def tokens_of(data: bytes) -> tuple[int, ...]:
    """The token ids of any bytes: `bytes_of(tokens_of(data)) == data`."""
    pieces = (word[start : start + _PIECE] for word in _WORD.findall(data) for start in range(0, len(word), _PIECE))
    return tuple(int.from_bytes(b"\x01" + piece, "big") for piece in pieces)


def bytes_of(tokens: Sequence[int]) -> bytes:
    """The bytes of token ids that `tokens_of` made.

    Raises:
        EngineError: An id that it can't have made.
    """
    return b"".join(_piece(token) for token in tokens)


def _piece(token: int) -> bytes:
    data = token.to_bytes((token.bit_length() + 7) // 8, "big") if token > 0 else b""
    if not 2 <= len(data) <= _PIECE + 1 or data[0] != 1:
        raise EngineError(f"{token!r} is not a token id of a scripted engine.")
    return data[1:]


def encode(text: str) -> bytes:
    """A text as UTF-8; bytes that were smuggled into it by `surrogateescape` come out as they were."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def prefix_hashes(tokens: Sequence[int]) -> list[int]:
    """One number per prefix, so that a set of them tells how far a sequence is known."""
    digest, digests = 0, list[int]()
    for token in tokens:
        digest = hash((digest, token))
        digests.append(digest)
    return digests


def last_words(context: Context) -> str:
    """The content of the last message, or the raw text: what a script looks a reply up by."""
    if context.text is not None:
        return context.text
    return context.messages[-1].content if context.messages else ""


def prompt_tokens(context: Context) -> tuple[int, ...]:
    """Message by message, each part on its own, so that a longer conversation begins with the same ids."""
    if context.text is not None:
        return tokens_of(encode(context.text)) or tokens_of(b"\n")
    tokens = list[int]()
    for tool in context.tools:
        tokens += tokens_of(encode(f"tool {tool.name} {json.dumps(tool.parameters, sort_keys=True, default=str)}\n"))
    for message in context.messages:
        tokens += _header(message.role)
        for _, text in _parts(message.reasoning, message.content, message.tool_calls):
            tokens += tokens_of(encode(text))
    return (*tokens, *_header("assistant"))


def _header(role: str) -> tuple[int, ...]:
    return tokens_of(f"<{role[:4]}>".encode())


def _parts(reasoning: str, text: str, tool_calls: Sequence[ToolCall]) -> list[tuple[Channel, str]]:
    parts: list[tuple[Channel, str]] = [("reasoning", reasoning), ("answer", text)]
    for call in tool_calls:
        parts.append(("tool", json.dumps({"name": call.name, "arguments": dict(call.arguments)}, default=str)))
    return [(channel, part) for channel, part in parts if part]


@dataclass(frozen=True, slots=True)
class Step:
    """One token to stream, and what it adds to the text of its channel."""

    token: int
    text: str
    channel: Channel


@dataclass(frozen=True, slots=True)
class Plan:
    """All that one request will stream: known beforehand, so it can be entered at any token."""

    steps: tuple[Step, ...]
    message: Message
    reason: FinishReason


def plan_of(reply: Reply, request: Generate, *, room: int) -> Plan:
    """A reply cut at the request's stop strings and `max_tokens`, and at `room`, the tokens left in the context."""
    text, stopped = _cut(reply.text, request.stop)
    tool_calls = () if stopped else reply.tool_calls
    steps = [step for channel, part in _parts(reply.reasoning, text, tool_calls) for step in _steps(channel, part)]
    limit = room if request.max_tokens is None else min(room, request.max_tokens)
    reason: FinishReason = "tool_calls" if tool_calls else "stop"
    if len(steps) > limit:
        reason = "length" if request.max_tokens is not None and request.max_tokens <= room else "context"
        steps, tool_calls = steps[:limit], ()
    said = {
        channel: "".join(step.text for step in steps if step.channel == channel) for channel in ("reasoning", "answer")
    }
    return Plan(
        tuple(steps), Message("assistant", said["answer"], reasoning=said["reasoning"], tool_calls=tool_calls), reason
    )


def _cut(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    ends = [found for found in (text.find(mark) for mark in stop if mark) if found >= 0]
    return (text[: min(ends)], True) if ends else (text, False)


def _steps(channel: Channel, text: str) -> list[Step]:
    """Tokens with the text each adds: the bytes of a character that is not complete yet come with a later one."""
    steps, held = list[Step](), b""
    tokens = tokens_of(encode(text))
    for index, token in enumerate(tokens):
        held += _piece(token)
        added, held = _whole_characters(held) if index < len(tokens) - 1 else (held, b"")
        steps.append(Step(token, added.decode("utf-8", "surrogateescape"), channel))
    return steps


def _whole_characters(data: bytes) -> tuple[bytes, bytes]:
    """Complete UTF-8 characters, and the beginning of one more at the end."""
    for length in range(1, min(3, len(data)) + 1):
        lead = data[-length]
        if lead >= 0xC0:
            needed = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return (data, b"") if length >= needed else (data[:-length], data[-length:])
        if lead < 0x80:
            break
    return data, b""


def alternatives(token: int, logprob: float, count: int) -> tuple[Alternative, ...]:
    """The token itself first, then invented ones, each half as likely as the one before."""
    if count < 1:
        return ()
    top = [Alternative(token, _piece(token).decode("utf-8", "replace"), logprob)]
    rest = max(1.0 - math.exp(logprob), 1e-9)
    for k in range(1, count):
        text = f" alt{k}"
        top.append(Alternative(tokens_of(text.encode())[0], text, math.log(rest / 2**k)))
    return tuple(top)
