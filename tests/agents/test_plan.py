"""Plans: what is refused before anything runs, and the order of what is not."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from graphlib import CycleError, TopologicalSorter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from llmos.agents.plan import MAX_SUBTASKS, Check, Plan, Subtask
from llmos.errors import BadPlan

AGENTS, VERIFIERS = {"worker"}, {"schema"}


def part(name: str, *needs: str, agent: str = "worker", check: str = "", tokens: int | None = None) -> Subtask:
    return Subtask(
        id=name, agent=agent, task="Do it.", needs=needs, check=Check(verifier=check) if check else None, tokens=tokens
    )


def checked(*parts: Subtask, answer: str = "", tokens: float = float("inf")) -> Sequence[str]:
    plan = Plan(goal="all of it", subtasks=parts, answer=answer)
    return [one.id for one in plan.checked(agents=AGENTS, verifiers=VERIFIERS, tokens=tokens)]


def test_each_subtask_comes_after_what_it_needs() -> None:
    assert checked(part("c", "a", "b"), part("b", "a"), part("a"), answer="c") == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ((), "no subtasks"),
        ((part("a", "b"), part("b", "a")), "circular"),
        ((part("a", "a"),), "circular"),
        ((part("a", agent="nobody"),), "agent 'nobody'"),
        ((part("a", check="magic"),), "checked by 'magic'"),
        ((part("a", "z"),), "needs 'z'"),
        ((part("a"), part("a")), "same id"),
        (tuple(part(f"p{number}") for number in range(MAX_SUBTASKS + 1)), "are allowed"),
    ],
)
def test_a_plan_that_can_not_be_carried_out_is_refused_and_says_why(parts: tuple[Subtask, ...], words: str) -> None:
    with pytest.raises(BadPlan, match=words):
        checked(*parts)


def test_a_plan_beyond_its_budget_is_refused_with_the_numbers() -> None:
    assert checked(part("a", tokens=600), part("b", tokens=400), tokens=1000) == ["a", "b"]
    with pytest.raises(BadPlan, match=r"1,001 tokens; 1,000 are left"):
        checked(part("a", tokens=600), part("b", tokens=401), tokens=1000)


def test_an_answer_from_nowhere_is_refused() -> None:
    with pytest.raises(BadPlan, match="none of its subtasks"):
        checked(part("a"), answer="b")


@pytest.mark.parametrize("name", ["", "A", "1a", "a b", "../a", "a" * 41])
def test_names_that_could_be_more_than_names_are_no_plan(name: str) -> None:
    with pytest.raises(ValidationError):
        part(name)


@given(st.lists(st.sets(st.integers(0, 7)), min_size=1, max_size=8))
def test_every_plan_is_either_in_order_or_refused(needs: list[set[int]]) -> None:
    graph = {f"p{number}": tuple(f"p{one}" for one in sorted(wanted)) for number, wanted in enumerate(needs)}
    try:
        order = checked(*(part(name, *wanted) for name, wanted in graph.items()))
    except BadPlan:
        known = all(one in graph for wanted in graph.values() for one in wanted)
        with pytest.raises(CycleError) if known else suppress(CycleError):
            TopologicalSorter(graph).prepare()
        return
    assert sorted(order) == sorted(graph)
    for name, wanted in graph.items():
        assert all(order.index(one) < order.index(name) for one in wanted)
