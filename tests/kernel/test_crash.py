"""Runs that are killed: at every boundary of every step, and by a real `kill -9` at any moment.

Nothing acknowledged is lost, no keyed effect happens twice, and one without a key is asked about.

`TEST_FULL=1` has every boundary of a run of 200 steps and 100 kills, which takes half an hour; by default it is fewer.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from llmos.kernel.budget import Budget
from llmos.kernel.calls import Result, Traits
from llmos.kernel.journal import Journal
from llmos.kernel.process import Process
from llmos.kernel.protocols import Access
from llmos.kernel.system import System, Task
from tests.kernel.conftest import Lever, MakeSystem, Person

FULL = bool(os.environ.get("TEST_FULL"))
STEPS = 200 if FULL else 24
PARTS = 8 if FULL else 1  # no test takes minutes
KILLS = 100 if FULL else 12
BOUNDARIES = ("before intent", "after intent", "after effect", "before commit", "after done")


class PowerCut(BaseException):
    """Ends everything at once, as a killed process does: no handler of ours runs after it."""


class Ledger:
    """The outside world: what was paid, by idempotency key."""

    def __init__(self, *, keyed: bool) -> None:
        self.keyed = keyed
        self.paid: list[tuple[str, int]] = []

    def tool(self, cut: Cut) -> Lever:
        async def pay(arguments: Mapping[str, Any], access: Access) -> Result:
            if not (self.keyed and any(key == access.key for key, _ in self.paid)):
                self.paid.append((access.key, arguments["n"]))
            cut.at("after effect", arguments["n"])
            return Result("paid", label="user")

        return Lever(traits=Traits(effect="external", keyed=self.keyed), does=pay)


class Cut:
    """Cuts the power once, at a boundary of a step."""

    def __init__(self, boundary: str, step: int) -> None:
        self._place = (boundary, step)
        self.done = False

    def at(self, boundary: str, step: int) -> None:
        if not self.done and (boundary, step) == self._place:
            self.done = True
            raise PowerCut


class CutJournal(Journal):
    """A journal that is cut off around the rows of `act` calls."""

    cut: Cut

    def intend(self, run: str, path: str, number: int, kind: Any, title: str, arguments: str, **more: Any) -> None:  # noqa: ANN401
        step = json.loads(arguments)[1]["n"] if kind == "act" else -1
        self.cut.at("before intent", step)
        super().intend(run, path, number, kind, title, arguments, **more)
        self.cut.at("after intent", step)

    def finish(self, run: str, path: str, number: int, result: str, **more: Any) -> None:  # noqa: ANN401
        record = self.call(run, path, number)
        assert record is not None
        step = json.loads(record.arguments)[1]["n"] if record.kind == "act" else -1
        try:
            self.cut.at("before commit", step)
        except PowerCut:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute("UPDATE calls SET ended = 1 WHERE number = ?", (number,))
            self._database.close()  # what was not committed is gone
            raise
        super().finish(run, path, number, result, **more)
        self.cut.at("after done", step)


async def payer(process: Process, steps: int) -> int:
    """Pays `steps` times, thinking in between."""
    total = 0
    for n in range(steps):
        if n % 4 == 0:
            await process.think(f"Step {n}?")
        await process.act("lever", {"n": n})
        total += n
    return total


@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "unkeyed"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("part", range(PARTS))
async def test_a_run_cut_at_any_boundary_is_resumed(
    make_system: MakeSystem, tmp_path: Path, part: int, boundary: str, keyed: bool
) -> None:
    for step in range(part, STEPS, PARTS):
        ledger, cut = Ledger(keyed=keyed), Cut(boundary, step)
        journal = CutJournal(tmp_path / f"journal {step}")
        journal.cut = cut
        system = make_system(payer, tools=(ledger.tool(cut),), journal=journal)
        child = system.start(Task(agent="payer", arguments=(STEPS,), budget=Budget()))
        pid = child.pid
        with pytest.raises(PowerCut):
            await _first_life(system, child)
        assert cut.done
        paid_before = {n for _, n in ledger.paid}
        person = Person(answers=["yes" if step in paid_before else "no"])
        again = Journal(journal.folder)
        second = make_system(payer, tools=(ledger.tool(cut),), approver=person, journal=again)
        assert second.journal.run(pid).state == "running"
        assert await second.resume(pid).result() == sum(range(STEPS))
        assert [n for _, n in ledger.paid] == list(range(STEPS)), "lost or done twice"
        uncertain = boundary in ("after intent", "after effect", "before commit")
        assert len(person.asked) == int(uncertain and not keyed)
        assert second.journal.audit() is None
        second.journal.close()


async def _first_life(system: System, child: Any) -> None:  # noqa: ANN401
    real, system._end = system._end, _no_end  # type: ignore[method-assign,assignment]  # pyright: ignore
    try:
        await child.result()
    finally:
        system._end = real  # type: ignore[method-assign]  # pyright: ignore
        system.journal.close()


async def _no_end(*_: object) -> None:
    """A killed process does not enter its end."""


CHILD = """
import asyncio, json, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from llmos.engine.scripted import ScriptedEngine
from llmos.kernel.budget import Budget
from llmos.kernel.calls import Result, Traits
from llmos.kernel.journal import Journal
from llmos.kernel.system import System, Task
from tests.kernel.conftest import Lever, Permissive
from tests.kernel.test_crash import payer

folder = Path(sys.argv[1])

async def pay(arguments, access):
    with open(folder / "ledger", "a+") as ledger:
        ledger.seek(0)
        if access.key not in [line.split()[0] for line in ledger]:
            ledger.write(f"{access.key} {arguments['n']}\\n")
            ledger.flush()
    return Result("paid", label="user")

async def main():
    engine = ScriptedEngine("Fine.")
    async def get():
        return engine
    lever = Lever(traits=Traits(effect="external", keyed=True), does=pay)
    system = System(engine=get, journal=Journal(folder), policy=Permissive(), folder=folder / "runs",
                    agents={"payer": payer}, tools={"lever": lever})
    known = system.journal.runs()
    print("started", flush=True)
    if known and known[0].state == "done":  # it was killed after its end
        return print(known[0].outcome)
    task = Task(agent="payer", arguments=(200,), budget=Budget())
    child = system.resume(known[0].id) if known else system.start(task)
    print(await child.result(), flush=True)

asyncio.run(main())
"""


def test_runs_that_are_killed_again_and_again_come_to_their_end(tmp_path: Path) -> None:
    chance, kills, runs = random.Random(7), 0, 0
    while kills < KILLS:
        runs += 1
        folder = tmp_path / f"{runs}"
        folder.mkdir()
        while (killed := _life(folder, chance if kills < KILLS else None)) is not None:
            kills += killed
        paid = [int(line.split()[1]) for line in (folder / "ledger").read_text().splitlines()]
        assert paid == list(range(200))
        journal = Journal(folder)
        assert journal.audit() is None
        assert journal.runs()[0].state == "done"
        journal.close()


def _life(folder: Path, chance: random.Random | None) -> bool | None:
    """One life of the run in a folder, killed at a random moment if there is chance; None when it came to its end."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), str(Path(__file__).parents[2])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "started\n", child.stderr.read() if child.stderr else ""
    if chance is not None:
        time.sleep(chance.uniform(0, 0.25))
        child.send_signal(signal.SIGKILL)
    out, error = child.communicate(timeout=60)
    if out.strip():
        assert (out.strip(), error) == (str(sum(range(200))), "")
        return None
    assert child.returncode == -signal.SIGKILL, error
    return True
