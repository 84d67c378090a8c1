"""What a run leaves behind can be read, holds its pictures itself, and can't be turned against its reader."""

from __future__ import annotations

import base64
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from llmos.errors import StorageError
from llmos.tools.browser import evidence
from llmos.tools.browser.evidence import Account, Evidence, Question, steps_in, write_report

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class Reader(HTMLParser):
    """Tags, addresses and texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.said: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def two_steps(folder: Path) -> Evidence:
    kept = Evidence(folder)
    picture = kept.picture()
    picture.write_bytes(PIXEL)
    kept.add(
        tool="browser_open", title="open https://a.example", url="https://a.example", picture=picture, seconds=0.25
    )
    kept.add(tool="browser_click", title="click button “Buy”", problem="<div> lies over it", notices=("a dialog",))
    return kept


def test_steps_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    two_steps(tmp_path)
    first, second = steps_in(tmp_path)
    assert (first.number, first.picture, first.seconds) == (1, "001.png", 0.25)
    assert (second.number, second.picture, second.problem) == (2, "", "<div> lies over it")


def test_a_run_that_goes_on_keeps_its_steps_and_a_cut_line_is_left_out(tmp_path: Path) -> None:
    two_steps(tmp_path)
    with (tmp_path / evidence.STEPS).open("a", encoding="utf-8") as file:
        file.write('{"number": 3, "tool": "brow')
    assert [one.number for one in steps_in(tmp_path)] == [1, 2]


def test_a_step_survives_a_kill_right_after_it(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom llmos.tools.browser.evidence import Evidence\n"
        "Evidence(Path(sys.argv[1])).add(tool='browser_click', title='click')\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, timeout=60)
    assert [one.title for one in steps_in(tmp_path)] == ["click"]
    assert Evidence(tmp_path).add(tool="browser_look", title="look").number == 2


def test_the_report_needs_no_other_file_and_runs_nothing(tmp_path: Path) -> None:
    two_steps(tmp_path)
    page = Reader(write_report(tmp_path, Account(task="Buy a lamp", outcome="done", run="3f2a91")).read_text("utf-8"))
    assert page.tags.count("img") == 1
    assert "script" not in page.tags
    assert all(one.startswith("data:image/png;base64,") for one in page.addresses)
    assert "Buy a lamp" in page.said


def test_what_a_page_said_is_only_text_in_the_report(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    kept = Evidence(tmp_path)
    kept.add(tool="browser_click", title=evil, url=evil, page=evil, changes=(evil,), notices=(evil,), problem=evil)
    account = Account(
        task=evil, answer=evil, fields=[(evil, evil, evil)], questions=[Question(shown=evil, reply=evil, reason=evil)]
    )
    page = Reader(write_report(tmp_path, account).read_text("utf-8"))
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert evil in page.said


def test_characters_that_hide_or_reorder_are_shown(tmp_path: Path) -> None:
    Evidence(tmp_path).add(tool="browser_click", title="pay \u202e09.9 €")
    assert "\u202e" not in write_report(tmp_path, Account(task="x")).read_text("utf-8")


def test_questions_and_what_was_found_stand_in_it(tmp_path: Path) -> None:
    account = Account(
        task="Order", fields=[("price", "49.9", "Price: € 49.90")],
        questions=[Question(shown="Order now\ntotal € 49.90", reply="once"), Question(shown="Send", reply="no")],
    )  # fmt: skip
    said = " ".join(Reader(write_report(tmp_path, account).read_text("utf-8")).said)
    for part in ("total € 49.90", "agreed, this once", "refused", "Price: € 49.90", "Nothing was done."):
        assert part in said


def test_a_large_picture_is_left_out_and_a_long_text_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two_steps(tmp_path)
    monkeypatch.setattr(evidence, "MAX_PICTURE", 10)
    assert "img" not in Reader(write_report(tmp_path, Account(task="x")).read_text("utf-8")).tags
    step = Evidence(tmp_path).add(tool="browser_fill", title="a" * 10_000)
    assert len(step.title) == evidence.MAX_TEXT


def test_a_file_in_the_place_of_the_folder_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(StorageError):
        Evidence(tmp_path / "run").picture()
