"""What all workers do with their inputs, and with what they may change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from llmos.agents.report import Report
from llmos.errors import BadArguments, Denied
from llmos.kernel.branch import Branch

Inputs = Mapping[str, Any] | None


def earlier_of(inputs: Inputs) -> list[Report]:
    """The reports of other subtasks that a worker was given, oldest first; what is none is left out."""
    found: list[Report] = []
    for one in (inputs or {}).get("earlier", ()):
        try:
            found.append(Report.model_validate(one))
        except ValidationError:
            continue
    return found


def task_id_of(inputs: Inputs) -> str:
    """The task's id, empty where it has none."""
    return str((inputs or {}).get("task_id", ""))


def as_json(report: Report) -> dict[str, Any]:
    """A report as a worker returns it."""
    return report.model_dump(mode="json")


async def effect(branch: Branch, tool: str, arguments: dict[str, Any]) -> str:
    """Make a call that changes something; gives why it was not done, empty if it was.

    Raises:
        BudgetExceeded, LoopDetected, Interrupted: See `Branch.act`.
    """
    try:
        done = await branch.act(tool, arguments)
    except (Denied, BadArguments) as error:
        return error.message
    return done.text if done.failed or done.retry else ""
