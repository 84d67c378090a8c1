"""A place to run verifiers in: the real tools, a folder, a scripted engine and a person."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llmos.agents.verdict import Verdict, Verifier
from llmos.engine.scripted import ScriptedEngine
from llmos.errors import NobodyThere
from llmos.kernel.calls import Approval, Level, Reply
from llmos.kernel.journal import Journal, Record
from llmos.kernel.policy import DefaultPolicy
from llmos.kernel.process import Process
from llmos.kernel.protocols import Device, Engine
from llmos.kernel.system import System, Task
from llmos.tools.registry import load_tools

Make = Callable[[Process], Verifier[Any]]


@dataclass
class Person:
    """Answers from a list, and refuses what it is asked to allow."""

    answers: list[str] = field(default_factory=list[str])
    asked: list[str] = field(default_factory=list[str])

    async def approve(self, approval: Approval, /) -> Reply:
        self.asked.append(approval.shown)
        return "no"

    async def answer(self, pid: str, question: str, /) -> str:
        self.asked.append(question)
        if not self.answers:
            raise NobodyThere("nobody is there")
        return self.answers.pop(0)


@dataclass
class Place:
    """Where checks are made."""

    folder: Path
    engine: Engine = field(default_factory=lambda: ScriptedEngine("I say something."))
    person: Person = field(default_factory=Person)
    level: Level = "L3"
    tools: Mapping[str, Device] = field(default_factory=load_tools)
    run: str = ""
    systems: list[System] = field(default_factory=list[System])

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    def write(self, path: str, text: str) -> None:
        file = self.workspace / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    async def check(self, make: Make, *values: Any) -> Verdict:  # noqa: ANN401
        """The verdict on the last of some values, by one verifier that sees them all."""

        async def agent(process: Process, _: str) -> dict[str, Any]:
            verifier = make(process)
            verdicts = [await verifier(value) for value in values]
            last = verdicts[-1]
            return {"outcome": last.outcome, "reasons": last.reasons, "confidence": last.confidence, "by": last.by}

        found = await self.start(agent)
        return Verdict(found["outcome"], tuple(found["reasons"]), found["confidence"], found["by"])

    async def start(self, agent: Callable[[Process, str], Awaitable[Any]]) -> Any:  # noqa: ANN401
        """What an agent returns."""
        self.workspace.mkdir(exist_ok=True)

        async def get() -> Engine:
            return self.engine

        system = System(
            engine=get,
            journal=Journal(self.folder / f"journal{len(self.systems)}"),
            folder=self.folder / "runs",
            agents={"agent": agent},
            tools=self.tools,
            policy=DefaultPolicy(),
            approver=self.person,
        )
        self.systems.append(system)
        task = Task(agent="agent", arguments=("check it",), workspace=str(self.workspace), level=self.level)
        child = system.start(task)
        self.run = child.pid
        return await child.result()

    def calls(self, kind: str) -> list[Record]:
        return [call for call in self.systems[-1].journal.calls(self.run) if call.kind == kind]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    made = Place(tmp_path)
    yield made
    for system in made.systems:
        await system.close()
        system.journal.close()
