"""The process table and the mailboxes under any order of spawns, letters, signals and ends: a hypothesis state machine.

Processes are puppets: each waits for what the test tells it to do.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pydantic import BaseModel

from llmos.engine.scripted import ScriptedEngine
from llmos.errors import LlmosError, NoSuchProcess
from llmos.kernel.budget import Budget
from llmos.kernel.entry import Entry
from llmos.kernel.journal import Journal
from llmos.kernel.process import Child, Process
from llmos.kernel.system import System, Task
from tests.kernel.conftest import Permissive


class Letter(BaseModel):
    number: int


@dataclass(eq=False)
class Puppet:
    """One process and what the test believes of it."""

    child: Child
    parent: Puppet | None
    orders: asyncio.Queue[Callable[[Process], Awaitable[Any]] | None] = field(
        default_factory=asyncio.Queue[Callable[[Process], Awaitable[Any]] | None]
    )
    children: list[Puppet] = field(default_factory=list["Puppet"])
    process: Process | None = None
    alive: bool = True
    stopped: bool = False
    letters: list[int] = field(default_factory=list[int])

    @property
    def entry(self) -> Entry:
        return self.child.entry

    def end(self) -> None:
        """It and all that come from it are gone."""
        self.alive = False
        for child in self.children:
            child.end()

    def family(self) -> list[Puppet]:
        return [self, *itertools.chain.from_iterable(child.family() for child in self.children)]


class TableMachine(RuleBasedStateMachine):
    @initialize()
    def boot(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = TemporaryDirectory()
        engine = ScriptedEngine("Fine.")

        async def get() -> ScriptedEngine:
            return engine

        folder = Path(self.folder.name)
        self.system = System(engine=get, journal=Journal(folder), policy=Permissive(), folder=folder / "runs")
        self.queues: dict[str, asyncio.Queue[Any]] = {}
        self.processes: dict[str, Process] = {}
        self.puppets: list[Puppet] = []
        self.sent = itertools.count()
        self.run(self._start())

    def run(self, work: Awaitable[Any]) -> Any:  # noqa: ANN401
        async def settled() -> Any:  # noqa: ANN401
            result = await asyncio.wait_for(work, 10)
            for _ in range(20):
                await asyncio.sleep(0)
            return result

        return self.loop.run_until_complete(settled())

    async def _code(self, process: Process) -> None:
        queue = self.queues.setdefault(process.pid, asyncio.Queue())
        self.processes[process.pid] = process
        while (order := await queue.get()) is not None:
            await order(process)

    async def _start(self) -> None:
        child = self.system.start(Task(agent="puppet", budget=Budget()), code=self._code)
        self._enter(Puppet(child, None))

    def _enter(self, puppet: Puppet) -> None:
        puppet.orders = self.queues.setdefault(puppet.child.pid, asyncio.Queue())
        self.puppets.append(puppet)

    @property
    def living(self) -> list[Puppet]:
        return [puppet for puppet in self.puppets if puppet.alive]

    def pick(self, data: st.DataObject, *, running: bool = False) -> Puppet:
        return data.draw(st.sampled_from([one for one in self.living if not (running and one.stopped)]))

    def anybody_runs(self) -> bool:
        return any(not puppet.stopped for puppet in self.living)

    async def _order(self, puppet: Puppet, do: Callable[[Process], Awaitable[Any]]) -> Any:  # noqa: ANN401
        done: asyncio.Future[Any] = self.loop.create_future()

        async def obey(process: Process) -> None:
            try:
                done.set_result(await do(process))
            except LlmosError as error:
                done.set_exception(error)

        puppet.orders.put_nowait(obey)
        return await done

    @precondition(lambda self: not self.living)
    @rule()
    def start(self) -> None:
        self.run(self._start())

    @precondition(lambda self: self.anybody_runs())
    @rule(data=st.data())
    def spawn(self, data: st.DataObject) -> None:
        parent = self.pick(data, running=True)
        child = self.run(self._order(parent, lambda process: process.spawn(self._code)))
        puppet = Puppet(child, parent)
        parent.children.append(puppet)
        self._enter(puppet)

    @precondition(lambda self: self.anybody_runs())
    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        sender, receiver = self.pick(data, running=True), data.draw(st.sampled_from(self.puppets))
        number = next(self.sent)
        same_run = sender.entry.run == receiver.entry.run
        try:
            self.run(self._order(sender, lambda process: process.send(receiver.child.pid, Letter(number=number))))
        except NoSuchProcess:
            assert not (receiver.alive and same_run)
        else:
            assert receiver.alive
            assert same_run
            receiver.letters.append(number)

    @precondition(lambda self: any(one.letters and not one.stopped for one in self.living))
    @rule(data=st.data())
    def receive(self, data: st.DataObject) -> None:
        puppet = data.draw(st.sampled_from([one for one in self.living if one.letters and not one.stopped]))
        letter = self.run(self._order(puppet, lambda process: process.receive(Letter, seconds=5)))
        assert letter.number == puppet.letters.pop(0)

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        puppet = self.pick(data)
        self.system.stop(puppet.entry)
        for one in puppet.family():
            one.stopped = one.stopped or one.alive

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        puppet = self.pick(data)
        self.system.go_on(puppet.entry)
        for one in puppet.family():
            one.stopped = False

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        puppet = self.pick(data)
        self.system.kill(puppet.entry)
        self.run(asyncio.sleep(0.001))
        puppet.end()

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        puppet = self.pick(data)
        puppet.orders.put_nowait(None)
        self.run(asyncio.sleep(0.001))
        puppet.end()

    @invariant()
    def the_table_is_what_was_done(self) -> None:
        if not hasattr(self, "system"):
            return
        assert {entry.pid for entry in self.system.entries()} == {puppet.child.pid for puppet in self.living}
        for puppet in self.puppets:
            if puppet.alive:
                assert puppet.entry.state == ("stopped" if puppet.stopped else "running")
                assert puppet.parent is None or puppet.parent.alive, "an orphan"
                assert len(puppet.entry.inbox) == len(puppet.letters)
            else:
                assert puppet.entry.state in ("done", "killed"), "a zombie"
                assert puppet.entry.task is not None
                assert puppet.entry.task.done()

    def teardown(self) -> None:
        if hasattr(self, "system"):
            self.run(self.system.close())
            assert not self.system.entries()
            assert self.system.journal.audit() is None
            self.system.journal.close()
            self.loop.close()
            self.folder.cleanup()


TestTable = TableMachine.TestCase
TestTable.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
