"""Rows of `python -m bench engine` against `llama-server`, where one is on PATH.

Both sides get the same token ids, generate greedily beyond any end, and are timed where a caller is: at the consumer
of the stream, which for the server means over HTTP on this machine. While one computes the other is idle.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import statistics
import time
from collections.abc import Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from bench.report import Pairs, Row, alternating
from bench.rig import collect, engine, exactly, fresh, never_end, run, threads, tuned
from bench.server import NAME, Answer, connect, find, serving
from llmos.engine.llama.engine import LlamaEngine, LlamaOptions
from llmos.messages import GREEDY, Context, Generate

T = TypeVar("T")
_CELLS, _ROWS, _SLOTS = 16_384, 512, 16


class Side(Protocol):
    """One of the two that are compared."""

    async def ask(self, prompt: Sequence[int], count: int, *, each: Callable[[], None] | None = None) -> Answer:
        """Continue token ids greedily by `count` tokens, beyond any end; `each` is called for each as it comes."""
        ...

    async def settle(self) -> None:
        """Wait until it computes nothing."""
        ...


class Ours:
    """The engine as a side."""

    def __init__(self, ours: LlamaEngine) -> None:
        self._ours = ours
        self._sampling = replace(GREEDY, logit_bias=never_end(ours))

    async def ask(self, prompt: Sequence[int], count: int, *, each: Callable[[], None] | None = None) -> Answer:
        plain = (await self._ours.detokenize(prompt)).decode("utf-8", "replace")
        context = Context(text=plain, tokens=tuple(prompt), model=self._ours.info.fingerprint)
        request = Generate(context=context, max_tokens=count, sampling=self._sampling, draft=False)
        seconds: list[float] = []
        start = time.perf_counter()

        def stamp(_: int) -> None:
            seconds.append(time.perf_counter() - start)
            if each:
                each()

        done = await collect(self._ours, request, each=stamp)
        return Answer(done.finished.context.tokens[len(prompt) :], tuple(seconds), len(seconds))

    async def settle(self) -> None:
        while not await self._ours.on_worker(lambda: self._ours.worker.idle):
            await asyncio.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Contest:
    """Both sides, ready."""

    ours: LlamaEngine
    url: str

    def measure(self, work: Callable[[Side], Coroutine[Any, Any, T]]) -> tuple[list[T], list[T]]:
        """The same work on each side in turn: our results, and the server's."""

        async def here() -> T:
            side = Ours(self.ours)
            result = await work(side)
            await side.settle()
            return result

        async def there() -> T:
            async with connect(self.url) as side:
                result = await work(side)
                await side.settle()
                return result

        return alternating(lambda: run(here()), lambda: run(there()))

    async def ids(self, text: str) -> list[int]:
        """Token ids of a text in which control tokens may stand."""
        return list(await self.ours.tokenize(text, special=True))


@contextlib.contextmanager
def contest() -> Generator[Contest]:
    """An engine and a server of equal settings, each of which has answered once."""
    with (
        serving(find(), tuned(), threads=threads(), cells=_CELLS, slots=_SLOTS, rows=_ROWS) as url,
        engine(options=LlamaOptions(cells=_CELLS)) as ours,
    ):
        both = Contest(ours, url)

        async def greet() -> None:
            async with connect(url) as server:
                await server.ask(await both.ids(fresh(16)), 8)
                await server.settle()

        run(greet())
        yield both


def _row(name: str, unit: str, ours: Sequence[float], peers: Sequence[float]) -> Row:
    return Pairs(tuple(ours), tuple(peers)).row(name, unit, NAME, "")


def _column(
    which: int, ours: Sequence[tuple[float, ...]], peers: Sequence[tuple[float, ...]]
) -> tuple[list[float], list[float]]:
    return [figures[which] for figures in ours], [figures[which] for figures in peers]


def server_sixteen_streams() -> list[Row]:
    """Total throughput of 16 streams, their short prompts included."""
    with contest() as both:

        async def total(side: Side) -> float:
            prompts = [await both.ids(fresh(16)) for _ in range(16)]
            start = time.perf_counter()
            answers = await asyncio.gather(*(side.ask(prompt, 32) for prompt in prompts))
            return sum(answer.count for answer in answers) / (time.perf_counter() - start)

        return [_row("16 streams together", "tok/s", *both.measure(total))]


def server_shared_prefix() -> list[Row]:
    """Eight agents at once on a 1,000-token prefix that is new (cold), and once more (warm)."""
    with contest() as both:

        async def burst(side: Side, prompts: list[list[int]]) -> float:
            answers = await asyncio.gather(*(side.ask(prompt, 4) for prompt in prompts))
            await side.settle()
            return statistics.mean(answer.seconds[0] for answer in answers)

        async def cold_and_warm(side: Side) -> tuple[float, float]:
            prefix = await exactly(both.ours, 1000)
            prompts = [prefix + await both.ids(f"\nAgent {number}: what now?") for number in range(8)]
            return await burst(side, prompts), await burst(side, prompts)

        ours, peers = both.measure(cold_and_warm)
    return [
        _row("8 agents, 1,000-token prefix, cold, mean first token", "s", *_column(0, ours, peers)),
        _row("8 agents, 1,000-token prefix, warm, mean first token", "s", *_column(1, ours, peers)),
    ]


def server_conversations() -> list[Row]:
    """Three interleaved conversations: time to first token at turn 5."""
    with contest() as both:

        async def converse(side: Side) -> float:
            histories = [await both.ids(f"<|im_start|>system\n{fresh(60)}<|im_end|>\n") for _ in range(3)]
            firsts: list[float] = []
            for turn in range(5):
                for history in histories:
                    history += await both.ids(f"<|im_start|>user\n{fresh(60)}<|im_end|>\n<|im_start|>assistant\n")
                    answer = await side.ask(history, 16)
                    history += [*answer.tokens, *await both.ids("<|im_end|>\n")]
                    if turn == 4:
                        firsts.append(answer.seconds[0])
            return statistics.mean(firsts)

        return [_row("3 interleaved conversations, first token of turn 5", "s", *both.measure(converse))]


def server_long_prompt_beside_a_stream() -> list[Row]:
    """The worst gap of a stream while a 2,560-token prompt arrives, and how fast that is read."""
    with contest() as both:

        async def gap_and_rate(side: Side) -> tuple[float, float]:
            return await _gap_and_rate(side, await both.ids(fresh(16)), await exactly(both.ours, 2560))

        ours, peers = both.measure(gap_and_rate)
    return [
        _row("worst gap of a stream while 2,560 tokens arrive", "s", *_column(0, ours, peers)),
        _row("prefill rate beside that stream", "tok/s", *_column(1, ours, peers)),
    ]


async def _gap_and_rate(side: Side, beginning: list[int], arriving: list[int]) -> tuple[float, float]:
    stamps: list[float] = []
    begun = asyncio.Event()

    def mark() -> None:
        stamps.append(time.perf_counter())
        if len(stamps) == 8:
            begun.set()

    stream = asyncio.ensure_future(side.ask(beginning, 2000, each=mark))
    try:
        await asyncio.wait_for(begun.wait(), 60)
        arrived = time.perf_counter()
        answer = await side.ask(arriving, 1)
        await asyncio.sleep(0.2)  # its first token may have come before one of the stream
        stamps.append(time.perf_counter())
    finally:
        stream.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await stream
    gaps = [later - earlier for earlier, later in itertools.pairwise(stamps) if later >= arrived]
    return max(gaps), len(arriving) / answer.seconds[0]


GROUPS = (
    server_sixteen_streams,
    server_shared_prefix,
    server_conversations,
    server_long_prompt_beside_a_stream,
)
