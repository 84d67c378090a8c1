"""The chat in a pipe."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.engine.gguf_files import gguf
from tests.shell.helpers import WAIT, broken_llama, environment, llmos, needs_preparation, script


def test_each_line_is_answered_and_the_end_of_input_is_exit_0(tmp_path: Path) -> None:
    model = script(tmp_path, ["first **answer**", "second"])
    done = llmos(tmp_path, "--model", model, stdin=b"one\n\ntwo")
    assert (done.returncode, done.stdout) == (0, b"first **answer**\nsecond\n")
    assert b"\x1b" not in done.stdout + done.stderr


def test_without_input_nothing_is_said(tmp_path: Path) -> None:
    done = llmos(tmp_path, "--model", "scripted:", stdin=b"")
    assert (done.returncode, done.stdout) == (0, b"")


def test_commands_work_and_exit_leaves_the_rest_unread(tmp_path: Path) -> None:
    done = llmos(tmp_path, "--model", "scripted:", stdin=b"hi\n/undo\n/stats\n/exit\nnever\n")
    assert done.returncode == 0
    assert b"taken back: hi" in done.stdout
    assert b"never" not in done.stdout


def test_an_unknown_command_suggests_one_and_a_path_is_a_message(tmp_path: Path) -> None:
    done = llmos(tmp_path, "--model", "scripted:", stdin=b"/undoo\n/etc/hosts is what?\n")
    assert b"did you mean /undo?" in done.stderr
    assert done.stdout == b"/etc/hosts is what?\n"


def test_a_code_block_is_one_message(tmp_path: Path) -> None:
    done = llmos(tmp_path, "--model", "scripted:", stdin=b"```\na\nb\n```\nnext\n")
    assert done.stdout == b"```\na\nb\n```\nnext\n"


def test_a_failed_turn_is_on_stderr_and_the_chat_goes_on(tmp_path: Path) -> None:
    model = script(tmp_path, {"bad": {"error": "it broke"}, "good": "fine"})
    done = llmos(tmp_path, "--model", model, stdin=b"bad\ngood\n")
    assert (done.returncode, done.stdout) == (0, b"fine\n")
    assert b"error: it broke" in done.stderr


def test_a_line_that_is_not_text_is_left_out(tmp_path: Path) -> None:
    done = llmos(tmp_path, "--model", "scripted:", stdin=b"\xff\xfe\nfine\n")
    assert done.stdout == b"fine\n"
    assert b"Line 1 is not UTF-8" in done.stderr


def test_a_conversation_goes_on_in_another_process(tmp_path: Path) -> None:
    llmos(tmp_path, "--model", script(tmp_path, ["one"]), stdin=b"my first question\n")
    done = llmos(tmp_path, "--continue", "--model", script(tmp_path, ["two"]), stdin=b"next\n")
    assert "resumed “my first question”, 1 turn" in done.stdout.decode()
    (path,) = (tmp_path / "data" / "conversations").glob("*.json")
    messages = json.loads(path.read_text())["messages"]
    assert [message["content"] for message in messages] == ["my first question", "one", "next", "two"]


def test_a_place_that_can_not_be_written_is_a_warning_and_the_chat_goes_on(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    done = llmos(tmp_path, "--model", "scripted:", stdin=b"one\ntwo\n")
    assert (done.returncode, done.stdout) == (0, b"one\ntwo\n")
    assert done.stderr.count(b"This conversation is not saved.") == 1


def test_an_interrupt_keeps_the_partial_answer_and_is_exit_130(tmp_path: Path) -> None:
    model = script(tmp_path, "word " * 1000, seconds_per_token=0.02)
    with subprocess.Popen(
        [sys.executable, "-m", "llmos", "--model", model],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(tmp_path),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
        os.read(process.stdout.fileno(), 4096)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=WAIT)
    assert process.returncode == 130
    (path,) = (tmp_path / "data" / "conversations").glob("*.json")
    assert json.loads(path.read_text())["messages"][1]["content"].startswith("word")


def test_to_go_on_where_nothing_is_saved_is_exit_2(tmp_path: Path) -> None:
    done = llmos(tmp_path, "--continue", "--model", "scripted:", stdin=b"hi\n")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"error: Invalid value for --continue: no conversation is saved yet\n")


def test_to_go_on_with_a_damaged_conversation_is_exit_1(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "conversations"
    folder.mkdir(parents=True)
    (folder / "bad.json").write_text("{")
    done = llmos(tmp_path, "--continue", "--model", "scripted:", stdin=b"hi\n")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"error: The conversation 'bad.json' is damaged: ")


def test_the_first_line_names_the_chosen_model(tmp_path: Path) -> None:
    assert llmos(tmp_path).stderr.startswith("llmos 0.1 · SmolLM2-135M-Instruct · ".encode())
    (tmp_path / "mine-Q8_0.gguf").write_bytes(gguf())
    assert llmos(tmp_path, "model", "use", str(tmp_path / "mine-Q8_0.gguf")).returncode == 0
    assert llmos(tmp_path).stderr.startswith("llmos 0.1 · mine-Q8_0.gguf · ".encode())


@needs_preparation
def test_the_preparation_of_the_embedded_model_is_announced(tmp_path: Path) -> None:
    assert b"the first start prepares the model" in llmos(tmp_path, LLMOS_FORBID_REAL_MODELS="").stderr
    other = llmos(tmp_path, "--model", "scripted:", LLMOS_FORBID_REAL_MODELS="")
    assert b"prepares" not in other.stderr


def test_a_broken_installation_is_explained_and_another_model_can_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").write_bytes(gguf())
    model = str(tmp_path / "tiny.gguf")
    lines = f"hi\n/model {script(tmp_path, ['good now'])}\nagain\n".encode()
    done = llmos(
        tmp_path, "--model", model, stdin=lines, PYTHONPATH=broken_llama(tmp_path), LLMOS_FORBID_REAL_MODELS=""
    )
    assert done.returncode == 0
    assert done.stdout.endswith(b"good now\n")
    assert b"tiny.gguf' could not be loaded: OSError: libllama.so" in done.stderr
    assert b"Traceback" not in done.stderr


def test_after_a_new_system_prompt_turns_can_still_be_taken_back_and_asked_again(tmp_path: Path) -> None:
    model = script(tmp_path, ["one", "two", "three"])
    done = llmos(tmp_path, "--model", model, stdin=b"a\nb\n/system Be brief.\n/retry\n/undo\n/undo\n")
    assert done.stdout == b"one\ntwo\nBe brief.\nthree\ntaken back: b\ntaken back: a\n"
    (path,) = (tmp_path / "data" / "conversations").glob("*.json")
    assert json.loads(path.read_text())["messages"] == [{"role": "system", "content": "Be brief."}]
