"""Kinds of documents (a lease, a recipe, minutes …), what each says, and how one asks for it.

The topics stand in `topics/*.toml`. A topic belongs to one split, with all its sentences. Knows no job.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Literal, get_args

from llmos.learn.data.documents.values import NUMBERS, Value, pool, value
from llmos.learn.data.example import Split, split_of

Form = Literal["prose", "list", "dashes", "mail", "note"]
"""How a document is written: sentences, `label: value`, or sentences in a message."""

_JOINED = 0.6
_NAME = re.compile(r"\{(\w+)\}")
_FORMS: Mapping[Form, int] = {"prose": 50, "list": 14, "dashes": 8, "mail": 16, "note": 12}


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that a document may say.

    Attributes:
        kind: What its value is (see `values.value`); empty with `values` or `choices`.
        values: The values it can have.
        choices: Of a status and the like: the sentences that mean each value, none of which need name it.
        fields: Names for it as a field.
        says: Sentences with `{v}`, the value; perhaps `{who}`, and `{x}`, another value that is not it.
        asks: Questions with `{of}` or `{who}`.
    """

    name: str
    kind: str
    values: tuple[str, ...]
    choices: Mapping[str, tuple[str, ...]]
    fields: tuple[str, ...]
    about: str
    says: tuple[str, ...]
    asks: tuple[str, ...]

    @property
    def is_number(self) -> bool:
        """Whether its values hold a number."""
        return self.kind.partition(" ")[0] in NUMBERS

    def value(self, random: Random, split: Split) -> Value:
        """One of its values."""
        if self.choices:
            return Value(random.choice(sorted(self.choices)))
        return Value(random.choice(self.values)) if self.values else value(random, split, self.kind)


@dataclass(frozen=True, slots=True)
class Topic:
    """A kind of document.

    Attributes:
        key: What tells two documents of this kind apart: a kind of value, or the values themselves.
        fields: Names for the key as a field.
        titles: How such a document begins, with `{who}`.
        of: How a question names the document, with `{who}`: " in {who}'s lease".
        the: How a question means the only one of its kind: " in the lease", or nothing.
        fillers: Sentences that say nothing that is asked for.
        joints: Sentences that say several facts, by their names.
    """

    name: str
    key: str | tuple[str, ...]
    fields: tuple[str, ...]
    titles: tuple[str, ...]
    of: tuple[str, ...]
    the: tuple[str, ...]
    fillers: tuple[str, ...]
    joints: tuple[str, ...]
    facts: Mapping[str, Fact]

    def who(self, random: Random, split: Split) -> str:
        """A key."""
        return random.choice(self.key) if isinstance(self.key, tuple) else value(random, split, self.key).text


@dataclass(frozen=True, slots=True)
class Document:
    """A text, and what it says by the names of facts."""

    topic: Topic
    who: str
    values: Mapping[str, Value]
    text: str


@cache
def topics(split: Split) -> tuple[Topic, ...]:
    """The topics of a split, without sentences that also stand in topics of a split that is kept from it."""
    known = all_topics()
    names = {one: {topic.name for topic in known if split_of(f"topic {topic.name}") == one} for one in get_args(Split)}
    before: Mapping[Split, tuple[Split, ...]] = {
        "train": ("validation", "test"),
        "validation": ("test",),
        "test": (),
    }
    taken = {
        sentence
        for topic in known
        if any(topic.name in names[other] for other in before[split])
        for fact in topic.facts.values()
        for sentence in (*fact.says, *fact.asks)
    }
    return tuple(_without(one, taken) for one in known if one.name in names[split])


def _without(topic: Topic, taken: Set[str]) -> Topic:
    """A topic without some sentences, and without facts that nothing would say."""
    facts = {
        name: replace(
            fact,
            says=tuple(one for one in fact.says if one not in taken),
            asks=tuple(one for one in fact.asks if one not in taken),
        )
        for name, fact in topic.facts.items()
    }
    return replace(topic, facts={name: fact for name, fact in facts.items() if fact.says or fact.choices})


@cache
def all_topics() -> tuple[Topic, ...]:
    """All topics."""
    files = sorted(Path(__file__).with_name("topics").glob("*.toml"))
    return tuple(
        _topic(name, data) for file in files for name, data in tomllib.loads(file.read_text(encoding="utf-8")).items()
    )


def document(
    random: Random, split: Split, topic: Topic, who: str, facts: Sequence[Fact], *, form: Form | None = None
) -> Document:
    """A document that says these facts, in any order.

    Args:
        form: Any, if none is given.
    """
    facts = random.sample(facts, len(facts))
    values = {fact.name: fact.value(random, split) for fact in facts}
    form = form or random.choices(get_args(Form), [_FORMS[one] for one in get_args(Form)])[0]
    title = random.choice(topic.titles).format(who=who)
    if form in ("list", "dashes"):
        text = _listed(random, topic, who, values, form)
    else:
        sentences = [title, *_told(random, split, topic, who, facts, values)]
        for filler in random.sample(topic.fillers, min(len(topic.fillers), random.choice((0, 0, 1, 1, 2)))):
            sentences.insert(random.randint(1, len(sentences)), filler.format(who=who))
        text = " ".join(sentences)
        if form == "mail":
            text = _mail(random, split, text)
        elif form == "note":
            text = f"{random.choice(_NOTES)}{text}"
    return Document(topic, who, values, text)


def ask(random: Random, topic: Topic, fact: Fact, who: str, *, named: bool) -> str:
    """A question for a fact.

    Args:
        named: It names the document by its key, since there are others of its kind.
    """
    asks = fact.asks if named else [one for one in fact.asks if "{who}" not in one] or fact.asks
    question = random.choice(asks)
    if "{who}" in question:
        return question.format(of="", who=who)
    bare = question.format(of="")
    pronoun, at_noun = _IT.search(bare), _ABOUT_NOUN.match(bare)
    phrases = topic.of if named else topic.the
    owned = [one for one in phrases if one.startswith(" of ")]
    loose = [one for one in phrases if not one.startswith(" of ")]
    phrase = random.choice((owned if pronoun else phrases if at_noun else loose) or phrases)
    fits = not pronoun and (at_noun or phrase not in owned)
    noun = _PREPOSITION.sub("", phrase, count=1)
    if noun == phrase or (noun == "{who}" and topic.key == "person"):
        asked = question.format(of=phrase)
    elif pronoun and topic.key not in ("person", "given") and random.random() < 0.6:
        asked = _IT.sub(noun, bare, count=1)
    elif not fits or random.random() < 0.25:
        start = f"{bare[0].lower()}{bare[1:]}"
        asked = random.choice(_FRAMES).format(noun=noun, Noun=f"{noun[0].upper()}{noun[1:]}", q=start, Q=bare)
    else:
        asked = question.format(of=phrase)
    return asked.replace("{who}", who)


_PREPOSITION = re.compile(r"^ (?:of|for|in|on|at|under) ")
_ABOUT_NOUN = re.compile(
    r"(?i)(?:what|which|who)(?:'s| is| was| were| are) (?:the|given)\b[^?]*\??$"
    r"|how (?:much|large|big|long) (?:is|was) the "
)
_IT = re.compile(r"\bit\b")
_FRAMES = (
    "{Noun}: {q}", "About {noun}: {q}", "{Q} I mean {noun}.", "Regarding {noun}, {q}", "{Q} (It is about {noun}.)",
    "It's about {noun}. {Q}", "{noun}: {q}", "As to {noun}, {q}",
)  # fmt: skip
_NOTES = ("Note: ", "FYI. ", "To remember. ", "Summary: ", "Update. ", "Copied from the folder: ", "Draft. ", "")
_GREETINGS = ("Hi {a},", "Dear {a},", "Hello {a},", "Hello everyone,", "Dear all,", "Good morning,", "{a},")
_ENDS = ("Best, {b}", "Kind regards, {b}", "Thanks, {b}", "Regards, {b}", "Cheers, {b}", "All the best, {b}", "")


def _mail(random: Random, split: Split, text: str) -> str:
    names = random.sample(pool("given", split), 2)
    start, end = random.choice(_GREETINGS).format(a=names[0]), random.choice(_ENDS).format(b=names[1])
    return "\n\n".join(one for one in (start, text, end) if one)


def _listed(random: Random, topic: Topic, who: str, values: Mapping[str, Value], form: Form) -> str:
    named = [(topic.fields[0], who)]
    named += [(topic.facts[name].fields[0], one.text) for name, one in values.items()]
    shown = [(label.replace("_", " "), text) for label, text in named]
    if form == "dashes":
        return "\n".join(f"- {label}: {text}" for label, text in shown)
    joint = random.choice(("; ", ". ", "\n", " | ", ", "))
    return joint.join(f"{label[0].upper()}{label[1:]}: {text}" for label, text in shown)


def _told(
    random: Random, split: Split, topic: Topic, who: str, facts: Sequence[Fact], values: Mapping[str, Value]
) -> list[str]:
    """The sentences that say the facts, each fact once."""
    left = {one.name: one for one in facts}
    sentences: list[str] = []
    if random.random() < _JOINED:
        for joint in random.sample(topic.joints, len(topic.joints)):
            names = set(_NAME.findall(joint)) - {"who"}
            if names <= left.keys():
                sentences.append(joint.format(who=who, **{name: values[name].text for name in sorted(names)}))
                left = {name: one for name, one in left.items() if name not in names}
    sentences += [_sentence(random, split, one, who, values[one.name]) for one in left.values()]
    return random.sample(sentences, len(sentences))


def _sentence(random: Random, split: Split, fact: Fact, who: str, said: Value) -> str:
    if fact.choices:
        return random.choice(fact.choices[said.text]).format(who=who)
    says = random.choice(fact.says)
    other = ""
    if "{x}" in says:
        others = [one for one in (fact.value(random, split).text for _ in range(8)) if one != said.text]
        other = others[0] if others else ""
        if not other:
            says = next(one for one in fact.says if "{x}" not in one)
    return says.format(v=said.text, who=who, x=other)


def _topic(name: str, data: Mapping[str, Any]) -> Topic:
    key = data["key"]
    return Topic(
        name=name,
        key=key if isinstance(key, str) else tuple(key),
        fields=tuple(data["fields"]),
        titles=tuple(data["titles"]),
        of=tuple(data["of"]),
        the=tuple(data.get("the", ("",))),
        fillers=tuple(data.get("fillers", ())),
        joints=tuple(data.get("joints", ())),
        facts={one: _fact(one, about) for one, about in data["facts"].items()},
    )


def _fact(name: str, data: Mapping[str, Any]) -> Fact:
    return Fact(
        name=name,
        kind=data.get("kind", ""),
        values=tuple(data.get("values", ())),
        choices={choice: tuple(said) for choice, said in data.get("choices", {}).items()},
        fields=tuple(data["fields"]),
        about=data.get("about", ""),
        says=tuple(data.get("says", ())),
        asks=tuple(data.get("asks", ())),
    )
