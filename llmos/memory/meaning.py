"""The embedding model of a memory and its index, opened when they are first needed and kept up with the store.

A few new texts are embedded at once; of many, and when another model is chosen, a thread makes the vectors, while what
there is answers. Knows the settings' name of a model and no query.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from llmos.errors import LlmosError, ModelError, RealModelForbidden
from llmos.memory.protocols import Embedder

if TYPE_CHECKING:
    from llmos.memory.store import MemoryStore
    from llmos.memory.vectors import Moved, VectorIndex

AT_ONCE = 512
"""So many texts are embedded while a question waits: about two seconds. More are left to a thread."""

_END_SECONDS = 3.0


class Meaning:
    """Finds texts by meaning, as far as that is possible here.

    Args:
        folder: The memory's.
        store: Gives the store.
        embedder: The embedding model, or its name as `open_embedder` takes it.
        notify: Told what takes long, in a sentence for people.

    Attributes:
        trouble: Why nothing is found by meaning; empty as long as it is.
    """

    def __init__(
        self,
        folder: Path,
        store: Callable[[], MemoryStore],
        embedder: str | Embedder,
        notify: Callable[[str], None] | None,
    ) -> None:
        self.trouble = ""
        self._folder, self._store, self._notify = folder, store, notify
        self._name = embedder if isinstance(embedder, str) else ""
        self._embedder: Embedder | None = None if isinstance(embedder, str) else embedder
        self._pair: tuple[VectorIndex, Embedder] | None = None
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def embedder(self) -> Embedder:
        """The embedding model of the settings.

        Raises:
            ModelError, RealModelForbidden: It can't be opened.
        """
        with self._lock:
            if self._embedder is None:
                from llmos.memory.embedding import open_embedder

                self._embedder = open_embedder(self._name, notify=self._notify)
            return self._embedder

    def ready(self) -> tuple[VectorIndex, Embedder] | None:
        """The index with all changes, and the model that its queries are embedded with; None where there is none now.

        Raises:
            StorageError: The store can't be read.
        """
        with self._lock:
            if self.trouble:
                return None
            try:
                if self._pair is not None and self._pair[0].outdated:
                    self._pair = None
                if self._pair is None:
                    self._pair = self._opened()
                else:
                    self._pair[0].refresh(embed=False)
                if self._pair is not None and self._pair[1] is self._embedder:
                    self._embed(self._pair[0])
            except (ModelError, RealModelForbidden) as error:
                self.trouble = str(error)
                self._pair = None
            return self._pair

    def _opened(self) -> tuple[VectorIndex, Embedder] | None:
        """The index of the settings' model, or that of the one before as long as that answers."""
        from llmos.memory.vectors import VectorIndex
        from llmos.memory.vectors.index import MODEL

        store, wanted = self._store(), self.embedder
        current = store.setting(MODEL)
        if current in (None, wanted.name):
            return VectorIndex.open(self._folder, store, wanted, embed=False), wanted
        self._begin()
        before = self._earlier(current or "")
        return None if before is None else (VectorIndex.open(self._folder, store, before, embed=False), before)

    def _earlier(self, name: str) -> Embedder | None:
        """The model that a name with a hash stands for; None if it can't be had any more."""
        from llmos.memory.embedding import open_embedder

        with suppress(LlmosError):
            found = open_embedder(name.partition("@")[0], notify=self._notify)
            return found if found.name == name else None
        return None

    def _embed(self, index: VectorIndex) -> None:
        if 0 < index.waiting <= AT_ONCE:
            index.refresh()
        elif index.waiting:
            self._begin()

    def settle(self) -> Iterator[Moved]:
        """Embed all texts with the settings' model, and have its index answer; says how far it is, if there is much.

        Raises:
            ModelError, RealModelForbidden: The model can't be used.
            StorageError: The store or the index can't be written.
        """
        from llmos.memory.vectors import move

        pair = self.ready()
        if pair is not None and pair[1] is self._embedder and not pair[0].waiting:
            return
        self._end()
        yield from move(self._folder, self._store(), self.embedder)
        with self._lock:
            self._pair = None

    def save(self) -> None:
        """Write the index that answers, without anything of what was removed; without one remove what there was of it.

        Raises:
            StorageError: It can't be written.
        """
        with self._lock:
            pair = self.ready()
            if pair is not None:
                pair[0].save()
            else:
                shutil.rmtree(self._folder / "index", ignore_errors=True)

    def close(self) -> None:
        """End what is under way, and close the index."""
        self._end()
        with self._lock:
            pair, self._pair = self._pair, None
        if pair is not None:
            pair[0].close()

    # -- behind

    def _begin(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name="llmos-embedding", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        from llmos.memory.vectors import move

        try:
            for _ in move(self._folder, self._store(), self.embedder):
                if self._stop.is_set():
                    return
        except LlmosError as error:  # words still find; whoever looks is told
            if not self._stop.is_set():
                self.trouble = str(error)
            return
        with self._lock:
            self._pair = None

    def _end(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_END_SECONDS)
            self._thread = None
