"""What all primitives stand on: lines of work that end with their scope, and whom an error is about.

Knows no primitive.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from llmos.errors import BudgetExceeded, EngineClosed, Interrupted, JournalMismatch, LlmosError, StorageError
from llmos.kernel.branch import Branch
from llmos.kernel.budget import RESOURCES, Meter
from llmos.kernel.process import Child, Process

T = TypeVar("T")

_REASON = 1000


def task_of(child: Child) -> asyncio.Task[Any]:
    """What runs a child's code."""
    task = child.entry.task
    assert task is not None, "a child is launched before anybody can wait for it"
    return task


@asynccontextmanager
async def lines(work: Iterable[Callable[[], Awaitable[T]]]) -> AsyncGenerator[list[asyncio.Task[T]]]:
    """Run lines of work at once for the time of the block; those that still run at its end are cancelled."""
    tasks = [asyncio.create_task(_run(one)) for one in work]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await until_ended(tasks)


async def _run(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


async def until_ended(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Wait until all have ended, well or badly, even if the waiter is cancelled meanwhile: then that goes on after."""
    cancelled: asyncio.CancelledError | None = None
    while pending := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            cancelled = error
    for task in tasks:
        if not task.cancelled():
            task.exception()  # taken note of: nobody may ever ask for it
    if cancelled is not None:
        raise cancelled


async def end(process: Process, children: Iterable[Child], *, note: bool = False) -> None:
    """Kill those children that still live, in this order, and wait until they have ended.

    Args:
        note: Journal how each ended, so that a resumed run doesn't begin it again. Only where the code goes on: a call
            made after an error tells the kernel that the code knows of the error.
    """
    given = list(children)
    living = [child for child in given if not task_of(child).done()]
    for child in living:
        process.system.kill(child.entry)
    await until_ended([task_of(child) for child in living])
    own: Exception | None = None
    for child in given if note else ():  # all: which of them still lived may be otherwise in a resumed run
        try:
            await process.wait(child)
        except Exception as error:  # how it ended is noted, whatever it died of
            own = error if is_own(process, error) else own
    if own is not None:
        raise own


def is_own(branch: Branch, error: BaseException) -> bool:
    """Whether an error is about the process itself, so that it must stop; not about work that it gave away.

    It looks only at what the journal keeps of an error, so that a resumed run says the same. Of one that was killed,
    every error is: its children were killed with it.
    """
    if branch.entry.interrupted == "kill":
        return True
    match error:
        case Interrupted():
            return error.message.startswith(f"Process {branch.pid!r} was ")
        case BudgetExceeded():
            return _names_own_budget(branch.budget, error.message)
        case JournalMismatch() | StorageError() | EngineClosed():
            return True
        case _:
            return not isinstance(error, Exception)


def _names_own_budget(meter: Meter, message: str) -> bool:
    """Whether a budget of this process or of its parents is meant. What exceeds a child's budget of the same size has
    exceeded theirs too, since it is counted there."""
    if message.startswith("The answer was cut"):
        return meter.left("tokens") < 1 or meter.left("money") <= 0
    if message.startswith("The deadline "):
        return meter.left("seconds") <= 0
    found: Meter | None = meter
    while found is not None:
        for resource in RESOURCES:
            bound = getattr(found.budget, resource)
            name = resource.replace("_", " ")
            if bound is not None and message.startswith(f"The budget of {bound:,g} {name} "):
                return True
        found = found.parent
    return False


def reason_of(error: BaseException) -> str:
    """Why some work failed, in a sentence that the next attempt can use."""
    said = error.message if isinstance(error, LlmosError) else str(error)
    return shortened(f"{type(error).__name__}: {said}" if said else type(error).__name__)


def shortened(reason: str) -> str:
    """A reason of bounded length: it goes into the next prompt."""
    return reason if len(reason) <= _REASON else f"{reason[:_REASON]} … ({len(reason):,} characters)"
