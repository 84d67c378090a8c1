"""Plan-and-solve: a plan first, then the steps along it."""

from __future__ import annotations

from collections.abc import Sequence

from llmos.agents.reasoning.parts import (
    REASONING_TOKENS,
    Example,
    Form,
    Reasoned,
    Trail,
    begin,
    items,
    numbered,
    prompts,
    turns,
)
from llmos.kernel.branch import Branch
from llmos.messages import GREEDY, Message


async def plan_and_solve(
    branch: Branch, question: str, *, examples: Sequence[Example] = (), form: Form = None, steps: int = 3
) -> Reasoned:
    """Make a plan of at most `steps` steps, carry it out, say the answer alone (Wang et al. 2023, arXiv:2305.04091).

    It costs a plan, one reasoning and one short answer, on one line.
    """
    trail, words = Trail(), prompts()
    with trail:
        line = begin(branch, *_shown(examples))
        plan = trail.count(
            await line.think(
                words.plan.format(question=question),
                constraint=numbered(steps),
                sampling=GREEDY,
                max_tokens=REASONING_TOKENS,
            )
        )
        trail.steps += items(plan.text)
        solved = trail.count(await line.think(words.solve, sampling=GREEDY, max_tokens=REASONING_TOKENS))
        trail.steps.append(solved.text.strip())
        await trail.conclude(line, form, words.answer)
    return trail.result()


def _shown(examples: Sequence[Example]) -> tuple[Message, ...]:
    words = prompts()
    return tuple(
        turn
        for one in examples
        for turn in turns(
            words.plan.format(question=one.question), one.listed, words.solve, one.found, words.answer, one.answer
        )
    )
