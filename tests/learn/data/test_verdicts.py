"""Examples of judging work: labels that are right, in known shares, different in each split."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from itertools import combinations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.agents import jobs
from llmos.learn.data.example import Example, Split
from llmos.learn.data.operations import OPERATIONS, altered, wrong
from llmos.learn.data.verdicts import verdict_sheet

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
PASS, VALUE, MISSING, INVENTED, FORM, TOPIC, UNSURE = jobs.VERDICTS


@cache
def examples(split: Split, seed: int = 3, sheets: int = 300) -> tuple[Example, ...]:
    random = Random(seed)
    return tuple(one for _ in range(sheets) for one in verdict_sheet(random, split))


def read(example: Example) -> tuple[str, str, str]:
    """Task, source and work as the model sees them."""
    found = re.fullmatch(
        r"Task: (.*?)\n(?:Source: (.*?)\n)?Work: (.*)\nSeen: [^\n]*", example.context.messages[-1].content, re.DOTALL
    )
    assert found is not None
    return found[1], found[2] or "", found[3]


def test_the_same_seed_makes_the_same_examples() -> None:
    assert examples("test", 8, 40) == examples.__wrapped__("test", 8, 40)
    assert examples("test", 8, 40) != examples("test", 9, 40)


@pytest.mark.parametrize("split", SPLITS)
def test_sheets_have_every_verdict_and_forty_in_a_hundred_pass(split: Split) -> None:
    said = examples(split)
    counted = Counter(one.answer for one in said)
    assert set(counted) == set(jobs.VERDICTS)
    assert 0.36 < counted[PASS] / len(said) < 0.44
    assert all(counted[name] / len(said) > 0.03 for name in jobs.VERDICTS)
    assert all(one.choices == jobs.VERDICTS and one.job == "verdict" for one in said)


@pytest.mark.parametrize("split", SPLITS)
def test_a_sheet_shares_its_first_message_and_leaves_no_slot_open(split: Split) -> None:
    random = Random(4)
    for _ in range(100):
        sheet = verdict_sheet(random, split)
        assert 6 <= len(sheet) <= 9
        assert len({one.context.messages[0] for one in sheet}) == 1
        for one in sheet:
            assert (
                re.search(r"\{(x|X|xl|calc|v|ask|items|l|kind|count|first|city|file|name)\d?\}", str(read(one))) is None
            )


def test_sums_that_pass_hold_what_they_compute() -> None:
    """Plus, minus and times are told by their sign, so that they can be computed here again."""
    checked = 0
    for one in [one for split in SPLITS for one in examples(split)]:
        task, _, work = read(one)
        found = re.search(r"(?<!\+ )\b(\d+) (\+|-|\*) (\d+)(?! ?[\d(*+/-])", task)
        if one.kind != "sum" or found is None or one.answer not in (PASS, VALUE):
            continue
        a, b = int(found[1]), int(found[3])
        right = str({"+": a + b, "-": a - b, "*": a * b}[found[2]])
        assert (right in re.findall(r"\d+", work.replace(found[0], ""))) == (one.answer == PASS), (task, work)
        checked += 1
    assert checked > 5


@pytest.mark.parametrize("split", SPLITS)
def test_with_a_source_a_value_passes_only_where_it_stands_there(split: Split) -> None:
    numbers = re.compile(r"\d[\d.,:]*\d|\d")
    for one in examples(split):
        task, source, work = read(one)
        if one.kind != "source":
            continue
        known = set(numbers.findall(source)) | set(numbers.findall(task))
        if one.answer == PASS:
            assert set(numbers.findall(work)) <= known, (task, source, work)
        if one.answer == UNSURE:
            assert not source


@pytest.mark.parametrize("split", SPLITS)
def test_json_lists_pass_only_with_all_items_in_order(split: Split) -> None:
    checked = Counter[str]()
    for one in examples(split):
        task, source, work = read(one)
        if one.kind != "list" or "json" not in task.lower():
            continue
        try:
            items = json.loads(work)
        except ValueError:
            assert one.answer == FORM
            continue
        wanted = (source or task.partition(": ")[2]).split(", ")
        assert one.answer != FORM
        if ": " in task or source:
            assert (items == wanted) == (one.answer == PASS), (task, source, work)
            checked[one.answer] += 1
    assert checked[PASS]
    assert sum(checked.values()) > checked[PASS]


@pytest.mark.parametrize("split", SPLITS)
def test_naming_things_fails_where_one_is_missing(split: Split) -> None:
    words = dict(zip(("two", "three", "four", "five"), range(2, 6), strict=True))
    for one in examples(split):
        task, _, work = read(one)
        if one.kind != "named":
            continue
        count = next(words.get(word, int(word) if word.isdigit() else 0) for word in re.findall(r"\w+", task.lower())
                     if word in words or word.isdigit())  # fmt: skip
        items = [item for line in work.split("\n") for item in line.split(", ")]
        assert (len(items) == count) == (one.answer != MISSING), (task, work)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(OPERATIONS)), st.integers())
def test_a_wrong_result_is_never_the_right_one(name: str, seed: int) -> None:
    random = Random(seed)
    found = OPERATIONS[name](random)
    said = wrong(random, found)
    assert said != found.result
    if found.result.lstrip("-").isdigit():
        assert float(said) != float(found.result)


@given(st.from_regex(r"[€$]?[1-9][0-9]{0,3}(\.50)?( km| euros)?", fullmatch=True), st.integers())
def test_a_changed_digit_makes_another_number_of_the_same_length(text: str, seed: int) -> None:
    changed = altered(Random(seed), text)
    assert changed != text
    assert len(changed) == len(text)
    assert [sign for sign in changed if not sign.isdigit()] == [sign for sign in text if not sign.isdigit()]
    assert re.match(r"[€$]?[1-9]", changed)


def test_no_task_of_the_written_ones_stands_in_two_splits() -> None:
    seen: dict[Split, set[str]] = {}
    for split in SPLITS:
        tasks = {read(one)[0].lower() for one in examples(split) if one.kind in ("made", "source")}
        seen[split] = {re.sub(r"\d[\d:.,]*", "0", task.rstrip(".?!")) for task in tasks}
    for first, second in combinations(SPLITS, 2):
        assert seen[first] & seen[second] == set()
