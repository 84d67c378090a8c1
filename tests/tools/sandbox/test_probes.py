"""Thirteen things hostile code tries. Each must succeed without a sandbox, or its failing inside says nothing."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmos.tools.sandbox import Completed, Sandbox
from tests.tools.sandbox import probes
from tests.tools.sandbox.conftest import Prey

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no sandbox for Windows")


def unconfined(source: str, prey: Prey, *, seconds: float = 20) -> str:
    """What a probe prints when nothing holds it back."""
    try:
        return subprocess.run(
            [sys.executable, "-c", source],
            cwd=prey.workspace,
            env={**os.environ, **prey.env},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        ).stdout
    except subprocess.TimeoutExpired as error:
        return (error.stdout or b"").decode()


async def confined(sandbox: Sandbox, source: str, prey: Prey, *, seconds: float = 20, processes: int = 20) -> Completed:
    """The same in the sandbox."""
    return await sandbox.run(
        [sys.executable, "-c", source],
        workspace=prey.workspace,
        env=prey.env,
        seconds=seconds,
        processes=processes,
        memory_bytes=128 << 20,
    )


def clear(workspace: Path) -> None:
    """Take away what a probe left, but not the sockets."""
    for path in workspace.iterdir():
        if not path.is_socket():
            path.unlink()


@pytest.mark.parametrize(
    "name",
    [
        "SECRET_READ",
        "WRITE_OUTSIDE",
        "NETWORK",
        "FORK_BOMB",
        "MEMORY_BOMB",
        "ENVIRONMENT",
        "SYMLINK",
        "SETUID",
        "PTRACE",
        "SIGNAL",
    ],
)
async def test_a_program_does_not_get_what_it_gets_outside(name: str, sandbox: Sandbox, prey: Prey) -> None:
    source: str = getattr(probes, name)
    assert "ESCAPED" in unconfined(source, prey)
    clear(prey.workspace)
    (prey.outside / "planted").unlink(missing_ok=True)
    while name == "NETWORK":
        try:
            prey.received.recv(1000)
        except BlockingIOError:
            break
    done = await confined(sandbox, source, prey)
    assert b"ESCAPED" not in done.stdout
    assert not done.timed_out
    assert not (prey.outside / "planted").exists()
    assert prey.victim.poll() is None
    with pytest.raises(BlockingIOError):
        prey.received.recv(1000)


async def test_an_endless_loop_ends_in_time(sandbox: Sandbox, prey: Prey) -> None:
    assert "ESCAPED" in unconfined(probes.ENDLESS_LOOP, prey, seconds=2)
    began = time.monotonic()
    done = await confined(sandbox, probes.ENDLESS_LOOP, prey, seconds=0.5)
    assert done.timed_out
    assert done.limit == "time"
    assert done.returncode < 0
    assert time.monotonic() - began < 10


async def test_huge_output_is_counted_and_not_kept(sandbox: Sandbox, prey: Prey) -> None:
    with subprocess.Popen([sys.executable, "-c", probes.HUGE_OUTPUT], stdout=subprocess.PIPE) as program:
        pipe = program.stdout
        assert pipe
        assert sum(map(len, iter(lambda: pipe.read(1 << 16), b""))) == 300 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = await confined(sandbox, probes.HUGE_OUTPUT, prey)
    assert done.returncode == 0
    assert len(done.stdout) == 1_000_000
    assert done.truncated == (300 << 20) - 1_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


async def test_a_daemon_that_leaves_its_session_is_ended_too(sandbox: Sandbox, prey: Prey) -> None:
    alive = prey.workspace / "alive"
    assert "ESCAPED" in unconfined(probes.DAEMON, prey)
    before = alive.read_text()
    time.sleep(0.3)
    assert alive.read_text() != before, "the daemon does not outlive its parent even without a sandbox"
    os.kill(int(before.split()[0]), 9)
    alive.unlink()
    done = await confined(sandbox, probes.DAEMON, prey)
    assert b"ESCAPED" in done.stdout, "the daemon started"
    before = alive.read_text()
    time.sleep(0.3)
    assert alive.read_text() == before
