"""A hash chain over everything that was journaled: edits, deletions and truncation show.

Each link covers the one before it. The head (the last link and its number) is also kept in a file of its own, so that
cutting rows off the end shows too. Links are hashes only: contents can be forgotten without breaking the chain. Knows
no journal; rows come in as bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from llmos.errors import StorageError

GENESIS = bytes(32)


def link(previous: bytes, row: bytes) -> bytes:
    """The link after `previous` for a row: SHA-256 over both, 32 bytes."""
    return hashlib.sha256(previous + row).digest()


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a chain, and from which row on. `number` is 0 where no single row can be named."""

    number: int
    problem: str


class Head:
    """The end of the chain as a file beside the journal, which is written after each commit.

    A crash between the two leaves it behind, never ahead: rows after it are fine if they link on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, number: int, chain: bytes) -> None:
        """Move the head.

        Raises:
            StorageError: The file can't be written.
        """
        new = self.path.with_suffix(f".{os.getpid()}-{id(self):x}.new")
        try:
            handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(json.dumps({"number": number, "chain": chain.hex()}).encode())
            os.replace(new, self.path)
        except OSError as error:
            with suppress(OSError):
                new.unlink(missing_ok=True)
            raise StorageError(
                f"The head of the audit log could not be written to {str(self.path)!r}: {error.strerror or error}.",
                hint="Free some disk space.",
            ) from error

    def read(self) -> tuple[int, bytes]:
        """Number and link; (0, GENESIS) where there is no file yet.

        Raises:
            StorageError: It is unreadable or damaged.
        """
        try:
            data = json.loads(self.path.read_bytes())
            return int(data["number"]), bytes.fromhex(data["chain"])
        except FileNotFoundError:
            return 0, GENESIS
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StorageError(f"The head of the audit log {str(self.path)!r} can't be read: {error}.") from error


def verify(rows: Iterable[tuple[int, bytes, bytes]], head: tuple[int, bytes]) -> Finding | None:
    """Check a whole chain; None if it is sound.

    Args:
        rows: Number (from 1), row and link, in order.
        head: What `Head.read` gave before the rows were read.
    """
    previous, expected = GENESIS, 1
    for number, row, chain in rows:
        if number != expected:
            return Finding(expected, f"row {expected} is missing")
        previous = link(previous, row)
        if previous != chain:
            return Finding(number, f"row {number} was changed")
        if number == head[0] and chain != head[1]:
            return Finding(number, f"row {number} is not the one that the head names")
        expected += 1
    if expected <= head[0]:
        return Finding(expected, f"rows {expected} to {head[0]} were cut off")
    return None
