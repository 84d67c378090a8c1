"""`VectorIndex`: the items of a store by the meaning of their texts. It can be made anew from the store at any time.

Used on any thread. It follows the store's changes by their numbers, whoever made them; a snapshot of it is kept in a
file, so that opening it reads that and takes over what is newer. Knows no words and no ranking but by cosine.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmos.errors import ModelInvalid, StorageError
from llmos.memory.items import Filter
from llmos.memory.protocols import Embedder
from llmos.memory.store import Columns, MemoryStore
from llmos.memory.store.database import locked
from llmos.memory.vectors import forms, snapshot
from llmos.memory.vectors.forms import Vectors
from llmos.memory.vectors.rows import COLUMNS, Rows

MODEL = "index.model"
"""The setting that says which model the index is of that answers."""

_PAGE = 10_000  # changes taken over at once
_EMBEDDED_AT_ONCE = 64
_FEW, _FEW_OF = 256, 200  # so many rows, or one of so many, are compared one by one, without any index
_SHARPENED, _SHARPENED_LEAST = 4, 40  # candidates of a rough form that are compared exactly: for each result, at least
_WORTH_SAVING = 1_000  # rows; fewer are taken over quicker than a snapshot is written
_DEAD = 0.25  # of all rows: beyond that the form is made anew
_GROWN = 4  # times as many vectors as it was made for: made anew


class VectorIndex:
    """Made by `open`.

    Attributes:
        model: Name of the embedding model that its vectors are of.
    """

    def __init__(self, folder: Path, store: MemoryStore, embedder: Embedder) -> None:
        self.model = embedder.name
        self._store, self._embedder = store, embedder
        self._folder = folder / "index"
        self._path = snapshot_path(folder, self.model)
        self._changing = threading.RLock()  # one refresh at a time
        self._lock = threading.Lock()  # rows and form belong together
        self._begin()

    @classmethod
    def open(cls, folder: Path, store: MemoryStore, embedder: Embedder, *, embed: bool = True) -> VectorIndex:
        """Load the snapshot, if there is a sound one, and take over what is newer; else make the index anew.

        Args:
            folder: The memory's.
            embed: Embed texts whose vectors the store does not have; otherwise they are found after a later `refresh`.

        Raises:
            StorageError: The store can't be read, or the folder can't be written.
            ModelError: A text can't be embedded.
        """
        index = cls(folder, store, embedder)
        if store.setting(MODEL) is None:
            store.set_setting(MODEL, index.model)
        with suppress(snapshot.Unusable):
            index._load()
        index.refresh(embed=embed)
        index.close()
        return index

    def _begin(self) -> None:
        self._rows, self._form = Rows(), forms.trained(0, np.zeros((0, 0), np.float32), self._embedder.dimension)
        self._waiting: dict[int, bytes] = {}
        self._last, self._kept, self._trained, self._unsaved = 0, -1, 0, 0
        self._epoch = self._store.epoch

    def _load(self) -> None:
        head, arrays, form = snapshot.load(self._path, self.model)
        if (head.dimension, head.epoch) != (self._embedder.dimension, self._epoch) or head.last > self._store.last:
            raise snapshot.Unusable("it is of another memory")
        if arrays.keys() != {*COLUMNS, "waiting"}:
            raise snapshot.Unusable("it has other columns")
        waiting = arrays.pop("waiting").tolist()
        for name, values in arrays.items():
            self._rows.put(name, values)
        self._form, self._last, self._trained = form, head.last, head.trained
        columns = self._store.columns(waiting)
        self._waiting = dict(zip(columns.ids.tolist(), columns.hashes, strict=True))

    # -- what is asked

    def __len__(self) -> int:
        """How many items can be found."""
        with self._lock:
            return self._rows.alive

    @property
    def waiting(self) -> int:
        """How many items of the store have no vector yet."""
        return len(self._waiting)

    @property
    def form(self) -> str:
        """How vectors are held: flat, quantized or clustered."""
        return self._form.name

    @property
    def outdated(self) -> bool:
        """Whether the index of another model answers since (`llmos.memory.vectors.move`): open that one."""
        return self._store.setting(MODEL) != self.model

    def search(self, vector: NDArray[np.float32], filter: Filter, *, limit: int) -> list[tuple[int, float]]:
        """The items whose texts are most like a vector, among those that a filter chooses.

        The filter is applied first: as long as it chooses `limit` items, as many are found.

        Args:
            vector: Shape (dimension,), of length 1, by the same model.

        Returns:
            Ids and cosines, best first.

        Raises:
            ModelInvalid: The vector is of another dimension.
        """
        if vector.shape != (self._embedder.dimension,):
            raise ModelInvalid(
                f"A query of shape {vector.shape} was asked of an index of {self._embedder.dimension} dimensions.",
                hint=f"Embed it with {self.model!r}.",
            )
        query = np.ascontiguousarray(vector, np.float32)
        with self._lock:
            mask, count = self._rows.mask(filter)
            if not count or limit < 1:
                return []
            rough = self._form.name == forms.ROUGH
            amount = max(_SHARPENED * limit, _SHARPENED_LEAST) if rough else limit
            if count <= max(_FEW, len(self._form) // _FEW_OF):
                scores, rows = self._compared(query, mask, amount)
            else:
                everything = count == len(self._form)
                scores, rows = self._form.search(query, amount, None if everything else mask, count / len(self._form))
                if len(rows) < min(limit, count):  # too few in the clusters that were looked at
                    scores, rows = self._compared(query, mask, amount)
            ids, hashes = self._rows["ids"][rows], self._rows["hashes"][rows]
        if rough:
            scores, ids = forms.best(self._sharpened(query, scores, hashes.tolist()), ids, limit)
        return list(zip(ids.tolist(), scores.tolist(), strict=True))

    def _sharpened(self, query: Vectors, scores: Vectors, hashes: list[bytes]) -> Vectors:
        """Cosines by the vectors that the store keeps, in place of rough ones."""
        vectors = self._store.vectors(hashes, self.model)
        exact = [
            float(vectors[key] @ query) if key in vectors else score for key, score in zip(hashes, scores, strict=True)
        ]
        return np.array(exact, np.float32)

    def _compared(self, query: Vectors, mask: NDArray[np.bool_], limit: int) -> forms.Found:
        """The best of all rows of a mask, exactly."""
        rows = np.flatnonzero(mask)
        parts = [self._form.take(rows[at : at + _PAGE]) @ query for at in range(0, len(rows), _PAGE)]
        return forms.best(np.concatenate(parts), rows, limit)

    # -- following the store

    def refresh(self, *, embed: bool = True) -> None:
        """Take over what this and other processes have changed in the store.

        Args:
            embed: See `open`.

        Raises:
            StorageError: The store can't be read.
            ModelError: A text can't be embedded. What came before it has been taken over.
        """
        with self._changing:
            if self._store.epoch != self._epoch:  # it was repaired: numbers of changes mean something else now
                with self._lock:
                    self._begin()
            more = True
            while more:
                changes = self._store.changes(self._last, limit=_PAGE)
                gone, written = changes.ids[changes.removed], changes.ids[~changes.removed]
                self._drop(gone)
                new = self._write(self._store.columns(written.tolist()))
                self._embed(new, embed=embed)
                self._last, more = changes.last, changes.more
                self._unsaved += len(changes.ids)
                if self._is_misfit(patient=True):
                    self._refit()

    def _drop(self, ids: NDArray[np.int64]) -> None:
        for id in ids.tolist():
            self._waiting.pop(id, None)
        with self._lock:
            rows = self._rows.find(ids)
            rows = rows[rows >= 0]
            self._form.wipe(rows)
            self._rows.remove(rows)

    def _write(self, columns: Columns) -> list[int]:
        """Change the rows of items that have one. Gives the ids of those that have not, which wait for their vectors
        now."""
        with self._lock:
            rows = self._rows.find(columns.ids)
            there = rows >= 0
            self._rows.change(rows[there], columns.chosen(there))
        new = columns.chosen(~there)
        ids: list[int] = new.ids.tolist()
        self._waiting |= dict(zip(ids, new.hashes, strict=True))
        return ids

    def _embed(self, new: Sequence[int], *, embed: bool) -> None:
        """Take in items that wait for their vectors, as far as there are any or they may be made.

        Args:
            new: Those that did not wait before.
        """
        if not self._trained and not len(self._form):
            self._fit(len(self._waiting))
        kept = self._store.last_vector
        # those that waited before are looked for again only if there are vectors that were not there then
        ids = list(self._waiting) if embed or kept != self._kept else new
        self._kept = kept
        for start in range(0, len(ids), _PAGE):
            page = ids[start : start + _PAGE]
            vectors = self._store.vectors([self._waiting[id] for id in page], self.model)
            vectors = {key: vector for key, vector in vectors.items() if len(vector) == self._embedder.dimension}
            missing = [id for id in page if self._waiting[id] not in vectors]
            self._take_in([id for id in page if self._waiting[id] in vectors], vectors)
            for at in range(0, len(missing) if embed else 0, _EMBEDDED_AT_ONCE):
                part = missing[at : at + _EMBEDDED_AT_ONCE]
                hashes = {id: self._waiting[id] for id in part}
                self._take_in(part, embedded(self._store, self._embedder, hashes))

    def _take_in(self, ids: Sequence[int], vectors: dict[bytes, Vectors]) -> None:
        columns = self._store.columns(ids)
        columns = columns.chosen(np.array([key in vectors for key in columns.hashes], bool))
        if len(columns.ids):
            matrix = np.stack([vectors[key] for key in columns.hashes])
            with self._lock:
                self._form.add(matrix)
                self._rows.add(columns)
        for id in ids:
            self._waiting.pop(id, None)

    # -- its form

    def _fit(self, count: int) -> None:
        """Begin with the form for all items of the store, if it has vectors enough to make one."""
        count = max(count, self._store.size)
        sample = self._store.sample(self.model, self._embedder.dimension, forms.needed(count))
        if len(sample) >= forms.needed(count):
            form = forms.trained(count, sample, self._embedder.dimension)
            with self._lock:
                self._form, self._trained = form, count

    def _is_misfit(self, *, patient: bool) -> bool:
        """Whether another form would be right for as many as there are now.

        Args:
            patient: Only if this one is so by far.
        """
        alive, count = self._rows.alive, self._rows.count
        if count > _WORTH_SAVING and count - alive > _DEAD * count:
            return True
        if self._form.name == forms.fitting(alive):
            return self._form.name.startswith("clustered") and alive > _GROWN * self._trained
        grown = forms.most(self._form.name) < alive
        return alive > 2 * forms.most(self._form.name) if patient and grown else grown or alive * 2 < self._trained

    def _refit(self) -> None:
        """Hold the vectors in the form that is right for as many, without those of removed items."""
        alive = np.flatnonzero(self._rows["alive"])
        needed = min(forms.needed(len(alive)), len(alive))
        sample = np.sort(np.random.default_rng(0).choice(alive, needed, replace=False))
        form = forms.trained(len(alive), self._form.take(sample), self._embedder.dimension)
        for start in range(0, len(alive), _PAGE):
            form.add(self._form.take(alive[start : start + _PAGE]))
        rows = Rows()
        for name in COLUMNS:
            rows.put(name, self._rows[name][alive])
        with self._lock:
            self._form, self._rows, self._trained = form, rows, len(alive)
        self._unsaved += len(alive)

    # -- its file

    def save(self) -> None:
        """Write a snapshot. It has nothing of what was removed before.

        Raises:
            StorageError: It can't be written; the one before is still there.
        """
        with self._changing:
            self.refresh(embed=False)
            if self._is_misfit(patient=False):
                self._refit()
            head = snapshot.Head(
                self.model, self._embedder.dimension, self._epoch, self._last, self._rows.count, self._form.name,
                self._trained,
            )  # fmt: skip
            arrays: dict[str, NDArray[Any]] = {name: self._rows[name] for name in COLUMNS}
            arrays["waiting"] = np.array(list(self._waiting), np.int64)
            try:
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                with locked(self._folder / "index.lock", shared=False):
                    snapshot.save(self._path, head, arrays, self._form)
                    if not self.outdated:  # others are of models that nobody asks any more
                        snapshot.clear(self._folder, keep=self._path)
            except OSError as error:
                raise StorageError(
                    f"The index in {str(self._folder)!r} could not be written: {error.strerror or error}.",
                    hint="Free some disk space; it is made anew from the memory when it is opened.",
                ) from error
            self._unsaved = 0

    def close(self) -> None:
        """Write a snapshot if much has changed since the last."""
        if self._unsaved >= _WORTH_SAVING:
            with suppress(StorageError):  # what is not in the file is taken over from the store when it is opened
                self.save()


def snapshot_path(folder: Path, model: str) -> Path:
    """Where the snapshot of a model's vectors is."""
    return folder / "index" / f"{blake2b(model.encode(), digest_size=8).hexdigest()}.index"


def embedded(store: MemoryStore, embedder: Embedder, hashes: Mapping[int, bytes]) -> dict[bytes, Vectors]:
    """Embed the texts of some items and keep the vectors in the store.

    Args:
        hashes: Of the texts, by the items' ids.

    Returns:
        Vectors by hash; without those of items that are gone.

    Raises:
        ModelInvalid: The model gives vectors of another shape than it says.
        StorageError: They can't be kept.
    """
    texts = {hashes[id]: text for id, text in store.texts(list(hashes)).items()}
    if not texts:
        return {}
    matrix = embedder.embed(list(texts.values()))
    if matrix.shape != (len(texts), embedder.dimension):
        raise ModelInvalid(
            f"The embedding model {embedder.name!r} gave an array of shape {matrix.shape} for {len(texts)} texts of"
            f" {embedder.dimension} dimensions."
        )
    vectors = dict(zip(texts, matrix, strict=True))
    store.keep_vectors(embedder.name, vectors)
    return vectors
