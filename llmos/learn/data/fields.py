"""Examples of taking fields out of texts: one schema, six to nine invented texts. Knows no data set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from llmos.agents import allowed, jobs
from llmos.learn.data.documents.topics import Fact, Topic, document, topics
from llmos.learn.data.documents.values import Value
from llmos.learn.data.example import Example, Sheet, Split

MISSING = 0.22
"""The share of fields that the text does not say."""

_BEFORE = (
    "",
    "",
    "",
    "",
    "",
    "",
    "Please file this: ",
    "Here it is:\n",
    "New in the inbox:\n\n",
    "> ",
    "(scan, page 1) ",
)


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of the schema; `fact` is nothing for the key of the topic."""

    name: str
    schema: Mapping[str, Any]
    fact: Fact | None


def extract_sheet(random: Random, split: Split) -> Sheet:
    """Six to nine texts and one schema; the answer is an object with all fields, null where the text does not say."""
    topic = random.choice(topics(split))
    fields = _fields(random, topic)
    schema = {"type": "object", "properties": {one.name: one.schema for one in fields}}
    return tuple(_example(random, split, topic, fields, schema) for _ in range(random.randint(6, 9)))


def _example(
    random: Random, split: Split, topic: Topic, fields: Sequence[_Field], schema: Mapping[str, Any]
) -> Example:
    wanted = [one.fact for one in fields if one.fact]
    said = [one for one in wanted if random.random() >= MISSING]
    extra = [one for one in topic.facts.values() if one not in wanted]
    said += random.sample(extra, min(len(extra), random.choice((0, 0, 1, 2))))
    text = document(random, split, topic, topic.who(random, split), said)
    shown = random.choice(_BEFORE) + text.text
    values: dict[str, Any] = {}
    for one in fields:
        if one.fact is None:
            values[one.name] = text.who
        elif one.fact.name in text.values:
            values[one.name] = _json(one, text.values[one.fact.name])
        else:
            values[one.name] = None
    kind = "missing" if None in values.values() else "complete"
    return Example(
        "extract",
        jobs.extract(schema, shown),
        json.dumps(values, ensure_ascii=False),
        kind=kind,
        within=allowed.fields(schema, shown),
        request=shown,
        schema=schema,
    )


def _json(field: _Field, value: Value) -> str | int | float | None:
    return value.number if field.schema.get("type") == "number" else value.text


def _fields(random: Random, topic: Topic) -> list[_Field]:
    """Three to six fields of a topic, in any order, with names in one style."""
    facts: list[Fact | None] = list(topic.facts.values())
    chosen = random.sample(facts, min(len(facts), random.randint(2, 5)))
    chosen.append(None)
    random.shuffle(chosen)
    style = random.choices(("snake", "first", "camel", "spaced", "title"), (50, 15, 18, 10, 7))[0]
    described = random.random() < 0.4
    made: dict[str, _Field] = {}
    for fact in chosen:
        names = fact.fields if fact else topic.fields
        name = _styled(names[0] if style == "first" else random.choice(names), style)
        if name not in made:
            made[name] = _Field(name, _schema(random, fact, described), fact)
    return list(made.values())


def _schema(random: Random, fact: Fact | None, described: bool) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if fact is None:
        return schema
    if fact.choices:
        schema["enum"] = list(fact.choices)
    elif fact.is_number and not fact.kind.startswith("span ") and random.random() < 0.85:
        schema["type"] = "number"
    about = [one.format(of="").rstrip("?") for one in fact.asks if "{who}" not in one]
    if described and (fact.about or about) and random.random() < 0.7:
        schema["description"] = fact.about or random.choice(about)
    return schema


def _styled(name: str, style: str) -> str:
    words = name.replace("_", " ")
    match style:
        case "camel":
            first, *rest = name.split("_")
            return first + "".join(one.capitalize() for one in rest)
        case "spaced":
            return words
        case "title":
            return words.capitalize()
        case _:
            return name
