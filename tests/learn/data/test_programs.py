"""Short programs: every family is really run, and its output compared with what another way of reckoning gives."""

from __future__ import annotations

import ast
import calendar
import collections
import contextlib
import datetime
import fractions
import io
import itertools
import math
import random as randoms
import re
import statistics
import string
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest

from llmos.agents import jobs
from llmos.learn.data import programs
from llmos.learn.data.example import Example, Split, split_of
from llmos.learn.data.programs import Family, Given, families, given, request, sheet, written

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
LIBRARY = {
    "math", "datetime", "calendar", "random", "collections", "itertools", "statistics", "string", "re", "textwrap",
    "fractions", "decimal", "json", "csv",
}  # fmt: skip
TOOLS: Mapping[str, Any] = {
    "math": math, "datetime": datetime, "calendar": calendar, "collections": collections, "itertools": itertools,
    "statistics": statistics, "string": string, "re": re, "fractions": fractions, "random": randoms,
    "date": datetime.date, "timedelta": datetime.timedelta,
}  # fmt: skip
DRAWS = 3
MOST_LINES = 12


def made(split: Split, sheets: int = 150) -> list[Example]:
    random = Random(7)
    return [one for _ in range(sheets) for one in sheet(random, split)]


def asked(example: Example) -> str:
    return example.context.messages[-1].content


def output(program: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as written_out:
        exec(compile(program, "program", "exec"), {"__name__": "__main__"})
    return written_out.getvalue().rstrip()


def expected(family: Family, slots: Mapping[str, Given], folder: Path) -> str:
    names = {**TOOLS, **{name: one.value for name, one in slots.items()}, "folder": folder}
    value: Any = eval(family.check, names)
    if isinstance(value, list):
        return "\n".join(str(one) for one in cast("list[object]", value))
    return str(value)


@pytest.mark.parametrize("family", families(), ids=lambda family: family.name)
def test_programs_print_what_is_right(family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for split in SPLITS:
        for seed in range(DRAWS):
            slots = given(family, Random(f"{family.name} {seed}"), split)
            held = written(family.content, slots)
            for name, one in slots.items():
                if family.slots[name].startswith("file"):
                    (tmp_path / one.value).write_text(held + "\n", encoding="utf-8")
            sources = [written(program, slots) for program in family.programs]
            printed = [output(source) for source in sources]
            assert printed[0].strip(), sources[0]
            assert len(set(printed)) == 1, (sources, printed)
            if family.check:
                assert printed[0].strip() == expected(family, slots, tmp_path).strip(), sources[0]


def test_programs_are_short_and_plain() -> None:
    sources: list[tuple[Family, str]] = []
    for family in families():
        assert family.programs
        slots = given(family, Random(1), "train")
        sources += [(family, written(program, slots)) for program in family.programs]
    for family, source in sources:
        assert 1 <= len([line for line in source.splitlines() if line.strip()]) <= MOST_LINES, source
        assert max(map(len, source.splitlines())) <= 170, source
        assert "`" not in source
        assert "$" not in source.replace('"$', "")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                assert {name.name for name in node.names} <= LIBRARY
            if isinstance(node, ast.ImportFrom):
                assert node.module in LIBRARY
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("input", "eval", "exec", "__import__")
                assert node.func.id != "open" or family.subject == "files"


def test_a_task_is_said_in_many_ways_and_its_values_stand_in_it() -> None:
    for family in families():
        assert len({words for _, words in family.asks}) >= 7, family.name
        assert {kind for kind, _ in family.asks} <= {"do", "np", "q"}
        assert len({kind for kind, _ in family.asks}) >= 2, family.name
        for kind, words in family.asks:
            assert ("[" in words) == (kind == "do"), words
            assert not words.endswith((".", "?")), words
            named = {re.sub(r"_(th|one)$", "", name) for name in re.findall(r"\{(\w+)\}", words)}
            assert named == set(family.slots), words


def test_there_are_many_families_of_many_subjects() -> None:
    found = families()
    assert len({family.name for family in found}) == len(found) >= 130
    assert len({family.subject for family in found}) >= 8
    assert sum(bool(family.check) for family in found) >= 0.6 * len(found)
    unseen = [family for family in found if family.unseen]
    assert 0.1 <= len(unseen) / len(found) <= 0.22
    assert len({family.subject for family in unseen}) >= 6


def test_there_are_many_wrappers() -> None:
    wrappers = programs._words()["wrappers"]  # pyright: ignore[reportPrivateUsage]
    assert sum(len(set(text.strip().splitlines())) for text in wrappers.values()) >= 80
    for kind, text in wrappers.items():
        assert all(f"{{{kind}}}" in line for line in text.strip().splitlines()), kind


@pytest.mark.parametrize("split", SPLITS)
def test_sheets_begin_alike_and_are_the_same_for_the_same_seed(split: Split) -> None:
    one = sheet(Random(3), split)
    assert one == sheet(Random(3), split)
    assert one != sheet(Random(4), split)
    assert 6 <= len(one) <= 10
    assert {example.context.messages[0].content for example in one} == {jobs.program("x").messages[0].content}
    assert {example.job for example in one} == {"program"}


@pytest.mark.parametrize("split", SPLITS)
def test_no_slot_is_left_open_and_answers_are_bare_programs(split: Split) -> None:
    for one in made(split, 60):
        assert not re.search(r"\{[a-z]\w*\}|~|\[[a-z]+\] ", asked(one).split("{'")[0].split('{"')[0]), asked(one)
        assert one.answer == one.answer.strip()
        assert not one.answer.startswith("```")
        compile(one.answer, "program", "exec")


def test_families_of_the_test_are_never_trained_on() -> None:
    assert {one.kind for one in made("train", 60)} == {"seen"}
    assert {one.kind for one in made("validation", 60)} == {"seen"}
    kinds = [one.kind for one in made("test", 60)]
    assert 0.25 <= kinds.count("unseen") / len(kinds) <= 0.55


def test_no_request_of_the_test_stands_in_training() -> None:
    said = {split: {asked(one).lower() for one in made(split, 400)} for split in SPLITS}
    assert not said["train"] & said["test"]
    assert not said["train"] & said["validation"]
    assert len(said["train"]) >= 2500


def test_values_of_a_request_are_those_of_the_program() -> None:
    for family in families():
        for seed in range(3):
            slots = given(family, Random(seed), "train")
            said = request(family, slots, Random(seed), "train")
            for name, one in slots.items():
                assert all(text.strip() for text in one.said.values()), (family.name, name)
                if family.slots[name].split()[0] in ("float", "money", "words", "sentence", "file"):
                    assert any(text in said for text in one.said.values()), (name, said)


def test_hints_that_are_left_out_leave_a_whole_sentence() -> None:
    for words in (words for family in families() for _, words in family.asks):
        left = programs._loose().sub("", words)  # pyright: ignore[reportPrivateUsage]
        if left == words:
            continue
        assert not re.search(r" ,|,,|  |[, ]$|(?:\b(?:and|or|the|in|printed|as|print|last)$)|, (?:each|both)$", left), (
            left
        )


def test_large_numbers_are_divided_among_the_splits() -> None:
    family = next(one for one in families() if one.name == "divisors")
    for split in SPLITS:
        drawn = {given(family, Random(seed), split)["n"].value for seed in range(50)}
        assert {split_of(f"programs:{value}") for value in drawn} == {split}
