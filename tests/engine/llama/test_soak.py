"""500 requests at once, cancelled at random, on a cache far too small for them: nothing is lost, nothing leaks."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from llmos.engine.llama import LlamaEngine, LlamaOptions
from llmos.events import Finished, Token
from llmos.messages import Choices, Context, Generate, Priority, Sampling, Score

pytestmark = [pytest.mark.model]


async def test_500_requests_with_random_cancels_leave_no_sequence_behind(model: Path, tmp_path: Path) -> None:
    dice = random.Random(20)
    engine = await LlamaEngine.load(
        model, LlamaOptions(context=192, cells=640, slots=12, swap_folder=tmp_path, swap_ram_bytes=1 << 20)
    )
    tree = engine.worker.tree
    sequences = tree.free_sequences
    try:
        outcomes = await asyncio.gather(*(one(engine, dice, number) for number in range(500)))
        assert outcomes.count("finished") > 100
        assert outcomes.count("cancelled") > 100
        await settled(engine)
        await engine.on_worker(tree.forget)
        assert tree.free_sequences == sequences
        assert tree.free_cells == tree.capacity
        assert engine.worker.processor.length(0) == 0
    finally:
        await engine.close()
    assert not list(tmp_path.iterdir())


async def settled(engine: LlamaEngine) -> None:
    for _ in range(500):
        if engine.worker.idle:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("requests are left over")


async def one(engine: LlamaEngine, dice: random.Random, number: int) -> str:
    """One request of some kind; a third is cancelled before or while it runs."""
    system = f"System {number % 7}. " + "Some shared words. " * (number % 5)
    priority: Priority = dice.choice(["interactive", "normal", "background"])
    context, client = Context(text=f"{system} Request {number}:"), f"client {number % 4}"
    if number % 20 == 0:
        await engine.score(Score(context=context, choices=(" yes", " no way", " maybe so"), client=client))
        return "scored"
    request = Generate(
        context=context,
        max_tokens=dice.randint(1, 6),
        sampling=Sampling(temperature=1.0, seed=number),
        constraint=Choices((" red", " green")) if number % 11 == 0 else None,
        beams=3 if number % 25 == 1 else 1,
        priority=priority,
        client=client,
    )
    patience = dice.choice([None, None, 0, 1, 2])
    await asyncio.sleep(dice.random() * 0.5)
    return await follow(engine, request, patience)


async def follow(engine: LlamaEngine, request: Generate, patience: int | None) -> str:
    stream = engine.generate(request)
    seen = 0
    try:
        if patience == 0:
            waiting = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0.01)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            return "cancelled"
        async for event in stream:
            seen += isinstance(event, Token)
            if isinstance(event, Finished):
                return "finished"
            if patience is not None and seen >= patience:
                return "cancelled"
    finally:
        await stream.aclose()
    raise AssertionError("a stream ended without Finished")
