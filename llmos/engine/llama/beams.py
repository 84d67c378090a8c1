"""Beam search as one batched run: each hypothesis is a branch of the same prompt, and a step reads one row for each.

Knows no scheduling and no chat; a `Job` like those in `jobs`.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import numpy as np

from llmos.engine.llama.binding import Batch, log_softmax
from llmos.engine.llama.constraint import Matcher
from llmos.engine.llama.jobs import Ended, Parts, Piece, PromptReader, Sink
from llmos.engine.llama.scheduler import Ticket
from llmos.engine.llama.text import TextStream
from llmos.engine.llama.tree import Lease
from llmos.errors import OutOfMemory
from llmos.events import FinishReason
from llmos.messages import Generate


@dataclass(slots=True)
class Beam:
    """One hypothesis: its new tokens, their log-probabilities, and where its state is."""

    tokens: list[int]
    logprobs: list[float]
    matcher: Matcher | None
    lease: Lease | None = None
    row: int = -1
    reason: FinishReason = "length"

    @property
    def total(self) -> float:
        """Log-probability of the whole hypothesis."""
        return sum(self.logprobs)

    @property
    def mean(self) -> float:
        """Log-probability per token, by which hypotheses of different length compare."""
        return self.total / max(len(self.logprobs), 1)


class BeamJob(PromptReader):
    """Keeps the `beams` likeliest hypotheses at each step, and returns the best by mean log-probability.

    Args:
        told: How many tokens of the answer have been told before, by an engine that is gone.
    """

    def __init__(
        self,
        parts: Parts,
        request: Generate,
        tokens: list[int],
        ticket: Ticket,
        sink: Sink,
        *,
        matcher: Matcher | None,
        told: int = 0,
    ) -> None:
        super().__init__(parts, request.id, tokens, ticket, sink)
        self._width = request.beams
        self._stop = request.stop
        limit = request.max_tokens if request.max_tokens is not None else parts.context
        self._limit = min(limit, parts.context - len(tokens))
        self._told = told
        self._first_matcher = matcher
        self._live: list[Beam] = []
        self._complete: list[Beam] = []

    def wants(self) -> int:
        if self._live:
            self.ticket.decoding = True
            return len(self._live)
        return len(self.tokens) - self.held.read

    def fill(self, batch: Batch, limit: int) -> int:
        if not self._live:
            return self._fill_tokens(batch, limit)
        for beam in self._live:
            assert beam.lease is not None
            beam.row = batch.add(beam.tokens[-1], beam.lease.read, beam.lease.sequence, output=True)
        return len(self._live)

    def consume(self) -> None:
        if not self._live:
            if self._take_tokens():
                self.ticket.fragile = True
                self._grow([Beam([], [], self._first_matcher, self.held, self._row)])
            return
        for beam in self._live:
            assert beam.lease is not None
            beam.lease.read += 1
        self._grow(self._live)

    def _grow(self, parents: list[Beam]) -> None:
        """Replace the hypotheses by their likeliest one-token continuations."""
        candidates = heapq.nlargest(
            2 * self._width, (one for parent in parents for one in self._continuations(parent)), key=lambda one: one[0]
        )
        children: list[tuple[Beam, Beam]] = []
        for _, parent, token, logprob in candidates:
            if len(children) == self._width:
                break
            child = self._extend(parent, token, logprob)
            if child is not None:
                children.append((parent, child))
        self._place(parents, children)
        self.clock.first = self.clock.first or self.clock.since()
        best_complete = max((beam.mean for beam in self._complete), default=-math.inf)
        hopeless = all(beam.mean < best_complete for beam in self._live) and len(self._complete) >= self._width
        if not self._live or hopeless:
            self._report(max([*self._complete, *self._live], key=lambda beam: beam.mean))

    def _continuations(self, parent: Beam) -> list[tuple[float, Beam, int, float]]:
        logprobs = log_softmax(self.parts.processor.logits(parent.row))
        allowed = logprobs if parent.matcher is None else np.where(parent.matcher.mask(), logprobs, -np.inf)
        count = min(2 * self._width, len(allowed))
        best = np.argpartition(allowed, -count)[-count:]
        total = parent.total
        return [
            (total + float(logprobs[token]), parent, int(token), float(logprobs[token]))
            for token in best
            if np.isfinite(allowed[token])
        ]

    def _extend(self, parent: Beam, token: int, logprob: float) -> Beam | None:
        """The hypothesis with one more token; None if that completes it (it is then kept aside)."""
        child = Beam([*parent.tokens, token], [*parent.logprobs, logprob], None)
        if token in self.parts.model.ends:
            child.reason = "stop"
        else:
            if parent.matcher is not None:
                child.matcher = parent.matcher.fork()
                child.matcher.consume(token)
            if (child.matcher is not None and child.matcher.complete) or self._stopped(child.tokens):
                child.reason = "stop"
            elif len(child.tokens) < self._limit:
                return child
        self._complete.append(child)
        return None

    def _stopped(self, tokens: list[int]) -> bool:
        if not self._stop:
            return False
        stream = TextStream(self._stop)
        for token in tokens:
            stream.feed(self.parts.model.piece(token))
        return stream.stopped

    def _place(self, parents: list[Beam], children: list[tuple[Beam, Beam]]) -> None:
        """Give each child a branch of its parent's state, then let the parents' go."""
        tree = self.parts.tree
        for parent, child in children:
            assert parent.lease is not None
            child.lease = tree.branch(parent.lease)
        for parent in parents:
            if parent.lease is not None and parent.lease is not self.lease:
                tree.release(parent.lease)
            parent.lease = None
        self._live = [child for _, child in children]
        if any(child.lease is None for child in self._live):
            raise OutOfMemory(
                f"There is no free sequence for {self._width} beams.", hint="Use fewer beams or fewer requests at once."
            )

    def _report(self, best: Beam) -> None:
        self.finished = True
        stream = TextStream(self._stop)
        for number, (token, logprob) in enumerate(zip(best.tokens, best.logprobs, strict=True)):
            text = "" if token in self.parts.model.ends else stream.feed(self.parts.model.piece(token))
            if number >= self._told:
                self.sink(Piece(token, text, logprob, self.clock.since()))
        self.tokens.extend(best.tokens)
        self.sink(Ended(best.reason, tuple(self.tokens), stream.end(), best.mean, self._usage(len(best.tokens))))

    def suspend(self) -> None:
        for beam in self._live:
            if beam.lease is not None and beam.lease is not self.lease:
                self.parts.tree.release(beam.lease)
        self._live, self._complete = [], []
        self.ticket.fragile = self.ticket.decoding = False
