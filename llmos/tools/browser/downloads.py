"""Downloads of one session: into a quarantine folder, with bounds on size and number, under names that are safe.

Nothing that was downloaded is opened or run. Chromium itself reports how far each is (DevTools protocol, domain
`Browser`), so that one that grows too large is stopped on its way; it reports every half second, and a download whose
server does not say its size can be over the bound by what comes in that time, until it is removed.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from llmos.errors import StorageError

_LONGEST_NAME = 120
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\u202a-\u202e\u2066-\u2069]+')
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
_STOP_SECONDS = 2.0


class DevTools(Protocol):
    """A DevTools session, as Playwright has it."""

    async def send(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Carry out a command."""
        ...

    def on(self, event: str, f: Callable[[dict[str, Any]], None]) -> None:
        """Hear of an event."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A file that was downloaded.

    Attributes:
        name: Of the file, safe.
        path: Where it is.
        url: Where it comes from.
        size: In bytes.
    """

    name: str
    path: Path
    url: str
    size: int


@dataclass(slots=True)
class _Running:
    url: str
    name: str
    why_stopped: str = ""


class Downloads:
    """Watches the downloads of one browser context.

    Args:
        folder: The quarantine; made if it is missing.
        limit: Bytes of one file.
        most: How many files.
        tell: Is given what happened, in sentences.
    """

    def __init__(self, folder: Path, *, limit: int, most: int, tell: Callable[[str], None]) -> None:
        self._folder = folder
        self._limit = limit
        self._most = most
        self._tell = tell
        self._incoming = folder / f".incoming-{secrets.token_hex(6)}"
        self._running: dict[str, _Running] = {}
        self._finished: list[Download] = []
        self._begun = 0
        self._none = asyncio.Event()
        self._none.set()
        self._stopping: set[asyncio.Task[None]] = set()

    @property
    def finished(self) -> tuple[Download, ...]:
        """Those that are complete, oldest first."""
        return tuple(self._finished)

    @property
    def begun(self) -> int:
        """How many have been started."""
        return self._begun

    async def watch(self, protocol: DevTools, context: str) -> None:
        """Take the downloads of a context.

        Args:
            protocol: A DevTools session with the browser. Only of what it asked for is it told.
            context: Chromium's id of the context.

        Raises:
            StorageError: The folder can't be made.
        """
        try:
            self._incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"Downloads can't be kept in {str(self._folder)!r}: {error.strerror or error}."
            ) from error

        def progress(event: dict[str, Any]) -> None:
            if self._progressed(event):
                task = asyncio.ensure_future(_stop(protocol, context, str(event["guid"])))
                self._stopping.add(task)
                task.add_done_callback(self._stopping.discard)

        for guid in list(self._running):  # of a browser that crashed
            self._end(guid, f"The download of {self._running[guid].name!r} was lost with the browser.")
        protocol.on("Browser.downloadWillBegin", self._began)
        protocol.on("Browser.downloadProgress", progress)
        await protocol.send(
            "Browser.setDownloadBehavior",
            {
                "behavior": "allowAndName",
                "browserContextId": context,
                "downloadPath": str(self._incoming.absolute()),
                "eventsEnabled": True,
            },
        )

    async def settled(self, seconds: float) -> bool:
        """Wait until none is running, at most so long; whether that is so."""
        try:
            async with asyncio.timeout(seconds):
                await self._none.wait()
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Remove what is incomplete."""
        shutil.rmtree(self._incoming, ignore_errors=True)

    def _began(self, event: dict[str, Any]) -> None:
        self._begun += 1
        running = _Running(str(event["url"]), safe_name(str(event["suggestedFilename"])))
        if self._begun > self._most:
            running.why_stopped = f"a session may download {self._most}"
        self._running[str(event["guid"])] = running
        self._none.clear()

    def _progressed(self, event: dict[str, Any]) -> bool:
        """Note how far one is; whether it must be stopped now."""
        guid, state = str(event["guid"]), event["state"]
        running = self._running.get(guid)
        if running is None:
            return False
        if state == "completed":
            self._complete(guid, running)
        elif state == "canceled":
            why = running.why_stopped or "the server or the page broke it off"
            self._end(guid, f"The download of {running.name!r} was stopped: {why}.")
        elif max(cast("float", event["totalBytes"]), cast("float", event["receivedBytes"])) > self._limit:
            running.why_stopped = f"it is larger than {self._limit:,} bytes"
            return True
        return bool(running.why_stopped) and state == "inProgress"

    def _complete(self, guid: str, running: _Running) -> None:
        file = self._incoming / guid
        try:
            size = file.stat().st_size
            if running.why_stopped or size > self._limit:
                file.unlink()
                why = running.why_stopped or f"it is larger than {self._limit:,} bytes"
                self._end(guid, f"The download of {running.name!r} was removed: {why}.")
                return
            file.chmod(0o600)
            place = _claim(self._folder, running.name)
            os.replace(file, place)
        except OSError as error:
            self._end(guid, f"The download of {running.name!r} could not be kept: {error.strerror or error}.")
            return
        self._finished.append(Download(name=place.name, path=place, url=running.url, size=size))
        self._end(guid, f"Downloaded {place.name!r} ({size:,} bytes) to {str(place)!r}.")

    def _end(self, guid: str, sentence: str) -> None:
        del self._running[guid]
        self._tell(sentence)
        if not self._running:
            self._none.set()


def safe_name(suggested: str) -> str:
    """A name for a file in a folder that no server can lead out of it, hide, or pass off as another.

    Args:
        suggested: What the server says.
    """
    last = re.split(r"[/\\]", suggested)[-1]
    name = _UNSAFE.sub("_", last).strip(" .")
    stem, dot, suffix = name.rpartition(".")
    if dot and len(suffix) <= 16:
        name = f"{stem[: _LONGEST_NAME - len(suffix) - 1].rstrip(' .')}.{suffix}".lstrip(".")
    else:
        name = name[:_LONGEST_NAME].rstrip(" .")
    if not name or _RESERVED.fullmatch(name):
        name = f"download_{name}".rstrip("_")
    return name


def _claim(folder: Path, name: str) -> Path:
    """A path that was free, and is now an empty file."""
    stem, dot, suffix = name.rpartition(".")
    if not dot:
        stem, suffix = name, ""
    for number in range(1, 10_000):
        place = folder / (name if number == 1 else f"{stem} ({number}){dot}{suffix}")
        try:
            os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            continue
        return place
    raise FileExistsError(f"{name!r} is there too often")


async def _stop(protocol: DevTools, context: str, guid: str) -> None:
    from playwright.async_api import Error

    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await protocol.send("Browser.cancelDownload", {"guid": guid, "browserContextId": context})
    except (Error, TimeoutError):
        pass  # it was complete, and is removed then, or the browser is gone
