"""Decoding strategies that are made of several requests. Knows the engine's protocol and no engine."""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import replace

from llmos.errors import ConfigError, EngineError, Unsupported
from llmos.events import Finished
from llmos.kernel.protocols import Engine
from llmos.messages import Generate, new_id

_SEEDS = 2**31


async def best_of_n(engine: Engine, request: Generate, n: int) -> tuple[Finished, ...]:
    """Sample n answers at once and rank them by the mean log-probability of their tokens, the best first.

    The mean, not the sum, so that a short answer has no advantage (length normalization, Wu et al. 2016,
    arXiv:1609.08144). The seeds are `request.sampling.seed` and those after it; an engine that shares prefixes reads
    the prompt once.

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
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_finish(engine, one)) for one in seeded]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return tuple(sorted((task.result() for task in tasks), key=_likelihood, reverse=True))


def _likelihood(answer: Finished) -> float:
    return -math.inf if math.isnan(answer.logprob) else answer.logprob


async def _finish(engine: Engine, request: Generate) -> Finished:
    finished: Finished | None = None
    async for event in engine.generate(request):
        if isinstance(event, Finished):
            finished = event
    if finished is None:
        raise EngineError(f"The engine ended request {request.id!r} without saying how it went.", hint="Try again.")
    return finished
