"""The index: what the store has is found, for whom it is meant, whatever form the vectors have and whoever wrote it."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from numpy.typing import NDArray

from llmos.errors import ModelInvalid
from llmos.memory.items import Filter
from llmos.memory.protocols import Role
from llmos.memory.store import MemoryStore
from llmos.memory.vectors import VectorIndex, move
from llmos.memory.vectors import forms as held
from tests.memory.samples import item
from tests.memory.words import WordEmbedder

ANN = Filter(tenant="ann")
WORDS = "apple pear plum cherry river lake sea pond chair table bed lamp red green blue white".split()  # noqa: SIM905


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MemoryStore]:
    opened = MemoryStore.open(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every form at sizes that take no time."""
    monkeypatch.setattr(held, "FORMS", {"flat": 100, "quantized": 300, "clustered": 1000, "clustered8": 1 << 62})
    monkeypatch.setattr(held, "_LISTS", (8, 16))
    monkeypatch.setattr("llmos.memory.vectors.index._FEW", 5)
    monkeypatch.setattr("llmos.memory.vectors.index._WORTH_SAVING", 50)


def asked(index: VectorIndex, embedder: WordEmbedder, query: str, filter: Filter = ANN, limit: int = 3) -> list[int]:
    [vector] = embedder.embed([query], role="query")
    return [id for id, _ in index.search(vector, filter, limit=limit)]


def sentences(count: int, seed: int = 0) -> list[str]:
    chance = random.Random(seed)
    return [f"{' '.join(chance.choices(WORDS, k=6))} {n}" for n in range(count)]


def test_what_is_alike_is_found_first(store: MemoryStore, tmp_path: Path) -> None:
    embedder = WordEmbedder()
    ids = store.add([item("a red apple"), item("a red car"), item("wooden chair"), item("red apple", tenant="bob")])
    index = VectorIndex.open(tmp_path, store, embedder)
    [vector] = embedder.embed(["red apple"], role="query")
    found = index.search(vector, ANN, limit=2)
    assert [id for id, _ in found] == ids[:2]
    assert found[0][1] == pytest.approx(float(vector @ embedder.embed(["a red apple"])[0]), abs=1e-3)
    assert asked(index, embedder, "red apple", replace(ANN, tenant="carol")) == []
    assert index.search(vector, ANN, limit=0) == []
    with pytest.raises(ModelInvalid, match="64 dimensions"):
        index.search(np.zeros(5, np.float32), ANN, limit=1)


def test_the_index_follows_what_any_process_changes(store: MemoryStore, tmp_path: Path) -> None:
    embedder = WordEmbedder()
    index = VectorIndex.open(tmp_path, store, embedder)
    assert asked(index, embedder, "red apple") == []
    other = MemoryStore.open(tmp_path)
    ids = other.add([item("a red apple"), item("a red car"), item("a pear")])
    index.refresh()
    assert asked(index, embedder, "red apple") == [ids[0], ids[1], ids[2]]
    other.remove([ids[0]])
    other.supersede([ids[1]], ids[2])
    index.refresh()
    assert asked(index, embedder, "red apple") == [ids[2]]
    assert asked(index, embedder, "red apple", replace(ANN, current=None)) == [ids[1], ids[2]]
    assert len(index) == 2
    other.close()


def test_texts_are_embedded_once(store: MemoryStore, tmp_path: Path) -> None:
    embedder = WordEmbedder()
    store.add([item("one"), item("one"), item("two")])
    VectorIndex.open(tmp_path, store, embedder)
    assert sorted(embedder.embedded) == ["one", "two"]
    VectorIndex.open(tmp_path, store, embedder)
    store.add([item("two", tenant="bob")])
    VectorIndex.open(tmp_path, store, embedder)
    assert sorted(embedder.embedded) == ["one", "two"]


def test_items_may_wait_for_their_vectors(store: MemoryStore, tmp_path: Path) -> None:
    embedder = WordEmbedder()
    index = VectorIndex.open(tmp_path, store, embedder, embed=False)
    ids = store.add([item("red apple"), item("blue sea")])
    index.refresh(embed=False)
    assert (asked(index, embedder, "apple"), index.waiting, embedder.embedded) == ([], 2, [])
    items = store.get(ids[:1])
    store.keep_vectors(embedder.name, {items[0].hash: embedder.embed([items[0].text])[0]})
    index.refresh(embed=False)
    assert (asked(index, embedder, "apple"), index.waiting) == ([ids[0]], 1)
    index.save()
    again = VectorIndex.open(tmp_path, store, embedder, embed=False)
    assert again.waiting == 1
    again.refresh()
    assert (asked(again, embedder, "blue"), again.waiting) == ([ids[1], ids[0]], 0)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("count", "form"), [(80, "flat"), (250, "quantized"), (900, "clustered"), (1200, "clustered8")]
)
def test_every_form_finds_what_is_meant(store: MemoryStore, tmp_path: Path, count: int, form: str) -> None:
    embedder = WordEmbedder()
    names = [f"ns{n}" for n in range(10)]
    ids = store.add([item(text, namespace=names[n % 10]) for n, text in enumerate(sentences(count))])
    index = VectorIndex.open(tmp_path, store, embedder)
    index.save()
    assert index.form == form
    texts = sentences(count)
    for opened in (index, VectorIndex.open(tmp_path, store, embedder)):
        assert opened.form == form
        for n in range(0, count, 37):
            assert asked(opened, embedder, texts[n], limit=1) == [ids[n]]
            only = replace(ANN, namespaces=(names[n % 10],))
            assert asked(opened, embedder, texts[n], only, limit=1) == [ids[n]]
            assert len(asked(opened, embedder, texts[n], only, limit=7)) == 7
    recalled = 0
    matrix = embedder.embed(texts)
    for query in embedder.embed(sentences(20, seed=1)):
        truth: set[int] = {ids[row] for row in np.argsort(-(matrix @ query))[:10].tolist()}
        recalled += len(truth & {id for id, _ in index.search(query, ANN, limit=10)})
    assert recalled >= 190


@pytest.mark.usefixtures("small")
def test_the_form_follows_the_number_of_vectors(store: MemoryStore, tmp_path: Path) -> None:
    embedder = WordEmbedder()
    index = VectorIndex.open(tmp_path, store, embedder)
    seen: list[str] = []
    ids: list[int] = []
    for part in range(8):
        ids += store.add([item(text) for text in sentences(200, seed=part)])
        index.refresh()
        index.save()
        seen.append(index.form)
    assert list(dict.fromkeys(seen)) == ["quantized", "clustered", "clustered8"]
    store.remove(ids[60:])
    index.save()
    assert (index.form, len(index)) == ("flat", 60)
    assert asked(index, embedder, store.get([ids[7]])[0].text, limit=1) == [ids[7]]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("count", [80, 250, 900])
def test_nothing_of_a_removed_vector_is_in_the_file(store: MemoryStore, tmp_path: Path, count: int) -> None:
    embedder = WordEmbedder()
    ids = store.add([item(text) for text in sentences(count)])
    VectorIndex.open(tmp_path, store, embedder).save()
    [path] = (tmp_path / "index").glob("*.index")
    gone = store.get(ids[3:9])
    codes = [code_in(path, embedder.embed([each.text])[0]) for each in gone]
    assert all(codes)
    store.remove(ids[3:9])
    store.purge()
    index = VectorIndex.open(tmp_path, store, embedder)
    index.save()
    content = path.read_bytes()
    assert not any(code in content for code in codes)
    assert not set(asked(index, embedder, gone[0].text, limit=count)) & set(ids[3:9])


def code_in(path: Path, vector: NDArray[np.float32]) -> bytes:
    """The bytes by which a vector stands in a file."""
    content = path.read_bytes()
    return next((code for code in rounded(vector) if code in content), b"")


def rounded(vector: NDArray[np.float32]) -> Iterator[bytes]:
    """A vector as a form may hold it, given by the embedder or by the store, which rounds it."""
    yield vector.tobytes()
    yield vector.astype(np.float16).tobytes()
    half = vector.astype(np.float16).astype(np.float32)
    unit = half / np.float32(np.linalg.norm(half))
    yield unit.tobytes()
    yield unit.astype(np.float16).tobytes()


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "garbage", "another version"])
def test_a_damaged_snapshot_is_made_anew(store: MemoryStore, tmp_path: Path, damage: str) -> None:
    embedder = WordEmbedder()
    ids = store.add([item(text) for text in sentences(50)])
    VectorIndex.open(tmp_path, store, embedder).save()
    [path] = (tmp_path / "index").glob("*.index")
    content = path.read_bytes()
    path.write_bytes(
        {
            "flipped": content[:700] + bytes([content[700] ^ 1]) + content[701:],
            "cut": content[: len(content) // 2],
            "empty": b"",
            "garbage": os.urandom(5000),
            "another version": content.replace(b'"version": 1', b'"version": 9'),
        }[damage]
    )
    index = VectorIndex.open(tmp_path, store, embedder)
    assert asked(index, embedder, sentences(50)[5], limit=1) == [ids[5]]
    assert len(index) == 50
    assert len(embedder.embedded) == 50


def test_a_snapshot_of_another_memory_is_not_used(store: MemoryStore, tmp_path: Path) -> None:
    embedder = WordEmbedder()
    store.add([item(text) for text in sentences(5)])
    VectorIndex.open(tmp_path, store, embedder).save()
    other = MemoryStore.open(tmp_path / "other")
    [id] = other.add([item("a lamp")])
    (tmp_path / "index").rename(tmp_path / "other" / "index")
    assert asked(VectorIndex.open(tmp_path / "other", other, embedder), embedder, "lamp") == [id]
    other.close()


def test_a_half_written_snapshot_of_a_killed_process_is_deleted(store: MemoryStore, tmp_path: Path) -> None:
    index = VectorIndex.open(tmp_path, store, WordEmbedder())
    index.save()
    [path] = (tmp_path / "index").glob("*.index")
    left = path.with_name(f"{path.name}.12345.new")
    left.write_bytes(b"half")
    index.save()
    assert not left.exists()
    assert path.stat().st_mode & 0o777 == 0o600


def test_another_model_takes_over_when_it_is_complete(store: MemoryStore, tmp_path: Path) -> None:
    old, new = WordEmbedder(64), WordEmbedder(32, name="better")
    ids = store.add([item(text) for text in sentences(150)])
    index = VectorIndex.open(tmp_path, store, old)
    index.save()
    moving = move(tmp_path, store, new)
    moved = next(moving)
    assert 0 < moved.done < moved.all == 150
    late = store.add([item("a lamp on the table")])
    assert not index.outdated
    assert asked(index, old, sentences(150)[3], limit=1) == [ids[3]]
    assert not VectorIndex.open(tmp_path, store, old).outdated
    last = list(moving)[-1]
    assert last.done == last.all == 151
    assert index.outdated
    assert asked(index, old, sentences(150)[3], limit=1) == [ids[3]]
    after = VectorIndex.open(tmp_path, store, new)
    assert not after.outdated
    assert asked(after, new, "a lamp on the table", limit=1) == late
    assert len(list((tmp_path / "index").glob("*.index"))) == 1
    assert store.vectors([store.get(ids)[0].hash], old.name) == {}
    assert len(new.embedded) == 151


def test_moving_goes_on_where_it_was(store: MemoryStore, tmp_path: Path) -> None:
    store.add([item(text) for text in sentences(150)])
    VectorIndex.open(tmp_path, store, WordEmbedder())
    new = WordEmbedder(32)
    next(move(tmp_path, store, new))
    assert len(new.embedded) == 64
    list(move(tmp_path, store, new))
    assert len(new.embedded) == 150


class Liar(WordEmbedder):
    """Says that it has another dimension than it has."""

    def embed(self, texts: Sequence[str], /, *, role: Role = "text") -> NDArray[np.float32]:
        return super().embed(texts, role=role)[:, 1:]


def test_a_model_of_another_dimension_than_it_says_is_refused(store: MemoryStore, tmp_path: Path) -> None:
    store.add([item("one")])
    with pytest.raises(ModelInvalid, match="shape"):
        VectorIndex.open(tmp_path, store, Liar())


def test_kept_vectors_of_another_dimension_are_embedded_again(store: MemoryStore, tmp_path: Path) -> None:
    embedder = WordEmbedder()
    [id] = store.add([item("one")])
    store.keep_vectors(embedder.name, {store.get([id])[0].hash: np.ones(1, np.float32)})
    index = VectorIndex.open(tmp_path, store, embedder)
    assert asked(index, embedder, "one") == [id]
    assert next(iter(store.vectors([store.get([id])[0].hash], embedder.name).values())).shape == (64,)


class Following(RuleBasedStateMachine):
    """An index that is opened, refreshed and saved at any time, while two stores change what it is of."""

    @initialize()
    def begin(self) -> None:
        self.place = tempfile.TemporaryDirectory()
        self.folder = Path(self.place.name)
        self.stores = [MemoryStore.open(self.folder) for _ in range(2)]
        self.embedder = WordEmbedder(16)
        self.index = VectorIndex.open(self.folder, self.stores[0], self.embedder)
        self.model: dict[int, tuple[str, str, bool]] = {}

    @rule(which=st.integers(0, 1), words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=3), bob=st.booleans())
    def add(self, which: int, words: list[str], bob: bool) -> None:
        tenant = "bob" if bob else "ann"
        ids = self.stores[which].add([item(word, tenant=tenant) for word in words])
        self.model |= {id: (tenant, word, True) for id, word in zip(ids, words, strict=True)}

    @rule(which=st.integers(0, 1), at=st.integers(0, 50))
    def remove(self, which: int, at: int) -> None:
        if self.model:
            id = sorted(self.model)[at % len(self.model)]
            assert self.stores[which].remove([id]) == 1
            del self.model[id]

    @rule(which=st.integers(0, 1))
    def supersede(self, which: int) -> None:
        anns = [id for id, (tenant, _, current) in self.model.items() if tenant == "ann" and current]
        if len(anns) > 1:
            self.stores[which].supersede(anns[:1], anns[1])
            self.model[anns[0]] = (*self.model[anns[0]][:2], False)

    @rule()
    def save(self) -> None:
        self.index.save()

    @rule(which=st.integers(0, 1))
    def open_again(self, which: int) -> None:
        self.index.close()
        self.index = VectorIndex.open(self.folder, self.stores[which], self.embedder)

    @rule(which=st.integers(0, 1))
    def purge(self, which: int) -> None:
        self.stores[which].purge()

    @invariant()
    def finds_what_is_there(self) -> None:
        if not hasattr(self, "index"):
            return
        self.index.refresh()
        for tenant in ("ann", "bob"):
            expected = sorted(id for id, (whose, _, current) in self.model.items() if whose == tenant and current)
            assert sorted(asked(self.index, self.embedder, "red", Filter(tenant=tenant), 500)) == expected
            assert self.stores[0].ids(Filter(tenant=tenant)).tolist() == expected
        assert len(self.index) == len(self.model)

    def teardown(self) -> None:
        if hasattr(self, "stores"):
            for store in self.stores:
                store.close()
            self.place.cleanup()


TestFollowing = Following.TestCase
TestFollowing.settings = settings(max_examples=12, stateful_step_count=15, deadline=None)
