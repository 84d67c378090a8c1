"""A hash chain over everything that was journaled: edits, deletions and truncation show.

Each link covers the one before it. The head (the last link and its number) is also kept in a file of its own, so that
cutting rows off the end shows too. Links are hashes only: contents can be forgotten without breaking the chain. Knows
no journal; rows come in as bytes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from llmos.errors import StorageError

GENESIS = bytes(32)
_SLOT = 128


def link(previous: bytes, row: bytes) -> bytes:
    """The link after `previous` for a row: SHA-256 over both, 32 bytes."""
    return hashlib.sha256(previous + row).digest()


Place = tuple[str, str, int]
"""Where a call stands: run, path and number."""


@dataclass(frozen=True, slots=True)
class Entered:
    """What the chain says of a call: hashes in hexadecimal, empty where there is none."""

    asked: str = ""
    answered: str = ""
    decided: str = ""
    failed: bool = False

    @property
    def digests(self) -> tuple[str, ...]:
        """Those of its contents."""
        return (self.asked, self.answered, self.decided)


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a chain, and from which row on. `number` is 0 where no single row can be named."""

    number: int
    problem: str


class Head:
    """The end of the chain in a file beside the journal, which is written after each commit.

    A crash between the two leaves it behind, never ahead: rows after it are fine if they link on. The file has two
    slots that are written in turn, so that one that a power cut tore leaves the other.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = -1

    def write(self, number: int, chain: bytes) -> None:
        """Move the head.

        Raises:
            StorageError: The file can't be written.
        """
        text = f"{number} {chain.hex()}"
        slot = f"{text} {_check(text)}\n".rjust(_SLOT).encode()
        try:
            if self._file < 0:
                self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.pwrite(self._file, slot, number % 2 * _SLOT)
        except OSError as error:
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
            with self.path.open("rb") as file:
                data = file.read(2 * _SLOT)
            sound = [slot for start in range(0, len(data), _SLOT) if (slot := _slot(data[start : start + _SLOT]))]
            if not sound and data.strip(b"\0"):
                raise ValueError("it has no sound slot")
            return max(sound, default=(0, GENESIS))
        except FileNotFoundError:
            return 0, GENESIS
        except (OSError, ValueError) as error:
            raise StorageError(f"The head of the audit log {str(self.path)!r} can't be read: {error}.") from error

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _slot(data: bytes) -> tuple[int, bytes] | None:
    """What a slot says; None if it is empty or was not written whole."""
    words = data.decode("latin-1").split()
    if len(words) != 3 or _check(f"{words[0]} {words[1]}") != words[2]:
        return None
    return int(words[0]), bytes.fromhex(words[1])


def _check(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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


def entered(rows: Iterable[bytes]) -> dict[Place, Entered]:
    """What the rows of a sound chain say of each call."""
    said: dict[Place, Entered] = {}
    for row in rows:
        _, run, path, number, kind, what, digest = row.decode().split(" ")
        place = (run, path, int(number))
        known = said.get(place, Entered())
        match (kind, what):
            case (_, "intent"):
                said[place] = Entered(digest)
            case ("policy", "decided"):
                said[place] = replace(known, decided=digest)
            case ("call", "done" | "failed"):
                said[place] = replace(known, answered=digest, failed=what == "failed")
            case (_, "recorded" | "refused"):
                said[place] = replace(known, asked=digest[:64], answered=digest[64:], failed=what == "refused")
            case _:
                pass
    return said
