"""Reads many files at once in processes of their own, and ends those that hang.

Knows what a file becomes, not where it goes.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llmos.errors import EngineError, LlmosError, StorageError
from llmos.memory.reading.content import MAX_BYTES, Content
from llmos.memory.reading.document import Reading
from llmos.memory.reading.worker import LINES, Job, Pages, job_of
from llmos.wire import ErrorData

SECONDS = 120.0
"""A reader that shows no sign of progress for so long is ended."""

SECONDS_IN_ALL = 1800.0
"""No file is read for longer."""

_WAITING = 2  # files read ahead for each process
_POLL = 0.2


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file."""

    path: Path
    result: Reading | LlmosError


@dataclass(frozen=True, slots=True)
class Page:
    """Where the reader of a long document is."""

    path: Path
    read: int
    of: int


def read_all(
    paths: Sequence[Path],
    *,
    jobs: int,
    max_bytes: int = MAX_BYTES,
    seconds: float = SECONDS,
) -> Generator[Outcome | Page]:
    """Read files in other processes, a few ahead of whoever takes the outcomes. Their order is that of completion.

    Args:
        jobs: How many processes.
        max_bytes: Larger files are refused.
        seconds: A file is given up after so long without progress.
    """
    found: queue.Queue[Outcome | Page | None] = queue.Queue(maxsize=_WAITING * jobs)
    todo, taking = iter(paths), threading.Lock()
    stop = threading.Event()

    def put(event: Outcome | Page | None) -> None:
        while not stop.is_set():
            try:
                found.put(event, timeout=_POLL)
                return
            except queue.Full:
                continue

    def told(path: Path) -> Callable[[int, int], None]:
        return lambda read, of: put(Page(path, read, of))

    def work() -> None:
        reader = _Reader(seconds, stop)
        try:
            while not stop.is_set():
                with taking:
                    path = next(todo, None)
                if path is None:
                    return
                put(Outcome(path, reader.read(job_of(path, max_bytes), path.name, told(path))))
        finally:
            reader.close()
            put(None)

    threads = [threading.Thread(target=work, name=f"read {n}", daemon=True) for n in range(min(jobs, len(paths)))]
    for thread in threads:
        thread.start()
    try:
        running = len(threads)
        while running:
            event = found.get()
            if event is None:
                running -= 1
            else:
                yield event
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def read_page(content: Content, *, kind: str, charset: str, url: str, seconds: float = SECONDS) -> Reading:
    """Read what a server gave, in a process of its own.

    Args:
        kind, charset, url: As the server says.
        seconds: It is given up after so long without progress.

    Raises:
        StorageError: It can't be read.
    """
    reader = _Reader(seconds, threading.Event())
    try:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content.data)
            file.flush()
            path = job_of(Path(file.name), len(content.data))
            job = replace(path, name=content.name, kind=kind, charset=charset, url=url)
            result = reader.read(job, content.name, lambda read, of: None)
    except OSError as error:
        raise StorageError(f"{content.name!r} can't be kept while it is read: {error.strerror or error}.") from error
    finally:
        reader.close()
    if isinstance(result, LlmosError):
        raise result
    return result


class _Reader:
    """One process that reads, started when it is needed and again when it had to be ended."""

    def __init__(self, seconds: float, stop: threading.Event) -> None:
        self._seconds = seconds
        self._stop = stop
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, job: Job, name: str, progress: Callable[[int, int], None]) -> Reading | LlmosError:
        """A file in passages, or why it can't be read."""
        try:
            process = self._running()
        except OSError as error:
            return StorageError(f"No process to read {name!r} could be started: {error}.")
        watch = _Watch(process, self._seconds, self._stop)
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(LINES.encode(job))
            process.stdin.flush()
            while line := process.stdout.readline():
                answer = LINES.decode(line)
                if isinstance(answer, Pages):
                    watch.progress()
                    progress(answer.read, answer.of)
                elif isinstance(answer, ErrorData):
                    return answer.error()
                elif isinstance(answer, Reading):
                    return answer
        except (OSError, EngineError):
            pass  # it died, or was killed while it wrote
        finally:
            watch.end()
        self.close()
        if watch.late:
            return StorageError(f"{name!r} could not be read within {watch.waited:.0f} s.", hint="Divide it.")
        return StorageError(f"The process that read {name!r} died: the file may be made to break programs.")

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "llmos.memory.reading.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                start_new_session=True,  # Ctrl-C is for whoever waits, who ends this one
            )
        return self._process


def _environment() -> dict[str, str]:
    """Lets a reader find this very llmos, also where it is not installed, without looking into the current folder."""
    root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join(part for part in (os.environ.get("PYTHONPATH", ""), root) if part)
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}


class _Watch:
    """Kills a process that shows no progress, or whose work nobody wants any more."""

    def __init__(self, process: subprocess.Popen[bytes], seconds: float, stop: threading.Event) -> None:
        self.late = False
        self.waited = 0.0
        self._process = process
        self._seconds = seconds
        self._stop = stop
        self._begun = self._seen = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch reader", daemon=True)
        self._thread.start()

    def progress(self) -> None:
        """There was a sign of it."""
        self._seen = time.monotonic()

    def end(self) -> None:
        """The file is read."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_POLL):
            now = time.monotonic()
            self.late = now - self._seen > self._seconds or now - self._begun > SECONDS_IN_ALL
            if self.late or self._stop.is_set():
                self.waited = now - self._begun
                self._process.kill()
                return
