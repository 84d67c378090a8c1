"""What a streamed answer consists of, checked piece by piece.

Knows the JSON of `/chat/completions` and `/completions` as OpenAI, llama-server, vLLM and Ollama write it, in a stream
and in one piece. Fields that are not listed are ignored; a listed field of the wrong type is garbage.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from llmos.engine.remote.address import Address
from llmos.engine.remote.faults import Fault, garbage, one_line, too_long
from llmos.errors import RemoteError
from llmos.events import Alternative

# The likeliest that a log-probability is not: servers write log(0) as some huge negative number.
_IMPOSSIBLE = -1e4


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Function(_Model):
    """The function of a tool call; later pieces have only more of its arguments."""

    name: str | None = None
    arguments: str | dict[str, object] | None = None


class CallPiece(_Model):
    """A part of a tool call."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Delta(_Model):
    """What a piece adds to the message."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[CallPiece] | None = None


class TokenLogprob(_Model):
    """One token with its log-probability; llama-server adds the id."""

    token: str
    logprob: float | None = None
    id: int | None = None
    top_logprobs: list[TokenLogprob] | None = None


class Logprobs(_Model):
    """Log-probabilities: `content` in the form for chats, the others in the older form for raw text."""

    content: list[TokenLogprob] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


class Choice(_Model):
    """One answer of several; only the first is ever asked for."""

    index: int | None = 0
    delta: Delta | None = None
    message: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class Details(_Model):
    """How much of the prompt was already in a cache."""

    cached_tokens: int | None = None


class UsageCounts(_Model):
    """Token counts; `prompt_cache_hit_tokens` is DeepSeek's name."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: Details | None = None
    prompt_cache_hit_tokens: int | None = None


class Timings(_Model):
    """llama-server's own counts."""

    cache_n: int | None = None


class Problem(_Model):
    """An error in the middle of a stream."""

    message: str | None = None
    type: str | None = None
    code: int | str | None = None


class Chunk(_Model):
    """One event of a stream, or a whole answer. llama-server's and vLLM's errors may come bare, with a `message`."""

    choices: list[Choice] | None = None
    usage: UsageCounts | None = None
    timings: Timings | None = None
    error: Problem | str | None = None
    message: str | None = None
    code: int | str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A token as the server tells it: id -1 and log-probability NaN where it does not."""

    text: str
    logprob: float = math.nan
    token: int = -1
    top: tuple[Alternative, ...] = ()


def parse_chunk(data: bytes, address: Address) -> Chunk:
    """A chunk.

    Raises:
        Fault: It is not JSON, not UTF-8, of the wrong types, or an error that the server reports.
    """
    try:
        chunk = Chunk.model_validate_json(data)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        what = f"with a piece that can't be read ({place + ': ' if place else ''}{problem['msg']})"
        raise garbage(address, one_line(what), data[:400].decode("utf-8", "replace")) from error
    if chunk.error is not None or (chunk.choices is None and chunk.message):
        raise _reported(chunk, address)
    return chunk


def _reported(chunk: Chunk, address: Address) -> Fault:
    problem = chunk.error if chunk.error is not None else Problem(message=chunk.message, code=chunk.code)
    if isinstance(problem, str):
        problem = Problem(message=problem)
    text = address.hide(one_line(f"{problem.message or problem.type or 'no reason given'}"))
    status = problem.code if isinstance(problem.code, int) and 400 <= problem.code < 600 else 0
    if fault := too_long(address, text, status):
        return fault
    error = RemoteError(
        f"The server at {address.base!r} broke its answer off with an error: {text!r}.",
        hint="Try again; the server's log may tell more.",
        status=status,
    )
    return Fault(error, retry=status == 429 or status >= 500, status=status, text=text)


def entries(choice: Choice, text: str) -> list[Entry]:
    """The tokens of a piece of text: as told with the log-probabilities, otherwise the piece is one token.

    Where the tokens' texts don't add up to the piece (parts of characters), the last one carries all of it.
    """
    told = _told(choice.logprobs)
    if not told:
        return [Entry(text)] if text else []
    if "".join(entry.text for entry in told) == text:
        return told
    held = [Entry("", entry.logprob, entry.token, entry.top) for entry in told]
    last = held[-1]
    return [*held[:-1], Entry(text, last.logprob, last.token, last.top)]


def _told(logprobs: Logprobs | None) -> list[Entry]:
    if logprobs is None:
        return []
    if logprobs.content:
        return [
            Entry(item.token, _logprob(item.logprob), _id(item.id), _alternatives(item.top_logprobs))
            for item in logprobs.content
        ]
    values = logprobs.token_logprobs or []
    tops = logprobs.top_logprobs or []
    return [
        Entry(
            text,
            _logprob(values[place] if place < len(values) else None),
            top=_table(tops[place] if place < len(tops) else None),
        )
        for place, text in enumerate(logprobs.tokens or [])
    ]


def _alternatives(items: list[TokenLogprob] | None) -> tuple[Alternative, ...]:
    return tuple(Alternative(_id(item.id), item.token, _logprob(item.logprob)) for item in items or [])


def _table(items: dict[str, float] | None) -> tuple[Alternative, ...]:
    ordered = sorted((items or {}).items(), key=lambda item: -item[1])
    return tuple(Alternative(-1, text, _logprob(value)) for text, value in ordered)


def _logprob(value: float | None) -> float:
    """A log-probability as a server writes it; never above 0, and NaN where there is none."""
    if value is None or math.isnan(value):
        return math.nan
    return min(0.0, value) if value > _IMPOSSIBLE else -math.inf


def _id(value: int | None) -> int:
    return -1 if value is None else value
