"""Makes a database anew out of what can be read of a damaged one, and says what was lost.

Every item's text is held against the hash that stands beside it, so that nothing comes back changed. The steps can be
interrupted anywhere: the damaged file is moved aside first and kept, and a new one takes its place when it is complete.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from llmos.memory.items import KINDS, hash_of
from llmos.memory.replacing import replace
from llmos.memory.store.database import trouble
from llmos.memory.store.records import Lost
from llmos.memory.store.salvage import Pages
from llmos.memory.store.schema import APPLICATION, COLUMNS, PAGE, SCHEMA, VERSION

_SAFE_DISTANCE = 1_000_000  # of new ids from those known, where it is not known which were used
_TEXT = {"kind", "label", "heading", "metadata", "scope", "text"}
_NAMES = {"tenant", "namespace", "source"}


def damaged_copy(path: Path) -> Path:
    """Where the damaged file is kept."""
    return path.with_name(f"{path.stem}.damaged{path.suffix}")


def create(connection: sqlite3.Connection) -> None:
    """The tables of an empty memory, within a transaction of the caller's."""
    for statement in SCHEMA.split(";\n"):
        if statement.strip():
            connection.execute(statement)
    connection.execute("INSERT INTO settings (name, value) VALUES ('epoch', ?)", (secrets.token_hex(8),))
    connection.execute(f"PRAGMA application_id={APPLICATION}")
    connection.execute(f"PRAGMA user_version={VERSION}")


def restore_words(path: Path) -> bool:
    """Make the index of words anew; False if more than that is damaged."""
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA secure_delete=ON")
            connection.execute("INSERT INTO words (words) VALUES ('rebuild')")
        return is_whole(path)
    except sqlite3.DatabaseError:
        return False


def is_whole(path: Path) -> bool:
    """Whether SQLite finds nothing wrong. Reads all of it."""
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.DatabaseError:
        return False


def repair(path: Path, reason: str) -> Lost:
    """Put a new database in the place of a damaged one. The caller holds the lock, and nobody has the file open to
    write.

    Args:
        reason: What was found, for people.

    Raises:
        StorageError: The new one can't be written; the damaged one is kept.
    """
    aside, fresh = damaged_copy(path), path.with_name(f"{path.stem}.new{path.suffix}")
    with trouble(path.parent, "repaired"):
        if path.exists():
            _forget(aside)
            # the log first: a log without its file does no harm, a file without its log has lost what is in it
            for ending in ("-wal", ""):
                if path.with_name(f"{path.name}{ending}").exists():
                    os.replace(f"{path}{ending}", f"{aside}{ending}")
        path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
        _forget(fresh)
        os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        pages = Pages(aside, PAGE)
        try:
            lost = _rebuild(fresh, pages, reason, aside)
        finally:
            pages.close()
        replace(fresh, path)
    return lost


def _forget(path: Path) -> None:
    for ending in ("", "-wal", "-shm", "-journal"):
        path.with_name(f"{path.name}{ending}").unlink(missing_ok=True)


def _rebuild(path: Path, pages: Pages, reason: str, aside: Path) -> Lost:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute(f"PRAGMA page_size={PAGE}")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("BEGIN IMMEDIATE")
        create(connection)
        top = _copy(connection, pages)
        kept, missing = _missing(connection, top)
        connection.execute("INSERT INTO words (words) VALUES ('rebuild')")
        lost = Lost(reason, kept, sum(last - first + 1 for first, last in missing), tuple(missing), aside)
        connection.execute("INSERT OR REPLACE INTO settings (name, value) VALUES ('lost', ?)", (str(lost),))
        connection.execute("COMMIT")
        return lost
    finally:
        connection.close()


def _copy(connection: sqlite3.Connection, pages: Pages) -> int:
    """Insert all rows that can be read. Gives the last id that was in use as far as that is known."""
    written: dict[int, int] = {}
    top = 0
    columns, marks = ", ".join(COLUMNS), ", ".join("?" * len(COLUMNS))
    for rowid, values in pages.rows():
        match values:
            case [None, int(id)]:
                connection.execute("INSERT OR REPLACE INTO removed (seq, id) VALUES (?, ?)", (rowid, id))
            case [None, str(model), bytes(key), bytes(vector)] if len(key) == 16:
                connection.execute(
                    "INSERT OR IGNORE INTO vectors (model, hash, vector) VALUES (?, ?, ?)", (model, key, vector)
                )
            case ["items", int(last)]:
                top = max(top, last)
            case [str(name), str(value)] if name not in ("epoch", "lost"):
                connection.execute("INSERT OR REPLACE INTO settings (name, value) VALUES (?, ?)", (name, value))
            case _ if _is_item(values) and written.get(rowid, -1) < values[1]:
                row = (rowid, *values[1:])
                connection.execute(f"INSERT OR REPLACE INTO items ({columns}) VALUES ({marks})", row)
                written[rowid] = values[1]
            case _:
                continue
    connection.execute("DELETE FROM items WHERE id IN (SELECT id FROM removed)")
    seen = max([0, *(max(row) for row in connection.execute(_LARGEST) if row[0] is not None)])
    last = max(top, seen) if top else seen + _SAFE_DISTANCE
    connection.execute("DELETE FROM sqlite_sequence WHERE name = 'items'")
    connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('items', ?)", (last,))
    return int(max(top, seen))


_LARGEST = "SELECT max(id) FROM items UNION ALL SELECT max(id) FROM removed"


def _is_item(values: list[Any]) -> bool:
    """Whether a row is an item's, and its text what was written."""
    if len(values) != len(COLUMNS):
        return False
    row: dict[str, Any] = dict(zip(COLUMNS, values, strict=True))
    return (
        row["id"] is None
        and isinstance(row["seq"], int)
        and isinstance(row["created"], int | float)
        and all(isinstance(row[column], str) for column in _TEXT)
        and all(isinstance(row[column], str | bytes) for column in _NAMES)
        and row["kind"] in KINDS
        and row["hash"] == hash_of(row["text"])
    )


def _missing(connection: sqlite3.Connection, top: int) -> tuple[int, list[tuple[int, int]]]:
    """How many items are there, and the ranges of ids up to `top` that are neither there nor removed."""
    gaps: list[tuple[int, int]] = []
    expected = 1
    for (id,) in connection.execute("SELECT id FROM items UNION SELECT id FROM removed ORDER BY 1"):
        if id > expected:
            gaps.append((expected, id - 1))
        expected = id + 1
    if top >= expected:
        gaps.append((expected, top))
    return connection.execute("SELECT count(*) FROM items").fetchone()[0], gaps
