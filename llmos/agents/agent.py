"""An agent as a declaration: what it is for, what it may do, and how it is to go about it.

It is code like any other agent's: a process runs it. With an output type it gives a value of that; else it works as the
assistant does, over its own tools. Knows no file it was read from, and no engine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from llmos.agents.assistant import assistant
from llmos.agents.skills import READ_SKILL, with_skills
from llmos.kernel.entry import Profile
from llmos.messages import Context, Message

if TYPE_CHECKING:
    from pydantic import BaseModel

    from llmos.agents.card import AgentCard
    from llmos.kernel.budget import Budget
    from llmos.kernel.calls import Level
    from llmos.kernel.process import Process
    from llmos.kernel.protocols import Device


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent that is declared and not programmed. What it asks for only narrows what it is given.

    Attributes:
        name: By which it is started.
        description: What it is for, one line; the router and the manager choose by it.
        instructions: How it is to go about its tasks: what the model reads as the system's words.
        tools: What it may call, by name or as tools of the application; None for all that there are.
        engine: The name of the engine that it thinks with (`[engines.NAME]` of the settings); empty for its parent's.
        output: What its answer is a value of; None for text.
        level: How far it may go by itself; never further than what started it.
        budget: What it may use up; never more than what started it has.
        examples: Tasks that it is for, in users' words.
        skills: Names of the skills that it may use; None for all that there are.
    """

    name: str
    description: str = ""
    instructions: str = ""
    tools: Sequence[str | Device] | None = None
    engine: str = ""
    output: type[BaseModel] | None = None
    level: Level | None = None
    budget: Budget | None = None
    examples: tuple[str, ...] = ()
    skills: tuple[str, ...] | None = None

    async def __call__(self, process: Process, task: str, inputs: dict[str, Any] | None = None) -> Any:  # noqa: ANN401  # JSON data
        """Do a task.

        Args:
            process: The process that runs it.
            task: What to do.
            inputs: What it gets besides: `earlier` (reports of other subtasks), `reasons` (why earlier attempts were
                not accepted), and any other data.

        Returns:
            The answer's text; with an output type the value as JSON data.

        Raises:
            ConstraintError: The answer was cut before it was a value of the output type.
            BudgetExceeded, LoopDetected, Interrupted, EngineError: As of the system calls that it makes.
        """
        given = material(inputs or {})
        if self.output is None:
            if given:
                process.hear(Message("user", given))
            return await assistant(process, task, instructions=self.instructions, skills=self.skills)
        instructions = (await with_skills(process, self.instructions, task, self.skills)).instructions
        if self.tools:
            found = await process.wait(await process.spawn(self._look_up, task))
            given = "\n\n".join(filter(None, (given, f"What the tools gave:\n{found}")))
        prompt = "\n\n".join(filter(None, (given, task)))
        if any(message.role != "system" for message in process.context.messages):
            # what it was given may be shared with others: it stays where it is, and the role comes last
            prompt = "\n\n".join(filter(None, (instructions, prompt)))
        elif instructions:
            process.context = Context(messages=(Message("system", instructions),))
        thought = await process.think(prompt, output=self.output)
        return thought.value.model_dump(mode="json")

    async def _look_up(self, process: Process, task: str) -> str:
        """What its tools give for a task, found out in a process of its own, so that its context stays its own."""
        return await assistant(process, task, instructions=self.instructions, skills=())

    @property
    def profile(self) -> Profile:
        """What a process that runs it is content with."""
        names: tuple[str, ...] | None = None
        if self.tools is not None:
            named = [one if isinstance(one, str) else one.spec.name for one in self.tools]
            names = (*named, *([] if self.skills == () else [READ_SKILL]))
        return Profile(tools=names, level=self.level, budget=self.budget, engine=self.engine)

    @property
    def devices(self) -> tuple[Device, ...]:
        """The tools that the application gave it, besides those it names."""
        return tuple(one for one in self.tools or () if not isinstance(one, str))

    @property
    def card(self) -> AgentCard:
        """What it can do, for others to choose by; `card_of` also knows the tools that it names."""
        from llmos.agents.card import card_of

        return card_of(self.name, self)


def material(inputs: Mapping[str, Any]) -> str:
    """The inputs of a task as a text for the model; empty if there are none but the task's id."""
    parts: list[str] = []
    for name, value in inputs.items():
        if name == "earlier":
            parts += [text for one in value if (text := _told(one))]
        elif name == "reasons":
            parts.append("An earlier answer was not accepted:\n" + "\n".join(f"- {reason}" for reason in value))
        elif name != "task_id":
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            parts.append(f"{name}: {shown}")
    return "\n\n".join(parts)


def _told(report: object) -> str:
    """What a report of another subtask says; any other data as JSON."""
    if not isinstance(report, dict):
        return json.dumps(report, ensure_ascii=False)
    known = cast("dict[str, Any]", report)
    text = str(known.get("text") or "") or json.dumps(known.get("value", known), ensure_ascii=False)
    return f"From {known.get('agent') or 'another agent'}:\n{text}"
