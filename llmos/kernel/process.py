"""A process: the handle that an agent gets, whose methods are the system calls. It has no other way to act.

It is a branch that has children and a mailbox. Knows no tool, model or terminal.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, TypeVar

from llmos.errors import BudgetExceeded, Interrupted, NoSuchProcess
from llmos.kernel.branch import Branch
from llmos.kernel.budget import Budget, Meter
from llmos.kernel.calls import Observed
from llmos.kernel.entry import AgentCode, Entry, Thought
from llmos.kernel.journal import canonical
from llmos.messages import Context, Priority

if TYPE_CHECKING:
    from pydantic import BaseModel

    from llmos.kernel.system import System

__all__ = ["AgentCode", "Branch", "Child", "Process", "Thought"]

ModelT = TypeVar("ModelT", bound="BaseModel")
_MAILBOX = 1000


class Process(Branch):
    """A running agent's handle: all system calls."""

    def __init__(self, system: System, entry: Entry, context: Context) -> None:
        super().__init__(system, entry, entry.path, context)
        self._spawned = 0

    async def spawn(
        self,
        agent: str | AgentCode,
        *arguments: object,
        forked: bool = False,
        budget: Budget | None = None,
        priority: Priority | None = None,
    ) -> Child:
        """Start a child process.

        Args:
            agent: An agent by name, or a function that gets its process and the arguments.
            arguments: JSON data.
            forked: It begins with this context (and what it has seen) in place of an empty one.
            budget: Bounds of its own, within this process's.
            priority: By default this process's.

        Raises:
            NoSuchProcess: There is no agent of this name.
        """
        self._spawned += 1
        path = f"{self.path}.{self._spawned}"
        name, code = self.system.agent(agent)

        async def work(_: int) -> None:
            return None

        await self.call("spawn", f"{name} {path}", [name, path, list(arguments), forked], work)
        entry = Entry(
            run=self.entry.run,
            path=path,
            agent=name,
            meter=Meter(budget or Budget(), self.entry.meter),
            priority=priority or self.entry.priority,
            level=self.entry.level,
            parent=self.entry,
            words=self.entry.words,
            workspace=self.entry.workspace,
            deps=self.entry.deps,
            devices=self.entry.devices,
            seen=list(self.entry.seen) if forked else [],
        )
        child = self.system.launch(entry, code, arguments, self.context if forked else Context())
        self.entry.children.append(child)
        return child

    async def wait(self, child: Child) -> Any:  # noqa: ANN401  # whatever the child's code returned, as JSON data
        """A child's result.

        Raises:
            LlmosError: The child's own error.
        """

        async def work(_: int) -> Any:  # noqa: ANN401
            return await child.result()

        result = await self.call("wait", child.entry.pid, [child.entry.path], work)
        if not any(one.arguments.get("pid") == child.entry.pid for one in self.entry.seen):
            self.entry.seen.append(Observed("spawn", {"pid": child.entry.pid}, result, child.entry.label))
        return result

    async def send(self, to: str | Child, message: BaseModel) -> None:
        """Put a typed message into a process's mailbox.

        Raises:
            NoSuchProcess: It has ended, or never was; or its mailbox is full.
        """
        body = canonical({"type": type(message).__name__, "body": message.model_dump(mode="json")})
        pid = to if isinstance(to, str) else to.entry.pid
        sent: list[tuple[Entry, int]] = []

        async def work(number: int) -> None:
            receiver = self.system.living(self.entry.run, pid)
            if len(receiver.inbox) >= _MAILBOX:
                raise NoSuchProcess(f"The mailbox of {pid!r} is full with {_MAILBOX:,} messages.")
            sent.append((receiver, number))

        await self.call("send", pid, [pid, body], work, finish=lambda _: {"letter": (sent[0][0].path, body)})
        for receiver, number in sent:
            receiver.inbox.append((self.path, number, body))
            receiver.arrived.set()

    async def receive(self, kind: type[ModelT], *, seconds: float | None = None) -> ModelT:
        """The next message of a type; others stay in the mailbox.

        Raises:
            BudgetExceeded: None came within so many seconds.
        """
        taken: list[tuple[str, int, str]] = []

        async def work(_: int) -> Any:  # noqa: ANN401
            taken.append(await self._letter(kind.__name__, seconds))
            return json.loads(taken[0][2])["body"]

        body = await self.call(
            "receive", kind.__name__, [kind.__name__], work, finish=lambda _: {"read": (taken[0][0], taken[0][1])}
        )
        return kind.model_validate(body)

    async def _letter(self, name: str, seconds: float | None) -> tuple[str, int, str]:
        try:
            async with asyncio.timeout(seconds):
                while True:
                    for letter in self.entry.inbox:
                        if json.loads(letter[2])["type"] == name:
                            self.entry.inbox.remove(letter)
                            return letter
                    self.entry.arrived.clear()
                    await self.entry.arrived.wait()
        except TimeoutError:
            raise BudgetExceeded(
                f"No message of type {name!r} came within {seconds or 0:g} s.", hint="Wait longer, or ask again."
            ) from None


class Child:
    """A process as its parent sees it."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    @property
    def pid(self) -> str:
        """Its process id."""
        return self.entry.pid

    async def result(self) -> Any:  # noqa: ANN401  # JSON data
        """What its code returned, or its error raised; the waiter's cancellation is not the child's."""
        task = self.entry.task
        assert task is not None, "a child is launched before anybody can wait for it"
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            raise Interrupted(f"Process {self.pid!r} was killed.") from None
