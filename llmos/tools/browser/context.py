"""One browser context: its tabs, its downloads, how its pages were last seen, and how it comes back after a crash.

A page or a browser that crashed is opened again at its last address, with the cookies it had; references that were
given out before stay with what they stood for, and mean nothing else. Knows no action.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from llmos.errors import BrowserError
from llmos.tools.browser import failures, origins, settling
from llmos.tools.browser.downloads import DevTools, Downloads
from llmos.tools.browser.elements import Observation
from llmos.tools.browser.eyes import Eyes
from llmos.tools.browser.options import Ground, Options, Way
from llmos.tools.browser.proxy import HELLO
from llmos.tools.browser.settling import Deadline
from llmos.tools.browser.tabs import Tab, Tabs

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Page, StorageState

_CLOSE_SECONDS = 5.0
_LOOKS = 3
_LOST_SECONDS = 0.3
_BLANK = "about:blank"
_ADMIT_SECONDS = 5.0
_GREET = """(url) => fetch(url, { mode: "no-cors", credentials: "include", cache: "no-store" })
  .then(() => true, () => false)"""


class Context:
    """What a session has of the browser.

    Args:
        ground: Makes Playwright's contexts.
        options: How the session was opened.
        way: To the network; None is the machine's own.
        state: What the browser remembers from before.

    Attributes:
        tabs, downloads, eyes: Its parts. The eyes are there once it is started.
        seen: The tabs as they were last looked at, by number.
        notices: What happened since then, in sentences.
        secret: References of fields whose values are not shown.
        gone: The browser's process is gone.
    """

    eyes: Eyes

    def __init__(self, ground: Ground, options: Options, *, way: Way | None, state: StorageState | None) -> None:
        self._ground = ground
        self._options = options
        self._way = way
        self._state = state
        self._playwright: BrowserContext | None = None
        self._watched = False
        self.notices: list[str] = []
        self.tabs = Tabs(self.notices.append)
        self.downloads = Downloads(
            options.downloads,
            limit=options.download_limit,
            most=options.most_downloads,
            tell=self.notices.append,
        )
        self.seen: dict[int, Observation] = {}
        self.secret: set[str] = set()
        self.gone = False
        self.closed = False
        self._lost = asyncio.Event()

    @property
    def playwright(self) -> BrowserContext:
        """Playwright's; another one after a crash.

        Raises:
            BrowserError: `closed`: it is over.
        """
        if self._playwright is None:
            raise over()
        return self._playwright

    async def start(self) -> None:
        """Make it, with a first tab.

        Raises:
            BrowserError: `missing`: there is no browser that starts.
            StorageError: The folder for downloads can't be made.
        """
        await self._make()
        await self.new_tab()

    def lost(self) -> None:
        """The browser's process is gone."""
        if not self.closed:
            self.gone = True
            self._lost.set()
            for tab in self.tabs.all.values():
                tab.crashed = True
                tab.moved.set()

    def crash(self, tab: Tab) -> BrowserError | None:
        """The error that says so, if the browser or a tab has crashed."""
        if self.gone:
            return failures.crashed("The browser")
        return failures.crashed("The page") if tab.crashed else None

    async def tidy(self) -> None:
        """Take away tabs that were closed, unless the browser is gone and took them with it.

        That is known a moment after the tabs are.
        """
        closed = [tab.closed for tab in self.tabs.all.values()]
        if closed and all(closed) and not self.gone:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOST_SECONDS):
                    await self._lost.wait()
        if any(closed) and not self.gone:
            self.tabs.tidy()

    def refused(self) -> list[str]:
        """What the way to the network did not let through since this was last asked."""
        return [str(one) for one in self._way.blocked()] if self._way is not None else []

    async def look(self, *, seconds: float = 0.0) -> Observation:
        """The current tab as it is now; one that waits for an answer from a server, as it was last seen.

        Args:
            seconds: How long that may take; 0 is the session's patience.

        Raises:
            BrowserError: `crashed`, `closed`, `timeout`: it can't be seen.
        """
        await self.tidy()
        tab = self.tabs.current
        titles = await self.tabs.titles()
        self.notices += self.refused()
        # Chromium answers no questions about a document that it is about to leave
        seen = (
            self._last(tab)
            if tab.leaving is not None
            else await self._now(tab, titles, seconds or self._options.patience)
        )
        notices = (*seen.notices, *self.notices)
        self.notices.clear()
        seen = replace(self._masked(seen), tab=tab.number, tabs=titles | {tab.number: seen.title}, notices=notices)
        self.seen[tab.number] = seen
        return seen

    def _last(self, tab: Tab) -> Observation:
        seen = self.seen.get(tab.number)
        return replace(seen, notices=()) if seen else Observation(url=tab.address, title="", tab=tab.number)

    async def _now(self, tab: Tab, titles: dict[int, str], seconds: float) -> Observation:
        from playwright.async_api import Error

        try:
            async with asyncio.timeout(seconds):
                seen = await self._see(tab, titles)
        except TimeoutError as error:
            raise BrowserError(
                f"{tab.address!r} does not answer: its scripts are busy.",
                reason="timeout",
                hint="Wait, or go elsewhere.",
            ) from error
        except (Error, BrowserError) as error:
            if crash := self.crash(tab):
                raise crash from error
            if isinstance(error, BrowserError):
                raise
            raise failures.of_action(error.message, "The page") from error
        tab.title = seen.title
        return seen

    async def glance(self) -> Observation:
        """As `look`; of a tab that has shown nothing yet, that.

        Raises:
            BrowserError: As `look`.
        """
        tab = self.tabs.current
        if tab.address == _BLANK:
            return Observation(url=_BLANK, title="", tab=tab.number)
        return await self.look()

    async def new_tab(self, *, number: int = 0) -> Tab:
        """Open an empty tab, which is then the current one.

        Args:
            number: Of the tab whose place it takes; 0 for a new one.

        Raises:
            BrowserError: `crashed`, `closed`: it can't be opened.
        """
        from playwright.async_api import Error

        try:
            tab = await self.tabs.open(self.playwright, number=number)
            if not self._watched:
                self._watched = True
                await asyncio.gather(self._watch_downloads(tab.page), self.admit(tab.page))
        except Error as error:
            raise failures.of_action(error.message, "A new tab") from error
        return tab

    async def admit(self, page: Page) -> None:
        """Have the browser show its credentials to the proxy once: it keeps them for all that this context asks for.

        Raises:
            BrowserError: `missing`: it does not.
        """
        if self._way is None or self._options.logins:  # with those, Playwright answers
            return
        way = self._way
        session = await self.playwright.new_cdp_session(page)
        protocol = cast("DevTools", session)
        answers = set[asyncio.Future[Any]]()
        challenges: list[object] = []

        def answer(command: str, **given: object) -> None:
            answers.add(asyncio.ensure_future(protocol.send(command, given)))

        def go_on(event: dict[str, Any]) -> None:
            answer("Fetch.continueRequest", requestId=event["requestId"])

        def log_in(event: dict[str, Any]) -> None:
            asked = event["authChallenge"]
            challenges.append(asked)
            if len(challenges) == 1 and asked.get("source") == "Proxy" and asked["origin"] == way.server:
                login = {"response": "ProvideCredentials", "username": way.user, "password": way.password}
            else:
                login = {"response": "CancelAuth"}
            answer("Fetch.continueWithAuth", requestId=event["requestId"], authChallengeResponse=login)

        protocol.on("Fetch.requestPaused", go_on)
        protocol.on("Fetch.authRequired", log_in)
        try:
            async with asyncio.timeout(_ADMIT_SECONDS):
                await protocol.send("Fetch.enable", {"handleAuthRequests": True, "patterns": [{"urlPattern": HELLO}]})
                known = bool(await page.evaluate(_GREET, HELLO)) and len(challenges) == 1
                await asyncio.gather(*answers)
                await protocol.send("Fetch.disable", {})
                await session.detach()
        except TimeoutError:
            known = False
        if not known:
            raise BrowserError("The browser did not find its way to the network.", reason="missing", hint="Try again.")

    async def revive(self) -> None:
        """Bring back what crashed, at its last address.

        Raises:
            BrowserError: `closed`: it is over; `missing`: the browser does not start again.
        """
        if self.closed:
            raise over()
        await self.tidy()
        current = self.tabs.number
        if self.gone:
            gone = self.tabs.clear()
            self.seen.clear()
            await self._make()
            for tab in gone.values():
                await self._reopen(tab)
            if not gone:
                await self.new_tab()
            self.notices.append("The browser crashed and was started again.")
        else:
            for tab in [tab for tab in self.tabs.all.values() if tab.crashed]:
                self.seen.pop(tab.number, None)
                await self._reopen(tab)
                await _put_away(tab.page)
                self.notices.append(f"Tab {tab.number} crashed and was opened again.")
        self.tabs.back_on(current)

    async def remember(self, *, whole: bool) -> None:
        """Note what the browser remembers, for the profile and for the time after a crash.

        Args:
            whole: All of it; else its cookies only, which is quick.

        Raises:
            StorageError: The profile can't be written.
        """
        from playwright.async_api import Error

        if self._playwright is None or self.gone:
            return
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                if whole:
                    self._state = await self._playwright.storage_state(indexed_db=True)
                else:
                    cookies = await self._playwright.cookies()
                    self._state = _with_cookies(self._state, cookies)
        except (Error, TimeoutError):
            return  # it is crashing: what was noted before stands
        if whole and self._options.profile:
            await self._ground.keep(self._options.profile, self._state)

    async def close(self) -> None:
        """End it. The profile is kept, the trace is written. A second call does nothing.

        Raises:
            StorageError: The profile can't be written; it is ended nevertheless.
        """
        from playwright.async_api import Error

        if self.closed:
            return
        self.closed = True
        try:
            if self._options.profile and not self.gone:
                await self.remember(whole=True)
        finally:
            with contextlib.suppress(Error, TimeoutError):  # it crashed, or hangs: the browser ends it
                async with asyncio.timeout(_CLOSE_SECONDS):
                    if self._playwright is not None and not self.gone:
                        if self._options.trace is not None:
                            await self._playwright.tracing.stop(path=self._options.trace)
                        await self._playwright.close()
            self._playwright = None
            self.tabs.clear()
            self.downloads.close()
            if self._way is not None:
                await self._way.close()

    async def _make(self) -> None:
        context = await self._ground.context(self._options, self._way, self._state)
        if self._playwright is None:
            self.eyes = await Eyes.install(context)
        else:  # after a crash: references go on where they were, so that none stands for something else now
            await context.add_init_script(self.eyes.script)
        self._playwright = context
        self._watched = False
        self.gone = False
        self._lost.clear()
        self.tabs.listen(context)
        if self._options.trace is not None:
            await context.tracing.start(screenshots=True, snapshots=True)

    async def _see(self, tab: Tab, titles: dict[int, str]) -> Observation:
        """Look; a document that goes away meanwhile is followed by another."""
        for _ in range(_LOOKS - 1):
            try:
                return await self.eyes.observe(tab.page, tab=tab.number, tabs=titles)
            except BrowserError as error:
                if error.reason != "stale":
                    raise
            await settling.loaded(tab, Deadline(self._options.patience))
        return await self.eyes.observe(tab.page, tab=tab.number, tabs=titles)

    def _masked(self, seen: Observation) -> Observation:
        """Without the values of fields that hold secrets."""
        hidden = {
            ref: replace(element, value="", states=element.states | {"filled"})
            for ref in self.secret
            if (element := seen.elements.get(ref)) is not None and element.value
        }
        return replace(seen, elements={**seen.elements, **hidden}) if hidden else seen

    async def _watch_downloads(self, page: Page) -> None:
        asked = await self.playwright.new_cdp_session(page)
        about = await cast("DevTools", asked).send("Target.getTargetInfo")
        await asked.detach()
        browser = self.playwright.browser
        assert browser is not None
        protocol = cast("DevTools", await browser.new_browser_cdp_session())
        await self.downloads.watch(protocol, str(about["targetInfo"]["browserContextId"]))

    async def _reopen(self, tab: Tab) -> None:
        from playwright.async_api import Error

        new = await self.new_tab(number=tab.number)
        if origins.origin_or_none(tab.address) is None:
            return
        new.address = tab.address
        deadline = Deadline(self._options.patience)
        try:
            await new.page.goto(tab.address, wait_until="commit", timeout=deadline.left() * 1000)
        except Error as error:
            self.notices.append(failures.of_navigation(error.message, tab.address).message)
            return
        await settling.loaded(new, deadline)


def over() -> BrowserError:
    """The session was closed."""
    return BrowserError("This browser session is closed.", reason="closed", hint="Open another one.")


async def _put_away(page: Page) -> None:
    """Close a page that crashed, if it still can be."""
    from playwright.async_api import Error

    with contextlib.suppress(Error, TimeoutError):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await page.close()


def _with_cookies(state: StorageState | None, cookies: object) -> StorageState:
    return cast("StorageState", {**cast("dict[str, Any]", state or {}), "cookies": cookies})
