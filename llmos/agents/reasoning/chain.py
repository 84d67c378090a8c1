"""Chain of thought: the steps are written out before the answer."""

from __future__ import annotations

from collections.abc import Sequence

from llmos.agents.reasoning.parts import REASONING_TOKENS, Example, Form, Reasoned, Trail, begin, prompts, turns
from llmos.kernel.branch import Branch
from llmos.messages import GREEDY, Sampling


async def chain_of_thought(
    branch: Branch,
    question: str,
    *,
    examples: Sequence[Example] = (),
    form: Form = None,
    sampling: Sampling = GREEDY,
    max_tokens: int = REASONING_TOKENS,
) -> Reasoned:
    """Think step by step, then say the answer alone, in its form.

    Few-shot with examples (Wei et al. 2022, arXiv:2201.11903), zero-shot without (Kojima et al. 2022,
    arXiv:2205.11916). It costs one reasoning of up to `max_tokens` tokens and one short answer, on one line.
    """
    trail, words = Trail(), prompts()
    with trail:
        line = begin(
            branch,
            *(
                turn
                for one in examples
                for turn in turns(words.think.format(question=one.question), one.steps, words.answer, one.answer)
            ),
        )
        thought = trail.count(
            await line.think(words.think.format(question=question), sampling=sampling, max_tokens=max_tokens)
        )
        trail.steps.append(thought.text.strip())
        await trail.conclude(line, form, words.answer)
    return trail.result()
