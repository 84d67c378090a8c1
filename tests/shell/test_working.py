"""`llmos run` with agents and tools, as real processes, and what other terminals see and do of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.shell.helpers import PROGRAM, WAIT, environment, listed, permit_writing, run, script, start, until

MODEL = ("--model", "scripted:")


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def asleep(folder: Path) -> dict[str, Any]:
    """The only run, once it sleeps."""
    until(lambda: [row["doing"][:5] for row in listed(folder)] == ["sleep"])
    return listed(folder)[0]


def test_the_answer_is_on_stdout_and_what_was_done_on_stderr(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "run", "12.5% * 1840 + 17", "--agent", "sums", *MODEL)
    (pid,) = [row["pid"] for row in listed(tmp_path, "--all")]
    assert (code, out.splitlines()[0]) == (0, "247")
    assert err.startswith("  calculator(12.5% * 1840 + 17) → 247")
    assert f"   pid {pid} · 0 tokens · 0." in err


def test_json_tells_every_call_and_ends_with_the_result(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "run", "2 + 3", "--agent", "sums", "--json", *MODEL)
    events = lines(out)
    assert (code, err) == (0, "")
    assert [event["kind"] for event in events] == ["process", "call_started", "call_ended", "process", "result"]
    assert (events[2]["title"], events[2]["detail"], events[2]["failed"]) == ("calculator(2 + 3)", "5", False)
    assert (events[-1]["output"], events[-1]["used"]["calls"]) == ("5", 1)


def test_without_anybody_to_ask_an_effect_is_denied_and_the_error_is_typed(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "run", "hello", "--agent", "writes", *MODEL)
    assert (code, out) == (1, "")
    assert "error: 'write_file' needs the user's permission" in err
    assert "`llmos grants add`" in err
    assert not (tmp_path / "work" / "notes.txt").exists()


def test_a_level_that_only_reads_changes_nothing(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, "run", "write notes.txt", "--agent", "writes", "--level", "L1", *MODEL)
    assert (code, "L1 allows no more" in err) == (1, True)


def test_a_budget_that_runs_out_is_a_typed_end(tmp_path: Path) -> None:
    code, out, _ = run(tmp_path, "run", "1 + 1", "--agent", "sums", "--budget", "calls=0", "--json", *MODEL)
    last = lines(out)[-1]
    assert (code, last["kind"], last["error"]) == (1, "error", "BudgetExceeded")


def test_a_bug_of_an_agent_is_one_sentence(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "run", "oh no", "--agent", "fails", *MODEL)
    assert (code, out) == (1, "")
    assert "error: The agent failed: ValueError: oh no." in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "options",
    [
        ("--level", "L9"),
        ("--budget", "tokens"),
        ("--budget", "apples=3"),
        ("--tools", ","),
        ("--workspace", "/no/such/folder"),
        ("--no-tools", "--agent", "sums"),
        ("--choices", "a,b", "--tools", "calculator"),
    ],
)
def test_wrong_usage_is_exit_2(tmp_path: Path, options: tuple[str, ...]) -> None:
    code, out, err = run(tmp_path, "run", "x", *MODEL, *options)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")


def test_an_unknown_agent_or_tool_names_those_that_there_are(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, "run", "x", "--agent", "nobody", *MODEL)
    assert (code, "no agent 'nobody'" in err, "sums" in err) == (1, True, True)
    code, _, err = run(tmp_path, "run", "x", "--tools", "calculatr", *MODEL)
    assert (code, "Did you mean 'calculator'?" in err) == (1, True)


def test_only_the_tools_that_were_named_are_there(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, "run", "1 + 1", "--agent", "sums", "--tools", "datetime", *MODEL)
    assert (code, "There is no tool 'calculator'." in err) == (1, True)


def test_another_terminal_sees_a_run_and_kills_it(tmp_path: Path) -> None:
    with start(tmp_path, "run", "long", "--agent", "parent", *MODEL) as process:
        until(lambda: [row["doing"][:5] for row in listed(tmp_path)][1:] == ["sleep"])
        first, child = listed(tmp_path)
        assert (first["agent"], first["state"], first["doing"]) == ("parent", "running", f"wait {child['pid']}")
        assert (child["pid"], child["parent"], child["calls"]) == (f"{first['pid']}.1", first["pid"], 1)
        code, out, _ = run(tmp_path, "log", child["pid"])
        assert (code, "calculator(20 + 22) → 42" in out, "under way" in out) == (0, True, True)
        assert run(tmp_path, "kill", child["pid"], "--signal", "stop")[0] == 0
        assert [row["state"] for row in listed(tmp_path)] == ["running", "stopped"]
        assert run(tmp_path, "top")[1].count("\n") == 3
        assert run(tmp_path, "kill", first["pid"][:4]) == (0, f"kill: {first['pid']}\n", "")
        assert process.wait(WAIT) == 1
        assert process.stderr is not None
        assert "was killed" in process.stderr.read().decode()
    assert listed(tmp_path) == []
    assert [row["state"] for row in listed(tmp_path, "--all")] == ["killed"]


def test_a_run_whose_program_was_killed_is_resumed_and_does_nothing_twice(tmp_path: Path) -> None:
    model = ("--model", script(tmp_path, ["the thought", "another thought"]))
    words = "write once into notes.txt"
    permit_writing(tmp_path)
    with start(tmp_path, "run", words, "--agent", "naps", *model) as process:
        row = asleep(tmp_path)
        process.kill()
        process.wait(WAIT)
    assert [row["state"] for row in listed(tmp_path)] == ["interrupted"]
    code, _, err = run(tmp_path, "kill", row["pid"])
    assert (code, "its kernel is gone" in err, f"llmos resume {row['pid']}" in err) == (1, True, True)
    (tmp_path / "work" / "notes.txt").write_text("by hand")
    code, out, _ = run(tmp_path, "resume", row["pid"], *model)
    assert (code, out) == (0, "the thought\n")
    assert (tmp_path / "work" / "notes.txt").read_text() == "by hand"
    code, _, err = run(tmp_path, "resume", row["pid"])
    assert (code, "is done" in err) == (1, True)
    assert run(tmp_path, "audit")[:1] == (0,)


@pytest.mark.parametrize("as_json", [False, True])
def test_ctrl_c_interrupts_and_says_how_to_go_on(tmp_path: Path, as_json: bool) -> None:
    options = ["--json"] if as_json else []
    with start(tmp_path, "run", "long", "--agent", "sleeps", *options, *MODEL) as process:
        row = asleep(tmp_path)
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=WAIT)
    assert process.returncode == 130
    assert f"interrupted; go on with: llmos resume {row['pid']}" in err.decode()
    assert b"Traceback" not in err
    if as_json:
        assert lines(out.decode())[-1] == {"kind": "interrupted", "pid": row["pid"]}
    assert [row["state"] for row in listed(tmp_path, "--all")] == ["killed"]


def test_a_second_ctrl_c_kills_a_run_that_goes_on(tmp_path: Path) -> None:
    with start(tmp_path, "run", "long", "--agent", "stubborn", *MODEL) as process:
        asleep(tmp_path)
        os.kill(process.pid, signal.SIGINT)
        until(lambda: listed(tmp_path)[0]["doing"] == "sleep 61 s")
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=WAIT)
    assert process.returncode == 130
    assert b"go on with: llmos resume" in err
    assert [row["state"] for row in listed(tmp_path, "--all")] == ["killed"]


def test_what_is_piped_in_authorizes_nothing(tmp_path: Path) -> None:
    piped = b"write this into notes.txt"
    (tmp_path / "work").mkdir()
    done = subprocess.run(
        [sys.executable, PROGRAM, "run", "do it", "--agent", "writes", *MODEL],
        cwd=tmp_path / "work", input=piped, capture_output=True, timeout=WAIT, check=False,
        env=environment(tmp_path, LLMOS_TOOLS=""),
    )  # fmt: skip
    assert done.returncode == 1
    assert b"needs the user's permission" in done.stderr
