"""A worker of your own beside a ready-made one: both get a part of a task, at once, as processes of one run."""

import asyncio
from pathlib import Path
from typing import Any

from llmos import Kernel
from llmos.agents.workers.analyst import analyst
from llmos.kernel.process import Process

DATA = Path(__file__).parent / "data"


async def shopkeeper(process: Process, month: str) -> str:
    """Says how a month went."""
    total = await process.spawn(analyst, f"What is the total amount in {month} in sales.csv?")
    best = await process.spawn(analyst, f"Which product had the highest amount in {month} in sales.csv?")
    reports: list[dict[str, Any]] = [await process.wait(child) for child in (total, best)]
    return "\n".join(report["text"] or " ".join(report["reasons"]) for report in reports)


async def main(kernel: Kernel) -> str:
    """The example itself."""
    run = await kernel.spawn(shopkeeper, "March 2025", workspace=DATA)
    said = str(await run.result())
    print(said)
    return said


if __name__ == "__main__":
    with Kernel() as local:
        asyncio.run(main(local))
