"""Training on traces mixed with the kernel's recipe, and the judgement on what came of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from llmos.agents import jobs
from llmos.agents.calibration import tempered
from llmos.errors import BadArguments
from llmos.learn import install, traces
from llmos.learn.data.example import Example
from llmos.learn.evaluate import Said
from llmos.learn.figures import Row, _recall, difference, temperatures, thresholds  # pyright: ignore[reportPrivateUsage]
from llmos.learn.install import Mixed, check_apart, judge
from llmos.learn.traces import Trace
from llmos.messages import Context, Message


def example(number: int, answer: str = "now") -> Example:
    messages = (Message("system", f"Choose. {number % 3}"), Message("user", f"what time is it, {number}?"))
    return Example("choose", Context(messages=messages), answer, ("now", "answer", "ask"), kind="trace")


def kept(count: int) -> None:
    traces.keep(
        Trace(
            run=f"r{number}", why="you named it", part="held" if number % 4 == 3 else "train", example=example(number)
        )
        for number in range(count)
    )


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMOS_HOME", str(tmp_path / "home"))
    return tmp_path


def test_each_example_is_read_as_often_as_the_others_beside_as_many_other_sheets() -> None:
    kept(16)
    mixed = install.recipe()
    count = len(mixed.own)
    read = [mixed.sheet(1, number) for number in range(2 * 3 * count)]
    own = Counter(one.context.messages[-1].content for name, sheet in read if name == install.NAME for one in sheet)
    assert set(own.values()) == {3}
    assert len(own) == 12  # those held back are not among them
    assert sum(name == install.NAME for name, _ in read) == len(read) / 2
    assert [mixed.sheet(1, 5)[0], mixed.sheet(1, 4)] == [read[5][0], read[4]]


def test_without_examples_there_is_nothing_to_train_on() -> None:
    with pytest.raises(BadArguments, match="no examples"):
        install.recipe()


def test_evaluating_on_what_was_trained_on_is_refused() -> None:
    trained = [example(number) for number in range(4)]
    check_apart([example(5)], trained)
    with pytest.raises(BadArguments, match="2 of the examples") as caught:
        check_apart([example(9), example(1), example(2)], trained)
    assert "hold others back" in caught.value.hint
    assert issubclass(Mixed, object)


def row(name: str, right: int, of: int) -> Row:
    return Row(name, "choose", (1.0,) * right + (0.0,) * (of - right))


def test_only_what_is_better_beyond_the_noise_is_better() -> None:
    old = (row("your traces", 10, 40), row("verdict", 30, 60))
    assert judge(old, (row("your traces", 30, 40), row("verdict", 30, 60))).better
    same = judge(old, (row("your traces", 11, 40), row("verdict", 30, 60)))
    assert not same.better
    assert "noise" in same.why
    forgot = judge(old, (row("your traces", 40, 40), row("verdict", 10, 60)))
    assert not forgot.better
    assert "worse at: verdict" in forgot.why
    worse = judge(old, (row("your traces", 0, 40), row("verdict", 30, 60)))
    assert not worse.better
    assert "worse on your traces" in worse.why


def test_a_difference_is_taken_case_by_case() -> None:
    found = difference(Row("a", "choose", (0.0, 0.0, 1.0, 1.0)), Row("a", "choose", (1.0, 0.0, 1.0, 1.0)))
    assert found.mean == 0.25
    assert found.low < 0 < found.high
    assert not found.better
    assert difference(row("a", 5, 100), row("a", 50, 100)).better
    assert difference(row("a", 50, 100), row("a", 5, 100)).worse


def test_a_threshold_refuses_no_more_than_it_may() -> None:
    others = [number / 100 for number in range(100)]
    assert _recall([0.95, 0.94, 0.99, 0.1], others, 0.05) == (1.0, 0.0, 1.0, 0.0)
    assert _recall([0.5], [], 0.05) == (1.0,)


def test_a_temperature_makes_confidences_worth_their_number() -> None:
    sure = Said(example(1), "now", (0.98, 0.01, 0.01), True)
    wrong = Said(example(2, "answer"), "now", (0.98, 0.01, 0.01), False)
    found = temperatures({"choose": [*[sure] * 6, *[wrong] * 4]})
    assert found["choose"] > 1
    assert tempered(sure.shares, found["choose"])[0] == pytest.approx(0.6, abs=0.1)
    assert sum(tempered(sure.shares, 0.3)) == pytest.approx(1)


def test_a_confidence_is_enough_where_few_are_wrong_with_it() -> None:
    def asked(answer: str, share: float) -> Said:
        one = Example("know", jobs.know("How old?"), answer, ("yes", "no"))
        return Said(one, "yes", (share, 1 - share), answer == "yes")

    others = [asked("no", number / 100) for number in range(1, 100)]
    found = thresholds({"know": [*others, asked("yes", 0.999)]}, {"know": 2.0})
    assert set(found) == {"know"}
    above = [one for one in others if tempered(one.shares, 2.0)[0] >= found["know"]]
    assert 0 < len(above) <= 4
