"""The processes below one, read from `/proc`. Part of the launcher: imports little, to start quickly.

Knows nothing of limits.
"""

from __future__ import annotations

import os

_PAGE = os.sysconf("SC_PAGESIZE")


def entry(pid: int) -> tuple[int, int, int, int] | None:
    """Parent, process group, number of threads and resident bytes of a process (or thread); None if it is gone."""
    try:
        file = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return None
    try:
        text = os.read(file, 4096)
    except OSError:
        return None
    finally:
        os.close(file)
    # a program chooses its own name, which may contain spaces and brackets: count from the last one (proc(5))
    fields = text[text.rfind(b")") + 2 :].split()
    return (int(fields[1]), int(fields[2]), int(fields[17]), int(fields[21]) * _PAGE) if len(fields) > 21 else None


def children(pid: int) -> list[int]:
    """Children of all threads of a process."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
    except OSError:  # it is gone
        pass
    return found


def newest() -> bytes:
    """The last process or thread that was started in this PID name space (proc(5), `/proc/loadavg`)."""
    with open("/proc/loadavg", "rb") as file:
        return file.read().split()[4]


class Tree:
    """All processes below this one.

    Args:
        alone: This is the first process of a PID namespace: all others are below it.
    """

    def __init__(self, alone: bool) -> None:
        self.root = os.getpid()
        self.alone = alone

    def members(self) -> dict[int, tuple[int, int, int, int]]:
        """Every process below the root with its `entry`."""
        if not self.alone and os.path.exists(f"/proc/{self.root}/task/{self.root}/children"):
            return self._by_children()
        found = {pid: known for name in os.listdir("/proc") if name.isdigit() and (known := entry(pid := int(name)))}
        if self.alone:
            found.pop(self.root, None)
            return found
        children: dict[int, list[int]] = {}
        for pid, known in found.items():
            children.setdefault(known[0], []).append(pid)
        below: dict[int, tuple[int, int, int, int]] = {}
        waiting = list(children.get(self.root, ()))
        while waiting:
            pid = waiting.pop()
            below[pid] = found[pid]
            waiting += children.get(pid, ())
        return below

    def _by_children(self) -> dict[int, tuple[int, int, int, int]]:
        """The same without looking at processes of others, where the kernel keeps lists of children."""
        below: dict[int, tuple[int, int, int, int]] = {}
        waiting = children(self.root)
        while waiting:
            pid = waiting.pop()
            known = entry(pid)
            if known is not None and pid not in below:
                below[pid] = known
                waiting += children(pid)
        return below

    def holds(self, pid: int) -> bool:
        """Whether a process or thread is below the root."""
        if self.alone:
            return pid != self.root
        for _ in range(1000):
            known = entry(pid)
            if pid == self.root or known is None:
                return False
            pid = known[0]
            if pid == self.root:
                return True
        return False


def exceeds(members: dict[int, tuple[int, int, int, int]], most: int) -> bool:
    """Whether processes use more memory than `most` bytes, pages that they share counted once."""
    return sum(known[3] for known in members.values()) > most and sum(map(proportional, members)) > most


def proportional(pid: int) -> int:
    """Resident bytes of a process, of shared pages its part."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    known = entry(pid)
    return known[3] if known else 0
