"""Taking actions and seeing whether they did what was wanted; finding what is to be clicked, also behind other things.

The lowest layer of the operator's work. Every action is a system call, through the hands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from llmos.agents.operator import checks, extracting
from llmos.agents.operator.deciding import Decision, decide, guess
from llmos.agents.operator.goals import Ways, clicks, fields, openers
from llmos.agents.operator.hands import Done, Hands, Move
from llmos.agents.operator.instructions import Goal
from llmos.agents.operator.lexicon import form_of, means, words_of
from llmos.agents.operator.matching import Matcher, echoes
from llmos.agents.operator.page import Page, Part, plain
from llmos.agents.operator.phrases import Target
from llmos.errors import RunError
from llmos.kernel.process import Process

ATTEMPTS = 3
"""So many controls are tried for one goal."""

CLOSE = 1.5
"""A control whose weight is nearer than this to the best one's is tried in its place."""

OPENED = 25
"""So many things are opened at most while something is looked for."""

_PASSING = frozenset({"covered", "disabled", "hidden", "stale", "timeout", "unchanged", "unfit", "failed"})
"""Reasons after which the page is looked at anew, and the next control is tried."""


class NotDone(RunError):
    """A goal could not be reached."""


@dataclass(slots=True)
class Acting:
    """One task on one browser session.

    Attributes:
        values: For fields by name, what goes into them: a form from a dict, a name and a secret's handle.
        engine: Another engine that is asked where this one is not sure.
        notes: What should be known about the result.
        confidence: That of the least sure decision.
        found: What was read from pages, by what it is.
    """

    process: Process
    hands: Hands
    task: str
    values: Mapping[str, str] = field(default_factory=dict[str, str])
    engine: str = ""
    notes: list[str] = field(default_factory=list[str])
    confidence: float = 1.0
    found: dict[str, extracting.Found] = field(default_factory=dict[str, extracting.Found])
    unsure: bool = False
    _copied: extracting.Found | None = None
    _form: str = ""
    _typed: bool = False
    _sought: str = ""

    @property
    def page(self) -> Page:
        """As the last action left it."""
        return self.hands.page

    def _place(self, words: str) -> tuple[int, int]:
        """Where a value stands in the task; -1 where it does not."""
        start = self.task.find(words)
        return (start, start + len(words)) if start >= 0 else (-1, -1)

    def _field(self, goal: Goal, target: Target) -> Part:
        found = fields(self.page, self.task, target, goal.context)
        if not found:
            raise NotDone(f"There is no field on the page for “{goal.words}”.")
        return found[0].part

    # -- one action

    async def _act(self, move: Move) -> Done:
        """Take an action that is decided.

        Raises:
            NotDone: It was not done.
        """
        done = await self.hands.do(move)
        if not done.ok:
            raise NotDone(f"I could not {move.title}: {done.text}")
        return done

    def _accept(self, done: Done, goal: Goal) -> None:
        if not done.ok:
            raise NotDone(f"“{goal.words}” was not done: {done.text}")

    async def _try(self, goal: Goal, moves: Sequence[Move], *, words: str = "") -> Move:
        """Take the best of some actions; where it does not do what is wanted, the next ones.

        Returns:
            The one that was taken.

        Raises:
            NotDone: None of them could be taken.
        """
        left: list[Move] = list(moves)
        problem = ""
        scrolled: set[str] = set()
        for _ in range(ATTEMPTS):
            if not left:
                break
            decision = await self._decided(words or goal.words, left)
            move = decision.move
            before = self.page
            done = await self.hands.do(move)
            problem = done.text if not done.ok else checks.problem(move, before, self.page, done)
            if not problem:
                self._took(move, decision)
                return move
            if not done.ok and done.reason not in _PASSING:
                raise NotDone(f"I could not {move.title}: {problem}")
            if done.ok and move.wants == "change" and (inner := self._inner(move)) is not None:
                left = [inner]
                continue
            if done.ok and move.wants == "change":  # nothing seems to have changed, which need not be wrong
                self._took(move, decision)
                self.notes.append(f"After “{move.title}” nothing on the page had changed.")
                self.unsure = True
                return move
            if not done.ok:
                await self.hands.look()
                again = self.page.parts.get(move.part.ref) if move.part is not None else None
                if again is not None and not again.seen and again.ref not in scrolled:
                    scrolled.add(again.ref)
                    await self.hands.scroll(again.ref)
                    left = [replace(move, part=again)]
                    continue
            left = [one for one in left if move.weight - one.weight < CLOSE]
            left = [one for one in left if one.part is None or move.part is None or one.part.ref != move.part.ref]
            left = [one for one in left if one.part is None or one.part.ref in self.page.parts]
        raise NotDone(f"“{goal.words}” was not done: {problem or 'nothing on the page fits.'}")

    def _inner(self, move: Move) -> Move | None:
        """A click on what lies inside and says the same, where the outer one did nothing."""
        if move.part is None or move.action != "click" or move.part.ref not in self.page.parts:
            return None
        inner = self.page.inner(self.page.parts[move.part.ref])
        return None if inner.ref == move.part.ref else replace(move, part=inner)

    async def _decided(self, words: str, moves: Sequence[Move]) -> Decision:
        return await decide(self.process, self.page, words, moves, engine=self.engine)

    def _took(self, move: Move, decision: Decision) -> None:
        self.confidence = min(self.confidence, decision.confidence)
        if move.part is not None and move.part.form:
            self._form = move.part.form

    # -- clicks

    async def _click(self, goal: Goal) -> None:
        for target in goal.items or (goal.target,):
            one = replace(goal, target=self._result(target))
            if goal.every:
                await self._click_all(one)
            elif target.empty and goal.context.empty:
                raise NotDone(f"“{goal.words}” does not say what is meant.")
            else:
                ways = await self._found(one)
                await self._try(one, ways.moves)

    def _result(self, target: Target) -> Target:
        """One of the results of a search says what was searched for."""
        if "result" not in {form_of(one) for one in target.words} or not self._sought or target.beside:
            return target
        words = tuple(one for one in target.words if form_of(one) not in ("result", "search"))
        return replace(target, words=words, beside=self._sought)

    async def _found(self, goal: Goal) -> Ways:
        """Ways to click what is meant; what is not there is looked for behind what can be opened.

        Raises:
            NotDone: There is nothing at all that could be meant.
        """
        tried: set[str] = set()
        await self._find_context(goal, tried)
        ways = clicks(self.page, self.task, goal.target, goal.context)
        best = ways
        for _ in range(OPENED):
            if ways.found:
                return ways
            if not await self._open_more(goal, tried):
                break
            ways = clicks(self.page, self.task, goal.target, goal.context)
            best = ways if ways.fit >= best.fit else best
        if ways.found:
            return ways
        live = tuple(one for one in best.moves if one.part is not None and one.part.ref in self.page.parts)
        chosen = await guess(self.process, self.page, goal.words, live, engine=self.engine) if live else None
        if chosen is None:
            raise NotDone(f"I did not find “{goal.target.text or goal.words}” on the page {self.page.url}.")
        self.confidence, self.unsure = min(self.confidence, chosen.confidence), True
        self.notes.append(f"I did not find exactly “{goal.target.text}”.")
        return Ways((chosen.move,), best.fit)

    async def _find_context(self, goal: Goal, tried: set[str]) -> None:
        """Go on until the page says what the thing belongs to, page by page; where it never does, stay."""
        names = goal.context.names or tuple(one for one in goal.context.text.split() if one[:1].isupper() or "@" in one)
        if not names:
            return
        for _ in range(OPENED):
            there = " ".join(one.text for one in self.page.texts if not echoes(one.text, self.task))
            there += " ".join(f"{one.name} {one.value}" for one in self.page.parts.values())
            if all(plain(name) in plain(there) for name in names):
                return
            tried.difference_update(ref for ref, part in self.page.parts.items() if _goes_on(part))
            if not await self._open_more(goal, tried):
                return

    async def _open_more(self, goal: Goal, tried: set[str]) -> bool:
        """Open one more thing that may hide what is looked for; False if there is none."""
        for move in openers(self.page, goal, frozenset(tried), goal.hints):
            assert move.part is not None
            tried.add(move.part.ref)
            before = self.page.state
            done = await self.hands.do(move, commit=False)
            if done.ok and self.page.state != before:
                return True
            if not done.ok:
                await self.hands.look()
        if self.page.below > 0 and "scroll" not in tried:
            before = self.page.state
            await self.hands.scroll("down")
            if self.page.state != before:
                return True
            tried.add("scroll")
        return False

    async def _click_all(self, goal: Goal) -> None:
        """Click each one that fits as well as the best."""
        ways = clicks(self.page, self.task, goal.target, goal.context)
        if not ways.moves:
            raise NotDone(f"I did not find “{goal.target.text}” on the page.")
        top = ways.moves[0].weight
        matcher = Matcher(self.page, self.task)
        for move in ways.moves:
            close = top - move.weight < 1.0
            if move.part is None or not close or matcher.fit(move.part, goal.target) < ways.fit:
                continue
            if move.part.ref in self.page.parts:
                await self._act(move)

    async def _close(self, goal: Goal) -> None:
        """Close what is open: what closes it, or the named one."""
        closing = Target(goal.words, goal.start, words=("close",))
        ways = clicks(self.page, self.task, goal.target if goal.target.names else closing, goal.context)
        if ways.found:
            await self._try(goal, ways.moves)
        else:
            await self._act(Move("press", None, "Escape", wants="nothing"))

    async def _unfold(self, goal: Goal, rest: Sequence[Goal]) -> None:
        """Open or fold what is meant; all of it where nothing more is said and nothing else comes after."""
        fold = "expanded" if goal.act == "collapse" else "collapsed"
        moves = openers(self.page, goal, frozenset(), goal.target.roles | {"heading"})
        folded = [one for one in moves if one.part is not None and fold in one.part.states]
        ways = clicks(self.page, self.task, goal.target, goal.context)
        if (goal.target.names or goal.target.ordinal) and ways.found:
            await self._try(goal, ways.moves)
        elif goal.every and folded:
            for move in folded:
                await self._act(replace(move, wants="nothing"))
        elif folded or moves:
            await self._try(goal, folded or moves)
        elif ways.moves:
            await self._try(goal, ways.moves)
        elif not rest:
            raise NotDone(f"There is nothing on the page for “{goal.words}”.")


def _goes_on(part: Part) -> bool:
    """Whether it turns to the next page, again and again."""
    return any(means("next", one.text) for one in words_of(part.name))
