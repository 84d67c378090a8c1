"""The store: what is written is there, for its tenant only, in every process, until it is removed without a trace."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.errors import StorageError
from llmos.memory.items import Filter, NewItem, Span, hash_of
from llmos.memory.store import MemoryStore
from tests.memory.samples import item

ANN = Filter(tenant="ann")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MemoryStore]:
    opened = MemoryStore.open(tmp_path / "memory")
    yield opened
    opened.close()


def test_an_item_comes_back_as_it_was_written(store: MemoryStore) -> None:
    new = NewItem(
        tenant="ann",
        kind="fact",
        text="The kettle is green. 茶\n\x00end",
        label="outside",
        namespace="home",
        source="notes/caf\udce9.md",
        span=Span(start=3, stop=9, line=1, last_line=2, page=4, heading="Home > Kitchen"),
        metadata={"subject": "kettle", "values": [1, 2.5, None]},
        created=1000.5,
        valid_from=900.0,
        key="k1",
    )
    [id] = store.add([new])
    [found] = store.get([id])
    for field in (
        "tenant",
        "kind",
        "text",
        "label",
        "namespace",
        "source",
        "span",
        "metadata",
        "created",
        "valid_from",
    ):
        assert getattr(found, field) == getattr(new, field), field
    assert (found.id, found.key, found.superseded_by, found.seq) == (id, "k1", None, store.last)


def test_a_text_that_has_no_form_in_a_file_is_kept_with_a_mark(store: MemoryStore) -> None:
    [id] = store.add([item("half of a pair: \ud83d.")])
    assert store.get([id])[0].text == "half of a pair: \ufffd."


def test_what_was_added_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    first = MemoryStore.open(tmp_path)
    ids = first.add([item("one"), item("two")])
    first.close()
    second = MemoryStore.open(tmp_path)
    assert [found.text for found in second.get([ids[1], 77, ids[0]])] == ["two", "one"]
    assert second.last == first_number(second, ids[1])
    second.close()


def first_number(store: MemoryStore, id: int) -> int:
    return store.get([id])[0].seq


def test_adding_with_the_same_key_twice_changes_nothing(store: MemoryStore) -> None:
    [id] = store.add([item("one", key="a")])
    last = store.last
    assert store.add([item("one", key="a"), item("other words", key="a")]) == [id, id]
    assert store.last == last
    assert store.add([item("one", key="a", tenant="bob")]) != [id]
    assert store.add([item("two", key="b"), item("two", key="b")])[0] == id + 2


def test_ids_are_never_used_again(store: MemoryStore) -> None:
    ids = store.add([item("one"), item("two")])
    store.remove(ids)
    store.purge()
    assert store.add([item("three")]) == [ids[-1] + 1]


def test_an_item_without_a_tenant_is_refused(store: MemoryStore) -> None:
    with pytest.raises(StorageError, match="tenant"):
        store.add([item("one"), item("two", tenant="")])
    assert store.count(ANN) == 0


def test_filters_choose(store: MemoryStore) -> None:
    ids = store.add(
        [
            item("0", created=10.0, label="user", kind="fact"),
            item("1", created=20.0, source="b.md", namespace="x"),
            item("2", created=30.0, source="b.md"),
            item("3", tenant="bob"),
            item("4", created=40.0, source="c\udce9.md"),
        ]
    )

    def chosen(**more: Any) -> list[int]:  # noqa: ANN401
        wanted = replace(ANN, **more)
        found = [ids.index(found.id) for found in store.items(wanted)]
        assert [ids.index(id) for id in store.ids(wanted)] == found
        assert store.count(wanted) == len(found)
        return found

    store.supersede([ids[2]], ids[4])
    assert chosen() == [0, 1, 4]
    assert chosen(current=None) == [0, 1, 2, 4]
    assert chosen(current=False) == [2]
    assert chosen(namespaces=("x",)) == [1]
    assert chosen(namespaces=("", "x")) == [0, 1, 4]
    assert chosen(namespaces=()) == []
    assert chosen(kinds=("fact", "skill")) == [0]
    assert chosen(labels=("user",)) == [0]
    assert chosen(sources=("b.md", "c\udce9.md"), current=None) == [1, 2, 4]
    assert chosen(since=20.0) == [1, 4]
    assert chosen(since=20.0, until=40.0, current=None) == [1, 2]
    assert [found.text for found in store.items(ANN, after=ids[0], limit=1)] == ["1"]
    assert chosen(tenant="nobody") == []


def test_superseding_keeps_history_and_is_a_change(store: MemoryStore) -> None:
    old, new, other = store.add([item("old"), item("new"), item("theirs", tenant="bob")])
    last = store.last
    store.supersede([old], new)
    assert store.get([old])[0].superseded_by == new
    assert list(store.changes(last).ids) == [old]
    for ids, by in (([old], other), ([old], 99), ([new], new), ([99], new)):
        with pytest.raises(StorageError, match="place"):
            store.supersede(ids, by)
    assert store.get([new])[0].superseded_by is None


def test_words_find_items_of_the_tenant_only(store: MemoryStore) -> None:
    ids = store.add([item("Apple trees in the garden"), item("A pear tree"), item("apples", tenant="bob")])
    found = store.matching("apple tree", ANN, limit=5)
    assert [id for id, _ in found] == ids[:2]
    assert found[0][1] > found[1][1] > 0
    assert store.matching("apple", replace(ANN, kinds=("fact",)), limit=5) == []
    assert store.matching("apple", replace(ANN, namespaces=()), limit=5) == []
    assert store.matching("apple tree", ANN, limit=1) == found[:1]


def test_words_of_writing_without_spaces_and_with_accents_are_found(store: MemoryStore) -> None:
    ids = store.add([item("他住在北京的一個小鎮"), item("Wir treffen uns im Café Müller"), item("他去上海")])
    assert [id for id, _ in store.matching("北京在哪裡?", ANN, limit=5)] == [ids[0]]
    assert [id for id, _ in store.matching("cafe\u0301 MULLER", ANN, limit=5)] == [ids[1]]


@settings(max_examples=150, deadline=None)
@given(query=st.text(max_size=40) | st.text(alphabet="\"*():^-+{}ANDORNEAR _,'x1", max_size=30))
def test_any_text_is_a_legal_query(query: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "queries"
    store = MemoryStore.open(folder)
    if not store.count(ANN):
        store.add([item("x1 and x2 or NEAR by"), item("an x")])
    store.matching(query, ANN, limit=3)
    store.close()


def test_common_words_are_passed_over_where_there_are_rarer_ones(store: MemoryStore) -> None:
    store.add([item(f"the number {n}") for n in range(6_000)])
    [id] = store.add([item("the walrus")])
    assert [found for found, _ in store.matching("where is the walrus", ANN, limit=5)] == [id]
    assert len(store.matching("the", ANN, limit=5)) == 5


def test_neighbours_stand_beside_an_item_in_its_source(store: MemoryStore) -> None:
    starts = [10, 0, 20, 30]
    ids = store.add([item(f"at {start}", source="a.md", span=Span(start=start)) for start in starts])
    store.add([item("else", source="b.md", span=Span(start=11)), item("bob's", source="a.md", tenant="bob")])
    [middle, first] = store.get([ids[0], ids[1]])
    assert [found.text for found in store.neighbours(middle)] == ["at 0", "at 20"]
    assert [found.text for found in store.neighbours(middle, before=0, after=5)] == ["at 20", "at 30"]
    assert [found.text for found in store.neighbours(first)] == ["at 10"]
    turns = store.add([item(f"turn {n}", source="chat", kind="episode") for n in range(3)])
    assert [found.text for found in store.neighbours(store.get(turns)[1])] == ["turn 0", "turn 2"]
    assert store.neighbours(store.get(store.add([item("alone"), item("too")]))[0]) == []


def test_replacing_a_source_keeps_what_stays(store: MemoryStore) -> None:
    def passage(text: str, start: int) -> NewItem:
        return item(text, source="a.md", key=f"key of {text}", span=Span(start=start, line=start))

    ids = store.add([passage("one", 0), passage("two", 10), item("no key", source="a.md"), item("else", source="b.md")])
    last = store.last
    changed = store.replace_source("ann", "", "a.md", [passage("new", 0), passage("two", 20)])
    assert (changed.kept, changed.removed) == ((ids[1],), (ids[0], ids[2]))
    assert [found.text for found in store.get(changed.added)] == ["new"]
    assert store.get([ids[1]])[0].span == Span(start=20, line=20)
    assert {found.text for found in store.items(ANN)} == {"new", "two", "else"}
    assert sorted(store.changes(last).ids) == sorted([*changed.added, *changed.kept, *changed.removed])
    again = store.last
    assert store.replace_source("ann", "", "a.md", [passage("new", 0), passage("two", 20)]).added == ()
    assert store.last == again
    with pytest.raises(StorageError, match="source"):
        store.replace_source("ann", "", "a.md", [item("x", source="b.md")])
    assert sorted(store.replace_source("ann", "", "a.md", []).removed) == sorted([*changed.added, ids[1]])
    assert store.count(ANN) == 1


def test_sources_are_listed(store: MemoryStore) -> None:
    store.add([item("12345", source="a.md", created=5.0), item("123", source="a.md", created=9.0), item("no source")])
    [source] = store.sources(ANN)
    assert (source.source, source.kind, source.items, source.characters, source.added) == ("a.md", "passage", 2, 8, 9.0)


def test_changes_are_numbered_across_connections(tmp_path: Path) -> None:
    one, two = MemoryStore.open(tmp_path), MemoryStore.open(tmp_path)
    [a] = one.add([item("a")])
    [b, c] = two.add([item("b"), item("c")])
    one.remove([b])
    changes = two.changes(0)
    assert list(zip(changes.ids, changes.removed, strict=True)) == [(a, False), (c, False), (b, True)]
    assert list(changes.seqs) == sorted(changes.seqs)
    assert changes.last == one.last == two.last
    first = one.changes(0, limit=2)
    assert (list(first.ids), first.more) == ([a, c], True)
    assert list(one.changes(first.last).ids) == [b]
    assert len(one.changes(one.last).ids) == 0
    one.close()
    two.close()


def test_embeddings_are_kept_by_hash_and_model(store: MemoryStore) -> None:
    vector = np.array([0.6, 0.8, 0.0], np.float32)
    key = hash_of("one")
    store.keep_vectors("m", {key: vector})
    assert float(store.vectors([key, hash_of("two")], "m")[key] @ vector) == pytest.approx(1, abs=1e-6)
    assert store.vectors([key], "other") == {}
    store.forget_model("m")
    assert store.vectors([key], "m") == {}


def test_settings_are_kept(store: MemoryStore) -> None:
    assert store.setting("model") is None
    store.set_setting("model", "a")
    store.set_setting("model", "b")
    assert store.setting("model") == "b"


def test_what_was_removed_leaves_no_byte(tmp_path: Path) -> None:
    store = MemoryStore.open(tmp_path)
    secrets = [f"zanzibar{n}quux" for n in range(300)]
    kept = [item(f"common words stay number {n} " * 20, source=f"keep{n}.md") for n in range(300)]
    gone = [
        item(f"{secret} " * 30, source=f"src{secret}", namespace=f"ns{secret}", key=f"key{secret}",
             metadata={"m": f"meta{secret}"}, span=Span(heading=f"head{secret}"))
        for secret in secrets
    ]  # fmt: skip
    ids = store.add([new for pair in zip(kept, gone, strict=True) for new in pair])
    vectors = {new.hash: np.full(8, 8**-0.5, np.float32) for new in gone}
    store.keep_vectors("m", vectors)
    store.supersede(ids[1::6], ids[0])
    assert store.remove(ids[1::2]) == 300
    assert store.remove(ids[1::2]) == 0
    store.purge()
    for path in tmp_path.rglob("*"):
        content = path.read_bytes()
        for what in (b"zanzibar", "zanzibar".encode("utf-16-le"), *list(vectors)[:20]):
            assert what not in content, (path, what)
    assert store.count(ANN) == 300
    assert len(store.matching("common words", ANN, limit=500)) == 300
    assert store.matching("zanzibar7quux", ANN, limit=5) == []
    store.close()


def mark(number: int) -> str:
    """A word that no other number has, nor any long part of it."""
    return f"q{hash_of(str(number)).hex()}"


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 3)), min_size=1, max_size=12))
def test_a_purge_leaves_no_word_of_what_was_removed_however_it_came_and_went(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("purged")
    store = MemoryStore.open(folder)
    number, there = 0, list[int]()
    for added, removed in steps:
        there += store.add([item(f"common words and {mark(number + n)}") for n in range(1, added + 1)])
        number += added
        gone, there = there[: removed * len(there) // 3], there[removed * len(there) // 3 :]
        store.remove(gone)
    store.purge()
    content = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    # the index of words leaves out what a word has in common with the one before it
    assert {id for id in range(1, number + 1) if mark(id)[4:].encode() in content} == set(there)
    assert all(store.matching(mark(id), ANN, limit=9)[0][0] == id for id in there[:5])
    store.close()


def test_files_are_for_their_owner_only(store: MemoryStore) -> None:
    store.add([item("secret")])
    files = list(store.folder.iterdir())
    assert len(files) >= 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700


def test_a_database_of_a_later_version_or_of_something_else_is_refused(tmp_path: Path) -> None:
    MemoryStore.open(tmp_path).close()
    database = sqlite3.connect(tmp_path / "memory.sqlite3")
    database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(StorageError, match=r"later version.*Update llmos"):
        MemoryStore.open(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    database = sqlite3.connect(other / "memory.sqlite3")
    database.execute("CREATE TABLE mine (x)")
    database.close()
    with pytest.raises(StorageError, match="something else"):
        MemoryStore.open(other)


def test_a_closed_store_and_a_folder_that_is_gone_say_so(tmp_path: Path) -> None:
    store = MemoryStore.open(tmp_path / "memory")
    store.close()
    with pytest.raises(StorageError, match="closed"):
        store.add([item("one")])
    with pytest.raises(StorageError, match="closed"):
        store.count(ANN)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        MemoryStore.open(tmp_path / "file" / "memory")


def test_threads_write_and_read_at_once(store: MemoryStore) -> None:
    errors: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for n in range(20):
                store.add([item(f"{name} {n} {part}") for part in range(5)])
                assert store.count(Filter(tenant="ann")) % 5 == 0
                store.matching(name, ANN, limit=3)
        except BaseException as error:  # shown by the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    assert store.count(ANN) == 400


def test_metadata_that_json_does_not_know_is_written_as_text(store: MemoryStore) -> None:
    [id] = store.add([item("x", metadata={"path": Path("a")})])
    assert store.get([id])[0].metadata == {"path": os.fspath(Path("a"))}
    assert json.dumps(store.get([id])[0].metadata)
