"""Everyday requests, typed into a chat and judged by what came of them: `python -m bench.everyday`.

Ten kinds of request with five paraphrases each (`everyday.toml`), on an engine that is loaded, each with its own data
folder and workspace. What counts is what happened: the answer, the calls, the files afterwards, the button that the
page's server saw clicked. Without a Chromium the requests about pages fail, as they do for a user. Knows nothing of how
the agent works.
"""

from __future__ import annotations

import asyncio
import fnmatch
import json
import re
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter

from bench.browser_rig import serving
from bench.chat_rig import Call, How, Reply, chat, command_line, home, opened, outright, plain, says
from bench.report import Row
from llmos.kernel.protocols import Engine

REQUESTS = Path(__file__).with_name("everyday.toml")
PAGES = Path(__file__).with_name("everyday_pages")
ENOUGH = 8
"""So many of the requests that people are told to try should be done."""
SHARE = 0.75
"""And this share of their paraphrases."""
PATIENCE = 20.0
"""Seconds that a request may take on two cores."""

_ABSENT = (
    "not in your documents|not in the documents|not found|nothing about|nothing on|does not say|do not say|don't say"
    "|doesn't say|no mention|not mention|doesn't mention|couldn't find|could not find|did not find|didn't find"
    "|can't find|cannot find|is not there|no passage"
)
_DECLINED = (
    "can't|cannot|can not|not able|unable|don't have|do not have|have no|no tool|not sure|won't be able|not possible"
    "|only a program|no way to|did not do it|did nothing|nothing that can"
)
_READING = "calculator|datetime|date_add|date_between|list_files|read_file|search_files|web_search|calendar_search"
_CLOCKS = (("%H:%M", ""), ("%I:%M", ""), ("%I:%M", "0"))
_KEPT = {"absent": _ABSENT, "declined": _DECLINED, "reading": _READING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request and what must come of it; see `everyday.toml`."""

    kind: str
    chats: tuple[tuple[str, ...], ...]
    answer: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    most: int = 0
    uses: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    lines: tuple[int, int] | None = None
    order: tuple[str, ...] = ()
    clicked: tuple[str, ...] = ()
    writes: str = ""

    @property
    def words(self) -> str:
        """What is asked in the end."""
        return self.chats[-1][-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a request.

    Attributes:
        wrong: What is not as it should be, in words; empty where all is.
        seconds: The slowest of its messages; commands are not counted.
    """

    kind: str
    request: str
    paraphrase: bool
    answer: str
    calls: tuple[str, ...]
    wrong: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Sheet:
    """The requests, the files that each finds in its folder, and documents for the memory."""

    workspace: Mapping[str, str]
    documents: Mapping[str, str]
    requests: tuple[Request, ...]


def sheet() -> Sheet:
    """What `everyday.toml` says."""
    data = tomllib.loads(REQUESTS.read_text(encoding="utf-8"))
    return Sheet(
        {path: text.lstrip("\n") for path, text in data["workspace"].items()},
        {path: text.lstrip("\n") for path, text in data["documents"].items()},
        TypeAdapter(tuple[Request, ...]).validate_python(data["request"]),
    )


def rows(how: How) -> Iterator[Row]:
    """Do all requests, and count.

    Raises:
        Skipped: The adapter that was named can't be used.
        LlmosError: The model can't be opened.
    """
    outcomes, with_microcode = asyncio.run(_all(how))
    note = f"with {with_microcode}" if with_microcode else "without microcode"
    first = [one for one in outcomes if not one.paraphrase]
    others = [one for one in outcomes if one.paraphrase]
    for kind in dict.fromkeys(one.kind for one in outcomes):
        of_kind = [one for one in outcomes if one.kind == kind]
        yield Row(name=f"everyday, {kind}: right", value=_right(of_kind), unit=f"of {len(of_kind)}")
    yield Row(
        name="everyday requests right", value=_right(first), unit=f"of {len(first)}", goal=f"≥ {ENOUGH}", note=note
    )
    yield Row(
        name="their paraphrases right",
        value=_right(others),
        unit=f"of {len(others)}",
        goal=f"≥ {SHARE * len(others):g}",
        note=note,
    )
    slowest = max(outcomes, key=lambda one: one.seconds)
    yield Row(
        name="slowest everyday request", value=slowest.seconds, unit="s", goal=f"≤ {PATIENCE:g}", note=slowest.request
    )
    failed = [asdict(one) for one in outcomes if one.wrong]
    yield Row(
        name="everyday requests not right", value=len(failed), unit="", note=json.dumps(failed, ensure_ascii=False)
    )


def _right(outcomes: Sequence[Outcome]) -> int:
    return sum(not one.wrong for one in outcomes)


async def _all(how: How) -> tuple[list[Outcome], str]:
    known = sheet()
    seen: set[str] = set()
    outcomes: list[Outcome] = []
    async with opened(how) as engine:
        with home():
            await chat(engine, ["hello there"])  # what is read and compiled once
        for number, request in enumerate(known.requests, 1):
            print(f"{number} of {len(known.requests)}: {request.words}", file=sys.stderr, flush=True)
            outcomes.append(await run(engine, known, request, paraphrase=request.kind in seen))
            seen.add(request.kind)
        return outcomes, engine.info.microcode.name if engine.info.microcode else ""


async def run(engine: Engine, known: Sheet, request: Request, *, paraphrase: bool = False) -> Outcome:
    """Do one request in a home of its own."""
    asked: list[str] = []
    with home() as workspace, serving(PAGES, asked=asked) as origin:
        documents = workspace.parent / "documents"
        _fill(workspace, known.workspace)
        _fill(documents, known.documents)
        before, begun = _contents(workspace), datetime.now(UTC)
        slowest, last = 0.0, Reply("", (), 0.0)
        for messages in request.chats:
            typed = [one.format(origin=origin, documents=f"'{documents}'") for one in messages]
            for message, last in zip(typed, await chat(engine, typed), strict=True):
                slowest = max(slowest, 0.0 if message.startswith("/") else last.seconds)
        after, over = _contents(workspace), datetime.now(UTC)
    wrong = [
        *in_answer(request, last.text, begun, over),
        *in_calls(request, last.calls),
        *in_files(request, before, after),
        *in_clicks(request, asked),
    ]
    calls = tuple(f"{one.tool}({json.dumps(dict(one.arguments), ensure_ascii=False)})" for one in last.calls)
    return Outcome(
        kind=request.kind, request=request.words, paraphrase=paraphrase, answer=last.text, calls=calls,
        wrong=tuple(wrong), seconds=slowest,
    )  # fmt: skip


def _fill(folder: Path, files: Mapping[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    for path, text in files.items():
        (folder / path).write_text(text, encoding="utf-8")


def _contents(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): file.read_text(encoding="utf-8", errors="replace")
        for file in folder.rglob("*")
        if file.is_file()
    }


# -- what must have come of it


def in_answer(request: Request, answer: str, begun: datetime, over: datetime) -> Iterator[str]:
    """What is wrong with an answer that was made between two moments."""
    answer = outright(answer)
    if not answer.strip():
        yield "nothing was said"
    for part in request.answer:
        if not any(says(answer, one) for one in alternatives(part, begun, over)):
            yield f"the answer does not say {part!r}"
    for part in request.never:
        if says(answer, part):
            yield f"the answer says {part!r}"
    if request.most and len(answer.split()) > request.most:
        yield f"the answer has {len(answer.split())} words, more than {request.most}"
    if request.order and places(answer, request.order) != list(request.order):
        yield f"the answer does not name {', '.join(request.order)} in this order"


def in_calls(request: Request, calls: Sequence[Call]) -> Iterator[str]:
    """What is wrong with the calls."""
    names = [one.tool for one in calls]
    for tools in request.uses:
        if not set(tools.split("|")) & set(names):
            yield f"{tools.replace('|', ' or ')} was not used"
    if request.only:
        allowed = {name for part in request.only for name in part.format(**_KEPT).split("|")}
        yield from (f"{name} was used" for name in names if name not in allowed)
    if request.lines and not any(_fits(one, request.lines) for one in calls):
        yield f"no program of {request.lines[0]} to {request.lines[1]} lines was run"


def _fits(call: Call, lines: tuple[int, int]) -> bool:
    text = str(call.arguments.get("code") or call.arguments.get("text") or call.arguments.get("command") or "")
    return lines[0] <= sum(bool(line.strip()) for line in text.splitlines()) <= lines[1]


def in_files(request: Request, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    """Files that are not as they were and should be."""
    for path in sorted({*before, *after}):
        if before.get(path) != after.get(path) and not fnmatch.fnmatch(path, request.writes):
            yield f"{path} was changed"


def in_clicks(request: Request, asked: Sequence[str]) -> Iterator[str]:
    """What is wrong with what the page's server was told."""
    pages = (urlsplit(one) for one in asked)
    clicked = [what for page in pages if page.path == "/done.html" for what in parse_qs(page.query).get("what", [])]
    if clicked != list(request.clicked):
        yield f"clicked was {', '.join(clicked) or 'nothing'}, not {', '.join(request.clicked) or 'nothing'}"


def alternatives(part: str, begun: datetime, over: datetime) -> list[str]:
    """What a part of the answer may be: words between bars, or the time somewhere at one of the minutes in question."""
    if clock := re.fullmatch(r"\{clock:([\w/]+)\}", part):
        minutes = int((over - begun) / timedelta(minutes=1)) + 2
        moments = [(begun + timedelta(minutes=minute)).astimezone(ZoneInfo(clock[1])) for minute in range(minutes)]
        return [f"{moment:{form}}".removeprefix(zero) for moment in moments for form, zero in _CLOCKS]
    return part.format(**_KEPT).split("|")


def places(text: str, names: Sequence[str]) -> list[str]:
    """The names as a text lists them: in the order of its lines with one name each, else of where each first stands."""
    lines = [[name for name in names if says(line, name)] for line in text.splitlines()]
    listed = list(dict.fromkeys(found[0] for found in lines if len(found) == 1))
    if len(listed) == len(names):
        return listed
    words = plain(text)
    return sorted((name for name in names if says(text, name)), key=lambda name: words.index(plain(name)))


if __name__ == "__main__":
    begun = time.perf_counter()
    code = command_line("everyday", rows)
    print(f"{time.perf_counter() - begun:.0f} s in all", file=sys.stderr)
    sys.exit(code)
