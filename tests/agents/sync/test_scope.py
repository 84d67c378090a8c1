"""Nothing outlives its scope, and a run resumes inside every primitive, wherever it was cut.

`TEST_FULL=1` cuts and kills at every row and step; by default at every fifth.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from llmos.kernel.journal import Journal
from llmos.kernel.process import Process
from llmos.kernel.system import System, Task
from tests.agents.sync.programs import PAID, PROGRAMS, RESULT, answering, paid, paying
from tests.kernel.conftest import MakeSystem

STRIDE = 1 if os.environ.get("TEST_FULL") else 5
EACH = pytest.mark.parametrize("name", PROGRAMS)


class PowerCut(BaseException):
    """Ends everything at once, as a killed process does."""


class CutJournal(Journal):
    """A journal that is cut off before its n-th commit, and takes nothing after that."""

    commits = 0
    last = 0

    @contextmanager
    def _commit(self, durable: bool = False) -> Generator[Any]:
        self.commits += 1
        if self.last and self.commits >= self.last:
            raise PowerCut
        with super()._commit(durable) as database:
            yield database


@EACH
async def test_every_program_does_what_it_should(make_system: MakeSystem, tmp_path: Path, name: str) -> None:
    system = make_system(PROGRAMS[name], engine=answering(), tools=(paying(tmp_path / "ledger"),))
    child = system.start(Task(agent=name))
    assert await child.result() == RESULT[name]
    assert paid(tmp_path / "ledger") == PAID[name]
    assert system.journal.audit() is None
    assert await system.replay(child.pid) == RESULT[name]


@EACH
async def test_a_program_that_is_cancelled_at_any_await_leaves_nothing_running(
    make_system: MakeSystem, tmp_path: Path, name: str
) -> None:
    journal = Journal(tmp_path / "journal")
    for steps in itertools.count():

        async def cancels(process: Process, steps: int = steps) -> list[Any]:
            before = asyncio.all_tasks()
            task = asyncio.ensure_future(PROGRAMS[name](process))
            for _ in range(steps):
                await asyncio.sleep(0)
            finished = task.done()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            living = [entry.pid for entry in process.system.entries() if entry.pid != process.pid]
            return [finished, living, [str(one) for one in asyncio.all_tasks() - before]]

        system = make_system(cancels, engine=answering(), tools=(paying(tmp_path / f"ledger{steps}"),), journal=journal)
        finished, living, running = await system.start(Task(agent="cancels")).result()
        assert (living, running) == ([], []), f"after {steps} steps"
        assert system.entries() == []
        if finished:
            assert steps > 5
            break
    journal.close()


@EACH
async def test_a_run_that_is_killed_at_any_await_is_resumed_and_comes_to_the_same_result(
    make_system: MakeSystem, tmp_path: Path, name: str
) -> None:
    journal = Journal(tmp_path / "journal")
    for steps in itertools.count(1, STRIDE):
        ledger = tmp_path / f"ledger{steps}"
        first = make_system(PROGRAMS[name], engine=answering(), tools=(paying(ledger),), journal=journal)
        child = first.start(Task(agent=name))
        for _ in range(steps):
            await asyncio.sleep(0)
        await first.close()
        assert first.entries() == []
        if journal.run(child.pid).state == "done":
            break
        second = make_system(PROGRAMS[name], engine=answering(), tools=(paying(ledger),), journal=journal)
        assert await second.resume(child.pid).result() == RESULT[name], f"after {steps} steps"
        assert paid(ledger) == PAID[name], f"after {steps} steps"
    journal.close()


@EACH
async def test_a_run_that_is_cut_at_any_row_of_the_journal_is_resumed_and_comes_to_the_same_result(
    make_system: MakeSystem, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "journal"
    for row in itertools.count(2, STRIDE):  # the first enters the run
        ledger = tmp_path / f"ledger{row}"
        journal = CutJournal(folder)
        journal.last = row
        tools = (paying(ledger),)
        pid, result = await _first_life(
            make_system(PROGRAMS[name], engine=answering(), tools=tools, journal=journal), name
        )
        if journal.commits < row:
            assert result == RESULT[name]
            assert row > 8
            break
        second = make_system(PROGRAMS[name], engine=answering(), tools=tools, journal=Journal(folder))
        pid = pid or next(run.id for run in second.journal.runs() if run.state == "running")
        if second.journal.run(pid).state != "done":
            assert await second.resume(pid).result() == RESULT[name], f"cut before row {row}"
        assert paid(ledger) == PAID[name], f"cut before row {row}"
        second.journal.close()
    last = Journal(folder)
    assert last.audit() is None
    last.close()


async def _first_life(system: System, name: str) -> tuple[str, Any]:
    """Run until the power is cut; then nobody does anything any more."""
    before = asyncio.all_tasks()
    pid, result = "", None
    with suppress(PowerCut):
        child = system.start(Task(agent=name))
        pid = child.pid
        result = await child.result()
    left = asyncio.all_tasks() - before
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    system.journal.close()
    return pid, result
