"""Choosing among what a page offers: boxes, buttons, options of lists, all of a colour, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llmos.agents.operator.colours import colours_in
from llmos.agents.operator.filling import Filling
from llmos.agents.operator.goals import Ways, choices, mentioned
from llmos.agents.operator.hands import Move
from llmos.agents.operator.instructions import Goal
from llmos.agents.operator.lexicon import lexicon, words_of
from llmos.agents.operator.matching import Matcher, is_choice
from llmos.agents.operator.page import Part
from llmos.agents.operator.phrases import Target


@dataclass(slots=True)
class Choosing(Filling):
    """Work on what is chosen or not."""

    async def _choose(self, goal: Goal) -> None:
        if goal.nothing:
            await self._choose_nothing()
            return
        if await self._set(goal):
            return
        wanted = goal.act != "uncheck"
        items = goal.items or (goal.target,)
        whole = choices(self.page, self.task, goal.target, goal.context)
        if len(items) > 1 and whole.found and whole.fit >= 0.97:
            items = (goal.target,)
        if goal.every and (
            colour := next((one for one in words_of(goal.words) if one.text in lexicon().colours), None)
        ):
            coloured = [one for one in self.page.parts.values() if colour.text in colours_in(f"{one.name} {one.label}")]
            for part in coloured:
                await self._act(Move("click", part, wants="nothing"))
            if coloured:
                return
        if goal.every and goal.target.roles:
            for part in [one for one in self.page.parts.values() if is_choice(one) and one.role in goal.target.roles]:
                await self._tick(goal, part, wanted=wanted)
            return
        if len(items) > 1 and await self._choose_several(goal, items):
            return
        for item in items:
            await self._choose_one(goal, item, wanted=wanted)

    async def _choose_nothing(self) -> None:
        for part in [one for one in self.page.parts.values() if is_choice(one) and one.role != "radio" and one.chosen]:
            await self._act(Move("click", part, wants="unchosen"))

    async def _choose_several(self, goal: Goal, items: Sequence[Target]) -> bool:
        """Several options of one list at once; False if there is no such list."""
        ways = [choices(self.page, self.task, item, goal.context) for item in items]
        moves = [one.moves[0] for one in ways if one.found and one.moves[0].action == "select"]
        refs = {one.part.ref for one in moves if one.part is not None}
        if len(moves) != len(items) or len(refs) != 1:
            return False
        first = moves[0]
        await self._act(replace(first, text="", options=tuple(one.text for one in moves)))
        return True

    async def _choose_one(self, goal: Goal, item: Target, *, wanted: bool) -> None:
        ways = choices(self.page, self.task, item, goal.context)
        if not ways.found:
            named = [one for one in mentioned(self.page, item.text) if one.chosen != wanted]
            if named:
                for part in named:
                    await self._tick(goal, part, wanted=wanted)
                return
            ways = await self._opened_list(goal, item) or ways
        if not ways.found:
            ways = await self._found(replace(goal, target=item))
        moves = ways.moves
        first = moves[0]
        if first.part is not None and is_choice(first.part) and first.action == "click":
            decision = await self._decided(goal.words, moves)
            if decision.move.part is not None and decision.move.action == "click" and is_choice(decision.move.part):
                self._took(decision.move, decision)
                await self._tick(goal, decision.move.part, wanted=wanted)
                return
            moves = (decision.move, *(one for one in moves if one != decision.move))
        await self._try(goal, moves, words=item.text)

    async def _opened_list(self, goal: Goal, item: Target) -> Ways | None:
        """The item in a list that must be opened first."""
        named = goal.context if not goal.context.empty else Target(roles=frozenset({"combobox", "listbox"}))
        boxes = [one.part for one in Matcher(self.page, self.task).ranked(named, lambda part: not part.options)
                 if one.part.role in ("combobox", "listbox") or "collapsed" in one.part.states]  # fmt: skip
        for part in boxes[:3]:
            done = await self.hands.do(Move("click", part), commit=False)
            ways = choices(self.page, self.task, item, Target())
            if done.ok and ways.found:
                return ways
        return None

    async def _tick(self, goal: Goal, part: Part, *, wanted: bool) -> None:
        """Bring a box into a state; one that is in it already is left alone."""
        if part.ref not in self.page.parts or self.page.parts[part.ref].chosen == wanted:
            return
        await self._try(goal, [Move("click", part, wants="chosen" if wanted else "unchosen")])
