"""One program for each primitive, with results that depend on no timing: to be cancelled, cut and killed anywhere.

Their effects are calls of the lever `pay`, each with a number of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmos.agents.carrying import carry_out
from llmos.agents.plan import Check, Plan, Subtask
from llmos.agents.sync import (
    Barrier,
    Job,
    Semaphore,
    delegate,
    failover,
    join,
    map_reduce,
    pipeline,
    race,
    supervise,
    verify_and_retry,
    vote,
)
from llmos.engine.scripted import Reply, ScriptedEngine
from llmos.errors import RemoteError, StorageError
from llmos.kernel.branch import Branch
from llmos.kernel.calls import Result, Traits
from llmos.kernel.entry import AgentCode
from llmos.kernel.process import Process
from llmos.kernel.protocols import Access
from llmos.messages import Generate
from tests.kernel.conftest import Lever


def answering(*, seconds: float = 0.0) -> ScriptedEngine:
    """An engine that says the last word of what it is asked."""

    def say(request: Generate) -> Reply:
        return Reply(request.context.messages[-1].content.split()[-1].rstrip("?"))

    return ScriptedEngine(say, seconds_per_token=seconds)


def paying(ledger: Path) -> Lever:
    """A keyed tool that writes down once what was paid."""

    async def pay(arguments: Mapping[str, Any], access: Access) -> Result:
        with ledger.open("a+", encoding="utf-8") as file:
            file.seek(0)
            if access.key not in [line.split()[0] for line in file]:
                file.write(f"{access.key} {arguments['n']}\n")
        return Result(f"paid {arguments['n']}", label="user")

    return Lever(name="pay", traits=Traits(effect="external", keyed=True), does=pay)


def paid(ledger: Path) -> list[int]:
    """What was paid, in order of the numbers."""
    return sorted(int(line.split()[1]) for line in ledger.read_text("utf-8").splitlines()) if ledger.exists() else []


async def pay(branch: Branch, number: int) -> int:
    await branch.act("pay", {"n": number})
    return number


async def voting(process: Process) -> object:
    async def answer(fork: Branch) -> str:
        number = int(fork.path.rpartition("~")[2])
        return (await fork.think(f"Say {'yes' if number % 3 else 'no'}")).text

    await process.think("Think of it")
    found = await vote(process, answer, 5, early=False)
    return [found.value, sorted(found.values), await pay(process, 1)]


async def retrying(process: Process) -> object:
    async def work(reasons: tuple[str, ...]) -> int:
        said = await process.think(f"Say {len(reasons)}")
        return await pay(process, 10 * int(said.text) + 10)

    async def better(reasons: tuple[str, ...]) -> int:
        return int(await delegate(process, payer, 90))

    def enough(value: int) -> bool:
        return value >= 90

    done = await verify_and_retry(work, enough, attempts=2, escalate=[better], process=process)
    return [done.value, done.verified, [one.value for one in done.attempts]]


async def payer(process: Process, number: int) -> int:
    await process.think(f"Say {number}")
    return await pay(process, number)


async def joining(process: Process) -> object:
    children = [await process.spawn(payer, number) for number in range(1, 4)]
    return await join(process, children)


async def mapping(process: Process) -> object:
    async def total(own: Process, numbers: list[int]) -> int:
        return int((await own.think(f"Say {sum(numbers)}")).text)

    return await map_reduce(process, range(1, 6), payer, total, group=2, at_once=2)


async def piping(process: Process) -> object:
    async def doubled(own: Process, number: int) -> int:
        return await pay(own, 2 * number)

    return await pipeline(process, [1, 10, 100], payer, doubled, at_once=2)


async def failing(process: Process, number: int) -> int:
    await pay(process, number)
    raise RemoteError("The server went away.")


async def handing_over(process: Process) -> object:
    async def first() -> object:
        return await delegate(process, failing, 1)

    async def second() -> object:
        return await delegate(process, payer, 2)

    return await failover(first, second, process=process)


async def supervising(process: Process) -> object:
    async def shaky(own: Process, number: int) -> int:
        await pay(own, number + int(own.path.rpartition(".")[2]))
        if own.path.endswith(".1"):
            raise RemoteError("The server went away.")
        return number

    return await supervise(process, [Job(shaky, (10,)), Job(payer, (30,))], restarts=1)


async def racing(process: Process) -> object:
    async def fails(fork: Branch) -> str:
        await fork.think("Say no")
        raise StorageError("The disk is full.")

    async def wins(fork: Branch) -> str:
        return f"{(await fork.think('Say yes')).text} {await pay(fork, 1)}"

    return await race(process, fails, wins)


async def meeting(process: Process) -> object:
    barrier, places = Barrier(process, 3), Semaphore(process, 1)

    async def member(own: Process, number: int) -> int:
        for round_number in range(2):
            async with places.place(own):
                await pay(own, 10 * round_number + number)
            await barrier.wait(own)
        return number

    return await join(process, [await process.spawn(member, number) for number in range(3)])


async def clerk(process: Process, task: str, inputs: dict[str, Any] | None = None) -> int:
    """Pays the number in its task; a hundred more when an earlier attempt was not accepted."""
    return await pay(process, int(task.split()[-1]) + (100 if (inputs or {}).get("reasons") else 0))


async def carrying(process: Process) -> object:
    process.system.agents["clerk"] = clerk
    check = Check(verifier="schema", arguments={"schema": {"type": "integer", "minimum": 2}})
    needs: dict[int, tuple[str, ...]] = {1: (), 2: (), 3: ("part1", "part2")}
    parts = [Subtask(id=f"part{n}", agent="clerk", task=f"Pay {n}", needs=needs[n], check=check) for n in needs]
    reports = await carry_out(process, Plan(goal="Pay all", subtasks=tuple(parts)))
    return [[name, reports[name].outcome, reports[name].value] for name in sorted(reports)]


PROGRAMS: Mapping[str, AgentCode] = {
    code.__name__: code
    for code in (
        voting, retrying, joining, mapping, piping, handing_over, supervising, racing, meeting,
        carrying,
    )
}  # fmt: skip
PAID = {
    "voting": [1],
    "retrying": [10, 20, 90],
    "joining": [1, 2, 3],
    "mapping": [1, 2, 3, 4, 5],
    "piping": [1, 2, 10, 20, 100, 200],
    "handing_over": [1, 2],
    "supervising": [11, 13, 30],
    "racing": [1],
    "meeting": [0, 1, 2, 10, 11, 12],
    "carrying": [1, 2, 3, 101],
}
RESULT: Mapping[str, Any] = {
    "voting": ["yes", ["no", "yes", "yes", "yes", "yes"], 1],
    "retrying": [90, True, [10, 20, 90]],
    "joining": [1, 2, 3],
    "mapping": 15,
    "piping": [2, 20, 200],
    "handing_over": 2,
    "supervising": [10, 30],
    "racing": [1, "yes 1"],
    "meeting": [0, 1, 2],
    "carrying": [["part1", "verified", 101], ["part2", "verified", 2], ["part3", "verified", 3]],
}
