"""A store that is damaged, full or killed: what was acknowledged is there, what can be read is kept, losses told."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmos.errors import StorageError
from llmos.memory.items import Filter, NewItem
from llmos.memory.store import MemoryStore
from tests.kernel.faulty_disk import Faults, faulty_disk
from tests.memory.samples import item

ANN = Filter(tenant="ann")
PAGE = 4096
KILLS = 100 if os.environ.get("TEST_FULL") else 8


def texts(count: int) -> list[NewItem]:
    return [
        item(f"Number {n} says {'well ' * (n % 40)}indeed.", source=f"{n % 7}.md", key=f"{n}") for n in range(count)
    ]


def made(folder: Path, count: int = 1000) -> list[str]:
    store = MemoryStore.open(folder)
    ids = store.add(texts(count))
    store.remove(ids[10:20])
    store.set_setting("model", "m")
    found = [found.text for found in store.items(ANN)]
    store.close()
    return found


def overwrite(path: Path, at: int, length: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(random.Random(at).randbytes(length))


@pytest.mark.parametrize("at", [0, 30, PAGE // 2])
def test_a_database_without_a_beginning_is_restored(tmp_path: Path, at: int) -> None:
    before = made(tmp_path)
    overwrite(tmp_path / "memory.sqlite3", at, PAGE - at)
    store = MemoryStore.open(tmp_path)
    assert [found.text for found in store.items(ANN)] == before
    assert store.lost is not None
    assert (store.lost.kept, store.lost.items) == (len(before), 0)
    assert store.setting("model") == "m"
    assert len(store.matching("number 25", ANN, limit=2000)) == len(before)
    assert store.add([item("new")])[0] > 1000
    store.close()


def test_damage_anywhere_costs_what_stood_there(tmp_path: Path) -> None:
    before = made(tmp_path)
    size = (tmp_path / "memory.sqlite3").stat().st_size
    original = (tmp_path / "memory.sqlite3").read_bytes()
    for number in range(1, size // PAGE, max(1, size // PAGE // 24)):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        (folder / "memory.sqlite3").write_bytes(original)
        overwrite(folder / "memory.sqlite3", number * PAGE, PAGE)
        store = MemoryStore.open(folder)
        store.matching("number indeed says", ANN, limit=5)
        after = [found.text for found in store.items(ANN)]
        assert set(after) <= set(before)
        lost = len(before) - len(after)
        assert lost <= 60
        if lost:
            assert store.lost is not None
            assert store.lost.items >= lost
            assert f"{store.lost.items} could not be read" in str(store.lost)
        store.add([item("goes on")])
        assert len(store.matching("goes on", ANN, limit=5)) == 1
        store.close()


def test_a_file_cut_short_keeps_its_beginning(tmp_path: Path) -> None:
    before = made(tmp_path)
    path = tmp_path / "memory.sqlite3"
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // PAGE // 2 * PAGE)
    store = MemoryStore.open(tmp_path)
    after = [found.text for found in store.items(ANN)]
    assert 0 < len(after) <= len(before)
    assert set(after) <= set(before)
    store.close()


def test_rows_in_the_log_of_a_damaged_file_are_restored(tmp_path: Path) -> None:
    store = MemoryStore.open(tmp_path)
    store.add(texts(50))
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("memory.sqlite3", "memory.sqlite3-wal"):
        (copy / name).write_bytes((tmp_path / name).read_bytes())
    store.close()
    (copy / "memory.sqlite3").write_bytes(b"")
    again = MemoryStore.open(copy)
    assert again.count(ANN) == 50
    again.close()


def test_the_damaged_file_is_kept_until_the_next_purge(tmp_path: Path) -> None:
    made(tmp_path)
    overwrite(tmp_path / "memory.sqlite3", 0, 100)
    store = MemoryStore.open(tmp_path)
    assert store.lost is not None
    assert store.lost.copy.exists()
    assert "Number 7" in store.lost.copy.read_text(encoding="utf-8", errors="replace")
    store.purge()
    assert not store.lost.copy.exists()
    store.close()


def test_a_repair_that_was_interrupted_is_begun_again(tmp_path: Path) -> None:
    before = made(tmp_path)
    (tmp_path / "memory.sqlite3").rename(tmp_path / "memory.damaged.sqlite3")
    (tmp_path / "memory.new.sqlite3").write_bytes(b"half")
    store = MemoryStore.open(tmp_path)
    assert [found.text for found in store.items(ANN)] == before
    store.close()


def test_damage_that_is_met_at_work_is_repaired_for_all_who_have_it_open(tmp_path: Path) -> None:
    before = made(tmp_path, 3000)
    one, two = MemoryStore.open(tmp_path), MemoryStore.open(tmp_path)
    assert two.count(ANN) == len(before)
    database = sqlite3.connect(tmp_path / "memory.sqlite3")
    [root] = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'items_by_kind'").fetchone()
    database.close()
    overwrite(tmp_path / "memory.sqlite3", (root - 1) * PAGE, PAGE)
    fresh = MemoryStore.open(tmp_path)
    assert len(fresh.items(Filter(tenant="ann", kinds=("passage",), since=0.0))) == len(before)
    assert fresh.lost is not None
    assert (fresh.lost.items, one.lost) == (0, None)
    [id] = two.add([item("written by another")])
    assert one.get([id])[0].text == "written by another"
    assert fresh.get([id])[0].text == "written by another"
    for store in (one, two, fresh):
        store.close()


@pytest.mark.parametrize("at", [1, 4, 10, 16, 22, 28])
def test_on_a_full_disk_a_change_is_refused_whole(tmp_path: Path, at: int) -> None:
    store = MemoryStore.open(tmp_path)
    store.add([item("there before")])
    store.close()
    with faulty_disk(Faults("write", at, lasting=True)):
        store = MemoryStore.open(tmp_path)
        with pytest.raises(StorageError, match="disk"):
            store.add(texts(200))
    store.close()
    store = MemoryStore.open(tmp_path)
    assert store.count(ANN) == 1
    assert len(store.add(texts(200))) == 200
    store.close()


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from llmos.memory.items import NewItem
from llmos.memory.store import MemoryStore

store = MemoryStore.open(Path(sys.argv[1]))
name, number = sys.argv[3], int(sys.argv[4])
print("open", flush=True)
while True:
    size = number % 7 + 1
    items = [NewItem(tenant="ann", kind="passage", label="files", text=f"{name} batch {number} of {size} part {part}",
                     source=f"{name} {number}", key=f"{name} {number} {part}") for part in range(size)]
    ids = store.add(items)
    if number % 5 == 4:
        store.remove(ids)
        print("removed", number, flush=True)
    else:
        print("added", number, flush=True)
    number += 1
"""


def test_two_writers_that_are_killed_lose_nothing_and_leave_nothing_half(tmp_path: Path) -> None:
    chance, folder = random.Random(5), tmp_path / "memory"
    added, removed, next_number = set[tuple[str, int]](), set[tuple[str, int]](), {"a": 0, "b": 0}
    for _ in range(KILLS // 2):
        children = {
            name: subprocess.Popen(
                [sys.executable, "-c", CHILD, str(folder), str(Path(__file__).parents[3]), name, str(number)],
                stdout=subprocess.PIPE,
                text=True,
            )
            for name, number in next_number.items()
        }
        for child in children.values():
            assert child.stdout is not None
            assert child.stdout.readline() == "open\n"
        time.sleep(chance.uniform(0.02, 0.2))
        for name, child in children.items():
            child.send_signal(signal.SIGKILL)
            said, _ = child.communicate(timeout=30)
            for line in said.splitlines():
                if len(words := line.split()) == 2 and line == f"{words[0]} {int(words[1])}":
                    (added if words[0] == "added" else removed).add((name, int(words[1])))
                    next_number[name] = max(next_number[name], int(words[1]) + 1)
            next_number[name] += 1  # the batch under way may be there or not
        store = MemoryStore.open(folder)
        assert store.lost is None
        found = {(s.source.split()[0], int(s.source.split()[1])): s.items for s in store.sources(ANN)}
        assert added <= set(found), "acknowledged and lost"
        assert not removed & set(found)
        assert all(items == number % 7 + 1 for (_, number), items in found.items()), "half a batch"
        assert all(store.matching(f"{name} batch {number}", ANN, limit=1) for name, number in list(added)[:5])
        store.close()
    assert len(added) > 20
