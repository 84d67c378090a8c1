"""Plain talk: messages, replies, and wishes about words whose answers are computed."""

from __future__ import annotations

import re
from random import Random

import pytest

from llmos.agents.prompts import prompts
from llmos.learn.data import pools, talk, wording
from llmos.learn.data.example import Example, Split
from llmos.learn.data.talk import talk_sheet

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def made(split: Split, sheets: int = 300) -> list[Example]:
    random = Random(11)
    return [one for _ in range(sheets) for one in talk_sheet(random, split)]


@pytest.mark.parametrize("split", SPLITS)
def test_sheets_begin_alike_and_are_the_same_for_the_same_seed(split: Split) -> None:
    sheet = talk_sheet(Random(3), split)
    assert sheet == talk_sheet(Random(3), split)
    assert 6 <= len(sheet) <= 12
    assert {one.context.messages[0].content for one in sheet} == {prompts().chat}


@pytest.mark.parametrize("split", SPLITS)
def test_turns_alternate_and_end_with_the_user(split: Split) -> None:
    for one in made(split):
        roles = [message.role for message in one.context.messages[1:]]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
        assert one.answer.strip() == one.answer
        assert one.answer
        assert all(message.content.strip() for message in one.context.messages)


@pytest.mark.parametrize("split", SPLITS)
def test_no_slot_is_left_open(split: Split) -> None:
    for one in made(split):
        for text in (one.answer, *(message.content for message in one.context.messages)):
            assert not re.search(r"\{\w*\}", text), text


def test_there_is_much_of_it() -> None:
    assert len({(one.context.messages[-1].content, one.answer) for one in made("train")}) >= 1200
    assert len({(one.context.messages[-1].content, one.answer) for one in made("test")}) >= 100


def test_splits_share_no_message() -> None:
    said = {split: {one.context.messages[-1].content.lower() for one in made(split, 400)} for split in SPLITS}
    said = {split: {text for text in texts if len(text.split()) > 2} for split, texts in said.items()}
    assert not said["train"] & said["test"]
    assert not said["train"] & said["validation"]


def test_most_replies_are_short() -> None:
    lengths = [len(one.answer.split()) for one in made("train")]
    assert sum(length <= 45 for length in lengths) >= 0.98 * len(lengths)
    assert max(lengths) <= 60


def test_a_question_on_the_talk_is_answered_from_it() -> None:
    random = Random(2)
    for _ in range(300):
        before, _, say = talk.earlier(random, "train")
        if "memory" in say:
            continue
        told = before[0][0].lower().rstrip(".")
        new = [word for word in re.findall(r"\w+", say.lower()) if word not in _COMMON]
        assert any(word in told for word in new), (before, say)


_COMMON = ("you", "your", "is", "are", "yes", "i", "that", "the", "a", "in", "on", "of", "have", "has", "was", "said")


@pytest.mark.parametrize("split", SPLITS)
def test_wishes_about_words_are_fulfilled(split: Split) -> None:
    random = Random(4)
    seen: set[str] = set()
    for _ in range(1500):
        wish = wording.wish(random, split)
        seen.add(wish.kind)
        match wish.kind:
            case "upper":
                assert wish.say == wish.say.upper()
                assert wish.say.lower() in wish.ask.lower()
            case "sort":
                items = wish.say.split(", ")
                assert items == sorted(items, key=str.lower)
                assert all(item in wish.ask for item in items)
            case "largest":
                numbers = [int(one) for one in re.findall(r"\d+", wish.ask)]
                assert wish.say == f"{max(numbers)} is the largest."
            case "remove":
                gone = [one for one in re.findall(r"[\w ]+", wish.say) if one.strip() not in wish.ask]
                assert not gone
            case "repeat":
                assert wish.say in wish.ask
            case "bullets" | "numbered":
                assert len(wish.say.split("\n")) >= 3
            case _:
                assert wish.say != wish.ask
    assert seen == set(wording.KINDS)


def test_sentences_are_inflected_rightly() -> None:
    random = Random(1)
    said = {(wish.ask, wish.say) for _ in range(4000) if (wish := wording.wish(random, "train")).kind in _TENSES}
    assert said
    assert not [say for _, say in said if re.search(r"\b(does|do) not \w+[^s]s\b ", say)]
    assert not [say for _, say in said if re.match(r"(I|We|They|You) does", say)]
    assert not [say for _, say in said if re.match(r"(She|He|My brother) do\b", say)]
    assert not [say for _, say in said if "Does i " in say or "Do i " in say]


_TENSES = ("past", "future", "negative", "question")


def test_things_are_dealt_out_without_loss() -> None:
    pool = [str(number) for number in range(25)]
    dealt = [pools.dealt(pool, split, "salt") for split in SPLITS]
    assert sorted(one for part in dealt for one in part) == sorted(pool)
    assert [len(part) for part in dealt] == [19, 2, 4]
    assert all(pools.dealt(pool[:3], split) for split in SPLITS)


def test_slots_of_one_name_get_different_values() -> None:
    for split in SPLITS:
        for seed in range(50):
            values = pools.drawn("{name} {name2} {day} {day2} {name}", talk.slots(), Random(seed), split)
            assert len(set(values.values())) == 4
