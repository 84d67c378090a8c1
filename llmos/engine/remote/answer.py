"""An answer as it grows: from chunks to token events, and to the message at the end.

Knows no network; times come from the clock of the event loop.
"""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass, field
from typing import cast

from llmos.engine.remote.address import Address
from llmos.engine.remote.chunks import CallPiece, Choice, Chunk, Entry, Function, entries
from llmos.engine.remote.faults import Fault, garbage
from llmos.engine.remote.text import Splitter
from llmos.errors import RemoteError
from llmos.events import Channel, Finished, FinishReason, Token, Usage
from llmos.messages import Context, Generate, Message, ToolCall

_MOST_TEXT = 16 << 20
_STOPS = frozenset({"stop", "eos", "eos_token", "end_turn", "stop_sequence"})
_CALLS = frozenset({"tool_calls", "function_call", "tool_use"})


@dataclass(slots=True)
class _Call:
    name: str
    id: str
    arguments: str = ""


@dataclass(slots=True)
class Clock:
    """When things happened, in seconds of the event loop's clock."""

    arrived: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    placed: float = 0.0
    first: float = 0.0

    def since(self) -> float:
        """Seconds since the request arrived."""
        return asyncio.get_running_loop().time() - self.arrived


@dataclass(slots=True)
class Answer:
    """One answer.

    Attributes:
        limit: The most tokens that the server was allowed, None for the rest of the context.
        tokens: How many token events it gave.
        reason: The server's word for why it ended, empty before that.
        prompt_tokens: As the server counts them.
        cached_tokens: Of these, how many it had read before.
        completion_tokens: As the server counts them, 0 where it does not.
    """

    request: Generate
    address: Address
    clock: Clock
    limit: int | None
    tokens: int = 0
    reason: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    _splitter: Splitter = field(init=False)
    _text: dict[Channel, list[str]] = field(init=False)
    _size: int = 0
    _calls: dict[int, _Call] = field(default_factory=dict[int, _Call])
    _logprobs: list[float] = field(default_factory=list[float])

    def __post_init__(self) -> None:
        self._splitter = Splitter(self.request.stop, thoughts=self.request.context.text is None)
        self._text = {"answer": [], "reasoning": [], "tool": []}

    @property
    def stopped(self) -> bool:
        """Whether a stop string came."""
        return self._splitter.stopped

    @property
    def has_logprobs(self) -> bool:
        """Whether any token came with its log-probability."""
        return bool(self._logprobs)

    @property
    def text(self) -> str:
        """The answer so far, without thoughts."""
        return "".join(self._text["answer"])

    def continued(self, message: Message) -> Context:
        """The request's context with a message at its end."""
        context = self.request.context
        return context.add(message) if context.text is None else Context(text=context.text + message.content)

    def read(self, chunk: Chunk) -> list[Token]:
        """The events of one more chunk.

        Raises:
            Fault: It holds something that no answer has.
        """
        self._count(chunk)
        events = list[Token]()
        for choice in chunk.choices or []:
            if not choice.index:
                events += self._read(choice)
        return events

    def end(self) -> list[Token]:
        """The events for text that was held back."""
        return [self._token(Entry(text), channel, text) for channel, text in self._splitter.end()]

    def _count(self, chunk: Chunk) -> None:
        usage = chunk.usage
        if usage is not None:
            self.prompt_tokens = usage.prompt_tokens or self.prompt_tokens
            self.completion_tokens = usage.completion_tokens or self.completion_tokens
            details = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else None
            self.cached_tokens = details or usage.prompt_cache_hit_tokens or self.cached_tokens
        if chunk.timings is not None:
            self.cached_tokens = self.cached_tokens or chunk.timings.cache_n or 0

    def _read(self, choice: Choice) -> list[Token]:
        delta = choice.delta or choice.message
        thought = (delta.reasoning_content or delta.reasoning or "") if delta else ""
        content = (delta.content or delta.refusal or "") if delta else ""
        events = list[Token]()
        if thought:
            told = choice if not content else choice.model_copy(update={"logprobs": None})
            events += [self._token(entry, "reasoning", entry.text) for entry in entries(told, thought)]
        text = content or choice.text or ""
        calls = (delta.tool_calls or []) if delta else []
        if text or (choice.logprobs is not None and not thought and not calls):
            for entry in entries(choice, text):
                events += self._divided(entry)
        for piece in calls:
            events += self._call(piece)
        if choice.finish_reason:
            self.reason = choice.finish_reason
        return events

    def _divided(self, entry: Entry) -> list[Token]:
        """Events of a token whose text may belong to two channels: the id is told once."""
        if self.stopped:
            return []
        pieces = self._splitter.feed(entry.text)
        if not pieces:
            return [self._token(entry, self._splitter.channel, "")]
        channel, text = pieces[0]
        first = self._token(entry, channel, text)
        return [first, *(self._token(Entry(text), channel, text) for channel, text in pieces[1:])]

    def _token(self, entry: Entry, channel: Channel, text: str) -> Token:
        if not self.tokens:
            self.clock.first = self.clock.since()
        self._size += len(text)
        if self._size > _MOST_TEXT:
            raise garbage(self.address, f"with more than {_MOST_TEXT:,} characters of text")
        self._text[channel].append(text)
        if not math.isnan(entry.logprob) and channel == "answer":
            self._logprobs.append(entry.logprob)
        self.tokens += 1
        return Token(
            request=self.request.id,
            index=self.tokens - 1,
            token=entry.token,
            text=text,
            logprob=entry.logprob,
            seconds=self.clock.since(),
            channel=channel,
            top=entry.top[: self.request.top_logprobs],
        )

    def _call(self, piece: CallPiece) -> list[Token]:
        """One more part of a tool call; what is streamed of it is JSON with `name` and `arguments`."""
        function = piece.function or Function()
        place = self._place(piece, function)
        given = function.arguments
        more = given if isinstance(given, str) else json.dumps(given) if given is not None else ""
        if place in self._calls:
            self._calls[place].arguments += more
            return [self._token(Entry(more), "tool", more)] if more else []
        if not function.name:
            raise garbage(self.address, "with a tool call that has no name")
        shown = ("}" if self._calls else "") + f'{{"name": {json.dumps(function.name)}, "arguments": {more}'
        self._calls[place] = _Call(function.name, piece.id or "", more)
        return [self._token(Entry(shown), "tool", shown)]

    def _place(self, piece: CallPiece, function: Function) -> int:
        """Which call a part belongs to: by its index, else by its id, else a name begins a new one."""
        if piece.index is not None:
            return piece.index
        known = [place for place, call in self._calls.items() if piece.id and call.id == piece.id]
        if known:
            return known[0]
        last = max(self._calls, default=-1)
        return last + 1 if function.name or last < 0 else last

    def finish(self, *, seed: int, more_tokens: int = 0) -> Finished:
        """The last event.

        Args:
            seed: What the server was given.
            more_tokens: Tokens of earlier answers that were thrown away.

        Raises:
            Fault: It ended in a way that is no answer, or with a malformed tool call.
        """
        reason = self._reason()
        calls = self._tool_calls() if reason in ("stop", "tool_calls") else ()
        message = Message(
            "assistant",
            self.text,
            reasoning="".join(self._text["reasoning"]),
            tool_calls=calls,
        )
        return Finished(
            request=self.request.id,
            reason="tool_calls" if calls else "stop" if reason == "tool_calls" else reason,
            message=message,
            context=self.continued(message),
            logprob=sum(self._logprobs) / len(self._logprobs) if self._logprobs else math.nan,
            seed=seed,
            usage=Usage(
                prompt_tokens=self.prompt_tokens,
                reused_tokens=min(self.cached_tokens, self.prompt_tokens),
                generated_tokens=(self.completion_tokens or self.tokens) + more_tokens,
                queue_seconds=self.clock.placed,
                first_token_seconds=self.clock.first,
                seconds=self.clock.since(),
            ),
        )

    def _reason(self) -> FinishReason:
        if self.stopped or self.reason in _STOPS:
            return "stop"
        if self.reason in _CALLS:
            return "tool_calls"
        if self.reason != "length":
            why = "its content filter" if self.reason == "content_filter" else f"the reason {self.reason!r}"
            raise Fault(
                RemoteError(
                    f"The server at {self.address.base!r} ended its answer after {self.tokens} tokens with {why}.",
                    hint="Ask in another way, or ask another model.",
                    status=200,
                ),
                status=200,
            )
        full = self.limit is None or 0 < self.completion_tokens < self.limit
        return "context" if full else "length"

    def _tool_calls(self) -> tuple[ToolCall, ...]:
        return tuple(ToolCall(call.name, self._arguments(call), call.id) for call in self._calls.values())

    def _arguments(self, call: _Call) -> dict[str, object]:
        try:
            value: object = json.loads(call.arguments or "{}")
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise garbage(
                self.address,
                f"with a call of the tool {call.name!r} whose arguments are no JSON object",
                call.arguments,
            )
        return cast("dict[str, object]", value)
