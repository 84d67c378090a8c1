"""Waits for what an action sets off: a new document, what its scripts fetch, the changes that they make.

Every wait ends when what it waits for is there, or at its bound; none sleeps for a fixed time. Knows no action.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmos.tools.browser import failures
from llmos.tools.browser.tabs import Tab, Tabs

if TYPE_CHECKING:
    from playwright.async_api import Frame, Request

FETCH_SECONDS = 1.0
"""How long fetches that an action began are waited for."""
WRITE_SECONDS = 0.1
"""How long a page is given to write down what it has fetched."""
LOAD_SECONDS = 1.0
"""How long a document that can be read already is given for its scripts and images."""
LATE_SECONDS = 0.3
"""How long a change is waited for where an action showed none: timers, animations."""
_SLACK = 0.5

_QUIET = """(limit) => new Promise((done) => {
  const end = performance.now() + limit;
  let changed = false;
  const watch = new MutationObserver(() => { changed = true; });
  watch.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
  // a window that is not shown paints no frames
  const frame = (go) => { let gone = false; const once = () => { if (!gone) { gone = true; go(); } };
    requestAnimationFrame(once); setTimeout(once, 40); };
  const look = () => {
    if (!changed || performance.now() >= end) { watch.disconnect(); done(true); return; }
    changed = false;
    frame(look);
  };
  // what frameworks put off until after an event is done in the next tasks
  setTimeout(() => setTimeout(look, 0), 0);
})"""

_CHANGE = """(limit) => new Promise((done) => {
  const end = (changed) => { watch.disconnect(); clearTimeout(timer); removeEventListener("scroll", moved, true);
    requestAnimationFrame(() => done(changed)); setTimeout(() => done(changed), 40); };
  const moved = () => end(true);
  const watch = new MutationObserver(moved);
  const timer = setTimeout(() => end(false), limit);
  addEventListener("scroll", moved, true);
  watch.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
})"""

_EMPTY = """() => !document.body
  || (!document.body.innerText.trim() && !document.querySelector("input,button,canvas,svg,img,iframe"))"""


@dataclass(frozen=True, slots=True)
class Before:
    """How a tab was before an action.

    Attributes:
        documents: How often it had moved.
        asked: How often its documents had begun to fetch something.
        fetches: What they fetched then; that is not waited for.
    """

    documents: int
    asked: int
    fetches: frozenset[Request]

    @classmethod
    def of(cls, tab: Tab) -> Before:
        """How it is now."""
        return cls(tab.documents, tab.asked, frozenset(tab.fetches))

    def moved(self, tab: Tab) -> bool:
        """It has another document since, or will have."""
        return tab.leaving is not None or tab.documents != self.documents


class Deadline:
    """A point in time that the steps of one action share.

    Args:
        seconds: From now.
    """

    def __init__(self, seconds: float) -> None:
        self._end = asyncio.get_running_loop().time() + seconds

    def left(self, most: float = float("inf")) -> float:
        """Seconds until then, at least a little, at most so many."""
        return max(0.01, min(most, self._end - asyncio.get_running_loop().time()))

    @property
    def passed(self) -> bool:
        """It is over."""
        return asyncio.get_running_loop().time() >= self._end


async def after_action(tabs: Tabs, tab: Tab, before: Before, frame: Frame, deadline: Deadline) -> None:
    """Wait until what an action set off has come to rest.

    Args:
        tabs: Of the session.
        tab: Where it was done.
        before: How that was before.
        frame: The frame it was done in.
        deadline: When to stop waiting.
    """
    if not before.moved(tab):
        await quiet(frame)
    await fetched(tab, before.fetches, deadline)
    if tab.asked != before.asked and not before.moved(tab):
        await change(frame, deadline.left(WRITE_SECONDS))
        await quiet(frame)
    while tabs.coming and not tab.crashed and not deadline.passed:
        await _moved(tab, deadline)
    now = tabs.current
    if now is not tab:
        await loaded(now, deadline)
    elif before.moved(tab):
        await arrival(tab, deadline)


async def arrival(tab: Tab, deadline: Deadline) -> bool:
    """Wait for a document that is on its way; whether it is there and can be read."""
    while tab.leaving is not None and not tab.crashed:
        if not await _moved(tab, deadline):
            return False
    return await loaded(tab, deadline)


async def loaded(tab: Tab, deadline: Deadline) -> bool:
    """Wait until a document can be read, and a little longer for its scripts; whether it can be read."""
    from playwright.async_api import Error

    try:
        await tab.page.wait_for_load_state("domcontentloaded", timeout=deadline.left() * 1000)
    except Error:
        return False
    with contextlib.suppress(Error):  # images and the like may take longer
        await tab.page.wait_for_load_state("load", timeout=deadline.left(LOAD_SECONDS) * 1000)
    await quiet(tab.page.main_frame)
    with contextlib.suppress(Error, TimeoutError):  # busy scripts: what is there is looked at
        while not deadline.passed and not tab.crashed:
            async with asyncio.timeout(deadline.left(_SLACK)):
                if not await tab.page.main_frame.evaluate(_EMPTY):
                    break
            # scripts have not written the page yet
            if not await change(tab.page.main_frame, deadline.left(LATE_SECONDS)) and not tab.fetches:
                break
    return True


async def fetched(tab: Tab, earlier: frozenset[Request], deadline: Deadline) -> None:
    """Wait for fetches that were begun meanwhile."""
    end = Deadline(deadline.left(FETCH_SECONDS))
    while tab.fetches - earlier and tab.leaving is None and not tab.crashed and not end.passed:
        await _moved(tab, end)


async def quiet(frame: Frame, *, most: float = 0.1) -> None:
    """Wait until scripts have done what they put off, and while they change the document, at most so many seconds."""
    from playwright.async_api import Error

    try:
        async with asyncio.timeout(most + _SLACK):
            await frame.evaluate(_QUIET, most * 1000)
    except TimeoutError:
        return  # its scripts are busy: what is there is looked at
    except Error as error:
        if not failures.is_gone(error.message) and not failures.is_closed(error.message):
            raise
        # the document went away: another comes


async def change(frame: Frame, seconds: float) -> bool:
    """Wait for any change of a document, at most so long; whether there was one."""
    from playwright.async_api import Error

    try:
        async with asyncio.timeout(seconds + _SLACK):
            return bool(await frame.evaluate(_CHANGE, seconds * 1000))
    except TimeoutError:
        return False
    except Error as error:
        if not failures.is_gone(error.message) and not failures.is_closed(error.message):
            raise
        return True


async def _moved(tab: Tab, deadline: Deadline) -> bool:
    """Wait until anything is heard of a tab; whether there was, in time."""
    tab.moved.clear()
    try:
        async with asyncio.timeout(deadline.left()):
            await tab.moved.wait()
    except TimeoutError:
        return False
    return True
