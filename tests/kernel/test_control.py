"""Two kernels on one data folder: who lives, who can be asked, and what is left of the dead."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from llmos.errors import Interrupted, NoSuchProcess, RunError
from llmos.kernel import control
from llmos.kernel.process import Process
from llmos.kernel.system import Task
from tests.kernel.conftest import MakeSystem


async def sleeper(process: Process) -> None:
    await process.sleep(1000)


async def test_another_terminal_sees_and_kills_a_process(make_system: MakeSystem, tmp_path: Path) -> None:
    system = make_system(sleeper)
    presence = control.Presence.enter(tmp_path)
    await presence.serve(system)
    child = system.start(Task(agent="sleeper"))
    watched: list[dict[str, object]] = []

    async def watch() -> None:
        async for event in control.watch(tmp_path, presence.owner, {"do": "watch"}):
            watched.append(event)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0.1)
    (row,) = (await control.request(tmp_path, presence.owner, {"do": "ps"}))["processes"]
    assert (row["pid"], row["agent"], row["state"], row["doing"]) == (child.pid, "sleeper", "running", "sleep 1000 s")
    await control.request(tmp_path, presence.owner, {"do": "signal", "pid": child.pid, "signal": "stop"})
    assert system.find(child.pid).state == "stopped"
    await control.request(tmp_path, presence.owner, {"do": "signal", "pid": child.pid, "signal": "kill"})
    with pytest.raises(Interrupted):
        await child.result()
    await asyncio.sleep(0.1)
    assert [event["state"] for event in watched if event["type"] == "ProcessChanged"] == ["stopped", "killed"]
    watching.cancel()
    await presence.close()
    assert control.living(tmp_path) == []


@pytest.mark.parametrize("question", [{"do": "fly"}, {"do": "signal", "pid": "x", "signal": "kill"}, {}, []])
async def test_a_question_that_makes_no_sense_is_an_error(
    make_system: MakeSystem, tmp_path: Path, question: dict[str, str]
) -> None:
    presence = control.Presence.enter(tmp_path)
    await presence.serve(make_system())
    with pytest.raises(RunError):
        await control.request(tmp_path, presence.owner, question)
    await presence.close()


async def test_nobody_else_may_use_the_socket(make_system: MakeSystem, tmp_path: Path) -> None:
    presence = control.Presence.enter(tmp_path)
    await presence.serve(make_system())
    (path,) = (tmp_path / "kernels").glob("*.sock")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    await presence.close()


async def test_a_killed_kernel_is_known_to_be_dead(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from llmos.kernel.control import Presence;"
        "print(Presence.enter(Path(sys.argv[1])).owner, flush=True); time.sleep(100)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    owner = child.stdout.readline().strip()
    assert control.living(tmp_path) == [owner]
    child.kill()
    child.communicate()
    assert not control.is_alive(tmp_path, owner)
    assert control.living(tmp_path) == []
    assert not list((tmp_path / "kernels").iterdir())
    with pytest.raises(NoSuchProcess, match="does not answer"):
        await control.request(tmp_path, owner, {"do": "ps"})


async def test_a_folder_with_a_long_path_works_too(make_system: MakeSystem, tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    presence = control.Presence.enter(folder)
    await presence.serve(make_system())
    assert (await control.request(folder, presence.owner, {"do": "ps"}))["processes"] == []
    await presence.close()
    assert os.path.isdir(folder)
