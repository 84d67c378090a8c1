"""How kernels on one data folder know of each other: each holds a lock while it lives and answers on a local socket.

A run belongs to the kernel that is named in the journal; whether that still lives is told by its lock, which the
system frees however it died. The socket (0600, in a folder 0700) takes one JSON line and answers with one, or with
many for `watch`. Knows the `System` only as the thing that is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import socket
import struct
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from llmos import wire
from llmos.errors import LlmosError, NoSuchProcess, RunError, StorageError
from llmos.events import CallEnded, CallStarted, Notice, ProcessChanged, Token
from llmos.kernel.entry import Entry
from llmos.kernel.system import System
from llmos.messages import new_id

_LONGEST_PATH = 100  # of a socket, in bytes; the system's bound is 104 to 108
_LONGEST_LINE = 1 << 20
_SECONDS = 5.0
_BACKLOG = 1000
_SIGNALS = ("stop", "continue", "interrupt", "kill")


class Presence:
    """This kernel's lock and socket in a data folder. Make one with `enter`, end it with `close`."""

    def __init__(self, folder: Path, owner: str) -> None:
        self.owner = owner
        self._lock_path, self._socket_path = _places(folder, owner)
        self._lock = -1
        self._server: asyncio.Server | None = None
        self._system: System | None = None
        self._watchers: set[asyncio.Task[None]] = set()

    @classmethod
    def enter(cls, folder: Path) -> Presence:
        """Take a name and its lock.

        Raises:
            StorageError: The folder can't be written.
        """
        presence = cls(folder, new_id())
        try:
            (folder / "kernels").mkdir(parents=True, exist_ok=True, mode=0o700)
            presence._lock = os.open(presence._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(presence._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StorageError(
                f"The kernel could not enter itself in {str(folder)!r}: {error.strerror or error}.",
                hint="Choose another folder (LLMOS_HOME), or free some disk space.",
            ) from error
        return presence

    async def serve(self, system: System) -> None:
        """Answer other terminals about a system.

        Raises:
            StorageError: The socket can't be made.
        """
        self._system = system
        try:
            self._server = await asyncio.start_unix_server(self._answer, self._socket_path, limit=_LONGEST_LINE)
            self._socket_path.chmod(0o600)
        except OSError as error:
            raise StorageError(f"The socket {str(self._socket_path)!r} could not be made: {error}.") from error

    async def close(self) -> None:
        """Stop answering, and free the name."""
        if self._server is not None:
            self._server.close()
        for watcher in list(self._watchers):
            watcher.cancel()
        for path in (self._socket_path, self._lock_path):
            path.unlink(missing_ok=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._watchers.add(task)
        try:
            if _peer(writer) not in (os.getuid(), -1):
                return
            line = await asyncio.wait_for(reader.readline(), _SECONDS)
            async for answer in self._answers(line):
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (OSError, TimeoutError, ValueError):
            return  # whoever asked is gone, or talks nonsense
        finally:
            self._watchers.discard(task)
            writer.close()

    async def _answers(self, line: bytes) -> AsyncGenerator[dict[str, Any]]:
        assert self._system is not None
        try:
            request = json.loads(line)
            match request:
                case {"do": "ps"}:
                    yield {"processes": [row(entry) for entry in self._system.entries()]}
                case {"do": "signal", "pid": str(pid), "signal": str(signal)} if signal in _SIGNALS:
                    send_signal(self._system, pid, signal)
                    yield {"ok": True}
                case {"do": "watch"}:
                    async for event in self._events():
                        yield event
                case _:
                    raise RunError(f"The kernel was asked for something it does not know: {line[:200]!r}.")
        except (LlmosError, ValueError) as error:
            hint = error.hint if isinstance(error, LlmosError) else ""
            yield {"error": str(getattr(error, "message", error)), "hint": hint}

    async def _events(self) -> AsyncGenerator[dict[str, Any]]:
        """Every event of the system, as `wire` writes it; a watcher that is too slow loses some."""
        assert self._system is not None
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_BACKLOG)

        def put(event: ProcessChanged | CallStarted | CallEnded | Token | Notice) -> None:
            with contextlib.suppress(asyncio.QueueFull):
                queue.put_nowait(json.loads(wire.encode(event)))

        end = self._system.listen(put)
        try:
            while True:
                yield await queue.get()
        finally:
            end()


def row(entry: Entry) -> dict[str, Any]:
    """A live process as `ps` shows it."""
    return {
        "pid": entry.pid,
        "parent": entry.parent.pid if entry.parent is not None else "",
        "agent": entry.agent,
        "state": entry.state,
        "priority": entry.priority,
        "level": entry.level,
        "label": entry.label,
        "doing": entry.doing,
        "used": {name: used for name, used in entry.meter.used.items() if used},
        "tokens": entry.tokens,
        "engine": entry.engine,
        "costs": entry.costs_of_all(),
    }


def send_signal(system: System, pid: str, signal: str) -> None:
    """Stop, continue, interrupt or kill a live process.

    Raises:
        NoSuchProcess: It has ended, or never was.
    """
    entry = system.find(pid)
    match signal:
        case "stop":
            system.stop(entry)
        case "continue":
            system.go_on(entry)
        case "interrupt":
            system.interrupt(entry)
        case _:
            system.kill(entry)


def is_alive(folder: Path, owner: str) -> bool:
    """Whether a kernel lives: whether somebody holds its lock."""
    try:
        handle = os.open(_places(folder, owner)[0], os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(handle)


def living(folder: Path) -> list[str]:
    """Kernels that live on a data folder; what dead ones left is removed."""
    found: list[str] = []
    for path in sorted((folder / "kernels").glob("*.lock")):
        if is_alive(folder, path.stem):
            found.append(path.stem)
        else:
            for left in _places(folder, path.stem):
                left.unlink(missing_ok=True)
    return found


async def request(folder: Path, owner: str, question: dict[str, Any]) -> dict[str, Any]:
    """Ask another kernel one thing.

    Raises:
        NoSuchProcess: It is gone, or does not answer.
        RunError: What it says is an error.
    """
    async with contextlib.aclosing(watch(folder, owner, question, seconds=_SECONDS)) as answers:
        async for answer in answers:
            if "error" in answer:
                raise RunError(answer["error"], hint=answer.get("hint", ""))
            return answer
    raise NoSuchProcess(f"The kernel {owner!r} does not answer.", hint="It may have ended just now.")


async def watch(
    folder: Path, owner: str, question: dict[str, Any], *, seconds: float | None = None
) -> AsyncGenerator[dict[str, Any]]:
    """Everything another kernel answers to a question, until it or the caller ends.

    Args:
        seconds: How long each answer may take; None for any time.
    """
    try:
        reader, writer = await asyncio.wait_for(
            asyncio.open_unix_connection(_places(folder, owner)[1], limit=_LONGEST_LINE), _SECONDS
        )
    except (OSError, TimeoutError):
        return
    try:
        writer.write(json.dumps(question).encode() + b"\n")
        await writer.drain()
        while line := await asyncio.wait_for(reader.readline(), seconds):
            yield json.loads(line)
    except (OSError, TimeoutError, ValueError):
        return
    finally:
        writer.close()


def _places(folder: Path, owner: str) -> tuple[Path, Path]:
    """A kernel's lock and socket. A folder whose path is too long for a socket has it under the temporary one."""
    lock = folder / "kernels" / f"{owner}.lock"
    path = folder / "kernels" / f"{owner}.sock"
    if len(os.fsencode(path)) > _LONGEST_PATH:
        short = Path(tempfile.gettempdir()) / f"llmos-{os.getuid()}"
        short.mkdir(exist_ok=True, mode=0o700)
        if short.stat().st_uid != os.getuid():
            raise StorageError(f"{str(short)!r} belongs to somebody else.", hint="Choose another TMPDIR.")
        path = short / f"{owner}.sock"
    return lock, path


def _peer(writer: asyncio.StreamWriter) -> int:
    """The user id at the other end; -1 where the system does not tell."""
    connection = writer.get_extra_info("socket")
    if connection is None or not hasattr(socket, "SO_PEERCRED"):
        return -1
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", data)[1])
