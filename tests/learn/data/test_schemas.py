"""Tools as data: files are checked with clear errors, shown tools keep their meaning, splits share nothing."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import get_args

import jsonschema
import pytest

from llmos.agents.assistant import is_offered
from llmos.errors import ConfigError
from llmos.learn.data import schemas, values
from llmos.learn.data.example import Split, split_of
from llmos.learn.data.noise import dressed, noisy
from llmos.learn.data.schemas import ToolKind, builtin_tools, families, skeleton, tools
from llmos.tools.registry import load_tools

SPLITS: tuple[Split, ...] = get_args(Split)
EVERY: list[ToolKind] = [*builtin_tools(), *(one for split in SPLITS for one in tools(split))]

GOOD = """
[[tool]]
family = "bells"
name = "ring_bell"
also_named = ["bell.ring"]
description = "Rings a bell."
requests = ["ring the bell {times} times"]
[[tool.parameters]]
name = "times"
type = "integer"
kind = "small"
required = true
"""


@pytest.fixture
def own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    def put(text: str) -> None:
        (tmp_path / "bells.toml").write_text(text)
        monkeypatch.setattr(schemas, "_FOLDER", tmp_path)
        schemas._all.cache_clear()  # pyright: ignore[reportPrivateUsage]

    yield put
    monkeypatch.undo()
    schemas._all.cache_clear()  # pyright: ignore[reportPrivateUsage]


def read() -> tuple[ToolKind, ...]:
    return schemas._all()  # pyright: ignore[reportPrivateUsage]


def test_there_are_hundreds_of_tools_in_many_families() -> None:
    assert len(EVERY) >= 200
    assert all(len(families(split)) >= least for split, least in (("train", 60), ("validation", 3), ("test", 15)))


def test_every_tool_that_llmos_offers_is_known() -> None:
    assert {one.name for one in builtin_tools()} == {name for name in load_tools() if is_offered(name)}
    for one in builtin_tools():
        assert len(one.requests) >= 25


def test_a_tool_of_llmos_is_shown_as_it_is() -> None:
    for one in builtin_tools():
        spec = load_tools()[one.name].spec
        shown = one.spec(Random(1), original=True).spec
        assert (shown.name, shown.description) == (spec.name, spec.description)
        assert shown.parameters["properties"] == spec.parameters["properties"]
        assert shown.parameters.get("required", []) == spec.parameters.get("required", [])


def test_families_belong_to_one_split_and_names_to_one_tool() -> None:
    for split in SPLITS:
        assert all(split_of(one.family) == split for one in tools(split))
    names = [one.name for one in EVERY if not one.builtin]
    assert len(names) == len(set(names))


def test_requests_fit_the_schema_that_is_shown() -> None:
    random = Random(7)
    for tool in EVERY:
        split: Split = "train" if tool.builtin else split_of(tool.family)
        shown = tool.spec(random)
        asked = tool.request(random, split, shown, fill=True)
        parameters = json.loads(json.dumps(dict(shown.spec.parameters)))
        jsonschema.validate(dict(asked.arguments), parameters)  # pyright: ignore[reportUnknownMemberType]
        assert list(asked.arguments) == [name for name in parameters["properties"] if name in asked.arguments]
        assert not re.search(r"\{\w+\}", tool.result(random, split, asked) if tool.results else "")


def test_text_arguments_stand_in_the_request() -> None:
    random = Random(3)
    for tool in EVERY:
        split: Split = "train" if tool.builtin else split_of(tool.family)
        shown = tool.spec(random)
        for template in tool.templates(split, fill=True):
            asked = tool.request(random, split, shown, template=template)
            free = {one.name for one in tool.parameters if one.type in ("string", "list")} - set(template.given)
            for canonical in free:
                said = json.dumps(asked.arguments.get(shown.names[canonical]), ensure_ascii=False)
                assert all(json.loads(item) in asked.text for item in re.findall(r'"(?:[^"\\]|\\.)*"', said))


def test_no_words_of_a_request_are_in_two_splits() -> None:
    said: dict[Split, set[str]] = {split: set() for split in SPLITS}
    for tool in EVERY:
        for split in SPLITS:
            if tool.builtin or split_of(tool.family) in ("train", split):
                said[split] |= {skeleton(one.say) for one in tool.templates(split)}
    assert not said["train"] & said["test"]
    assert not said["train"] & said["validation"]
    assert len(said["train"]) > 1500
    assert len(said["test"]) > 200


def test_parameters_are_renamed_and_described_in_many_ways() -> None:
    tool = next(one for one in builtin_tools() if one.name == "edit_file")
    random = Random(2)
    seen = [tool.spec(random) for _ in range(60)]
    assert len({one.name for one in seen}) > 2
    assert len({one.names["old"] for one in seen}) > 2
    assert len({one.spec.description for one in seen}) > 2
    assert all(len(set(one.names.values())) == len(tool.parameters) for one in seen)


def test_what_is_given_with_a_template_is_filled_in() -> None:
    tool = next(one for one in builtin_tools() if one.name == "calculator")
    template = next(one for one in tool.requests if one.say == "subtract {a} from {b}")
    asked = tool.request(Random(1), "train", tool.spec(Random(1), original=True), template=template)
    assert asked.arguments == {"expression": f"{asked.said['b']} - {asked.said['a']}"}


def test_values_of_one_split_never_come_in_another() -> None:
    drawn = {split: {values.draw("city", Random(seed), split).text.lower() for seed in range(200)} for split in SPLITS}
    assert not drawn["train"] & drawn["test"]
    assert not drawn["train"] & drawn["validation"]
    numbers = {split: {values.draw("integer", Random(seed), split).value for seed in range(200)} for split in SPLITS}
    assert not numbers["train"] & numbers["test"]


def test_every_kind_has_values_in_every_split() -> None:
    for kind in values.kinds():
        for split in SPLITS:
            drawn = values.draw(kind, Random(4), split)
            assert drawn.text.strip() == drawn.text
            assert "{first" not in drawn.text
            assert isinstance(drawn.value, int | float) == values.is_number(kind)


def test_kept_words_stay_as_they_are() -> None:
    for seed in range(300):
        assert "Café Luna 3" in noisy(Random(seed), "Book a table at Café Luna 3 for tomorrow.", ("Café Luna 3",))


def test_words_around_a_request_bring_no_argument_of_their_own() -> None:
    for seed in range(300):
        said = dressed(Random(seed), "show {folder} to me", "train")
        assert "{folder}" in said
        slots = set(re.findall(r"\{(\w+)\}", said)) - {"folder"}
        assert all(slot[-1].isdigit() for slot in slots)
        assert all(slot.rstrip("0123456789") in values.kinds() for slot in slots)


def test_a_good_file_is_read(own_files: Callable[[str], None]) -> None:
    own_files(GOOD)
    (tool,) = read()
    assert (tool.name, tool.domain, tool.parameters[0].kind) == ("ring_bell", "bells", "small")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("{times} times", "{often} times"), "nothing fills 'often'"),
        (GOOD.replace(" {times} times", ""), "does not say 'times'"),
        (GOOD.replace('"small"', '"smalls"'), "the kind 'smalls'"),
        (GOOD.replace('"small"', '"city"'), "'city' has none"),
        (GOOD.replace('"integer"', '"int"'), "the type 'int'"),
        (GOOD.replace("also_named", "also_name"), "'also_name'"),
        (GOOD.replace('"Rings a bell."', '""'), "lacks"),
        (GOOD + GOOD, "'ring_bell'"),
        (GOOD.replace('"small"', ""), "can't be read"),
    ],
)
def test_a_bad_file_is_refused_with_its_name(text: str, message: str, own_files: Callable[[str], None]) -> None:
    own_files(text)
    with pytest.raises(ConfigError) as caught:
        read()
    assert message in str(caught.value)
    assert caught.value.hint


def test_files_of_tools_are_shipped_with_the_package() -> None:
    found = sorted(Path(schemas.__file__).with_name("tools").glob("*.toml"))
    assert all(tomllib.loads(one.read_text(encoding="utf-8")).get("tool") for one in found)
