"""The same 100,000 vectors in other libraries, where they are installed: rows of `python -m bench memory`.

Each is used as its own documentation shows: a database on the disk, cosine, a filter on a field.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.memory_real import Vectors, mixtures, real
from bench.report import Row

_COUNT = 100_000
_PARTS = 100  # groups: a filter on one of them chooses 1 %
_AT_ONCE = 1_000
_QUERIES = 200

Batch = tuple[range, Vectors]
Ask = Callable[[Vectors], object]


def peers() -> list[Row]:
    """Adding and a query with a filter that leaves 1 %, in chromadb and lancedb; none where neither is installed."""
    rows: list[Row] = []
    for name, fill in (("chromadb", _chromadb), ("lancedb", _lancedb)):
        if find_spec(name) is None:
            continue
        with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            start = time.process_time()
            ask = fill(Path(folder))
            spent = time.process_time() - start
            _, queries = real()
            times = [_timed(ask, query) for query in queries[:_QUERIES]]
        rows += [
            Row(
                name=f"{name}: ingest of {_COUNT:,} items of {queries.shape[1]} dimensions",
                value=_COUNT / spent,
                unit="rows per CPU-second",
                note="vectors included",
            ),
            Row(
                name=f"{name}: 100k vectors, filter that leaves 1 %, p95",
                value=1000 * float(np.percentile(times, 95)),
                unit="ms",
            ),
        ]
    return rows


def _timed(ask: Ask, query: Vectors) -> float:
    start = time.perf_counter()
    ask(query)
    return time.perf_counter() - start


def _batches() -> Iterator[Batch]:
    done = 0
    for vectors in mixtures(_COUNT):
        for at in range(0, len(vectors), _AT_ONCE):
            part = vectors[at : at + _AT_ONCE]
            yield range(done, done + len(part)), part
            done += len(part)


def _chromadb(folder: Path) -> Ask:
    library: Any = import_module("chromadb")
    items = library.PersistentClient(str(folder)).create_collection("bench", metadata={"hnsw:space": "cosine"})
    for numbers, vectors in _batches():
        items.add(
            ids=[str(number) for number in numbers],
            embeddings=vectors,
            documents=[f"mixture {number}" for number in numbers],
            metadatas=[{"part": number % _PARTS} for number in numbers],
        )
    return lambda query: items.query(query_embeddings=[query], n_results=10, where={"part": 0})


def _lancedb(folder: Path) -> Ask:
    library: Any = import_module("lancedb")
    database, table = library.connect(str(folder)), None
    for numbers, vectors in _batches():
        rows = [
            {"vector": vector, "text": f"mixture {number}", "part": number % _PARTS}
            for number, vector in zip(numbers, vectors, strict=True)
        ]
        if table is None:
            table = database.create_table("bench", data=rows)
        else:
            table.add(rows)
    assert table is not None, "there are batches"
    found: Any = table
    return lambda query: (
        found.search(query).distance_type("cosine").where("part = 0", prefilter=True).limit(10).to_list()
    )


GROUPS = (peers,)
