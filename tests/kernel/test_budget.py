"""Budgets and limits: what is counted, who waits, and when enough is enough."""

from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.errors import BudgetExceeded, LoopDetected
from llmos.kernel.budget import Budget, LoopGuard, Meter
from llmos.kernel.limits import Limit


def test_a_use_counts_for_all_parents() -> None:
    root = Meter(Budget(tokens=10))
    child = Meter(Budget(), root)
    child.charge("tokens", 6)
    assert (root.used["tokens"], child.left("tokens"), child.left("money")) == (6, 4, float("inf"))
    with pytest.raises(BudgetExceeded, match="budget of 10 tokens"):
        child.charge("tokens", 5)
    assert root.used["tokens"] == 11


def test_time_spent_waiting_for_a_person_does_not_count() -> None:
    now = 0.0
    meter = Meter(Budget(seconds=10), clock=lambda: now)
    now = 4.0
    with meter.held(), Meter(Budget(), meter).held():
        now = 12.0
        assert meter.left("seconds") == 6
    assert meter.left("seconds") == 6
    meter.charge("steps")
    now = 19.0
    with pytest.raises(BudgetExceeded, match="10 seconds"):
        meter.charge("steps")


@given(st.lists(st.integers(0, 2), max_size=60))
def test_only_repetition_is_a_loop(results: list[int]) -> None:
    guard, nudges = LoopGuard(), 0
    for number, result in enumerate(results):
        nudges += bool(guard.see("tool", {"n": number}, str(result)))  # never the same action twice
    assert not nudges


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_a_cycle_is_nudged_after_three_rounds_and_stopped_after_three_more(length: int) -> None:
    guard = LoopGuard()
    told = [guard.see("tool", {"n": n % length}, "same") for n in range(3 * length)]
    assert [bool(text) for text in told] == [False] * (3 * length - 1) + [True]
    for n in range(3 * length - 1):
        guard.see("tool", {"n": n % length}, "same")
    with pytest.raises(LoopDetected):
        guard.see("tool", {"n": length - 1}, "same")


def test_the_same_action_with_other_results_is_no_loop() -> None:
    guard = LoopGuard()
    assert not any(guard.see("tool", {}, str(n)) for n in range(50))


async def test_places_go_by_priority_then_to_who_had_least() -> None:
    limit, order = Limit(1), list[str]()

    async def work(name: str, priority: str, client: str) -> None:
        async with limit.place(priority, client):  # type: ignore[arg-type]
            order.append(name)
            await asyncio.sleep(0)

    async with limit.place("normal", "greedy"):
        jobs = [
            ("b", "background", "x"),
            ("g", "normal", "greedy"),
            ("f", "normal", "fresh"),
            ("i", "interactive", "x"),
        ]
        tasks = [asyncio.create_task(work(*job)) for job in jobs]
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert order == ["i", "f", "g", "b"]


async def test_whoever_stops_waiting_leaves_no_hole() -> None:
    limit = Limit(2)

    async def hold(seconds: float) -> None:
        async with limit.place("normal", "c"):
            await asyncio.sleep(seconds)

    holders = [asyncio.create_task(hold(0.05)) for _ in range(2)]
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(hold(0)) for _ in range(5)]
    await asyncio.sleep(0)
    for task in waiting[:3]:
        task.cancel()
    await asyncio.gather(*holders, *waiting, return_exceptions=True)
    assert (limit.running, limit.waiting) == (0, 0)


async def test_waiting_for_a_place_has_a_bound() -> None:
    limit = Limit(1)
    async with limit.place("normal", "c"):
        with pytest.raises(BudgetExceeded, match=r"waited 0\.02 s"):
            async with limit.place("normal", "c", seconds=0.02):
                pass
    assert limit.running == 0


async def test_the_earliest_deadline_goes_first_inside_one_priority() -> None:
    limit, order = Limit(1), list[str]()

    async def work(name: str, priority: str, deadline: float) -> None:
        async with limit.place(priority, name, deadline=deadline):  # type: ignore[arg-type]
            order.append(name)

    async with limit.place("normal", "busy"):
        jobs = [
            ("whenever", "normal", math.inf),
            ("late", "normal", 30.0),
            ("gone", "normal", 5.0),
            ("soon", "normal", 10.0),
            ("idle", "background", 1.0),
            ("urgent", "interactive", math.inf),
        ]
        tasks = [asyncio.create_task(work(*job)) for job in jobs]
        await asyncio.sleep(0)
        assert limit.waiting == 6
        tasks[2].cancel()
        await asyncio.sleep(0)
        assert limit.waiting == 5
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == ["urgent", "soon", "late", "whenever", "idle"]
    assert (limit.running, limit.waiting) == (0, 0)


def test_of_a_process_and_its_parents_the_earliest_deadline_holds() -> None:
    now = 100.0
    parent = Meter(Budget(deadline=130.0), clock=lambda: 0.0, wall=lambda: now)
    child = Meter(Budget(deadline=200.0, seconds=1000.0), parent)
    assert (child.deadline, child.left("seconds")) == (130.0, 30.0)
    assert Meter(Budget(deadline=110.0), parent).left("seconds") == 10.0
    assert Meter(Budget()).deadline == math.inf
    child.check_time()
    with child.held():  # waiting for a person does not move it
        now = 131.0
    with pytest.raises(BudgetExceeded, match=r"The deadline .* has passed"):
        child.check_time()


def test_the_budget_that_is_used_up_is_the_one_that_is_named() -> None:
    parent = Meter(Budget(tokens=10))
    child = Meter(Budget(tokens=50), parent)
    with pytest.raises(BudgetExceeded, match="budget of 10 tokens"):
        child.charge("tokens", 20)
    assert "budget of 10 tokens" in child.exceeded("tokens").message
