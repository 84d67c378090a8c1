"""Sheets of choosing and filling in: right by construction, deterministic, with the shares that were asked for."""

from __future__ import annotations

import json
from collections import Counter
from random import Random
from typing import get_args

import pytest

from llmos.agents.jobs import ANSWER, ASK
from llmos.learn.data import calls
from llmos.learn.data.example import Example, SheetMaker, Split, split_of
from llmos.learn.data.schemas import builtin_tools, tools

SPLITS: tuple[Split, ...] = get_args(Split)
CHOOSERS: list[SheetMaker] = [calls.choose_sheet, calls.choose_seen, calls.choose_unseen, calls.choose_builtin]
FILLERS: list[SheetMaker] = [calls.fill_sheet, calls.fill_seen, calls.fill_unseen, calls.fill_builtin]
NAME = "__name__"


def made(maker: SheetMaker, split: Split, count: int, seed: int = 0) -> list[list[Example]]:
    random = Random(seed)
    return [list(maker(random, split)) for _ in range(count)]


def request(one: Example) -> str:
    return one.context.messages[-1].content


@pytest.mark.parametrize("maker", CHOOSERS + FILLERS, ids=lambda one: getattr(one, NAME))
def test_the_same_seed_makes_the_same_sheets(maker: SheetMaker) -> None:
    for split in SPLITS:
        assert made(maker, split, 5) == made(maker, split, 5)
        assert made(maker, split, 5) != made(maker, split, 5, seed=1)


@pytest.mark.parametrize("maker", CHOOSERS + FILLERS, ids=lambda one: getattr(one, NAME))
def test_a_sheet_shares_its_beginning(maker: SheetMaker) -> None:
    for split in SPLITS:
        for sheet in made(maker, split, 15):
            assert 6 <= len(sheet) <= 20
            assert len({one.context.messages[0] for one in sheet}) == 1
            assert len({request(one) for one in sheet}) == len(sheet)


@pytest.mark.parametrize("maker", CHOOSERS, ids=lambda one: getattr(one, NAME))
def test_the_answer_is_one_of_the_choices(maker: SheetMaker) -> None:
    for split in SPLITS:
        for sheet in made(maker, split, 20):
            for one in sheet:
                assert one.job == "choose"
                assert one.answer in one.choices
                assert one.choices[-2:] == (ANSWER, ASK)
                assert 3 <= len(one.choices) <= 14
                assert len(set(one.choices)) == len(one.choices)
                assert (one.kind == "none") == (one.answer == ANSWER)
                assert (one.kind == "ask") == (one.answer == ASK)
                assert all(f"- {name}(" in one.context.messages[0].content for name in one.choices[:-2])


@pytest.mark.parametrize("split", SPLITS)
def test_shares_of_cases(split: Split) -> None:
    sheets = made(calls.choose_sheet, split, 300)
    count = Counter(one.kind for sheet in sheets for one in sheet)
    total = count.total()
    assert 0.06 < count["none"] / total < 0.15
    assert 0.03 < count["ask"] / total < 0.08
    assert sum(any(one.kind == "near" for one in sheet) for sheet in sheets) > 100
    sizes = [len(sheet[0].choices) - 2 for sheet in sheets]
    assert (min(sizes), max(sizes)) == (1, 12)
    assert sorted(sizes)[150] >= 6


@pytest.mark.parametrize("maker", FILLERS, ids=lambda one: getattr(one, NAME))
def test_arguments_are_json_of_shown_parameters(maker: SheetMaker) -> None:
    for split in SPLITS:
        for sheet in made(maker, split, 20):
            for one in sheet:
                assert one.job == "fill"
                assert one.kind in ("plain", "extra", "computed")
                system = one.context.messages[0].content
                shown = [line[2:].split(" ")[0] for line in system.splitlines() if line.startswith("- ")]
                filled = list(json.loads(one.answer))
                assert filled == [name for name in shown if name in filled]


def test_requests_of_test_are_never_asked_in_training() -> None:
    seen = {request(one) for sheet in made(calls.choose_sheet, "train", 150) for one in sheet}
    assert not seen & {request(one) for sheet in made(calls.choose_seen, "test", 150) for one in sheet}


def test_unseen_tools_are_of_the_split() -> None:
    own = {name for one in tools("test") for name in (one.name, *one.also_named)}
    for sheet in made(calls.choose_unseen, "test", 60):
        assert set(sheet[0].choices[:-2]) <= own
    assert all(split_of(one.family) == "test" for one in tools("test"))


def test_tools_of_llmos_are_seen_as_they_are_and_under_other_names() -> None:
    real = {one.name for one in builtin_tools()}
    views = [set(sheet[0].choices[:-2]) for sheet in made(calls.choose_builtin, "train", 60)]
    assert 15 < sum(view <= real for view in views) < 55


def test_requests_vary() -> None:
    seen = [request(one) for sheet in made(calls.fill_sheet, "train", 300) for one in sheet]
    assert len(set(seen)) > 0.97 * len(seen)


@pytest.mark.parametrize("maker", [calls.call_seen, calls.call_unseen])
def test_a_whole_call_chooses_a_tool_and_fills_its_arguments(maker: SheetMaker) -> None:
    for seed in range(4):
        sheet = maker(Random(seed), "test")
        assert len(sheet) >= 2
        for chosen, filled in zip(sheet[::2], sheet[1::2], strict=True):
            assert (chosen.job, filled.job) == ("choose", "fill")
            assert filled.context.messages[0].content.startswith(f"Call {chosen.answer}:")
            assert filled.context.messages[-1] == chosen.context.messages[-1]
            assert chosen.kind == filled.kind
