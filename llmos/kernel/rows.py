"""What the journal keeps: its tables, and the rows as plain data. Knows no file and no process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal[
    "think", "act", "recall", "remember", "spawn", "wait", "send", "receive", "ask", "sleep", "checkpoint", "now",
    "random", "race", "first", "fork", "verify", "compare", "route", "end",
]  # fmt: skip
RunState = Literal["running", "done", "failed", "killed"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, created REAL NOT NULL, ended REAL, state TEXT NOT NULL, owner TEXT NOT NULL,
    agent TEXT NOT NULL, salt BLOB, task BLOB NOT NULL, outcome BLOB
) STRICT;
CREATE TABLE IF NOT EXISTS processes (
    run TEXT NOT NULL, path TEXT NOT NULL, parent TEXT NOT NULL, agent TEXT NOT NULL, state TEXT NOT NULL,
    started REAL NOT NULL, ended REAL, PRIMARY KEY (run, path)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS calls (
    run TEXT NOT NULL, path TEXT NOT NULL, number INTEGER NOT NULL, kind TEXT NOT NULL, title TEXT NOT NULL,
    asked BLOB NOT NULL, answered BLOB, decided BLOB, started REAL NOT NULL, ended REAL,
    failed INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (run, path, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS contents (
    run TEXT NOT NULL, digest BLOB NOT NULL, body TEXT NOT NULL, PRIMARY KEY (run, digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS letters (
    run TEXT NOT NULL, sender TEXT NOT NULL, number INTEGER NOT NULL, receiver TEXT NOT NULL, digest BLOB NOT NULL,
    read INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (run, sender, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS kept (
    run TEXT NOT NULL, path TEXT NOT NULL, number INTEGER NOT NULL, file TEXT NOT NULL, copy TEXT, after TEXT,
    undone INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (run, path, number, file)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS grants (
    id TEXT PRIMARY KEY, body TEXT NOT NULL, used INTEGER NOT NULL DEFAULT 0, revoked INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS audit (
    number INTEGER PRIMARY KEY, row BLOB NOT NULL, chain BLOB NOT NULL
) STRICT;
"""


_TYPES: Mapping[str, tuple[type, ...]] = {
    "t": (str,),
    "T": (str, type(None)),
    "b": (bytes,),
    "B": (bytes, type(None)),
    "i": (int,),
    "r": (float,),
    "R": (float, type(None)),
}


def fits(row: tuple[Any, ...], shape: str) -> bool:
    """Whether a row's columns have the types of a shape, one letter each: text, bytes, integer or real; capital letters
    allow NULL. SQLite checks types when it writes, not when it reads."""
    return all(type(value) in _TYPES[kind] for value, kind in zip(row, shape, strict=True))


# made once: `json.dumps` makes one for every text
_PLAIN = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
_ESCAPED = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str)


def canonical(value: object) -> str:
    """JSON in one form only: keys sorted, no spaces."""
    text = _PLAIN.encode(value)
    return text if text.isascii() or _is_unicode(text) else _ESCAPED.encode(value)


def _is_unicode(text: str) -> bool:
    """Whether it has no half of a surrogate pair: such are in names of files, and models write them; no file holds
    them but as an escape."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Run:
    """One run. `task` and `outcome` are JSON; both empty after it was forgotten."""

    id: str
    created: float
    ended: float | None
    state: RunState
    owner: str
    agent: str
    task: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Record:
    """One system call.

    Attributes:
        arguments, result: JSON; empty after they were forgotten, the result also while the call is under way.
        decision: Of a tool call, JSON: what the policy decided and why, see `llmos.kernel.gate`; empty for other calls,
            after it was forgotten, and from `Journal.find`.
    """

    path: str
    number: int
    kind: Kind
    title: str
    arguments: str
    result: str
    started: float
    ended: float | None
    failed: bool
    decision: str = ""

    @property
    def done(self) -> bool:
        """Whether its outcome is known."""
        return self.ended is not None


@dataclass(frozen=True, slots=True)
class Letter:
    """A message between processes of a run that nobody has received yet."""

    sender: str
    number: int
    receiver: str
    body: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A file as it was before a call changed it: `copy` names it in the run's folder, "" where there was none."""

    path: str
    number: int
    file: str
    copy: str
    after: str
