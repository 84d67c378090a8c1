"""Conversations, their titles and their summaries."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from random import Random

import pytest

from llmos.agents import jobs
from llmos.learn.data import conversations
from llmos.learn.data.conversations import summary_sheet, title_sheet
from llmos.learn.data.example import SheetMaker, Split

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
TALKS = tomllib.loads(Path(conversations.__file__).with_suffix(".toml").read_text("utf-8"))["talk"]
SLOT = re.compile(r"\{(\w+)\}")


def slots_of(text: str) -> set[str]:
    return set(SLOT.findall(text))


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("maker", [title_sheet, summary_sheet])
def test_sheets_begin_alike_and_are_the_same_for_the_same_seed(maker: SheetMaker, split: Split) -> None:
    sheet = maker(Random(3), split)
    assert sheet == maker(Random(3), split)
    assert len({one.context.messages[0] for one in sheet}) == 1
    assert len(sheet) >= 4


@pytest.mark.parametrize("split", SPLITS)
def test_titles_have_two_to_six_words(split: Split) -> None:
    random = Random(1)
    for _ in range(200):
        for one in title_sheet(random, split):
            assert one.context.messages[0] == jobs.title(()).messages[0]
            assert 2 <= len(one.answer.split()) <= 6, one.answer
            assert not one.answer.endswith(".")


@pytest.mark.parametrize("split", SPLITS)
def test_summaries_are_one_or_two_sentences_without_open_slots(split: Split) -> None:
    random = Random(1)
    for _ in range(200):
        for one in summary_sheet(random, split):
            assert one.context.messages[0] == jobs.summary(()).messages[0]
            assert one.answer.endswith(".")
            assert len(re.findall(r"[.!?](?:\s|$)", re.sub(r"Mr\.|Dr\.", "", one.answer))) <= 2
            assert not SLOT.search(one.answer + one.context.messages[-1].content)


def test_what_a_title_or_summary_says_stands_in_every_wording_of_the_conversation() -> None:
    for talk in TALKS:
        said: set[str] = set()
        for line in talk["turns"].strip().split("\n"):
            ways = [slots_of(way) for way in line.partition(": ")[2].split(" // ")]
            said |= ways[0].intersection(*ways)
        assert slots_of(talk["title"] + talk["summary"]) <= said, talk["title"]


def test_there_are_many_subjects_and_splits_share_none() -> None:
    assert len(TALKS) >= 60
    random = Random(2)
    answers = {split: {one.answer for _ in range(100) for one in summary_sheet(random, split)} for split in SPLITS}
    assert not answers["train"] & answers["test"]
    assert not answers["train"] & answers["validation"]
