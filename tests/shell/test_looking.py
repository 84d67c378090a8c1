"""Looking into runs and taking them back: log, trace, undo, replay, audit, grants, forget; on real processes."""

from __future__ import annotations

import json
import re
import sqlite3
from html.parser import HTMLParser
from pathlib import Path

import pytest

from llmos.kernel.journal import Record, Run
from llmos.shell.calls import call_text, one_line
from llmos.shell.keeping import seconds_of
from llmos.shell.processes import age, table
from llmos.shell.runlog import Step, Story
from llmos.shell.tracepage import page
from tests.shell.helpers import listed, permit_writing, run, script

MODEL = ("--model", "scripted:")
HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)>\x1b[2J&amp;\u202e'


def ran(folder: Path, words: str, agent: str) -> str:
    """A run that is over; its id."""
    if agent == "naps":
        permit_writing(folder)
    run(folder, "run", words, "--agent", agent, *MODEL)
    return str(listed(folder, "--all")[0]["pid"])


def test_a_log_has_a_line_for_each_call(tmp_path: Path) -> None:
    pid = ran(tmp_path, "2 + 3", "sums")
    code, out, _ = run(tmp_path, "log", pid)
    assert (code, len(out.splitlines())) == (0, 1)
    assert re.search(rf"{pid} +1  act +calculator\(2 \+ 3\) → 5  \(0\.\d\d s\)$", out)
    (row,) = [json.loads(line) for line in run(tmp_path, "log", pid, "--json")[1].splitlines()]
    assert (row["kind"], row["title"], row["result"], row["failed"]) == ("act", "calculator(2 + 3)", "5", False)


def test_a_trace_says_what_it_cost_and_why(tmp_path: Path) -> None:
    pid = ran(tmp_path, "write once into notes.txt", "naps")
    code, out, _ = run(tmp_path, "trace", pid)
    assert code == 0
    assert f"{pid} · naps · done · " in out
    assert "asked: write once into notes.txt" in out
    assert "why: allowed: " in out
    assert "    path: " in out
    assert "why: to answer in free text" in out
    assert re.search(r"think .* \d+\+\d+→\d+ tokens", out)
    told = json.loads(run(tmp_path, "trace", pid, "--json")[1])
    assert [step["group"] for step in told["steps"]] == ["act", "think", "wait"]
    assert told["steps"][1]["generated"] > 0


def test_a_denied_call_says_why_it_was_denied(tmp_path: Path) -> None:
    pid = ran(tmp_path, "hello", "writes")
    out = run(tmp_path, "trace", pid)[1]
    assert "why: asked, nobody was there: write_file " in out
    assert "✗ Denied: 'write_file' needs the user's permission" in out


def test_a_trace_is_one_html_page_that_needs_nothing_else(tmp_path: Path) -> None:
    pid = ran(tmp_path, "2 + 3", "sums")
    assert run(tmp_path, "trace", pid, "--html", "run.html")[:2] == (0, "")
    text = (tmp_path / "work" / "run.html").read_text()
    assert "calculator(2 + 3)" in text
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"<script|<link|<img|https?://|@import|url\(", text)


class Tags(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.attributes: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        self.attributes += [name for name, _ in attrs]


def test_a_trace_page_escapes_hostile_text_everywhere() -> None:
    step = Step(
        pid=HOSTILE, path="0", number=1, kind="act", group="act", title=HOSTILE, after=0.1, seconds=0.2,
        failed=True, why=HOSTILE, origins={HOSTILE: HOSTILE}, result=HOSTILE,
    )  # fmt: skip
    known = Run("abc123", 0.0, 1.0, "done", "", HOSTILE, "{}", HOSTILE)
    text = page(Story(known, HOSTILE, "done", 1.0, HOSTILE, (step,)))
    tags = Tags(text)
    assert not {"script", "img", "link", "iframe"} & set(tags.found)
    assert not [name for name in tags.attributes if name.startswith("on")]
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert text.count("&lt;script&gt;") >= 6


def test_a_file_edit_is_shown_and_taken_back(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    notes = tmp_path / "work" / "notes.txt"
    notes.write_text("before\n")
    pid = ran(tmp_path, "write once into notes.txt", "naps")
    assert notes.read_text() == "once"
    code, out, err = run(tmp_path, "undo", pid)
    assert (code, notes.read_text()) == (1, "once")
    assert "--yes takes it back" in err
    assert "│ -once\n  │ +before" in out
    code, out, _ = run(tmp_path, "undo", pid, "--yes")
    assert (code, notes.read_text()) == (0, "before\n")
    assert f"taken back: {notes}" in out
    assert "changed no file" in run(tmp_path, "undo", pid, "--yes")[1]


def test_a_file_that_somebody_changed_since_is_left_unless_forced(tmp_path: Path) -> None:
    pid = ran(tmp_path, "write once into notes.txt", "naps")
    notes = tmp_path / "work" / "notes.txt"
    notes.write_text("by hand")
    code, out, err = run(tmp_path, "undo", pid, "--yes")
    assert (code, "changed since by somebody else" in out, "--force" in err) == (1, True, True)
    assert notes.read_text() == "by hand"
    assert run(tmp_path, "undo", pid, "--yes", "--force")[0] == 0
    assert not notes.exists()


def test_a_replay_has_the_same_answer_and_no_model(tmp_path: Path) -> None:
    model = script(tmp_path, ["a thought of its own"])
    permit_writing(tmp_path)
    run(tmp_path, "run", "write once into notes.txt", "--agent", "naps", "--model", model)
    (row,) = listed(tmp_path, "--all")
    (tmp_path / "work" / "notes.txt").unlink()
    code, out, err = run(tmp_path, "--model", f"scripted:{tmp_path}/none", "replay", row["pid"])
    assert (code, out) == (0, "a thought of its own\n")
    assert "the same calls, the same answer" in err
    assert not (tmp_path / "work" / "notes.txt").exists()


def test_an_audit_finds_what_was_changed(tmp_path: Path) -> None:
    pid = ran(tmp_path, "2 + 3", "sums")
    assert run(tmp_path, "audit")[:2] == (0, "sound: the records of 1 run are complete and unchanged\n")
    database = sqlite3.connect(tmp_path / "data" / "journal.sqlite3")
    database.execute("UPDATE audit SET row = ? WHERE number = 2", (f"0 {pid} 0 1 act intent 00".encode(),))
    database.commit()
    database.close()
    code, out, _ = run(tmp_path, "audit")
    assert (code, out.startswith("broken: row 2 was changed")) == (1, True)
    assert json.loads(run(tmp_path, "audit", "--json")[1])["finding"]["row"] == 2


def test_a_grant_made_in_advance_is_used_listed_and_revoked(tmp_path: Path) -> None:
    code, out, _ = run(tmp_path, "grants", "add", "write_file", "--target", "path=notes.*", "--calls", "1")
    grant = out.strip()
    assert code == 0
    listing = run(tmp_path, "grants", "list")[1]
    assert f"{grant}  write_file · path = notes.* · 1 more calls · in all runs" in listing
    assert run(tmp_path, "run", "hello", "--agent", "writes", *MODEL)[0] == 0
    assert (tmp_path / "work" / "notes.txt").read_text() == "hello\n"
    assert run(tmp_path, "run", "again", "--agent", "writes", *MODEL)[0] == 1
    other = run(tmp_path, "grants", "add", "shell", "--expires", "2h")[1].strip()
    assert run(tmp_path, "grants", "revoke", other)[:2] == (0, f"revoked {other}\n")
    code, _, err = run(tmp_path, "grants", "revoke", other)
    assert (code, "There is no grant" in err) == (1, True)
    assert run(tmp_path, "grants", "add", "shell", "--target", "nonsense")[0] == 1


def test_what_was_forgotten_is_gone_and_the_audit_is_sound(tmp_path: Path) -> None:
    pid, second = ran(tmp_path, "2 + 3", "sums"), ran(tmp_path, "3 + 4", "sums")
    assert run(tmp_path, "forget", pid)[:2] == (0, f"forgot the contents of 1 run: {pid}\n")
    assert "(forgotten)" in run(tmp_path, "log", pid)[1]
    assert "(forgotten)" in run(tmp_path, "trace", pid)[1]
    assert run(tmp_path, "forget", "--older-than", "1d")[1] == "forgot the contents of 0 runs\n"
    assert run(tmp_path, "forget", "--older-than", "0s")[1] == f"forgot the contents of 1 run: {second}\n"
    code, _, err = run(tmp_path, "replay", pid)
    assert (code, "were forgotten" in err) == (1, True)
    assert run(tmp_path, "audit")[0] == 0


@pytest.mark.parametrize("command", ["log", "trace", "resume", "kill", "undo", "replay", "forget"])
def test_an_unknown_pid_is_exit_1_with_what_there_is(tmp_path: Path, command: str) -> None:
    code, out, err = run(tmp_path, command, "nothing")
    assert (code, out) == (1, "")
    assert "error: There is no run 'nothing'.\n  None has run yet" in err


def test_what_tools_say_can_not_move_the_cursor() -> None:
    assert call_text("shell", {"command": "a\x1b[2Jb\nc", "timeout": None}) == "shell(a\ufffd[2Jb↵c)"
    assert call_text("write", {"path": "a", "text": "b"}) == "write(path=a, text=b)"
    assert one_line("\n\n  one\ntwo", 10) == "one"
    assert one_line("x" * 20, 10) == "x" * 9 + "…"


def test_spans_of_time_are_read_and_said() -> None:
    assert [seconds_of(span) for span in ("90s", "10min", "1.5h", "30d", "2w")] == [90, 600, 5400, 2592000, 1209600]
    assert [age(span) for span in (3.2, 250, 7500, 270000)] == ["3.2 s", "4 min 10 s", "2 h 5 min", "3 d 3 h"]


def test_a_record_that_is_under_way_or_failed_says_so() -> None:
    from llmos.shell.calls import outcome_of

    def record(result: str, *, ended: float | None = 1.0, failed: bool = False) -> Record:
        return Record("0", 1, "act", "t", "", result, 0.0, ended, failed)

    assert outcome_of(record("", ended=None)) == "under way"
    assert outcome_of(record("")) == "(forgotten)"
    assert outcome_of(record('{"name":"Denied","message":"no","hint":""}', failed=True)) == "Denied: no"


def test_money_has_a_column_where_there_is_any() -> None:
    row = {"pid": "a1", "agent": "chat", "state": "running", "level": "L3", "tokens": 5, "calls": 0, "money": 0.0}
    row |= {"seconds": 1.0, "doing": "think"}
    assert table([row]).splitlines()[0].split() == ["pid", "agent", "state", "level", "tokens", "calls", "age", "doing"]
    head, line = table([{**row, "money": 0.01234}]).splitlines()
    assert head.split() == ["pid", "agent", "state", "level", "tokens", "calls", "money", "age", "doing"]
    assert "  0.0123  " in line
