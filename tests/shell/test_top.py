"""`llmos top` on a terminal."""

from __future__ import annotations

from pathlib import Path

from tests.shell.helpers import WAIT, Terminal, listed, run, start, until


def test_it_shows_what_begins_and_what_ends_and_ctrl_c_leaves(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    terminal = Terminal(tmp_path, "top", columns=120, folder=tmp_path / "work")
    try:
        terminal.expect("nothing runs")
        with start(tmp_path, "run", "long", "--agent", "sleeps", "--model", "scripted:") as process:
            until(lambda: listed(tmp_path))
            pid = listed(tmp_path)[0]["pid"]
            terminal.expect(pid)
            terminal.expect("sleep 60 s")
            assert run(tmp_path, "kill", pid)[0] == 0
            assert process.wait(WAIT) == 1
        terminal.until(lambda: pid not in terminal.screen.text)
        terminal.send("\x03")
        assert terminal.wait() == 0
        assert "Traceback" not in terminal.output
    finally:
        terminal.close()
