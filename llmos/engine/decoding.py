"""Decoding strategies that are made of several requests. Knows the engine's protocol and no engine."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from llmos.errors import ConfigError, EngineError, Unsupported
from llmos.events import Finished, Token
from llmos.kernel.protocols import Engine
from llmos.messages import Choices, Generate, Score, new_id

_SEEDS = 2**31


async def best_of_n(
    engine: Engine, request: Generate, n: int, *, progress: Callable[[int, int], None] | None = None
) -> tuple[Finished, ...]:
    """Sample n answers at once and rank them by the mean log-probability of their tokens, the best first.

    The mean, not the sum, so that a short answer has no advantage (length normalization, Wu et al. 2016,
    arXiv:1609.08144). The seeds are `request.sampling.seed` and those after it; an engine that shares prefixes reads
    the prompt once.

    Args:
        progress: Called at each token with how many answers are complete, and the tokens of all of them so far.

    Raises:
        ConfigError: n is less than 1, or all answers would be the same because sampling is greedy.
        Unsupported: The engine does not tell log-probabilities.
        EngineError: One of the requests failed; the others are cancelled.
    """
    if n < 1:
        raise ConfigError(f"Can't take the best of {n!r} answers.", hint="Ask for at least 1.")
    if n > 1 and request.sampling.temperature <= 0:
        hint = "Set a temperature, 0.8 for example."
        raise ConfigError(f"The best of {n} greedy answers: they would all be the same.", hint=hint)
    if n > 1 and "logprobs" not in engine.info.capabilities:
        message = f"The engine {engine.info.name!r} does not tell log-probabilities, so answers can't be ranked."
        raise Unsupported(message, hint="Leave best-of-n out, or use a local model.")
    seed = random.randrange(_SEEDS) if request.sampling.seed is None else request.sampling.seed
    seeded = [replace(request, id=new_id(), sampling=replace(request.sampling, seed=seed + i)) for i in range(n)]
    count = _Count(progress)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_finish(engine, one, count)) for one in seeded]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return tuple(sorted((task.result() for task in tasks), key=_likelihood, reverse=True))


def _likelihood(answer: Finished) -> float:
    return -math.inf if math.isnan(answer.logprob) else answer.logprob


class _Count:
    """How far several answers are."""

    def __init__(self, progress: Callable[[int, int], None] | None) -> None:
        self._progress = progress
        self._complete = self._tokens = 0

    def add(self, *, complete: int = 0, tokens: int = 0) -> None:
        self._complete += complete
        self._tokens += tokens
        if self._progress is not None:
            self._progress(self._complete, self._tokens)


async def _finish(engine: Engine, request: Generate, count: _Count) -> Finished:
    finished: Finished | None = None
    async for event in engine.generate(request):
        if isinstance(event, Token):
            count.add(tokens=1)
        elif isinstance(event, Finished):
            finished = event
            count.add(complete=1)
    if finished is None:
        raise EngineError(f"The engine ended request {request.id!r} without saying how it went.", hint="Try again.")
    return finished


async def shares_of_choices(engine: Engine, request: Generate) -> Mapping[str, float]:
    """How the model divides its probability among the choices that a request is held to; together they are 1.

    This is what can be said of such an answer: the probability of its tokens beside all others that the constraint
    forbids says how well the choices are worded, not which of them is right.

    Returns:
        Nothing where the request has no `Choices`, and where the engine can't tell.
    """
    constraint = request.constraint
    if not isinstance(constraint, Choices) or "score" not in engine.info.capabilities:
        return {}
    score = Score(
        context=request.context,
        choices=constraint.options,
        priority=request.priority,
        client=request.client,
        adapter=request.adapter,
    )
    with suppress(EngineError):  # a remark beside an answer that is there: the answer stays
        return {choice.choice: choice.probability for choice in (await engine.score(score)).choices}
    return {}
