"""Answers the system calls that the filter reports: sending signals, changing modes and times of files.

Part of the launcher: imports little, to start quickly. Knows no files but those it is asked about. An answer never
relies on memory that the program could change meanwhile: what needs a path is looked up, checked and done here.
Source: seccomp_unotify(2).
"""

from __future__ import annotations

import fcntl
import os
import struct
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmos.tools.sandbox.orders import Orders
    from llmos.tools.sandbox.tree import Tree

RECEIVE, SEND, STILL_VALID = 0xC0502100, 0xC0182101, 0x40082102
CONTINUE = 1
NOTIFICATION = "=QIIiIQ6Q"
EPERM, ENOENT, EFAULT = 1, 2, 14
AT_FDCWD, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH = -100, 0x100, 0x1000
UTIME_NOW, UTIME_OMIT = 0x3FFFFFFF, 0x3FFFFFFE
SET_ID_BITS = 0o6000
PATH_MAX = 4096


class Broker:
    """Stands behind the listener of one filter."""

    def __init__(self, listener: int, tree: Tree, orders: Orders) -> None:
        self.listener = listener
        self._tree = tree
        self._calls = orders["calls"]
        self._owned = [os.fsencode(folder) for folder in orders["owned"]]

    def answer(self) -> None:
        """Take one report and answer it."""
        buffer = bytearray(256)
        try:
            fcntl.ioctl(self.listener, RECEIVE, buffer)
        except OSError:  # whoever asked is dead
            return
        key, pid, _, number, _, _, *arguments = struct.unpack_from(NOTIFICATION, buffer)
        try:
            self._send(key, 0, CONTINUE if self._decide(key, pid, self._calls[number], arguments) else 0)
        except OSError as error:
            self._send(key, -(error.errno or EPERM), 0)

    def _send(self, key: int, error: int, flags: int) -> None:
        try:
            fcntl.ioctl(self.listener, SEND, struct.pack("=QqiI", key, 0, error, flags))
        except OSError:  # whoever asked is dead
            return

    def _decide(self, key: int, pid: int, name: str, words: list[int]) -> bool:
        """Whether the call shall go on; False where it has been done here.

        Raises:
            OSError: It shall fail with this.
        """
        match name:
            case "kill":
                self._signal(signed(words[0]))
            case "tkill" | "tgkill" | "rt_sigqueueinfo" | "rt_tgsigqueueinfo":
                self._signal(max(signed(words[0]), 1))
            case _:
                self._change(key, pid, name, words)
                return False
        return True

    def _signal(self, target: int) -> None:
        """Let a signal go to processes below the launcher only."""
        if target == 0 or (target > 0 and self._tree.holds(target)):
            return
        if target < -1 and -target in {known[1] for known in self._tree.members().values()}:
            return
        raise OSError(EPERM, "")

    def _change(self, key: int, pid: int, name: str, words: list[int]) -> None:
        """Change mode or times of a file in a folder that the program owns, in its place."""
        match name:
            case "fchmod":
                place, path, flags, mode = words[0], 0, 0, words[1]
            case "chmod":
                place, path, flags, mode = AT_FDCWD, words[0], 0, words[1]
            case "fchmodat":
                place, path, flags, mode = words[0], words[1], 0, words[2]
            case "fchmodat2":
                place, path, flags, mode = words[0], words[1], words[3], words[2]
            case _:
                place, path, flags, mode = words[0], words[1], words[3], -1
        with Memory(pid) as memory:
            name_of = memory.text(path) if path else b""
            times = memory.read(words[2], 32) if mode < 0 and words[2] else None
        # only now is it sure that it was the memory of the one that asked
        fcntl.ioctl(self.listener, STILL_VALID, struct.pack("=Q", key))
        file = look_up(pid, signed(place), name_of, signed(flags))
        try:
            self._check(file, mode)
            target = f"/proc/self/fd/{file}"
            if mode >= 0:
                os.chmod(target, mode & 0o7777)
            else:
                os.utime(target, ns=moments(times, os.stat(target)))
        finally:
            os.close(file)

    def _check(self, file: int, mode: int) -> None:
        path = os.readlink(os.fsencode(f"/proc/self/fd/{file}"))
        inside = any(path == folder or path.startswith(folder + b"/") for folder in self._owned)
        if not inside or os.fstat(file).st_uid != os.geteuid() or (mode >= 0 and mode & SET_ID_BITS):
            raise OSError(EPERM, "")


class Memory:
    """The memory of a process, to read the arguments that a system call points to."""

    def __init__(self, pid: int) -> None:
        self._file = os.open(f"/proc/{pid}/mem", os.O_RDONLY)

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def read(self, address: int, size: int) -> bytes:
        """Exactly so many bytes.

        Raises:
            OSError: They are not there.
        """
        data = os.pread(self._file, size, address)
        if len(data) < size:
            raise OSError(EFAULT, "")
        return data

    def text(self, address: int) -> bytes:
        """A path, as C writes it.

        Raises:
            OSError: It has no end.
        """
        data, end, _ = os.pread(self._file, PATH_MAX, address).partition(b"\0")
        if not end:
            raise OSError(EFAULT, "")
        return data


def look_up(pid: int, place: int, path: bytes, flags: int) -> int:
    """The file that a process means by a folder and a path, held but not opened.

    Raises:
        OSError: There is none.
    """
    start = f"/proc/{pid}/cwd" if place == AT_FDCWD else f"/proc/{pid}/fd/{place}"
    base = os.open(start, os.O_PATH | os.O_CLOEXEC)
    if not path:
        if place == AT_FDCWD and not flags & AT_EMPTY_PATH:
            os.close(base)
            raise OSError(ENOENT, "")
        return base
    try:
        follow = os.O_NOFOLLOW if flags & AT_SYMLINK_NOFOLLOW else 0
        return os.open(path, os.O_PATH | os.O_CLOEXEC | follow, dir_fd=base)
    finally:
        os.close(base)


def moments(times: bytes | None, now: os.stat_result) -> tuple[int, int]:
    """Times of access and of change in ns, from two `struct timespec`; None for now."""
    clock = time.time_ns()
    if times is None:
        return clock, clock
    seconds, parts, more_seconds, more_parts = struct.unpack("=4q", times)
    return moment(seconds, parts, now.st_atime_ns, clock), moment(more_seconds, more_parts, now.st_mtime_ns, clock)


def moment(seconds: int, part: int, old: int, clock: int) -> int:
    """One of them."""
    if part == UTIME_NOW:
        return clock
    return old if part == UTIME_OMIT else seconds * 1_000_000_000 + part


def signed(word: int) -> int:
    """The C `int` in an argument."""
    word &= 0xFFFFFFFF
    return word - (1 << 32) if word >= 1 << 31 else word
