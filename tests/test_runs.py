"""Runs through the public `Kernel`: from every loop, through the gate, resumed, undone, forgotten."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from llmos import Kernel
from llmos.boot import Kernel as BootKernel
from llmos.config import Settings
from llmos.engine.scripted import ScriptedEngine
from llmos.errors import Denied, NoSuchProcess, StorageError
from llmos.events import CallEnded, Notice, ProcessChanged, Token
from llmos.kernel.calls import Result, Traits
from llmos.kernel.journal import Journal
from llmos.kernel.process import Process
from llmos.kernel.protocols import Access
from llmos.memory.items import NewItem
from llmos.memory.memory import Memory
from llmos.runs import Parts, forget, look, undo
from tests.kernel.conftest import Lever, Permissive, Person
from tests.memory.words import WordEmbedder


def writer(content: str, file: Path) -> Lever:
    async def write(arguments: Mapping[str, Any], access: Access) -> Result:
        await access.keep(file)
        file.write_text(content)
        return Result("written", label="files")

    return Lever(traits=Traits(effect="writes"), does=write)


async def pull(process: Process) -> str:
    return (await process.act("lever", {"n": 1})).text


async def test_a_run_tells_what_happens_in_it() -> None:
    async with Kernel.testing("Fine, thanks.") as kernel:
        running = await kernel.spawn("chat", "How are you?")
        events = [event async for event in running.events()]
        assert await running.result() == "Fine, thanks."
        assert "".join(event.text for event in events if isinstance(event, Token)) == "Fine, thanks."
        assert [event.call for event in events if isinstance(event, CallEnded)] == ["think"]
        assert isinstance(events[-1], ProcessChanged)
        assert events[-1].state == "done"
        assert running.usage.generated_tokens > 0


@pytest.mark.parametrize("who", ["tools", "memory"])
async def test_that_the_embedding_model_is_prepared_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    def opened(name: str = "", *, notify: Callable[[str], None]) -> WordEmbedder:
        notify("Preparing the embedding model: once.")
        return WordEmbedder()

    async def ask(process: Process) -> bool:
        if who == "tools":
            return await process.compare("sail a boat", {"boats": ["boats"], "soup": ["soup"]}) is not None
        store = process.system.store
        assert isinstance(store, Memory)
        store.store.add([NewItem(tenant="me", kind="passage", text="The boat is new.", label="files")])
        return bool(await process.recall("what about the boat?"))

    monkeypatch.setattr("llmos.memory.embedding.open_embedder", opened)
    parts = Parts(folder=tmp_path, tools=())
    async with Kernel(engine=ScriptedEngine("x"), settings=Settings(), parts=parts) as kernel:
        running = await kernel.spawn(ask)
        told = [event.text async for event in running.events() if isinstance(event, Notice)]
        assert await running.result()
    assert told == ["Preparing the embedding model: once."]


async def test_a_file_is_undone_unless_it_was_changed_since(tmp_path: Path) -> None:
    old, new = tmp_path / "old.txt", tmp_path / "new.txt"
    old.write_text("before")
    parts = Parts(folder=tmp_path / "data", policy=Permissive())
    async with Kernel.testing(parts=parts) as kernel:
        first = await kernel.spawn(pull, tools=[writer("after", old)])
        second = await kernel.spawn(pull, tools=[writer("made", new)])
        assert (await first.result(), await second.result()) == ("written", "written")
    old.write_text("by hand")
    with pytest.raises(StorageError, match="changed since"):
        undo(tmp_path / "data", first.pid)
    old.write_text("after")
    assert undo(tmp_path / "data", first.pid) == [str(old)]
    assert undo(tmp_path / "data", first.pid) == []
    assert undo(tmp_path / "data", second.pid) == [str(new)]
    assert old.read_text() == "before"
    assert not new.exists()
    journal = Journal(tmp_path / "data")
    assert journal.audit() is None
    journal.close()


async def test_a_forgotten_run_keeps_its_rows_and_the_chain(tmp_path: Path) -> None:
    async with Kernel.testing("A secret.", parts=Parts(folder=tmp_path)) as kernel:
        running = await kernel.spawn("chat", "Tell me the secret.")
        await running.result()
    assert forget(tmp_path, older_than=0, now=time.time() + 1) == [running.pid]
    run, calls = look(tmp_path, running.pid)
    assert (run.task, run.outcome, calls[0].arguments, calls[0].result) == ("", "", "", "")
    assert calls[0].done
    assert "secret" not in (tmp_path / "journal.sqlite3").read_bytes().decode("latin1").replace(
        "Tell me the secret.", ""
    )
    journal = Journal(tmp_path)
    assert journal.audit() is None
    journal.close()


async def test_a_question_is_bound_to_what_was_shown(tmp_path: Path) -> None:
    class Asking(Permissive):
        def decide(self, call: Any, situation: Any, /) -> Any:  # noqa: ANN401
            from llmos.kernel.calls import Ask

            return Ask("a test")

    class Sly(Lever):
        shown = 0

        def show(self, arguments: Mapping[str, Any], access: Access, /) -> str:
            self.shown += 1
            return f"effect {self.shown}"

    person = Person(replies=["once", "no", "once"])
    parts = Parts(folder=tmp_path, policy=Asking(), approver=person)
    async with Kernel.testing(parts=parts) as kernel:
        lever = Lever()
        assert await (await kernel.spawn(pull, tools=[lever])).result() == "pulled 1"
        with pytest.raises(Denied, match="refused by the user"):
            await (await kernel.spawn(pull, tools=[lever])).result()
        with pytest.raises(Denied, match="has changed since"):
            await (await kernel.spawn(pull, tools=[Sly()])).result()
        assert len(lever.calls) == 1


async def test_nobody_to_ask_is_a_denial(tmp_path: Path) -> None:
    async with Kernel.testing(parts=Parts(folder=tmp_path)) as kernel:
        with pytest.raises(Denied, match="nobody can answer"):
            await (
                await kernel.spawn(pull, tools=[Lever(traits=Traits(effect="irreversible", steers=frozenset("n")))])
            ).result()


async def test_several_kernels_share_an_engine_and_a_folder(tmp_path: Path) -> None:
    engine = ScriptedEngine("Hello.", seconds_per_token=0.01)
    kernels = [BootKernel(engine=engine, parts=Parts(folder=tmp_path), shared=True) for _ in range(3)]
    runnings = await asyncio.gather(*(kernel.spawn("chat", "Hi") for kernel in kernels for _ in range(5)))
    assert {await running.result() for running in runnings} == {"Hello."}
    for kernel in kernels:
        await kernel.close()
    journal = Journal(tmp_path)
    assert len(journal.runs()) == 15
    assert journal.audit() is None
    journal.close()
    await engine.close()


async def test_a_run_of_a_living_kernel_is_not_resumed_by_another(tmp_path: Path) -> None:
    async def sleeper(process: Process) -> None:
        await process.sleep(1000)

    parts = Parts(folder=tmp_path, agents={"sleeper": sleeper})
    async with Kernel.testing(parts=parts) as first, Kernel.testing(parts=parts) as second:
        running = await first.spawn("sleeper")
        with pytest.raises(NoSuchProcess, match="is running"):
            await second.resume(running.pid)
        await first.close()
        resumed = await second.resume(running.pid)
        await resumed.signal("kill")
        with pytest.raises(Exception, match="killed"):
            await resumed.result()
