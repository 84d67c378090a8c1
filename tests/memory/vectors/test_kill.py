"""Processes that are killed while they save an index: there is always a whole one, and nothing is missing in it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from llmos.memory.items import Filter
from llmos.memory.store import MemoryStore
from llmos.memory.vectors import VectorIndex, snapshot
from llmos.memory.vectors.index import snapshot_path
from tests.memory.samples import item
from tests.memory.words import WordEmbedder

KILLS = 40 if os.environ.get("TEST_FULL") else 5
CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from llmos.memory.store import MemoryStore
from llmos.memory.vectors import VectorIndex
from tests.memory.samples import item
from tests.memory.words import WordEmbedder

store = MemoryStore.open(Path(sys.argv[1]))
index = VectorIndex.open(Path(sys.argv[1]), store, WordEmbedder())
print("open", flush=True)
while True:
    [id] = store.add([item("red apple", namespace="late")])
    print(id, flush=True)
    index.save()
"""


def test_savers_that_are_killed_leave_a_whole_index(tmp_path: Path) -> None:
    chance, embedder = random.Random(3), WordEmbedder()
    store = MemoryStore.open(tmp_path)
    store.add([item(f"pond {n}") for n in range(2_000)])
    VectorIndex.open(tmp_path, store, embedder).save()
    acknowledged = list[int]()
    for _ in range(KILLS):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), str(Path(__file__).parents[3])],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        time.sleep(chance.uniform(0.01, 0.1))
        child.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in child.communicate(timeout=30)[0].split("\n")[:-1]]
        head, _, _ = snapshot.load(snapshot_path(tmp_path, embedder.name), embedder.name)
        assert head.count >= 2_000
        index = VectorIndex.open(tmp_path, store, embedder)
        [query] = embedder.embed(["red apple"], role="query")
        late = Filter(tenant="ann", namespaces=("late",))
        found = {id for id, _ in index.search(query, late, limit=10_000)}
        assert found >= set(acknowledged)
        assert len(index) == store.size
    assert acknowledged
    store.close()
