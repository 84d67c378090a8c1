"""The chat on a real pseudo-terminal."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engine.gguf_files import gguf
from tests.shell.helpers import Terminal, broken_llama, script

CTRL_C, CTRL_D, CTRL_R, ESC, ENTER = "\x03", "\x04", "\x12", "\x1b", "\r"
Start = Callable[..., Terminal]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    terminals: list[Terminal] = []

    def begin(*arguments: str, columns: int = 80, rows: int = 24, **values: str) -> Terminal:
        terminals.append(Terminal(tmp_path, *arguments, columns=columns, rows=rows, folder=None, **values))
        return terminals[-1]

    yield begin
    for terminal in terminals:
        terminal.close()


def saved(home: Path) -> list[str]:
    """What was said in the only conversation that is saved."""
    paths = list((home / "data" / "conversations").glob("*.json"))
    assert len(paths) < 2
    return [message["content"] for path in paths for message in json.loads(path.read_text())["messages"]]


def test_the_prompt_is_there_while_the_model_loads(start: Start, tmp_path: Path) -> None:
    chat = start("--model", script(tmp_path, ["hello"], load_seconds=60, name="demo"))
    chat.expect("llmos 0.1 · loading script.json · ")
    chat.expect("/help for commands\n>")
    chat.expect("loading script.json … 0 s")
    chat.send(CTRL_D)
    assert chat.wait() == 0


def test_a_conversation_of_three_turns(start: Start, tmp_path: Path) -> None:
    chat = start("--model", script(tmp_path, ["first **answer**", "second", "third"], name="demo"))
    chat.expect("demo · 4,096 context")
    for words, answer in (("one", "first answer"), ("two", "second"), ("three", "third")):
        chat.ready()
        chat.send(words + ENTER)
        chat.expect(f"> {words}\n{answer}\n\n>")
        chat.expect("confidence 0.90")
    chat.ready()
    chat.send("/exit" + ENTER)
    assert chat.wait() == 0
    assert saved(tmp_path) == ["one", "first **answer**", "two", "second", "three", "third"]
    assert "\x1b[1manswer" in chat.output


def test_a_question_asked_while_the_model_loads_waits_for_it(start: Start, tmp_path: Path) -> None:
    chat = start("--model", script(tmp_path, ["here"], load_seconds=0.7))
    chat.expect("loading script.json …")
    chat.send("early" + ENTER)
    chat.expect("loading the model")
    chat.expect("> early\nhere")


@pytest.mark.parametrize("key", [ESC, CTRL_C])
def test_a_key_stops_the_answer_and_keeps_what_was_said(start: Start, tmp_path: Path, key: str) -> None:
    chat = start("--model", script(tmp_path, ["word " * 1000, "next"], seconds_per_token=0.02))
    chat.ready()
    chat.send("go" + ENTER)
    chat.expect("word word word word word")
    chat.send(key)
    chat.expect("stopped; what was said is kept")
    question, answer = saved(tmp_path)
    assert question == "go"
    assert 5 <= len(answer.split()) < 900
    chat.ready()
    chat.send("more" + ENTER)
    chat.expect("> more\nnext")


def test_an_interrupt_from_outside_stops_the_answer_too(start: Start, tmp_path: Path) -> None:
    chat = start("--model", script(tmp_path, ["word " * 1000], seconds_per_token=0.02))
    chat.ready()
    chat.send("go" + ENTER)
    chat.expect("word word word")
    os.kill(chat.pid, signal.SIGINT)
    chat.expect("what was said is kept")
    chat.ready()
    chat.send(CTRL_D)
    assert chat.wait() == 0


def test_arrow_keys_do_not_stop_and_typing_ahead_is_not_lost(start: Start, tmp_path: Path) -> None:
    chat = start("--model", script(tmp_path, ["word " * 40 + "end", "second"], seconds_per_token=0.02))
    chat.ready()
    chat.send("go" + ENTER)
    chat.expect("word word word")
    chat.send("\x1b[A")
    chat.send("ahead" + ENTER)
    chat.until(lambda: len(saved(tmp_path)) == 4)
    assert saved(tmp_path)[1].endswith("end")
    assert saved(tmp_path)[2:] == ["ahead", "second"]


def test_alt_enter_and_a_code_block_make_more_lines(start: Start, tmp_path: Path) -> None:
    chat = start("--model", "scripted:")
    chat.ready()
    chat.send("one" + ESC + ENTER + "two" + ENTER)
    chat.until(lambda: len(saved(tmp_path)) == 2)
    chat.ready()
    chat.send("```" + ENTER + "code" + ENTER + "```" + ENTER)
    chat.until(lambda: len(saved(tmp_path)) == 4)
    assert saved(tmp_path)[::2] == ["one\ntwo", "```\ncode\n```"]


def test_a_paste_keeps_its_lines(start: Start, tmp_path: Path) -> None:
    chat = start("--model", "scripted:")
    chat.ready()
    chat.send("\x1b[200~first\nsecond\n\x1b[201~" + ENTER)
    chat.until(lambda: saved(tmp_path))
    assert saved(tmp_path)[0] == "first\nsecond"


def test_ctrl_c_throws_away_what_is_typed_and_ctrl_d_leaves(start: Start, tmp_path: Path) -> None:
    chat = start("--model", "scripted:")
    chat.ready()
    chat.send("unwanted")
    chat.expect("> unwanted")
    chat.send(CTRL_C)
    chat.until(lambda: "unwanted" not in chat.screen.text)
    chat.send(CTRL_C)
    chat.expect("Ctrl-D leaves")
    chat.ready()
    chat.send(CTRL_D)
    assert chat.wait() == 0
    assert saved(tmp_path) == []


def test_history_is_searched_and_survives(start: Start, tmp_path: Path) -> None:
    chat = start("--model", "scripted:")
    chat.ready()
    chat.send("a memorable question" + ENTER)
    chat.until(lambda: saved(tmp_path))
    chat.ready()
    chat.send(CTRL_D)
    assert chat.wait() == 0
    again = start("--model", "scripted:")
    again.ready()
    again.send(CTRL_R + "memor")
    again.expect("> a memorable question")


def test_commands_and_files_are_completed(start: Start, tmp_path: Path) -> None:
    (tmp_path / "a note.txt").write_text("the lease ends in March")
    chat = start("--model", "scripted:", columns=200)
    chat.ready()
    chat.send("/und")
    chat.expect("take back the last question")
    chat.send(CTRL_C + f"see @{tmp_path}/a")
    chat.until(lambda: "  a note.txt" in chat.screen.text)
    chat.send("\t" + '"')
    chat.expect(f'> see @"{tmp_path}/a note.txt"')
    chat.send(ENTER)
    chat.until(lambda: saved(tmp_path))
    assert "the lease ends in March" in saved(tmp_path)[0]


def test_a_low_confidence_is_marked(start: Start, tmp_path: Path) -> None:
    chat = start("--model", script(tmp_path, {"text": "perhaps", "logprob": -1.2}))
    chat.ready()
    chat.send("sure?" + ENTER)
    chat.expect("low confidence 0.30")


def test_a_model_that_is_missing_is_explained_and_can_be_replaced(start: Start, tmp_path: Path) -> None:
    chat = start("--model", f"scripted:{tmp_path}/none.json", columns=200)
    chat.expect("none.json could not be loaded · /model")
    chat.expect("No such file")
    chat.send("/model " + script(tmp_path, ["good now"], name="other") + ENTER)
    chat.ready()
    chat.send("hi" + ENTER)
    chat.expect("> hi\ngood now")


@pytest.mark.parametrize("debug", ["", "1"])
def test_a_broken_installation_is_explained_and_the_chat_goes_on(start: Start, tmp_path: Path, debug: str) -> None:
    (tmp_path / "tiny.gguf").write_bytes(gguf())
    model = str(tmp_path / "tiny.gguf")
    variables = {"PYTHONPATH": broken_llama(tmp_path), "LLMOS_FORBID_REAL_MODELS": "", "LLMOS_DEBUG": debug}
    chat = start("--model", model, columns=200, rows=60, **variables)
    chat.expect("could not be loaded: OSError: libllama.so: cannot open shared object file.")
    chat.expect("`llmos doctor` says what is missing")
    assert ("Traceback" in chat.screen.text) == bool(debug)
    chat.send("hi" + ENTER)
    chat.expect("> hi\n")
    chat.send("/model " + script(tmp_path, ["good now"], name="other") + ENTER)
    chat.ready()
    chat.send("again" + ENTER)
    chat.expect("> again\ngood now")


def test_a_prompt_that_is_too_long_says_the_numbers_and_hurts_nothing(start: Start, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("word " * 500)
    chat = start("--model", script(tmp_path, ["fine", "still fine"], context=100), columns=200)
    chat.ready("100")
    chat.send("one" + ENTER)
    chat.expect("> one\nfine")
    chat.ready("100")
    chat.send(f"@{tmp_path}/long.txt" + ENTER)
    chat.expect("holds 100")
    chat.ready("100")
    chat.send("two" + ENTER)
    chat.expect("> two\nstill fine")
    assert saved(tmp_path) == ["one", "fine", "two", "still fine"]


def test_a_narrow_terminal_that_changes_its_size_shows_everything(start: Start, tmp_path: Path) -> None:
    words = " ".join(f"word{i}" for i in range(60)) + "\n\n日本語のテキスト、幅の広い文字。\n\nend"
    chat = start("--model", script(tmp_path, words, seconds_per_token=0.05), columns=30, rows=8)
    chat.ready()
    chat.send("go" + ENTER)
    chat.expect("word5")
    chat.resize(18, 10)
    chat.expect("word30")
    chat.resize(60, 12)
    chat.expect("\nend\n")
    for needed in [*(f"word{i}" for i in range(60)), "日本語"]:
        assert needed in chat.screen.text
    chat.ready()
    chat.send("/exit" + ENTER)
    assert chat.wait() == 0


def test_the_last_conversation_goes_on(start: Start, tmp_path: Path) -> None:
    chat = start("--model", script(tmp_path, ["one **bold** answer"]))
    chat.ready()
    chat.send("a question" + ENTER)
    chat.until(lambda: saved(tmp_path))
    chat.ready()
    chat.send(CTRL_D)
    assert chat.wait() == 0
    again = start("--continue", "--model", script(tmp_path, ["two"]))
    again.expect("resumed “a question”, 1 turn\n> a question\none bold answer\n")
    again.ready()
    again.send("next" + ENTER)
    again.until(lambda: len(saved(tmp_path)) == 4)
    assert saved(tmp_path) == ["a question", "one **bold** answer", "next", "two"]


def test_to_go_on_where_nothing_is_saved_is_a_new_conversation_with_a_notice(start: Start, tmp_path: Path) -> None:
    chat = start("--continue", "--model", script(tmp_path, ["hello"]))
    chat.expect("no conversation is saved yet; this is a new one\n")
    chat.ready()
    chat.send("hi" + ENTER)
    chat.expect("> hi\nhello")


def test_a_run_on_a_terminal_says_that_the_model_loads_and_takes_it_away_again(start: Start, tmp_path: Path) -> None:
    chat = start("run", "x", "--model", script(tmp_path, ["the answer"], load_seconds=2, seconds_per_token=1))
    chat.expect("loading the model · ")
    chat.expect("reading · ")
    chat.expect("the answer")
    assert chat.wait() == 0
    assert chat.screen.text == "the answer"


def test_best_of_shows_on_a_terminal_how_far_it_is(start: Start, tmp_path: Path) -> None:
    replies = [{"text": "a " * 3}, {"text": "b " * 30}]
    model = script(tmp_path, replies, seconds_per_token=0.1)
    chat = start("run", "x", "--model", model, "--best-of", "2", "--temperature", "0.8")
    chat.expect("2 answers at once · 1 of 2 complete · ")
    assert chat.wait() == 0
    assert "complete" not in chat.screen.text
