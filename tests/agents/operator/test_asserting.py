"""What the words say must hold in the end, told apart from what is to be done."""

from __future__ import annotations

from typing import Any

import pytest

from llmos.agents.operator.asserting import stated, without
from llmos.agents.operator.instructions import read


@pytest.mark.parametrize(
    ("task", "wanted"),
    [
        ("Click Save and make sure that the page says “Saved”", {"texts": ["Saved"]}),
        ('click Save, then check that it shows "Saved" and "Ann"', {"texts": ["Saved", "Ann"]}),
        ("Click Save until the page reads “Saved”.", {"texts": ["Saved"]}),
        ("Click Save and verify that the address is https://a.example/done.", {"url": "https://a.example/done"}),
        ("Click Save and check “Newsletter”", {}),
        ("Enter “make sure” as the name", {}),
        ("Make sure that Ann is invited", {}),
    ],
)
def test_what_must_hold(task: str, wanted: dict[str, Any]) -> None:
    assert stated(task) == wanted
    rest = without(task)
    assert len(rest) == len(task)
    assert (rest == task) == (not wanted)


def test_it_is_no_goal() -> None:
    task = "Click Save and make sure that the page says “Thank you”"
    assert [(one.act, one.words.strip()) for one in read(without(task))] == [("click", "Click Save")]
