"""Which version of Landlock the kernel has, and which paths it shall open. Knows no process. Source: landlock(7)."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

from llmos.tools.sandbox.orders import Access
from llmos.tools.sandbox.places import HARDWARE, Places, etc, system

SCOPES = 6
"""From this version on it holds back signals and abstract sockets."""

_CREATE_RULESET, _VERSION = 444, 1
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
# Of /proc the process itself, and what says nothing about others.
_KERNEL = (
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/filesystems",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys/kernel/cap_last_cap",
    "/proc/sys/kernel/ngroups_max",
    "/proc/sys/kernel/osrelease",
    "/proc/sys/kernel/ostype",
    "/proc/sys/kernel/pid_max",
    "/proc/sys/kernel/random",
    "/proc/sys/vm/overcommit_memory",
    "/proc/uptime",
    "/proc/version",
    "/sys/kernel/mm/transparent_hugepage",
)


@cache
def version() -> int:
    """The kernel's version of Landlock, 0 where it has none or has it turned off."""
    if sys.platform != "linux":
        return 0
    library = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_long(0)
    found = int(library.syscall(ctypes.c_long(_CREATE_RULESET), zero, zero, ctypes.c_long(_VERSION)))
    return max(found, 0)


def rules(places: Places, temporary: str, *, network: bool) -> list[tuple[str, Access]]:
    """Paths for a program that shares the file tree with everybody else.

    Args:
        places: Its folders; there must be no protected ones, since what a folder opens is open below it.
        temporary: Its private folder.
        network: It needs to look up names.
    """
    read = [*system(), *etc(network=network), *_KERNEL, *HARDWARE, *map(str, places.read)]
    write = [str(places.workspace), temporary]
    return [*((path, "read") for path in read), *((path, "write") for path in write), *devices()]


def inner_rules(places: Places) -> list[tuple[str, Access]]:
    """Paths for a program that has a file tree of its own already: a second wall around what it may write."""
    return [("/", "read"), *((path, "write") for path in (str(places.workspace), "/tmp", "/dev/shm")), *devices()]


def devices() -> list[tuple[str, Access]]:
    """The devices that every program may use."""
    return [(path, "device") for path in _DEVICES]
