"""How many calls of one kind may run at once, and who is next: by priority, then fair share by agent, then arrival.

Knows no engine and no tool.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from llmos.errors import BudgetExceeded
from llmos.messages import CLASSES, Priority


@dataclass(order=True, slots=True)
class _Waiter:
    rank: tuple[int, int, int]
    turn: asyncio.Future[None] = field(compare=False)
    client: str = field(compare=False)


class Limit:
    """At most `places` at once. Inside a priority, the client that has had least goes first."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.running = 0
        self._waiting: list[_Waiter] = []
        self._served: Counter[str] = Counter()
        self._arrivals = itertools.count()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(not waiter.turn.done() for waiter in self._waiting)

    @asynccontextmanager
    async def place(self, priority: Priority, client: str, *, seconds: float | None = None) -> AsyncGenerator[None]:
        """Hold a place for the time of the block.

        Raises:
            BudgetExceeded: There was none within so many seconds.
        """
        await self._enter(priority, client, seconds)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, priority: Priority, client: str, seconds: float | None) -> None:
        if self.running < self.places and not self.waiting:
            self._admit(client)
            return
        rank = (CLASSES[priority], self._served[client], next(self._arrivals))
        waiter = _Waiter(rank, asyncio.get_running_loop().create_future(), client)
        heapq.heappush(self._waiting, waiter)
        try:
            await asyncio.wait_for(waiter.turn, seconds)
        except TimeoutError:
            raise BudgetExceeded(
                f"A call waited {seconds:g} s for one of {self.places} places and got none.",
                hint="Run fewer agents at once, or give them more time.",
            ) from None
        except asyncio.CancelledError:
            if waiter.turn.done() and not waiter.turn.cancelled():
                self._leave()  # it had just got its place
            raise

    def _admit(self, client: str) -> None:
        self.running += 1
        self._served[client] += 1
        if len(self._served) > 4096:
            self._served.clear()

    def _leave(self) -> None:
        self.running -= 1
        while self._waiting and self.running < self.places:
            waiter = heapq.heappop(self._waiting)
            if not waiter.turn.done():
                self._admit(waiter.client)
                waiter.turn.set_result(None)
