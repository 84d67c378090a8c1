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
from llmos.kernel.entry import AgentCode, Entry, Profile, Thought
from llmos.kernel.journal import canonical
from llmos.messages import CLASSES, Context, Priority

if TYPE_CHECKING:
    from pydantic import BaseModel

    from llmos.kernel.system import System

__all__ = ["AgentCode", "Branch", "Child", "Process", "Profile", "Thought"]

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
        engine: str = "",
    ) -> Child:
        """Start a child process. What its code's `Profile` asks for narrows what it gets from this one.

        Args:
            agent: An agent by name, or a function that gets its process and the arguments.
            arguments: JSON data.
            forked: It begins with this context (and what it has seen) in place of an empty one. Another engine than
                this process's reads it anew.
            budget: Bounds of its own, within this process's.
            priority: By default this process's, and never above it: what is begun in idle time stays there.
            engine: The name of the engine that it thinks with; by default its profile's, or this process's.

        Raises:
            NoSuchProcess: There is no agent of this name.
            ConfigError: There is no engine of this name.
        """
        self._spawned += 1
        path = f"{self.path}.{self._spawned}"
        name, code = self.system.agent(agent)
        profile = Profile.of(code)
        engine = engine or profile.engine or self.entry.engine
        self.system.check_engine(engine)

        async def work(_: int) -> None:
            return None

        title = f"{name} {path}" + (f" on {engine}" if engine != self.entry.engine else "")
        await self.call("spawn", title, [name, path, list(arguments), forked], work)
        entry = Entry(
            run=self.entry.run,
            path=path,
            agent=name,
            meter=Meter((budget or Budget()).within(profile.budget), self.entry.meter),
            priority=max(priority or self.entry.priority, self.entry.priority, key=CLASSES.__getitem__),
            level=profile.narrowed(self.entry.level),
            parent=self.entry,
            words=self.entry.words,
            sampling=self.entry.sampling,
            max_tokens=self.entry.max_tokens,
            workspace=self.entry.workspace,
            deps=self.entry.deps,
            devices=profile.among(self.entry.devices),
            engine=engine,
            seen=list(self.entry.seen) if forked else self._told(arguments),
        )
        child = self.system.launch(entry, code, arguments, self.context if forked else Context())
        self.entry.children.append(child)
        return child

    def _told(self, arguments: tuple[object, ...]) -> list[Observed]:
        """What a child knows from its arguments: they may hold anything that this process has seen."""
        label = self.entry.label
        return [] if label == "user" else [Observed("parent", {"pid": self.pid}, list(arguments), label)]

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
        """Put a typed message into a process's mailbox, with the label of everything that this process has seen.

        Raises:
            NoSuchProcess: It has ended, or never was; or its mailbox is full.
        """
        body = message.model_dump(mode="json")
        letter = canonical({"type": type(message).__name__, "body": body, "label": self.entry.label})
        pid = to if isinstance(to, str) else to.entry.pid
        sent: list[tuple[Entry, int]] = []

        async def work(number: int) -> None:
            receiver = self.system.living(self.entry.run, pid)
            if len(receiver.inbox) >= _MAILBOX:
                raise NoSuchProcess(f"The mailbox of {pid!r} is full with {_MAILBOX:,} messages.")
            sent.append((receiver, number))

        title = [pid, type(message).__name__, body]
        await self.call("send", pid, title, work, finish=lambda _: {"letter": (sent[0][0].path, letter)})
        for receiver, number in sent:
            receiver.inbox.append((self.path, number, letter))
            receiver.arrived.set()

    async def receive(self, kind: type[ModelT], *, seconds: float | None = None) -> ModelT:
        """The next message of a type; others stay in the mailbox.

        Raises:
            BudgetExceeded: None came within so many seconds.
        """
        taken: list[tuple[str, int, str]] = []

        async def work(_: int) -> Any:  # noqa: ANN401
            taken.append(await self._letter(kind.__name__, seconds))
            letter = json.loads(taken[0][2])
            return {"body": letter["body"], "label": letter["label"]}

        letter = await self.call(
            "receive", kind.__name__, [kind.__name__], work, finish=lambda _: {"read": (taken[0][0], taken[0][1])}
        )
        self.entry.seen.append(Observed("receive", {"type": kind.__name__}, letter["body"], letter["label"]))
        return kind.model_validate(letter["body"])

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
