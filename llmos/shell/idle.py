"""What a chat does while nothing is asked: has the conversation headed, tidies memory, and has the model look for facts
in what was said.

It begins when it has been quiet for a while, and gives way to the next question at once. Knows no terminal.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from llmos.errors import LlmosError
from llmos.shell.knowing import Knowing

if TYPE_CHECKING:
    from llmos.memory.personal.extract import Think

QUIET_SECONDS = 20.0
"""So long nothing is asked before anything is done."""

_MOST = 100  # turns that wait to be read


class Idle:
    """Work for the times between two questions.

    Args:
        knowing: The user's memory.
        think: Asks the model for facts; None where it is not to be asked.
        head: Gives the conversation its title and summary.
    """

    def __init__(self, knowing: Knowing, think: Think | None, head: Callable[[], Awaitable[None]]) -> None:
        self._knowing, self._think, self._head = knowing, think, head
        self._said: list[tuple[str, str, float]] = []
        self._task: asyncio.Task[None] | None = None

    def begin(self, words: str, source: str) -> None:
        """A question was answered.

        Args:
            words: The user's own.
            source: The conversation.
        """
        if self._think is not None:
            self._said = [*self._said, (words, source, time.time())][-_MOST:]
        self.end()
        self._task = asyncio.create_task(self._work())

    def end(self) -> None:
        """Something is asked: what is not done yet is done later."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    async def _work(self) -> None:
        await asyncio.sleep(QUIET_SECONDS)
        with suppress(LlmosError):  # nobody waits for it; it is tried again the next time that it is quiet
            await self._head()
            await asyncio.to_thread(self._knowing.tidy)
            while self._think is not None and self._said:
                await self._read(self._think, *self._said[0])
                del self._said[0]

    async def _read(self, think: Think, words: str, source: str, moment: float) -> None:
        from llmos.memory.personal.extract import Spoken, extract

        found = await extract(think, [Spoken(text=words, label="user", source=source, time=moment)])
        await asyncio.to_thread(self._knowing.learn, found)
