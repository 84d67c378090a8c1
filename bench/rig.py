"""What the engine's benchmarks run on: one event loop, engines on the embedded model, and the bare lower levels.

Knows no goals.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import llama_cpp

from llmos.engine.hardware import detect
from llmos.engine.llama.binding import Batch, Model, Processor
from llmos.engine.llama.engine import LlamaEngine, LlamaOptions
from llmos.engine.store import attention
from llmos.engine.store.builtin import find
from llmos.engine.store.tune import quick_default
from llmos.events import Finished, Token
from llmos.messages import GREEDY, Constraint, Context, Generate, Priority, Sampling

T = TypeVar("T")
_salts = itertools.count(1001)
WORDS = [
    "river",
    "stone",
    "quiet",
    "morning",
    "letter",
    "garden",
    "window",
    "paper",
    "copper",
    "signal",
    "harbor",
    "meadow",
    "lantern",
    "orchard",
]


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the benchmark's one loop."""
    return _loop().run_until_complete(work)


def threads() -> int:
    """Cores that may be used."""
    return detect().threads


@cache
def shipped() -> Path:
    """The embedded model's file as it comes."""
    return find().path


@cache
def tuned() -> Path:
    """The embedded model as it is used: requantized for this processor, with the attention that is faster on it."""
    path = quick_default(shipped())
    attention.decide()
    return path


@contextlib.contextmanager
def engine(path: Path | None = None, *, options: LlamaOptions | None = None) -> Generator[LlamaEngine]:
    """An engine on the tuned embedded model."""
    opened = run(LlamaEngine.load(path or tuned(), options or LlamaOptions()))
    try:
        run(collect(opened, text("warm up", 8)))
        yield opened
    finally:
        run(opened.close())


def text(
    prompt: str,
    tokens: int,
    *,
    sampling: Sampling = GREEDY,
    priority: Priority = "normal",
    constraint: Constraint | None = None,
) -> Generate:
    """A request that generates exactly `tokens` tokens from raw text, unless the model ends earlier."""
    return Generate(
        context=Context(text=prompt),
        max_tokens=tokens,
        sampling=sampling,
        priority=priority,
        constraint=constraint,
        draft=False,
    )


def prose(words: int, salt: int = 0) -> str:
    """Text of about one token a word, different for each salt from its first word on."""
    return f"{salt} " + " ".join(
        WORDS[(salt * 31 + number * number + number * 7) % len(WORDS)] for number in range(words)
    )


def fresh(words: int) -> str:
    """Prose that nothing measured before begins with."""
    return prose(words, salt=next(_salts))


async def exactly(engine: LlamaEngine, count: int) -> list[int]:
    """Token ids of fresh prose, exactly so many."""
    return list(await engine.tokenize(fresh(count + 200)))[:count]


def never_end(engine: LlamaEngine) -> dict[int, float]:
    """A bias with which the model does not end by itself."""
    return dict.fromkeys(engine.worker.model.ends, -1e9)


@dataclass(frozen=True, slots=True)
class Run:
    """What one request did."""

    finished: Finished
    times: tuple[float, ...]

    @property
    def gaps(self) -> list[float]:
        """Seconds between tokens."""
        return [later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)]

    @property
    def first(self) -> float:
        """Seconds to the first token, on the engine's clock."""
        return self.finished.usage.first_token_seconds


async def collect(engine: LlamaEngine, request: Generate, *, each: Callable[[int], None] | None = None) -> Run:
    """Run a request to its end."""
    times: list[float] = []
    async for event in engine.generate(request):
        if isinstance(event, Token):
            times.append(event.seconds)
            if each:
                each(len(times))
        if isinstance(event, Finished):
            return Run(event, tuple(times))
    raise AssertionError("a request ended without saying so")


async def together(engine: LlamaEngine, requests: list[Generate]) -> list[Run]:
    """Run requests at once."""
    return list(await asyncio.gather(*(collect(engine, request) for request in requests)))


@contextlib.asynccontextmanager
async def streams(engine: LlamaEngine, requests: list[Generate]) -> AsyncGenerator[None]:
    """Requests that run for the time of the block, once each has given its first token."""
    begun = [asyncio.Event() for _ in requests]
    tasks = [
        asyncio.ensure_future(collect(engine, request, each=lambda _, mark=mark: mark.set()))  # type: ignore[misc]
        for request, mark in zip(requests, begun, strict=True)
    ]
    await asyncio.gather(*(mark.wait() for mark in begun))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.contextmanager
def busy_python() -> Generator[None]:
    """A thread that does nothing but hold the GIL."""
    stop = False

    def spin() -> None:
        number = 0
        while not stop:
            number += 1

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield
    finally:
        stop = True
        thread.join()


class Bare:
    """The bare low level: `llama_decode` in a loop over llama-cpp-python's own functions, with C samplers."""

    def __init__(self, path: Path, *, cells: int = 4096, threads: int) -> None:
        self.model = Model(path)
        self.processor = Processor(self.model, cells=cells, rows=512, threads=threads, flash=attention.flash())
        self.batch = Batch(512)
        chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_greedy())
        self.chain = chain

    def prefill(self, tokens: list[int]) -> float:
        """Seconds to read tokens into an empty sequence."""
        self.processor.remove(0)
        start = time.perf_counter()
        for begin in range(0, len(tokens), 512):
            part = tokens[begin : begin + 512]
            self.batch.clear()
            for offset, token in enumerate(part):
                self.batch.add(token, begin + offset, 0, output=begin + offset == len(tokens) - 1)
            assert self.processor.decode(self.batch) == 0
        llama_cpp.llama_synchronize(self.processor.pointer)
        return time.perf_counter() - start

    def decode(self, prompt: list[int], count: int) -> float:
        """Tokens a second of one greedy stream after a prompt."""
        self.prefill(prompt)
        token = int(llama_cpp.llama_sampler_sample(self.chain, self.processor.pointer, -1))
        batch, pointer = self.batch.struct, self.processor.pointer
        batch.n_tokens, batch.n_seq_id[0], batch.seq_id[0][0], batch.logits[0] = 1, 1, 0, True
        start = time.perf_counter()
        for position in range(len(prompt), len(prompt) + count):
            batch.token[0], batch.pos[0] = token, position
            llama_cpp.llama_decode(pointer, batch)
            token = llama_cpp.llama_sampler_sample(self.chain, pointer, -1)
        return count / (time.perf_counter() - start)

    def decode_many(self, streams: int, count: int) -> float:
        """Tokens a second of several streams together."""
        for sequence in range(streams):
            self.processor.remove(sequence)
        start = 0.0
        for position in range(count + 1):
            if position == 1:
                start = time.perf_counter()
            self.batch.clear()
            for sequence in range(streams):
                self.batch.add(1000 + sequence + position, position, sequence, output=True)
            assert self.processor.decode(self.batch) == 0
            for sequence in range(streams):
                llama_cpp.llama_sampler_sample(self.chain, self.processor.pointer, sequence)
        rate = streams * count / (time.perf_counter() - start)
        for sequence in range(streams):
            self.processor.remove(sequence)
        return rate

    def close(self) -> None:
        """Free everything."""
        llama_cpp.llama_sampler_free(self.chain)
        self.batch.close()
        self.processor.close()
        self.model.close()
