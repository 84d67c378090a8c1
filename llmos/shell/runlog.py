"""`llmos log` and `llmos trace`: what a run did, call by call, what it cost and why it happened.

Reads the journal; works while the run goes on, from any terminal. Knows no engine.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

from llmos.config import data_dir, write_atomically
from llmos.kernel.calls import Provenance
from llmos.kernel.journal import Kind, Record, Run
from llmos.shell import jsonl
from llmos.shell.approver import came_from
from llmos.shell.calls import FORGOTTEN, one_line, outcome_of, result_text, title_of, tokens_of
from llmos.shell.processes import age, find_run, is_running, opened
from llmos.shell.text import harmless

Group = Literal["think", "act", "wait", "other"]

_GROUPS: Mapping[Kind, Group] = {
    "think": "think",
    "act": "act",
    "recall": "act",
    "remember": "act",
    "wait": "wait",
    "receive": "wait",
    "first": "wait",
    "ask": "wait",
    "sleep": "wait",
}
_SAID: Mapping[str, str] = {
    "": "no answer yet",
    "once": "the user agreed",
    "run": "the user agreed for this run",
    "always": "the user agreed for always",
    "no": "the user refused",
    "nobody": "nobody was there",
    "changed": "the user agreed to something else",
}
_BAR = 24
_MARKS: Mapping[Group, str] = {"think": "▒", "act": "█", "wait": "░", "other": "·"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One system call of a run, for people.

    Attributes:
        after: Seconds from the start of the run to its beginning.
        seconds: How long it took; None while it is under way.
        read, reused, generated: Tokens of a think.
        why: Why it happened and was allowed, in words; empty where nothing is known.
        origins: For a tool call: where each argument came from.
        result: Its result's first line, or its error.
    """

    pid: str
    path: str
    number: int
    kind: Kind
    group: Group
    title: str
    after: float
    seconds: float | None
    failed: bool
    read: int = 0
    reused: int = 0
    generated: int = 0
    why: str = ""
    origins: Mapping[str, str]
    result: str = ""


@dataclass(frozen=True, slots=True)
class Story:
    """A run and all that it did."""

    run: Run
    task: str
    state: str
    seconds: float
    outcome: str
    steps: tuple[Step, ...]

    def total(self, name: Literal["read", "reused", "generated"]) -> int:
        """Tokens of all thinks together."""
        return sum(getattr(step, name) for step in self.steps)


def story_of(pid: str, folder: Path | None = None) -> Story:
    """A run, or one process of it with its branches and children, as far as it has come.

    Raises:
        NoSuchProcess: There is none of this id.
    """
    folder = folder or data_dir()
    with opened(folder) as journal:
        run = find_run(journal, pid)
        calls = journal.calls(run.id)
    path = "0" + pid[len(pid.partition(".")[0]) :]
    steps = [_step(run, call) for call in calls]
    mine = tuple(step for step in steps if step.path == path or step.path.startswith((f"{path}.", f"{path}~")))
    state = "interrupted" if run.state == "running" and not is_running(run, folder) else run.state
    end = run.ended or (time.time() if state == "running" else max((call.started for call in calls), default=0.0))
    return Story(run, _words(run), state, max(end - run.created, 0.0), _outcome(run), mine)


def _words(run: Run) -> str:
    if not run.task:
        return FORGOTTEN
    return " ".join(str(argument) for argument in json.loads(run.task)["arguments"])


def _outcome(run: Run) -> str:
    if not run.outcome:
        return "" if run.ended is None else FORGOTTEN
    value: Any = json.loads(run.outcome)
    if run.state != "done" and isinstance(value, dict) and "error" in value:
        failure = cast("Mapping[str, str]", value)
        return f"{failure['error']}: {failure['message']}"
    return result_text(cast("object", value))


def _step(run: Run, call: Record) -> Step:
    decision: Mapping[str, Any] = json.loads(call.decision) if call.decision else {}
    origins = {name: came_from(_provenance(origin)) for name, origin in decision.get("from", {}).items()}
    return Step(
        pid=run.id + call.path[1:].partition("~")[0],
        path=call.path,
        number=call.number,
        kind=call.kind,
        group=_GROUPS.get(call.kind, "other"),
        title=title_of(call),
        after=max(call.started - run.created, 0.0),
        seconds=None if call.ended is None else max(call.ended - call.started, 0.0),
        failed=call.failed,
        why=_why(call, decision),
        origins=origins,
        result=outcome_of(call),
        **tokens_of(call),
    )


def _provenance(data: Mapping[str, Any]) -> Provenance:
    of = tuple(_provenance(part) for part in data["of"])
    return Provenance(data["origin"], data["label"], data["source"], data["start"], data["end"], of)


def _why(call: Record, decision: Mapping[str, Any]) -> str:
    if call.kind == "think":
        return _why_thought(call)
    match decision.get("verdict"):
        case "allow":
            return f"allowed: {decision['reason']}"
        case "deny":
            return f"denied: {decision['reason']}"
        case "ask":
            return f"asked, {_SAID[decision['user']]}: {decision['reason']}"
        case _:
            return ""


def _why_thought(call: Record) -> str:
    if not call.arguments:
        return ""
    wish: Mapping[str, Any] = json.loads(call.arguments)
    if "choices" in wish:
        choices = cast("Sequence[str]", wish["choices"])
        return f"to choose among {len(choices)}: {one_line(', '.join(choices), 80)}"
    return "to write within a constraint" if wish.get("constraint") else "to answer in free text"


def show_log(pid: str, *, as_json: bool) -> None:
    """Print the calls of a run, one line each.

    Raises:
        NoSuchProcess: There is none of this id.
    """
    story = story_of(pid)
    for step in story.steps:
        print(jsonl.line(asdict(step)) if as_json else log_line(step), flush=True)
    if not story.steps and not as_json:
        print(f"the run {story.run.id!r} has made no call ({story.state})")


def log_line(step: Step) -> str:
    """A call in one line: when, who, what, what came of it, how long it took."""
    took = "under way" if step.seconds is None else f"{step.seconds:.2f} s"
    sign = "✗" if step.failed else "→"
    came = f" {sign} {step.result}" if step.result else ""
    return f"{step.after:>8.2f}  {step.pid:<8} {step.number:>3}  {step.kind:<10} {step.title}{came}  ({took})"


def show_trace(pid: str, *, html: Path | None, as_json: bool) -> None:
    """Print the timeline of a run, or write it as one HTML file.

    Raises:
        NoSuchProcess: There is none of this id.
        StorageError: The file can't be written.
    """
    story = story_of(pid)
    if html is not None:
        from llmos.shell.tracepage import page

        write_atomically(html, page(story))
        print(f"written to {html}", file=sys.stderr)
    if as_json:
        values = {"pid": story.run.id, "agent": story.run.agent, "task": story.task, "state": story.state}
        steps = [asdict(step) for step in story.steps]
        print(jsonl.line({**values, "seconds": story.seconds, "outcome": story.outcome, "steps": steps}))
    elif html is None:
        print(trace_text(story))


def trace_text(story: Story) -> str:
    """The timeline of a run as text."""
    whole = max([story.seconds, *(step.after + (step.seconds or 0.0) for step in story.steps)], default=0.0)
    lines = [
        f"{story.run.id} · {story.run.agent} · {story.state} · {age(story.seconds)} · "
        f"{story.total('read'):,} tokens read, {story.total('reused'):,} reused, {story.total('generated'):,} written",
        f"asked: {one_line(story.task, 200)}",
        "",
    ]
    for step in story.steps:
        lines += _step_lines(step, whole)
    if story.outcome:
        lines += ["", f"{'answer' if story.state == 'done' else 'ended'}: {one_line(story.outcome, 200)}"]
    lines.append(f"{_MARKS['think']} think  {_MARKS['act']} act  {_MARKS['wait']} wait")
    return harmless("\n".join(lines))


def _step_lines(step: Step, whole: float) -> list[str]:
    begin = min(int(step.after / whole * _BAR), _BAR - 1) if whole else 0
    length = max(1, round((step.seconds or 0.0) / whole * _BAR)) if whole else 1
    bar = (" " * begin + _MARKS[step.group] * min(length, _BAR - begin)).ljust(_BAR)
    took = "   …   " if step.seconds is None else f"{step.seconds:>6.2f}s"
    tokens = f"  {step.read:,}+{step.reused:,}→{step.generated:,} tokens" if step.kind == "think" else ""
    indent = " " * (_BAR + 12)
    lines = [f"│{bar}│ {took}  {step.pid}#{step.number} {step.kind} {step.title}{tokens}"]
    if step.why:
        lines.append(f"{indent}why: {one_line(step.why, 400)}")
    lines += [f"{indent}{name}: {origin}" for name, origin in step.origins.items()]
    if step.result:
        lines.append(f"{indent}{'✗' if step.failed else '→'} {step.result}")
    return lines
