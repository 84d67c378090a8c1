"""What a browser run leaves behind: a list of steps with pictures, and a report that a person can scroll through.

A folder of its own for each run: `steps.jsonl`, a line per step as soon as it is over, so that a killed run keeps
them; `NNN.png` (or `.jpg`), the page after each step; `trace.zip`, Playwright's trace, where one was made;
`report.html`, which needs no other file. What is written here has been masked already: this module knows no secrets
and no browser.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmos.config import write_atomically
from llmos.errors import StorageError
from llmos.tools.output import visible

if TYPE_CHECKING:
    from jinja2 import Template

STEPS = "steps.jsonl"
REPORT = "report.html"
TRACE = "trace.zip"
MAX_PICTURE = 4_000_000
"""A larger picture, in bytes, is not put into the report."""

MAX_TEXT = 2_000
"""A longer text of a step, in characters, is cut."""

_KINDS: Mapping[str, str] = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One action, and what came of it.

    Attributes:
        number: From 1.
        tool: What was called: `browser_click`.
        title: What was done, for people: `click button “Buy”`.
        url: The page's address after it.
        page: The page's title after it.
        changes: What it changed, in sentences.
        notices: What happened besides: a dialog, a download, a blocked address.
        problem: Why it was not done; empty if it was.
        picture: The file with the page after it, in the same folder; empty for none.
        seconds: How long it took.
        at: When it was over, in seconds since the epoch.
    """

    number: int
    tool: str
    title: str
    url: str = ""
    page: str = ""
    changes: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    problem: str = ""
    picture: str = ""
    seconds: float = 0.0
    at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a person was asked before something was done.

    Attributes:
        shown: What they saw.
        reply: `once`, `run`, `always`, `no`; `nobody` where nobody was there.
        reason: Why they were asked.
    """

    shown: str
    reply: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What the report says besides the steps.

    Attributes:
        task: What was asked for.
        outcome: What became of it: `done`, `unverified`, `failed`.
        answer: What the run came to, in words.
        fields: What was taken from pages, with where it stood: name, value, place.
        questions: What a person was asked.
        run: The run's id.
    """

    task: str
    outcome: str = ""
    answer: str = ""
    fields: Sequence[tuple[str, str, str]] = ()
    questions: Sequence[Question] = ()
    run: str = ""


class Evidence:
    """Keeps the steps of one run in a folder, which is made with the first of them.

    A folder that has steps already is gone on with: a run that is resumed keeps those of its earlier life.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._next = max((one.number for one in steps_in(folder)), default=0) + 1

    def picture(self, *, ending: str = "png") -> Path:
        """The file into which the page belongs as it is after the next step.

        Raises:
            StorageError: The folder can't be made.
        """
        self._make()
        return self.folder / f"{self._next:03d}.{ending}"

    def trace(self) -> Path:
        """The file into which Playwright's trace belongs.

        Raises:
            StorageError: The folder can't be made.
        """
        self._make()
        return self.folder / TRACE

    def add(
        self,
        *,
        tool: str,
        title: str,
        url: str = "",
        page: str = "",
        changes: Sequence[str] = (),
        notices: Sequence[str] = (),
        problem: str = "",
        picture: Path | None = None,
        seconds: float = 0.0,
    ) -> Step:
        """Keep a step. A picture that is not there is left out.

        Args:
            picture: As `picture` gave it.

        Raises:
            StorageError: It can't be written.
        """
        self._make()
        step = Step(
            number=self._next,
            tool=tool,
            title=_short(title),
            url=_short(url),
            page=_short(page),
            changes=tuple(_short(one) for one in changes),
            notices=tuple(_short(one) for one in notices),
            problem=_short(problem),
            picture=picture.name if picture is not None and picture.is_file() else "",
            seconds=round(seconds, 3),
            at=round(time.time(), 3),
        )
        try:
            with (self.folder / STEPS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(step), ensure_ascii=False) + "\n")
        except OSError as error:
            raise StorageError(
                f"The step could not be kept in {str(self.folder)!r}: {error.strerror or error}.",
                hint="Free some disk space.",
            ) from error
        self._next += 1
        return step

    def _make(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StorageError(
                f"The folder {str(self.folder)!r} could not be made: {error.strerror or error}.",
                hint="Free some disk space, or see that it may be written.",
            ) from error


def steps_in(folder: Path) -> list[Step]:
    """The steps that a folder holds, in their order; a line that was cut by a crash is left out.

    Raises:
        StorageError: They can't be read.
    """
    try:
        lines = (folder / STEPS).read_text(encoding="utf-8", errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StorageError(f"The steps in {str(folder)!r} can't be read: {error.strerror or error}.") from error
    found: list[Step] = []
    for line in lines:
        try:
            data: dict[str, Any] = json.loads(line)
            data["changes"], data["notices"] = tuple(data["changes"]), tuple(data["notices"])
            found.append(Step(**data))
        except (ValueError, TypeError, KeyError):
            continue
    return found


def write_report(folder: Path, account: Account) -> Path:
    """Write the report of a folder's steps; it holds the pictures itself.

    Returns:
        The file.

    Raises:
        StorageError: It can't be written.
    """
    steps = steps_in(folder)
    pictures = {one.number: _embedded(folder / one.picture) for one in steps if one.picture}
    text = _template().render(
        account=account,
        steps=steps,
        pictures={number: data for number, data in pictures.items() if data},
        trace=TRACE if (folder / TRACE).is_file() else "",
        seconds=sum(one.seconds for one in steps),
    )
    file = folder / REPORT
    write_atomically(file, text)
    return file


def _embedded(file: Path) -> str:
    """A picture as a `data:` address; empty if it is none, or too large."""
    kind = _KINDS.get(file.suffix.lower())
    try:
        if kind is None or file.stat().st_size > MAX_PICTURE:
            return ""
        return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"
    except OSError:
        return ""


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["clock"] = _clock
    environment.filters["visible"] = visible
    return environment.from_string(Path(__file__).with_name("report.html").read_text(encoding="utf-8"))


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S")


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
