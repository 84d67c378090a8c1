"""What memory knows of taught skills: told when one was shown, taken out when one is forgotten.

Knows no recorder and no terminal: `teaching` has them. Which skill a task is for, `llmos.browsing` finds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmos.agents.operator import skills
from llmos.agents.operator.skills import Skill
from llmos.browsing import SKILL
from llmos.config import MemoryOptions

if TYPE_CHECKING:
    from llmos.memory.memory import Memory


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
                tenant=memory.tenant, kind=SKILL, text=text, label="user", source=_source(skill.name),
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
    known = memory.store.items(memory.filter(kinds=(SKILL,), sources=(_source(name),), current=None))
    if known:
        memory.store.remove([one.id for one in known])
