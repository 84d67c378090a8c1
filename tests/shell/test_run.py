"""`llmos run` and the other commands as real processes: streams, exit codes, JSON."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from llmos.shell.cli import run_app
from tests.engine.gguf_files import gguf
from tests.shell.helpers import WAIT, broken_llama, environment, llmos, needs_preparation, script


def events(output: bytes) -> list[dict[str, Any]]:
    """JSON lines, each of them strict JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in output.splitlines()]


def test_the_answer_alone_is_on_stdout(tmp_path: Path) -> None:
    done = llmos(tmp_path, "run", "hello", "there", "--model", "scripted:")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hello there\n", b"")


def test_what_is_piped_in_comes_below_the_prompt_or_is_it(tmp_path: Path) -> None:
    with_prompt = llmos(tmp_path, "--model", "scripted:", "run", "sum up", stdin="grüße\n".encode())
    assert with_prompt.stdout.decode() == "sum up\n\ngrüße\n"
    assert llmos(tmp_path, "--model", "scripted:", "run", stdin=b"alone").stdout == b"alone\n"


def test_json_lines_are_strict_json_and_end_with_the_answer(tmp_path: Path) -> None:
    done = llmos(tmp_path, "run", "a b", "--json", "--model", "scripted:")
    first, *tokens, last = events(done.stdout)
    assert first["kind"] == "started"
    assert "".join(token["text"] for token in tokens) == last["message"]["content"] == "a b"
    assert (last["kind"], last["reason"], last["confidence"]) == ("finished", "stop", 0.9)


def test_numbers_that_json_does_not_have_and_broken_characters_stay_json(tmp_path: Path) -> None:
    model = script(tmp_path, {"text": "a \udcff b", "logprob": float("nan")})
    done = llmos(tmp_path, "run", "x", "--json", "--model", model)
    assert events(done.stdout)[-1]["logprob"] is None
    assert events(done.stdout)[-1]["message"]["content"] == "a \ufffd b"


def test_a_failure_is_one_sentence_a_hint_and_exit_1(tmp_path: Path) -> None:
    done = llmos(tmp_path, "run", "x", "--model", f"scripted:{tmp_path}/none.json")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"error: The script ")
    assert b"Traceback" not in done.stderr


def test_a_failure_in_json_is_the_last_line_too(tmp_path: Path) -> None:
    model = script(tmp_path, {"text": "begun", "error": "it broke"})
    done = llmos(tmp_path, "run", "x", "--json", "--model", model)
    assert done.returncode == 1
    assert events(done.stdout)[-1] == {"kind": "error", "error": "EngineError", "message": "it broke", "hint": ""}


def test_debugging_shows_where_it_failed(tmp_path: Path) -> None:
    done = llmos(tmp_path, "run", "x", "--model", f"scripted:{tmp_path}/none.json", LLMOS_DEBUG="1")
    assert done.returncode == 1
    assert b"Traceback" in done.stderr


def test_debugging_shows_where_a_command_of_models_failed(tmp_path: Path) -> None:
    done = llmos(tmp_path, "model", "show", "./none.gguf", LLMOS_DEBUG="1")
    assert done.returncode == 1
    assert b"Traceback" in done.stderr
    assert b"\nerror: There is no file " in done.stderr


def test_a_broken_installation_is_one_sentence_and_exit_1(tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").write_bytes(gguf())
    model, broken = str(tmp_path / "tiny.gguf"), broken_llama(tmp_path)
    done = llmos(tmp_path, "run", "x", "--json", "--model", model, PYTHONPATH=broken, LLMOS_FORBID_REAL_MODELS="")
    assert done.returncode == 1
    assert "could not be loaded: OSError: libllama.so" in events(done.stdout)[-1]["message"]
    assert done.stderr.startswith(b"error: The model ")
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "x", "--no-such-option"],
        ["no-such-command"],
        ["run", "x", "--beams", "0"],
        ["run", "x", "--beams", "2", "--best-of", "2"],
        ["run", "x", "--regex", "a", "--choices", "b"],
        ["run", "x", "--choices", ","],
        ["run", "x", "--schema", "/no/such/file"],
        ["run", "x", "--greedy", "--temperature", "1"],
        ["run", "x", "--greedy", "--best-of", "2"],
        ["--continue", "run", "x"],
        ["--resume", "doctor"],
        ["model", "no-such-command"],
        ["model", "list", "--no-such-option"],
        ["model", "pull"],
        ["next", "x", "--top", "0"],
    ],
)
def test_wrong_usage_is_exit_2_and_explained(tmp_path: Path, arguments: list[str]) -> None:
    done = llmos(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"error: ")
    assert b"\n  Usage: llmos" in done.stderr
    assert b"-h` explains it.\n" in done.stderr


def test_a_wrong_setting_is_exit_1_and_named(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("modell = 'x'")
    done = llmos(tmp_path, "run", "x")
    assert done.returncode == 1
    assert b"'modell' in" in done.stderr


@pytest.mark.parametrize("as_json", [False, True])
def test_an_interrupt_keeps_what_was_said_and_is_exit_130(tmp_path: Path, as_json: bool) -> None:
    model = script(tmp_path, "word " * 1000, seconds_per_token=0.02)
    command = [sys.executable, "-m", "llmos", "run", "x", "--model", model, *(["--json"] if as_json else [])]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(tmp_path)
    ) as process:
        assert process.stdout is not None
        begun = os.read(process.stdout.fileno(), 4096)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=WAIT)
    assert (process.returncode, errors) == (130, b"")
    if as_json:
        last = events(begun + output)[-1]
        assert (last["kind"], last["reason"]) == ("finished", "cancelled")
        assert last["message"]["content"].startswith("word word")
    else:
        assert (begun + output).startswith(b"word word")
        assert (begun + output).endswith(b"\n")


def test_a_reader_that_leaves_ends_it_quietly(tmp_path: Path) -> None:
    model = script(tmp_path, "word " * 3000, context=9000)
    command = [sys.executable, "-m", "llmos", "run", "x", "--model", model]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(tmp_path)
    ) as process:
        assert process.stdout is not None
        process.stdout.read(5)
        process.stdout.close()
        assert process.stderr is not None
        errors = process.stderr.read()
        assert process.wait(WAIT) == 1
    assert errors == b""


def test_a_cut_answer_says_so_on_stderr(tmp_path: Path) -> None:
    done = llmos(tmp_path, "run", "a b c d", "--max-tokens", "2", "--model", "scripted:")
    assert (done.returncode, done.stdout) == (0, b"a b\n")
    assert b"cut after 2 tokens" in done.stderr


def test_the_best_of_several_answers_is_given(tmp_path: Path) -> None:
    replies = [{"text": f"answer {n}", "logprob": -n} for n in (3, 1, 2)]
    model = script(tmp_path, replies)
    done = llmos(tmp_path, "run", "x", "--best-of", "3", "--temperature", "0.8", "--model", model)
    assert done.stdout == b"answer 1\n"
    assert done.stderr.decode().splitlines()[0].startswith("1. confidence 0.37, seed ")


def test_choices_are_shown_with_their_shares(tmp_path: Path) -> None:
    arguments = ("run", "x", "--choices", "yes,no", "--model", script(tmp_path, {"text": "no", "logprob": -6.0}))
    done = llmos(tmp_path, *arguments)
    assert (done.stdout, done.stderr.decode()) == (b"no\n", "yes 50% · no 50%\n")
    last = events(llmos(tmp_path, *arguments, "--json").stdout)[-1]
    assert (last["confidence"], last["choices"]) == (0.5, {"yes": 0.5, "no": 0.5})


def test_of_many_choices_the_likeliest_are_shown(tmp_path: Path) -> None:
    done = llmos(tmp_path, "run", "x", "--choices", "a,b,c,d,e,f,g,h,i,j", "--model", script(tmp_path, "a"))
    assert done.stderr.decode() == "a 10% · b 10% · c 10% · d 10% · e 10% · all others 50%\n"


@pytest.mark.parametrize("best_of", [1, 2])
def test_under_a_constraint_no_confidence_is_claimed(tmp_path: Path, best_of: int) -> None:
    model = script(tmp_path, {"text": "12", "logprob": -6.0})
    arguments = ("run", "x", "--regex", "[0-9]+", "--best-of", str(best_of), "--model", model)
    assert b"confidence" not in llmos(tmp_path, *arguments).stderr
    assert events(llmos(tmp_path, *arguments, "--json").stdout)[-1]["confidence"] is None


def test_best_of_has_the_limit_of_a_plain_run(tmp_path: Path) -> None:
    arguments = ("run", "x", "--temperature", "1", "--model", script(tmp_path, "word " * 3000, context=9000))
    for best_of in ("1", "2"):
        assert b"cut after 2,048 tokens (max_tokens)" in llmos(tmp_path, *arguments, "--best-of", best_of).stderr


@needs_preparation
@pytest.mark.model
def test_the_preparation_of_the_embedded_model_is_announced(tmp_path: Path) -> None:
    arguments = ("run", "x", "--max-tokens", "1")
    done = llmos(tmp_path, *arguments)
    assert done.stderr.startswith(b"the first start prepares the model for this processor\n")
    shutil.rmtree(tmp_path / "cache")
    done = llmos(tmp_path, *arguments, "--json")
    assert events(done.stdout)[0] == {"text": "the first start prepares the model for this processor", "kind": "notice"}
    done = llmos(tmp_path, *arguments, "--json")
    assert events(done.stdout)[0]["kind"] == "started"


def test_input_that_is_not_text_is_refused(tmp_path: Path) -> None:
    done = llmos(tmp_path, "run", "x", "--model", "scripted:", stdin=b"\xff\xfe")
    assert done.returncode == 1
    assert b"not UTF-8" in done.stderr


def test_an_input_that_does_not_end_is_explained(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "llmos", "run", "x", "--model", "scripted:"]
    with subprocess.Popen(
        command, stdin=reading, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(tmp_path)
    ) as process:
        assert process.stderr is not None
        assert b"waiting for the end of the input" in process.stderr.readline()
        os.close(writing)
        os.close(reading)
        assert process.communicate(timeout=WAIT)[0] == b"x\n"


def test_tokens_are_shown_with_ids_bytes_and_counts(tmp_path: Path) -> None:
    done = llmos(tmp_path, "--model", "scripted:", "tokens", "a ✓✓ b")
    text = done.stdout.decode()
    assert text.startswith("a| ✓<E2><9C>|<93>| b|\n") or "part of a character" in text
    assert "6 characters and 10 bytes" in text


def test_tokens_in_json_add_up_to_the_text(tmp_path: Path) -> None:
    done = llmos(tmp_path, "--model", "scripted:", "tokens", "naïve ✓✓ 🙂", "--json")
    (found,) = events(done.stdout)
    assert b"".join(bytes.fromhex(token["bytes"]) for token in found["tokens"]).decode() == "naïve ✓✓ 🙂"
    assert found["count"] == len(found["tokens"])
    assert any(token["text"] is None for token in found["tokens"])


def test_next_shows_a_bar_for_each_token(tmp_path: Path) -> None:
    done = llmos(tmp_path, "next", "The mouse", "--top", "3", "--model", "scripted:")
    lines = done.stdout.decode().splitlines()
    assert len(lines) == 4
    assert "90.0%" in lines[0]
    assert lines[0].endswith("█" * 40)
    assert lines[-1].startswith("all others")


def test_next_in_json_has_probabilities(tmp_path: Path) -> None:
    done = llmos(tmp_path, "next", "The mouse", "--top", "3", "--model", "scripted:", "--json")
    (found,) = events(done.stdout)
    assert [round(token["probability"], 3) for token in found["next"]] == [0.9, 0.05, 0.025]


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize(
    "command",
    [
        *("", "run", "tokens", "next", "doctor", "model"),
        *("ps", "top", "log", "trace", "resume", "kill", "undo", "replay", "audit", "forget"),
        *(f"grants {name}" for name in ("list", "add", "revoke")),
        *(f"model {name}" for name in ("list", "pull", "show", "use", "rm", "tune")),
    ],
)
def test_every_command_has_help(command: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app([*command.split(), option]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"Usage: llmos {command}".rstrip() + " [OPTIONS]")
    assert "[[" not in out
    assert err == ""


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"]])
def test_help_loads_nothing_that_is_slow(tmp_path: Path, arguments: list[str]) -> None:
    code = f"import sys; from llmos.shell.start import main; sys.argv = ['llmos', *{arguments!r}]; main()"
    code += "; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment(tmp_path), check=True)
    loaded = {name.split(".")[0] for name in done.stderr.decode().split()}
    assert not loaded & {"rich", "prompt_toolkit", "asyncio", "numpy", "httpx", "jinja2", "llama_cpp"}


def test_the_prompt_loads_nothing_that_is_slow(tmp_path: Path) -> None:
    code = "import sys; import llmos.shell.repl; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment(tmp_path), check=True)
    loaded = {name.split(".")[0] for name in done.stdout.decode().split()}
    assert not loaded & {"rich", "pydantic", "typer", "numpy", "httpx", "jinja2", "llama_cpp", "markdown_it"}
