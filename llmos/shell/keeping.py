"""`llmos undo`, `replay`, `audit`, `grants` and `forget`: what is kept of runs, and what may be done with it.

Knows no engine: nothing here generates.
"""

from __future__ import annotations

import asyncio
import difflib
import json
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from llmos import runs
from llmos.config import data_dir
from llmos.errors import ConfigError, JournalMismatch, LlmosError, NoSuchProcess
from llmos.kernel.calls import Grant
from llmos.kernel.gate import digest_of
from llmos.kernel.journal import canonical
from llmos.kernel.system import Grants
from llmos.messages import new_id
from llmos.shell import jsonl
from llmos.shell.calls import result_text
from llmos.shell.confirming import confirmed
from llmos.shell.processes import age, find_run, is_running, opened
from llmos.shell.text import columns, harmless

_MAX_COMPARED = 200_000
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|h|d|w)")
_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800}


# -- undo


@dataclass(frozen=True, slots=True)
class Taken:
    """A file that would be taken back.

    Attributes:
        change: What would happen to it: a diff, or a line.
        touched: Somebody else changed it since.
    """

    file: str
    change: str
    touched: bool


def to_undo(pid: str) -> tuple[str, list[Taken]]:
    """The whole id of a run, and the files that it changed and that can be taken back, the last change first.

    Raises:
        NoSuchProcess: There is no such run, or it is running.
    """
    folder = data_dir()
    with opened() as journal:
        run = find_run(journal, pid)
        if is_running(run):
            raise NoSuchProcess(f"The run {run.id!r} is running.", hint=f"`llmos kill {run.id}` ends it.")
        newest: dict[str, str] = {}
        oldest: dict[str, str] = {}
        for kept in journal.kept(run.id):
            newest.setdefault(kept.file, kept.after)
            oldest[kept.file] = kept.copy
    copies = folder / "runs" / run.id / "kept"
    return run.id, [
        Taken(
            file,
            _change(Path(file), copies / copy if copy else None),
            newest[file] != digest_of(Path(file)),
        )
        for file, copy in oldest.items()
    ]


def _change(file: Path, copy: Path | None) -> str:
    if copy is None:
        return "is removed: the run made it" if file.exists() else "is gone already"
    now, before = _lines(file), _lines(copy)
    if now is None or before is None:
        return "is as it was before the run"
    diff = difflib.unified_diff(now, before, "now", "before the run", lineterm="")
    return "\n".join(diff) or "is as it was before already"


def _lines(file: Path) -> list[str] | None:
    """A text's lines; None where it is none, or too long to compare."""
    try:
        data = file.read_bytes() if file.exists() else b""
        return None if len(data) > _MAX_COMPARED else data.decode().splitlines()
    except (OSError, UnicodeDecodeError):
        return None


def undo_text(files: list[Taken]) -> str:
    """What would be taken back, for people."""
    parts: list[str] = []
    for taken in files:
        note = "   (changed since by somebody else)" if taken.touched else ""
        change = taken.change.splitlines()
        below = [f"  │ {line}" for line in change] if len(change) > 1 else [f"  {line}" for line in change]
        parts.append("\n".join([f"{taken.file}{note}", *below]))
    return harmless("\n".join(parts))


def undo(pid: str, *, force: bool, yes: bool) -> int:
    """Show what a run did to files, and take it back when the user agrees.

    Returns:
        Exit code: 1 if it was not done.

    Raises:
        NoSuchProcess: There is no such run, or it is running.
        StorageError: A file was changed since, or can't be written.
    """
    run, files = to_undo(pid)
    if not files:
        print(f"the run {run!r} changed no file that is still to be taken back")
        return 0
    print(undo_text(files))
    if not yes and not confirmed(
        f"take back {'this file' if len(files) == 1 else f'these {len(files)} files'}?",
        whether="this is to be taken back",
        hint="--yes takes it back.",
        declined="nothing was taken back",
    ):
        return 1
    for file in runs.undo(data_dir(), run, force=force):
        print(f"taken back: {harmless(file)}")
    return 0


# -- replay, audit, forget


def replay(pid: str) -> None:
    """Run a finished run again on what is recorded of it, and print its answer.

    Raises:
        NoSuchProcess: There is no such run, or it never ended.
        JournalMismatch: The agent's code has changed since.
    """
    with opened() as journal:
        run = find_run(journal, pid)
    if run.state == "running":
        raise NoSuchProcess(f"The run {run.id!r} has not ended.", hint=f"`llmos resume {run.id}` goes on with it.")
    value = asyncio.run(runs.replay(data_dir(), run.id))
    if run.state == "done" and canonical(value) != run.outcome:
        raise JournalMismatch(
            f"The replay of {run.id!r} came to another answer than the run.",
            hint="The agent's code has changed since; `llmos log` shows what was recorded.",
        )
    print(harmless(result_text(value)))
    print(f"replayed {run.id}: the same calls, the same answer", file=sys.stderr)


def audit(*, as_json: bool) -> int:
    """Check the hash chain over everything that was journaled.

    Returns:
        Exit code: 1 if it is broken.
    """
    with opened() as journal:
        finding = journal.audit()
        count = len(journal.runs())
    if as_json:
        problem = None if finding is None else {"row": finding.number, "problem": finding.problem}
        print(jsonl.line({"sound": finding is None, "runs": count, "finding": problem}))
    elif finding is None:
        print(f"sound: the records of {count:,} run{'' if count == 1 else 's'} are complete and unchanged")
    else:
        where = str(data_dir() / "journal.sqlite3")
        print(f"broken: {finding.problem}\n  The journal in {where!r} was changed by something else than llmos.")
    return 0 if finding is None else 1


def forget(pid: str | None, older_than: str | None) -> None:
    """Forget the contents of a run, or of those that ended longer ago than a span of time.

    Raises:
        NoSuchProcess: There is no such run, or it is running.
        ConfigError: The span can't be read.
    """
    if pid is not None:
        with opened() as journal:
            run = find_run(journal, pid).id
        runs.forget_run(data_dir(), run)
        forgotten = [run]
    else:
        forgotten = runs.forget(data_dir(), older_than=seconds_of(older_than or ""), now=time.time())
    named = f": {', '.join(forgotten)}" if 0 < len(forgotten) <= 20 else ""
    print(f"forgot the contents of {len(forgotten):,} run{'' if len(forgotten) == 1 else 's'}{named}")


def seconds_of(span: str) -> float:
    """A span of time in seconds: `90s`, `10min`, `12h`, `30d`, `2w`.

    Raises:
        ConfigError: It is none.
    """
    match = _SPAN.fullmatch(span.strip())
    if match is None:
        raise ConfigError(f"{span!r} is no span of time.", hint="Such as 90s, 10min, 12h, 30d or 2w.")
    return float(match[1]) * _UNITS[match[2]]


# -- grants


def grants() -> list[Grant]:
    """All standing permissions in force, those of single runs too."""
    with opened() as journal:
        bodies: list[dict[str, str]] = [json.loads(body) for body, _ in journal.grants()]
        places = sorted({(body["run"], body["workspace"]) for body in bodies})
        found = [grant for run, workspace in places for grant in Grants(journal).of(run, workspace)]
    return list({grant.id: grant for grant in found}.values())


def list_grants(*, as_json: bool) -> None:
    """Print the standing permissions."""
    found = grants()
    if as_json:
        print(jsonl.line([asdict(grant) for grant in found]))
    else:
        print(grants_text(found))


def grants_text(found: list[Grant]) -> str:
    """Standing permissions, for people."""
    if not found:
        return "no standing permission is in force"
    return harmless(columns([(grant.id, described(grant)) for grant in found], indent=0))


def described(grant: Grant) -> str:
    """What a grant covers, in a line."""
    parts = [", ".join(grant.tools)]
    parts += [f"{name} = {' or '.join(patterns)}" for name, patterns in grant.targets.items()]
    parts += [f"in {grant.workspace}"] if grant.workspace else []
    parts += [f"on {', '.join(grant.origins)}"] if grant.origins else []
    parts.append("any number of calls" if grant.calls is None else f"{grant.calls} more calls")
    if grant.expires is not None:
        parts.append(f"for {age(max(grant.expires - time.time(), 0.0))}")
    parts.append(f"in run {grant.run}" if grant.run else "in all runs")
    return " · ".join(parts)


def add_grant(
    *,
    tools: tuple[str, ...],
    targets: tuple[str, ...],
    calls: int | None,
    expires: str | None,
    workspace: Path | None,
    origins: tuple[str, ...],
) -> str:
    """Enter a standing permission for all runs; returns its id.

    Raises:
        ConfigError: A target or a span of time can't be read.
    """
    grant = Grant(
        id=new_id(),
        tools=tools,
        targets=_targets(targets),
        calls=calls,
        expires=None if expires is None else time.time() + seconds_of(expires),
        workspace=str(workspace.absolute()) if workspace is not None else "",
        origins=origins,
    )
    with opened() as journal:
        Grants(journal).add(grant)
    return grant.id


def _targets(written: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
    targets: dict[str, tuple[str, ...]] = {}
    for target in written:
        name, equals, pattern = target.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"{target!r} is no target.", hint="A target is ARGUMENT=PATTERN, such as path=notes/*.")
        targets[name.strip()] = (*targets.get(name.strip(), ()), pattern)
    return targets


def revoke_grant(grant: str) -> None:
    """End a standing permission.

    Raises:
        LlmosError: There is none of this id.
    """
    with opened() as journal:
        if not Grants(journal).revoke(grant):
            known = ", ".join(one.id for one in grants()) or "none"
            raise LlmosError(f"There is no grant {grant!r}.", hint=f"In force: {known}.")
