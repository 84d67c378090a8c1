"""Child processes at once: their results in order, items spread over them, stages one after the other.

Each part is a process of its own, so that it has its own calls, mailbox and budget, and shows in `llmos trace`. Knows
no model.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Literal, overload

from llmos.agents.sync.scope import end, is_own, task_of
from llmos.errors import BadArguments, BudgetExceeded, Interrupted
from llmos.kernel.budget import Budget
from llmos.kernel.process import AgentCode, Child, Process

AT_ONCE = 8
"""How many children run at once unless something else is said."""


async def delegate(
    process: Process, agent: str | AgentCode, *arguments: object, forked: bool = False, budget: Budget | None = None
) -> Any:  # noqa: ANN401  # JSON data
    """What a child comes to; it ends with the waiter.

    Args:
        forked, budget: As of `Process.spawn`.

    Raises:
        NoSuchProcess: There is no agent of this name.
        LlmosError: The child's own error.
    """
    child = await process.spawn(agent, *arguments, forked=forked, budget=budget)
    try:
        return await process.wait(child)
    finally:
        await end(process, [child])


@overload
async def join(process: Process, children: Sequence[Child]) -> list[Any]: ...


@overload
async def join(
    process: Process, children: Sequence[Child], *, return_failures: Literal[True]
) -> list[Any | Exception]: ...


async def join(process: Process, children: Sequence[Child], *, return_failures: bool = False) -> list[Any]:
    """The results of children, in their order.

    Args:
        return_failures: An error stands in its child's place, and the others go on. An interrupt of this process, or
            the end of its budget, ends the children that still run and stands in their places.

    Raises:
        LlmosError: The first child's that fails; the others are ended.
    """

    async def start(number: int) -> Child:
        return children[number]

    return await _collect(process, start, len(children), len(children), return_failures=return_failures)


async def map_reduce(
    process: Process,
    items: Iterable[object],
    work: str | AgentCode,
    reduce: Callable[[Process, list[Any]], Any | Awaitable[Any]] | None = None,
    *,
    group: int | None = None,
    at_once: int = AT_ONCE,
    budget: Budget | None = None,
    return_failures: bool = False,
) -> Any:  # noqa: ANN401  # whatever `reduce` returns
    """Do the same work on every item in a child each, and put the results together.

    Args:
        items: JSON data.
        work: Gets its process and an item.
        reduce: Gets a process and the results in the order of the items; without it they are returned as they are.
        group: Reduce at most so many at once, in children, until one is left: for what is too much for one context.
        at_once: How many children run at once.
        budget: Of each child.
        return_failures: As of `join`.

    Raises:
        BadArguments: `at_once` is less than 1, or `group` less than 2.
        LlmosError: The first child's that fails; the others are ended.
    """
    todo = list(items)
    if at_once < 1 or (group is not None and group < 2):
        raise BadArguments(f"{at_once} at once, in groups of {group}: that can't be done.")

    async def start(number: int) -> Child:
        return await process.spawn(work, todo[number], budget=budget)

    results = await _collect(process, start, len(todo), at_once, return_failures=return_failures)
    if reduce is None:
        return results
    while group is not None and len(results) > group:
        groups = [results[place : place + group] for place in range(0, len(results), group)]
        results = await map_reduce(process, groups, _called(reduce), at_once=at_once, budget=budget)
    return await _called(reduce)(process, results)


async def pipeline(
    process: Process,
    items: Iterable[object],
    *stages: str | AgentCode,
    at_once: int = AT_ONCE,
    return_failures: bool = False,
) -> list[Any]:
    """Send items through stages, each in a child of its own that no other waits for; results in the items' order.

    Args:
        stages: Each gets the item's process and what the stage before returned. A stage by name runs in a child of it.
        at_once: How many items are under way at once.
        return_failures: As of `join`.

    Raises:
        BadArguments: `at_once` is less than 1.
        LlmosError: The first item's that fails; the others are ended.
    """

    async def pipeline(own: Process, item: object) -> Any:  # noqa: ANN401
        for stage in stages:
            item = await (delegate(own, stage, item) if isinstance(stage, str) else stage(own, item))
        return item

    results: list[Any] = await map_reduce(process, items, pipeline, at_once=at_once, return_failures=return_failures)
    return results


async def _collect(
    process: Process, start: Callable[[int], Awaitable[Child]], count: int, at_once: int, *, return_failures: bool
) -> list[Any]:
    """Results of children in their order, at most `at_once` running.

    Args:
        start: Gives the child of a number, when it is its turn.
    """
    results: dict[int, Any] = {}
    running: dict[int, Child] = {}
    started = 0
    try:
        while len(results) < count:
            while started < count and len(running) < at_once:
                running[started] = await start(started)
                started += 1
            numbers = list(running)
            number = numbers[await process.first([task_of(child) for child in running.values()])]
            results[number] = await _result(process, running[number], return_failures=return_failures)
            del running[number]
    except (Interrupted, BudgetExceeded) as error:
        if not (return_failures and is_own(process, error)):
            raise
        await _give_up(process, list(running.values()))
        results = dict.fromkeys(range(count), error) | results
    finally:
        await end(process, running.values())
    return [results[number] for number in range(count)]


async def _result(process: Process, child: Child, *, return_failures: bool) -> Any:  # noqa: ANN401  # JSON data
    try:
        return await process.wait(child)
    except Exception as error:  # whatever a child dies of, it may be told in its place
        if not return_failures or is_own(process, error):
            raise
        return error


async def _give_up(process: Process, children: list[Child]) -> None:
    """End children for good: a resumed run does not begin them again."""
    with suppress(BudgetExceeded):  # there is none left to make calls with, which each child's call was told
        await end(process, children, note=True)


def _called(
    code: Callable[[Process, list[Any]], Any | Awaitable[Any]],
) -> Callable[[Process, list[Any]], Awaitable[Any]]:
    """A function, whether it is async or not, as an async one."""

    async def reduce(process: Process, results: list[Any]) -> Any:  # noqa: ANN401
        found = code(process, results)
        return await found if inspect.isawaitable(found) else found

    return reduce
