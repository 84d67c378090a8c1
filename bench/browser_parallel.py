"""Contexts in parallel: episodes a second against the plain harness, and what each context weighs."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

from bench.browser_own import named, own_browser
from bench.browser_rig import (
    address,
    begin,
    miniwob,
    plain_browser,
    plain_page,
    proportional_set_size,
    result,
    serving,
    taking_turns,
)
from bench.report import Row

if TYPE_CHECKING:
    from playwright.async_api import Locator, Page

    from llmos.tools.browser.session import Session

_CONTEXTS = 4
_EPISODES = 6
_REPEATS = 5
_WEIGHED = 8


async def by_llmos(session: Session, origin: str, seed: int) -> bool:
    """One episode: open, look, type and press what the task names."""
    await session.goto(address(origin, "enter-text"))
    text = _asked(await begin(session.page, seed))
    observation = await session.observe()
    outcome = await session.fill(named(observation, "textbox", ""), text)
    await session.click(named(outcome.after, "button", "Submit"))
    return (await result(session.page)).success


async def by_playwright(page: Page, origin: str, seed: int) -> bool:
    """The same, with a snapshot before each action."""
    await page.goto(address(origin, "enter-text"))
    text = _asked(await begin(page, seed))
    await (await _seen(page, "textbox")).fill(text)
    await (await _seen(page, 'button "Submit"')).click()
    return (await result(page)).success


def _asked(utterance: str) -> str:
    return utterance.split('"')[1]


async def _seen(page: Page, what: str) -> Locator:
    """An element by the reference that the snapshot gives it."""
    snapshot = await page.aria_snapshot(mode="ai")
    found = re.search(rf"{what}.*?\[ref=(\w+)\]", snapshot)
    assert found is not None, snapshot
    return page.locator(f"aria-ref={found[1]}")


async def _seconds(sessions: Sequence[Session], pages: Sequence[Page], origin: str) -> float:
    """How long all episodes take that run at once, in the sessions or in the pages."""

    async def several(number: int) -> None:
        for seed in range(number * _EPISODES, (number + 1) * _EPISODES):
            if sessions:
                done = await by_llmos(sessions[number], origin, seed)
            else:
                done = await by_playwright(pages[number], origin, seed)
            assert done, f"seed {seed}"

    start = time.perf_counter()
    await asyncio.gather(*(several(number) for number in range(_CONTEXTS)))
    return time.perf_counter() - start


def parallel() -> list[Row]:
    """Four contexts at once, each with its own episodes."""
    return asyncio.run(_parallel())


async def _parallel() -> list[Row]:
    async with AsyncExitStack() as stack:
        origin = stack.enter_context(serving(miniwob()))
        own = await stack.enter_async_context(own_browser())
        sessions = [await own.open(origin) for _ in range(_CONTEXTS)]
        browser = await stack.enter_async_context(plain_browser())
        pages = [await stack.enter_async_context(plain_page(browser)) for _ in range(_CONTEXTS)]
        pairs = await taking_turns(
            partial(_seconds, sessions, [], origin), partial(_seconds, [], pages, origin), _REPEATS
        )
    episodes = _CONTEXTS * _EPISODES
    return [
        Row(
            name=f"episodes a second, {_CONTEXTS} contexts at once",
            value=episodes / sorted(pairs.ours)[_REPEATS // 2],
            unit="1/s",
            peer="plain Playwright",
            peer_value=episodes / sorted(pairs.peers)[_REPEATS // 2],
            ratio=1 / pairs.ratio,
            goal="≥ 0.8×",
        )
    ]


def memory() -> list[Row]:
    """What eight more contexts add to a browser that has one, each on a page."""
    return [asyncio.run(_memory())]


async def _memory() -> Row:
    with serving(miniwob()) as origin:
        async with own_browser() as own:
            await _settled_on(await own.open(origin), origin)
            before = proportional_set_size()
            for _ in range(_WEIGHED):
                await _settled_on(await own.open(origin), origin)
            after = proportional_set_size()
    return Row(
        name="memory of one more context",
        value=(after - before) / _WEIGHED,
        unit="MB",
        goal="≤ 80 MB",
        note=f"proportional set size of the browser's processes, {_WEIGHED} contexts more than one",
    )


async def _settled_on(session: Session, origin: str) -> None:
    await session.goto(address(origin, "email-inbox"))
    await begin(session.page, 1)
    await session.observe()
    await asyncio.sleep(0.3)


GROUPS = (parallel, memory)
