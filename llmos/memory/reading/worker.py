"""A process that reads documents for another one: a file that makes a reader hang, crash or swell harms nobody else.

`python -m llmos.memory.reading.worker`. Takes lines of JSON (`Job`) and answers each with lines of JSON: `Pages` while
it reads a long document, then a `Reading` or what went wrong. Ends when its input ends. Knows no store.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from llmos.errors import LlmosError
from llmos.memory.reading.chunks import reading_of
from llmos.memory.reading.content import Content, load
from llmos.memory.reading.document import Reading
from llmos.memory.reading.reader import read, read_content
from llmos.wire import Codec, ErrorData

MAX_MEMORY = 4 * 1024**3
"""Bytes of address space."""

_BETWEEN = 0.2  # seconds between two reports


@dataclass(frozen=True, slots=True)
class Job:
    """A file to read.

    Attributes:
        path: Its bytes, one character each: names of files need not be text.
        max_bytes: Larger ones are refused.
        name: Of a page whose content the file holds; empty for a file of its own.
        kind, charset, url: As its server says.
    """

    path: str
    max_bytes: int
    name: str = ""
    kind: str = ""
    charset: str = ""
    url: str = ""


def job_of(path: Path, max_bytes: int) -> Job:
    """That a file is to be read."""
    return Job(os.fsencode(path).decode("latin-1"), max_bytes)


@dataclass(frozen=True, slots=True)
class Pages:
    """How many pages are read, of how many."""

    read: int
    of: int


Line = Job | Pages | Reading | ErrorData
LINES = Codec[Line](Job, Pages, Reading, ErrorData)


def main() -> None:
    """Answer jobs until there are no more."""
    answers = os.fdopen(os.dup(1), "wb")
    # what libraries print must not get among the answers
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    _limit()
    for line in sys.stdin.buffer:
        job = LINES.decode(line)
        if isinstance(job, Job):
            _send(answers, _answer(job, answers))


def _answer(job: Job, answers: BinaryIO) -> Reading | ErrorData:
    last = time.monotonic()

    def progress(done: int, of: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _BETWEEN:
            last = time.monotonic()
            _send(answers, Pages(done, of))

    path = Path(os.fsdecode(job.path.encode("latin-1")))
    try:
        if not job.name:
            return reading_of(read(path, max_bytes=job.max_bytes, progress=progress))
        content = Content(job.name, load(path, max_bytes=job.max_bytes).data)
        page = read_content(content, kind=job.kind, declared=job.charset, url=job.url, progress=progress)
        return reading_of(page)
    except LlmosError as error:
        return ErrorData.of(error)
    except MemoryError:
        message = f"{path.name!r} needs more than {MAX_MEMORY // 1024**3} GiB of memory to be read."
        return ErrorData("StorageError", message, "Divide it.")
    except Exception as error:  # whatever a reader of others does with a hostile file, the next file is to be read
        said = str(error).strip().split("\n", 1)[0][:200]
        return ErrorData("StorageError", f"{path.name!r} can't be read: {type(error).__name__}: {said}.")


def _send(answers: BinaryIO, line: Line) -> None:
    answers.write(LINES.encode(line))
    answers.flush()


def _limit() -> None:
    if sys.platform != "win32":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = MAX_MEMORY if hard == resource.RLIM_INFINITY else min(MAX_MEMORY, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


if __name__ == "__main__":
    main()
