"""Old runs are forgotten by age and by size, never one that is under way or young; a killed kernel harms nothing."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from llmos import Kernel
from llmos.config import RunsOptions
from llmos.kernel.journal import Journal, canonical
from llmos.kernel.pruning import DAY, Usage, described, prune, usage
from llmos.runs import Parts

NOW = 1_000 * DAY
FOR_EVER = RunsOptions(keep_days=0, keep_bytes=0)


def enter(folder: Path, run: str, *, age: float, over: bool = True, size: int = 100, now: float = NOW) -> None:
    """A run of one call that ended so many days ago, with a file of its own."""
    with closing(Journal(folder, clock=lambda: now - age * DAY)) as journal:
        journal.open_run(run, owner="me", agent="a", task=canonical(f"task of {run}"))
        journal.intend(run, "0", 1, "act", f"lever(of {run})", canonical([run]))
        journal.finish(run, "0", 1, canonical("x" * size))
        if over:
            journal.close_run(run, "done", canonical(f"outcome of {run}"))
    place = folder / "runs" / run / "kept"
    place.mkdir(parents=True)
    (place / "file").write_text(f"file of {run}")


def whole(folder: Path) -> set[str]:
    """The runs of which everything is there; of the others nothing is."""
    found: set[str] = set()
    with closing(Journal(folder)) as journal:
        assert journal.audit() is None
        for run in journal.runs():
            (call,) = journal.calls(run.id)
            parts = [run.task, call.arguments, call.result, call.title.removeprefix("lever")]
            assert all(parts) or not any(parts)
            if all(parts):
                assert (folder / "runs" / run.id / "kept" / "file").read_text() == f"file of {run.id}"
                found.add(run.id)
    return found


def test_what_ended_too_long_ago_is_forgotten(tmp_path: Path) -> None:
    for run, age in {"older": 31, "old": 30.5, "new": 29}.items():
        enter(tmp_path, run, age=age)
    enter(tmp_path, "interrupted", age=500, over=False)
    assert prune(tmp_path, RunsOptions(keep_days=30, keep_bytes=0), now=NOW) == ["older", "old"]
    assert whole(tmp_path) == {"new", "interrupted"}
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"new", "interrupted"}
    assert prune(tmp_path, RunsOptions(keep_days=30, keep_bytes=0), now=NOW) == []


def test_beyond_the_size_the_oldest_go_but_none_of_the_last_day(tmp_path: Path) -> None:
    for age in (5, 4, 3, 2, 0.5):
        enter(tmp_path, f"day{age}", age=age, size=300_000)
    enter(tmp_path, "interrupted", age=9, over=False, size=300_000)
    assert prune(tmp_path, RunsOptions(keep_days=0, keep_bytes=1_400_000), now=NOW) == ["day5", "day4"]
    assert prune(tmp_path, RunsOptions(keep_days=0, keep_bytes=1_400_000), now=NOW) == []
    assert prune(tmp_path, RunsOptions(keep_days=0, keep_bytes=1), now=NOW) == ["day3", "day2"]
    assert whole(tmp_path) == {"day0.5", "interrupted"}


def test_even_a_policy_of_no_days_at_all_keeps_the_last_day(tmp_path: Path) -> None:
    enter(tmp_path, "old", age=1.5)
    enter(tmp_path, "young", age=0.5)
    enter(tmp_path, "ahead", age=-2)  # the clock was set back since
    assert prune(tmp_path, RunsOptions(keep_days=1, keep_bytes=1), now=NOW) == ["old"]
    assert whole(tmp_path) == {"young", "ahead"}


def test_without_bounds_everything_is_kept(tmp_path: Path) -> None:
    enter(tmp_path, "old", age=900)
    assert prune(tmp_path, FOR_EVER, now=NOW) == []
    assert whole(tmp_path) == {"old"}


def test_only_one_kernel_prunes_at_a_time(tmp_path: Path) -> None:
    enter(tmp_path, "old", age=900)
    with (tmp_path / "pruning.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert prune(tmp_path, RunsOptions(), now=NOW) == []
    assert prune(tmp_path, RunsOptions(), now=NOW) == ["old"]


def test_it_ends_when_its_time_is_up_and_goes_on_the_next_time(tmp_path: Path) -> None:
    enter(tmp_path, "old", age=900)
    assert prune(tmp_path, RunsOptions(), now=NOW, seconds=-1) == []
    assert prune(tmp_path, RunsOptions(), now=NOW) == ["old"]


def test_what_is_forgotten_is_not_on_the_disk_any_more_and_its_room_is_given_back(tmp_path: Path) -> None:
    enter(tmp_path, "old", age=900, size=3_000_000)
    before = usage(tmp_path)
    assert prune(tmp_path, RunsOptions(), now=NOW) == ["old"]
    after = usage(tmp_path)
    assert (before.runs, before.forgotten, after.runs, after.forgotten) == (1, 0, 1, 1)
    assert before.bytes > 3_000_000 > 200_000 > after.bytes
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert len(written) < 1_000_000
    for text in (b"xxxxxxxx", b"task of old", b"lever(of old", b"outcome of old", b"file of old"):
        assert text not in written


def test_a_kernel_that_is_killed_while_it_prunes_leaves_each_run_whole_or_forgotten(tmp_path: Path) -> None:
    runs = {f"run{number:03}" for number in range(120)}
    for run in sorted(runs):
        enter(tmp_path, run, age=900, size=20_000)
    enter(tmp_path, "interrupted", age=901, over=False)
    enter(tmp_path, "young", age=0.5)
    program = (
        "import sys; from pathlib import Path; from llmos.config import RunsOptions\n"
        "from llmos.kernel.pruning import prune\n"
        f"prune(Path(sys.argv[1]), RunsOptions(), now={NOW})\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)])
    end = time.monotonic() + 30
    while len(list((tmp_path / "runs").iterdir())) > len(runs) - 10:
        assert time.monotonic() < end
        assert child.poll() is None
        time.sleep(0.001)
    child.send_signal(signal.SIGKILL)
    child.wait(30)
    left = whole(tmp_path)
    assert {"interrupted", "young"} < left
    assert len(left & runs) < len(runs) - 5
    # as if it had been killed between the two halves of one
    place = tmp_path / "runs" / min(runs) / "kept"
    place.mkdir(parents=True)
    assert set(prune(tmp_path, RunsOptions(), now=NOW)) == left & runs
    assert whole(tmp_path) == {"interrupted", "young"}
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"interrupted", "young"}


@pytest.mark.parametrize("due", [True, False])
async def test_a_kernel_prunes_in_the_background_at_most_once_an_hour(tmp_path: Path, due: bool) -> None:
    now = time.time()
    enter(tmp_path, "old", age=100, now=now)
    enter(tmp_path, "new", age=80, now=now)
    stamp = tmp_path / "pruning.lock"
    stamp.touch()
    if due:
        os.utime(stamp, (now - 7200, now - 7200))
    async with Kernel.testing(parts=Parts(folder=tmp_path)) as kernel:
        await (await kernel.spawn("chat", "Hi")).result()
        end = time.monotonic() + 30
        while due and usage(tmp_path).forgotten == 0:
            assert time.monotonic() < end
            time.sleep(0.01)
    with closing(Journal(tmp_path)) as journal:
        assert journal.audit() is None
        assert {run.id: bool(run.task) for run in journal.runs() if run.id in ("old", "new")} == {
            "old": not due,
            "new": True,
        }
    assert now - stamp.stat().st_mtime < 3600


async def test_the_first_kernel_on_a_folder_only_notes_the_time(tmp_path: Path) -> None:
    enter(tmp_path, "old", age=100, now=time.time())
    async with Kernel.testing(parts=Parts(folder=tmp_path)) as kernel:
        await (await kernel.spawn("chat", "Hi")).result()
    assert usage(tmp_path).forgotten == 0
    assert (tmp_path / "pruning.lock").exists()


def test_looking_at_an_empty_folder_makes_nothing(tmp_path: Path) -> None:
    assert usage(tmp_path) == Usage()
    assert list(tmp_path.iterdir()) == []


def test_a_policy_is_said_in_words() -> None:
    assert described(RunsOptions()) == "contents are kept for 90 days and up to 2 GB"
    assert described(RunsOptions(keep_days=0, keep_bytes=500_000_000)) == "contents are kept up to 0.5 GB"
    assert described(FOR_EVER) == "contents are kept for ever"


def test_a_journal_of_before_keeps_working_without_giving_room_back(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "journal.sqlite3")) as database:
        database.execute("PRAGMA auto_vacuum=NONE")
        database.execute("CREATE TABLE other (x)")
    enter(tmp_path, "old", age=900, size=1_000_000)
    assert prune(tmp_path, RunsOptions(), now=NOW) == ["old"]
    assert usage(tmp_path).bytes < 500_000
