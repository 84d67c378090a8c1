"""`llmos learn …` as a person or a script uses it, on a tiny model: train, stop, go on, measure, choose, go back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmos.engine import adapters
from llmos.engine.hardware import detect
from llmos.engine.store import library, microcode
from llmos.errors import ConfigError, LlmosError, OutOfMemory, RunError, StorageError
from llmos.kernel.journal import Journal
from llmos.kernel.task import Task
from llmos.learn import install, traces
from llmos.learn.figures import Difference
from llmos.shell import learning
from llmos.shell.cli import run_app
from tests.learn import tiny
from tests.shell.helpers import WAIT, environment

os.environ["TORCHDYNAMO_DISABLE"] = "1"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMOS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(microcode, "SHIPPED", tmp_path / "shipped" / "kernel.gguf")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tiny.write_model(tmp_path / "tiny.gguf")
    library.use(str(path))
    return path


@pytest.fixture
def as_json(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs a command and gives what it printed as JSON."""

    def run(*words: str, code: int = 0) -> Any:  # noqa: ANN401  # JSON
        capsys.readouterr()
        assert run_app(["learn", *words, "--json"]) == code
        return json.loads(capsys.readouterr().out)

    return run


# -- list, use, rollback


def test_an_adapter_is_installed_chosen_listed_and_gone_back_from(
    model: Path, home: Path, as_json: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert as_json("list") == []
    first = tiny.write_adapter(home / "first.gguf", model)
    second = tiny.write_adapter(home / "second.gguf", model, name="second", seed=2)
    assert as_json("use", str(first)) == {"model": str(model), "microcode": "first"}
    assert as_json("use", str(second))["microcode"] == "second"
    listed = as_json("list")
    assert [(one["name"], one["in_use"], one["fits"]) for one in listed] == [
        ("first", False, True),
        ("second", True, True),
    ]
    assert as_json("rollback")["microcode"] == "first"
    assert as_json("use", "none")["microcode"] is None
    assert as_json("rollback")["microcode"] == "first"
    assert as_json("rollback")["microcode"] is None
    with pytest.raises(ConfigError):
        run_app(["learn", "rollback"])
    assert run_app(["learn", "list"]) == 0
    assert "second" in capsys.readouterr().out


def test_what_runs_is_said_where_people_look(model: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_app(["learn", "use", str(tiny.write_adapter(home / "first.gguf", model))])
    run_app(["model", "show"])
    assert "first" in capsys.readouterr().out
    microcode.merged(model)
    run_app(["model", "show"])
    shown = capsys.readouterr().out
    assert "Q8_0" in shown
    assert "first" in shown
    run_app(["model", "list"])
    assert "with microcode" in capsys.readouterr().out
    run_app(["doctor"])
    assert "first" in capsys.readouterr().out


def test_a_bad_name_or_file_is_an_error_with_a_hint(model: Path, home: Path) -> None:
    other = tiny.write_model(home / "other.gguf", seed=9)
    (home / "broken.gguf").write_bytes(tiny.write_adapter(home / "whole.gguf", model).read_bytes()[:3000])
    foreign = tiny.write_adapter(home / "foreign.gguf", other)
    for name in ("ghost", str(home / "broken.gguf"), str(foreign), str(home / "nothing.gguf")):
        with pytest.raises(LlmosError) as caught:
            run_app(["learn", "use", name])
        assert caught.value.hint
    assert microcode.chosen(model) is None


# -- train


@pytest.mark.model
def test_training_says_what_it_does_and_makes_an_adapter(
    model: Path, home: Path, as_json: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    words = "train --tokens 3000 --out mine --workers 1 --device cpu --calibrate 2"
    said = as_json(*words.split())
    assert said["done"]
    assert said["tokens"] >= 3000
    assert Path(said["adapter"]) == Path("mine") / "kernel.gguf"
    assert as_json("use", said["adapter"])["microcode"] == "kernel"
    jobs = {"choose", "fill", "whom", "read", "verdict", "browse", "extract", "know", "program"}
    assert set(adapters.notes(Path(said["adapter"])).temperatures) == jobs
    (listed,) = as_json("list")
    assert (listed["recipe"], listed["tokens"]) == ("kernel", said["tokens"])


@pytest.mark.model
def test_ctrl_c_keeps_what_was_learnt_and_says_how_to_go_on(model: Path, home: Path) -> None:
    command = [sys.executable, "-m", "llmos", "learn", "train", "--tokens", "1000000", "--out", "mine"]
    command += ["--workers", "1", "--device", "cpu"]
    where = environment(home / "home", LLMOS_FORBID_REAL_MODELS="", TORCHDYNAMO_DISABLE="1")
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=where, cwd=home)
    try:
        assert process.stderr is not None
        head = b""
        while b" left, loss " not in head:
            line = process.stderr.readline()
            assert line, head
            head += line
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(WAIT) == learning.INTERRUPTED
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()
    assert b"Training 'kernel' for" in head
    assert b"llmos learn train --recipe kernel --tokens 1000000 --out mine" in rest
    assert (home / "mine" / "training.pt").exists()


def test_too_little_memory_or_disk_is_said_with_numbers(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = library.show(str(model))
    assert learning.fitting_workers(header, None) <= detect().threads
    usable = 700_000_000

    def ram(hardware: object) -> int:
        return usable

    def usage(place: Path) -> SimpleNamespace:
        return SimpleNamespace(free=1000)

    monkeypatch.setattr(learning, "usable_ram", ram)
    assert learning.fitting_workers(header, None) == 1
    with pytest.raises(OutOfMemory, match=r"0\.7 GB|700 MB"):
        learning.fitting_workers(header, 2)
    usable = 1_000_000
    with pytest.raises(OutOfMemory):
        learning.fitting_workers(header, None)
    monkeypatch.setattr("shutil.disk_usage", usage)
    with pytest.raises(StorageError, match="of disk"):
        learning.check_disk(header, Path("mine") / "deep")


# -- from traces

_TASKS = (
    "garden",
    "kitchen",
    "office",
    "attic",
    "cellar",
    "porch",
    "stairs",
    "roof",
    "barn",
    "shed",
    "studio",
    "lobby",
)


def enter(folder: Path, words: str, calls: Sequence[tuple[str, dict[str, Any], str]]) -> str:
    """A run that is done."""
    journal = Journal(folder)
    name = f"run{len(journal.runs()):02}"
    journal.open_run(name, owner="me", agent="assistant", task=Task(agent="assistant", arguments=(words,)).to_json())
    for number, (tool, arguments, result) in enumerate(calls, 1):
        journal.record(name, "0", number, "act", tool, json.dumps([tool, arguments]), json.dumps({"text": result}))
    journal.close_run(name, "done", json.dumps("ok"))
    journal.close()
    return name


@pytest.fixture
def runs(home: Path) -> list[str]:
    place = home / "home" / "data"
    return [
        enter(place, f"read {room}.txt", [("read_file", {"path": f"{room}.txt"}, f"the {room} is red")])
        for room in _TASKS
    ]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few tokens; and this process keeps its priority."""
    monkeypatch.setattr(install, "EPOCHS", 1)
    monkeypatch.setattr(install, "_SAMPLED", 1)

    def nice(by: int) -> int:
        return 0

    monkeypatch.setattr(os, "nice", nice)


_ARGUMENTS = ("from-traces", "--yes", "--count", "0", "--workers", "1")


@pytest.mark.model
@pytest.mark.usefixtures("quick", "runs")
def test_a_new_adapter_that_is_not_better_is_kept_aside(
    model: Path, as_json: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    said = as_json(*_ARGUMENTS)
    assert said["trained"]
    assert not said["installed"]
    assert "noise" in said["why"] or "worse" in said["why"]
    assert Path(said["adapter"]).exists()
    assert microcode.installed(model) == []
    held = [one for one in traces.kept() if one.part == "held"]
    assert said["rows"][0]["n"] == len(held)


@pytest.mark.model
@pytest.mark.usefixtures("quick", "runs")
def test_a_better_one_is_installed_and_can_be_gone_back_from(
    model: Path, home: Path, as_json: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_app(["learn", "use", str(tiny.write_adapter(home / "before.gguf", model, name="before"))])

    def better(old: Sequence[Any], new: Sequence[Any]) -> install.Judgement:
        rows = [(one, two, Difference(0.5, 0.2, 0.8)) for one, two in zip(old, new, strict=True)]
        return install.Judgement(True, "it is right more often", tuple(rows))

    monkeypatch.setattr(install, "judge", better)
    said = as_json(*_ARGUMENTS)
    assert said["installed"]
    used = microcode.chosen(model)
    assert used is not None
    assert used.stem == said["name"]
    assert used.stem.startswith("own-")
    assert as_json("rollback")["microcode"] == "before"


@pytest.mark.model
@pytest.mark.usefixtures("runs")
def test_without_a_terminal_nothing_is_learnt_unasked(model: Path) -> None:
    with pytest.raises(RunError, match="Nobody is there"):
        run_app(["learn", "from-traces"])
    assert traces.kept() == []


@pytest.mark.model
def test_too_few_examples_are_kept_for_later(model: Path, home: Path, as_json: Callable[..., Any]) -> None:
    name = enter(home / "home" / "data", "read a.txt", [("read_file", {"path": "a.txt"}, "x")])
    said = as_json("from-traces", name, "--yes", code=1)
    assert not said["trained"]
    assert said["train"] + said["held"] == 3
    assert len(traces.kept()) == 3


@pytest.mark.model
def test_measuring_makes_a_table_and_a_file(model: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adapter = tiny.write_adapter(home / "mine.gguf", model, name="mine")
    words = ["eval", str(adapter), "--base", "--job", "verdict", "--count", "4", "--json", "rows.json"]
    assert run_app(["learn", *words]) == 0
    out = capsys.readouterr().out
    assert "verdict with its reason" in out
    assert "better by" in out
    rows = json.loads(Path("rows.json").read_text())
    assert {one["of"] for one in rows} == {"base", str(adapter)}
    assert all(one["n"] == 4 for one in rows)
    with pytest.raises(LlmosError):
        run_app(["learn", "eval", "ghost"])
    assert run_app(["learn", "eval", "--job", "dance"]) == 2
