"""What the model may say in each of the kernel's jobs: values are spans of what it has read, so none can be invented.

Text values are runs of whole words of the request, of earlier results or of passages; numbers are those that stand
there, in digits or as words; the rest is as the schema says. In llguidance's dialect of Lark, whose `substring_chunks`
is a suffix automaton. Knows no engine and no tool's insides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from llmos.agents.jobs import NOT_FOUND, Done
from llmos.agents.spans import Kind, of_kind
from llmos.agents.vocabulary import vocabulary
from llmos.messages import Grammar, ToolSpec

_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
NUMBERS = {word: number for number, word in enumerate(_SMALL)}
"""Numbers as people write them."""

_CHUNK = re.compile(r"\w+|\s+|[^\w\s]")
_WHOLE: tuple[Kind, ...] = ("url", "path", "date", "clock")
"""What is one value: no part of it can be said."""
_CALL = re.compile(r"[\w.]+\((?:[^()\n]|\([^()\n]*\))*\)")
"""A call in a program, likewise."""
_DIGITS = r"\d+(?:,\d{3}(?!\d))*(?:\.\d+)?"
_NUMBER = re.compile(rf"(?<![\w.])-?{_DIGITS}(?!\w)|(?<=[^\w.]){_DIGITS}|^{_DIGITS}")
_WORD = re.compile(r"[A-Za-z]+")
_TEXT = 'TEXT: "-"? SPAN | "today" | "now"'
"""What a text may be: words that stand there, also with a minus for a time before; and what is meant unsaid."""

_FORMULA = r"""
FORMULA: TERM (" " /[-+*\/^]|of|to|mod/ " " TERM)+
TERM: "("* NUMBER? ("%" | " percent")? ")"*
"""
"""A sum of numbers that stand there, or that a word stands for: half of it is `/ 2`."""

_CONVERSION = r"""
CONVERSION: NUMBER " " UNIT (" in " | " to ") UNIT
"""
"""A quantity in another unit, in whatever order they stand there."""

_UNSAID: Mapping[str, str] = {
    "half": "2", "halve": "2", "twice": "2", "double": "2", "doubled": "2", "pair": "2", "triple": "3", "thirds": "3",
    "third": "3", "quarter": "4", "dozen": "12", "week": "7",
}  # fmt: skip
"""Numbers that words stand for."""

_NOTHING = rf"/{NOT_FOUND.partition(' ')[0]}(.|\n)*/"
"""How an answer does not begin: a model that would say that there is none must not end up with `notable` instead."""

_MOST_ITEMS = 12


def arguments(
    tool: ToolSpec, request: str, done: Sequence[Done] = (), given: Mapping[str, Any] | None = None
) -> Grammar:
    """The arguments of a call: a JSON object in the order of the schema, as `jobs.arguments` writes it.

    Args:
        given: Arguments that are settled; the words that they are can't be others as well.
    """
    chunks = _chunks(request, "quoted", *_WHOLE)
    for one in done:
        chunks += ["\n", *_chunks(one.result, *_WHOLE)]
    return _writer(chunks, given or {}).object(tool.parameters, nullable=False)


def fields(schema: Mapping[str, Any], text: str, given: Mapping[str, Any] | None = None) -> Grammar:
    """Values out of a text: a JSON object with every field, null where the text does not say; `given` as before."""
    every = {**schema, "required": list(schema.get("properties", {}))}
    return _writer(_chunks(text, *_WHOLE), given or {}).object(every, nullable=True)


def answer(passages: Sequence[str]) -> Grammar:
    """An answer out of numbered passages, with the number of the one where it stands, as `jobs.found` writes it."""
    rules: list[str] = []
    names: list[str] = []
    for number, text in enumerate(passages, 1):
        # one terminal, so that the space before the number is not taken for one of the passage
        pieces = _CHUNK.findall(" ".join(text.split()))
        rules += [f"P{number}: {_substring(pieces)} & ~{_NOTHING}", f'A{number}: P{number} " [{number}]"']
        names.append(f"A{number}")
    return Grammar("\n".join([f"start: {' | '.join(names)}", *rules, ""]))


def numbers(text: str) -> tuple[str, ...]:
    """The numbers that stand in a text, as JSON writes them, in their order."""
    found: dict[str, None] = {}
    for match in re.finditer(rf"{_NUMBER.pattern}|{_WORD.pattern}", text):
        said = match[0]
        if said.lower() in NUMBERS:
            found[str(NUMBERS[said.lower()])] = None
        elif any(character.isdigit() for character in said):
            value = float(said.replace(",", ""))
            found[str(int(value)) if value.is_integer() and "." not in said else json.dumps(value)] = None
    return tuple(found)


def _chunks(text: str, *whole: Kind) -> list[str]:
    """A text in pieces: words, blanks, marks, and what is one value."""
    values = [match.span() for match in _CALL.finditer(text)]
    values += [(one.start, one.start + len(one.text)) for one in of_kind(text, *whole)]
    found: list[str] = []
    end = 0
    for start, stop in sorted(values):
        if start >= end:
            found += [*_CHUNK.findall(text[end:start]), text[start:stop]]
            end = stop
    return [*found, *_CHUNK.findall(text[end:])]


def _writer(chunks: Sequence[str], given: Mapping[str, Any]) -> _Writer:
    """For values out of pieces, less those that are settled."""
    runs = [list(chunks)]
    for value in given.values():
        runs = [part for run in runs for part in _without(run, str(value))]
    return _Writer("\n".join("".join(run) for run in runs), runs, given)


def _without(chunks: Sequence[str], value: str) -> list[list[str]]:
    """What stands before and after a value, where it stands first."""
    for start in range(len(chunks)):
        text = ""
        for end in range(start, len(chunks)):
            text += chunks[end]
            if text == value:
                return [list(chunks[:start]), list(chunks[end + 1 :])]
            if not value.startswith(text):
                break
    return [list(chunks)]


def _substring(chunks: Sequence[str]) -> str:
    """A regular expression for any run of pieces."""
    return f"%regex {json.dumps({'substring_chunks': list(chunks)}, ensure_ascii=False)}"


def _escaped(text: str) -> str:
    """As a text stands in JSON."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _either(texts: Iterable[str]) -> str:
    return " | ".join(json.dumps(one, ensure_ascii=False) for one in texts)


@dataclass(slots=True)
class _Writer:
    """Writes the rules for one object.

    Attributes:
        runs: The pieces of which values are runs.
        given: Values that are settled.
    """

    source: str
    runs: Sequence[Sequence[str]]
    given: Mapping[str, Any] = field(default_factory=dict[str, Any])
    rules: list[str] = field(default_factory=list[str])

    def object(self, schema: Mapping[str, Any], *, nullable: bool) -> Grammar:
        properties: Mapping[str, Mapping[str, Any]] = schema.get("properties", {})
        required = set(schema.get("required", ()))
        if not properties:
            return Grammar('start: "{}"\n')
        values = [
            json.dumps(json.dumps(self.given[name], ensure_ascii=False))
            if name in self.given
            else self._value(one, nullable=nullable)
            for name, one in properties.items()
        ]
        count = len(values)
        for place, (name, value) in enumerate(zip(properties, values, strict=True)):
            self.rules.append(f"p{place}: {json.dumps(json.dumps(name, ensure_ascii=False) + ': ')} {value}")
            skips = name not in required and name not in self.given
            self.rules.append(f"f{place}: p{place} m{place + 1}" + (f" | f{place + 1}" if skips else ""))
            self.rules.append(f'm{place}: ", " p{place} m{place + 1}' + (f" | m{place + 1}" if skips else ""))
        spans = " | ".join(_substring([_escaped(one) for one in run]) for run in self.runs)
        self.rules += [f'f{count}: ""', f'm{count}: ""', f"SPAN: {spans}"]
        self.rules.append(_TEXT + self._sums())
        return Grammar("\n".join(['start: "{" f0 "}"', *self.rules, ""]))

    def _sums(self) -> str:
        """What a text may be besides, where there are numbers."""
        words = _WORD.findall(self.source)
        spelled = [word for word in words if word.lower() in NUMBERS]
        implied = [_UNSAID[word.lower()] for word in words if word.lower() in _UNSAID]
        said = dict.fromkeys([*_NUMBER.findall(self.source), *spelled, *implied])
        units = dict.fromkeys(word for word in words if word.lower() in vocabulary().units)
        if not said:
            return ""
        rules = f"{_FORMULA}NUMBER: {_either(said)}"
        if len(units) < 2:
            return f" | FORMULA{rules}"
        return f" | FORMULA | CONVERSION{rules}{_CONVERSION}UNIT: {_either(units)}"

    def _value(self, schema: Mapping[str, Any], *, nullable: bool) -> str:
        kind = schema.get("type")
        if isinstance(kind, list):
            kinds = cast("list[str]", kind)
            nullable, kind = nullable or "null" in kinds, next((one for one in kinds if one != "null"), "string")
        found = self._plain(schema, str(kind))
        return f'({found} | "null")' if nullable else found

    def _plain(self, schema: Mapping[str, Any], kind: str) -> str:
        if "enum" in schema:
            options = [one for one in schema["enum"] if one is not None]
            return "(" + " | ".join(json.dumps(json.dumps(one, ensure_ascii=False)) for one in options) + ")"
        match kind:
            case "integer" | "number":
                found = [one for one in numbers(self.source) if kind == "number" or "." not in one]
                return f"({_either(found)})" if found else f'%json {{"type": "{kind}"}}'
            case "boolean":
                return '("true" | "false")'
            case "array":
                item = self._plain(schema.get("items", {}), str(schema.get("items", {}).get("type", "string")))
                return f'"[" {item} (", " {item}){{0,{_MOST_ITEMS}}} "]"'
            case "object":
                return f"%json {json.dumps(dict(schema))}"
            case _:
                return '"\\"" TEXT "\\""'
