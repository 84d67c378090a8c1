"""Leaving while the model is made ready: at once, with the right exit code, and nothing goes on behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from llmos.shell.waiting import PREPARES
from tests.shell.helpers import WAIT, Terminal, environment, needs_preparation, until

pytestmark = [pytest.mark.model, needs_preparation]


def prepared(home: Path) -> list[Path]:
    """What the preparation has come to: the model that it makes, and the note of it."""
    return [path for path in (home / "cache" / "tuned").glob("*") if path.suffix in (".gguf", ".json")]


def begun(home: Path) -> bool:
    """Whether a child process is at it."""
    return any((home / "cache" / "tuned").glob("race-*/*"))


def working(home: Path) -> list[str]:
    """Processes that have to do with a home."""
    found = (" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))
    return [line for line in found if str(home) in line]


def nothing_is_left(home: Path) -> None:
    assert prepared(home) == []
    assert not begun(home)
    assert working(home) == []


@pytest.mark.parametrize("tools", ["true", "false"])
def test_ctrl_c_while_the_first_start_prepares_the_model(tmp_path: Path, tools: str) -> None:
    command = [sys.executable, "-m", "llmos", "run", "hello"]
    where = environment(tmp_path, LLMOS_TOOLS=tools, LLMOS_MICROCODE="off")
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=where
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline().decode() == f"{PREPARES}\n"
        until(lambda: begun(tmp_path))
        assert working(tmp_path)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=WAIT)
    assert (process.returncode, output, errors) == (130, b"", b"")
    nothing_is_left(tmp_path)


def test_ctrl_c_while_microcode_is_merged(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "llmos", "run", "hello"]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(tmp_path)
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline().decode() == f"{PREPARES}\n"
        until(lambda: any((tmp_path / "cache" / "tuned").glob("*")))
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=WAIT)
    assert (process.returncode, output, errors) == (130, b"", b"")
    assert list((tmp_path / "cache" / "tuned").glob("*.gguf")) == []
    assert working(tmp_path) == []


def test_leaving_the_chat_while_the_first_start_prepares_the_model(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    try:
        terminal.until(lambda: begun(tmp_path))
        terminal.send("\x04")
        assert terminal.wait() == 0
    finally:
        terminal.close()
    nothing_is_left(tmp_path)


def test_ctrl_c_while_a_process_of_its_own_loads_the_model(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "llmos", "--isolate", "--model", "./model.gguf", "run", "hello"]
    from llmos.engine.store.builtin import find

    (tmp_path / "model.gguf").symlink_to(find().path)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(tmp_path, LLMOS_MICROCODE="off"),
        cwd=tmp_path,
    ) as process:
        child = until(lambda: psutil.Process(process.pid).children())[0]
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=WAIT)
    assert (process.returncode, errors) == (130, b"")
    assert not child.is_running()
