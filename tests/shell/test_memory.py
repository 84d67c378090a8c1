"""`llmos memory …` and what the chat does with memory."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from llmos.config import load_settings
from llmos.shell.memories import opened
from llmos.shell.plain import run_plain
from llmos.shell.start import command_line
from tests.shell.helpers import WAIT, Terminal, environment, llmos, script

CTRL_D, ENTER = "\x04", "\r"
LEASE = """# Lease

The lease of the flat ends on 31 March 2027.
It needs three months notice, in writing.
"""
TOOLS = {"LLMOS_TOOLS": "true"}


def documents(home: Path) -> Path:
    folder = home / "docs"
    folder.mkdir()
    (folder / "lease.md").write_text(LEASE)
    (folder / "garden.txt").write_text("The garden belongs to the ground floor. It is closed in winter.\n")
    return folder


def memory(home: Path, *arguments: str, **values: str) -> tuple[int, str, str]:
    """Run `llmos memory` in this process, at home in a folder: exit code, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, {"LLMOS_HOME": str(home), **values}),
        mock.patch.object(sys, "argv", ["llmos", "memory", *arguments]),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        code = command_line()
    return code, out.getvalue(), err.getvalue()


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def chat(home: Path, *lines: str, replies: object = "I don't know.", **values: str) -> tuple[str, str]:
    """What a chat in a pipe says to some lines: stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, {"LLMOS_HOME": str(home), "LLMOS_TOOLS": "false", **values}),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        settings = load_settings(flags={"model": script(home, replies)})
        assert run_plain(settings, lines=[line.encode() for line in lines]) == 0
    return out.getvalue(), err.getvalue()


def asked(home: Path) -> list[dict[str, Any]]:
    """The messages of the chats that are saved."""
    paths = sorted((home / "data" / "conversations").glob("*.json"))
    return [message for path in paths for message in json.loads(path.read_text())["messages"]]


# -- adding and finding


def test_a_folder_is_added_once_and_what_changed_again(tmp_path: Path) -> None:
    folder = documents(tmp_path)
    code, out, err = memory(tmp_path, "add", str(folder))
    assert (code, out.partition(" in ")[0]) == (0, "2 added with 2 new passages,")
    assert "by words only" in err
    assert memory(tmp_path, "add", str(folder))[1].startswith("0 added with 0 new passages, 2 unchanged,")
    (folder / "garden.txt").unlink()
    (folder / "lease.md").write_text(LEASE.replace("2027", "2028"))
    assert memory(tmp_path, "add", str(folder))[1].startswith("1 added with 1 new passages, 1 gone,")
    code, out, _ = memory(tmp_path, "search", "when does the lease of the flat end")
    assert (code, "31 March 2028" in out, "2027" in out) == (0, True, False)


def test_json_has_a_line_for_each_source_and_a_result(tmp_path: Path) -> None:
    folder = documents(tmp_path)
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 nothing")
    code, out, _ = memory(tmp_path, "add", str(folder), "--json")
    events = rows(out)
    assert code == 1
    assert [event["state"] for event in events[:-1]].count("added") == 2
    assert events[-1]["kind"] == "result"
    assert [Path(one["source"]).name for one in events[-1]["skipped"]] == ["broken.pdf"]


def test_what_is_not_there_is_an_error_before_anything_is_added(tmp_path: Path) -> None:
    code, out, err = memory(tmp_path, "add", str(documents(tmp_path)), str(tmp_path / "nothing"))
    assert (code, out) == (1, "")
    assert "There is no file or folder" in err
    assert not (tmp_path / "data" / "memory").exists()


def test_search_show_list_and_stats(tmp_path: Path) -> None:
    memory(tmp_path, "add", str(documents(tmp_path)))
    code, out, _ = memory(tmp_path, "search", "when does the lease of the flat end", "--json", "--limit", "1")
    (hit,) = rows(out)
    assert (code, hit["kind"], hit["label"], hit["relevant"]) == (0, "passage", "files", True)
    assert hit["place"].endswith("docs/lease.md:1-4")
    code, out, _ = memory(tmp_path, "show", str(hit["id"]), "--json")
    assert (code, rows(out)[0]["text"]) == (0, LEASE.strip())
    assert memory(tmp_path, "show", "999")[0] == 1
    code, out, _ = memory(tmp_path, "list")
    assert (code, [line.rpartition("/")[2].split()[0] for line in out.splitlines()]) == (0, ["garden.txt", "lease.md"])
    assert len(rows(memory(tmp_path, "list", "--items", "--json")[1])) == 2
    assert memory(tmp_path, "list", "--kind", "fact")[1] == "nothing of this is remembered\n"
    assert rows(memory(tmp_path, "stats", "--json")[1])[0]["kinds"] == {"passage": 2}


def test_a_pinned_preference_stands_in_contexts_that_have_room_for_nothing_else(tmp_path: Path) -> None:
    chat(tmp_path, "remember that I like window seats", "remember that I like green tea")
    numbers = {row["text"]: str(row["id"]) for row in rows(memory(tmp_path, "list", "--items", "--json")[1])}
    tea = next(number for text, number in numbers.items() if "tea" in text)

    def known() -> str:
        with mock.patch.dict(os.environ, {"LLMOS_HOME": str(tmp_path)}), opened(None) as mine:
            return mine.personal.core_block("which seat do I like?", tokens=14, count=lambda text: len(text) // 4).text

    assert "window" in known()
    assert memory(tmp_path, "pin", tea)[1] == "pinned: I like green tea\n"
    assert "tea" in known()
    assert memory(tmp_path, "pin", tea, "--off")[0] == 0
    assert "tea" not in known()
    code, _, complaint = memory(tmp_path, "pin", "999")
    assert code == 1
    assert "999 is no fact" in complaint


def test_nothing_relevant_is_exit_1(tmp_path: Path) -> None:
    assert memory(tmp_path, "search", "anything") == (1, "nothing relevant is remembered\n", "")
    memory(tmp_path, "add", str(documents(tmp_path)))
    assert memory(tmp_path, "search", "quantum chromodynamics")[0] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("add",),
        ("search",),
        ("show", "x"),
        ("forget",),
        ("forget", "--all", "x"),
        ("map", "--by", "colour"),
        ("nothing",),
    ],
)
def test_wrong_usage_is_exit_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    code, out, err = memory(tmp_path, *arguments)
    assert (code, out, err.startswith("error: ")) == (2, "", True)


def test_tenants_see_nothing_of_each_other(tmp_path: Path) -> None:
    folder = documents(tmp_path)
    memory(tmp_path, "add", str(folder / "lease.md"), "--tenant", "anna")
    assert memory(tmp_path, "search", "when does the lease of the flat end")[0] == 1
    assert memory(tmp_path, "search", "when does the lease of the flat end", LLMOS_MEMORY_TENANT="anna")[0] == 0
    assert "nothing is remembered" in memory(tmp_path, "list")[1]


def test_export_and_import_between_homes(tmp_path: Path) -> None:
    memory(tmp_path, "add", str(documents(tmp_path)))
    file = tmp_path / "memory.jsonl"
    assert memory(tmp_path, "export", str(file))[0] == 0
    assert memory(tmp_path, "export", "-")[1].splitlines()[1:] == file.read_text().splitlines()[1:]
    other = tmp_path / "other"
    assert memory(other, "import", str(file))[1] == "2 items added\n"
    assert memory(other, "import", str(file))[1] == "0 items added, 2 were there already\n"
    assert memory(other, "search", "when does the lease of the flat end")[0] == 0


def test_ctrl_c_keeps_what_was_added_and_the_next_time_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(800):
        (folder / f"{number}.txt").write_text(f"Stone number {number} lies at place {number * 7}.\n" * 20)
    with subprocess.Popen(
        [sys.executable, "-m", "llmos", "memory", "add", str(folder), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(tmp_path),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for _ in range(20):
            process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=WAIT)
    assert (process.returncode, b"Traceback" in err, b"goes on from here" in err) == (130, False, True)
    found = rows(memory(tmp_path, "stats", "--json")[1])[0]["sources"]
    assert 20 <= found < 800
    result = rows(memory(tmp_path, "add", str(folder), "--json")[1])[-1]
    assert (result["unchanged"], result["added"] + result["unchanged"]) == (found, 800)


def test_watch_follows_a_folder_until_ctrl_c(tmp_path: Path) -> None:
    folder = documents(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-m", "llmos", "memory", "watch", str(folder), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(tmp_path),
    ) as process:
        assert process.stdout is not None
        assert [json.loads(process.stdout.readline())["state"] for _ in range(2)] == ["added", "added"]
        time.sleep(0.5)
        (folder / "new.md").write_text("The cellar is dry.\n")
        assert json.loads(process.stdout.readline())["source"].endswith("new.md")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=WAIT)
    assert (process.returncode, err) == (0, b"")
    assert memory(tmp_path, "search", "is the cellar dry")[0] == 0


# -- in the chat


def test_a_question_is_answered_from_documents_with_its_source(tmp_path: Path) -> None:
    memory(tmp_path, "add", str(documents(tmp_path)))
    out, _ = chat(tmp_path, "When does the lease of the flat end?", **TOOLS)
    assert "The lease of the flat ends on 31 March 2027 [1]." in out
    assert "[1] ~/docs/lease.md:3" in out or "docs/lease.md:3 “The lease of the flat ends on 31 March 2027.”" in out


def test_what_is_not_in_the_documents_is_said_to_be_so(tmp_path: Path) -> None:
    memory(tmp_path, "add", str(documents(tmp_path)))
    out, _ = chat(tmp_path, "What do my documents say about quantum gravity?", **TOOLS)
    assert out.strip() == "That is not in your documents."
    out, _ = chat(tmp_path, "Who discovered quantum gravity?", replies="Nobody.", **TOOLS)
    assert out.strip() == "That is not in your documents. The model itself says:\nNobody."


def test_without_documents_nothing_is_said_of_them(tmp_path: Path) -> None:
    assert chat(tmp_path, "Who discovered quantum gravity?", replies="Nobody.", **TOOLS)[0].strip() == "Nobody."
    assert not (tmp_path / "data" / "memory").exists()


@pytest.mark.parametrize("words", ["remember that I like window seats", "#note I like window seats"])
def test_what_is_told_in_one_sitting_stands_in_the_next_ones_prompt(tmp_path: Path, words: str) -> None:
    out, _ = chat(tmp_path, words)
    assert "window seats" in out
    said = {"Book me a flight.": "Done."}
    out, _ = chat(tmp_path, "Book me a flight.", "/context", replies=said)
    assert "Done." in out
    assert "About the user, as they said it" in out  # in the system page of the context
    assert all("window" not in message["content"] for message in asked(tmp_path) if message["role"] == "system")


def test_why_it_is_known_is_answered_with_the_words_it_was_told_in(tmp_path: Path) -> None:
    chat(tmp_path, "remember that I like window seats")
    out, _ = chat(tmp_path, "why do you know that I like window seats?")
    assert "“remember that I like window seats”" in out
    assert "you asked me to remember it" in out
    assert "in chat 20" in out


def test_a_new_value_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    out, _ = chat(tmp_path, "remember that my dentist is Dr. Wu", "remember that my dentist is Dr. Ray")
    assert "noted: dentist: Dr. Ray" in out
    assert "in place of: dentist: Dr. Wu" in out
    assert "Dr. Wu" in memory(tmp_path, "list", "--items", "--history")[1]
    assert "Dr. Wu" not in memory(tmp_path, "list", "--items")[1]


def test_memory_is_looked_at_and_filled_from_the_chat(tmp_path: Path) -> None:
    folder = documents(tmp_path)
    lines = [
        f"/memory add '{folder}'",
        "/memory search lease of the flat",
        "/memory list",
        "/memory",
        "/memory show 1",
        "/memory x",
    ]
    out, err = chat(tmp_path, *lines)
    assert "2 added with 2 new passages" in out
    assert "31 March 2027" in out
    assert "garden.txt" in out
    assert "items" in out
    assert "/memory does not know 'x'" in err


def scanned(home: Path, word: str) -> list[str]:
    """Files of the data folder with a word in their bytes or names."""
    forms = [word.encode(code) for code in ("utf-8", "utf-16-le", "utf-16-be")]
    files = [path for path in (home / "data").rglob("*") if path.is_file()]
    return [str(path) for path in files if word in path.name or any(form in path.read_bytes() for form in forms)]


def test_after_forgetting_no_byte_is_left_of_a_chat_and_runs_that_used_it(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "vault.md").write_text(
        "The vault stands behind the third bookshelf and opens with zanzibar4711 at noon.\n"
    )
    memory(tmp_path, "add", str(folder))
    lines = ["What opens the vault that stands behind the third bookshelf?", "remember that my locker code is mandrill"]
    out, _ = chat(tmp_path, *lines, **TOOLS)
    assert "zanzibar4711" in out
    assert "mandrill" in out
    assert scanned(tmp_path, "zanzibar") != []
    code, out, err = memory(tmp_path, "forget", "zanzibar4711")
    assert (code, "bookshelf" in out, "Nobody is there to ask" in err) == (1, True, True)
    code, out, _ = memory(tmp_path, "forget", "zanzibar4711", "--yes", "--json")
    assert (code, rows(out)[0]["items"], rows(out)[0]["runs"], rows(out)[0]["left"]) == (0, 1, 1, {})
    assert scanned(tmp_path, "zanzibar") == scanned(tmp_path, "bookshelf") == []
    assert scanned(tmp_path, "mandrill") != []
    code, out, _ = memory(tmp_path, "forget", "my locker code", "--yes")
    assert code == 0
    assert scanned(tmp_path, "mandrill") == []
    assert llmos(tmp_path, "audit").returncode == 0


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    work = tmp_path / "work"
    work.mkdir()
    terminal = Terminal(tmp_path, "--model", script(tmp_path, "ok"), columns=100, rows=30)
    yield terminal
    terminal.close()


def test_the_chat_asks_before_it_forgets_and_then_its_own_words_are_gone(tmp_path: Path, terminal: Terminal) -> None:
    terminal.ready()
    terminal.send("remember that I like window seats" + ENTER)
    terminal.expect("noted:")
    terminal.ready()
    terminal.send("forget that I like window seats" + ENTER)
    terminal.expect("forget it for good? [y/N]")
    terminal.send("n" + ENTER)
    terminal.expect("nothing was forgotten")
    assert scanned(tmp_path, "window seats") != []
    terminal.ready()
    terminal.send("forget that I like window seats" + ENTER)
    terminal.until(lambda: terminal.screen.text.count("forget it for good?") == 2)
    terminal.send("y" + ENTER)
    terminal.expect("forgot 1 item")
    terminal.ready()
    assert scanned(tmp_path, "window seats") == []
    terminal.send(CTRL_D)
    assert terminal.wait() == 0
    assert scanned(tmp_path, "window seats") == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_memory_that_can_not_be_used_stops_no_answer(tmp_path: Path) -> None:
    chat(tmp_path, "remember that I like tea")
    (tmp_path / "data" / "memory").chmod(0)
    try:
        out, err = chat(tmp_path, "hello", replies="hi")
    finally:
        (tmp_path / "data" / "memory").chmod(0o700)
    assert out.strip() == "hi"
    assert err.count("memory can't be used") == 1


@pytest.mark.model
def test_a_preference_told_in_one_sitting_changes_the_answer_in_the_next(tmp_path: Path) -> None:
    def ask(*lines: str) -> str:
        out = io.StringIO()
        with mock.patch.dict(os.environ, {"LLMOS_HOME": str(tmp_path)}), redirect_stdout(out):
            flags = {"tools": True, "max_tokens": 40}
            assert run_plain(load_settings(flags=flags), lines=[line.encode() for line in lines]) == 0
        return out.getvalue()

    (tmp_path / "cache").symlink_to(Path(os.environ["LLMOS_HOME"]) / "cache")  # where the model is prepared already
    question = "Which seat should I book?"
    before = ask(question)
    ask("remember that I like window seats")
    assert "window" not in before
    assert ask(question).startswith("You said “I like window seats” [1]")
