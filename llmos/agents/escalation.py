"""Hard steps for a bigger engine: what failed its check, or what the small engine is not sure of, and at what cost.

An engine has a name in the settings (`[engines.NAME]`); work goes there as a process of its own. Knows no engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmos.agents.carrying import arguments_for
from llmos.kernel.budget import Budget
from llmos.kernel.entry import AgentCode
from llmos.kernel.process import Process
from llmos.kernel.system import name_of
from llmos.messages import Message

SURE = 0.5
"""Below this an engine's own confidence in its text sends the step on."""


@dataclass(slots=True, eq=False)
class Escalating:
    """A worker on another engine, as `verify_and_retry` takes it among `escalate`. Made by `escalating`.

    Attributes:
        name: Who does it, for people: the worker and its engine.
        tries: How often it was called.
        cost: Tokens and money that its tries used up, as far as they are over; those of earlier lives of the run too.
    """

    process: Process
    worker: str | AgentCode
    task: str
    to: str
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    budget: Budget | None = None
    tries: int = 0
    cost: dict[str, float] = field(default_factory=lambda: {"tokens": 0.0, "money": 0.0})

    @property
    def name(self) -> str:
        """Who does it, for people."""
        worker = self.worker if isinstance(self.worker, str) else name_of(self.worker)
        return f"{worker} on {self.to}"

    async def __call__(self, reasons: tuple[str, ...]) -> Any:  # noqa: ANN401  # JSON data
        """Have the worker try, told why earlier attempts were not accepted if it takes inputs.

        Raises:
            LlmosError: That of the worker.
        """
        self.tries += 1
        inputs = {**self.inputs, **({"reasons": list(reasons)} if reasons else {})}
        _, code = self.process.system.agent(self.worker)
        child = await self.process.spawn(
            self.worker, *arguments_for(code, self.task, inputs), engine=self.to, budget=self.budget
        )
        try:
            return await self.process.wait(child)
        finally:
            used = child.entry.meter.used
            self.cost = {"tokens": self.cost["tokens"] + used["tokens"], "money": self.cost["money"] + used["money"]}


def escalating(
    worker: str | AgentCode,
    task: str,
    *,
    to: str,
    process: Process,
    inputs: Mapping[str, Any] | None = None,
    budget: Budget | None = None,
) -> Escalating:
    """A worker on another engine, for work that it or others failed at on their own.

    Args:
        to: The engine's name.
        process: Whose child each try is.
        inputs: What it gets besides the task, if it takes inputs.
        budget: Bounds of each try, within the process's: money, for example.

    Raises:
        ConfigError: There is no engine of this name.
    """
    process.system.check_engine(to)
    return Escalating(process, worker, task, to, inputs or {}, budget)


@dataclass(frozen=True, slots=True)
class Said:
    """An answer, and who gave it.

    Attributes:
        confidence: The engine's own, 0 to 1; None where it does not tell.
        engine: The name of the engine that it was sent on to; empty where it was not.
    """

    text: str
    confidence: float | None
    engine: str = ""


async def think_or_escalate(
    process: Process, prompt: str, *, to: str, below: float = SURE, max_tokens: int | None = None
) -> Said:
    """Answer on the process's own engine, and where that is not sure, on another one, from the same context.

    The context goes on with the answer that was taken. Where an engine does not tell its confidence, it is believed.

    Args:
        to: The engine's name.
        below: Less confidence than this is not sure.

    Raises:
        ConfigError: There is no engine of this name.
        BudgetExceeded, EngineError: See `Branch.think`.
    """
    process.system.check_engine(to)
    before = process.context
    first = await process.think(prompt, max_tokens=max_tokens)
    if first.confidence is None or first.confidence >= below:
        return Said(first.text, first.confidence)
    after, process.context = process.context, before
    child = await process.spawn(_answer, prompt, max_tokens, forked=True, engine=to)
    process.context = after
    answered = await process.wait(child)
    process.context = before.add(Message("user", prompt), Message("assistant", answered["text"]))
    process.told = min(process.told, len(before.messages))
    return Said(answered["text"], answered["confidence"], to)


async def _answer(process: Process, prompt: str, max_tokens: int | None) -> dict[str, Any]:
    thought = await process.think(prompt, max_tokens=max_tokens)
    return {"text": thought.text, "confidence": thought.confidence}
