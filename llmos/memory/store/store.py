"""`MemoryStore`: what is remembered, in one SQLite file, which is the only truth.

Used on any thread and by several processes at once. What a change acknowledges survives a killed process and a power
cut. A file that turns out to be damaged is repaired at once, and `lost` says what could not be read. Knows no vectors
but as bytes under a hash, and no retrieval but that of words.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from llmos.errors import StorageError
from llmos.memory.items import KINDS, Filter, Item, NewItem
from llmos.memory.store import schema, writing
from llmos.memory.store.choosing import expression, phrases, table, where
from llmos.memory.store.database import Damaged, Database, connect, locked, trouble
from llmos.memory.store.records import Changed, Changes, Columns, Lost, Source
from llmos.memory.store.repair import create, damaged_copy, is_whole, repair, restore_words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")

LABELS = ("user", "files", "outside")
_FILE, _LOCK = "memory.sqlite3", "memory.lock"
_TABLES = {"items", "removed", "vectors", "settings", "texts", "words"}
_SAMPLE = 5_000  # items by which it is told how common a word is
_COMMON = 0.2  # words that more items have are not asked for, if there are rarer ones in the query
_RANKED = 50_000  # items with a word of a query, about, that are ranked at most
_IDS = "IN (SELECT value FROM json_each(?))"


class MemoryStore:
    """Made by `open`.

    Attributes:
        folder: Where its files are.
        lost: What a repair could not read, since this was opened; None if there was none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lost: Lost | None = None
        self._path, self._lock = folder / _FILE, folder / _LOCK
        self._database = Database(self._path, self._lock)
        self._shares: dict[str, float] = {}
        self._shares_of = 0

    @classmethod
    def open(cls, folder: Path) -> MemoryStore:
        """Open the memory in a folder, or make one.

        Raises:
            StorageError: It can't be read or written, is of a later version of llmos, or the file is something else's.
        """
        store = cls(folder)
        with trouble(folder, "opened"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            if not store._is_sound():
                store._make()
        except Damaged as damage:
            store._repair(damage)
        return store

    def close(self) -> None:
        """Close the files."""
        self._database.close()

    def _is_sound(self) -> bool:
        """Whether there is a memory that can be used; False if it is still to be made."""
        if not self._path.exists() or self._path.stat().st_size == 0:
            return False
        with trouble(self.folder, "opened", opening=True):
            connection = connect(self._path, writes=False)
            try:
                application, version = (
                    connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
                )
                tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
                if application == 0 and version == 0 and not tables:
                    return False
                self._check_version(application, version, tables)
                if not tables >= _TABLES or connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
                    return False
                connection.execute(writing.LAST).fetchone()
                connection.execute("SELECT * FROM items ORDER BY id DESC LIMIT 1").fetchone()
                connection.execute("SELECT rowid FROM words WHERE words MATCH 'x' LIMIT 1").fetchone()
            finally:
                connection.close()
        return True

    def _check_version(self, application: int, version: int, tables: set[str]) -> None:
        if application != schema.APPLICATION:
            if tables & _TABLES:
                raise Damaged("its header is wrong")
            raise StorageError(
                f"{str(self._path)!r} is a database of something else.", hint="Move it aside, or use another folder."
            )
        if version != schema.VERSION:
            age = "an earlier" if version < schema.VERSION else "a later"
            hint = "Export it with the version that wrote it." if version < schema.VERSION else "Update llmos."
            raise StorageError(f"The memory in {str(self.folder)!r} was written by {age} version of llmos.", hint=hint)

    def _make(self) -> None:
        with locked(self._lock, shared=False):
            log = self._path.with_name(f"{_FILE}-wal")
            begun = not self._path.exists() and damaged_copy(self._path).exists()
            emptied = self._path.exists() and not self._path.stat().st_size and log.exists() and log.stat().st_size
            if begun or emptied:
                self.lost = repair(self._path, "its file was missing or empty")
            with trouble(self.folder, "made"):
                os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
                connection = connect(self._path, writes=True)
                try:
                    if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                        connection.execute(f"PRAGMA page_size={schema.PAGE}")
                        connection.execute("BEGIN IMMEDIATE")
                        create(connection)
                        connection.execute("COMMIT")
                    connection.execute("PRAGMA journal_mode=WAL")
                    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
                    if not tables >= _TABLES:
                        raise Damaged(f"there is no table {min(_TABLES - tables)!r}")
                finally:
                    connection.close()

    # -- adding and changing

    def add(self, items: Sequence[NewItem]) -> list[int]:
        """Write items in one transaction, durable when this returns.

        Returns:
            Their ids, in the order given; of one whose (tenant, key) is there already, the id of that.

        Raises:
            StorageError: They can't be written, or one has no tenant; nothing has changed.
        """
        writing.check_tenants(items)
        return self._write(lambda connection: writing.add(connection, items)) if items else []

    def replace_source(self, tenant: str, namespace: str, source: str, items: Sequence[NewItem]) -> Changed:
        """Make a source's items these, in one transaction: those whose key is there stay, others come and go.

        Args:
            items: All of this tenant, namespace and source.

        Raises:
            StorageError: They can't be written, or are not of this source; nothing has changed.
        """
        for item in items:
            if (item.tenant, item.namespace, item.source) != (tenant, namespace, source):
                raise StorageError(
                    f"An item of {(item.tenant, item.namespace, item.source)!r} was given for the source"
                    f" {(tenant, namespace, source)!r}.",
                    hint="Replace the items of one source at a time.",
                )
        writing.check_tenants(items)

        def change(connection: sqlite3.Connection) -> Changed:
            there: dict[int, tuple[Any, ...]] = {
                row[0]: row[1:]
                for row in connection.execute(
                    "SELECT id, start, stop, line, last_line, page, heading, metadata FROM items"
                    " WHERE tenant = ? AND namespace = ? AND source = ?",
                    (schema.stored(tenant), schema.stored(namespace), schema.stored(source)),
                )
            }
            first = writing.next_id(connection)
            ids = writing.add(connection, items)
            kept = dict.fromkeys(id for id in ids if id < first)
            gone = [id for id in there if id not in kept]
            writing.remove(connection, gone)
            writing.move(connection, [(id, item) for id, item in zip(ids, items, strict=True) if id in there], there)
            return Changed(tuple(dict.fromkeys(id for id in ids if id >= first)), tuple(kept), tuple(gone))

        return self._write(change)

    def supersede(self, ids: Sequence[int], by: int) -> None:
        """Note that an item takes the place of others, which stay as history.

        Raises:
            StorageError: One of them is not there, or is another tenant's; nothing has changed.
        """

        def change(connection: sqlite3.Connection) -> None:
            tenants = connection.execute(
                f"SELECT count(*), count(DISTINCT tenant) FROM items WHERE id {_IDS}", (json.dumps([*ids, by]),)
            ).fetchone()
            if tenants != (len({*ids, by}), 1) or by in ids:
                raise StorageError(f"Item {by!r} can't take the place of {list(ids)!r}: not all are there for it.")
            seq = writing.last(connection)
            connection.executemany(
                "UPDATE items SET superseded_by = ?, seq = ? WHERE id = ?",
                [(by, seq + at, id) for at, id in enumerate(dict.fromkeys(ids), 1)],
            )

        if ids:
            self._write(change)

    def remove(self, ids: Sequence[int]) -> int:
        """Remove items for good. When `purge` has run, no byte of them is left in any file of the store.

        Returns:
            How many were there.
        """
        return self._write(lambda connection: writing.remove(connection, ids)) if ids else 0

    def purge(self) -> None:
        """Make files anew that hold nothing of what was removed: the index of words, the database, its log.

        Raises:
            StorageError: There is no room for it, or another process reads for too long.
        """

        def clear(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM vectors WHERE hash NOT IN (SELECT hash FROM items)")
            # writes all of it anew without what was removed, as a rebuild does, but reads no text again
            connection.execute("INSERT INTO words (words) VALUES ('optimize')")
            connection.execute("DELETE FROM settings WHERE name = 'lost'")

        def compact(connection: sqlite3.Connection) -> None:
            connection.execute("VACUUM")
            if connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                raise sqlite3.OperationalError("another process reads what was removed")

        self._write(clear)
        self._shares.clear()
        self._mended(lambda: self._alone(compact))
        aside = damaged_copy(self._path)
        with trouble(self.folder, "purged"):
            for ending in ("", "-wal", "-shm"):
                aside.with_name(f"{aside.name}{ending}").unlink(missing_ok=True)

    # -- reading

    def get(self, ids: Sequence[int]) -> list[Item]:
        """Items by id, in the order asked; those that are not there are left out."""
        rows = self._rows(
            f"SELECT {schema.SELECTED} FROM items WHERE id {_IDS}", (json.dumps([int(id) for id in ids]),)
        )
        found = {row[0]: row for row in rows}
        return [schema.item(found[id]) for id in ids if id in found]

    def items(self, filter: Filter, *, after: int = 0, limit: int | None = None) -> list[Item]:
        """Items that a filter chooses, by id.

        Args:
            after: Only those with a greater id.
            limit: So many at most; None for all.
        """
        condition, values = where(filter)
        source = table(filter, otherwise="items_by_tenant")
        query = f"SELECT {schema.SELECTED} FROM {source} WHERE {condition} AND id > ? ORDER BY id LIMIT ?"
        return [schema.item(row) for row in self._rows(query, (*values, after, -1 if limit is None else limit))]

    def ids(self, filter: Filter) -> NDArray[np.int64]:
        """Ids that a filter chooses, growing."""
        import numpy as np

        condition, values = where(filter)
        rows = self._rows(
            f"SELECT id FROM {table(filter, otherwise='items_by_kind')} WHERE {condition} ORDER BY id", values
        )
        return np.fromiter((row[0] for row in rows), np.int64, len(rows))

    def count(self, filter: Filter) -> int:
        """How many items a filter chooses."""
        condition, values = where(filter)
        source = table(filter, otherwise="items_by_kind")
        return int(self._rows(f"SELECT count(*) FROM {source} WHERE {condition}", values)[0][0])

    def matching(self, query: str, filter: Filter, *, limit: int) -> list[tuple[int, float]]:
        """Items with words in common with a query, by BM25.

        Words that very many items have are not asked for where the query has rarer ones.

        Args:
            query: Any text.

        Returns:
            Ids and scores, which are higher the better, best first.
        """
        words = phrases(query)
        if not words or limit < 1:
            return []
        condition, values = where(filter)
        first, last = self._rows("SELECT (SELECT min(tenant) FROM items), (SELECT max(tenant) FROM items)", ())[0]
        rows = self._rows(
            "SELECT words.rowid, -words.rank FROM words CROSS JOIN items ON items.id = words.rowid"
            f" WHERE words MATCH ? AND rank MATCH 'bm25(1.0, 0.0)' AND {condition} ORDER BY rank LIMIT ?",
            (expression(self._telling(words), filter, among_tenants=first != last), *values, limit),
        )
        return [(id, score) for id, score in rows]

    def _telling(self, words: list[str]) -> list[str]:
        """The words that not every fifth item has, if there are such, and of those the rarest, as far as there is time
        to rank all items that have one."""
        newest = self._rows("SELECT coalesce(max(id), 0) FROM items", ())[0][0]
        if newest <= _SAMPLE or len(words) == 1:
            return words
        if not self._shares_of <= newest <= 2 * self._shares_of:
            self._shares.clear()
            self._shares_of = newest
        for word in words:
            if word not in self._shares:
                seen = self._rows(
                    "SELECT count(*) FROM words WHERE words MATCH ? AND rowid > ?", (f"text : {word}", newest - _SAMPLE)
                )
                self._shares[word] = seen[0][0] / _SAMPLE
        chosen = set[str]()
        left = _RANKED / newest
        for word in sorted(words, key=self._shares.__getitem__):
            left -= self._shares[word]
            if chosen and (self._shares[word] > _COMMON or left < 0):
                break
            chosen.add(word)
        return [word for word in words if word in chosen]

    def neighbours(self, item: Item, *, before: int = 1, after: int = 1) -> list[Item]:
        """What stands beside an item in its source, by position; without the item itself."""
        if not item.source:
            return []
        key = (schema.stored(item.tenant), schema.stored(item.namespace), schema.stored(item.source))
        found: list[Item] = []
        for sign, order, amount in (("<", "DESC", before), (">", "ASC", after)):
            rows = self._rows(
                f"SELECT {schema.SELECTED} FROM items WHERE tenant = ? AND namespace = ? AND source = ?"
                f" AND (position, id) {sign} (?, ?) AND superseded_by IS NULL"
                f" ORDER BY position {order}, id {order} LIMIT ?",
                (*key, item.span.start or 0, item.id, amount),
            )
            found += [schema.item(row) for row in (rows if sign == ">" else reversed(rows))]
        return found

    def sources(self, filter: Filter) -> list[Source]:
        """Where the items are from that a filter chooses, by name."""
        condition, values = where(filter)
        rows = self._rows(
            "SELECT source, kind, count(*), sum(length(text)), max(created), namespace FROM items"
            f" WHERE {condition} AND source <> '' GROUP BY namespace, source, kind ORDER BY source, namespace, kind",
            values,
        )
        return [Source(schema.name(row[0]), row[1], row[2], row[3], row[4], schema.name(row[5])) for row in rows]

    # -- for indexes beside it

    @property
    def last(self) -> int:
        """The number of the last change, of this or another process."""
        return int(self._rows(writing.LAST, ())[0][0])

    @property
    def epoch(self) -> str:
        """A name of this memory that is another when it had to be repaired: numbers of changes may then come again."""
        return self.setting("epoch") or ""

    def changes(self, since: int, *, limit: int = 10_000) -> Changes:
        """What has changed after a number."""
        import numpy as np

        rows = self._rows(
            "SELECT seq, id, 0 FROM items WHERE seq > ?1 UNION ALL SELECT seq, id, 1 FROM removed WHERE seq > ?1"
            " ORDER BY seq LIMIT ?2",
            (since, limit),
        )
        seqs, ids, removed = np.array(rows, np.int64).reshape(-1, 3).T
        return Changes(seqs, ids, removed.astype(bool), int(seqs[-1]) if len(rows) else since, len(rows) == limit)

    def columns(self, ids: Sequence[int]) -> Columns:
        """What some items are filtered by, by id; those that are not there are left out."""
        import numpy as np

        rows = self._rows(
            "SELECT id, tenant, namespace, source, kind, label, created, superseded_by IS NULL, hash FROM items"
            f" WHERE id {_IDS} ORDER BY id",
            (json.dumps([int(id) for id in ids]),),
        )
        codes = {value: schema.code(schema.name(value)) for row in rows for value in row[1:4]}

        def column(at: int, kind: Any, of: Mapping[Any, Any] | None = None) -> NDArray[Any]:  # noqa: ANN401
            return np.fromiter((row[at] if of is None else of[row[at]] for row in rows), kind, len(rows))

        return Columns(
            column(0, np.int64),
            column(1, np.int64, codes),
            column(2, np.int64, codes),
            column(3, np.int64, codes),
            column(4, np.int8, {kind: at for at, kind in enumerate(KINDS)}),
            column(5, np.int8, {label: at for at, label in enumerate(LABELS)}),
            column(6, np.float64),
            column(7, np.bool_),
            [row[8] for row in rows],
        )

    @property
    def size(self) -> int:
        """How many items there are, of all tenants."""
        return int(self._rows("SELECT count(*) FROM items", ())[0][0])

    @property
    def last_vector(self) -> int:
        """A number that grows when embeddings are kept that were not there."""
        return int(self._rows("SELECT coalesce(max(id), 0) FROM vectors", ())[0][0])

    def next_ids(self, after: int, *, limit: int) -> list[int]:
        """Ids of items of all tenants, greater than one, growing."""
        return [id for (id,) in self._rows("SELECT id FROM items WHERE id > ? ORDER BY id LIMIT ?", (after, limit))]

    def texts(self, ids: Sequence[int]) -> dict[int, str]:
        """The texts of some items."""
        return dict(self._rows(f"SELECT id, text FROM items WHERE id {_IDS}", (json.dumps([int(id) for id in ids]),)))

    def vectors(self, hashes: Sequence[bytes], model: str) -> dict[bytes, NDArray[np.float32]]:
        """Embeddings that were kept, under the hashes of their texts: unit vectors, float32. They were rounded to 11
        bits, which moves a cosine by less than a millionth."""
        import numpy as np

        found: dict[bytes, NDArray[np.float32]] = {}
        for part in writing.parts(list(dict.fromkeys(hashes)), writing.AT_ONCE):
            marks = ", ".join("?" * len(part))
            rows = self._rows(f"SELECT hash, vector FROM vectors WHERE model = ? AND hash IN ({marks})", (model, *part))
            for key, value in rows:
                vector = np.frombuffer(value, np.float16).astype(np.float32)
                length = float(np.linalg.norm(vector))
                if 0.99 < length < 1.01:  # otherwise it is damaged, and as good as none
                    found[key] = vector / np.float32(length)
        return found

    def sample(self, model: str, dimension: int, amount: int) -> NDArray[np.float32]:
        """Embeddings of a model, evenly from all that are kept: shape (`amount` or as many as there are, dimension)."""
        import numpy as np

        rows = self._rows(
            "SELECT vector FROM vectors WHERE model = ? AND id % ? = 0 AND length(vector) = ? LIMIT ?",
            (model, max(1, self.last_vector // max(1, amount)), 2 * dimension, amount),
        )
        return np.frombuffer(b"".join(row[0] for row in rows), np.float16).astype(np.float32).reshape(-1, dimension)

    def keep_vectors(self, model: str, vectors: Mapping[bytes, NDArray[np.float32]]) -> None:
        """Keep embeddings of a model under the hashes of their texts, in place of those that are there."""
        import numpy as np

        rows = [(model, key, np.asarray(vector, np.float16).tobytes()) for key, vector in vectors.items()]
        if rows:
            statement = (
                "INSERT INTO vectors (model, hash, vector) VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET vector = excluded.vector"
            )
            self._write(lambda connection: connection.executemany(statement, rows))

    def forget_model(self, model: str) -> None:
        """Remove the embeddings of a model that is not used any more."""
        self._write(lambda connection: connection.execute("DELETE FROM vectors WHERE model = ?", (model,)))

    def setting(self, name: str) -> str | None:
        """A setting that belongs to the memory, such as the embedding model of its index."""
        rows = self._rows("SELECT value FROM settings WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else None

    def set_setting(self, name: str, value: str) -> None:
        """Change a setting."""
        statement = "INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"
        self._write(lambda connection: connection.execute(statement, (name, value)))

    # -- inside

    def _rows(self, query: str, values: Sequence[Any]) -> list[Any]:
        return self._mended(lambda: self._database.read(lambda database: database.execute(query, values).fetchall()))

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return self._mended(lambda: self._database.write(work))

    def _alone(self, work: Callable[[sqlite3.Connection], None]) -> None:
        with self._database.alone() as connection, trouble(self.folder, "purged"):
            work(connection)

    def _mended(self, work: Callable[[], T]) -> T:
        """What `work` gives; if it comes upon damage, a second time, after a repair."""
        try:
            return work()
        except Damaged as damage:
            self._repair(damage)
        try:
            return work()
        except Damaged as damage:
            raise StorageError(
                f"The memory in {str(self.folder)!r} is damaged again after a repair: {damage}.",
                hint="Look whether the disk is failing.",
            ) from damage

    def _repair(self, damage: Damaged) -> None:
        with self._database.repairing(damage.file) as still_there:
            if not still_there or (damage.words and restore_words(self._path)):
                return
            with suppress(Damaged):
                # a false alarm, or somebody else was quicker
                if not damage.words and self._is_sound() and is_whole(self._path):
                    return
            self.lost = repair(self._path, str(damage))
            with trouble(self.folder, "opened"):
                connection = connect(self._path, writes=True)
                try:
                    connection.execute("PRAGMA journal_mode=WAL")
                finally:
                    connection.close()
