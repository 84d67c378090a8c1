"""Verified runs of the journal as examples of the kernel's own jobs: which tool came next, and with what arguments.

A run is verified if it is done, its last tool call did not fail, and one of these holds: the last verifier that looked
at it passed it; the user named it; nobody checked it, it used tools, and the user neither took back what it did nor
asked the same again soon after. What has a secret in it is left out. Knows no terminal, no model and no training.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Literal, cast

from llmos.agents import allowed, jobs
from llmos.agents.jobs import ANSWER, ASK, Done
from llmos.config import data_dir, write_atomically
from llmos.errors import Denied, StorageError
from llmos.kernel.journal import Journal, Record, Run
from llmos.kernel.task import Task
from llmos.learn.data.example import Example, Sheet, share_of
from llmos.learn.evaluate import digest
from llmos.messages import Context, Grammar, Message, ToolSpec
from llmos.tools.secrets import HANDLE

Part = Literal["train", "held"]

SOON_SECONDS = 900.0
"""Who asks the same again within this time was not content."""
HELD = 0.3
"""About the share of requests that are held back to evaluate on."""
VIEW = 8
"""So many tools are shown where nobody knows which ones the model saw."""
_LONGEST = 2_000
_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """An example with where it comes from.

    Attributes:
        run: The run's id.
        why: Why the run counts as verified.
        part: Whether it is trained on, or held back; all that a request gave is in one part.
    """

    run: str
    why: str
    part: Part
    example: Example

    @property
    def digest(self) -> str:
        """Identifies what is asked and answered."""
        return digest(self.example)


@dataclass(frozen=True, slots=True)
class Collected:
    """What the journal gave.

    Attributes:
        left_out: Runs that give nothing, with why.
    """

    traces: tuple[Trace, ...]
    left_out: tuple[tuple[str, str], ...]


def collect(
    journal: Journal,
    tools: Mapping[str, ToolSpec],
    *,
    runs: Sequence[str] = (),
    since: float = 0.0,
    redact: Callable[[str], str] = lambda text: text,
) -> Collected:
    """The examples of all verified runs.

    Args:
        tools: Those that there are, by name; calls of others give nothing.
        runs: Only these, which the user has judged good.
        since: Only those that began after this time, in seconds since the epoch.
        redact: Gives a text without the values of secrets (`Secrets.redact`).

    Raises:
        Denied: The journal is another user's.
        StorageError: The journal can't be read.
    """
    file = journal.folder / "journal.sqlite3"
    if hasattr(os, "getuid") and file.stat().st_uid != os.getuid():
        raise Denied(f"The journal {str(file)!r} is another user's.", hint="Only your own runs are learnt from.")
    known = journal.runs()
    asked = _asked(known)
    traces: list[Trace] = []
    left_out: list[tuple[str, str]] = []
    for run in known:
        if (runs and run.id not in runs) or run.created < since:
            continue
        calls = [call for call in journal.calls(run.id) if "~" not in call.path]
        why, not_so = _verified(run, calls, asked, named=run.id in runs, undone=journal.was_undone(run.id))
        found = _traces(run, calls, tools, why, redact) if why else []
        traces += found
        if not found:
            left_out.append((run.id, not_so or "it has no call to learn from"))
    newest: dict[str, Trace] = {}
    for one in traces:
        newest.setdefault(one.digest, one)
    return Collected(tuple(newest.values()), tuple(left_out))


def _asked(runs: Iterable[Run]) -> dict[str, list[float]]:
    """When each request was made."""
    found: dict[str, list[float]] = {}
    for run in runs:
        if run.task:
            found.setdefault(_request(run).casefold(), []).append(run.created)
    return found


def _request(run: Run) -> str:
    return " ".join(Task.from_json(run.task).said).strip()


def _verified(
    run: Run, calls: Sequence[Record], asked: Mapping[str, Sequence[float]], *, named: bool, undone: bool
) -> tuple[str, str]:
    """Why a run counts as verified, or why not."""
    if run.state != "done":
        return "", f"it is {run.state}"
    if not run.task or any(call.done and not call.result for call in calls):
        return "", "it was forgotten"
    acts = [call for call in calls if call.kind == "act"]
    if not acts:
        return "", "it used no tool"
    if acts[-1].failed or not acts[-1].done:
        return "", "its last call failed"
    if undone:
        return "", "what it did was taken back"
    verdicts = [call for call in calls if call.kind == "verify" and not call.failed]
    outcome = _outcome(verdicts[-1]) if verdicts else ""
    if outcome == "pass":
        return "a verifier passed it", ""
    if named:
        return "you named it", ""
    if outcome:
        return "", "no verifier passed it"
    end = run.ended or run.created
    if any(run.created < again < end + SOON_SECONDS for again in asked[_request(run).casefold()]):
        return "", "the same was asked again soon after"
    return "you neither took it back nor asked again", ""


def _outcome(call: Record) -> str:
    data: Any = json.loads(call.result)
    return str(data.get("outcome", "")) if isinstance(data, dict) else ""  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]  # JSON


def _traces(
    run: Run, calls: Sequence[Record], tools: Mapping[str, ToolSpec], why: str, redact: Callable[[str], str]
) -> list[Trace]:
    """The examples of one run, those with a secret in them left out."""
    request = _request(run)
    if not request or len(request) > _LONGEST:
        return []
    part: Part = "held" if share_of(request.casefold()) < HELD else "train"
    done: list[Done] = []
    found: list[Example] = []
    for place, call in enumerate(calls):
        if call.kind != "act" or call.failed or not call.done:
            continue
        name, arguments = json.loads(call.arguments)
        if name not in tools:
            break  # what comes after it can't be understood without it
        view = _view(run, call, calls[:place], tools)
        found.append(_choice(view, request, done, name))
        found += _filled(tools[name], request, done, arguments)
        done.append(Done(name, arguments, str(json.loads(call.result)["text"])))
    else:
        if done:
            found.append(_choice(_view(run, calls[-1], calls, tools), request, done, ANSWER))
    return [Trace(run=run.id, why=why, part=part, example=one) for one in found if not _is_secret(one, redact)]


def _view(run: Run, call: Record, before: Sequence[Record], tools: Mapping[str, ToolSpec]) -> list[ToolSpec]:
    """The tools that the model saw when it chose; where nobody knows, the one that was called among others."""
    thinks = [one for one in before if one.kind == "think" and one.arguments and "choices" in json.loads(one.arguments)]
    called = json.loads(call.arguments)[0] if call.kind == "act" else ""
    for think in thinks[-1:]:
        choices = [one for one in json.loads(think.arguments)["choices"] if one not in (ANSWER, ASK)]
        if choices and all(one in tools for one in choices) and (not called or called in choices):
            return [tools[one] for one in choices]
    given = Task.from_json(run.task).tools
    dice = Random(f"{run.id} {call.path} {call.number}")
    others = [name for name in tools if name != called and (given is None or name in given)]
    shown = [*dice.sample(others, min(VIEW - 1, len(others))), *([called] if called in tools else [])]
    dice.shuffle(shown)
    return [tools[name] for name in shown]


def _choice(view: Sequence[ToolSpec], request: str, done: Sequence[Done], answer: str) -> Example:
    choices = (*(tool.name for tool in view), ANSWER, ASK)
    return Example("choose", jobs.choose(view, request, done), answer, choices, kind="trace")


def _filled(tool: ToolSpec, request: str, done: Sequence[Done], given: Mapping[str, Any]) -> list[Example]:
    """The arguments of a call, if the model could have said them: what stands in what it read."""
    properties: Mapping[str, Mapping[str, Any]] = tool.parameters.get("properties", {})
    values = {name: given[name] for name in properties if given.get(name) is not None}
    source = "\n".join([request, *(one.result for one in done)])
    if not values or not all(_stands(value, properties[name], source) for name, value in values.items()):
        return []
    within = allowed.arguments(tool, request, done)
    return [Example("fill", jobs.fill(tool, request, done), jobs.arguments(values), kind="trace", within=within)]


def _stands(value: object, schema: Mapping[str, Any], source: str) -> bool:
    if "enum" in schema:
        return value in schema["enum"]
    match value:
        case bool():
            return True
        case int() | float():
            return json.dumps(value) in allowed.numbers(source)
        case str():
            return bool(value) and re.search(rf"(?<!\w){re.escape(value)}(?!\w)", source) is not None
        case list():
            items = cast("list[object]", value)
            return all(_stands(one, schema.get("items", {}), source) for one in items)
        case _:
            return False


def _is_secret(example: Example, redact: Callable[[str], str]) -> bool:
    texts = [*(message.content for message in example.context.messages), example.answer]
    return any(HANDLE.search(text) or redact(text) != text for text in texts)


# -- what is kept


def file() -> Path:
    """Where the examples are that the user agreed to."""
    return data_dir() / "microcode" / "examples.jsonl"


def kept() -> list[Trace]:
    """The examples that the user agreed to.

    Raises:
        StorageError: They can't be read.
    """
    try:
        lines = file().read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"{str(file())!r} can't be read: {error}.", hint="Move it aside to begin anew.") from error
    return [_read(line, number) for number, line in enumerate(lines, 1)]


def keep(traces: Iterable[Trace]) -> list[Trace]:
    """Add examples to those that are kept; all of them.

    Raises:
        StorageError: They can't be read or written.
    """
    found = {one.digest: one for one in [*kept(), *traces]}
    write_atomically(file(), "".join(f"{_line(one)}\n" for one in found.values()))
    return list(found.values())


def _line(trace: Trace) -> str:
    example = trace.example
    data = {
        "version": _VERSION,
        "digest": trace.digest,
        "run": trace.run,
        "why": trace.why,
        "part": trace.part,
        "job": example.job,
        "messages": [[message.role, message.content] for message in example.context.messages],
        "answer": example.answer,
        "choices": list(example.choices),
        "within": example.within.lark if isinstance(example.within, Grammar) else "",
    }
    return json.dumps(data, ensure_ascii=False)


def _read(line: str, number: int) -> Trace:
    try:
        data: dict[str, Any] = json.loads(line)
        if data["version"] != _VERSION or data["part"] not in ("train", "held") or data["job"] not in jobs.JOBS:
            raise ValueError("it is of another version")
        example = Example(
            data["job"],
            Context(messages=tuple(Message(role, content) for role, content in data["messages"])),
            data["answer"],
            tuple(data["choices"]),
            kind="trace",
            within=Grammar(data["within"]) if data["within"] else None,
        )
        found = Trace(run=data["run"], why=data["why"], part=data["part"], example=example)
        if found.digest != data["digest"]:
            raise ValueError("its digest is another")
        return found
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        hint = "Repair or delete the line, or move the file aside to begin anew."
        raise StorageError(f"Line {number} of {str(file())!r} is damaged: {error}.", hint=hint) from error


def digest_of(traces: Iterable[Trace]) -> str:
    """Identifies a set of examples; "" for none."""
    digests = sorted(one.digest for one in traces)
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16] if digests else ""


def sheets(traces: Iterable[Trace]) -> list[Sheet]:
    """Examples that begin alike, together."""
    found: dict[str, list[Example]] = {}
    for one in traces:
        example = replace(one.example, within=None)
        found.setdefault(example.context.messages[0].content, []).append(example)
    return list(found.values())
