"""One tenant's memory as a kernel uses it: opened late, found with its place, kept apart, exported and taken over."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from llmos.agents.assistant import assistant
from llmos.boot import Kernel
from llmos.errors import ConfigError, ModelInvalid, StorageError
from llmos.kernel.process import Process
from llmos.memory.exporting import export, load
from llmos.memory.items import Item, NewItem, Span
from llmos.memory.memory import FEW_TOLD, TIDY_SECONDS, Memory, about_tokens
from llmos.memory.places import named, place_of
from llmos.memory.protocols import Role
from llmos.memory.vectors.index import MODEL
from llmos.runs import Parts
from tests.memory.words import WordEmbedder

LEASE = "The lease of the flat ends on 31 March 2027 and needs three months notice."
GARDEN = "The garden behind the house belongs to the ground floor."


def passage(text: str, *, source: str = "/notes/lease.md", tenant: str = "me", span: Span | None = None) -> NewItem:
    return NewItem(
        tenant=tenant,
        kind="passage",
        text=text,
        label="files",
        source=source,
        span=span or Span(),
        key=f"{source} {text}",
    )


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    memory = Memory(tmp_path, embedder=WordEmbedder())
    yield memory
    memory.close()


async def test_nothing_is_made_before_something_is_kept(tmp_path: Path, memory: Memory) -> None:
    assert await memory.recall("anything at all") == ()
    assert not await memory.holds()
    assert memory.core("a task", tokens=200) is None
    assert memory.stats()["items"] == 0
    assert list(tmp_path.iterdir()) == []


async def test_what_is_recalled_has_its_place_label_and_heading(memory: Memory) -> None:
    span = Span(line=4, last_line=5, heading="The flat")
    memory.store.add([NewItem(tenant="me", kind="passage", text=LEASE, label="files", source="/a/b.md", span=span)])
    memory.store.add([passage(GARDEN)])
    (memo, *_) = await memory.recall("when does the lease of the flat end")
    assert (memo.text, memo.label, memo.source) == (LEASE, "files", "/a/b.md:4-5 § The flat")
    assert 0 < memo.score <= 1
    assert await memory.holds()


async def test_what_is_not_there_is_not_recalled(memory: Memory) -> None:
    memory.store.add([passage(LEASE), passage(GARDEN)])
    assert await memory.recall("quantum chromodynamics of gluons") == ()


async def test_a_second_memory_sees_what_the_first_one_keeps(tmp_path: Path, memory: Memory) -> None:
    memory.store.add([passage(GARDEN)])
    assert await memory.recall("the lease of the flat ends") == ()
    other = Memory(tmp_path, embedder=WordEmbedder())
    other.store.add([passage(LEASE)])
    other.close()
    assert [memo.text for memo in await memory.recall("the lease of the flat ends", limit=1)] == [LEASE]


async def test_tenants_are_kept_apart(tmp_path: Path, memory: Memory) -> None:
    memory.store.add([passage(LEASE), passage(GARDEN, tenant="you")])
    with_theirs = Memory(tmp_path, tenant="you", embedder=WordEmbedder())
    assert [memo.text for memo in await with_theirs.recall("lease of the flat, garden behind the house")] == [GARDEN]
    assert with_theirs.get([1]) == []
    assert with_theirs.stats()["items"] == 1
    assert memory.filter().tenant == "me"
    with_theirs.close()


@pytest.mark.parametrize("tenant", ["", "  ", "x" * 65, "a\nb"])
def test_a_tenant_has_a_name(tmp_path: Path, tenant: str) -> None:
    with pytest.raises(ConfigError, match="tenant"):
        Memory(tmp_path, tenant=tenant)


async def test_without_the_embedding_model_words_still_find(tmp_path: Path) -> None:
    memory = Memory(tmp_path, embedder=str(tmp_path / "no such model"))
    memory.store.add([passage(LEASE), passage(GARDEN)])
    assert [memo.text for memo in await memory.recall("when does the lease of the flat end", limit=1)] == [LEASE]
    assert "no such model" in memory.trouble
    memory.close()


async def test_an_idempotency_key_keeps_a_text_once(memory: Memory) -> None:
    for _ in range(2):
        await memory.remember("a harmless remark about stones", label="outside", source="page", key="run:0:1")
    assert memory.stats()["kinds"] == {"episode": 1}


async def test_only_the_users_own_words_become_facts(memory: Memory) -> None:
    words = "Remember that I like window seats."
    await memory.remember(words, label="outside")
    assert memory.stats()["kinds"] == {"episode": 1}
    await memory.remember(words, label="user")
    assert memory.stats()["kinds"] == {"episode": 1, "preference": 1}
    core = memory.core("book a flight", tokens=200)
    assert core is not None
    assert "window seats" in core.text
    assert core.label == "user"


async def test_nothing_is_forgotten_by_remembering(memory: Memory) -> None:
    await memory.remember("Remember that I like window seats.", label="user")
    await memory.remember("Forget everything you know about me.", label="user")
    assert memory.stats()["kinds"]["preference"] == 1


async def test_the_core_block_keeps_to_its_budget(memory: Memory) -> None:
    for number in range(40):
        memory.told(f"Remember that my locker number {number} is {number * 37}.")
    core = memory.core("what is in locker number 7?", tokens=60)
    assert core is not None
    assert about_tokens(core.text) <= 60
    assert memory.core("x", tokens=0) is None


class Likes(WordEmbedder):
    """Knows that a few words mean the same."""

    def embed(self, texts: Sequence[str], /, *, role: Role = "text") -> NDArray[np.float32]:
        return super().embed([text.replace("taco", "coriander") for text in texts], role=role)


def test_what_matters_for_the_task_goes_before_the_rest_by_its_meaning(tmp_path: Path) -> None:
    memory = Memory(tmp_path, embedder=Likes(256))
    for number in range(40):
        memory.told(f"Remember that my locker number {number} is {number * 37}.")
    memory.told("Remember that I can't stand coriander.", source="chat")
    for number in range(40, 60):
        memory.told(f"Remember that my locker number {number} is {number * 37}.")
    core = memory.core("taco", tokens=60)
    assert core is not None
    assert "coriander" in core.text.splitlines()[1]
    memory.close()


async def test_facts_are_searched_by_meaning_and_a_few_are_recalled_without_a_model(tmp_path: Path) -> None:
    embedder = Likes(256)
    memory = Memory(tmp_path, embedder=embedder)
    memory.told("Remember that I can't stand coriander.")
    assert await memory.recall("taco") == ()
    assert embedder.embedded == []
    found = memory.search("taco")
    assert (found.relevant, found.hits[0].item.metadata["value"]) == (True, "coriander")
    for number in range(FEW_TOLD):
        memory.told(f"Remember that my locker number {number} is {number * 37}.")
    assert [memo.text for memo in await memory.recall("taco", limit=1)] == [found.hits[0].item.text]
    memory.close()


def test_it_is_tidied_once_a_day(memory: Memory) -> None:
    assert memory.tidy() is None
    memory.store.add([passage(LEASE)])
    done = [memory.tidy(now=now) is not None for now in (5.0, 6.0, 5.0 + TIDY_SECONDS, 6.0 + TIDY_SECONDS)]
    assert done == [True, False, True, False]


class Judge:
    """A reranker that only likes texts with a word, or fails."""

    def __init__(self, word: str) -> None:
        self.word = word

    def scores(self, query: str, texts: Sequence[str], /) -> list[float]:
        if not self.word:
            raise ModelInvalid("The judge is broken.")
        return [0.9 if self.word in text else 0.1 for text in texts]


async def test_a_reranker_has_the_last_word_and_one_that_fails_stops_nothing(tmp_path: Path) -> None:
    query = "which flat has a lease that ends, and a house with a garden?"
    for judge, first, trouble in (("garden", GARDEN, ""), ("lease", LEASE, ""), ("", GARDEN, "The judge is broken.")):
        memory = Memory(tmp_path, embedder=WordEmbedder(), reranker=Judge(judge))
        memory.store.add([passage(LEASE), passage(GARDEN)])
        assert (memory.search(query).hits[0].item.text, memory.trouble) == (first, trouble)
        memory.close()


async def test_a_reranker_that_is_not_there_is_told_and_stops_nothing(tmp_path: Path) -> None:
    memory = Memory(tmp_path, embedder=WordEmbedder(), reranker=str(tmp_path / "no such model"))
    memory.store.add([passage(LEASE), passage(GARDEN)])
    assert [memo.text for memo in await memory.recall("when does the lease of the flat end", limit=1)] == [LEASE]
    assert "no such model" in memory.trouble
    memory.close()


# -- another embedding model


class Slow(WordEmbedder):
    """Embeds texts when it is let."""

    def __init__(self) -> None:
        super().__init__(32, name="new")
        self.go_on = threading.Event()

    def embed(self, texts: Sequence[str], /, *, role: Role = "text") -> NDArray[np.float32]:
        assert role == "query" or self.go_on.wait(20)
        return super().embed(texts, role=role)


async def test_behind_a_chat_another_model_takes_over_when_all_is_embedded_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = WordEmbedder(64, name="old"), Slow()

    def opened(name: str, *, notify: object) -> WordEmbedder:
        return {"old-64": old, "new-32": new}[name]

    monkeypatch.setattr("llmos.memory.embedding.open_embedder", opened)
    monkeypatch.setattr("llmos.memory.meaning.AT_ONCE", 0)

    async def chat(memory: Memory, *, ask: str = "when does the lease of the flat end?") -> str:
        async with Kernel.testing("I don't know.", parts=Parts(folder=tmp_path, tools=(), store=memory)) as kernel:
            return str(await (await kernel.spawn(assistant, ask)).result())

    answer = "The lease of the flat ends on 31 March 2027"
    before = Memory(tmp_path, embedder="old-64")
    before.store.add([passage(f"{LEASE} Copy {number}.", source=f"/{number}.md") for number in range(70)])
    assert list(before.meaning.settle())
    assert answer in await chat(before)
    before.close()
    (index,) = (tmp_path / "memory" / "index").glob("*.index")

    memory = Memory(tmp_path, embedder="new-32")
    assert answer in await chat(memory)  # at once, by the model before
    pair = memory.meaning.ready()
    assert pair is not None
    assert pair[1] is old
    memory.store.add([passage(GARDEN)])
    assert "garden" in await chat(memory, ask="who does the garden behind the house belong to?")
    assert memory.store.setting(MODEL) == "old-64"
    new.go_on.set()
    async with asyncio.timeout(20):
        while memory.store.setting(MODEL) != "new-32":
            await asyncio.sleep(0.01)
    assert answer in await chat(memory)
    pair = memory.meaning.ready()
    assert pair is not None
    assert (pair[1], pair[0].waiting, len(pair[0])) == (new, 0, 71)
    memory.close()

    hashes = [item.hash for item in memory.store.items(memory.filter())]
    assert memory.store.vectors(hashes, "old-64") == {}
    assert index not in (tmp_path / "memory" / "index").glob("*.index")
    embedded = len(new.embedded)
    after = Memory(tmp_path, embedder="new-32")
    assert answer in await chat(after)
    assert len(new.embedded) == embedded == 71
    after.close()
    memory.close()


# -- a kernel


async def test_a_kernel_remembers_from_one_life_to_the_next(tmp_path: Path) -> None:
    async def keep(process: Process, text: str) -> None:
        await process.remember(text)

    async def tell(process: Process, query: str) -> list[str]:
        return [memo.text for memo in await process.recall(query)]

    for code, words, came in (
        (keep, "Remember that my dentist is Dr. Wu.", None),
        (tell, "who is my dentist?", ["my dentist is Dr. Wu"]),
    ):
        async with Kernel(parts=Parts(folder=tmp_path, tools=())) as kernel:
            running = await kernel.spawn(code, words)
            assert await running.result() == came
    assert (tmp_path / "memory").is_dir()


async def test_a_kernel_for_tests_keeps_nothing_on_disk(tmp_path: Path) -> None:
    async def keep(process: Process, text: str) -> int:
        await process.remember(text)
        return len(await process.recall(text))

    async with Kernel.testing(parts=Parts(folder=tmp_path, tools=())) as kernel:
        assert await (await kernel.spawn(keep, "remember that I like tea")).result() == 1
    assert not (tmp_path / "memory").exists()


# -- places


@pytest.mark.parametrize(
    ("span", "place"),
    [
        (Span(), "x.md"),
        (Span(line=3), "x.md:3"),
        (Span(line=3, last_line=3), "x.md:3"),
        (Span(line=3, last_line=9), "x.md:3-9"),
        (Span(page=2, line=7), "x.md p. 2"),
    ],
)
def test_places_are_written_as_people_write_them(span: Span, place: str) -> None:
    item = Item(id=1, seq=1, tenant="me", kind="passage", text="t", label="files", source="x.md", span=span)
    assert place_of(item) == place


def test_files_are_named_from_here_or_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert named(str(tmp_path / "a" / "b.md"), folder=tmp_path) == "a/b.md"
    assert named(str(tmp_path / "home" / "c.md"), folder=tmp_path / "x") == "~/c.md"
    assert named("/etc/d.md", folder=tmp_path) == "/etc/d.md"
    assert named("https://e.org/f", folder=tmp_path) == "https://e.org/f"
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert named(str(here / "e.md")) == "e.md"
    here.rmdir()
    assert named(str(tmp_path / "home" / "e.md")) == "~/e.md"


# -- export and import


def test_an_export_taken_over_elsewhere_is_the_same_memory(tmp_path: Path, memory: Memory) -> None:
    memory.store.add(
        [passage(LEASE, span=Span(line=4, last_line=6)), passage(GARDEN, source="/b.pdf", span=Span(page=3))]
    )
    memory.told("Remember that my favourite colour is green.")
    memory.told("Remember that my favourite colour is blue.")
    memory.store.add([NewItem(tenant="you", kind="episode", text="not mine", label="outside")])
    file = tmp_path / "memory.jsonl"
    assert export(memory, file) == 4
    assert file.stat().st_mode & 0o777 == 0o600
    head, *lines = (json.loads(line) for line in file.read_text("utf-8").splitlines())
    assert (head["llmos"], head["version"], len(lines)) == ("memory", 1, 4)

    other = Memory(tmp_path / "other", tenant="them", embedder=WordEmbedder())
    other.store.add([NewItem(tenant="them", kind="episode", text="was there", label="user")])
    assert load(other, file).added == 4
    again = tmp_path / "again.jsonl"
    export(other, again)
    theirs = [json.loads(line) for line in again.read_text("utf-8").splitlines()[2:]]
    assert [plain(one) for one in theirs] == [plain(one) for one in lines]
    links = {one["id"]: one["superseded_by"] for one in lines if "superseded_by" in one}
    assert {one["id"] - 1: one["superseded_by"] - 1 for one in theirs if "superseded_by" in one} == links
    assert len(links) == 1
    came = load(other, file)
    assert (came.added, came.known) == (0, 4)
    other.close()


def plain(data: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in data.items() if name not in ("id", "superseded_by")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no exported memory"),
        ("{}\n", "no exported memory"),
        ('{"llmos": "memory", "version": 9}\n', "version 9"),
        ('{"llmos": "memory", "version": 1}\nnonsense\n', "line 2"),
        ('{"llmos": "memory", "version": 1}\n{"id": 1, "kind": "secret", "label": "user", "text": "x"}\n', "line 2"),
        ('{"llmos": "memory", "version": 1}\n{"id": 1, "kind": "fact", "label": "user", "text": 5}\n', "line 2"),
    ],
)
def test_what_is_no_export_is_refused(tmp_path: Path, memory: Memory, text: str, said: str) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load(memory, file)


def test_a_file_that_is_not_there_is_a_storage_error(tmp_path: Path, memory: Memory) -> None:
    with pytest.raises(StorageError, match="can't be read"):
        load(memory, tmp_path / "nothing.jsonl")
    with pytest.raises(StorageError, match="can't be written"):
        export(memory, tmp_path / "no folder" / "x.jsonl")


async def test_many_threads_may_use_it_at_once(memory: Memory) -> None:
    memory.store.add([passage(f"{LEASE} {number}") for number in range(20)])
    found = await asyncio.gather(*(memory.recall("when does the lease of the flat end") for _ in range(8)))
    assert all(memos for memos in found)
