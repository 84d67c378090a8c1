"""Sheets of episodes: each argument was said, each step follows from those before, and splits share no words."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any, cast, get_args

import jsonschema
import pytest

from llmos.agents import jobs
from llmos.errors import ConfigError
from llmos.learn.data import chains
from llmos.learn.data.chains import Pattern, chain, every, patterns, requests
from llmos.learn.data.episodes import Episode, episode, episode_sheet
from llmos.learn.data.example import Example, Split, split_of
from llmos.learn.data.schemas import skeleton

SPLITS: tuple[Split, ...] = get_args(Split)


def sheets(split: Split, count: int, seed: int = 0) -> list[list[Example]]:
    random = Random(seed)
    return [list(episode_sheet(random, split)) for _ in range(count)]


def episodes(split: Split, count: int, seed: int = 0) -> list[Episode]:
    random = Random(seed)
    return [episode(random, split) for _ in range(count)]


def told(one: Example) -> str:
    return one.context.messages[-1].content


def all_patterns() -> list[tuple[Pattern, Split]]:
    return [(one, split) for split in SPLITS for builtin in (True, False) for one in patterns(split, builtin)]


def texts(value: Any) -> list[str]:  # noqa: ANN401 - an argument of any type
    items: list[object] = [*value] if isinstance(value, list) else [value]
    return [one for one in items if isinstance(one, str)]


@pytest.mark.parametrize("split", SPLITS)
def test_the_same_seed_makes_the_same_sheets(split: Split) -> None:
    assert sheets(split, 10) == sheets(split, 10)
    assert sheets(split, 10) != sheets(split, 10, seed=1)


@pytest.mark.parametrize("split", SPLITS)
def test_a_sheet_is_the_steps_of_episodes_over_the_same_tools(split: Split) -> None:
    for sheet in sheets(split, 60):
        assert 6 <= len(sheet) <= 12
        chosen = [one for one in sheet if one.job == "choose"]
        assert len({one.context.messages[0] for one in chosen}) == 1
        for one in chosen:
            assert one.answer in one.choices
            assert len(set(one.choices)) == len(one.choices)
            assert (one.answer == jobs.ANSWER) == (one.kind == "finish")
            assert all(f"- {name}(" in one.context.messages[0].content for name in one.choices[:-2])


@pytest.mark.parametrize("split", SPLITS)
def test_each_kind_of_step_has_its_share(split: Split) -> None:
    kinds = Counter(one.kind for sheet in sheets(split, 200) for one in sheet if one.job == "choose")
    assert 0.5 < kinds["step"] / kinds.total() < 0.7
    assert 0.25 < kinds["finish"] / kinds.total() < 0.45
    assert 0.04 < kinds["after error"] / kinds.total() < 0.15


@pytest.mark.parametrize("split", SPLITS)
def test_arguments_fit_the_schema_and_were_said(split: Split) -> None:
    free = total = 0
    for one in episodes(split, 120):
        schemas = {tool.name: tool.parameters for tool in one.tools}
        for number, step in enumerate(one.steps):
            schema = json.loads(json.dumps(dict(schemas[step.name])))
            jsonschema.validate(dict(step.arguments), schema)
            assert list(step.arguments) == [name for name in schema["properties"] if name in step.arguments]
            known = jobs.told(one.request, one.done(number))
            for name, value in step.arguments.items():
                if "enum" in schema["properties"][name]:
                    continue
                for text in texts(value):
                    total += 1
                    free += text not in known
                    words = re.findall(r"[^\W\d]{3,}|\d{3,}", text)
                    assert all(word in known for word in words) or text == "today", (known, text)
    assert free < 0.05 * total


@pytest.mark.parametrize("split", SPLITS)
def test_a_step_after_an_error_mends_repeats_or_goes_another_way(split: Split) -> None:
    ways: Counter[str] = Counter()
    for one in episodes(split, 200):
        assert not one.steps[0].after_error
        for before, step in zip(one.steps, one.steps[1:], strict=False):
            if step.after_error:
                same = "same" if step.arguments == before.arguments else "other arguments"
                ways[same if step.name == before.name else "other tool"] += 1
    assert len(ways) == 3
    assert min(ways.values()) > 3


@pytest.mark.parametrize("count", [2, 3])
def test_an_episode_has_as_many_calls_as_asked_for(count: int) -> None:
    random = Random(4)
    for split in SPLITS:
        assert len(episode(random, split, calls=count).steps) == count
    with pytest.raises(LookupError):
        episode(random, "train", calls=9)


def test_there_are_many_patterns_and_each_split_has_some() -> None:
    assert len(every()) >= 100
    assert sum(len(one.requests) for one in every()) >= 400
    for split, least in (("train", 40), ("validation", 8), ("test", 12)):
        assert len(patterns(cast("Split", split), builtin=False)) >= least
        assert len(patterns(cast("Split", split), builtin=True)) >= 5


def test_tools_and_words_of_one_split_never_come_in_another() -> None:
    said: dict[Split, set[str]] = {split: set() for split in SPLITS}
    for one, split in all_patterns():
        assert all(tool.builtin or split_of(tool.family) == split for tool in one.tools)
        said[split] |= {skeleton(text) for text in requests(one, split)}
    for split in SPLITS:
        for other in SPLITS:
            assert split == other or not said[split] & said[other]


def test_every_pattern_says_all_that_its_calls_need() -> None:
    random = Random(6)
    for one, split in all_patterns():
        for _ in range(6):
            text, calls = chain(random, split, one)
            assert not re.search(r"\{\w+\}", text)
            for call in calls:
                needed = {parameter.name for parameter in call.tool.parameters if parameter.required}
                assert needed <= call.arguments.keys()
                assert not re.search(r"\{\w+\}", call.result)


def test_what_a_pattern_computes_is_right() -> None:
    pattern = next(one for one in every() if "add {a} and {b}, then multiply the sum by {y}" in one.requests)
    _, (sum_, product) = chain(Random(3), "train", pattern)
    assert sum_.result.strip("= ") == str(sum_.arguments["a"] + sum_.arguments["b"])
    assert product.arguments["x"] == sum_.arguments["a"] + sum_.arguments["b"]
    assert product.result == str(product.arguments["x"] * product.arguments["y"])


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ('requests = ["go"]\nways = [[{ call = "fly_away" }]]', "calls 'fly_away'"),
        ('requests = ["get {city}"]\nways = [[{ call = "http_get" }]]', "lacks 'url'"),
        ('requests = ["get {url}"]\nways = [[{ call = "http_get", with = { hat = "{url}" } }]]', "has no 'hat'"),
        (
            'requests = ["go {room}"]\nways = [[{ call = "turn_on_light" }, { call = "read_temperature" }]]',
            "mixes tools",
        ),
    ],
)
def test_a_wrong_pattern_is_refused(entry: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "episodes.toml").write_text(f"[[pattern]]\n{entry}\n")
    monkeypatch.setattr(chains, "__file__", str(tmp_path / "chains.py"))
    chains.data.cache_clear()
    every.cache_clear()
    try:
        with pytest.raises(ConfigError, match=re.escape(said)):
            every()
    finally:
        chains.data.cache_clear()
        every.cache_clear()
