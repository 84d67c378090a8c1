"""Supervision: children that fail are started again, alone or with others, but not for ever.

Restart policies and intensity as in Erlang/OTP's `supervisor` behaviour. Knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llmos.agents.sync.scope import end, is_own, reason_of, task_of
from llmos.errors import BadArguments, Interrupted, LoopDetected
from llmos.kernel.budget import Budget
from llmos.kernel.process import AgentCode, Child, Process

Restart = Literal["permanent", "transient", "temporary"]
Strategy = Literal["one_for_one", "all_for_one", "rest_for_one"]


@dataclass(frozen=True, slots=True)
class Job:
    """A child to be kept running.

    Attributes:
        agent: Its code, or its name.
        arguments: JSON data.
        restart: When it is started again: `permanent` always, `transient` if it ended with an error, `temporary` never.
        budget: Of each of its lives.
    """

    agent: str | AgentCode
    arguments: tuple[object, ...] = ()
    restart: Restart = "transient"
    budget: Budget | None = None


async def supervise(
    process: Process,
    jobs: Sequence[Job],
    *,
    strategy: Strategy = "one_for_one",
    restarts: int = 3,
    seconds: float = 5.0,
) -> list[Any | Exception]:
    """Run children and start those again that end and should not have, until none is left to run.

    Args:
        jobs: In the order in which they are started; later ones may rely on earlier ones.
        strategy: Who is started anew when a child is: it alone, all, or it and those after it. Of the others, temporary
            ones end for good, and what transient ones came to before is forgotten.
        restarts, seconds: The intensity: more than so many restarts within so many seconds are not made.

    Returns:
        What each job came to: its result, or the error that a temporary one ended with.

    Raises:
        BadArguments: The intensity makes no sense.
        LoopDetected: A child would have to be started again too often; its error is the cause. All are ended, the last
            one first.
    """
    if restarts < 0 or seconds <= 0:
        raise BadArguments(f"{restarts} restarts in {seconds:g} s make no sense.")
    results: dict[int, Any] = {}
    alive: dict[int, Child] = {}
    moments: list[float] = []
    try:
        for number, job in enumerate(jobs):
            alive[number] = await _start(process, job)
        while alive:
            numbers = sorted(alive)
            number = numbers[await process.first([task_of(alive[one]) for one in numbers])]
            result, error = await _outcome(process, alive.pop(number))
            if not _again(jobs[number].restart, error):
                results[number] = result if error is None else error
                continue
            now = process.now()
            moments = [moment for moment in moments if now - moment <= seconds] + [now]
            if len(moments) > restarts:
                raise _too_often(number, restarts, seconds, error) from error
            affected = _affected(strategy, number, len(jobs))
            await end(process, [alive[one] for one in reversed(affected) if one in alive], note=True)
            for one in affected:
                await _anew(process, jobs, one, number, alive, results)
    finally:
        await end(process, [alive[one] for one in sorted(alive, reverse=True)])
    return [results[number] for number in range(len(jobs))]


async def _start(process: Process, job: Job) -> Child:
    return await process.spawn(job.agent, *job.arguments, budget=job.budget)


async def _outcome(process: Process, child: Child) -> tuple[Any, Exception | None]:
    """What a child came to, or its error."""
    try:
        return await process.wait(child), None
    except Exception as error:  # whatever a child dies of, its supervisor lives on
        if is_own(process, error):
            raise
        return None, error


def _again(restart: Restart, error: Exception | None) -> bool:
    return restart == "permanent" or (restart == "transient" and error is not None)


def _affected(strategy: Strategy, number: int, count: int) -> range:
    """The jobs that are started anew with one."""
    match strategy:
        case "one_for_one":
            return range(number, number + 1)
        case "all_for_one":
            return range(count)
        case "rest_for_one":
            return range(number, count)


async def _anew(
    process: Process, jobs: Sequence[Job], one: int, failed: int, alive: dict[int, Child], results: dict[int, Any]
) -> None:
    """Start a job anew, because it failed or another did; a temporary one stays what it is, ended."""
    if jobs[one].restart == "temporary":
        if alive.pop(one, None) is not None:
            results[one] = Interrupted(f"Job {one} was ended because job {failed} was started again.")
        return
    results.pop(one, None)
    alive[one] = await _start(process, jobs[one])


def _too_often(number: int, restarts: int, seconds: float, error: Exception | None) -> LoopDetected:
    last = "it ended" if error is None else f"it ended with {reason_of(error)}"
    return LoopDetected(
        f"Job {number} was not started again after {restarts} restarts within {seconds:g} s; {last}.",
        hint="Find out why it ends, or allow more restarts.",
    )
