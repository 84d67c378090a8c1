"""Search over a real store and index: what is found, in which order, and when nothing is."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.memory.items import Filter, Kind, NewItem, Span
from llmos.memory.retrieval import RELEVANT, Found, search
from llmos.memory.store import MemoryStore
from llmos.memory.vectors import VectorIndex
from tests.memory.words import WordEmbedder

DOCUMENT = (
    "The lease begins in April and runs for two years.",
    "Notice has to be given three months before the end, in writing.",
    "The rent is 940 euros a month without heating.",
    "Dogs and cats need the consent of the landlord.",
)
TALK = (
    ("Mira", "Hi Tobias, how was the move to the new flat?"),
    ("Tobias", "Exhausting! We carried the piano up four floors, since the lift did not work."),
    ("Mira", "You are joking. Is it still in tune after all of that?"),
    ("Tobias", "Not at all, but somebody comes next Thursday."),
    ("Mira", "By the way, I have begun to learn Portuguese with a teacher from Porto."),
    ("Tobias", "Oh, why that? I thought you wanted to go to Norway in spring."),
)
ME = Filter(tenant="me")


class Bench:
    """A store, an index and an embedder that knows words only."""

    def __init__(self, folder: Path) -> None:
        self.store = MemoryStore.open(folder)
        self.embedder = WordEmbedder(256)
        self.index = VectorIndex.open(folder, self.store, self.embedder)

    def add(
        self, kind: Kind, texts: Sequence[str], *, tenant: str = "me", source: str = "", **metadata: object
    ) -> list[int]:
        ids = self.store.add(
            [
                NewItem(
                    tenant=tenant,
                    kind=kind,
                    text=text,
                    label="files",
                    source=source,
                    span=Span(start=n),
                    metadata=metadata,
                )
                for n, text in enumerate(texts)
            ]
        )
        self.index.refresh()
        return ids

    def search(self, query: str, filter: Filter = ME, *, limit: int = 10, now: float | None = None) -> Found:
        return search(self.store, self.index, self.embedder, query, filter, limit=limit, now=now)

    def close(self) -> None:
        self.index.close()
        self.store.close()


@pytest.fixture
def bench(tmp_path: Path) -> Generator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def texts(found: Found) -> list[str]:
    return [hit.item.text for hit in found.hits]


def test_the_passage_that_answers_comes_first_with_its_evidence(bench: Bench) -> None:
    bench.add("passage", DOCUMENT, source="lease.txt")
    found = bench.search("How much is the monthly rent, in euros, without heating?")
    first = found.hits[0]
    assert first.item.text == DOCUMENT[2]
    assert found.relevant
    assert RELEVANT <= first.score <= 1
    assert first.lexical is not None
    assert first.lexical > 0
    assert first.dense is not None
    scores = [hit.score for hit in found.hits]
    assert scores == sorted(scores, reverse=True)


def test_without_an_index_words_alone_find_it(bench: Bench) -> None:
    bench.add("passage", DOCUMENT)
    found = search(bench.store, None, None, "the monthly rent without heating", ME)
    assert texts(found)[0] == DOCUMENT[2]
    assert found.relevant
    assert all(hit.dense is None for hit in found.hits)


def test_nothing_relevant_is_said_where_nothing_is(bench: Bench) -> None:
    bench.add("passage", DOCUMENT)
    for query in ("volcanoes erupting underneath glaciers", "quelle heure est-il", "火山爆发"):
        assert not bench.search(query).relevant
        assert not search(bench.store, None, None, query, ME).relevant


@pytest.mark.parametrize("query", ["", "   ", "?!", '"', "a AND (b", "NEAR/3 *", "\x00", "\ud800", "x" * 5000])
def test_any_text_is_a_legal_query(bench: Bench, query: str) -> None:
    bench.add("passage", DOCUMENT)
    assert len(bench.search(query).hits) <= len(DOCUMENT)


def test_an_empty_memory_has_nothing_relevant(bench: Bench) -> None:
    assert bench.search("the rent") == Found(hits=(), relevant=False)
    bench.add("passage", DOCUMENT)
    assert bench.search("the rent", limit=0) == Found(hits=(), relevant=False)


def test_no_other_tenant_is_ever_found(bench: Bench) -> None:
    bench.add("passage", DOCUMENT, tenant="you", source="s")
    bench.add("episode", [f"{who}: {what}" for who, what in TALK], tenant="you", source="talk")
    assert bench.search("the rent of the flat with the piano").hits == ()


def test_an_episode_is_found_by_what_was_said_around_it(bench: Bench) -> None:
    bench.add("episode", [f"{who}: {what}" for who, what in TALK], source="talk")
    bench.add("episode", ["Ann: It is raining today.", "Ben: Thursday is fine for me."], source="other")
    found = texts(bench.search("Does the piano tuner come on Thursday?"))
    assert found.index("Tobias: Not at all, but somebody comes next Thursday.") < found.index(
        "Ben: Thursday is fine for me."
    )


def test_who_is_asked_for_is_who_said_it(bench: Bench) -> None:
    said = "I like to swim in the lake before breakfast, every day."
    bench.add("episode", [f"Ann: {said}", "Ben: Good morning to all of you out there, how are you?"], source="one")
    bench.add("episode", ["Ann: Good morning to all of you out there, how are you?", f"Ben: {said}"], source="two")
    assert texts(bench.search("Where does Ben swim?"))[0] == f"Ben: {said}"
    assert texts(bench.search("Where does Ann swim?"))[0] == f"Ann: {said}"


def test_neighbours_obey_the_filter(bench: Bench) -> None:
    bench.store.add(
        [
            NewItem(
                tenant="me",
                kind="episode",
                text=f"{who}: {what}",
                label="user" if n % 2 else "outside",
                source="talk",
                span=Span(start=n),
            )
            for n, (who, what) in enumerate(TALK)
        ]
    )
    bench.index.refresh()
    found = bench.search("When will the piano be in tune?", Filter(tenant="me", labels=("user",)))
    assert found.hits
    assert {hit.item.label for hit in found.hits} == {"user"}


def test_near_duplicates_are_dropped(bench: Bench) -> None:
    bench.add("passage", [DOCUMENT[2], DOCUMENT[2].upper(), DOCUMENT[1]], source="a")
    bench.add("passage", [DOCUMENT[2]], source="b")
    assert sorted(texts(bench.search("rent without heating, notice in writing"))) == sorted([DOCUMENT[1], DOCUMENT[2]])


def test_of_facts_that_contradict_each_other_the_latest_comes_first(bench: Bench) -> None:
    def fact(value: str, since: float, attribute: str = "home") -> NewItem:
        data = {"subject": "user", "attribute": attribute, "value": value}
        text = f"I live in the town of {value} now" if attribute == "home" else value
        return NewItem(tenant="me", kind="fact", text=text, label="user", valid_from=since, metadata=data)

    bench.store.add(
        [fact("Graz", 300), fact("Oslo", 200), fact("Bern", 900), fact("I live for tea in town", 999, "tea")]
    )
    bench.index.refresh()
    found = bench.search("In which town do I live?", now=500)
    assert [text for text in texts(found) if text.endswith("now")] == [
        f"I live in the town of {town} now" for town in ("Graz", "Oslo", "Bern")
    ]
    scores = [hit.score for hit in found.hits]
    assert scores == sorted(scores, reverse=True)


class Judge:
    """A reranker that only likes texts with a word."""

    def __init__(self, word: str) -> None:
        self.word = word

    def scores(self, query: str, texts: Sequence[str], /) -> list[float]:
        return [0.9 if self.word in text else 0.1 for text in texts]


def test_a_reranker_has_the_last_word(bench: Bench) -> None:
    bench.add("passage", DOCUMENT)
    found = search(bench.store, bench.index, bench.embedder, "the rent", ME, reranker=Judge("Dogs"))
    assert (found.hits[0].item.text, found.hits[0].score) == (DOCUMENT[3], 0.9)
    assert found.relevant
    assert not search(bench.store, bench.index, bench.embedder, "the rent", ME, reranker=Judge("cows")).relevant


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([*DOCUMENT, "tea", "Tea.", "", "x" * 300]), max_size=8), st.text(max_size=30))
def test_scores_are_probabilities_and_no_text_is_found_twice(
    tmp_path_factory: pytest.TempPathFactory, chosen: list[str], query: str
) -> None:
    bench = Bench(tmp_path_factory.mktemp("memory"))
    try:
        bench.add("passage", chosen)
        found = bench.search(f"{query} tea rent")
    finally:
        bench.close()
    assert all(0 <= hit.score <= 1 for hit in found.hits)
    assert len(set(texts(found))) == len(found.hits)
    assert found.relevant == any(hit.score >= RELEVANT for hit in found.hits)
