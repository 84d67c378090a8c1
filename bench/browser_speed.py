"""What a step costs without a model: the page as text and one action, against plain Playwright, paired.

A step of ours is an action that has checked its own effect, and the text of what it changed; the peer's is its snapshot
and an action by reference.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from bench.browser_own import named, own_session
from bench.browser_rig import PAGES, plain_browser, plain_page, serving, taking_turns
from bench.report import Row

if TYPE_CHECKING:
    from playwright.async_api import Page

    from llmos.tools.browser.session import Session

_REPEATS = 7


@dataclass(frozen=True, slots=True)
class Step:
    """One scripted action on what has this role and name."""

    kind: Literal["click", "fill", "select"]
    role: str
    name: str
    text: str = ""


SCRIPTS: dict[str, tuple[Step, ...]] = {
    "frames": (
        Step("fill", "textbox", "Full name", "Ada Lovelace"),
        Step("select", "combobox", "Country", "Chile"),
        Step("click", "checkbox", "Newsletter"),
        Step("click", "button", "Send details"),
    ),
    "table": (
        Step("fill", "textbox", "Filter", "Graz"),
        Step("click", "button", "Mark A-1007"),
        Step("click", "checkbox", "Select all"),
        Step("click", "button", "Mark A-1250"),
    ),
}


async def by_llmos(session: Session, url: str, script: Sequence[Step]) -> float:
    """Milliseconds a step."""
    from llmos.tools.browser.observation import difference

    await session.goto(url)
    observation = await session.observe()
    start = time.perf_counter()
    for step in script:
        ref = named(observation, step.role, step.name)
        if step.kind == "click":
            outcome = await session.click(ref)
        elif step.kind == "fill":
            outcome = await session.fill(ref, step.text)
        else:
            outcome = await session.select(ref, [step.text])
        difference(outcome.before, outcome.after)
        observation = outcome.after
    return 1000 * (time.perf_counter() - start) / len(script)


async def by_playwright(page: Page, url: str, script: Sequence[Step]) -> float:
    """Milliseconds a step."""
    await page.goto(url)
    await page.aria_snapshot(mode="ai")  # ours has looked once, too
    start = time.perf_counter()
    for step in script:
        snapshot = await page.aria_snapshot(mode="ai")
        found = re.search(rf'{step.role} "{re.escape(step.name)}".*?\[ref=(\w+)\]', snapshot)
        assert found is not None, f"{step} is not on the page"
        locator = page.locator(f"aria-ref={found[1]}")
        if step.kind == "click":
            await locator.click()
        elif step.kind == "fill":
            await locator.fill(step.text)
        else:
            await locator.select_option(step.text)
    return 1000 * (time.perf_counter() - start) / len(script)


def steps() -> list[Row]:
    """Four scripted actions on a page with frames, and on a table of 300 rows."""
    return asyncio.run(_steps())


async def _steps() -> list[Row]:
    rows = list[Row]()
    async with AsyncExitStack() as stack:
        origin = stack.enter_context(serving(PAGES))
        session = await stack.enter_async_context(own_session(origin))
        page = await stack.enter_async_context(plain_page(await stack.enter_async_context(plain_browser())))
        for name, script in SCRIPTS.items():
            url = f"{origin}/{name}.html"
            pairs = await taking_turns(
                partial(by_llmos, session, url, script), partial(by_playwright, page, url, script), _REPEATS
            )
            rows.append(pairs.row(f"a step without a model, {name}", "ms", "plain Playwright", "≤ 1.3×"))
    return rows


GROUPS = (steps,)
