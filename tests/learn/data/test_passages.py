"""Reading invented documents: answers stand where they are said to, and splits share nothing."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from random import Random

import pytest
from llguidance import LLMatcher, LLTokenizer

from llmos.agents import jobs
from llmos.learn.data import passages
from llmos.learn.data.documents import python
from llmos.learn.data.documents.topics import all_topics, document, topics
from llmos.learn.data.documents.values import pool, shares, value
from llmos.learn.data.example import Example, Split
from llmos.learn.data.passages import passage_sheet
from llmos.learn.data.squad import stands
from llmos.messages import Grammar

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
CAPITAL = (
    "person",
    "city",
    "company",
    "street",
    "date",
    "given",
    "family",
    "brands",
    "day",
    "month",
    "pets",
    "streets",
)
NOTES = tomllib.loads(Path(passages.__file__).with_suffix(".toml").read_text(encoding="utf-8"))["notes"]


@cache
def made(split: Split, count: int = 300) -> list[tuple[Example, ...]]:
    random = Random(8)
    return [tuple(passage_sheet(random, split)) for _ in range(count)]


def shown(example: Example) -> list[str]:
    text = example.context.messages[1].content.rpartition("\n\nQuestion: ")[0]
    return [re.sub(r"^\[\d\] ", "", line) for line in text.split("\n")]


@pytest.mark.parametrize("split", SPLITS)
def test_the_same_seed_makes_the_same_sheets(split: Split) -> None:
    assert made(split, 40) == made.__wrapped__(split, 40)


@pytest.mark.parametrize("split", SPLITS)
def test_a_sheet_is_questions_about_the_same_passages(split: Split) -> None:
    for sheet in made(split):
        assert 4 <= len(sheet) <= 16
        assert len({tuple(shown(one)) for one in sheet}) == 1
        assert 1 <= len(shown(sheet[0])) <= 6
        assert len({one.context.messages[1].content for one in sheet}) == len(sheet)


@pytest.mark.parametrize("split", SPLITS)
def test_answers_stand_in_the_passage_they_name(split: Split) -> None:
    for sheet in made(split):
        for one in sheet:
            assert one.job == "read"
            if one.answer != jobs.NOT_FOUND:
                answer, _, number = one.answer.removesuffix("]").rpartition(" [")
                assert answer in shown(one)[int(number) - 1]


def test_the_kernel_lets_the_model_write_every_answer_that_is_found() -> None:
    tokenizer = LLTokenizer("byte")
    for one in (one for split in SPLITS for sheet in made(split, 12) for one in sheet):
        assert isinstance(one.within, Grammar)
        if one.answer == jobs.NOT_FOUND:
            continue
        matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_lark(one.within.lark))
        assert matcher.consume_tokens(list(one.answer.encode())), one.answer
        assert matcher.is_accepting()


@pytest.mark.parametrize("split", SPLITS)
def test_three_of_ten_are_not_found(split: Split) -> None:
    examples = [one for sheet in made(split) for one in sheet]
    assert 0.25 <= sum(one.answer == jobs.NOT_FOUND for one in examples) / len(examples) <= 0.35


@pytest.mark.parametrize("split", SPLITS)
def test_no_slot_is_left_open(split: Split) -> None:
    kept = {text for one in SPLITS for text in (*(entry.text for entry in python.entries(one)), *python.passages(one))}
    for sheet in made(split):
        for text in shown(sheet[0]):
            assert text in kept or "{" not in text
        for one in sheet:
            assert "{" not in one.context.messages[1].content.rpartition("Question: ")[2]


def test_topics_of_the_splits_share_no_sentence() -> None:
    said = {
        split: {
            sentence
            for topic in topics(split)
            for fact in topic.facts.values()
            for sentence in (*fact.says, *fact.asks, *(one for some in fact.choices.values() for one in some))
        }
        | {joint for topic in topics(split) for joint in topic.joints}
        for split in SPLITS
    }
    assert not said["train"] & (said["validation"] | said["test"])
    assert not said["validation"] & said["test"]


def test_each_split_has_topics_and_each_topic_has_facts_to_ask_for() -> None:
    assert sum(len(topics(split)) for split in SPLITS) == len(all_topics()) >= 60
    for split in SPLITS:
        assert len(topics(split)) >= 5
        for topic in topics(split):
            assert sum(bool(fact.asks) for fact in topic.facts.values()) >= 4, topic.name


def test_every_topic_is_well_formed() -> None:
    for topic in all_topics():
        assert all("{who}" in one for one in (*topic.titles, *topic.of)), topic.name
        assert not any("{" in one for one in topic.the), topic.name
        for joint in topic.joints:
            assert set(re.findall(r"\{(\w+)\}", joint)) <= {*topic.facts, "who"}, joint
        for fact in topic.facts.values():
            assert fact.fields
            assert bool(fact.choices) != bool(fact.says)
            assert all("{v}" in one for one in fact.says), fact.name
            assert all("{of}" in one or "{who}" in one for one in fact.asks), fact.name
            lower = not fact.kind.startswith(CAPITAL)
            assert not any(one.startswith("{v}") and lower for one in fact.says), fact.name


def test_what_is_said_in_a_document_stands_there() -> None:
    random = Random(4)
    for split in SPLITS:
        for topic in topics(split):
            for _ in range(5):
                who = topic.who(random, split)
                text = document(random, split, topic, who, list(topic.facts.values()))
                assert text.values.keys() == topic.facts.keys()
                assert who in text.text
                for name, said in text.values.items():
                    assert topic.facts[name].choices or said.text in text.text


def test_pools_and_notes_are_divided_among_the_splits() -> None:
    for name in ("given", "city", "brands", "organs", "rooms", "sports"):
        parts = [set(pool(name, split)) for split in SPLITS]
        assert all(parts)
        assert not parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2]
    parts = [set(shares(NOTES, split)) for split in SPLITS]
    assert sum(map(len, parts)) == len(NOTES)
    assert min(map(len, parts)) >= 10


def test_no_two_notes_share_a_sentence() -> None:
    sentences = [one.casefold() for note in NOTES.values() for one in (*note["says"], *note["asks"])]
    assert len(sentences) == len(set(sentences))


def test_numbers_are_what_the_words_say() -> None:
    random = Random(1)
    assert {value(random, "train", "count 3 3").number for _ in range(9)} == {3}
    for _ in range(200):
        said = value(random, "train", "money 400 2500")
        assert said.number == float(re.sub(r"[^\d.]", "", said.text))


def test_articles_answer_what_they_are_said_to() -> None:
    essays = tomllib.loads((Path(passages.__file__).parent / "documents/essays.toml").read_text(encoding="utf-8"))[
        "essays"
    ]
    assert min(len(shares(essays, split)) for split in SPLITS) >= 4
    for name, essay in essays.items():
        assert len(essay["asks"]) >= 8
        assert len(essay["missing"]) >= 4
        assert all(stands(answer, essay["text"]) for _, answer in essay["asks"]), name


def test_functions_of_the_library_say_what_they_return() -> None:
    for split in SPLITS:
        assert len(python.entries(split)) >= 10
        for entry in python.entries(split):
            assert entry.answer in entry.text
