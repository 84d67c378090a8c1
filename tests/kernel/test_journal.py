"""The journal: what it keeps, what it notices, and what becomes of a full disk, a damaged page and a second writer."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.errors import JournalMismatch, NoSuchProcess, StorageError
from llmos.kernel.audit import GENESIS, Head, link, verify
from llmos.kernel.journal import Journal, canonical


def filled(folder: Path, calls: int = 5) -> Journal:
    journal = Journal(folder)
    journal.open_run("run1", owner="me", agent="a", task="{}")
    for number in range(1, calls + 1):
        journal.intend("run1", "0", number, "act", f"call {number}", canonical([number]))
        journal.finish("run1", "0", number, canonical({"text": f"answer {number}"}))
    return journal


def change(folder: Path, statement: str) -> None:
    with sqlite3.connect(folder / "journal.sqlite3") as database:
        database.execute(statement)
    database.close()


def test_a_call_is_found_again_by_its_place_and_arguments(tmp_path: Path) -> None:
    journal = filled(tmp_path)
    record = journal.find("run1", "0", 2, "act", canonical([2]))
    assert record is not None
    assert json.loads(record.result) == {"text": "answer 2"}
    assert journal.find("run1", "0", 9, "act", "[]") is None
    with pytest.raises(JournalMismatch, match=r"Call 2 of process '0' in run 'run1' was 'act' \(call 2\)"):
        journal.find("run1", "0", 2, "act", canonical([3]))
    with pytest.raises(JournalMismatch, match="now it is 'think'"):
        journal.find("run1", "0", 2, "think", canonical([2]))
    with pytest.raises(NoSuchProcess):
        journal.run("run2")
    journal.close()


def test_a_call_without_its_end_is_known_as_begun(tmp_path: Path) -> None:
    journal = filled(tmp_path)
    journal.intend("run1", "0", 6, "act", "call 6", "[6]")
    journal.close()
    record = Journal(tmp_path).find("run1", "0", 6, "act", "[6]")
    assert record is not None
    assert not record.done


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE audit SET row = X'00' WHERE number = 4", "row 4 was changed"),
        ("DELETE FROM audit WHERE number = 4", "row 4 is missing"),
        ("DELETE FROM audit WHERE number >= 9", "rows 9 to 11 were cut off"),
        ("DELETE FROM audit", "rows 1 to 11 were cut off"),
    ],
)
def test_edits_deletions_and_truncation_of_the_audit_show(tmp_path: Path, statement: str, problem: str) -> None:
    journal = filled(tmp_path)
    assert journal.audit() is None
    change(tmp_path, statement)
    finding = journal.audit()
    assert finding is not None
    assert finding.problem == problem


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE contents SET body = 'another' WHERE body LIKE '%answer 3%'",
        "UPDATE calls SET answered = X'00' WHERE number = 3",
        "UPDATE calls SET failed = 1 WHERE number = 3",
        "DELETE FROM calls WHERE number = 3",
    ],
)
def test_a_call_that_is_not_what_the_audit_says_shows(tmp_path: Path, statement: str) -> None:
    journal = filled(tmp_path)
    change(tmp_path, statement)
    finding = journal.audit()
    assert finding is not None
    assert "call 3" in finding.problem.casefold()


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=12), st.data())
@settings(max_examples=200, deadline=None)
def test_no_change_of_a_chain_goes_unnoticed(rows: list[bytes], data: st.DataObject) -> None:
    chain: list[tuple[int, bytes, bytes]] = []
    last = GENESIS
    for number, row in enumerate(rows, 1):
        last = link(last, row)
        chain.append((number, row, last))
    head = (len(chain), last)
    assert verify(chain, head) is None
    place = data.draw(st.integers(0, len(chain) - 1))
    number, row, at = chain[place]
    forged = data.draw(st.binary(max_size=20).filter(lambda other: other != row))
    mutations: list[list[tuple[int, bytes, bytes]]] = [
        [*chain[:place], (number, forged, at), *chain[place + 1 :]],
        [*chain[:place], *chain[place + 1 :]],
        chain[:place],
    ]
    for mutated in mutations:
        assert verify(mutated, head) is not None


def test_a_head_that_a_crash_left_behind_is_no_finding(tmp_path: Path) -> None:
    journal = filled(tmp_path, 2)
    head = Head(tmp_path / "journal.head")
    before = head.read()
    journal.intend("run1", "0", 3, "act", "call 3", "[3]")
    head.write(*before)
    assert journal.audit() is None


def test_a_damaged_head_is_an_error(tmp_path: Path) -> None:
    journal = filled(tmp_path)
    (tmp_path / "journal.head").write_text("rubbish")
    with pytest.raises(StorageError, match="head of the audit"):
        journal.audit()


def test_what_is_forgotten_is_gone_and_cannot_be_guessed(tmp_path: Path) -> None:
    journal = filled(tmp_path)
    row = journal.calls("run1")[0]
    assert row.result
    journal.forget("run1")
    assert not journal.calls("run1")[0].result
    with pytest.raises(StorageError, match="forgotten"):
        journal.find("run1", "0", 1, "act", canonical([1]))
    assert journal.audit() is None
    journal.close()
    assert b"answer 3" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_only_the_user_may_read_it(tmp_path: Path) -> None:
    filled(tmp_path).close()
    for name in ("journal.sqlite3", "journal.head"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_a_later_version_is_refused(tmp_path: Path) -> None:
    Journal(tmp_path).close()
    change(tmp_path, "PRAGMA user_version = 99")
    with pytest.raises(StorageError, match="later version"):
        Journal(tmp_path)


def test_an_earlier_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    filled(tmp_path).close()
    change(tmp_path, "ALTER TABLE calls DROP COLUMN decided")
    change(tmp_path, "PRAGMA user_version = 1")
    with pytest.raises(StorageError, match="an earlier version of llmos") as caught:
        Journal(tmp_path)
    assert "Move journal.sqlite3" in caught.value.hint
    with sqlite3.connect(tmp_path / "journal.sqlite3") as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
    database.close()


def test_a_damaged_file_is_a_typed_error_that_says_what_to_do(tmp_path: Path) -> None:
    filled(tmp_path, 200).close()
    path = tmp_path / "journal.sqlite3"
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(StorageError, match="Move the journal"):
        Journal(tmp_path).calls("run1")
    path.write_bytes(b"not a database at all" * 500)
    with pytest.raises(StorageError):
        Journal(tmp_path).runs()


class Failing:
    """A connection whose k-th statement fails, as on a full disk."""

    def __init__(self, real: sqlite3.Connection, at: int) -> None:
        self._real, self._left = real, at

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:  # noqa: ANN401
        self._left -= 1
        if self._left == 0:
            raise sqlite3.OperationalError("database or disk is full")
        return self._real.execute(statement, *values)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._real, name)


@pytest.mark.parametrize("at", range(1, 14))
def test_a_write_that_fails_at_any_place_changes_nothing(tmp_path: Path, at: int) -> None:
    journal = filled(tmp_path, 3)
    journal.intend("run1", "0", 4, "act", "call 4", "[4]")
    before = journal.calls("run1")
    real = journal._database  # pyright: ignore[reportPrivateUsage]
    journal._database = Failing(real, at)  # type: ignore[assignment]  # pyright: ignore
    failed = True
    with suppress(StorageError):
        journal.finish("run1", "0", 4, "{}")
        failed = False
    journal._database = real  # pyright: ignore[reportPrivateUsage]
    after = journal.calls("run1")
    assert (before == after) == failed
    assert journal.audit() is None
    journal.finish("run1", "0", 4, "{}")
    assert journal.audit() is None


def test_two_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from llmos.kernel.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1])); run = sys.argv[2]\n"
        "journal.open_run(run, owner=run, agent='a', task='{}')\n"
        "for n in range(150):\n"
        "    journal.intend(run, '0', n, 'act', '', str(n)); journal.finish(run, '0', n, str(n))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in ("one", "two", "three")]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    journal = Journal(tmp_path)
    assert [len(journal.calls(name)) for name in ("one", "two", "three")] == [150, 150, 150]
    assert journal.audit() is None


def test_many_that_open_a_new_journal_at_once_all_get_it(tmp_path: Path) -> None:
    """Two that turn the write-ahead log on at the same moment refuse each other; about one round in fifty."""
    code = (
        "import sys, multiprocessing; from pathlib import Path; from llmos.kernel.journal import Journal\n"
        "barrier = multiprocessing.Barrier(6)\n"
        "def opens():\n"
        "    for n in range(150):\n"
        "        barrier.wait(30); Journal(Path(sys.argv[1]) / str(n)).close()\n"
        "openers = [multiprocessing.get_context('fork').Process(target=opens) for _ in range(6)]\n"
        "[opener.start() for opener in openers]; [opener.join() for opener in openers]\n"
        "sys.exit(sum(opener.exitcode for opener in openers))\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=90).returncode == 0
