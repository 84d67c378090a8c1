"""Does a taught skill again: finds each step's control, acts through the gate, and sees whether it had its effect.

A control is found by what was seen when it was shown (`locating`); where that leaves it open the model chooses among
the candidates, and where it is not sure, a person. A step that was found by other marks than its own is mended only
after its effect was seen. Knows no file: what was mended is given back, to be kept by whoever started the run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol
from urllib.parse import urlsplit

from llmos.agents.operator import dates
from llmos.agents.operator.aligning import align
from llmos.agents.operator.deciding import decide
from llmos.agents.operator.goals import filling, value_fits
from llmos.agents.operator.hands import Done, Move
from llmos.agents.operator.locating import Located, locate
from llmos.agents.operator.page import Page, Part, origin_of
from llmos.agents.operator.phrases import Said
from llmos.agents.operator.skills import Skill, Step, fill, holes, says
from llmos.errors import LoopDetected, NobodyThere, RunError
from llmos.kernel.process import Process

ATTEMPTS = 3
"""How often a step is tried where its control was not reached."""

PAUSES = (0.15, 0.3, 0.6, 1.0)
"""Seconds before each further look at a page that is not ready. More looks at a page that stays as it is would be taken
for going round in circles."""

SAID = 0.5
"""From this fit on the words are believed to say the values; with less, they are asked for."""

_PASSING = frozenset({"covered", "disabled", "hidden", "stale", "timeout", "unchanged"})
_SPREAD = 4.0
"""What likenesses are multiplied by to be natural logarithms: the model may turn a small lead."""

Found = Literal["name", "neighbours", "likeness", "model", "person"]


class NotReplayed(RunError):
    """A taught skill could not be done again."""


class Acts(Protocol):
    """What acts on pages: `hands.Hands`."""

    page: Page

    async def look(self) -> Done:
        """See the page anew."""
        ...

    async def goto(self, url: str) -> Done:
        """Go to an address."""
        ...

    async def do(self, move: Move) -> Done:
        """Take an action."""
        ...


class Chooser(Protocol):
    """Who chooses where a step's control stays open."""

    async def __call__(self, page: Page, words: str, moves: list[Move], /) -> tuple[Part, Found, float] | None:
        """The control, who chose it and how sure; None where nobody can tell."""
        ...


@dataclass(slots=True)
class Replay:
    """One run of a skill.

    Attributes:
        hands: What acts.
        skill: What is done.
        task: The words of this time.
        values: By parameter, what stands for it.
        choose: Who chooses where a step's control stays open; None: nobody.
        wait: Waits so many seconds.
        found: By which each step's control was found, so far.
        healed: Steps as they are to be kept from now on, by their place in the skill.
        notes: What should be known about the result.
        confidence: Of the least sure step.
        unsure: An effect was not seen.
    """

    hands: Acts
    skill: Skill
    task: str
    values: Mapping[str, Said]
    choose: Chooser | None
    wait: Waiter
    found: list[Found] = field(default_factory=list[Found])
    healed: dict[int, Step] = field(default_factory=dict[int, Step])
    notes: list[str] = field(default_factory=list[str])
    confidence: float = 1.0
    unsure: bool = False

    @property
    def page(self) -> Page:
        """As the last action left it."""
        return self.hands.page

    async def run(self) -> None:
        """Do all steps.

        Raises:
            NotReplayed: One could not be done; the message says which and why.
            Stuck, Denied, BudgetExceeded: As of the tools.
        """
        texts = {name: said.text for name, said in self.values.items()}
        for number, step in enumerate(self.skill.steps):
            await self._step(number, step, step.filled(texts))

    async def _step(self, number: int, taught: Step, step: Step) -> None:
        if step.action == "goto":
            self._check_origin(origin_of(step.value), number, step)
            done = await self.hands.goto(step.value)
            if not done.ok:
                raise self._not_done(number, step, done.text)
            return
        for attempt in range(ATTEMPTS):
            part, by = await self._control(number, taught, step)
            if step.expects in ("chosen", "unchosen") and part.chosen == (step.expects == "chosen"):
                return
            self._check_origin(part.origin, number, step)
            before = self.page
            move = self._move(taught, step, part)
            done = await self.hands.do(move)
            if done.ok:
                await self._verify(number, taught, step, move, before, by)
                return
            if done.reason not in _PASSING or attempt == ATTEMPTS - 1:
                raise self._not_done(number, step, done.text)
            await self.hands.look()
        raise AssertionError("the last attempt returns or raises")

    def _check_origin(self, origin: str, number: int, step: Step) -> None:
        """A skill acts where it was shown, and nowhere else."""
        if origin not in (self.skill.origin, *self.skill.origins):
            raise self._not_done(number, step, f"the page is on {origin!r}, where it was not taught")

    def _not_done(self, number: int, step: Step, why: str) -> NotReplayed:
        return NotReplayed(
            f"Step {number + 1} of {self.skill.name!r} was not done ({step.does}): {why.rstrip('.')}.",
            hint=f"`llmos skill show {self.skill.name}` shows its steps; teach it again if the page has changed.",
        )

    # -- the control

    async def _control(self, number: int, taught: Step, step: Step) -> tuple[Part, Found]:
        """The control of a step; a page that is not ready yet is waited for.

        Raises:
            NotReplayed: It is not there, or nobody can tell which it is.
        """
        free = "{" in taught.name and not taught.beside
        located = locate(self.page, step, self.task, free=free)
        for pause in PAUSES:
            if located.part is not None or not await self._looked_again(pause):
                break
            again = locate(self.page, step, self.task, free=free)
            if again == located and again.candidates:
                break  # it stays as it is: who chooses has something to choose from
            located = again
        if located.part is not None and located.by != "nobody":
            by: Found = located.by
            if by == "likeness":
                self.confidence = min(self.confidence, located.candidates[0].likeness)
            self._note(number, by)
            return located.part, by
        return await self._chosen(number, step, located)

    async def _looked_again(self, pause: float) -> bool:
        """See the page anew after a pause; False where it was as it is for too long."""
        await self.wait(pause)
        try:
            await self.hands.look()
        except LoopDetected:
            return False
        return True

    async def _chosen(self, number: int, step: Step, located: Located) -> tuple[Part, Found]:
        if not located.candidates:
            raise self._not_done(number, step, f"there is nothing like it on {self.page.url}")
        moves = [Move(_hand(step), one.part, step.value, weight=_SPREAD * one.likeness) for one in located.candidates]
        chosen = None if self.choose is None else await self.choose(self.page, step.does, moves)
        if chosen is None:
            near = ", ".join(one.part.called for one in located.candidates[:3])
            raise self._not_done(number, step, f"which one is it: {near}")
        part, by, share = chosen
        self.confidence = min(self.confidence, share)
        self._note(number, by)
        return part, by

    def _note(self, number: int, by: Found) -> None:
        del self.found[number:]
        self.found.append(by)

    # -- the action

    def _move(self, taught: Step, step: Step, part: Part) -> Move:
        wants: Literal["value", "chosen", "unchosen", "nothing"] = "nothing"
        match step.action:
            case "fill" | "select":
                text = step.value or ", ".join(step.options)
                pattern = taught.value or ", ".join(taught.options)
                said = self._said(pattern, text)
                if step.action == "select" and len(step.options) > 1:
                    return Move("select", part, options=step.options, wants="value")
                return filling(part, said)
            case "press":
                return Move("press", part, step.value, wants=wants)
            case _:
                return Move("click", part, wants=wants)

    def _said(self, pattern: str, text: str) -> Said:
        """A value with its place in the words, if it is nothing but a parameter."""
        found = holes(pattern)
        whole = len(found) == 1 and pattern == f"{{{found[0]}}}" and found[0] in self.values
        return self.values[found[0]] if whole else Said(text, -1, -1)

    # -- its effect

    async def _verify(self, number: int, taught: Step, step: Step, move: Move, before: Page, by: Found) -> None:
        """See whether an action had its effect; only then a step that was found in another way is mended."""
        seen = _shown(step, move, before, self.page)
        for pause in PAUSES[:3]:
            if seen or not await self._looked_again(pause):
                break
            seen = _shown(step, move, before, self.page)
        if not seen and step.expects in ("value", "chosen", "unchosen") and move.part is not None:
            now = self.page.parts.get(move.part.ref)
            raise self._not_done(number, step, f"it holds {now.value!r} now" if now is not None else "it is gone")
        if not seen:
            self.unsure = True
            self.notes.append(f"Step {number + 1} ({step.does}): its effect was not seen ({step.expects}).")
        elif by not in ("name", "neighbours") and step.expects and move.part is not None:
            mended = _mended(taught, step, move.part, before, self.values)
            if mended != taught:
                self.healed[number] = mended


class Waiter(Protocol):
    """Waits."""

    async def __call__(self, seconds: float, /) -> None:
        """So long."""
        ...


def _hand(step: Step) -> Literal["click", "fill", "select", "press"]:
    return "click" if step.action == "goto" else step.action


def _shown(step: Step, move: Move, before: Page, after: Page) -> bool:
    """Whether what a step expects is there now."""
    kind, _, what = step.expects.partition(" ")
    part = after.parts.get(move.part.ref) if move.part is not None else None
    match kind:
        case "":
            return True
        case "value":
            return part is None or value_fits(part, move) or _same_value(part.value, move.text)
        case "chosen" | "unchosen":
            return part is None or part.chosen == (kind == "chosen")
        case "opens":
            return (urlsplit(after.url).path or "/") == what or says(what, after.url)
        case "shows":
            return any(says(f"…{what}…", one.text) for one in after.texts)
        case _:
            return before.state != after.state or bool(after.changes)


def _same_value(said: str, wanted: str) -> bool:
    one, other = "".join(said.split()).casefold(), "".join(wanted.split()).casefold()
    return bool(one) and (one == other or dates.same_moment(said, wanted))


def _mended(taught: Step, step: Step, part: Part, page: Page, values: Mapping[str, Said]) -> Step:
    """A step with the marks that its control has now. Those that have a parameter in them stay: they are still true."""
    equal = [one for one in page.parts.values() if (one.role, one.name) == (part.role, part.name)]

    def now(pattern: str, filled: str, text: str) -> str:
        if "{" in pattern or "…" in pattern or says(filled, text):
            return pattern
        known = {said.text: f"{{{name}}}" for name, said in values.items()}
        return known.get(text, text)

    return replace(
        taught,
        role=part.role,
        name=now(taught.name, step.name, part.name),
        label=now(taught.label, step.label, part.label),
        near=now(taught.near, step.near, part.near[: max(len(step.near), 60)]),
        tag=part.tag,
        kind=part.kind,
        place=1 + next((place for place, one in enumerate(equal) if one.ref == part.ref), 0),
        among=max(1, len(equal)),
        width=round(part.box[2]),
        height=round(part.box[3]),
    )


# ---- Values


async def values_for(process: Process, skill: Skill, task: str) -> dict[str, Said]:
    """What stands for each parameter: what the words say, else what the user answers.

    Raises:
        NotReplayed: One is missing, and nobody is there to ask.
    """
    fit = align(skill, task)
    found = dict(fit.values) if fit.share >= SAID else {}
    for one in skill.parameters:
        if one.name in found and found[one.name].text:
            continue
        question = f"“{skill.name}”: what is {one.name.replace('_', ' ')} this time?"
        if one.kind == "secret":
            question = f"“{skill.name}”: with which secret for {one.name} (such as secret://shop)?"
        try:
            answer = (await process.ask(question)).strip()
        except NobodyThere:
            answer = ""
        if not answer:
            raise NotReplayed(
                f"The words don't say what {one.name!r} is this time: {task!r}.",
                hint=f"Say it as it was taught: {fill(skill.task, {})!r}.",
            )
        found[one.name] = Said(answer, -1, -1)
    return found


async def replayed(process: Process, hands: Acts, skill: Skill, task: str, *, engine: str = "") -> Replay:
    """Do a skill again, on the page that the hands have open.

    Args:
        process: Whose calls it makes; the model and the user are asked by it.
        task: The words of this time.
        engine: As for `chooser`.

    Raises:
        NotReplayed: A value is missing, or a step could not be done.
        Stuck, Denied, BudgetExceeded: As of the tools.
    """
    values = await values_for(process, skill, task)
    again = Replay(hands, skill, task, values, chooser(process, engine=engine), process.sleep)
    await again.run()
    return again


def chooser(process: Process, *, engine: str = "") -> Chooser:
    """Asks the model, and where it is not sure, a person.

    Args:
        engine: The name of another engine that is asked where this one is not sure.
    """

    async def choose(page: Page, words: str, moves: list[Move]) -> tuple[Part, Found, float] | None:
        top = moves[0].weight
        near = [one for one in moves if top - one.weight < math.log(20)]
        decision = await decide(process, page, words, near, engine=engine)
        if decision.move.part is None or decision.confidence < 0.34:
            return None
        by: Found = "person" if decision.by == "person" else "model" if decision.by == "model" else "likeness"
        return decision.move.part, by, decision.confidence

    return choose
