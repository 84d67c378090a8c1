"""The browser: one Chromium process, or two if some sessions have windows, shared by any number of sessions.

    async with Browser() as browser:
        session = await browser.open(Options(downloads=folder))
        page = await session.goto("https://example.com")

A process that crashed is started again when one of its sessions needs it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

from llmos.errors import BrowserError, ConfigError
from llmos.tools.browser import failures, launching
from llmos.tools.browser.options import Options, Way
from llmos.tools.browser.session import Session

if TYPE_CHECKING:
    from playwright.async_api import Browser as Process
    from playwright.async_api import BrowserContext, HttpCredentials, Playwright, ProxySettings, StorageState

    from llmos.tools.browser.profiles import Profiles

_CLOSE_SECONDS = 10.0
_START_SECONDS = 20.0


class Browser:
    """Opens sessions. Belongs to the event loop that it is first used in.

    Args:
        executable: Path or name of a Chromium; empty finds one.
        profiles: Where profiles are kept; without them no session can have one.
        walled: Every session has a `way`, and whatever goes past it ends nowhere.
    """

    def __init__(self, *, executable: str = "", profiles: Profiles | None = None, walled: bool = True) -> None:
        self._executable = executable
        self._profiles = profiles
        self._walled = walled
        self._playwright: Playwright | None = None
        self._processes: dict[bool, Process] = {}
        self._sessions: dict[Session, contextlib.ExitStack] = {}
        self._lock = asyncio.Lock()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def sessions(self) -> tuple[Session, ...]:
        """Those that are open."""
        return tuple(self._sessions)

    async def open(self, options: Options, *, way: Way | None = None) -> Session:
        """A new session, with one empty tab.

        Args:
            options: How.
            way: To the network; ended with the session. A browser that is `walled` needs it.

        Raises:
            BrowserError: `missing`: there is no browser that starts; `closed`: this one is closed.
            ConfigError: The profile is in use, can't have this name, or there are none here.
            StorageError: The profile can't be read, or the folder for downloads can't be made.
        """
        if self._walled and way is None:
            raise ConfigError("A session was to be opened without a way to the network.", hint="Give it one.")
        with contextlib.ExitStack() as kept:
            state: StorageState | None = None
            if options.profile:
                if self._profiles is None:
                    raise ConfigError(f"There is no place for the profile {options.profile!r}.")
                kept.enter_context(self._profiles.used(options.profile))
                state = await asyncio.to_thread(self._profiles.load, options.profile)
            session = Session(self, options, way=way, state=state, left=self._left)
            await session.start()
            self._sessions[session] = kept.pop_all()
        return session

    async def close(self) -> None:
        """End all sessions and the browser. A second call does nothing."""
        from playwright.async_api import Error

        self._closed = True
        for session in tuple(self._sessions):
            await session.close()
        async with self._lock:
            processes, self._processes = self._processes, {}
            for process in processes.values():
                with contextlib.suppress(Error, TimeoutError):  # it is gone already
                    async with asyncio.timeout(_CLOSE_SECONDS):
                        await process.close()
            if self._playwright is not None:
                playwright, self._playwright = self._playwright, None
                await playwright.stop()

    # ---- What sessions ask for

    async def context(self, options: Options, way: Way | None, state: StorageState | None) -> BrowserContext:
        """A fresh context for a session.

        Raises:
            BrowserError: `missing`: there is no browser that starts; `closed`: it was closed.
        """
        from playwright.async_api import Error

        proxy: ProxySettings | None = None
        if way is not None:
            proxy = {"server": way.server}
            if (
                options.logins
            ):  # else `Context` shows them once: Playwright stops each request for them, and no cache is used
                proxy |= {"username": way.user, "password": way.password}
        logins: list[HttpCredentials] = [
            {"origin": one.origin, "username": one.user, "password": one.password} for one in options.logins
        ]
        width, height = options.viewport
        for attempt in (1, 2):
            process = await self._process(options.headed)
            try:
                context = await process.new_context(
                    viewport={"width": width, "height": height},
                    proxy=proxy,
                    storage_state=state,
                    http_credentials=logins or None,
                    accept_downloads=True,
                )
            except Error as error:
                if attempt == 1 and not process.is_connected():
                    continue  # it crashed since it was last used
                raise BrowserError(
                    f"A session could not be opened: {failures.first_line(error.message)}.", reason="missing"
                ) from error
            context.set_default_timeout(options.patience * 1000)
            return context
        raise AssertionError

    async def keep(self, profile: str, state: StorageState) -> None:
        """Keep what a profile remembers."""
        if self._profiles is not None:
            await asyncio.to_thread(self._profiles.save, profile, state)

    def _left(self, session: Session) -> None:
        if kept := self._sessions.pop(session, None):
            kept.close()

    async def _process(self, headed: bool) -> Process:
        """The process with or without windows, started if need be."""
        from playwright.async_api import async_playwright

        async with self._lock:
            if self._closed:
                raise BrowserError("The browser is closed.", reason="closed")
            process = self._processes.get(headed)
            if process is not None and process.is_connected():
                return process
            if self._playwright is None:
                async with asyncio.timeout(_START_SECONDS):
                    self._playwright = await async_playwright().start()
            executable = launching.find(self._executable)
            process = await launching.launch(self._playwright, executable, headed=headed, walled=self._walled)
            process.on("disconnected", lambda _: self._lost(headed))
            self._processes[headed] = process
            return process

    def _lost(self, headed: bool) -> None:
        for session in self._sessions:
            if session.options.headed == headed:
                session.lost()
