"""Taking fields out of texts: all fields in their order, as they stand there, or null."""

from __future__ import annotations

import json
import re
from functools import cache
from random import Random
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer

from llmos.learn.data.example import Example, Split
from llmos.learn.data.fields import extract_sheet
from llmos.messages import Grammar

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_LINE = re.compile(r"- (?P<name>.+?) \((?P<kind>number|text|one of (?P<choices>.+?))\)(?:: .+)?")
_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


@cache
def made(split: Split, count: int = 150) -> list[tuple[Example, ...]]:
    random = Random(6)
    return [tuple(extract_sheet(random, split)) for _ in range(count)]


def schema(example: Example) -> dict[str, re.Match[str]]:
    found = (_LINE.fullmatch(line) for line in example.context.messages[0].content.split("\n")[1:])
    return {one["name"]: one for one in found if one}


def numbers(text: str) -> set[float]:
    words = {float(number) for number, word in enumerate(_WORDS) if re.search(rf"\b{word}\b", text)}
    return words | {float(one.replace(",", "")) for one in re.findall(r"\d[\d,]*(?:\.\d+)?", text)}


@pytest.mark.parametrize("split", SPLITS)
def test_the_same_seed_makes_the_same_sheets(split: Split) -> None:
    assert made(split, 40) == made.__wrapped__(split, 40)


@pytest.mark.parametrize("split", SPLITS)
def test_a_sheet_is_six_to_nine_texts_for_one_schema(split: Split) -> None:
    for sheet in made(split):
        assert 6 <= len(sheet) <= 9
        assert len({one.context.messages[0] for one in sheet}) == 1
        assert 2 <= len(schema(sheet[0])) <= 6


@pytest.mark.parametrize("split", SPLITS)
def test_answers_have_all_fields_in_order_with_values_that_stand_in_the_text(split: Split) -> None:
    for sheet in made(split):
        for one in sheet:
            fields, text = schema(one), one.context.messages[1].content
            values: dict[str, Any] = json.loads(one.answer)
            assert list(values) == list(fields)
            for name, said in values.items():
                if said is None:
                    continue
                if fields[name]["kind"] == "number":
                    assert isinstance(said, int | float)
                    assert said in numbers(text), (said, text)
                elif fields[name]["choices"]:
                    assert said in fields[name]["choices"].split(", ")
                else:
                    assert said in text


def test_the_kernel_lets_the_model_write_every_answer() -> None:
    tokenizer = LLTokenizer("byte")
    for one in (one for split in SPLITS for sheet in made(split, 12) for one in sheet):
        assert isinstance(one.within, Grammar)
        matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_lark(one.within.lark))
        assert matcher.consume_tokens(list(one.answer.encode())), one.answer
        assert matcher.is_accepting()


@pytest.mark.parametrize("split", SPLITS)
def test_about_a_fifth_of_the_fields_are_null(split: Split) -> None:
    values = [said for sheet in made(split) for one in sheet for said in json.loads(one.answer).values()]
    assert 0.1 <= values.count(None) / len(values) <= 0.25
    kinds = [one.kind for sheet in made(split) for one in sheet]
    assert set(kinds) == {"complete", "missing"}


def test_schemas_differ_in_names_kinds_and_descriptions() -> None:
    heads = {sheet[0].context.messages[0].content for sheet in made("train")}
    assert len(heads) >= 140
    joined = "\n".join(sorted(heads))
    assert all(word in joined for word in ("(text)", "(number)", "(one of ", "(text): ", "(number): "))
