"""The tabs of one browser context: which there are, which is current, and what comes up on them by itself.

Dialogs, file pickers, new windows, crashes and requests that are under way are heard of here. Knows no element and no
action: `session` asks it what happened meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmos.errors import BrowserError

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Dialog, FileChooser, Frame, Page, Request

MOST_TABS = 20
_SHOWN = 300
_TITLE_SECONDS = 0.5
_AWAITED = ("fetch", "xhr")


@dataclass(eq=False, slots=True)
class Tab:
    """One tab.

    Attributes:
        page: Playwright's.
        number: From 1; never given to another.
        address: The last one that it showed.
        title: The last one that was seen.
        crashed: Its process died.
        closed: It was closed, or its browser is gone; `Tabs.tidy` takes it away in the one case.
        leaving: A navigation of the whole tab is under way.
        documents: How often it has moved to another address.
        fetches: What its documents fetch now.
        asked: How often they have begun to fetch something.
        moved: Set when any of this changes.
    """

    page: Page
    number: int
    address: str = ""
    title: str = ""
    crashed: bool = False
    closed: bool = False
    leaving: Request | None = None
    documents: int = 0
    fetches: set[Request] = field(default_factory=set["Request"])
    asked: int = 0
    moved: asyncio.Event = field(default_factory=asyncio.Event)


class Tabs:
    """The tabs of a session.

    Args:
        tell: Is given what happened, in sentences.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._tabs: dict[int, Tab] = {}
        self._current = 0
        self._last = 0
        self.paused = False
        """A person has the browser: dialogs and file pickers are theirs."""
        self.accept: str | None = None
        """How the next dialog is answered: None dismisses it, a text accepts it, with that for a prompt."""
        self.dialogs = 0
        """How many have come."""
        self._opening: list[Page] | None = None
        self.coming: set[Request] = set()
        """What is on its way into tabs that are about to open."""

    @property
    def current(self) -> Tab:
        """The one that is acted on.

        Raises:
            BrowserError: `closed`: there is none.
        """
        if self._current not in self._tabs:
            raise BrowserError("Every tab of this session is closed.", reason="closed", hint="Go to an address.")
        return self._tabs[self._current]

    @property
    def number(self) -> int:
        """Of the current one; 0 if there is none."""
        return self._current

    @property
    def all(self) -> Mapping[int, Tab]:
        """By number."""
        return self._tabs

    def listen(self, context: BrowserContext) -> None:
        """Hear of what happens in a context."""
        self.coming.clear()
        context.on("page", self._popped_up)
        context.on("dialog", self._dialog)
        context.on("request", self._requested)
        context.on("requestfinished", self._ended)
        context.on("requestfailed", self._ended)

    async def open(self, context: BrowserContext, *, number: int = 0) -> Tab:
        """Open an empty tab, which is then the current one.

        Args:
            context: Where.
            number: Of the tab whose place it takes; 0 for a new one.
        """
        self._opening = []
        try:
            page = await context.new_page()
        finally:
            others, self._opening = self._opening, None
        tab = self._add(page, number)
        for other in others:
            if other is not page:
                self._popped_up(other)
        return tab

    def _add(self, page: Page, number: int = 0) -> Tab:
        if not number:
            self._last += 1
            number = self._last
        tab = Tab(page, number, address=page.url)
        self._tabs[number] = tab
        self._current = number
        self._listen_to(tab)
        return tab

    def switch(self, number: int) -> Tab:
        """Make a tab the current one.

        Raises:
            BrowserError: `closed`: there is no such tab.
        """
        if number not in self._tabs:
            there = ", ".join(map(str, self._tabs)) or "none"
            raise BrowserError(f"There is no tab {number}.", reason="closed", hint=f"There are: {there}.")
        self._current = number
        return self._tabs[number]

    def clear(self) -> dict[int, Tab]:
        """Forget all tabs, of a browser that is gone; what they were."""
        gone = dict(self._tabs)
        self._tabs.clear()
        return gone

    def tidy(self) -> None:
        """Take away tabs that were closed. Not where the browser is gone, which closes them as well."""
        for number in [number for number, tab in self._tabs.items() if tab.closed]:
            del self._tabs[number]
            now = ""
            if self._current == number:
                self._current = max(self._tabs, default=0)
                now = f" Tab {self._current} is the current one now." if self._current else ""
            self._tell(f"Tab {number} was closed.{now}")

    def back_on(self, number: int) -> None:
        """Make a tab the current one, if it is there."""
        self._current = number if number in self._tabs else max(self._tabs, default=0)

    def hand_over(self) -> None:
        """Dialogs and file pickers are a person's from now on."""
        self.paused = True
        for tab in self._tabs.values():
            # without a listener the browser shows its own picker
            tab.page.remove_listener("filechooser", self._chooser)

    def take_back(self) -> None:
        """They are answered here again."""
        if self.paused:
            self.paused = False
            for tab in self._tabs.values():
                tab.page.on("filechooser", self._chooser)

    async def titles(self) -> dict[int, str]:
        """Titles of all tabs, by number; of one that does not answer, its address."""
        unknown = [tab for tab in self._tabs.values() if not tab.title and tab.number != self._current]
        await asyncio.gather(*map(_ask_title, unknown))
        return {number: tab.title or tab.address for number, tab in sorted(self._tabs.items())}

    def _popped_up(self, page: Page) -> None:
        if self._opening is not None:  # the one that was asked for, or one that came at the same time
            self._opening.append(page)
            return
        if len(self._tabs) >= MOST_TABS:
            self._tell(f"A new tab was closed at once: {MOST_TABS} are open.")
            task = asyncio.ensure_future(page.close())
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            return
        self.coming.clear()
        opener = self._tabs.get(self._current)
        tab = self._add(page)
        if opener is not None:
            opener.moved.set()
        self._tell(f"A new tab opened: {tab.number}. It is the current one now.")

    def _listen_to(self, tab: Tab) -> None:
        page = tab.page
        page.on("close", lambda _: self._closed(tab))
        page.on("crash", lambda _: self._crashed(tab))
        page.on("framenavigated", lambda frame: self._navigated(tab, frame))
        if not self.paused:
            page.on("filechooser", self._chooser)

    def _closed(self, tab: Tab) -> None:
        tab.closed = True
        tab.leaving = None
        tab.fetches.clear()
        tab.moved.set()

    def _crashed(self, tab: Tab) -> None:
        tab.crashed = True
        tab.leaving = None
        tab.fetches.clear()
        tab.moved.set()

    def _navigated(self, tab: Tab, frame: Frame) -> None:
        if frame.parent_frame is not None:
            return
        tab.address = frame.url
        tab.title = ""
        tab.leaving = None
        tab.documents += 1
        tab.moved.set()

    def _requested(self, request: Request) -> None:
        leads = request.is_navigation_request()
        if not leads and request.resource_type not in _AWAITED:
            return
        frame = _frame_of(request)
        if frame is None:
            if leads:
                self.coming.add(request)
            return
        tab = self._tab_of(frame.page)
        if tab is None:
            return
        if not leads:
            tab.fetches.add(request)
            tab.asked += 1
        elif frame.parent_frame is None:
            tab.leaving = request
            tab.fetches.clear()
            tab.moved.set()

    def _ended(self, request: Request) -> None:
        """An answer is complete, or there is none."""
        self.coming.discard(request)
        for tab in self._tabs.values():
            if request in tab.fetches:
                tab.fetches.discard(request)
                tab.moved.set()
            if tab.leaving is request:
                tab.leaving = None
                tab.moved.set()

    def _tab_of(self, page: Page) -> Tab | None:
        return next((tab for tab in self._tabs.values() if tab.page is page), None)

    def _chooser(self, _: FileChooser) -> None:
        self._tell("A file picker came up: fill what opened it with the path of a file that may be uploaded.")

    async def _dialog(self, dialog: Dialog) -> None:
        """Answer a dialog at once: the page stands still until then."""
        from playwright.async_api import Error

        self.dialogs += 1
        if self.paused:
            return
        accept, self.accept = self.accept, None
        kind = "question whether to leave the page" if dialog.type == "beforeunload" else dialog.type
        said = f": {dialog.message[:_SHOWN]!r}" if dialog.message else ""
        try:
            if accept is None:
                await dialog.dismiss()
            elif dialog.type == "prompt":
                await dialog.accept(accept or dialog.default_value)
            else:
                await dialog.accept()
        except Error:  # the page is gone, and the dialog with it
            return
        if dialog.type == "alert":
            self._tell(f"A dialog came (alert){said}. It was closed.")
        else:
            self._tell(f"A dialog came ({kind}){said}. It was {'dismissed' if accept is None else 'accepted'}.")


async def _ask_title(tab: Tab) -> None:
    from playwright.async_api import Error

    try:
        async with asyncio.timeout(_TITLE_SECONDS):
            tab.title = await tab.page.title()
    except (Error, TimeoutError):
        pass  # its page is busy or gone: the address stands for it


def _frame_of(request: Request) -> Frame | None:
    """The frame that asked; None for a service worker, and for a tab that is about to open."""
    from playwright.async_api import Error

    try:
        return request.frame
    except Error:
        return None
