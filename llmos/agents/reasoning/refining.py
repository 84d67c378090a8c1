"""Reflect and refine: an answer, what is wrong with it, a better one."""

from __future__ import annotations

from collections.abc import Sequence

from llmos.agents.reasoning.parts import (
    LINE,
    STEP_TOKENS,
    Example,
    Form,
    Reasoned,
    Trail,
    begin,
    prompts,
    split,
    turns,
)
from llmos.agents.verdict import Verifier
from llmos.kernel.branch import Branch
from llmos.messages import GREEDY


async def reflect_and_refine(
    branch: Branch,
    question: str,
    *,
    examples: Sequence[Example] = (),
    form: Form = None,
    verifier: Verifier[str] | None = None,
    rounds: int = 2,
) -> Reasoned:
    """Answer, find what is wrong, answer again, until it passes or `rounds` are over (Madaan et al. 2023,
    arXiv:2303.17651).

    It costs one short answer, and for each round a judgement on a fork, a critique of one sentence and another answer.
    With a verifier its reasons take the place of the model's judgement and critique, which then cost nothing. The steps
    are the answers before the last, each with what was said against it.
    """
    trail, words = Trail(), prompts()
    with trail:
        line = begin(branch, *(turn for one in examples for turn in turns(one.question, one.answer)))
        await trail.conclude(line, form, question)
        for _ in range(rounds):
            reasons = await _objections(trail, line, verifier)
            if not reasons:
                break
            trail.steps += [trail.answer, reasons]
            await trail.conclude(line, form, words.revise.format(reasons=reasons, question=question))
    return trail.result()


async def _objections(trail: Trail, line: Branch, verifier: Verifier[str] | None) -> str:
    """What speaks against the last answer; empty if nothing does."""
    if verifier is not None:
        verdict = await verifier(trail.answer)
        return "" if verdict.passed else " ".join(verdict.reasons)
    words = prompts()
    (judging,) = await split(line, 1)
    judged = trail.count(await judging.think(words.doubt, choices=("Yes", "No")))
    if judged.value == "Yes":
        return ""
    thought = await line.think(words.critique, constraint=LINE, sampling=GREEDY, max_tokens=STEP_TOKENS)
    return trail.count(thought).text.strip()
