"""Examples of choosing a control: names as the operator gives them, one meant by each instruction."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from functools import cache
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

import pytest

from llmos.agents.operator.hands import Move
from llmos.agents.operator.page import Part
from llmos.learn.data import pages
from llmos.learn.data.example import Example, Split
from llmos.learn.data.pages import browse_sheet

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SHEETS = 150


@cache
def examples(split: Split, seed: int = 3) -> tuple[Example, ...]:
    random = Random(seed)
    return tuple(one for _ in range(SHEETS) for one in browse_sheet(random, split))


def instruction(example: Example) -> str:
    return example.context.messages[-1].content.rpartition("\n\nInstruction: ")[2]


def title(example: Example) -> str:
    return example.context.messages[-1].content.partition("\n")[0]


def listed() -> list[dict[str, Any]]:
    data = tomllib.loads(Path(pages.__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = data["page"]
    return found


def test_the_same_seed_makes_the_same_examples() -> None:
    assert examples("test") == examples.__wrapped__("test")
    assert examples("test") != examples("test", 9)


@pytest.mark.parametrize("split", SPLITS)
def test_a_sheet_is_one_page_with_several_instructions(split: Split) -> None:
    random = Random(4)
    for _ in range(100):
        sheet = browse_sheet(random, split)
        assert 4 <= len(sheet) <= 9
        assert len({one.context.messages[-1].content.rpartition("\n\nInstruction: ")[0] for one in sheet}) == 1
        assert len({instruction(one) for one in sheet}) == len(sheet)


@pytest.mark.parametrize("split", SPLITS)
def test_the_answer_is_one_of_four_to_twelve_different_controls(split: Split) -> None:
    for one in examples(split):
        assert one.answer in one.choices
        assert len(set(one.choices)) == len(one.choices)
        assert 4 <= len(one.choices) <= 12
        shown = re.findall(r"^- (.*)$", one.context.messages[-1].content, re.MULTILINE)
        assert shown == list(one.choices)
        assert "{" not in one.context.messages[-1].content


@pytest.mark.parametrize("split", SPLITS)
def test_controls_are_named_as_the_operator_names_its_actions(split: Split) -> None:
    for one in examples(split):
        for choice in one.choices:
            bare = re.sub(r"(?<=”) \(\d\)$", "", choice)
            found = re.fullmatch(
                r"(?:click|type “(?P<typed>.*)” into|choose “(?P<chosen>.*)” in|press (?P<keys>\w+) in) "
                r"(?P<role>\w+) “(?P<name>.*)”",
                bare,
            )
            assert found is not None, choice
            part = Part(ref="r1", role=found["role"], name=found["name"])
            if found["typed"] is not None:
                move = Move("fill", part, found["typed"])
            elif found["chosen"] is not None:
                move = Move("select", part, found["chosen"])
            else:
                move = Move("press", part, found["keys"]) if found["keys"] else Move("click", part)
            assert move.title == bare


def test_controls_with_the_same_name_are_numbered_as_they_stand_on_the_page() -> None:
    found = 0
    for one in [one for split in SPLITS for one in examples(split)]:
        content = one.context.messages[-1].content
        numbered = [choice for choice in one.choices if choice.endswith(")") and "” (" in choice]
        for choice in numbered:
            name, number = choice[:-4], int(choice[-2])
            assert [known for known in numbered if known.startswith(name + " (")].index(choice) == number - 1
        if one.answer in numbered and (row := re.search(r"“(.*)” \((\d)\)$", one.answer)):
            nth = {"first": 1, "second": 2, "third": 3, "fourth": 4}
            said = next((place for word, place in nth.items() if word in instruction(one).split()), None)
            if said is not None:
                assert said == int(row[2]), content
                found += 1
    assert found > 5


def test_every_kind_of_instruction_comes() -> None:
    counted = Counter(one.kind for one in examples("train"))
    assert all(counted[kind] > 20 for kind in ("meant", "named", "row", "instead")), counted


def test_no_page_has_an_instruction_for_two_of_its_controls() -> None:
    for page in listed():
        rows = page.get("rows", {}).get("controls", [])
        says = [one for _, *said in (*page["controls"], *rows) for one in said]
        assert [one for one, count in Counter(says).items() if count > 1] == [], page["name"]
        assert len({control[0] for control in page["controls"]}) == len(page["controls"])


def test_no_split_has_an_instruction_or_a_title_of_another() -> None:
    instructions = {split: {instruction(one).lower().rstrip(".?!") for one in examples(split)} for split in SPLITS}
    titles = {split: {title(one) for one in examples(split)} for split in SPLITS}
    for first, second in combinations(SPLITS, 2):
        assert titles[first] & titles[second] == set()
        assert instructions[first] & instructions[second] == set()
