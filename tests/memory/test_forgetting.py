"""Forgetting leaves no byte: in the store, its index, runs, saved chats, what was typed, states, pictures and names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.agents.assistant import assistant
from llmos.boot import Kernel
from llmos.errors import NoSuchProcess
from llmos.kernel.entry import AgentCode
from llmos.kernel.journal import Journal
from llmos.kernel.process import Process
from llmos.memory import forgetting
from llmos.memory.forgetting import FORGOTTEN
from llmos.memory.items import NewItem, Span
from llmos.memory.memory import Memory
from llmos.memory.personal.consolidation import LEAST
from llmos.memory.traces import Traces, files_with, words_of
from llmos.messages import Message
from llmos.runs import Parts
from llmos.shell import conversations
from llmos.shell.conversations import Conversation
from tests.memory.words import WordEmbedder

SECRET = "The vault stands behind the third bookshelf and opens with zanzibar4711 at noon."
OTHER = "The garden behind the house belongs to the ground floor, and is closed in winter."


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    memory = Memory(tmp_path, embedder=WordEmbedder())
    memory.store.add([item(SECRET, "/notes/vault.md"), item(OTHER, "/notes/garden.md")])
    yield memory
    memory.close()


def item(text: str, source: str, tenant: str = "me") -> NewItem:
    return NewItem(
        tenant=tenant, kind="passage", text=text, label="files", source=source, span=Span(line=1), key=source
    )


def everywhere(folder: Path, word: str) -> list[str]:
    """The files whose bytes or names have a word."""
    forms = [
        form
        for text in (word, word.upper())
        for form in (text.encode(), text.encode("utf-16-le"), text.encode("utf-16-be"))
    ]
    named = [str(path) for path in folder.rglob("*") if word in path.name]
    return named + [
        str(path) for path in folder.rglob("*") if path.is_file() and any(form in path.read_bytes() for form in forms)
    ]


def forgets(memory: Memory, **what: object) -> forgetting.Forgotten:
    items = forgetting.meant(memory, **what)  # type: ignore[arg-type]
    return forgetting.forget(memory, forgetting.plan(memory, items), cache=memory.folder.parent / "cache")


async def talks(process: Process, words: str) -> str:
    """Asks no memory."""
    return (await process.think(words)).text


async def ask(memory: Memory, folder: Path, words: str, agent: AgentCode = assistant) -> str:
    """Have an agent answer, by default the assistant from memory; returns what it said."""
    async with Kernel.testing("I don't know.", parts=Parts(folder=folder, tools=(), store=memory)) as kernel:
        return str(await (await kernel.spawn(agent, words)).result())


def chat(folder: Path, *said: str) -> Path:
    """Save a chat in which the user and the assistant speak in turn."""
    messages = tuple(Message("user" if number % 2 == 0 else "assistant", text) for number, text in enumerate(said))
    return conversations.save(
        Conversation(
            path=conversations.begin(said[0], where=folder / "conversations").path,
            title=conversations.shorten(said[0]),
            messages=messages,
        )
    ).path


async def test_no_byte_of_what_is_forgotten_is_left_and_the_rest_is_whole(tmp_path: Path, memory: Memory) -> None:
    question = "Where does the vault stand that opens with zanzibar4711?"
    answer = await ask(memory, tmp_path, question)
    assert "bookshelf" in answer
    assert await ask(memory, tmp_path, "Write something.", agent=talks) == "I don't know."
    said = chat(tmp_path, question, answer, "And the garden?", "It is closed in winter.")
    kept = chat(tmp_path, "What is the capital of France?", "Paris.")
    (tmp_path / "history").write_text(f"\n# 2026-11-21 14:00\n+{question}\n\n# 2026-11-21 14:01\n+hello there\n")
    (tmp_path / "cache" / "kv" / "1-x").mkdir(parents=True)
    (tmp_path / "cache" / "kv" / "1-x" / "1.kv").write_bytes(SECRET.encode())
    (memory.folder / "map.html").write_text(SECRET)
    memory.close()
    assert len(everywhere(tmp_path, "zanzibar")) >= 5

    done = forgets(memory, query="zanzibar4711")
    assert (done.items, done.runs, done.chats, done.typed, done.left) == (1, 1, 1, 1, {})
    memory.close()
    for word in ("zanzibar", "bookshelf", "vault"):
        assert everywhere(tmp_path, word) == []
    assert not said.exists()
    (renamed,) = done.renamed.values()
    again = conversations.load(renamed)
    assert [message.content for message in again.messages] == [
        FORGOTTEN,
        FORGOTTEN,
        "And the garden?",
        "It is closed in winter.",
    ]
    assert conversations.load(kept).messages[1].content == "Paris."
    assert "hello there" in (tmp_path / "history").read_text()
    assert [memo.text for memo in await memory.recall("when is the garden closed in winter")] == [OTHER]
    journal = Journal(tmp_path)
    assert journal.audit() is None
    assert [bool(run.task) for run in journal.runs()] == [True, False]
    journal.close()


async def test_a_fact_goes_with_its_earlier_values_and_the_words_it_was_told_in(tmp_path: Path, memory: Memory) -> None:
    for colour in ("vermilion", "turquoise"):
        memory.told(f"Remember that my favourite colour is {colour}.", source="chat 1")
    path = chat(
        tmp_path, "Remember that my favourite colour is turquoise.", "noted", "Paint it", "In turquoise, of course."
    )
    facts = memory.personal.find("my favourite colour")
    done = forgetting.forget(memory, forgetting.plan(memory, memory.get([fact.id for fact in facts])))
    assert (done.items, done.chats, done.left) == (2, 1, {})
    memory.close()
    assert everywhere(tmp_path, "vermilion") == everywhere(tmp_path, "turquoise") == []
    assert not path.exists()


def test_by_source_folder_and_time(tmp_path: Path, memory: Memory) -> None:
    memory.store.add([item("An old letter about the roof.", "/mail/old.eml")])
    assert [one.source for one in forgetting.meant(memory, sources=("/notes",))] == [
        "/notes/vault.md",
        "/notes/garden.md",
    ]
    assert [one.source for one in forgetting.meant(memory, sources=("/notes/vault.md",))] == ["/notes/vault.md"]
    assert forgetting.meant(memory, sources=("/note",)) == []
    assert forgetting.meant(memory, until=1.0) == []
    assert len(forgetting.meant(memory, since=1.0)) == len(forgetting.meant(memory)) == 3


def test_of_a_query_only_what_it_fits_is_meant(memory: Memory) -> None:
    assert [one.source for one in forgetting.meant(memory, query="zanzibar4711")] == ["/notes/vault.md"]
    assert forgetting.meant(memory, query="submarine engines of the navy") == []


def test_a_summary_of_what_is_forgotten_goes_too_and_its_other_originals_stay(tmp_path: Path, memory: Memory) -> None:
    said = [SECRET, *(f"We spoke about whale number {number}." for number in range(LEAST))]
    ids = memory.store.add(
        [NewItem(tenant="me", kind="episode", text=text, label="user", source="talk", created=1.0) for text in said]
    )
    memory.store.remove([1])  # what the fixture has of it
    done = memory.tidy()
    assert done is not None
    (summary,) = memory.get(done.summaries)
    assert "zanzibar4711" in summary.text
    plan = forgetting.plan(memory, memory.get(ids[:1]))
    assert [one.id for one in plan.items] == [ids[0], summary.id]
    assert forgetting.forget(memory, plan).left == {}
    assert everywhere(tmp_path, "zanzibar4711") == []
    assert [one.id for one in memory.get(ids)] == ids[1:]


def test_what_another_item_says_too_stays_where_it_is(tmp_path: Path, memory: Memory) -> None:
    memory.store.add([item(SECRET, "/copy/vault.md")])
    path = chat(tmp_path, "Where is it?", SECRET)
    done = forgets(memory, sources=("/notes/vault.md",))
    assert (done.items, done.chats, done.left) == (1, 0, {})
    assert path.exists()


def test_another_tenant_loses_nothing(tmp_path: Path, memory: Memory) -> None:
    memory.store.add([item("The boat is painted blue and lies in the harbour.", "/b", tenant="you")])
    assert forgets(memory).items == 2
    theirs = Memory(tmp_path, tenant="you", embedder=WordEmbedder())
    assert theirs.stats()["items"] == 1
    assert memory.stats()["items"] == 0
    theirs.close()


async def test_a_run_that_is_under_way_is_not_cut_off(tmp_path: Path, memory: Memory) -> None:
    async def nap(process: Process, words: str) -> None:
        await process.recall(words)
        await process.sleep(60)

    async with Kernel.testing(parts=Parts(folder=tmp_path, tools=(), store=memory)) as kernel:
        running = await kernel.spawn(nap, "where is the vault that opens with zanzibar4711?")
        journal = Journal(tmp_path)
        while not any(call.done and call.kind == "recall" for call in journal.calls(running.pid)):
            pass
        journal.close()
        with pytest.raises(NoSuchProcess, match="under way"):
            forgets(memory, query="zanzibar4711")
        assert memory.stats()["items"] == 2
        await running.signal("kill")


def test_a_damaged_chat_that_has_it_is_removed(tmp_path: Path, memory: Memory) -> None:
    folder = tmp_path / "conversations"
    folder.mkdir()
    (folder / "a.json").write_text('{"messages": [' + json.dumps(SECRET))
    (folder / "b.json").write_text('{"messages": ["something else')
    assert forgets(memory, query="zanzibar4711").chats == 1
    assert [path.name for path in folder.iterdir()] == ["b.json"]


def test_what_stays_somewhere_is_said(tmp_path: Path, memory: Memory) -> None:
    (tmp_path / "notes of mine.txt").write_text(SECRET, "utf-16-le")
    done = forgets(memory, query="zanzibar4711")
    assert [path.name for path in done.left] == ["notes of mine.txt"]


def test_nothing_meant_is_an_empty_plan(memory: Memory) -> None:
    assert forgetting.plan(memory, []).empty


# -- recognizing


@pytest.mark.parametrize(
    ("text", "there"),
    [
        (SECRET, True),
        (SECRET.upper(), True),
        ("It says that the vault stands behind the third\n  bookshelf, and more.", True),
        (
            json.dumps(
                {"a": json.dumps({"b": "opens\nwith zanzibar4711 at noon, bookshelf\tand opens with zanzibar4711 at"})}
            ),
            True,
        ),
        ("the third bookshelf", False),
        ("It stands behind the house.", False),
        ("", False),
    ],
)
def test_a_quote_of_five_telling_words_is_recognized(text: str, there: bool) -> None:
    assert Traces((SECRET,)).within(text) is there


def test_short_texts_must_stand_as_a_whole() -> None:
    traces = Traces(("window seats", "Anna"))
    assert traces.within("He likes Window-Seats most.")
    assert traces.within("ask anna")
    assert not traces.within("a window, and seats; an annal")


def test_exact_texts_count_only_alone() -> None:
    traces = Traces(("something else entirely here",)).and_exactly(["Yes.", "It stands by the door."])
    assert traces.within(" It stands by the door.\n")
    assert not traces.within("It stands by the door. So what?")
    assert not traces.within("Yes.")


@given(st.text(max_size=200))
def test_words_never_break_on_any_text(text: str) -> None:
    assert all(word == word.casefold() for word in words_of(json.dumps(text)))
    assert Traces((text,)).within(text) or not words_of(text)


@pytest.mark.parametrize("code", ["utf-8", "utf-16-le", "utf-16-be"])
def test_files_are_searched_across_blocks(tmp_path: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmos.memory.traces._BLOCK", 16)
    (tmp_path / "a.bin").write_bytes(b"\0" * 25 + "zanzibar".encode(code) + b"\0" * 25)
    (tmp_path / "b.bin").write_bytes(b"zanzi" + b"\0" * 40 + b"bar")
    assert {path.name: text for path, text in files_with(tmp_path, ["zanzibar"]).items()} == {"a.bin": "zanzibar"}
