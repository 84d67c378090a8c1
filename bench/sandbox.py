"""What confining code costs: a Python in the sandbox against a plain one, and an expression in Monty."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.report import Row, Skipped, alternating
from llmos.tools.sandbox import Mechanism, Sandbox
from llmos.tools.sandbox.core import STRONGEST_FIRST, why_not

RUNS = 15
EXPRESSIONS = 300
_EMPTY = [sys.executable, "-c", "pass"]


def sandboxed_python() -> list[Row]:
    """`python -c pass` in each mechanism that works here, over the same without; the first is the one that is used."""
    working: list[Mechanism] = [name for name in STRONGEST_FIRST if not why_not(name)]
    if not working:
        raise Skipped("sandboxed python: this machine has no sandbox")
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        return [_over_plain(runner, name, Path(folder), goal="≤ 30" if name == working[0] else "") for name in working]


def _over_plain(runner: asyncio.Runner, name: Mechanism, folder: Path, *, goal: str) -> Row:
    sandbox = Sandbox(name)

    async def confined() -> None:
        assert (await sandbox.run(_EMPTY, workspace=folder)).returncode == 0

    def plain() -> None:
        subprocess.run(_EMPTY, cwd=folder, check=True, capture_output=True)

    def ours() -> float:
        return _seconds(lambda: runner.run(confined()))

    ours()
    inside, outside = alternating(ours, lambda: _seconds(plain), RUNS)
    more = statistics.median(mine - theirs for mine, theirs in zip(inside, outside, strict=True))
    return Row(
        name=f"sandboxed python -c pass over plain ({name})",
        value=more * 1000,
        unit="ms more",
        peer="plain",
        peer_value=statistics.median(outside) * 1000,
        goal=goal,
        note=f"median of {RUNS} paired runs; the peer's figure is its whole time in ms",
    )


def monty_expression() -> list[Row]:
    """An expression in Monty's own process, once that is warm."""
    try:
        from pydantic_monty import Monty
    except ImportError as error:
        raise Skipped("monty expression: pydantic-monty is not installed") from error
    with Monty(max_processes=1) as pool:

        def once() -> None:
            with pool.checkout(limits={"max_feed_duration_secs": 1.0}) as session:
                assert session.feed_run("sum(n * n for n in range(10))") == 285

        once()
        times = [_seconds(once) for _ in range(EXPRESSIONS)]
    return [Row(name="monty expression", value=statistics.median(times) * 1000, unit="ms", goal="≤ 1", note="warm")]


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


GROUPS = (sandboxed_python, monty_expression)
