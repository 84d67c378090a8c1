"""Carries a plan out: each subtask in a process of its own, as early as what it needs is there, checked and redone.

A subtask's process spawns a worker for each attempt, so that `llmos trace` shows the tree: manager, subtasks, attempts.
Knows plans, reports and checks; how plans come about and what the answer is, others know.
"""

from __future__ import annotations

import inspect
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any

from pydantic import ValidationError

from llmos.agents.plan import Check, Plan, Subtask
from llmos.agents.report import Report
from llmos.agents.sync.gather import delegate
from llmos.agents.sync.scope import end, task_of
from llmos.agents.sync.verify import Verified, verify_and_retry
from llmos.agents.verdict import Verdict, Verifier
from llmos.agents.verifiers import named
from llmos.errors import BudgetExceeded, Interrupted, LlmosError
from llmos.kernel.budget import Budget
from llmos.kernel.process import AgentCode, Child, Process

ATTEMPTS = 2
"""How often a worker tries a subtask whose check fails, before it is given to another."""

MAX_REPORT = 200_000
"""Characters of a report; a worker that gives more has failed."""

Reports = dict[str, Report]


async def carry_out(
    process: Process, plan: Plan, *, known: Mapping[str, Report] | None = None, stand_in: str = ""
) -> Reports:
    """Carry out a plan that has been checked.

    Whatever happens, every subtask has a report in the end: `verified`, `done` (nobody checked it), `unverified`,
    `failed`, or `skipped` because what it needs failed.

    Args:
        known: Reports of subtasks that need not be done again.
        stand_in: An agent that gets a subtask when its own agent has failed at it; empty for none.
    """
    reports: Reports = dict(known or {})
    running: dict[str, Child] = {}
    try:
        while len(reports) < len(plan.subtasks):
            await _start_what_can(process, plan, reports, running, stand_in)
            if not running:
                continue  # all that could have run was skipped, which may let others be skipped
            names = list(running)
            place = await process.first([task_of(running[name]) for name in names])
            name = names[place]
            reports[name] = await _reported(process, plan, name, running.pop(name))
    except (BudgetExceeded, Interrupted) as error:
        for one in plan.subtasks:
            reports.setdefault(one.id, _without(one, "skipped", error.message))
    finally:
        await end(process, running.values())
    return reports


async def _start_what_can(
    process: Process, plan: Plan, reports: Reports, running: dict[str, Child], stand_in: str
) -> None:
    """Start every subtask that waits for nothing any more, in the plan's order."""
    waiting = [one for one in plan.subtasks if one.id not in reports and one.id not in running]
    for one in waiting:
        if any(need not in reports for need in one.needs):
            continue
        lacking = [need for need in one.needs if not reports[need].usable]
        if lacking:
            reports[one.id] = _without(one, "skipped", f"It needs {', '.join(lacking)}, which failed.")
            continue
        left = process.budget.left("tokens")
        share = one.tokens or (None if left == float("inf") else left / len(waiting))
        earlier = [reports[need].model_dump(mode="json") for need in one.needs]
        running[one.id] = await process.spawn(
            subtask, one.model_dump(mode="json"), earlier, stand_in, budget=Budget(tokens=share)
        )


async def _reported(process: Process, plan: Plan, name: str, child: Child) -> Report:
    one = next(one for one in plan.subtasks if one.id == name)
    try:
        return Report.model_validate(await process.wait(child))
    except LlmosError as error:
        if (
            isinstance(error, Interrupted) and child.entry.state == "running"
        ):  # it was this process that was interrupted
            raise
        return _without(one, "failed", error.message)


async def subtask(process: Process, described: dict[str, Any], earlier: list[dict[str, Any]], stand_in: str) -> Any:  # noqa: ANN401  # JSON data
    """One subtask: attempts by its worker, each checked, then by the stand-in.

    Args:
        described: A `Subtask`.
        earlier: The reports of what it needs.
        stand_in: Who gets it when its worker has failed, unless that worker changes things, which nobody else should
            do over; empty for nobody.
    """
    one = Subtask.model_validate(described)
    others = [stand_in] if stand_in and stand_in != one.agent and not _changes_things(process, one.agent) else []
    work = [_by(agent, partial(_attempt, process, one, agent, earlier)) for agent in (one.agent, *others)]
    done: Verified[Report] = await verify_and_retry(
        work[0], acceptance(process, one), attempts=ATTEMPTS if one.check else 1, escalate=work[1:], process=process
    )
    return _final(one, done).model_dump(mode="json")


def _changes_things(process: Process, agent: str) -> bool:
    _, code = process.system.agent(agent)
    return not {"pure", "reads"}.issuperset(getattr(code, "effects", ()))


def _by(agent: str, attempt: partial[Coroutine[Any, Any, Report]]) -> partial[Coroutine[Any, Any, Report]]:
    """An attempt that says whose it is."""
    setattr(attempt, "name", agent)  # noqa: B010  # a partial has room for it, which checkers don't know
    return attempt


async def _attempt(
    process: Process, one: Subtask, agent: str, earlier: list[dict[str, Any]], reasons: tuple[str, ...]
) -> Report:
    """One worker's try."""
    _, code = process.system.agent(agent)
    inputs = {**one.inputs, "task_id": one.id}
    inputs |= {"earlier": earlier} if earlier else {}
    inputs |= {"reasons": list(reasons)} if reasons else {}
    try:
        value = await delegate(process, agent, *arguments_for(code, one.task, inputs))
    except (BudgetExceeded, Interrupted):
        raise
    except LlmosError as error:
        return _without(one, "failed", error.message, agent)
    return as_report(value, one.id, agent)


def arguments_for(code: AgentCode, task: str, inputs: Mapping[str, Any]) -> tuple[Any, ...]:
    """What an agent's code gets: the task, and the inputs if it takes any; else the task alone."""
    call = code if inspect.isfunction(code) else type(code).__call__
    taken = [one for one in inspect.signature(call).parameters.values() if one.kind in (0, 1)]
    own = 2 if inspect.isfunction(code) else 3  # the process and the task, and an object's self
    return (task, dict(inputs)) if len(taken) > own else (task,)


def as_report(value: Any, task_id: str, agent: str) -> Report:  # noqa: ANN401  # whatever an agent returned
    """What an agent returned, as a report on a task: one it is already, or any JSON data as its value."""
    if isinstance(value, dict) and {"task_id", "outcome"} <= value.keys():
        try:
            return Report.model_validate(value)
        except ValidationError as error:
            problem = f"{agent} gave a report that is none: {error.errors()[0]['msg']}."
            return Report(task_id=task_id, agent=agent, outcome="failed", reasons=(problem,))
    return Report(
        task_id=task_id, agent=agent, outcome="done", value=value, text=value if isinstance(value, str) else ""
    )


def acceptance(process: Process, one: Subtask) -> Verifier[Report]:
    """When a report is accepted: it is on this task, of a size that can be read, done, and passes its check."""

    def answers(report: Report) -> Verdict:
        if report.task_id != one.id:
            return Verdict("fail", (f"The report is on {report.task_id!r}, and not on {one.id!r}.",))
        if len(report.model_dump_json()) > MAX_REPORT:
            return Verdict("fail", (f"The report has more than {MAX_REPORT:,} characters.",))
        if not report.usable:
            return Verdict("fail", report.reasons or ("The worker says that it failed.",))
        return Verdict("pass")

    form: Verifier[Report] = Verifier(answers, name="report")
    return form & _checked(process, one.check) if one.check else form


def _checked(process: Process, check: Check) -> Verifier[Report]:
    verifier = named(process, check.verifier, check.arguments)

    async def holds(report: Report) -> Verdict:
        return await verifier(report)

    return Verifier(holds, name=check.verifier)


def _final(one: Subtask, done: Verified[Report]) -> Report:
    """A subtask's report after all attempts. It counts as verified only if a check of its own passed."""
    report = done.value
    if report is None or report.task_id != one.id:
        return _without(one, "failed", *done.verdict.reasons)
    if not done.verified:
        outcome = "unverified" if report.usable else "failed"
        return report.model_copy(update={"outcome": outcome, "reasons": (*report.reasons, *done.verdict.reasons)})
    if one.check:
        return report.model_copy(update={"outcome": "verified"})
    return report if report.outcome == "unverified" else report.model_copy(update={"outcome": "done"})


def _without(one: Subtask, outcome: Any, reason: str = "", agent: str = "") -> Report:  # noqa: ANN401  # a literal
    return Report(task_id=one.id, agent=agent or one.agent, outcome=outcome, reasons=(reason,) if reason else ())
