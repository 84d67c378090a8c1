"""What holds after any sequence of turns: one value of each slot, a whole history, tenants apart."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmos.memory.items import Filter
from llmos.memory.personal import Fact, Personal, Told, consolidate
from llmos.memory.personal.facts import RANK, winner
from llmos.memory.store import MemoryStore

TENANTS = ("sam", "ana")
PLACES = ("Leeds", "York", "Oslo")
LIKES = ("tea", "coffee")
TURNS = [
    *(f"I live in {place}" for place in PLACES),
    *(f"remember that I live in {place}" for place in PLACES),
    *(f"I don't live in {place} any more" for place in PLACES),
    *(f"I like {thing}" for thing in LIKES),
    *(f"I don't like {thing}" for thing in LIKES),
    *(f"remember that I hate {thing}" for thing in LIKES),
    "remember that Bob owes me 20 euros",
]
FORGETS = ["forget that I like tea", "forget my home", "forget that I live in York", "forget that Bob owes me 20 euros"]

steps = st.lists(
    st.tuples(st.sampled_from(TENANTS), st.sampled_from(TURNS + FORGETS), st.integers(0, 5)), min_size=1, max_size=14
)
slow = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Model:
    """What should be known, by a rule that is simpler than the grammar: every fact told and not forgotten."""

    def __init__(self) -> None:
        self.told: dict[str, list[int]] = {tenant: [] for tenant in TENANTS}

    def take(self, tenant: str, told: Told) -> None:
        gone = {fact.id for fact in told.forgotten}
        self.told[tenant] = [id for id in self.told[tenant] if id not in gone] + [fact.id for fact in told.facts]


@given(steps)
@slow
def test_any_sequence_of_turns_leaves_one_value_of_each_and_a_whole_history(
    sequence: list[tuple[str, str, int]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = MemoryStore.open(Path(folder))
        persons = {tenant: Personal(store, tenant) for tenant in TENANTS}
        model = Model()
        for tenant, turn, now in sequence:
            told = persons[tenant].tell(turn, label="user", now=float(now))
            assert told is not None
            model.take(tenant, told)
        for tenant, person in persons.items():
            check(store, tenant, person, model.told[tenant])
            check(store, tenant, Personal(store, tenant), model.told[tenant])
        consolidated = consolidate(store, "sam", now=100.0)
        assert (consolidated.merged, consolidated.settled) == ((), ())
        store.close()


def check(store: MemoryStore, tenant: str, person: Personal, told: list[int]) -> None:
    facts = person.facts(now=10.0)
    slots = [fact.slot for fact in facts]
    assert len(slots) == len(set(slots))
    # what stands is what the store calls current, apart from what lost its better to a forgetting
    current = {item.id for item in store.items(Filter(tenant=tenant, kinds=("fact", "preference")))}
    assert {fact.id for fact in facts} == current
    every = [item.id for item in store.items(Filter(tenant=tenant, current=None))]
    assert sorted(every) == sorted(told)
    history = [fact for attribute in ("home", "like", "note") for fact in person.history("user", attribute)]
    assert sorted(fact.id for fact in history) == sorted(told)
    for fact in facts:
        assert stronger_than_all(fact, [one for one in history if one.superseded_by == fact.id])


def stronger_than_all(fact: Fact, others: list[Fact]) -> bool:
    """Whether nothing that had to give way was asked for, where what stands was not."""
    return all(RANK[one.strength] <= RANK[fact.strength] or not one.holds for one in others)


@given(st.permutations([(turn, now) for now, turn in enumerate(TURNS[:6])]))
@slow
def test_the_order_in_which_values_arrive_does_not_matter(order: list[tuple[str, int]]) -> None:
    """Two processes that write at once come to the same."""
    with tempfile.TemporaryDirectory() as folder:
        store = MemoryStore.open(Path(folder))
        person = Personal(store, "sam")
        for turn, now in order:
            person.tell(turn, label="user", now=float(now))
        everything = person.history("user", "home")
        [fact] = person.facts()
        assert fact.id == winner(everything).id
        assert (fact.value, fact.time) == ("Oslo", 5.0)
        store.close()
