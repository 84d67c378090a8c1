"""No two arguments of a call are the same words of a request."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from llmos.agents.distinct import distinct, doubled, of_call
from llmos.messages import Constraint, Grammar, ToolSpec
from tests.agents.test_allowed import accepts

TEXT = {"type": "string"}
TRIP = ToolSpec(
    "trip",
    "Find a trip.",
    {"type": "object", "properties": {"start": TEXT, "end": TEXT, "by": TEXT}, "required": ["start", "end"]},
)


class Asked:
    """A model of which what it writes is known.

    Attributes:
        bounds: What it was asked to write within.
    """

    def __init__(self, *said: str, shares: Sequence[float] = ()) -> None:
        """It writes these, in their order, and finds them as likely."""
        self.said, self.shares, self.bounds = list(said), shares, list[Grammar]()

    async def write(self, bound: Constraint) -> str:
        """The next text."""
        assert isinstance(bound, Grammar)
        self.bounds.append(bound)
        return self.said.pop(0)

    async def weigh(self, texts: Sequence[str]) -> Sequence[float]:
        """How likely each is."""
        assert len(texts) == len(self.shares)
        return self.shares


async def settled(model: Asked, request: str, text: str) -> str:
    return await distinct(text, of_call(TRIP, request), model.write, model.weigh)


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ("from Oslo to Turku", '{"start": "Oslo", "end": "Turku"}'),
        ("Oslo and back to Oslo", '{"start": "Oslo", "end": "Oslo"}'),  # it stands there twice
        ("leave now", '{"start": "today", "end": "today"}'),  # and here it does not
        ("from Oslo", '{"start": "Os'),
    ],
)
async def test_what_is_well_stays(request_: str, text: str) -> None:
    assert await settled(Asked(), request_, text) == text


async def test_an_option_that_repeats_another_argument_is_left_out() -> None:
    text = '{"start": "Oslo", "end": "Turku", "by": "Turku"}'
    assert await settled(Asked(), "from Oslo to Turku", text) == '{"start": "Oslo", "end": "Turku"}'


async def test_of_two_that_are_needed_one_is_read_again_without_the_words_of_the_other() -> None:
    ours, theirs = '{"start": "Turku", "end": "Oslo"}', '{"start": "Oslo", "end": "Turku"}'
    model = Asked(ours, theirs, shares=(0.2, 0.8))
    assert await settled(model, "to Turku from Oslo", '{"start": "Turku", "end": "Turku"}') == theirs
    first, second = model.bounds
    assert accepts(first, ours)
    assert not accepts(first, theirs)
    assert accepts(second, theirs)
    assert not accepts(second, '{"start": "Turku", "end": "Turku"}')


async def test_what_was_cut_is_not_taken() -> None:
    model = Asked('{"start": "Tur', '{"start": "Tur')
    same = '{"start": "Turku", "end": "Turku"}'
    assert await settled(model, "to Turku from Oslo", same) == same


def test_doubles_are_values_and_neither_flags_nor_nothing() -> None:
    assert doubled({"a": 5, "b": 5}, "5 km") == ("a", "b")
    assert doubled({"a": True, "b": True, "c": "", "d": ""}, "True") is None
