"""Skills: folders with a `SKILL.md` that says how something is done (https://agentskills.io).

Name and description are always known; the text is read when a task is about it, and other files of the folder when the
text or the task names them. Reading is a tool's call (`read_skill`), so that it is journaled and labelled. Knows how
skills are found and chosen, not how their files are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from llmos.agents import approvals, frontmatter
from llmos.agents.vocabulary import concepts
from llmos.config import config_path
from llmos.errors import ConfigError, LlmosError, StorageError
from llmos.kernel.calls import Label
from llmos.kernel.process import Process
from llmos.messages import Message

READ_SKILL = "read_skill"
"""The tool that reads them."""

FILE = "SKILL.md"
PROJECT = (Path(".llmos", "skills"), Path(".agents", "skills"))
MAX_FILES = 200
MAX_BYTES = 4 * 1024 * 1024
MAX_LOADED = 2
"""Skills whose text is read for one task."""

RELEVANT = 0.25
"""How much of what a skill says of itself, rare words counting more, a task must share."""

_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_KEYS = {"name", "description", "license", "compatibility", "metadata", "allowed-tools"}
_FILES = re.compile(r"[\w./-]+\.(?:md|txt|csv|json|toml|ya?ml|py|sh)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """A skill as it was found.

    Attributes:
        folder: Where its files are.
        origin: Whose it is.
        digest: SHA-256 over all its files.
        approved: It is the user's own, or the user approved exactly these files.
        files: SHA-256 of each file, by its path in the folder.
        body: The text, as it was found.
    """

    name: str
    description: str
    folder: Path
    origin: Literal["user", "project"]
    digest: str = ""
    approved: bool = False
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    body: str = ""

    def label(self, path: str, data: bytes, /) -> Label:
        """Where the text of one of its files, as it is now, counts as coming from."""
        if self.origin == "user":
            return "user"
        same = self.files.get(path) == approvals.digest_of({path: data})
        return "user" if self.approved and same else "files"


@dataclass(frozen=True, slots=True)
class FoundSkills:
    """All skills that can be used, by name, and what is to be told of those that can't."""

    skills: Mapping[str, Skill]
    problems: tuple[str, ...] = ()


def user_folder() -> Path:
    """Where the user's own skills are."""
    return config_path().with_name("skills")


def load(folder: Path | None = None) -> FoundSkills:
    """The skills of the user, and of the project in a folder (by default the current one).

    A project's can't take the name of one of the user's. One that is not approved can be used; what it says then counts
    as text of a file.
    """
    project = folder or Path.cwd()
    found: dict[str, Skill] = {}
    problems: list[str] = []
    places = [("user", user_folder()), *(("project", project / place) for place in PROJECT)]
    for origin, place in places:
        for path in _folders(place):
            try:
                skill = _skill(path, "user" if origin == "user" else "project")
            except LlmosError as error:
                problems.append(str(error))
                continue
            if skill.name in found:
                problems.append(f"{path / FILE}: there is another skill {skill.name!r}, so that this one is not used.")
            else:
                found[skill.name] = skill
    return FoundSkills(found, tuple(problems))


def _folders(place: Path) -> list[Path]:
    try:
        return sorted(one for one in place.iterdir() if (one / FILE).is_file())
    except OSError:
        return []


def _skill(folder: Path, origin: Literal["user", "project"]) -> Skill:
    place = str(folder / FILE)
    head = frontmatter.read(folder / FILE)
    sheet = frontmatter.parse(head, place)
    sheet.only(_KEYS)
    name = sheet.text("name", longest=64, needed=True)
    if not _NAME.fullmatch(name):
        raise sheet.wrong("name", f"{name!r} is no name of a skill.", hint="Use small letters, digits and single '-'.")
    if name != folder.name:
        raise sheet.wrong("name", f"the skill {name!r} is in a folder named {folder.name!r}.", hint="Name them alike.")
    description = sheet.text("description", longest=1024, needed=True)
    files = {} if origin == "user" else dict(_contents(folder))
    digest = approvals.digest_of(files) if files else ""
    return Skill(
        name=name,
        description=description,
        folder=folder,
        origin=origin,
        digest=digest,
        approved=origin == "user" or approvals.is_approved(folder.resolve(), digest),
        files={path: approvals.digest_of({path: data}) for path, data in files.items()},
        body=sheet.body,
    )


def _contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of a project's skill.

    Raises:
        StorageError: One can't be read.
        ConfigError: There are too many, or they are too large.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    size = 0
    for path in paths:
        try:
            size += path.stat().st_size
            if len(paths) > MAX_FILES or size > MAX_BYTES:
                raise ConfigError(
                    f"{folder / FILE}:1: the skill has more than {MAX_FILES} files or {MAX_BYTES:,} bytes."
                )
            yield path.relative_to(folder).as_posix(), path.read_bytes()
        except OSError as error:
            raise StorageError(f"{str(path)!r} can't be read: {error.strerror or error}.") from error


# -- which one, for a task


def relevant(task: str, skills: Sequence[Skill]) -> list[Skill]:
    """The skills that a task is about, the likeliest first: those it names, and those that speak of the same things."""
    said = set(concepts(task))
    scored: list[tuple[float, str, Skill]] = []
    for skill in skills:
        named = set(concepts(skill.name)) <= said
        about = set(concepts(f"{skill.name} {skill.description}"))
        weights = {word: 1.0 / sum(word in _words(one) for one in skills) for word in about}
        # of what the task is about, and not of what the skill is: long descriptions would never be reached
        share = sum(weights.get(word, 0.0) for word in said) / max(len(said), 1)
        if named or (share >= RELEVANT and len(said & about) > 1):
            scored.append((share + named, skill.name, skill))
    return [skill for _, _, skill in sorted(scored, key=lambda one: (-one[0], one[1]))][:MAX_LOADED]


def _words(skill: Skill) -> set[str]:
    return set(concepts(f"{skill.name} {skill.description}"))


def named_files(body: str, task: str, skill: Skill) -> list[str]:
    """Files of a skill that its text names and that a task is about."""
    said = set(concepts(task)) - set(concepts(skill.name))
    found: list[str] = []
    for path in dict.fromkeys(_FILES.findall(body)):
        clean = path.removeprefix("./")
        if clean != FILE and (path in task or said & set(concepts(Path(clean).stem))):
            found.append(clean)
    return found[:MAX_LOADED]


@dataclass(frozen=True, slots=True)
class Skilled:
    """Instructions with the skills that a task is about.

    Attributes:
        instructions: With the texts that the user trusts.
        texts: All that was read, by the skill's name.
    """

    instructions: str
    texts: tuple[tuple[str, str], ...] = ()


async def with_skills(process: Process, instructions: str, task: str, names: Sequence[str] | None = None) -> Skilled:
    """Instructions with the texts of the skills that a task is about.

    What is no more trusted than a file is heard as material, in a turn of its own, and not as instructions.

    Args:
        names: Only these skills; None for all that there are.
    """
    device: Any = process.entry.devices.get(READ_SKILL)
    known: Sequence[Skill] = getattr(device, "skills", ()) if process.entry.level != "L0" else ()
    parts = [instructions] if instructions else []
    read: list[tuple[str, str]] = []
    for skill in relevant(task, [one for one in known if names is None or one.name in names]):
        result = await process.act(READ_SKILL, {"name": skill.name})
        if result.failed or result.retry:
            continue
        texts = [(result.text, result.label)]
        for path in named_files(result.text, task, skill):
            more = await process.act(READ_SKILL, {"name": skill.name, "path": path})
            if not (more.failed or more.retry):
                texts.append((f"{path}:\n{more.text}", more.label))
        read += [(skill.name, text) for text, _ in texts]
        for text, label in texts:
            if label == "user":
                parts.append(text)
            else:
                process.hear(Message("user", f"From the skill {skill.name} of this folder:\n{text}"))
    return Skilled("\n\n".join(parts), tuple(read))
