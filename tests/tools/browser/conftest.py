"""A real headless Chromium for each test module, fresh contexts and pages in it, and local sites to open.

All tests here run in the event loop of their module, as the browser does, so nothing has to be marked. `site` serves
pages from 127.0.0.1 with keep-alive; asked for as `localhost`, the same pages are another origin and another site.
Chromium takes a few hundred milliseconds to start, a context about 30, a page about 100.

    async def test_a_button_is_seen(show: Show, eyes: Eyes) -> None:
        page = await show("<button>Go</button>")              # or {"/": "…", "/frame": "…"}; opens "/"
        observation = await eyes.observe(page)
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncGenerator, Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest
import pytest_asyncio

from llmos.tools.browser.eyes import Eyes
from tests.tools.web_server import Server, serving

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, Page

HERE = Path(__file__).parent
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One loop for each module: the browser of a module lives in it."""
    for item in items:
        if item.path.is_relative_to(HERE) and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="module"), append=False)


class Show(Protocol):
    """Opens pages given as HTML: one for `/`, or several by path; returns the page that shows `/`."""

    async def __call__(self, pages: str | Mapping[str, str], /, path: str = "/") -> Page: ...


@pytest.fixture(scope="session")
def executable() -> str:
    """A Chromium of this machine; tests that need one are left out where there is none, but not by `.ci/run`."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    if os.environ.get("CI"):
        pytest.fail("There is no Chromium on this machine, and .ci/run tests the browser.")
    pytest.skip("there is no Chromium on this machine")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium(executable: str) -> AsyncGenerator[Browser]:
    """One Chromium for a module."""
    from playwright.async_api import async_playwright

    flags = ["--enable-blink-features=ComputedAccessibilityInfo", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=flags, timeout=30_000)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def context(chromium: Browser) -> AsyncGenerator[BrowserContext]:
    """A fresh context: no cookies, no pages; waits at most 5 s for anything."""
    context = await chromium.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(5_000)
    yield context
    await context.close()


@pytest_asyncio.fixture(loop_scope="module")
async def eyes(context: BrowserContext) -> Eyes:
    """The eyes of `context`; pages opened after them are seen."""
    return await Eyes.install(context)


@pytest.fixture
def site() -> Generator[Server]:
    """A local server: `site.html(path, body)` sets a page, `site.url(path, host="localhost")` names it."""
    with serving() as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def show(context: BrowserContext, eyes: Eyes, site: Server) -> Show:
    """Serves pages and opens the one at `path` in a new tab."""

    async def show(pages: str | Mapping[str, str], /, path: str = "/") -> Page:
        for where, html in ({"/": pages} if isinstance(pages, str) else pages).items():
            site.html(where, html if html.lstrip().startswith("<!") else f"<!doctype html>\n{html}")
        page = await context.new_page()
        await page.goto(site.url(path))
        return page

    return show
