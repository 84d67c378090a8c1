"""`llmos teach` and `llmos skill`: shown once in a real Chromium, kept, found, done again through the kernel's gate."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

from llmos import Kernel
from llmos.agents.operator import skills
from llmos.agents.operator.hands import Hands
from llmos.agents.operator.replaying import NotReplayed, replayed
from llmos.browsing import Browse, again, as_taught, taught_for
from llmos.config import MemoryOptions, load_settings
from llmos.engine.scripted import ScriptedEngine
from llmos.errors import ConfigError, Denied, NobodyThere
from llmos.kernel.calls import Approval, Reply
from llmos.kernel.process import Process
from llmos.runs import Parts, memory_of
from llmos.shell import cli_skills, teaching
from llmos.shell.cli import main, run_app
from llmos.shell.teaching import Lesson
from llmos.tools.registry import load_tools
from tests.tools.web_server import Server, serving

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), reason="there is no Chromium here"
)
TASK = "Order 2 packets of Assam"
SHOP = """<!doctype html><title>Shop</title><h1>Tea</h1>
<table>
<tr><td>Assam</td><td><input aria-label="Amount" type="number"></td><td><button class="a">Choose</button></td></tr>
<tr><td>Ceylon</td><td><input aria-label="Amount" type="number"></td><td><button class="b">Choose</button></td></tr>
</table><p id="said"></p>
<form action="/order" method="post"><input type="hidden" name="what" id="what"><button>Place order</button></form>
<script>for (const button of document.querySelectorAll("table button")) button.onclick = () => {
  const row = button.closest("tr");
  what.value = row.querySelector("input").value + " " + row.cells[0].textContent;
  said.textContent = "In the cart: " + what.value;
}</script>"""
CHANGED = """<!doctype html><title>Shop</title><h1>Our teas</h1>
<table>
<tr><td><button id="x1">Choose</button></td><td>Ceylon</td><td><input aria-label="Amount" type="number"></td></tr>
<tr><td><button id="x2">Choose</button></td><td>Darjeeling</td><td><input aria-label="Amount" type="number"></td></tr>
<tr><td><button id="x3">Choose</button></td><td>Assam</td><td><input aria-label="Amount" type="number"></td></tr>
</table><p id="said"></p>
<form action="/order" method="post"><input type="hidden" name="what" id="what"><button>Place your order</button></form>
<script>for (const button of document.querySelectorAll("table button")) button.onclick = () => {
  const row = button.closest("tr");
  what.value = row.querySelector("input").value + " " + row.cells[1].textContent;
  said.textContent = "In the cart: " + what.value;
}</script>"""


@dataclass
class Person:
    """Agrees or not, and remembers what was shown."""

    reply: Reply = "once"
    shown: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    answers: list[str] = field(default_factory=list[str])

    async def approve(self, approval: Approval, /) -> Reply:
        self.shown.append((approval.call.tool, approval.shown))
        return self.reply

    async def answer(self, pid: str, question: str, /) -> str:
        if not self.answers:
            raise NobodyThere("nobody is there")
        return self.answers.pop(0)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMOS_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def shop() -> Generator[Server]:
    with serving() as server:
        server.html("/", SHOP)
        server.html("/order", "<title>Thank you</title><h1>Thank you</h1>")
        yield server


def command(*arguments: str) -> int:
    """The commands, on a command line of their own."""
    app = typer.Typer()
    app.callback(invoke_without_command=True)(main)
    cli_skills.add_to(app)
    return run_app(list(arguments), app)


def origin(shop: Server) -> str:
    return shop.url("").rstrip("/")


async def order(page: Page) -> None:
    """Orders two packets of Assam, as a person would."""
    row = page.locator("tr", has_text="Assam")
    await row.locator("input").click()
    await page.keyboard.type("2")
    await row.locator("button").click()
    await page.get_by_text("Place order").click()
    await page.wait_for_url("**/order")


def teach(shop: Server, name: str = "order-tea") -> None:
    lesson = Lesson(name=name, task=TASK, url=shop.url("/"), allow=(origin(shop),), headed=False, yes=True)
    assert teaching.teach(lesson, load_settings(), showing=order) == 0


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The file that showing it leaves, with ORIGIN for the shop's."""
    with pytest.MonkeyPatch.context() as patch, serving() as server:
        patch.setenv("LLMOS_HOME", str(tmp_path_factory.mktemp("shown")))
        server.html("/", SHOP)
        server.html("/order", "<title>Thank you</title><h1>Thank you</h1>")
        teach(server)
        return skills.path_of("order-tea").read_text(encoding="utf-8").replace(origin(server), "ORIGIN")


def keep(shown: str, shop: Server) -> None:
    """As if it had been shown on this shop."""
    skills.save(skills.parse(shown.replace("ORIGIN", origin(shop)), "order-tea"))


def do(shop: Server, task: str, person: Person) -> dict[str, Any]:
    """Does the skill again, in a run of its own."""
    skill = skills.load("order-tea")

    async def work(process: Process, task: str, data: dict[str, Any]) -> dict[str, Any]:
        hands = Hands(process)
        opened = await hands.open(data["url"], allow=[origin(shop)])
        assert opened.ok, opened.text
        try:
            again = await replayed(process, hands, skills.read(data["skill"]), task)
        finally:
            await process.act("browser_close", {})
        healed = {
            str(number): skills.data_of(skills.mended(skill, again.healed))["steps"][number] for number in again.healed
        }
        return {"value": {"skill": skill.name, "healed": healed, "found": again.found, "at": hands.page.url}}

    async def run() -> dict[str, Any]:
        parts = Parts(tools=list(load_tools().values()), approver=person)
        async with Kernel(engine=ScriptedEngine([]), parts=parts) as kernel:
            job = again(Browse(task=task, allow=(origin(shop),)), skill)
            running = await kernel.spawn(work, task, job.inputs, words=job.words)
            result: dict[str, Any] = await running.result()
            return result

    return asyncio.run(run())


def ordered(shop: Server) -> list[str]:
    return [one.body.decode() for one in shop.asked if one.method == "POST"]


def test_what_was_shown_is_kept_in_a_file_and_in_memory_and_can_be_forgotten(
    home: Path, shop: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    teach(shop)
    assert "takes from the words: amount, name" in capsys.readouterr().out
    skill = skills.load("order-tea")
    assert skill.task == "Order {amount} packets of {name}"
    assert [step.does for step in skill.steps] == [
        "type “{amount}” into spinbutton “Amount” beside “{name}”",
        "click button “Choose” beside “{name}”",
        "click button “Place order”",
    ]
    assert skill.steps[2].expects == "opens /order"
    assert skills.path_of("order-tea").stat().st_mode & 0o077 == 0
    memory = memory_of(MemoryOptions())
    held = memory.store.items(memory.filter(kinds=("skill",)))
    assert [(one.source, one.metadata["skill"], one.label) for one in held] == [
        ("taught order-tea", "order-tea", "user")
    ]
    memory.close()
    found = taught_for("Order 7 packets of Ceylon", url=shop.url("/"))
    assert found is not None
    assert {name: said.text for name, said in found.fit.values.items()} == {"amount": "7", "name": "Ceylon"}
    job = Browse(task="Order 7 packets of Ceylon")
    assert as_taught(job, MemoryOptions()).skill["name"] == "order-tea"
    assert as_taught(Browse(task="Read the news"), MemoryOptions()) == Browse(task="Read the news")
    capsys.readouterr()
    assert command("skill", "list", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["steps"], row["problem"]) for row in listed] == [("order-tea", 3, "")]
    assert command("skill", "show", "order-tea") == 0
    assert "1. type “{amount}” into" in capsys.readouterr().out
    assert command("skill", "rm", "order-tea") == 0
    assert capsys.readouterr().out == "forgot order-tea\n"
    with pytest.raises(ConfigError, match="no taught skill"):
        command("skill", "rm", "order-tea")
    assert skills.names() == []
    memory = memory_of(MemoryOptions())
    assert memory.store.items(memory.filter(kinds=("skill",))) == []
    memory.close()


def test_it_is_done_again_with_other_values_and_asks_before_it_orders(home: Path, shop: Server, shown: str) -> None:
    keep(shown, shop)
    person = Person()
    told = do(shop, "Order 5 packets of Ceylon", person)
    assert ordered(shop) == ["what=5+Ceylon"]
    assert [tool for tool, _ in person.shown] == ["browser_commit"]
    assert "Place order" in person.shown[0][1]
    assert told["value"]["at"].endswith("/order")
    assert told["value"]["healed"] == {}


def test_where_nobody_agrees_nothing_is_ordered(home: Path, shop: Server, shown: str) -> None:
    keep(shown, shop)
    with pytest.raises(Denied):
        do(shop, "Order 5 packets of Ceylon", Person(reply="no"))
    assert ordered(shop) == []


def test_on_a_changed_page_it_finds_its_way_and_keeps_what_it_learned(home: Path, shop: Server, shown: str) -> None:
    keep(shown, shop)
    shop.html("/", CHANGED)
    told = do(shop, "Order 9 packets of Darjeeling", Person())
    assert ordered(shop) == ["what=9+Darjeeling"]
    assert told["value"]["found"][2] == "likeness"
    assert skills.keep_healed(told)
    assert skills.load("order-tea").steps[2].name == "Place your order"
    assert do(shop, "Order 1 packets of Assam", Person())["value"]["found"][2] == "name"


def test_what_the_words_do_not_say_is_asked_for(home: Path, shop: Server, shown: str) -> None:
    keep(shown, shop)
    do(shop, "order-tea", Person(answers=["4", "Ceylon"]))
    assert ordered(shop) == ["what=4+Ceylon"]
    with pytest.raises(NotReplayed, match="'amount'"):
        do(shop, "order-tea", Person())


def test_a_skill_is_not_done_on_another_origin(home: Path, shop: Server, shown: str) -> None:
    keep(shown, shop)
    with pytest.raises(ConfigError, match="not done on"):
        again(Browse(task=TASK, url="http://evil.test/"), skills.load("order-tea"))


def test_what_was_typed_counts_as_the_users_words_but_for_addresses() -> None:
    steps = tuple(
        skills.Step(action="fill", value=text) for text in ("Berlin", "a@b.example", "http://x.test", "{who}")
    )
    skill = skills.Skill(
        name="a", task="t", url="http://a.test/", steps=steps, parameters=(skills.Parameter(name="who"),)
    )
    job = again(Browse(task="do it"), skill)
    assert job.words == ("do it", "open http://a.test/", "Berlin")
    assert job.inputs["skill"]["name"] == "a"


def test_healed_steps_of_a_file_that_was_changed_or_removed_are_left_out(home: Path) -> None:
    healed = {"value": {"skill": "gone", "healed": {"0": {"action": "click"}}}}
    assert not skills.keep_healed(healed)
    skill = skills.Skill(name="gone", task="t", url="http://a.test/", steps=(skills.Step(action="click", name="A"),))
    skills.save(skill)
    assert not skills.keep_healed({"value": {"skill": "gone", "healed": {"7": {"action": "click"}}}})
    assert not skills.keep_healed({"value": {"skill": "gone", "healed": {"0": {"action": "fly"}}}})
    assert not skills.keep_healed({"value": None})
    assert skills.load("gone") == skill
