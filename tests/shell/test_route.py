"""`llmos route` and `/route`: who would do a task, as a chart and as data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmos.agents.router import Route
from llmos.shell.cli_route import chart
from tests.shell.helpers import Terminal, llmos, run

NEVER = "scripted:/nowhere/at/all.json"  # a model that can't be loaded


def test_the_candidates_are_shown_with_bars_and_what_was_decided_below(tmp_path: Path) -> None:
    done = llmos(tmp_path, "route", "what is 30% of 90?", "--top", "3", "--model", "scripted:")
    first, *rest = done.stdout.decode().splitlines()
    assert (done.returncode, done.stderr) == (0, b"")
    assert first.startswith("tool calculator ")
    assert first.endswith("█" * 40)
    assert rest[2].startswith("all others")
    assert rest[-1].startswith("→ tool calculator (")


def test_json_has_every_candidate_and_the_probabilities_add_up_to_one(tmp_path: Path) -> None:
    done = llmos(tmp_path, "route", "what", "is", "30% of 90?", "--json", "--model", "scripted:")
    found = json.loads(done.stdout)
    assert (found["task"], found["choice"], found["kind"]) == ("what is 30% of 90?", "calculator", "tool")
    assert sum(found["shares"].values()) == pytest.approx(1)
    assert {"answer", "retrieve", "assistant", "tool read_file"} <= set(found["shares"])


def test_no_model_is_needed_where_the_words_are_clear(tmp_path: Path) -> None:
    done = llmos(tmp_path, "route", "what is 30% of 90?", "--model", NEVER)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_task_is_taken_from_a_pipe_and_none_at_all_is_wrong_usage(tmp_path: Path) -> None:
    assert b"tool calculator" in llmos(tmp_path, "route", "--model", "scripted:", stdin=b"what is 30% of 90?").stdout
    done = llmos(tmp_path, "route", "--model", "scripted:")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"a task is missing" in done.stderr


def test_nothing_is_done_and_the_decision_stands_in_the_log(tmp_path: Path) -> None:
    code, out, _ = run(tmp_path, "route", "write hello to hello.txt", "--json", "--model", "scripted:")
    assert (code, json.loads(out)["choice"]) == (0, "write_file")
    assert not (tmp_path / "work" / "hello.txt").exists()
    rows = json.loads(run(tmp_path, "ps", "--all", "--json")[1])
    log = run(tmp_path, "log", rows[0]["pid"])[1]
    assert "→ tool write_file (" in log


def test_the_chat_shows_it_too(tmp_path: Path) -> None:
    chat = Terminal(tmp_path, "--model", "scripted:")
    try:
        chat.ready()
        chat.send("/route what is 30% of 90?\r")
        chat.expect("→ tool calculator (")
    finally:
        chat.close()


def test_a_name_that_moves_the_cursor_is_made_harmless() -> None:
    title = "evil\x1b[2Jname\nsecond"
    made = Route(title, "agent", {title: 0.9, "b": 0.1}, 0.9, "because\x07", "words")
    data = {"choice": made.choice, "kind": "agent", "shares": made.shares, "confidence": 0.9, "why": made.why}
    text = chart({**data, "by": "words"})
    assert "\x1b" not in text
    assert "\x07" not in text
