"""Calls to an engine in another process that are under way, and what is needed to make them again in a new one.

Knows no process: an `IsolatedEngine` puts in what its child answers and takes out what the caller gets to see.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import replace

from llmos.engine.frames import Ask, Result, Run
from llmos.errors import LlmosError
from llmos.events import EngineEvent, Finished, Started, Token
from llmos.messages import Generate

CLEARED_AFTER = 16
"""A stream with so many tokens since it was issued is not to blame for the next death."""


class Call:
    """A call with one answer.

    Args:
        ask: Makes its frame under a number.

    Attributes:
        number: The number it was last issued under; 0 while it waits to be issued.
        strikes: Deaths in a row that it was there for without getting far.
        cleared: Set when it has got far, or has ended.
        ended: It has its answer, or nobody wants one.
    """

    def __init__(self, ask: Callable[[int], Ask]) -> None:
        self._ask = ask
        self._answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.number = 0
        self.strikes = 0
        self.cleared = asyncio.Event()
        self.ended = False

    @property
    def name(self) -> str:
        """What it is, for people."""
        return f"a call of {type(self._ask(0)).__name__.lower()!r}"

    def frame(self, number: int) -> Ask:
        """The frame that makes it, or makes it again, under a new number."""
        self.number = number
        self.cleared.clear()
        return self._ask(number)

    def struck(self) -> None:
        """The process died while it was there."""
        self.number = 0
        self.strikes += 1

    def acquitted(self) -> None:
        """It ran alone for a while and nothing happened."""
        self.number = 0
        self.strikes = 0

    def finish(self, result: Result) -> None:
        """Its answer has come."""
        self._end()
        if not self._answer.done():
            self._answer.set_result(result)

    def fail(self, error: LlmosError) -> None:
        """It ends with an error."""
        self._end()
        if not self._answer.done():
            self._answer.set_exception(error)

    async def answer(self) -> Result:
        """Wait for its answer, or raise its error."""
        return await self._answer

    def _end(self) -> None:
        self.ended = True
        self.cleared.set()


class Stream(Call):
    """A `generate`: it keeps the token ids that have come, so that another process can continue after them.

    The caller sees one unbroken stream: `Started` comes once, no token twice, and times count from the first arrival.
    """

    def __init__(self, request: Generate, prefix: tuple[int, ...]) -> None:
        super().__init__(self._resume)
        self.events: asyncio.Queue[EngineEvent | LlmosError] = asyncio.Queue()
        self._request = request
        self._tokens = list(prefix)
        self._newest = -1
        self._fresh = 0
        self._logprobs = list[float]()
        self._prefixed = bool(prefix)
        self._issues = 0
        self._started = False
        self._arrived = time.monotonic()
        self._late = 0.0
        self._first_token_seconds = 0.0

    @property
    def name(self) -> str:
        """What it is, for people."""
        return f"request {self._request.id!r}"

    def frame(self, number: int) -> Ask:
        """As a `Run` after the tokens so far."""
        frame = super().frame(number)
        self._newest = -1
        self._fresh = 0
        self._issues += 1
        late = time.monotonic() - self._arrived
        self._late = late if self._issues > 1 or late > 1e-3 else 0.0
        return frame

    def struck(self) -> None:
        """The process died; a stream that had got far starts to count anew."""
        if self._fresh >= CLEARED_AFTER:
            self.strikes = 0
        super().struck()

    def fail(self, error: LlmosError) -> None:
        """It ends with an error."""
        if not self.ended:
            self.events.put_nowait(error)
        self._end()

    def take(self, event: EngineEvent) -> None:
        """An event has come from the process."""
        match event:
            case Started():
                if not self._started:
                    self._started = True
                    self.events.put_nowait(event)
            case Token():
                self._take_token(event)
            case Finished():
                self._end()
                self.events.put_nowait(self._whole(event) if self._issues > 1 or self._late else event)

    def _take_token(self, token: Token) -> None:
        if token.token >= 0:
            # A beam search starts again from its beginning: what was delivered before is not repeated.
            if token.index < len(self._tokens):
                return
            self._journal(token)
        elif token.index != self._newest:
            return  # More text of a token that was delivered before.
        if self._late:
            token = replace(token, seconds=token.seconds + self._late)
        self._first_token_seconds = self._first_token_seconds or token.seconds
        self.events.put_nowait(token)

    def _journal(self, token: Token) -> None:
        self._tokens.append(token.token)
        self._newest = token.index
        if token.channel == "answer":
            self._logprobs.append(token.logprob)
        self._fresh += 1
        if self._fresh >= CLEARED_AFTER:
            self.cleared.set()

    def _whole(self, finished: Finished) -> Finished:
        """What the last process knows only in part: the mean over all tokens, and the times from the arrival."""
        usage = replace(
            finished.usage,
            seconds=finished.usage.seconds + self._late,
            first_token_seconds=self._first_token_seconds,
        )
        known = self._logprobs and not self._prefixed
        return replace(
            finished,
            usage=usage,
            logprob=math.fsum(self._logprobs) / len(self._logprobs) if known else finished.logprob,
        )

    def _resume(self, number: int) -> Run:
        prefix = () if self._request.beams > 1 else tuple(self._tokens)
        return Run(number, self._request, prefix)
