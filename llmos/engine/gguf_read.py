"""Reads the raw header of one GGUF file, with a bound on everything.

Every count, length and offset is checked against the file before it is used, so that a malformed header is a
`ModelInvalid` that names the byte, and never a hang, an exhausted memory or a file that makes llama.cpp abort. Reads
through a buffer and not through a memory map: a file that shrinks meanwhile is then an error and not a SIGBUS.
Long arrays (tokens, merges, scores) are walked over and never kept.

Knows the format and nothing of what the values mean to a model; `llmos.engine.gguf` does.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from pathlib import Path
from typing import BinaryIO, NoReturn

from llmos.engine.gguf_types import ARRAY, BOOL, INTEGERS, SCALARS, STRING, TENSOR_TYPES, TensorType
from llmos.errors import ModelInvalid

Scalar = bool | int | float | str

MAGIC = b"GGUF"
MAX_HEADER = 256 << 20
"""Bytes. The biggest header known (514,906 merges and 262,144 tokens) has 16 MiB."""
MAX_KEYS = 1 << 16
MAX_TENSORS = 1 << 18
MAX_STRINGS = 1 << 22
"""Strings in all arrays together."""
MAX_TOKENS = 1 << 20
MAX_TEXT = 1 << 20
"""Bytes of one string that is kept; a longer one is walked over."""
MAX_KEPT = 1 << 10
"""Numbers of one array that are kept: enough for one per layer."""
MAX_NAME = 64
"""GGML_MAX_NAME: bytes of a tensor's name, with the zero at its end."""
MAX_DIMS = 4
MAX_ELEMENTS = (1 << 63) - 1
TOKENS = "tokenizer.ggml.tokens"
CHAT_TEMPLATE = "tokenizer.chat_template"

_CHUNK = 1 << 20
_U64 = struct.Struct("<Q")
_TWICE = "Get it again: the download or copy is not complete."
_BROKEN = "Get the file again from where it came, or choose another model."

_NOT_GGUF: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer that stands for the file"),
    (b"<", "a web page or XML"),
    (b"PK\x03\x04", "a zip archive, such as PyTorch's"),
    (b"lmgg", "a model in the old GGML format"),
    (b"tjgg", "a model in the old GGJT format"),
    (b"fmgg", "a model in the old GGMF format"),
)


@dataclass(frozen=True, slots=True)
class RawArray:
    """An array's place in the file: `kind` is the GGUF type of its elements, `values` holds a short one's numbers."""

    kind: int
    length: int
    offset: int
    values: tuple[int | float, ...] = ()


@dataclass(frozen=True, slots=True)
class RawTensor:
    """One tensor: `offset` and `size` are bytes, `offset` counts from the beginning of the data."""

    name: str
    dims: tuple[int, ...]
    kind: TensorType
    offset: int
    size: int

    @property
    def elements(self) -> int:
        """How many values it has."""
        return prod(self.dims)


@dataclass(frozen=True, slots=True)
class RawGguf:
    """What one file's header says. `data_offset` is the first byte of tensor data, `file_bytes` the file's size."""

    version: int
    scalars: Mapping[str, Scalar]
    arrays: Mapping[str, RawArray]
    tensors: tuple[RawTensor, ...]
    data_offset: int
    file_bytes: int
    texts: Mapping[int, str]


class Cursor:
    """Reads forward through a file of `size` bytes and refuses to leave it."""

    def __init__(self, file: BinaryIO, size: int, path: Path) -> None:
        self._file = file
        self.size = size
        self._path = path
        self._buffer = b""
        self._start = 0
        self._at = 0

    @property
    def position(self) -> int:
        """The next byte to be read."""
        return self._start + self._at

    def fail(self, what: str, *, at: int | None = None, hint: str = _BROKEN) -> NoReturn:
        """Refuse the file because of what stands at byte `at` (default: here)."""
        byte = self.position if at is None else at
        raise ModelInvalid(f"{str(self._path)!r} is not a usable GGUF: {what} (byte {byte:,}).", hint=hint)

    def check(self, length: int, what: str) -> None:
        """Refuse unless `length` more bytes are in the file and in what a header may have."""
        end = self.position + length
        if end > self.size:
            self.fail(f"{what} needs {length:,} bytes but the file ends at byte {self.size:,}", hint=_TWICE)
        if end > MAX_HEADER:
            self.fail(f"{what} makes the header longer than {MAX_HEADER:,} bytes")

    def _fill(self, length: int, what: str) -> None:
        """Have `length` bytes in the buffer from the current position on."""
        if len(self._buffer) - self._at >= length:
            return
        self.check(length, what)
        self.seek(self.position)
        self._buffer = self._file.read(max(length, _CHUNK))
        if len(self._buffer) < length:
            self.fail(f"{what} needs {length:,} bytes but only {len(self._buffer):,} could be read", hint=_TWICE)

    def seek(self, position: int) -> None:
        """Go on from an absolute byte."""
        self._file.seek(position)
        self._buffer, self._start, self._at = b"", position, 0

    def take(self, length: int, what: str) -> bytes:
        """The next bytes. `length` must be bounded by the caller."""
        self._fill(length, what)
        start = self._at
        self._at += length
        return self._buffer[start : self._at]

    def skip(self, length: int, what: str) -> None:
        """Go over bytes without reading them."""
        self.check(length, what)
        if self._at + length <= len(self._buffer):
            self._at += length
        else:
            self.seek(self.position + length)

    def number(self, kind: int, what: str) -> int | float:
        """One number of a GGUF value type."""
        pattern, size = SCALARS[kind]
        value: int | float = struct.unpack(pattern, self.take(size, what))[0]
        return value

    def u32(self, what: str) -> int:
        """One unsigned 32-bit number."""
        return int.from_bytes(self.take(4, what), "little")

    def u64(self, what: str) -> int:
        """One unsigned 64-bit number."""
        return int.from_bytes(self.take(8, what), "little")

    def strings(self, count: int, what: str) -> Iterator[tuple[bytes, int, int]]:
        """Walk over `count` strings; each as (buffer, start, stop), so that only who needs a text copies it."""
        buffer, at = self._buffer, self._at
        unpack = _U64.unpack_from
        for _ in range(count):
            if at + 8 > len(buffer):
                self._at = at
                self._fill(8, what)
                buffer, at = self._buffer, self._at
            (length,) = unpack(buffer, at)
            stop = at + 8 + length
            if stop > len(buffer):
                self._at = at
                if length > MAX_TEXT:
                    self.fail(f"{what} has a string of {length:,} bytes, more than {MAX_TEXT:,}")
                self._fill(8 + length, what)
                buffer, at = self._buffer, self._at
                stop = at + 8 + length
            yield buffer, at + 8, stop
            at = stop
        self._at = at


def read_raw(file: BinaryIO, size: int, path: Path) -> RawGguf:
    """Read and check the header of an open file of `size` bytes.

    Raises:
        ModelInvalid: It is not a GGUF of version 2 or 3, is truncated or malformed; the message names the byte.
    """
    cursor = Cursor(file, size, path)
    version = _read_version(cursor)
    tensor_count = _read_count(cursor, "tensors", MAX_TENSORS, 25)
    key_count = _read_count(cursor, "keys", MAX_KEYS, 14)
    scalars, arrays = _read_keys(cursor, key_count)
    alignment = _alignment(cursor, scalars)
    tensors = tuple(_read_tensors(cursor, tensor_count))
    data = -(-cursor.position // alignment) * alignment if tensors else cursor.position
    _check_layout(cursor, tensors, data, alignment, size)
    texts = _special_texts(cursor, scalars, arrays)
    return RawGguf(version, scalars, arrays, tensors, data, size, texts)


def _read_version(cursor: Cursor) -> int:
    start = cursor.take(min(24, cursor.size), "the magic")
    if not start.startswith(MAGIC):
        cursor.fail(f"it {_looks_like(start)}", at=0, hint="Give a GGUF file.")
    cursor.seek(len(MAGIC))
    version = cursor.u32("the version")
    if version and version & 0xFFFF == 0:
        cursor.fail("it is written for big-endian machines", at=4, hint="Get the little-endian form of this model.")
    if version not in (2, 3):
        cursor.fail(f"its GGUF version is {version}; 2 and 3 can be read", at=4, hint="Convert the model anew.")
    return version


def _looks_like(start: bytes) -> str:
    if not start:
        return "is empty"
    kind = next((name for magic, name in _NOT_GGUF if start.startswith(magic)), "")
    if not kind and start[8:10] == b'{"':
        kind = "a model in the safetensors format"
    return f"begins with {start[:4]!r} and not with {MAGIC!r}" + (f"; it looks like {kind}" if kind else "")


def _read_count(cursor: Cursor, what: str, limit: int, least: int) -> int:
    """A count of things that take at least `least` bytes each."""
    at = cursor.position
    count = cursor.u64(f"the number of {what}")
    if count > limit:
        cursor.fail(f"it claims {count:,} {what}, more than {limit:,}", at=at)
    if count * least > cursor.size - cursor.position:
        cursor.fail(f"it claims {count:,} {what}, which don't fit into {cursor.size:,} bytes", at=at, hint=_TWICE)
    return count


def _read_keys(cursor: Cursor, count: int) -> tuple[dict[str, Scalar], dict[str, RawArray]]:
    scalars: dict[str, Scalar] = {}
    arrays: dict[str, RawArray] = {}
    strings_left = MAX_STRINGS
    for index in range(count):
        at = cursor.position
        key = _read_key(cursor, index)
        if key in scalars or key in arrays:
            cursor.fail(f"the key {key!r} is there twice", at=at)
        kind = cursor.u32(f"the type of {key!r}")
        if kind == ARRAY:
            arrays[key] = _read_array(cursor, key, strings_left)
            strings_left -= arrays[key].length if arrays[key].kind == STRING else 0
        else:
            value = _read_scalar(cursor, key, kind)
            if value is not None:
                scalars[key] = value
    return scalars, arrays


def _read_key(cursor: Cursor, index: int) -> str:
    at = cursor.position
    length = cursor.u64(f"the length of key {index}")
    if not 0 < length < 1 << 16:
        cursor.fail(f"key {index} has a length of {length:,} bytes", at=at)
    try:
        return cursor.take(length, f"key {index}").decode()
    except UnicodeDecodeError:
        cursor.fail(f"key {index} is not UTF-8", at=at)


def _read_scalar(cursor: Cursor, key: str, kind: int) -> Scalar | None:
    """A single value; None for a text that is too long to be kept."""
    at = cursor.position
    if kind == STRING:
        length = cursor.u64(f"the length of {key!r}")
        if length > MAX_TEXT and key == CHAT_TEMPLATE:
            cursor.fail(f"its chat template has {length:,} bytes, more than {MAX_TEXT:,}", at=at)
        if length > MAX_TEXT:
            cursor.skip(length, f"the text of {key!r}")
            return None
        return cursor.take(length, f"the text of {key!r}").decode(errors="replace")
    if kind not in SCALARS:
        cursor.fail(f"the key {key!r} has the unknown type {kind}", at=at - 4)
    value = cursor.number(kind, f"the value of {key!r}")
    if kind != BOOL:
        return value
    if value not in (0, 1):
        cursor.fail(f"the key {key!r} is a truth value but has {value}", at=at)
    return bool(value)


def _read_array(cursor: Cursor, key: str, strings_left: int) -> RawArray:
    at = cursor.position
    what = f"the array {key!r}"
    kind = cursor.u32(what)
    length = cursor.u64(what)
    start = cursor.position
    if kind == STRING:
        limit = min(strings_left, MAX_TOKENS if key == TOKENS else MAX_STRINGS)
        if length > limit:
            cursor.fail(f"{what} claims {length:,} strings, more than {limit:,}", at=at)
        cursor.check(length * 8, what)
        walk = cursor.strings(length, what)
        if key == TOKENS:
            _check_tokens(cursor, walk)
        else:
            for _ in walk:
                pass
        return RawArray(kind, length, start)
    if kind not in SCALARS:
        cursor.fail(f"{what} has elements of the unknown type {kind}", at=at)
    pattern, size = SCALARS[kind]
    if length > MAX_KEPT:
        cursor.skip(length * size, what)
        return RawArray(kind, length, start)
    data = cursor.take(length * size, what)
    return RawArray(kind, length, start, struct.unpack(f"<{length}{pattern[1:]}", data))


def _check_tokens(cursor: Cursor, walk: Iterable[tuple[bytes, int, int]]) -> None:
    """Refuse a text that is there twice: llama.cpp aborts on it (it replaces empty texts by unlike ones)."""
    seen: set[int] = set()
    add = seen.add
    count = 0
    for buffer, start, stop in walk:
        if start != stop:
            add(hash(buffer[start:stop]))
            count += 1
    if len(seen) != count:
        cursor.fail(f"its vocabulary has {count - len(seen):,} tokens twice")


def _alignment(cursor: Cursor, scalars: Mapping[str, Scalar]) -> int:
    alignment = scalars.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20 or alignment & (alignment - 1):
        cursor.fail(f"the alignment {alignment!r} is not a power of 2 up to {1 << 20:,}")
    return alignment


def _read_tensors(cursor: Cursor, count: int) -> Iterator[RawTensor]:
    names: set[bytes] = set()
    for index in range(count):
        at = cursor.position
        length = cursor.u64(f"the name of tensor {index}")
        if length >= MAX_NAME:
            cursor.fail(f"the name of tensor {index} has {length:,} bytes, {MAX_NAME - 1} are allowed", at=at)
        name = cursor.take(length, f"the name of tensor {index}")
        if name in names:
            cursor.fail(f"the tensor {name.decode(errors='replace')!r} is there twice", at=at)
        names.add(name)
        yield _read_tensor(cursor, name.decode(errors="replace"))


def _read_tensor(cursor: Cursor, name: str) -> RawTensor:
    at = cursor.position
    what = f"the tensor {name!r}"
    count = cursor.u32(what)
    if count > MAX_DIMS:
        cursor.fail(f"{what} has {count:,} dimensions, {MAX_DIMS} are allowed", at=at)
    *dims, number, offset = struct.unpack(f"<{count}QIQ", cursor.take(8 * count + 12, what))
    if not all(0 < dim <= MAX_ELEMENTS for dim in dims) or prod(dims) > MAX_ELEMENTS:
        cursor.fail(f"{what} has the impossible shape {dims}", at=at)
    kind = TENSOR_TYPES.get(number)
    if kind is None:
        cursor.fail(
            f"{what} has the unknown type {number}", at=at + 4 + 8 * count, hint="Update llmos, or get another."
        )
    row = dims[0] if dims else 1
    if row % kind.block:
        cursor.fail(f"{what} has rows of {row:,} values, which {kind.name} blocks of {kind.block} don't divide", at=at)
    return RawTensor(name, tuple(dims), kind, offset, prod(dims) // kind.block * kind.size)


def _check_layout(cursor: Cursor, tensors: tuple[RawTensor, ...], data: int, alignment: int, size: int) -> None:
    """Refuse tensors that don't lie one after the other, each aligned, all of them inside the file."""
    ends = accumulate((-(-tensor.size // alignment) * alignment for tensor in tensors), initial=0)
    for tensor, expected in zip(tensors, ends, strict=False):
        if tensor.offset != expected:
            cursor.fail(f"the data of {tensor.name!r} is said to begin at {tensor.offset:,} and not at {expected:,}")
        end = data + tensor.offset + tensor.size
        if end > size:
            what = f"the data of {tensor.name!r} ends at byte {end:,} but the file has {size:,}"
            cursor.fail(f"it is truncated: {what}", at=size, hint=_TWICE)


def _special_texts(cursor: Cursor, scalars: Mapping[str, Scalar], arrays: Mapping[str, RawArray]) -> dict[int, str]:
    """The texts of the tokens that begin and end a sequence, by id; an id outside of the vocabulary means none."""
    tokens = arrays.get(TOKENS)
    if tokens is None or tokens.kind != STRING:
        return {}
    ids = {scalars.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos")}
    wanted = {id for id in ids if isinstance(id, int) and 0 <= id < tokens.length}
    if not wanted:
        return {}
    cursor.seek(tokens.offset)
    walk = enumerate(cursor.strings(max(wanted) + 1, "the tokens"))
    return {id: buffer[start:stop].decode(errors="replace") for id, (buffer, start, stop) in walk if id in wanted}


def integers(array: RawArray) -> tuple[int, ...]:
    """The values of a short array of whole numbers; empty for any other."""
    return tuple(int(value) for value in array.values) if array.kind in INTEGERS else ()
