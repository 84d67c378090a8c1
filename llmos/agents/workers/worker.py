"""What a ready-made worker is: a plain async function that says what it is for, what it may do and what it needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from llmos.agents.plan import Check
from llmos.kernel.calls import Effect
from llmos.kernel.entry import Profile
from llmos.kernel.process import Process

Code = Callable[[Process, str, dict[str, Any] | None], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Worker:
    """An agent's code with what its card and the router say of it. Call it as the function that it is.

    Attributes:
        description: What it is for, one line.
        examples: Tasks that it is for, in users' words.
        effects: What it may do to the world; see `Effect`.
        profile: The tools that it calls.
        check: When its result counts as done, in a plan.
        check_of: The same from a task's words.
    """

    name: str
    code: Code
    description: str
    examples: tuple[str, ...]
    effects: tuple[Effect, ...]
    profile: Profile
    check: Check | None = None
    check_of: Callable[[str], Check | None] | None = None

    def check_for(self, task: str) -> Check | None:
        """When the result of a task counts as done, where that depends on its words."""
        return self.check if self.check_of is None else self.check_of(task)

    async def __call__(self, process: Process, task: str, inputs: dict[str, Any] | None = None) -> dict[str, Any]:
        """Do a task; returns a `Report` as JSON data."""
        return await self.code(process, task, inputs)
