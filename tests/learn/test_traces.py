"""What of the journal becomes an example: verified runs, without secrets, and nothing of anybody else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from llmos.agents import allowed, jobs
from llmos.errors import Denied, StorageError
from llmos.kernel.journal import Journal
from llmos.kernel.task import Task
from llmos.learn import traces
from llmos.learn.traces import Collected, Trace, collect
from llmos.messages import ToolSpec
from llmos.tools.secrets import Secrets

TOOLS = {
    "calculator": ToolSpec(
        "calculator",
        "Compute.",
        {"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]},
    ),
    "read_file": ToolSpec(
        "read_file",
        "Read a file.",
        {
            "type": "object",
            "properties": {"path": {"type": "string"}, "lines": {"type": "integer"}},
            "required": ["path"],
        },
    ),
    "now": ToolSpec("now", "The time."),
}
Call = tuple[str, Mapping[str, Any], str]


class Clock:
    """Time that tests set."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Journal:
    monkeypatch.setenv("LLMOS_HOME", str(tmp_path / "home"))
    return Journal(tmp_path / "journal", clock=clock)


Run = Callable[..., str]


@pytest.fixture
def run(journal: Journal, clock: Clock) -> Run:
    """Enters a run."""

    def enter(
        words: str,
        *calls: Call,
        state: str = "done",
        verdict: str = "",
        failed: bool = False,
        seen: tuple[str, ...] = (),
    ) -> str:
        name = f"run{len(journal.runs())}"
        journal.open_run(
            name, owner="me", agent="assistant", task=Task(agent="assistant", arguments=(words,)).to_json()
        )
        number = 0
        for tool, arguments, result in calls:
            if seen:
                number += 1
                journal.record(name, "0", number, "think", "", json.dumps({"choices": seen}), json.dumps({"choice": 0}))
            number += 1
            journal.record(
                name,
                "0",
                number,
                "act",
                tool,
                json.dumps([tool, arguments]),
                json.dumps({"text": result} if not failed else {"name": "Failed", "message": "no"}),
                failed=failed,
            )
        if verdict:
            journal.record(name, "0", number + 1, "verify", "", "[]", json.dumps({"outcome": verdict}))
        if state != "running":
            journal.close_run(name, state, json.dumps("ok"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        clock.now += 10_000
        return name

    return enter


SUM: Call = ("calculator", {"expression": "2 + 2"}, "4")
FILE: Call = ("read_file", {"path": "notes.txt", "lines": None}, "the roof is red")


def found(journal: Journal, **options: Any) -> Collected:  # noqa: ANN401
    return collect(journal, TOOLS, **options)


def test_a_run_gives_its_choices_its_arguments_and_its_end(journal: Journal, run: Run) -> None:
    run("read notes.txt and compute 2 + 2", FILE, SUM)
    collected = found(journal)
    assert collected.left_out == ()
    kinds = [(one.example.job, one.example.answer) for one in collected.traces]
    assert kinds == [
        ("choose", "read_file"),
        ("fill", '{"path": "notes.txt"}'),
        ("choose", "calculator"),
        ("fill", '{"expression": "2 + 2"}'),
        ("choose", "answer"),
    ]
    last = collected.traces[-1].example
    assert "the roof is red" in last.context.messages[-1].content
    assert last.choices[-2:] == (jobs.ANSWER, jobs.ASK)
    fill = collected.traces[1].example
    assert fill.within == allowed.arguments(TOOLS["read_file"], "read notes.txt and compute 2 + 2", [])
    assert len({one.part for one in collected.traces}) == 1


def test_the_tools_that_the_model_saw_are_shown(journal: Journal, run: Run) -> None:
    run("compute 2 + 2", SUM, seen=("now", "calculator", "answer", "ask"))
    assert found(journal).traces[0].example.choices == ("now", "calculator", "answer", "ask")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"state": "failed"}, "it is failed"),
        ({"state": "running"}, "it is running"),
        ({"failed": True}, "its last call failed"),
        ({"verdict": "fail"}, "no verifier passed it"),
        ({"verdict": "unsure"}, "no verifier passed it"),
    ],
)
def test_a_run_that_was_not_verified_gives_nothing(journal: Journal, run: Run, options: Any, why: str) -> None:  # noqa: ANN401
    name = run("compute 2 + 2", SUM, **options)
    collected = found(journal)
    assert collected.traces == ()
    assert collected.left_out == ((name, why),)


def test_a_verifier_or_the_user_vouches_for_a_run(journal: Journal, run: Run) -> None:
    passed = run("compute 2 + 2", SUM, verdict="pass")
    doubtful = run("compute 2 + 2 again", SUM, verdict="unsure")
    assert {one.why for one in found(journal).traces} == {"a verifier passed it"}
    assert {one.run for one in found(journal).traces} == {passed}
    named = found(journal, runs=(doubtful,))
    assert {(one.run, one.why) for one in named.traces} == {(doubtful, "you named it")}
    assert {name for name, _ in named.left_out} == set()


def test_who_asks_the_same_again_soon_was_not_content(journal: Journal, run: Run, clock: Clock) -> None:
    first = run("Compute 2 + 2", SUM)
    clock.now -= 9_900
    second = run("compute 2 + 2", SUM)
    collected = found(journal)
    assert {one.run for one in collected.traces} == {second}
    assert collected.left_out == ((first, "the same was asked again soon after"),)


def test_what_was_taken_back_is_left_out(journal: Journal, run: Run) -> None:
    name = run("read notes.txt", FILE)
    journal.keep_file(name, "0", 1, "notes.txt", "copy")
    (kept,) = journal.kept(name)
    assert found(journal).traces
    journal.undone(name, kept)
    assert found(journal).left_out == ((name, "what it did was taken back"),)


def test_forgotten_runs_and_older_ones_give_nothing(journal: Journal, run: Run, clock: Clock) -> None:
    old = run("compute 2 + 2", SUM)
    since = clock.now
    new = run("compute 3 + 3", ("calculator", {"expression": "3 + 3"}, "6"))
    assert {one.run for one in found(journal, since=since).traces} == {new}
    journal.forget(old)
    assert (old, "it was forgotten") in found(journal).left_out


def test_a_secret_never_goes_in(journal: Journal, run: Run, tmp_path: Path) -> None:
    secrets = Secrets(tmp_path / "secrets", vault=None)
    secrets.set("bank", "hunter2-hunter2", tool="http_request", host="")
    run("read hunter2-hunter2.txt", ("read_file", {"path": "hunter2-hunter2.txt"}, "x"))
    run("read secret.txt", ("read_file", {"path": "secret.txt"}, "pin: hunter2-hunter2"))
    run("read key.txt with secret://bank", ("read_file", {"path": "key.txt"}, "x"))
    collected = found(journal, redact=secrets.redact)
    texts = [line for one in collected.traces for line in (_all_text(one),)]
    assert not [text for text in texts if "hunter2" in text or "secret://" in text]
    assert [one.example.answer for one in collected.traces] == ["read_file", '{"path": "secret.txt"}']


def _all_text(trace: Trace) -> str:
    return " ".join([*(one.content for one in trace.example.context.messages), trace.example.answer])


def test_another_users_journal_is_refused(journal: Journal, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("compute 2 + 2", SUM)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(Denied, match="another user's"):
        found(journal)


def test_arguments_that_stand_nowhere_are_not_taught(journal: Journal, run: Run) -> None:
    run("read it", ("read_file", {"path": "guessed.txt"}, "x"))
    run("read notes.txt, 3 lines", ("read_file", {"path": "notes.txt", "lines": 7}, "x"))
    run("read a.txt, three lines", ("read_file", {"path": "a.txt", "lines": 3}, "x"))
    fills = [one.example.answer for one in found(journal).traces if one.example.job == "fill"]
    assert fills == ['{"path": "a.txt", "lines": 3}']


def test_an_unknown_tool_ends_what_can_be_learnt(journal: Journal, run: Run) -> None:
    run("compute 2 + 2 and dance", SUM, ("dance", {}, "danced"), FILE)
    assert [one.example.answer for one in found(journal).traces] == ["calculator", '{"expression": "2 + 2"}']


# -- what is kept


def test_examples_are_kept_once_and_come_back_as_they_were(journal: Journal, run: Run) -> None:
    run("read notes.txt and compute 2 + 2", FILE, SUM)
    given = found(journal).traces
    assert traces.keep(given) == list(given)
    assert traces.keep(given[:2]) == list(given) == traces.kept()
    assert traces.file().stat().st_mode & 0o077 == 0
    assert traces.digest_of(given) == traces.digest_of(reversed(given)) != traces.digest_of(given[:1])
    assert sum(map(len, traces.sheets(given))) == len(given)


@pytest.mark.parametrize("line", ["{", "[]", '{"version": 2}', '{"version": 1, "part": "train", "job": "choose"}'])
def test_a_damaged_line_is_named(journal: Journal, run: Run, line: str) -> None:
    run("compute 2 + 2", SUM)
    traces.keep(found(journal).traces)
    with traces.file().open("a") as out:
        out.write(f"{line}\n")
    with pytest.raises(StorageError, match=r"Line 4 .* damaged"):
        traces.kept()


def test_an_example_that_was_changed_by_hand_is_named(journal: Journal, run: Run) -> None:
    run("compute 2 + 2", SUM)
    traces.keep(found(journal).traces)
    text = traces.file().read_text()
    traces.file().write_text(text.replace('"answer": "calculator"', '"answer": "now"', 1))
    with pytest.raises(StorageError, match="digest"):
        traces.kept()
