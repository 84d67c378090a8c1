"""Plain English as replay."""

from __future__ import annotations

from random import Random

import pytest

from llmos.learn.data.example import Example, Split
from llmos.learn.data.prose import LONGEST, SHORTEST, prose_sheet

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def made(split: Split) -> list[Example]:
    random = Random(7)
    return [one for _ in range(300) for one in prose_sheet(random, split)]


@pytest.mark.parametrize("split", SPLITS)
def test_chunks_are_raw_text_of_the_wanted_length(split: Split) -> None:
    assert prose_sheet(Random(3), split) == prose_sheet(Random(3), split)
    for one in made(split):
        assert one.context.text == ""
        assert not one.context.messages
        assert SHORTEST <= len(one.answer.split()) <= LONGEST


def test_chunks_are_sentences_and_not_code() -> None:
    for one in made("train"):
        assert one.answer[0].isupper()
        assert one.answer.rstrip()[-1] in ".!?"
        assert ">>>" not in one.answer
        assert "::" not in one.answer


def test_splits_share_no_chunk_and_training_has_many() -> None:
    texts = {split: {one.answer for one in made(split)} for split in SPLITS}
    assert not texts["train"] & texts["test"]
    assert not texts["train"] & texts["validation"]
    assert len(texts["train"]) >= 150
