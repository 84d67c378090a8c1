"""The ways to have a task done: answer it, call a tool, look into memory, or hand it to an agent. What the router knows
of them stands in `routes.toml`; agents that were added say it of themselves.

Knows no model and no task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llmos.agents.assistant import is_offered
from llmos.agents.knowledge import knowledge
from llmos.agents.shortlist import ANSWER, examples_of
from llmos.kernel.entry import AgentCode
from llmos.kernel.process import Process
from llmos.kernel.protocols import Device

WayKind = Literal["answer", "tool", "retrieve", "agent"]
Takes = Literal["one", "chain", "parts"]

RETRIEVE = "retrieve"
"""The name of the way to look into memory; that of a plain answer is `ANSWER`."""

_HIDDEN_AGENTS = frozenset({"router", "chat"})
_EXAMPLES = 20  # of those that somebody else wrote


@dataclass(frozen=True, slots=True)
class Way:
    """One way to have a task done.

    Attributes:
        name: Of the tool or agent; `ANSWER` or `RETRIEVE` for the others.
        description: What it is for.
        examples: Tasks that are for it.
        takes: A task of its own subject, a few calls of tools in a row, or tasks of several parts.
    """

    kind: WayKind
    name: str
    description: str = ""
    examples: tuple[str, ...] = ()
    takes: Takes = "one"

    @property
    def title(self) -> str:
        """Its name, for people."""
        return f"tool {self.name}" if self.kind == "tool" else self.name


def ways(process: Process) -> tuple[Way, ...]:
    """All the ways that a process has."""
    tools = tuple(tool(device) for name, device in process.entry.devices.items() if is_offered(name))
    return (answer(), *tools, retrieve(), *agents(process.system.agents))


def answer() -> Way:
    """To answer without anything."""
    return Way("answer", ANSWER, *_texts(knowledge()["answer"]))


def retrieve() -> Way:
    """To look into memory."""
    return Way("retrieve", RETRIEVE, *_texts(knowledge()["retrieve"]))


def tool(device: Device) -> Way:
    """To call a tool."""
    examples = tuple(request for request, _ in examples_of(device))
    return Way("tool", device.spec.name, device.spec.description.partition("\n")[0], examples)


def agents(known: Mapping[str, AgentCode]) -> tuple[Way, ...]:
    """To hand it to one of these agents, by name; those that only hand on are left out."""
    return tuple(
        agent(name, description(code), getattr(code, "examples", ()))
        for name, code in sorted(known.items())
        if name not in _HIDDEN_AGENTS
    )


def agent(name: str, about: str = "", examples: Sequence[object] = ()) -> Way:
    """To hand it to an agent. Of those that come with llmos more is known than they say.

    Args:
        about: What it says of itself.
        examples: Tasks that it says are for it.
    """
    said: Mapping[str, Any] = knowledge()["agents"].get(name, {})
    own = tuple(str(one) for one in examples[:_EXAMPLES])
    if not said:
        return Way("agent", name, about, own)
    text, known = _texts(said)
    return Way("agent", name, text, (*known, *own), said.get("takes", "one"))


def given(candidates: Sequence[Way] | Mapping[str, str]) -> tuple[Way, ...]:
    """Candidates as ways: they are such already, or agents by name with what each is for."""
    if isinstance(candidates, Mapping):
        return tuple(agent(name, about) for name, about in candidates.items())
    return tuple({(one.kind, one.name): one for one in candidates}.values())


def _texts(said: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    return str(said["description"]), tuple(said["examples"])


def description(code: AgentCode) -> str:
    """What an agent is for, in a line."""
    said = getattr(code, "description", "") or (code.__doc__ or "")
    return said.strip().partition("\n")[0]
