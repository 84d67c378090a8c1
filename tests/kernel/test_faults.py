"""The k-th write, fsync or commit fails, for every k of a run: it ends with a typed error and keeps every promise.

What a run of payments promises: when it is gone on with on a sound disk it comes to its end, nothing that it was told
is lost, and nothing is paid twice.
"""

from __future__ import annotations

import errno
import os
import re
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from llmos.errors import LlmosError, StorageError
from llmos.kernel.calls import Approval, Reply, Result, Traits
from llmos.kernel.journal import Journal
from llmos.kernel.process import Process
from llmos.kernel.protocols import Access
from llmos.kernel.system import System, Task
from llmos.runs import undo
from llmos.tools.builtin.files import write_file
from llmos.tools.secrets import Secrets
from tests.kernel.conftest import Lever, MakeSystem
from tests.kernel.faulty_disk import Faults, Kind, faulty_disk

STEPS = 2


class World:
    """What was paid, by idempotency key; it also answers for a person who can look it up."""

    def __init__(self, *, keyed: bool) -> None:
        self.keyed = keyed
        self.paid: list[tuple[str, int]] = []

    def tool(self) -> Lever:
        async def pay(arguments: Mapping[str, Any], access: Access) -> Result:
            if not (self.keyed and any(key == access.key for key, _ in self.paid)):
                self.paid.append((access.key, arguments["n"]))
            return Result("paid", label="user")

        return Lever(traits=Traits(effect="external", keyed=self.keyed), does=pay)

    async def approve(self, approval: Approval, /) -> Reply:
        return "once"

    async def answer(self, pid: str, question: str, /) -> str:
        found = re.search(r"'n': (\d+)", question)
        assert found is not None
        return "yes" if int(found[1]) in [n for _, n in self.paid] else "no"


async def payer(process: Process, steps: int) -> int:
    """Pays some times, thinks, and keeps a child busy."""
    child = await process.spawn("thinker")
    for n in range(steps):
        await process.act("lever", {"n": n})
        await process.think(f"Step {n}?")
    return int(await process.wait(child)) + steps


async def thinker(process: Process) -> int:
    await process.think("Hm?")
    return 1


async def first_life(system: Callable[[], System]) -> Journal | None:
    """Run until something fails; whatever does is typed. The journal, as far as there is one."""
    with suppress(LlmosError):
        living = system()
        with suppress(LlmosError):
            await living.start(Task(agent="payer", arguments=(STEPS,))).result()
        with suppress(LlmosError):
            await living.close()
        return living.journal
    return None


async def later(system: System, world: World) -> None:
    """On a sound disk: everything comes to its end, and nothing is lost or done twice."""
    journal = system.journal
    assert journal.audit() is None
    runs = journal.runs()
    child = None
    if not runs:
        assert not world.paid, "something was done that nobody knows of"
        child = system.start(Task(agent="payer", arguments=(STEPS,)))
    elif runs[0].state != "done":
        child = system.resume(runs[0].id)
    if child is not None:
        assert await child.result() == STEPS + 1
    assert [n for _, n in world.paid] == list(range(STEPS)), "lost or done twice"
    assert journal.runs()[0].state == "done"
    assert all(call.done for call in journal.calls(journal.runs()[0].id))
    assert journal.audit() is None


@pytest.mark.parametrize(
    ("kind", "lasting", "keyed"),
    [("write", False, True), ("write", True, False), ("sync", False, False), ("sync", True, True)],
)
async def test_the_disk_fails_at_any_write_or_sync(
    make_system: MakeSystem, tmp_path: Path, kind: Kind, lasting: bool, keyed: bool
) -> None:
    at = failed = 0
    while True:
        at += 1
        world, folder = World(keyed=keyed), tmp_path / f"journal {at}"

        def system(folder: Path = folder, world: World = world) -> System:
            journal = Journal(folder, durable=True)
            return make_system(payer, thinker, tools=(world.tool(),), approver=world, journal=journal)

        with faulty_disk(Faults(kind, at, lasting=lasting)) as faults:
            journal = await first_life(system)
            if journal is not None:
                journal.close()
        second = system()
        await later(second, world)
        second.journal.close()
        failed += at <= faults.seen
        if at > faults.seen:
            break
    assert failed >= 2 * STEPS, "hardly anything went through the faulty disk"


class FailingCommits:
    """A connection whose k-th commit fails: before it, or after it was made, when nobody knows."""

    def __init__(self, real: sqlite3.Connection, at: int, *, made: bool) -> None:
        self._real, self.left, self._made = real, at, made

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:  # noqa: ANN401
        if statement != "COMMIT":
            return self._real.execute(statement, *values)
        self.left -= 1
        if self.left == 0 and not self._made:
            raise sqlite3.OperationalError("disk I/O error")
        cursor = self._real.execute(statement, *values)
        if self.left == 0:
            raise sqlite3.OperationalError("disk I/O error")
        return cursor

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._real, name)


@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "unkeyed"])
@pytest.mark.parametrize("made", [False, True], ids=["not made", "made"])
async def test_any_commit_fails(make_system: MakeSystem, tmp_path: Path, made: bool, keyed: bool) -> None:
    at = 0
    while True:
        at += 1
        world, folder = World(keyed=keyed), tmp_path / f"journal {at}"

        def system(folder: Path = folder, world: World = world) -> System:
            return make_system(payer, thinker, tools=(world.tool(),), approver=world, journal=Journal(folder))

        first = system()
        database = FailingCommits(first.journal._database, at, made=made)  # pyright: ignore[reportPrivateUsage]
        first.journal._database = database  # type: ignore[assignment]  # pyright: ignore
        await first_life(lambda first=first: first)  # type: ignore[misc]
        first.journal.close()
        second = system()
        await later(second, world)
        second.journal.close()
        if database.left > 0:
            break
    assert at > 8 * STEPS


class FailingSync:
    """`os.fsync`, the k-th of which fails, as when a disk loses what it had promised."""

    def __init__(self, at: int) -> None:
        self.left = at
        self._real = os.fsync

    def __call__(self, file: int) -> None:
        self.left -= 1
        if self.left == 0:
            raise OSError(errno.EIO, "Input/output error")
        self._real(file)


async def writer(process: Process) -> list[bool]:
    """Writes one file twice and another once."""
    writes = (("a.txt", "one"), ("a.txt", "two"), ("b.txt", "three"))
    results = [await process.act(write_file.spec.name, {"path": path, "text": text}) for path, text in writes]
    return [result.failed for result in results]


async def test_a_file_is_whole_whichever_sync_of_it_fails_and_can_be_had_back(
    make_system: MakeSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = 0
    while True:
        at += 1
        folder, workspace = tmp_path / f"{at}", tmp_path / f"workspace {at}"
        workspace.mkdir()
        (workspace / "a.txt").write_text("before")
        system = make_system(writer, tools=(write_file,), journal=Journal(folder))
        system._folder = folder / "runs"  # pyright: ignore[reportPrivateUsage]
        failing = FailingSync(at)
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", failing)
            child = system.start(Task(agent="writer", workspace=str(workspace)))
            with suppress(LlmosError):
                await child.result()
        assert (workspace / "a.txt").read_text() in ("before", "one", "two")
        assert not (workspace / "b.txt").exists() or (workspace / "b.txt").read_text() == "three"
        assert not [path for path in workspace.iterdir() if path.suffix == ".part"], "a draft was left behind"
        if system.journal.run(child.pid).state != "done":
            assert await system.resume(child.pid).result() == [False] * 3
        assert system.journal.audit() is None
        system.journal.close()
        undo(folder, child.pid)
        assert (workspace / "a.txt").read_text() == "before"
        assert not (workspace / "b.txt").exists()
        if failing.left > 0:
            break
    assert at > 6


def test_a_secret_is_the_old_or_the_new_one_whichever_sync_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = 0
    while True:
        at += 1
        folder = tmp_path / f"{at}"
        secrets = Secrets(folder, vault=None)
        secrets.set("name", "an old value", tool="t", host="h")
        failing = FailingSync(at)
        with monkeypatch.context() as patch, suppress(StorageError):
            patch.setattr("os.fsync", failing)
            secrets.set("name", "a new value", tool="t", host="h")
        kept = Secrets(folder, vault=None).resolve({"value": "secret://name"}, tool="t", host="h")
        assert kept["value"] in ("an old value", "a new value")
        assert {path.name for path in folder.iterdir()} <= {"secrets.json", "secrets.lock"}, "a draft was left behind"
        if failing.left > 0:
            break
    assert at > 1
