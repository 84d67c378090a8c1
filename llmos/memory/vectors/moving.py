"""From one embedding model to another: all texts are embedded again, while the index of the old one answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmos.memory.protocols import Embedder
from llmos.memory.store import MemoryStore
from llmos.memory.vectors.index import MODEL, VectorIndex, embedded

_PAGE = 64


@dataclass(frozen=True, slots=True)
class Moved:
    """How far it is: items whose texts have a vector of the new model, of all."""

    done: int
    all: int


def move(folder: Path, store: MemoryStore, embedder: Embedder) -> Iterator[Moved]:
    """Make an index of another model, and let it answer when it is complete.

    It may be stopped at any time and goes on where it was. When it has come to its end, whoever has the old index open
    is told by `VectorIndex.outdated`, and what was kept of the old model is removed.

    Args:
        folder: The memory's.
        embedder: The new model.

    Raises:
        StorageError: The store or the index can't be written; the old one goes on answering.
        ModelError: A text can't be embedded; the old one goes on answering.
    """
    last, done = 0, 0
    while ids := store.next_ids(last, limit=_PAGE):
        columns = store.columns(ids)
        known = store.vectors(columns.hashes, embedder.name)
        missing = {
            id: key
            for id, key in zip(columns.ids.tolist(), columns.hashes, strict=True)
            if key not in known or len(known[key]) != embedder.dimension
        }
        embedded(store, embedder, missing)
        last, done = ids[-1], done + len(ids)
        yield Moved(done, max(done, store.size))
    index = VectorIndex.open(folder, store, embedder)
    index.save()
    before = store.setting(MODEL)
    store.set_setting(MODEL, embedder.name)
    if before is not None and before != embedder.name:
        store.forget_model(before)
    index.save()  # now it is the only one: files of others are deleted
