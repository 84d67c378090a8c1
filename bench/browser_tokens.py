"""How many tokens a page is to the embedded model: eight varied pages, at the default budget.

The peer is Playwright's own snapshot, which no mode bounds.
"""

from __future__ import annotations

import asyncio
import statistics
from contextlib import ExitStack
from dataclasses import dataclass

from bench.browser_rig import PAGES, address, begin, chromium, miniwob, serving
from bench.report import Row
from llmos.tools.browser.launching import launch

_OWN = ("table", "article", "frames", "modals")
_TASKS = ("book-flight", "email-inbox", "search-engine", "social-media-all")


@dataclass(frozen=True, slots=True)
class Texts:
    """One page, as llmos writes it down for a model and as Playwright does."""

    page: str
    ours: str
    plain: str


async def read() -> list[Texts]:
    """The eight pages, each as it is when it has just been opened."""
    from playwright.async_api import async_playwright

    from llmos.tools.browser.eyes import Eyes
    from llmos.tools.browser.observation import write

    path, texts = chromium(), list[Texts]()
    with ExitStack() as stack:
        own, tasks = stack.enter_context(serving(PAGES)), stack.enter_context(serving(miniwob()))
        places = {name: f"{own}/{name}.html" for name in _OWN} | {name: address(tasks, name) for name in _TASKS}
        async with async_playwright() as playwright:
            browser = await launch(playwright, path, headed=False, walled=False)
            context = await browser.new_context(viewport={"width": 1280, "height": 800})
            eyes = await Eyes.install(context)
            for name, url in places.items():
                page = await context.new_page()
                await page.goto(url)
                if name in _TASKS:
                    await begin(page, 1)
                ours = write(await eyes.observe(page))
                texts.append(Texts(name, ours, await page.aria_snapshot(mode="ai")))
                await page.close()
            await browser.close()
    return texts


def tokens() -> list[Row]:
    """Median and maximum of the tokens of a page."""
    from bench.rig import shipped
    from llmos.engine.llama.binding import Model

    texts = asyncio.run(read())
    model = Model(shipped())
    ours, plain = (
        {text.page: len(model.tokenize(getattr(text, side).encode(), special=False)) for text in texts}
        for side in ("ours", "plain")
    )
    model.close()
    rows = list[Row]()
    for name, of, goal in (("median", statistics.median, "≤ 500"), ("maximum", max, "≤ 1500")):
        rows.append(
            Row(
                name=f"tokens of a page, {name} of {len(texts)}",
                value=of(ours.values()),
                unit="tokens",
                peer="Playwright's snapshot",
                peer_value=of(plain.values()),
                goal=goal,
                note=", ".join(f"{page} {count:,}" for page, count in ours.items()),
            )
        )
    return rows


GROUPS = (tokens,)
