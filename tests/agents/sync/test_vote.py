"""Votes on forks of a context: what is counted, when it is decided, and what a resumed run starts again."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmos.agents.sync import Vote, vote
from llmos.agents.sync.vote import normal
from llmos.errors import BadArguments, Denied
from llmos.kernel.branch import Branch
from llmos.kernel.process import Process
from llmos.kernel.system import System, Task
from tests.agents.sync.programs import answering
from tests.kernel.conftest import Lever, MakeSystem


def number_of(fork: Branch) -> int:
    return int(fork.path.rpartition("~")[2]) - 1


async def ballot(system: System, answers: list[str], delays: list[int], *, early: bool) -> Vote[str]:
    """A vote in which each fork gives its answer after so many turns of the loop."""
    found: list[Vote[str]] = []

    async def answer(fork: Branch) -> str:
        for _ in range(delays[number_of(fork)]):
            await asyncio.sleep(0)
        if answers[number_of(fork)] == "error":
            raise Denied("No answer.")
        return answers[number_of(fork)]

    async def agent(process: Process) -> None:
        found.append(await vote(process, answer, len(answers), early=early))

    await system.start(Task(agent="agent"), code=agent).result()
    assert system.entries() == []
    return found[0]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
async def test_stopping_early_never_changes_a_clear_winner(make_system: MakeSystem, data: st.DataObject) -> None:
    answers = data.draw(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=9))
    delays = data.draw(st.lists(st.integers(0, 12), min_size=len(answers), max_size=len(answers)))
    system = make_system()
    early, late = [await ballot(system, answers, delays, early=early) for early in (True, False)]
    system.journal.close()
    (first, most), *others = Counter(answers).most_common()
    if not others or others[0][1] < most:
        assert early.value == late.value == first
    else:
        assert Counter(answers)[late.value] == most
    assert len(early.values) <= len(late.values) == len(answers)
    assert sum(late.shares.values()) == pytest.approx(1.0)


async def test_a_vote_ends_as_soon_as_the_rest_can_change_nothing(make_system: MakeSystem) -> None:
    ended: list[str] = []

    async def answer(fork: Branch) -> str:
        try:
            if number_of(fork) >= 3:
                await fork.sleep(3600)
        finally:
            ended.append(fork.path)
        return "Paris."

    async def agent(process: Process) -> object:
        found = await vote(process, answer, 5)
        assert len(ended) == 5
        return [found.value, len(found.values), found.asked, found.confidence]

    system = make_system(agent)
    assert await system.start(Task(agent="agent")).result() == ["Paris.", 3, 5, 1.0]


async def test_forks_that_fail_have_no_vote_and_count_against_the_winner(make_system: MakeSystem) -> None:
    found = await ballot(make_system(), ["a", "error", "a", "b"], [0, 0, 0, 0], early=False)
    assert (found.value, found.failures) == ("a", ("Denied: No answer.",))
    assert found.shares == {"a": 2 / 3, "b": 1 / 3}
    assert found.confidence == pytest.approx(0.5)
    with pytest.raises(Denied):
        await ballot(make_system(), ["error", "error"], [0, 0], early=True)


async def test_a_vote_of_none_is_refused(make_system: MakeSystem) -> None:
    with pytest.raises(BadArguments, match="vote of 0"):
        await ballot(make_system(), [], [], early=True)


def test_answers_are_the_same_but_for_case_spaces_and_a_full_stop() -> None:
    assert normal(" The  Eiffel Tower.") == normal("the eiffel tower") != normal("the tower")
    assert normal({"b": 1, "a": 2}) == normal({"a": 2, "b": 1})


async def test_the_context_is_read_once_for_all_votes(make_system: MakeSystem) -> None:
    async def answer(fork: Branch) -> str:
        return (await fork.think("Say yes")).text

    async def agent(process: Process) -> object:
        await process.think("Think well about this long question, then say no")
        found = await vote(process, answer, 3, early=False)
        return [found.value, len(process.context.messages)]

    engine = answering()
    system = make_system(agent, engine=engine)
    assert await system.start(Task(agent="agent")).result() == ["yes", 2]
    assert len({request.context.messages[:2] for request in engine.requests[1:]}) == 1


async def test_a_resumed_run_starts_only_those_whose_votes_were_counted(make_system: MakeSystem) -> None:
    async def answer(fork: Branch) -> str:
        if number_of(fork) >= 2:
            await asyncio.sleep(0.05)
        return (await fork.act("lever", {"n": number_of(fork)})).text.split()[0]

    async def agent(process: Process) -> object:
        found = await vote(process, answer, 3)
        await process.sleep(0.2)
        return [found.value, len(found.values)]

    lever = Lever()
    first = make_system(agent, tools=(lever,))
    pid = first.start(Task(agent="agent")).pid
    async with asyncio.timeout(10):
        while not any(call.kind == "sleep" for call in first.journal.calls(pid)):
            await asyncio.sleep(0.01)
    await first.close()
    second = make_system(agent, tools=(lever,))
    assert await second.resume(pid).result() == ["pulled", 2]
    assert sorted(arguments["n"] for arguments, _ in lever.calls) == [0, 1]
    assert await second.replay(pid) == ["pulled", 2]
