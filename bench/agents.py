"""`python -m bench agents`: what agents at once, votes, plans and retries cost.

The embedded model where tokens are read and written, a scripted engine where only what is around them is measured.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Callable

from bench.kernel import measured
from bench.reasoning import tree_of_thoughts_rows
from bench.report import REPEATS, Row, paired
from bench.rig import engine as real_engine
from bench.rig import fresh, never_end, run
from llmos.agents.carrying import carry_out
from llmos.agents.plan import Check, Plan, Subtask
from llmos.agents.sync import join, verify_and_retry, vote
from llmos.engine.llama.engine import LlamaEngine, LlamaOptions
from llmos.engine.scripted import Reply, ScriptedEngine
from llmos.kernel.branch import Branch
from llmos.kernel.process import Process
from llmos.messages import Generate, Message, Sampling

WORKERS = 16
VOTES = 9
TASKS = 200
FAILS = 0.3
_PROMPT_WORDS = 168  # with the chat format's own tokens about 200
_SHARED_WORDS = 120  # of them what all workers of a plan are given
_PREFIX_WORDS = 768  # as above: about 800


async def _exactly(process: Branch, tokens: int, sampling: Sampling) -> int:
    """Write so many tokens; returns how many the prompt had."""
    thought = await process.think(max_tokens=tokens, sampling=sampling)
    assert thought.usage.generated_tokens == tokens, "the model ended early"
    return thought.usage.prompt_tokens


def workers_at_once() -> list[Row]:
    """Sixteen workers of one plan, at once and one after the other: what the plan gives them all stands first.

    Then the same with nothing in common, which no plan's workers have.
    """
    with real_engine(options=LlamaOptions(cells=8192)) as opened:
        return [
            _workers(opened, shared=_SHARED_WORDS, name=f"{WORKERS} workers on one plan", goal="≥ 2.1"),
            _workers(opened, shared=0, name=f"{WORKERS} workers with nothing in common"),
        ]


def _workers(opened: LlamaEngine, *, shared: int, name: str, goal: str = "") -> Row:
    prompts: list[int] = []

    async def worker(process: Process, given: str, bias: dict[str, float]) -> None:
        process.hear(Message("user", given + fresh(_PROMPT_WORDS - shared)))
        sampling = Sampling(temperature=0.0, logit_bias={int(token): value for token, value in bias.items()})
        prompts.append(await _exactly(process, 64, sampling))

    def seconds(*, at_once: bool) -> float:
        bias = {str(token): value for token, value in never_end(opened).items()}
        given = f"{fresh(shared)} " if shared else ""

        async def agent(process: Process) -> float:
            start = time.perf_counter()
            if at_once:
                await join(process, [await process.spawn(worker, given, bias) for _ in range(WORKERS)])
            else:
                for _ in range(WORKERS):
                    await process.wait(await process.spawn(worker, given, bias))
            return time.perf_counter() - start

        return float(run(measured(agent, engine=opened)))

    pairs = paired(lambda: 1 / seconds(at_once=True), lambda: 1 / seconds(at_once=False))
    return Row(
        name=f"{name}, at once against in sequence",
        value=1 / statistics.median(pairs.ours),
        unit="s",
        peer="in sequence",
        peer_value=1 / statistics.median(pairs.peers),
        ratio=pairs.ratio,
        goal=goal,
        note=f"prompts of {statistics.median(prompts):.0f} tokens, answers of 64; the ratio is how much faster",
    )


def votes() -> list[Row]:
    """Nine answers on forks of one context against one answer."""

    def seconds(opened: LlamaEngine, count: int) -> float:
        sampling = Sampling(temperature=0.8, logit_bias=never_end(opened))

        async def answer(fork: Branch) -> int:
            return await _exactly(fork, 48, sampling)

        async def agent(process: Process) -> float:
            process.hear(Message("user", fresh(_PREFIX_WORDS)))
            start = time.perf_counter()
            if count > 1:
                await vote(process, answer, count, early=False)
            else:
                await answer(process)
            return time.perf_counter() - start

        return float(run(measured(agent, engine=opened)))

    with real_engine(options=LlamaOptions(cells=8192)) as opened:
        pairs = paired(lambda: seconds(opened, VOTES), lambda: seconds(opened, 1))
    return [
        pairs.row(
            f"vote({VOTES}) on a context of 800 tokens, 48-token answers",
            "s",
            "one answer",
            "≤ 2.5",
            note="the context is new each time, and read once",
        )
    ]


def retries() -> list[Row]:
    """Verify and retry where the worker is wrong three times of ten."""

    def used(*, verified: bool) -> tuple[float, float]:
        chance = random.Random(11)

        def say(request: Generate) -> Reply:
            asked = next(one.content for one in request.context.messages if one.role == "user")
            right = asked.split()[-1]
            return Reply(f"The answer is {right if chance.random() >= FAILS else 'unknown'}.")

        async def agent(process: Process) -> tuple[float, float]:
            honest = 0
            for number in range(TASKS):
                honest += await _one_task(process, number, verified=verified)
            return process.budget.used["tokens"], honest / TASKS

        result = asyncio.run(measured(agent, engine=ScriptedEngine(say)))
        return result[0], result[1]

    tokens, honest = used(verified=True)
    once, _ = used(verified=False)
    return [
        Row(
            name=f"verify and retry, {FAILS:.0%} of attempts fail: marked as what they are",
            value=100 * honest,
            unit="%",
            goal="≥ 100",
            note=f"{TASKS} tasks, up to 4 attempts; verified ones are right, others are marked",
        ),
        Row(
            name="verify and retry: tokens",
            value=tokens,
            unit="tokens",
            peer="one attempt each",
            peer_value=once,
            ratio=tokens / once,
            goal="≤ 1.6",
        ),
    ]


async def _one_task(process: Process, number: int, *, verified: bool) -> bool:
    """Do a task on a context of its own; whether the result is marked as what it is."""
    branch = process.aside()
    branch.hear(Message("user", f"{fresh(60)} Say {1000 + number}"))

    async def work(reasons: tuple[str, ...]) -> str:
        return (await branch.think(f"No: {reasons[-1]}" if reasons else None)).text

    def names_it(text: str) -> bool:
        return str(1000 + number) in text

    if not verified:
        return names_it(await work(()))
    done = await verify_and_retry(work, names_it, attempts=4, process=branch)
    return done.value is not None and done.verified == names_it(done.value)


def plans() -> list[Row]:
    """What carrying out a plan costs beside its model time: ten subtasks in three layers, each checked."""

    async def worker(process: Process, task: str) -> int:
        return 2

    check = Check(verifier="schema", arguments={"schema": {"type": "integer"}})
    layers = [(), (), (), (), ("p1", "p2"), ("p2", "p3"), ("p3", "p4"), ("p5", "p6"), ("p6", "p7"), ("p8", "p9")]
    plan = Plan(
        goal="all of it",
        subtasks=tuple(
            Subtask(id=f"p{number}", agent="worker", task="Do it.", needs=needs, check=check)
            for number, needs in enumerate(layers, 1)
        ),
    )

    async def agent(process: Process) -> float:
        process.system.agents["worker"] = worker
        start = time.perf_counter()
        plan.checked(agents=["worker"], verifiers=["schema"])
        reports = await carry_out(process, plan)
        spent = time.perf_counter() - start
        assert {report.outcome for report in reports.values()} == {"verified"}
        return spent

    spent = [1000 * float(asyncio.run(measured(agent))) for _ in range(REPEATS + 1)][1:]
    name = f"manager, a plan of {len(layers)} tasks without model time"
    return [Row(name=name, value=statistics.median(spent), unit="ms", goal="≤ 20")]


GROUPS: tuple[Callable[[], list[Row]], ...] = (workers_at_once, votes, tree_of_thoughts_rows, plans, retries)
