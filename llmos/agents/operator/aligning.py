"""Lays the words of a task beside those that a skill was taught with: how well they fit, and what stands for what.

The same words in the same order but for the parameters are recognized first; else both are aligned word by word
(Needleman and Wunsch 1970), a parameter taking one word or more. Knows no page.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from llmos.agents.operator.lexicon import form_of, lexicon, means
from llmos.agents.operator.phrases import Said
from llmos.agents.operator.skills import Parameter, Skill

FITS = 0.75
"""From this fit on a skill is used by itself for a task."""

_HOLE = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_WORD = re.compile(r"[^\W_]+(?:['\u2019._@+:/-]+[^\W_]+)*|[^\w\s]")
_QUOTES = "\"“”'`«»"
_MOST = 400
_VERB = 3.0
"""What the first word that says something counts, where others count 1: mostly what is to be done."""

_OTHER = 0.5
"""What is left of the fit where that word is missing."""

_SMALL, _SIGN = 0.4, 0.2
"""What small words and signs count."""

_PARTING, _PARTED = ",;:", 0.6
"""Signs that a value hardly goes on after, and what one in a value costs."""

_HOLE_LEFT = 2.0
"""What a parameter without a value costs."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How a task's words stand to a skill's.

    Attributes:
        share: 1 for the same words, 0 for none of them.
        values: By parameter, where the task says it.
    """

    share: float
    values: dict[str, Said] = field(default_factory=dict[str, Said])


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    start: int
    end: int
    hole: str = ""

    @property
    def weight(self) -> float:
        """How much it says."""
        if not self.text[0].isalnum():
            return _SIGN
        return _SMALL if self.text.lower() in lexicon().stop else 1.0


def align(skill: Skill, task: str) -> Fit:
    """How well a task is the one that a skill is for, with the values for its parameters."""
    known = {one.name: one for one in skill.parameters}
    exact = _exact(skill.task, task, known)
    if exact is not None:
        return Fit(1.0, exact)
    return _near(skill.task, task, known)


def _exact(pattern: str, task: str, known: dict[str, Parameter]) -> dict[str, Said] | None:
    """Values where the words are the same; each as short as can be."""
    parts: list[str] = []
    place = 0
    met: set[str] = set()
    stripped = pattern.strip().rstrip(".")
    for hole in _HOLE.finditer(stripped):
        parts.append(_literal(stripped[place : hole.start()]))
        name = hole[1]
        one = known.get(name)
        inner = r"[^\n\"“”]+?" if one is not None and one.quoted else r".+?"
        parts.append(f"(?P={name})" if name in met else f"(?P<{name}>{inner})")
        met.add(name)
        place = hole.end()
    parts.append(_literal(stripped[place:]))
    found = re.fullmatch(r"\s*" + "".join(parts) + r"\s*\.?\s*", task, re.IGNORECASE | re.DOTALL)
    if found is None:
        return None
    return {name: _said(task, *found.span(name)) for name in met}


def _literal(text: str) -> str:
    words = re.split(r"(\s+)", text)
    return "".join(r"\s+" if word.isspace() else re.escape(word) for word in words if word)


def _said(task: str, start: int, end: int) -> Said:
    """A value without blanks and quotes around it."""
    while start < end and task[start].isspace():
        start += 1
    while end > start and task[end - 1].isspace():
        end -= 1
    quoted = start > 0 and task[start - 1] in _QUOTES and end < len(task) and task[end] in _QUOTES
    if end - start > 1 and task[start] in _QUOTES and task[end - 1] in _QUOTES:
        return Said(task[start + 1 : end - 1], start + 1, end - 1, quoted=True)
    return Said(task[start:end], start, end, quoted=quoted)


def _tokens(text: str, known: dict[str, Parameter]) -> list[_Token]:
    found: list[_Token] = []
    place = 0
    for hole in _HOLE.finditer(text):
        if hole[1] not in known:
            continue
        found += [_Token(one[0], *one.span()) for one in _WORD.finditer(text, place, hole.start())]
        found.append(_Token(hole[0], *hole.span(), hole[1]))
        place = hole.end()
    return found + [_Token(one[0], *one.span()) for one in _WORD.finditer(text, place)]


def _near(pattern: str, task: str, known: dict[str, Parameter]) -> Fit:
    mine, theirs = _tokens(pattern, known)[:_MOST], _tokens(task, {})[:_MOST]
    if not mine or not theirs:
        return Fit(0.0)
    weights = _weights(mine)
    cost, taken = _path(mine, weights, theirs)
    values: dict[str, Said] = {}
    for place, (first, last) in taken.items():
        said = _said(task, theirs[first].start, theirs[last - 1].end)
        if said.text:
            values.setdefault(mine[place].hole, said)
    share = max(0.0, 1.0 - cost / max(sum(weights), 1.0))
    verb = next((one.text.lower() for one, weight in zip(mine, weights, strict=True) if weight == _VERB), "")
    if verb and not any(means(verb, one.text.lower()) for one in theirs):
        share *= _OTHER  # as alike as the rest may be, something else is to be done
    return Fit(share, values)


def _weights(tokens: Sequence[_Token]) -> list[float]:
    """How much each word of a skill counts; parameters half a word."""
    weights = [0.5 if one.hole else one.weight for one in tokens]
    verb = next((place for place, one in enumerate(tokens) if not one.hole and one.weight == 1.0), None)
    if verb is not None:
        weights[verb] = _VERB
    return weights


def _path(
    mine: Sequence[_Token], weights: Sequence[float], theirs: Sequence[_Token]
) -> tuple[float, dict[int, tuple[int, int]]]:
    """The cheapest alignment: its cost, and for each parameter's place the words that it takes."""
    rows, columns = len(mine) + 1, len(theirs) + 1
    best = [[float("inf")] * columns for _ in range(rows)]
    back: list[list[tuple[int, int]]] = [[(0, 0)] * columns for _ in range(rows)]
    best[0][0] = 0.0

    def offer(row: int, column: int, cost: float, origin: tuple[int, int]) -> None:
        if cost < best[row][column]:
            best[row][column], back[row][column] = cost, origin

    for row in range(rows):
        for column in range(columns):
            here, origin = best[row][column], (row, column)
            if column < len(theirs):
                offer(row, column + 1, here + theirs[column].weight, origin)
            if row == len(mine):
                continue
            token = mine[row]
            if token.hole:
                offer(row + 1, column, here + _HOLE_LEFT, origin)
                parted = 0
                for end in range(column + 1, columns):
                    parted += theirs[end - 1].text in _PARTING
                    offer(row + 1, end, here + _length(end - column) + _PARTED * parted, origin)
                continue
            offer(row + 1, column, here + weights[row], origin)
            if column < len(theirs):
                same = form_of(token.text.lower()) == form_of(theirs[column].text.lower())
                offer(row + 1, column + 1, here + (0.0 if same else max(weights[row], theirs[column].weight)), origin)
    taken: dict[int, tuple[int, int]] = {}
    row, column = rows - 1, columns - 1
    while (row, column) != (0, 0):
        before = back[row][column]
        if before[0] == row - 1 and mine[before[0]].hole and column > before[1]:
            taken[before[0]] = (before[1], column)
        row, column = before
    return best[rows - 1][columns - 1], taken


def _length(words: int) -> float:
    """What the length of a value costs: it is rather short, but a long one is no other task."""
    return min(0.15 * (words - 1), 0.3) + 0.005 * words
