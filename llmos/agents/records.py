"""What earlier steps gave, and which record of it the user's words select: "the largest file", "the file you found".

Knows plain JSON records, no tool.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from llmos.agents.vocabulary import concepts, plain_words
from llmos.kernel.calls import Label, Provenance

_CUT = "\n… "
_GREATEST = {"largest": "size", "biggest": "size", "longest": "size", "heaviest": "size", "newest": "time",
             "latest": "time", "last": "time"}  # fmt: skip
_LEAST = {"smallest": "size", "shortest": "size", "oldest": "time", "first": "time"}
_MEASURES = {"size": ("bytes", "size", "length"), "time": ("modified", "date", "time", "created", "updated")}
_POINTS = re.compile(
    r"\b(?:it|that|this|them|the (?:file|one|document|note|page)(?: (?:you|that|which) .*)?)\b", re.IGNORECASE
)
_NAMED = ("path", "file", "name", "url", "title")


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a step gave.

    Attributes:
        title: The call, for people.
        text, value: As the tool gave it back.
    """

    title: str
    text: str
    value: Any
    label: Label

    @property
    def whole(self) -> bool:
        """Nothing of it was cut away."""
        return _CUT not in self.text

    @property
    def plain(self) -> str:
        """It as it is written into something: a number without remarks, otherwise the text."""
        return self.number or self.text

    @property
    def number(self) -> str:
        """The number that it is; empty if it is none."""
        if isinstance(self.value, int | float) and not isinstance(self.value, bool):
            return f"{self.value:.12g}" if isinstance(self.value, float) else str(self.value)
        return ""

    @property
    def records(self) -> list[Mapping[str, Any]]:
        """Its records, if it is a list of them."""
        value: object = self.value
        if not isinstance(value, list):
            return []
        rows = cast("list[object]", value)
        return [cast("Mapping[str, Any]", row) for row in rows if isinstance(row, Mapping)]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A field of a record that the words select."""

    value: Any
    provenance: Provenance


def chosen(words: str, earlier: Sequence[Earlier], name: str) -> list[Chosen]:
    """Values of a field `name` in earlier records that the words select, the surest first; empty if none or several."""
    for one in reversed(earlier):
        rows = [row for row in one.records if isinstance(row.get(name), str) and row.get("kind") != "folder"]
        if not rows:
            continue
        found = (
            _extreme(words, rows) or _named(words, rows, name) or (_only(rows, name) if _POINTS.search(words) else [])
        )
        if found:
            return [Chosen(row[name], Provenance("record", one.label, one.title)) for row in found[:1]]
    return []


def _extreme(words: str, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The record with the most or the least of something."""
    for word in plain_words(words):
        measure = _GREATEST.get(word) or _LEAST.get(word)
        if measure is None:
            continue
        for key in _MEASURES[measure]:
            measured = [row for row in rows if isinstance(row.get(key), int | float | str)]
            if measured:
                ordered = sorted(measured, key=lambda row: row[key], reverse=word in _GREATEST)
                tied = len(ordered) > 1 and ordered[0][key] == ordered[1][key]
                return [] if tied else ordered[:1]
    return []


def _named(words: str, rows: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    """The record whose name shares words with the request, if there is one that shares more than the others."""
    said = set(concepts(words))
    scored = sorted(
        ((len(said & set(concepts(_stem(str(row[name]))))), place) for place, row in enumerate(rows)), reverse=True
    )
    if scored and scored[0][0] and (len(scored) == 1 or scored[0][0] > scored[1][0]):
        return [rows[scored[0][1]]]
    return []


def _stem(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0] or path


def _only(rows: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    """The record, if all speak of the same thing."""
    return [rows[0]] if len({row[name] for row in rows}) == 1 else []
