"""A browser task from outside: what the operator is given, what it came to, and the report that the run leaves behind.

A task that was shown once is done as it was shown; what the user had chosen goes to memory. Shared by `Kernel.browse`
and the command line. Knows no terminal and no browser.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypedDict, TypeVar

from llmos.agents.operator import skills
from llmos.agents.operator.finding import Fitting, Near, fitting
from llmos.agents.operator.page import origin_of
from llmos.agents.operator.preferring import preferences
from llmos.agents.operator.skills import Skill
from llmos.agents.spans import of_kind
from llmos.config import MemoryOptions
from llmos.errors import ConfigError, ConstraintError, LlmosError, StorageError, Unverified

if TYPE_CHECKING:
    from pydantic import BaseModel

    from llmos.boot import Kernel
    from llmos.kernel.budget import Budget
    from llmos.kernel.calls import Level
    from llmos.kernel.journal import Record
    from llmos.memory.items import Kind
    from llmos.memory.memory import Memory
    from llmos.runs import Running
    from llmos.tools.browser.evidence import Question

OutputT = TypeVar("OutputT", covariant=True)
ModelT = TypeVar("ModelT", bound="BaseModel")

OPERATOR = "operator"
SKILL: Kind = "skill"
"""What memory has of taught skills."""

EVIDENCE = "browser"
"""In a run's folder: a folder for each process, with its steps, their pictures, and the report."""

MAX_STEPS = 40
_CALLS_PER_STEP = 12
"""A slider or a calendar takes several calls of a tool for what is one step to people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Browse:
    """A browser task.

    Attributes:
        task: What is to be done, in words.
        url: Where it begins; by default an address in the words.
        allow: Origins that may be opened besides those of the public internet: `http://localhost:8000`.
        profile: What the browser remembers under this name from earlier runs, and for later ones: logins.
        headed: The browser has a window.
        max_steps: So many actions at most.
        values: What goes into fields, by their names; a password is best the handle of a secret, `secret://shop`.
        schema: JSON schema of what is to be taken from the last page; empty for nothing.
        engine: The name of another engine that is asked where the kernel's own is not sure.
        skill: How it was shown (`llmos.agents.operator.skills.data_of`), and is done again; empty: by the words.
        typed: What the user typed when they showed it, which counts as their words.
    """

    task: str
    url: str = ""
    allow: tuple[str, ...] = ()
    profile: str = ""
    headed: bool = False
    max_steps: int = MAX_STEPS
    values: Mapping[str, str] = field(default_factory=dict[str, str])
    schema: Mapping[str, Any] = field(default_factory=dict[str, Any])
    engine: str = ""
    skill: Mapping[str, Any] = field(default_factory=dict[str, Any])
    typed: tuple[str, ...] = ()

    @property
    def inputs(self) -> dict[str, Any]:
        """What the operator gets besides the task, as JSON data."""
        return {
            "url": self.url, "allow": list(self.allow), "profile": self.profile, "headed": self.headed,
            "max_steps": self.max_steps, "values": dict(self.values), "output": dict(self.schema),
            "engine": self.engine, "skill": dict(self.skill),
        }  # fmt: skip

    @property
    def words(self) -> tuple[str, ...]:
        """What the user said: the task, and what was given with it, which therefore authorizes just as well."""
        given = [f"open {self.url}" if self.url else "", *(f"allow {origin}" for origin in self.allow)]
        given += [f"profile {self.profile}" if self.profile else ""]
        given += [f"{name}: {value}" for name, value in self.values.items()]
        return (self.task, *filter(None, given), *self.typed)

    @property
    def budget(self) -> Budget:
        """The default one, with calls enough for the steps."""
        from llmos.kernel.budget import DEFAULT

        return replace(DEFAULT, calls=self.max_steps * _CALLS_PER_STEP)


class Browsing(TypedDict, total=False):
    """What may be said with a task, as in `Browse`; `level` is how far it may go by itself, from L0 to L5."""

    url: str
    allow: tuple[str, ...]
    profile: str
    headed: bool
    max_steps: int
    values: Mapping[str, str]
    engine: str
    level: Level


@dataclass(frozen=True, slots=True, kw_only=True)
class Browsed(Generic[OutputT]):
    """What a browser task came to.

    Attributes:
        text: The answer, or what was done, in words.
        outcome: `done`; `unverified`: something could not be seen to have worked.
        output: What was taken from the last page, if an output type was asked for; otherwise None.
        sources: For each field of it where it stood: `ref` of the element, `place` (the text), `value`, `url`.
        url, title: Of the last page.
        steps: What was done, in words.
        reasons: What should be known about it.
        confidence: That of the least sure decision, 0 to 1.
        pid: The run's id.
        report: An HTML file with all steps and pictures.
    """

    text: str
    outcome: str
    output: OutputT
    sources: Mapping[str, Mapping[str, str]]
    url: str
    title: str
    steps: tuple[str, ...]
    reasons: tuple[str, ...]
    confidence: float | None
    pid: str
    report: Path | None


async def browse(kernel: Kernel, task: str, output: type[BaseModel] | None, more: Browsing) -> Browsed[Any]:
    """See `Kernel.browse`."""
    from llmos.config import data_dir

    level: Level = more.pop("level", "L3")
    job = Browse(task=task, schema={} if output is None else output.model_json_schema(), **more)  # type: ignore[misc]
    if kernel.folder is None:  # skills are kept in llmos's data folder
        job = await asyncio.to_thread(as_taught, job, kernel.settings.memory)
    running = await start(kernel, job, level=level)
    folder = kernel.folder or data_dir()
    try:
        found: Mapping[str, Any] = await running.result()
    except LlmosError as error:
        account_for(folder, running.pid, task, None, problem=problem_of(error))
        raise
    with suppress(StorageError):  # the task is done; what was mended is found again by the next run
        await asyncio.to_thread(skills.keep_healed, found)
    report = account_for(folder, running.pid, task, found)
    return browsed(found, output, pid=running.pid, report=report)


# ---- Taught skills


def again(job: Browse, skill: Skill) -> Browse:
    """A task as one that was shown; it begins where it was shown, unless the task says where on the same origin.

    Raises:
        ConfigError: The task is for another origin.
    """
    url = job.url or skill.url
    if origin_of(url) != skill.origin:
        raise ConfigError(
            f"{skill.name!r} was shown on {skill.origin}, and is not done on {origin_of(url) or url!r}.",
            hint="Teach it there.",
        )
    return replace(
        job, url=url, max_steps=max(job.max_steps, len(skill.steps) + 1), values={}, skill=skills.data_of(skill),
        typed=skill.typed,
    )  # fmt: skip


def as_taught(job: Browse, options: MemoryOptions) -> Browse:
    """A task as it was shown, if it is one that was; else the task as it is, as where values came with it.

    Args:
        options: Whose memory.
    """
    if job.skill or job.values:
        return job
    found = taught_for(job.task, url=job.url, options=options)
    return job if found is None else again(job, found.skill)


def taught_for(task: str, *, url: str = "", options: MemoryOptions | None = None) -> Fitting | None:
    """The skill that a task is for, by its words and by what memory finds near to them; None if there is none.

    Args:
        task: The words.
        url: Where it is to be done; by default at an address in the words.
        options: Whose memory.
    """
    if not skills.names():
        return None
    said = of_kind(task, "url")
    return fitting(task, url=url or (said[0].text if said else ""), near=_near(options or MemoryOptions()))


def _near(options: MemoryOptions) -> Near:
    def near(words: str, most: int) -> Sequence[str]:
        from llmos.runs import memory_of

        memory = memory_of(options)
        try:
            found = memory.search(words, limit=most, within=memory.filter(kinds=(SKILL,)))
            return [str(hit.item.metadata["skill"]) for hit in found.hits if "skill" in hit.item.metadata]
        except LlmosError:
            return ()  # the words alone decide then
        finally:
            memory.close()

    return near


def learn_from(found: Mapping[str, Any], job: Browse, memory: Memory, pid: str) -> None:
    """Keep what a run has shown: how a skill's steps were found, and what the user had chosen among options.

    Args:
        found: What the operator returned.
        memory: Whose choices they are.
        pid: The run's id.

    Raises:
        StorageError: It can't be written.
    """
    skills.keep_healed(found)
    for name, value in preferences(found, "\n".join((job.task, *job.values.values()))):
        memory.observe(name, value, source=f"run {pid}")


# ---- A run


async def start(kernel: Kernel, job: Browse, *, level: Level) -> Running:
    """Start the operator on a task.

    Raises:
        LlmosError: It can't be started.
    """
    return await kernel.spawn(OPERATOR, job.task, job.inputs, words=job.words, level=level, budget=job.budget)


def browsed(found: Mapping[str, Any], output: type[ModelT] | None, *, pid: str, report: Path | None) -> Browsed[Any]:
    """What the operator returned, read.

    Raises:
        Unverified: The task was not done.
        ConstraintError: What was taken from the page is not a value of `output`.
    """
    value: Mapping[str, Any] = found["value"] or {}
    if found["outcome"] == "failed":
        raise Unverified(
            " ".join(found["reasons"]) or "The browser task was not done.",
            hint=f"`llmos trace {pid}` shows what was done{f'; {report} has pictures' if report else ''}.",
        )
    taken: Any = None
    if output is not None:
        try:
            taken = output.model_validate(value.get("output", {}))
        except ValueError as error:  # pydantic's ValidationError is one
            raise ConstraintError(
                f"What the page says is not a {output.__name__!r}: {error}.",
                hint="Name the fields as the page does, or describe them in their `Field`.",
            ) from error
    return Browsed(
        text=found["text"], outcome=found["outcome"], output=taken, sources=value.get("sources", {}),
        url=value.get("url", ""), title=value.get("title", ""), steps=tuple(value.get("steps", ())),
        reasons=tuple(found["reasons"]), confidence=found["confidence"], pid=pid, report=report,
    )  # fmt: skip


def account_for(
    folder: Path, pid: str, task: str, found: Mapping[str, Any] | None, *, problem: str = ""
) -> Path | None:
    """Write the report of a run, with what a person was asked; None where it did nothing in a browser.

    Args:
        folder: The data folder.
        found: What the operator returned; None where it failed.
        problem: Why it failed.

    Raises:
        StorageError: It can't be written.
    """
    from llmos.runs import look
    from llmos.tools.browser.evidence import Account, write_report

    evidence = evidence_of(folder, pid)
    if not evidence.is_dir():
        return None
    _, records = look(folder, pid)
    value: Mapping[str, Any] = (found or {}).get("value") or {}
    sources: Mapping[str, Mapping[str, str]] = value.get("sources", {})
    account = Account(
        task=task,
        outcome="failed" if found is None else found["outcome"],
        answer=problem if found is None else "\n".join(filter(None, (found["text"], *found["reasons"]))),
        fields=[(name, one["value"], f"{one['place']} ({one['url']})") for name, one in sources.items()],
        questions=questions_of(records),
        run=pid,
    )
    return write_report(evidence, account)


def evidence_of(folder: Path, pid: str) -> Path:
    """The folder with a run's steps and pictures; there may be none yet.

    Args:
        folder: The data folder.
    """
    return folder / "runs" / pid / EVIDENCE / pid


def questions_of(records: Sequence[Record]) -> list[Question]:
    """What a person was asked before calls of a run, as the journal has it."""
    from llmos.tools.browser.evidence import Question

    found: list[Question] = []
    for record in records:
        decision: Mapping[str, Any] = json.loads(record.decision) if record.decision else {}
        if record.kind != "act" or decision.get("verdict") != "ask":
            continue
        shown = _shown(record)
        found.append(Question(shown=shown, reply=str(decision.get("user", "")), reason=str(decision.get("reason", ""))))
    return found


def _shown(record: Record) -> str:
    """A call with its arguments, a line each."""
    if not record.arguments:
        return record.title
    tool, arguments = json.loads(record.arguments)
    lines = [str(tool)]
    for name, value in arguments.items():
        if isinstance(value, dict):
            lines += [f"  {field}: {one}" for field, one in value.items()]  # pyright: ignore[reportUnknownVariableType]
        elif value not in ("", [], None):
            lines.append(f"{name}: {value}")
    return "\n".join(lines)


def problem_of(error: LlmosError) -> str:
    """An error in words, for the report."""
    return " ".join(filter(None, (error.message, error.hint)))
