"""A system on a scripted engine, started again on the same journal as often as a test likes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

from llmos.kernel.budget import Budget
from llmos.kernel.journal import Journal
from llmos.kernel.policy import DefaultPolicy
from llmos.kernel.process import Process
from llmos.kernel.protocols import Engine
from llmos.kernel.system import System, Task

Code = Callable[[Process], Awaitable[Any]]


class Run(Protocol):
    """Runs code as a process; see `on_a_system`."""

    def __call__(
        self, engine: Engine, code: Code, /, *, budget: Budget | None = None, pids: list[str] | None = None
    ) -> Awaitable[Any]: ...


@pytest.fixture
def on_a_system(tmp_path: Path) -> Run:
    """Runs code as a process; with `resume`, goes on with the run of that id, which `pids` has."""

    async def run(engine: Engine, code: Code, /, *, budget: Budget | None = None, pids: list[str] | None = None) -> Any:  # noqa: ANN401
        async def get() -> Engine:
            return engine

        results: list[Any] = []  # as they are: what a run itself gives back is JSON data

        async def kept(process: Process) -> None:
            results.append(await code(process))

        journal = Journal(tmp_path / "journal")
        system = System(engine=get, journal=journal, policy=DefaultPolicy(), folder=tmp_path / "runs", tools={})
        try:
            if pids:
                await system.resume(pids[0], code=kept).result()
                return results[0]
            child = system.start(Task(agent="test", words=("",), budget=budget or Budget()), code=kept)
            if pids is not None:
                pids.append(child.pid)
            await child.result()
            return results[0]
        finally:
            await system.close()
            journal.close()

    return run
