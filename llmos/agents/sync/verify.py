"""Verify and retry: work is done, checked, and done again with the check's reasons, by somebody else in the end.

Whatever happens, what comes back says truly whether it was verified. Works without a model, and without a process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from llmos.agents.sync.scope import is_own, reason_of, shortened
from llmos.agents.verdict import Found, Verdict, Verifier
from llmos.errors import BadArguments, EngineClosed, Interrupted, JournalMismatch, LlmosError, StorageError, Unverified
from llmos.kernel.branch import Branch

T = TypeVar("T")
Work = Callable[[tuple[str, ...]], Awaitable[T]]
"""Gets the reasons why earlier attempts failed, does the work and returns what came of it."""

_ALWAYS_OWN = (Interrupted, JournalMismatch, StorageError, EngineClosed)


@dataclass(frozen=True, slots=True)
class Attempt(Generic[T]):
    """One try.

    Attributes:
        value: What came of it; None if it ended with an error.
        verdict: What the verifier said of it. One that ended with an error failed, for that reason.
        by: Who did it.
        error: How it ended, where it came to nothing.
    """

    value: T | None
    verdict: Verdict
    by: str
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Verified(Generic[T]):
    """What some work came to, and whether that can be relied on.

    Attributes:
        value: Of the attempt that passed; else of the last that the verifier could not decide on; else of the last that
            came to anything. None where every attempt ended with an error.
        verdict: The one on this value.
        attempts: All of them, in order.
    """

    value: T | None
    verdict: Verdict
    attempts: tuple[Attempt[T], ...]

    @property
    def verified(self) -> bool:
        """Whether the value passed its check."""
        return self.verdict.passed

    def require(self) -> T:
        """The value, if it was verified.

        Raises:
            Unverified: It was not.
        """
        if not self.verified:
            why = " ".join(dict.fromkeys(reason for one in self.attempts for reason in one.verdict.reasons))
            count = f"{len(self.attempts)} attempt{'' if len(self.attempts) == 1 else 's'}"
            raise Unverified(f"None of {count} passed {self.verdict.by!r}: {why}", hint="Look at its `attempts`.")
        return self.value  # type: ignore[return-value]  # pyright: ignore  # an attempt that passed has a value


async def verify_and_retry(
    work: Work[T],
    verifier: Verifier[T] | Callable[[T], Found | Awaitable[Found]],
    *,
    attempts: int = 3,
    feedback: bool = True,
    escalate: Sequence[Work[T]] = (),
    process: Branch | None = None,
) -> Verified[T]:
    """Do work until a verifier passes it.

    An attempt that ends with an error has failed, and its error is the reason. What is about the process itself (its
    own budget, an interrupt, its journal) ends it and goes on up.

    Args:
        work: Does it; gets the reasons of all failed attempts so far.
        verifier: Or a plain check: True passes, False fails, None can't tell.
        attempts: How often `work` may try.
        feedback: Whether work gets reasons; else an empty tuple.
        escalate: Who tries after that, once each: another worker, a bigger engine, the user.
        process: Each verdict is journaled here, so that `llmos trace` shows it and a resumed run goes by it.

    Raises:
        BadArguments: No attempt is allowed.
    """
    if attempts < 1:
        raise BadArguments(f"{attempts} attempts were allowed.", hint="Allow at least one.")
    check = cast("Verifier[T]", verifier) if isinstance(verifier, Verifier) else Verifier(verifier)
    done: list[Attempt[T]] = []
    for number, worker in enumerate([work] * attempts + list(escalate), 1):
        reasons = tuple(dict.fromkeys(reason for one in done for reason in one.verdict.reasons)) if feedback else ()
        by = _name(worker, f"escalation {number - attempts}" if number > attempts else "worker")
        done.append(await _attempt(worker, reasons, check, by, number, process))
        if done[-1].verdict.passed:
            break
    best = _best(done)
    return Verified(best.value, best.verdict, tuple(done))


async def failover(*workers: Callable[[], Awaitable[T]], process: Branch | None = None) -> T:
    """What the first worker comes to that does not end with an error; they are tried one after the other.

    Raises:
        BadArguments: There is no worker.
        Exception: That of the last one, if all fail; with notes on the others.
    """
    if not workers:
        raise BadArguments("There is nobody to do the work.", hint="Give at least one worker.")

    def finished(_: T) -> bool:
        return True

    first, *others = [_ignoring_reasons(worker) for worker in workers]
    result = await verify_and_retry(first, finished, attempts=1, escalate=others, process=process)
    if result.verified:
        return result.require()
    *earlier, last = [one.error or Unverified(" ".join(one.verdict.reasons)) for one in result.attempts]
    for error in earlier:
        last.add_note(f"before: {reason_of(error)}")
    raise last


def _ignoring_reasons(worker: Callable[[], Awaitable[T]]) -> Work[T]:
    async def work(_: tuple[str, ...]) -> T:
        return await worker()

    work.__name__ = _name(worker, "worker")
    return work


async def _attempt(
    worker: Work[T], reasons: tuple[str, ...], check: Verifier[T], by: str, number: int, process: Branch | None
) -> Attempt[T]:
    value: T | None = None
    error: Exception | None = None
    try:
        value = await worker(reasons)
    except Exception as caught:  # whatever a worker dies of, it is that attempt's end only
        _raise_own(process, caught)
        error = caught
        verdict = Verdict("fail", (reason_of(caught),), None, check.name)
    else:
        verdict = await _checked(check, value, process)
    if process is None:
        return Attempt(value, verdict, by, error)
    noted = _noted(process, verdict, check.name, by, number)
    if noted.passed and error is not None:
        raise error  # it passed in an earlier life of the run, and now there is nothing that could have
    return Attempt(value, noted, by, error)


async def _checked(check: Verifier[T], value: T, process: Branch | None) -> Verdict:
    """What a verifier says, with reasons of bounded length; one that fails at its own work can't tell."""
    try:
        verdict = await check(value)
    except LlmosError as error:
        _raise_own(process, error)
        return Verdict("unsure", (f"{check.name} could not be checked: {reason_of(error)}",), None, check.name)
    return Verdict(verdict.outcome, tuple(map(shortened, verdict.reasons)), verdict.confidence, verdict.by)


def _noted(process: Branch, verdict: Verdict, name: str, by: str, number: int) -> Verdict:
    """Journal a verdict; a run that is resumed goes by the one that it had."""
    data = {
        "attempt": number,
        "by": by,
        "check": verdict.by,
        "outcome": verdict.outcome,
        "reasons": list(verdict.reasons),
        "confidence": verdict.confidence,
    }
    noted: dict[str, Any] = process.note("verify", lambda: data, title=f"{name}: {verdict.outcome}")
    return Verdict(noted["outcome"], tuple(noted["reasons"]), noted["confidence"], noted["check"])


def _raise_own(process: Branch | None, error: Exception) -> None:
    if is_own(process, error) if process is not None else isinstance(error, _ALWAYS_OWN):
        raise error


def _best(done: Sequence[Attempt[T]]) -> Attempt[T]:
    """The attempt to go on with: passed before undecided before failed, later ones first."""
    rank = {"pass": 3, "unsure": 2, "fail": 1}
    return max(reversed(done), key=lambda one: 0 if one.error is not None else rank[one.verdict.outcome])


def _name(worker: object, otherwise: str) -> str:
    """Who does some work, for people."""
    inner = getattr(worker, "func", worker)  # of a `functools.partial`
    name = getattr(worker, "name", "") or getattr(inner, "name", "") or getattr(inner, "__name__", "")
    return otherwise if not isinstance(name, str) or name in ("", "<lambda>") else name.strip("_")
