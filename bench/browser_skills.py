"""What a demonstration is worth: shown once on one seed of a MiniWoB++ task, done again on others, without any model.

The recorder listens while a demonstration is carried out with mouse and keyboard in llmos's browser; what is learned is
replayed by the code that agents use, on pages of other seeds, and on pages with other ids, classes and orders.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bench.browser_demonstrations import DEMONSTRATIONS, Demonstration
from bench.browser_perturbed import SHUFFLE, names_of, rewrite
from bench.browser_rig import address, begin, miniwob, result, serving
from bench.report import Row
from llmos.agents.operator.aligning import align
from llmos.agents.operator.hands import Done, Move
from llmos.agents.operator.learning import learn
from llmos.agents.operator.page import Page as Seen
from llmos.agents.operator.page import read_page
from llmos.agents.operator.replaying import NotReplayed, Replay
from llmos.agents.operator.skills import Skill, parse, write
from llmos.errors import BrowserError, LlmosError
from llmos.tools.browser.browser import Browser
from llmos.tools.browser.elements import Outcome
from llmos.tools.browser.options import Options
from llmos.tools.browser.origins import origin_or_none
from llmos.tools.browser.plain import as_data
from llmos.tools.browser.recording import Recorder
from llmos.tools.browser.session import Session

if TYPE_CHECKING:
    from playwright.async_api import Page

SHOWN = 1
"""The seed that a demonstration is given on."""

REPLAYED = range(101, 121)
SECONDS = 20.0

Doing = Callable[["Page", str], Awaitable[None]]
"""A demonstration: acts on a page, knowing the task's words."""


@dataclass(slots=True)
class Direct:
    """Hands without a kernel: the same session, no gate and no journal."""

    session: Session
    page: Seen = field(default_factory=Seen)

    async def look(self) -> Done:
        return self._kept(await self.session.observe(), ())

    async def goto(self, url: str) -> Done:
        return await self._did(self.session.goto(url))

    async def do(self, move: Move) -> Done:
        ref = move.part.ref if move.part is not None else ""
        match move.action:
            case "fill":
                return await self._did(self.session.fill(ref, move.text))
            case "select":
                return await self._did(self.session.select(ref, move.options or (move.text,)))
            case "press":
                return await self._did(self.session.press(move.text, ref))
            case _:
                return await self._did(self.session.click(ref))

    async def _did(self, action: Awaitable[Outcome]) -> Done:
        try:
            outcome = await action
        except BrowserError as error:
            return Done(self.page, (), error.reason or "failed", error.message)
        return self._kept(outcome.after, outcome.changes)

    def _kept(self, seen: Any, changes: Sequence[str]) -> Done:  # noqa: ANN401
        data = as_data(seen, origin=lambda one: str(origin_or_none(one.frame or seen.url) or ""))
        self.page = read_page({"page": data, "changes": list(changes)}) or self.page
        return Done(self.page, tuple(changes))


async def record(session: Session, url: str, task: Callable[[], Awaitable[str]], doing: Doing) -> dict[str, Any]:
    """A demonstration on a page, as data.

    Args:
        task: Prepares the page that is open then, and returns the task's words.
        doing: What is shown.
    """
    await session.goto(url)
    words = await task()
    recorder = await Recorder.install(session.context, session.eyes, task=words, scripted=True)
    await recorder.begin(session.page)
    await doing(session.page, words)
    return asdict(await recorder.end())


async def replay(session: Session, skill: Skill, words: str) -> Replay:
    """A skill done again on the page that is open.

    Raises:
        NotReplayed: It could not be done.
    """
    hands = Direct(session)
    await hands.look()
    again = Replay(hands, skill, words, align(skill, words).values, None, asyncio.sleep)
    missing = [one.name for one in skill.parameters if one.name not in again.values]
    if missing:
        raise NotReplayed(f"The words don't say {missing[0]!r}: {words!r}.")
    await again.run()
    return again


@dataclass(slots=True)
class Tally:
    """How the replays of one task went.

    Attributes:
        failed: Per seed, why not.
        wrong: How often something was done and it was not the task.
        broken: The page itself does not work as it is served: its demonstration fails there, too.
        found: How controls were found.
    """

    task: str
    good: int = 0
    failed: dict[int, str] = field(default_factory=dict[int, str])
    wrong: int = 0
    broken: bool = False
    found: list[str] = field(default_factory=list[str])

    @property
    def share(self) -> float:
        """Of the seeds on which it was done."""
        return self.good / (self.good + len(self.failed)) if self.good or self.failed else 0.0


@asynccontextmanager
async def _opened(*origins: str) -> AsyncGenerator[Callable[[], Awaitable[Session]]]:
    with TemporaryDirectory(prefix="llmos-bench-", ignore_cleanup_errors=True) as folder:
        options = Options(downloads=Path(folder), allow=origins)
        async with Browser(walled=False) as browser:

            async def session() -> Session:
                return await browser.open(options)

            yield session


async def taught(session: Session, origin: str, shown: Demonstration, seed: int = SHOWN) -> Skill:
    """A skill from one demonstration, read back from its file's text."""

    async def task() -> str:
        return await begin(session.page, seed)

    async def doing(page: Page, words: str) -> None:
        await shown.carry_out(page, words)

    data = await record(session, address(origin, shown.task), task, doing)
    return parse(write(learn(f"taught-{shown.task}", data)), f"taught-{shown.task}")


async def _again(session: Session, origin: str, skill: Skill, task: str, tally: Tally, *, shuffled: bool) -> None:
    for seed in REPLAYED:
        why = ""
        await session.goto(address(origin, task))
        words = await begin(session.page, seed)
        if shuffled:
            await session.page.evaluate(SHUFFLE, seed)
        try:
            async with asyncio.timeout(SECONDS):
                tally.found += (await replay(session, skill, words)).found
        except (LlmosError, TimeoutError) as error:
            why = str(error) or "it took too long"
        if (await result(session.page)).success:
            tally.good += 1
        else:
            tally.failed[seed] = why or "another thing was done"
            tally.wrong += not why


async def _works(session: Session, origin: str, shown: Demonstration) -> bool:
    """Whether a changed page can be solved at all."""
    from playwright.async_api import Error

    await session.goto(address(origin, shown.task))
    words = await begin(session.page, SHOWN)
    await session.page.evaluate(SHUFFLE, SHOWN)
    try:
        await shown.carry_out(session.page, words, names_of(shown.task))
    except Error:
        return False
    return (await result(session.page)).success


async def measure(*, only: str = "") -> tuple[list[Tally], list[Tally]]:
    """Replays of all tasks: on pages like the one that was shown, and on changed ones."""
    same, other = list[Tally](), list[Tally]()
    with serving(miniwob()) as plain, serving(miniwob(), rewrite=rewrite) as changed:
        async with _opened(plain, changed) as open_session:
            for shown in DEMONSTRATIONS:
                if only and only != shown.task:
                    continue
                session = await open_session()
                try:
                    skill = await taught(session, plain, shown)
                    same.append(Tally(shown.task))
                    await _again(session, plain, skill, shown.task, same[-1], shuffled=False)
                    moved = parse(write(skill).replace(plain, changed), skill.name)
                    other.append(Tally(shown.task))
                    other[-1].broken = not await _works(session, changed, shown)
                    if not other[-1].broken:
                        await _again(session, changed, moved, shown.task, other[-1], shuffled=True)
                finally:
                    await session.close()
                print(f"  {shown.task}: {same[-1].good}, changed {other[-1].good}", file=sys.stderr, flush=True)
    return same, other


def _row(name: str, tallies: Sequence[Tally], goal: int) -> Row:
    broken = [one.task for one in tallies if one.broken]
    whole = [one for one in tallies if not one.broken]
    good, wrong = sum(one.good for one in whole), sum(one.wrong for one in whole)
    weak = ", ".join(f"{one.task} {100 * one.share:.0f}" for one in whole if one.share < 1)
    found = Counter(by for one in whole for by in one.found)
    note = (
        f"{len(whole)} tasks, {len(REPLAYED)} seeds each; {wrong} times another thing was done; not all: {weak or '-'}"
    )
    note += f"; found by {', '.join(f'{by} {count}' for by, count in found.most_common())}"
    note += f"; left out, since the page does not work when changed: {', '.join(broken)}" if broken else ""
    share = 100 * good / max(1, len(whole) * len(REPLAYED))
    return Row(name=name, value=share, unit="%", goal=f"≥ {goal}%", note=note)


def taught_skills() -> list[Row]:
    """One demonstration each, replayed on other seeds without a model."""
    same, other = asyncio.run(measure())
    return [
        _row("taught skills: replay on other seeds", same, 90),
        _row("taught skills: ids and classes renamed, siblings shuffled", other, 80),
    ]
