"""No path leads out of the workspace: not by `..`, not by links, not by changing them meanwhile."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmos.tools.tool import Failed, Retry
from llmos.tools.workspace import Workspace
from tests.tools.helpers import Place

SECRET = b"the secret outside"


@pytest.fixture
def outside(place: Place) -> Path:
    """A secret beside the workspace, and links of all kinds to it."""
    secret = place.root / "secret" / "key.txt"
    secret.parent.mkdir()
    secret.write_bytes(SECRET)
    place.write("a.txt", "inside a")
    place.write("sub/b.txt", "inside b")
    links = {
        "absolute": secret,
        "relative": Path("../secret/key.txt"),
        "folder": secret.parent,
        "above": Path(".."),
        "sub/up": Path("../../secret"),
        "chain": Path("relative"),
        "root": Path("/"),
        "sideways": Path("sub/../../secret/key.txt"),
        "inside": Path("sub/b.txt"),
        "subfolder": Path("sub"),
        "sub/back": Path("../a.txt"),
        "loop": Path("loop"),
        "ping": Path("pong"),
        "pong": Path("ping"),
        "myself": place.workspace,
        "dangling": Path("sub/new.txt"),
    }
    for name, target in links.items():
        (place.workspace / name).symlink_to(target)
    return secret


ESCAPES = [
    "../secret/key.txt",
    "sub/../../secret/key.txt",
    "absolute",
    "relative",
    "folder/key.txt",
    "above/secret/key.txt",
    "sub/up/key.txt",
    "chain",
    "root/etc/hostname",
    "sideways",
    "subfolder/up/key.txt",
    "./././../secret/key.txt",
    "sub//..//..//secret//key.txt",
    "/etc/hostname",
    "myself/../secret/key.txt",
]


@pytest.mark.parametrize("path", ESCAPES)
def test_no_path_reads_what_is_outside(path: str, outside: Path, place: Place) -> None:
    with pytest.raises(Failed, match="outside the workspace"):
        Workspace(place.workspace).read(path, limit=1000)


@pytest.mark.parametrize("path", ESCAPES)
def test_no_path_writes_outside(path: str, outside: Path, place: Place) -> None:
    with pytest.raises(Failed, match="outside the workspace"):
        Workspace(place.workspace).write(path, b"changed")
    assert outside.read_bytes() == SECRET


@pytest.mark.parametrize("path", ["..", "above", "folder", "root", "sub/up", "/", "/etc"])
def test_no_folder_outside_is_listed(path: str, outside: Path, place: Place) -> None:
    workspace = Workspace(place.workspace)
    with pytest.raises(Failed, match="outside the workspace"):
        workspace.entries(path, limit=10)
    with pytest.raises(Failed, match="outside the workspace"):
        list(workspace.walk(path, limit=10))


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("a.txt", b"inside a"),
        ("./sub//b.txt", b"inside b"),
        ("sub/../a.txt", b"inside a"),
        ("inside", b"inside b"),
        ("subfolder/b.txt", b"inside b"),
        ("sub/back", b"inside a"),
        ("myself/sub/b.txt", b"inside b"),
    ],
)
def test_links_inside_work(path: str, content: bytes, outside: Path, place: Place) -> None:
    workspace = Workspace(place.workspace)
    assert workspace.read(path, limit=1000) == content
    assert workspace.read(str(place.workspace / "a.txt"), limit=1000) == b"inside a"


@pytest.mark.parametrize("path", ["loop", "ping", "loop/x"])
def test_links_in_a_circle_end(path: str, outside: Path, place: Place) -> None:
    with pytest.raises(Failed, match="too many links"):
        Workspace(place.workspace).read(path, limit=1000)


def test_writing_through_a_link_inside_changes_its_target_and_keeps_the_link(outside: Path, place: Place) -> None:
    workspace = Workspace(place.workspace)
    assert workspace.write("inside", b"new").path == "sub/b.txt"
    assert (place.workspace / "sub/b.txt").read_bytes() == b"new"
    assert (place.workspace / "inside").is_symlink()
    workspace.write("dangling", b"made")
    assert (place.workspace / "sub/new.txt").read_bytes() == b"made"


def test_a_walk_follows_no_link_and_skips_what_is_not_the_users(outside: Path, place: Place) -> None:
    place.write(".git/config", "x")
    place.write("node_modules/m/index.js", "x")
    os.mkfifo(place.workspace / "pipe")
    assert [entry.path for entry in Workspace(place.workspace).walk(".", limit=100)] == ["a.txt", "sub/b.txt"]


def test_what_is_no_regular_file_is_refused_without_waiting_for_it(place: Place) -> None:
    os.mkfifo(place.workspace / "pipe")
    workspace = Workspace(place.workspace)
    for path in ("pipe", "."):
        with pytest.raises(Failed):
            workspace.read(path, limit=10)
        with pytest.raises(Failed):
            workspace.write(path, b"x")


@pytest.mark.parametrize("path", ["a\0b", "x" * 300, "a.txt/b", "/".join("d" * 60)])
def test_impossible_paths_are_typed_errors(path: str, place: Place) -> None:
    place.write("a.txt", "x")
    with pytest.raises((Failed, Retry)):
        Workspace(place.workspace).write(path, b"x")


def test_a_workspace_may_be_a_link_itself(place: Place) -> None:
    place.write("a.txt", "x")
    link = place.root / "link"
    link.symlink_to(place.workspace)
    workspace = Workspace(link)
    assert workspace.read(str(link / "a.txt"), limit=10) == b"x"
    assert workspace.read(str(place.workspace / "a.txt"), limit=10) == b"x"


def test_writing_is_atomic_keeps_the_mode_and_leaves_nothing_behind(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = place.write("run.sh", "old")
    file.chmod(0o750)
    workspace = Workspace(place.workspace)
    workspace.write("run.sh", b"new")
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"new", 0o750)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Failed, match="no space left on device"):
        workspace.write("run.sh", b"newer")
    assert file.read_bytes() == b"new"
    assert os.listdir(place.workspace) == ["run.sh"]


def test_no_file_descriptor_is_left_open(outside: Path, place: Place) -> None:
    workspace = Workspace(place.workspace)
    before = len(os.listdir("/dev/fd"))
    for path in [*ESCAPES, "a.txt", "missing", "sub", "loop", "a.txt/b"]:
        with contextlib.suppress(Failed, Retry):
            workspace.read(path, limit=100)
        with contextlib.suppress(Failed, Retry):
            workspace.write(path, b"x")
        with contextlib.suppress(Failed, Retry):
            list(workspace.walk(path, limit=1))
    assert len(os.listdir("/dev/fd")) == before


PARTS = st.sampled_from(
    (
        *("..", ".", "", "a.txt", "sub", "b.txt", "up", "above", "folder", "root", "key.txt", "secret", "relative"),
        *("absolute", "chain", "inside", "subfolder", "myself", "back", "loop", "dangling", "new", "etc", "hostname"),
        *("workspace", "~"),
    )
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(PARTS, max_size=8), slash=st.booleans())
def test_whatever_the_path_what_is_outside_stays_as_it_is(
    parts: list[str], slash: bool, outside: Path, place: Place
) -> None:
    path = ("/" if slash else "") + "/".join(parts)
    workspace = Workspace(place.workspace)
    with contextlib.suppress(Failed, Retry):
        assert SECRET not in workspace.read(path, limit=100_000)
    with contextlib.suppress(Failed, Retry):
        written = workspace.write(path, b"changed")
        assert written.absolute.resolve().is_relative_to(place.workspace.resolve())
    with contextlib.suppress(Failed, Retry):
        workspace.entries(path, limit=100)
    assert outside.read_bytes() == SECRET
    assert sorted(os.listdir(place.root)) == ["secret", "workspace"]
    assert os.listdir(outside.parent) == ["key.txt"]


def swap(place: Place, stop: threading.Event, name: str, target: Path) -> Callable[[], None]:
    """Replace a name by a link to the outside and back, as quickly as possible."""

    def work() -> None:
        real, link = place.workspace / f"{name}.real", place.workspace / f"{name}.link"
        here = place.workspace / name
        link.symlink_to(target)
        while not stop.is_set():
            with contextlib.suppress(OSError):
                os.rename(here, real)
                os.rename(link, here)
                os.rename(here, link)
                os.rename(real, here)

    return work


def test_swapping_a_folder_for_a_link_during_the_walk_never_leads_out(place: Place) -> None:
    outside = place.root / "secret"
    outside.mkdir()
    (outside / "b.txt").write_bytes(SECRET)
    place.write("sub/b.txt", "inside")
    stop = threading.Event()
    thread = threading.Thread(target=swap(place, stop, "sub", outside))
    thread.start()
    workspace = Workspace(place.workspace)
    read = written = 0
    try:
        for _ in range(1500):
            with contextlib.suppress(Failed, Retry):
                assert workspace.read("sub/b.txt", limit=100) != SECRET
                read += 1
            with contextlib.suppress(Failed, Retry):
                workspace.write("sub/b.txt", b"inside")
                written += 1
            with contextlib.suppress(Failed, Retry):
                assert all(entry.size != len(SECRET) for entry in workspace.walk("sub", limit=10))
    finally:
        stop.set()
        thread.join(10)
    assert (outside / "b.txt").read_bytes() == SECRET
    assert os.listdir(outside) == ["b.txt"]
    assert read
    assert written
