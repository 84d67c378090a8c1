"""How many calls of one kind may run at once, and who is next: by priority, then fair share by agent, then arrival.

Knows no engine and no tool.
"""

from __future__ import annotations

import asyncio
import bisect
import math
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from llmos.errors import BudgetExceeded
from llmos.messages import CLASSES, Priority

_CLIENTS = 4096


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    turn: asyncio.Future[None]
    client: str
    arrival: int
    priority: Priority
    deadline: float


class _Line:
    """Who waits in one priority, by start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996) with equal shares.

    A client's share is counted in turns. One that comes anew, or comes back, begins where the others are: what it did
    not use is not saved up, so that nobody who was served before waits for it to catch up. Calls with a deadline go
    before all others, the earliest first, and are not counted.
    """

    def __init__(self, priority: Priority) -> None:
        self.priority: Priority = priority
        self.length = 0
        self._urgent: list[_Waiter] = []
        self._waiting: dict[str, deque[_Waiter]] = {}
        self._had: dict[str, int] = {}
        self._now = 0
        self._arrivals = 0

    def join(self, client: str, deadline: float) -> _Waiter:
        """Go to the end of a client's own line, or among those that have a deadline."""
        self._arrivals += 1
        self.length += 1
        waiter = _Waiter(asyncio.get_running_loop().create_future(), client, self._arrivals, self.priority, deadline)
        if deadline < math.inf:
            bisect.insort(self._urgent, waiter, key=lambda one: (one.deadline, one.arrival))
            return waiter
        if client not in self._waiting:
            self._had[client] = max(self._had.get(client, 0), self._now)
        self._waiting.setdefault(client, deque()).append(waiter)
        return waiter

    def leave(self, waiter: _Waiter) -> None:
        """Wait no longer; who has left already stays away."""
        if waiter in self._urgent:
            self._urgent.remove(waiter)
            self.length -= 1
        line = self._waiting.get(waiter.client, deque[_Waiter]())
        if waiter not in line:
            return
        line.remove(waiter)
        self.length -= 1
        if not line:
            del self._waiting[waiter.client]

    def next(self) -> _Waiter | None:
        """Take out the call whose deadline is first, or the first of the client that had least; None without any."""
        while self._urgent:
            waiter = self._urgent[0]
            self.leave(waiter)
            if not waiter.turn.cancelled():
                return waiter
        while self._waiting:
            client = min(self._waiting, key=lambda one: (self._had[one], self._waiting[one][0].arrival))
            waiter = self._waiting[client][0]
            self.leave(waiter)
            if not waiter.turn.cancelled():
                self._count(client)
                return waiter
        return None

    def _count(self, client: str) -> None:
        self._now = self._had[client]
        self._had[client] += 1
        if len(self._had) > _CLIENTS:  # whoever is not ahead begins at `now` anyway
            self._had = {one: had for one, had in self._had.items() if had > self._now or one in self._waiting}


class Limit:
    """At most `places` at once. Inside a priority, the client that has had least goes first.

    What that promises: nobody waits while a place is free, nor while a call of lower priority is let in. In its own
    priority, the n-th waiting call of a client lets at most n + 1 calls of each other client go before it, those with
    a deadline not counted.
    """

    def __init__(self, places: int) -> None:
        self.places = places
        self.running = 0
        self._lines = {priority: _Line(priority) for priority in sorted(CLASSES, key=lambda one: CLASSES[one])}

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(line.length for line in self._lines.values())

    @asynccontextmanager
    async def place(
        self, priority: Priority, client: str, *, seconds: float | None = None, deadline: float = math.inf
    ) -> AsyncGenerator[None]:
        """Hold a place for the time of the block.

        Args:
            seconds: How long to wait for one.
            deadline: When the caller must have ended, by any clock that is the same for all.

        Raises:
            BudgetExceeded: There was none within so many seconds.
        """
        await self._enter(priority, client, seconds, deadline)
        try:
            yield
        finally:
            self.running -= 1
            self._fill()

    async def _enter(self, priority: Priority, client: str, seconds: float | None, deadline: float) -> None:
        waiter = self._lines[priority].join(client, deadline)
        self._fill()
        if waiter.turn.done():
            return
        try:
            # not `wait_for`: before Python 3.12 it loses a cancellation that comes together with the turn
            async with asyncio.timeout(seconds):
                await waiter.turn
        except (TimeoutError, asyncio.CancelledError) as error:
            if waiter.turn.done() and not waiter.turn.cancelled():
                self.running -= 1  # it had just got its place
                self._fill()
            else:
                self._lines[priority].leave(waiter)
            if isinstance(error, asyncio.CancelledError):
                raise
            raise BudgetExceeded(
                f"A call waited {seconds:g} s for one of {self.places} places and got none.",
                hint="Run fewer agents at once, or give them more time.",
            ) from None

    def _fill(self) -> None:
        """Let in who is next, as long as there are places."""
        for line in self._lines.values():
            while self.running < self.places and (waiter := line.next()) is not None:
                self._admit(waiter)

    def _admit(self, waiter: _Waiter) -> None:
        self.running += 1
        waiter.turn.set_result(None)
