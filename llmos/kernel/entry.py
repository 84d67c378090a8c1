"""What a process is, seen from inside the kernel: its entry in the process table, and what its thoughts come to.

Knows no system call: `branch` and `process` have them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from llmos.events import FinishReason, Usage
from llmos.kernel.budget import LoopGuard, Meter
from llmos.kernel.calls import Label, Level, Observed, join
from llmos.messages import Priority

if TYPE_CHECKING:
    from llmos.kernel.process import Child
    from llmos.kernel.protocols import Device

T = TypeVar("T")
State = Literal["running", "stopped", "done", "failed", "killed"]
AgentCode = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thought(Generic[T]):
    """What a `think` came to.

    Attributes:
        value: The text, the action, the choice, or the parsed output.
        text: As the model wrote it.
        confidence: 0 to 1: of a choice its probability, of free text the geometric mean probability of its tokens;
            None where the engine does not tell.
        probabilities: Of all choices, in their order; empty otherwise.
        usage: What it cost.
    """

    value: T
    text: str
    confidence: float | None
    probabilities: tuple[float, ...] = ()
    reason: FinishReason = "stop"
    usage: Usage = field(default_factory=Usage)


@dataclass(eq=False, slots=True)
class Entry:
    """What a process and its branches share, and what the process table shows.

    Attributes:
        words: What the root user has said in this run.
        deps: The typed context that the embedding application gave to the run.
        devices: The tools it may call, by name.
        inbox: Letters: sender, number, body.
        interrupted: The signal that it has to obey: `interrupt`, `kill` or none.
        doing: The system call that it is in.
    """

    run: str
    path: str
    agent: str
    meter: Meter
    priority: Priority = "normal"
    level: Level = "L3"
    parent: Entry | None = None
    state: State = "running"
    words: tuple[str, ...] = ()
    workspace: Path = field(default_factory=Path)
    deps: Any = None
    devices: Mapping[str, Device] = field(default_factory=dict[str, "Device"])
    seen: list[Observed] = field(default_factory=list[Observed])
    guard: LoopGuard = field(default_factory=LoopGuard)
    children: list[Child] = field(default_factory=list["Child"])
    inbox: list[tuple[str, int, str]] = field(default_factory=list[tuple[str, int, str]])
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    may_run: asyncio.Event = field(default_factory=asyncio.Event)
    interrupted: str = ""
    task: asyncio.Task[Any] | None = None
    doing: str = ""
    tokens: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def pid(self) -> str:
        """The run's id for its first process; a child's has numbers after it."""
        return self.run + self.path[1:]

    def count(self, usage: Usage) -> None:
        """Add what a think cost to what the process table shows."""
        for name in ("prompt_tokens", "reused_tokens", "generated_tokens"):
            self.tokens[name] = self.tokens.get(name, 0) + getattr(usage, name)

    @property
    def label(self) -> Label:
        """The least trusted thing that its context contains."""
        labels: list[Label] = [one.label for one in self.seen]
        return join(*labels)
