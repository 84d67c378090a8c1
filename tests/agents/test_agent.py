"""Agents that are declared: what they ask the model, what they give back, and what their cards say."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

import llmos
from llmos.agents import built_in
from llmos.agents.agent import Agent
from llmos.agents.card import EXTENSION, card_of
from llmos.agents.escalation import Said, escalating, think_or_escalate
from llmos.agents.report import Report
from llmos.agents.sync import Verified, verify_and_retry
from llmos.boot import Kernel
from llmos.engine.remote import RemoteEngine
from llmos.engine.script import Reply
from llmos.engine.scripted import ScriptedEngine
from llmos.errors import BadArguments, ConfigError
from llmos.kernel.budget import Budget
from llmos.kernel.entry import Profile
from llmos.kernel.journal import Journal
from llmos.kernel.policy import DefaultPolicy
from llmos.kernel.process import Process
from llmos.kernel.protocols import Engine
from llmos.kernel.system import System, Task
from llmos.runs import Parts
from llmos.tools import load_tools, tool
from tests.engine.remote.server import CHAT, Server, says, usage

Start = Callable[..., Awaitable[Any]]


class Verdict(BaseModel):
    """What a reviewer gives."""

    verdict: Literal["clear", "unclear"]
    reason: str


REVIEWER = Agent("reviewer", "Reads a text.", "You review texts.", output=Verdict, tools=(), examples=("review it",))


@pytest.fixture(autouse=True)
def _remote_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers of these tests are scripted: no real model is behind them."""
    monkeypatch.delenv("LLMOS_FORBID_REAL_MODELS", raising=False)


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., System]]:
    systems: list[System] = []

    def system(engine: Engine, **more: Any) -> System:  # noqa: ANN401
        async def get() -> Engine:
            return engine

        more.setdefault("tools", load_tools(["calculator", "read_file"]))
        made = System(
            engine=get, journal=Journal(tmp_path / f"{len(systems)}"), policy=DefaultPolicy(), folder=tmp_path / "runs",
            **more,
        )  # fmt: skip
        systems.append(made)
        return made

    yield system
    for one in systems:
        await one.close()
        one.journal.close()


async def run(system: System, agent: Any, *arguments: Any) -> Any:  # noqa: ANN401
    return await system.start(Task(agent="agent", arguments=arguments), code=agent).result()


async def test_with_an_output_type_it_gives_a_value_of_it(make: Callable[..., System]) -> None:
    engine = ScriptedEngine('{"verdict": "unclear", "reason": "no date"}')
    assert await run(make(engine), REVIEWER, "Is it clear?") == {"verdict": "unclear", "reason": "no date"}
    (asked,) = engine.requests
    assert asked.context.messages[0].content == "You review texts."
    assert asked.context.messages[-1].content == "Is it clear?"


async def test_its_inputs_stand_before_the_task(make: Callable[..., System]) -> None:
    engine = ScriptedEngine('{"verdict": "clear", "reason": ""}')
    earlier = Report(task_id="a", agent="reader", text="The text says nine.").model_dump(mode="json")
    inputs = {"task_id": "b", "earlier": [earlier], "reasons": ["too long"], "language": "English"}
    await run(make(engine), REVIEWER, "Is it clear?", inputs)
    said = engine.requests[0].context.messages[-1].content
    assert said.endswith("Is it clear?")
    assert [said.index(part) for part in ("From reader:\nThe text says nine.", "- too long", "language: English")]
    assert "task_id" not in said


async def test_without_one_it_works_as_the_assistant_does_with_its_own_instructions(
    make: Callable[..., System],
) -> None:
    engine = ScriptedEngine("Ahoy.")
    pirate = Agent("pirate", instructions="You talk like a pirate.")
    assert (await run(make(engine), pirate, "say hello to Kim")).startswith("Ahoy.")
    assert any(request.context.messages[0].content == "You talk like a pirate." for request in engine.requests)


async def test_it_calls_the_tools_that_it_has(make: Callable[..., System]) -> None:
    system = make(ScriptedEngine("I don't know."))
    assert await run(system, Agent("sums", instructions="Compute.", tools=["calculator"]), "12 * 12") == "144"
    run_id = system.journal.runs()[0].id
    assert [call.title for call in system.journal.calls(run_id) if call.kind == "act"]


async def test_with_tools_and_an_output_type_what_the_tools_gave_goes_into_the_value(
    make: Callable[..., System],
) -> None:
    class Sum(BaseModel):
        total: int

    engine = ScriptedEngine('{"total": 144}')
    agent = Agent("sums", instructions="Compute.", tools=["calculator"], output=Sum)
    assert await run(make(engine), agent, "12 * 12") == {"total": 144}
    assert "What the tools gave:\n144" in engine.requests[-1].context.messages[-1].content


async def test_tools_of_the_application_can_be_given_as_such(tmp_path: Path) -> None:
    @tool(effect="reads", returns="user", examples=(("how many of A-17 do we have?", {"sku": "A-17"}),))
    def stock(sku: str) -> int:
        """Units of an article in the warehouse."""
        return {"A-17": 12}[sku]

    class Order(BaseModel):
        units: int

    async def order(process: Process, sku: str) -> Any:  # noqa: ANN401
        return (await process.act("stock", {"sku": sku})).value

    buyer = Agent("buyer", instructions="Order what is short.", tools=[stock], level="L1", output=Order)
    assert buyer.profile == Profile(tools=("stock", "read_skill"), level="L1")
    engine = ScriptedEngine('{"units": 12}')
    async with Kernel(engine=engine, parts=Parts(folder=tmp_path, tools=())) as kernel:
        running = await kernel.spawn(buyer, "how many of A-17 do we have?")
        assert await running.result() == {"units": 12}
    parts = Parts(folder=tmp_path / "two", tools=(), agents={"buyer": buyer, "order": order})
    async with Kernel(engine=ScriptedEngine("Fine."), parts=parts) as kernel:
        assert await (await kernel.spawn("order", "A-17")).result() == 12


async def test_it_keeps_its_level_and_tools_where_a_parent_has_more(make: Callable[..., System]) -> None:
    class Curious(Agent):
        async def __call__(self, process: Process, task: str, inputs: dict[str, Any] | None = None) -> Any:  # noqa: ANN401
            return [process.entry.level, sorted(process.entry.devices), process.entry.meter.left("tokens")]

    async def parent(process: Process) -> Any:  # noqa: ANN401
        agent = Curious("curious", tools=["read_file"], level="L1", budget=Budget(tokens=50))
        return await process.wait(await process.spawn(agent, "x"))

    assert await run(make(ScriptedEngine("Fine.")), parent) == ["L1", ["read_file"], 50]


async def test_a_run_of_a_declared_agent_replays(make: Callable[..., System]) -> None:
    system = make(ScriptedEngine('{"verdict": "clear", "reason": ""}'), agents={"reviewer": REVIEWER})
    child = system.start(Task(agent="reviewer", arguments=("Is it clear?",)))
    first = await child.result()
    assert await system.replay(child.pid) == first


async def test_what_it_was_given_stays_first_and_its_role_comes_last(make: Callable[..., System]) -> None:
    engine = ScriptedEngine(["Read.", '{"verdict": "clear", "reason": ""}'])

    async def parent(process: Process) -> Any:  # noqa: ANN401
        await process.think("Here is a long text.")
        return await process.wait(await process.spawn(REVIEWER, "Is it clear?", forked=True))

    await run(make(engine), parent)
    last = engine.requests[-1].context.messages
    assert [message.content for message in last[:2]] == ["Here is a long text.", "Read."]
    assert last[-1].content == "You review texts.\n\nIs it clear?"


def test_its_name_is_the_process_s(tmp_path: Path) -> None:
    assert llmos.Agent is Agent
    assert REVIEWER.card.name == "reviewer"


# -- cards


def test_a_card_is_written_in_the_terms_of_a2a() -> None:
    card = card_of("reviewer", REVIEWER, load_tools(["read_file"]))
    data = json.loads(card.to_json())
    required = {"name", "description", "version", "capabilities", "defaultInputModes", "defaultOutputModes", "skills"}
    assert required <= data.keys()
    assert data["defaultOutputModes"] == ["application/json"]
    (skill,) = data["skills"]
    assert {"id", "name", "description", "tags"} <= skill.keys()
    assert skill["examples"] == ["review it"]
    (extension,) = data["capabilities"]["extensions"]
    assert extension["uri"] == EXTENSION
    assert set(extension["params"]["output"]["properties"]) == {"verdict", "reason"}


def test_a_card_tells_the_effects_of_the_tools_that_an_agent_may_call() -> None:
    devices = load_tools(["calculator", "read_file", "write_file"])
    assert card_of("a", Agent("a", tools=["read_file", "calculator"]), devices).effects == ("pure", "reads")
    assert card_of("a", Agent("a"), devices).effects == ("pure", "reads", "writes")
    assert Agent("a", tools=["read_file"]).card.effects is None


def test_every_agent_that_comes_with_llmos_has_a_card() -> None:
    for name, code in built_in().items():
        card = card_of(name, code, load_tools())
        assert card.description, name
        assert json.loads(card.to_json())["name"] == name


# -- hard steps on a bigger engine


@pytest.fixture
async def server() -> AsyncGenerator[Server]:
    async with Server() as running:
        running.on(CHAT, says("Paris", counts=usage(100, 10)))
        yield running


@pytest.fixture
async def big(server: Server) -> AsyncGenerator[RemoteEngine]:
    engine = RemoteEngine(server.url, "m", logprobs=False, input_price=10.0, output_price=100.0)
    yield engine
    await engine.close()


async def test_work_that_failed_its_check_goes_to_the_bigger_engine_and_its_cost_is_known(
    make: Callable[..., System], big: RemoteEngine
) -> None:
    async def get() -> Engine:
        return big

    async def guess(process: Process, question: str) -> str:
        return (await process.think(question)).text.strip()

    found: list[Any] = []

    async def boss(process: Process) -> Any:  # noqa: ANN401
        async def work(reasons: tuple[str, ...]) -> Any:  # noqa: ANN401
            return await process.wait(await process.spawn(guess, "Capital of France?"))

        harder = escalating(guess, "Capital of France?", to="big", process=process)
        result: Verified[str] = await verify_and_retry(
            work, lambda said: said == "Paris", attempts=2, escalate=[harder], process=process
        )
        found.append(harder)
        return [result.value, [one.by for one in result.attempts], result.verified]

    system = make(ScriptedEngine("Rome"), engines={"big": get})
    assert await run(system, boss) == ["Paris", ["work", "work", "guess on big"], True]
    (harder,) = found
    assert harder.tries == 1
    assert harder.cost == {"tokens": 110, "money": pytest.approx((100 * 10 + 10 * 100) / 1e6)}


async def test_an_agent_on_the_bigger_engine_is_told_why_earlier_answers_were_not_accepted(
    make: Callable[..., System], big: RemoteEngine, server: Server
) -> None:
    async def get() -> Engine:
        return big

    async def boss(process: Process) -> Any:  # noqa: ANN401
        expert = Agent("expert", instructions="You know capitals.", tools=())
        return await escalating(expert, "capital of France?", to="big", process=process)(("Rome is in Italy.",))

    answer = await run(make(ScriptedEngine("Rome"), engines={"big": get}), boss)
    assert answer.startswith("Paris")
    sent = [one for one in server.received if one.path == CHAT][-1].body["messages"]
    assert "Rome is in Italy." in json.dumps(sent)


async def test_an_engine_that_there_is_not_is_told_before_any_attempt(make: Callable[..., System]) -> None:
    async def boss(process: Process) -> None:
        escalating("guess", "x", to="bigger", process=process)

    with pytest.raises(ConfigError, match="no engine 'bigger'"):
        await run(make(ScriptedEngine("Fine.")), boss)


@pytest.mark.parametrize(("logprob", "engine"), [(-3.0, "big"), (-0.01, "")])
async def test_what_the_small_engine_is_not_sure_of_is_asked_of_the_bigger_one(
    make: Callable[..., System], big: RemoteEngine, logprob: float, engine: str
) -> None:
    async def get() -> Engine:
        return big

    said: list[Said] = []
    contexts: list[list[str]] = []

    async def boss(process: Process) -> None:
        said.append(await think_or_escalate(process, "Capital of France?", to="big"))
        contexts.append([message.content for message in process.context.messages])

    small = ScriptedEngine([Reply("Rome", logprob=logprob)])
    await run(make(small, engines={"big": get}), boss)
    text = "Paris" if engine else "Rome"
    assert (said[0].text, said[0].engine) == (text, engine)
    assert contexts == [["Capital of France?", text]]


async def test_a_tool_that_is_not_in_its_profile_is_no_tool_to_it(make: Callable[..., System]) -> None:
    class Greedy(Agent):
        async def __call__(self, process: Process, task: str, inputs: dict[str, Any] | None = None) -> Any:  # noqa: ANN401
            await process.act("read_file", {"path": "a.txt"})

    with pytest.raises(BadArguments):
        await run(make(ScriptedEngine("Fine.")), Greedy("greedy", tools=["calculator"]), "x")
