"""A task is shown once on the example shop, and `llmos browse` does it again: other values, a question, a report."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.browser_rig import SITES, serving
from llmos import Kernel
from llmos.config import load_settings
from llmos.engine.scripted import ScriptedEngine
from llmos.errors import Unverified
from llmos.runs import Parts
from llmos.shell import teaching
from llmos.shell.teaching import Lesson
from llmos.tools.registry import load_tools
from tests.shell.helpers import Terminal, llmos, script

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), reason="there is no Chromium here"
)
SHOWN = "Order 2 pieces of the Tide bowl for Ada Berg, bill to ada@post.example"
AGAIN = "Order 3 pieces of the River jug for Omar Lind, bill to omar@post.example"


class Shop:
    """The shop, on a server of its own."""

    def __init__(self, origin: str, asked: list[str]) -> None:
        self.origin, self.asked = origin, asked
        self.url = f"{origin}/shop/"

    @property
    def orders(self) -> int:
        """How many were placed: the page of thanks is asked for after each."""
        return sum(path.startswith("/shop/confirmation.html?order=") for path in self.asked)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Shop]:
    """The shop, and a home in which ordering there was shown."""
    monkeypatch.setenv("LLMOS_HOME", str(tmp_path))
    site = shutil.copytree(SITES, tmp_path / "sites")
    asked: list[str] = []
    with serving(site, asked=asked) as origin:
        shop = Shop(origin, asked)
        lesson = Lesson(name="order", task=SHOWN, url=shop.url, allow=(origin,), headed=False, yes=True)
        assert teaching.teach(lesson, load_settings(), showing=order) == 0
        assert shop.orders == 1  # it was ordered while it was shown
        asked.clear()
        yield shop


async def order(page: Page) -> None:
    """Orders two bowls, as a person would."""
    await page.get_by_text("Tide bowl").click()
    await page.locator("#quantity").fill("")
    await page.locator("#quantity").click()
    await page.keyboard.type("2")
    await page.get_by_text("Add to cart").click()
    await page.get_by_text("Go to checkout").click()
    for field, text in (
        ("name", "Ada Berg"), ("email", "ada@post.example"), ("street", "Kiln Lane 4"), ("postcode", "1010"),
        ("city", "Vienna"),
    ):  # fmt: skip
        await page.locator(f"#{field}").click()
        await page.keyboard.type(text)
    await page.get_by_text("Place order").click()
    await page.wait_for_url("**/confirmation.html?order=*")


def test_with_nobody_to_agree_it_is_filled_in_and_not_ordered(shop: Shop, tmp_path: Path) -> None:
    report = tmp_path / "report"
    done = llmos(
        tmp_path, "browse", AGAIN, "--allow", shop.origin, "--report", str(report), LLMOS_MODEL=script(tmp_path, "-")
    )
    told = done.stderr.decode()
    assert done.returncode == 1, told
    assert "as you showed it: order" in told
    assert shop.orders == 0
    assert "/shop/checkout.html" in shop.asked
    page = (report / "report.html").read_text("utf-8")
    assert "omar@post.example" in page
    assert "nobody was there" in page


def test_a_person_is_asked_before_it_orders_with_other_values(shop: Shop, tmp_path: Path) -> None:
    report = tmp_path / "report"
    terminal = Terminal(
        tmp_path, "browse", AGAIN, "--allow", shop.origin, "--report", str(report),
        columns=200, rows=80, LLMOS_MODEL=script(tmp_path, "-"),
    )  # fmt: skip
    try:
        terminal.expect("[no]:")
        assert shop.orders == 0
        terminal.send("once\r")
        assert terminal.wait() == 0, terminal.screen.text
    finally:
        terminal.close()
    assert shop.orders == 1
    page = (report / "report.html").read_text("utf-8")
    assert "/shop/confirmation.html?order=1001" in page
    assert "fill in textbox “Name”: Omar Lind" in page
    assert "total: €118.90" in page  # 3 × 38.00 and 4.90: it was part of the question
    assert page.count("data:image/jpeg;base64,") >= 10


async def test_a_program_has_it_done_as_it_was_shown_too(shop: Shop) -> None:
    parts = Parts(tools=list(load_tools().values()))
    async with Kernel(engine=ScriptedEngine("-"), parts=parts) as kernel:
        with pytest.raises(Unverified, match="nobody can answer"):
            await kernel.browse(AGAIN, allow=(shop.origin,))
    assert "/shop/checkout.html" in shop.asked
    assert shop.orders == 0
