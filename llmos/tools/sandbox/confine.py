"""What the launcher's child does to itself before it becomes the program. Imports little, to start quickly.

Knows the system calls of Landlock, seccomp and capabilities, and not what should be allowed: that is in its orders.
Sources: landlock(7), seccomp(2), capabilities(7), prctl(2).
"""

from __future__ import annotations

import ctypes
import os
import resource
import stat
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

    from llmos.tools.sandbox.orders import Access, Orders

PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_SECUREBITS, PR_SET_CHILD_SUBREAPER = 4, 24, 28, 36
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
SECUREBITS_LOCKED = 0x2F
CAPABILITIES_V3, CAPABILITIES = 0x20080522, 64

SOL_SOCKET, SCM_RIGHTS = 1, 1  # of Linux
IGNORED_BY_PYTHON = (13, 25)
"""SIGPIPE and SIGXFSZ: programs expect them as they are at the start of a session."""

SET_MODE_FILTER, FLAG_NEW_LISTENER, FLAG_WAIT_KILLABLE_RECV = 1, 1 << 3, 1 << 5
CLOSE_RANGE, CLOSE_RANGE_CLOEXEC = 436, 1 << 2
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
# the numbers above are the same on every architecture; these two are not
NUMBERS = {"x86_64": {"seccomp": 317, "capset": 126}, "aarch64": {"seccomp": 277, "capset": 91}}

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, MAKE_CHAR, MAKE_BLOCK = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 6, 1 << 11
TRUNCATE, IOCTL_DEV = 1 << 14, 1 << 15
FS_BITS = {1: 13, 2: 14, 3: 15, 4: 15}
"""Version of Landlock → how many rights over files it knows; 16 from version 5 on."""

_libc = ctypes.CDLL(None, use_errno=True)


def syscall(number: int, *arguments: int | bytes | None) -> int:
    """A system call by its number.

    Raises:
        OSError: It failed.
    """
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *words))
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{os.strerror(code)} (system call {number})")
    return result


def prctl(option: int, value: int = 0, third: int = 0) -> bool:
    """`prctl(2)`; whether it worked."""
    zero = ctypes.c_ulong(0)
    return int(_libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(third), zero, zero)) == 0


def confine(orders: Orders, channel: _socket.socket) -> None:
    """Confine this process, as far as the orders say, and send "R" over `channel`, with the filter's listener if any.

    Raises:
        OSError: A step failed.
    """
    os.setsid()
    for number in IGNORED_BY_PYTHON:
        _libc.signal(number, None)
    limits(orders)
    if orders["linux"]:
        share_processors(keep=False)
    os.chdir(orders["folder"])
    if not orders["filter"]:
        channel.sendall(b"R")
        return
    # the kernel, when it is out of memory, should take this before anything of the user's
    write("/proc/self/oom_score_adj", b"1000")
    if not prctl(PR_SET_NO_NEW_PRIVS, 1):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS) failed")
    if orders["landlock"]:
        landlock(orders["landlock"], orders["rules"])
    if not orders["alone"]:  # bubblewrap has done it
        drop_capabilities()
    close_at_start()
    if not orders["calls"]:
        seccomp(orders["filter"], 0)
        channel.sendall(b"R")
        return
    try:
        listener = seccomp(orders["filter"], FLAG_NEW_LISTENER | FLAG_WAIT_KILLABLE_RECV)
    except OSError:  # before Linux 5.19; a call that is reported may then be interrupted by a signal
        listener = seccomp(orders["filter"], FLAG_NEW_LISTENER)
    channel.sendmsg([b"R"], [(SOL_SOCKET, SCM_RIGHTS, struct.pack("i", listener))])
    os.close(listener)


def limits(orders: Orders) -> None:
    """Set what `setrlimit(2)` can limit, never above what holds already."""
    lower(resource.RLIMIT_CORE, 0)
    lower(resource.RLIMIT_CPU, orders["cpu_seconds"])
    lower(resource.RLIMIT_FSIZE, orders["file_bytes"])
    lower(resource.RLIMIT_NOFILE, orders["open_files"])
    if orders["linux"]:  # macOS refuses to set these
        # private memory is limited tightly, address space loosely: runtimes reserve much that they never touch
        lower(resource.RLIMIT_DATA, orders["memory"])
        lower(resource.RLIMIT_AS, max(4 * orders["memory"], 16 << 30))
        # A last resort, which does not bind root. It counts what else this user runs, too; all tasks of the machine are
        # the bound for that which is quickly known.
        lower(resource.RLIMIT_NPROC, tasks() + orders["threads"])


def share_processors(*, keep: bool) -> None:
    """Stay on one processor (`keep`), or on all others: thousands of processes must not starve what shall end them."""
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) > 1:
        os.sched_setaffinity(0, processors[:1] if keep else processors[1:])


def lower(kind: int, value: int) -> None:
    """Set one limit, soft and hard."""
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def tasks() -> int:
    """How many processes and threads the machine has (proc(5), `/proc/loadavg`)."""
    with open("/proc/loadavg", "rb") as file:
        return int(file.read().split()[3].partition(b"/")[2])


def write(path: str, data: bytes) -> None:
    """Write to a file of the kernel, if it is there and may be written."""
    try:
        file = os.open(path, os.O_WRONLY)
    except OSError:
        return
    try:
        os.write(file, data)
    except OSError:
        pass
    finally:
        os.close(file)


def landlock(version: int, rules: list[tuple[str, Access]]) -> None:
    """Restrict this process to paths; others don't open, whoever the user is. Missing paths are left out."""
    every = (1 << FS_BITS.get(version, 16)) - 1
    # TCP bind and connect from version 4 on are left to seccomp; abstract sockets and signals are scoped from 6 on
    attributes = struct.pack("=QQQ", every, 0, 3 if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = syscall(LANDLOCK_CREATE_RULESET, attributes[:size], size, 0)
    rights = {
        "read": EXECUTE | READ_FILE | READ_DIR,
        "write": every & ~(MAKE_CHAR | MAKE_BLOCK | IOCTL_DEV),
        "device": READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE | IOCTL_DEV,
    }
    of_files = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
    for path, access in rules:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        allowed = rights[access] & every
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            allowed &= of_files
        syscall(LANDLOCK_ADD_RULE, ruleset, 1, struct.pack("=Qi", allowed, place), 0)
        os.close(place)
    syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def drop_capabilities() -> None:
    """Give up every capability, also those that root would get back when it starts a program."""
    for capability in range(CAPABILITIES):
        if not prctl(PR_CAPBSET_DROP, capability):
            break
    prctl(PR_SET_SECUREBITS, SECUREBITS_LOCKED)
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    number = NUMBERS[os.uname().machine]["capset"]
    syscall(number, struct.pack("=Ii", CAPABILITIES_V3, 0), bytes(24))


def close_at_start() -> None:
    """Let every file but the standard ones be closed when the program starts."""
    try:
        syscall(CLOSE_RANGE, 3, 0xFFFFFFFF, CLOSE_RANGE_CLOEXEC)
    except OSError:  # before Linux 5.11
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2:
                try:
                    os.set_inheritable(int(name), False)
                except OSError:  # the folder that was just listed
                    continue


def seccomp(program: bytes, flags: int) -> int:
    """Filter the system calls of this process and of all that it starts; the listener, if the flags ask for one."""
    instructions = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: an unsigned short, padding, a pointer
    description = struct.pack("@HP", len(program) // 8, ctypes.addressof(instructions))
    number = NUMBERS[os.uname().machine]["seccomp"]
    return syscall(number, SET_MODE_FILTER, flags, description)


def execute(argv: list[str], env: dict[str, str]) -> None:
    """Become the program, looked for in the environment's own PATH.

    Raises:
        OSError: It is not there or can't be run.
    """
    folders = [""] if "/" in argv[0] else env.get("PATH", "").split(":")
    failure: OSError = FileNotFoundError(2, "No such file or directory")
    for folder in folders:
        try:
            os.execve(os.path.join(folder, argv[0]), argv, env)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            failure = error
    raise failure
