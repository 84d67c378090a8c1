"""`python -m bench kernel`: what processes, system calls, journal, sandbox and policy cost.

The engine is scripted where the kernel is measured, and the embedded model where forks are.
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.policy import decision_time
from bench.report import REPEATS, Pairs, Row, paired
from bench.rig import engine as real_engine
from bench.rig import fresh, run
from bench.sandbox import monty_expression, sandboxed_python
from llmos.engine.llama.engine import LlamaOptions
from llmos.engine.scripted import ScriptedEngine
from llmos.kernel.budget import Budget
from llmos.kernel.calls import Allow, Decision, ProposedCall, Result, Situation, Traits
from llmos.kernel.journal import Journal
from llmos.kernel.process import Process
from llmos.kernel.protocols import Access, Engine
from llmos.kernel.system import System, Task
from llmos.messages import Context, Generate, Message, ToolSpec

CALLS = 200
AMPLE = Budget()


class _Idle:
    """A tool that does nothing."""

    spec = ToolSpec("idle", "Do nothing.")
    traits = Traits(effect="pure")

    def check(self, arguments: Mapping[str, Any], /) -> Mapping[str, Any]:
        return dict(arguments)

    def show(self, arguments: Mapping[str, Any], access: Access, /) -> str:
        return ""

    async def call(self, arguments: Mapping[str, Any], access: Access, /) -> Result:
        return Result("", label="user")

    async def done(self, arguments: Mapping[str, Any], access: Access, /) -> Result | None:
        return None


class _Allowing:
    """A policy that takes no time: the default one has a row of its own."""

    def decide(self, call: ProposedCall, situation: Situation, /) -> Decision:
        return Allow("")


async def measured(
    agent: Callable[..., Awaitable[Any]], *arguments: object, engine: Engine | None = None, durable: bool = False
) -> Any:  # noqa: ANN401  # whatever the agent returns
    """What an agent returns that runs alone on a fresh system."""
    chosen: Engine = engine or ScriptedEngine("Fine.")

    async def get() -> Engine:
        return chosen

    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        journal = Journal(Path(name), durable=durable)
        system = System(
            engine=get, journal=journal, policy=_Allowing(), folder=Path(name) / "runs", tools={"idle": _Idle()}
        )
        task = Task(agent="bench", arguments=arguments, words=("",), budget=AMPLE)
        result = await system.start(task, code=agent).result()
        journal.close()
        return result


def think_through_the_kernel() -> list[Row]:
    """A think that takes the engine 20 ms, as an agent sees it."""
    scripted = ScriptedEngine("Yes.", seconds_per_token=0.02)

    async def agent(process: Process) -> float:
        spent: list[float] = []
        for _ in range(30):
            process.context, process.told = Context(), 0
            start = time.perf_counter()
            await process.think("Go on?")
            spent.append(time.perf_counter() - start)
        return statistics.median(spent)

    async def bare() -> float:
        spent: list[float] = []
        for _ in range(30):
            start = time.perf_counter()
            async for _event in scripted.generate(Generate(context=Context.chat("Go on?"))):
                pass
            spent.append(time.perf_counter() - start)
        return statistics.median(spent)

    pairs = paired(lambda: 1000 * asyncio.run(measured(agent, engine=scripted)), lambda: 1000 * asyncio.run(bare()))
    added = statistics.median(ours - peer for ours, peer in zip(pairs.ours, pairs.peers, strict=True))
    tokens = statistics.median(pairs.peers) / 20
    return [
        Row(
            name="a 20 ms think call through the kernel",
            value=20 + added,
            unit="ms",
            peer="the engine alone",
            peer_value=20,
            goal="≤ 22 ms",
            note=f"measured on an answer of {tokens:.0f} × 20 ms; what the kernel adds to it is added to 20 ms",
        )
    ]


def system_calls() -> list[Row]:
    """A tool call that does nothing, through the whole gate."""

    async def agent(process: Process) -> float:
        spent: list[float] = []
        for number in range(CALLS):
            start = time.perf_counter()
            await process.act("idle", {"n": number})
            spent.append(time.perf_counter() - start)
        return statistics.median(spent)

    def milliseconds(*, durable: bool) -> float:
        spent: list[float] = [1000 * asyncio.run(measured(agent, durable=durable)) for _ in range(REPEATS)]
        return statistics.median(spent)

    return [
        Row(name="system call, journal on, no fsync", value=milliseconds(durable=False), unit="ms", goal="≤ 0.3 ms"),
        Row(name="system call, fully durable", value=milliseconds(durable=True), unit="ms", goal="≤ 3 ms"),
    ]


async def _nothing(process: Process) -> None:
    """A process that ends at once."""


def processes() -> list[Row]:
    """Processes that do nothing: how long one takes, and what a thousand weigh."""

    async def agent(process: Process) -> float:
        spent: list[float] = []
        for _ in range(CALLS):
            start = time.perf_counter()
            await process.wait(await process.spawn(_nothing))
            spent.append(time.perf_counter() - start)
        return statistics.median(spent)

    each = statistics.median(1000 * asyncio.run(measured(agent)) for _ in range(REPEATS))
    megabytes = statistics.median(_weight() for _ in range(REPEATS))
    return [
        Row(name="spawn and wait of a process", value=each, unit="ms", goal="≤ 1 ms"),
        Row(name="1,000 live processes, more memory", value=megabytes, unit="MB", goal="< 60 MB"),
    ]


def _weight() -> float:
    """Megabytes that a thousand live processes add to a fresh Python, which is a process of its own."""
    code = "from bench.kernel import weigh; weigh()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def weigh() -> None:
    """Print what a thousand live processes add to this one, in megabytes."""

    async def waits(process: Process) -> None:
        await process.sleep(3600)

    async def agent(process: Process) -> float:
        before = _resident()
        for _ in range(1000):
            await process.spawn(waits)
        await asyncio.sleep(0.5)
        return _resident() - before

    print(asyncio.run(measured(agent)))


def _resident() -> float:
    """Resident memory of this process in megabytes."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize() / 1e6
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def forks() -> list[Row]:
    """Eight branches of a context of 2,000 tokens, against eight contexts of their own (twice only: a minute each)."""

    async def first_tokens(process: Process, count: int) -> float:
        arrived: list[float] = []
        start = time.perf_counter()

        async def ask(branch: Any) -> None:  # noqa: ANN401
            thought = await branch.think("And now?", max_tokens=1)
            arrived.append(time.perf_counter() - start)
            assert thought.usage.generated_tokens == 1

        branches = [await process.fork() for _ in range(count)]
        await asyncio.gather(*(ask(branch) for branch in branches))
        return statistics.mean(arrived)

    async def forked(process: Process) -> float:
        process.hear(Message("user", fresh(1_900)))
        await process.think(max_tokens=1)
        return await first_tokens(process, 8)

    async def separate(process: Process) -> float:
        arrived: list[float] = []
        start = time.perf_counter()

        async def one(child: Process) -> None:
            child.hear(Message("user", fresh(1_900)))
            await child.think(max_tokens=1)
            arrived.append(time.perf_counter() - start)

        children = [await process.spawn(one) for _ in range(8)]
        for child in children:
            await process.wait(child)
        return statistics.mean(arrived)

    with real_engine(options=LlamaOptions(cells=32_768)) as opened:  # eight contexts of their own must fit
        ours = [run(measured(forked, engine=opened)) for _ in range(REPEATS)]
        peers = [run(measured(separate, engine=opened)) for _ in range(2)]
    pairs = Pairs(tuple(ours), (statistics.median(peers),) * REPEATS)
    return [pairs.row("8 forks of 2,000 tokens, first token", "s", "8 fresh contexts", "≤ 0.1")]


def resuming() -> list[Row]:
    """Resume of a run of 200 steps that was interrupted at its last one."""
    return [
        Row(
            name="resume of a run of 200 steps",
            value=statistics.median(asyncio.run(_resume()) for _ in range(REPEATS)),
            unit="s",
            goal="≤ 0.5 s",
        )
    ]


async def _resume() -> float:
    scripted = ScriptedEngine("Fine.")
    reached = asyncio.Event()

    async def agent(process: Process) -> None:
        for number in range(CALLS // 2):
            await process.think(f"Step {number}?")
            await process.act("idle", {"n": number})
        reached.set()
        await process.sleep(3600)

    async def get() -> Engine:
        return scripted

    def system(folder: Path) -> System:
        return System(engine=get, journal=Journal(folder), policy=_Allowing(), folder=folder, tools={"idle": _Idle()})

    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        first = system(Path(name))
        pid = first.start(Task(agent="bench", budget=AMPLE), code=agent).pid
        await reached.wait()
        await first.close()
        first.journal.close()
        reached.clear()
        start = time.perf_counter()
        second = system(Path(name))
        second.resume(pid, code=agent)
        await reached.wait()
        spent = time.perf_counter() - start
        await second.close()
        second.journal.close()
        return spent


GROUPS = (
    think_through_the_kernel,
    system_calls,
    processes,
    forks,
    sandboxed_python,
    monty_expression,
    resuming,
    decision_time,
)
