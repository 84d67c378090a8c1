"""What happens on pages that misbehave: success or a typed error in under 3 s, and never an action on a wrong element.

Each page notes what its elements were really hit by (`hits.js`); what is hit besides what was meant counts as wrong.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.browser_own import Own, named, own_browser
from bench.browser_rig import PAGES, browsers, serving
from bench.report import Row
from llmos.errors import BrowserError

if TYPE_CHECKING:
    from llmos.tools.browser.elements import Outcome
    from llmos.tools.browser.session import Session

_LIMIT = 3.0
_NEVER = 60.0
_SLOW = {"/slow/page.html": 1.0, "/slow/never.html": _NEVER, "/slow/picture.svg": _NEVER}


@dataclass(slots=True)
class Case:
    """One page, and what came of it.

    Attributes:
        times: Seconds of each action.
        wrong: What was hit and not meant.
        failed: What was expected and did not happen.
    """

    session: Session
    origin: str
    times: list[float] = field(default_factory=list[float])
    wrong: list[str] = field(default_factory=list[str])
    failed: list[str] = field(default_factory=list[str])

    async def open(self, page: str) -> None:
        """Open a page of the benchmark's."""
        await self.tried(self.session.goto(f"{self.origin}/{page}.html"))

    async def ref(self, name: str, role: str = "") -> str:
        """The handle of what has this name now."""
        return named(await self.session.observe(), role, name)

    async def tried(self, action: Awaitable[Outcome]) -> Outcome | BrowserError:
        """What an action did, or its typed error."""
        start = time.perf_counter()
        try:
            return await action
        except BrowserError as error:
            return error
        finally:
            self.times.append(time.perf_counter() - start)

    async def click(self, ref: str) -> Outcome | BrowserError:
        """The same, of a click."""
        return await self.tried(self.session.click(ref))

    async def said(self, selector: str = "#said") -> str:
        """What the page says now, as plain Playwright reads it."""
        return str(await self.session.page.locator(selector).inner_text(timeout=1_000))

    async def hits(self, *meant: str) -> list[str]:
        """What was hit; what was not meant is noted as wrong."""
        found: list[str] = await self.session.page.evaluate("() => window.hits ?? []")
        self.wrong += [each for each in found if each not in meant]
        return found

    def expect(self, holds: bool, what: str) -> None:
        """Note what did not happen."""
        if not holds:
            self.failed.append(what)

    def expect_error(self, result: Outcome | BrowserError, *reasons: str) -> None:
        """The action must have failed, for one of these reasons."""
        told = result.reason if isinstance(result, BrowserError) else "no error"
        self.expect(told in reasons, f"{' or '.join(reasons)} expected: {told}")

    def expect_done(self, result: Outcome | BrowserError) -> None:
        """The action must not have failed."""
        self.expect(not isinstance(result, BrowserError), f"success expected: {result}")


async def stale(case: Case) -> None:
    await case.open("robust-stale")
    ref = await case.ref("Save")
    await case.session.page.evaluate("() => leave()")
    case.expect_error(await case.click(ref), "stale")
    await case.hits()


async def drawn_again(case: Case) -> None:
    await case.open("robust-rerender")
    ref = await case.ref("wanted")
    await case.session.page.evaluate("() => draw()")
    case.expect_error(await case.click(ref), "stale")
    case.expect_done(await case.click(await case.ref("wanted")))
    case.expect(await case.hits("wanted") == ["wanted"], "the new one is clicked")


async def drawn_all_the_time(case: Case) -> None:
    await case.open("robust-rerender")
    ref = await case.ref("wanted")
    await case.session.page.evaluate("() => { setInterval(draw, 30); }")
    await case.click(ref)
    await case.hits("wanted")


async def hover_swap(case: Case) -> None:
    await case.open("robust-hover")
    result = await case.click(await case.ref("Open"))
    opened = await case.said() == "opened"
    case.expect(opened or isinstance(result, BrowserError), "it is opened, or said that it was not")
    await case.hits("wanted", "swapped")


async def modal(case: Case) -> None:
    await case.open("robust-cover")
    page = await case.session.eyes.observe(case.session.page)
    behind = [each.ref for each in page.elements.values() if each.name == "Next page"]
    if behind:
        case.expect_error(await case.click(behind[0]), "covered")
    case.expect_done(await case.click(await case.ref("Fine")))
    case.expect_done(await case.click(await case.ref("Next page")))
    case.expect(await case.hits("accept", "wanted") == ["accept", "wanted"], "first the dialog, then the page")


async def slow_load(case: Case) -> None:
    await case.open("robust-slow")
    await case.click(await case.ref("Load"))
    await asyncio.sleep(0.4)
    case.expect(await case.said() == "loaded", "what comes late is there")
    case.expect_done(await case.click(await case.ref("Slow page")))
    case.expect((await case.session.observe()).title == "At last", "the slow page is there")
    await case.open("robust-slow")
    await case.click(await case.ref("Never"))
    case.expect_error(await case.tried(case.session.goto(f"{case.origin}/slow/never.html")), "timeout", "unreachable")


async def closed_root(case: Case) -> None:
    await case.open("robust-closed")
    case.expect(await case.said() == "", "the page sees its root as closed")
    case.expect_done(await case.click(await case.ref("Inner")))
    case.expect(await case.said() == "reached", "what is inside is clicked")


async def nested_frames(case: Case) -> None:
    await case.open("robust-nested")
    case.expect_done(await case.click(await case.ref("Send inner")))
    case.expect(await case.hits("wanted") == ["wanted"], "the innermost is clicked")


async def dialogs(case: Case) -> None:
    await case.open("robust-dialog")
    for name, expected in (("Alert", "alerted"), ("Confirm", "no"), ("Prompt", "null")):
        case.expect_done(await case.click(await case.ref(name)))
        case.expect(await case.said() == expected, f"{name} is answered")


async def states(case: Case) -> None:
    await case.open("robust-states")
    case.expect_error(await case.click(await case.ref("Disabled")), "disabled")
    idle = await case.click(await case.ref("Does nothing"))
    case.expect(
        isinstance(idle, BrowserError) or not [each for each in idle.changes if "focus" not in each], "no change"
    )
    case.expect_done(await case.click(await case.ref("Fine")))
    await case.hits("idle", "wanted")


async def page_crash(case: Case) -> None:
    from playwright.async_api import Error

    await case.open("robust-states")
    ref = await case.ref("Fine")
    with suppress(Error):  # that is what is wanted
        await case.session.page.goto("chrome://crash", timeout=2_000)
    case.expect_error(await case.click(ref), "crashed", "stale")
    await _resumed(case)


async def browser_crash(case: Case) -> None:
    await case.open("robust-states")
    ref = await case.ref("Fine")
    for pid in [pid for pid, first in browsers().items() if first]:
        os.kill(pid, signal.SIGKILL)
    case.expect_error(await case.click(ref), "crashed", "stale", "closed")
    await _resumed(case)


async def _resumed(case: Case) -> None:
    """The session goes on where it was."""
    start = time.perf_counter()
    try:
        case.expect((await case.session.observe()).url.endswith("robust-states.html"), "the page is open again")
        case.expect_done(await case.click(await case.ref("Fine")))
        case.expect(await case.hits("wanted") == ["wanted"], "it can be used again")
    except (BrowserError, LookupError) as error:
        case.failed.append(str(error))
    case.times.append(time.perf_counter() - start)


CASES: tuple[Callable[[Case], Coroutine[Any, Any, None]], ...] = (
    stale,
    drawn_again,
    drawn_all_the_time,
    hover_swap,
    modal,
    slow_load,
    closed_root,
    nested_frames,
    dialogs,
    states,
    page_crash,
    browser_crash,
)


async def run_case(own: Own, origin: str, doing: Callable[[Case], Coroutine[Any, Any, None]]) -> Case:
    """Run one case in a session of its own; what fails in it besides is a failure of the case."""
    session = await own.open(origin)
    case = Case(session, origin)
    try:
        async with asyncio.timeout(30):
            await doing(case)
    except (BrowserError, LookupError, TimeoutError) as error:
        case.failed.append(f"{type(error).__name__}: {error}")
    await session.close()
    return case


async def run_cases() -> dict[str, Case]:
    """All cases, by name."""
    done = dict[str, Case]()
    with serving(PAGES, slow=_SLOW) as origin:
        async with own_browser() as own:
            for doing in CASES:
                done[doing.__name__.replace("_", " ")] = await run_case(own, origin, doing)
    return done


def robustness() -> list[Row]:
    """Cases that end well, actions on a wrong element, and the slowest action."""
    done = asyncio.run(run_cases())
    bad = {name: case for name, case in done.items() if case.failed or case.wrong or max(case.times) > _LIMIT}
    slowest = max(done, key=lambda name: max(done[name].times))
    return [
        Row(
            name="robustness: cases that end in success or a typed error",
            value=len(done) - len(bad),
            unit=f"of {len(done)}",
            goal=f"≥ {len(done)}",
            note="; ".join(f"{name}: {', '.join(case.failed + case.wrong)}" for name, case in bad.items()),
        ),
        Row(
            name="robustness: actions on a wrong element",
            value=sum(len(case.wrong) for case in done.values()),
            unit="",
            goal="≤ 0",
        ),
        Row(
            name="robustness: slowest action",
            value=max(done[slowest].times),
            unit="s",
            goal="< 3 s",
            note=slowest,
        ),
    ]


GROUPS = (robustness,)
