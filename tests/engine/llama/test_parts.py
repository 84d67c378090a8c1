"""The engine's small parts, without a model: text, drafts, pace, swap."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.engine.llama.buffers import Buffers
from llmos.engine.llama.draft import LENGTH, Drafter
from llmos.engine.llama.pace import Pace
from llmos.engine.llama.swap import Swap, read_checked, write_checked
from llmos.engine.llama.text import TextStream
from llmos.engine.threads import in_background


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


@given(st.text(), st.lists(st.integers(0, 200)))
def test_text_is_the_same_however_its_bytes_are_cut(text: str, cuts: list[int]) -> None:
    data = text.encode("utf-8", "replace")
    stream = TextStream()
    assert "".join(map(stream.feed, pieces(data, cuts))) + stream.end() == data.decode()


@given(st.text("abc"), st.lists(st.integers(0, 50)), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3))
def test_stop_strings_work_however_the_text_is_cut(text: str, cuts: list[int], stop: list[str]) -> None:
    stream = TextStream(tuple(stop))
    given = ""
    for piece in pieces(text.encode(), cuts):
        given += stream.feed(piece)
        if stream.stopped:
            break
    places = [text.find(one) for one in stop if one in text]
    assert stream.stopped == bool(places)
    if not places:
        assert given + stream.end() == text
    else:
        assert text.startswith(given)
        assert not any(one in given for one in stop)


def test_invalid_bytes_become_replacement_characters() -> None:
    stream = TextStream()
    assert stream.feed(b"a\xff\xe6\x97") + stream.end() == "a\ufffd\ufffd"


def test_a_run_seen_before_is_drafted() -> None:
    drafter = Drafter()
    assert drafter.propose([1, 2, 3, 4, 5, 6, 9, 1, 2, 3]) == [4, 5, 6, 9, 1, 2, 3]


def test_what_was_never_seen_is_not_drafted() -> None:
    assert Drafter().propose([1, 2, 3, 4, 5, 6]) == []


def test_drafting_falls_silent_while_guesses_fail_and_comes_back() -> None:
    drafter = Drafter()
    tokens = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 2, 3]
    rounds = 0
    while drafter.propose(tokens):
        drafter.learn(len(tokens), LENGTH, 0)
        rounds += 1
        assert rounds < 20
    assert rounds >= 2
    assert drafter.propose(tokens + [0] * 200 + [1, 2, 3])


def test_a_step_far_slower_than_its_like_makes_the_next_ones_run_alone() -> None:
    pace = Pace(4)
    for step in range(10):
        pace.learn(1, 0, 0.01, step * 0.01)
    pace.learn(1, 0, 0.5, 1.0)
    assert pace.plan(1.0) == 1
    assert pace.plan(1.6) == 4


def test_a_machine_that_stays_busy_is_probed_ever_more_rarely() -> None:
    pace, now, probes = Pace(2), 0.0, 0
    for _ in range(10):
        pace.learn(1, 0, 0.01, now)
    while now < 30.0:
        threads = pace.plan(now)
        seconds = 0.3 if threads == 2 else 0.02
        probes += threads == 2
        now += seconds
        pace.learn(1, 0, seconds, now)
    assert 5 <= probes <= 12


def test_steps_that_simply_take_long_keep_all_threads() -> None:
    pace, now = Pace(2), 0.0
    for _ in range(10):
        pace.learn(1, 0, 0.01, now)
    alone = 0
    for _ in range(200):
        threads = pace.plan(now)
        alone += threads == 1
        now += 0.1 if threads == 2 else 0.19
        pace.learn(1, 0, 0.1 if threads == 2 else 0.19, now)
    assert alone <= 3


def test_the_prompt_rate_is_learned() -> None:
    pace = Pace(1)
    for _ in range(30):
        pace.learn(128, 128, 0.1, 0.0)
    assert pace.prompt_rate == pytest.approx(1280, rel=0.01)


def state(size: int, value: int = 1) -> npt.NDArray[np.uint8]:
    return np.full(size, value, dtype=np.uint8)


def test_swap_gives_back_what_was_put_from_ram_and_from_disk(tmp_path: Path) -> None:
    swap = Swap(tmp_path, ram_bytes=100, disk_bytes=1000)
    keys = [swap.put(state(60, number)) for number in range(4)]
    for number, key in enumerate(keys):
        taken = swap.take(key)
        assert taken is not None
        assert taken.tolist() == [number] * 60
        assert swap.take(key) is None
    assert (swap.ram_bytes, swap.disk_bytes) == (0, 0)
    swap.close()
    assert not list(tmp_path.iterdir())


def test_swap_keeps_its_budgets_and_loses_the_oldest(tmp_path: Path) -> None:
    swap = Swap(tmp_path, ram_bytes=100, disk_bytes=120)
    keys = [swap.put(state(60, number)) for number in range(6)]
    swap.flush()
    assert swap.ram_bytes <= 100
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.kv")) <= 120 + 2 * 64
    assert [swap.take(key) is None for key in keys] == [True, True, True, False, False, False]
    swap.close()


def test_swap_without_a_folder_that_can_be_made_only_loses(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    swap = Swap(tmp_path / "file", ram_bytes=10, disk_bytes=1000)
    assert swap.take(swap.put(state(60))) is None
    swap.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_loses_state_and_nothing_else(tmp_path: Path) -> None:
    swap = Swap(tmp_path, ram_bytes=10, disk_bytes=1000)
    (next(tmp_path.iterdir()) / "1.kv").symlink_to("/dev/full")
    key = swap.put(state(60))
    swap.flush()
    assert swap.take(key) is None
    swap.close()


def test_folders_of_processes_that_are_gone_are_removed(tmp_path: Path) -> None:
    (tmp_path / "999999999-old").mkdir()
    (tmp_path / f"{os.getpid()}-mine").mkdir()
    swap = Swap(tmp_path, ram_bytes=0, disk_bytes=10)
    assert not (tmp_path / "999999999-old").exists()
    assert (tmp_path / f"{os.getpid()}-mine").exists()
    swap.close()


@given(st.binary(min_size=1, max_size=200), st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_or_cut_file_reads_as_lost(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, at: int, by: int
) -> None:
    path = tmp_path_factory.mktemp("swap") / "one.kv"
    write_checked(path, np.frombuffer(data, dtype=np.uint8))
    whole = path.read_bytes()
    read = read_checked(path)
    assert read is not None
    assert read.tobytes() == data
    broken = bytearray(whole)
    broken[at % len(whole)] ^= by
    path.write_bytes(broken)
    assert read_checked(path) is None
    path.write_bytes(whole[: at % len(whole)])
    assert read_checked(path) is None


async def test_background_work_gives_its_result_and_its_errors() -> None:
    assert await in_background(sum, [1, 2, 3]) == 6
    with pytest.raises(ZeroDivisionError):
        await in_background(lambda: 1 / 0)


def test_a_block_that_was_given_back_serves_the_next_state_of_about_its_size() -> None:
    buffers = Buffers(limit=8 << 20)
    first = buffers.take(2 << 20)
    address = first.ctypes.data
    buffers.give(first)
    assert buffers.take(1 << 20).ctypes.data != address, "half of it would be wasted"
    second = buffers.take((2 << 20) - 10)
    assert (second.ctypes.data, second.size) == (address, (2 << 20) - 10)
    assert buffers.take(2 << 20).ctypes.data != address, "it is in use"


def test_blocks_kept_for_later_are_bounded_and_small_ones_are_not_kept() -> None:
    buffers = Buffers(limit=4 << 20)
    blocks = [buffers.take(2 << 20) for _ in range(4)]
    for block in blocks:
        buffers.give(block)
    buffers.give(buffers.take(100))
    again = {buffers.take(2 << 20).ctypes.data for _ in range(4)}
    assert len(again & {block.ctypes.data for block in blocks[2:]}) == 2
    assert buffers.kept_bytes == 0


def test_a_state_that_comes_back_from_disk_twice_takes_the_same_memory(tmp_path: Path) -> None:
    swap = Swap(tmp_path, ram_bytes=0, disk_bytes=8 << 20)
    state = swap.buffers.take(2 << 20)
    state[:] = 7
    address = state.ctypes.data
    for _ in range(2):
        key = swap.put(state)
        swap.flush()
        back = swap.take(key)
        assert back is not None
        assert (back == 7).all()
        assert back.ctypes.data == address
        state = back
    swap.close()
