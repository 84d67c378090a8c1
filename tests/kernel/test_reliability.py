"""What must hold whatever goes wrong around a call: each of these was found by the simulation or the fuzzers once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from llmos.engine.scripted import Reply, ScriptedEngine
from llmos.errors import BudgetExceeded, Interrupted, LlmosError, RemoteError
from llmos.kernel.budget import Budget
from llmos.kernel.calls import Decision, Deny, ProposedCall, Result, Situation, Traits
from llmos.kernel.journal import Journal
from llmos.kernel.limits import Limit
from llmos.kernel.process import Process
from llmos.kernel.protocols import Access
from llmos.kernel.system import System, Task
from llmos.messages import Generate
from tests.kernel.conftest import Lever, MakeSystem, Person


class Note(BaseModel):
    number: int


def cut(system: System, folder: Path) -> Journal:
    """The journal as a kill at this moment would leave it."""
    folder.mkdir()
    system.journal._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # pyright: ignore[reportPrivateUsage]
    for name in ("journal.sqlite3", "journal.head"):
        (folder / name).write_bytes((system.journal.folder / name).read_bytes())
    return Journal(folder)


async def forever(arguments: Mapping[str, Any], access: Access) -> Result:
    await asyncio.sleep(60)
    return Result("never")


async def test_an_agent_that_is_interrupted_in_several_calls_may_finish(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> str:
        branches = [await process.fork() for _ in range(3)]
        try:
            await asyncio.gather(*(branch.act("lever", {}) for branch in branches))
        except Interrupted:
            return (await process.think("What do you have?")).text
        return "it was not interrupted"

    lever = Lever(does=forever)
    system = make_system(tools=(lever,))
    child = system.start(Task(agent="agent"), code=agent)
    while len(lever.calls) < 3:
        await asyncio.sleep(0)
    system.interrupt(child.entry)
    assert await child.result() == "Fine."
    assert system.journal.run(child.pid).state == "done"


async def test_an_interrupt_does_not_weaken_a_kill(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> str:
        try:
            await process.sleep(60)
        except Interrupted:
            return "it went on"
        return "it woke up"

    system = make_system()
    child = system.start(Task(agent="agent"), code=agent)
    await asyncio.sleep(0.01)
    system.kill(child.entry)
    system.interrupt(child.entry)
    with pytest.raises(Interrupted):
        await child.result()
    assert system.journal.run(child.pid).state == "killed"


async def test_a_process_that_is_killed_before_its_first_step_is_gone(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> None:
        await process.spawn(sleeper)

    async def sleeper(process: Process) -> None:
        await process.sleep(60)

    system = make_system()
    child = system.start(Task(agent="agent"), code=agent)
    await child.result()
    unborn = system.start(Task(agent="sleeper"), code=sleeper)
    system.kill(unborn.entry)
    with pytest.raises(Interrupted):
        await unborn.result()
    assert not system.entries()
    assert system.journal.run(unborn.pid).state == "killed"
    assert [row[3] for row in system.journal.processes(child.pid)] == ["done", "killed"]


async def test_what_an_agent_left_running_makes_no_calls_after_its_end(make_system: MakeSystem) -> None:
    left: list[asyncio.Task[Any]] = []

    async def agent(process: Process) -> str:
        left.append(asyncio.ensure_future(process.aside().act("lever", {"n": 1})))
        left.append(asyncio.ensure_future(later(process)))
        await process.sleep(0.01)
        return "done"

    async def later(process: Process) -> None:
        await asyncio.sleep(0.05)
        await process.aside().act("lever", {"n": 2})

    lever = Lever(does=forever)
    system = make_system(tools=(lever,))
    assert await system.start(Task(agent="agent"), code=agent).result() == "done"
    assert left[0].cancelled()
    with pytest.raises(Interrupted):
        await left[1]
    assert [arguments["n"] for arguments, _ in lever.calls] == [1]


async def test_an_error_that_the_code_went_on_after_comes_again(make_system: MakeSystem, tmp_path: Path) -> None:
    journals: list[Journal] = []

    async def agent(process: Process) -> list[str]:
        found: list[str] = []
        try:
            await process.receive(Note, seconds=0.01)
        except BudgetExceeded:
            found.append("no letter")
        try:
            found.append((await process.think("Hm?")).text)
        except RemoteError:
            found.append("no thought")
        await process.sleep(0)
        if not journals:
            journals.append(cut(process.system, tmp_path / "cut"))
        return found

    def goes_away(request: Generate) -> Reply:
        return Reply(error=RemoteError("gone"))

    first = make_system(engine=ScriptedEngine(goes_away))
    child = first.start(Task(agent="agent"), code=agent)
    assert await child.result() == ["no letter", "no thought"]
    assert await first.replay(child.pid, code=agent) == ["no letter", "no thought"]
    second = make_system(journal=journals[0])  # whose engine works
    assert await second.resume(child.pid, code=agent).result() == ["no letter", "no thought"]
    assert second.journal.audit() is None


async def test_an_error_that_ended_a_run_does_not_come_again(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> str:
        return (await process.think("Hm?")).text

    first = make_system(engine=ScriptedEngine(Reply(error=RemoteError("gone"))))
    child = first.start(Task(agent="agent"), code=agent)
    with pytest.raises(RemoteError):
        await child.result()
    assert await make_system(journal=first.journal).resume(child.pid, code=agent).result() == "Fine."


async def test_a_child_that_failed_for_its_parent_is_not_run_again(make_system: MakeSystem, tmp_path: Path) -> None:
    journals: list[Journal] = []

    async def worker(process: Process) -> None:
        for n in range(5):
            await process.act("lever", {"n": n})

    async def agent(process: Process) -> str:
        child = await process.spawn(worker, budget=Budget(calls=2))
        try:
            await process.wait(child)
        except BudgetExceeded:
            await process.sleep(0)
        if not journals:
            journals.append(cut(process.system, tmp_path / "cut"))
        await asyncio.sleep(0.01)
        return "so be it"

    lever = Lever()
    first = make_system(tools=(lever,))
    child = first.start(Task(agent="agent"), code=agent)
    await child.result()
    assert await make_system(tools=(lever,), journal=journals[0]).resume(child.pid, code=agent).result() == "so be it"
    assert [arguments["n"] for arguments, _ in lever.calls] == [0, 1]


async def test_what_was_used_before_a_kill_counts_and_before_an_end_does_not(
    make_system: MakeSystem, tmp_path: Path
) -> None:
    journals: list[Journal] = []

    async def agent(process: Process) -> int:
        for n in range(5):
            if n == 2 and not journals:
                journals.append(cut(process.system, tmp_path / "cut"))
            await process.act("lever", {"n": n})
        return 5

    lever = Lever()
    child = make_system(tools=(lever,)).start(Task(agent="agent", budget=Budget(calls=3)), code=agent)
    with pytest.raises(BudgetExceeded):
        await child.result()
    lever.calls.clear()
    second = make_system(tools=(lever,), journal=journals[0])
    with pytest.raises(BudgetExceeded):
        await second.resume(child.pid, code=agent).result()
    assert [arguments["n"] for arguments, _ in lever.calls] == [2]
    assert await make_system(tools=(lever,), journal=second.journal).resume(child.pid, code=agent).result() == 5


class Strict:
    """A policy that allows nothing."""

    def decide(self, call: ProposedCall, situation: Situation, /) -> Decision:
        return Deny("a test")


async def test_a_refused_call_stays_refused_wherever_the_run_is_cut(make_system: MakeSystem, tmp_path: Path) -> None:
    kept: list[Journal] = []

    async def agent(process: Process) -> str:
        try:
            await process.act("lever", {"n": 1})
        except LlmosError as error:
            kept.append(cut(process.system, tmp_path / f"cut {len(kept)}"))
            return type(error).__name__
        return "carried out"

    lever = Lever(traits=Traits(effect="external", keyed=True))
    system = make_system(tools=(lever,), policy=Strict())
    child = system.start(Task(agent="agent"), code=agent)
    assert await child.result() == "Denied"
    rows = system.journal._database.execute("SELECT row FROM audit").fetchall()  # pyright: ignore[reportPrivateUsage]
    entered = [row.split()[5] for (row,) in rows if row.split()[4] == b"act"]
    assert entered == [b"refused"], "an intent alone would be taken for allowed"
    # who resumes it allows everything: the answer is known all the same
    assert await make_system(tools=(lever,), journal=kept[0]).resume(child.pid, code=agent).result() == "Denied"
    assert not lever.calls


async def test_a_parent_has_time_as_long_as_its_child_waits_for_a_person(make_system: MakeSystem) -> None:
    class Slow(Person):
        async def answer(self, pid: str, question: str, /) -> str:
            await asyncio.sleep(0.3)
            return "yes"

    async def asker(process: Process) -> str:
        return await process.ask("Really?")

    async def agent(process: Process) -> str:
        return str(await process.wait(await process.spawn(asker)))

    system = make_system(approver=Slow())
    child = system.start(Task(agent="agent", budget=Budget(seconds=0.15)), code=agent)
    assert await child.result() == "yes"


async def test_one_who_asks_for_much_at_once_does_not_make_others_wait() -> None:
    limit, order = Limit(1), list[str]()

    async def work(client: str) -> None:
        async with limit.place("normal", client):
            order.append(client)
            await asyncio.sleep(0)

    async with limit.place("normal", "first"):
        tasks = [asyncio.create_task(work(client)) for client in ["greedy"] * 20 + ["modest"] * 2]
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert order.index("modest") <= 2
    assert [order.count(name) for name in ("greedy", "modest")] == [20, 2]


async def test_one_who_comes_late_does_not_make_others_wait_until_it_has_had_as_much() -> None:
    limit, order = Limit(1), list[str]()

    async def work(client: str) -> None:
        async with limit.place("normal", client):
            order.append(client)
            await asyncio.sleep(0)

    for _ in range(100):
        await work("old")
    order.clear()
    await asyncio.gather(*(work(client) for client in ["late"] * 20 + ["old"] * 20))
    assert abs(order[:10].count("late") - 5) <= 1


async def test_a_cancellation_that_comes_together_with_a_place_is_not_lost() -> None:
    limit = Limit(1)
    went_on: list[bool] = []

    async def work() -> None:
        async with limit.place("normal", "c", seconds=60):
            await asyncio.sleep(0)
            went_on.append(True)

    async with limit.place("normal", "c"):
        waiting = asyncio.create_task(work())
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not went_on
    assert (limit.running, limit.waiting) == (0, 0)
