"""The tables of the memory, and rows as items. Knows no file and no connection.

`items` has one row for each item and is the truth; `words` is the index of its words (FTS5, which keeps no text of its
own); `removed` says which ids are gone, without a byte of what they were; `vectors` are embeddings under the hash of
their text. A change is a row that was written or removed, and has a number of its own that only grows.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from llmos.memory.items import Item, NewItem, Span, hash_of

APPLICATION = 0x6C6C6D6F
"""`PRAGMA application_id`: the letters "llmo"."""
VERSION = 1
PAGE = 4096

COLUMNS = (
    "id", "seq", "tenant", "namespace", "source", "kind", "label", "created", "valid_from", "superseded_by", "start",
    "stop", "line", "last_line", "page", "heading", "key", "hash", "metadata", "scope", "spaced", "text",
)  # fmt: skip
"""Of `items`, in the order in which rows are stored."""

WORDS = """
CREATE VIRTUAL TABLE words USING fts5(
    text, scope, content='texts', content_rowid='id', tokenize="porter unicode61 remove_diacritics 2"
);
"""

SCHEMA = f"""
CREATE TABLE items (
    id INTEGER PRIMARY KEY AUTOINCREMENT, seq INTEGER NOT NULL, tenant ANY NOT NULL, namespace ANY NOT NULL,
    source ANY NOT NULL, kind TEXT NOT NULL, label TEXT NOT NULL, created REAL NOT NULL, valid_from REAL,
    superseded_by INTEGER, start INTEGER, stop INTEGER, line INTEGER, last_line INTEGER, page INTEGER,
    heading TEXT NOT NULL, key ANY, hash BLOB NOT NULL, metadata TEXT NOT NULL, scope TEXT NOT NULL, spaced TEXT,
    text TEXT NOT NULL, position INTEGER GENERATED ALWAYS AS (coalesce(start, 0)) VIRTUAL
) STRICT;
CREATE INDEX items_by_seq ON items (seq);
CREATE INDEX items_by_tenant ON items (tenant);
CREATE INDEX items_by_source ON items (tenant, source, namespace, position);
CREATE INDEX items_by_kind ON items (tenant, kind, created, superseded_by);
CREATE UNIQUE INDEX items_by_key ON items (tenant, key) WHERE key IS NOT NULL;
CREATE TABLE removed (seq INTEGER PRIMARY KEY, id INTEGER NOT NULL) STRICT;
CREATE TABLE vectors (
    id INTEGER PRIMARY KEY AUTOINCREMENT, model TEXT NOT NULL, hash BLOB NOT NULL, vector BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX vectors_by_hash ON vectors (model, hash);
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE VIEW texts AS SELECT id, coalesce(spaced, text) AS text, scope FROM items;
{WORDS}
"""

INSERT = f"INSERT INTO items ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
INDEX = "INSERT INTO words (rowid, text, scope) SELECT id, text, scope FROM texts WHERE id >= ?"
UNINDEX = "INSERT INTO words (words, rowid, text, scope) SELECT 'delete', id, text, scope FROM texts WHERE id = ?"
SELECTED = f"{', '.join(COLUMNS[:-3])}, text"
"""The columns that an item is made of."""

_JSON = json.JSONEncoder(separators=(",", ":"), default=str)
# writing without spaces between words: each character is a word, and two that follow each other are a phrase
_DENSE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_DENSE_RUN = re.compile(f"[{_DENSE}]+")
_RUN = re.compile(rf"[{_DENSE}]+|[^\W{_DENSE}]+")


def stored(text: str) -> str | bytes:
    """A name as SQLite can hold it: text, or bytes where half of a surrogate pair is in it, as in names of files."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def name(value: str | bytes) -> str:
    """What `stored` was made of."""
    return value if isinstance(value, str) else value.decode("utf-8", "surrogatepass")


def clean(text: str) -> str:
    """A text that has a form in UTF-8: halves of surrogate pairs become U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def code(text: str) -> int:
    """A name as a signed 64-bit number."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little", signed=True)


@lru_cache(maxsize=1024)
def scope(tenant: str, namespace: str, source: str, kind: str) -> str:
    """Words of an item's that stand for what it belongs to, so that the index of words can leave out all others."""
    return f"{mark('t', tenant)} {mark('n', namespace)} {mark('s', source)} k{kind}"


def mark(letter: str, name: str) -> str:
    """A word for a name: two names may have the same, so it only narrows a search."""
    return f"{letter}{code(name) & 0xFFFFFFFF:08x}"


def spaced(text: str) -> str | None:
    """A text with each character of writing without spaces set apart; None if there is none such."""
    if text.isascii() or _DENSE_RUN.search(text) is None:
        return None
    return _DENSE_RUN.sub(lambda run: f" {' '.join(run[0])} ", text)


def terms(query: str) -> list[str]:
    """The words of a query as phrases of FTS5, each once, in order: any text is a legal query."""
    found: dict[str, None] = {}
    for run in _RUN.findall(unicodedata.normalize("NFC", clean(query).lower())):
        if _DENSE_RUN.match(run) is None:
            found[f'"{run}"'] = None
            continue
        for pair in (run[at : at + 2] for at in range(max(1, len(run) - 1))):
            found[f'"{" ".join(pair)}"'] = None
    return list(found)


def row(item: NewItem, id: int, seq: int, now: float) -> tuple[Any, ...]:
    """An item's row, in the order of `COLUMNS`."""
    text, span = clean(item.text), item.span
    return (
        id,
        seq,
        stored(item.tenant),
        stored(item.namespace),
        stored(item.source),
        item.kind,
        item.label,
        now if item.created is None else item.created,
        item.valid_from,
        None,
        span.start,
        span.stop,
        span.line,
        span.last_line,
        span.page,
        clean(span.heading),
        stored(item.key) if item.key else None,
        hash_of(text),
        encoded(item.metadata),
        scope(item.tenant, item.namespace, item.source, item.kind),
        spaced(text),
        text,
    )


def encoded(metadata: Mapping[str, Any]) -> str:
    """Metadata as JSON, empty if there is none."""
    return _JSON.encode(dict(metadata)) if metadata else ""


def item(row: tuple[Any, ...]) -> Item:
    """The item of a row of the columns `SELECTED`."""
    return Item(
        id=row[0],
        seq=row[1],
        tenant=name(row[2]),
        namespace=name(row[3]),
        source=name(row[4]),
        kind=row[5],
        label=row[6],
        created=row[7],
        valid_from=row[8],
        superseded_by=row[9],
        span=Span(start=row[10], stop=row[11], line=row[12], last_line=row[13], page=row[14], heading=row[15]),
        key=name(row[16]) if row[16] is not None else "",
        metadata=json.loads(row[18]) if row[18] else {},
        text=row[19],
    )
