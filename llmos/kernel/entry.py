"""What a process is, seen from inside the kernel: its entry in the process table, and what its thoughts come to.

Knows no system call: `branch` and `process` have them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from llmos.errors import Denied, LlmosError
from llmos.events import FinishReason, Usage
from llmos.kernel.budget import Budget, LoopGuard, Meter
from llmos.kernel.calls import Label, Level, Observed, join
from llmos.messages import Priority, Sampling

if TYPE_CHECKING:
    from llmos.kernel.journal import Kind
    from llmos.kernel.process import Child
    from llmos.kernel.protocols import Device

T = TypeVar("T")
State = Literal["running", "stopped", "done", "failed", "killed"]
AgentCode = Callable[..., Awaitable[Any]]
MAIN = "main"
"""What the kernel's own engine is called where engines are told apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What an agent is content with. Its code carries it as `profile`; a process never gets more than its parent has.

    Attributes:
        tools: Names of those that it may call, as far as its parent has them; None for all of its parent's.
        level: How far it may go by itself; its parent's if that is lower.
        budget: What it may use up, within its parent's.
        engine: Which engine it thinks with, by its name in the settings; empty for its parent's.
    """

    tools: tuple[str, ...] | None = None
    level: Level | None = None
    budget: Budget | None = None
    engine: str = ""

    @classmethod
    def of(cls, code: object) -> Profile:
        """That of an agent's code; one that asks for nothing if it has none."""
        profile = getattr(code, "profile", None)
        return profile if isinstance(profile, cls) else cls()

    def narrowed(self, level: Level) -> Level:
        """The lower of its level and another one."""
        return level if self.level is None else min(self.level, level)

    def among(self, devices: Mapping[str, Device]) -> Mapping[str, Device]:
        """The devices that it may call, of those that there are."""
        return devices if self.tools is None else {name: one for name, one in devices.items() if name in self.tools}


@dataclass(frozen=True, slots=True, kw_only=True)
class Thought(Generic[T]):
    """What a `think` came to.

    Attributes:
        value: The text, the action, the choice, or the parsed output.
        text: As the model wrote it.
        confidence: 0 to 1: of a choice its probability, of free text the geometric mean probability of its tokens;
            None where the engine does not tell.
        likelihood: The geometric mean probability of its tokens before any constraint; None where it does not tell.
        probabilities: Of all choices, in their order; empty otherwise.
        likelihoods: Of all choices, how likely the model is to say just this of all that there is to say.
        usage: What it cost.
    """

    value: T
    text: str
    confidence: float | None
    probabilities: tuple[float, ...] = ()
    likelihoods: tuple[float, ...] = ()
    reason: FinishReason = "stop"
    usage: Usage = field(default_factory=Usage)
    likelihood: float | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that ended with an error and is not entered so, because it is made again when the run is resumed.

    If the code goes on after it, the error is something that the code has been told, and is entered after all.
    """

    path: str
    number: int
    kind: Kind
    title: str
    arguments: str
    error: LlmosError


@dataclass(eq=False, slots=True)
class Entry:
    """What a process and its branches share, and what the process table shows.

    Attributes:
        words: What the root user has said in this run.
        sampling: How its thinks choose tokens unless they say otherwise.
        max_tokens: Bound of each of its thinks; None for none but the budget's.
        denied: In a run's first process: what was refused and not done since, by tool and target.
        deps: The typed context that the embedding application gave to the run.
        devices: The tools it may call, by name.
        engine: The name of the engine that it thinks with; empty for the kernel's own.
        inbox: Letters: sender, number, body.
        interrupted: The signal that it has to obey: `interrupt`, `kill` or none.
        doing: The system call that it is in.
        calling: The tasks of it that are in a system call; true where the call is being interrupted.
        failures: What its code may still go on after.
        tokens: What its thinks read, found read already, and wrote.
        costs: Tokens and money by engine; see `costs_of_all` for those of its children too.
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
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = None
    workspace: Path = field(default_factory=Path)
    deps: Any = None
    devices: Mapping[str, Device] = field(default_factory=dict[str, "Device"])
    engine: str = ""
    seen: list[Observed] = field(default_factory=list[Observed])
    denied: dict[str, Denied] = field(default_factory=dict[str, Denied])
    guard: LoopGuard = field(default_factory=LoopGuard)
    children: list[Child] = field(default_factory=list["Child"])
    inbox: list[tuple[str, int, str]] = field(default_factory=list[tuple[str, int, str]])
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    may_run: asyncio.Event = field(default_factory=asyncio.Event)
    interrupted: str = ""
    task: asyncio.Task[Any] | None = None
    doing: str = ""
    calling: dict[asyncio.Task[Any], bool] = field(default_factory=dict[asyncio.Task[Any], bool])
    failures: list[Failure] = field(default_factory=list[Failure])
    tokens: dict[str, int] = field(default_factory=dict[str, int])
    costs: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])

    @property
    def pid(self) -> str:
        """The run's id for its first process; a child's has numbers after it."""
        return self.run + self.path[1:]

    @property
    def root(self) -> Entry:
        """The first process of its run."""
        return self if self.parent is None else self.parent.root

    def count(self, usage: Usage) -> None:
        """Add what a think cost to what the process table shows."""
        for name in ("prompt_tokens", "reused_tokens", "generated_tokens"):
            self.tokens[name] = self.tokens.get(name, 0) + getattr(usage, name)

    def pay(self, usage: Usage, money: float) -> None:
        """Add what a request to its engine cost."""
        cost = self.costs.setdefault(self.engine or MAIN, {})
        read, written = usage.prompt_tokens - usage.reused_tokens, usage.generated_tokens
        for name, amount in {"read": max(read, 0), "written": written, "money": money}.items():
            cost[name] = cost.get(name, 0) + amount

    def costs_of_all(self) -> dict[str, dict[str, float]]:
        """Tokens read and written, and money, of it and all its children, by engine."""
        found = {engine: dict(cost) for engine, cost in self.costs.items()}
        for child in self.children:
            for engine, cost in child.entry.costs_of_all().items():
                mine = found.setdefault(engine, {})
                for name, amount in cost.items():
                    mine[name] = mine.get(name, 0) + amount
        return found

    @property
    def label(self) -> Label:
        """The least trusted thing that its context contains."""
        labels: list[Label] = [one.label for one in self.seen]
        return join(*labels)
