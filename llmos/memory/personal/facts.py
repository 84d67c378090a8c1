"""What is known about a person: statements with where they come from and how sure they are, and how items hold them.

Which of two statements stands is decided here, by rule. Knows the store's items, but no store.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llmos.kernel.calls import Label
from llmos.memory.items import Item, NewItem
from llmos.memory.personal.statements import NOTE, Statement
from llmos.memory.personal.vocabulary import USER, value_key

Strength = Literal["explicit", "stated", "extracted", "observed"]
"""How something came to be known, the strongest first: the user asked to remember it, or corrected it; said it by the
way; a model found it in the user's words; it shows in what the user chooses."""

RANK: Mapping[Strength, int] = {"explicit": 3, "stated": 2, "extracted": 1, "observed": 0}
CONFIDENCE: Mapping[Strength, float] = {"explicit": 0.95, "stated": 0.7, "extracted": 0.5, "observed": 0.0}
"""Of what is observed it depends on the evidence: `llmos.memory.personal.observed`."""

HALF_LIFE_UNUSED = 180 * 86_400.0
"""Seconds after which what nobody used has lost half of what it can lose in rank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something known.

    Attributes:
        id: Of its item; of what is observed, that of the newest observation.
        subject: `user`, a relation of the user's (`wife`) or a name, in lower case.
        attribute: In one form: singular, lower case. `note` is what is kept as it was said.
        value: In the user's words.
        holds: False where it is denied: doesn't like.
        many: Other values of the attribute may hold beside it.
        confidence: About the probability that it is so and meant to last.
        text: The clause that says it.
        turn: The words in which it was said.
        source: The conversation, as it was given.
        time: Since when it is so, seconds since 1970.
        superseded_by: The item that takes its place, if one does.
    """

    id: int
    kind: Literal["fact", "preference"]
    subject: str
    attribute: str
    value: str
    holds: bool
    many: bool
    strength: Strength
    confidence: float
    text: str
    turn: str
    source: str
    time: float
    label: Label
    superseded_by: int | None = None

    @property
    def slot(self) -> tuple[str, str, str]:
        """What has one value at a time: kind, subject, attribute; with several values each is a slot of its own."""
        name = f"{self.attribute}\n{value_key(self.value)}" if self.many else self.attribute
        return self.kind, self.subject, name

    @property
    def line(self) -> str:
        """It in a line, for people and models: `dentist: Dr. Wu`, `doesn't like olives`, `wife's name: Ana`."""
        return " ".join(self._said().split())

    def _said(self) -> str:
        if self.attribute == NOTE:
            return self.text
        of = "" if self.subject == USER else f"{self.subject}: "
        if self.attribute == "instruction":
            return f"{of}{'always' if self.holds else 'never'}: {self.value}"
        if self.attribute == "like":
            return f"{of}{'likes' if self.holds else 'does not like'}: {self.value}"
        name = f"preferred {self.attribute}" if self._is_choice() else self.attribute
        return f"{of}{name}: {'' if self.holds else 'not '}{self.value}"

    def _is_choice(self) -> bool:
        return self.kind == "preference" and "favourite" not in self.attribute.split() and not self.many

    def same(self, other: Fact) -> bool:
        """Whether both say the same."""
        return self.slot == other.slot and self.holds == other.holds and value_key(self.value) == value_key(other.value)


def new_item(
    tenant: str, statement: Statement, *, strength: Strength, turn: str, source: str, time: float, key: str
) -> NewItem:
    """The item that holds a statement of the user's."""
    return NewItem(
        tenant=tenant,
        kind=statement.kind,
        text=statement.text or statement.value,
        label="user",
        source=source,
        created=time,
        valid_from=time,
        key=key,
        metadata={
            "subject": statement.subject,
            "attribute": statement.attribute,
            "value": statement.value,
            "holds": statement.holds,
            "many": statement.many,
            "strength": strength,
            "turn": turn,
        },
    )


def fact_of(item: Item) -> Fact:
    """What an item says. One that was remembered as a bare text is a note."""
    data: Mapping[str, Any] = item.metadata
    strength: Strength = data["strength"] if data.get("strength") in RANK else "stated"
    return Fact(
        id=item.id,
        kind="preference" if item.kind == "preference" else "fact",
        subject=str(data.get("subject", USER)),
        attribute=str(data.get("attribute", NOTE)),
        value=str(data.get("value", item.text)),
        holds=bool(data.get("holds", True)),
        many=bool(data.get("many", "attribute" not in data)),
        strength=strength,
        confidence=CONFIDENCE[strength],
        text=item.text,
        turn=str(data.get("turn", item.text)),
        source=item.source,
        time=(item.valid_from if item.valid_from is not None else item.created) or 0.0,
        label=item.label,
        superseded_by=item.superseded_by,
    )


def standing(fact: Fact) -> tuple[int, int, float, int]:
    """By what facts of one slot are compared: trust in the source, strength, time. The greatest stands."""
    return -("user", "files", "outside").index(fact.label), RANK[fact.strength], fact.time, fact.id


def winner(facts: Sequence[Fact]) -> Fact:
    """Which of some facts of one slot stands: the newest of the strongest. The order they are given in doesn't matter.

    That something is *not* so does not stand against another value that is: "my office isn't in York" leaves Leeds.
    """
    best = max(facts, key=standing)
    if best.holds:
        return best
    others = [fact for fact in facts if fact.holds and value_key(fact.value) != value_key(best.value)]
    denied = [fact for fact in facts if not fact.holds]
    left = [fact for fact in others if not any(_denies(no, fact) for no in denied)]
    return max(left, key=standing) if left else best


def _denies(no: Fact, fact: Fact) -> bool:
    return value_key(no.value) == value_key(fact.value) and standing(no) > standing(fact)


def contradicts(fact: Fact, stands: Fact) -> bool:
    """Whether something that was said later speaks against what stands in its slot."""
    if fact.same(stands) or fact.time < stands.time:
        return False
    return fact.holds or value_key(fact.value) == value_key(stands.value)


def by_slot(facts: Iterable[Fact]) -> dict[tuple[str, str, str], list[Fact]]:
    """Facts by what has one value at a time."""
    slots: dict[tuple[str, str, str], list[Fact]] = {}
    for fact in facts:
        slots.setdefault(fact.slot, []).append(fact)
    return slots


def rank(fact: Fact, *, now: float, used: float | None = None) -> float:
    """How much a fact is worth where there is no room for all, 0 to 1: its confidence, less what it lost unused.

    Nothing sinks below half of its confidence.

    Args:
        now: Seconds since 1970.
        used: When it was used last.
    """
    unused = max(0.0, now - max(fact.time, used or 0.0))
    return fact.confidence * (0.5 + 0.5 * math.exp2(-unused / HALF_LIFE_UNUSED))


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something is known: what was said, in which conversation, when, and how it came to be kept.

    Attributes:
        text: The words of the turn. Of an observation what was seen.
        current: Nothing has taken its place.
    """

    fact: Fact
    text: str
    source: str
    time: float
    strength: Strength
    current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What came of a turn.

    Attributes:
        facts: What is now kept because of it.
        superseded: What it took the place of.
        conflicts: What stands against it: asked to be remembered before, and only said otherwise by the way now.
        forgotten: What was removed. Its bytes are gone after the store's `purge`.
        confirm: What it asks to forget, if that is too much to be done without asking back; `forget` by `ids` does it.
    """

    facts: tuple[Fact, ...] = ()
    superseded: tuple[Fact, ...] = ()
    conflicts: tuple[Fact, ...] = ()
    forgotten: tuple[Fact, ...] = ()
    confirm: tuple[Fact, ...] = ()
