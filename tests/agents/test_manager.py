"""The manager: plans from words and by a model, agreement, failure, and what it says in the end."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from llmos.agents.manager import manager
from llmos.agents.plan import Check, Plan
from llmos.engine.scripted import Reply, ScriptedEngine
from llmos.errors import BadPlan, JournalMismatch
from llmos.kernel.calls import Level
from llmos.kernel.process import Process
from llmos.kernel.system import System, Task
from llmos.messages import EngineInfo, Generate
from tests.kernel.conftest import MakeSystem, Person
from tests.kernel.conftest import make_system as make_system


class Large(ScriptedEngine):
    """An engine that says it has a large model."""

    @property
    def info(self) -> EngineInfo:
        return replace(super().info, parameters=8_000_000_000)


def planning(*parts: dict[str, Any]) -> Large:
    """A large model that writes this plan."""
    return Large(json.dumps({"parts": list(parts)}))


class Weather:
    """Knows the weather of any city: "tell me the weather in Rome"."""

    name = "weather"
    description = "Tells the weather forecast of a city."
    examples = ("Tell me the weather in Oslo", "How is the weather in Lima?", "Will it rain in Bonn tomorrow?")
    check = Check(verifier="schema", arguments={"schema": {"enum": ["It is sunny."]}})

    async def __call__(self, process: Process, task: str, inputs: dict[str, Any]) -> object:
        tries = len(inputs.get("reasons", []))
        return "It is sunny." if "rome" in task.casefold() or tries else "I don't know."


async def assistant(process: Process, task: str) -> object:
    """Answers anything."""
    return f"About {task!r}: yes."


async def failing(process: Process, task: str) -> object:
    """Fails."""
    raise BadPlan("It was too hard.")


async def managed(system: System, words: str, *, level: Level = "L3") -> dict[str, Any]:
    task = Task(agent="manager", arguments=(words,), level=level)
    result = await system.start(task).result()
    assert system.entries() == []
    return dict(result)


def office(make_system: MakeSystem, *, engine: ScriptedEngine | None = None, **more: Any) -> System:  # noqa: ANN401
    system = make_system(engine=engine, **more)
    system.agents.update({"manager": manager, "assistant": assistant, "weather": Weather(), "failing": failing})
    return system


async def test_a_large_models_plan_is_carried_out_and_checked_and_its_answer_says_what_was_verified(
    make_system: MakeSystem,
) -> None:
    engine = planning(
        {"agent": "weather", "task": "The weather in Rome", "needs": []},
        {"agent": "weather", "task": "The weather in Oslo", "needs": []},
    )
    report = await managed(office(make_system, engine=engine), "How is the weather in Rome and in Oslo?")
    assert (report["outcome"], report["text"]) == ("verified", "It is sunny.\n\nIt is sunny.")
    assert report["value"] == {"part1": "It is sunny.", "part2": "It is sunny."}


async def test_a_plan_that_is_refused_goes_back_to_the_model_with_the_reason(make_system: MakeSystem) -> None:
    asked: list[str] = []

    def say(request: Generate) -> Reply:
        asked.append(request.context.messages[-1].content)
        needs = [] if len(asked) > 1 else [2]
        return Reply(json.dumps({"parts": [{"agent": "assistant", "task": "Say yes", "needs": needs}]}))

    report = await managed(office(make_system, engine=Large(say)), "Do it.")
    assert report["text"] == "About 'Say yes': yes."
    assert "needs 'part2', which is not in the plan" in asked[1]


async def test_what_failed_is_planned_anew_and_what_was_done_stays(make_system: MakeSystem) -> None:
    asked: list[str] = []

    def say(request: Generate) -> Reply:
        asked.append(request.context.messages[-1].content)
        agents = ["weather", "failing"] if len(asked) == 1 else ["weather"]
        parts: list[dict[str, Any]] = [{"agent": agent, "task": f"Rome {len(asked)}", "needs": []} for agent in agents]
        return Reply(json.dumps({"parts": parts}))

    system = office(make_system, engine=Large(say))
    del system.agents["assistant"]  # nobody stands in
    report = await managed(system, "Two things.")
    assert report["outcome"] == "verified"
    assert set(report["value"]) == {"part1", "re-part1"}
    assert "It was too hard." in asked[1]


async def test_on_a_small_model_the_parts_are_cut_out_of_the_users_words(make_system: MakeSystem) -> None:
    plans: list[str] = []
    system = office(make_system)
    system.listen(lambda event: plans.append(event.text) if event.kind == "notice" else None)
    report = await managed(system, "Tell me the weather in Rome, and then say whether that is warm")
    assert any("part1 → weather" in one and "part2" in one and "after part1" in one for one in plans), plans
    assert "It is sunny." in report["text"] or report["value"]["part1"] == "It is sunny."


async def test_at_l0_the_plan_is_all_that_comes_of_it(make_system: MakeSystem) -> None:
    engine = planning({"agent": "failing", "task": "Fail", "needs": []})
    report = await managed(office(make_system, engine=engine), "Do it.", level="L0")
    assert report["text"].startswith("I would do this:\n  part1 → failing: Fail")


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (["yes"], "About 'first': yes."),
        (["no"], "The plan was not agreed to, so nothing was done."),
        (["{not json", "no"], "The plan was not agreed to, so nothing was done."),
        (
            [
                '{"goal": "g", "subtasks": [{"id": "a", "agent": "nobody", "task": "t"}]}',
                '{"goal": "g", "subtasks": [{"id": "a", "agent": "assistant", "task": "mine"}]}',
                "yes",
            ],
            "About 'mine': yes.",
        ),
    ],
)
async def test_at_l2_the_user_agrees_or_edits_or_refuses(make_system: MakeSystem, said: list[str], text: str) -> None:
    engine = planning({"agent": "assistant", "task": "first", "needs": []})
    person = Person(answers=list(said))
    report = await managed(office(make_system, engine=engine, approver=person), "Do it.", level="L2")
    assert report["text"] == text
    assert person.answers == []


async def test_what_stays_undone_is_said_and_the_rest_is_answered(make_system: MakeSystem) -> None:
    engine = planning(
        {"agent": "failing", "task": "The hard part", "needs": []},
        {"agent": "assistant", "task": "The easy part", "needs": []},
        {"agent": "assistant", "task": "On top", "needs": [1]},
    )

    async def by_difficulty(process: Process, task: str) -> object:
        return await (failing(process, task) if "hard" in task else assistant(process, task))

    system = office(make_system, engine=engine)
    system.agents["assistant"] = by_difficulty
    report = await managed(system, "Two things.")
    assert report["outcome"] == "unverified"
    assert "Not done: The hard part (It was too hard." in report["text"]
    assert "About 'The easy part': yes." in report["text"]


async def test_a_finished_run_replays_without_any_engine(make_system: MakeSystem) -> None:
    engine = planning({"agent": "weather", "task": "The weather in Oslo", "needs": []})
    system = office(make_system, engine=engine)
    child = system.start(Task(agent="manager", arguments=("How is the weather in Oslo?",)))
    result = await child.result()
    await engine.close()
    assert await system.replay(child.pid) == result
    verdicts = [call.title for call in system.journal.calls(child.pid) if call.kind == "verify"]
    assert verdicts == ["report & schema: fail", "report & schema: pass"]
    system.agents["manager"] = assistant
    with pytest.raises((JournalMismatch, AssertionError)):
        assert await system.replay(child.pid) == result


async def test_a_manager_that_is_killed_leaves_nobody(make_system: MakeSystem) -> None:
    async def slow(process: Process, task: str) -> object:
        await process.sleep(3600)
        return None

    parts: list[dict[str, Any]] = [{"agent": "assistant", "task": f"Wait {number}", "needs": []} for number in range(3)]
    engine = planning(*parts)
    system = office(make_system, engine=engine)
    system.agents["assistant"] = slow
    child = system.start(Task(agent="manager", arguments=("Wait.",)))
    async with asyncio.timeout(10):
        while len(system.entries()) < 7:  # the manager, three subtasks, three workers
            await asyncio.sleep(0.01)
    system.kill(child.entry)
    async with asyncio.timeout(10):
        while system.entries():
            await asyncio.sleep(0.01)


def test_the_plan_schema_is_what_users_edit() -> None:
    text = '{"goal": "g", "subtasks": [{"id": "a", "agent": "x", "task": "t"}]}'
    assert json.loads(Plan.model_validate_json(text).model_dump_json(exclude_defaults=True)) == json.loads(text)
