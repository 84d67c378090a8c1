"""Least-to-most: a question is cut into simpler ones, and each is answered with those before it."""

from __future__ import annotations

from collections.abc import Sequence

from llmos.agents.reasoning.parts import (
    LINE,
    REASONING_TOKENS,
    STEP_TOKENS,
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


async def least_to_most(
    branch: Branch, question: str, *, examples: Sequence[Example] = (), form: Form = None, parts: int = 3
) -> Reasoned:
    """Cut a question into at most `parts` simpler ones, answer these in turn, then it (Zhou et al. 2022,
    arXiv:2205.10625).

    It costs a list of questions on a line of its own, then one short answer for each and the final one, on a second
    line that reads each of them once.
    """
    trail, words = Trail(), prompts()
    with trail:
        cutting = begin(
            branch,
            *(turn for one in examples for turn in turns(words.split.format(question=one.question), one.listed)),
        )
        listed = trail.count(
            await cutting.think(
                words.split.format(question=question),
                constraint=numbered(parts, end="?"),
                sampling=GREEDY,
                max_tokens=REASONING_TOKENS,
            )
        )
        line = begin(branch, *(turn for one in examples for turn in _answered(one)))
        for place, part in enumerate(items(listed.text)):
            prompt = _asking(question, part, place)
            found = trail.count(
                await line.think(prompt, constraint=LINE, sampling=GREEDY, max_tokens=STEP_TOKENS)
            ).text.strip()
            trail.steps += [part, found]
        await trail.conclude(line, form, f"{words.whole.format(question=question)}\n\n{words.answer}")
    return trail.result()


def _asking(question: str, part: str, place: int) -> str:
    words = prompts()
    return words.rest.format(part=part) if place else words.part.format(question=question, part=part)


def _answered(example: Example) -> tuple[Message, ...]:
    """An example as the turns that its second line would have been."""
    words = prompts()
    texts: list[str] = []
    for place, (part, found) in enumerate(example.parts):
        texts += [_asking(example.question, part, place), found]
    return turns(*texts, f"{words.whole.format(question=example.question)}\n\n{words.answer}", example.answer)
