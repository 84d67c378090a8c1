"""Children at once: results in order, partial results, what is ended with the rest, and supervision."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmos.agents.sync import Barrier, Job, Semaphore, join, map_reduce, pipeline, supervise
from llmos.agents.sync.supervise import Restart, Strategy
from llmos.errors import BadArguments, BudgetExceeded, Denied, Interrupted, LoopDetected
from llmos.kernel.budget import Budget
from llmos.kernel.process import Process
from llmos.kernel.system import System, Task
from tests.agents.sync.programs import answering, payer
from tests.kernel.conftest import Lever, MakeSystem


async def after(process: Process, number: int) -> int:
    """Ends after so many turns of the loop; a negative one fails."""
    for _ in range(abs(number)):
        await asyncio.sleep(0)
    if number < 0:
        raise Denied(f"Not {-number}.")
    return number


async def for_ever(process: Process) -> None:
    await process.sleep(3600)


async def until(system: System, count: int) -> None:
    """Wait until so many processes are in a call."""
    async with asyncio.timeout(10):
        while sum(bool(entry.doing) for entry in system.entries()) < count:
            await asyncio.sleep(0.002)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 9), max_size=7), st.integers(1, 4))
async def test_results_come_in_the_order_of_the_items(
    make_system: MakeSystem, numbers: list[int], at_once: int
) -> None:
    running: list[int] = [0, 0]

    async def counted(process: Process, number: int) -> int:
        running[0] += 1
        running[1] = max(running)
        result = await after(process, number)
        running[0] -= 1
        return result

    async def agent(process: Process) -> object:
        children = [await process.spawn(after, number) for number in numbers]
        spread = await map_reduce(process, numbers, counted, at_once=at_once)
        return [await join(process, children), spread]

    system = make_system(agent)
    assert await system.start(Task(agent="agent", budget=Budget())).result() == [numbers, numbers]
    assert running[1] <= at_once
    system.journal.close()


async def test_the_first_child_that_fails_ends_the_others(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> object:
        children = [await process.spawn(for_ever), await process.spawn(after, -3), await process.spawn(for_ever)]
        with pytest.raises(Denied, match="Not 3"):
            await join(process, children)
        return [child.entry.state for child in children]

    assert await make_system(agent).start(Task(agent="agent")).result() == ["killed", "failed", "killed"]


async def test_failures_stand_in_their_places_if_they_are_wanted(make_system: MakeSystem) -> None:
    async def dies(process: Process) -> None:
        raise ValueError("a bug")

    async def agent(process: Process) -> object:
        children = [await process.spawn(after, 5), await process.spawn(dies), await process.spawn(after, -1)]
        joined = await join(process, children, return_failures=True)
        through = await pipeline(process, [2, -2], after, after, return_failures=True)
        return [str(one) for one in (*joined, *through)]

    result = await make_system(agent).start(Task(agent="agent")).result()
    assert result == ["5", "a bug", "Not 1.", "2", "Not 2."]


async def test_an_interrupt_during_a_join_keeps_what_is_there(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> object:
        children = [await process.spawn(after, 2), await process.spawn(for_ever)]
        results = await join(process, children, return_failures=True)
        assert isinstance(results[1], Interrupted)
        assert children[1].entry.state == "killed"
        return [results[0], results[1].message, (await process.think("Say so")).text]

    system = make_system(agent, engine=answering())
    child = system.start(Task(agent="agent"))
    await until(system, 2)
    while len(system.entries()) > 2:
        await asyncio.sleep(0.002)
    await asyncio.sleep(0.05)
    system.interrupt(child.entry)
    expected = [2, f"Process {child.pid!r} was interrupted.", "so"]
    assert await child.result() == expected
    assert await system.replay(child.pid) == expected


async def test_the_end_of_the_budget_during_a_join_keeps_what_is_there(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> object:
        children = [await process.spawn(after, 2), await process.spawn(for_ever)]
        results = await join(process, children, return_failures=True)
        return [results[0], type(results[1]).__name__]

    system = make_system(agent)
    child = system.start(Task(agent="agent", budget=Budget(seconds=0.3)))
    assert await child.result() == [2, "BudgetExceeded"]
    assert system.entries() == []


async def test_results_are_reduced_in_groups_until_one_is_left(make_system: MakeSystem) -> None:
    most: list[int] = []

    async def same(process: Process, number: int) -> int:
        return number

    def total(process: Process, numbers: list[int]) -> int:
        most.append(len(numbers))
        return sum(numbers)

    async def agent(process: Process) -> object:
        return [
            await map_reduce(process, range(20), same, total, group=3),
            await map_reduce(process, [], same, total, group=3),
            await map_reduce(process, [7], same, total),
        ]

    assert await make_system(agent).start(Task(agent="agent", budget=Budget())).result() == [190, 0, 7]
    assert max(most) == 3


async def test_what_makes_no_sense_is_refused(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> None:
        for wrong in (
            map_reduce(process, [1], after, at_once=0),
            map_reduce(process, [1], after, group=1),
            supervise(process, [], seconds=0),
            supervise(process, [], restarts=-1),
        ):
            with pytest.raises(BadArguments):
                await wrong
        for make in (Barrier, Semaphore):
            with pytest.raises(BadArguments):
                make(process, 0)

    await make_system(agent).start(Task(agent="agent")).result()


# -- supervision


@pytest.mark.parametrize(
    ("strategy", "lives"), [("one_for_one", [1, 2, 1]), ("all_for_one", [2, 2, 2]), ("rest_for_one", [1, 2, 2])]
)
async def test_who_is_started_anew_is_as_the_strategy_says(
    make_system: MakeSystem, strategy: Strategy, lives: list[int]
) -> None:
    begun = [0, 0, 0]

    async def worker(process: Process, number: int) -> int:
        begun[number] += 1
        if number == 1 and begun[1] == 1:
            await process.sleep(0.02)
            raise Denied("Once.")
        await process.sleep(0.1)
        return number

    async def agent(process: Process) -> object:
        return await supervise(process, [Job(worker, (number,)) for number in range(3)], strategy=strategy)

    system = make_system(agent)
    assert await system.start(Task(agent="agent")).result() == [0, 1, 2]
    assert begun == lives


@pytest.mark.parametrize(
    ("restart", "fails", "lives"),
    [
        ("permanent", False, 3),
        ("permanent", True, 3),
        ("transient", False, 1),
        ("transient", True, 3),
        ("temporary", False, 1),
        ("temporary", True, 1),
    ],
)
async def test_whether_a_job_is_started_again_is_as_it_says(
    make_system: MakeSystem, restart: Restart, fails: bool, lives: int
) -> None:
    begun: list[int] = []

    async def worker(process: Process) -> str:
        begun.append(1)
        if fails:
            raise Denied("Again.")
        return "well"

    async def agent(process: Process) -> object:
        try:
            return str((await supervise(process, [Job(worker, restart=restart)], restarts=2))[0])
        except LoopDetected as error:
            return error.message

    said = await make_system(agent).start(Task(agent="agent")).result()
    assert len(begun) == lives
    expected = "2 restarts within 5 s" if lives == 3 else "Again." if fails else "well"
    assert expected in said


async def test_restarts_count_only_within_their_time(make_system: MakeSystem) -> None:
    clock = [1000.0]

    async def worker(process: Process) -> str:
        clock[0] += 10.0
        if clock[0] < 1100:
            raise Denied("Not yet.")
        return "at last"

    async def agent(process: Process) -> object:
        return await supervise(process, [Job(worker)], restarts=1, seconds=5)

    system = make_system(agent, clock=lambda: clock[0])
    assert await system.start(Task(agent="agent")).result() == ["at last"]


async def test_a_supervisor_that_gives_up_ends_all_and_a_temporary_job_ends_with_the_others(
    make_system: MakeSystem,
) -> None:
    async def agent(process: Process) -> object:
        jobs = [Job(for_ever), Job(after, (-5,)), Job(for_ever, restart="temporary")]
        with pytest.raises(LoopDetected) as raised:
            await supervise(process, jobs, strategy="all_for_one", restarts=1)
        assert isinstance(raised.value.__cause__, Denied)
        return [child.entry.state for child in process.entry.children]

    system = make_system(agent)
    states = await system.start(Task(agent="agent")).result()
    assert states == ["killed", "failed", "killed", "killed", "failed"]


# -- meeting


async def test_no_more_are_let_in_than_there_are_places_and_in_the_order_in_which_they_came(
    make_system: MakeSystem,
) -> None:
    inside: list[int] = []
    order: list[int] = []
    most: list[int] = []

    async def member(process: Process, places: Semaphore, number: int) -> None:
        async with places.place(process):
            inside.append(number)
            order.append(number)
            most.append(len(inside))
            await process.sleep(0.01)
            inside.remove(number)

    async def agent(process: Process) -> None:
        places = Semaphore(process, 2)

        async def enter(own: Process, number: int) -> None:
            await member(own, places, number)

        await join(process, [await process.spawn(enter, number) for number in range(7)])

    await make_system(agent).start(Task(agent="agent")).result()
    assert max(most) == 2
    assert order == list(range(7))


async def test_who_is_killed_while_waiting_or_inside_leaves_its_place_to_others(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> object:
        places = Semaphore(process, 1)

        async def holds(own: Process, seconds: float) -> str:
            async with places.place(own):
                await own.sleep(seconds)
            return "had it"

        first, second, third = [await process.spawn(holds, seconds) for seconds in (3600, 3600, 0)]
        await process.sleep(0.02)
        process.system.kill(second.entry)
        await process.sleep(0.02)
        process.system.kill(first.entry)
        return await process.wait(third)

    assert await make_system(agent).start(Task(agent="agent")).result() == "had it"


async def test_after_a_kill_the_one_that_was_inside_is_inside_before_others_are_let_in(
    make_system: MakeSystem,
) -> None:
    log: list[str] = []
    late = [False]

    async def agent(process: Process) -> None:
        places = Semaphore(process, 1)

        async def member(own: Process, number: int) -> None:
            if number == 0 and late[0]:
                await asyncio.sleep(0.05)  # the others come first this time
            async with places.place(own):
                log.append(f"{number} in")
                await own.sleep(0.1)
                log.append(f"{number} out")

        await join(process, [await process.spawn(member, number) for number in range(3)])

    first = make_system(agent)
    pid = first.start(Task(agent="agent")).pid
    await until(first, 4)
    await first.close()
    assert log == ["0 in"]
    log.clear()
    late[0] = True
    await make_system(agent).resume(pid).result()
    assert log[:2] == ["0 in", "0 out"]
    assert all(log[place].split()[0] == log[place + 1].split()[0] for place in range(0, 6, 2))


async def test_nobody_passes_a_barrier_before_all_have_come(make_system: MakeSystem) -> None:
    log: list[str] = []

    async def agent(process: Process) -> None:
        barrier = Barrier(process, 3)

        async def member(own: Process, number: int) -> None:
            for turn in range(3):
                await after(own, 4 * number)
                log.append(f"{turn} came")
                await barrier.wait(own)
                log.append(f"{turn} went")

        await join(process, [await process.spawn(member, number) for number in range(3)])

    await make_system(agent).start(Task(agent="agent")).result()
    for turn in range(3):
        came = [place for place, line in enumerate(log) if line == f"{turn} came"]
        went = [place for place, line in enumerate(log) if line == f"{turn} went"]
        assert len(came) == len(went) == 3
        assert max(came) < min(went)


async def test_a_barrier_that_is_not_reached_in_time_says_how_many_came(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> None:
        await Barrier(process, 2).wait(process, seconds=0.01)

    with pytest.raises(BudgetExceeded, match=r"Of 2 parties 1 came"):
        await make_system(agent).start(Task(agent="agent")).result()


async def test_a_barrier_that_opened_stays_open_for_who_had_not_noted_it(make_system: MakeSystem) -> None:
    """One party passed and failed for good; the other was killed before it could enter that it had passed."""
    held = [True]

    async def agent(process: Process) -> object:
        barrier = Barrier(process, 2)

        async def passes(own: Process) -> None:
            await barrier.wait(own)
            raise Denied("After the barrier.")

        async def member(own: Process) -> str:
            if held[0]:
                await own.system.engine()
                await asyncio.sleep(3600)
            await barrier.wait(own)
            return "passed"

        async def opens(own: Process) -> None:
            if held[0]:
                await barrier.wait(own)

        children = [await process.spawn(code) for code in (passes, member, opens)]
        with pytest.raises(Denied):
            await process.wait(children[0])
        await process.sleep(0.01)
        return await process.wait(children[1])

    first = make_system(agent)
    pid = first.start(Task(agent="agent")).pid
    await until(first, 1)
    async with asyncio.timeout(10):
        while not any(call.kind == "sleep" for call in first.journal.calls(pid)):
            await asyncio.sleep(0.005)
    await first.close()
    held[0] = False
    assert await asyncio.wait_for(make_system(agent).resume(pid).result(), 10) == "passed"


async def test_items_are_paid_once_though_a_stage_by_name_has_a_child_of_its_own(
    make_system: MakeSystem,
) -> None:
    lever = Lever(name="pay")

    async def agent(process: Process) -> object:
        return await pipeline(process, [1, 2], "payer", "payer")

    system = make_system(agent, payer, engine=answering(), tools=(lever,))
    child = system.start(Task(agent="agent"))
    assert await child.result() == [1, 2]
    assert sorted(arguments["n"] for arguments, _ in lever.calls) == [1, 1, 2, 2]
    assert {path for path, *_ in system.journal.processes(child.pid)} >= {"0.1.1", "0.1.2", "0.2.1", "0.2.2"}
