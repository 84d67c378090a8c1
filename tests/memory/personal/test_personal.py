"""What is told, corrected, asked after, observed and forgotten, in a store on disk."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmos.kernel.calls import Label
from llmos.memory.items import Filter, NewItem
from llmos.memory.personal import Fact, Personal, Told, consolidate
from llmos.memory.personal.observed import EVIDENCE, HALF_LIFE
from llmos.memory.store import MemoryStore

DAY = 86_400.0


@pytest.fixture
def sam(store: MemoryStore) -> Personal:
    return Personal(store, "sam")


def tell(person: Personal, text: str, now: float = 1000.0, *, source: str = "chat 1", asked: bool = False) -> Told:
    told = person.tell(text, label="user", source=source, now=now, asked=asked)
    assert told is not None, text
    return told


def lines(person: Personal, now: float = 1000.0) -> list[str]:
    return [fact.line for fact in person.facts(now=now)]


def values(facts: tuple[Fact, ...]) -> list[str]:
    return [fact.value for fact in facts]


# -- telling


def test_a_preference_is_known_after_it_was_told(sam: Personal) -> None:
    told = tell(sam, "remember that I like window seats")
    [fact] = told.facts
    assert (fact.kind, fact.attribute, fact.value, fact.strength) == ("preference", "like", "window seats", "explicit")
    assert lines(sam) == ["likes: window seats"]


def test_it_is_known_in_the_next_sitting(tmp_path: Path) -> None:
    for opening in range(2):
        store = MemoryStore.open(tmp_path / "memory")
        person = Personal(store, "sam")
        if not opening:
            tell(person, "my dentist is Dr. Wu")
        assert lines(person) == ["dentist: Dr. Wu"]
        store.close()


def test_threads_and_processes_may_tell_at_once(tmp_path: Path) -> None:
    stores = [MemoryStore.open(tmp_path), MemoryStore.open(tmp_path)]
    persons = [Personal(store, "sam") for store in stores]

    def work(number: int) -> None:
        for turn in range(8):
            tell(
                persons[number % 2],
                f"remember that my locker number is {turn * 4 + number}",
                now=float(turn * 4 + number),
            )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    for person in persons:
        assert lines(person) == ["locker number: 31"]
        assert len(person.history("user", "locker number")) == 32
    consolidate(stores[0], "sam", now=100.0)
    assert stores[1].count(Filter(tenant="sam")) == 1
    for store in stores:
        store.close()


def test_another_process_sees_what_was_told(tmp_path: Path) -> None:
    with_two = [MemoryStore.open(tmp_path), MemoryStore.open(tmp_path)]
    first, second = (Personal(store, "sam") for store in with_two)
    tell(first, "I live in York")
    assert lines(second) == ["home: York"]
    tell(second, "no, I live in Leeds")
    assert lines(first) == ["home: Leeds"]
    second.forget("everything")
    assert lines(first) == []
    for store in with_two:
        store.close()


@pytest.mark.parametrize("label", ["files", "outside"])
def test_only_the_users_own_words_are_taken(sam: Personal, label: Label) -> None:
    assert sam.tell("remember that I like window seats", label=label) is None
    assert sam.tell("forget everything about me", label=label) is None
    assert sam.facts() == ()


def test_what_says_nothing_writes_nothing(sam: Personal, store: MemoryStore) -> None:
    before = store.last
    assert sam.tell("What is the capital of France?", label="user") is None
    assert store.last == before


def test_a_new_value_takes_the_place_of_the_old_one_and_history_is_kept(sam: Personal) -> None:
    tell(sam, "my office is in York", now=1)
    told = tell(sam, "no, my office is in Leeds now", now=2)
    assert values(told.superseded) == ["York"]
    assert lines(sam) == ["office: Leeds"]
    history = sam.history("user", "office")
    assert [(fact.value, fact.time) for fact in history] == [("York", 1), ("Leeds", 2)]
    assert history[0].superseded_by == history[1].id


def test_an_attribute_has_one_name_however_it_is_called(sam: Personal) -> None:
    tell(sam, "my e-mail address is a@example.org", now=1)
    tell(sam, "remember that my new email is b@example.org", now=2)
    assert lines(sam) == ["email: b@example.org"]
    assert values(sam.history("user", "E-Mail")) == ["a@example.org", "b@example.org"]


def test_several_likes_stand_beside_each_other_and_one_is_denied_alone(sam: Personal) -> None:
    tell(sam, "I like tea, coffee and cake", now=1)
    tell(sam, "I don't like coffee any more", now=2)
    assert lines(sam) == ["likes: tea", "likes: cake", "does not like: coffee"]
    tell(sam, "I like coffee again now", now=3)
    assert lines(sam)[-1] == "likes: coffee"
    assert [fact.holds for fact in sam.history("user", "likes")] == [True, True, True, False, True]


def test_one_choice_takes_the_place_of_another(sam: Personal) -> None:
    tell(sam, "I prefer window seats", now=1)
    tell(sam, "I prefer aisle seats", now=2)
    assert lines(sam) == ["preferred seat: aisle seats"]
    tell(sam, "I prefer tea to coffee", now=3)
    tell(sam, "I prefer coffee to tea", now=4)
    assert lines(sam)[-1] == "preferred coffee or tea: coffee"
    assert len(sam.facts()) == 2


def test_a_denied_value_leaves_another_alone(sam: Personal) -> None:
    tell(sam, "I live in Leeds", now=1)
    tell(sam, "I don't live in York any more", now=2)
    assert lines(sam) == ["home: Leeds"]
    tell(sam, "I don't live in Leeds any more", now=3)
    assert lines(sam) == ["home: not Leeds"]


def test_of_one_known_sister_the_name_is_corrected(sam: Personal) -> None:
    tell(sam, "my sister is Ana", now=1)
    tell(sam, "no, my sister is Bea", now=2)
    assert lines(sam) == ["sister: Bea"]
    tell(sam, "my sister is Cleo", now=3)
    assert lines(sam) == ["sister: Bea", "sister: Cleo"]


def test_what_was_asked_for_stands_against_what_is_said_by_the_way(sam: Personal) -> None:
    tell(sam, "remember that my office is in Leeds", now=1)
    told = tell(sam, "my office is in York", now=2)
    assert values(told.conflicts) == ["Leeds"]
    assert lines(sam) == ["office: Leeds"]
    assert values(sam.history("user", "office")) == ["Leeds", "York"]
    told = tell(sam, "my office is in York", now=3, asked=True)
    assert (values(told.superseded), told.conflicts) == (["Leeds"], ())
    assert lines(sam) == ["office: York"]


def test_the_same_said_again_is_no_conflict(sam: Personal) -> None:
    tell(sam, "remember that my office is in Leeds", now=1)
    assert tell(sam, "My office is at Leeds.", now=2).conflicts == ()
    assert len(sam.facts()) == 1


def test_an_old_conversation_told_late_is_history(sam: Personal) -> None:
    tell(sam, "I live in Leeds", now=10)
    told = tell(sam, "I live in York", now=5)
    assert told.conflicts == ()
    assert lines(sam) == ["home: Leeds"]
    assert values(sam.history("user", "home")) == ["York", "Leeds"]


def test_a_turn_that_is_told_twice_under_a_key_is_kept_once(sam: Personal) -> None:
    first = sam.tell("I like tea and coffee", label="user", now=1, key="turn 7")
    tell(sam, "I don't like tea any more", now=2)
    second = sam.tell("I like tea and coffee", label="user", now=3, key="turn 7")
    assert first is not None
    assert second is not None
    assert [fact.id for fact in first.facts] == [fact.id for fact in second.facts]
    assert lines(sam) == ["likes: coffee", "does not like: tea"]


def test_what_cannot_be_read_is_a_note_and_the_same_note_is_kept_once(sam: Personal) -> None:
    tell(sam, "remember that Bob owes me 20 euros", now=1)
    tell(sam, "Remember: Bob owes me 20 euros!", now=2)
    assert lines(sam) == ["Bob owes me 20 euros"]


def test_tenants_are_apart(store: MemoryStore) -> None:
    sam, ana = Personal(store, "sam"), Personal(store, "ana")
    tell(sam, "my dentist is Dr. Wu")
    tell(ana, "my dentist is Dr. Okafor")
    [theirs] = ana.facts()
    sam.pin(theirs.id)
    assert sam.pins == ()
    assert sam.forget(ids=[theirs.id]) == ()
    assert sam.forget("Dr. Okafor") == ()
    assert [reason.text for reason in sam.why("my dentist")] == ["my dentist is Dr. Wu"]
    assert lines(ana) == ["dentist: Dr. Okafor"]
    sam.forget("everything")
    assert (lines(sam), lines(ana)) == ([], ["dentist: Dr. Okafor"])


def test_items_that_others_wrote_are_notes_with_their_label(sam: Personal, store: MemoryStore) -> None:
    store.add([NewItem(tenant="sam", kind="fact", text="The lab closes at six.", label="outside")])
    [fact] = sam.facts()
    assert (fact.attribute, fact.line, fact.label) == ("note", "The lab closes at six.", "outside")


def test_what_came_from_elsewhere_never_takes_the_place_of_the_users_words(sam: Personal, store: MemoryStore) -> None:
    tell(sam, "remember that my office is in Leeds", now=1)
    data = {"subject": "user", "attribute": "office", "value": "Oslo", "holds": True, "many": False}
    store.add(
        [
            NewItem(
                tenant="sam",
                kind="fact",
                text="my office is in Oslo",
                label="outside",
                metadata={**data, "strength": "explicit"},
                valid_from=99,
            )
        ]
    )
    assert lines(sam) == ["office: Leeds"]


# -- why


def test_why_gives_the_turn_the_conversation_and_the_time(sam: Personal) -> None:
    tell(sam, "Hello. Please remember that I like window seats.", now=77, source="chat 9")
    for question in ("why do you know that I like window seats?", "You like window seats.", "window seats"):
        [reason] = sam.why(question)
        assert reason.text == "Please remember that I like window seats."
        assert (reason.source, reason.time, reason.strength, reason.current) == ("chat 9", 77, "explicit", True)
    assert sam.why("why do you know that I like trains?") == ()


def test_why_tells_the_past_too(sam: Personal) -> None:
    tell(sam, "my office is in York", now=1)
    tell(sam, "no, my office is in Leeds now", now=2)
    reasons = sam.why("How do you know my office?")
    assert [(one.text, one.current) for one in reasons] == [
        ("no, my office is in Leeds now", True),
        ("my office is in York", False),
    ]


def test_why_tells_what_was_observed(sam: Personal) -> None:
    for day in range(3):
        sam.observe("seat", "window", time=day * DAY, source=f"booking {day}")
    reasons = sam.why("my preferred seat")
    assert [one.source for one in reasons] == ["booking 2", "booking 1", "booking 0"]
    assert {one.strength for one in reasons} == {"observed"}


# -- observing


def test_enough_choices_make_a_preference_that_fades(sam: Personal) -> None:
    for day in range(2):
        sam.observe("seat", "window", time=day * DAY)
    assert sam.facts(now=2 * DAY) == ()
    sam.observe("seat", "a window", time=2 * DAY)
    [fact] = sam.facts(now=2 * DAY)
    assert (fact.line, fact.strength) == ("preferred seat: a window", "observed")
    assert fact.confidence < 0.7
    assert sam.facts(now=2 * DAY + HALF_LIFE) == ()


def test_a_preference_needs_a_margin_over_its_rivals(sam: Personal) -> None:
    sam.observe("seat", "window", time=0, weight=4)
    assert len(sam.facts(now=0)) == 1
    sam.observe("seat", "aisle", time=1, weight=2.5)
    assert sam.facts(now=1) == ()
    sam.observe("seat", "aisle", time=2, weight=6)
    assert [fact.value for fact in sam.facts(now=2)] == ["aisle"]
    sam.observe("seat", "aisle", time=3, weight=-7)
    assert [fact.value for fact in sam.facts(now=3)] == ["window"]


def test_what_was_said_beats_what_was_observed(sam: Personal) -> None:
    sam.observe("seat", "window", time=0, weight=10)
    tell(sam, "I prefer aisle seats", now=1)
    assert lines(sam, now=1) == ["preferred seat: aisle seats"]
    sam.observe("seat", "window", time=2, weight=10)
    assert lines(sam, now=2) == ["preferred seat: aisle seats"]
    sam.forget("I prefer aisle seats")
    assert [fact.value for fact in sam.facts(now=2)] == ["window"]


def test_observed_likes_do_not_compete(sam: Personal) -> None:
    sam.observe("likes", "jazz", time=0, weight=3)
    sam.observe("likes", "opera", time=0, weight=3)
    assert lines(sam, now=0) == ["likes: jazz", "likes: opera"]
    tell(sam, "I hate opera", now=1)
    assert lines(sam, now=1) == ["does not like: opera", "likes: jazz"]


def test_a_search_finds_one_observation_of_many(sam: Personal, store: MemoryStore) -> None:
    for day in range(5):
        sam.observe("seat", "window", time=day * DAY)
    assert store.count(Filter(tenant="sam")) == 1
    assert store.count(Filter(tenant="sam", current=None)) == 5
    assert EVIDENCE < 5


# -- forgetting


def test_forgetting_takes_the_past_and_the_observations_along(sam: Personal, store: MemoryStore) -> None:
    tell(sam, "my dentist is Dr. Wu", now=1)
    tell(sam, "my dentist is Dr. Okafor now", now=2)
    tell(sam, "I like tea", now=3)
    told = tell(sam, "please forget my dentist", now=4)
    assert values(told.forgotten) == ["Dr. Wu", "Dr. Okafor"]
    assert lines(sam) == ["likes: tea"]
    sam.observe("seat", "window", time=5)
    assert len(sam.forget("my preferred seat")) == 1
    assert store.count(Filter(tenant="sam", current=None)) == 1


@pytest.mark.parametrize(
    "request_",
    [
        "forget that I like window seats",
        "forget I like window seats",
        "forget everything about window seats",
        "delete that I like window seats from your memory",
        "Can you forget that you know that I like window seats?",
    ],
)
def test_a_like_is_forgotten_alone(sam: Personal, request_: str) -> None:
    tell(sam, "remember that I like window seats, tea and old maps", now=1)
    told = tell(sam, request_, now=2)
    assert values(told.forgotten) == ["window seats"]
    assert lines(sam) == ["likes: tea", "likes: old maps"]


def test_no_byte_is_left_of_what_was_forgotten(tmp_path: Path) -> None:
    store = MemoryStore.open(tmp_path)
    person = Personal(store, "sam")
    tell(person, "remember that I like zeppelins, tea and old maps, and my dentist is Dr. Wu", now=1)
    [zeppelins] = [fact for fact in person.facts() if fact.value == "zeppelins"]
    person.pin(zeppelins.id)
    person.used([zeppelins.id], now=2)
    person.observe("likes", "zeppelins", time=2, text="Opened a page on zeppelins.")
    assert len(tell(person, "forget that I like zeppelins", now=3).forgotten) == 2
    assert person.pins == ()
    store.purge()
    left = [path for path in tmp_path.rglob("*") if path.is_file() and b"zeppelin" in path.read_bytes().lower()]
    assert left == []
    assert lines(person) == ["likes: tea", "likes: old maps", "dentist: Dr. Wu"]
    store.close()


def test_much_is_not_forgotten_without_asking_back(sam: Personal) -> None:
    for value in ("the sea", "the sea air", "sea bass", "sea shanties"):
        tell(sam, f"remember that I like {value}")
    told = tell(sam, "forget about the sea")
    assert (told.forgotten, len(told.confirm)) == ((), 4)
    assert len(sam.facts()) == 4
    told = tell(sam, "forget everything you know about me")
    assert (told.forgotten, len(told.confirm)) == ((), 4)
    assert len(sam.forget(ids=[fact.id for fact in told.confirm])) == 4
    assert sam.facts() == ()


def test_forgetting_what_is_not_known_changes_nothing(sam: Personal) -> None:
    tell(sam, "I like tea")
    told = tell(sam, "forget that I like whales")
    assert (told.forgotten, told.confirm) == ((), ())
    assert lines(sam) == ["likes: tea"]


def test_notes_that_say_it_too_are_forgotten_with_it(sam: Personal) -> None:
    tell(sam, "remember that my dentist is Dr. Wu")
    tell(sam, "remember that Dr. Wu my dentist moved house")
    assert len(tell(sam, "forget that my dentist is Dr. Wu").forgotten) == 2


# -- pins and use


def test_a_pin_goes_over_to_the_new_value(sam: Personal) -> None:
    [fact] = tell(sam, "my office is in York", now=1).facts
    sam.pin(fact.id, 999)
    assert sam.pins == (fact.id,)
    [new] = tell(sam, "my office is in Leeds now", now=2).facts
    assert sam.pins == (new.id,)
    sam.unpin(new.id)
    assert not sam.pins


def test_nothing_beside_the_items_tells_who_or_what(tmp_path: Path) -> None:
    """Settings hold ids and times only: so that forgetting items is enough."""
    store = MemoryStore.open(tmp_path)
    person = Personal(store, "quentin")
    [fact] = tell(person, "I like zeppelins").facts
    person.pin(fact.id)
    person.used([fact.id], now=5)
    person.forget("everything")
    store.purge()
    for path in tmp_path.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert b"zeppelin" not in data
            assert b"quentin" not in data
    store.close()


def test_facts_can_be_written_as_json(sam: Personal, store: MemoryStore) -> None:
    tell(sam, "remember that I like window seats")
    [item] = store.items(Filter(tenant="sam"))
    assert json.loads(json.dumps(dict(item.metadata)))["value"] == "window seats"
