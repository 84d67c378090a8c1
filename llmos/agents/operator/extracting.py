"""Takes values from a page, each with where it stood: answers to a question, fields of a schema, rows of a table.

A value is always text of the page, word for word or read as a number; nothing is made up. Knows no model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmos.agents.operator.lexicon import form_of, lexicon, means, words_of
from llmos.agents.operator.matching import Matcher, echoes, strength
from llmos.agents.operator.page import Page, Part, Text
from llmos.agents.operator.phrases import Target
from llmos.agents.vocabulary import plain_words

LEAST = 0.5
"""Below this fit a value does not count as found."""

_MONEY = re.compile(
    r"[$€£¥]\s?\d[\d,.]*\d|[$€£¥]\s?\d|\b\d[\d,.]*\s?(?:€|£|\$|EUR|USD|GBP|CHF|euros?|dollars?|pounds?)(?!\w)", re.I
)
_FIGURE = re.compile(r"[-+\u2212]?\d[\d,]*(?:\.\d+)?")
_KINDS: Sequence[tuple[frozenset[str], re.Pattern[str]]] = (
    (frozenset({"price", "cost", "total", "amount", "fee", "sum", "balance"}), _MONEY),
    (frozenset({"email", "mail"}), re.compile(r"[\w.+-]+@[\w-]+\.[\w.]*\w")),
    (frozenset({"phone", "telephone", "mobile", "fax"}), re.compile(r"\+?\d[\d ()/.-]{5,}\d")),
    (frozenset({"date", "day"}), re.compile(
        r"\b\d{4}-\d{2}-\d{2}\b|\b\d{1,2}[/.]\d{1,2}[/.]\d{2,4}\b"
        r"|\b\d{1,2}\.? [A-Z][a-z]+ \d{4}\b|\b[A-Z][a-z]+ \d{1,2}, \d{4}\b")),
    (frozenset({"time"}), re.compile(r"\b\d{1,2}:\d{2}(?:\s?[ap]m)?\b", re.I)),
    (frozenset({"url", "address", "website", "link"}), re.compile(r"https?://\S+")),
)  # fmt: skip
_LABELLED = re.compile(r"^(?P<label>[^:]{1,60}?)\s*[:=]\s*(?P<value>\S.*)$")
_ORDINAL_WORD = re.compile(r"(?P<n>\d+)(?:st|nd|rd|th)\s+word\b|\b(?P<last>last)\s+word\b", re.I)


@dataclass(frozen=True, slots=True)
class Found:
    """A value with where it stood.

    Attributes:
        ref: Of the part that says it, or of the nearest one; empty where there is none.
        place: For people: the text it was taken from.
        fit: How well it fits, 0 to 1.
    """

    value: str
    ref: str = ""
    place: str = ""
    fit: float = 1.0


def answers(page: Page, target: Target, task: str, *, wanted: str = "") -> list[Found]:
    """What a page says of something, best first.

    Args:
        target: What is asked for: words for it, and what it belongs to (`beside`).
        wanted: `number` where only one will do.
    """
    labels = [*target.names, " ".join(target.words)] if target.words else list(target.names)
    found: list[Found] = []
    for label in filter(None, labels):
        found += _labelled(page, label, task)
        if target.beside:
            found += _crossing(page, label, target.beside)
    found += _of_kind(page, target, task)
    if wanted == "number":
        found = [one for one in (_as_number(one) for one in found) if one is not None]
    best = sorted(found, key=lambda one: -one.fit)
    return list({one.value: one for one in reversed(best)}.values())[::-1]


def _as_number(found: Found) -> Found | None:
    match = _FIGURE.search(found.value)
    return Found(match[0].replace("\u2212", "-"), found.ref, found.place, found.fit) if match else None


def _labelled(page: Page, label: str, task: str) -> list[Found]:
    """What stands behind a label: in the same text, in the next one, or in the field that is called so."""
    found: list[Found] = []
    texts = [one for one in page.texts if not echoes(one.text, task)]
    for place, text in enumerate(texts):
        if match := _LABELLED.match(text.text):
            fit = strength(label, match["label"])
            found.append(Found(match["value"].strip(), _nearest(page, text), text.text, 0.95 * fit))
        following = texts[place + 1] if place + 1 < len(texts) else None
        fit = strength(label, text.text.rstrip(" :="))
        if following is None or fit < LEAST or following.role == "heading" or (text.role == "columnheader"):
            continue
        part = page.parts.get(following.ref)
        value = part.value if part is not None and (part.editable or part.options) else following.text
        beside = 1.0 if text.path == following.path or text.path[:-1] == following.path[:-1] else 0.85
        if value:
            found.append(Found(value, following.ref or _nearest(page, following), text.text, 0.9 * fit * beside))
    for part in page.parts.values():
        if part.value:
            fit = max(strength(label, part.name), strength(label, part.label))
            found.append(Found(part.value, part.ref, part.called, fit))
    return [one for one in found if one.fit >= LEAST]


def _nearest(page: Page, text: Text) -> str:
    """The part that says a text, or the last one before it in the same structure."""
    if text.ref:
        return text.ref
    near = [one for one in page.parts.values() if 0 <= one.at <= text.at and one.path[: len(text.path)] == text.path]
    return near[-1].ref if near else ""


def _crossing(page: Page, column: str, row: str) -> list[Found]:
    """The cell of a table where a column and a row meet."""
    found: list[Found] = []
    for table in tables(page):
        for place, head in enumerate(table.heads):
            fit = strength(column, head)
            if fit < LEAST:
                continue
            for cells in table.rows:
                if place < len(cells):
                    mine = max(_share(row, " ".join(one.text for one in cells)), 0.0)
                    found.append(
                        Found(
                            cells[place].text,
                            _nearest(page, cells[place]),
                            " | ".join(c.text for c in cells),
                            fit * mine,
                        )
                    )
    return [one for one in found if one.fit >= LEAST]


def _share(wanted: str, text: str) -> float:
    """Which share of the words that say something stand in a text."""
    known = lexicon()
    words = [one.text for one in words_of(wanted) if one.text not in known.stop]
    there = {form_of(one.text) for one in words_of(text)}
    return sum(form_of(word) in there for word in words) / len(words) if words else 0.0


def _of_kind(page: Page, target: Target, task: str) -> list[Found]:
    """What has the form of what is asked for, nearest to what it belongs to."""
    asked = {form_of(one) for one in (*target.words, *target.fields)}
    forms = [form for words, form in _KINDS if asked & {form_of(one) for one in words}]
    found: list[Found] = []
    hits = [
        (match[0], text)
        for text in page.texts
        if not echoes(text.text, task)
        for form in forms
        for match in form.finditer(text.text)
    ]
    for value, text in hits:
        if not target.beside:
            found.append(Found(value, _nearest(page, text), text.text, 0.8 if len(hits) == 1 else 0.55))
            continue
        near = _share(target.beside, text.text)
        for depth in range(len(text.path), 0, -1):
            around = page.around(text.path, depth)
            others = sum(value != other and (one.path[:depth] == text.path[:depth]) for other, one in hits)
            near = max(near, _share(target.beside, " ".join(one.text for one in around)) / (1 + others))
        near = max(near, _before(page, target.beside, text, [one for _, one in hits]))
        found.append(Found(value, _nearest(page, text), text.text, 0.9 * near))
    return [one for one in found if one.fit >= LEAST]


def _before(page: Page, wanted: str, text: Text, hits: Sequence[Text]) -> float:
    """How near a text follows words: the fewer others of its form between them, the nearer."""
    best = 0.0
    for one in page.texts:
        if one.at <= text.at and (share := _share(wanted, one.text)) >= LEAST:
            between = sum(one.at < other.at < text.at for other in hits)
            best = max(best, share / (1 + between))
    return best


def quoted_text(page: Page, target: Target, task: str) -> Found | None:
    """A text that words describe by its place: what stands in an area, a paragraph's fifth word."""
    parts = Matcher(page, task).ranked(target, lambda part: bool(part.value) and (part.editable or bool(part.options)))
    word = _ORDINAL_WORD.search(target.text)
    if word is None and parts:
        return Found(parts[0].part.value, parts[0].part.ref, parts[0].part.called)
    texts = [one for one in page.texts if not one.ref and not echoes(one.text, task)]
    if parts and target.tag == "textarea":
        texts = [Text(parts[0].part.value, ref=parts[0].part.ref)]
    if not texts:
        return None
    longest = max(texts, key=lambda one: len(one.text))
    if word is None:
        return Found(longest.text, _nearest(page, longest), longest.text, 0.6)
    words = [one.strip(".,;:!?\"'()") for one in longest.text.split()]
    place = len(words) if word["last"] else int(word["n"])
    return Found(words[place - 1], "", longest.text, 0.9) if 0 < place <= len(words) else None


# -- tables


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a page: its heads and rows."""

    heads: tuple[str, ...]
    rows: tuple[tuple[Text, ...], ...]


def tables(page: Page) -> list[Table]:
    """The tables of a page; without heads, the first row serves for them."""
    found: list[Table] = []
    for table in (one for one in page.structures if one.role == "table"):
        rows = [one for one in page.structures if one.role == "row" and one.path[: len(table.path)] == table.path]
        lines = [tuple(_cells(page, row.path)) for row in rows]
        lines = [line for line in lines if line]
        if len(lines) > 1:
            heads = tuple(one.text for one in lines[0])
            found.append(Table(heads, tuple(lines[1:])))
    return found


def _cells(page: Page, row: tuple[int, ...]) -> list[Text]:
    """The texts of a row, one for each cell."""
    cells: list[Text] = []
    for text in page.around(row, len(row)):
        inside = len(text.path) > len(row) + 0 and cells and cells[-1].path[: len(row) + 1] == text.path[: len(row) + 1]
        if inside:
            last = cells[-1]
            cells[-1] = Text(f"{last.text} {text.text}", last.role, last.ref or text.ref, last.path, last.at)
        else:
            cells.append(text)
    return cells


# -- schemas


def by_schema(page: Page, schema: Mapping[str, Any], task: str) -> tuple[dict[str, Any], dict[str, Found]]:
    """Values for the fields of a JSON schema of type object, as far as the page has them, and where they stood.

    Args:
        schema: As pydantic makes it.
    """
    definitions: Mapping[str, Any] = schema.get("$defs", {})
    values: dict[str, Any] = {}
    sources: dict[str, Found] = {}
    properties: Mapping[str, Any] = schema.get("properties", {})
    for name, given in properties.items():
        field = _resolved(given, definitions)
        if field.get("type") == "array":
            rows = _rows(page, name, _resolved(field.get("items", {}), definitions), task)
            if rows:
                values[name] = [value for value, _ in rows]
                sources |= {f"{name}[{place}]": found for place, (_, found) in enumerate(rows)}
            continue
        found = _field(page, name, field, task)
        if found is not None:
            values[name], sources[name] = found
    return values, sources


def _resolved(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" in field:
        defined: Mapping[str, Any] = definitions.get(str(field["$ref"]).rpartition("/")[2], {})
        return defined
    options = [one for one in field.get("anyOf", ()) if one.get("type") != "null"]
    return (
        {**_resolved(options[0], definitions), **{k: v for k, v in field.items() if k != "anyOf"}} if options else field
    )


def _field(page: Page, name: str, field: Mapping[str, Any], task: str) -> tuple[Any, Found] | None:
    """One value of a schema."""
    label = " ".join(plain_words(name))
    described = str(field.get("description", ""))
    kind = str(field.get("type", "string"))
    if kind == "boolean":
        return _flag(page, label)
    if "enum" in field:
        return _one_of(page, [str(one) for one in field["enum"]], task)
    number = kind in ("number", "integer")
    found: list[Found] = []
    for words in (label, described):
        if words:
            target = Target(words, words=tuple(plain_words(words)), fields=tuple(
                one for one in plain_words(words) if one in lexicon().fields))  # fmt: skip
            found += answers(page, target, task, wanted="number" if number else "")
    if not found and label in ("title", "name", "heading", "headline"):
        head = next((one for one in page.texts if one.role == "heading"), None)
        found = [Found(head.text, _nearest(page, head), head.text, 0.8)] if head else []
        found = found or ([Found(page.title, "", page.title, 0.6)] if page.title else [])
    if not found:
        return None
    best = max(found, key=lambda one: one.fit)
    value = _read(best.value, kind)
    return None if value is None else (value, best)


def _read(text: str, kind: str) -> Any:  # noqa: ANN401  # JSON data
    """A text as a value of a JSON type; None if it is none."""
    if kind not in ("number", "integer"):
        return text
    match = _FIGURE.search(text)
    if not match:
        return None
    number = float(match[0].replace(",", "").replace("\u2212", "-"))
    return int(number) if kind == "integer" else number


def _flag(page: Page, label: str) -> tuple[bool, Found] | None:
    found = [
        (max(strength(label, one.name), strength(label, one.label)), one) for one in page.parts.values() if _is_box(one)
    ]
    fit, part = max(found, key=lambda one: one[0], default=(0.0, None))
    return (part.chosen, Found(str(part.chosen), part.ref, part.called, fit)) if part and fit >= LEAST else None


def _is_box(part: Part) -> bool:
    return part.role in ("checkbox", "switch", "radio")


def _one_of(page: Page, options: Sequence[str], task: str) -> tuple[str, Found] | None:
    for text in page.texts:
        for option in options:
            if not echoes(text.text, task) and strength(option, text.text) >= 0.9:
                return option, Found(option, _nearest(page, text), text.text, 0.7)
    return None


def _rows(page: Page, name: str, item: Mapping[str, Any], task: str) -> list[tuple[Any, Found]]:
    """The rows of the table whose columns fit, or the items of a list."""
    properties: Mapping[str, Any] = item.get("properties", {})
    if properties:
        best: tuple[float, Table, list[int]] | None = None
        for table in tables(page):
            places = [_column(table.heads, field) for field in properties]
            fit = sum(one is not None for one in places) / len(places)
            if fit > (best[0] if best else LEAST):
                best = (fit, table, [-1 if one is None else one for one in places])
        if best is None:
            return []
        return [_row(page, cells, properties, best[2]) for cells in best[1].rows]
    texts = [one for one in page.texts if one.role == "listitem" or _in_list(page, one)]
    kind = str(item.get("type", "string"))
    return [(value, Found(one.text, _nearest(page, one), one.text)) for one in texts
            if (value := _read(one.text, kind)) is not None and not echoes(one.text, task)]  # fmt: skip


def _in_list(page: Page, text: Text) -> bool:
    return any(one.path == text.path and one.role == "listitem" for one in page.structures)


def _column(heads: Sequence[str], field: str) -> int | None:
    words = plain_words(field)
    for place, head in enumerate(heads):
        said = [one.text for one in words_of(head)]
        if said and all(any(means(word, one) for one in said) for word in words):
            return place
    return None


def _row(
    page: Page, cells: Sequence[Text], properties: Mapping[str, Any], places: Sequence[int]
) -> tuple[dict[str, Any], Found]:
    value: dict[str, Any] = {}
    for (name, field), place in zip(properties.items(), places, strict=True):
        if 0 <= place < len(cells):
            read = _read(cells[place].text, str(field.get("type", "string")))
            if read is not None:
                value[name] = read
    ref = next((one.ref for one in cells if one.ref), _nearest(page, cells[0]))
    said = " | ".join(one.text for one in cells)
    return value, Found(said, ref, said)
