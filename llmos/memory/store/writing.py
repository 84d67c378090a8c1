"""Items written, moved and removed, within a transaction of the caller's. Knows no file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from llmos.errors import StorageError
from llmos.memory.items import NewItem
from llmos.memory.store import schema

T = TypeVar("T")

AT_ONCE = 500  # values in one statement
LAST = "SELECT max(coalesce((SELECT max(seq) FROM items), 0), coalesce((SELECT max(seq) FROM removed), 0))"


def check_tenants(items: Sequence[NewItem]) -> None:
    """Every item is somebody's.

    Raises:
        StorageError: One is not.
    """
    if not all(item.tenant for item in items):
        raise StorageError("An item without a tenant was to be remembered.", hint="Say whose it is.")


def last(connection: sqlite3.Connection) -> int:
    """The number of the last change."""
    return int(connection.execute(LAST).fetchone()[0])


def next_id(connection: sqlite3.Connection) -> int:
    """The id of the next item."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'items'").fetchone()
    return int(row[0]) + 1 if row else 1


def add(connection: sqlite3.Connection, items: Sequence[NewItem]) -> list[int]:
    """Write items. Gives their ids; of one whose key is there, the id of that."""
    first, seq, now = next_id(connection), last(connection) + 1, time.time()
    known = _known(connection, items)
    ids: list[int] = []
    rows: list[tuple[Any, ...]] = []
    for item in items:
        key = (item.tenant, item.key)
        if item.key and key in known:
            ids.append(known[key])
            continue
        id = first + len(rows)
        rows.append(schema.row(item, id, seq + len(rows), now))
        ids.append(id)
        if item.key:
            known[key] = id
    connection.executemany(schema.INSERT, rows)
    connection.execute(schema.INDEX, (first,))
    return ids


def _known(connection: sqlite3.Connection, items: Sequence[NewItem]) -> dict[tuple[str, str], int]:
    """Ids of those whose key is there already."""
    by_tenant: dict[str, list[str]] = {}
    for item in items:
        if item.key:
            by_tenant.setdefault(item.tenant, []).append(item.key)
    known: dict[tuple[str, str], int] = {}
    for tenant, keys in by_tenant.items():
        for part in parts(keys, AT_ONCE):
            found = connection.execute(
                f"SELECT key, id FROM items WHERE tenant = ? AND key IN ({', '.join('?' * len(part))})",
                (schema.stored(tenant), *(schema.stored(key) for key in part)),
            )
            known.update(((tenant, schema.name(key)), id) for key, id in found)
    return known


def remove(connection: sqlite3.Connection, ids: Sequence[int]) -> int:
    """Remove items. Gives how many were there."""
    seq, gone = last(connection), 0
    for id in dict.fromkeys(int(id) for id in ids):
        connection.execute(schema.UNINDEX, (id,))
        if connection.execute("DELETE FROM items WHERE id = ?", (id,)).rowcount:
            gone += 1
            connection.execute("INSERT INTO removed (seq, id) VALUES (?, ?)", (seq + gone, id))
    return gone


def move(
    connection: sqlite3.Connection, items: Sequence[tuple[int, NewItem]], there: Mapping[int, tuple[Any, ...]]
) -> None:
    """Note where items that stay stand now."""
    seq = last(connection)
    for id, item in items:
        span = item.span
        place = (span.start, span.stop, span.line, span.last_line, span.page, schema.clean(span.heading))
        now = (*place, schema.encoded(item.metadata))
        if now != there[id]:
            seq += 1
            connection.execute(
                "UPDATE items SET start = ?, stop = ?, line = ?, last_line = ?, page = ?, heading = ?, metadata = ?,"
                " seq = ? WHERE id = ?",
                (*now, seq, id),
            )


def parts(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """A sequence in pieces of a size."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
