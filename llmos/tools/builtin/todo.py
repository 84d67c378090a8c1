"""The agent's own plan: steps to do, kept in the run's folder.

What comes back counts as from outside, since an agent may have written down anything that it read.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Annotated, TypedDict, cast

from annotated_types import Ge, MaxLen

from llmos.kernel.protocols import Access
from llmos.tools.output import Output
from llmos.tools.tool import Retry, tool

MAX_STEPS = 50


class Step(TypedDict):
    """One step of a plan."""

    step: str
    done: bool


@tool(
    effect="pure",
    returns="outside",
    repeatable=True,
    seconds=10,
    examples=(
        ("plan: first read the report, then write a summary", {"add": "read the report"}),
        ("the second step is done", {"done": 2}),
    ),
)
def todo(
    access: Access,
    add: Annotated[str, "a step to add", MaxLen(200)] = "",
    done: Annotated[int, "the number of the step that is done", Ge(0)] = 0,
) -> Output:
    """Keep a plan for a longer task: add a step, tick one off, see what is left."""
    with _one_at_a_time:
        file = access.folder / "todo.json"
        steps = _read(file)
        if step := add.strip():
            if len(steps) >= MAX_STEPS:
                raise Retry(f"The plan has {MAX_STEPS} steps already: tick some off.")
            if step not in {known["step"] for known in steps}:
                steps.append({"step": step, "done": False})
        if done > len(steps):
            raise Retry(f"There is no step {done}: the plan has {len(steps)}.")
        if done:
            steps[done - 1]["done"] = True
        if add or done:
            _write(file, steps)
    rows = [f"{number}. [{'x' if step['done'] else ' '}] {step['step']}" for number, step in enumerate(steps, 1)]
    left = sum(not step["done"] for step in steps)
    return Output("\n".join([*rows, f"{left} of {len(steps)} left."]) if rows else "The plan is empty.", steps)


_one_at_a_time = threading.Lock()


def _read(file: Path) -> list[Step]:
    try:
        return cast("list[Step]", json.loads(file.read_text("utf-8")))
    except FileNotFoundError:
        return []


def _write(file: Path, steps: list[Step]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".part")
    draft.write_text(json.dumps(steps, ensure_ascii=False), "utf-8")
    os.replace(draft, file)
