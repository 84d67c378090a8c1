"""The prefix tree, over cells that remember what was computed where, against a plain model of what must hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from llmos.engine.llama.buffers import Buffers, State
from llmos.engine.llama.swap import Swap
from llmos.engine.llama.tree import Lease, PrefixTree, as_tokens


class FakeCells:
    """Cells that hold, for each sequence and position, the tokens up to there: what attention would have seen."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.sequences: dict[int, dict[int, int]] = {}
        self.cells: dict[int, tuple[int, ...]] = {}
        self._next = 0

    def read(self, sequence: int, tokens: list[int], start: int) -> None:
        for position in range(start, len(tokens)):
            self._next += 1
            self.cells[self._next] = tuple(tokens[: position + 1])
            self.sequences.setdefault(sequence, {})[position] = self._next
        self._collect()

    def copy(self, source: int, target: int, start: int = 0, end: int = -1) -> None:
        for position, cell in self.sequences.get(source, {}).items():
            if start <= position and (end < 0 or position < end):
                assert position not in self.sequences.setdefault(target, {}), "two cells at one position"
                self.sequences[target][position] = cell

    def remove(self, sequence: int, start: int = 0, end: int = -1) -> None:
        kept = self.sequences.pop(sequence, {})
        self.sequences[sequence] = {
            position: cell for position, cell in kept.items() if position < start or (end >= 0 and position >= end)
        }
        self._collect()

    def save(self, sequence: int, buffers: Buffers) -> State:
        content = {position: self.cells[cell] for position, cell in self.sequences.get(sequence, {}).items()}
        data = np.frombuffer(json.dumps(content).encode(), dtype=np.uint8)
        block = buffers.take(data.size)
        block[:] = data
        return block

    def load(self, sequence: int, data: State) -> bool:
        for position, tokens in json.loads(data.tobytes()).items():
            self._next += 1
            self.cells[self._next] = tuple(tokens)
            self.sequences.setdefault(sequence, {})[int(position)] = self._next
        return True

    def _collect(self) -> None:
        used = {cell for sequence in self.sequences.values() for cell in sequence.values()}
        self.cells = {cell: tokens for cell, tokens in self.cells.items() if cell in used}

    @property
    def used(self) -> int:
        return len({cell for sequence in self.sequences.values() for cell in sequence.values()})


CAPACITY = 60
SEQUENCES = 9
TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=14)


@pytest.fixture(autouse=True)
def few_idle_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmos.engine.llama.tree.IDLE_CELLS", 5)


class TreeMachine(RuleBasedStateMachine):
    """Leases come, read, publish, branch and go in any order; state is never mixed up, and nothing leaks."""

    leases = Bundle("leases")

    @initialize(ram=st.sampled_from([0, 400, 10_000]))
    def make(self, ram: int) -> None:
        self.cells = FakeCells(CAPACITY)
        swap = Swap(None, ram_bytes=ram, disk_bytes=0)
        self.tree = PrefixTree(self.cells, capacity=CAPACITY, sequences=SEQUENCES, swap=swap)
        self.held: dict[int, tuple[Lease, list[int]]] = {}

    @rule(target=leases, tokens=TOKENS, adapter=st.sampled_from(["", "other"]))
    def start(self, tokens: list[int], adapter: str) -> int:
        lease = self.tree.lease(adapter)
        if lease is None:
            return -1
        own = [token + 10 * bool(adapter) for token in tokens]
        resident, known = self.tree.peek(as_tokens(own), adapter)
        assert resident <= known
        length = self.tree.acquire(lease, as_tokens(own))
        assert resident <= length or self.tree.free_sequences == 0
        if self.tree.make_room(len(own) - length):
            self.cells.read(lease.sequence, own, length)
            lease.read = len(own)
        self.held[lease.sequence] = (lease, own)
        return lease.sequence

    @rule(sequence=leases, tokens=TOKENS)
    def read_on(self, sequence: int, tokens: list[int]) -> None:
        if sequence not in self.held:
            return
        lease, own = self.held[sequence]
        if lease.read == len(own) and self.tree.make_room(len(tokens)):
            own.extend(token + (10 if lease.adapter else 0) for token in tokens)
            self.cells.read(lease.sequence, own, lease.read)
            lease.read = len(own)

    @rule(sequence=leases, share=st.floats(0, 1))
    def publish(self, sequence: int, share: float) -> None:
        if sequence in self.held:
            lease, own = self.held[sequence]
            self.tree.publish(lease, as_tokens(own[: int(lease.read * share)]))

    @rule(target=leases, sequence=leases)
    def branch(self, sequence: int) -> int:
        if sequence not in self.held:
            return -1
        lease, own = self.held[sequence]
        other = self.tree.branch(lease)
        if other is None:
            return -1
        self.held[other.sequence] = (other, own[: lease.read])
        return other.sequence

    @rule(sequence=consumes(leases))
    def finish(self, sequence: int) -> None:
        if sequence in self.held:
            lease, own = self.held.pop(sequence)
            self.tree.publish(lease, as_tokens(own[: lease.read]))
            self.tree.release(lease)

    @rule(tokens=TOKENS)
    def clear_idle(self, tokens: list[int]) -> None:
        self.tree.clear_idle(as_tokens(tokens))

    @rule(room=st.integers(0, CAPACITY))
    def make_room(self, room: int) -> None:
        if self.tree.make_room(room):
            assert self.tree.free_cells >= room

    @invariant()
    def every_sequence_sees_exactly_its_own_tokens(self) -> None:
        for lease, own in getattr(self, "held", {}).values():
            content = self.cells.sequences.get(lease.sequence, {})
            assert sorted(content) == list(range(lease.read))
            for position, cell in content.items():
                assert self.cells.cells[cell] == tuple(own[: position + 1])

    @invariant()
    def no_more_cells_are_used_than_counted(self) -> None:
        if hasattr(self, "tree"):
            assert self.cells.used <= CAPACITY - self.tree.free_cells

    def teardown(self) -> None:
        for sequence in list(getattr(self, "held", {})):
            self.finish(sequence)
        if hasattr(self, "tree"):
            self.tree.forget()
            assert self.tree.free_cells == CAPACITY
            assert self.tree.free_sequences == SEQUENCES
            assert self.cells.used == 0


TestTree = TreeMachine.TestCase
TestTree.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def make_tree(*, ram: int = 1 << 20, folder: Path | None = None, disk: int = 0) -> tuple[FakeCells, PrefixTree]:
    cells = FakeCells(CAPACITY)
    swap = Swap(folder, ram_bytes=ram, disk_bytes=disk)
    return cells, PrefixTree(cells, capacity=CAPACITY, sequences=SEQUENCES, swap=swap)


def run(cells: FakeCells, tree: PrefixTree, tokens: list[int]) -> int:
    """A whole request over `tokens`; how many of them it did not have to read."""
    lease = tree.lease()
    assert lease is not None
    reused = tree.acquire(lease, as_tokens(tokens))
    assert tree.make_room(len(tokens) - reused)
    cells.read(lease.sequence, tokens, reused)
    lease.read = len(tokens)
    tree.publish(lease, as_tokens(tokens))
    tree.release(lease)
    return reused


def test_a_shared_prefix_takes_its_cells_once() -> None:
    cells, tree = make_tree()
    assert run(cells, tree, [1, 2, 3, 4, 5]) == 0
    assert run(cells, tree, [1, 2, 3, 9, 9]) == 3
    assert cells.used == 7
    assert tree.peek(as_tokens([1, 2, 3, 9, 7])) == (4, 4)


def test_what_was_swapped_to_ram_comes_back() -> None:
    cells, tree = make_tree()
    run(cells, tree, [1, 2, 3, 4])
    assert tree.make_room(CAPACITY)
    assert cells.used == 0
    assert tree.peek(as_tokens([1, 2, 3, 4])) == (0, 4)
    assert run(cells, tree, [1, 2, 3, 4, 5]) == 4


def test_what_was_swapped_to_disk_comes_back(tmp_path: Path) -> None:
    cells, tree = make_tree(ram=0, folder=tmp_path, disk=1 << 20)
    run(cells, tree, [1, 2, 3, 4])
    assert tree.make_room(CAPACITY)
    assert run(cells, tree, [1, 2, 3, 4, 5]) == 4


def test_a_damaged_swap_file_means_reading_again(tmp_path: Path) -> None:
    cells, tree = make_tree(ram=0, folder=tmp_path, disk=1 << 20)
    run(cells, tree, [1, 2, 3, 4])
    assert tree.make_room(CAPACITY)
    tree.swap.flush()
    (file,) = tmp_path.glob("*/*.kv")
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    assert run(cells, tree, [1, 2, 3, 4, 5]) == 0
    assert run(cells, tree, [1, 2, 3, 4, 5, 6]) == 5


def test_the_least_recently_used_goes_first() -> None:
    cells, tree = make_tree()
    run(cells, tree, [1] * 20)
    run(cells, tree, [2] * 20)
    run(cells, tree, [1] * 20)
    assert tree.make_room(CAPACITY - 20)
    assert tree.peek(as_tokens([1] * 20))[0] == 20
    assert tree.peek(as_tokens([2] * 20)) == (0, 20)


def test_idle_state_leaves_the_cells_before_a_request_starts_and_its_own_stays() -> None:
    cells, tree = make_tree()
    run(cells, tree, [1] * 20)
    run(cells, tree, [2] * 20)
    running = tree.lease()
    assert running is not None
    tree.clear_idle(as_tokens([1] * 20))
    assert tree.peek(as_tokens([1] * 20)) == (20, 20)
    assert tree.peek(as_tokens([2] * 20)) == (0, 20)
    tree.release(running)


def test_with_nothing_running_all_goes_out_so_that_what_comes_back_is_compact() -> None:
    cells, tree = make_tree()
    run(cells, tree, [1] * 20)
    run(cells, tree, [2] * 20)
    tree.clear_idle(as_tokens([2] * 20))
    assert cells.used == 0
    assert run(cells, tree, [2] * 21) == 20


def test_a_single_conversation_stays_where_it_is() -> None:
    cells, tree = make_tree()
    run(cells, tree, [1] * 20)
    tree.clear_idle(as_tokens([1] * 30))
    assert tree.peek(as_tokens([1] * 20)) == (20, 20)


def test_another_adapter_shares_nothing() -> None:
    cells, tree = make_tree()
    run(cells, tree, [1, 2, 3])
    assert tree.peek(as_tokens([1, 2, 3]), "lora") == (0, 0)
