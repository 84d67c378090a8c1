"""The process between llmos and a confined program: starts it, watches its limits, and ends all that it started.

Runs in a Python of its own without site packages (`python -I -S`), since what it does to its child must not be done
between fork and exec of a process with threads. Imports little, to start quickly. Knows no mechanism by name: its
orders say what to apply. Whatever happens, it leaves no process behind.
"""

from __future__ import annotations

import _socket
import os
import select
import struct
import time

from llmos.tools.sandbox.broker import Broker
from llmos.tools.sandbox.confine import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE,
    SCM_RIGHTS,
    SOL_SOCKET,
    confine,
    execute,
    prctl,
    share_processors,
)
from llmos.tools.sandbox.folder import remove
from llmos.tools.sandbox.tree import Tree, entry, exceeds, newest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmos.tools.sandbox.orders import Limit, Orders

TICK = 0.02
"""So often, in seconds, disks, processes and memory are looked at."""
WITHOUT_PIDFD = 0.005
LAST_RESORT = 10.0
SIGKILL, SIGXCPU, SIGXFSZ = 9, 24, 25
PAUSE, MANY = 0.002, 20


def main(orders: Orders) -> None:
    """Carry out orders and write one line to the status file: `ended CODE LIMIT`, `program ERRNO TEXT` (it could not be
    started) or `setup TEXT` (it could not be confined)."""
    for file in (orders["control"], orders["status"]):
        os.set_inheritable(file, False)
    try:
        line = Launcher(orders).run()
    except OSError as error:
        line = f"setup {error}"
    try:
        os.write(orders["status"], line.encode("utf-8", "replace"))
    finally:
        # without the interpreter's clean-up, which takes milliseconds
        os._exit(0)


class Launcher:
    """One program and all that it starts."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._tree = Tree(orders["alone"])
        self._broker: Broker | None = None
        self._child = 0
        self._code: int | None = None
        self._limit: Limit = ""
        self._parent = os.getppid()
        self._newest = b""
        self._members: dict[int, tuple[int, int, int, int]] = {}
        self._free = [free_bytes(folder) for folder in orders["disks"]]

    def run(self) -> str:
        """Start the program, wait for its end, end the rest; the line for the status file."""
        if self._orders["alone"]:
            # its memory is closed to the program, which has the same user
            prctl(PR_SET_DUMPABLE, 0)
        elif self._orders["linux"]:
            # daemons come back to this process when their parents end
            prctl(PR_SET_CHILD_SUBREAPER, 1)
        ours, theirs = _socket.socketpair()
        self._child = os.fork()
        if self._child == 0:
            become(self._orders, theirs)
        theirs.close()
        deadline = time.monotonic() + self._orders["seconds"]
        try:
            refusal = self._greet(ours)
            if not refusal:
                self._watch(deadline)
        finally:
            self._end()
            if self._orders["temporary"]:
                remove(self._orders["temporary"])
        return refusal or f"ended {self._code} {self._verdict()}"

    def _greet(self, channel: _socket.socket) -> str:
        """Take the listener from the child, and wait until it has become the program; else why it could not."""
        kind, ancillary, _, _ = channel.recvmsg(1, 64)
        for level, sort, data in ancillary:
            if (level, sort) == (SOL_SOCKET, SCM_RIGHTS):
                self._broker = Broker(struct.unpack("i", data[:4])[0], self._tree, self._orders)
        text = b""
        while data := channel.recv(4096):
            text += data
        if kind == b"R":
            return f"program {text.decode()}" if text else ""
        return f"setup {text.decode() or 'the process died before it was confined'}"

    def _watch(self, deadline: float) -> None:
        """Until the program ends, or a limit is reached, or nobody wants it any longer."""
        poll = select.poll()
        poll.register(self._orders["control"], select.POLLIN)
        if self._broker:
            poll.register(self._broker.listener, select.POLLIN)
        tick = TICK if hasattr(os, "pidfd_open") else WITHOUT_PIDFD
        if tick == TICK:
            poll.register(os.pidfd_open(self._child), select.POLLIN)
        look = time.monotonic() + tick
        while self._code is None and not self._limit:
            now = time.monotonic()
            for file, event in poll.poll(max(0, min(look, deadline) - now) * 1000 + 1):
                if file == self._orders["control"]:
                    return
                if self._broker and file == self._broker.listener:
                    if event & select.POLLIN:
                        self._broker.answer()
                    else:  # nobody is left who could ask
                        poll.unregister(file)
            self._reap()
            if (now := time.monotonic()) >= deadline and self._code is None:
                self._limit = "time"
            if now >= look and self._code is None:
                self._look()
                # where looking takes long (thousands of processes), look less often
                look = time.monotonic() + max(tick, 10 * (time.monotonic() - now))
            if os.getppid() != self._parent:
                return

    def _look(self) -> None:
        """At disks, processes and memory."""
        for folder, before in zip(self._orders["disks"], self._free, strict=True):
            free = free_bytes(folder)
            if free < self._orders["reserve"] and free < before - (64 << 20):
                self._limit = "output"
        if not self._orders["linux"]:
            return
        if not self._newest:
            share_processors(keep=True)
        if (started := newest()) != self._newest:
            self._newest = started
            self._members = self._tree.members()
        else:
            self._members = {pid: known for pid in self._members if (known := entry(pid))}
        threads = sum(known[2] for known in self._members.values())
        if len(self._members) > self._orders["processes"] or threads > self._orders["threads"]:
            self._limit = "processes"
        elif exceeds(self._members, self._orders["memory"]):
            self._limit = "memory"

    def _reap(self) -> bool:
        """Collect processes that ended; False once none is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._child:
                self._code = os.waitstatus_to_exitcode(status)

    def _end(self) -> None:
        """End every process. Groups are killed as a whole, which leaves none of them a moment to start another."""
        if self._broker:
            os.close(self._broker.listener)
        give_up = time.monotonic() + LAST_RESORT
        while self._reap() and time.monotonic() < give_up:
            if self._orders["alone"]:
                kill(-1)
            elif self._orders["linux"]:
                members = self._tree.members()
                for group in {known[1] for known in members.values()} - {0, 1, os.getpgrp()}:
                    kill(-group)
                for pid in members:
                    kill(pid)
                if len(members) > MANY:
                    continue
            else:
                kill(-self._child)
                kill(self._child)
            time.sleep(PAUSE)

    def _verdict(self) -> Limit:
        """What ended the program."""
        code = self._code or 0
        if self._limit or code == 0:
            return self._limit
        if code == -SIGXCPU:
            return "time"
        if code == -SIGXFSZ:
            return "output"
        return "signal" if code < 0 else ""


def become(orders: Orders, channel: _socket.socket) -> None:
    """In the child: become the program, or say why not, and end."""
    try:
        confine(orders, channel)
    except OSError as error:
        channel.sendall(f"S{error}".encode())
        os._exit(127)
    try:
        execute(orders["argv"], orders["env"])
    except OSError as error:
        channel.sendall(f"{error.errno} {error.strerror}".encode())
    os._exit(127)


def kill(pid: int) -> None:
    """Kill a process if it is there; a negative number means a group, -1 all."""
    try:
        os.kill(pid, SIGKILL)
    except OSError:
        return


def free_bytes(folder: str) -> int:
    """What may still be written to the file system of a folder."""
    try:
        known = os.statvfs(folder)
    except OSError:
        return 0
    return known.f_bavail * known.f_frsize
