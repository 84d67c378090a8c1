"""Where processes of a run wait for each other: places of which there are few, and a point that all must reach.

Both belong to one run and are made by its code, anew when it is resumed; the journal says how far each had come. Knows
no model.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from llmos.errors import BadArguments, BudgetExceeded
from llmos.kernel.branch import Branch


class Semaphore:
    """Lets a few branches or processes of a run do something at once; who came first is let in first.

    Args:
        owner: Whose code makes it; the children that use it get it from there.
        places: How many at once.

    Raises:
        BadArguments: There is no place.
    """

    def __init__(self, owner: Branch, places: int) -> None:
        if places < 1:
            raise BadArguments(f"A semaphore with {places} places lets nobody in.")
        self._home = owner.aside().path  # its name, the same when the run is resumed
        self._title = f"a place of {self._home}"
        self._free = places
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._reserved = _unfinished(owner, self._title)
        self._free -= len(self._reserved)

    @asynccontextmanager
    async def place(self, branch: Branch) -> AsyncGenerator[None]:
        """A place for the time of the block.

        A run that was killed goes on as it was: who had a place has it again, and others wait until it is left.

        Raises:
            BudgetExceeded: No place became free in the time that is left.
        """
        mark = branch.aside()  # rows of its own: after an error in the block the branch has made no further call
        entered = False

        async def enter(_: int) -> None:
            nonlocal entered
            await self._enter()
            entered = True

        try:
            await mark.call("first", self._title, [self._home], enter)
        except BaseException:
            if entered:
                self._leave()
            raise
        if not entered:  # it had its place in an earlier life of the run
            if mark.path in self._reserved:
                self._reserved.remove(mark.path)
            else:
                self._free -= 1
        try:
            yield
            mark.note("race", lambda: None, title=f"left {self._title}")
        finally:
            self._leave()

    async def _enter(self) -> None:
        if self._free > 0 and not self._waiting:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif not turn.cancelled():
                self._leave()  # it was given a place just now
            raise

    def _leave(self) -> None:
        self._free += 1
        while self._free > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                self._free -= 1
                turn.set_result(None)


def _unfinished(owner: Branch, title: str) -> set[str]:
    """The branches that had a place when the run was killed and will come back to it."""
    calls = owner.system.journal.calls(owner.entry.run)
    entered = {call.path for call in calls if call.title == title and call.done and not call.failed}
    left = {call.path for call in calls if call.kind == "race" and call.title == f"left {title}"}
    ended = [call.path for call in calls if call.kind == "end"]  # their code is not run again
    return {path for path in entered - left if not any(path.startswith((f"{one}.", f"{one}~")) for one in ended)}


class Barrier:
    """A point that so many branches or processes of a run must reach before any of them goes on; then anew.

    Args:
        owner: Whose code makes it; the children that use it get it from there.
        parties: How many.

    Raises:
        BadArguments: There is no party.
    """

    def __init__(self, owner: Branch, parties: int) -> None:
        if parties < 1:
            raise BadArguments(f"A barrier of {parties} parties would never open.")
        self._home = owner.aside().path
        self._parties = parties
        self._rounds: Counter[str] = Counter()  # how often each branch has come
        self._arrived: Counter[int] = Counter()
        self._opened = asyncio.Condition()
        calls = owner.system.journal.calls(owner.entry.run)
        passed = {call.title for call in calls if call.kind == "first" and call.done and not call.failed}
        self._open = 0  # rounds that have opened
        while self._title(self._open + 1) in passed:
            self._open += 1

    def _title(self, turn: int) -> str:
        return f"barrier {self._home}, round {turn}"

    async def wait(self, branch: Branch, *, seconds: float | None = None) -> None:
        """Wait for the others. Who is cancelled meanwhile does not count as having come.

        Args:
            seconds: At most; by default as long as the budget has time.

        Raises:
            BudgetExceeded: They did not all come in time; says how many did.
        """
        self._rounds[branch.path] += 1
        turn = self._rounds[branch.path]

        async def work(_: int) -> None:
            async with self._opened:
                self._arrived[turn] += 1
                try:
                    await self._until_open(turn, seconds)
                except BaseException:
                    self._arrived[turn] -= 1
                    raise

        await branch.call("first", self._title(turn), [self._home, turn], work)

    async def _until_open(self, turn: int, seconds: float | None) -> None:
        if self._arrived[turn] >= self._parties:
            self._open = max(self._open, turn)
            self._opened.notify_all()
        try:
            async with asyncio.timeout(seconds):
                await self._opened.wait_for(lambda: self._open >= turn)
        except TimeoutError:
            raise BudgetExceeded(
                f"Of {self._parties} parties {self._arrived[turn]} came to the barrier within {seconds or 0:g} s.",
                hint="See what became of the others, or wait longer.",
            ) from None
