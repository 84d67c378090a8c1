"""What a check of some work says, and how checks are put together with `&` and `|`.

Knows no process and no model: a verifier that needs one gets it when it is made (see `llmos.agents.verifiers`).
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from llmos.errors import LlmosError

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)
Outcome = Literal["pass", "fail", "unsure"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier found.

    Attributes:
        outcome: `unsure` where it can't tell; that is never taken for a pass.
        reasons: Why, each a sentence that the next attempt can use.
        confidence: The calibrated probability, 0 to 1, that the outcome is right; None where it is certain or unknown.
        by: The verifier's name.
    """

    outcome: Outcome
    reasons: tuple[str, ...] = ()
    confidence: float | None = None
    by: str = ""

    @property
    def passed(self) -> bool:
        """Whether the work was verified."""
        return self.outcome == "pass"


Found = Verdict | bool | None
"""What a check may return: True passes, False fails, None can't tell."""


class Verifier(Generic[T_contra]):
    """A check of a value, sync or async, under a name. Call it with the value.

    `a & b` passes if both do; `b` is not asked where `a` fails. `a | b` passes if one does; `b` is not asked where `a`
    passes. A check that raises can't tell, and says why; an `LlmosError` of the system (budget, interrupt) goes on up.

    Args:
        check: Gets the value.
        name: By default the function's.
        reason: What is said where it returns False.
    """

    def __init__(
        self, check: Callable[[T_contra], Found | Awaitable[Found]], *, name: str = "", reason: str = ""
    ) -> None:
        self._check = check
        self.name = name or getattr(check, "__name__", "check")
        self._reason = reason or f"{self.name} does not hold."

    async def __call__(self, value: T_contra) -> Verdict:
        """Check a value."""
        try:
            found = self._check(value)
            if inspect.isawaitable(found):
                found = await found
        except LlmosError:
            raise
        except Exception as error:  # a check is the user's code, and a broken one is no verdict on the work
            return Verdict(
                "unsure", (f"{self.name} could not be checked: {type(error).__name__}: {error}",), None, self.name
            )
        match found:
            case Verdict():
                return found if found.by else Verdict(found.outcome, found.reasons, found.confidence, self.name)
            case True:
                return Verdict("pass", (), None, self.name)
            case False:
                return Verdict("fail", (self._reason,), None, self.name)
            case None:
                return Verdict("unsure", (f"{self.name} can't tell.",), None, self.name)

    def __and__(self, other: Verifier[T_contra]) -> Verifier[T_contra]:
        """Both must pass."""

        async def both(value: T_contra) -> Verdict:
            first = await self(value)
            if first.outcome == "fail":
                return first
            second = await other(value)
            return second if second.outcome == "fail" else _weaker(first, second)

        return Verifier(both, name=f"{self.name} & {other.name}")

    def __or__(self, other: Verifier[T_contra]) -> Verifier[T_contra]:
        """One must pass."""

        async def either(value: T_contra) -> Verdict:
            first = await self(value)
            if first.passed:
                return first
            second = await other(value)
            if second.passed:
                return second
            outcome: Outcome = "fail" if first.outcome == second.outcome == "fail" else "unsure"
            return Verdict(outcome, first.reasons + second.reasons, None, f"{first.by} | {second.by}")

        return Verifier(either, name=f"{self.name} | {other.name}")


def _weaker(first: Verdict, second: Verdict) -> Verdict:
    """Of two verdicts of which none fails: both together."""
    outcome: Outcome = "pass" if first.passed and second.passed else "unsure"
    known = [one.confidence for one in (first, second) if one.confidence is not None]
    return Verdict(outcome, first.reasons + second.reasons, min(known, default=None), f"{first.by} & {second.by}")
