"""A folder that is followed: what is written there is soon so in memory."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmos.errors import StorageError
from llmos.memory.ingest import Progress
from llmos.memory.items import Filter
from llmos.memory.store import MemoryStore
from llmos.memory.watching import watch

ME = Filter(tenant="me")
LONG = 20.0


class Watching:
    """A watch in a thread."""

    def __init__(self, store: MemoryStore, *paths: Path) -> None:
        self.store = store
        self.stop = threading.Event()
        self.events: queue.Queue[Progress] = queue.Queue()
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._run, args=(paths,))
        self.thread.start()

    def _run(self, paths: tuple[Path, ...]) -> None:
        try:
            for event in watch(self.store, paths, tenant="me", stop=self.stop, debounce=0.05):
                self.events.put(event)
        except StorageError as error:
            self.error = error

    def end(self) -> None:
        self.stop.set()
        self.thread.join(LONG)
        assert not self.thread.is_alive()

    def until(self, so: Callable[[str], bool]) -> None:
        """Wait until the texts in the store are so."""
        deadline = time.monotonic() + LONG
        while not so(text := "\n".join(item.text for item in self.store.items(ME))):
            assert time.monotonic() < deadline, text
            time.sleep(0.02)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("It ends in March.")
    return tmp_path / "docs"


@pytest.fixture
def watching(tmp_path: Path, folder: Path) -> Iterator[Watching]:
    store = MemoryStore.open(tmp_path / "memory")
    running = Watching(store, folder)
    yield running
    running.end()
    store.close()


def test_what_is_there_is_added_and_changes_are_followed(watching: Watching, folder: Path) -> None:
    watching.until(lambda text: "March" in text)
    (folder / "a.txt").write_text("It ends in May.")
    watching.until(lambda text: "May" in text and "March" not in text)
    (folder / "b.md").write_text("# New\n\nA garden.")
    watching.until(lambda text: "garden" in text)
    (folder / "b.md").rename(folder / "c.md")
    watching.until(lambda text: [Path(one.source).name for one in watching.store.sources(ME)] == ["a.txt", "c.md"])
    watching.until(lambda text: text.count("garden") == 1)
    (folder / "a.txt").unlink()
    watching.until(lambda text: "May" not in text)


def test_folders_that_come_and_go_are_followed(watching: Watching, folder: Path, tmp_path: Path) -> None:
    watching.until(lambda text: "March" in text)
    (tmp_path / "new" / "below").mkdir(parents=True)
    (tmp_path / "new" / "below" / "x.txt").write_text("Moved in.")
    (tmp_path / "new").rename(folder / "new")
    watching.until(lambda text: "Moved in." in text)
    (folder / "new" / "below" / "y.txt").write_text("Written there.")
    watching.until(lambda text: "Written there." in text)
    (folder / "new").rename(tmp_path / "away")
    watching.until(lambda text: "Moved in." not in text and "Written there." not in text)


def test_hidden_files_caches_and_links_out_are_not_followed(watching: Watching, folder: Path, tmp_path: Path) -> None:
    watching.until(lambda text: "March" in text)
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / ".hidden.txt").write_text("secret")
    (folder / "node_modules").mkdir()
    (folder / "node_modules" / "a.txt").write_text("secret")
    (folder / "last.txt").write_text("The last one.")
    watching.until(lambda text: "last one" in text)
    assert not watching.store.matching("secret", ME, limit=1)


def test_a_file_by_itself_is_followed_when_it_is_replaced(tmp_path: Path, folder: Path) -> None:
    store = MemoryStore.open(tmp_path / "memory")
    (folder / "other.txt").write_text("Not named.")
    running = Watching(store, folder / "a.txt")
    try:
        running.until(lambda text: "March" in text)
        (folder / ".a.txt.tmp").write_text("It ends in May.")
        (folder / ".a.txt.tmp").replace(folder / "a.txt")
        running.until(lambda text: "May" in text)
        (folder / "other.txt").write_text("Not named either.")
        (folder / "a.txt").write_text("It ends in June.")
        running.until(lambda text: text == "It ends in June.")
    finally:
        running.end()
        store.close()


def test_it_ends_soon_when_it_is_stopped_and_when_a_path_is_not_there(watching: Watching, tmp_path: Path) -> None:
    watching.until(lambda text: "March" in text)
    watching.end()
    missing = Watching(watching.store, tmp_path / "none")
    missing.thread.join(LONG)
    assert "There is no" in str(missing.error)
