"""Verifiers by name, as plans have them: known arguments only, and nothing that a model's plan could misuse."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from llmos.agents.verdict import Verifier
from llmos.agents.verifiers import described, named, names, predicate, within
from llmos.engine.scripted import ScriptedEngine
from llmos.errors import BadPlan
from llmos.kernel.process import Process
from tests.agents.verifiers.conftest import Place

GOOD: dict[str, dict[str, Any]] = {
    "schema": {"schema": {"type": "object"}},
    "predicate": {"contains": ["x"], "max_words": 5},
    "tests_pass": {"tests": "def test_it(): pass", "examples": [["f(1)", 1]]},
    "quotes_found": {"files": ["a.md"], "claims": True},
    "recomputed": {"figures": [1, "2.5"]},
    "consistent": {"question": "Which?", "times": 3, "compare": "number"},
    "judge": {"criterion": "It is good.", "examples": [["a", "b", True]]},
    "human": {},
    "table_again": {},
    "page_shows": {"url": "/thanks", "texts": ["Thank you"], "fields": {"Name": "Ann"}},
}

BAD: list[tuple[str, dict[str, Any]]] = [
    ("nonsense", {}),
    ("schema", {}),
    ("schema", {"schema": {"type": "sandwich"}}),
    ("schema", {"schema": {"type": "string", "pattern": "(a+)+$"}}),
    ("schema", {"schema": {"properties": {"a": {"patternProperties": {"(a+)+$": {}}}}}}),
    ("schema", {"schema": {"$ref": "http://127.0.0.1:9/x"}}),
    ("predicate", {}),
    ("predicate", {"contains": "text"}),
    ("predicate", {"fn": "lambda value: True"}),
    ("tests_pass", {}),
    ("tests_pass", {"tests": "def test_it(): pass", "module": "../x"}),
    ("tests_pass", {"examples": [["f(1)"]]}),
    ("quotes_found", {"files": [""]}),
    ("recomputed", {"figures": [[1]]}),
    ("consistent", {"question": "Which?", "times": 1000}),
    ("consistent", {"question": "Which?", "compare": "eval"}),
    ("judge", {}),
    ("judge", {"criterion": "x" * 1000}),
    ("human", {"question": ""}),
    ("page_shows", {}),
    ("page_shows", {"texts": "Thank you"}),
    ("page_shows", {"fields": {"Name": ""}}),
    ("page_shows", {"script": "() => true"}),
]


def test_every_verifier_is_described_with_a_schema_that_its_arguments_fit() -> None:
    assert set(described()) == set(names()) == set(GOOD)
    for name, (about, form) in described().items():
        assert about.endswith(".")
        Draft202012Validator.check_schema(form)
        validator: Any = Draft202012Validator(form)
        validator.validate(json.loads(json.dumps(GOOD[name])))


async def test_all_of_them_can_be_made_by_name(place: Place) -> None:
    async def agent(process: Process, _: str) -> list[str]:
        return [named(process, name, arguments).name for name, arguments in GOOD.items()]

    assert await place.start(agent) == list(names())


@pytest.mark.parametrize(("name", "arguments"), BAD)
async def test_what_does_not_fit_is_a_bad_plan(place: Place, name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(BadPlan) as caught:
        await place.check(lambda process: named(process, name, arguments), "x")
    assert repr(name) in caught.value.message


async def test_named_conditions_say_what_is_missing(place: Place) -> None:
    arguments = {"contains": ["Rome"], "lacks": ["Milan"], "any_of": ["a", "b"], "max_words": 3}
    verdict = await place.check(lambda process: named(process, "predicate", arguments), "in Milan it is very dull")
    assert len(verdict.reasons) == 4 - 1
    assert (await place.check(lambda process: named(process, "predicate", arguments), "ROME: a  city")).passed


async def test_named_ones_compose(place: Place) -> None:
    def both(process: Process) -> Verifier[Any]:
        return named(process, "recomputed", {}) & named(process, "predicate", {"contains": ["euros"]})

    assert (await place.check(both, "2 * 3 = 6 euros")).passed
    assert (await place.check(both, "2 * 3 = 6")).outcome == "fail"
    assert (await place.check(both, "2 * 3 = 7 euros")).outcome == "fail"


async def test_a_verifier_that_hangs_cannot_tell_and_the_run_goes_on(place: Place) -> None:
    async def hangs(value: object) -> bool:
        await asyncio.Event().wait()
        return True

    async def agent(process: Process, _: str) -> list[str]:
        slow = await within(process, 0.05, lambda branch: predicate(hangs))("x")
        quick = await within(process, 60, lambda branch: named(branch, "judge", {"criterion": "It is good."}))("x")
        return [slow.outcome, *slow.reasons, quick.outcome]

    place.engine = ScriptedEngine("x", scores={"Yes": 5.0, "No": 0.0})
    assert await place.start(agent) == ["unsure", "hangs did not end within 0.05 s.", "pass"]


async def test_verdicts_come_again_in_a_replay_without_engine_tools_or_people(place: Place) -> None:
    said = iter(["Rome", "Rome", "Milan", "Turin", "Paris", "Oslo"])

    async def hangs(value: object) -> bool:
        await asyncio.Event().wait()
        return True

    async def agent(process: Process, _: str) -> list[list[Any]]:
        arguments: list[tuple[str, dict[str, Any], str]] = [
            ("tests_pass", {"tests": "def test_it(): assert one == 1"}, "one = 1"),
            ("recomputed", {}, "2 + 2 = 5"),
            ("quotes_found", {"files": ["a.md"]}, '"the first line"'),
            ("consistent", {"question": "Which?"}, "Rome"),
            ("judge", {"criterion": "It is good."}, "x"),
            ("human", {}, "x"),
        ]
        found: list[list[Any]] = []
        for name, given, value in arguments:
            verdict = await named(process, name, given)(value)
            found.append([verdict.by, verdict.outcome, *verdict.reasons])
        late = await within(process, 0.05, lambda branch: predicate(hangs))("x")
        soon = await within(process, 60, lambda branch: named(branch, "consistent", {"question": "And?"}))("Rome")
        return [*found, [late.outcome], [soon.outcome]]

    place.write("a.md", "# A\nthe first line\n")
    place.engine = ScriptedEngine(lambda _: next(said), scores={"Yes": 5.0, "No": 0.0})
    place.person.answers = ["yes"]
    first = await place.start(agent)
    assert [one[1] for one in first[:6]] == ["pass", "fail", "pass", "pass", "pass", "pass"]
    assert first[6:] == [["unsure"], ["unsure"]]
    assert await place.systems[-1].replay(place.run) == first
