"""`llmos ps`, `top` and `kill`: what runs on this data folder, in whichever kernel, and signals to it.

The journal tells of all runs; a living kernel tells through its socket what its processes are doing. Knows no engine.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmos.config import data_dir
from llmos.errors import NoSuchProcess, RunError, StorageError
from llmos.kernel import control
from llmos.kernel.journal import Journal, Run
from llmos.shell import jsonl
from llmos.shell.calls import one_line

if TYPE_CHECKING:
    from rich.table import Table

SIGNALS = ("stop", "continue", "interrupt", "kill")
_COLUMNS = ("pid", "agent", "state", "level", "tokens", "calls", "money", "age", "doing")
_MONEY = _COLUMNS.index("money")  # shown where there is any
_PICTURE_SECONDS = 1.0
_SHORTEST_SECONDS = 0.2
_NAMED = 5


@contextmanager
def opened(folder: Path | None = None) -> Generator[Journal]:
    """The journal, for a moment.

    Raises:
        StorageError: It can't be opened.
    """
    journal = Journal(folder or data_dir())
    try:
        yield journal
    finally:
        journal.close()


def find_run(journal: Journal, pid: str) -> Run:
    """The run that a process belongs to; the beginning of its id is enough if no other run begins so.

    Raises:
        NoSuchProcess: There is none, or more than one.
    """
    name = pid.partition(".")[0]
    runs = journal.runs()
    matching = [run for run in runs if run.id == name] or [run for run in runs if name and run.id.startswith(name)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise NoSuchProcess(f"More than one run begins with {name!r}: {_names(matching)}.", hint="Give more of its id.")
    hint = f"There are: {_names(runs)}." if runs else 'None has run yet: llmos run "…"'
    raise NoSuchProcess(f"There is no run {name!r}.", hint=hint)


def _names(runs: list[Run]) -> str:
    named = ", ".join(run.id for run in runs[:_NAMED])
    return named if len(runs) <= _NAMED else f"{named} and {len(runs) - _NAMED:,} more (`llmos ps --all`)"


def run_id(pid: str) -> str:
    """The id of the run that a process belongs to, see `find_run`."""
    with opened() as journal:
        return find_run(journal, pid).id


def resumable(pid: str) -> Run:
    """A run that can be gone on with.

    Raises:
        NoSuchProcess: There is no such run, it is done, or it is running.
    """
    with opened() as journal:
        run = find_run(journal, pid)
    if run.state == "done":
        raise NoSuchProcess(f"The run {run.id!r} is done.", hint=f"`llmos log {run.id}` shows what it did.")
    if is_running(run):
        raise NoSuchProcess(f"The run {run.id!r} is running.", hint=f"`llmos log {run.id}` shows how far it is.")
    return run


def is_running(run: Run, folder: Path | None = None) -> bool:
    """Whether a kernel that lives works on it."""
    return run.state == "running" and control.is_alive(folder or data_dir(), run.owner)


async def processes(*, ended: bool = False) -> list[dict[str, Any]]:
    """Live processes and runs that were interrupted, newest run first; with `ended` those that are over, too.

    A row has `pid`, `parent`, `agent`, `state`, `level`, `tokens`, `calls`, `money` (what remote engines charged),
    `seconds` (its age, or how long it took) and `doing`.
    """
    folder = data_dir()
    live: dict[str, list[dict[str, Any]]] = {}
    for owner in control.living(folder):
        with suppress(RunError):  # it has ended just now
            for row in (await control.request(folder, owner, {"do": "ps"}))["processes"]:
                live.setdefault(row["pid"].partition(".")[0], []).append(row)
    rows: list[dict[str, Any]] = []
    with opened() as journal:
        for run in journal.runs():
            if run.id in live:
                started = {_pid(run.id, path): begun for path, _, _, _, begun, _ in journal.processes(run.id)}
                rows += [_live(row, started.get(row["pid"], run.created)) for row in live[run.id]]
            elif run.state == "running" or ended:
                rows.append(_kept(run))
    return rows


def _pid(run: str, path: str) -> str:
    return run + path[1:]


def _live(row: dict[str, Any], started: float) -> dict[str, Any]:
    used = row["used"]
    return {
        "pid": row["pid"],
        "parent": row["parent"],
        "agent": row["agent"],
        "state": row["state"],
        "level": row["level"],
        "tokens": int(used.get("tokens", 0)),
        "calls": int(used.get("calls", 0)),
        "money": round(used.get("money", 0.0), 6),
        "seconds": round(max(time.time() - started, 0.0), 1),
        "doing": row["doing"],
    }


def _kept(run: Run) -> dict[str, Any]:
    state: str = run.state
    if state == "running":
        state = "running" if is_running(run) else "interrupted"
    return {
        "pid": run.id,
        "parent": "",
        "agent": run.agent,
        "state": state,
        "level": "",
        "tokens": None,
        "calls": None,
        "money": None,
        "seconds": round(max((run.ended or time.time()) - run.created, 0.0), 1),
        "doing": "" if state == "running" else _wanted(run),
    }


def _wanted(run: Run) -> str:
    """What a run was started for, in a line."""
    import json

    arguments = json.loads(run.task)["arguments"] if run.task else ["(forgotten)"]
    return one_line(" ".join(str(argument) for argument in arguments), 60)


def table(rows: list[dict[str, Any]]) -> str:
    """Processes as lines of text, for people."""
    if not rows:
        return "nothing runs; `llmos ps --all` lists what has run"
    lines = [_COLUMNS, *(_cells(row) for row in rows)]
    if not any(row["money"] for row in rows):
        lines = [line[:_MONEY] + line[_MONEY + 1 :] for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    count = {name: "" if row[name] is None else f"{row[name]:,}" for name in ("tokens", "calls")}
    money = f"{row['money']:.4f}" if row["money"] else ""
    doing = one_line(row["doing"], 60)
    return (row["pid"], row["agent"], row["state"], row["level"], *count.values(), money, age(row["seconds"]), doing)


def age(seconds: float) -> str:
    """A span of time in its two largest units: `3.2 s`, `4 min 10 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for name, size, below, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // part} {below}"
    return f"{whole} s"


def show(*, ended: bool, as_json: bool) -> None:
    """Print what runs."""
    rows = asyncio.run(processes(ended=ended))
    print(jsonl.line(rows) if as_json else table(rows))


def top() -> None:
    """Show what runs until Ctrl-C; without a terminal, once."""
    if not sys.stdout.isatty():
        show(ended=False, as_json=False)
        return
    with suppress(KeyboardInterrupt):
        asyncio.run(_top())


async def _top() -> None:
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(), auto_refresh=False, transient=True) as live:
        async for rows in pictures():
            live.update(_picture(rows), refresh=True)


async def pictures() -> AsyncGenerator[list[dict[str, Any]]]:
    """What runs, again whenever something happens in a kernel, and at least every second."""
    changed = asyncio.Event()
    watching: dict[str, asyncio.Task[None]] = {}

    async def watch(owner: str) -> None:
        async for _ in control.watch(data_dir(), owner, {"do": "watch"}):
            changed.set()

    try:
        while True:
            for owner in control.living(data_dir()):
                if owner not in watching or watching[owner].done():
                    watching[owner] = asyncio.create_task(watch(owner))
            yield await processes()
            await asyncio.sleep(_SHORTEST_SECONDS)
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), _PICTURE_SECONDS)
            changed.clear()
    finally:
        for task in watching.values():
            task.cancel()
        await asyncio.gather(*watching.values(), return_exceptions=True)


def _picture(rows: list[dict[str, Any]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    picture = Table(box=None, pad_edge=False, caption=None if rows else "nothing runs", caption_justify="left")
    for name in _COLUMNS:
        right = name in ("tokens", "calls", "money", "age")
        picture.add_column(name, justify="right" if right else "left", no_wrap=True)
    for row in rows:
        style = {"interrupted": "yellow", "stopped": "yellow"}.get(row["state"], "")
        picture.add_row(*(Text(cell, style=style) for cell in _cells(row)))
    return picture


async def send(pid: str, signal: str) -> str:
    """Send a signal to a live process of any kernel; returns its whole id.

    Raises:
        NoSuchProcess: There is no such process, or it is not alive.
        RunError: Its kernel refuses.
    """
    if signal not in SIGNALS:
        raise RunError(f"There is no signal {signal!r}.", hint=f"There are: {', '.join(SIGNALS)}.")
    with opened() as journal:
        run = find_run(journal, pid)
    whole = run.id + pid[len(pid.partition(".")[0]) :]
    if run.state != "running":
        raise NoSuchProcess(f"The run {run.id!r} has ended: it is {run.state}.", hint=f"See `llmos log {run.id}`.")
    if not is_running(run):
        raise NoSuchProcess(
            f"The run {run.id!r} was interrupted: its kernel is gone.",
            hint=f"`llmos resume {run.id}` goes on with it, `llmos forget {run.id}` drops what it knew.",
        )
    await control.request(data_dir(), run.owner, {"do": "signal", "pid": whole, "signal": signal})
    return whole


def task_of(run: Run) -> dict[str, Any]:
    """What a run was started with.

    Raises:
        StorageError: It was forgotten.
    """
    import json

    if not run.task:
        raise StorageError(f"The contents of run {run.id!r} were forgotten.")
    task: dict[str, Any] = json.loads(run.task)
    return task
