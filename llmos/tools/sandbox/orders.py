"""What the process in front of the confined program is told. Plain data, written by `marshal`, read by `launch`.

Knows neither how it is made nor how it is carried out.
"""

from __future__ import annotations

from typing import Literal, TypedDict

Access = Literal["read", "write", "device"]
"""Of a path: read and run what is below it; also make, change and remove; a device that may be read and written."""

Limit = Literal["", "time", "memory", "output", "processes", "signal"]
"""What ended a program: itself, or which limit."""


class Orders(TypedDict):
    """One program, how it is confined and how far it may go.

    Keys:
        argv, env, folder: The program; its environment, all of it; the folder that it starts in.
        seconds, cpu_seconds: Wall time of the whole, processor time of one process.
        memory: Bytes of private memory of one process, and resident bytes of all together.
        processes, threads: More than these at once end it.
        file_bytes: No file may be larger.
        open_files: Of one process.
        disks: Folders whose file systems must not be filled.
        reserve: So many bytes stay free on them.
        filter: The seccomp program; empty for none.
        calls: Number of a system call that the filter reports → its name; empty if it reports none.
        landlock: Version of the kernel's interface; 0 for none.
        rules: Which paths Landlock opens.
        owned: Below these folders, modes and times of files may be changed.
        temporary: A folder to be removed at the end; empty for none.
        alone: It runs in a PID namespace of its own, whose first process is the launcher.
        linux: Whether `/proc` and `prctl` are there.
        control, status: File descriptors. Nobody at the other end of the first ends everything; the second is told how
            it ended.
    """

    argv: list[str]
    env: dict[str, str]
    folder: str
    seconds: float
    cpu_seconds: int
    memory: int
    processes: int
    threads: int
    file_bytes: int
    open_files: int
    disks: list[str]
    reserve: int
    filter: bytes
    calls: dict[int, str]
    landlock: int
    rules: list[tuple[str, Access]]
    owned: list[str]
    temporary: str
    alone: bool
    linux: bool
    control: int
    status: int
