"""What one request does on the processor: which rows it wants next, and what it makes of their logits.

A job knows its tokens, its lease on the prefix tree and its sampling; it doesn't know other jobs, the scheduler, chat
or asyncio. All of it runs on the engine's thread.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from llmos.engine.llama.binding import Batch, Logits, Model, Processor, Sampler, log_softmax
from llmos.engine.llama.constraint import Matcher
from llmos.engine.llama.draft import Drafter
from llmos.engine.llama.scheduler import Ticket
from llmos.engine.llama.text import TextStream
from llmos.engine.llama.tree import Lease, PrefixTree, Tokens, as_tokens
from llmos.errors import LlmosError
from llmos.events import Alternative, FinishReason, Usage
from llmos.messages import Generate, Score

_ANSWER_ROWS = 32  # an answer with more tokens to read than this reads them as a prompt


@dataclass(frozen=True, slots=True)
class Began:
    """The job has its place: `reused` tokens of its prompt are not read again."""

    prompt: int
    reused: int


@dataclass(frozen=True, slots=True)
class Piece:
    """One new token and the text that became certain with it."""

    token: int
    text: str
    logprob: float
    seconds: float
    top: tuple[Alternative, ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """The job is done; `tokens` are all of its context, `tail` is text that was held back."""

    reason: FinishReason
    tokens: tuple[int, ...]
    tail: str
    logprob: float
    usage: Usage


@dataclass(frozen=True, slots=True)
class Scored:
    """A score job is done: summed log-probabilities, and token counts, of its choices."""

    logprobs: tuple[float, ...]
    lengths: tuple[int, ...]
    usage: Usage


Item = Began | Piece | Ended | Scored | LlmosError
Sink = Callable[[Item], None]


@dataclass(frozen=True, slots=True)
class Parts:
    """What all jobs share."""

    model: Model
    processor: Processor
    tree: PrefixTree
    context: int


class Job(Protocol):
    """One request on the engine's thread."""

    id: str
    ticket: Ticket
    tokens: list[int]
    prompt: int
    lease: Lease | None
    sink: Sink
    finished: bool

    @property
    def known(self) -> Tokens:
        """Its tokens as an array."""
        ...

    def begin(self, lease: Lease) -> None:
        """Take a place on the processor."""
        ...

    def wants(self) -> int:
        """Rows it could use in the next step."""
        ...

    def fill(self, batch: Batch, limit: int) -> int:
        """Put at most `limit` rows into the batch; returns how many."""
        ...

    def consume(self) -> None:
        """The rows have been read: take in their logits."""
        ...

    def suspend(self) -> None:
        """Free the branches it has besides its lease, which is about to end; it may get another one later."""
        ...

    def close(self) -> None:
        """Free what it holds besides its lease, for good."""
        ...


@dataclass(slots=True)
class Clock:
    """When things happened to a request, in seconds of `time.perf_counter`."""

    arrived: float = field(default_factory=time.perf_counter)
    started: float = 0.0
    first: float = 0.0

    def since(self) -> float:
        """Seconds since it arrived."""
        return time.perf_counter() - self.arrived


class PromptReader:
    """The part that jobs share: reading the prompt into the lease's sequence."""

    def __init__(self, parts: Parts, identity: str, tokens: list[int], ticket: Ticket, sink: Sink) -> None:
        self.id, self.ticket, self.sink = identity, ticket, sink
        self.parts, self.tokens, self.prompt = parts, tokens, len(tokens)
        self.lease: Lease | None = None
        self.finished = False
        self.clock = Clock()
        self.reused = 0
        self._filled = 0
        self._row = -1
        self._known = as_tokens(tokens)

    @property
    def known(self) -> Tokens:
        """Its tokens as an array."""
        if len(self._known) != len(self.tokens):
            self._known = as_tokens(self.tokens)
        return self._known

    @property
    def held(self) -> Lease:
        """The lease, which a running job has."""
        assert self.lease is not None, "a job without a place was asked to run"
        return self.lease

    def begin(self, lease: Lease) -> None:
        """Take a place on the processor, with all that is known of its tokens but the last, whose logits it needs."""
        self.lease = lease
        if self.clock.started == 0.0:
            self.clock.started = self.clock.since()
            self.reused = min(lease.read, self.prompt)
            self.sink(Began(self.prompt, self.reused))

    def suspend(self) -> None:
        """Free the branches it has besides its lease: here, none."""

    def close(self) -> None:
        """Free what it holds besides its lease, for good."""
        self.suspend()

    def _fill_tokens(self, batch: Batch, limit: int) -> int:
        """Rows for tokens not read yet; the row of the last token asks for logits."""
        lease = self.held
        self._filled = min(len(self.tokens) - lease.read, limit)
        for position in range(lease.read, lease.read + self._filled):
            last = position == len(self.tokens) - 1
            self._row = batch.add(self.tokens[position], position, lease.sequence, output=last)
        return self._filled

    def _take_tokens(self) -> bool:
        """The rows were read; True if that included the last token."""
        lease = self.held
        lease.read += self._filled
        if lease.read >= self.prompt > lease.published:
            self.publish(self.prompt)
        return lease.read == len(self.tokens)

    def publish(self, length: int) -> None:
        """Let others share the first `length` tokens, as far as they have been read."""
        lease = self.held
        self.parts.tree.publish(lease, self.known[: min(length, lease.read)])

    def _usage(self, generated: int, drafted: int = 0) -> Usage:
        return Usage(
            prompt_tokens=self.prompt,
            reused_tokens=self.reused,
            generated_tokens=generated,
            drafted_tokens=drafted,
            queue_seconds=self.clock.started,
            first_token_seconds=self.clock.first,
            seconds=self.clock.since(),
        )


class GenerateJob(PromptReader):
    """Continues one sequence, token by token, with drafts and forced tokens where there are any."""

    def __init__(
        self,
        parts: Parts,
        request: Generate,
        tokens: list[int],
        ticket: Ticket,
        sink: Sink,
        *,
        sampler: Sampler,
        matcher: Matcher | None,
        prefix: tuple[int, ...] = (),
    ) -> None:
        super().__init__(parts, request.id, tokens, ticket, sink)
        self.sampler, self.matcher = sampler, matcher
        self.text = TextStream(request.stop)
        self._limit = request.max_tokens if request.max_tokens is not None else parts.context
        self._top = request.top_logprobs
        drafts = request.draft and matcher is None and parts.processor.cuts_anywhere
        self._drafter = Drafter() if drafts else None
        self._draft: list[int] = []
        self._logprob_sum, self._logprob_count, self._drafted = 0.0, 0, 0
        window = request.sampling.penalty_window
        sampler.accept(tokens[-window:] if window > 0 else [])
        self._over: FinishReason | None = "length" if self._limit <= 0 else None
        for token in prefix:
            self._take_over(token)

    def _take_over(self, token: int) -> None:
        """Go on after a token that an engine that is gone has generated."""
        self.tokens.append(token)
        self.sampler.accept([token])
        ends = token in self.parts.model.ends
        if not ends:
            self.text.feed(self.parts.model.piece(token))
            if self.matcher is not None:
                self.matcher.consume(token)
        self._over = self._over or self._end_after(ends=ends)

    def begin(self, lease: Lease) -> None:
        super().begin(lease)
        if self._over is not None:
            self.end(self._over)

    def _end_after(self, *, ends: bool) -> FinishReason | None:
        """Why the answer ends after its last token, if it does."""
        if ends or self.text.stopped or (self.matcher is not None and self.matcher.complete):
            return "stop"
        if self.generated >= self._limit:
            return "length"
        return "context" if len(self.tokens) >= self.parts.context else None

    @property
    def generated(self) -> int:
        """Tokens after the prompt."""
        return len(self.tokens) - self.prompt

    def wants(self) -> int:
        lease = self.held
        pending = len(self.tokens) - lease.read
        self.ticket.decoding = lease.read >= self.prompt and pending <= _ANSWER_ROWS
        self._draft = []
        if self._drafter is not None and pending == 1:
            room = min(self._limit - self.generated, self.parts.context - len(self.tokens)) - 1
            self._draft = self._drafter.propose(self.tokens)[: max(room, 0)]
        return pending + len(self._draft)

    def fill(self, batch: Batch, limit: int) -> int:
        rows = self._fill_tokens(batch, limit)
        if limit < rows + len(self._draft) or batch.outputs + len(self._draft) > self.parts.processor.outputs:
            self._draft = []
        for offset, token in enumerate(self._draft):
            batch.add(token, len(self.tokens) + offset, self.held.sequence, output=True)
        return rows + len(self._draft)

    def consume(self) -> None:
        if not self._take_tokens():
            return
        accepted = 0
        for offset in range(len(self._draft) + 1):
            token = self._choose(self._row + offset)
            if self.finished or offset == len(self._draft) or token != self._draft[offset]:
                break
            accepted += 1
        self._settle_draft(accepted)

    def _settle_draft(self, accepted: int) -> None:
        """Keep the cells of the drafted tokens that came true and free the others."""
        if not self._draft:
            return
        lease = self.held
        lease.read += accepted
        self._drafted += accepted
        if accepted < len(self._draft):
            self.parts.processor.remove(lease.sequence, lease.read)
        if self._drafter is not None:
            self._drafter.learn(len(self.tokens), len(self._draft), accepted)
        self._draft = []

    def _choose(self, row: int) -> int:
        """Sample from a row, add the token and those that the constraint forces after it; returns the sampled one."""
        logits = self.parts.processor.logits(row)
        total = self.parts.processor.log_total(logits)
        top = self._alternatives(logits, total)
        before = logits.copy() if self.matcher is not None else logits
        token = self._sample(row, logits)
        self._add(token, float(before[token]) - total, top)
        if self.matcher is not None and not self.finished:
            for forced in self.matcher.forced():
                if self.finished:
                    break
                self.sampler.accept([forced])
                self._drafted += 1
                self._add(forced, math.nan, ())
        return token

    def _sample(self, row: int, logits: Logits) -> int:
        """A token that the constraint allows, by rejection (see `constraint`)."""
        matcher, processor = self.matcher, self.parts.processor
        if matcher is None:
            return self.sampler.sample(processor, row, logits)
        if not self.sampler.penalizes:  # a rejected token must not count towards penalties
            token = self.sampler.sample(processor, row, logits)
            if matcher.allows(token):
                return token
        logits[~matcher.mask()] = -np.inf
        return self.sampler.sample(processor, row, logits)

    def _alternatives(self, logits: Logits, total: float) -> tuple[Alternative, ...]:
        if not self._top:
            return ()
        count = min(self._top, len(logits))
        best = np.argpartition(logits, -count)[-count:]
        best = best[np.argsort(-logits[best], kind="stable")]
        piece = self.parts.model.piece
        return tuple(
            Alternative(int(token), piece(int(token)).decode("utf-8", "replace"), float(logits[token]) - total)
            for token in best
        )

    def _add(self, token: int, logprob: float, top: tuple[Alternative, ...]) -> None:
        """Append a token, tell about it, and see whether it ends the request."""
        self.tokens.append(token)
        if not self.clock.first:
            self.clock.first = self.clock.since()
        if not math.isnan(logprob):
            self._logprob_sum += logprob
            self._logprob_count += 1
        ends = token in self.parts.model.ends
        if self.matcher is not None and not ends:
            self.matcher.consume(token)
        text = "" if ends else self.text.feed(self.parts.model.piece(token))
        self.sink(Piece(token, text, logprob, self.clock.since(), top))
        reason = self._end_after(ends=ends)
        if reason is not None:
            self.end(reason)

    def end(self, reason: FinishReason) -> None:
        """Say that the request is done."""
        self.finished = True
        mean = self._logprob_sum / self._logprob_count if self._logprob_count else math.nan
        usage = self._usage(self.generated, self._drafted)
        self.sink(Ended(reason, tuple(self.tokens), self.text.end(), mean, usage))

    def close(self) -> None:
        self.sampler.close()


@dataclass(slots=True)
class _Branch:
    """A choice being scored: `done` of its tokens have been read on their own lease."""

    index: int
    tokens: list[int]
    lease: Lease | None = None
    done: int = 0
    rows: list[int] = field(default_factory=list[int])


class ScoreJob(PromptReader):
    """Adds up the log-probabilities of several continuations of one prompt, each on a branch of it."""

    def __init__(
        self, parts: Parts, request: Score, tokens: list[int], ticket: Ticket, sink: Sink, choices: list[list[int]]
    ) -> None:
        super().__init__(parts, request.id, tokens, ticket, sink)
        self._choices = choices
        self._sums = [0.0] * len(choices)
        self._queue: list[_Branch] | None = None
        self._active: list[_Branch] = []

    def wants(self) -> int:
        if self._queue is None:
            return len(self.tokens) - self.held.read
        return sum(len(branch.tokens) - 1 - branch.done for branch in self._queue)

    def fill(self, batch: Batch, limit: int) -> int:
        if self._queue is None:
            return self._fill_tokens(batch, limit)
        self._active = []
        start = batch.rows
        for branch in self._queue:
            room = min(limit - (batch.rows - start), self.parts.processor.outputs - batch.outputs)
            if room <= 0 or not self._place(branch):
                break
            self._active.append(branch)
            assert branch.lease is not None
            branch.rows = [
                batch.add(branch.tokens[offset], self.prompt + offset, branch.lease.sequence, output=True)
                for offset in range(branch.done, min(branch.done + room, len(branch.tokens) - 1))
            ]
        return batch.rows - start

    def consume(self) -> None:
        if self._queue is None:
            if self._take_tokens():
                self._open_branches(log_softmax(self.parts.processor.logits(self._row)))
        else:
            for branch in self._active:
                self._advance(branch)
            self._queue = [branch for branch in self._queue if branch.done < len(branch.tokens) - 1]
        if self._queue is not None and not self._queue:
            self.finished = True
            lengths = tuple(len(choice) for choice in self._choices)
            self.sink(Scored(tuple(self._sums), lengths, self._usage(0)))

    def _open_branches(self, logprobs: Logits) -> None:
        for index, choice in enumerate(self._choices):
            self._sums[index] = float(logprobs[choice[0]])
        self._queue = [_Branch(index, choice) for index, choice in enumerate(self._choices) if len(choice) > 1]
        self.ticket.fragile = True

    def _place(self, branch: _Branch) -> bool:
        if branch.lease is None:
            branch.lease = self.parts.tree.branch(self.held)
        return branch.lease is not None

    def _advance(self, branch: _Branch) -> None:
        lease = branch.lease
        assert lease is not None
        for row in branch.rows:
            branch.done += 1
            logprobs = log_softmax(self.parts.processor.logits(row))
            self._sums[branch.index] += float(logprobs[branch.tokens[branch.done]])
        lease.read += len(branch.rows)
        if branch.done == len(branch.tokens) - 1:
            self.parts.tree.release(lease)
            branch.lease = None

    def suspend(self) -> None:
        for branch in self._queue or ():
            if branch.lease is not None:
                self.parts.tree.release(branch.lease)
        self._queue = None
        self.ticket.fragile = False
