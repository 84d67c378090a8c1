"""`python -m bench coding`: of 24 small functions asked for with examples, how many the coder brings to pass them.

With the embedded model held to a function's form and without: the form must be worth its cost. Knows nothing of how the
coder works but what it calls a small model.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
import tomllib
from pathlib import Path

from bench.report import Row
from bench.tasks import Agreeable
from llmos.agents.workers import coder as coding
from llmos.config import EngineOptions
from llmos.engine import open_engine
from llmos.kernel.journal import Journal
from llmos.kernel.policy import DefaultPolicy
from llmos.kernel.protocols import Engine
from llmos.kernel.system import System, Task
from llmos.tools.registry import load_tools


async def _passed(engine: Engine, ask: str) -> bool:
    async def get() -> Engine:
        return engine

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "work").mkdir()
        journal = Journal(folder)
        system = System(
            engine=get, journal=journal, policy=DefaultPolicy(), folder=folder / "runs", tools=load_tools(),
            approver=Agreeable(),
        )  # fmt: skip
        task = Task(agent="coder", arguments=(ask,), words=(ask,), workspace=str(folder / "work"))
        report = await system.start(task, code=coding.coder).result()
        await system.close()
        journal.close()
    return bool(report["outcome"] == "done")


async def _all(asks: list[str], *, form: bool) -> Row:
    engine = await open_engine(None, EngineOptions())
    small = coding.SMALL
    coding.SMALL = small if form else 0.0
    try:
        start = time.perf_counter()
        passed = [ask for ask in asks if await _passed(engine, ask)]
        seconds = (time.perf_counter() - start) / len(asks)
    finally:
        coding.SMALL = small
        await engine.close()
    names = ", ".join(sorted(ask.partition("(")[0].split()[-1] for ask in passed))
    how = "held to a function's form" if form else "free"
    return Row(name=how, value=len(passed), unit=f"of {len(asks)}", note=f"{seconds:.0f} s each; {names}")


def functions() -> list[Row]:
    """Each function once, with and without the form."""
    asks: list[str] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))["ask"]
    return [asyncio.run(_all(asks, form=form)) for form in (True, False)]


GROUPS = (functions,)
