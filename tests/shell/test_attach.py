"""`@file` in a message."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.errors import StorageError
from llmos.shell.attach import MAX_BYTES, attach


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "lease.md").write_text("ends in March\n")
    (tmp_path / "two words.txt").write_text("spaced")
    return tmp_path


def test_a_files_text_comes_below_the_words(folder: Path) -> None:
    found = attach("when? @notes/lease.md", folder=folder)
    path = folder / "notes" / "lease.md"
    assert found.text == f"when? @notes/lease.md\n\nFile {str(path)!r}:\n```\nends in March\n```"
    assert found.files == (path,)


@pytest.mark.parametrize(
    "words", ["see @notes/lease.md.", "(@notes/lease.md)", '@"notes/lease.md", yes', "@notes/lease.md @notes/lease.md"]
)
def test_references_stand_in_sentences(folder: Path, words: str) -> None:
    expected = 0 if words.startswith("(") else 1
    assert len(attach(words, folder=folder).files) == expected


def test_a_name_with_a_space_is_quoted(folder: Path) -> None:
    assert "spaced" in attach('@"two words.txt"', folder=folder).text


def test_what_names_no_file_stays_and_is_told(folder: Path) -> None:
    found = attach("ask @anna or me@notes/lease.md", folder=folder)
    assert (found.text, found.missing) == ("ask @anna or me@notes/lease.md", ("anna",))


def test_a_fence_inside_is_fenced_by_a_longer_one(folder: Path) -> None:
    (folder / "a.md").write_text("```\ncode\n```")
    assert attach("@a.md", folder=folder).text.endswith("````\n```\ncode\n```\n````")


@pytest.mark.parametrize("content", [b"\x00\x01", b"\xff\xfe", b"text\x00text"])
def test_what_is_not_text_is_refused(folder: Path, content: bytes) -> None:
    (folder / "data.bin").write_bytes(content)
    with pytest.raises(StorageError, match="not UTF-8 text"):
        attach("@data.bin", folder=folder)


def test_what_is_too_big_is_refused_with_the_numbers(folder: Path) -> None:
    (folder / "big.txt").write_bytes(b"a" * (MAX_BYTES + 1))
    with pytest.raises(StorageError, match="1,048,577 bytes"):
        attach("@big.txt", folder=folder)


@pytest.mark.parametrize("name", ["notes", "~"])
def test_a_folder_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(StorageError, match="is a folder"):
        attach(f"@{name}", folder=folder)


@given(st.text(max_size=60))
def test_no_words_break_it(words: str) -> None:
    there = words.replace("/", "").replace("~", "")  # a home is a folder that is there
    found = attach("@" + there, folder=Path("/nonexistent"))
    assert found.files == ()
