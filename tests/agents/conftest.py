"""The default agent on a scripted engine and the real tools, in a folder with a few files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from llmos.agents.assistant import assistant
from llmos.engine.scripted import ScriptedEngine
from llmos.errors import NobodyThere
from llmos.kernel.calls import Approval, Reply
from llmos.kernel.journal import Journal, Record
from llmos.kernel.policy import DefaultPolicy
from llmos.kernel.protocols import Engine
from llmos.kernel.system import System, Task
from llmos.tools.registry import load_tools

FILES = {
    "a.txt": "alpha\n",
    "long.md": "# Long\n\nThe bridge opens on 4 June 2027.\nIt is made of steel.\nThe toll is 3 euros.\n",
    "letters/anna.txt": "Dear Anna,\nthe plumber comes on Tuesday.\n",
    "groceries.txt": "rice\nbeans\n",
}


@dataclass
class Person:
    """Agrees or not, answers or is away, and remembers what was asked."""

    reply: Reply = "once"
    answers: list[str] = field(default_factory=list[str])
    shown: list[str] = field(default_factory=list[str])
    questions: list[str] = field(default_factory=list[str])

    async def approve(self, approval: Approval, /) -> Reply:
        self.shown.append(approval.shown)
        return self.reply

    async def answer(self, pid: str, question: str, /) -> str:
        self.questions.append(question)
        if not self.answers:
            raise NobodyThere("nobody is there")
        return self.answers.pop(0)


@dataclass
class Desk:
    """A system with the default agent, and what it did last."""

    system: System
    engine: Engine
    person: Person
    workspace: Path
    run: str = ""

    async def ask(self, words: str, *, level: str = "L3") -> str:
        task = Task(agent="assistant", arguments=(words,), workspace=str(self.workspace), level=level)  # type: ignore[arg-type]
        child = self.system.start(task)
        self.run = child.pid
        return str(await child.result())

    @property
    def calls(self) -> list[Record]:
        """The tool calls of the last run."""
        return [call for call in self.system.journal.calls(self.run) if call.kind == "act"]

    @property
    def titles(self) -> list[str]:
        return [call.title for call in self.calls]


MakeDesk = Callable[..., Awaitable[Desk]]


@pytest.fixture
async def make_desk(tmp_path: Path) -> AsyncIterator[MakeDesk]:
    """Makes the agent a desk: files, tools, a person, an engine."""
    desks: list[Desk] = []

    async def make(engine: Engine | None = None, person: Person | None = None) -> Desk:
        workspace = tmp_path / "workspace"
        for path, text in FILES.items():
            (workspace / path).parent.mkdir(parents=True, exist_ok=True)
            (workspace / path).write_text(text, encoding="utf-8")
        chosen: Engine = engine or ScriptedEngine("I say something.")
        someone = person or Person()

        async def get() -> Engine:
            return chosen

        system = System(
            engine=get,
            journal=Journal(tmp_path / f"journal{len(desks)}"),
            folder=tmp_path / "runs",
            agents={"assistant": assistant},
            tools=load_tools(),
            policy=DefaultPolicy(),
            approver=someone,
        )
        desks.append(Desk(system, chosen, someone, workspace))
        return desks[-1]

    yield make
    for desk in desks:
        await desk.system.close()
        desk.system.journal.close()
