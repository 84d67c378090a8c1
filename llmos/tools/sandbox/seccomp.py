"""The filter of system calls, as a program for the kernel.

Everything is allowed that is not named here and is not newer than this table: what reaches into other processes, the
network, the kernel or its name spaces is refused. Without a mount name space Landlock guards the files, and what it
does not guard (modes, owners, times, attributes) is refused or reported to the launcher.

Knows no process and no path. Source: seccomp(2), and the kernel's `Documentation/userspace-api/seccomp_filter.rst`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from llmos.tools.sandbox.syscalls import AUDIT, LAST, numbers

ALLOW, KILL, REPORT, ERROR = 0x7FFF0000, 0x80000000, 0x7FC00000, 0x00050000
EPERM, EACCES, ENOSYS, ENOTSUP = ERROR | 1, ERROR | 13, ERROR | 38, ERROR | 95

_LOAD, _AND, _EQUAL, _GREATER, _RETURN = 0x20, 0x54, 0x15, 0x25, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
_SOCKET_TYPE, _STREAM, _SEQPACKET = 0xF, 1, 5
_NEW_NAMESPACES = 0x7E020080  # CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET,TIME}
_SET_ID = 0o6000
_CREATES = 0o100 | 0o20000000  # O_CREAT, __O_TMPFILE: the mode counts
_ACCESS_MODE, _TRUNCATES = 3, 0o1000
_SENDS_SIGNALS = (8, 10, 15, 1024, 1026)  # fcntl: F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY
_TERMINALS = (0x5412, 0x541C, 0x8901, 0x8902)  # ioctl: TIOCSTI, TIOCLINUX, FIOSETOWN, SIOCSPGRP

# Other processes, the kernel and its name spaces, whole machines' settings, objects that outlive the program.
_NEVER = """
_sysctl acct add_key adjtimex bpf chroot clock_adjtime clock_settime delete_module fanotify_init finit_module fsconfig
fsmount fsopen fspick init_module ioperm iopl kcmp kexec_file_load kexec_load keyctl listmount lookup_dcookie
migrate_pages modify_ldt mount mount_setattr move_mount move_pages mq_open msgget nfsservctl open_by_handle_at open_tree
perf_event_open personality pidfd_getfd pivot_root process_madvise process_mrelease process_vm_readv
process_vm_writev ptrace quotactl quotactl_fd reboot request_key semget setdomainname sethostname setns settimeofday
shmget statmount swapoff swapon syslog sysfs umount2 unshare uselib userfaultfd ustat vhangup
"""
# Those that programs do without where a kernel lacks them. clone3 and openat2 hide their flags from a filter; memory of
# memfd_create is counted nowhere.
_MISSING = """
clone3 inotify_init inotify_init1 io_uring_enter io_uring_register io_uring_setup memfd_create memfd_secret openat2
"""
_OWNERS = "chown fchown fchownat lchown"
_ATTRIBUTES = "fremovexattr fsetxattr lremovexattr lsetxattr removexattr setxattr"
_MODES = "chmod fchmod fchmodat fchmodat2 utimensat"
_SIGNALS = "kill rt_sigqueueinfo rt_tgsigqueueinfo tgkill tkill"


@dataclass(frozen=True, slots=True)
class Test:
    """That the lower half of an argument, masked, equals a value, or does not."""

    argument: int
    value: int
    mask: int = 0xFFFFFFFF
    equal: bool = True


@dataclass(frozen=True, slots=True)
class Rule:
    """What becomes of a call if every test holds. The first rule that fits counts."""

    call: str
    action: int
    tests: tuple[Test, ...] = ()


@cache
def program(machine: str, *, network: bool, landlock: int, guard_files: bool, guard_signals: bool) -> bytes:
    """The filter as an array of `struct sock_filter`.

    Args:
        machine: As `os.uname` says it.
        network: Sockets of IP may be made.
        landlock: Version of the kernel's Landlock; 0 for none.
        guard_files: There is no mount name space.
        guard_signals: There is neither a PID name space nor a Landlock that holds back signals.
    """
    wanted = list(rules(network=network, landlock=landlock, guard_files=guard_files, guard_signals=guard_signals))
    return b"".join(struct.pack("=HBBI", *line) for line in _assemble(machine, wanted))


def rules(*, network: bool, landlock: int, guard_files: bool, guard_signals: bool) -> Iterator[Rule]:
    """What the filter says, in its order; see `program`."""
    yield from _each(_NEVER, EPERM)
    yield from _each(_MISSING, ENOSYS)
    yield Rule("clone", EPERM, (Test(0, 0, _NEW_NAMESPACES, equal=False),))
    yield from _set_id()
    yield from _others()
    yield from _sockets(network=network)
    if guard_files:
        yield from _files(landlock)
    if guard_signals:
        yield from _each(_SIGNALS, REPORT)
        yield Rule("pidfd_send_signal", ENOSYS)


def _each(names: str, action: int) -> Iterable[Rule]:
    return (Rule(name, action) for name in names.split())


def _set_id() -> Iterator[Rule]:
    """No file that gives its starter another user's rights may be made, for others to find outside."""
    places = {"chmod": 1, "creat": 1, "fchmod": 1, "fchmodat": 2, "fchmodat2": 2, "mknod": 1, "mknodat": 2}
    for name, place in places.items():
        yield Rule(name, EPERM, (Test(place, 0, _SET_ID, equal=False),))
    for name, place in {"open": 1, "openat": 2}.items():
        creates = Test(place, 0, _CREATES, equal=False)
        yield Rule(name, EPERM, (creates, Test(place + 1, 0, _SET_ID, equal=False)))


def _others() -> Iterator[Rule]:
    """Limits, priorities and signals of other processes; input to a terminal."""
    yield Rule("sched_setaffinity", EPERM)  # one processor is kept free for the launcher
    for name in ("prlimit64", "sched_setattr", "sched_setparam", "sched_setscheduler"):
        yield Rule(name, EPERM, (Test(0, 0, equal=False),))
    yield Rule("setpriority", EPERM, (Test(0, 0, equal=False),))
    yield Rule("setpriority", EPERM, (Test(1, 0, equal=False),))
    yield Rule("ioprio_set", EPERM, (Test(1, 0, equal=False),))
    for command in _SENDS_SIGNALS:
        yield Rule("fcntl", EPERM, (Test(1, command),))
    for command in _TERMINALS:
        yield Rule("ioctl", EPERM, (Test(1, command),))


def _sockets(*, network: bool) -> Iterator[Rule]:
    """Only connected pairs; with `network`, those of IP too. A pair for datagrams could be turned to others."""
    stream, packet = (Test(1, kind, _SOCKET_TYPE, equal=False) for kind in (_STREAM, _SEQPACKET))
    yield Rule("socketpair", EACCES, (stream, packet))
    yield Rule("socketpair", EACCES, (Test(0, AF_UNIX, equal=False),))
    if not network:
        yield from _each("socket connect bind listen", EACCES)
        return
    allowed = (AF_INET, AF_INET6, AF_NETLINK)
    yield Rule("socket", EACCES, tuple(Test(0, family, equal=False) for family in allowed))
    # of netlink only NETLINK_ROUTE, by which the C library finds out which addresses there are
    yield Rule("socket", EACCES, (Test(0, AF_NETLINK), Test(2, 0, equal=False)))


def _files(landlock: int) -> Iterator[Rule]:
    """What Landlock leaves open: it knows paths that are opened, made and removed."""
    yield from _each(_MODES, REPORT)
    yield from _each("futimesat utime utimes", ENOSYS)
    yield from _each(_OWNERS, EPERM)
    yield from _each(_ATTRIBUTES, ENOTSUP)
    if landlock < 3:
        yield Rule("truncate", EPERM)
        for name, place in {"open": 1, "openat": 2}.items():
            reads = Test(place, 0, _ACCESS_MODE)
            yield Rule(name, EPERM, (reads, Test(place, 0, _TRUNCATES, equal=False)))


def _assemble(machine: str, rules: Iterable[Rule]) -> Iterator[tuple[int, int, int, int]]:
    known = numbers(machine)
    yield _LOAD, 0, 0, _ARCHITECTURE
    yield _EQUAL, 1, 0, AUDIT[machine]
    yield _RETURN, 0, 0, KILL
    yield _LOAD, 0, 0, _NUMBER
    # newer calls, and those of the x32 interface, whose numbers have a high bit
    yield _GREATER, 0, 1, LAST
    yield _RETURN, 0, 0, ENOSYS
    for rule in rules:
        if rule.call in known:
            yield from _block(known[rule.call], rule)
    yield _RETURN, 0, 0, ALLOW


def _block(number: int, rule: Rule) -> Iterator[tuple[int, int, int, int]]:
    """Instructions of one rule: each jump says how many of the following it skips, if it holds and if not."""
    lines: list[tuple[int, int, int, int]] = []
    left = 3 * len(rule.tests) + 1
    for test in rule.tests:
        # little-endian: the lower half comes first
        lines += [(_LOAD, 0, 0, _ARGUMENTS + 8 * test.argument), (_AND, 0, 0, test.mask)]
        left -= 3
        lines.append((_EQUAL, 0, left, test.value) if test.equal else (_EQUAL, left, 0, test.value))
    lines.append((_RETURN, 0, 0, rule.action))
    yield _EQUAL, 0, len(lines), number
    yield from lines
    if rule.tests:
        yield _LOAD, 0, 0, _NUMBER


def reported(machine: str) -> dict[int, str]:
    """Number of each call that may be reported → its name."""
    known = numbers(machine)
    return {known[name]: name for name in f"{_MODES} {_SIGNALS}".split() if name in known}
