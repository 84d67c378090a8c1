"""What a user has chosen on pages again and again is known as their preference, in the memory that the chat uses."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from pathlib import Path

import pytest

from llmos.browsing import Browse
from llmos.config import MemoryOptions, Settings
from llmos.runs import memory_of
from llmos.shell.browsing import run_browse
from tests.shell.helpers import script
from tests.tools.web_server import Server, serving

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), reason="there is no Chromium here"
)
BOOKING = """<!doctype html><title>Booking</title><h1>Your seat</h1>
<label>Name <input name="name"></label>
<fieldset><legend>Seat</legend><label><input type="radio" name="seat"> Window</label>
<label><input type="radio" name="seat"> Aisle</label></fieldset>
<label>Meal <select><option>None</option><option>Soup</option><option>Salad</option></select></label>
<label>Country <select autocomplete="country-name"><option>Norway</option><option>Spain</option></select></label>
<label>Gender <select><option>Female</option><option>Male</option></select></label>
<label>Seats <select><option>1</option><option>2</option></select></label>
<p id="said"></p>
<script>document.querySelector("h1").onclick = () => { said.textContent = "noted"; };</script>"""


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Server]:
    monkeypatch.setenv("LLMOS_HOME", str(tmp_path))
    with serving() as server:
        server.html("/", BOOKING)
        yield server


def book(page: Server, task: str, folder: Path) -> None:
    url = page.url("/")
    job = Browse(task=task, url=url, allow=(url.rstrip("/"),))
    assert run_browse(job, Settings(model=script(folder, "-"))) == 0


def known() -> dict[str, tuple[str, str]]:
    memory = memory_of(MemoryOptions())
    try:
        return {one.attribute: (one.value, one.strength) for one in memory.personal.facts()} if memory.exists else {}
    finally:
        memory.close()


def test_what_was_chosen_three_times_is_known_as_a_preference(page: Server, tmp_path: Path) -> None:
    task = (
        'Enter "Ann" as the name, choose “Window”, select “Soup” from Meal, select “Spain” from Country, select “Male”'
        " from Gender and select “2” from Seats"
    )
    book(page, task, tmp_path)
    book(page, task, tmp_path)
    assert known() == {}
    book(page, task, tmp_path)
    assert known() == {"seat": ("Window", "observed"), "meal": ("Soup", "observed")}
    memory = memory_of(MemoryOptions())
    told = memory.core("Book a seat", tokens=200)
    kept = [one.text for one in memory.store.items(memory.filter(current=None))]
    reasons = memory.personal.why("seat")
    memory.personal.forget("my seat")
    memory.close()
    assert known() == {"meal": ("Soup", "observed")}
    assert told is not None
    assert "Window" in told.text
    assert not [text for text in kept if any(word in text for word in ("Ann", "Spain", "Male", "2"))]
    assert {reason.source.partition(" ")[0] for reason in reasons} == {"run"}
    assert len(reasons) == 3
