"""How fast, how big and how safe the memory's store and index are: rows of `python -m bench memory`.

What an index finds is measured in a process of its own, so that its memory is nobody else's.
"""

from __future__ import annotations

import json
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np
from numpy.typing import NDArray

from bench.memory_real import Nearest, Vectors, mixtures, real
from bench.report import Row
from llmos.memory.items import Filter, NewItem, hash_of
from llmos.memory.protocols import Role
from llmos.memory.store import MemoryStore
from llmos.memory.vectors import VectorIndex

_PARTS = 100  # tenants or namespaces: a filter on one of them chooses 1 %
KILLS = 100
_INGESTED = 100_000
_AT_ONCE = 1_000
_DIMENSION = 384
_ANN = Filter(tenant="ann")


class Given:
    """An embedder of vectors that the store has; of other texts it draws one for each."""

    name, dimension = "given", _DIMENSION

    def embed(self, texts: Sequence[str], /, *, role: Role = "text") -> Vectors:
        drawn = [np.random.default_rng(list(hash_of(text))).standard_normal(_DIMENSION) for text in texts]
        return np.array([vector / np.linalg.norm(vector) for vector in drawn], np.float32)


# -- ingest


def ingest() -> list[Row]:
    """Items of about 150 and of about 800 characters, in transactions of 1,000 that are durable when they return."""
    rows: list[Row] = []
    for words, goal in ((25, "≥ 20000"), (130, "")):
        texts = list(_texts(_INGESTED if goal else _INGESTED // 5, words))
        with TemporaryDirectory(ignore_cleanup_errors=True) as name:
            store = MemoryStore.open(Path(name))
            start = time.process_time()
            for at in range(0, len(texts), _AT_ONCE):
                store.add([_passage(text, at + n) for n, text in enumerate(texts[at : at + _AT_ONCE])])
            spent = time.process_time() - start
            store.close()
        rows.append(
            Row(
                name=f"durable ingest of {len(texts):,} items of {sum(map(len, texts)) // len(texts)} characters",
                value=len(texts) / spent,
                unit="rows per CPU-second",
                goal=goal,
                note="with keys and the index of words, without embedding",
            )
        )
    return rows


def _passage(text: str, number: int) -> NewItem:
    return NewItem(
        tenant="ann", kind="passage", label="files", text=text, source=f"{number // 200}.md", key=f"{number:032x}"
    )


def _texts(count: int, words: int) -> Iterator[str]:
    """Texts whose words are as unlike in frequency as those of a language (Zipf's law), each text once."""
    chance = random.Random(0)
    letters = "etaoinshrdlucmfwygpb"
    vocabulary = ["".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(30_000)]
    weights = [1 / rank for rank in range(1, len(vocabulary) + 1)]
    drawn = chance.choices(vocabulary, weights, k=1_000_000)
    for number in range(count):
        start = chance.randrange(len(drawn) - words)
        yield f"{' '.join(drawn[start : start + words])} {number}"


# -- search


def hundred_thousand() -> list[Row]:
    """100,000 vectors."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        _fill(Path(name), 100_000)
        got = _searched(Path(name))
    return [
        Row(name="100k vectors, query p95", value=got["p95"], unit="ms", goal="≤ 5"),
        Row(name="100k vectors, filter that leaves 1 %, p95", value=got["filtered p95"], unit="ms", goal="≤ 2"),
        Row(name="100k vectors, recall@10", value=got["recall"], unit="", goal="≥ 0.99"),
        Row(name="100k vectors, recall@10 with the filter", value=got["filtered recall"], unit=""),
        Row(name="100k vectors, reopen store and index", value=got["reopen"], unit="s", goal="≤ 1"),
    ]


def million() -> list[Row]:
    """1,000,000 vectors, mixtures of real embeddings (see `bench.memory_real`)."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        made = _fill(Path(name), 1_000_000)
        got = _searched(Path(name))
    return [
        Row(name="1M vectors, recall@10", value=got["recall"], unit="", goal="≥ 0.95"),
        Row(name="1M vectors, query p95", value=got["p95"], unit="ms", goal="≤ 10"),
        Row(name="1M vectors, filter that leaves 1 %, p95", value=got["filtered p95"], unit="ms"),
        Row(name="1M vectors, memory of the process, peak", value=got["peak"], unit="MB", goal="≤ 600"),
        Row(name="1M vectors, reopen store and index", value=got["reopen"], unit="s"),
        Row(name="1M vectors, make the index anew from the store", value=made, unit="s"),
    ]


def _fill(folder: Path, count: int) -> float:
    """Make a memory of so many items and their vectors, with its index, and beside it what is nearest to queries.

    Returns:
        Seconds that the index took.
    """
    _, queries = real()
    everything, one_group = Nearest(queries), Nearest(queries)
    store = MemoryStore.open(folder)
    done = 0
    for vectors in mixtures(count):
        for at in range(0, len(vectors), _AT_ONCE):
            part = vectors[at : at + _AT_ONCE]
            items = [_grouped(done + at + n) for n in range(len(part))]
            assert store.add(items)[0] == done + at + 1
            kept = {item.hash: vector for item, vector in zip(items, part, strict=True)}
            store.keep_vectors(Given.name, kept)
        ids = np.arange(done + 1, done + len(vectors) + 1)
        everything.add(ids, vectors)
        chosen = (ids - 1) % _PARTS == 0
        one_group.add(ids[chosen], vectors[chosen])
        done += len(vectors)
    start = time.perf_counter()
    VectorIndex.open(folder, store, Given()).save()
    spent = time.perf_counter() - start
    store.close()
    np.savez(folder / "queries.npz", queries=queries, all=everything.ids, group=one_group.ids)
    return spent


def _grouped(number: int) -> NewItem:
    return NewItem(
        tenant="ann", kind="passage", label="files", text=f"mixture {number}", namespace=f"group {number % _PARTS}"
    )


def _searched(folder: Path) -> dict[str, float]:
    return cast("dict[str, float]", json.loads(_alone("searched", str(folder))))


def _alone(function: str, *arguments: str) -> str:
    """What a function of this module prints in a process of its own."""
    code = f"import sys; from bench.memory_store import {function}; {function}(*sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def searched(name: str) -> None:
    """Open a memory, ask all queries, and print what that took."""
    folder = Path(name)
    start = time.perf_counter()
    store = MemoryStore.open(folder)
    index = VectorIndex.open(folder, store, Given())
    reopen = time.perf_counter() - start
    with np.load(folder / "queries.npz") as given:
        queries, truths = given["queries"], (given["all"], given["group"])
    got: dict[str, float] = {"reopen": reopen}
    filters = (_ANN, Filter(tenant="ann", namespaces=("group 0",)))
    for prefix, filter, truth in zip(("", "filtered "), filters, truths, strict=True):
        spent, right = _asked(index, queries, filter, truth)
        got[f"{prefix}p50"] = 1000 * float(np.median(spent))
        got[f"{prefix}p95"] = 1000 * float(np.percentile(spent, 95))
        got[f"{prefix}recall"] = right
    got["peak"] = _peak()
    print(json.dumps(got))


def _peak() -> float:
    """Megabytes that this process had in memory at most."""
    try:
        # `getrusage` counts on Linux what the parent had when it started this process, too
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS: in bytes


def _asked(index: VectorIndex, queries: Vectors, filter: Filter, truth: NDArray[np.int64]) -> tuple[list[float], float]:
    spent: list[float] = []
    right = 0
    for query, nearest in zip(queries, truth, strict=True):
        start = time.perf_counter()
        found = index.search(query, filter, limit=10)
        spent.append(time.perf_counter() - start)
        right += len({id for id, _ in found} & set(nearest.tolist()))
    return spent, right / truth.size


# -- kills


def kills() -> list[Row]:
    """Two writers on 100,000 items, killed again and again while they write and while they save the index."""
    lost = half = wrong = in_snapshot = 0
    slowest = 0.0
    acknowledged: set[tuple[str, int]] = set()
    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        _fill(folder, 100_000)
        next_number = {"a": 0, "b": 0}
        chance = random.Random(0)
        for _ in range(KILLS // 2):
            with _writers(folder, next_number) as writers:
                time.sleep(chance.uniform(0.05, 1.0))
            for writer, said in writers.items():
                numbers = [int(line) for line in said.split("\n")[:-1] if line.isdigit()]
                acknowledged |= {(writer, number) for number in numbers}
                next_number[writer] = max([next_number[writer], *numbers]) + 2
            in_snapshot += len(list((folder / "index").glob("*.new")))
            start = time.perf_counter()
            store = MemoryStore.open(folder)
            index = VectorIndex.open(folder, store, Given())
            slowest = max(slowest, time.perf_counter() - start)
            found = _batches(store)
            lost += len(acknowledged - set(found))
            half += sum(found[batch] != _size(batch[1]) for batch in found)
            wrong += abs(len(index) - store.size)
            index.save()
            store.close()
    note = f"{len(acknowledged):,} batches acknowledged; {in_snapshot} of {KILLS} kills inside a snapshot"
    return [
        Row(name=f"{KILLS} kills, 2 writers: acknowledged batches lost", value=lost, unit="", goal="≤ 0", note=note),
        Row(name=f"{KILLS} kills, 2 writers: batches written in part", value=half, unit="", goal="≤ 0"),
        Row(name=f"{KILLS} kills, 2 writers: items missing in the index", value=wrong, unit="", goal="≤ 0"),
        Row(name="reopen of 100k items after a kill, slowest", value=slowest, unit="s", goal="≤ 1"),
    ]


@contextmanager
def _writers(folder: Path, numbers: dict[str, int]) -> Generator[dict[str, str]]:
    """Two writers that run while the block does, then are killed; what each has said is there afterwards."""
    said: dict[str, str] = {}
    code = "import sys; from bench.memory_store import written; written(*sys.argv[1:])"
    running = {
        name: subprocess.Popen([sys.executable, "-c", code, str(folder), name, str(number)], stdout=subprocess.PIPE)
        for name, number in numbers.items()
    }
    try:
        for child in running.values():
            assert child.stdout is not None
            assert child.stdout.readline() == b"open\n"
        yield said
    finally:
        for name, child in running.items():
            child.send_signal(signal.SIGKILL)
            said[name] = child.communicate(timeout=60)[0].decode()


def written(name: str, writer: str, first: str) -> None:
    """Write batches for ever, say the number of each that is acknowledged, and save the index after every third."""
    store = MemoryStore.open(Path(name))
    index = VectorIndex.open(Path(name), store, Given())
    print("open", flush=True)
    number = int(first)
    while True:
        store.add(
            [
                NewItem(
                    tenant="ann",
                    kind="episode",
                    label="user",
                    text=f"Batch {number} of {writer}, part {part}.",
                    source=f"{writer} {number}",
                )
                for part in range(_size(number))
            ]
        )
        print(number, flush=True)
        index.refresh()
        if number % 3 == 0:
            index.save()
        number += 1


def _size(number: int) -> int:
    return number % 40 + 1


def _batches(store: MemoryStore) -> dict[tuple[str, int], int]:
    """How many items of each batch there are."""
    found: dict[tuple[str, int], int] = {}
    for source in store.sources(Filter(tenant="ann", kinds=("episode",))):
        writer, number = source.source.split()
        found[writer, int(number)] = source.items
    return found


# -- tenants


def tenants() -> list[Row]:
    """100 tenants with 200 items each in one memory; then one of them is forgotten."""
    marks = [f"zq{random.Random(n).getrandbits(60):015x}" for n in range(_PARTS)]
    fewest, leaks = 10, 0
    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        store = MemoryStore.open(folder)
        chance = random.Random(0)
        texts = list(_texts(_PARTS * 200, 25))
        for n in range(0, len(texts), _AT_ONCE):
            store.add([_owned(text, marks[chance.randrange(_PARTS)]) for text in texts[n : n + _AT_ONCE]])
        index = VectorIndex.open(folder, store, Given())
        for mark in marks:
            filter = Filter(tenant=mark)
            for query in Given().embed(texts[:5], role="query"):
                found = [id for id, _ in index.search(query, filter, limit=10)]
                fewest = min(fewest, len(found))
                leaks += sum(item.tenant != mark for item in store.get(found))
            matched = [id for id, _ in store.matching(texts[0], filter, limit=10)]
            fewest = min(fewest, len(matched))
            leaks += sum(item.tenant != mark for item in store.get(matched))
        left = _forgotten(folder, store, index, marks[0])
        store.close()
    return [
        Row(name=f"{_PARTS} tenants: fewest results of 10", value=fewest, unit="", goal="≥ 10"),
        Row(name=f"{_PARTS} tenants: results of another tenant", value=leaks, unit="", goal="≤ 0"),
        Row(name="bytes of a tenant left in any file after it was forgotten", value=left, unit="", goal="≤ 0"),
    ]


def _owned(text: str, mark: str) -> NewItem:
    return NewItem(tenant=mark, kind="passage", label="files", text=f"{text} {mark}", source=f"{mark}.md")


def _forgotten(folder: Path, store: MemoryStore, index: VectorIndex, mark: str) -> int:
    """Forget a tenant; how many bytes of its name, texts and vectors are left in all files."""
    filter = Filter(tenant=mark, current=None)
    items = store.items(filter)
    index.save()
    vectors = Given().embed([item.text for item in items])
    traces = [
        mark.encode(),
        *(vector.tobytes()[:64] for half in (vectors, vectors.astype(np.float16)) for vector in half),
    ]
    before = _traces(folder, traces)
    assert before > len(items), "nothing to be seen even before"
    store.remove(store.ids(filter).tolist())
    store.purge()
    index.save()
    return _traces(folder, traces)


def _traces(folder: Path, traces: Sequence[bytes]) -> int:
    """How many bytes of any of these there are in the files of a folder."""
    found = 0
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            found += sum(content.count(trace) * len(trace) for trace in traces)
    return found


GROUPS = (ingest, hundred_thousand, million, kills, tenants)
