"""One request to a remote server, from the first try to the last event.

Tries again before the first token and never after it. Adapts to what the server refuses: leaves optional fields out,
asks for a constraint in another way. Where the server does not hold the model to a constraint, the answer is kept back
until it has been checked, and asked for again if it fails, `ASKS` times in all.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from llmos.engine.remote.answer import Answer, Clock
from llmos.engine.remote.asking import Asking, askings, texts
from llmos.engine.remote.chunks import parse_chunk
from llmos.engine.remote.convert import Json, max_tokens, request_body
from llmos.engine.remote.faults import Fault
from llmos.engine.remote.server import SUSPECTS, Server
from llmos.engine.remote.transport import Deadline, Stream, Transport
from llmos.errors import ConstraintError, PromptTooLong, RemoteError, RemoteTimeout, Unsupported
from llmos.events import EngineEvent, Finished, Started, Token
from llmos.messages import Context, Generate, Message

if TYPE_CHECKING:
    from llmos.engine.remote.checker import Checker

ASKS = 3
# A limit this small was not what made a prompt too long.
_LEAST = 16
_FORMAT = re.compile(r"response_format|json_?schema|schema|structured|guided|grammar|regex|pattern", re.IGNORECASE)
_NO_TOOLS = re.compile(
    r"(not support|unsupported|requires?|unavailable|not enabled).*\btools?\b"
    r"|\btools?\b.*(not support|unsupported|requires?|unavailable|not enabled)",
    re.IGNORECASE,
)


class Exchange:
    """One request.

    Args:
        request: What is asked for.
        server: What is known of the server; grows.
        transport: The way to it.
        clock: When the request arrived.
        seed: The seed to send.
        logprobs: Whether to ask for log-probabilities even if the request needs none.
    """

    def __init__(
        self, request: Generate, server: Server, transport: Transport, clock: Clock, *, seed: int, logprobs: bool
    ) -> None:
        self._request = request
        self._server = server
        self._transport = transport
        self._clock = clock
        self._seed = seed
        self._logprobs = logprobs
        self._raw = request.context.text is not None
        self._ways = askings(request.constraint, server, raw=self._raw)
        self._total = Deadline(transport.timeouts.total)
        self._again = tuple[Message, ...]()
        self._started = False
        self._limit = max_tokens(request, server)
        self._left_out = set[str]()
        self._suspected = set[str]()
        self._refusal: Fault | None = None
        self._answer = self._new_answer()

    async def events(self, checker: Checker | None) -> AsyncGenerator[EngineEvent]:
        """All events of the request.

        Args:
            checker: Tells whether the answer keeps the request's constraint; None if it has none.

        Raises:
            Fault: The server failed.
            ConstraintError: No answer kept the constraint.
        """
        spent = 0
        for number in range(ASKS):
            held = list[Token]()
            async with aclosing(self._stream(self._seed + number)) as events:
                async for event in events:
                    if isinstance(event, Started) or self._ways[0].live:
                        yield event
                    else:
                        held.append(event)
            seed = 0 if "seed" in self._server.refused else self._seed + number
            finished = self._answer.finish(seed=seed, more_tokens=spent)
            if (good := self._checked(finished, checker)) is not None:
                for event in self._released(held, finished, good):
                    yield event
                yield good
                return
            spent = finished.usage.generated_tokens
            wrong = finished.message.content
            self._again = (Message("assistant", wrong), Message("user", texts()["again"]))
        raise ConstraintError(
            f"The model {self._server.model!r} did not keep the {self._kind} constraint in {ASKS} answers; "
            f"the last was {self._answer.text[:200]!r}.",
            hint="Simplify the constraint, or use a model or server that can be held to it (llama-server, vLLM).",
        )

    @property
    def _kind(self) -> str:
        return self._request.constraint.kind if self._request.constraint is not None else ""

    def _checked(self, finished: Finished, checker: Checker | None) -> Finished | None:
        """The last event with the answer as it should be; None if it has to be asked for again."""
        way = self._ways[0]
        if checker is None or finished.reason == "tool_calls":
            return finished
        if finished.reason != "stop":
            if not way.wrapped:
                return finished
            raise ConstraintError(
                f"The answer under the {self._kind} constraint did not end within {finished.usage.generated_tokens} "
                "tokens.",
                hint="Raise max_tokens.",
            )
        text = finished.message.content if way.live else way.unwrap(finished.message.content)
        if checker.accepts(text):
            message = replace(finished.message, content=text)
            return replace(finished, message=message, context=self._answer.continued(message))
        if not way.live:
            return None
        self._server.formats_refused.add(way.name)
        raise ConstraintError(
            f"The server at {self._server.base!r} took the {self._kind} constraint and did not keep it: "
            f"{text[:200]!r}.",
            hint="Ask again: from now on its answers are checked before they are passed on.",
        )

    def _released(self, held: list[Token], finished: Finished, good: Finished) -> list[Token]:
        """Tokens that were kept back; one for the whole answer where it is not what was streamed."""
        if not held or good.message.content == finished.message.content:
            return held
        kept = [token for token in held if token.channel != "answer"]
        answer = replace(held[-1], token=-1, text=good.message.content, logprob=float("nan"), channel="answer", top=())
        return [replace(token, index=index) for index, token in enumerate([*kept, answer])]

    async def _stream(self, seed: int) -> AsyncGenerator[Started | Token]:
        """The events of one answer, which is then in `_answer`; tries until there is a first token."""
        tried = 0
        while True:
            body = self._body(seed)
            self._answer = self._new_answer()
            try:
                async with self._transport.post(self._path, body, self._total) as stream:
                    self._accepted()
                    if not self._started:
                        self._started = True
                        yield Started(request=self._request.id, prompt_tokens=0, reused_tokens=0)
                    async with aclosing(self._tokens(stream, self._answer)) as tokens:
                        async for token in tokens:
                            yield token
                self._server.gives_logprobs |= self._answer.has_logprobs
                return
            except Fault as fault:
                if self._answer.tokens:
                    raise _incomplete(fault, self._answer) from fault.__cause__
                if not self._adapt(fault, body):
                    await self._transport.pause(fault, tried, self._total)
                    tried += 1

    async def _tokens(self, stream: Stream, answer: Answer) -> AsyncGenerator[Token]:
        """The token events of an answer that is arriving, up to its end."""
        try:
            async with aclosing(stream.events()) as events:
                async for data in events:
                    if stream.done or data.strip() == b"[DONE]":
                        stream.done = stream.flowing = True
                        continue
                    for token in answer.read(parse_chunk(data, self._transport.address)):
                        stream.flowing = True
                        yield token
                    if answer.stopped:
                        break
                    if answer.reason:
                        stream.ending = stream.flowing = True
        except Fault:
            # All that is lost after the last word are token counts.
            if not answer.reason and not stream.done:
                raise
        if not answer.reason and not answer.stopped:
            raise Fault(_cut(self._server.base), retry=True)
        for token in answer.end():
            yield token

    @property
    def _path(self) -> str:
        return "/completions" if self._raw else "/chat/completions"

    def _new_answer(self) -> Answer:
        asked = self._request.max_tokens
        cut = self._limit is not None and asked is not None and self._limit < asked
        return Answer(self._request, self._transport.address, self._clock, None if cut else self._limit)

    def _body(self, seed: int) -> Json:
        way = self._ways[0]
        request = replace(self._request, context=_told(self._request.context, way, self._again))
        logprobs = self._logprobs and not way.wrapped
        body = request_body(request, self._server, seed=seed, limit=self._limit, logprobs=logprobs) | dict(way.fields)
        return {name: value for name, value in body.items() if name not in self._left_out | self._suspected}

    def _accepted(self) -> None:
        """The server has taken the request: whatever was left out on suspicion was to blame."""
        self._server.refuse(self._suspected)
        self._suspected = set[str]()
        self._refusal = None

    def _adapt(self, fault: Fault, body: Json) -> bool:
        """Change the request after a refusal; whether there is something else to try at once.

        Raises:
            Fault: The refusal is about something that can't be left out.
        """
        if self._refusal is not None:
            raise self._refusal
        if isinstance(fault.error, PromptTooLong):
            return self._lower_limit()
        if names := self._server.named(fault, body):
            # llama-server refuses log-probabilities only together with tools.
            if "tools" in body and "tool" in fault.text:
                self._left_out |= names
            else:
                self._server.refuse(names)
            return True
        self._check_essentials(fault, body)
        if self._server.wants_completion_tokens(fault):
            self._server.completion_tokens = True
            return True
        if fault.status not in (400, 422):
            return False
        if self._ways[0].fields and len(self._ways) > 1 and _FORMAT.search(fault.text):
            self._ways.pop(0)
            return True
        self._suspected = set(SUSPECTS & body.keys()) if self._server.kind == "other" else set[str]()
        self._refusal = fault if self._suspected else None
        return bool(self._suspected)

    def _lower_limit(self) -> bool:
        """Some servers refuse a prompt that fits because there is no room for all of `max_tokens` after it."""
        if self._limit is None or self._limit <= _LEAST:
            return False
        # Chats without a limit run to the end of the context, raw text to some small number of tokens.
        self._limit = max(_LEAST, self._limit // 4) if self._raw else None
        return True

    def _check_essentials(self, fault: Fault, body: Json) -> None:
        if fault.status not in (400, 404, 422, 500, 501):
            return
        if "tools" in body and _NO_TOOLS.search(fault.text):
            hint = "Use a model that can call tools; llama-server needs the option --jinja."
        elif "logit_bias" in body and "logit_bias" in fault.text:
            hint = "Leave logit_bias away for this server."
        else:
            return
        said = f"The server at {self._server.base!r} can't do that with {self._server.model!r}: {fault.text[:300]!r}."
        raise Fault(Unsupported(said, hint=hint), status=fault.status, text=fault.text)


def _told(context: Context, way: Asking, again: tuple[Message, ...]) -> Context:
    """The context with the words for the model: within the user's last message, since many templates want turns."""
    if context.text is not None:
        return context
    if way.words and context.messages and context.messages[-1].role == "user":
        last = context.messages[-1]
        told = replace(last, content=f"{last.content}\n\n{way.words}")
        context = replace(context, messages=(*context.messages[:-1], told))
    elif way.words:
        context = context.add(Message("user", way.words))
    return context.add(*again)


def _cut(base: str) -> RemoteError:
    return RemoteError(
        f"The server at {base!r} ended its answer without saying why: the stream was cut.",
        hint="Ask again; if it happens often, look into the server's log or at a proxy in between.",
    )


def _incomplete(fault: Fault, answer: Answer) -> Fault:
    """A fault after the first token: what arrived is only a part, and that is said."""
    if not isinstance(fault.error, RemoteError):
        return fault
    kind = RemoteTimeout if isinstance(fault.error, RemoteTimeout) else RemoteError
    message = f"The answer is incomplete, {answer.tokens} tokens arrived. {fault.error.message}"
    return Fault(kind(message, hint=fault.error.hint, status=fault.error.status), status=fault.status, text=fault.text)
