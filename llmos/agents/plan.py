"""A plan: subtasks with inputs, dependencies, an agent and an acceptance check each; checked before anything runs.

Data only: `llmos.agents.manager` writes and carries them out.
"""

from __future__ import annotations

from collections.abc import Collection
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from llmos.errors import BadPlan

MAX_SUBTASKS = 20
"""A plan with more of them is refused."""

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]


class Check(BaseModel):
    """How a subtask's result is accepted.

    Attributes:
        verifier: A verifier's name, as in `llmos.agents.acceptance`.
        arguments: What it needs besides the result.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    verifier: Name
    arguments: dict[str, Any] = {}


class Subtask(BaseModel):
    """One part of a plan, for one worker.

    Attributes:
        id: Its name in the plan.
        agent: Who does it.
        task: What is to be done, in words.
        inputs: What the worker gets besides, JSON data.
        needs: The ids of subtasks whose results it gets and waits for.
        check: When its result counts as done; none means that it ends unverified.
        tokens: How many tokens it may use; None for a share of what is left.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Name
    agent: Name
    task: Annotated[str, Field(min_length=1, max_length=2000)]
    inputs: dict[str, Any] = {}
    needs: tuple[Name, ...] = ()
    check: Check | None = None
    tokens: Annotated[int, Field(gt=0)] | None = None


class Plan(BaseModel):
    """What a manager wants to have done, and how the answer comes out of it.

    Attributes:
        goal: The task in the user's words.
        subtasks: In any order.
        answer: The id of the subtask whose result is the answer; empty to put all results together.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    goal: str
    subtasks: tuple[Subtask, ...]
    answer: str = ""

    def checked(
        self, *, agents: Collection[str], verifiers: Collection[str], tokens: float = float("inf")
    ) -> tuple[Subtask, ...]:
        """The subtasks in an order in which each comes after what it needs.

        Args:
            agents: The known agents.
            verifiers: The known verifiers.
            tokens: The budget that is left.

        Raises:
            BadPlan: It is empty or too long, circular, or names something unknown twice or beyond its budget.
        """
        if not self.subtasks:
            raise BadPlan("The plan has no subtasks.", hint="Say what is to be done in at least one of them.")
        if len(self.subtasks) > MAX_SUBTASKS:
            raise BadPlan(f"The plan has {len(self.subtasks)} subtasks; {MAX_SUBTASKS} are allowed.")
        known = {one.id: one for one in self.subtasks}
        if len(known) < len(self.subtasks):
            raise BadPlan("Two subtasks of the plan have the same id.")
        for one in self.subtasks:
            self._check_names(one, known, agents, verifiers)
        if self.answer and self.answer not in known:
            raise BadPlan(f"The plan's answer is to come from {self.answer!r}, which is none of its subtasks.")
        asked = sum(one.tokens or 0 for one in self.subtasks)
        if asked > tokens:
            raise BadPlan(f"The plan asks for {asked:,} tokens; {tokens:,.0f} are left.", hint="Raise the budget.")
        try:
            order = tuple(TopologicalSorter({one.id: one.needs for one in self.subtasks}).static_order())
        except CycleError as error:
            raise BadPlan(f"The plan is circular: {' → '.join(error.args[1])}.") from None
        return tuple(known[name] for name in order)

    @staticmethod
    def _check_names(one: Subtask, known: Collection[str], agents: Collection[str], verifiers: Collection[str]) -> None:
        if one.agent not in agents:
            raise BadPlan(
                f"Subtask {one.id!r} is for an agent {one.agent!r}, which there is not.",
                hint=f"There are: {', '.join(sorted(agents)) or 'none'}.",
            )
        if one.check is not None and one.check.verifier not in verifiers:
            raise BadPlan(
                f"Subtask {one.id!r} is to be checked by {one.check.verifier!r}, which there is not.",
                hint=f"There are: {', '.join(sorted(verifiers)) or 'none'}.",
            )
        for name in one.needs:
            if name not in known:
                raise BadPlan(f"Subtask {one.id!r} needs {name!r}, which is not in the plan.")
