"""All that the store has about one tenant's person, in memory and up to date with what other processes write.

Follows the store's changes: a look at an unchanged store costs one number.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from llmos.memory.items import Filter, Item, Kind, hash_of
from llmos.memory.personal.facts import Fact, by_slot, fact_of, winner
from llmos.memory.personal.vocabulary import attribute_key

if TYPE_CHECKING:
    from llmos.memory.store import MemoryStore

OBSERVED = "observed"
_KINDS: tuple[Kind, ...] = ("fact", "preference")
_MANY = 500  # more changes than these are not followed one by one


class Ledger:
    """The facts and preferences of a tenant.

    Args:
        store: Where they are.
        tenant: Whose they are; nothing of another is ever read or written.

    Raises:
        StorageError: From every method, if the store can't be read or written.
    """

    def __init__(self, store: MemoryStore, tenant: str) -> None:
        self.store, self.tenant = store, tenant
        self.lock = threading.RLock()
        self._facts: dict[int, Fact] = {}
        self._weights: dict[int, float] = {}
        self._open: dict[tuple[str, str, str], dict[int, Fact]] = {}
        self._seen = 0
        self._read_all = False

    def refresh(self) -> None:
        """Take over what this and other processes have written."""
        with self.lock:
            if self._read_all and self.store.last == self._seen:
                return
            changes = self.store.changes(self._seen, limit=_MANY) if self._read_all else None
            if changes is None or changes.more:
                self._reload()
                return
            changed = [int(one) for one in changes.ids]
            for id in changed:
                self._drop(id)
            for item in self.store.get(changed):
                self._take(item)
            self._seen = changes.last

    def _reload(self) -> None:
        # what is written meanwhile is read again with the next changes
        self._seen = self.store.last
        self._facts.clear()
        self._weights.clear()
        self._open.clear()
        for item in self.store.items(Filter(tenant=self.tenant, kinds=_KINDS, current=None)):
            self._take(item)
        self._read_all = True

    def _take(self, item: Item) -> None:
        if item.tenant != self.tenant or item.kind not in _KINDS:
            return
        fact = self._facts[item.id] = fact_of(item)
        if fact.strength == OBSERVED:
            self._weights[item.id] = float(item.metadata.get("weight", 1.0))
        elif fact.superseded_by is None:
            self._open.setdefault(fact.slot, {})[fact.id] = fact

    def _drop(self, id: int) -> None:
        fact = self._facts.pop(id, None)
        self._weights.pop(id, None)
        if fact is not None and fact.slot in self._open:
            self._open[fact.slot].pop(id, None)
            if not self._open[fact.slot]:
                del self._open[fact.slot]

    def ids(self) -> frozenset[int]:
        """Of all there is."""
        self.refresh()
        return frozenset(self._facts)

    def known(self, ids: Iterable[int]) -> dict[int, Fact]:
        """Facts by id, as far as they are this tenant's."""
        self.refresh()
        return {id: self._facts[id] for id in ids if id in self._facts}

    def everything(self) -> list[Fact]:
        """Facts of the present and the past, oldest first, without observations."""
        self.refresh()
        return [self._facts[id] for id in sorted(self._facts.keys() - self._weights.keys())]

    def observations(self) -> list[tuple[Fact, float]]:
        """What was seen, oldest first, with the weight of each."""
        self.refresh()
        return [(self._facts[id], self._weights[id]) for id in sorted(self._weights)]

    def open(self, slots: Iterable[tuple[str, str, str]] | None = None) -> list[Fact]:
        """What nothing has superseded; of one slot there may be several for a moment, if two processes wrote.

        Args:
            slots: Of these only; None for all.
        """
        self.refresh()
        wanted = self._open if slots is None else [slot for slot in dict.fromkeys(slots) if slot in self._open]
        return [fact for slot in wanted for fact in self._open[slot].values()]

    def current(self) -> list[Fact]:
        """What holds now, by id: one fact of each slot."""
        self.refresh()
        return sorted((winner(list(facts.values())) for facts in self._open.values()), key=lambda fact: fact.id)

    def settle(self, facts: Iterable[Fact]) -> list[Fact]:
        """Supersede all but the one that stands in each slot.

        Args:
            facts: Open ones; those of one slot complete.

        Returns:
            Those that were superseded.
        """
        lost: list[Fact] = []
        for group in by_slot(facts).values():
            best = winner(group)
            losers = [fact for fact in group if fact.id != best.id]
            if losers:
                self.replace(losers, best)
                lost += losers
        return lost

    def replace(self, losers: Sequence[Fact], best: Fact) -> None:
        """Let a fact take the place of others; it is pinned if one of them was and both hold."""
        self.store.supersede([fact.id for fact in losers], best.id)
        pinned = set(self.pins())
        if best.id not in pinned and any(fact.id in pinned and fact.attribute == best.attribute for fact in losers):
            self._write("pins", [*pinned - {fact.id for fact in losers}, best.id])

    def history(self, subject: str, attribute: str) -> list[Fact]:
        """All that was ever known of an attribute, oldest first."""
        name = attribute_key(attribute)
        found = [fact for fact in self.everything() if (fact.subject, fact.attribute) == (subject, name)]
        return sorted(found, key=lambda fact: (fact.time, fact.id))

    def remove(self, ids: Iterable[int]) -> None:
        """Remove items for good, and what is written about them."""
        gone = set(ids)
        self.store.remove(sorted(gone))
        if pinned := set(self.pins()) & gone:
            self._write("pins", [one for one in self.pins() if one not in pinned])
        if gone & self.used().keys():
            self._write("used", {str(one): when for one, when in self.used().items() if one not in gone})

    def pins(self) -> list[int]:
        """Ids of what is pinned."""
        return [int(one) for one in self._read("pins", [])]

    def set_pins(self, ids: Iterable[int]) -> None:
        """Pin exactly these."""
        self._write("pins", sorted(set(ids)))

    def used(self) -> dict[int, float]:
        """When facts were used last."""
        return {int(one): float(when) for one, when in self._read("used", {}).items()}

    def set_used(self, ids: Iterable[int], now: float) -> None:
        """Note that facts were used."""
        known = self._facts.keys()
        used = {one: when for one, when in self.used().items() if one in known} | dict.fromkeys(ids, now)
        self._write("used", {str(one): when for one, when in sorted(used.items())})

    def _name(self, name: str) -> str:
        # ids and times only, under a hash: nothing here can tell who the tenant is or what is known
        return f"personal.{name}.{hash_of(self.tenant).hex()}"

    def _read(self, name: str, default: Any) -> Any:  # noqa: ANN401 - JSON
        written = self.store.setting(self._name(name))
        return default if written is None else json.loads(written)

    def _write(self, name: str, value: Any) -> None:  # noqa: ANN401 - JSON
        self.store.set_setting(self._name(name), json.dumps(value))
