"""Several answers to one question on branches of one context: the most common one, or the first.

Self-consistency: Wang et al., "Self-Consistency Improves Chain of Thought Reasoning", ICLR 2023. Knows no model.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar, cast

from llmos.agents.sync.scope import is_own, lines, reason_of
from llmos.errors import BadArguments, Interrupted
from llmos.kernel.branch import Branch
from llmos.kernel.entry import Thought

T = TypeVar("T")
OnBranch = Callable[[Branch], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class Vote(Generic[T]):
    """What a vote came to.

    Attributes:
        value: The answer with most votes, as the first who gave it said it; of several with as many votes the one that
            had its first vote first.
        shares: The share of each answer among the votes that were cast, by its key, most first.
        values: The votes, in the order in which they came.
        failures: Why branches gave no answer.
        asked: How many branches there were; with fewer votes and failures it was decided early.
    """

    value: T
    shares: Mapping[Hashable, float]
    values: tuple[T, ...]
    failures: tuple[str, ...]
    asked: int

    @property
    def confidence(self) -> float:
        """The winner's share, 0 to 1, of the branches that ended; those that failed count as against it.

        It is how far the answers agree, and not calibrated: see `llmos.agents.calibration`.
        """
        return max(self.shares.values()) * len(self.values) / (len(self.values) + len(self.failures))


def normal(value: object) -> Hashable:
    """What answers are compared by: texts without case, spaces around and between, and a full stop; else JSON."""
    inner = cast("Thought[object]", value).value if isinstance(value, Thought) else value
    if isinstance(inner, str):
        return " ".join(inner.casefold().split()).rstrip(".")
    dump = getattr(inner, "model_dump", None)
    return json.dumps(dump(mode="json") if dump is not None else inner, sort_keys=True, default=repr)


async def vote(
    branch: Branch, work: OnBranch[T], n: int = 5, *, key: Callable[[T], Hashable] = normal, early: bool = True
) -> Vote[T]:
    """Have n forks of a context do the same work, and take the most common answer.

    What the context has is read once for all. A fork that ends with an error has no vote.

    Args:
        work: Gets a fork and returns an answer.
        key: What makes two answers the same one.
        early: End the other forks once they can't change the answer.

    Raises:
        BadArguments: n is less than 1.
        Exception: That of the last fork, if all fail.
    """
    if n < 1:
        raise BadArguments(f"A vote of {n} was asked for.", hint="Ask at least one.")
    forks = [await branch.fork() for _ in range(n)]
    order = branch.aside()
    came: dict[int, T] = {}

    async def count() -> list[tuple[int, str]]:
        return await _count(order, [partial(work, fork) for fork in forks], came, key if early else None)

    ended: list[tuple[int, str]] = await branch.once(f"vote of {n}", [n], count)
    for place, failure in ended:
        if not failure and place not in came:  # counted in an earlier life of the run: the journal has what it came to
            came[place] = await work(forks[place])
    return _counted([came[place] for place, failure in ended if not failure], ended, n, key)


async def race(branch: Branch, *works: OnBranch[T]) -> tuple[int, T]:
    """Start all at once, each on a fork; the index and result of the first that succeeds. The others are cancelled.

    Raises:
        LlmosError: That of the last one, if all fail.
    """
    forks = [await branch.fork() for _ in works]
    return await branch.race(*(partial(work, fork) for work, fork in zip(works, forks, strict=True)))


async def _count(
    order: Branch, work: list[Callable[[], Awaitable[T]]], came: dict[int, T], key: Callable[[T], Hashable] | None
) -> list[tuple[int, str]]:
    """Which lines of work ended, in order, and why those that failed did; answers go into `came`.

    Args:
        order: Has the journaled order.
        key: Stop once it is decided by this key; None to wait for all.
    """
    ended: list[tuple[int, str]] = []
    error: BaseException | None = None
    async with lines(work) as tasks:
        pending = dict(enumerate(tasks))
        while pending and not (key is not None and _is_decided([key(one) for one in came.values()], len(pending))):
            places = list(pending)
            place = places[await order.first(list(pending.values()))]
            task = pending.pop(place)
            error = _error_of(task)
            if error is not None and is_own(order, error):
                raise error
            if error is None:
                came[place] = task.result()
            ended.append((place, "" if error is None else reason_of(error)))
    if not came and error is not None:
        raise error
    return ended


def _error_of(task: asyncio.Task[T]) -> BaseException | None:
    return Interrupted("It was cancelled.") if task.cancelled() else task.exception()


def _is_decided(votes: list[Hashable], pending: int) -> bool:
    """Whether the votes that are still to come can't change the answer, whatever they are."""
    ranked = [*Counter(votes).most_common(2), (None, 0), (None, 0)]
    return ranked[0][1] > ranked[1][1] + pending


def _counted(values: list[T], ended: list[tuple[int, str]], asked: int, key: Callable[[T], Hashable]) -> Vote[T]:
    counts = Counter(key(value) for value in values).most_common()  # of equals the one that came first
    winner = next(value for value in values if key(value) == counts[0][0])
    return Vote(
        value=winner,
        shares={name: count / len(values) for name, count in counts},
        values=tuple(values),
        failures=tuple(failure for _, failure in ended if failure),
        asked=asked,
    )
