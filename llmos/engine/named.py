"""Engines besides the kernel's own, by name: each is opened when it is first asked for, and all are closed together.

Knows settings and how engines are opened; not who thinks on them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from llmos.config import NamedEngine
from llmos.engine import open_engine
from llmos.errors import EngineError, LlmosError
from llmos.kernel.protocols import Engine

Reveal = Callable[[str, str], str]
"""What a text with handles of secrets stands for, given the URL that it is sent to."""


class Engines:
    """Engines by name. Belongs to one event loop.

    Args:
        settings: Those of the settings.
        given: Open ones, which are taken over; they go before those of the settings.
        reveal: Looks up secrets.
    """

    def __init__(self, settings: Mapping[str, NamedEngine], given: Mapping[str, Engine], *, reveal: Reveal) -> None:
        self._settings, self._given, self._reveal = settings, given, reveal
        self._opening: dict[str, asyncio.Task[Engine]] = {}

    def openers(self) -> dict[str, Callable[[], Awaitable[Engine]]]:
        """For each name what gives its engine."""
        return {name: partial(self.get, name) for name in (*self._settings, *self._given)}

    async def get(self, name: str) -> Engine:
        """The engine of a name. One that could not be opened is tried again.

        Raises:
            LlmosError: It can't be opened.
        """
        if name in self._given:
            return self._given[name]
        task = self._opening.get(name)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._opening[name] = asyncio.create_task(self._open(name), name=f"llmos engine {name}")
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Close all that were opened, and those that were given."""
        for task in self._opening.values():
            if not task.done():
                task.cancel()
        await asyncio.gather(*self._opening.values(), return_exceptions=True)
        opened = [task.result() for task in self._opening.values() if not task.cancelled() and task.exception() is None]
        for engine in (*opened, *self._given.values()):
            await engine.close()

    async def _open(self, name: str) -> Engine:
        one = self._settings[name]
        try:
            return await open_engine(one.model, one.options, api_key=self._key(name, one))
        except LlmosError:
            raise
        except Exception as error:  # a broken installation or native code: whatever it is, the caller can go on
            raise EngineError(
                f"The engine {name!r} could not be opened: {type(error).__name__}: {error}.",
                hint=f"See [engines.{name}] in the settings file.",
            ) from error

    def _key(self, name: str, one: NamedEngine) -> str:
        """Its key: never that of another engine, whose server is another one."""
        if not one.api_key:
            return os.environ.get(f"LLMOS_API_KEY_{name.upper().replace('-', '_')}", "")
        return self._reveal(one.api_key, (one.model or "").partition("#")[0])
