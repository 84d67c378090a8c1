"""Finds the control of a taught step on a page as it is now.

By role and name, if only one has them; else by label and what stands around it; else by how alike it is altogether,
which counts only with a clear margin over the next one. Deterministic; whom to ask where it stays open is decided in
`replaying`. Ids, classes and places in the document play no part, but among controls that are alike in all else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Literal

from llmos.agents.operator.matching import echoes
from llmos.agents.operator.page import FIELDS, Page, Part, plain
from llmos.agents.operator.skills import Step, says

ALIKE = 0.6
"""How alike the best control must be, of 1."""

MARGIN = 0.08
"""How far the next one must be behind it."""

CANDIDATE = 0.3
"""What is less alike is no candidate at all."""

_ROLES = (
    frozenset({"button", "clickable", "img", "link", "menuitem", "tab", "option", "listitem", "treeitem", "heading"}),
    frozenset({"checkbox", "switch", "menuitemcheckbox"}),
    frozenset({"textbox", "searchbox", "combobox", "spinbutton"}),
    frozenset({"combobox", "listbox"}),
)
"""Roles that the same control may have, written in another way."""

By = Literal["name", "neighbours", "likeness", "nobody"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A control with how alike it is to the one that was shown, 0 to 1."""

    part: Part
    likeness: float


@dataclass(frozen=True, slots=True)
class Located:
    """What was found for a step.

    Attributes:
        part: The control; None where it stays open.
        by: What it was found by.
        candidates: Those that it may be, the likeliest first.
    """

    part: Part | None
    by: By
    candidates: tuple[Candidate, ...] = ()


def locate(page: Page, step: Step, task: str = "", *, free: bool = False) -> Located:
    """Find the control of a step.

    Args:
        page: The page as it is.
        step: The step, with the values of this time in place of its parameters.
        task: The task's words; where a page only repeats them, they say nothing of what stands where.
        free: The words name the control, and say no more: of several with that name the first is as good as any.
    """
    parts = [one for one in page.parts.values() if _can(one, step, page)]
    exact = [
        one for one in parts if one.role == step.role and (says(step.name, one.name) if step.name else not one.name)
    ]
    same = [one for one in exact if one.name == step.name]
    exact = same if step.name and same else exact  # capitals tell some controls apart
    if step.name and len(exact) == 1:
        return Located(exact[0], "name", (Candidate(exact[0], 1.0),))
    known = _Around(page, task)
    if (one := _neighbours(known, exact, step)) is not None:
        return Located(one, "neighbours", (Candidate(one, 1.0),))
    if free and step.name and exact:
        return Located(exact[0], "likeness", tuple(Candidate(one, 1 / len(exact)) for one in exact))
    rated = [Candidate(one, _likeness(known, one, step, parts)) for one in parts]
    rated = sorted((one for one in rated if one.likeness >= CANDIDATE), key=lambda one: -one.likeness)
    if rated and rated[0].likeness >= ALIKE:
        behind = rated[1].likeness if len(rated) > 1 else 0.0
        if rated[0].likeness - behind >= MARGIN:
            return Located(rated[0].part, "likeness", tuple(rated))
        alike = [one.part for one in rated if rated[0].likeness - one.likeness < 0.01]
        if (one := _same(alike)) is not None:
            return Located(one, "likeness", tuple(rated))
    return Located(None, "nobody", tuple(rated))


def _can(part: Part, step: Step, page: Page) -> bool:
    """Whether an action can be taken on a control at all."""
    if "disabled" in part.states or (page.modal and not part.modal):
        return False
    if step.action == "fill":
        return part.editable or part.kind in ("file", "range", "color") or part.role in FIELDS or bool(part.options)
    if step.action == "select":
        return bool(part.options) or part.role in ("combobox", "listbox")
    return True


def _neighbours(known: _Around, exact: Sequence[Part], step: Step) -> Part | None:
    """The one of some controls with the same role and name that has the same label and surroundings."""
    left = list(exact)
    if step.beside:
        extents = {one.ref: known.extent(one, step.beside) for one in left}
        least = min(extents.values(), default=math.inf)
        left = [one for one in left if extents[one.ref] == least] if math.isfinite(least) else []
        if len(left) == 1:
            return left[0]
    evidence = bool(step.beside)
    if step.label:
        same = [one for one in left if says(step.label, one.label)]
        left, evidence = (same, True) if same else (left, evidence)
        if len(left) == 1 and same:
            return left[0]
    if step.near:
        same = [one for one in left if says(step.near, one.near[: len(step.near)])]
        if len(same) == 1:
            return same[0]
    return left[0] if len(left) == 1 and evidence else None


def _same(alike: Sequence[Part]) -> Part | None:
    """The first of some controls that are one and the same to whoever looks: links to one address, one in another."""
    first = alike[0]
    if all(one.href and one.href == first.href for one in alike):
        return first
    return None


class _Around:
    """What stands around the controls of one page."""

    def __init__(self, page: Page, task: str) -> None:
        self.page = page
        self._texts = [one for one in page.texts if not echoes(one.text, task)]
        self._known: dict[tuple[tuple[int, ...], str], int] = {}

    def extent(self, part: Part, text: str) -> float:
        """How many texts the smallest structure around a control has that also has this one; infinite if none has.

        A control that says it itself has 0. Where no structure has both, the way in reading order counts.
        """
        if _says_it(part.name, text) or _says_it(part.label, text):
            return 0.0
        for depth in range(len(part.path), 0, -1):
            if size := self._size(part.path[:depth], text):
                return float(size)
        places = [one.at for one in self._texts if _says_it(one.text, text) and one.ref != part.ref]
        if part.at < 0 or not places:
            return math.inf
        return 1000.0 + min(abs(at - part.at) + (0.5 if at > part.at else 0.0) for at in places)

    def _size(self, path: tuple[int, ...], text: str) -> int:
        key = (path, text)
        if key not in self._known:
            inside = [one for one in self._texts if one.path[: len(path)] == path]
            self._known[key] = len(inside) if any(_says_it(one.text, text) for one in inside) else 0
        return self._known[key]


def _says_it(text: str, wanted: str) -> bool:
    core = plain(wanted)
    return f" {core} " in f" {plain(text)} " if core else bool(wanted) and wanted in text


def _likeness(known: _Around, part: Part, step: Step, others: Sequence[Part]) -> float:
    """How alike a control is to the one of a step, each of its marks by its weight."""
    marks: list[tuple[float, float]] = [(3.0, _role(part, step))]
    if step.name:
        marks.append((4.0, _text(step.name, part.name)))
    else:
        marks.append((2.0, float(not part.name)))
    if step.beside:
        extent = known.extent(part, step.beside)
        peers = [one for one in others if one.role == part.role and bool(one.name) == bool(part.name)]
        least = min((known.extent(one, step.beside) for one in peers), default=math.inf)
        if not math.isfinite(extent) or extent > least:
            return 0.0  # in whose row it is decides what is done
        marks.append((4.0, 1.0))
    if step.label:
        readable = _text(step.label, part.label or part.name)
        marks.append((1.5 if step.name or step.role in FIELDS else 0.8, readable))
    if step.near:
        marks.append((1.0, _text(step.near, part.near)))
    marks += [(1.0, float(part.tag == step.tag)), (1.0, float(part.kind == step.kind))]
    if step.width or step.height:
        marks.append((0.8, _size(part, step)))
    equal = [one for one in others if (one.role, one.name) == (part.role, part.name)]
    place = 1 + next((at for at, one in enumerate(equal) if one.ref == part.ref), 0)
    alike = 1.0 if (place, len(equal)) == (step.place, step.among) else 0.4 if place == step.place else 0.0
    marks.append((0.8, alike))
    return sum(weight * fit for weight, fit in marks) / sum(weight for weight, _ in marks)


def _role(part: Part, step: Step) -> float:
    if part.role == step.role:
        return 1.0
    return 0.5 if any(part.role in one and step.role in one for one in _ROLES) else 0.0


def _size(part: Part, step: Step) -> float:
    wide, high = part.box[2], part.box[3]
    if not (wide and high and step.width and step.height):
        return 0.0
    return min(wide, step.width) / max(wide, step.width) * min(high, step.height) / max(high, step.height)


@lru_cache(maxsize=8192)
def _text(pattern: str, text: str) -> float:
    """How alike two texts are; parts of the first that may be anything are not counted."""
    if says(pattern, text):
        return 1.0
    one, other = plain(pattern.strip("…")), plain(text)
    if not one or not other:
        return 0.0
    if one == other:
        return 1.0
    ratio = SequenceMatcher(None, one, other).ratio()
    mine, theirs = set(one.split()), set(other.split())
    shared = len(mine & theirs) / len(mine | theirs)
    return max(0.9 * shared, ratio if ratio > 0.6 else 0.5 * ratio)
