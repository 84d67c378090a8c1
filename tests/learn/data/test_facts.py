"""World knowledge: what is asked, and which of it the base model knows."""

from __future__ import annotations

from random import Random

import pytest

from llmos.agents import jobs
from llmos.agents.prompts import prompts
from llmos.learn.data import facts
from llmos.learn.data.example import Example, Split
from llmos.learn.data.facts import NO, YES, Fact, divided, everyday, fact_sheet, know_sheet, labels, right, unknowable
from llmos.learn.data.noise import noisy

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def made(split: Split, count: int = 300) -> list[Example]:
    random = Random(5)
    return [one for _ in range(count) for maker in (know_sheet, fact_sheet) for one in maker(random, split)]


def test_there_are_many_questions_and_each_has_a_label() -> None:
    found = facts.facts()
    assert len(found) >= 900
    assert len({fact.key for fact in found}) == len(found)
    assert {fact.key for fact in found} <= set(labels())
    assert set(labels().values()) <= {0, 1, 2}


def test_every_question_can_be_asked_in_two_ways_and_does_not_give_its_answer_away() -> None:
    for fact in facts.facts():
        assert len(set(fact.asked)) >= 2, fact.key
        assert fact.answers
        assert all(fact.answers)
        assert not any(right(fact, ask) for ask in fact.asked[:2]), fact.key


def test_no_slot_is_left_open() -> None:
    for fact in facts.facts():
        assert not any("{" in text for text in (*fact.asked, *fact.held, *fact.said)), fact.key


@pytest.mark.parametrize("split", SPLITS)
def test_sheets_begin_alike_and_are_the_same_for_the_same_seed(split: Split) -> None:
    for maker in (know_sheet, fact_sheet):
        sheet = maker(Random(3), split)
        assert sheet == maker(Random(3), split)
        assert 12 <= len(sheet) <= 20
        assert len({one.context.messages[0] for one in sheet}) == 1


@pytest.mark.parametrize("split", SPLITS)
def test_half_of_the_questions_are_known(split: Split) -> None:
    known = [one.answer for _ in range(200) for one in know_sheet(Random(_), split)]
    assert set(known) == {YES, NO}
    assert 0.45 <= known.count(YES) / len(known) <= 0.56


def test_a_question_is_answered_or_left_open_as_its_label_says() -> None:
    for one in made("train"):
        sure = one.kind in ("known", "everyday")
        if one.job == "know":
            assert one.choices == (YES, NO)
            assert one.answer == (YES if sure else NO)
            assert one.context.messages[0] == jobs.know("x").messages[0]
        else:
            assert one.context.messages[0].content == prompts().chat
            assert one.answer.startswith("I am not sure") is not sure


def test_splits_share_no_subject_and_no_question() -> None:
    groups = {split: {fact.group for times in (0, 1, 2) for fact in divided(split, times)} for split in SPLITS}
    asked = {split: {ask for ask, _ in everyday(split)} for split in SPLITS}
    open_ = {split: {unknowable(Random(seed), split) for seed in range(300)} for split in SPLITS}
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        for pools in (groups, asked, open_):
            assert not pools[one] & pools[other]  # type: ignore[index]


def test_families_are_asked_in_other_words_in_validation_and_test() -> None:
    for fact in facts.facts():
        if not fact.key.startswith("loose/"):
            assert not set(fact.asked) & set(fact.held), fact.key


def test_an_answer_counts_as_a_word_in_the_first_sentence() -> None:
    fact = Fact("k", "g", ("?", "??"), ("?",), ("eight", "8"), ("It is eight.",), common=False)
    assert right(fact, "An octopus has Eight arms.")
    assert right(fact, "It has 8. Or nine?")
    assert not right(fact, "There are weights.")
    assert not right(fact, "One. Eight.")


def test_the_case_of_a_symbol_counts() -> None:
    fact = Fact("k", "g", ("?", "??"), ("?",), ("Au",), ("It is Au.",), common=False)
    assert right(fact, "The symbol is Au.")
    assert not right(fact, "au revoir")


def test_noise_leaves_questions_recognizable() -> None:
    random = Random(1)
    asked = {fact.asked[0] for fact in facts.facts()}
    typed = [noisy(random, ask) for ask in sorted(asked)]
    assert all(typed)
