"""Sessions on pages that a test serves, and how to find things on them by name."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from llmos.errors import BrowserError
from llmos.tools.browser.browser import Browser
from llmos.tools.browser.elements import Observation
from llmos.tools.browser.options import Options
from llmos.tools.browser.profiles import Profiles
from llmos.tools.browser.session import Session
from tests.tools.web_server import Server, serving

BOUND = 20.0
"""Seconds in which an action has worked or failed, however busy the machine is."""


@dataclass
class Surf:
    """A browser, a site, how sessions are opened, and one that is kept for pages that need no other."""

    browser: Browser
    site: Server
    options: Options
    kept: Session

    async def open(self, **changed: Any) -> Session:  # noqa: ANN401
        """Another session."""
        return await self.browser.open(replace(self.options, **changed))

    async def show(self, html: str, **changed: Any) -> Session:  # noqa: ANN401
        """A session that shows a page: the one that is kept, without other options."""
        self.site.html("/", f"<!doctype html><title>Page</title>{html}")
        session = await self.open(**changed) if changed else self.kept
        await session.goto(self.site.url("/"))
        return session

    async def end(self) -> None:
        """Close the sessions that a test has opened."""
        for session in self.browser.sessions:
            if session is not self.kept:
                await session.close()


@contextlib.asynccontextmanager
async def surfing(executable: str, folder: Path) -> AsyncGenerator[Surf]:
    """A browser for the tests of a module, which may go to local sites directly."""
    profiles = Profiles(folder / "profiles", vault=None)
    async with Browser(executable=executable, profiles=profiles, walled=False) as browser:
        with serving() as site:
            allow = (site.url("").rstrip("/"), site.url("", host="localhost").rstrip("/"))
            options = Options(downloads=folder / "downloads", allow=allow)
            yield Surf(browser, site, options, await browser.open(options))


def ref(page: Session | Observation, name: str, role: str = "") -> str:
    """The reference of the element with this name, which there must be once."""
    seen = page.seen if isinstance(page, Session) else page
    assert seen is not None
    found = [
        one.ref for one in seen.elements.values() if name in (one.name, one.label) and (not role or one.role == role)
    ]
    assert len(found) == 1, f"{name!r} is there {len(found)} times among {[one.name for one in seen.elements.values()]}"
    return found[0]


async def refused(action: Awaitable[object]) -> BrowserError:
    """The error that an action ends in, which comes in time."""
    with pytest.raises(BrowserError) as caught:
        async with asyncio.timeout(BOUND):
            await action
    return caught.value


async def value_of(session: Session, expression: str) -> object:
    """What an expression is on the page, to look behind what a session says."""
    return await session.page.evaluate(expression)
