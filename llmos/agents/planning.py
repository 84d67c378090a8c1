"""From the user's words to a plan: cut into parts, an agent for each, and what waits for what.

`from_words` needs no writing by a model, so that it works on the smallest; `by_model` lets a model write the plan under
a grammar in which only known agents and checks can be named.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, create_model

from llmos.agents.plan import Check, Plan, Subtask
from llmos.agents.prompts import prompts
from llmos.agents.structure import parts_of
from llmos.kernel.process import Process
from llmos.messages import Context, Message, Sampling

Choose = Callable[[str], Awaitable[str]]
"""Which agent is best for some words."""

CheckFor = Callable[[str, str], Check | None]
"""How an agent's result on some words is accepted; None if nothing can be said."""

# what refers to everything before, to the part before, and to nothing
_ALL = re.compile(
    r"\b(?:compare|both|all (?:of )?(?:them|these|those|that)|together|altogether|overall|in total|finally|summari[sz]e"
    r"|combine|conclude)\b",
    re.I,
)
_LAST = re.compile(
    r"\b(?:it|that|this|them|these|those|the (?:result|answer|file|chart|number|total|function|program|code|same))\b",
    re.I,
)
_THEN = re.compile(r"\b(?:then|after that|afterwards|next|with (?:it|that|this))\b", re.I)


async def from_words(
    task: str,
    choose: Choose,
    check_for: CheckFor,
    inputs: Mapping[str, Any] | None = None,
    *,
    at_once: Collection[str] = (),
) -> Plan:
    """A plan whose subtasks are the parts of the task, in the user's own words.

    A part waits for the one before if it speaks of what that gives, for all before if it puts them together, and for
    none otherwise. One that would wait for another of the same agent becomes a part of that.

    Args:
        choose: Gives the agent for a part.
        check_for: How results of an agent on some words are accepted.
        inputs: What every subtask gets.
        at_once: Agents that get parts which follow each other as one, since what they work on stays with them.
    """
    found: list[Subtask] = []
    end = 0
    for start, stop in parts_of(task):
        words, before, end = task[start:stop], task[end:start], stop
        agent = await choose(words)
        known = tuple(one.id for one in found)
        needs = known if _ALL.search(words) else known[-1:] if _follows(before, words) else ()
        if found and found[-1].agent == agent and (needs == known[-1:] or agent in at_once):
            found[-1] = found[-1].model_copy(update={"task": f"{found[-1].task}{before}{words}"})
            continue
        found.append(
            Subtask(id=f"part{len(found) + 1}", agent=agent, task=words, inputs=dict(inputs or {}), needs=needs)
        )
    checked = tuple(one.model_copy(update={"check": check_for(one.agent, one.task)}) for one in found)
    return Plan(goal=task, subtasks=checked)


def _follows(before: str, words: str) -> bool:
    return bool(_THEN.search(before) or _LAST.search(words))


async def by_model(
    process: Process, task: str, agents: Mapping[str, str], check_for: CheckFor, problems: Sequence[str] = ()
) -> Plan:
    """A plan that the model writes.

    Args:
        agents: What each is for.
        check_for: How results of an agent on some words are accepted.
        problems: What was wrong with earlier plans, or what failed in them.

    Raises:
        ConstraintError: It was cut before it was complete.
    """
    names: Any = Literal[tuple(agents)]
    listed_of: Any = list  # a model made here is no type to a checker
    part = create_model(
        "Part", agent=(names, ...), task=(str, Field(min_length=1, max_length=400)),
        needs=(list[int], Field(max_length=8, description="Numbers of parts whose results it needs, from 1")),
    )  # fmt: skip
    written = create_model("Parts", parts=(listed_of[part], Field(min_length=1, max_length=8)))
    listed = "\n".join(f"{name}: {what}" for name, what in agents.items())
    context = Context(messages=(Message("system", prompts().plan.format(agents=listed).strip()),))
    said = task if not problems else f"{task}\n\nAn earlier plan failed:\n" + "\n".join(problems)
    thought = await process.aside(context).think(said, output=written, sampling=Sampling(temperature=0.0))
    parts: list[Any] = list(getattr(thought.value, "parts", ()))
    return Plan(
        goal=task,
        subtasks=tuple(
            Subtask(
                id=f"part{number}", agent=one.agent, task=one.task, check=check_for(one.agent, one.task),
                needs=tuple(f"part{need}" for need in dict.fromkeys(one.needs)),
            )
            for number, one in enumerate(parts, 1)
        ),
    )  # fmt: skip
