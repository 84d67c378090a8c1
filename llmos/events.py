"""Every event a run can emit, one frozen class each, told apart by `kind`.

Knows what they say, not who sends or reads them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from llmos.messages import Context, Message

FinishReason = Literal["stop", "length", "context", "tool_calls", "cancelled"]
Channel = Literal["answer", "reasoning", "tool"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a request cost.

    Attributes:
        prompt_tokens: Length of the prompt.
        reused_tokens: Of these, how many were already in the KV cache and were not read again.
        generated_tokens: New tokens, those of discarded beams not counted.
        drafted_tokens: New tokens that came from accepted drafts or were forced by a constraint (no step of their own).
        queue_seconds: From arrival to the first step.
        first_token_seconds: From arrival to the first token; 0 without one.
        seconds: From arrival to the end.
    """

    prompt_tokens: int = 0
    reused_tokens: int = 0
    generated_tokens: int = 0
    drafted_tokens: int = 0
    queue_seconds: float = 0.0
    first_token_seconds: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The request got its place on the processor: `reused_tokens` of `prompt_tokens` need not be read."""

    request: str
    prompt_tokens: int
    reused_tokens: int
    kind: Literal["started"] = "started"


@dataclass(frozen=True, slots=True)
class Alternative:
    """A token that could have come instead, with its natural-log probability."""

    token: int
    text: str
    logprob: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One new token.

    Attributes:
        token: Its id; -1 where the engine does not tell.
        text: What it adds to the text of its channel. Empty while bytes of a character or the beginning of a possible
            stop string are held back; their text comes with a later token.
        logprob: Natural-log probability under the model before sampling and constraint; NaN where the engine does not
            tell.
        seconds: Since the request arrived.
        channel: Whether it belongs to the answer, the reasoning before it, or a tool call.
        top: The likeliest tokens at this place, as many as `Generate.top_logprobs`.
    """

    request: str
    index: int
    token: int
    text: str
    logprob: float
    seconds: float
    channel: Channel = "answer"
    top: tuple[Alternative, ...] = ()
    kind: Literal["token"] = "token"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The last event of a request.

    Attributes:
        reason: `stop` (the model ended or a stop string came), `length` (max_tokens), `context` (the window is full),
            `tool_calls` (ended with calls), `cancelled`.
        message: What the model said: answer, reasoning, tool calls.
        context: The request's context with that message, ready to be continued.
        logprob: Mean natural-log probability of the answer's tokens; NaN where unknown.
        seed: The seed that was used.
    """

    request: str
    reason: FinishReason
    message: Message
    context: Context
    logprob: float = float("nan")
    seed: int = 0
    usage: Usage = field(default_factory=Usage)
    kind: Literal["finished"] = "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something a person should know that changes nothing: a slow fallback, a model that is being prepared."""

    text: str
    kind: Literal["notice"] = "notice"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessChanged:
    """A process began, was stopped or continued, or ended; `state` is its new state."""

    pid: str
    agent: str
    state: str
    parent: str = ""
    kind: Literal["process"] = "process"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStarted:
    """A process makes a system call: `call` is its kind, `title` says it in a line."""

    pid: str
    path: str
    number: int
    call: str
    title: str
    kind: Literal["call_started"] = "call_started"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnded:
    """A system call is over: `detail` is the first line of what came of it, `usage` what a think cost."""

    pid: str
    path: str
    number: int
    call: str
    title: str
    seconds: float
    failed: bool
    detail: str = ""
    usage: Usage | None = None
    kind: Literal["call_ended"] = "call_ended"


EngineEvent = Started | Token | Finished
KernelEvent = ProcessChanged | CallStarted | CallEnded
Event = Started | Token | Finished | Notice | ProcessChanged | CallStarted | CallEnded
