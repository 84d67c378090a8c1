"""What a process may use up, and when it goes round in circles.

Pure bookkeeping. Knows no process, engine or tool.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from llmos.errors import BudgetExceeded, LoopDetected

Resource = Literal["tokens", "steps", "seconds", "calls", "bytes_out", "questions", "money"]

_REPEATS = 3
_LONGEST_CYCLE = 4


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
        money: What remote engines charge, in their currency.
    """

    tokens: float | None = None
    steps: float | None = None
    seconds: float | None = None
    calls: float | None = None
    bytes_out: float | None = None
    questions: float | None = None
    money: float | None = None


DEFAULT = Budget(tokens=200_000, steps=500, seconds=3600.0, calls=100, bytes_out=1_000_000, questions=50)
"""What a run gets if nothing else is said."""

RESOURCES: tuple[Resource, ...] = tuple(field.name for field in fields(Budget))  # type: ignore[misc]


class Meter:
    """Counts what a process and its children use against its budget, and its parent's.

    Args:
        clock: Seconds; the wall clock outside of tests.
    """

    def __init__(
        self, budget: Budget, parent: Meter | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.budget, self.parent = budget, parent
        self.used: dict[Resource, float] = dict.fromkeys(RESOURCES, 0.0)
        self._clock = clock
        self._started = clock()
        self._waited = 0.0

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
            raise short._exceeded(resource)
        self.check_time()

    def restore(self, resource: Resource, amount: float) -> None:
        """Count what was used before a run was resumed."""
        meter: Meter | None = self
        while meter is not None:
            meter.used[resource] += amount
            meter = meter.parent

    def left(self, resource: Resource) -> float:
        """What may still be used: the least that this budget or a parent's has left; infinity without a bound."""
        used = self._clock() - self._started - self._waited if resource == "seconds" else self.used[resource]
        bound = getattr(self.budget, resource)
        own = float("inf") if bound is None else max(bound - used, 0.0)
        return own if self.parent is None else min(own, self.parent.left(resource))

    def check_time(self) -> None:
        """See whether there is time left.

        Raises:
            BudgetExceeded: There is none.
        """
        if self.left("seconds") <= 0:
            raise self._exceeded("seconds")

    def pardon(self, seconds: float) -> None:
        """Don't count so many seconds: they were spent waiting for a person."""
        meter: Meter | None = self
        while meter is not None:
            meter._waited += seconds
            meter = meter.parent

    def _exceeded(self, resource: Resource) -> BudgetExceeded:
        bound = getattr(self.budget, resource)
        if bound is None and self.parent is not None:
            return self.parent._exceeded(resource)
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
