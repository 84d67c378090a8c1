"""Conversations on disk."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.errors import StorageError
from llmos.messages import Message, Role, ToolCall
from llmos.shell.conversations import Conversation, begin, load, newest_first, recent, save, shorten

MESSAGES = (
    Message("system", "be brief"),
    Message("user", "what is 2 + 2?"),
    Message("assistant", "", reasoning="hm", tool_calls=(ToolCall("add", {"a": 2, "b": [2.5, None]}, id="c1"),)),
    Message("tool", "4", name="add", tool_call_id="c1"),
    Message("assistant", "4 🙂"),
)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    saved = save(Conversation(path=tmp_path / "a.json", title="Sums", model="demo", messages=MESSAGES))
    loaded = load(saved.path)
    assert (loaded.title, loaded.model, loaded.messages, loaded.turns) == ("Sums", "demo", MESSAGES, 1)
    assert loaded.updated == pytest.approx(time.time(), abs=60)


def test_the_file_name_can_be_read_and_does_not_collide(tmp_path: Path) -> None:
    first, second = (begin("When does the lease end?\nplease", where=tmp_path) for _ in range(2))
    assert first.title == "When does the lease end?"
    assert "-when-does-the-lease-end-" in first.path.name
    assert first.path != second.path


@given(st.text(max_size=200))
def test_any_words_make_a_name_and_a_title(words: str) -> None:
    conversation = begin(words, where=Path("folder"))
    assert conversation.path.parent == Path("folder")
    assert conversation.path.name.isascii()
    assert 0 < len(conversation.title) <= 60
    assert conversation.title.isprintable()


@given(st.lists(st.builds(Message, st.sampled_from(get_args(Role)), st.text(), reasoning=st.text())))
def test_any_messages_survive(tmp_path_factory: pytest.TempPathFactory, messages: list[Message]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    assert load(save(Conversation(path=path, title="", messages=tuple(messages))).path).messages == tuple(messages)


def test_broken_characters_do_not_stop_a_save(tmp_path: Path) -> None:
    saved = save(Conversation(path=tmp_path / "a.json", title="", messages=(Message("user", "a\udcffb"),)))
    assert load(saved.path).messages[0].content == "a?b"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"version": 2, "messages": []}',
        b'{"version": 1}',
        b'{"version": 1, "messages": {}}',
        b'{"version": 1, "messages": [1]}',
        b'{"version": 1, "messages": [{"role": "boss"}]}',
        b'{"version": 1, "messages": [{"role": "user", "content": 1}]}',
        b'{"version": 1, "messages": [{"role": "user", "tool_calls": [1]}]}',
        b'{"version": 1, "messages": [], "updated": "now"}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_is_a_typed_error_and_stays(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(StorageError, match="damaged"):
        load(path)
    assert path.read_bytes() == content


def test_the_newest_come_first_and_damaged_ones_apart(tmp_path: Path) -> None:
    for index, name in enumerate("abc"):
        save(Conversation(path=tmp_path / f"{name}.json", title=name))
        os.utime(tmp_path / f"{name}.json", (index, index))
    (tmp_path / "b.json").write_text("{")
    good, bad = recent(10, where=tmp_path)
    assert [conversation.title for conversation in good] == ["c", "a"]
    assert len(bad) == 1
    assert list(newest_first(tmp_path / "nowhere")) == []


def test_a_failed_save_leaves_the_old_conversation(tmp_path: Path) -> None:
    saved = save(Conversation(path=tmp_path / "folder" / "a.json", title="old"))
    with pytest.raises(StorageError):
        save(Conversation(path=saved.path / "below" / "a.json", title="new"))
    assert json.loads(saved.path.read_text())["title"] == "old"


def test_long_words_are_cut_at_a_word() -> None:
    assert shorten("one two three four", 12) == "one two…"
    assert shorten("x" * 20, 10) == "x" * 9 + "…"
    assert shorten("\n\n second line\nthird") == "second line"
