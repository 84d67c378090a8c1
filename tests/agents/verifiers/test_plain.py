"""Schema and predicate."""

from __future__ import annotations

import asyncio
import threading

import pytest
from pydantic import BaseModel

from llmos.agents.report import Report
from llmos.agents.verdict import Verdict
from llmos.agents.verifiers import predicate, schema
from llmos.errors import BadArguments


class Order(BaseModel):
    item: str
    count: int


async def test_a_value_fits_a_model_as_data_as_text_and_as_a_report() -> None:
    fits = schema(Order)
    good = {"item": "tea", "count": 2}
    for value in (good, '{"item": "tea", "count": 2}', '```json\n{"item": "tea", "count": 2}\n```', Report(value=good)):
        assert (await fits(value)).passed


async def test_what_does_not_fit_is_said_by_its_place() -> None:
    verdict = await schema(Order)({"item": "tea", "count": "many"})
    assert verdict.outcome == "fail"
    assert verdict.reasons[0].startswith("count: ")
    assert (await schema(Order)("two of tea")).reasons[0].startswith("It is no JSON")


async def test_a_json_schema_says_everything_that_is_wrong() -> None:
    fits = schema(
        {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"maxLength": 2}}, "required": ["c"]}
    )
    verdict = await fits({"a": "x", "b": "long"})
    assert sorted(reason.partition(":")[0] for reason in verdict.reasons) == ["'c' is a required property", "a", "b"]
    assert (await fits({"a": 1, "b": "no", "c": None})).passed


async def test_a_schema_that_is_none_is_refused_and_one_that_points_elsewhere_fetches_nothing() -> None:
    with pytest.raises(BadArguments, match="no JSON schema"):
        schema({"type": "sandwich"})
    verdict = await schema({"$ref": "http://127.0.0.1:9/schema.json"})({})
    assert verdict.outcome != "pass"


async def test_hostile_json_is_a_failure_and_no_crash() -> None:
    verdict = await schema({"type": "object"})("[" * 100_000)
    assert verdict.outcome == "fail"


async def test_a_predicate_may_answer_in_every_way() -> None:
    def positive(value: int) -> bool:
        return value > 0

    assert (await predicate(positive)(1)).by == "positive"
    assert (await predicate(positive, reason="Give more.")(-1)).reasons == ("Give more.",)

    def silent(value: int) -> None:
        return None

    def wordy(value: int) -> Verdict:
        return Verdict("fail", ("no",))

    assert (await predicate(silent)(0)).outcome == "unsure"
    assert (await predicate(wordy)(0)).reasons == ("no",)

    async def later(value: int) -> bool:
        await asyncio.sleep(0)
        return value > 0

    assert (await predicate(later)(1)).passed


async def test_a_predicate_that_hangs_or_raises_cannot_tell() -> None:
    gate = threading.Event()

    def hangs(value: int) -> bool:
        return gate.wait()

    async def hangs_politely(value: int) -> bool:
        await asyncio.Event().wait()
        return True

    try:
        for slow in (predicate(hangs, seconds=0.05), predicate(hangs_politely, seconds=0.05)):
            verdict = await slow(1)
            assert verdict.outcome == "unsure"
            assert "did not end" in verdict.reasons[0]
    finally:
        gate.set()

    def raises(value: int) -> bool:
        raise ValueError("broken")

    for broken in (predicate(raises), predicate(raises, seconds=5)):
        verdict = await broken(1)
        assert verdict.outcome == "unsure"
        assert "ValueError: broken" in verdict.reasons[0]


async def test_a_predicate_with_time_enough_is_asked_in_its_thread() -> None:
    def is_one(value: int) -> bool:
        return value == 1

    assert (await predicate(is_one, seconds=5)(1)).passed
    assert not (await predicate(is_one, seconds=5)(2)).passed
