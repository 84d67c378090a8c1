"""Which browser session belongs to which process: opened by it, closed by it, with the kernel, or when nobody uses it.

One browser and one proxy for each event loop, started with the first session and ended after the last. Each session
keeps evidence of its steps in its run's folder. Knows no tool.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from llmos.config import data_dir
from llmos.errors import BrowserError, LlmosError
from llmos.kernel.protocols import Access
from llmos.tools.browser import origins
from llmos.tools.browser.elements import Element, Observation, Outcome
from llmos.tools.browser.evidence import Evidence
from llmos.tools.browser.masking import Mask
from llmos.tools.browser.options import Options
from llmos.tools.browser.origins import Origin

if TYPE_CHECKING:
    from llmos.tools.browser.browser import Browser
    from llmos.tools.browser.proxy import Proxy
    from llmos.tools.browser.session import Session

IDLE_SECONDS = 600.0
"""A session that nobody uses for so long is closed."""

CHECK_SECONDS = 20.0
MAX_SESSIONS = 32
FOLDER = "browser"
DOWNLOADS = "downloads"
"""In a run's folder."""

_PAGES = ("http://", "https://")


@dataclass(eq=False)
class Held:
    """A session of one process.

    Attributes:
        session: The session.
        evidence: What is kept of its steps.
        allow: Origins it was opened to.
        mask: The secrets that were typed into it.
        handles: By reference of a field, the handle of the secret that was typed there.
        used: When it was used last, on the monotonic clock.
    """

    session: Session
    evidence: Evidence
    allow: frozenset[Origin]
    mask: Mask = field(default_factory=Mask)
    handles: dict[str, str] = field(default_factory=dict[str, str])
    used: float = field(default_factory=time.monotonic)
    busy: int = 0

    def origin(self, page: Observation) -> Origin | None:
        """The origin of a page; None for what has none."""
        return origins.origin_or_none(page.url)

    def origin_of(self, element: Element, page: Observation) -> str:
        """The origin of the document that an element was seen in; empty if it has none."""
        frame = self.session.eyes.frame(element.ref)
        found = (
            origins.origin_of_frame(frame) if frame is not None else origins.origin_or_none(element.frame or page.url)
        )
        return str(found) if found else ""

    def only_origin(self, page: Observation) -> str:
        """The origin of a page if nothing of any other is shown with it, tabs' titles too; else empty."""
        own = self.origin(page)
        if own is None:
            return ""
        try:
            frames = [frame for one in self.session.context.pages for frame in one.frames]
        except BrowserError:
            return ""
        return str(own) if all(origins.origin_of_frame(frame) == own for frame in frames) else ""

    async def keep(self, *, tool: str, title: str, outcome: Outcome | None, problem: str, seconds: float) -> None:
        """Keep a step with a picture of the page after it. What can't be kept is left out: the step was done."""
        page = outcome.after if outcome is not None else self.session.seen
        with contextlib.suppress(LlmosError):
            picture = self.evidence.picture(ending="jpg")
            with contextlib.suppress(LlmosError):
                await self.session.screenshot(picture)
            self.evidence.add(
                tool=tool,
                title=self.mask.text(title),
                url=self.mask.text(page.url) if page else "",
                page=self.mask.text(page.title) if page else "",
                changes=[self.mask.text(change) for change in (outcome.changes if outcome else ())],
                notices=[self.mask.text(notice) for notice in (page.notices if page else ())],
                problem=self.mask.text(problem),
                picture=picture,
                seconds=seconds,
            )

    async def close(self) -> None:
        """End the session; its trace is masked.

        Raises:
            StorageError: Its profile or trace can't be written.
        """
        try:
            await self.session.close()
        finally:
            trace = self.session.options.trace
            if trace is not None and trace.exists():
                await asyncio.to_thread(self.mask.trace, trace)


class Sessions:
    """The sessions of one event loop, by process."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}
        self._lock = asyncio.Lock()
        self._browser: Browser | None = None
        self._proxy: Proxy | None = None
        self._watching: asyncio.Task[None] | None = None

    def of(self, pid: str) -> Held:
        """The session of a process.

        Raises:
            BrowserError: `closed`: it has none.
        """
        held = self._held.get(pid)
        if held is None:
            raise BrowserError(
                "No browser is open here.", reason="closed", hint="Open one with browser_open; unused ones are closed."
            )
        held.used = time.monotonic()
        return held

    def peek(self, pid: str) -> Held | None:
        """The session of a process, if there is one; does not count as use."""
        return self._held.get(pid)

    async def open(self, access: Access, *, allow: Sequence[str], profile: str, headed: bool) -> Held:
        """A new session for the process of a call, in place of the one it has.

        Raises:
            BrowserError: `missing`: there is no browser that starts; `blocked`: what is allowed is no origin.
            ConfigError: The profile is in use, or can't have this name.
            StorageError: The folders can't be made.
        """
        async with self._lock:
            if (old := self._held.pop(access.pid, None)) is not None:
                await old.close()
            if len(self._held) >= MAX_SESSIONS:
                raise BrowserError(f"{MAX_SESSIONS} browsers are open already.", reason="busy", hint="Close one.")
            browser, proxy = await self._started()
            folder = access.folder / FOLDER / access.pid.replace("/", "_")
            evidence = Evidence(folder)
            options = Options(
                downloads=folder / DOWNLOADS,
                headed=headed,
                profile=profile,
                allow=tuple(allow),
                uploads=(access.workspace,),
                trace=_free(evidence.trace()),
            )
            wall = proxy.wall(allow)
            try:
                session = await browser.open(options, way=wall)
            except BaseException:
                await wall.close()
                raise
            held = Held(session, evidence, wall.allow)
            self._held[access.pid] = held
            if self._watching is None:
                self._watching = asyncio.create_task(self._watch(), name="idle browsers")
            return held

    async def close(self, pid: str) -> bool:
        """End the session of a process; says whether it had one.

        Raises:
            StorageError: Its profile or trace can't be written.
        """
        held = self._held.pop(pid, None)
        if held is None:
            return False
        await held.close()
        return True

    async def close_all(self) -> None:
        """End everything: sessions, browser, proxy."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
            self._watching = None
        async with self._lock:
            for pid in tuple(self._held):
                with contextlib.suppress(LlmosError):  # what could not be kept is no reason to leave others open
                    await self.close(pid)
            await self._end()

    async def _started(self) -> tuple[Browser, Proxy]:
        # a start of llmos that browses nowhere does not pay for these
        from llmos.tools.browser.browser import Browser
        from llmos.tools.browser.profiles import Profiles
        from llmos.tools.browser.proxy import Proxy

        if self._browser is None or self._proxy is None:
            proxy = Proxy()
            await proxy.start()
            self._proxy = proxy
            self._browser = Browser(profiles=Profiles(data_dir() / FOLDER))
        return self._browser, self._proxy

    async def _end(self) -> None:
        browser, self._browser = self._browser, None
        proxy, self._proxy = self._proxy, None
        if browser is not None:
            await browser.close()
        if proxy is not None:
            await proxy.close()

    async def _watch(self) -> None:
        """Close what nobody uses; ends with the last session."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            late = time.monotonic() - IDLE_SECONDS
            for pid in [pid for pid, held in self._held.items() if held.used < late and not held.busy]:
                with contextlib.suppress(LlmosError):  # as in close_all
                    await self.close(pid)
            async with self._lock:
                if not self._held:
                    self._watching = None
                    await self._end()
                    return


_OF_LOOPS: WeakKeyDictionary[asyncio.AbstractEventLoop, Sessions] = WeakKeyDictionary()


def here() -> Sessions:
    """The sessions of the running event loop."""
    return _OF_LOOPS.setdefault(asyncio.get_running_loop(), Sessions())


def peek(pid: str) -> Held | None:
    """The session of a process in whatever loop, as it was last seen: for what is shown to a person."""
    return next((held for sessions in _OF_LOOPS.values() if (held := sessions.peek(pid)) is not None), None)


def _free(file: Path) -> Path:
    """The name of a file that is not there yet: a run may open a browser more than once."""
    number = 1
    found = file
    while found.exists():
        number += 1
        found = file.with_stem(f"{file.stem}-{number}")
    return found
