"""The process between llmos and a server: starts it, and ends it and all that it started when llmos is gone.

Run as `python -I -S keeper.py LIFELINE COMMAND…`. LIFELINE is an open file: its end means that llmos closed it or was
killed; `AT_ONCE` in it asks for an end without grace. stdin, stdout and stderr become the server's. Needs the standard
library only, to start quickly.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from contextlib import suppress

GRACE = 1.5
"""Seconds that a server has to end after its input was closed, and again after SIGTERM."""

TICK = 0.2
"""So often, in seconds, it is looked whether the server has ended, where the system can't tell."""

AT_ONCE = b"!"
NOT_STARTED = 127
_SUBREAPER, _DEATHSIG = 36, 1


def main() -> int:
    """Keep a server; the exit code is its own, or 128 and more for a signal."""
    lifeline, command = int(sys.argv[1]), sys.argv[2:]
    os.set_inheritable(lifeline, False)
    _prctl(_SUBREAPER)
    child = os.fork()
    if child == 0:
        _become(command)
    nothing = os.open(os.devnull, os.O_RDWR)
    for file in (0, 1):  # else nobody would see that the server has closed them
        os.dup2(nothing, file)
    watch = _Watch(child, lifeline)
    code = watch.until_over()
    if code is None and os.read(lifeline, 1) != AT_ONCE:
        code = watch.wait(GRACE)
        for number in (signal.SIGTERM, signal.SIGKILL):
            if code is None:
                _send(-child, number)
                code = watch.wait(GRACE)
    _end_rest(child)
    return NOT_STARTED if code is None else code


def _become(command: list[str]) -> None:
    """In the child: turn into the server. Never returns."""
    try:
        os.setsid()
        _prctl(_DEATHSIG, signal.SIGKILL)  # if the keeper itself is killed
        for number in (signal.SIGINT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]!r} can't be started: {error.strerror}\n".encode())
    finally:
        os._exit(NOT_STARTED)


class _Watch:
    """The server's end, or llmos's, whichever comes first."""

    def __init__(self, child: int, lifeline: int) -> None:
        self._child, self._lifeline = child, lifeline
        self._code: int | None = None
        self._poll = select.poll()
        self._poll.register(lifeline, select.POLLIN)
        self._tick = TICK
        if hasattr(os, "pidfd_open"):
            try:
                self._poll.register(os.pidfd_open(child), select.POLLIN)
                self._tick = 3600.0
            except OSError:  # a kernel or a container without it
                pass

    def until_over(self) -> int | None:
        """The server's exit code; None if llmos is gone and the server is not."""
        while self._ended() is None:
            ready = self._poll.poll(self._tick * 1000)
            if any(file == self._lifeline for file, _ in ready):
                self._poll.unregister(self._lifeline)
                return self._ended()
        return self._code

    def wait(self, seconds: float) -> int | None:
        """The server's exit code; None if it is still there after so many seconds."""
        end = time.monotonic() + seconds
        while self._ended() is None and time.monotonic() < end:
            self._poll.poll(min(self._tick, TICK, max(end - time.monotonic(), 0.001)) * 1000)
        return self._code

    def _ended(self) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self._child, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                self._code = 128 - code if code < 0 else code
        return self._code


def _end_rest(child: int) -> None:
    """Kill what the server has left: its process group, and what came back to this process as an orphan."""
    _send(-child, signal.SIGKILL)
    for _ in range(1000):
        orphans = _orphans()
        for pid in orphans:
            _send(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.002)


def _orphans() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []


def _send(target: int, number: int) -> None:
    """Signal a process, or the group of one where it is negative; nothing if it is gone."""
    with suppress(OSError):
        os.kill(target, number)


def _prctl(option: int, value: int = 1) -> None:
    """Linux's `prctl`; nothing elsewhere."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    # without the interpreter's clean-up: nothing is left to clean
    os._exit(main())
