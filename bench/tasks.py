"""Requests in users' words, run end to end on the embedded model: `python -m bench tasks`.

Each request of `tasks.toml` gets its own folder with the same files, the default agent, the built-in tools, the default
policy, and an approver who agrees to everything and answers no question. What counts is what happened: the answer, the
files afterwards, and the calls. Knows nothing of how the agent works.
"""

from __future__ import annotations

import asyncio
import collections
import json
import re
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, cast

from rich.console import Console
from rich.table import Table

from bench.report import Row
from llmos.agents.assistant import assistant
from llmos.errors import LlmosError, NobodyThere
from llmos.kernel.calls import Approval, Reply
from llmos.kernel.journal import Journal
from llmos.kernel.policy import DefaultPolicy
from llmos.kernel.protocols import Engine
from llmos.kernel.system import System, Task
from llmos.tools.arithmetic import ArithmeticProblem, evaluate
from llmos.tools.moments import later, moment_of, zone_of
from llmos.tools.registry import load_tools
from llmos.tools.tool import Retry

TASKS = Path(__file__).with_name("tasks.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A request and what must come of it; see `tasks.toml`."""

    kind: str
    request: str
    tools: tuple[str, ...] = ()
    arguments: tuple[Mapping[str, str], ...] = ()
    answer: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a request.

    Attributes:
        right: The answer says what it must, and the files are as they should be.
        chosen: The tools called are those wanted, in order.
        exact: Their arguments are, too.
        wrong_effects: Files that are not as they were and not as they should be.
    """

    kind: str
    request: str
    answer: str
    calls: tuple[str, ...]
    right: bool
    chosen: bool
    exact: bool
    wrong_effects: tuple[str, ...]
    questions: int
    seconds: float


class Agreeable:
    """An approver who agrees to everything and answers no question."""

    def __init__(self) -> None:
        self.asked = 0

    async def approve(self, approval: Approval, /) -> Reply:
        """Agree."""
        self.asked += 1
        return "once"

    async def answer(self, pid: str, question: str, /) -> str:
        """Be away."""
        self.asked += 1
        raise NobodyThere(f"Nobody answers: {question}")


def wanted() -> tuple[dict[str, str], list[Wanted]]:
    """The files of the workspace, and the requests."""
    data = tomllib.loads(TASKS.read_text(encoding="utf-8"))
    tasks: list[dict[str, Any]] = data["task"]
    return data["workspace"], [
        Wanted(
            kind=task["kind"],
            request=task["request"],
            tools=tuple(task.get("tools", ())),
            arguments=tuple(task.get("arguments", ())),
            answer=tuple(task.get("answer", ())),
            files=task.get("files", {}),
        )
        for task in tasks
    ]


def tasks() -> Iterator[Row]:
    """Run all requests and print what came of them."""
    outcomes = asyncio.run(_all())
    show(outcomes)
    for kind in dict.fromkeys(one.kind for one in outcomes):
        of_kind = [one for one in outcomes if one.kind == kind]
        yield Row(name=f"{kind}: right", value=sum(one.right for one in of_kind), unit=f"of {len(of_kind)}")
        yield Row(name=f"{kind}: tool right", value=sum(one.chosen for one in of_kind), unit=f"of {len(of_kind)}")
        yield Row(name=f"{kind}: arguments exact", value=sum(one.exact for one in of_kind), unit=f"of {len(of_kind)}")
    yield Row(name="right", value=sum(one.right for one in outcomes), unit=f"of {len(outcomes)}")
    yield Row(name="wrong effects", value=sum(len(one.wrong_effects) for one in outcomes), unit="", goal="≤ 0")
    yield Row(name="seconds a request", value=sum(one.seconds for one in outcomes) / len(outcomes), unit="s")
    wrong = [asdict(one) for one in outcomes if not (one.right and one.chosen and one.exact)]
    yield Row(name="not all right", value=len(wrong), unit="", note=json.dumps(wrong, ensure_ascii=False))


async def _all() -> list[Outcome]:
    from llmos.config import EngineOptions
    from llmos.engine import open_engine

    files, requests = wanted()
    engine = await open_engine(None, EngineOptions())
    try:
        await run(engine, files, requests[0])  # warm up: what is read and compiled once
        return [await run(engine, files, one) for one in requests]
    finally:
        await engine.close()


async def run(engine: Engine, files: Mapping[str, str], one: Wanted) -> Outcome:
    """Run one request in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="llmos-tasks-") as folder:
        workspace = Path(folder) / "workspace"
        _fill(workspace, files)
        before = _contents(workspace)
        approver = Agreeable()

        async def get() -> Engine:
            return engine

        system = System(
            engine=get,
            journal=Journal(Path(folder) / "journal"),
            folder=Path(folder) / "runs",
            agents={"assistant": assistant},
            tools=load_tools(),
            policy=DefaultPolicy(),
            approver=approver,
        )
        started = time.perf_counter()
        child = system.start(Task(agent="assistant", arguments=(one.request,), workspace=str(workspace)))
        try:
            answer = str(await child.result())
        except LlmosError as error:
            answer = f"{type(error).__name__}: {error}"
        seconds = time.perf_counter() - started
        calls = _calls(system.journal, child.pid)
        after = _contents(workspace)
        await system.close()
        system.journal.close()
    return judge(one, answer, calls, before, after, questions=approver.asked, seconds=seconds)


def judge(
    one: Wanted,
    answer: str,
    calls: Sequence[tuple[str, Mapping[str, Any]]],
    before: Mapping[str, str],
    after: Mapping[str, str],
    *,
    questions: int,
    seconds: float,
) -> Outcome:
    """Compare what happened with what was wanted."""
    changed = [path for path in {*before, *after} if before.get(path) != after.get(path)]
    fitting = {path: _holds(text, after.get(path)) for path, text in one.files.items()}
    wrong = tuple(sorted(path for path in changed if not fitting.get(path, False)))
    said = all(_says(answer, _filled(part)) for part in one.answer) and bool(answer.strip())
    names = [name for name, _ in calls]
    chosen = len(names) == len(one.tools) and all(
        name in alternatives.split("|") for name, alternatives in zip(names, one.tools, strict=True)
    )
    exact = chosen and all(
        all(_same(name, value, arguments.get(name)) for name, value in expected.items())
        for (_, arguments), expected in zip(calls, one.arguments, strict=False)
    )
    return Outcome(
        kind=one.kind,
        request=one.request,
        answer=answer,
        calls=tuple(f"{name}({json.dumps(dict(arguments), ensure_ascii=False)})" for name, arguments in calls),
        right=said and all(fitting.values()) and not wrong and (bool(one.tools) or not names),
        chosen=chosen,
        exact=exact,
        wrong_effects=wrong,
        questions=questions,
        seconds=seconds,
    )


def _fill(workspace: Path, files: Mapping[str, str]) -> None:
    import os

    for age, (path, text) in enumerate(sorted(files.items(), key=lambda item: item[0] != "shopping.txt"), 1):
        file = workspace / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        moment = time.time() - 3600 * age  # shopping.txt is the newest
        os.utime(file, (moment, moment))


def _contents(workspace: Path) -> dict[str, str]:
    return {
        str(file.relative_to(workspace)): file.read_text(encoding="utf-8", errors="replace")
        for file in workspace.rglob("*")
        if file.is_file()
    }


def _calls(journal: Journal, run_id: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The tool calls that were carried out, those that failed left out."""
    found: list[tuple[str, Mapping[str, Any]]] = []
    for call in journal.calls(run_id):
        if call.kind == "act" and call.done and not call.failed:
            tool, arguments = json.loads(call.arguments)
            result = json.loads(call.result)
            if not (result.get("failed") or result.get("retry")):
                found.append((tool, arguments))
    return found


def _filled(text: str) -> str:
    """A text with dates from today put in."""

    def put(match: re.Match[str]) -> str:
        if match[1]:
            return str((date.fromisoformat(match[1]) - date.today()).days)
        return str(date.today() + timedelta(int(match[2] or 0)))

    return re.sub(r"\{(?:days:([\d-]+)|today([+-]\d+)?)\}", put, text)


def _plain(text: str) -> str:
    return re.sub(r"(?<=\d),(?=\d{3})", "", text.casefold())


def _says(answer: str, part: str) -> bool:
    return any(_plain(option) in _plain(answer) for option in part.split("|"))


def _holds(expected: str, text: str | None) -> bool:
    """Whether a file holds what it should; `~` at the beginning: among other things."""
    if text is None:
        return False
    if expected.startswith("~"):
        return _filled(expected[1:]) in text
    return any(text.rstrip() == option.rstrip() for option in expected.split("|"))


def _same(name: str, expected: str, given: object) -> bool:
    """Whether an argument means what it should: expressions by value, dates by day, texts as they are."""
    text = str(given if given is not None else "")
    now = datetime.now(zone_of(""))
    try:
        if name == "expression":
            return evaluate(expected).number == evaluate(text).number
        if name in ("when", "start", "end"):
            return moment_of(expected, now)[0].replace(microsecond=0) == moment_of(text, now)[0].replace(microsecond=0)
        if name == "span":
            return later(now, expected)[0] == later(now, text)[0]
    except (ArithmeticProblem, Retry):
        return False
    return text.strip("/").casefold() == expected.strip("/").casefold()


def show(outcomes: Sequence[Outcome]) -> None:
    """Print a table by kind, and below it what went wrong."""
    table = Table(title="bench tasks", title_justify="left")
    for column in ("kind", "right", "tool right", "arguments exact", "wrong effects", "questions", "s a request"):
        table.add_column(column, justify="left" if column == "kind" else "right")
    kinds: dict[str, list[Outcome]] = collections.defaultdict(list)
    for one in outcomes:
        kinds[one.kind].append(one)
    for kind, rows in [*kinds.items(), ("all", list(outcomes))]:
        counts: list[Callable[[Outcome], bool]] = [lambda o: o.right, lambda o: o.chosen, lambda o: o.exact]
        table.add_row(
            kind,
            *(f"{sum(count(row) for row in rows)}/{len(rows)}" for count in counts),
            str(sum(len(row.wrong_effects) for row in rows)),
            str(sum(row.questions for row in rows)),
            f"{sum(row.seconds for row in rows) / len(rows):.2f}",
        )
    console = Console()
    console.print(table)
    for one in outcomes:
        if not (one.right and one.chosen and one.exact):
            verdict = ", ".join(word for word, good in _verdict(one).items() if not good)
            console.print(f"[{one.kind}] {one.request!r}: not {verdict}", markup=False, highlight=False)
            console.print(f"    calls {'; '.join(one.calls) or 'none'}", markup=False, highlight=False)
            console.print(f"    answer {one.answer[:300]!r}", markup=False, highlight=False)


def _verdict(one: Outcome) -> dict[Literal["right", "the tool", "the arguments"], bool]:
    return cast(
        "dict[Literal['right', 'the tool', 'the arguments'], bool]",
        {"right": one.right, "the tool": one.chosen, "the arguments": one.exact},
    )


GROUPS: tuple[Callable[[], Iterator[Row]], ...] = (tasks,)
