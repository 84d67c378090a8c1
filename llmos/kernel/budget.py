"""What a process may use up, and when it goes round in circles.

Pure bookkeeping. Knows no process, engine or tool.
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from llmos.errors import BudgetExceeded, LoopDetected

Resource = Literal["tokens", "steps", "seconds", "calls", "bytes_out", "questions", "money"]

_REPEATS = 3
_LONGEST_CYCLE = 4
TICK = 1e-6
"""Seconds that are no time: sums of floats are not exact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Upper bounds; None is no bound of its own, only the parent's.

    Attributes:
        tokens: Tokens read and generated, those reused from the KV cache not counted.
        steps: System calls.
        seconds: Wall clock since the process started, waiting for a person not counted.
        calls: Tool calls.
        bytes_out: Bytes of arguments given to tools that reach outside.
        questions: Questions to the user, approvals included.
        money: What remote engines charge, in their currency (see the settings `input_price` and `output_price`).
        deadline: When it must have ended, in seconds since the epoch. Of a process and its parents the earliest holds;
            waiting for a person counts.
    """

    tokens: float | None = None
    steps: float | None = None
    seconds: float | None = None
    calls: float | None = None
    bytes_out: float | None = None
    questions: float | None = None
    money: float | None = None
    deadline: float | None = None

    def within(self, other: Budget | None) -> Budget:
        """The tighter of two bounds, each by itself."""
        if other is None:
            return self
        bounds: dict[str, float | None] = {}
        for bound in fields(self):
            known = [one for one in (getattr(self, bound.name), getattr(other, bound.name)) if one is not None]
            bounds[bound.name] = min(known, default=None)
        return Budget(**bounds)


DEFAULT = Budget(tokens=200_000, steps=500, seconds=3600.0, calls=100, bytes_out=1_000_000, questions=50)
"""What a run gets if nothing else is said."""

RESOURCES: tuple[Resource, ...] = get_args(Resource)


class Meter:
    """Counts what a process and its children use against its budget, and its parent's.

    Args:
        clock: Seconds; by default the parent's clock, or the system's.
        wall: Seconds since the epoch, for deadlines; by default as `clock`.
        anew: What was used before the run was resumed does not count: the user lets it go on after its budget ran out.
    """

    def __init__(
        self,
        budget: Budget,
        parent: Meter | None = None,
        *,
        clock: Callable[[], float] | None = None,
        wall: Callable[[], float] | None = None,
        anew: bool = False,
    ) -> None:
        self.budget, self.parent = budget, parent
        self.used: dict[Resource, float] = dict.fromkeys(RESOURCES, 0.0)
        self._clock: Callable[[], float] = clock or (parent._clock if parent is not None else time.monotonic)
        self._wall: Callable[[], float] = wall or (parent._wall if parent is not None else time.time)
        self._anew = anew
        self._started = self._clock()
        self._waited = 0.0
        self._holds = 0
        self._held_at = 0.0

    def charge(self, resource: Resource, amount: float = 1.0) -> None:
        """Count a use, here and in all parents.

        Raises:
            BudgetExceeded: It is more than a budget has left. What was used stays counted.
        """
        short: Meter | None = None
        meter: Meter | None = self
        while meter is not None:
            meter.used[resource] += amount
            bound = getattr(meter.budget, resource)
            if bound is not None and meter.used[resource] > bound and short is None:
                short = meter
            meter = meter.parent
        if short is not None:
            raise short.exceeded(resource)
        self.check_time()

    def restore(self, resource: Resource, amount: float) -> None:
        """Count what was used before a run was resumed, here only."""
        if not self._anew:
            self.used[resource] += amount

    @property
    def deadline(self) -> float:
        """The earliest deadline of this budget and its parents', in seconds since the epoch; infinity without one."""
        own = math.inf if self.budget.deadline is None else self.budget.deadline
        return own if self.parent is None else min(own, self.parent.deadline)

    def left(self, resource: Resource) -> float:
        """What may still be used: the least that this budget or a parent's has left; infinity without a bound. Of
        seconds, those until the deadline at most."""
        own = self._own_left(resource)
        return own if self.parent is None else min(own, self.parent.left(resource))

    def _own_left(self, resource: Resource) -> float:
        used = self._elapsed() if resource == "seconds" else self.used[resource]
        bound = getattr(self.budget, resource)
        left = math.inf if bound is None else max(bound - used, 0.0)
        if resource == "seconds" and self.budget.deadline is not None:
            left = min(left, max(self.budget.deadline - self._wall(), 0.0))
        return left

    def check_time(self) -> None:
        """See whether there is time left.

        Raises:
            BudgetExceeded: There is none.
        """
        if self.left("seconds") <= TICK:
            raise self.exceeded("seconds")

    @property
    def holding(self) -> bool:
        """Whether time stands still, here or in a parent."""
        return self._holds > 0 or (self.parent is not None and self.parent.holding)

    @contextmanager
    def held(self) -> Generator[None]:
        """Don't count the time of the block, here and in all parents: a person is waited for."""
        meters: list[Meter] = [self]
        while (parent := meters[-1].parent) is not None:
            meters.append(parent)
        for meter in meters:
            if meter._holds == 0:
                meter._held_at = meter._clock()
            meter._holds += 1
        try:
            yield
        finally:
            for meter in meters:
                meter._holds -= 1
                if meter._holds == 0:
                    meter._waited += meter._clock() - meter._held_at

    def _elapsed(self) -> float:
        return (self._held_at if self._holds else self._clock()) - self._started - self._waited

    def exceeded(self, resource: Resource) -> BudgetExceeded:
        """The error of the budget, this one or a parent's, that has nothing left of a resource."""
        if self._own_left(resource) > TICK and self.parent is not None:
            return self.parent.exceeded(resource)
        if resource == "seconds" and self.budget.deadline is not None and self.budget.deadline - self._wall() <= TICK:
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.budget.deadline))
            return BudgetExceeded(f"The deadline {when} has passed.", hint="What was done so far is kept.")
        bound = getattr(self.budget, resource)
        return BudgetExceeded(
            f"The budget of {bound:,g} {resource.replace('_', ' ')} is used up.",
            hint="What was done so far is kept; give the run a larger budget to go on.",
        )


class LoopGuard:
    """Notices when the same actions come with the same results, again and again.

    The same action with the same result three times, or a cycle of up to four of them three times, first nudges, then
    stops.
    """

    def __init__(self) -> None:
        self._recent: deque[str] = deque(maxlen=_REPEATS * _LONGEST_CYCLE)
        self._nudged = False

    def see(self, tool: str, arguments: Mapping[str, Any], result: str) -> str:
        """Take note of an action; returns what to tell the model: nothing, or a nudge.

        Raises:
            LoopDetected: It went on after the nudge.
        """
        self._recent.append(json.dumps([tool, arguments, result], sort_keys=True, default=str))
        length = self._cycle()
        if not length:
            return ""
        what = f"{tool!r}" if length == 1 else f"{length} calls"
        if self._nudged:
            raise LoopDetected(
                f"The run went round in circles: {what} with the same results more than {_REPEATS} times.",
                hint="Put the task differently, or use a larger model.",
            )
        self._nudged = True
        self._recent.clear()
        return f"You have done {what} {_REPEATS} times with the same results. Do something else, or answer now."

    def _cycle(self) -> int:
        """The length of the cycle that the last actions are three rounds of; 0 if they are none."""
        recent = list(self._recent)
        for length in range(1, _LONGEST_CYCLE + 1):
            rounds = recent[-_REPEATS * length :]
            if len(rounds) == _REPEATS * length and rounds == rounds[:length] * _REPEATS:
                return length
        return 0
