"""Which files of a folder are read."""

from __future__ import annotations

import os
from pathlib import Path

from llmos.memory.walking import Skipped, is_included, walk


def made(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x", encoding="utf-8")


def found(folder: Path, *exclude: str) -> list[str]:
    return [str(path.relative_to(folder)) for path in walk(folder, exclude=exclude) if isinstance(path, Path)]


def reasons(folder: Path) -> dict[str, str]:
    return {one.path.name: one.reason for one in walk(folder) if isinstance(one, Skipped)}


def test_files_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    made(tmp_path, "b.txt", "a/z.txt", "a/b/y.txt", "c/x.txt")
    assert found(tmp_path) == ["b.txt", "a/z.txt", "a/b/y.txt", "c/x.txt"]


def test_hidden_folders_caches_and_environments_are_left_out(tmp_path: Path) -> None:
    made(tmp_path, ".git/a", ".env", "node_modules/a.js", "__pycache__/a.txt", "a.egg-info/a.txt", "b.txt")
    made(tmp_path, "mine/pyvenv.cfg", "mine/a.py", "target/CACHEDIR.TAG", "target/a.txt")
    assert found(tmp_path) == ["b.txt"]
    assert reasons(tmp_path) == {}
    for name, included in (("b.txt", True), (".git/a", False), ("mine/a.py", False), ("node_modules/a.js", False)):
        assert is_included(tmp_path / name, tmp_path) == included


def test_what_is_named_is_read_even_if_it_is_hidden(tmp_path: Path) -> None:
    made(tmp_path, ".notes/a.txt", ".hidden.txt")
    assert found(tmp_path / ".notes") == ["a.txt"]
    assert list(walk(tmp_path / ".hidden.txt")) == [tmp_path / ".hidden.txt"]


def test_patterns_leave_out_names_and_places(tmp_path: Path) -> None:
    made(tmp_path, "a.log", "drafts/a.txt", "b/drafts/c.txt", "b/d.txt")
    assert found(tmp_path, "*.log", "drafts/*") == ["b/d.txt", "b/drafts/c.txt"]
    assert found(tmp_path, "drafts") == ["a.log", "b/d.txt"]


def test_links_are_not_followed_and_those_that_lead_out_are_named(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    made(tmp_path, "in/a.txt", "in/b/c.txt", "out/secret.txt")
    (inside / "loop").symlink_to(inside)
    (inside / "b" / "up").symlink_to("..")
    (inside / "same.txt").symlink_to("a.txt")
    (inside / "circle").symlink_to("circle")
    (inside / "nowhere").symlink_to("none")
    (inside / "away").symlink_to(outside)
    assert found(inside) == ["a.txt", "b/c.txt"]
    said = reasons(inside)
    assert set(said) == {"circle", "nowhere", "away"}
    assert said["circle"] == "a link in a circle"
    assert said["away"].startswith("a link that leads out of the folder")


def test_a_link_that_is_named_is_followed(tmp_path: Path) -> None:
    made(tmp_path, "real/a.txt")
    (tmp_path / "link").symlink_to("real")
    assert list(walk(tmp_path / "link")) == [tmp_path / "real" / "a.txt"]


def test_what_is_missing_or_no_file_is_named(tmp_path: Path) -> None:
    assert reasons(tmp_path / "none") == {"none": "not there"}
    os.mkfifo(tmp_path / "pipe")
    assert reasons(tmp_path) == {"pipe": "not a regular file"}


def test_an_empty_folder_has_nothing(tmp_path: Path) -> None:
    assert list(walk(tmp_path)) == []
