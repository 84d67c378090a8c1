"""The scheduler under a virtual clock, over many seeds: whatever agents do and whenever it is cut, the rules hold.

`TEST_SEEDS=FROM:TO` chooses the seeds, `TEST_SEEDS=1234` has one again; by default the first 300, with `TEST_FULL=1`
the first 10,000.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.kernel.simulation import simulate

_SHARES = 10
_USUAL = "0:10000" if os.environ.get("TEST_FULL") else "0:300"


def seeds() -> range:
    """The seeds that were asked for."""
    first, _, last = os.environ.get("TEST_SEEDS", _USUAL).partition(":")
    return range(int(first), int(last) if last else int(first) + 1)


def simulated(seed: int, folder: Path) -> Counter[str]:
    """What one seed came to; an error says how to have it again."""
    folder.mkdir()
    try:
        seen = simulate(seed, folder)
    except BaseException as error:
        error.add_note(f"Have it again with TEST_SEEDS={seed}.")
        print(f"TEST_SEEDS={seed}")
        raise
    shutil.rmtree(folder)
    return seen


@pytest.mark.parametrize("share", range(_SHARES))
def test_every_rule_holds_for_every_seed(tmp_path: Path, share: int) -> None:
    seen: Counter[str] = Counter()
    some = seeds()[share::_SHARES]
    for seed in some:
        seen += simulated(seed, tmp_path / f"{seed}")
    if len(some) >= 30:
        assert min(seen["cut"], seen["waited"], seen["result"], seen["calls"] // len(some)) > 0, f"too little: {seen}"


def test_a_seed_comes_to_the_same_each_time(tmp_path: Path) -> None:
    for seed in range(20):
        assert simulated(seed, tmp_path / "once") == simulated(seed, tmp_path / "again")
