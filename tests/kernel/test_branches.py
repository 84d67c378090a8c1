"""Branches beside the process's own context: thinking aside, and several lines of work collected as they end."""

from __future__ import annotations

import asyncio
import json

import pytest

from llmos.engine.scripted import ScriptedEngine
from llmos.errors import BadArguments, BudgetExceeded, Denied
from llmos.kernel.budget import Budget
from llmos.kernel.calls import Deny
from llmos.kernel.process import Process
from llmos.kernel.system import System, Task
from llmos.messages import Context, Message, Sampling
from tests.kernel.conftest import Lever, MakeSystem, Permissive

NAMES = ("slow", "quick", "middle")


async def until_recorded(system: System, run: str, kind: str, count: int) -> None:
    """Wait until so many calls of a kind are done."""
    async with asyncio.timeout(20):
        while sum(call.kind == kind and call.done for call in system.journal.calls(run)) < count:
            await asyncio.sleep(0.005)


async def test_thinking_aside_leaves_no_trace_in_the_context(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> list[str]:
        process.hear(Message("user", "Remember this."))
        before = process.context
        aside = process.aside(Context.chat("Be a judge."))
        thought = await aside.think("Is it good?")
        assert process.context == before
        assert [one.content for one in aside.context.messages] == ["Be a judge.", "Is it good?", thought.text]
        return [aside.path, process.aside().path, (await process.fork()).path, (await process.think("Well?")).text]

    engine = ScriptedEngine({"Is it good?": "Yes.", "Well?": "Good."})
    system = make_system(agent, engine=engine)
    child = system.start(Task(agent="agent"))
    assert await child.result() == ["0~1", "0~2", "0~3", "Good."]
    assert [one.content for one in engine.requests[1].context.messages] == ["Remember this.", "Well?"]
    assert [(call.path, call.kind) for call in system.journal.calls(child.pid)] == [
        ("0~1", "think"),
        ("0", "fork"),
        ("0", "think"),
    ]
    assert await system.replay(child.pid) == ["0~1", "0~2", "0~3", "Good."]


async def test_many_asides_at_once_replay_without_an_engine(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> list[str]:
        async def consider(name: str) -> str:
            aside = process.aside(Context.chat(name))
            first = await aside.think("And?")
            return f"{first.text} {(await aside.think('So?')).text} {aside.path}"

        return list(await asyncio.gather(*(consider(str(number)) for number in range(20))))

    said = iter(range(1000))
    engine = ScriptedEngine(lambda _: f"thought {next(said)}")
    system = make_system(agent, engine=engine)
    child = system.start(Task(agent="agent"))
    result = await child.result()
    assert len({line.rpartition("~")[2] for line in result}) == 20
    assert await system.replay(child.pid) == result
    assert len(engine.requests) == 40


def collector(waits: dict[str, asyncio.Event], seen: list[list[str]]) -> object:
    async def agent(process: Process) -> list[str]:
        lives: list[str] = []
        seen.append(lives)

        async def line(name: str) -> str:
            branch = process.aside()
            await waits[name].wait()
            if name == "middle":
                raise ValueError(name)
            return f"{name}: {(await branch.act('lever', {'n': NAMES.index(name)})).text}"

        pending = [asyncio.create_task(line(name)) for name in NAMES]
        left = list(NAMES)
        while pending:
            place = await process.first(pending)
            done = pending.pop(place)
            lives.append(left.pop(place))
            if done.exception() is None:
                lives[-1] = done.result()
        return lives

    return agent


async def test_lines_of_work_are_collected_as_they_end_and_again_so_after_a_kill(make_system: MakeSystem) -> None:
    waits = {name: asyncio.Event() for name in NAMES}
    seen: list[list[str]] = []
    agent, lever = collector(waits, seen), Lever()
    first = make_system(agent, tools=(lever,))
    pid = first.start(Task(agent="agent")).pid
    waits["quick"].set()
    await until_recorded(first, pid, "first", 1)
    waits["middle"].set()
    await until_recorded(first, pid, "first", 2)
    await first.close()
    assert seen == [["quick: pulled 1", "middle"]]
    for event in waits.values():  # now all would be ready at once, the slow one before the others
        event.set()
    second = make_system(agent, tools=(lever,))
    result = await second.resume(pid).result()
    assert result == ["quick: pulled 1", "middle", "slow: pulled 0"]
    assert len(lever.calls) == 2
    assert await make_system(agent, tools=(lever,)).replay(pid) == result


async def test_the_first_of_nothing_is_refused(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> int:
        return await process.first([])

    with pytest.raises(BadArguments, match="nothing to wait for"):
        await make_system(agent).start(Task(agent="agent")).result()


async def test_waiting_for_the_first_ends_with_the_time(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> int:
        never = asyncio.get_running_loop().create_future()
        return await process.first([never])

    with pytest.raises(BudgetExceeded, match="seconds"):
        await make_system(agent).start(Task(agent="agent", budget=Budget(seconds=0.05))).result()


async def test_a_child_is_never_more_urgent_than_its_parent(make_system: MakeSystem) -> None:
    async def thinks(process: Process) -> str:
        return (await process.think("Now?")).text

    async def agent(process: Process) -> None:
        await process.wait(await process.spawn(thinks, priority="interactive"))
        await process.think("Later?")

    engine = ScriptedEngine("Fine.")
    system = make_system(agent, engine=engine)
    await system.start(Task(agent="agent", priority="background")).result()
    assert [request.priority for request in engine.requests] == ["background", "background"]


async def test_a_resumed_run_thinks_as_it_began_whatever_the_settings_are_then(make_system: MakeSystem) -> None:
    go = asyncio.Event()

    async def agent(process: Process) -> str:
        await process.think("One?")
        await process.wait(await process.spawn(child))
        return (await process.think("Two?")).text

    async def child(process: Process) -> str:
        text = (await process.think("Child?")).text
        await go.wait()
        return text

    engine = ScriptedEngine("Fine.")
    began = Sampling(temperature=0.9, logit_bias={7: -1.5}, seed=3)
    first = make_system(agent, engine=engine, sampling=began, max_tokens=40)
    pid = first.start(Task(agent="agent")).pid
    await until_recorded(first, pid, "think", 2)
    await first.close()
    go.set()
    second = make_system(agent, engine=engine, sampling=Sampling(temperature=0.0), max_tokens=7)
    assert await second.resume(pid).result() == "Fine."
    assert [request.sampling for request in engine.requests] == [began] * 3
    assert [request.max_tokens for request in engine.requests] == [40] * 3


async def test_what_the_policy_decided_is_in_the_journal_and_forgotten_with_the_run(make_system: MakeSystem) -> None:
    class Picky(Permissive):
        def decide(self, call, situation, /):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            return Deny("two is too much") if call.arguments["n"] == 2 else super().decide(call, situation)

    async def agent(process: Process) -> str:
        await process.act("lever", {"n": 1})
        with pytest.raises(Denied):
            await process.act("lever", {"n": 2})
        return (await process.think("Well?")).text

    system = make_system(agent, tools=(Lever(),), policy=Picky())
    child = system.start(Task(agent="agent", level="L4"))
    await child.result()
    allowed, denied, thought = system.journal.calls(child.pid)
    assert json.loads(allowed.decision) == {
        "verdict": "allow", "reason": "a test", "level": "L4", "grant": "", "from": {}, "user": ""
    }  # fmt: skip
    assert json.loads(denied.decision)["reason"] == "two is too much"
    assert (thought.decision, denied.failed) == ("", True)
    assert [str(error) for error in child.entry.denied.values()]
    assert system.journal.call(child.pid, "0", 2) == denied
    assert system.journal.call(child.pid, "0", 9) is None
    assert system.journal.audit() is None
    system.journal._database.execute(  # pyright: ignore[reportPrivateUsage]
        "UPDATE contents SET body = replace(body, 'too much', 'too few') WHERE body LIKE '%verdict%'"
    )
    finding = system.journal.audit()
    assert finding is not None
    assert "contents of call 2" in finding.problem
    system.journal.forget(child.pid)
    assert [call.decision for call in system.journal.calls(child.pid)] == ["", "", ""]
    assert system.journal.audit() is None


async def test_a_refusal_counts_until_the_same_is_done_after_all(make_system: MakeSystem) -> None:
    refused = {1}

    class Wavering(Permissive):
        def decide(self, call, situation, /):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            return Deny("not now") if call.arguments["n"] in refused else super().decide(call, situation)

    async def agent(process: Process, again: bool) -> None:
        with pytest.raises(Denied):
            await process.act("lever", {"n": 1})
        await process.act("lever", {"n": 2})
        refused.clear()
        if again:
            await process.act("lever", {"n": 1})
        refused.add(1)

    system = make_system(agent, tools=(Lever(),), policy=Wavering())
    for again, left in ((False, 1), (True, 0)):
        child = system.start(Task(agent="agent", arguments=(again,)))
        await child.result()
        assert len(child.entry.denied) == left


async def test_whoever_collects_results_may_stop_early(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> list[str]:
        never = asyncio.Event()

        async def line(question: str) -> str:
            thought = await process.aside().think(question)
            if question == "never":
                await never.wait()
            return thought.text

        pending = [asyncio.create_task(line(question)) for question in ("never", "a", "b", "c")]
        answers: list[str] = []
        while len(answers) < 2:
            answers.append(pending.pop(await process.first(pending)).result())
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        return answers

    system = make_system(agent, engine=ScriptedEngine({"a": "A", "b": "B", "c": "C", "never": "N"}))
    child = system.start(Task(agent="agent"))
    answers = await child.result()
    assert len(set(answers)) == 2
    assert await system.replay(child.pid) == answers
