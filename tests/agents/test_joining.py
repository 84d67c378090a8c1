"""Words, meanings and microcode joined: each can decide where the others leave it open."""

from __future__ import annotations

import pytest

from llmos.agents.grounding import Grounded
from llmos.agents.jobs import ANSWER, ASK
from llmos.agents.joining import COLUMNS, REFUSAL, joined, refusal, rows, sayings, weights
from llmos.agents.shortlist import Scored


def scored(**scores: float) -> list[Scored]:
    return [Scored(name, {}, score, Grounded()) for name, score in scores.items()]


def even(*names: str) -> dict[str, float]:
    return dict.fromkeys((*names, ANSWER, ASK), 1 / (len(names) + 2))


def test_shares_add_up_to_one_and_the_likeliest_comes_first() -> None:
    found = joined(scored(boil=1.0, fry=0.0, answer=0.0), {"boil": 0.4, "fry": 0.1}, even("boil", "fry"))
    assert set(found) == {"boil", "fry", ANSWER, ASK}
    assert sum(found.values()) == pytest.approx(1.0)
    assert list(found)[:2] == ["boil", "fry"]


@pytest.mark.parametrize("said", [{"boil": 0.01, "fry": 0.97, ANSWER: 0.01, ASK: 0.01}])
def test_microcode_decides_where_words_and_meaning_do_not(said: dict[str, float]) -> None:
    for near in ({"boil": 0.4, "fry": 0.4}, None):
        assert next(iter(joined(scored(boil=0.0, fry=0.0, answer=-2.0), near, said))) == "fry"


def test_meaning_decides_where_the_others_do_not() -> None:
    choices = scored(boil=0.0, fry=0.0, answer=-2.0)
    assert next(iter(joined(choices, {"boil": 0.7, "fry": 0.1}, even("boil", "fry")))) == "boil"
    assert next(iter(joined(choices, {"boil": 0.1, "fry": 0.7}, even("boil", "fry")))) == "fry"


def test_what_is_weighed_has_a_weight() -> None:
    choices, said = scored(boil=1.5, fry=0.5, answer=3.0), even("boil", "fry")
    found = rows(choices, {"boil": 0.2, "fry": 0.6}, said)
    assert {name: row[:2] for name, row in found.items()} == {"boil": (1.5, 0.2), "fry": (0.5, 0.6)}
    assert all(len(row) == len(COLUMNS) == len(weights(meaning=True).tools) for row in found.values())
    assert refusal(choices, said) == pytest.approx((0.0, 1.0, 1.5))
    assert len(weights(meaning=True).refusal) == len(REFUSAL)


def test_calling_none_is_for_microcode_to_say() -> None:
    choices, near = scored(boil=0.0, fry=0.0, answer=0.0), {"boil": 0.3, "fry": 0.3}
    assert next(iter(joined(choices, near, {"boil": 0.02, "fry": 0.02, ANSWER: 0.95, ASK: 0.01}))) == ANSWER
    assert next(iter(joined(choices, near, {"boil": 0.02, "fry": 0.02, ANSWER: 0.01, ASK: 0.95}))) == ASK


def test_a_tool_comes_first_though_each_is_less_likely_than_none() -> None:
    choices, near = scored(boil=0.0, fry=0.0, answer=0.0), {"boil": 0.3, "fry": 0.3}
    found = joined(choices, near, {"boil": 0.3, "fry": 0.3, ANSWER: 0.35, ASK: 0.05})
    assert next(iter(found)) in ("boil", "fry")


def test_without_tools_none_is_called() -> None:
    assert next(iter(joined(scored(answer=0.0), None, {ANSWER: 0.9, ASK: 0.1}))) == ANSWER


def test_a_choice_that_microcode_was_not_asked_about_is_unlikely_but_not_impossible() -> None:
    found = joined(scored(boil=0.0, fry=0.0, answer=0.0), None, {"boil": 0.5, ANSWER: 0.25, ASK: 0.25})
    assert 0 < found["fry"] < found["boil"]


def test_without_meanings_nothing_weighs_by_them() -> None:
    place = COLUMNS.index("meaning")
    assert weights(meaning=False).tools[place] == 0.0 < weights(meaning=True).tools[place]


def test_a_name_is_read_as_words() -> None:
    assert sayings("sendMail.now", "Sends a mail.\nIt is gone at once.", ["write to Ada"]) == (
        "send mail now: Sends a mail.",
        "write to Ada",
    )
