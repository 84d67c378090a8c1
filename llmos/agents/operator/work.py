"""The loop: for each goal find an action, take it, see whether it did what was wanted, else try the next one.

What is not on the page is looked for behind tabs, folded sections and menus, each opened once. Every decision has a
confidence; the lowest one is the run's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from llmos.agents.operator import extracting
from llmos.agents.operator.acting import NotDone
from llmos.agents.operator.choosing import Choosing
from llmos.agents.operator.goals import clicks, fields
from llmos.agents.operator.hands import Move
from llmos.agents.operator.instructions import Goal
from llmos.agents.operator.lexicon import words_of
from llmos.agents.operator.page import Part

__all__ = ["NotDone", "Work"]

LONGEST = 60.0
"""Seconds that the words may have it wait."""

_NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(slots=True)
class Work(Choosing):
    """One task on one browser session."""

    async def do(self, goals: Sequence[Goal]) -> None:
        """Reach all goals, in their order.

        Raises:
            NotDone: One could not be reached.
            Stuck, Denied, BudgetExceeded: As of the tools.
        """
        for number, goal in enumerate(goals):
            await self._goal(goal, goals[number + 1 :])

    async def _goal(self, goal: Goal, rest: Sequence[Goal]) -> None:
        match goal.act:
            case "fill" | "paste":
                await self._fill(goal)
            case "select" | "check" | "uncheck":
                await self._choose(goal)
            case "press":
                await self._act(Move("press", self._focused(), goal.keys, wants="nothing"))
            case "login":
                await self._log_in(goal)
            case "search":
                await self._search(goal)
            case "read":
                self._read(goal)
            case "copy":
                await self._copy(goal)
            case "scroll":
                await self._scroll(goal)
            case "go":
                done = await self.hands.goto(goal.target.url)
                self._accept(done, goal)
            case "back":
                self._accept(await self.hands.back(), goal)
            case "submit":
                await self._submit(goal)
            case "clear":
                await self._clear(goal)
            case "focus":
                await self._focus(goal)
            case "close":
                await self._close(goal)
            case "wait":
                seconds = _NUMBER.search(goal.words)
                await self.process.sleep(min(float(seconds[0]) if seconds else 1.0, LONGEST))
                await self.hands.look()
            case "expand" | "collapse":
                await self._unfold(goal, rest)
            case _:
                await self._click(goal)

    # -- reading and moving about

    def _read(self, goal: Goal) -> None:
        found = extracting.answers(self.page, goal.target, self.task)
        if not found:
            raise NotDone(f"I did not find an answer to “{goal.words}” on {self.page.url}.")
        self.found[goal.words] = found[0]
        self.confidence = min(self.confidence, found[0].fit)

    async def _scroll(self, goal: Goal) -> None:
        said = {one.text for one in words_of(goal.words)}
        to = next(
            (place for place in ("top", "bottom", "up", "down") if place in said or place in goal.target.places), ""
        )
        areas = [one for one in fields(self.page, self.task, goal.target, goal.context) if one.part.tag == "textarea"]
        if areas and to in ("top", "bottom") and "textarea" in said:
            keys = "Control+Home" if to == "top" else "Control+End"
            await self._act(Move("press", areas[0].part, keys, wants="nothing"))
            return
        if not to and not goal.target.empty:
            ways = clicks(self.page, self.task, goal.target, goal.context)
            to = ways.moves[0].part.ref if ways.moves and ways.moves[0].part is not None else "down"
        self._accept(await self.hands.scroll(to or "down"), goal)

    def _focused(self) -> Part | None:
        return next((one for one in self.page.parts.values() if "focused" in one.states), None)
