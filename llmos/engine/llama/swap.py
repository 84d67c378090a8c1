"""Where KV state goes when it leaves the cells: first RAM, then files, each within a budget, oldest out first.

Knows no tokens, tree or model: states are bytes under a key. Files are written by a thread of their own, so that the
engine never waits for a disk; each is checked when it comes back, and a damaged one reads as lost, never as garbage.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import tempfile
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import xxhash

from llmos.engine.llama.buffers import Buffers, State

_UNWRITTEN_BYTES = 256 << 20  # what waits for a slow disk is RAM too: beyond this, states are lost instead
_HEADER = struct.Struct("<8sQ16s")
_MAGIC = b"llmosKV1"


def write_checked(path: Path, *parts: State) -> None:
    """Write parts as one file with length and checksum (XXH3-128), complete or not at all.

    Raises:
        OSError: The disk is full or the folder can't be written; no part of the file stays.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        _fill(handle, *parts)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _fill(handle: int, *parts: State) -> None:
    """Write parts after their length and checksum, in place of what the file held, and close it."""
    hasher = xxhash.xxh3_128()
    for part in parts:
        hasher.update(part.data)
    with os.fdopen(handle, "wb") as file:
        file.write(_HEADER.pack(_MAGIC, sum(len(part) for part in parts), hasher.digest()))
        for part in parts:
            file.write(part.data)
        file.truncate()


def read_checked(path: Path, buffers: Buffers | None = None) -> State | None:
    """What `write_checked` wrote, in a block of `buffers`; None if the file is missing, cut or changed."""
    buffers = buffers or Buffers()
    try:
        with path.open("rb", buffering=0) as file:
            magic, length, digest = _HEADER.unpack(file.read(_HEADER.size))
            if magic != _MAGIC or length != os.fstat(file.fileno()).st_size - _HEADER.size:
                return None
            body = buffers.take(length)
            read = file.readinto(body.data)
    except (OSError, struct.error, MemoryError):
        return None
    if read == length and xxhash.xxh3_128(body.data).digest() == digest:
        return body
    buffers.give(body)
    return None


class Swap:
    """Swapped states by key.

    One file whose state came back is kept to be written over: its pages are in memory already.

    Args:
        folder: Where files go; None keeps nothing on disk. A folder of this process's own is made in it.
        ram_bytes: What stays in RAM at most.
        disk_bytes: What stays on disk at most.
    """

    def __init__(self, folder: Path | None, *, ram_bytes: int, disk_bytes: int) -> None:
        self.buffers = Buffers()
        self._ram: OrderedDict[int, State] = OrderedDict()
        self._disk: OrderedDict[int, tuple[Path, int, Future[bool]]] = OrderedDict()
        self._ram_budget, self._disk_budget = ram_bytes, disk_bytes
        self.ram_bytes = self.disk_bytes = 0
        self._next = 0
        self._spare: Path | None = None
        self._folder = _own_folder(folder) if folder is not None and disk_bytes > 0 else None
        self._writer = ThreadPoolExecutor(1, "llmos-swap") if self._folder else None

    @property
    def room(self) -> bool:
        """Whether anything can be kept at all."""
        return self._ram_budget > 0 or self._folder is not None

    def put(self, state: State) -> int:
        """Keep a state and return its key (from 1). What is too much for the budgets is lost, oldest first."""
        self._next += 1
        self._ram[self._next] = state
        self.ram_bytes += len(state)
        while self.ram_bytes > self._ram_budget:
            key, oldest = self._ram.popitem(last=False)
            self.ram_bytes -= len(oldest)
            self._to_disk(key, oldest)
        return self._next

    def has(self, key: int) -> bool:
        """Whether there is a state under a key."""
        return key in self._ram or key in self._disk

    def take(self, key: int) -> State | None:
        """The state under a key, which is then gone from here; None if it was lost."""
        state = self._ram.pop(key, None)
        if state is not None:
            self.ram_bytes -= len(state)
            return state
        if key not in self._disk:
            return None
        path, size, written = self._disk.pop(key)
        self.disk_bytes -= size
        state = read_checked(path, self.buffers) if written.result() else None
        if self._spare is None:
            self._spare = path
        else:
            path.unlink(missing_ok=True)
        return state

    def drop(self, key: int) -> None:
        """Forget the state under a key, if there is one."""
        state = self._ram.pop(key, None)
        if state is not None:
            self.ram_bytes -= len(state)
            self.buffers.give(state)
        elif key in self._disk:
            self._unlink(*self._disk.pop(key))

    def flush(self) -> None:
        """Wait until everything that goes to disk is there."""
        for _, _, written in list(self._disk.values()):
            written.result()

    def close(self) -> None:
        """Forget everything and remove the files."""
        self._ram.clear()
        self._disk.clear()
        if self._writer:
            self._writer.shutdown(wait=True, cancel_futures=True)
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _to_disk(self, key: int, state: State) -> None:
        unwritten = sum(size for _, size, written in self._disk.values() if not written.done())
        late = unwritten and unwritten + len(state) > _UNWRITTEN_BYTES
        if self._writer is None or self._folder is None or len(state) > self._disk_budget or late:
            self.buffers.give(state)
            return
        while self.disk_bytes + len(state) > self._disk_budget:
            _, oldest = self._disk.popitem(last=False)
            self._unlink(*oldest)
        path = self._folder / f"{key}.kv"
        spare, self._spare = self._spare, None
        self._disk[key] = (path, len(state), self._writer.submit(self._write, path, state, spare))
        self.disk_bytes += len(state)

    def _write(self, path: Path, state: State, spare: Path | None) -> bool:
        """Write a swap file, over one that nobody needs; a full disk only means that the state is read again."""
        try:
            if spare is not None:
                spare.replace(path)
            _fill(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), state)
        except OSError:
            path.unlink(missing_ok=True)
            return False
        finally:
            self.buffers.give(state)
        return True

    def _unlink(self, path: Path, size: int, written: Future[bool]) -> None:
        self.disk_bytes -= size
        if self._writer is not None and not written.cancel():
            self._writer.submit(path.unlink, missing_ok=True)


def _own_folder(parent: Path) -> Path | None:
    """A fresh folder for this process, after removing those of processes that are gone; None if it can't be made."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for entry in parent.iterdir():
            pid = entry.name.partition("-")[0]
            if pid.isdigit() and not _alive(int(pid)):
                shutil.rmtree(entry, ignore_errors=True)
        return Path(tempfile.mkdtemp(dir=parent, prefix=f"{os.getpid()}-"))
    except OSError:
        return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
