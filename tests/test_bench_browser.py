"""The browser's benchmark itself: its servers, MiniWoB++'s episodes, its ground truth, and pages with other names."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import pytest_asyncio

from bench import browser_perturbed
from bench.browser_demonstrations import DEMONSTRATIONS
from bench.browser_handles import interactive
from bench.browser_rig import (
    PAGES,
    Verdict,
    address,
    begin,
    chromium,
    miniwob,
    plain_browser,
    plain_page,
    result,
    serving,
    taking_turns,
    task_names,
)
from bench.report import Skipped

if TYPE_CHECKING:
    from playwright.async_api import Page

BY_NAME = {each.task: each for each in DEMONSTRATIONS}


def there(find: Callable[[], object]) -> None:
    try:
        find()
    except Skipped as reason:
        pytest.skip(str(reason))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page() -> AsyncGenerator[Page]:
    there(chromium)
    async with plain_browser() as browser, plain_page(browser) as page:
        yield page


def got(url: str) -> str:
    return httpx.get(url, timeout=5, trust_env=False).text


def test_pages_are_served_rewritten_and_late(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<p>one</p>", encoding="utf-8")
    with serving(tmp_path, rewrite=lambda path, text: f"{path} {text}", slow={"/page.html?late": 0.2}) as origin:
        assert got(f"{origin}/page.html") == "/page.html <p>one</p>"
        start = time.monotonic()
        got(f"{origin}/page.html?late")
        assert time.monotonic() - start >= 0.2
    with pytest.raises(httpx.TransportError):
        got(f"{origin}/page.html")


def test_a_server_ends_although_somebody_waits_for_it(tmp_path: Path) -> None:
    with serving(tmp_path, slow={"/never": 3600}) as origin, pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{origin}/never", timeout=0.2, trust_env=False)


@pytest.mark.parametrize(
    ("done", "reward", "success"), [(True, 1.0, True), (True, 0.5, False), (True, -1.0, False), (False, 1.0, False)]
)
def test_only_the_full_reward_of_an_episode_that_is_done_is_success(done: bool, reward: float, success: bool) -> None:
    assert Verdict(done, reward).success is success


async def test_both_take_turns_and_the_first_run_of_each_does_not_count() -> None:
    order: list[str] = []

    async def ours() -> float:
        order.append("ours")
        return 100.0 if len(order) <= 2 else 2.0

    async def peers() -> float:
        order.append("peers")
        return 1.0

    pairs = await taking_turns(ours, peers, 3)
    assert order == ["ours", "peers", "ours", "peers", "peers", "ours", "ours", "peers"]
    assert pairs.ratio == 2.0


@pytest.mark.asyncio(loop_scope="module")
async def test_a_task_is_done_by_its_demonstration_and_by_nothing_else(page: Page) -> None:
    there(miniwob)
    with serving(miniwob()) as origin:
        await page.goto(address(origin, "enter-text"))
        words = await begin(page, 3)
        assert words == await begin(page, 3)
        assert words != await begin(page, 4)
        assert not (await result(page)).done
        await page.click("button:text-is('Submit')")
        assert await result(page) == Verdict(True, -1.0)
        await BY_NAME["enter-text"].carry_out(page, await begin(page, 5))
        assert (await result(page)).success


@pytest.mark.asyncio(loop_scope="module")
async def test_a_page_with_other_names_is_the_same_task(page: Page) -> None:
    there(miniwob)
    with serving(miniwob(), rewrite=browser_perturbed.rewrite) as origin:
        await page.goto(address(origin, "email-inbox-reply"))
        words = await begin(page, 7)
        await page.evaluate(browser_perturbed.SHUFFLE, 7)
        assert not await page.locator(".email-thread, #main").count()
        names = browser_perturbed.names_of("email-inbox-reply")
        await BY_NAME["email-inbox-reply"].carry_out(page, words, names)
        assert (await result(page)).success


def test_names_that_every_page_shares_are_not_changed() -> None:
    there(miniwob)
    names = browser_perturbed.names_of("click-tab")
    assert names.of("area") == "area"
    assert names.of("tabs-2") != "tabs-2"
    assert names.of("tabs-2").endswith("2")


@pytest.mark.asyncio(loop_scope="module")
async def test_the_ground_truth_knows_listeners_of_every_kind_and_leaves_out_what_is_not_seen(page: Page) -> None:
    there(miniwob)
    html = """<button>native</button><div id="one">listens</div><div id="two" onclick="1">property</div>
      <input type="hidden"><button style="display: none">hidden</button><p>text</p>
      <label>Name <input id="three"></label>
      <script>document.querySelector("#one").addEventListener("mousedown", () => 0)</script>"""
    await page.set_content(html)
    found = await interactive(page)
    assert sorted(each.shown for each in found) == [
        "<button>",
        "<div id='one'>",
        "<div id='two'>",
        "<input id='three'>",
    ]


def test_there_are_enough_tasks_and_each_is_one_of_miniwob() -> None:
    there(miniwob)
    assert len(task_names()) == 130
    assert len(BY_NAME) == len(DEMONSTRATIONS) >= 20
    assert set(BY_NAME) <= set(task_names())


def test_own_pages_need_nothing_from_outside() -> None:
    pages = list(PAGES.rglob("*.html"))
    assert pages
    assert not [path.name for path in pages if "http://" in (text := path.read_text()) or "https://" in text]
