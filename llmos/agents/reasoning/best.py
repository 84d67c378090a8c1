"""Best of n: several chains of thought at once, and a verifier that chooses."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from llmos.agents.reasoning.chain import chain_of_thought
from llmos.agents.reasoning.parts import REASONING_TOKENS, VARIED, Example, Form, Reasoned, Trail, split, total, varied
from llmos.agents.verdict import Verdict, Verifier
from llmos.kernel.branch import Branch
from llmos.messages import Sampling


@dataclass(frozen=True, slots=True)
class _Sample:
    place: int
    reasoned: Reasoned
    verdict: Verdict


async def best_of_n(
    branch: Branch,
    question: str,
    verifier: Verifier[str],
    *,
    n: int = 5,
    score: Callable[[str], float] | None = None,
    examples: Sequence[Example] = (),
    form: Form = None,
    sampling: Sampling = VARIED,
    max_tokens: int = REASONING_TOKENS,
) -> Reasoned:
    """The first of n chains of thought whose answer passes a verifier, else the best (Cobbe et al. 2021,
    arXiv:2110.14168).

    It costs up to n reasonings and answers at once, which share what comes before them and differ by their seeds; those
    still under way when one passes are cancelled. The steps are those of the chosen one.

    Args:
        score: What counts where none passes, before how many have the same answer; failed ones come last.
    """
    trail = Trail()
    samples: list[_Sample] = []
    pending: dict[int, asyncio.Task[Reasoned]] = {}
    try:
        with trail:
            for place, line in enumerate(await split(branch, n)):
                pending[place] = asyncio.create_task(
                    chain_of_thought(
                        line,
                        question,
                        examples=examples,
                        form=form,
                        sampling=varied(sampling, place),
                        max_tokens=max_tokens,
                    )
                )
            while pending and not (samples and samples[-1].verdict.passed):
                _raise_failed(pending.values())
                places = list(pending)
                place = places[await branch.first(list(pending.values()))]
                reasoned = pending.pop(place).result()
                trail.usage, trail.cut = total(trail.usage, reasoned.usage), reasoned.cut or trail.cut
                if reasoned.answer:
                    samples.append(_Sample(place, reasoned, await verifier(reasoned.answer)))
    finally:
        for task in pending.values():
            task.cancel()
        await asyncio.gather(*pending.values(), return_exceptions=True)
    if samples:
        _choose(trail, samples, score)
    return trail.result()


def _raise_failed(lines: Iterable[asyncio.Task[Reasoned]]) -> None:
    """Raise what ended a line, before any further call: it would count as known, and not be tried again on a resume."""
    for line in lines:
        if line.done():
            line.result()


def _choose(trail: Trail, samples: Sequence[_Sample], score: Callable[[str], float] | None) -> None:
    """The best sample: passed, then unsure, then failed; by score; by how many agree; the first of equals."""
    agree = Counter(one.reasoned.answer for one in samples)
    order = ("fail", "unsure", "pass")
    best = max(
        samples,
        key=lambda one: (
            order.index(one.verdict.outcome),
            score(one.reasoned.answer) if score else 0.0,
            agree[one.reasoned.answer],
            -one.place,
        ),
    )
    trail.answer, trail.steps = best.reasoned.answer, list(best.reasoned.steps)
    trail.confidence = best.verdict.confidence
    if trail.confidence is None and not best.verdict.passed:
        trail.confidence = agree[best.reasoned.answer] / len(samples)
