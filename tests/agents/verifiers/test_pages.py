"""`page_shows`: the state in which the operator left a page, asserted on its report."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmos.agents.report import Report
from llmos.agents.verifiers import page_shows
from llmos.agents.verifiers.pages import MOST_SAID
from llmos.errors import BadArguments

PAGE = {
    "url": "https://shop.example/thanks?order=7", "title": "Your order", "says": "Thank you,  Ann!\n2 × Tide bowl",
    "fields": {"Name": "Ann", "Express": "chosen"},
}  # fmt: skip


def report(**changed: object) -> Report:
    return Report(task_id="part1", agent="operator", outcome="done", text="done", value={**PAGE, **changed})


@pytest.mark.parametrize(
    "wanted",
    [
        {"url": "https://shop.example/thanks?order=7"},
        {"url": "https://shop.example/thanks"},
        {"url": "https://shop.example/"},
        {"url": "/thanks"},
        {"texts": ["thank you, ann!", "Your order"]},
        {"lacks": ["sold out"]},
        {"fields": {"name": "ann", "Express": "chosen"}},
    ],
)
async def test_what_the_page_shows_passes(wanted: dict[str, Any]) -> None:
    check = page_shows(**wanted)
    for value in (report(), report().model_dump(mode="json"), PAGE, json.dumps(PAGE)):
        assert (await check(value)).passed


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({"url": "https://shop.example/thank"}, "The page is"),
        ({"url": "https://shop.example.evil"}, "The page is"),
        ({"url": "http://shop.example"}, "The page is"),
        ({"url": "shop.example"}, "The page is"),
        ({"url": "/cart"}, "The page is"),
        ({"texts": ["Thank you", "3 × Tide bowl"]}, "does not say '3 × Tide bowl'"),
        ({"lacks": ["Tide"]}, "The page says 'Tide'"),
        ({"fields": {"Name": "Bea"}}, "holds 'Ann', and not 'Bea'"),
        ({"fields": {"Surname": "Ann"}}, "No field 'Surname'"),
    ],
)
async def test_what_it_does_not_show_fails_with_the_reason(wanted: dict[str, Any], why: str) -> None:
    verdict = await page_shows(**wanted)(report())
    assert verdict.outcome == "fail"
    assert why in " ".join(verdict.reasons)


async def test_an_address_is_not_found_in_another_ones_query() -> None:
    elsewhere = report(url="https://evil.example/?at=https://shop.example/thanks")
    assert (await page_shows(url="https://shop.example/thanks")(elsewhere)).outcome == "fail"


async def test_where_the_report_has_not_all_of_the_page_it_can_not_tell() -> None:
    long = report(says="x" * MOST_SAID)
    assert (await page_shows(texts=["Thank you"])(long)).outcome == "unsure"
    assert (await page_shows(lacks=["sold out"])(long)).outcome == "unsure"
    assert (await page_shows(texts=["xxx"])(long)).passed
    assert (await page_shows(texts=["Thank you"], url="/cart")(long)).outcome == "fail"


@pytest.mark.parametrize("value", ["It is done.", {"answer": 4}, Report(task_id="a", agent="coder", text="x"), None])
async def test_what_is_no_report_of_a_page_is_not_judged(value: object) -> None:
    assert (await page_shows(texts=["x"])(value)).outcome == "unsure"


def test_there_must_be_something_to_check() -> None:
    with pytest.raises(BadArguments, match="nothing to check"):
        page_shows(url=" ")
