"""Thinks whose context does not fit: they are paged, told, journaled, resumed, forked; labels stay."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from llmos.engine.scripted import ScriptedEngine
from llmos.errors import PromptTooLong
from llmos.events import Notice
from llmos.kernel import paging
from llmos.kernel.pages import PageTable
from llmos.kernel.process import Process
from llmos.kernel.system import Task
from llmos.messages import Context, Generate, Message
from tests.kernel.conftest import MakeSystem

FACT = "The code of the harbor gate is 4711."
QUESTION = "What was the code of the harbor gate?"
FILLER = "Some thoughts on subject{0}, which is unlike all others, at such a length that the window fills. " * 3


def words(number: int) -> str:
    return FACT if number == 3 else FILLER.format(number)


def oracle(request: Generate) -> str:
    """Answers from what it sees of the conversation, and from nothing else."""
    seen = [message.content for message in request.context.messages]
    if seen[-1] != QUESTION:
        return f"I see {len(seen)} messages."
    found = [text for text in seen[:-1] if "brought back" in text]
    return re.findall(r"gate is (\d+)", found[-1])[0] if found else "I do not know."


async def test_a_conversation_of_200_turns_in_a_4k_window_still_answers_from_turn_3(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> str:
        for number in range(1, 201):
            await process.think(words(number), max_tokens=64)
        assert len(process.context.messages) == 401
        return (await process.think(QUESTION, max_tokens=64)).text

    engine = ScriptedEngine(oracle, context=4096)
    system = make_system(agent, engine=engine)
    notices: list[str] = []
    system.listen(lambda event: notices.append(event.text) if isinstance(event, Notice) else None)
    child = system.start(Task(agent="agent", context=CONTEXT))
    assert await child.result() == "4711"
    assert all(request.context.messages[0].content == "Be brief." for request in engine.requests)
    assert 3 <= sum("the context is full" in text for text in notices) <= 12, "pages leave in batches"
    assert notices[-1].endswith("brought back for this message: turn 3")
    assert await system.replay(child.pid) == "4711"


CONTEXT = '{"type":"Context","messages":[{"role":"system","content":"Be brief."}]}'


async def test_between_batches_a_prompt_only_grows_so_that_its_beginning_is_reused(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> list[float]:
        shares: list[float] = []
        for number in range(10, 130):
            usage = (await process.think(words(number), max_tokens=64)).usage
            shares.append(usage.reused_tokens / usage.prompt_tokens)
        return shares

    system = make_system(agent, engine=ScriptedEngine(oracle, context=4096))
    shares = await system.start(Task(agent="agent")).result()
    poor = [number for number, share in enumerate(shares[20:], 20) if share < 0.9]
    assert len(poor) <= 8
    assert sum(shares[20:]) / len(shares[20:]) > 0.85


async def test_a_resumed_run_has_the_same_pages(make_system: MakeSystem) -> None:
    tables: list[PageTable] = []
    go = asyncio.Event()

    async def agent(process: Process) -> str:
        for number in range(1, 70):
            await process.think(words(number), max_tokens=64)
        tables.append(process.pages.table)
        await go.wait()
        text = (await process.think(QUESTION, max_tokens=64)).text
        tables.append(process.pages.table)
        return text

    first = make_system(agent, engine=ScriptedEngine(oracle, context=2048))
    pid = first.start(Task(agent="agent")).pid
    async with asyncio.timeout(30):
        while not tables:
            await asyncio.sleep(0.01)
    await first.close()
    go.set()
    engine = ScriptedEngine(oracle, context=2048)
    second = make_system(agent, engine=engine)
    assert await second.resume(pid).result() == "4711"
    assert tables[0] == tables[1]
    assert tables[0].evicted
    assert len(engine.requests) == 1
    assert await second.replay(pid) == "4711"
    assert tables[4] == tables[2]


async def test_what_comes_back_counts_as_seen_with_its_label(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> list[list[str]]:
        paging.hear(process, Message("user", FACT), kind="retrieved", owner="mail", label="outside")
        process.hear(Message("assistant", "Noted."))
        for number in range(4, 80):
            await process.think(words(number), max_tokens=64)
        process.entry.seen.clear()  # as where the pages were left out in another life
        await process.think(QUESTION, max_tokens=64)
        return [[one.tool, one.label, one.value] for one in process.entry.seen]

    system = make_system(agent, engine=ScriptedEngine(oracle, context=2048))
    seen = await system.start(Task(agent="agent")).result()
    assert ["page", "outside", FACT] in seen


async def test_a_message_that_is_larger_than_the_window_is_refused_with_the_numbers(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> str:
        for number in range(10, 40):
            await process.think(words(number), max_tokens=16)
        before = process.pages.table
        with pytest.raises(PromptTooLong, match=r"has \d+ tokens; the context of 'scripted' holds 1000"):
            await process.think("word " * 3000)
        assert process.pages.table == before
        return (await process.think("Go on.", max_tokens=16)).text

    system = make_system(agent, engine=ScriptedEngine(oracle, context=1000))
    child = system.start(Task(agent="agent"))
    assert (await child.result()).startswith("I see")
    assert await system.replay(child.pid)


async def test_a_pinned_page_that_is_too_large_is_named(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> str:
        paging.hear(process, Message("user", "word " * 1200), owner="manual", pinned=True, kind="retrieved")
        await process.think("What does it say?")
        return ""

    system = make_system(agent, engine=ScriptedEngine("Fine.", context=1000))
    with pytest.raises(PromptTooLong, match=r"pinned pages take 1,2\d\d: manual 1,2\d\d") as caught:
        await system.start(Task(agent="agent")).result()
    assert "Pin less" in caught.value.hint


async def test_what_is_pinned_stays_first_through_a_long_conversation(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> None:
        paging.hear(process, Message("user", FACT), kind="retrieved", owner="manual", pinned=True, label="files")
        for number in range(10, 60):
            await process.think(words(number), max_tokens=16)

    engine = ScriptedEngine(oracle, context=1000)
    await make_system(agent, engine=engine).start(Task(agent="agent")).result()
    assert all(request.context.messages[0].content == FACT for request in engine.requests)


async def test_an_engine_that_cant_count_is_asked_again_with_less(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> str:
        for number in range(40):
            await process.think(f"{number}" + " a b c d" * 20, max_tokens=16)
        return (await process.think("Go on.", max_tokens=16)).text

    capabilities = frozenset({"constrain", "fork", "save"})
    engine = ScriptedEngine("Fine.", context=1000, capabilities=capabilities)  # type: ignore[arg-type]
    assert await make_system(agent, engine=engine).start(Task(agent="agent")).result() == "Fine."
    assert 41 < len(engine.requests) < 60, "it is asked again, and not for every think"


async def test_forks_asides_choices_and_checkpoints_work_on_a_paged_context(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> list[str]:
        for number in range(1, 60):
            await process.think(words(number), max_tokens=16)
        branch = await process.fork()
        assert branch.pages.table == process.pages.table
        aside = process.aside(process.context)
        choice = await process.think("Left or right?", choices=("left", "right"), baseline="Which?")
        await process.checkpoint()
        return [
            (await branch.think(QUESTION, max_tokens=16)).text,
            (await aside.think(QUESTION, max_tokens=16)).text,
            choice.value,
        ]

    engine = ScriptedEngine(oracle, context=1000, scores={"left": -2.0, "right": -1.0})
    system = make_system(agent, engine=engine)
    child = system.start(Task(agent="agent"))
    assert await child.result() == ["4711", "4711", "right"]
    (score,) = [request for request in engine.score_requests if request.baseline is not None]
    assert score.baseline is not None
    assert len(score.baseline.messages) == len(score.context.messages)
    assert await system.replay(child.pid) == ["4711", "4711", "right"]


async def test_a_short_context_is_neither_counted_nor_journaled_differently(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> str:
        return (await process.think("Hello?")).text

    system = make_system(agent)
    child = system.start(Task(agent="agent"))
    await child.result()
    (call,) = system.journal.calls(child.pid)
    assert "pages" not in json.loads(call.result)


async def test_many_steps_of_one_request_are_paged_and_the_request_stays(make_system: MakeSystem) -> None:
    async def agent(process: Process) -> None:
        process.hear(Message("user", "Find the harbor gate."))
        for number in range(40):
            process.hear(Message("tool", FILLER.format(number) * 2, name="read"))
            await process.think(max_tokens=16)

    engine = ScriptedEngine("Going on.", context=1000)
    await make_system(agent, engine=engine).start(Task(agent="agent")).result()
    for request in engine.requests[1:]:
        said = [message.content for message in request.context.messages]
        assert said[0] == "Find the harbor gate."
        assert said[-1].startswith("Some thoughts")
    assert any("earlier step" in message.content for message in engine.requests[-1].context.messages)


@pytest.mark.model
async def test_the_embedded_model_answers_from_what_was_left_out(make_system: MakeSystem) -> None:
    from llmos.engine.llama import LlamaEngine, LlamaOptions
    from llmos.engine.store.builtin import find
    from llmos.messages import GREEDY

    engine = await LlamaEngine.load(find().path, LlamaOptions(context=512, cells=1024, slots=2))

    async def agent(process: Process) -> str:
        messages = [Message("system", "Answer in one short sentence.")]
        for number in range(1, 60):
            asked, answer = f"How many barrels did customer {number} buy?", f"Customer {number} bought {number * 7}."
            if number == 3:
                asked, answer = FACT, "Noted."
            messages += [Message("user", asked), Message("assistant", answer)]
        process.context = Context(messages=tuple(messages))
        await process.think("Let us go on.", sampling=GREEDY, max_tokens=1)
        assert process.pages.table.evicted
        thought = await process.think(QUESTION, sampling=GREEDY, max_tokens=24)
        assert thought.usage.prompt_tokens < 512
        assert process.pages.table.faults == 1
        return thought.text

    async def get() -> LlamaEngine:
        return engine

    system = make_system(agent)
    system._engine = get  # pyright: ignore[reportPrivateUsage]
    try:
        assert "4711" in await system.start(Task(agent="agent")).result()
    finally:
        await engine.close()
