"""A system on a scripted engine, with a policy and tools that tests choose."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llmos.engine.scripted import ScriptedEngine
from llmos.errors import Unsupported
from llmos.kernel.calls import Allow, Approval, Decision, ProposedCall, Reply, Result, Situation, Traits
from llmos.kernel.journal import Journal
from llmos.kernel.process import AgentCode
from llmos.kernel.protocols import Access, Device
from llmos.kernel.system import System
from llmos.messages import ToolSpec


class Permissive:
    """A policy that allows everything: the gate around it is what is tested."""

    def decide(self, call: ProposedCall, situation: Situation, /) -> Decision:
        return Allow("a test")


@dataclass
class Lever:
    """A tool that writes down that it was called."""

    name: str = "lever"
    traits: Traits = field(default_factory=lambda: Traits(effect="writes"))
    does: Callable[[Mapping[str, Any], Access], Awaitable[Result]] | None = None
    reads_back: Callable[[str], bool] | None = None
    calls: list[tuple[dict[str, Any], str]] = field(default_factory=list[tuple[dict[str, Any], str]])

    @property
    def spec(self) -> ToolSpec:
        return ToolSpec(self.name, "Pull it.", {"type": "object", "properties": {"n": {"type": "integer"}}})

    def check(self, arguments: Mapping[str, Any], /) -> Mapping[str, Any]:
        return dict(arguments)

    def show(self, arguments: Mapping[str, Any], access: Access, /) -> str:
        return f"pull {dict(arguments)}"

    async def call(self, arguments: Mapping[str, Any], access: Access, /) -> Result:
        self.calls.append((dict(arguments), access.key))
        await asyncio.sleep(0)
        if self.does is not None:
            return await self.does(arguments, access)
        return Result(f"pulled {arguments.get('n')}", label="user")

    async def done(self, arguments: Mapping[str, Any], access: Access, /) -> Result | None:
        if self.reads_back is None:
            raise Unsupported("nobody knows")
        return Result("done before", label="user") if self.reads_back(access.key) else None


@dataclass
class Person:
    """An approver that answers from a list."""

    replies: list[Reply] = field(default_factory=list[Reply])
    answers: list[str] = field(default_factory=list[str])
    asked: list[Approval | str] = field(default_factory=list[Approval | str])

    async def approve(self, approval: Approval, /) -> Reply:
        self.asked.append(approval)
        return self.replies.pop(0)

    async def answer(self, pid: str, question: str, /) -> str:
        self.asked.append(question)
        return self.answers.pop(0)


MakeSystem = Callable[..., System]


@pytest.fixture
def make_system(tmp_path: Path) -> MakeSystem:
    """Makes systems on one journal, as a kernel that is started again does."""

    def make(
        *agents: AgentCode,
        engine: ScriptedEngine | None = None,
        tools: tuple[Device, ...] = (),
        **more: Any,  # noqa: ANN401
    ) -> System:
        chosen = engine or ScriptedEngine("Fine.")

        async def get() -> ScriptedEngine:
            return chosen

        more.setdefault("policy", Permissive())
        more.setdefault("journal", Journal(tmp_path / "journal"))
        return System(
            engine=get,
            folder=tmp_path / "runs",
            hot=tmp_path / "hot",
            agents={getattr(agent, "__name__", "agent"): agent for agent in agents},
            tools={tool.spec.name: tool for tool in tools},
            **more,
        )

    return make
