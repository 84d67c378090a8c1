"""How vectors are held and compared, in three forms by how many there are: as they are, quantized, in clusters.

Row n is the n-th vector that was added. FAISS holds the last two, and is loaded with the first of them; it computes a
query on one thread, as everything does that runs beside the engine. Knows no ids and no filters.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Found = tuple[NDArray[np.float32], NDArray[np.int64]]
Read = Callable[[int], bytes]
Write = Callable[[bytes], object]

FORMS = {"flat": 20_000, "quantized": 50_000, "clustered": 300_000, "clustered8": 1 << 62}
"""Names of the forms, and how many vectors each is right for."""
ROUGH = "clustered8"
"""The form whose cosines are rough: vectors nearly alike may change places."""

_LISTS = (512, 2048)  # clusters: at least and at most
_VECTORS_A_LIST = 100
_TRAINED_ON_A_LIST = 40
_ROUNDS = 8  # of k-means
_LOOKED_AT = 25_000  # vectors, in the clusters that are looked at
_PASSED_OVER = 200_000  # vectors, allowed or not, in the clusters that are looked at for a filter
_BLOCK = 1 << 20  # bytes that are read and written at once


class Form(Protocol):
    """A way of holding vectors."""

    name: str

    def __len__(self) -> int: ...

    def add(self, vectors: Vectors, /) -> None:
        """Append rows: shape (rows, dimension), float32, unit length."""
        ...

    def take(self, rows: NDArray[np.int64], /) -> Vectors:
        """Rows as they are held, about what was added: shape (rows, dimension), float32."""
        ...

    def search(self, vector: Vectors, limit: int, allowed: NDArray[np.bool_] | None, share: float, /) -> Found:
        """The rows most like a vector: cosines and rows, best first.

        Args:
            vector: Shape (dimension,), float32, unit length.
            allowed: Which rows may be found; None for all.
            share: How many of all these are, 0 to 1.
        """
        ...

    def wipe(self, rows: NDArray[np.int64], /) -> None:
        """Overwrite rows, so that nothing of them is left."""
        ...

    def write(self, write: Write, /) -> None:
        """Write all rows."""
        ...


def fitting(count: int) -> str:
    """The name of the form for so many vectors."""
    return next(name for name, most in FORMS.items() if count <= most)


def most(name: str) -> int:
    """How many vectors a form is right for."""
    return FORMS[name]


def needed(count: int) -> int:
    """How many vectors the form for `count` vectors is trained on."""
    return _lists(count) * _TRAINED_ON_A_LIST if fitting(count).startswith("clustered") else 0


def trained(count: int, sample: Vectors, dimension: int) -> Form:
    """An empty form that is right for `count` vectors.

    Args:
        sample: Some of them, `needed(count)` if there are as many.
    """
    match fitting(count):
        case "flat":
            return Flat(dimension)
        case "quantized":
            return Quantized.trained(dimension)
        case name:
            return Clustered.trained(name, sample, _lists(count))


def read(name: str, read: Read, count: int, dimension: int) -> Form:
    """The form that was written under a name."""
    if name == "flat":
        return Flat.read(read, count, dimension)
    faiss = _faiss()
    index = faiss.read_index(faiss.PyCallbackIOReader(read, _BLOCK))
    return Quantized(index) if name == "quantized" else Clustered(name, index)


def _faiss() -> Any:  # noqa: ANN401 - its own types are wrong in many places
    import faiss

    return cast("Any", faiss)


def best(scores: Vectors, rows: NDArray[np.int64], limit: int) -> Found:
    """The rows with the highest of their scores, best first."""
    if len(rows) > limit:
        chosen = np.argpartition(scores, len(rows) - limit)[len(rows) - limit :]
        scores, rows = scores[chosen], rows[chosen]
    order = np.argsort(-scores, kind="stable")
    return scores[order], rows[order]


class Flat:
    """Every vector as it is, compared by the product of a matrix and a vector. Exact; FAISS is not needed."""

    name = "flat"

    def __init__(self, dimension: int) -> None:
        self._matrix = np.zeros((0, dimension), np.float32)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, vectors: Vectors, /) -> None:
        count = self._count + len(vectors)
        if count > len(self._matrix):
            grown = np.zeros((max(count, 2 * len(self._matrix)), self._matrix.shape[1]), np.float32)
            grown[: self._count] = self._matrix[: self._count]
            self._matrix = grown
        self._matrix[self._count : count] = vectors
        self._count = count

    def take(self, rows: NDArray[np.int64], /) -> Vectors:
        return self._matrix[rows]

    def search(self, vector: Vectors, limit: int, allowed: NDArray[np.bool_] | None, share: float, /) -> Found:
        scores = self._matrix[: self._count] @ vector
        rows = np.arange(self._count) if allowed is None else np.flatnonzero(allowed)
        return best(scores if allowed is None else scores[rows], rows, limit)

    def wipe(self, rows: NDArray[np.int64], /) -> None:
        self._matrix[rows] = 0

    def write(self, write: Write, /) -> None:
        for start in range(0, self._count, 1024):
            write(self._matrix[start : min(start + 1024, self._count)].tobytes())

    @classmethod
    def read(cls, read: Read, count: int, dimension: int) -> Flat:
        """Rows that `write` wrote."""
        form = cls(dimension)
        form._matrix = np.frombuffer(bytearray(read(4 * count * dimension)), np.float32).reshape(count, dimension)
        form._count = count
        return form


class _Faiss:
    """What the forms that FAISS holds have in common."""

    _index: Any

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, vectors: Vectors, /) -> None:
        self._index.add(vectors)

    def take(self, rows: NDArray[np.int64], /) -> Vectors:
        return cast("Vectors", self._index.reconstruct_batch(rows))

    def write(self, write: Write, /) -> None:
        _write(self._index, write)

    def _searched(self, vector: Vectors, limit: int, allowed: NDArray[np.bool_] | None, parameters: Any) -> Found:  # noqa: ANN401 - FAISS's own
        """The nearest rows among those that are allowed."""
        selector, bits = _selector(allowed)
        if selector is not None:
            parameters.sel = selector
        with one_thread():
            found = self._index.search(vector[None], limit, params=parameters)
        del bits
        return _found(found)


class Quantized(_Faiss):
    """Sixteen bits for each number, compared one after the other."""

    name = "quantized"

    def __init__(self, index: Any) -> None:  # noqa: ANN401 - an IndexScalarQuantizer
        self._index = index

    @classmethod
    def trained(cls, dimension: int) -> Quantized:
        """An empty one."""
        faiss = _faiss()
        return cls(faiss.IndexScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT))

    def search(self, vector: Vectors, limit: int, allowed: NDArray[np.bool_] | None, share: float, /) -> Found:
        return self._searched(vector, limit, allowed, _faiss().SearchParameters())

    def wipe(self, rows: NDArray[np.int64], /) -> None:
        faiss = _faiss()
        size = self._index.code_size
        codes = faiss.rev_swig_ptr(self._index.codes.data(), len(self) * size).reshape(-1, size)
        codes[rows] = 0


class Clustered(_Faiss):
    """Only the clusters nearest to the query are looked at (an inverted file); sixteen bits for each number, or eight.

    See Jégou, Douze, Schmid: Product quantization for nearest neighbor search, 2011, section IV.
    """

    def __init__(self, name: str, index: Any) -> None:  # noqa: ANN401 - an IndexIVFScalarQuantizer
        self.name = name
        self._index = index

    @classmethod
    def trained(cls, name: str, sample: Vectors, lists: int) -> Clustered:
        """An empty one, for vectors like some."""
        faiss = _faiss()
        dimension = sample.shape[1]
        coarse = faiss.IndexFlatIP(dimension)
        kinds = faiss.ScalarQuantizer
        kind = kinds.QT_8bit if name == ROUGH else kinds.QT_fp16
        index = faiss.IndexIVFScalarQuantizer(coarse, dimension, lists, kind, faiss.METRIC_INNER_PRODUCT, False)
        index.cp.niter, index.cp.min_points_per_centroid = _ROUNDS, 1
        index.cp.max_points_per_centroid = _TRAINED_ON_A_LIST
        index.train(sample)
        # the index is to outlive the Python object of its quantizer
        index.own_fields = True
        coarse.this.disown()
        index.make_direct_map(True)
        return cls(name, index)

    def search(self, vector: Vectors, limit: int, allowed: NDArray[np.bool_] | None, share: float, /) -> Found:
        # neighbours among fewer are farther away
        vectors = _LOOKED_AT if allowed is None else min(_PASSED_OVER, _LOOKED_AT * share**-0.5)
        probes = min(self._index.nlist, round(self._index.nlist * vectors / len(self)))
        return self._searched(vector, limit, allowed, _faiss().SearchParametersIVF(nprobe=probes))

    def wipe(self, rows: NDArray[np.int64], /) -> None:
        faiss = _faiss()
        lists, size = self._index.invlists, self._index.code_size
        for row in rows.tolist():
            place = self._index.direct_map.get(row)
            number, offset = place >> 32, place & 0xFFFFFFFF
            codes = faiss.rev_swig_ptr(lists.get_codes(number), lists.list_size(number) * size).reshape(-1, size)
            codes[offset] = 0


def _lists(count: int) -> int:
    return min(_LISTS[1], max(_LISTS[0], count // _VECTORS_A_LIST))


def _selector(allowed: NDArray[np.bool_] | None) -> tuple[Any, NDArray[np.uint8] | None]:
    """What FAISS takes for a filter, and the bits that it points to, which must live as long."""
    if allowed is None:
        return None, None
    faiss = _faiss()
    bits = np.packbits(allowed, bitorder="little")
    return faiss.IDSelectorBitmap(bits), bits


def _found(found: tuple[NDArray[np.float32], NDArray[np.int64]]) -> Found:
    scores, rows = found[0][0], found[1][0]
    there = rows >= 0
    return scores[there], rows[there]


def _write(index: Any, write: Write) -> None:  # noqa: ANN401 - any index
    faiss = _faiss()
    errors: list[OSError] = []

    def checked(data: bytes) -> int:
        try:
            write(data)
        except OSError as error:
            errors.append(error)
            return 0
        return len(data)

    try:
        faiss.write_index(index, faiss.PyCallbackIOWriter(checked, _BLOCK))
    except RuntimeError as error:
        raise errors[0] if errors else OSError(str(error)) from error
    if errors:
        raise errors[0]


@contextmanager
def one_thread() -> Generator[None]:
    """FAISS computes on the calling thread alone."""
    faiss = _faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
