"""A conversation gets its title and summary from microcode, and keeps the title that the user gave it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from llmos import Kernel
from llmos.agents import jobs
from llmos.config import Settings
from llmos.engine.scripted import ScriptedEngine
from llmos.messages import Message, Microcode
from llmos.shell import conversations
from llmos.shell.conversations import Conversation
from llmos.shell.titling import headed

CODE = Microcode(name="kernel", prompts=jobs.fingerprint())
SAID = (Message("system", "Be brief."), Message("user", "How old do oaks get?"), Message("assistant", "Very old."))


def conversation(folder: Path) -> Conversation:
    return replace(conversations.begin("How old do oaks get?", where=folder), messages=SAID)


def kernel(*replies: str, code: Microcode | None = CODE) -> tuple[Kernel, ScriptedEngine]:
    engine = ScriptedEngine(list(replies), microcode=code)
    return Kernel(engine=engine, settings=Settings()), engine


async def test_a_conversation_is_called_what_it_is_about(tmp_path: Path) -> None:
    kept = conversation(tmp_path)
    testing, engine = kernel("The age of oaks", "The user asks how old oaks get.", "They go on about oaks.")
    async with testing:
        await testing.engine()
        found = await headed(testing, kept)
        assert found is not None
        assert (found.title, found.summary) == ("The age of oaks", "The user asks how old oaks get.")
        assert engine.requests[0].context.messages == jobs.title(SAID[1:]).messages
        again = await headed(testing, found)
        assert again is not None
        assert (again.title, again.summary) == ("The age of oaks", "They go on about oaks.")
    saved = conversations.load(conversations.save(found).path)
    assert saved.summary == "The user asks how old oaks get."


async def test_a_title_that_was_given_stays(tmp_path: Path) -> None:
    testing, _ = kernel("The user asks how old oaks get.")
    async with testing:
        await testing.engine()
        found = await headed(testing, replace(conversation(tmp_path), title="Oaks!"))
        assert found is not None
        assert found.title == "Oaks!"


async def test_a_model_without_microcode_is_not_asked(tmp_path: Path) -> None:
    testing, engine = kernel("Never.", code=None)
    async with testing:
        await testing.engine()
        assert await headed(testing, conversation(tmp_path)) is None
        assert await headed(testing, replace(conversation(tmp_path), messages=())) is None
    assert not engine.requests
