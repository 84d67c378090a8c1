"""The sandbox: the strongest way that this machine has to run a program that nobody vouches for.

Knows neither tools nor policy: whoever calls has decided that the program may run.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import sys
import tempfile
import threading
from collections.abc import Generator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from llmos.errors import BadArguments, ConfigError, LlmosError, SandboxUnavailable
from llmos.tools.sandbox import bubblewrap, landlock, seatbelt, seccomp
from llmos.tools.sandbox.folder import remove
from llmos.tools.sandbox.job import Completed, Job, Output
from llmos.tools.sandbox.orders import Access, Orders
from llmos.tools.sandbox.places import Places, environment, interpreter, places
from llmos.tools.sandbox.syscalls import AUDIT

Mechanism = Literal["bubblewrap", "landlock", "seatbelt", "none"]
"""Name spaces and all of the next; Landlock and seccomp; macOS's profiles; limits only, nothing confined."""

STRONGEST_FIRST: tuple[Mechanism, ...] = ("bubblewrap", "landlock", "seatbelt")
LEAST_MEMORY, MOST_MEMORY = 64 << 20, 1 << 50
MOST_SECONDS = 10_000_000
MOST_PROCESSES = 1 << 20
FILE_BYTES = 1 << 30
"""No file that a program writes may be larger."""
DISK_RESERVE = 256 << 20
"""A program that leaves less on the workspace's disk is ended."""
OPEN_FILES = 1024
THREADS_PER_PROCESS = 4


class Sandbox:
    """Runs programs that see the workspace, the system's programs and the running Python, and nothing else.

    They have no network, none of the user's environment, a private temporary folder (which is also their home), limits
    on time, memory, processes, files and output, and nothing of them is left when the run ends, however it ends.

    Args:
        name: The mechanism. Use `best` to get the strongest that works here.
    """

    def __init__(self, name: Mechanism) -> None:
        self.name: Mechanism = name

    def __repr__(self) -> str:
        return f"Sandbox({self.name!r})"

    @classmethod
    def best(cls, *, unsafe: bool = False) -> Sandbox:
        """The strongest that works here. Found out once for each process, by running a program in it (some 50 ms).

        Args:
            unsafe: Run programs without any confinement, and only if nothing else works.

        Raises:
            SandboxUnavailable: Nothing works and `unsafe` was not given; the message says what is missing.
        """
        reasons: list[str] = []
        for name in STRONGEST_FIRST:
            reason = why_not(name)
            if not reason:
                return cls(name)
            reasons.append(f"{name}: {reason}")
        if unsafe:
            return cls("none")
        raise SandboxUnavailable(
            f"This machine has no way to confine code ({'; '.join(reasons)}).",
            hint="Install bubblewrap or use Linux 5.13 or newer; --unsafe runs code with all your rights.",
        )

    async def run(
        self,
        argv: Sequence[str],
        *,
        workspace: Path,
        network: bool = False,
        seconds: float = 30,
        output_bytes: int = 1_000_000,
        memory_bytes: int = 1 << 30,
        processes: int = 64,
        stdin: bytes = b"",
        env: Mapping[str, str] = {},
        readable: Sequence[Path] = (),
        output_file: Path | None = None,
    ) -> Completed:
        """Run a program to its end. Cancelling this ends it and all that it started.

        Args:
            argv: The program, looked for in the sandbox's own PATH (the running Python's folder comes first), and its
                arguments.
            workspace: The folder that it starts in and may change.
            network: It may use IP. Off, it has no sockets at all.
            seconds: Wall time.
            output_bytes: So much of stdout, and of stderr, is kept.
            memory_bytes: Private memory of one process, and resident memory of all together.
            processes: At once; four times as many threads.
            stdin: What it reads.
            env: Variables besides the few it gets.
            readable: More files and folders that it may read.
            output_file: Where all output is written if it is more than `output_bytes`. Not made otherwise.

        Raises:
            BadArguments: There is no such program, or it can't be run.
            ConfigError: The workspace is no folder, or one that a program must not own; a limit makes no sense.
            SandboxUnavailable: The program could not be confined, so it did not run.
            StorageError: `output_file` can't be written.
        """
        _check(argv, env, seconds, memory_bytes, processes)
        folders = places(workspace, readable)
        if self.name == "landlock" and folders.protected:
            raise SandboxUnavailable(
                f"The workspace {str(folders.workspace)!r} contains {str(folders.protected[0])!r}, which the program "
                "must not change, and Landlock can't open a folder without what is in it.",
                hint="Install bubblewrap, or take a workspace without llmos's Python and without readable folders.",
            )
        with private_folder(needed=self.name != "bubblewrap") as temporary:
            orders = self._orders(
                folders,
                temporary,
                argv=argv,
                env=environment(temporary, env),
                network=network,
                seconds=seconds,
                memory=memory_bytes,
                processes=processes,
            )
            wrap = self._wrap(folders, network=network)
            return await Job(wrap, orders, stdin, Output(output_bytes, output_file)).run()

    def _wrap(self, folders: Places, *, network: bool) -> list[str]:
        """What stands before the launcher."""
        if self.name != "bubblewrap":
            return []
        bwrap = bubblewrap.find()
        if bwrap is None:
            raise SandboxUnavailable("The program bwrap is not installed.", hint=GET["bubblewrap"])
        return bubblewrap.command(bwrap, folders, network=network)

    def _orders(
        self,
        folders: Places,
        temporary: str,
        *,
        argv: Sequence[str],
        env: dict[str, str],
        network: bool,
        seconds: float,
        memory: int,
        processes: int,
    ) -> Orders:
        version = landlock.version()
        rules: list[tuple[str, Access]] = []
        program, calls = b"", dict[int, str]()
        if self.name in ("bubblewrap", "landlock"):
            alone = self.name == "bubblewrap"
            rules = landlock.inner_rules(folders) if alone else landlock.rules(folders, temporary, network=network)
            program = seccomp.program(
                os.uname().machine,
                network=network,
                landlock=version,
                guard_files=not alone,
                guard_signals=not alone and version < landlock.SCOPES,
            )
            calls = {} if alone else seccomp.reported(os.uname().machine)
        if self.name == "seatbelt":
            argv = [*seatbelt.command(folders, temporary, network=network), *argv]
        return Orders(
            argv=list(argv),
            env=env,
            folder=str(folders.workspace),
            seconds=seconds,
            cpu_seconds=math.ceil(seconds) * (os.cpu_count() or 1) + 1,
            memory=memory,
            processes=processes,
            threads=processes * THREADS_PER_PROCESS,
            file_bytes=FILE_BYTES,
            open_files=OPEN_FILES,
            disks=[str(folders.workspace)],
            reserve=DISK_RESERVE,
            filter=program,
            calls=calls,
            landlock=version if rules else 0,
            rules=rules,
            owned=[str(folders.workspace), temporary],
            temporary="" if self.name == "bubblewrap" else temporary,
            alone=self.name == "bubblewrap",
            linux=sys.platform == "linux",
            control=-1,
            status=-1,
        )


def _check(argv: Sequence[str], env: Mapping[str, str], seconds: float, memory: int, processes: int) -> None:
    """Refuse what no system could do.

    Raises:
        BadArguments: In what is to be run.
        ConfigError: In its limits.
    """
    if not argv or not argv[0]:
        raise BadArguments("There is no program to run: the command is empty.")
    if any("\0" in word for word in (*argv, *env, *env.values())) or any("=" in name or not name for name in env):
        raise BadArguments(f"Can't run {argv[0]!r}: an argument contains NUL, or a variable has no proper name.")
    possible = 0 < seconds <= MOST_SECONDS and 1 <= processes <= MOST_PROCESSES
    if not possible or not LEAST_MEMORY <= memory <= MOST_MEMORY:
        raise ConfigError(
            f"Can't run {argv[0]!r} for {seconds} s with {memory:,} bytes and {processes} processes.",
            hint=f"Seconds must be more than 0, processes at least 1, memory_bytes at least {LEAST_MEMORY:,}.",
        )


@contextlib.contextmanager
def private_folder(*, needed: bool) -> Generator[str]:
    """The temporary folder of one run, which the launcher removes; `/tmp` where that is private anyway."""
    if not needed:
        yield "/tmp"
        return
    folder = os.path.realpath(tempfile.mkdtemp(prefix="llmos-sandbox-"))
    try:
        yield folder
    finally:
        # where the launcher did not even start, or was killed
        remove(folder)


GET = {
    "bubblewrap": "Install it: apt install bubblewrap, dnf install bubblewrap or pacman -S bubblewrap.",
    "landlock": "Use Linux 5.13 or newer, with landlock among the security modules (the lsm= boot option).",
    "seatbelt": "Only macOS has it.",
}


@cache
def why_not(name: Mechanism) -> str:
    """Why a mechanism does not work here; empty if it does. Found out by running a program in it."""
    if missing := _missing(name):
        return missing
    outcome: list[str] = []
    # a loop of its own, wherever this is called from
    thread = threading.Thread(target=lambda: outcome.append(asyncio.run(_try(name))))
    thread.start()
    thread.join()
    return outcome[0] if outcome else "it could not be tried"


def _missing(name: Mechanism) -> str:
    """What can be seen to be missing without trying."""
    if name == "none":
        return ""
    if name == "seatbelt":
        return "" if seatbelt.here() else "this is not macOS"
    if sys.platform != "linux":
        return "this is not Linux"
    if os.uname().machine not in AUDIT:
        return f"system calls of {os.uname().machine} are not known"
    if name == "bubblewrap":
        return "" if bubblewrap.find() else "bwrap is not installed"
    return "" if landlock.version() else "the kernel has no Landlock"


async def _try(name: Mechanism) -> str:
    with tempfile.TemporaryDirectory(prefix="llmos-sandbox-") as folder:
        try:
            done = await Sandbox(name).run(
                [interpreter(), "-I", "-S", "-c", "pass"], workspace=Path(folder), seconds=20
            )
        except LlmosError as error:
            return str(error)
    if done.returncode == 0:
        return ""
    return f"Python does not start in it: {done.stderr.decode('utf-8', 'replace').strip()[-300:]} {done.limit}".strip()
