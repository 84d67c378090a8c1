"""The bytes of a file, read so that they are of one moment, and the text that they stand for.

Knows no kind of document.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from llmos.errors import StorageError

MAX_BYTES = 64 * 1024 * 1024
"""Of a file by default. Text of that size is some 80,000 passages."""

_ATTEMPTS = 3
_SAMPLE = 8192
_FOR_DETECTION = 256 * 1024
_BLOCK = 1024 * 1024
_SIGNS = re.compile(r"[\0-\x08\x0e-\x1a\x1c-\x1f]")
# what documents declare in earnest; some of Python's codecs are no character sets, or slow on purpose
_CHARSET = re.compile(r"(iso|latin|windows|cp|mac|koi8|gb|hz|big5|shift|euc|ks|ascii|us-ascii|tis)[\w.:-]{0,30}", re.I)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, slots=True)
class Content:
    """What stood in a file at one moment.

    Attributes:
        name: Of the file, for people.
        data: Its bytes.
    """

    name: str
    data: bytes

    @property
    def digest(self) -> str:
        """Of the bytes, hexadecimal."""
        return hashlib.blake2b(self.data, digest_size=16).hexdigest()


def load(path: Path, *, max_bytes: int = MAX_BYTES) -> Content:
    """Read a file whole. One that is changed meanwhile is read again, up to three times.

    Raises:
        StorageError: It is not there, no file, too large, may not be read, or is changed all the time.
    """
    for _ in range(_ATTEMPTS):
        with opened(path, max_bytes=max_bytes) as file:
            before = _state(os.fstat(file.fileno()))
            data = _all(file, path, max_bytes)
            after = _state(os.fstat(file.fileno()))
        if before == after == _now(path):
            return Content(os.fsencode(path.name).decode("utf-8", "replace"), data)
    raise StorageError(
        f"{str(path)!r} was changed each of the {_ATTEMPTS} times it was read.",
        hint="Add it again when nothing writes into it.",
    )


def digest_of(path: Path, *, max_bytes: int = MAX_BYTES) -> str:
    """The digest of a file's bytes, without holding them.

    Raises:
        StorageError: As in `load`.
    """
    digest = hashlib.blake2b(digest_size=16)
    with opened(path, max_bytes=max_bytes) as file:
        try:
            while block := file.read(_BLOCK):
                digest.update(block)
        except OSError as error:
            raise unreadable(path, error) from error
    return digest.hexdigest()


def opened(path: Path, *, max_bytes: int) -> BinaryIO:
    """Open a regular file for reading, without waiting for the other end of a pipe.

    Raises:
        StorageError: It is not there, no file, too large, or may not be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    state = os.fstat(descriptor)
    problem = hint = ""
    if stat.S_ISDIR(state.st_mode):
        problem = f"{str(path)!r} is a folder."
    elif not stat.S_ISREG(state.st_mode):
        problem, hint = f"{str(path)!r} is not a regular file.", "Pipes and devices can't be remembered."
    elif state.st_size > max_bytes:
        problem = f"{str(path)!r} has {state.st_size:,} bytes, and at most {max_bytes:,} are read of a file."
        hint = "Divide it, or allow more."
    if problem:
        os.close(descriptor)
        raise StorageError(problem, hint=hint)
    return open(descriptor, "rb")


def unreadable(path: Path, error: Exception) -> StorageError:
    """That a file can't be read, for people."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return StorageError(f"There is no {str(path)!r}.", hint="Check the path.")
    if isinstance(error, PermissionError):
        return StorageError(f"{str(path)!r} may not be read.", hint="Check the rights of the file and its folder.")
    said = getattr(error, "strerror", None) or str(error)
    return StorageError(f"{str(path)!r} can't be read: {said}.")


def _all(file: BinaryIO, path: Path, max_bytes: int) -> bytes:
    try:
        data = file.read(max_bytes + 1)
    except OSError as error:
        raise unreadable(path, error) from error
    if len(data) > max_bytes:
        raise StorageError(f"{str(path)!r} grew beyond {max_bytes:,} bytes while it was read.")
    return data


def _state(state: os.stat_result) -> tuple[int, int, int, int]:
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def _now(path: Path) -> tuple[int, int, int, int]:
    try:
        return _state(os.stat(path))
    except OSError as error:
        raise unreadable(path, error) from error


def decoded(content: Content, *, declared: str = "") -> str:
    """The text of some bytes, with lines that end in a single line feed.

    A byte order mark decides, then UTF-8 if it is that, then what is declared, then what charset-normalizer finds.

    Args:
        declared: An encoding that the document itself or its server names.

    Raises:
        StorageError: It is no text.
    """
    data = content.data
    text = _marked(data)
    if text is None:
        text = _wide(data) if b"\0" in data[:_SAMPLE] else _narrow(data, declared)
    if text is None or _is_garbage(text):
        raise StorageError(f"{content.name!r} is binary data ({len(data):,} bytes) and no text.")
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")


def _marked(data: bytes) -> str | None:
    encoding = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), "")
    return data.decode(encoding, "replace") if encoding else None


def _narrow(data: bytes, declared: str) -> str | None:
    text = _as(data, "utf-8")
    if text is None and _CHARSET.fullmatch(declared):
        text = _as(data, declared)
    return _guessed(data) if text is None else text


def _as(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except (UnicodeError, LookupError):
        return None


def _guessed(data: bytes) -> str | None:
    from charset_normalizer import from_bytes

    found = from_bytes(data[:_FOR_DETECTION]).best()
    return data.decode(found.encoding, "replace") if found else None


def _wide(data: bytes) -> str | None:
    """UTF-16 without a mark: every second byte of a text in most alphabets is zero."""
    sample = data[:_SAMPLE]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if max(even, odd) < len(sample) * 0.2 or min(even, odd) > len(sample) * 0.02:
        return None
    return _as(data, "utf-16-be" if even > odd else "utf-16-le")


def _is_garbage(text: str) -> bool:
    """Whether signs that no text has make up more than a hundredth of it."""
    sample = text[: _SAMPLE * 4]
    return len(_SIGNS.findall(sample)) * 100 > len(sample)
