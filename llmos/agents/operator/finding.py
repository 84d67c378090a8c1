"""Finds the taught skill that a task is for: by its words, and where those are others, among what is near in meaning.

Knows no memory: who knows one says what is near.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmos.agents.operator import skills
from llmos.agents.operator.aligning import FITS, Fit, align
from llmos.agents.operator.page import origin_of
from llmos.agents.operator.skills import Skill
from llmos.errors import LlmosError

CLEAR = 0.1
"""How much better the best skill must fit than the next one."""

SUGGESTED = 0.5
"""How well the words of a skill must fit that is near in meaning."""

MANY = 200
"""From so many skills on only those that are near in meaning are looked at."""

Near = Callable[[str, int], Sequence[str]]
"""Names of skills that are near to a task in meaning, best first; at most so many."""


@dataclass(frozen=True, slots=True)
class Fitting:
    """A skill, with how the task's words stand to its own."""

    skill: Skill
    fit: Fit


def fitting(task: str, *, url: str = "", near: Near | None = None) -> Fitting | None:
    """The skill that a task is for; None where there is none, or it is not clear which.

    Args:
        task: The words.
        url: Where it is to be done; then only skills of its origin count. Without, a skill begins where it was shown.
        near: Who knows what is near in meaning.
    """
    known = skills.names()
    if len(known) > MANY and near is not None:
        known = list(near(task, 20))
    found = sorted((one for one in _rated(known, task, url)), key=lambda one: -one.fit.share)
    if found and found[0].fit.share >= FITS:
        alike = [one for one in found if found[0].fit.share - one.fit.share < CLEAR]
        here = [one for one in alike if one.skill.url == url] if len(alike) > 1 else alike
        return here[0] if len(here) == 1 else None
    if near is None or not found:
        return None
    by_name = {one.skill.name: one for one in found if one.fit.share >= SUGGESTED and _whole(one)}
    return next((by_name[name] for name in near(task, 3) if name in by_name), None)


def _whole(found: Fitting) -> bool:
    """Whether the words say all that the skill needs."""
    return all(one.name in found.fit.values for one in found.skill.parameters)


def _rated(names: Sequence[str], task: str, url: str) -> list[Fitting]:
    found: list[Fitting] = []
    for name in names:
        try:
            skill = skills.load(name)
        except LlmosError:
            continue  # a damaged file is told of by `llmos skill list`
        if not url or skill.origin == origin_of(url):
            found.append(Fitting(skill, align(skill, task)))
    return found
