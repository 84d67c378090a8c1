"""llmos with a few agents more, whose every step is known: `python tests/shell/program.py …`.

The one that `LLMOS_TEST_AGENT` names is the default one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

import llmos.agents
from llmos.agents.chat import chat
from llmos.errors import Interrupted
from llmos.kernel.entry import AgentCode
from llmos.kernel.process import Process
from llmos.shell.start import main


async def sums(process: Process, task: str) -> str:
    """Calculates what it is told to."""
    return (await process.act("calculator", {"expression": task})).text


async def writes(process: Process, task: str) -> str:
    """Writes the words into a file that nobody named."""
    return (await process.act("write_file", {"path": "notes.txt", "text": f"{task}\n"})).text


async def asks(process: Process, task: str) -> str:
    """Asks the user."""
    return f"You said {await process.ask(task)}."


async def sleeps(process: Process, task: str) -> str:
    """Adds up, sleeps long, and would answer then."""
    total = await process.act("calculator", {"expression": "20 + 22"})
    await process.sleep(0 if task == "short" else 60)
    return f"awake with {total.text}"


async def naps(process: Process, task: str) -> str:
    """Writes a file, thinks, sleeps for a moment, answers."""
    await process.act("write_file", {"path": "notes.txt", "text": "once"})
    thought = await process.think(task)
    await process.sleep(3)
    return thought.text


async def parent(process: Process, task: str) -> str:
    """Has a child sleep."""
    return str(await process.wait(await process.spawn("sleeps", task)))


async def stubborn(process: Process, task: str) -> str:
    """Sleeps on when it is interrupted."""
    try:
        await process.sleep(60)
    except Interrupted:
        await process.sleep(61)
    return "awake"


async def fails(process: Process, task: str) -> str:
    """Has a bug."""
    raise ValueError(task)


def agents() -> Mapping[str, AgentCode]:
    """Those and the plain one."""
    every: tuple[Any, ...] = (chat, sums, writes, asks, sleeps, naps, parent, stubborn, fails)
    named = {agent.__name__: agent for agent in every}
    return {**named, "assistant": named[os.environ.get("LLMOS_TEST_AGENT", "chat")]}


if __name__ == "__main__":
    llmos.agents.built_in = agents
    sys.exit(main())
