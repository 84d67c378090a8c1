"""`llmos browse` and `Kernel.browse` on a page served here, in a real browser: answer, report, questions, usage."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Generator
from functools import partial
from pathlib import Path

import pytest
from pydantic import BaseModel

from llmos import Kernel
from llmos.browsing import Browse, questions_of
from llmos.errors import BrowserError, Unverified
from llmos.kernel.rows import Record
from llmos.runs import Parts
from llmos.shell.cli_browse import _pair  # pyright: ignore[reportPrivateUsage]
from llmos.tools.browser import launching
from tests.shell.helpers import llmos, script

PAGE = """<!doctype html><meta charset="utf-8"><title>Shop</title><h1>Lamp Alba</h1><p>Price: € 49.90</p>
<label>Name <input id="name"></label> <button id="hello">Say hello</button><p id="said"></p>
<button id="order">Place order</button>
<script>
document.getElementById("hello").onclick = () => {
  document.getElementById("said").textContent = "Hello " + document.getElementById("name").value;
};
document.getElementById("order").onclick = () => { document.getElementById("said").textContent = "ordered"; };
</script>"""


def _browser() -> bool:
    try:
        launching.find("")
    except BrowserError:
        return False
    return True


needs_browser = pytest.mark.skipif(not _browser(), reason="no Chromium here")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def origin(tmp_path: Path) -> Generator[str]:
    """A server with one page."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "index.html").write_text(PAGE, encoding="utf-8")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


@needs_browser
def test_the_answer_is_on_stdout_and_a_report_with_pictures_where_it_is_wanted(origin: str, tmp_path: Path) -> None:
    task = ('enter "Ann" as the name and click “Say hello”', "--url", origin, "--allow", origin)
    done = llmos(tmp_path, "browse", *task, "--report", str(tmp_path / "report"), LLMOS_MODEL=script(tmp_path, "Fine."))
    assert done.returncode == 0, done.stderr.decode()
    assert "click button “Say hello”" in done.stdout.decode()
    page = (tmp_path / "report" / "report.html").read_text("utf-8")
    assert "data:image/jpeg;base64," in page
    assert "Hello Ann" in page


@needs_browser
def test_what_can_not_be_taken_back_is_not_done_where_nobody_can_agree(origin: str, tmp_path: Path) -> None:
    done = llmos(
        tmp_path, "browse", "click “Place order”", "--url", origin, "--allow", origin, "--json",
        LLMOS_MODEL=script(tmp_path, "Fine."),
    )  # fmt: skip
    assert done.returncode == 1
    result = json.loads(done.stdout.decode().splitlines()[-1])
    assert result["output"]["outcome"] == "failed"
    assert "ordered" not in result["output"]["value"]["says"]
    assert "nobody was there" in Path(result["report"]).read_text("utf-8")


@needs_browser
def test_the_default_agent_opens_a_page_of_this_machine_only_if_somebody_agrees(origin: str, tmp_path: Path) -> None:
    words = f"Go to {origin}/index.html, there is a button named “Say hello”. Press it for me."
    done = llmos(tmp_path, "run", "--agent", "assistant", words, LLMOS_MODEL=script(tmp_path, "Fine."))
    assert done.returncode == 1
    assert "'browser_open' needs the user's permission" in done.stderr.decode()
    assert "I could not do it." in done.stdout.decode()


class Offer(BaseModel):
    price: float


@needs_browser
async def test_a_program_gets_a_model_with_the_place_of_each_field(origin: str, tmp_path: Path) -> None:
    async with Kernel.testing(parts=Parts(folder=tmp_path)) as kernel:
        found = await kernel.browse("click “Say hello”", url=origin, allow=(origin,), output=Offer)
        assert found.output == Offer(price=49.9)
        assert found.sources["price"]["place"] == "Price: € 49.90"
        assert found.report is not None
        assert found.report.is_file()
        with pytest.raises(Unverified, match="Archive"):
            await kernel.browse("click “Archive”", url=origin, allow=(origin,))


def test_what_is_given_on_the_command_line_is_the_users_own_words() -> None:
    job = Browse(task="log in", url="https://a.example", allow=("http://localhost:1",), values={"name": "Ann"})
    words = " ".join(job.words)
    assert all(part in words for part in ("log in", "https://a.example", "http://localhost:1", "name: Ann"))
    assert job.inputs["values"] == {"name": "Ann"}


def test_wrong_usage_is_explained(tmp_path: Path) -> None:
    assert llmos(tmp_path, "browse").returncode == 2
    assert llmos(tmp_path, "browse", "x", "--value", "noequals").returncode == 2
    assert llmos(tmp_path, "browse", "x", "--level", "L9").returncode == 2
    assert _pair("note=a=b") == ("note", "a=b")


def test_questions_are_read_from_the_journal() -> None:
    asked = {"verdict": "ask", "reason": "it can't be taken back", "user": "once"}
    arguments = json.dumps(["browser_commit", {"origin": "https://a.example", "values": {"Name": "Ann"}, "total": ""}])
    record = Record(
        path="1", number=1, kind="act", title="browser_commit", arguments=arguments, result="", started=0.0, ended=1.0,
        failed=False, decision=json.dumps(asked),
    )  # fmt: skip
    (question,) = questions_of([record])
    assert question.reply == "once"
    assert "Name: Ann" in question.shown
