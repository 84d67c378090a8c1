"""The tool that reads the files of skills, each within its own folder. Knows no agent: what a skill is, others say."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Protocol

from annotated_types import MaxLen, MinLen

from llmos.kernel.calls import Label, Traits
from llmos.tools.output import Output
from llmos.tools.tool import Failed, Retry, Tool
from llmos.tools.workspace import Workspace

MAX_TEXT = 200_000
MAIN = "SKILL.md"
_BRIEF = 200


class SkillFolder(Protocol):
    """A skill, as far as its files are read."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def description(self) -> str:
        """What it is for."""
        ...

    @property
    def folder(self) -> Path:
        """Where its files are."""
        ...

    @property
    def approved(self) -> bool:
        """Whether the user has approved it."""
        ...

    def label(self, path: str, data: bytes, /) -> Label:
        """Where the text of one of its files counts as coming from."""
        ...


class SkillReader(Tool[..., Output]):
    """A tool over some skills: their names and descriptions are its own description.

    Args:
        skills: Those that there are.
    """

    def __init__(self, skills: Iterable[SkillFolder]) -> None:
        self.skills = tuple(skills)
        known = {skill.name: skill for skill in self.skills}
        listed = "; ".join(f"{one.name}: {one.description[:_BRIEF]}" for one in self.skills if one.approved)

        def read_skill(
            name: Annotated[str, "the skill", MinLen(1), MaxLen(64)],
            path: Annotated[str, "a file of it", MaxLen(300)] = MAIN,
        ) -> Output:
            if name not in known:
                raise Retry(f"There is no skill {name!r}. There are: {', '.join(sorted(known)) or 'none'}.")
            return _read(known[name], path)

        super().__init__(
            read_skill,
            name="read_skill",
            description="Read how something is done." + (f" Skills: {listed}" if listed else ""),
            traits=lambda _: Traits(effect="reads", returns="user", repeatable=True, output_bytes=MAX_TEXT),
            examples=(),
            string=300,
            frame=None,
        )


def _read(skill: SkillFolder, path: str) -> Output:
    workspace = Workspace(skill.folder)
    with workspace.place(path) as place:
        inside = place.path
    data = workspace.read(inside, limit=MAX_TEXT)
    if b"\0" in data:
        raise Failed(f"{path!r} of the skill {skill.name!r} is no text.")
    text = data.decode("utf-8-sig", "replace")
    return Output(_body(text) if inside == MAIN else text, label=skill.label(inside, data))


def _body(text: str) -> str:
    """What stands below the front matter."""
    head, mark, body = text.partition("\n---")
    return body.partition("\n")[2].strip() if head.startswith("---") and mark else text
