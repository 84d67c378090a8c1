"""One run as the event loop sees it: the launcher's process, its pipes, what came out, how it ended.

Knows no mechanism. Nothing here blocks the loop for longer than it takes to start a process.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import marshal
import os
import subprocess
import tempfile
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.abc import InspectLoader
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from types import CodeType
from typing import IO, Any, BinaryIO, cast

from llmos.errors import BadArguments, SandboxUnavailable, StorageError
from llmos.tools.sandbox.orders import Limit, Orders
from llmos.tools.sandbox.places import interpreter

MOST_OUTPUT = 512 << 20
"""A program that prints more than this, in bytes, is ended."""
LATE = 15.0
"""So much later than the launcher should have ended a program, in seconds, it is ended itself."""

_READ = 1 << 16
_PARTS = ("folder", "tree", "confine", "broker", "launch")
# The launcher's modules come with its orders: it sees neither llmos's folder nor site packages.
_BOOT = """
import marshal, sys
with open(int(sys.argv[1]), "rb") as file:
    parts, orders = marshal.load(file)
for name, code in parts:
    module = sys.modules[name] = type(sys)(name)
    exec(code, module.__dict__)
module.main(orders)
"""


@dataclass(frozen=True, slots=True)
class Completed:
    """What became of a program.

    Attributes:
        returncode: Its exit status; minus the number of the signal that ended it.
        stdout, stderr: What it printed, each up to the cap.
        timed_out: It did not end in time.
        truncated: So many bytes were printed beyond the caps: counted, not kept.
        seconds: How long it took, from before its start.
        limit: What ended it; empty if it ended by itself.
    """

    returncode: int
    stdout: bytes
    stderr: bytes
    timed_out: bool
    truncated: int
    seconds: float
    limit: Limit


class Output:
    """What a program prints, kept up to a cap for each stream. What is beyond is counted, and written to a file.

    Args:
        cap: Bytes kept of each stream.
        file: Where everything goes, in the order of its arrival, if not all can be kept.
    """

    def __init__(self, cap: int, file: Path | None) -> None:
        self.total = self.truncated = 0
        self._cap = cap
        self._path = file
        self._file: IO[bytes] | None = None
        self._arrived: list[bytes] = []
        self._kept: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        self._room = {"stdout": cap, "stderr": cap}

    def add(self, stream: str, data: bytes) -> None:
        """Take what was read.

        Raises:
            OSError: The file can't be written.
        """
        self.total += len(data)
        kept = data[: self._room[stream]]
        if kept:
            self._room[stream] -= len(kept)
            self._kept[stream].append(kept)
        lost = len(data) - len(kept)
        self.truncated += lost
        if self._path is None:
            return
        if not self.truncated:
            self._arrived.append(data)
            return
        if self._file is None:
            self._file = self._path.open("wb")
            self._file.writelines(self._arrived)
            self._arrived.clear()
        self._file.write(data)

    def kept(self, stream: str) -> bytes:
        """What is left of a stream."""
        return b"".join(self._kept[stream])

    def close(self) -> None:
        """Write the rest of the file.

        Raises:
            OSError: It can't be written.
        """
        if self._file is not None:
            self._file.close()


class Job:
    """One program, from its start until nothing is left of it.

    Args:
        wrap: What stands before the launcher's command line.
        orders: Without its files, which are made here.
        stdin: What the program reads.
        output: Takes what it prints.
    """

    def __init__(self, wrap: Sequence[str], orders: Orders, stdin: bytes, output: Output) -> None:
        self._wrap = wrap
        self._orders = orders
        self._stdin = stdin
        self._output = output
        self._open: dict[str, int] = {}
        self._status = b""
        self._limit: Limit = ""
        self._failure: OSError | None = None

    async def run(self) -> Completed:
        """Run it. Cancelling this ends the program and all that it started before the cancellation goes on.

        Raises:
            BadArguments: The program can't be run: it is not there, or not a program.
            SandboxUnavailable: It could not be confined, so it did not run.
            StorageError: The file for its output can't be written.
        """
        began = monotonic()
        self._loop = asyncio.get_running_loop()
        self._closed = asyncio.Event()
        try:
            process = self._start()
        except OSError as error:
            self._close_all()
            raise SandboxUnavailable(f"Could not start a sandbox: {error}.") from error
        try:
            await asyncio.wait_for(self._closed.wait(), self._orders["seconds"] + LATE)
        except TimeoutError:
            self._limit = "time"
        finally:
            await uninterrupted(self._finish(process))
        return self._completed(monotonic() - began)

    def _start(self) -> subprocess.Popen[bytes]:
        """Start the launcher, and read its pipes from now on."""
        ends: dict[str, int] = {}
        with contextlib.ExitStack() as stack:
            for name in ("stdout", "stderr", "status"):
                self._open[name], ends[name] = os.pipe()
                stack.callback(os.close, ends[name])
            control, self._open["control"] = os.pipe()
            stack.callback(os.close, control)
            orders = self._orders.copy()
            orders["control"], orders["status"] = control, ends["status"]
            payload = stack.enter_context(holding(marshal.dumps((parts(), cast(dict[str, Any], orders)))))
            stdin = stack.enter_context(holding(self._stdin)) if self._stdin else subprocess.DEVNULL
            process = subprocess.Popen(
                [*self._wrap, interpreter(), "-I", "-S", "-X", "utf8", "-c", _BOOT, str(payload.fileno())],
                stdin=stdin,
                stdout=ends["stdout"],
                stderr=ends["stderr"],
                pass_fds=(payload.fileno(), control, ends["status"]),
                env={"LANG": "C.UTF-8"},
                cwd="/",
                start_new_session=True,
            )
        for name in ("stdout", "stderr", "status"):
            os.set_blocking(self._open[name], False)
            self._loop.add_reader(self._open[name], self._read, name)
        return process

    def _read(self, name: str) -> None:
        """Take what a pipe holds; at its end close it."""
        try:
            data = os.read(self._open[name], _READ)
        except BlockingIOError:
            return
        if not data:
            self._close(name)
            if not self._open.keys() - {"control"}:
                self._closed.set()
        elif name == "status":
            self._status += data
        elif self._failure is None:
            self._keep(name, data)

    def _keep(self, name: str, data: bytes) -> None:
        try:
            self._output.add(name, data)
        except OSError as error:
            self._failure = error
            self._close("control")
        if self._output.total > MOST_OUTPUT and not self._limit:
            self._limit = "output"
            self._close("control")

    def _close(self, name: str) -> None:
        """Close our end of a pipe. Of the control pipe: that tells the launcher to end everything."""
        file = self._open.pop(name, None)
        if file is None:
            return
        if name != "control":
            self._loop.remove_reader(file)
        os.close(file)

    def _close_all(self) -> None:
        for name in list(self._open):
            self._close(name)

    async def _finish(self, process: subprocess.Popen[bytes]) -> None:
        """End what still runs, and take the rest of what it printed."""
        self._close("control")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closed.wait(), LATE)
        self._close_all()
        deadline = monotonic() + 1
        while process.poll() is None:
            if monotonic() > deadline:
                process.kill()
            await asyncio.sleep(0.001)
        try:
            self._output.close()
        except OSError as error:
            self._failure = self._failure or error

    def _completed(self, seconds: float) -> Completed:
        kind, _, rest = self._status.decode("utf-8", "replace").partition(" ")
        if kind == "program":
            raise BadArguments(
                f"Can't run {self._orders['argv'][0]!r} in the sandbox: {rest.partition(' ')[2]}.",
                hint="Name a program that is installed for all users, or one in the workspace.",
            )
        if kind != "ended" and self._failure is None and not self._limit:
            said = rest or self._output.kept("stderr").decode("utf-8", "replace").strip()[-500:] or "it said nothing"
            raise SandboxUnavailable(f"The sandbox failed, and nothing was run in it: {said}.")
        if self._failure is not None:
            raise StorageError(
                f"Could not keep the output of {self._orders['argv'][0]!r}: {self._failure}."
            ) from self._failure
        code, _, limit = rest.partition(" ")
        ended = self._limit or cast(Limit, limit)
        return Completed(
            returncode=int(code) if code.lstrip("-").isdigit() else -9,
            stdout=self._output.kept("stdout"),
            stderr=self._output.kept("stderr"),
            timed_out=ended == "time",
            truncated=self._output.truncated,
            seconds=seconds,
            limit=ended,
        )


@cache
def parts() -> tuple[tuple[str, CodeType], ...]:
    """Name and code of each module of the launcher, in the order in which they need each other."""
    found: list[tuple[str, CodeType]] = []
    for name in (f"{__package__}.{part}" for part in _PARTS):
        spec = find_spec(name)
        loader = spec.loader if spec else None
        code = loader.get_code(name) if isinstance(loader, InspectLoader) else None
        if code is None:
            raise SandboxUnavailable(f"The module {name!r} of the sandbox has no code.", hint="Install llmos anew.")
        found.append((name, code))
    return tuple(found)


def holding(data: bytes) -> BinaryIO:
    """A nameless file with this content, to be read; where possible one in memory that can't be changed."""
    sealable = hasattr(os, "memfd_create")
    file: BinaryIO
    if sealable:
        file = os.fdopen(os.memfd_create("llmos", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "w+b")
    else:
        file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 (the caller closes it)
    file.write(data)
    file.seek(0)
    if sealable:
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, seals)
    return file


async def uninterrupted(work: Coroutine[Any, Any, None]) -> None:
    """Do something to its end, even if this task is cancelled meanwhile; the cancellation then goes on."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    task.result()
    if cancelled is not None:
        raise cancelled
