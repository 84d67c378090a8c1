"""A real `kill -9` inside a vote, a retry and a plan: the run goes on where it was, and nothing is paid twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmos.kernel.journal import Journal
from tests.agents.sync.programs import PAID, RESULT, paid

KILLS = 25 if os.environ.get("TEST_FULL") else 3
CHILD = """
import asyncio, json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from llmos.kernel.journal import Journal
from llmos.kernel.system import System, Task
from tests.agents.sync.programs import PROGRAMS, answering, paying
from tests.kernel.conftest import Permissive

folder, name = Path(sys.argv[1]), sys.argv[3]

async def main():
    engine = answering(seconds=0.05)
    async def get():
        return engine
    system = System(engine=get, journal=Journal(folder), policy=Permissive(), folder=folder / "runs",
                    agents=dict(PROGRAMS), tools={"pay": paying(folder / "ledger")})
    known = system.journal.runs()
    print("started", flush=True)
    if known and known[0].state == "done":  # it was killed after its end
        return print(known[0].outcome)
    child = system.resume(known[0].id) if known else system.start(Task(agent=name))
    print(json.dumps(await child.result()), flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("name", ["voting", "retrying", "carrying"])
def test_a_run_that_is_killed_inside_a_primitive_comes_to_its_end(tmp_path: Path, name: str) -> None:
    chance, kills, runs = random.Random(3), 0, 0
    while kills < KILLS:
        runs += 1
        folder = tmp_path / f"{runs}"
        folder.mkdir()
        while (killed := _life(folder, name, chance if kills < KILLS else None)) is not None:
            kills += killed
        assert paid(folder / "ledger") == PAID[name]
        journal = Journal(folder)
        assert journal.audit() is None
        assert journal.runs()[0].state == "done"
        journal.close()


def _life(folder: Path, name: str, chance: random.Random | None) -> bool | None:
    """One life of the run in a folder, killed at a random moment if there is chance; None when it came to its end."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), str(Path(__file__).parents[3]), name],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "started\n", child.stderr.read() if child.stderr else ""
    if chance is not None:
        time.sleep(chance.uniform(0, 0.4))
        child.send_signal(signal.SIGKILL)
    out, error = child.communicate(timeout=60)
    if out.strip():
        assert (json.loads(out), error) == (RESULT[name], "")
        return None
    assert child.returncode == -signal.SIGKILL, error
    return True
