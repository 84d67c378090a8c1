"""Tree of thoughts: several next steps at each level, of which the best are gone on from."""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from llmos.agents.reasoning.parts import LINE, STEP_TOKENS, VARIED, Form, Reasoned, Trail, begin, prompts, split, varied
from llmos.agents.verdict import Verifier
from llmos.kernel.branch import Branch
from llmos.messages import Constraint, Message, Sampling

Steps = tuple[str, ...]
Score = Callable[[Steps], float | Awaitable[float]]
"""How promising steps are: any number, higher is better; minus infinity for a dead end."""


@dataclass(frozen=True, slots=True)
class _State:
    """A place in the tree: the line that has thought these steps, and what they are worth."""

    line: Branch
    steps: Steps = ()
    value: float = 0.0
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class _Search:
    """What all levels have in common; fields as the arguments of `tree_of_thoughts`."""

    trail: Trail
    question: str
    judge: Verifier[Steps] | Score | None
    proposals: int
    step: Constraint
    sampling: Sampling
    max_tokens: int

    async def level(self, states: list[_State], number: int) -> list[_State]:
        """The next states after these, best first, without dead ends."""
        words = prompts()
        prompt = words.next if number else words.step.format(question=self.question)
        lines: list[tuple[Branch, Steps]] = []
        for state in states:
            state.line.hear(Message("user", prompt))
            lines += [(line, state.steps) for line in await split(state.line, self.proposals)]
        found = await self.trail.together(
            *(self._propose(line, steps, number * len(lines) + place) for place, (line, steps) in enumerate(lines))
        )
        distinct = {state.steps: state for state in reversed(found)}
        fresh = [state for state in found if distinct[state.steps] is state]
        judged = await self._judged(fresh)
        return sorted((one for one in judged if one.value > -math.inf), key=lambda one: -one.value)

    async def _propose(self, line: Branch, steps: Steps, number: int) -> _State:
        thought = await line.think(
            constraint=self.step, sampling=varied(self.sampling, number), max_tokens=self.max_tokens
        )
        return _State(line, (*steps, self.trail.count(thought).text.strip()))

    async def _judged(self, states: list[_State]) -> list[_State]:
        if self.judge is None:
            return await self.trail.together(*[self._weighed(one, (await split(one.line, 1))[0]) for one in states])
        judged: list[_State] = []
        for state in states:  # one after the other: a judge may make system calls of its own
            if isinstance(self.judge, Verifier):
                verdict = await self.judge(state.steps)
                worth = {"pass": math.inf, "fail": -math.inf}.get(verdict.outcome, verdict.confidence or 0.0)
                judged.append(replace(state, value=worth, confidence=verdict.confidence))
            else:
                value = self.judge(state.steps)
                judged.append(replace(state, value=await value if inspect.isawaitable(value) else value))
        return judged

    async def _weighed(self, state: _State, line: Branch) -> _State:
        thought = self.trail.count(await line.think(prompts().value, choices=("Yes", "No")))
        likely = thought.probabilities[0] if thought.probabilities else float(thought.value == "Yes")
        return replace(state, value=likely, confidence=likely)


async def tree_of_thoughts(
    branch: Branch,
    question: str,
    *,
    judge: Verifier[Steps] | Score | None = None,
    form: Form = None,
    beam: int = 4,
    proposals: int = 4,
    depth: int = 3,
    step: Constraint = LINE,
    sampling: Sampling = VARIED,
    max_tokens: int = STEP_TOKENS,
) -> Reasoned:
    """Search the steps to an answer, level by level, and keep the most promising (Yao et al. 2023, arXiv:2305.10601).

    It costs `proposals` short steps for each of at most `beam` states on each of at most `depth` levels, where the
    model judges a comparison of two words for each, and one answer; what they have in common is read once.

    Args:
        judge: How good steps are: a verifier (a pass ends the search, a fail is a dead end, what it can't tell counts
            by its confidence), a function, or by default the model.
        step: What a step looks like.
        form: What the answer looks like; by default it is the last step.
    """
    trail = Trail()
    search = _Search(trail, question, judge, proposals, step, sampling, max_tokens)
    best = _State(begin(branch))
    states = [best]
    with trail:
        for number in range(depth):
            states = (await search.level(states, number))[:beam]
            best = states[0] if states else best
            if not states or trail.cut or best.value == math.inf:
                break
        if form is not None and best.steps and not trail.cut:
            await trail.conclude(best.line, form, prompts().answer)
    trail.steps = list(best.steps)
    if form is None and best.steps:
        trail.answer, trail.confidence = best.steps[-1], best.confidence
    if not states and not trail.cut:
        trail.cut = "Every next step was a dead end."
    return trail.result()
