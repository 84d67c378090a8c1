"""The chat with tools, on a real pseudo-terminal and in a pipe."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.shell.helpers import PROGRAM, WAIT, Terminal, environment, listed, permit_writing, script, terminals

ENTER, CTRL_D, ESC = "\r", "\x04", "\x1b"
Start = Callable[..., Terminal]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with terminals(tmp_path, columns=130, rows=50) as begin:
        yield begin


def test_a_question_is_worked_on_with_tools_and_the_conversation_goes_on(start: Start) -> None:
    chat = start("--model", "scripted:", LLMOS_TEST_AGENT="sums")
    chat.expect("tools are on, level L3; /tools off only talks")
    chat.ready()
    chat.send("2 + 3" + ENTER)
    chat.expect("calculator(2 + 3) → 5   pid ")
    chat.expect("\n5\n")
    chat.until(lambda: "pid " in chat.screen.text.rpartition("\n")[2])
    chat.send("/log" + ENTER)
    chat.expect("act        calculator(2 + 3) → 5  (")
    chat.ready()
    chat.send("/ps all" + ENTER)
    chat.expect("assistant  done")
    chat.ready()
    chat.send("/trace" + ENTER)
    chat.expect("why: allowed: calculator only computes.")
    chat.ready()
    chat.send("/tools off" + ENTER)
    chat.expect("no tools: the model answers alone")
    chat.ready()
    chat.send("just say it" + ENTER)
    chat.expect("> just say it\njust say it")
    chat.ready()
    chat.send(CTRL_D)
    assert chat.wait() == 0


def test_an_effect_is_asked_for_in_the_chat_and_taken_back(start: Start, tmp_path: Path) -> None:
    notes = tmp_path / "work" / "notes.txt"
    chat = start("--model", "scripted:", LLMOS_TEST_AGENT="writes")
    chat.ready()
    chat.send("buy milk" + ENTER)
    chat.expect("│ +buy milk")
    chat.expect("no [no]:")
    chat.send("once" + ENTER)
    chat.expect("write_file(path=notes.txt, text=buy milk↵) → ")
    chat.until(lambda: notes.exists())
    chat.until(lambda: "pid " in chat.screen.text.rpartition("\n")[2])
    chat.send("/revert" + ENTER)
    chat.expect("is removed: the run made it")
    chat.ready()
    chat.send("/revert now" + ENTER)
    chat.expect(f"taken back: {notes}")
    assert not notes.exists()
    chat.ready()
    chat.send("/approve" + ENTER)
    chat.expect("no standing permission is in force")


def test_esc_interrupts_a_run_which_goes_on_later(start: Start, tmp_path: Path) -> None:
    permit_writing(tmp_path)
    chat = start("--model", script(tmp_path, ["the thought"]), LLMOS_TEST_AGENT="naps")
    chat.ready()
    chat.send("write once into notes.txt" + ENTER)
    chat.expect("write_file(path=notes.txt, text=once) → ")
    chat.until(lambda: any(row["doing"].startswith("sleep") for row in listed(tmp_path)))
    chat.send(ESC)
    chat.expect("interrupted; /continue ")
    chat.ready()
    chat.send("/continue" + ENTER)
    chat.expect("\nthe thought\n")


def test_without_a_terminal_nobody_is_asked_and_the_chat_goes_on(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    done = subprocess.run(
        [sys.executable, PROGRAM, "--model", "scripted:"],
        cwd=tmp_path / "work",
        input=b"hello\n/kill\n/continue\n/log nothing\n/approve revoke x\n/tools perhaps\n",
        capture_output=True,
        timeout=WAIT,
        check=False,
        env=environment(tmp_path, LLMOS_TOOLS="", LLMOS_TEST_AGENT="writes"),
    )
    errors = done.stderr.decode()
    assert done.returncode == 0
    assert "tools are on, level L3" in errors
    assert "needs the user's permission" in errors
    for complaint in ("Which process?", "There is no run 'nothing'", "There is no grant 'x'", "neither on nor off"):
        assert complaint in errors
    assert "Traceback" not in errors
