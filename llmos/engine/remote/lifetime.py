"""Bounded waits that closing the engine ends, and the queue for a limited number of places.

Knows no requests and no network.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from llmos.errors import EngineClosed
from llmos.messages import Priority

_RANKS: dict[Priority, int] = {"interactive": 0, "normal": 1, "background": 2}
_FAIR = 4


class Lifetime:
    """Whether an engine is open, and all that waits on it.

    Args:
        name: What to call the engine in errors.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._scopes = set[asyncio.Timeout]()
        self.closed = False

    def check(self) -> None:
        """Raise `EngineClosed` if it is closed."""
        if self.closed:
            raise EngineClosed(f"The remote engine {self._name!r} is closed.", hint="Open a new one.")

    @asynccontextmanager
    async def within(self, seconds: float | None) -> AsyncGenerator[None]:
        """Run the body for at most this long; None waits until the engine closes.

        Raises:
            TimeoutError: It took longer.
            EngineClosed: The engine was closed before or meanwhile.
        """
        self.check()
        try:
            async with asyncio.timeout(seconds) as scope:
                self._scopes.add(scope)
                try:
                    yield
                finally:
                    self._scopes.discard(scope)
        except TimeoutError:
            self.check()
            raise

    def close(self) -> None:
        """End every wait with `EngineClosed`."""
        self.closed = True
        now = asyncio.get_running_loop().time()
        for scope in tuple(self._scopes):
            if not scope.expired():
                scope.reschedule(now)


@dataclass(slots=True, eq=False)
class _Waiter:
    rank: int
    turn: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Gate:
    """Lets a limited number of requests through; who waits is served by priority, then by arrival.

    Every fourth place goes to whoever has waited longest, so that nobody starves.
    """

    def __init__(self, limit: int, lifetime: Lifetime) -> None:
        self._free = limit
        self._granted = 0
        self._waiting = list[_Waiter]()
        self._lifetime = lifetime

    @asynccontextmanager
    async def place(self, priority: Priority) -> AsyncGenerator[None]:
        """Hold a place.

        Raises:
            EngineClosed: The engine was closed while waiting.
        """
        await self._enter(_RANKS[priority])
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, rank: int) -> None:
        if self._free > 0:
            self._free -= 1
            return
        waiter = _Waiter(rank)
        self._waiting.append(waiter)
        try:
            # Unbounded on its own: each place before it is given back within the total time of a request.
            async with self._lifetime.within(None):
                await waiter.turn
        except BaseException:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            else:
                self._leave()
            raise

    def _leave(self) -> None:
        if not self._waiting:
            self._free += 1
            return
        self._granted += 1
        oldest = self._granted % _FAIR == 0
        waiter = self._waiting[0] if oldest else min(self._waiting, key=lambda waiter: waiter.rank)
        self._waiting.remove(waiter)
        if not waiter.turn.done():
            waiter.turn.set_result(None)
