"""The manager: plans a task, has its parts done by workers in parallel, checks each, answers with what was verified.

Documentation: docs/agents.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from llmos.agents import planning, verifiers
from llmos.agents.carrying import Reports, carry_out
from llmos.agents.plan import Check, Plan, Subtask
from llmos.agents.report import Report
from llmos.agents.router import route
from llmos.agents.spans import of_kind
from llmos.agents.structure import own_words
from llmos.agents.ways import description, ways
from llmos.errors import BadPlan, ConstraintError, NobodyThere
from llmos.events import Notice
from llmos.kernel.process import AgentCode, Process

REPLANS = 1
"""How often what failed is planned anew."""

PLANNING_PARAMETERS = 3e9
"""Models of fewer parameters don't write plans: the parts are cut out of the user's words."""

STAND_IN = "assistant"
_ASKING = ("L2",)
_EDITS = 3
_NO_WORKERS = frozenset({"manager", "router", "chat"})
_OPERATOR = "operator"
_ON_PAGES = re.compile(
    r"\b(?:on|to|from|at|in|into)\s+(?:the|this|that|its|their|my|our)\s+(?:\S+\s+)?web\s?(?:site|page)", re.I
)


async def manager(process: Process, task: str, inputs: dict[str, Any] | None = None) -> Any:  # noqa: ANN401  # JSON data
    """Plan a task of several parts, give them to workers, check what they do, and put the answer together.

    Args:
        process: The process that runs it.
        task: The task, in the user's words.
        inputs: What every worker gets besides.

    Returns:
        A `Report`: its text is the answer, its outcome `verified` only if every part's is.

    Raises:
        BadPlan: The task can't be planned: nothing has been done.
        BudgetExceeded, Interrupted, EngineError: As of the system calls that it makes, before any part was begun.
    """
    inputs = dict(inputs or {})
    task_id = str(inputs.pop("task_id", ""))
    workers = _workers(process, task)
    by_model = await _writes_plans(process)
    plan = await _plan(process, task, workers, inputs, by_model=by_model)
    if process.entry.level == "L0":
        said = f"I would do this:\n{shown(plan)}"
        return Report(task_id=task_id, agent="manager", text=said).model_dump(mode="json")
    agreed = await _agreed(process, plan, workers)
    if agreed is None:
        said = "The plan was not agreed to, so nothing was done."
        return Report(task_id=task_id, agent="manager", outcome="failed", text=said).model_dump(mode="json")
    reports = await carry_out(process, agreed, stand_in=STAND_IN if STAND_IN in workers else "")
    for _ in range(REPLANS if by_model else 0):
        if any(report.outcome == "failed" for report in reports.values()) and process.budget.left("tokens") > 0:
            agreed, reports = await _again(process, agreed, reports, workers)
    return answer(agreed, reports, task_id).model_dump(mode="json")


def _workers(process: Process, task: str) -> dict[str, AgentCode]:
    """Who may do parts of a task. The operator only where there is a browser, and the user's own words name a page:
    what it does there can't always be taken back.
    """
    words = own_words(task)
    pages = "browser_open" in process.entry.devices and bool(of_kind(words, "url") or _ON_PAGES.search(words))
    return {
        name: code
        for name, code in process.system.agents.items()
        if name not in _NO_WORKERS and (name != _OPERATOR or pages)
    }


async def _plan(
    process: Process, task: str, workers: Mapping[str, AgentCode], inputs: Mapping[str, Any], *, by_model: bool
) -> Plan:
    """A plan that has passed its check: the model's where it can write one, else cut from the words."""
    check_for = _check_for(workers)
    if by_model:
        problems: list[str] = []
        for _ in range(2):
            try:
                plan = await planning.by_model(process, task, _described(workers), check_for, problems)
                _check(process, plan, workers)
                return plan
            except (BadPlan, ConstraintError) as error:
                problems.append(error.message)

    known = [way for way in ways(process) if way.kind != "agent" or way.name in workers]

    async def choose(words: str) -> str:
        routed = await route(process, words, known)
        return routed.choice if routed.kind == "agent" else STAND_IN

    plan = await planning.from_words(task, choose, check_for, inputs, at_once=(_OPERATOR,))
    _check(process, plan, workers)
    return plan


def _check_for(workers: Mapping[str, AgentCode]) -> planning.CheckFor:
    """How results are accepted, as an agent's code says: `check_for(words)`, or `check` for all of its tasks."""

    def check_for(agent: str, words: str) -> Check | None:
        code = workers.get(agent)
        by_words = getattr(code, "check_for", None)
        found = by_words(words) if callable(by_words) else getattr(code, "check", None)
        return found if isinstance(found, Check) else None

    return check_for


def _check(process: Process, plan: Plan, workers: Mapping[str, AgentCode]) -> None:
    plan.checked(agents=workers.keys(), verifiers=verifiers.names(), tokens=process.budget.left("tokens"))
    for one in plan.subtasks:
        if one.check is not None:
            verifiers.named(process, one.check.verifier, one.check.arguments)


def _described(workers: Mapping[str, AgentCode]) -> dict[str, str]:
    return {name: description(code) for name, code in sorted(workers.items())}


async def _writes_plans(process: Process) -> bool:
    """Whether the model is large enough to write plans; servers don't say how large theirs is, and are trusted."""

    async def look() -> bool:
        info = (await process.engine()).info
        return info.parameters >= PLANNING_PARAMETERS or info.template == "remote"

    return bool(await process.once("is the model to plan", [], look))


async def _agreed(process: Process, plan: Plan, workers: Mapping[str, AgentCode]) -> Plan | None:
    """The plan as the user wants it; None if not at all. Asked only at the levels that ask."""
    process.system.emit(Notice(text=f"{process.pid}: plan\n{shown(plan)}"))
    if process.entry.level not in _ASKING:
        return plan
    problem = ""
    for _ in range(_EDITS):
        question = (
            f"{problem}This is the plan:\n{shown(plan)}\nGo ahead? (yes, no, or the plan as you want it, as JSON)"
        )
        try:
            said = (await process.ask(question)).strip()
        except NobodyThere:
            return None
        if said.casefold() in ("y", "yes", "ok", "go", "go ahead"):
            return plan
        if not said.startswith("{"):
            return None
        try:
            plan = Plan.model_validate(json.loads(said))
            _check(process, plan, workers)
        except (ValueError, ValidationError, BadPlan) as error:
            problem = f"That plan can't be used: {error}\n"
    return None


async def _again(
    process: Process, plan: Plan, reports: Reports, workers: Mapping[str, AgentCode]
) -> tuple[Plan, Reports]:
    """What failed planned anew by the model, and done; what was done stays."""
    good = {name: report for name, report in reports.items() if report.usable}
    problems = [
        f"{one.id} ({one.task}): {' '.join(reports[one.id].reasons)}" for one in plan.subtasks if one.id not in good
    ]
    check_for = _check_for(workers)
    kept = tuple(one for one in plan.subtasks if one.id in good)
    try:
        new = await planning.by_model(process, plan.goal, _described(workers), check_for, problems)
        renamed = tuple(_renamed(one) for one in new.subtasks)
        merged = Plan(goal=plan.goal, subtasks=(*kept, *renamed))
        _check(process, merged, workers)
    except (BadPlan, ConstraintError):
        return plan, reports
    process.system.emit(Notice(text=f"{process.pid}: new plan\n{shown(merged)}"))
    return merged, await carry_out(process, merged, known=good, stand_in=STAND_IN)


def _renamed(one: Subtask) -> Subtask:
    return one.model_copy(update={"id": f"re-{one.id}", "needs": tuple(f"re-{need}" for need in one.needs)})


def shown(plan: Plan) -> str:
    """A plan for people."""
    lines: list[str] = []
    for one in plan.subtasks:
        after = f", after {', '.join(one.needs)}" if one.needs else ""
        check = f", checked by {_named(one.check)}" if one.check else ""
        lines.append(f"  {one.id} → {one.agent}: {one.task}{after}{check}")
    return "\n".join(lines)


def _named(check: Check) -> str:
    return check.verifier.replace("_", " ")


def answer(plan: Plan, reports: Mapping[str, Report], task_id: str = "") -> Report:
    """What all parts came to; what is not verified or not done is said to be so."""
    used = {need for one in plan.subtasks for need in one.needs if reports[one.id].usable}
    chosen = [one for one in plan.subtasks if one.id == plan.answer] or [
        one for one in plan.subtasks if one.id not in used or not reports[one.id].usable
    ]
    outcomes = {reports[one.id].outcome for one in plan.subtasks}
    outcome: Any = (
        "failed" if not any(reports[one.id].usable for one in chosen)
        else "verified" if outcomes == {"verified"}
        else "done" if outcomes <= {"verified", "done"}
        else "unverified"
    )  # fmt: skip
    known = [reports[one.id].confidence for one in chosen]
    return Report(
        task_id=task_id,
        agent="manager",
        outcome=outcome,
        text="\n\n".join(_said(one, reports[one.id]) for one in chosen),
        value={one.id: reports[one.id].value for one in plan.subtasks},
        sources=tuple(source for one in plan.subtasks for source in reports[one.id].sources),
        artifacts=tuple(file for one in plan.subtasks for file in reports[one.id].artifacts),
        confidence=min((one for one in known if one is not None), default=None),
        reasons=tuple(reason for one in plan.subtasks for reason in reports[one.id].reasons),
    )


def _said(one: Subtask, report: Report) -> str:
    """A part of the answer, with what must be known of it."""
    text = report.text or ("" if report.value is None else json.dumps(report.value, ensure_ascii=False))
    reasons = " ".join(report.reasons)
    match report.outcome:
        case "verified" | "done":
            return text
        case "unverified":
            return f"{text}\n(Not verified: {reasons})"
        case _:
            return f"Not done: {one.task} ({reasons or report.outcome})"
