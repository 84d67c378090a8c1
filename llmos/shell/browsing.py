"""`llmos browse` and `/browse`: a task on web pages, told step by step, with a report at its end.

What is done stands on stderr, the answer on stdout. Ctrl-C interrupts the run, a second one kills it. Knows no terminal
library and no browser.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmos.boot import Kernel
from llmos.browsing import Browse, account_for, as_taught, evidence_of, learn_from, problem_of, start
from llmos.config import Settings, data_dir
from llmos.errors import Interrupted, LlmosError, StorageError
from llmos.events import CallEnded
from llmos.runs import Parts, RunEvent, Running, memory_of
from llmos.shell import jsonl, waiting
from llmos.shell.approver import Terminal
from llmos.shell.calls import cost_of, follow, one_line, result_text, work_line
from llmos.shell.questions import put
from llmos.shell.text import harmless
from llmos.shell.working import Stop, chosen_tools, dim, used_by
from llmos.tools.browser.evidence import steps_in

_INTERRUPTED = 130
_LINE = 160


def run_browse(job: Browse, settings: Settings, *, report: Path | None = None, as_json: bool = False) -> int:
    """Do a task on web pages.

    Args:
        job: The task.
        settings: Model and level.
        report: A folder into which the steps, their pictures and the report are copied.
        as_json: Write events as JSON lines, the result as the last one.

    Returns:
        Exit code: 0 done, 1 it was not done or something was denied, 130 interrupted.

    Raises:
        LlmosError: The run failed.
        ConfigError: The browser's tools are not there.
    """
    return asyncio.run(_browse(job, settings, report, as_json=as_json))


async def _browse(job: Browse, settings: Settings, report: Path | None, *, as_json: bool) -> int:
    job = as_taught(job, settings.memory)
    if job.skill:
        waiting.say(harmless(f"as you showed it: {job.skill['name']}"))
    approver = Terminal()
    parts = Parts(tools=chosen_tools(None, unsafe=False), approver=approver)
    begun = time.monotonic()
    async with Kernel(settings=settings, parts=parts) as kernel:
        asks = sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
        with approver.attached(put if asks else None):
            running = await start(kernel, job, level=settings.level)
            show = _json_line if as_json else StepLines(running, lambda line: waiting.say(dim(line)))
            stop = Stop(running)
            with stop.at_interrupts():
                try:
                    found = await _followed(running, show)
                except LlmosError as error:
                    _told_of_failure(running, error, as_json=as_json)
                    _keep(running.pid, job, None, report, problem=problem_of(error))
                    if isinstance(error, Interrupted) and stop.asked:
                        waiting.say(f"interrupted; go on with: llmos resume {running.pid}")
                        return _INTERRUPTED
                    raise
        _learn(found, job, settings, running.pid)
        file = _keep(running.pid, job, found, report)
        _told(running, found, file, time.monotonic() - begun, as_json=as_json)
        return 1 if running.denied or found["outcome"] == "failed" else 0


def _learn(found: Mapping[str, Any], job: Browse, settings: Settings, pid: str) -> None:
    """Keep what the run has shown; that it can't be written harms no task."""
    memory = memory_of(settings.memory)
    try:
        learn_from(found, job, memory, pid)
    except LlmosError as error:
        waiting.say(f"what this run has shown can't be kept: {error.message}")
    finally:
        memory.close()


async def _followed(running: Running, show: Callable[[RunEvent], None]) -> Mapping[str, Any]:
    async for event in follow(running):
        show(event)
    found: Mapping[str, Any] = await running.result()
    return found


class StepLines:
    """A line for each step of a run: what was done and what it changed, as the evidence has it.

    Args:
        running: The run.
        say: Gets the lines.
    """

    def __init__(self, running: Running, say: Callable[[str], None]) -> None:
        self._running, self._say, self._begun = running, say, time.monotonic()
        self._told = 0

    def __call__(self, event: RunEvent) -> None:
        """Say a step that is over; other events are none."""
        if not isinstance(event, CallEnded) or event.call != "act":
            return
        title, detail = event.title, "" if event.detail.startswith("<page") else event.detail
        steps = steps_in(evidence_of(data_dir(), self._running.pid))
        if len(steps) > self._told:
            self._told, step = len(steps), steps[-1]
            title, detail = step.title, "; ".join(step.changes) or step.problem or "nothing changed"
        shown = replace(event, title=one_line(harmless(title), _LINE), detail=one_line(harmless(detail), _LINE))
        self._say(work_line(shown, cost_of(self._running, time.monotonic() - self._begun)))


def _json_line(event: RunEvent) -> None:
    print(jsonl.event_line(event), flush=True)


def _keep(
    pid: str, job: Browse, found: Mapping[str, Any] | None, report: Path | None, *, problem: str = ""
) -> Path | None:
    """Write the report, and copy it with its pictures where it is wanted."""
    file = account_for(data_dir(), pid, job.task, found, problem=problem)
    if file is None or report is None:
        return file
    try:
        shutil.copytree(file.parent, report, dirs_exist_ok=True, ignore=shutil.ignore_patterns("downloads"))
    except (OSError, shutil.Error) as error:
        raise StorageError(f"The report could not be written to {str(report)!r}: {error}.") from error
    return report / file.name


def _told(running: Running, found: Mapping[str, Any], file: Path | None, seconds: float, *, as_json: bool) -> None:
    if as_json:
        used = {name: amount for name, amount in used_by(running).items() if amount}
        print(
            jsonl.line({
                "kind": "result", "pid": running.pid, "output": found, "report": str(file or ""), "used": used,
                "seconds": round(seconds, 3),
            }),
            flush=True,
        )  # fmt: skip
        return
    text = harmless(result_text(found))
    if text:
        print(text, flush=True)
    for reason in found["reasons"]:
        if reason not in text:
            waiting.say(harmless(f"  {reason}"))
    if file is not None:
        waiting.say(f"report: {file}")


def _told_of_failure(running: Running, error: LlmosError, *, as_json: bool) -> None:
    if as_json:
        values = {"kind": "error", "pid": running.pid, "error": type(error).__name__}
        print(jsonl.line({**values, "message": error.message, "hint": error.hint}), flush=True)
    else:
        waiting.say(dim(f"  pid {running.pid} · `llmos trace {running.pid}` shows what it did"))
