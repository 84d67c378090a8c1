"""Many embeddings out of few real ones, for benchmarks of an index.

Real are those that all-MiniLM-L6-v2 gives of the standard library's docstrings, the first paragraph of each. A mixture
is w·a + (1 - w)·b of two of them, w between a half and one, with noise of a fifth of its length, made unit length. So
there are as many regions, of as different a density, as in real texts, and every vector is one of its own. Queries are
embeddings of docstrings that no mixture is made of. Knows no index.
"""

from __future__ import annotations

import ast
import random
import sysconfig
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

QUERIES = 500
_TEXTS = 5_000
_CHARACTERS = (40, 400)
_NOISE = 0.01  # in every dimension, of a vector of length 1
_CHUNK = 50_000


@cache
def real() -> tuple[Vectors, Vectors]:
    """Embeddings to be mixed, and of queries: shapes (5000, 384) and (500, 384). Embedding them takes minutes, once."""
    from llmos.memory.embedding import open_embedder

    embedder = open_embedder("")
    kept = Path(tempfile.gettempdir()) / f"llmos-bench-{abs(hash_name(embedder.name))}.npy"
    if not kept.exists():
        texts = docstrings()[: _TEXTS + QUERIES]
        parts = [embedder.embed(texts[at : at + 64]) for at in range(0, len(texts), 64)]
        np.save(kept, np.concatenate(parts))
    vectors: Vectors = np.load(kept)
    return vectors[QUERIES:], vectors[:QUERIES]


def hash_name(name: str) -> int:
    """A number that stands for a model."""
    return random.Random(f"{name} {_TEXTS}").getrandbits(48)


def docstrings() -> list[str]:
    """First paragraphs of the standard library's docstrings, each once, in an order of chance."""
    found: dict[str, None] = {}
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if "site-packages" in path.parts or "test" in path.parts:
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError, ValueError):  # made to be so, for tests of others
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
                if _CHARACTERS[0] <= len(text) <= _CHARACTERS[1]:
                    found[text] = None
    texts = list(found)
    random.Random(0).shuffle(texts)
    return texts


def mixtures(count: int) -> Iterator[Vectors]:
    """So many vectors, in parts: float32, unit length."""
    base, _ = real()
    for start in range(0, count, _CHUNK):
        chance = np.random.default_rng(start)
        amount = min(_CHUNK, count - start)
        one, other = chance.integers(len(base), size=(2, amount))
        weight = chance.uniform(0.5, 1, (amount, 1)).astype(np.float32)
        mixed = weight * base[one] + (1 - weight) * base[other]
        mixed += chance.standard_normal(mixed.shape, np.float32) * np.float32(_NOISE)
        yield mixed / np.linalg.norm(mixed, axis=1, keepdims=True)


class Nearest:
    """The nearest of many vectors to some queries, exactly."""

    def __init__(self, queries: Vectors, limit: int = 10) -> None:
        self._queries, self._limit = queries, limit
        self.scores: Vectors = np.full((len(queries), limit), -2, np.float32)
        self.ids: NDArray[np.int64] = np.zeros((len(queries), limit), np.int64)

    def add(self, ids: NDArray[np.int64], vectors: Vectors) -> None:
        """Look at more vectors."""
        if not len(ids):
            return
        scores = np.concatenate([self.scores, self._queries @ vectors.T], axis=1)
        found = np.concatenate([self.ids, np.broadcast_to(ids, (len(self._queries), len(ids)))], axis=1)
        best = np.argpartition(-scores, self._limit, axis=1)[:, : self._limit]
        self.scores = np.take_along_axis(scores, best, axis=1)
        self.ids = np.take_along_axis(found, best, axis=1)
