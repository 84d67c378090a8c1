"""Examples of routing and of the first decision: right by construction, different in each split."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from functools import cache
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

import pytest

from llmos.agents import jobs
from llmos.agents.knowledge import knowledge
from llmos.learn.data import routes
from llmos.learn.data.example import Example, SheetMaker, Split

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
MAKERS: tuple[SheetMaker, ...] = (routes.route_sheet, routes.decide_sheet)
SHEETS = 150


@cache
def texts() -> Mapping[str, Any]:
    return tomllib.loads(Path(routes.__file__).with_name("routes_data.toml").read_text(encoding="utf-8"))


@cache
def examples(maker: SheetMaker, split: Split, seed: int = 3) -> tuple[Example, ...]:
    random = Random(seed)
    return tuple(one for _ in range(SHEETS) for one in maker(random, split))


def request(example: Example) -> str:
    return example.context.messages[-1].content


@pytest.mark.parametrize("maker", MAKERS)
def test_the_same_seed_makes_the_same_examples(maker: SheetMaker) -> None:
    assert examples(maker, "test") == examples.__wrapped__(maker, "test")
    assert examples(maker, "test") != examples(maker, "test", 9)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("maker", MAKERS)
def test_the_answer_is_one_of_the_listed_names(maker: SheetMaker, split: Split) -> None:
    for one in examples(maker, split):
        system = one.context.messages[0].content
        assert one.answer in one.choices
        assert len(set(one.choices)) == len(one.choices) >= 3
        assert re.findall(r"^- ([\w -]+?):", system, re.MULTILINE) == list(one.choices)
        assert "{" not in re.sub(r"\{[a-z]+\}(?= and)", "", request(one))


@pytest.mark.parametrize("maker", MAKERS)
def test_a_sheet_shares_its_first_message(maker: SheetMaker) -> None:
    random = Random(4)
    for _ in range(100):
        sheet = maker(random, "train")
        assert 8 <= len(sheet) <= 20
        assert len({one.context.messages[0].content for one in sheet}) == 1


def test_half_of_the_sheets_are_for_the_agents_that_come_with_llmos() -> None:
    random = Random(5)
    kinds = Counter(routes.route_sheet(random, "train")[0].kind for _ in range(600))
    assert 0.42 < (kinds["own"] + kinds["mixed"] + kinds["near"]) / 600 < 0.58
    assert min(kinds[name] for name in ("own", "mixed", "near", "others", "fallback")) > 20


def test_the_agents_that_come_with_llmos_say_what_the_router_shows_of_them() -> None:
    about = {name: one["description"] for name, one in knowledge()["agents"].items()}
    assert set(texts()["own"]) == set(about)
    shown = next(one for one in examples(routes.route_sheet, "train") if one.kind == "own" and len(one.choices) == 6)
    assert shown.context == jobs.whom({name: about[name] for name in shown.choices}, request(shown))


@pytest.mark.parametrize("split", SPLITS)
def test_each_way_is_decided_on_about_equally_often(split: Split) -> None:
    said = [one for one in examples(routes.decide_sheet, split) if one.kind == "decide"]
    counted = Counter(one.answer for one in said)
    assert set(counted) == set(jobs.DECISIONS)
    assert max(counted.values()) < 1.25 * min(counted.values())
    assert all(one.context == jobs.decide(request(one)) for one in said)


def test_other_agents_of_one_field_are_never_shown_together() -> None:
    fields = {name: one["field"] for one in texts()["agent"] for name in one["names"]}
    clashes = texts()["clashes"]
    assert set(clashes) <= set(fields.values())
    assert {field for one in clashes.values() for field in one} <= {*fields.values()}
    for one in examples(routes.route_sheet, "train"):
        shown = [fields[name] for name in one.choices if name in fields]
        for first, second in combinations(shown, 2):
            assert first != second
            assert second not in clashes.get(first, ())
            assert first not in clashes.get(second, ())


def test_no_agent_wording_or_task_stands_twice() -> None:
    agents = texts()["agent"]
    for key in ("names", "about", "tasks"):
        every = [text for one in agents for text in one[key]]
        assert len(set(every)) == len(every)
    asked = [
        text
        for pool in (*texts()["own"].values(), *(texts()["decide"][way] for way in jobs.DECISIONS))
        for text in pool
    ]
    assert [text for text, count in Counter(asked).items() if count > 1] == []


@pytest.mark.parametrize("maker", MAKERS)
def test_no_split_has_a_template_or_an_agent_of_another(maker: SheetMaker) -> None:
    own = {
        *texts()["own"],
        *(f"tool {name}" for name in texts()["tool"]),
        *(name for one in texts()["decide"]["ways"] for name in one),
        *jobs.DECISIONS,
    }
    shared = {*own, *texts()["fallback"]["names"]}
    tellers = telling()
    seen: dict[Split, set[str]] = {}
    for split in SPLITS:
        said = examples(maker, split)
        seen[split] = {name for one in said for name in one.choices if name not in shared}
        lines = "\n".join({request(one).lower() for one in said})
        seen[split] |= {words for words in tellers if words in lines}
    for first, second in combinations(SPLITS, 2):
        assert seen[first] & seen[second] == set()


def telling() -> list[str]:
    """Words by which a template can be told from all others."""
    data = texts()
    pools = [
        *data["own"].values(),
        *(data["decide"][way] for way in jobs.DECISIONS),
        *(one["tasks"] for one in (*data["agent"], *data["tool"].values())),
    ]
    every = [one.lower() for pool in pools for one in pool]
    longest = [max(re.split(r"(?:\ban? )?\{\w+\}", one.rstrip(".?!")), key=len).strip() for one in every]
    whole = "\n".join(every)
    return [words for words in longest if len(words) >= 14 and whole.count(words) == 1]
