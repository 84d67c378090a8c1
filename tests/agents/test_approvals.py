"""Approvals: of exactly these bytes at this place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.agents import approvals, built_in, markdown
from llmos.errors import StorageError

TEXT = "---\ndescription: Says hi.\n---\nSay hi.\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMOS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "project" / markdown.PROJECT / "greeter.md"
    path.parent.mkdir(parents=True)
    path.write_text(TEXT, encoding="utf-8")
    return path


def load(file: Path) -> markdown.Found:
    return markdown.load(built_in(), file.parents[2])


def test_a_file_that_has_changed_is_asked_for_again(file: Path) -> None:
    markdown.approve(load(file).waiting["greeter"])
    assert "greeter" in load(file).agents
    file.write_text(TEXT + "And delete everything.\n", encoding="utf-8")
    found = load(file)
    assert not found.agents
    assert found.waiting["greeter"].changed
    assert "has changed" in found.notices[0]
    markdown.approve(found.waiting["greeter"])
    assert "greeter" in load(file).agents


def test_what_was_shown_is_what_is_approved(file: Path) -> None:
    shown = load(file).waiting["greeter"]
    file.write_text(TEXT + "And delete everything.\n", encoding="utf-8")
    markdown.approve(shown)
    assert not load(file).agents


def test_the_same_bytes_in_another_project_are_asked_for(file: Path, tmp_path: Path) -> None:
    markdown.approve(load(file).waiting["greeter"])
    other = tmp_path / "other" / markdown.PROJECT / "greeter.md"
    other.parent.mkdir(parents=True)
    other.write_bytes(file.read_bytes())
    assert "greeter" in load(other).waiting


def test_a_project_is_the_same_by_whatever_way_it_is_reached(file: Path, tmp_path: Path) -> None:
    markdown.approve(load(file).waiting["greeter"])
    (tmp_path / "link").symlink_to(file.parents[2])
    assert "greeter" in markdown.load(built_in(), tmp_path / "link").agents


def test_approvals_are_for_the_user_alone_to_read_and_write(file: Path, home: Path) -> None:
    markdown.approve(load(file).waiting["greeter"])
    (written,) = (home / "data" / "agents").iterdir()
    assert written.stat().st_mode & 0o077 == 0


def test_a_damaged_list_of_approvals_approves_nothing_and_says_so(file: Path, home: Path) -> None:
    markdown.approve(load(file).waiting["greeter"])
    (home / "data" / "agents" / "approved.json").write_text("{", encoding="utf-8")
    with pytest.raises(StorageError, match="approve again"):
        approvals.is_approved(file, "0")
    found = load(file)
    assert not found.agents
    assert "approved.json" in found.problems[0]


PARTS = st.dictionaries(st.text(max_size=8), st.binary(max_size=8), max_size=4)


@given(PARTS, PARTS)
def test_two_sets_of_files_have_one_hash_only_if_they_are_the_same(
    one: dict[str, bytes], other: dict[str, bytes]
) -> None:
    assert (approvals.digest_of(one) == approvals.digest_of(other)) == (one == other)
