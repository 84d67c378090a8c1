"""A tool of your own, and an agent that uses it. The schema comes from the types and the docstring."""

import asyncio

from llmos import Kernel
from llmos.kernel.process import Process
from llmos.tools import tool

STOCK = {"A-17": 4, "B-02": 31}


@tool(effect="reads", returns="user")
def stock(sku: str) -> int:
    """Units of an article in the warehouse."""
    return STOCK.get(sku, 0)


async def buyer(process: Process, sku: str, wanted: int) -> str:
    """Says what has to be ordered."""
    found = await process.act("stock", {"sku": sku})
    missing = max(wanted - int(found.value), 0)
    return f"Order {missing} of {sku}." if missing else f"There is enough of {sku}."


async def main(kernel: Kernel) -> str:
    """The example itself."""
    run = await kernel.spawn(buyer, "A-17", 10, tools=[stock])
    said = str(await run.result())
    print(said)
    return said


if __name__ == "__main__":
    with Kernel() as local:
        asyncio.run(main(local))
