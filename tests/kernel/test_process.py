"""System calls: what an agent can do, what is journaled, and what a second life of it finds there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel

from llmos.engine.scripted import ScriptedEngine
from llmos.errors import BudgetExceeded, Interrupted, JournalMismatch, LoopDetected, NoSuchProcess, Unfinished
from llmos.kernel.budget import Budget
from llmos.kernel.calls import Effect, Traits
from llmos.kernel.journal import Journal
from llmos.kernel.process import Process
from llmos.kernel.system import Task
from llmos.messages import Context
from tests.kernel.conftest import Lever, MakeSystem, Person


class City(BaseModel):
    name: str


async def test_a_run_thinks_and_acts_and_is_in_the_journal(make_system: MakeSystem) -> None:
    async def agent(process: Process, question: str) -> str:
        thought = await process.think(question)
        result = await process.act("lever", {"n": 1})
        return f"{thought.text} {result.text}"

    lever = Lever()
    system = make_system(agent, tools=(lever,))
    child = system.start(Task(agent="agent", arguments=("Hello?",)))
    assert await child.result() == "Fine. pulled 1"
    run = system.journal.run(child.pid)
    assert (run.state, run.outcome) == ("done", json.dumps("Fine. pulled 1"))
    calls = system.journal.calls(child.pid)
    assert [(call.kind, call.title, call.done) for call in calls] == [
        ("think", "Hello?", True),
        ("act", "lever(n='1')", True),
    ]
    assert system.journal.audit() is None


async def test_thinks_give_values_choices_and_actions(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> list[object]:
        city = await process.think("Where?", output=City)
        choice = await process.think("Which?", choices=("left", "right"))
        action = await process.think("Do it.", actions=("lever",))
        return [
            city.value.name,
            choice.value,
            sum(choice.probabilities),
            action.value.name,
            dict(action.value.arguments),
        ]

    engine = ScriptedEngine({"Where?": '{"name": "Rome"}', "Do it.": '{"tool": "lever", "arguments": {"n": 2}}'})
    system = make_system(agent, engine=engine, tools=(Lever(),))
    name, choice, total, tool, arguments = await system.start(Task(agent="agent")).result()
    assert (name, tool, arguments) == ("Rome", "lever", {"n": 2})
    assert choice in ("left", "right")
    assert total == pytest.approx(1.0)


async def test_a_resumed_run_finds_its_calls_answered(make_system: MakeSystem) -> None:
    lives: list[list[object]] = []
    crash = True

    async def agent(process: Process) -> str:
        life: list[object] = [process.now(), process.random()]
        lives.append(life)
        life.append((await process.think("One?")).text)
        life.append((await process.act("lever", {"n": 1})).text)
        life.append(process.context)
        if crash:
            await process.sleep(1000)
        await process.act("lever", {"n": 2})
        return (await process.think("Two?")).text

    lever, engine = Lever(), ScriptedEngine("Fine.")
    first = make_system(agent, engine=engine, tools=(lever,))
    pid = first.start(Task(agent="agent")).pid
    while len(first.journal.calls(pid)) < 5:
        await asyncio.sleep(0.01)
    await first.close()
    assert first.journal.run(pid).state == "running"
    crash = False

    async def shorter(process: Process) -> str:
        assert process.now() + process.random() > 0
        lives.append([(await process.think("Another?")).text])
        return ""

    with pytest.raises(JournalMismatch, match=r"Call 3 of process '0'.*Another"):
        await make_system(shorter, tools=(lever,)).resume(pid, code=shorter).result()
    second = make_system(agent, engine=engine, tools=(lever,))
    with pytest.raises(JournalMismatch, match=r"Call 5 .*'sleep'"):
        await second.resume(pid).result()
    crash = True
    assert lives[0] == lives[-1]
    assert len(lever.calls) == 1


async def test_a_checkpoint_brings_the_contexts_state_back(
    make_system: MakeSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    restored: list[str] = []
    restore = ScriptedEngine.restore

    async def watched(self: ScriptedEngine, path: Path, /) -> Context:
        restored.append(path.name)
        return await restore(self, path)

    monkeypatch.setattr(ScriptedEngine, "restore", watched)
    paused = asyncio.Event()

    async def agent(process: Process) -> str:
        await process.think("One?")
        await process.checkpoint()
        if not paused.is_set():
            paused.set()
            await asyncio.sleep(1000)
        await process.think("Two?")
        return (await process.think("Three?")).text

    first = make_system(agent)
    pid = first.start(Task(agent="agent")).pid
    await asyncio.wait_for(paused.wait(), 10)
    while not first.journal.calls(pid)[-1].done:
        await asyncio.sleep(0.01)
    await first.close()
    assert not restored
    assert await make_system(agent).resume(pid).result() == "Fine."
    assert restored == ["0.kv"]


async def test_a_finished_run_replays_without_an_engine(make_system: MakeSystem) -> None:
    async def agent(process: Process, question: str) -> str:
        drafts = [await process.fork() for _ in range(3)]
        thoughts = await asyncio.gather(*(draft.think(f"{question} {n}") for n, draft in enumerate(drafts)))
        child = await process.spawn(worker, 5)
        return " ".join([*(thought.text for thought in thoughts), str(await process.wait(child))])

    async def worker(process: Process, n: int) -> int:
        await process.act("lever", {"n": n})
        return n * n

    engine, lever = ScriptedEngine(lambda request: request.context.messages[-1].content), Lever()
    system = make_system(agent, engine=engine, tools=(lever,))
    child = system.start(Task(agent="agent", arguments=("Say",)))
    answer = await child.result()
    assert answer == "Say 0 Say 1 Say 2 25"
    await engine.close()
    assert await system.replay(child.pid) == answer
    assert len(lever.calls) == 1


@pytest.mark.parametrize(
    ("traits", "told", "calls"),
    [
        (Traits(effect="writes"), ["yes"], 1),
        (Traits(effect="writes"), ["no"], 2),
        (Traits(effect="writes", keyed=True), [], 2),
        (Traits(effect="reads"), [], 2),
    ],
)
async def test_an_effect_of_unknown_end_is_asked_about_unless_it_has_a_key(
    make_system: MakeSystem, traits: Traits, told: list[str], calls: int
) -> None:
    async def agent(process: Process) -> str:
        return (await process.act("lever", {"n": 1})).text

    entered = asyncio.Event()

    async def hang(*_: object) -> object:
        entered.set()
        await asyncio.sleep(0 if len(lever.calls) > 1 else 1000)
        from llmos.kernel.calls import Result

        return Result("pulled")

    lever = Lever(traits=traits, does=hang)  # type: ignore[arg-type]
    first = make_system(agent, tools=(lever,))
    pid = first.start(Task(agent="agent")).pid
    await asyncio.wait_for(entered.wait(), 10)
    await first.close()
    with_nobody = make_system(agent, tools=(lever,))
    if told:
        with pytest.raises(Unfinished, match="nobody knows"):
            await with_nobody.resume(pid).result()
    person = Person(answers=list(told))
    second = make_system(agent, tools=(lever,), approver=person)
    await second.resume(pid).result()
    assert len(lever.calls) == calls
    assert len({key for _, key in lever.calls}) == 1
    assert len(person.asked) == len(told)


async def test_a_tool_that_can_read_back_is_asked_in_place_of_the_user(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> str:
        return (await process.act("lever", {"n": 1})).text

    entered = asyncio.Event()

    async def hang(*_: object) -> object:
        entered.set()
        await asyncio.sleep(1000)
        return None

    lever = Lever(does=hang, reads_back=lambda key: True)  # type: ignore[arg-type]
    first = make_system(agent, tools=(lever,))
    pid = first.start(Task(agent="agent")).pid
    await asyncio.wait_for(entered.wait(), 10)
    await first.close()
    assert await make_system(agent, tools=(lever,)).resume(pid).result() == "done before"
    assert len(lever.calls) == 1


async def test_a_budget_that_runs_out_is_a_typed_end(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> None:
        while True:
            await process.act("lever", {"n": process.budget.used["calls"]})

    system = make_system(agent, tools=(Lever(),))
    child = system.start(Task(agent="agent", budget=Budget(calls=7)))
    with pytest.raises(BudgetExceeded, match="budget of 7 calls"):
        await child.result()
    assert system.journal.run(child.pid).state == "failed"
    timed = system.start(Task(agent="sleeper", budget=Budget(seconds=0.05)), code=_sleeper)
    with pytest.raises(BudgetExceeded, match="seconds"):
        await timed.result()


async def _sleeper(process: Process) -> None:
    await process.sleep(1000)


async def test_a_child_uses_up_its_parents_budget_too(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> None:
        await process.wait(await process.spawn(worker, budget=Budget(calls=100)))

    async def worker(process: Process) -> None:
        for n in range(10):
            await process.act("lever", {"n": n})

    system = make_system(agent, tools=(Lever(),))
    with pytest.raises(BudgetExceeded, match="budget of 5 calls"):
        await system.start(Task(agent="agent", budget=Budget(calls=5))).result()


async def test_a_loop_is_nudged_and_then_stopped(make_system: MakeSystem) -> None:
    told: list[str] = []

    async def agent(process: Process) -> None:
        for n in range(100):
            told.append((await process.act("lever", {"n": n % 2})).text)

    system = make_system(agent, tools=(Lever(),))
    with pytest.raises(LoopDetected, match="2 calls"):
        await system.start(Task(agent="agent")).result()
    assert len(told) == 11
    assert sum("same results" in text for text in told) == 1


async def test_letters_are_typed_and_survive_the_end_of_a_kernel(make_system: MakeSystem) -> None:
    class Note(BaseModel):
        text: str

    async def agent(process: Process) -> list[str]:
        child = await process.spawn(pen_pal)
        await process.send(child, City(name="Rome"))
        await process.send(child, Note(text="hello"))
        return [*await process.wait(child)]

    wait = asyncio.Event()

    async def pen_pal(process: Process) -> list[str]:
        note = await process.receive(Note)
        await wait.wait()
        city = await process.receive(City, seconds=5)
        return [note.text, city.name]

    first = make_system(agent)
    pid = first.start(Task(agent="agent")).pid
    while len([call for call in first.journal.calls(pid) if call.kind == "receive" and call.done]) < 1:
        await asyncio.sleep(0.01)
    await first.close()
    wait.set()
    assert await make_system(agent).resume(pid).result() == ["hello", "Rome"]


async def test_a_letter_to_nobody_is_an_error(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> None:
        child = await process.spawn(quick)
        await process.wait(child)
        await process.send(child, City(name="Rome"))

    async def quick(process: Process) -> None:
        return None

    with pytest.raises(NoSuchProcess, match=r"no live process '\w+\.1'"):
        await make_system(agent).start(Task(agent="agent")).result()


async def test_killing_a_parent_ends_its_children(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> None:
        await asyncio.gather(*[process.wait(await process.spawn(agent2)) for _ in range(3)])

    async def agent2(process: Process) -> None:
        await process.wait(await process.spawn(_sleeper))

    system = make_system(agent)
    child = system.start(Task(agent="agent"))
    while len(system.entries()) < 7:
        await asyncio.sleep(0.01)
    system.kill(system.find(child.pid))
    with pytest.raises(Interrupted, match="killed"):
        await child.result()
    assert not system.entries()
    assert {row[3] for row in system.journal.processes(child.pid)} == {"killed"}


async def test_an_interrupted_agent_may_finish_with_what_it_has(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> str:
        try:
            await process.sleep(1000)
        except Interrupted:
            return (await process.think("Sum up.")).text
        return "slept"

    system = make_system(agent)
    child = system.start(Task(agent="agent"))
    while not system.find(child.pid).doing:
        await asyncio.sleep(0.01)
    system.interrupt(system.find(child.pid))
    assert await asyncio.wait_for(child.result(), 5) == "Fine."


async def test_a_stopped_process_makes_no_calls_until_it_goes_on(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> None:
        for n in range(5):
            await process.act("lever", {"n": n})
            await asyncio.sleep(0.01)

    lever = Lever()
    system = make_system(agent, tools=(lever,))
    child = system.start(Task(agent="agent"))
    while not lever.calls:
        await asyncio.sleep(0.001)
    entry = system.find(child.pid)
    system.stop(entry)
    await asyncio.sleep(0.05)
    seen = len(lever.calls)
    await asyncio.sleep(0.1)
    assert len(lever.calls) == seen < 5
    system.go_on(entry)
    await child.result()
    assert len(lever.calls) == 5


async def test_a_race_has_the_same_winner_again(make_system: MakeSystem) -> None:
    delays = [0.2, 0.0, 0.2]
    started: list[int] = []

    async def agent(process: Process) -> list[object]:
        branches = [await process.fork() for _ in delays]

        async def run(n: int) -> str:
            started.append(n)
            await asyncio.sleep(delays[n])
            return (await branches[n].think(f"{n}?")).text

        return list(await process.race(*[lambda n=n: run(n) for n in range(3)]))

    system = make_system(agent)
    child = system.start(Task(agent="agent"))
    assert await child.result() == [1, "Fine."]
    delays[:] = [0.0, 0.2, 0.0]
    started.clear()
    assert await system.replay(child.pid) == [1, "Fine."]
    assert started == [1]


@pytest.mark.parametrize(("effect", "durable"), [("reads", False), ("writes", True), ("external", True)])
async def test_the_rows_around_an_effect_survive_a_power_cut_and_stand_once(
    make_system: MakeSystem, monkeypatch: pytest.MonkeyPatch, effect: Effect, durable: bool
) -> None:
    async def agent(process: Process) -> None:
        await process.act("lever", {"n": 1})

    written: list[tuple[str, bool]] = []
    for name in ("intend", "finish"):
        real = getattr(Journal, name)

        def spied(*arguments: object, _name: str = name, _real: Callable[..., None] = real, **more: object) -> None:
            written.append((_name, bool(more["durable"])))
            _real(*arguments, **more)

        monkeypatch.setattr(Journal, name, spied)
    system = make_system(agent, tools=(Lever(traits=Traits(effect=effect)),))
    await system.start(Task(agent="agent")).result()
    assert written == [("intend", durable), ("finish", durable)]


def test_a_task_survives_json() -> None:
    task = Task(agent="a", arguments=("x", 1), words=("x",), budget=Budget(tokens=5), level="L5")
    assert Task.from_json(task.to_json()) == task
