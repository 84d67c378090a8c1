"""`llmos model …` as a person or a script uses it: what is printed where, and with which exit code."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import huggingface_hub
import pytest

from llmos.engine import store
from llmos.engine.store.catalogue import CATALOGUE
from llmos.engine.store.tune import Progress, TuneReport, TuneRow
from llmos.shell import models
from llmos.shell.start import command_line
from tests.engine.gguf_files import changed, gguf, string
from tests.engine.hub_server import Hub, serving

PULLED = "hf:owner/tiny-GGUF/tiny-Q8_0.gguf"
BIG = gguf() + bytes(2 << 20)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMOS_HOME", str(tmp_path / "llmos"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(Hub(files={"owner/tiny-GGUF/tiny-Q8_0.gguf": BIG})) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        yield server
    huggingface_hub.close_session()


@dataclass(frozen=True)
class Result:
    exit_code: int
    stdout: str
    stderr: str


def run(*arguments: str) -> Result:
    out, err = io.StringIO(), io.StringIO()
    with mock.patch("sys.argv", ["llmos", "model", *arguments]), redirect_stdout(out), redirect_stderr(err):
        code = command_line()
    return Result(code, out.getvalue(), err.getvalue())


def test_the_list_shows_what_is_here_and_what_can_be_pulled(home: Path) -> None:
    (home / "mine-Q8_0.gguf").write_bytes(gguf())
    assert run("use", "mine-Q8_0.gguf").exit_code == 0
    result = run("list")
    assert result.exit_code == 0
    assert re.search(r"→ +\S*mine-Q8_0\.gguf +file +Q8_0 +0 MB", result.stdout)
    assert re.search(r"^ +default +builtin +Q4_1 +98 MB", result.stdout, re.MULTILINE)
    for entry in CATALOGUE:
        assert f"{entry.name} " in result.stdout
        assert entry.good_for in result.stdout
    assert not result.stderr


def test_the_list_is_there_for_programs_too() -> None:
    result = run("list", "--json")
    found = json.loads(result.stdout)
    (embedded,) = [model for model in found["models"] if model["spec"] == "default"]
    assert embedded["in_use"] is True
    assert embedded["bytes"] == 98_362_432
    assert {entry["name"] for entry in found["catalogue"]} == {entry.name for entry in CATALOGUE}


def test_a_pull_prints_the_path_on_stdout_and_the_rest_on_stderr(server: Hub) -> None:
    result = run("pull", "owner/tiny-GGUF")
    assert result.exit_code == 0
    assert Path(result.stdout.strip()).read_bytes() == BIG
    assert "100 % of 2 MB" in result.stderr
    assert f"llmos model use {PULLED}" in result.stderr
    assert run("use", PULLED).exit_code == 0
    assert run("rm", "owner/tiny-GGUF").exit_code == 0
    assert store.current() == "default"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("pull", "nobody/nothing"), "has no repository 'nobody/nothing'"),
        (("use", "nobody/nothing"), "Get it with `llmos model pull nobody/nothing`"),
        (("use", "broken.gguf"), "is not a usable GGUF"),
        (("show", "none.gguf"), "There is no file"),
        (("rm", "default"), "was not deleted"),
        (("tune", "broken.gguf"), "broken.gguf"),
    ],
)
def test_a_failure_is_one_sentence_and_exit_code_1(
    home: Path, server: Hub, arguments: tuple[str, ...], words: str
) -> None:
    (home / "broken.gguf").write_bytes(b"GGUF")
    result = run(*arguments)
    assert result.exit_code == 1
    assert words in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") <= 2
    assert result.stdout == ""


def test_a_missing_argument_is_exit_code_2() -> None:
    assert run("pull").exit_code == 2


def test_show_tells_the_facts(home: Path) -> None:
    result = run("show")
    assert result.exit_code == 0
    assert "8,192 tokens" in result.stdout
    assert "134.515" in result.stdout or "135 million" in result.stdout
    (home / "lora.gguf").write_bytes(gguf(changed(general__type=string("adapter"), general__name=string("[red]x"))))
    result = run("show", "lora.gguf")
    assert "It is a LoRA adapter" in result.stdout
    assert "[red]x" in result.stdout


def test_show_is_there_for_programs_too() -> None:
    facts = json.loads(run("show", "default", "--json").stdout)
    assert facts["context_length"] == 8192
    assert facts["metadata"]["general.license"] == "apache-2.0"
    assert facts["kv_bytes_per_token"] == 23040


def rows() -> tuple[TuneRow, ...]:
    return (
        TuneRow(format="Q4_1", bytes=98_000_000, prefill=300, decode=120, decode16=220, perplexity=14.25, speedup=1.0),
        TuneRow(format="Q8_0", bytes=145_000_000, prefill=650, decode=117, decode16=300, speedup=1.4, chosen=True),
    )


def test_tune_shows_the_race_and_its_winner(monkeypatch: pytest.MonkeyPatch) -> None:
    def race(path: Path, *, progress: Progress) -> TuneReport:
        progress("measuring Q8_0", 0.5)
        return TuneReport(source=path, path=path, rows=rows(), seconds=3.0)

    monkeypatch.setattr(models, "tune", race)
    result = run("tune")
    assert result.exit_code == 0
    assert "measuring Q8_0 (50%)" in result.stderr
    assert "runs as Q8_0 from now on" in result.stderr
    assert re.search(r"→ +Q8_0 +145 MB", result.stdout)
    report = json.loads(run("tune", "default", "--json").stdout)
    assert [row["format"] for row in report["rows"]] == ["Q4_1", "Q8_0"]


def test_every_command_has_examples() -> None:
    for name in ("list", "pull", "show", "use", "rm", "tune"):
        result = run(name, "--help")
        assert result.exit_code == 0
        assert f"llmos model {name}" in result.stdout


def test_ctrl_c_during_a_pull_keeps_the_part_and_exits_with_130(server: Hub, home: Path) -> None:
    server.cuts, server.hold = [1 << 20], threading.Event()
    process = subprocess.Popen(
        [sys.executable, "-m", "llmos", "model", "pull", "owner/tiny-GGUF"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until_it_has(home / "hub", 1 << 20)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    finally:
        server.hold.set()
        process.kill()
        process.wait(30)
    assert process.returncode == 130
    assert "What arrived is kept" in stderr
    assert "Traceback" not in stderr
    assert run("pull", "owner/tiny-GGUF").exit_code == 0
    assert server.downloads[-1].range.startswith("bytes=")


def wait_until_it_has(folder: Path, size: int) -> None:
    """Until most of `size` bytes were written; what a buffer still holds is written when the program ends."""
    for _ in range(600):
        if any(part.stat().st_size > size // 2 for part in folder.rglob("*.incomplete")):
            return
        time.sleep(0.05)
    pytest.fail("nothing was pulled in 30 s")
