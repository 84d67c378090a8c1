"""`Personal`: what one tenant's user told of themselves, and what their choices show. No model has a part in writing.

Used from any thread. Knows no agent, no index and no command line.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from llmos.kernel.calls import Label
from llmos.memory.items import NewItem
from llmos.memory.personal.asking import EVERYTHING, about, as_the_user_says, asks_why
from llmos.memory.personal.core import Core, Count, Scorer, block, common_words
from llmos.memory.personal.facts import Fact, Reason, Strength, Told, contradicts, new_item, winner
from llmos.memory.personal.ledger import OBSERVED, Ledger
from llmos.memory.personal.observed import preferred
from llmos.memory.personal.statements import NOTE, Statement, parse
from llmos.memory.personal.turns import Said, read
from llmos.memory.personal.vocabulary import (
    USER,
    attribute_key,
    content_words,
    has_many,
    is_relation,
    subject_key,
    value_key,
)

if TYPE_CHECKING:
    from llmos.memory.personal.extract import Extracted
    from llmos.memory.store import MemoryStore

FEW = 3
"""More facts than these, found by words in common only, are not forgotten without asking back."""


class Personal:
    """What is known about one tenant's user.

    Args:
        store: Where it is kept.
        tenant: Whose it is. Nothing of another tenant is ever seen or changed.

    Raises:
        StorageError: From every method, if the store can't be read or written.
    """

    def __init__(self, store: MemoryStore, tenant: str) -> None:
        self._ledger = Ledger(store, tenant)

    # -- telling

    def tell(
        self, text: str, *, label: Label, source: str = "", now: float | None = None, asked: bool = False, key: str = ""
    ) -> Told | None:
        """Take from a turn what is to be remembered or forgotten.

        Args:
            text: The whole turn.
            label: Where its words come from. Only the user's own are ever taken.
            source: The conversation.
            now: When it was said, seconds since 1970; None for now.
            asked: The user was asked for it: all that it states counts as explicit.
            key: Idempotency key: the same turn told twice under it changes nothing the second time.

        Returns:
            None if there is nothing in it for the memory.
        """
        if label != "user":
            return None
        turn = read(text, asked=asked)
        if not turn.said and not turn.forget:
            return None
        with self._ledger.lock:
            gone: list[Fact] = []
            confirm: list[Fact] = []
            for query in turn.forget:
                facts, sure = self._meant(query)
                (gone if sure else confirm).extend(facts)
            self._ledger.remove(fact.id for fact in gone)
            told = self._keep(turn.said, source=source, now=time.time() if now is None else now, key=key)
            return replace(told, forgotten=tuple(gone), confirm=tuple(confirm))

    def learn(self, found: Iterable[Extracted]) -> Told:
        """Keep what a model found in the user's turns; all that was said outright stands against it."""
        facts: list[Fact] = []
        superseded: list[Fact] = []
        for one in found:
            if one.turn.label != "user":
                continue
            said = [Said(one.statement, explicit=False, turn=one.statement.text)]
            told = self._keep(said, source=one.turn.source, now=one.turn.time, key="", weakest="extracted")
            facts += told.facts
            superseded += told.superseded
        return Told(facts=tuple(facts), superseded=tuple(superseded))

    def _keep(self, said: Sequence[Said], *, source: str, now: float, key: str, weakest: Strength = "stated") -> Told:
        ledger = self._ledger
        with ledger.lock:
            before = ledger.ids()
            items = [
                new_item(
                    ledger.tenant,
                    one.statement,
                    strength="explicit" if one.explicit else weakest,
                    turn=one.turn,
                    source=source,
                    time=now,
                    key=f"{key}/{number}" if key else "",
                )
                for number, one in enumerate(said)
            ]
            ids = ledger.store.add(items) if items else []
            new = {id for id in ids if id not in before}
            lost = self._settle(dict(zip(ids, (one.statement for one in said), strict=True)), new)
            facts = tuple(ledger.known(dict.fromkeys(ids)).values())
            beaten = [fact for fact in facts if fact.id in new and fact.superseded_by is not None]
            heirs = ledger.known(fact.superseded_by for fact in beaten if fact.superseded_by is not None)
            against = {
                heir.id: heir
                for fact in beaten
                if (heir := heirs.get(fact.superseded_by or 0)) and heir.id not in new and contradicts(fact, heir)
            }
            return Told(
                facts=facts,
                superseded=tuple(fact for fact in lost if fact.id not in new),
                conflicts=tuple(against.values()),
            )

    def _settle(self, statements: dict[int, Statement], new: set[int]) -> list[Fact]:
        """Let new facts take the place of others, or others theirs."""
        ledger = self._ledger
        lost = ledger.settle(ledger.open(fact.slot for fact in ledger.known(new).values()))
        for id in sorted(new):
            if statements[id].changed and is_relation(statements[id].attribute) and statements[id].holds:
                lost += self._corrected(id)
        return lost

    def _corrected(self, id: int) -> list[Fact]:
        """`No, my sister is Bea`: of one known sister another name, although one may have several."""
        facts = self._ledger.open()
        fact = next((one for one in facts if one.id == id), None)
        if fact is None or not fact.many:
            return []
        others = [
            one
            for one in facts
            if (one.subject, one.attribute) == (fact.subject, fact.attribute) and one.holds and one.id != id
        ]
        if len(others) != 1 or winner([replace(others[0], value=fact.value), fact]).id != id:
            return []
        self._ledger.replace(others, fact)
        return others

    def observe(
        self, attribute: str, value: str, *, time: float, weight: float = 1.0, source: str = "", text: str = ""
    ) -> None:
        """Count a choice or a correction that shows what the user prefers.

        Args:
            attribute: What was chosen, such as `seat`.
            value: How, such as `window`.
            time: When, seconds since 1970.
            weight: How much it says; less than 0 if it speaks against the value.
            source: The conversation.
            text: What was seen, for people; made of attribute and value if empty.
        """
        name = attribute_key(attribute)
        seen = text or f"Chose {value} for {attribute}."
        ledger = self._ledger
        with ledger.lock:
            earlier = [
                fact.id
                for fact, _ in ledger.observations()
                if fact.superseded_by is None and (fact.attribute, value_key(fact.value)) == (name, value_key(value))
            ]
            data = {"subject": USER, "attribute": name, "value": value, "many": has_many(name), "weight": weight}
            item = NewItem(
                tenant=ledger.tenant,
                kind="preference",
                text=seen,
                label="user",
                source=source,
                created=time,
                valid_from=time,
                metadata={**data, "holds": True, "strength": OBSERVED, "turn": seen},
            )
            [id] = ledger.store.add([item])
            # earlier ones still count; superseded, they are not found again and again by a search
            ledger.store.supersede(earlier, id)

    # -- knowing

    def facts(self, *, now: float | None = None) -> tuple[Fact, ...]:
        """What holds: one fact of each attribute, or of each value where there may be several; then what shows in
        choices, where nothing was said about it.

        Args:
            now: Seconds since 1970, for the decay of what was observed; None for now.
        """
        with self._ledger.lock:
            said = self._ledger.current()
            seen = preferred(self._ledger.observations(), now=time.time() if now is None else now)
        return (*said, *(fact for fact in seen if not any(_speaks_of(one, fact) for one in said)))

    def history(self, subject: str, attribute: str) -> tuple[Fact, ...]:
        """All that was told about an attribute and not forgotten, oldest first.

        Args:
            subject: `user`, a relation (`wife`) or a name.
            attribute: In any form: `e-mail address` is `email`.
        """
        return tuple(self._ledger.history(subject_key(subject), attribute_key(attribute)))

    def why(self, text: str) -> tuple[Reason, ...]:
        """Why something is known: what was said or seen, newest first, with what has been superseded.

        Args:
            text: What is known, in words of the user's (`I like tea`), in words to the user (`your dentist`), or the
                whole question (`why do you know that …?`).
        """
        query = asks_why(text)
        found, _ = self._meant(text if query is None else query)
        reasons = [
            Reason(fact, fact.turn, fact.source, fact.time, fact.strength, fact.superseded_by is None) for fact in found
        ]
        return tuple(sorted(reasons, key=lambda reason: (-reason.time, -reason.fact.id)))

    def core_block(
        self, task: str, *, tokens: int, count: Count, now: float | None = None, score: Scorer = common_words
    ) -> Core:
        """What is always to be in the context for a task: see `llmos.memory.personal.core.block`."""
        now = time.time() if now is None else now
        with self._ledger.lock:
            facts, pins, used = self.facts(now=now), self._ledger.pins(), self._ledger.used()
        return block(facts, task, tokens=tokens, count=count, now=now, pins=pins, used=used, score=score)

    # -- keeping

    def pin(self, *ids: int) -> None:
        """Have facts in every core block, before all others. Ids that are no fact of this tenant are ignored."""
        with self._ledger.lock:
            self._ledger.set_pins({*self._ledger.pins(), *self._ledger.known(ids)})

    def unpin(self, *ids: int) -> None:
        """Undo `pin`."""
        with self._ledger.lock:
            self._ledger.set_pins(set(self._ledger.pins()) - set(ids))

    @property
    def pins(self) -> tuple[int, ...]:
        """Ids of pinned facts."""
        return tuple(self._ledger.pins())

    def used(self, ids: Iterable[int], *, now: float | None = None) -> None:
        """Note that facts were of use in an answer: what is used keeps its rank."""
        with self._ledger.lock:
            if known := self._ledger.known(ids):
                self._ledger.set_used(known, time.time() if now is None else now)

    # -- forgetting

    def find(self, query: str) -> tuple[Fact, ...]:
        """The facts that a query means, those of the past and observations too."""
        return tuple(self._meant(query)[0])

    def forget(self, query: str = "", *, ids: Sequence[int] = ()) -> tuple[Fact, ...]:
        """Remove facts with all their earlier values, for good: their bytes are gone after the store's `purge`.

        Args:
            query: What is meant, such as `I like window seats`, `my dentist` or `everything about Leeds`;
                `everything` is all that is known about the user.
            ids: Facts by id, of this tenant.

        Returns:
            What was removed.
        """
        with self._ledger.lock:
            gone = self._ledger.known(ids)
            if query:
                gone |= {fact.id: fact for fact in self._meant(about(query))[0]}
            self._ledger.remove(gone)
            return tuple(gone.values())

    def _everything(self) -> list[Fact]:
        return [*self._ledger.everything(), *(fact for fact, _ in self._ledger.observations())]

    def _meant(self, query: str) -> tuple[list[Fact], bool]:
        """What a query means, and whether that is sure enough to remove it."""
        facts = self._everything()
        if query == EVERYTHING:
            return facts, not facts
        for text in dict.fromkeys((query, as_the_user_says(query))):
            if found := _stated(text, facts):
                notes = [fact for fact in _worded(query, facts) if fact.attribute == NOTE]
                return list(dict.fromkeys([*found, *notes])), True
            if found := _named(text, facts):
                return found, True
        found = _worded(query, facts)
        return found, len({fact.slot for fact in found}) <= FEW


def _stated(text: str, facts: Sequence[Fact]) -> list[Fact]:
    """Facts that say what a text says, or deny it."""
    found: dict[int, Fact] = {}
    for statement in parse(text, asked=True):
        if statement.attribute == NOTE:
            continue
        name = (statement.subject, statement.attribute, value_key(statement.value))
        found |= {fact.id: fact for fact in facts if (fact.subject, fact.attribute, value_key(fact.value)) == name}
    return list(found.values())


def _named(text: str, facts: Sequence[Fact]) -> list[Fact]:
    """Facts of the attribute, or about the person, that a text names."""
    name = attribute_key(text)
    return [fact for fact in facts if name == fact.attribute or (fact.subject != USER and name == fact.subject)]


def _worded(query: str, facts: Sequence[Fact]) -> list[Fact]:
    """Facts that have all words of a query that carry something."""
    wanted = content_words(query)
    return [
        fact
        for fact in facts
        if wanted and wanted <= content_words(f"{fact.subject} {fact.attribute} {fact.value} {fact.text} {fact.turn}")
    ]


def _speaks_of(said: Fact, seen: Fact) -> bool:
    """Whether something that was said settles what was observed."""
    if said.subject != USER or said.kind != "preference":
        return False
    if seen.many:
        return said.slot == seen.slot
    return said.attribute in (seen.attribute, f"favourite {seen.attribute}")
