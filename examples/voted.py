"""Five answers from one context, and the most common one. The context is read once for all five."""

import asyncio

from llmos import Kernel
from llmos.agents.sync import vote
from llmos.kernel.branch import Branch
from llmos.kernel.process import Process
from llmos.messages import Message, Sampling


async def sure(process: Process, question: str) -> str:
    """Answers with how many of five forks agree."""
    process.hear(Message("user", question))

    async def answer(fork: Branch) -> str:
        seed = int(fork.path.rpartition("~")[2])
        return (await fork.think(sampling=Sampling(temperature=0.8, seed=seed), max_tokens=24)).text

    voted = await vote(process, answer, 5)
    return f"{voted.value} ({voted.confidence:.0%} of the votes)"


async def main(kernel: Kernel) -> str:
    """The example itself."""
    run = await kernel.spawn(sure, "Which planet is the largest? Say its name only.")
    said = str(await run.result())
    print(said)
    return said


if __name__ == "__main__":
    with Kernel() as local:
        asyncio.run(main(local))
