"""Defects that a review found, as what must hold: nothing waits for ever, no error is another's, no assertion fails."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import llama_cpp
import numpy as np
import pytest

from llmos.engine.llama import LlamaEngine, LlamaOptions
from llmos.engine.llama.binding import Batch, Model
from llmos.engine.llama.buffers import Buffers, State
from llmos.engine.llama.draft import Drafter
from llmos.engine.llama.scheduler import Scheduler, Ticket
from llmos.engine.llama.swap import Swap
from llmos.engine.llama.tree import PrefixTree, as_tokens
from llmos.errors import EngineClosed, EngineError
from llmos.events import Finished, Token
from llmos.messages import Choices, Context, Sampling, Score
from tests.engine.llama import test_tree as trees
from tests.engine.llama.conftest import ask, run

_T = TypeVar("_T")
model_test = pytest.mark.model
CHOICES = tuple(f" option {number} with quite a few words behind it" for number in range(40))


@asynccontextmanager
async def opened(model: Path, **options: float) -> AsyncGenerator[LlamaEngine]:
    engine = await LlamaEngine.load(model, LlamaOptions(**options))  # type: ignore[arg-type]
    try:
        yield engine
    finally:
        await engine.close()


async def soon(work: Awaitable[_T], seconds: float = 60.0) -> _T:
    """The result, or a failure in place of waiting for ever."""
    return await asyncio.wait_for(work, seconds)


def watch_batches(engine: LlamaEngine) -> list[str]:
    """Collects what llama.cpp would end the process for (GGML_ASSERT), and fails such a step instead."""
    complaints: list[str] = []
    processor = engine.worker.processor
    decode: Callable[[Batch], int] = processor.decode
    rows = int(llama_cpp.llama_n_batch(processor.pointer))

    def checked(batch: Batch) -> int:
        if batch.outputs > processor.outputs:
            complaints.append(f"{batch.outputs} outputs of {processor.outputs}")
        elif batch.rows > rows:
            complaints.append(f"{batch.rows} rows of {rows}")
        else:
            return decode(batch)
        return -3

    processor.decode = checked  # type: ignore[method-assign]
    return complaints


@model_test
async def test_scores_at_once_stay_within_the_outputs_of_a_step(model: Path) -> None:
    async with opened(model, context=1024, cells=2048, step_seconds=100.0) as engine:
        complaints = watch_batches(engine)
        first, second = [Score(context=Context(text=f"{word} " * 90), choices=CHOICES) for word in ("one", "two")]
        branching = asyncio.ensure_future(engine.score(first))
        while engine.worker.steps == 0:
            await asyncio.sleep(0.005)
        await asyncio.gather(branching, engine.score(second), return_exceptions=True)
        assert not complaints


@model_test
async def test_drafts_of_many_streams_stay_within_the_outputs_of_a_step(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def always(_: Drafter, tokens: list[int]) -> list[int]:
        return [tokens[-1]] * 8

    monkeypatch.setattr(Drafter, "propose", always)
    async with opened(model, context=128, cells=2048, slots=24) as engine:
        complaints = watch_batches(engine)
        await asyncio.gather(*(run(engine, ask(f"{n} a", max_tokens=12)) for n in range(24)), return_exceptions=True)
        assert not complaints


@model_test
async def test_a_small_cache_gets_no_larger_batches_than_it_allows(model: Path) -> None:
    async with opened(model, context=64, slots=8) as engine:
        complaints = watch_batches(engine)
        engine.worker.pace.prompt_rate = 1000.0
        prompts = [Context(text=f"{n} w " * 18) for n in range(4)]
        await asyncio.gather(*(run(engine, ask(one, max_tokens=2)) for one in prompts), return_exceptions=True)
        assert not complaints


@model_test
async def test_one_request_asked_twice_at_once_is_answered_twice(model: Path) -> None:
    async with opened(model, context=256) as engine:
        request = ask("Hello", max_tokens=3)
        ends = await soon(asyncio.gather(run(engine, request), run(engine, request)))
        assert all(end.usage.generated_tokens for _, end in ends)


@model_test
async def test_a_baseline_may_be_the_very_context(model: Path) -> None:
    async with opened(model, context=256) as engine:
        context = Context(text="This is a text of some length. " * 8)
        scores = await soon(engine.score(Score(context=context, choices=(" yes it is", " no"), baseline=context)))
        assert scores.choices[0].probability == pytest.approx(0.5, abs=0.05)


@model_test
async def test_a_long_answer_from_an_engine_that_is_gone_is_read_in_parts(model: Path) -> None:
    async with opened(model, context=1024) as engine:
        prefix = await engine.tokenize(" one two three" * 230)
        assert len(prefix) > engine.worker.batch.capacity
        request = ask(Context(text="Count:"), max_tokens=len(prefix) + 2)

        async def resume() -> Finished:
            async for event in engine.generate(request, prefix=prefix):
                if isinstance(event, Finished):
                    return event
            raise AssertionError

        assert (await soon(resume())).usage.generated_tokens > len(prefix)


@model_test
async def test_an_answer_that_had_ended_is_not_continued(model: Path) -> None:
    async with opened(model, context=256) as engine:
        ended = ask("Choose.", constraint=Choices(("yes", "no")), max_tokens=8)
        full = ask(Context(text="a b c"), max_tokens=4)
        for request in (ended, full):
            tokens, end = await run(engine, request)
            prefix = tuple(token.token for token in tokens)
            events = [event async for event in engine.generate(request, prefix=prefix)]
            assert not [event for event in events if isinstance(event, Token) and event.token >= 0]
            assert isinstance(events[-1], Finished)
            assert events[-1].message == end.message


@model_test
async def test_a_request_whose_start_is_queued_ends_when_the_engine_closes(model: Path) -> None:
    async with opened(model, context=1024) as engine:
        first = asyncio.ensure_future(run(engine, ask(Context(text="word " * 900), max_tokens=50)))
        await asyncio.sleep(0.2)
        second = asyncio.ensure_future(run(engine, ask("Hello")))
        await asyncio.sleep(0)
        await engine.close()
        for task in (first, second):
            with pytest.raises(EngineClosed):
                await asyncio.wait_for(task, 60)


@model_test
async def test_a_preempted_request_does_not_come_back_before_the_room_is_used(model: Path) -> None:
    """Suspended for a prompt, it would be admitted again (the prompt is not read yet), suspended again, and so on."""
    async with opened(model, context=256, cells=256, step_seconds=1.0) as engine:
        engine.worker.pace.prompt_rate = 300.0
        never_end = Sampling(temperature=0, logit_bias=dict.fromkeys(engine.worker.model.ends, -1e9))
        begun = asyncio.Event()

        async def background() -> None:
            request = ask(Context(text="word " * 90), max_tokens=150, sampling=never_end, draft=False)
            count = 0
            async for event in engine.generate(request):
                count += isinstance(event, Token)
                if count == 40:
                    begun.set()

        task = asyncio.ensure_future(background())
        await begun.wait()
        urgent = ask(Context(text="other thing " * 85), max_tokens=5, priority="interactive")
        try:
            _, end = await soon(run(engine, urgent))
            assert end.usage.generated_tokens
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@model_test
async def test_a_shared_prefix_is_not_counted_against_those_who_share_it(model: Path) -> None:
    async with opened(model, context=512, cells=512) as engine:
        prefix = "word " * 280
        await run(engine, ask(Context(text=prefix), max_tokens=1))
        most = 0
        step = engine.worker.processor.decode

        def counted(batch: Batch) -> int:
            nonlocal most
            most = max(most, len(engine.worker.scheduler.running))
            return step(batch)

        engine.worker.processor.decode = counted  # type: ignore[method-assign]
        requests = [ask(Context(text=f"{prefix}{n}:"), max_tokens=6, draft=False) for n in range(3)]
        await asyncio.gather(*(run(engine, request) for request in requests))
        assert most >= 2


@model_test
async def test_a_score_that_fits_branch_by_branch_is_not_out_of_memory(model: Path) -> None:
    async with opened(model, context=256, cells=256) as engine:
        engine.worker.pace.prompt_rate = 1000.0
        choices = tuple(f" {n} then some more words that make this choice as long as it can be" for n in range(14))
        scores = await soon(engine.score(Score(context=Context(text="word " * 90), choices=choices)))
        assert len(scores.choices) == 14


@model_test
async def test_scores_that_fit_only_one_after_the_other_are_both_answered(model: Path) -> None:
    async with opened(model, context=256, cells=256) as engine:
        engine.worker.pace.prompt_rate = 1000.0
        tail = (
            " then some more words that make this choice as long as it can be, and yet more of them to fill the cache"
        )
        choices = tuple(f" {n}{tail}" for n in range(6))
        requests = [Score(context=Context(text=f"{word} " * 40), choices=choices) for word in ("one", "two", "three")]
        together = await soon(asyncio.gather(*(engine.score(request) for request in requests)))
        alone = [await soon(engine.score(request)) for request in requests]
        for first, second in zip(together, alone, strict=True):
            assert [choice.logprob for choice in first.choices] == pytest.approx(
                [choice.logprob for choice in second.choices], rel=0.01
            )


@model_test
async def test_beams_of_two_requests_share_a_small_cache(model: Path) -> None:
    async with opened(model, context=256, cells=256) as engine:
        requests = [ask(f"Tell me about {word}.", max_tokens=40, beams=4) for word in ("cats", "rain")]
        answers = await soon(asyncio.gather(*(run(engine, request) for request in requests)))
        assert all(len(tokens) > 5 for tokens, _ in answers)


@model_test
async def test_a_beam_search_that_goes_on_elsewhere_tells_only_what_is_new(model: Path) -> None:
    async with opened(model, context=256, cells=256) as engine:
        request = ask("Tell me about cats.", max_tokens=12, beams=2)
        whole, end = await run(engine, request)
        prefix = tuple(token.token for token in whole[:5])
        rest = [event async for event in engine.generate(request, prefix=prefix)]
        told = [event for event in rest if isinstance(event, Token) and event.token >= 0]
        assert [(token.index, token.token) for token in told] == [(token.index, token.token) for token in whole[5:]]
        assert isinstance(rest[-1], Finished)
        assert rest[-1].message == end.message


@model_test
async def test_a_start_that_fails_after_the_model_is_loaded_frees_it(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise MemoryError

    before = set(threading.enumerate())
    monkeypatch.setattr("llmos.engine.llama.engine.Prompts", broken)
    with pytest.raises(MemoryError):
        await LlamaEngine.load(model, LlamaOptions(context=256, cells=256))
    assert "llmos-engine" not in {thread.name for thread in set(threading.enumerate()) - before}


@model_test
@pytest.mark.parametrize(
    "broken",
    [{"constraint": Choices(("\ud800",))}, {"sampling": Sampling(top_k=2.5)}],  # type: ignore[arg-type]
)
async def test_a_malformed_request_is_nobody_elses_error(model: Path, broken: dict[str, Any]) -> None:
    async with opened(model, context=256) as engine:
        good = asyncio.ensure_future(run(engine, ask(Context(text="1, 2, 3,"), max_tokens=60)))
        await asyncio.sleep(0.2)
        with pytest.raises(EngineError):
            await run(engine, replace(ask("Hello"), **broken))
        assert (await good)[1].usage.generated_tokens


@model_test
async def test_a_defect_on_the_worker_reaches_its_caller(model: Path) -> None:
    async with opened(model, context=256) as engine:
        with pytest.raises((EngineError, ZeroDivisionError)):
            await soon(engine.on_worker(lambda: 1 // 0))


@model_test
async def test_an_event_loop_that_is_gone_is_nobody_elses_error(model: Path) -> None:
    async with opened(model, context=256) as engine:
        held, go = threading.Event(), threading.Event()

        def wait() -> None:
            held.set()
            go.wait(5)

        def elsewhere() -> None:
            loop = asyncio.new_event_loop()

            async def leave() -> None:
                task = asyncio.ensure_future(engine.on_worker(wait))
                await asyncio.to_thread(held.wait, 5)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

            loop.run_until_complete(leave())
            loop.close()
            go.set()

        good = asyncio.ensure_future(run(engine, ask(Context(text="1, 2, 3,"), max_tokens=40)))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(elsewhere)
        assert (await good)[1].usage.generated_tokens


def _read_all(loaded: Model, order: range) -> None:
    for token in order:
        loaded.piece(token)


@model_test
def test_pieces_are_right_from_two_threads(model: Path) -> None:
    loaded = Model(model)
    right = [loaded.piece(token) for token in range(loaded.tokens)]
    loaded._pieces.clear()  # pyright: ignore[reportPrivateUsage]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        orders = [range(loaded.tokens), range(loaded.tokens - 1, -1, -1)]
        threads = [threading.Thread(target=_read_all, args=(loaded, order)) for order in orders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    wrong = sum(loaded.piece(token) != piece for token, piece in enumerate(right))
    loaded.close()
    assert not wrong


def test_a_conversation_of_many_turns_is_reused_to_its_end() -> None:
    cells, tree = trees.make_tree()
    conversation: list[int] = []
    for turn in range(3 * trees.SEQUENCES):
        conversation.append(turn)
        assert trees.run(cells, tree, conversation) == turn


def test_what_is_lost_leaves_the_tree() -> None:
    cells = trees.FakeCells(trees.CAPACITY)
    swap = Swap(None, ram_bytes=0, disk_bytes=0)
    tree = PrefixTree(cells, capacity=trees.CAPACITY, sequences=trees.SEQUENCES, swap=swap)
    for number in range(300):
        trees.run(cells, tree, [number, number + 1, number + 2])
    assert sum(1 for _ in tree._nodes()) < 100  # pyright: ignore[reportPrivateUsage]


def test_room_that_is_impossible_costs_nobody_their_state() -> None:
    cells, tree = trees.make_tree()
    trees.run(cells, tree, [1] * 20)
    assert not tree.make_room(trees.CAPACITY + 1)
    assert tree.peek(as_tokens([1] * 20)) == (20, 20)


def test_cells_that_branches_share_are_counted_once() -> None:
    cells, tree = trees.make_tree()
    lease = tree.lease()
    assert lease is not None
    grown = [1, 2, 3]
    cells.read(lease.sequence, grown, 0)
    lease.read = 3
    for token in range(8):  # as beams do: two children of one parent, one of which dies
        first, second = tree.branch(lease), tree.branch(lease)
        assert first is not None
        assert second is not None
        tree.release(lease)
        tree.release(second)
        grown.append(token)
        cells.read(first.sequence, grown, first.read)
        first.read += 1
        lease = first
        assert trees.CAPACITY - tree.free_cells == cells.used == len(grown)
    tree.release(lease)
    assert tree.free_cells == trees.CAPACITY


def test_state_that_cannot_be_saved_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cells, tree = trees.make_tree()
    trees.run(cells, tree, [1] * 20)

    def save(_: int, __: Buffers) -> State:
        raise MemoryError

    monkeypatch.setattr(cells, "save", save)
    assert tree.make_room(trees.CAPACITY)
    assert tree.peek(as_tokens([1] * 20)) == (0, 0)


def test_swapped_state_that_nobody_needs_leaves_ram_and_disk_unread(tmp_path: Path) -> None:
    swap = Swap(tmp_path, ram_bytes=10, disk_bytes=1000)
    keys = [swap.put(np.zeros(8, dtype=np.uint8)) for _ in range(2)]
    swap.flush()
    for key in keys:
        swap.drop(key)
    swap.drop(0)
    assert (swap.ram_bytes, swap.disk_bytes) == (0, 0)
    assert not any(swap.has(key) for key in keys)
    swap.close()
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_too_slow_does_not_fill_the_ram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    monkeypatch.setattr("llmos.engine.llama.swap._UNWRITTEN_BYTES", 20)

    def fill(handle: int, *parts: State) -> None:
        os.close(handle)
        gate.wait(60)

    monkeypatch.setattr("llmos.engine.llama.swap._fill", fill)
    swap = Swap(tmp_path, ram_bytes=0, disk_bytes=1000)
    keys = [swap.put(np.zeros(9, dtype=np.uint8)) for _ in range(5)]
    assert [swap.has(key) for key in keys] == [True, True, False, False, False]
    gate.set()
    swap.close()


def test_clients_that_are_gone_are_forgotten() -> None:
    scheduler = Scheduler(slots=4)
    stays = Ticket("stays", "normal")
    scheduler.add(stays, 0.0)
    for number in range(5000):
        ticket = Ticket(str(number), "normal")
        scheduler.add(ticket, 0.0)
        scheduler.charge(ticket, 1, 0.0)
        scheduler.remove(ticket)
    assert len(scheduler._shares.consumed) < 3000  # pyright: ignore[reportPrivateUsage]
