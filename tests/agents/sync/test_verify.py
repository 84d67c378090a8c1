"""Verify and retry, and failover: what is tried, what is passed on, and what the result says of itself."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.agents.sync import Verified, delegate, failover, verify_and_retry
from llmos.agents.verdict import Outcome, Verdict, Verifier
from llmos.errors import BadArguments, BudgetExceeded, Denied, Interrupted, LlmosError, NobodyThere, Unverified
from llmos.kernel.budget import Budget
from llmos.kernel.entry import Entry
from llmos.kernel.process import Process
from llmos.kernel.system import Task
from llmos.shell.calls import outcome_of, title_of
from tests.kernel.conftest import MakeSystem

OUTCOMES: tuple[Outcome, ...] = ("pass", "fail", "unsure")


async def echo(reasons: tuple[str, ...]) -> tuple[str, ...]:
    return reasons


async def test_the_reasons_of_all_failed_attempts_go_into_the_next_one() -> None:
    says = iter([Verdict("fail", ("Too long.",)), Verdict("fail", ("No date.", "Too long.")), Verdict("pass")])
    done = await verify_and_retry(echo, lambda _: next(says))
    assert done.verified
    assert [one.value for one in done.attempts] == [(), ("Too long.",), ("Too long.", "No date.")]


async def test_without_feedback_no_attempt_gets_reasons() -> None:
    done = await verify_and_retry(echo, lambda _: False, feedback=False)
    assert [one.value for one in done.attempts] == [(), (), ()]


async def test_others_try_in_their_order_once_the_attempts_are_used_up() -> None:
    async def engineer(reasons: tuple[str, ...]) -> str:
        return f"engineer {len(reasons)}"

    async def expert(reasons: tuple[str, ...]) -> str:
        return f"expert {len(reasons)}"

    async def unneeded(reasons: tuple[str, ...]) -> str:
        raise AssertionError(reasons)

    def by_expert(value: str) -> bool:
        return value.startswith("expert")

    done = await verify_and_retry(engineer, by_expert, attempts=2, escalate=[engineer, expert, unneeded])
    assert [(one.by, one.value) for one in done.attempts] == [
        ("engineer", "engineer 0"),
        ("engineer", "engineer 1"),
        ("engineer", "engineer 1"),
        ("expert", "expert 1"),
    ]
    assert done.require() == "expert 1"


@given(st.lists(st.sampled_from([*OUTCOMES, "error"]), min_size=1, max_size=6), st.integers(0, 3))
def test_what_is_marked_as_verified_has_passed_and_nothing_else_has(said: list[str], escalations: int) -> None:
    tried: list[int] = []

    async def work(reasons: tuple[str, ...]) -> int:
        tried.append(len(tried))
        if said[tried[-1] % len(said)] == "error":
            raise ValueError("broken")
        return tried[-1]

    def verdict(value: int) -> Verdict:
        outcome = said[value % len(said)]
        return Verdict("pass" if outcome == "pass" else "unsure" if outcome == "unsure" else "fail", (f"{value}",))

    allowed = len(said)
    done: Verified[int] = asyncio.run(verify_and_retry(work, verdict, attempts=allowed, escalate=[work] * escalations))
    assert done.verified == ("pass" in said)
    assert len(done.attempts) == len(tried) == (said.index("pass") + 1 if "pass" in said else allowed + escalations)
    if done.verified:
        assert done.value == said.index("pass")
        assert done.require() == done.value
    else:
        with pytest.raises(Unverified, match="attempt"):
            done.require()
        outcomes = [said[number % len(said)] for number in range(len(tried))]
        best = next((kind for kind in ("unsure", "fail") if kind in outcomes), None)
        last = max((number for number, one in enumerate(outcomes) if one == best), default=None)
        assert done.value == last


async def test_a_verifier_that_raises_or_fails_at_its_work_leaves_the_result_unverified() -> None:
    async def work(_: tuple[str, ...]) -> int:
        return 7

    def broken(_: int) -> bool:
        raise KeyError("total")

    async def refused(_: int) -> bool:
        raise Denied("The sandbox may not be used.")

    for check, why in ((broken, "KeyError"), (refused, "Denied: The sandbox")):
        done = await verify_and_retry(work, Verifier(check), attempts=2)
        assert (done.value, done.verdict.outcome, len(done.attempts)) == (7, "unsure", 2)
        assert why in done.verdict.reasons[0]


async def test_work_that_never_comes_to_anything_has_no_value_and_its_errors_as_reasons() -> None:
    async def person(_: tuple[str, ...]) -> str:
        raise NobodyThere("Nobody is there.")

    async def dies(_: tuple[str, ...]) -> str:
        raise ZeroDivisionError

    done = await verify_and_retry(dies, lambda _: True, attempts=1, escalate=[person])
    assert done.value is None
    assert not done.verified
    assert [one.verdict.reasons for one in done.attempts] == [
        ("ZeroDivisionError",),
        ("NobodyThere: Nobody is there.",),
    ]
    assert isinstance(done.attempts[1].error, NobodyThere)


async def test_no_attempt_at_all_is_refused() -> None:
    with pytest.raises(BadArguments, match="0 attempts"):
        await verify_and_retry(echo, lambda _: True, attempts=0)
    with pytest.raises(BadArguments, match="nobody"):
        await failover()


async def test_a_huge_reason_is_shortened_with_its_length() -> None:
    done = await verify_and_retry(echo, lambda _: Verdict("fail", ("x" * 5000,)), attempts=1)
    assert re.fullmatch(r"x{1000} … \(5,000 characters\)", done.verdict.reasons[0])


async def test_verdicts_stand_in_the_journal_with_their_reasons(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> object:
        async def coder(reasons: tuple[str, ...]) -> int:
            return len(reasons)

        tests_pass: Verifier[int] = Verifier(lambda n: n > 0, name="tests_pass", reason="test_sum fails: 3 is not 4.")
        return (await verify_and_retry(coder, tests_pass, process=process)).value

    system = make_system(agent)
    child = system.start(Task(agent="agent"))
    assert await child.result() == 1
    shown = [(call.kind, title_of(call), outcome_of(call)) for call in system.journal.calls(child.pid)]
    assert shown == [
        ("verify", "tests_pass: fail", "attempt 1 by coder: test_sum fails: 3 is not 4."),
        ("verify", "tests_pass: pass", "attempt 2 by coder"),
    ]
    assert child.entry.meter.used["steps"] == 0


async def test_a_resumed_run_goes_by_the_verdicts_that_it_had(make_system: MakeSystem) -> None:
    strict = [True]

    async def agent(process: Process) -> object:
        async def work(reasons: tuple[str, ...]) -> int:
            return len(reasons)

        done = await verify_and_retry(work, lambda n: not strict[0] or n > 0, process=process)
        if strict[0]:
            await process.sleep(3600)
        return [one.verdict.outcome for one in done.attempts]

    first = make_system(agent)
    pid = first.start(Task(agent="agent")).pid
    await asyncio.sleep(0.05)
    await first.close()
    strict[0] = False  # the check would now pass the first attempt
    assert [call.kind for call in first.journal.calls(pid)] == ["verify", "verify", "sleep"]
    assert await make_system(agent).resume(pid).result() == ["fail", "pass"]


async def test_a_workers_own_budget_is_that_attempts_end_and_the_processs_own_is_everybodys(
    make_system: MakeSystem,
) -> None:
    async def spends(process: Process) -> str:
        for _ in range(10):
            await process.sleep(0)
        return "done"

    async def agent(process: Process, own: int) -> object:
        async def small(_: tuple[str, ...]) -> object:
            return await delegate(process, spends, budget=Budget(steps=own))

        async def large(_: tuple[str, ...]) -> object:
            return await delegate(process, spends)

        done = await verify_and_retry(small, lambda _: True, attempts=1, escalate=[large], process=process)
        return [done.value, *done.attempts[0].verdict.reasons]

    system = make_system(agent)
    result = await system.start(Task(agent="agent", arguments=(5,), budget=Budget(steps=40))).result()
    assert result == ["done", "BudgetExceeded: The budget of 5 steps is used up."]
    with pytest.raises(BudgetExceeded, match="budget of 8 steps"):
        await system.start(Task(agent="agent", arguments=(5,), budget=Budget(steps=8))).result()
    assert system.entries() == []


async def test_a_worker_that_is_killed_has_failed_and_an_interrupt_of_the_process_ends_it(
    make_system: MakeSystem,
) -> None:
    async def waits(process: Process) -> None:
        await process.sleep(3600)

    async def quick(process: Process) -> str:
        return "quick"

    async def agent(process: Process) -> str:
        return str(await failover(
            lambda: delegate(process, waits), lambda: delegate(process, quick), process=process
        ))  # fmt: skip

    system = make_system(agent)
    for signal in (system.kill, system.interrupt):
        child = system.start(Task(agent="agent"))
        await _until_two(system.entries)
        if signal == system.kill:
            system.kill(system.entries()[1])
            assert await child.result() == "quick"
        else:
            system.interrupt(child.entry)
            with pytest.raises(Interrupted):
                await child.result()
        assert system.entries() == []


async def _until_two(entries: Callable[[], list[Entry]]) -> None:
    async with asyncio.timeout(10):
        while len(entries()) < 2 or not entries()[1].doing:
            await asyncio.sleep(0.002)


async def test_failover_takes_the_first_worker_without_an_error_and_tells_all_if_none_is() -> None:
    tried: list[str] = []

    async def broken() -> str:
        tried.append("broken")
        raise ValueError("no")

    async def denied() -> str:
        tried.append("denied")
        raise Denied("Not allowed.")

    async def works() -> str:
        tried.append("works")
        return "done"

    assert await failover(broken, works, denied) == "done"
    assert tried == ["broken", "works"]
    with pytest.raises(LlmosError, match=r"Not allowed\.") as raised:
        await failover(broken, denied)
    assert raised.value.__notes__ == ["before: ValueError: no"]
