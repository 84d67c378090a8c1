"""What remote engines charge: usage as a real server tells it, times the prices of the settings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from llmos.boot import Kernel
from llmos.config import EngineOptions, Settings
from llmos.engine.remote import RemoteEngine
from llmos.errors import BudgetExceeded
from llmos.kernel import control
from llmos.kernel.budget import Budget
from llmos.kernel.process import Process
from llmos.kernel.system import Task
from llmos.runs import Parts
from tests.engine.remote.server import CHAT, Server, says, usage
from tests.kernel.conftest import MakeSystem


@pytest.fixture(autouse=True)
def _remote_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers of these tests are scripted: no real model is behind them."""
    monkeypatch.delenv("LLMOS_FORBID_REAL_MODELS", raising=False)


@pytest.fixture
async def server() -> AsyncGenerator[Server]:
    async with Server() as running:
        running.on(CHAT, says("All ", "fine.", counts=usage(1000, 50, cached=400)))
        yield running


@asynccontextmanager
async def opened(
    server: Server, *, input_price: float = 0.0, output_price: float = 0.0
) -> AsyncGenerator[RemoteEngine]:
    engine = RemoteEngine(server.url, "m", logprobs=False, input_price=input_price, output_price=output_price)
    yield engine
    await engine.close()


async def thinks(process: Process, times: int) -> float:
    """Think so often; returns what it cost."""
    for number in range(times):
        await process.think(f"{number}?")
    return process.budget.used["money"]


async def test_prices_come_from_the_settings_and_the_cost_is_shown(server: Server, tmp_path: Path) -> None:
    options = EngineOptions(input_price=3.0, output_price=15.0)
    settings = Settings(model=f"{server.url}#m", engine=options)
    async with Kernel(settings=settings, parts=Parts(folder=tmp_path, agents={"thinks": thinks})) as kernel:
        running = await kernel.spawn("thinks", 2)
        cost = 2 * (1000 * 3.0 + 50 * 15.0) / 1e6
        assert await running.result() == pytest.approx(cost)
        assert running.used["money"] == pytest.approx(cost)


async def test_without_a_price_it_is_free(server: Server, make_system: MakeSystem) -> None:
    async with opened(server) as engine:
        system = make_system(thinks, engine=engine)
        assert await system.start(Task(agent="thinks", arguments=(2,), budget=Budget(money=0.0))).result() == 0


async def test_money_that_runs_out_is_a_typed_end_and_nothing_is_asked_that_could_not_be_paid(
    server: Server, make_system: MakeSystem
) -> None:
    async with opened(server, input_price=1.0, output_price=100.0) as engine:
        system = make_system(thinks, engine=engine)
        task = Task(agent="thinks", arguments=(5,), budget=Budget(money=0.00656))
        child = system.start(task)
        assert control.row(child.entry)["used"] == {}
        with pytest.raises(BudgetExceeded, match="money"):
            await child.result()
        assert len(server.received) == 2  # 0.006 each: the second one goes over, a third one is not sent
        assert server.received[0].body["max_tokens"] == 65
        assert server.received[1].body["max_tokens"] == 5
        assert control.row(child.entry)["used"]["money"] == pytest.approx(0.012)


async def test_a_resumed_run_has_paid_already(server: Server, make_system: MakeSystem) -> None:
    async def agent(process: Process) -> float:
        await process.think("One?")
        await process.sleep(1000)
        await process.think("Two?")
        return process.budget.used["money"]

    async with opened(server, input_price=1.0) as engine:
        first = make_system(agent, engine=engine)
        pid = first.start(Task(agent="agent")).pid
        async with asyncio.timeout(20):
            while len(first.journal.calls(pid)) < 2:
                await asyncio.sleep(0.005)
        await first.close()
        second = make_system(agent, engine=engine, clock=lambda: time.time() + 2000)
        assert await second.resume(pid).result() == pytest.approx(0.002)
        assert len(server.received) == 2
