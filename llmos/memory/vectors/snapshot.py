"""An index as a file: arrays, then the vectors in their form, then what they are of, with a checksum of all.

A file takes the place of another only when it is complete and on the disk, so there is always a whole one. Knows no
store.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xxhash
from numpy.typing import NDArray

from llmos.memory.replacing import replace
from llmos.memory.vectors.forms import Form, read

_MAGIC = b"llmosvec"
_END = struct.Struct("<Q16s8s")  # length of the head, checksum, magic
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Head:
    """What a snapshot is of.

    Attributes:
        model: Name of the embedding model.
        dimension: Of its vectors.
        epoch: The store's, see `MemoryStore.epoch`.
        last: Number of the last change that is in it.
        count: Rows.
        form: How vectors are held.
        trained: For how many vectors the form was made.
    """

    model: str
    dimension: int
    epoch: str
    last: int
    count: int
    form: str
    trained: int


class Unusable(Exception):
    """A file that is no whole snapshot of this version; the message says what is wrong."""


class _Hashed:
    """A file that is read or written from one end to the other."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.hash = xxhash.xxh3_128()

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.hash.update(data)

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.hash.update(data)
        return data


def save(path: Path, head: Head, arrays: Mapping[str, NDArray[Any]], form: Form) -> None:
    """Write a snapshot, and put it in its place when it is on the disk.

    Raises:
        OSError: It could not be written; what was there before still is.
    """
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with open(os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file:
            hashed = _Hashed(file)
            for values in arrays.values():
                hashed.write(values.tobytes())
            form.write(hashed.write)
            shapes = {name: [values.dtype.str, len(values)] for name, values in arrays.items()}
            written = json.dumps({"version": _VERSION, "arrays": shapes, **asdict(head)}).encode()
            hashed.write(written)
            file.write(_END.pack(len(written), hashed.hash.digest(), _MAGIC))
            file.flush()
            os.fsync(file.fileno())
        replace(fresh, path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def load(path: Path, model: str) -> tuple[Head, dict[str, NDArray[Any]], Form]:
    """Read a snapshot of a model's vectors.

    Raises:
        Unusable: There is none, it is of another model or version, or damaged.
    """
    try:
        with path.open("rb") as file:
            return _load(file, path.stat().st_size, model)
    # what is wrong inside, FAISS says by RuntimeError, and lengths that make no sense end in the others
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, MemoryError) as error:
        raise Unusable(str(error)) from error


def _load(file: BinaryIO, size: int, model: str) -> tuple[Head, dict[str, NDArray[Any]], Form]:
    if size < _END.size:
        raise Unusable("it is too short")
    file.seek(size - _END.size)
    length, checksum, magic = _END.unpack(file.read(_END.size))
    if magic != _MAGIC or length > size - _END.size:
        raise Unusable("its end is not that of a snapshot")
    file.seek(size - _END.size - length)
    values = json.loads(file.read(length))
    if values.pop("version") != _VERSION:
        raise Unusable("it is of another version")
    shapes = values.pop("arrays")
    head = Head(**values)
    if head.model != model:
        raise Unusable(f"it is of the model {head.model!r}")
    file.seek(0)
    if _checksum(file, size - _END.size) != checksum:
        raise Unusable("its checksum is wrong")
    file.seek(0)
    arrays = {name: _array(file, np.dtype(kind), count) for name, (kind, count) in shapes.items()}
    form = read(head.form, file.read, head.count, head.dimension)
    if len(form) != head.count:
        raise Unusable("it has another number of vectors than it says")
    return head, arrays, form


def _checksum(file: BinaryIO, size: int) -> bytes:
    """Over all that is to be read, before FAISS, which trusts lengths, sees any of it."""
    hash = xxhash.xxh3_128()
    while size > 0 and (data := file.read(min(size, 1 << 20))):
        hash.update(data)
        size -= len(data)
    return hash.digest()


def _array(file: BinaryIO, kind: np.dtype[Any], count: int) -> NDArray[Any]:
    return np.fromfile(file, kind, count)


def clear(folder: Path, *, keep: Path | None = None, pattern: str = "*.index") -> None:
    """Delete snapshots, but not one of them, and what killed processes left half written."""
    for path in [*folder.glob(pattern), *folder.glob("*.index.*.new")]:
        if path != keep:
            with suppress(FileNotFoundError):
                path.unlink()
