"""Self-ask: the model asks itself what it needs to know, one question at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from llmos.agents.reasoning.parts import (
    LINE,
    STEP_TOKENS,
    Example,
    Form,
    Reasoned,
    Trail,
    begin,
    prompts,
    turns,
)
from llmos.kernel.branch import Branch
from llmos.messages import GREEDY, Message, Regex

FINAL = "So the final answer is"
_FOLLOW = "Follow up: "
_MOVE = Regex(rf"({_FOLLOW}[A-Z][^\n?]{{8,120}}\?|{FINAL})")
Lookup = Callable[[Branch, str], Awaitable[str]]
"""Answers a sub-question on a line of its own, for instance by a search."""


async def self_ask(
    branch: Branch,
    question: str,
    *,
    examples: Sequence[Example] = (),
    form: Form = None,
    lookup: Lookup | None = None,
    questions: int = 3,
) -> Reasoned:
    """Ask and answer sub-questions until "So the final answer is" (Press et al. 2022, arXiv:2210.03350).

    It costs a short question and a short answer for each of at most `questions`, each answer on a line of its own with
    only the branch's context and that question before it, and the final answer.

    Args:
        lookup: Who answers sub-questions; by default the model.
    """
    trail, words = Trail(), prompts()
    with trail:
        line = begin(branch, *(turn for one in examples for turn in _transcript(one)))
        prompt: str | None = words.ask.format(question=question)
        asked = set[str]()
        for _ in range(questions):
            move = trail.count(
                await line.think(prompt, constraint=_MOVE, sampling=GREEDY, max_tokens=STEP_TOKENS)
            ).text.strip()
            prompt = words.answer
            if not move.startswith(_FOLLOW) or move in asked:
                break
            asked.add(move)
            own = begin(branch)
            sub = move.removeprefix(_FOLLOW)
            found = await lookup(own, sub) if lookup else await _answer(trail, own, sub)
            trail.steps += [sub, found]
            prompt = words.asked.format(answer=found)
        await trail.conclude(line, form, prompt if prompt == words.answer else f"{prompt}\n\n{words.answer}")
    return trail.result()


async def _answer(trail: Trail, line: Branch, question: str) -> str:
    thought = await line.think(question, constraint=LINE, sampling=GREEDY, max_tokens=STEP_TOKENS)
    return trail.count(thought).text.strip()


def _transcript(example: Example) -> tuple[Message, ...]:
    """An example as the turns that it would have been."""
    words = prompts()
    texts = [words.ask.format(question=example.question)]
    for part, found in example.parts:
        texts += [_FOLLOW + part, words.asked.format(answer=found)]
    return turns(*texts, FINAL, words.answer, example.answer)
