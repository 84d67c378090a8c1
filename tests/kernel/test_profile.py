"""What an agent's profile asks for, and what its process gets: only ever less than its parent has."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.boot import Kernel
from llmos.config import EngineOptions, NamedEngine, Settings, load_settings
from llmos.engine.remote import RemoteEngine
from llmos.engine.scripted import ScriptedEngine
from llmos.errors import BadArguments, BudgetExceeded, ConfigError
from llmos.kernel.budget import Budget
from llmos.kernel.calls import Level
from llmos.kernel.entry import Profile
from llmos.kernel.process import Process
from llmos.kernel.protocols import Engine
from llmos.kernel.system import System, Task
from llmos.runs import Parts
from tests.engine.remote.server import CHAT, Received, Server, says, usage
from tests.kernel.conftest import Lever, MakeSystem


@pytest.fixture(autouse=True)
def _remote_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers of these tests are scripted: no real model is behind them."""
    monkeypatch.delenv("LLMOS_FORBID_REAL_MODELS", raising=False)


@pytest.fixture
async def server() -> AsyncGenerator[Server]:
    async with Server() as running:
        running.on(CHAT, says("From the ", "big one.", counts=usage(1000, 50)))
        yield running


def _last(server: Server) -> Received:
    """The last request for an answer."""
    return [one for one in server.received if one.path == CHAT][-1]


class Worker:
    """An agent's code with a profile: it says what its process has."""

    def __init__(self, **profile: Any) -> None:  # noqa: ANN401
        self.name = "worker"
        self.profile = Profile(**profile)

    async def __call__(self, process: Process) -> dict[str, Any]:
        tokens = process.budget.left("tokens")
        return {
            "tools": sorted(process.entry.devices),
            "level": process.entry.level,
            "tokens": None if tokens == float("inf") else tokens,
            "engine": process.entry.engine,
        }


async def started(system: System, worker: Worker, **task: Any) -> dict[str, Any]:  # noqa: ANN401
    task.setdefault("budget", Budget(tokens=1000))
    result: dict[str, Any] = await system.start(Task(agent="worker", **task), code=worker).result()
    return result


async def spawned(system: System, worker: Worker, **task: Any) -> dict[str, Any]:  # noqa: ANN401
    async def parent(process: Process) -> Any:  # noqa: ANN401
        return await process.wait(await process.spawn(worker))

    task.setdefault("budget", Budget(tokens=1000))
    result: dict[str, Any] = await system.start(Task(agent="parent", **task), code=parent).result()
    return result


WAYS = pytest.mark.parametrize("begin", [started, spawned])


@WAYS
async def test_a_process_gets_the_tools_of_its_profile_that_its_parent_has(make_system: MakeSystem, begin: Any) -> None:  # noqa: ANN401
    system = make_system(tools=(Lever("a"), Lever("b")))
    assert (await begin(system, Worker(tools=("b", "c"))))["tools"] == ["b"]
    assert (await begin(system, Worker()))["tools"] == ["a", "b"]
    assert (await begin(system, Worker(tools=())))["tools"] == []


@WAYS
async def test_a_tool_outside_the_profile_can_not_be_called(make_system: MakeSystem, begin: Any) -> None:  # noqa: ANN401
    class Greedy(Worker):
        async def __call__(self, process: Process) -> dict[str, Any]:
            await process.act("a", {})
            return {}

    tool = Lever("a")
    with pytest.raises(BadArguments):
        await begin(make_system(tools=(tool,)), Greedy(tools=("b",)))


@WAYS
@pytest.mark.parametrize(("wanted", "given", "got"), [("L1", "L3", "L1"), ("L4", "L2", "L2"), (None, "L2", "L2")])
async def test_a_profile_lowers_the_level_and_never_raises_it(
    make_system: MakeSystem,
    begin: Any,  # noqa: ANN401
    wanted: str | None,
    given: str,
    got: str,
) -> None:
    assert (await begin(make_system(), Worker(level=wanted), level=given))["level"] == got


@WAYS
@pytest.mark.parametrize(("wanted", "got"), [(100, 100), (5000, 1000), (None, 1000)])
async def test_a_profile_makes_the_budget_smaller_and_never_larger(
    make_system: MakeSystem,
    begin: Any,  # noqa: ANN401
    wanted: float | None,
    got: float,
) -> None:
    assert (await begin(make_system(), Worker(budget=Budget(tokens=wanted))))["tokens"] == got


async def test_the_budget_given_to_spawn_holds_beside_that_of_the_profile(make_system: MakeSystem) -> None:
    async def parent(process: Process) -> Any:  # noqa: ANN401
        child = await process.spawn(Worker(budget=Budget(tokens=500)), budget=Budget(tokens=50, steps=7))
        return [await process.wait(child), child.entry.meter.budget.steps]

    got = await make_system().start(Task(agent="parent"), code=parent).result()
    assert got[0]["tokens"] == 50
    assert got[1] == 7


BOUNDS = st.builds(
    Budget,
    tokens=st.none() | st.floats(0, 1e6),
    steps=st.none() | st.floats(0, 1e6),
    money=st.none() | st.floats(0, 10),
    deadline=st.none() | st.floats(0, 1e10),
)


@given(BOUNDS, BOUNDS)
def test_a_budget_within_another_is_nowhere_larger_than_either(one: Budget, other: Budget) -> None:
    both = one.within(other)
    for name in Budget.__dataclass_fields__:
        bounds = [bound for bound in (getattr(one, name), getattr(other, name)) if bound is not None]
        assert getattr(both, name) == min(bounds, default=None)
    assert one.within(None) == one


@given(st.sampled_from(get_args(Level)), st.none() | st.sampled_from(get_args(Level)))
def test_no_profile_raises_a_level(has: Level, wants: Level | None) -> None:
    assert Profile(level=wants).narrowed(has) <= has


# -- engines by name


async def test_a_process_thinks_on_the_engine_of_its_profile_and_its_children_do_too(make_system: MakeSystem) -> None:
    async def child(process: Process) -> str:
        return (await process.think("Who?")).text

    class Parent(Worker):
        async def __call__(self, process: Process) -> dict[str, Any]:
            own = (await process.think("Who?")).text
            inherited = await process.wait(await process.spawn(child))
            other = await process.wait(await process.spawn(child, engine="third"))
            return {"own": own, "inherited": inherited, "other": other}

    async def second() -> Engine:
        return ScriptedEngine("second")

    async def third() -> Engine:
        return ScriptedEngine("third")

    system = make_system(engine=ScriptedEngine("first"), engines={"second": second, "third": third})
    said = await started(system, Parent(engine="second"), budget=Budget())
    assert said == {"own": "second", "inherited": "second", "other": "third"}


@WAYS
async def test_an_engine_that_there_is_not_is_refused_before_anything_runs(make_system: MakeSystem, begin: Any) -> None:  # noqa: ANN401
    with pytest.raises(ConfigError, match="no engine 'big'"):
        await begin(make_system(), Worker(engine="big"))


async def test_a_context_that_is_spawned_onto_another_engine_is_read_anew_there(
    make_system: MakeSystem, server: Server
) -> None:
    small, big = ScriptedEngine("From the small one."), RemoteEngine(server.url, "m", logprobs=False)

    async def get() -> Engine:
        return big

    async def more(process: Process) -> str:
        return (await process.think("And now?")).text

    async def talk(process: Process) -> list[str]:
        first = (await process.think("What is it?")).text
        there = await process.wait(await process.spawn(more, forked=True, engine="big"))
        here = await process.wait(await process.spawn(more, forked=True))
        return [first, there, here]

    system = make_system(engine=small, engines={"big": get})
    said = await system.start(Task(agent="talk"), code=talk).result()
    await big.close()
    assert said == ["From the small one.", "From the big one.", "From the small one."]
    sent = [message["content"] for message in _last(server).body["messages"]]
    assert sent == ["What is it?", "From the small one.", "And now?"]


async def test_what_each_engine_cost_is_counted_by_its_name(make_system: MakeSystem, server: Server) -> None:
    big = RemoteEngine(server.url, "m", logprobs=False, input_price=3.0, output_price=15.0)

    async def get() -> Engine:
        return big

    async def hard(process: Process) -> str:
        return (await process.think("Hard?")).text

    async def easy(process: Process) -> str:
        await process.think("Easy?")
        return str(await process.wait(await process.spawn(hard, engine="big")))

    system = make_system(engines={"big": get})
    child = system.start(Task(agent="easy"), code=easy)
    await child.result()
    await big.close()
    costs = child.entry.costs_of_all()
    assert costs["big"] == {"read": 1000, "written": 50, "money": pytest.approx((1000 * 3.0 + 50 * 15.0) / 1e6)}
    assert costs["main"]["money"] == 0
    assert costs["main"]["written"] > 0
    assert child.entry.meter.used["money"] == pytest.approx(costs["big"]["money"])


async def test_a_run_on_named_engines_replays_without_them(make_system: MakeSystem) -> None:
    async def get() -> Engine:
        return ScriptedEngine("second")

    async def worker(process: Process) -> str:
        return (await process.think("Who?")).text

    async def parent(process: Process) -> str:
        return str(await process.wait(await process.spawn(worker, engine="second")))

    system = make_system(parent, engines={"second": get})
    child = system.start(Task(agent="parent"))
    assert await child.result() == "second"
    system.journal.close()
    assert await make_system(parent).replay(child.pid) == "second"


async def test_engines_of_the_settings_are_opened_when_they_are_first_used_and_closed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMOS_API_KEY", "for-another-server")
    monkeypatch.setenv("LLMOS_API_KEY_BIG_ONE", "for-this-server")

    async def hard(process: Process) -> str:
        return (await process.think("Hard?")).text

    async def easy(process: Process) -> str:
        return str(await process.wait(await process.spawn(hard, engine="big-one")))

    settings = Settings(
        engines={
            "big-one": NamedEngine(model=f"{server.url}#m", options=EngineOptions(output_price=15.0)),
            "broken": NamedEngine(model=str(tmp_path / "nothing.gguf")),
        }
    )
    engine = ScriptedEngine("small")
    async with Kernel(engine=engine, settings=settings, parts=Parts(folder=tmp_path, tools=())) as kernel:
        running = await kernel.spawn(easy)
        assert await running.result() == "From the big one."
        assert running.used["money"] == pytest.approx(50 * 15.0 / 1e6)
    assert _last(server).headers["authorization"] == "Bearer for-this-server"


async def test_the_key_of_the_main_engine_is_never_sent_to_another_server(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMOS_API_KEY", "for-another-server")

    async def hard(process: Process) -> str:
        return (await process.think("Hard?")).text

    async def easy(process: Process) -> str:
        return str(await process.wait(await process.spawn(hard, engine="big")))

    settings = Settings(engines={"big": NamedEngine(model=f"{server.url}#m")})
    parts = Parts(folder=tmp_path, tools=())
    async with Kernel(engine=ScriptedEngine("small"), settings=settings, parts=parts) as kernel:
        await (await kernel.spawn(easy)).result()
    assert "authorization" not in _last(server).headers


async def test_a_child_whose_engine_can_not_be_opened_fails_alone(tmp_path: Path) -> None:
    async def hard(process: Process) -> str:
        return (await process.think("Hard?")).text

    async def easy(process: Process) -> str:
        try:
            return str(await process.wait(await process.spawn(hard, engine="broken")))
        except Exception as error:  # whatever it is, it is typed below
            return type(error).__name__

    settings = Settings(engines={"broken": NamedEngine(model="http://127.0.0.1:9/v1")})
    parts = Parts(folder=tmp_path, tools=())
    async with Kernel(engine=ScriptedEngine("small"), settings=settings, parts=parts) as kernel:
        assert await (await kernel.spawn(easy)).result() == "ConfigError"


async def test_money_that_runs_out_on_one_engine_is_a_typed_end(make_system: MakeSystem, server: Server) -> None:
    big = RemoteEngine(server.url, "m", logprobs=False, input_price=3.0, output_price=15.0)

    async def get() -> Engine:
        return big

    async def hard(process: Process) -> str:
        await process.think("Hard?")
        return (await process.think("Harder?")).text

    async def easy(process: Process) -> str:
        child = await process.spawn(hard, engine="big", budget=Budget(money=0.003))
        return str(await process.wait(child))

    system = make_system(engines={"big": get})
    with pytest.raises(BudgetExceeded, match="money"):
        await system.start(Task(agent="easy"), code=easy).result()
    await big.close()


def test_engines_are_read_from_the_settings_file(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        'model = "small.gguf"\n[engines.big]\nmodel = "https://host/v1#m"\napi_key = "secret://big"\n'
        "input_price = 3\noutput_price = 15\n[engines.near]\nisolate = false\ncontext = 2048\n",
        encoding="utf-8",
    )
    engines = load_settings(path=file, environment={}).engines
    assert engines["big"].model == "https://host/v1#m"
    assert engines["big"].options == EngineOptions(isolate=True, input_price=3.0, output_price=15.0)
    assert engines["near"].options == EngineOptions(isolate=False, context=2048)
    assert "secret" not in repr(engines["big"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[engines.big]\nmodle = 'x'", "'modle' of \\[engines.big\\]"),
        ("[engines.big]\ninput_price = 'much'", "'input_price' of \\[engines.big\\]"),
        ("[engines.'Big One']\nmodel = 'x'", "Big One"),
        ("[engines.main]\nmodel = 'x'", "engines.main"),
        ("engines = 3", "'engines'"),
        ("[engines]\nbig = 'x'", "engines.big"),
    ],
)
def test_a_mistake_in_an_engine_of_the_settings_says_where_it_is(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        load_settings(path=file, environment={})
