"""Plans carried out: order, parallel work, failures of every kind, and that every `verified` is true."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from llmos.agents.carrying import MAX_REPORT, carry_out
from llmos.agents.plan import Check, Plan, Subtask
from llmos.agents.report import Report
from llmos.agents.workers.worker import Worker
from llmos.errors import BudgetExceeded, Denied, RemoteError
from llmos.kernel.budget import Budget
from llmos.kernel.entry import Profile
from llmos.kernel.process import Process
from llmos.kernel.system import System, Task
from tests.kernel.conftest import MakeSystem
from tests.kernel.conftest import make_system as make_system

PLANS = int(os.environ.get("LLMOS_PLANS", "1000"))
EVEN = Check(verifier="schema", arguments={"schema": {"type": "integer", "multipleOf": 2}})


def part(
    name: str, *needs: str, agent: str = "worker", check: Check | None = None, tokens: int | None = None
) -> Subtask:
    return Subtask(id=name, agent=agent, task=f"Do {name}.", needs=needs, check=check, tokens=tokens)


def plan(*parts: Subtask) -> Plan:
    return Plan(goal="all of it", subtasks=parts)


def known(make_system: MakeSystem, agents: dict[str, Any]) -> System:
    """A system with these agents."""
    system = make_system()
    system.agents.update(agents)
    return system


async def carried(
    system: System, wanted: Plan, *, stand_in: str = "", budget: Budget | None = None
) -> dict[str, Report]:
    """What a plan came to, in a run of its own."""
    reports: dict[str, Report] = {}

    async def manage(process: Process) -> None:
        reports.update(await carry_out(process, wanted, stand_in=stand_in))

    await system.start(Task(agent="manage", budget=budget or Budget()), code=manage).result()
    assert system.entries() == []
    return reports


def outcomes(reports: Mapping[str, Report]) -> dict[str, str]:
    return {name: report.outcome for name, report in sorted(reports.items())}


async def test_a_subtask_begins_when_what_it_needs_is_there_and_gets_its_reports(make_system: MakeSystem) -> None:
    begun: list[str] = []
    both = asyncio.Event()

    async def worker(process: Process, task: str, inputs: dict[str, Any]) -> object:
        begun.append(inputs["task_id"])
        if inputs["task_id"] in ("a", "b"):
            if {"a", "b"} <= set(begun):
                both.set()
            await asyncio.wait_for(both.wait(), 10)
        return {"saw": [one["task_id"] for one in inputs.get("earlier", [])]}

    system = known(make_system, {"worker": worker})
    reports = await carried(system, plan(part("c", "a", "b"), part("a"), part("b")))
    assert begun[2] == "c"
    assert reports["c"].value == {"saw": ["a", "b"]}
    assert outcomes(reports) == dict.fromkeys("abc", "done")


async def test_a_failed_check_is_tried_again_with_its_reason_and_then_given_to_another(make_system: MakeSystem) -> None:
    given: list[list[str]] = []

    async def worker(process: Process, task: str, inputs: dict[str, Any]) -> object:
        given.append(inputs.get("reasons", []))
        return 1

    async def other(process: Process, task: str, inputs: dict[str, Any]) -> object:
        return 2

    system = known(make_system, {"worker": worker, "other": other})
    reports = await carried(system, plan(part("a", check=EVEN)), stand_in="other")
    assert (reports["a"].outcome, reports["a"].value) == ("verified", 2)
    assert given[0] == []
    assert "multiple" in given[1][0]


async def test_what_changes_things_is_not_done_over_by_another(make_system: MakeSystem) -> None:
    async def write(process: Process, task: str, inputs: dict[str, Any] | None = None) -> dict[str, Any]:
        return Report(task_id=(inputs or {})["task_id"], agent="writer", outcome="done", value=1).model_dump(
            mode="json"
        )

    async def other(process: Process, task: str, inputs: dict[str, Any]) -> object:
        return 2

    writer = Worker(
        name="writer", code=write, description="Writes.", examples=(), effects=("reads", "writes"), profile=Profile()
    )
    system = known(make_system, {"worker": writer, "other": other})
    reports = await carried(system, plan(part("a", check=EVEN)), stand_in="other")
    assert (reports["a"].outcome, reports["a"].value) == ("unverified", 1)


async def test_what_never_passes_is_unverified_with_the_reason_and_kept(make_system: MakeSystem) -> None:
    async def worker(process: Process, task: str) -> object:
        return 3

    reports = await carried(known(make_system, {"worker": worker}), plan(part("a", check=EVEN), part("b", "a")))
    assert outcomes(reports) == {"a": "unverified", "b": "done"}
    assert reports["a"].value == 3
    assert any("multiple" in reason for reason in reports["a"].reasons)


async def lying(process: Process, task: str, inputs: dict[str, Any]) -> object:
    return Report(task_id=inputs["task_id"], agent="worker", outcome="verified", value="I did it").model_dump(
        mode="json"
    )


async def mistaken(process: Process, task: str) -> object:
    return Report(task_id="another", agent="worker", outcome="verified", value=2).model_dump(mode="json")


async def huge(process: Process, task: str) -> object:
    return "x" * (MAX_REPORT + 1)


async def dying(process: Process, task: str) -> object:
    raise RuntimeError("out of luck")


async def refused(process: Process, task: str) -> object:
    raise Denied("No.")


async def broken(process: Process, task: str) -> object:
    return {"task_id": "a", "outcome": "splendid"}


async def looping(process: Process, task: str) -> object:
    while True:
        await process.sleep(0)


@pytest.mark.parametrize(
    ("worker", "outcome", "reason"),
    [
        (lying, "unverified", "integer"),
        (mistaken, "failed", "'another'"),
        (huge, "unverified", "characters"),
        (dying, "failed", "out of luck"),
        (refused, "failed", "No."),
        (broken, "failed", "a report that is none"),
        (looping, "failed", "budget"),
    ],
)
async def test_a_worker_that_misbehaves_ends_in_a_state_that_says_so(
    make_system: MakeSystem, worker: Callable[..., Any], outcome: str, reason: str
) -> None:
    async def fine(process: Process, task: str) -> object:
        return 4

    system = known(make_system, {"worker": worker, "fine": fine})
    wanted = plan(part("a", check=EVEN), part("b", "a"), part("c", agent="fine", check=EVEN))
    reports = await carried(system, wanted, budget=Budget(steps=60))
    assert reports["a"].outcome == outcome
    assert any(reason in one for one in reports["a"].reasons)
    if outcome == "failed":
        assert reports["b"].outcome == "skipped"
    if worker is not looping:  # it uses up everybody's steps
        assert (reports["c"].outcome, reports["c"].value) == ("verified", 4)


async def test_an_interrupt_while_waiting_keeps_what_was_done_and_leaves_nobody(make_system: MakeSystem) -> None:
    waiting = asyncio.Event()

    async def worker(process: Process, task: str, inputs: dict[str, Any]) -> object:
        if inputs["task_id"] == "slow":
            waiting.set()
            await process.sleep(3600)
        return 2

    system = known(make_system, {"worker": worker})
    carrying = asyncio.ensure_future(
        carried(system, plan(part("quick", check=EVEN), part("slow"), part("after", "slow")))
    )
    await asyncio.wait_for(waiting.wait(), 10)
    for _ in range(200):
        await asyncio.sleep(0.005)
        if len(system.entries()) == 3:  # the manager, the subtask, its worker: the quick one is over
            break
    system.interrupt(system.entries()[0])
    assert outcomes(await asyncio.wait_for(carrying, 10)) == {
        "after": "skipped",
        "quick": "verified",
        "slow": "skipped",
    }


async def test_random_plans_with_random_failures_all_end_and_every_verified_is_true(make_system: MakeSystem) -> None:
    """A failure names the seed of its plan."""

    async def worker(process: Process, task: str, inputs: dict[str, Any]) -> object:
        kind = inputs["kinds"][min(len(inputs.get("reasons", [])), len(inputs["kinds"]) - 1)]
        match kind:
            case "good":
                return inputs["number"] * 2
            case "wrong":
                return inputs["number"] * 2 + 1
            case "lies":
                return await lying(process, task, inputs)
            case "dies":
                raise RemoteError("The line is cut.")
            case "raises":
                raise ValueError(kind)
            case "spawns":
                await process.spawn(looping, "on and on")
                return inputs["number"] * 2
            case _:
                raise BudgetExceeded("Nothing is left.")

    system = known(make_system, {"worker": worker})
    kinds = ("good", "good", "wrong", "lies", "dies", "raises", "spawns", "spent")
    for seed in range(PLANS):
        chance = random.Random(seed)
        parts = [
            Subtask(
                id=f"p{number}",
                agent="worker",
                task="Do it.",
                needs=tuple(f"p{one}" for one in range(number) if chance.random() < 0.3),
                inputs={"number": number, "kinds": chance.choices(kinds, k=3)},
                check=EVEN if chance.random() < 0.7 else None,
            )
            for number in range(chance.randint(1, 7))
        ]
        chance.shuffle(parts)
        async with asyncio.timeout(20):
            reports = await carried(system, plan(*parts))
        for one in parts:
            report = reports[one.id]
            said = f"seed {seed}, {one}, {report}"
            if report.outcome == "verified":
                assert one.check is not None, said
                assert report.value == 2 * one.inputs["number"], said
            assert report.usable or report.reasons, said
            assert (report.outcome == "skipped") == any(not reports[need].usable for need in one.needs), said
