"""The journal: every system call of every run, written before and after it, in one SQLite file.

What is kept of a call: an intent row before the effect, its outcome after it, both with hashes of their contents; the
contents themselves stand in a table of their own, so that they can be forgotten. One connection, used on one thread;
several kernels may share the file (WAL). Knows no process, tool or engine: arguments and results are JSON texts.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmos.errors import JournalMismatch, NoSuchProcess, StorageError
from llmos.kernel.audit import GENESIS, Entered, Finding, Head, Place, entered, link, verify
from llmos.kernel.rows import SCHEMA, fits
from llmos.kernel.rows import Kept as Kept
from llmos.kernel.rows import Kind as Kind
from llmos.kernel.rows import Letter as Letter
from llmos.kernel.rows import Record as Record
from llmos.kernel.rows import Run as Run
from llmos.kernel.rows import RunState as RunState
from llmos.kernel.rows import canonical as canonical

_VERSION = 2
_BUSY_SECONDS = 10.0


def _shown(title: str) -> str:
    return title[:200].encode("utf-8", "replace").decode()


class Journal:
    """Opens or makes the journal in a folder.

    Args:
        folder: Where `journal.sqlite3` and `journal.head` are.
        durable: Make every commit survive a power cut (fsync). Off, commits survive a killed process, and those before
            effects outside survive a power cut too.
        clock: Seconds since the epoch.

    Raises:
        StorageError: It can't be opened, is damaged, or is of another version.
    """

    def __init__(self, folder: Path, *, durable: bool = False, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self._durable, self._clock = durable, clock
        self._synchronous: bool | None = None
        self._salts: dict[str, bytes] = {}
        self._end: tuple[int, bytes] | None = None
        self._head = Head(folder / "journal.head")
        with self._trouble("opened"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._database = sqlite3.connect(
                folder / "journal.sqlite3", timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            (folder / "journal.sqlite3").chmod(0o600)
            # what is forgotten leaves no trace on the disk, and its room is given back
            self._database.executescript("PRAGMA auto_vacuum=INCREMENTAL; PRAGMA secure_delete=ON;")
            self._write_ahead()
            self._database.execute("PRAGMA wal_autocheckpoint=1000")
            self._check_version(self._database.execute("PRAGMA user_version").fetchone()[0])
            self._database.executescript(f"{SCHEMA}PRAGMA user_version={_VERSION};")

    def _write_ahead(self) -> None:
        """Turn the write-ahead log on; two that turn it on at once refuse each other without waiting."""
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                self._database.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _check_version(self, version: int) -> None:
        if version in (0, _VERSION):
            return
        hint = "Update llmos."
        if version < _VERSION:
            hint = "Move journal.sqlite3 and journal.head aside to begin a new one; its runs can't be gone on with."
        age = "an earlier" if version < _VERSION else "a later"
        raise StorageError(f"The journal in {str(self.folder)!r} was written by {age} version of llmos.", hint=hint)

    def close(self) -> None:
        """Close the files."""
        self._database.close()
        self._head.close()

    # -- runs

    def open_run(self, run: str, *, owner: str, agent: str, task: str) -> None:
        """Enter a new run."""
        salt = secrets.token_bytes(16)
        with self._commit() as database:
            self._salts[run] = salt
            digest = self._keep(run, task)
            database.execute(
                "INSERT INTO runs (id, created, state, owner, agent, salt, task) VALUES (?, ?, 'running', ?, ?, ?, ?)",
                (run, self._clock(), owner, agent, salt, digest),
            )
            self._link(run, "", 0, "run", "begin", digest)

    def close_run(self, run: str, state: RunState, outcome: str) -> None:
        """Enter how a run ended."""
        with self._commit() as database:
            digest = self._keep(run, outcome)
            database.execute(
                "UPDATE runs SET state = ?, ended = ?, outcome = ? WHERE id = ?", (state, self._clock(), digest, run)
            )
            # of processes that an earlier life of the run began and this one did not come to
            database.execute(
                "UPDATE processes SET state = 'killed', ended = ? WHERE run = ? AND state IN ('running', 'stopped')",
                (self._clock(), run),
            )
            self._link(run, "", 0, "run", state, digest)

    def take_run(self, run: str, *, owner: str, before: str) -> bool:
        """Make an owner's run another's; False if it is not his any more."""
        with self._commit() as database:
            changed = database.execute(
                "UPDATE runs SET owner = ?, state = 'running', ended = NULL WHERE id = ? AND owner = ?",
                (owner, run, before),
            ).rowcount
            return bool(changed)

    def run(self, run: str) -> Run:
        """One run.

        Raises:
            NoSuchProcess: There is none of this id.
        """
        found = self.runs(run)
        if not found:
            raise NoSuchProcess(f"There is no run {run!r}.", hint="`llmos ps --all` lists them.")
        return found[0]

    def runs(self, run: str | None = None) -> list[Run]:
        """All runs, newest first, or the one of an id."""
        where, values = ("WHERE runs.id = ?", (run,)) if run is not None else ("", ())
        rows = self._read(
            "SELECT runs.id, created, ended, state, owner, agent, tasks.body, outcomes.body FROM runs"
            " LEFT JOIN contents AS tasks ON tasks.run = runs.id AND tasks.digest = runs.task"
            " LEFT JOIN contents AS outcomes ON outcomes.run = runs.id AND outcomes.digest = runs.outcome"
            f" {where} ORDER BY created DESC",
            values,
            "trRtttTT",
        )
        return [
            Run(name, created, ended, state, owner, agent, task or "", outcome or "")
            for name, created, ended, state, owner, agent, task, outcome in rows
        ]

    # -- processes

    def enter_process(self, run: str, path: str, parent: str, agent: str) -> None:
        """A process begins; one that is there already (of a resumed run) runs again."""
        with self._commit() as database:
            database.execute(
                "INSERT INTO processes (run, path, parent, agent, state, started) VALUES (?, ?, ?, ?, 'running', ?)"
                " ON CONFLICT DO UPDATE SET state = 'running', ended = NULL",
                (run, path, parent, agent, self._clock()),
            )

    def leave_process(self, run: str, path: str, state: str) -> None:
        """A process has ended."""
        with self._commit() as database:
            database.execute(
                "UPDATE processes SET state = ?, ended = ? WHERE run = ? AND path = ?",
                (state, self._clock(), run, path),
            )

    def processes(self, run: str) -> list[tuple[str, str, str, str, float, float | None]]:
        """Path, parent, agent, state, start and end of a run's processes, in the order they began."""
        return self._read(
            "SELECT path, parent, agent, state, started, ended FROM processes WHERE run = ? ORDER BY started",
            (run,),
            "ttttrR",
        )

    # -- calls

    def find(self, run: str, path: str, number: int, kind: Kind, arguments: str) -> Record | None:
        """What is known of a call that code makes (again); None if it never came so far.

        Raises:
            JournalMismatch: Another call stands in its place.
            StorageError: Its contents were forgotten.
        """
        row = self._one(
            "SELECT kind, title, asked, answered, started, ended, failed FROM calls"
            " WHERE run = ? AND path = ? AND number = ?",
            (run, path, number),
            "ttbBrRi",
        )
        if row is None:
            return None
        if row[0] != kind or row[2] != self._digest(run, arguments):
            raise JournalMismatch(
                f"Call {number} of process {path!r} in run {run!r} was {row[0]!r} ({row[1]}), now it is {kind!r}"
                f" with {'other arguments' if row[0] == kind else 'arguments'} {arguments[:200]}.",
                hint="The agent's code or settings have changed since: start a new run.",
            )
        result = "" if row[3] is None else self._content(run, row[3])
        if result is None:
            raise StorageError(
                f"The result of call {number} of process {path!r} in run {run!r} was forgotten.",
                hint="Such a run can be looked at, not resumed.",
            )
        return Record(path, number, kind, row[1], arguments, result, row[4], row[5], bool(row[6]))

    def intend(
        self,
        run: str,
        path: str,
        number: int,
        kind: Kind,
        title: str,
        arguments: str,
        *,
        decision: str = "",
        durable: bool = False,
    ) -> None:
        """The row before a call, with what was decided about it. With `durable` it survives a power cut."""
        with self._commit(durable) as database:
            digest = self._keep(run, arguments)
            database.execute(
                "INSERT INTO calls (run, path, number, kind, title, asked, started) VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (run, path, number, kind, _shown(title), digest, self._clock()),
            )
            self._link(run, path, number, kind, "intent", digest)
            if decision:
                self._decide(run, path, number, decision)

    def decide(self, run: str, path: str, number: int, decision: str) -> None:
        """Enter what was decided, once more, about a call that was begun before its run was interrupted."""
        with self._commit():
            self._decide(run, path, number, decision)

    def _decide(self, run: str, path: str, number: int, decision: str) -> None:
        digest = self._keep(run, decision)
        self._database.execute(
            "UPDATE calls SET decided = ? WHERE run = ? AND path = ? AND number = ?", (digest, run, path, number)
        )
        self._link(run, path, number, "policy", "decided", digest)

    def finish(
        self,
        run: str,
        path: str,
        number: int,
        result: str,
        *,
        failed: bool = False,
        durable: bool = False,
        letter: tuple[str, str] | None = None,
        read: tuple[str, int] | None = None,
    ) -> None:
        """The row after a call.

        Args:
            letter: For `send`, in the same commit: the receiver's path and the body.
            read: For `receive`, in the same commit: sender and number of the letter.
        """
        with self._commit(durable) as database:
            digest = self._keep(run, result)
            database.execute(
                "UPDATE calls SET answered = ?, ended = ?, failed = ? WHERE run = ? AND path = ? AND number = ?",
                (digest, self._clock(), failed, run, path, number),
            )
            if letter is not None:
                database.execute(
                    "INSERT INTO letters (run, sender, number, receiver, digest) VALUES (?, ?, ?, ?, ?)",
                    (run, path, number, letter[0], self._keep(run, letter[1])),
                )
            if read is not None:
                database.execute(
                    "UPDATE letters SET read = 1 WHERE run = ? AND sender = ? AND number = ?", (run, *read)
                )
            self._link(run, path, number, "call", "failed" if failed else "done", digest)

    def record(
        self,
        run: str,
        path: str,
        number: int,
        kind: Kind,
        title: str,
        arguments: str,
        result: str,
        *,
        failed: bool = False,
        decision: str = "",
        durable: bool = False,
    ) -> None:
        """Intent and outcome at once, of a call that has no effect outside: the clock, winners, what was refused."""
        with self._commit(durable) as database:
            asked, answered = self._keep(run, arguments), self._keep(run, result)
            now = self._clock()
            database.execute(
                "INSERT INTO calls (run, path, number, kind, title, asked, answered, started, ended, failed)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET answered = excluded.answered,"
                " ended = excluded.ended, failed = excluded.failed",
                (run, path, number, kind, _shown(title), asked, answered, now, now, failed),
            )
            self._link(run, path, number, kind, "refused" if failed else "recorded", asked + answered)
            if decision:
                self._decide(run, path, number, decision)

    def calls(self, run: str, path: str | None = None) -> list[Record]:
        """All calls of a run, or of one of its processes, in the order they began."""
        return self._calls("", (run,)) if path is None else self._calls("AND calls.path = ?", (run, path))

    def call(self, run: str, path: str, number: int) -> Record | None:
        """One call; None if there is none such."""
        found = self._calls("AND calls.path = ? AND number = ?", (run, path, number))
        return found[0] if found else None

    def _calls(self, where: str, values: tuple[Any, ...]) -> list[Record]:
        rows = self._read(
            "SELECT calls.path, number, kind, title, askings.body, answers.body, started, ended, failed, reasons.body"
            " FROM calls"
            " LEFT JOIN contents AS askings ON askings.run = calls.run AND askings.digest = asked"
            " LEFT JOIN contents AS answers ON answers.run = calls.run AND answers.digest = answered"
            " LEFT JOIN contents AS reasons ON reasons.run = calls.run AND reasons.digest = decided"
            f" WHERE calls.run = ? {where} ORDER BY started, calls.path, number",
            values,
            "tittTTrRiT",
        )
        return [
            Record(place, number, kind, title, asked or "", answered or "", started, ended, bool(failed), why or "")
            for place, number, kind, title, asked, answered, started, ended, failed, why in rows
        ]

    def letters(self, run: str) -> list[Letter]:
        """What was sent in a run and not received, oldest first."""
        rows = self._read(
            "SELECT sender, letters.number, receiver, body FROM letters JOIN contents USING (run, digest)"
            " JOIN calls ON calls.run = letters.run AND calls.path = sender AND calls.number = letters.number"
            " WHERE letters.run = ? AND NOT read ORDER BY calls.ended",
            (run,),
            "titt",
        )
        return [Letter(*row) for row in rows]

    # -- files as they were

    def keep_file(self, run: str, path: str, number: int, file: str, copy: str) -> None:
        """A call is about to change a file; `copy` is what it was, "" for a file that did not exist."""
        with self._commit(True) as database:
            database.execute(
                "INSERT INTO kept (run, path, number, file, copy) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (run, path, number, file, copy),
            )

    def kept_after(self, run: str, path: str, number: int, file: str, after: str) -> None:
        """Enter the digest of a file after the call, by which `undo` sees whether somebody else changed it since."""
        with self._commit() as database:
            database.execute(
                "UPDATE kept SET after = ? WHERE run = ? AND path = ? AND number = ? AND file = ?",
                (after, run, path, number, file),
            )

    def kept(self, run: str) -> list[Kept]:
        """What can be undone, the last change first."""
        rows = self._read(
            "SELECT kept.path, kept.number, file, copy, after FROM kept JOIN calls USING (run, path, number)"
            " WHERE run = ? AND NOT undone ORDER BY calls.started DESC, kept.path DESC, kept.number DESC",
            (run,),
            "titTT",
        )
        return [Kept(row[0], row[1], row[2], row[3] or "", row[4] or "") for row in rows]

    def was_undone(self, run: str) -> bool:
        """Whether anything that a run did was taken back."""
        return self._one("SELECT number FROM kept WHERE run = ? AND undone LIMIT 1", (run,), "i") is not None

    def undone(self, run: str, kept: Kept) -> None:
        """Enter that a change was taken back."""
        with self._commit(True) as database:
            database.execute(
                "UPDATE kept SET undone = 1 WHERE run = ? AND path = ? AND number = ? AND file = ?",
                (run, kept.path, kept.number, kept.file),
            )
            self._link(run, kept.path, kept.number, "undo", "done", self._digest(run, kept.file))

    # -- grants

    def put_grant(self, grant: str, body: str) -> None:
        """Enter a standing permission."""
        with self._commit(True) as database:
            database.execute("INSERT INTO grants (id, body) VALUES (?, ?)", (grant, body))
            self._link("", "", 0, "grant", grant, hashlib.sha256(body.encode()).digest())

    def use_grant(self, grant: str) -> None:
        """Count a call that a grant covered."""
        with self._commit() as database:
            database.execute("UPDATE grants SET used = used + 1 WHERE id = ?", (grant,))

    def revoke_grant(self, grant: str) -> bool:
        """End a grant; False if there is none of this id."""
        with self._commit(True) as database:
            found = database.execute("UPDATE grants SET revoked = 1 WHERE id = ? AND NOT revoked", (grant,)).rowcount
            if found:
                self._link("", "", 0, "grant", "revoked", hashlib.sha256(grant.encode()).digest())
            return bool(found)

    def grants(self) -> list[tuple[str, int]]:
        """Bodies of the grants in force, and how often each was used."""
        return self._read("SELECT body, used FROM grants WHERE NOT revoked ORDER BY id", (), "ti")

    # -- keeping and forgetting

    def forget(self, run: str) -> None:
        """Remove all contents of a run: what was asked, answered, sent. Its rows and the audit chain stay."""
        with self._commit(True) as database:
            database.execute("DELETE FROM contents WHERE run = ?", (run,))
            title = "CASE kind WHEN 'act' THEN substr(title, 1, instr(title || '(', '(') - 1) ELSE '' END"  # the tool
            database.execute(f"UPDATE calls SET title = {title} WHERE run = ?", (run,))
            database.execute("UPDATE runs SET salt = NULL WHERE id = ?", (run,))
            self._link(run, "", 0, "run", "forgotten", b"")
        self._salts.pop(run, None)
        with self._trouble("cleaned"):
            self._database.executescript("PRAGMA incremental_vacuum")  # `execute` would free a single page

    def audit(self) -> Finding | None:
        """Check the whole chain against its head, and calls and contents against the chain; None if all is sound."""
        head = self._head.read()
        rows = self._read("SELECT number, row, chain FROM audit ORDER BY number", (), "ibb")
        return verify(rows, head) or self._compare(row for _, row, _ in rows)

    def _compare(self, rows: Iterable[bytes]) -> Finding | None:
        """Find the first call that is not what the chain says, or whose contents are not what their hash says."""
        try:
            said = entered(rows)
        except ValueError:
            return Finding(0, "the chain has a row that llmos did not write")
        found = self._read("SELECT run, path, number, asked, answered, decided, failed FROM calls", (), "ttibBBi")
        known = {
            (run, path, number): Entered(asked.hex(), (answered or b"").hex(), (decided or b"").hex(), bool(failed))
            for run, path, number, asked, answered, decided, failed in found
        }
        for place in sorted(said.keys() | known.keys()):
            if said.get(place) != known.get(place):
                return Finding(
                    0, f"call {place[2]} of process {place[1]!r} in run {place[0]!r} is not what was entered"
                )
        return self._compare_contents(said)

    def _compare_contents(self, said: Mapping[Place, Entered]) -> Finding | None:
        places = {(run, digest): place for (run, *place), call in said.items() for digest in call.digests}
        for run, digest, body in self._read("SELECT run, digest, body FROM contents", (), "tbt"):
            if self._digest(run, body) != digest:
                path, number = places.get((run, digest.hex()), ("", 0))
                where = f"call {number} of process {path!r} in run {run!r}" if number else f"run {run!r}"
                return Finding(0, f"the contents of {where} were changed")
        return None

    # -- inside

    def _digest(self, run: str, body: str) -> bytes:
        """A hash keyed by the run's salt: when that is gone, nobody can guess at what was hashed."""
        salt = self._salts.get(run)
        if salt is None:
            row = self._one("SELECT salt FROM runs WHERE id = ?", (run,), "B")
            if row is None or row[0] is None:
                raise StorageError(f"The contents of run {run!r} were forgotten.", hint="Start a new run.")
            salt = self._salts[run] = row[0]
        return hashlib.blake2b(body.encode("utf-8", "surrogatepass"), digest_size=32, key=salt).digest()

    def _keep(self, run: str, body: str) -> bytes:
        digest = self._digest(run, body)
        self._database.execute(
            "INSERT INTO contents (run, digest, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (run, digest, body)
        )
        return digest

    def _content(self, run: str, digest: bytes) -> str | None:
        row = self._one("SELECT body FROM contents WHERE run = ? AND digest = ?", (run, digest), "t")
        if row is None:
            return None
        if self._digest(run, row[0]) != digest:
            raise self._damaged("contents are not what their hash says")
        return str(row[0])

    def _link(self, run: str, path: str, number: int, kind: str, what: str, digest: bytes) -> None:
        """Append to the audit chain, within the commit under way."""
        last = "SELECT number, chain FROM audit ORDER BY number DESC LIMIT 1"
        end = self._end or self._one(last, (), "ib") or (0, GENESIS)
        row = f"{self._clock():.6f} {run} {path} {number} {kind} {what} {digest.hex()}".encode()
        chain = link(end[1], row)
        self._database.execute("INSERT INTO audit (number, row, chain) VALUES (?, ?, ?)", (end[0] + 1, row, chain))
        self._end = (end[0] + 1, chain)

    @contextmanager
    def _commit(self, durable: bool = False) -> Generator[sqlite3.Connection]:
        """One transaction: all of it or nothing."""
        synchronous = durable or self._durable
        with self._trouble("written"):
            if synchronous != self._synchronous:
                self._database.execute(f"PRAGMA synchronous={'FULL' if synchronous else 'NORMAL'}")
                self._synchronous = synchronous
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                self._end = None
                raise
        end, self._end = self._end, None  # another process may go on with the chain
        if end is not None:
            self._head.write(*end)

    def _read(self, query: str, values: tuple[Any, ...], shape: str) -> list[Any]:
        with self._trouble("read"):
            rows = self._database.execute(query, values).fetchall()
        if not all(fits(row, shape) for row in rows):
            raise self._damaged("a row has values of other types than were written")
        return rows

    def _one(self, query: str, values: tuple[Any, ...], shape: str) -> Any | None:  # noqa: ANN401  # a row of any columns
        with self._trouble("read"):
            row = self._database.execute(query, values).fetchone()
        if row is not None and not fits(row, shape):
            raise self._damaged("a row has values of other types than were written")
        return row

    def _damaged(self, what: str) -> StorageError:
        hint = f"Move the journal in {str(self.folder)!r} aside to begin a new one; other data is not affected."
        return StorageError(f"The journal in {str(self.folder)!r} is damaged: {what}.", hint=hint)

    @contextmanager
    def _trouble(self, what: str) -> Generator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, UnicodeError, MemoryError) as error:  # a damaged length is taken for a huge one
            hint = "Free some disk space and try again."
            if isinstance(error, sqlite3.DatabaseError) and "malformed" in str(error):
                hint = f"Move the journal in {str(self.folder)!r} aside to begin a new one; other data is not affected."
            raise StorageError(
                f"The journal in {str(self.folder)!r} could not be {what}: {error}.", hint=hint
            ) from error
