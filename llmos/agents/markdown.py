"""Agents from Markdown files: front matter says what an agent is and may do, the text below is its instructions.

The user's own are in `agents` beside the settings file, a project's in `.llmos/agents`. A project's agent counts only
while the user has approved exactly the bytes of its file, and takes nobody else's name. One file with a mistake hides
no other. Documentation: docs/agents-in-markdown.md.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from llmos.agents import approvals, frontmatter
from llmos.agents.agent import Agent
from llmos.agents.frontmatter import Sheet
from llmos.config import config_path
from llmos.errors import ConfigError, LlmosError
from llmos.kernel.budget import Budget
from llmos.kernel.calls import Level

if TYPE_CHECKING:
    from pydantic import BaseModel

PROJECT = Path(".llmos", "agents")
KEYS = {"name", "description", "tools", "engine", "level", "budget", "output", "examples", "skills"}
_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
_MAX_FILES = 200
_FIELDS = 32
_BOUNDS = tuple(one for one in Budget.__dataclass_fields__ if one != "deadline")
_TYPES: Mapping[str, Any] = {
    "text": str, "string": str, "number": float, "integer": int, "yes or no": bool, "boolean": bool,
    "texts": list[str], "numbers": list[float],
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Declared:
    """An agent with the file that it stands in.

    Attributes:
        text: The whole file.
        digest: SHA-256 of its bytes.
        approved: It is the user's own, or the user approved exactly this file.
        changed: The user approved it as it was before.
    """

    agent: Agent
    path: Path
    origin: Literal["user", "project"]
    text: str
    digest: str
    approved: bool
    changed: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """All agents in files.

    Attributes:
        agents: Those that can be started, by name.
        waiting: Those of the project that the user has not approved, by name.
        problems: What is to be told of files that can't be used.
    """

    agents: Mapping[str, Declared]
    waiting: Mapping[str, Declared]
    problems: tuple[str, ...] = ()

    @property
    def notices(self) -> tuple[str, ...]:
        """What is to be told of those that are not used."""
        told = [
            f"{one.path} {'has changed' if one.changed else 'brings the agent ' + repr(name)}, and is not used."
            f" `llmos agents approve {name}` shows it and asks."
            for name, one in self.waiting.items()
        ]
        return (*self.problems, *told)


def user_folder() -> Path:
    """Where the user's own agents are."""
    return config_path().with_name("agents")


def load(built_in: Collection[str], folder: Path | None = None) -> Found:
    """The agents of the user, and of the project in a folder (by default the current one).

    Args:
        built_in: Names that are taken.
    """
    found: dict[str, Declared] = {}
    waiting: dict[str, Declared] = {}
    problems: list[str] = []
    for origin, place in (("user", user_folder()), ("project", (folder or Path.cwd()) / PROJECT)):
        for path in _files(place):
            try:
                one = declared(path, "user" if origin == "user" else "project")
            except LlmosError as error:
                problems.append(str(error))
                continue
            name = one.agent.name
            if name in built_in or name in found or name in waiting:
                other = "comes with llmos" if name in built_in else "is another agent"
                problems.append(f"{path}:1: {name!r} {other}, so that this one is not used. Give it another name.")
            else:
                (found if one.approved else waiting)[name] = one
    return Found(found, waiting, tuple(problems))


def _files(place: Path) -> list[Path]:
    try:
        return sorted(path for path in place.iterdir() if path.suffix == ".md" and path.is_file())[:_MAX_FILES]
    except OSError:
        return []


def declared(path: Path, origin: Literal["user", "project"]) -> Declared:
    """The agent in a file.

    Raises:
        ConfigError: The file has a mistake; the message begins with its name and the line.
        StorageError: It can't be read.
    """
    data = frontmatter.read(path)
    sheet = frontmatter.parse(data, str(path))
    digest = approvals.digest_of({path.name: data})
    place = path.resolve()
    approved = origin == "user" or approvals.is_approved(place, digest)
    return Declared(
        agent=agent_of(sheet, path.stem),
        path=path,
        origin=origin,
        text=data.decode("utf-8-sig"),
        digest=digest,
        approved=approved,
        changed=not approved and approvals.was_approved(place),
    )


def approve(one: Declared) -> Declared:
    """Let an agent of a project be used as long as its file stays the same.

    Raises:
        StorageError: That can't be written down.
    """
    approvals.approve(one.path.resolve(), one.digest)
    return replace(one, approved=True, changed=False)


def agent_of(sheet: Sheet, stem: str) -> Agent:
    """The agent that a file describes.

    Args:
        stem: The file's name without its ending, which is the agent's unless it says another.

    Raises:
        ConfigError: It has a mistake.
    """
    sheet.only(KEYS)
    name = sheet.text("name", longest=64) or stem
    if not _NAME.fullmatch(name):
        raise sheet.wrong(
            "name",
            f"{name!r} is no name of an agent.",
            hint="Use small letters, digits and single '-', a letter first.",
        )
    if not sheet.body:
        raise ConfigError(f"{sheet.place}:1: there are no instructions below the front matter.")
    return Agent(
        name,
        description=sheet.text("description", longest=1024, needed=True),
        instructions=sheet.body,
        tools=sheet.texts("tools"),
        engine=sheet.text("engine", longest=64),
        output=_output(sheet, name),
        level=_level(sheet),
        budget=_budget(sheet),
        examples=sheet.texts("examples") or (),
        skills=sheet.texts("skills"),
    )


def _level(sheet: Sheet) -> Level | None:
    level = sheet.text("level", longest=100)
    if level and level not in get_args(Level):
        raise sheet.wrong("level", f"there is no level {level!r}.", hint=f"It is one of {', '.join(get_args(Level))}.")
    return cast("Level", level) if level else None


def _budget(sheet: Sheet) -> Budget | None:
    table = sheet.table("budget")
    for name, value in table.items():
        if name not in _BOUNDS:
            raise sheet.wrong("budget", f"the budget has no {name!r}.", hint=f"Known are {', '.join(_BOUNDS)}.")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise sheet.wrong("budget", f"{name!r} is {value!r} and no number from 0.")
    return Budget(**table) if table else None


def _output(sheet: Sheet, name: str) -> type[BaseModel] | None:
    """The model of `output`: a type for each field, or the values that it can have."""
    table = sheet.table("output")
    if not table:
        return None
    from pydantic import ConfigDict, create_model

    if len(table) > _FIELDS:
        raise sheet.wrong("output", f"it has {len(table)} fields; {_FIELDS} are allowed.")
    fields: dict[str, Any] = {}
    for field, written in table.items():
        if not field.isidentifier() or field.startswith("_"):
            raise sheet.wrong("output", f"{field!r} is no name of a field.", hint="Use letters, digits and '_'.")
        fields[field] = (_type(sheet, field, written), ...)
    title = "".join(part.capitalize() for part in re.split(r"[-_]", name))
    return create_model(title, __config__=ConfigDict(extra="forbid"), **fields)


def _type(sheet: Sheet, field: str, written: object) -> Any:  # noqa: ANN401  # a type
    choices = cast("list[object]", written) if isinstance(written, list) else []
    if choices and all(isinstance(one, str) for one in choices):
        return Literal[tuple(cast("list[str]", choices))]
    if isinstance(written, str) and written in _TYPES:
        return _TYPES[written]
    raise sheet.wrong(
        "output",
        f"{field!r} is {written!r}, which is no type.",
        hint=f"Write one of {', '.join(_TYPES)}, or a list of the texts that it can be.",
    )
