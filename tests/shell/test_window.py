"""A chat that outgrows the window: paged, told, saved and shown by `/context`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest

from llmos.config import Settings, load_settings
from llmos.errors import LlmosError
from llmos.events import Event
from llmos.kernel.pages import PageTable
from llmos.shell import conversations
from llmos.shell.screen import PlainScreen
from llmos.shell.session import Session
from llmos.shell.shell import Shell
from tests.shell.helpers import script

FACT = "The code of the harbor gate is 4711."
QUESTION = "What was the code of the harbor gate?"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMOS_HOME", str(tmp_path))
    return tmp_path


def settings_for(tmp_path: Path, *, tools: bool = False, context: int = 1000) -> Settings:
    model = script(tmp_path, "Noted, and so on.", context=context)
    return load_settings(flags={"model": model, "tools": tools, "system": "Be brief.", "max_tokens": 50})


def words(number: int) -> str:
    return FACT if number == 3 else f"Some words on subject{number}, quite unlike all the others. " * 4


def nothing(event: Event) -> None:
    """Show nothing."""


async def talk(session: Session, turns: int, notes: list[str]) -> None:
    for number in range(1, turns + 1):
        turn = await session.ask(words(number), nothing, note=notes.append)
        assert turn.usage.prompt_tokens < 1000


async def test_a_chat_goes_on_beyond_the_window_and_says_so(tmp_path: Path) -> None:
    session, notes = Session(settings_for(tmp_path), warnings=notes_of()), list[str]()
    try:
        await talk(session, 40, notes)
        assert len(session.context.messages) == 81
        assert any("the context is full" in note for note in notes)
        await session.ask(QUESTION, nothing, note=notes.append)
        assert notes[-1].strip() == "brought back for this message: turn 3"
        table = session.pages.table
        assert session.conversation is not None
        again = conversations.load(session.conversation.path)
        assert again.pages == table.of(session.context.messages)
        assert again.pages.evicted
        assert again.messages == session.context.messages
    finally:
        await session.close()


def notes_of() -> Callable[[str], None]:
    def warn(text: str) -> None:
        raise AssertionError(text)

    return warn


async def test_a_resumed_chat_has_the_same_pages_and_an_undone_turn_takes_its_own_along(tmp_path: Path) -> None:
    session, notes = Session(settings_for(tmp_path), warnings=notes_of()), list[str]()
    try:
        await talk(session, 40, notes)
        assert session.conversation is not None
        saved = conversations.load(session.conversation.path)
        before = session.pages.table
        session.resume(saved)
        assert session.pages.table == before.of(session.context.messages)
        await session.ask(QUESTION, nothing, note=notes.append)
        copies = session.pages.table.copies
        assert len(copies) == 1
        session.undo()
        assert not session.pages.table.copies
        session.clear()
        assert session.pages.table == PageTable()
    finally:
        await session.close()


async def test_an_agent_gets_as_much_of_the_conversation_as_fits(tmp_path: Path) -> None:
    session, notes = Session(settings_for(tmp_path, tools=True), warnings=notes_of()), list[str]()
    try:
        for number in range(1, 30):
            await session.ask(f"hello, {words(number)}", nothing, note=notes.append)
        assert any("the context is full" in note for note in notes)
        await session.ask(QUESTION, nothing, note=notes.append)
        assert notes[-1].strip() == "brought back for this message: turn 3"
    finally:
        await session.close()


async def test_a_conversation_file_with_damaged_pages_is_refused(tmp_path: Path) -> None:
    kept = conversations.save(conversations.begin("hello", where=tmp_path))
    document = json.loads(kept.path.read_text())
    document["pages"] = {"evicted": [3]}
    kept.path.write_text(json.dumps(document))
    with pytest.raises(LlmosError, match="damaged"):
        conversations.load(kept.path)


async def test_context_shows_a_bar_the_pages_and_what_was_left_out(tmp_path: Path) -> None:
    out, err = StringIO(), StringIO()
    shell = Shell(settings_for(tmp_path), PlainScreen(out, err))
    try:
        await shell.handle("/context")
        assert "system" in out.getvalue()
        for number in range(1, 41):
            await shell.handle(words(number))
        await shell.handle(QUESTION)
        out.truncate(0)
        await shell.handle("/context")
        shown = out.getvalue()
        bar = re.search(r"([█▓·]{60})  ([\d,]+) of 1,000 tokens", shown)
        assert bar is not None
        assert bar[1].startswith("█▓")
        assert re.search(r"█ system \d+ +▓ conversation \d+ +· free \d+", shown)
        assert re.search(r"out +[\d,]+  turns 1-\d+: Some words on subject1", shown)
        assert re.search(r"3 copy +\d+  The code of the harbor gate", shown)
        assert re.search(r"\d+ hits, 1 faults, \d+ pages left out so far", shown)
    finally:
        await shell.session.close()


async def test_a_turn_can_be_pinned_unless_it_takes_too_much(tmp_path: Path) -> None:
    out, err = StringIO(), StringIO()
    shell = Shell(settings_for(tmp_path), PlainScreen(out, err))
    try:
        for number in range(1, 5):
            await shell.handle(words(number))
        await shell.handle("/context pin 3")
        assert "turn 3 is pinned: The code of the harbor gate" in out.getvalue()
        for number in range(5, 40):
            await shell.handle(words(number))
        out.truncate(0)
        await shell.handle("/context")
        assert re.search(r" 3 conversation .*harbor gate.*\(pinned\)", out.getvalue())
        await shell.handle("/context unpin 3")
        assert "turn 3 is not pinned any more" in out.getvalue()
        await shell.handle("large " * 480)
        await shell.handle("/context pin 40")
        assert re.search(
            r"Turn 40 takes [\d,]+ tokens and other pinned pages \d+; the window holds 1,000", err.getvalue()
        )
        await shell.handle("/context pin 99")
        assert "There is no turn 99" in err.getvalue()
        await shell.handle("/context fold")
        assert "/context does not know 'fold'" in err.getvalue()
    finally:
        await shell.session.close()
