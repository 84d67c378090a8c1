"""A hundred thousand damaged actions for `think`, and as many damaged rows and heads for the journal's reader.

A whole journal costs milliseconds to open, so of those there are two thousand: damaged in any byte of the database, its
write-ahead log and its head. All inputs are the same every time.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmos.engine.scripted import ScriptedEngine
from llmos.errors import ConstraintError, JournalMismatch, NoSuchProcess, StorageError
from llmos.kernel.audit import GENESIS, Finding, Head, entered, link, verify
from llmos.kernel.journal import Journal, canonical
from llmos.kernel.process import Process
from llmos.kernel.rows import fits
from llmos.kernel.system import Task
from llmos.kernel.thinking import read_action
from tests.kernel.conftest import Lever, MakeSystem
from tests.mutate import mutate_bytes, mutate_text

INPUTS = 100_000
FILES = 2_000
ACTIONS = (
    '{"tool": "files_write", "arguments": {"path": "a/b.txt", "content": "He said \\"no\\"\\n\\\\ ö🙂"}}',
    '{"tool": "calculator", "arguments": {"expression": "12.5% of 1,840"}}',
    '{"arguments": {"deep": [{"x": [1, null, true, 1e9]}], "": {}}, "tool": "f"}',
)
WORDS = (
    *('"tool"', '"arguments"', "null", "NaN", "Infinity", "1e999", "-", "true", "[]", "{}", '""', "3", '"x"'),
    *('"', "\\", "\\u", "\\ud800", "{", "}", "[", "]", ":", ",", "\n", "\0", "\ud800", "[" * 40, "9" * 5000),
)


def test_a_damaged_action_is_an_action_or_a_typed_error() -> None:
    chance, good = random.Random(1), 0
    for number in range(INPUTS):
        text = mutate_text(chance, ACTIONS, WORDS)
        try:
            call = read_action(text, "stop")
        except ConstraintError:
            continue
        good += 1
        assert type(call.name) is str, f"input {number}: {text!r}"
        assert isinstance(call.arguments, dict)
        canonical(call.arguments).encode()
    assert INPUTS // 100 < good < INPUTS // 2


def test_an_action_nested_beyond_all_measure_is_a_typed_error() -> None:
    with pytest.raises(ConstraintError):
        read_action('{"tool": "f", "arguments": ' + '{"a":' * sys.getrecursionlimit() * 20, "stop")


async def test_half_a_surrogate_pair_that_a_model_writes_is_carried_like_any_text(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> str:
        thought = await process.think("Do.", actions=["lever"])
        return (await process.act("lever", thought.value.arguments)).text

    lever = Lever()
    engine = ScriptedEngine('{"tool": "lever", "arguments": {"n": "\\ud800", "file": "\\udcff"}}')
    system = make_system(engine=engine, tools=(lever,))
    child = system.start(Task(agent="agent"), code=agent)
    assert await child.result() == "pulled \ud800"
    assert lever.calls[0][0] == {"n": "\ud800", "file": "\udcff"}
    assert await system.replay(child.pid, code=agent) == "pulled \ud800"
    assert system.journal.audit() is None


def _filled(folder: Path, calls: int) -> None:
    """A journal with something of everything in it, part of it in the write-ahead log only."""
    journal = Journal(folder, clock=iter(range(1_000_000)).__next__)
    for run in ("run1", "run2"):
        journal.open_run(run, owner="me", agent="a", task="{}")
        journal.enter_process(run, "0", "", "a")
        for number in range(1, calls):
            journal.intend(
                run, "0", number, "act", f"call {number}", canonical([number]), decision=canonical({"n": number})
            )
            journal.finish(run, "0", number, canonical({"text": f"answer {number}"}), failed=number % 5 == 0)
        journal.intend(run, "0", calls, "send", "x", "[]")
        journal.finish(run, "0", calls, "null", letter=("0.1", '{"type":"A","body":{}}'))
        journal.keep_file(run, "0", 1, "/a/b", "copy")
        journal.put_grant(f"g{run}", canonical({"id": f"g{run}"}))
    journal.close_run("run1", "done", "1")
    journal.close()


def _contents(journal: Journal) -> list[Any]:
    """Everything that the audit covers."""
    found: list[Any] = []
    for run in ("run1", "run2"):
        for listed in journal.calls(run):
            record = journal.call(run, listed.path, listed.number)
            assert record == listed
            again = journal.find(run, listed.path, listed.number, listed.kind, listed.arguments)
            told = (listed.arguments, listed.result, listed.decision, again and again.result)
            found.append((run, listed.path, listed.number, listed.failed, listed.done, *told))
    return found


def _read_all(folder: Path) -> tuple[Any, Finding | None]:
    """Use every reader of a journal, each once; what is there, and what the audit says."""
    journal = Journal(folder)
    try:
        journal.runs()
        for run in ("run1", "run2"):
            journal.processes(run)
            journal.letters(run)
            journal.kept(run)
            journal.run(run)
        journal.grants()
        return _contents(journal), journal.audit()
    finally:
        journal.close()


def test_a_journal_damaged_in_any_byte_is_read_or_refused_and_what_differs_is_found(tmp_path: Path) -> None:
    sound = tmp_path / "sound"
    _filled(sound, 12)
    with sqlite3.connect(sound / "journal.sqlite3") as keep:  # a reader keeps the log from being folded in at the end
        keep.execute("SELECT 1 FROM runs").fetchone()
        late = Journal(sound, clock=iter(range(1_000_000, 2_000_000)).__next__)
        late.intend("run2", "0", 13, "act", "late", "[]")
        late.finish("run2", "0", 13, '"late"')
        files = {path.name: path.read_bytes() for path in sound.iterdir() if not path.name.endswith("-shm")}
        late.close()
    keep.close()
    assert len(files["journal.sqlite3-wal"]) > 0
    expected, finding = _read_all(_written(tmp_path / "as it was", files))
    assert finding is None
    chance, seen = random.Random(2), Counter[str]()
    for number in range(FILES):
        name = chance.choice(
            ("journal.sqlite3", "journal.sqlite3", "journal.sqlite3", "journal.sqlite3-wal", "journal.head")
        )
        folder = _written(tmp_path / "damaged", {**files, name: mutate_bytes(chance, files[name])})
        try:
            found, finding = _read_all(folder)
        except (StorageError, NoSuchProcess, JournalMismatch):
            seen["refused"] += 1
        else:
            seen["found" if finding else "same" if found == expected else "changed"] += 1
            # damage to the log's end reads as a crash there: an earlier state, which the head beside it gives away
            assert finding or found == expected, f"file {number}, damage in {name}, was not noticed"
    assert min(seen["refused"], seen["found"], seen["same"]) > FILES // 100, seen


def _written(folder: Path, files: dict[str, bytes]) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def test_damaged_rows_are_found_or_refused(tmp_path: Path) -> None:
    _filled(tmp_path, 12)
    with sqlite3.connect(tmp_path / "journal.sqlite3") as database:
        chain = [
            (int(n), bytes(row), bytes(at)) for n, row, at in database.execute("SELECT * FROM audit ORDER BY number")
        ]
        tables = {
            shape: database.execute(query).fetchall()
            for shape, query in (
                ("ttibBBi", "SELECT run, path, number, asked, answered, decided, failed FROM calls"),
                ("tbt", "SELECT run, digest, body FROM contents"),
                ("ttttrR", "SELECT path, parent, agent, state, started, ended FROM processes"),
            )
        }
    database.close()
    head = (len(chain), chain[-1][2])
    assert verify(chain, head) is None
    known = entered(row for _, row, _ in chain)
    chance, seen = random.Random(3), Counter[str]()
    for _ in range(INPUTS // 10):
        damaged = _damaged_chain(chance, chain)
        seen["chain found"] += verify(damaged, head) is not None
        assert damaged == chain or verify(damaged, head) is not None
    for _ in range(INPUTS // 2):  # rows under a chain that was made to fit them: read, or said to be none of ours
        rows = [row for _, row, _ in chance.sample(chain, 3)]
        rows[0] = mutate_bytes(chance, rows[0])
        try:
            seen["row read"] += len(entered(rows)) > 0
        except ValueError:
            seen["row refused"] += 1
    for _ in range(INPUTS * 4 // 10):
        shape = chance.choice(list(tables))
        row = list(chance.choice(tables[shape]))
        row[chance.randrange(len(row))] = chance.choice((None, 3, 3.5, "x", b"x", -1, "", b""))
        right = all(type(value) in TYPES[kind] for value, kind in zip(row, shape, strict=True))
        assert fits(tuple(row), shape) == right
        seen["types"] += not right
    assert known
    assert min(seen.values()) > 1000, seen


TYPES: dict[str, tuple[type, ...]] = {
    "t": (str,), "i": (int,), "b": (bytes,), "r": (float,), "B": (bytes, type(None)), "R": (float, type(None)),
}  # fmt: skip


def _damaged_chain(chance: random.Random, chain: list[tuple[int, bytes, bytes]]) -> list[tuple[int, bytes, bytes]]:
    place = chance.randrange(len(chain))
    number, row, at = chain[place]
    changes: tuple[Callable[[], list[tuple[int, bytes, bytes]]], ...] = (
        lambda: [*chain[:place], (number, mutate_bytes(chance, row), at), *chain[place + 1 :]],
        lambda: [*chain[:place], (number, row, mutate_bytes(chance, at)), *chain[place + 1 :]],
        lambda: [*chain[:place], (chance.randint(-5, 99), row, at), *chain[place + 1 :]],
        lambda: [*chain[:place], *chain[place + 1 :]],
        lambda: chain[:place],
        lambda: [*chain[:place], chain[place], *chain[place:]],
    )
    return chance.choice(changes)()


def test_a_row_that_llmos_did_not_write_under_a_chain_made_to_fit_is_found(tmp_path: Path) -> None:
    _filled(tmp_path, 3)
    for forged in (b"", b"\xff", b"1.0 run1 0 x act intent 00", b"one two three", b"1.0 run1 0 1 act recorded 00 more"):
        with sqlite3.connect(tmp_path / "journal.sqlite3") as database:
            rows = database.execute("SELECT number, row FROM audit ORDER BY number").fetchall()
            last = GENESIS
            for number, row in rows:
                written = forged if number == 3 else row
                last = link(last, written)
                database.execute("UPDATE audit SET row = ?, chain = ? WHERE number = ?", (written, last, number))
        database.close()
        head = Head(tmp_path / "journal.head")
        head.write(len(rows), last)
        head.write(len(rows), last)
        head.close()
        journal = Journal(tmp_path)
        finding = journal.audit()
        journal.close()
        assert finding is not None


def test_a_damaged_head_is_refused_or_still_says_one_of_the_two_last_things(tmp_path: Path) -> None:
    head = Head(tmp_path / "head")
    said = [(number, link(GENESIS, bytes([number]))) for number in (7, 8)]
    for one in said:
        head.write(*one)
    head.close()
    data, chance, seen = head.path.read_bytes(), random.Random(4), Counter[str]()
    for _ in range(INPUTS // 10):
        damaged = mutate_bytes(chance, data)
        head.path.write_bytes(damaged)
        try:
            found = head.read()
        except StorageError:
            seen["refused"] += 1
        else:
            seen[str(found[0])] += 1
            assert found in said or not damaged.strip(b"\0")
    assert min(seen["refused"], seen["7"], seen["8"]) > 10, seen
