"""The prefix tree: which token prefixes have KV state, and where it is: in the cells, in RAM, or on disk.

A radix tree over token ids, one root per adapter (the same tokens under another adapter have other state). Each node
owns the state of its own tokens only, as one llama.cpp sequence that covers just these positions; what runs gets the
nodes of its path shared into its own sequence, which copies nothing. So a shared prefix takes its cells once, is
swapped once, and a fork is free. Least recently used nodes go to RAM when cells or sequence ids run short, and
from RAM to disk. Knows no requests, models or scheduling; `Cells` is all it asks of the processor.

The design follows SGLang's RadixAttention (Zheng et al. 2024, arXiv:2312.07104), with swapping in place of dropping.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from llmos.engine.llama.buffers import Buffers, State
from llmos.engine.llama.swap import Swap
from llmos.errors import EngineError

_MANY_NODES = 64
IDLE_CELLS = 256  # llama.cpp rounds the cells that attention looks at up to a multiple of this

Tokens = npt.NDArray[np.int32]


class Cells(Protocol):
    """The KV cells of a processor (`binding.Processor` is one)."""

    def copy(self, source: int, target: int, start: int = 0, end: int = -1) -> None: ...
    def remove(self, sequence: int, start: int = 0, end: int = -1) -> None: ...
    def save(self, sequence: int, buffers: Buffers) -> State: ...
    def load(self, sequence: int, data: State) -> bool: ...


@dataclass(eq=False, slots=True)
class Node:
    """One edge of the tree: `tokens` at positions `start` to `end`.

    Its state is resident if `sequence` ≥ 0, else swapped under `key` if that is not 0, else lost (to be read again).
    """

    tokens: Tokens
    start: int
    parent: Node | None
    sequence: int = -1
    key: int = 0
    pins: int = 0
    used: int = 0
    children: dict[int, Node] = field(default_factory=dict[int, "Node"])

    @property
    def end(self) -> int:
        """The position after its last token."""
        return self.start + len(self.tokens)


@dataclass(eq=False, slots=True)
class Stem:
    """Cells up to position `end` that branches of one lease share, `users` of them, beside those of its parent."""

    length: int
    end: int
    parent: Stem | None
    users: int = 0


@dataclass(eq=False, slots=True)
class Lease:
    """A running sequence: `read` tokens have state, the first `published` of which are the tree's, pinned to `tip`.

    Of the others, those up to the end of `stem` are shared with branches of it.
    """

    sequence: int
    adapter: str = ""
    read: int = 0
    published: int = 0
    tip: Node | None = None
    stem: Stem | None = None

    @property
    def alone(self) -> int:
        """How many cells are nobody else's."""
        return max(self.read - max(self.published, self.stem.end if self.stem else 0), 0)


def as_tokens(tokens: Sequence[int]) -> Tokens:
    """Token ids as an array of int32."""
    return np.asarray(tokens, dtype=np.int32)


def common_prefix(first: Tokens, second: Tokens) -> int:
    """How many tokens two arrays share from their beginning."""
    length = min(len(first), len(second))
    differing = np.flatnonzero(first[:length] != second[:length])
    return int(differing[0]) if len(differing) else length


def _pin(node: Node | None, by: int) -> None:
    """Pin or unpin a path, from its last node to the root."""
    while node is not None:
        node.pins += by
        node = node.parent


class PrefixTree:
    """Owns all sequence ids and all KV state that no running request owns alone.

    Args:
        cells: The processor's KV cells.
        capacity: How many tokens they hold.
        sequences: How many sequence ids there are.
        swap: Where swapped state goes.
        shares: Off, nothing is remembered or shared: for models whose state can't be cut at a token (recurrent ones).
    """

    def __init__(self, cells: Cells, *, capacity: int, sequences: int, swap: Swap, shares: bool = True) -> None:
        self.shares = shares
        self._cells = cells
        self.swap = swap
        self._roots: dict[str, Node] = {}
        self._free = list(range(sequences))
        self._clock = 0
        self._many = _MANY_NODES
        self._resident = 0
        self._stems = 0
        self._leases: set[Lease] = set()
        self.capacity = capacity

    # -- room

    @property
    def free_cells(self) -> int:
        """Cells that hold nothing."""
        return self.capacity - self._resident - self._stems - sum(lease.alone for lease in self._leases)

    @property
    def free_sequences(self) -> int:
        """Sequence ids that nobody holds."""
        return len(self._free)

    def evictable(self) -> int:
        """Tokens in cells that could be swapped out, because no running request needs them."""
        return sum(len(node.tokens) for node in self._nodes() if node.sequence >= 0 and not node.pins)

    def clear_idle(self, tokens: Tokens, adapter: str = "") -> None:
        """Swap out what no running request needs, before one starts on `tokens`, if it is more than `IDLE_CELLS`.

        Attention looks at every cell up to the last one in use, whoever's it is: a few thousand idle ones cost a
        running request many times what swapping them out and in takes. What it will share stays, unless nothing else
        runs: then all goes out once, so that it comes back to the first cells.
        """
        own = {id(node) for node, _ in self._walk(tokens, adapter)}
        idle = [node for node in self._nodes() if node.sequence >= 0 and not node.pins]
        foreign = [node for node in idle if id(node) not in own]
        if sum(len(node.tokens) for node in foreign) <= IDLE_CELLS or not self.swap.room:
            return
        for node in foreign if self._leases else idle:
            self._swap_out(node)

    def make_room(self, tokens: int) -> bool:
        """Swap out least recently used nodes until `tokens` cells are free; False if that is impossible."""
        if tokens > self.free_cells + self.evictable():
            return False
        while self.free_cells < tokens:
            victim = self._coldest()
            if victim is None:
                return False
            self._swap_out(victim)
        return True

    # -- leases

    def lease(self, adapter: str = "") -> Lease | None:
        """An empty sequence to run on, made free by swapping out if need be; None if all are running."""
        sequence = self._take_sequence()
        if sequence is None:
            return None
        lease = Lease(sequence, adapter)
        self._leases.add(lease)
        return lease

    def branch(self, source: Lease) -> Lease | None:
        """Another sequence with all that a lease has read, sharing its cells; None if all are running."""
        lease = self.lease(source.adapter)
        if lease is not None:
            if source.alone:
                source.stem = Stem(source.alone, source.read, source.stem, 1)  # which takes over its use of the old one
                self._stems += source.stem.length
            if source.stem is not None:
                source.stem.users += 1
            lease.stem = source.stem
            self._cells.copy(source.sequence, lease.sequence, 0, source.read)
            lease.read, lease.published, lease.tip = source.read, source.published, source.tip
            _pin(lease.tip, 1)
        return lease

    def release(self, lease: Lease) -> None:
        """End a lease: its sequence becomes free, what it published stays."""
        _pin(lease.tip, -1)
        lease.tip = None
        self._leave_stem(lease)
        self._leases.discard(lease)
        self._cells.remove(lease.sequence)
        self._free.append(lease.sequence)

    # -- look-up

    def idle(self, tokens: Tokens, adapter: str = "") -> int:
        """How many of the leading tokens are in cells that `evictable` counts too."""
        path = self._walk(tokens, adapter)
        return sum(len(node.tokens) for node, _ in path if node.sequence >= 0 and not node.pins)

    def peek(self, tokens: Tokens, adapter: str = "") -> tuple[int, int]:
        """How many leading tokens have state in cells, and how many in cells or swapped. Changes nothing."""
        resident = known = 0
        still_resident = True
        for node, matched in self._walk(tokens, adapter):
            if node.sequence < 0 and not node.key:
                break
            still_resident = still_resident and node.sequence >= 0
            known = node.start + matched
            if still_resident:
                resident = known
        return resident, known

    def acquire(self, lease: Lease, tokens: Tokens) -> int:
        """Share the longest known prefix of `tokens` into an empty lease; returns its length.

        Swapped nodes come back into cells; a node that can't (no room, damaged file) ends the prefix there.
        """
        self._clock += 1
        for node, matched in list(self._walk(tokens, lease.adapter)):
            if not self._bring_in(node) or (matched < len(node.tokens) and not self._split(node, matched)):
                break
            self._cells.copy(node.sequence, lease.sequence, node.start, node.end)
            self._advance(lease, node)
            lease.read = node.end
        return lease.read

    def publish(self, lease: Lease, tokens: Tokens) -> None:
        """Make the state of `tokens`, the first ones that the lease has read, known to everybody.

        Where the tree has the same tokens already, the sequence's own cells are given up for the tree's.
        """
        self._clock += 1
        while self.shares and lease.published < len(tokens):
            rest = tokens[lease.published :]
            parent = lease.tip or self._root(lease.adapter)
            child = parent.children.get(int(rest[0]))
            if child is None and self._extend(lease, rest):
                return
            node = self._adopt(lease, child, rest) if child else self._grow(lease, parent, rest)
            if node is None:
                return
            self._advance(lease, node)

    def forget(self) -> None:
        """Drop everything that no lease holds."""
        for root in self._roots.values():
            for child in list(root.children.values()):
                self._drop(child)

    # -- inside

    def _leave_stem(self, lease: Lease) -> None:
        stem, lease.stem = lease.stem, None
        while stem is not None:
            stem.users -= 1
            if stem.users:
                return
            self._stems -= stem.length
            stem = stem.parent

    def _take_sequence(self) -> int | None:
        if not self._free:
            victim = self._coldest()
            if victim is None:
                return None
            self._swap_out(victim)
        return self._free.pop()

    def _advance(self, lease: Lease, node: Node) -> None:
        node.pins += 1
        node.used = self._clock
        lease.tip, lease.published = node, node.end

    def _root(self, adapter: str) -> Node:
        root = self._roots.get(adapter)
        if root is None:
            root = self._roots[adapter] = Node(as_tokens(()), 0, None)
        return root

    def _nodes(self) -> Iterator[Node]:
        stack = [child for root in self._roots.values() for child in root.children.values()]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(node.children.values())

    def _walk(self, tokens: Tokens, adapter: str) -> Iterator[tuple[Node, int]]:
        """The nodes along `tokens`, each with how many of its tokens match; the last may match in part."""
        if not self.shares:
            return
        node, position = self._root(adapter), 0
        while position < len(tokens):
            child = node.children.get(int(tokens[position]))
            if child is None:
                return
            matched = common_prefix(child.tokens, tokens[position:])
            yield child, matched
            if matched < len(child.tokens):
                return
            node, position = child, child.end

    def _coldest(self) -> Node | None:
        """The resident, unpinned node used longest ago; of equals the one farthest from the root."""
        idle = [node for node in self._nodes() if node.sequence >= 0 and not node.pins]
        return min(idle, key=lambda node: (node.used, -node.start), default=None)

    def _swap_out(self, node: Node) -> None:
        try:
            node.key = self.swap.put(self._cells.save(node.sequence, self.swap.buffers))
        except (EngineError, MemoryError):  # its tokens are read again
            node.key = 0
        self._leave_cells(node)
        self._sweep()

    def _sweep(self) -> None:
        """Take leaves whose state is lost out of the tree, once there are many nodes."""
        nodes = list(self._nodes())
        if len(nodes) < self._many:
            return
        for node in nodes:
            if node.sequence < 0 and not node.children and not node.pins and not self.swap.has(node.key):
                self._drop(node)
        self._many = 2 * sum(1 for _ in self._nodes()) + _MANY_NODES

    def _leave_cells(self, node: Node) -> None:
        self._cells.remove(node.sequence)
        self._free.append(node.sequence)
        self._resident -= len(node.tokens)
        node.sequence = -1

    def _bring_in(self, node: Node) -> bool:
        """Have a node's state in cells; False if it is lost or there is no room."""
        if node.sequence >= 0:
            return True
        if not node.key:
            return False
        node.pins += 1
        try:
            if not self.make_room(len(node.tokens)):
                return False
            sequence = self._take_sequence()
        finally:
            node.pins -= 1
        if sequence is None:
            return False
        state = self.swap.take(node.key)
        node.key = 0
        loaded = state is not None and self._cells.load(sequence, state)
        if state is not None:
            self.swap.buffers.give(state)
        if not loaded:
            self._cells.remove(sequence)
            self._free.append(sequence)
            return False
        node.sequence = sequence
        self._resident += len(node.tokens)
        return True

    def _split(self, node: Node, at: int) -> bool:
        """Cut a resident node after `at` tokens; the lower part becomes its child. False if no sequence id is left."""
        node.pins += 1
        sequence = self._take_sequence()
        node.pins -= 1
        if sequence is None:
            return False
        lower = Node(node.tokens[at:], node.start + at, node, sequence, 0, node.pins, node.used, node.children)
        for child in lower.children.values():
            child.parent = lower
        for lease in self._leases:
            if lease.tip is node:
                lease.tip = lower
        self._cells.copy(node.sequence, sequence, lower.start, lower.end)
        self._cells.remove(node.sequence, lower.start, lower.end)
        node.tokens = node.tokens[:at]
        node.children = {int(lower.tokens[0]): lower}
        return True

    def _adopt(self, lease: Lease, child: Node, rest: Tokens) -> Node | None:
        """Go on along a node that is there already: take its cells, or give it ours if it has none."""
        matched = common_prefix(child.tokens, rest)
        if matched < len(child.tokens) and not (self._bring_in(child) and self._split(child, matched)):
            return None
        if child.sequence < 0:
            return child if self._fill(lease, child) else None
        self._cells.remove(lease.sequence, child.start, child.end)
        self._cells.copy(child.sequence, lease.sequence, child.start, child.end)
        return child

    def _extend(self, lease: Lease, rest: Tokens) -> bool:
        """Let the last node of a path grow, if nobody else uses it and nothing hangs on it: sequence ids are few."""
        tip = lease.tip
        if tip is None or tip.children or tip.pins > 1 or tip.sequence < 0:
            return False
        self._cells.copy(lease.sequence, tip.sequence, lease.published, lease.published + len(rest))
        tip.tokens = np.concatenate((tip.tokens, rest))
        tip.used = self._clock
        self._resident += len(rest)
        lease.published = tip.end
        return True

    def _grow(self, lease: Lease, parent: Node, rest: Tokens) -> Node | None:
        node = Node(rest.copy(), lease.published, parent)
        if not self._fill(lease, node):
            return None
        parent.children[int(rest[0])] = node
        return node

    def _fill(self, lease: Lease, node: Node) -> bool:
        """Give a node the state that the lease's sequence has for its tokens."""
        node.pins += 1
        sequence = self._take_sequence()
        node.pins -= 1
        if sequence is None:
            return False
        self._cells.copy(lease.sequence, sequence, node.start, node.end)
        self.swap.drop(node.key)
        node.key = 0
        node.sequence = sequence
        self._resident += len(node.tokens)
        return True

    def _drop(self, node: Node) -> None:
        for child in list(node.children.values()):
            self._drop(child)
        if node.pins or node.children:
            return
        if node.sequence >= 0:
            self._leave_cells(node)
        self.swap.drop(node.key)
        if node.parent is not None:
            del node.parent.children[int(node.tokens[0])]
