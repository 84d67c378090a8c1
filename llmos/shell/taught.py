"""Taught skills as the command line uses them: which one a task is for, what memory knows of them, the run of one.

Knows no recorder and no terminal: `teaching` has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmos.agents.operator import skills
from llmos.agents.operator.finding import Fitting, fitting
from llmos.agents.operator.page import origin_of
from llmos.agents.operator.skills import Skill
from llmos.browsing import Browse
from llmos.config import MemoryOptions
from llmos.errors import ConfigError, LlmosError

if TYPE_CHECKING:
    from llmos.memory.items import Kind
    from llmos.memory.memory import Memory

_KIND: Kind = "skill"


# ---- A run


@dataclass(frozen=True, kw_only=True)
class Again(Browse):
    """A browser task that is done as it was shown.

    Attributes:
        skill: How, as data.
        typed: What the user typed when they showed it, which counts as their words.
    """

    skill: Mapping[str, Any] = field(default_factory=dict[str, Any])
    typed: tuple[str, ...] = ()

    @property
    def inputs(self) -> dict[str, Any]:
        """What the operator gets besides the task, as JSON data."""
        return {**super().inputs, "skill": dict(self.skill)}

    @property
    def words(self) -> tuple[str, ...]:
        """What the user said."""
        return (*super().words, *self.typed)


def again(job: Browse, skill: Skill) -> Again:
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
    return Again(
        task=job.task, url=url, allow=job.allow, profile=job.profile, headed=job.headed,
        max_steps=max(job.max_steps, len(skill.steps) + 1), schema=job.schema, engine=job.engine,
        skill=skills.data_of(skill), typed=skill.typed,
    )  # fmt: skip


def as_taught(job: Browse, options: MemoryOptions) -> Browse:
    """A task as it was shown, if it is one that was; else the task as it is.

    Args:
        options: Whose memory.
    """
    found = taught_for(job.task, url=job.url, options=options)
    return job if found is None or job.values else again(job, found.skill)


def taught_for(task: str, *, url: str = "", options: MemoryOptions | None = None) -> Fitting | None:
    """The skill that a task is for, by its words and by what memory finds near to them; None if there is none.

    Args:
        task: The words.
        url: Where it is to be done.
        options: Whose memory.
    """
    if not skills.names():
        return None

    def near(words: str, most: int) -> Sequence[str]:
        from llmos.runs import memory_of

        memory = memory_of(options or MemoryOptions())
        try:
            found = memory.search(words, limit=most, within=memory.filter(kinds=(_KIND,)))
            return [str(hit.item.metadata["skill"]) for hit in found.hits if "skill" in hit.item.metadata]
        except LlmosError:
            return ()  # the words alone decide then
        finally:
            memory.close()

    return fitting(task, url=url, near=near)


# ---- Memory


def register(skill: Skill, options: MemoryOptions) -> None:
    """Tell memory of a skill, in place of what it knew under that name.

    Raises:
        StorageError: It can't be written.
    """
    from llmos.memory.items import NewItem
    from llmos.runs import memory_of

    memory = memory_of(options)
    try:
        _take_out(memory, skill.name)
        text = f"{skills.fill(skill.task, {one.name: one.name for one in skill.parameters})}\n{skill.told}"
        memory.store.add([
            NewItem(
                tenant=memory.tenant, kind=_KIND, text=text, label="user", source=_source(skill.name),
                metadata={"skill": skill.name, "url": skill.url},
            )
        ])  # fmt: skip
    finally:
        memory.close()


def unregister(name: str, options: MemoryOptions) -> None:
    """Have memory forget a skill.

    Raises:
        StorageError: It can't be written.
    """
    from llmos.runs import memory_of

    memory = memory_of(options)
    try:
        _take_out(memory, name)
    finally:
        memory.close()


def _source(name: str) -> str:
    return f"taught {name}"


def _take_out(memory: Memory, name: str) -> None:
    if not memory.exists:
        return
    known = memory.store.items(memory.filter(kinds=(_KIND,), sources=(_source(name),), current=None))
    if known:
        memory.store.remove([one.id for one in known])
