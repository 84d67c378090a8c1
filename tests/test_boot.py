"""The public kernel: async, in plain code, and both at once."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from llmos import Answer, Choices, EngineOptions, Finished, Kernel, Settings, Started, Token
from llmos.boot import confidence_of
from llmos.engine.scripted import Reply, Script, ScriptedEngine
from llmos.errors import ConstraintError, EngineClosed, EngineError, LlmosError, ModelNotFound, PromptTooLong
from llmos.portal import closing


class Point(BaseModel):
    x: int
    y: int = Field(le=10)


def kernel(replies: Script = "hello", *, seconds_per_token: float = 0.0) -> tuple[Kernel, ScriptedEngine]:
    engine = ScriptedEngine(replies, seconds_per_token=seconds_per_token)
    return Kernel(engine=engine, settings=Settings()), engine


async def test_a_run_answers_with_its_evidence() -> None:
    own, _ = kernel(Reply("hello there", logprob=math.log(0.5)))
    async with own:
        answer = await own.run("hi")
    assert (answer.text, answer.reason, answer.output) == ("hello there", "stop", None)
    assert answer.confidence == pytest.approx(0.5)
    assert answer.usage.generated_tokens == 2


async def test_a_conversation_goes_on_and_reads_only_what_is_new() -> None:
    own, engine = kernel(["one", "two"])
    async with own:
        first = await own.run("a")
        second = await own.run("b", context=first.context)
    assert [message.content for message in engine.requests[1].context.messages] == ["a", "one", "b"]
    assert second.usage.reused_tokens == first.usage.prompt_tokens + first.usage.generated_tokens


async def test_the_settings_decide_unless_the_run_does() -> None:
    engine = ScriptedEngine("x")
    settings = Settings(system="Be brief.", max_tokens=7)
    async with Kernel(engine=engine, settings=settings) as own:
        await own.run("a")
        sampling = replace(settings.sampling, temperature=1.0)
        await own.run("b", max_tokens=3, sampling=sampling, constraint=Choices(("x",)))
    first, second = engine.requests
    assert (first.context.messages[0].content, first.max_tokens, first.sampling) == ("Be brief.", 7, settings.sampling)
    assert (second.max_tokens, second.sampling.temperature, second.constraint) == (3, 1.0, Choices(("x",)))


async def test_an_output_type_constrains_and_parses() -> None:
    own, engine = kernel('{"x": 1, "y": 2}')
    async with own:
        answer: Answer[Point] = await own.run("where?", output=Point)
    assert answer.output == Point(x=1, y=2)
    constraint = engine.requests[0].constraint
    assert constraint is not None
    assert constraint.kind == "json_schema"


@pytest.mark.parametrize(("reply", "said"), [('{"x": 1, "y": 20}', "less than or equal"), ('{"x": 1, ', "cut after 3")])
async def test_an_answer_that_is_not_of_the_type_says_why(reply: str, said: str) -> None:
    own, _ = kernel(reply + " and more words")
    async with own:
        with pytest.raises(ConstraintError, match="Point"):
            await own.run("where?", output=Point, max_tokens=3)


async def test_a_stream_gives_events_in_order() -> None:
    own, _ = kernel("one two")
    async with own:
        events = [event async for event in own.run_stream("hi")]
    assert [type(event) for event in events] == [Started, Token, Token, Finished]


async def test_leaving_a_stream_cancels_the_request() -> None:
    own, engine = kernel("word " * 100, seconds_per_token=0.01)
    async with own:
        async with closing(own.run_stream("hi")) as stream:
            async for event in stream:
                if isinstance(event, Token):
                    break
        assert engine.active == 0
        assert len(engine.cancelled) == 1


async def test_cancelling_a_run_cancels_the_request() -> None:
    own, engine = kernel("word " * 100, seconds_per_token=0.01)
    async with own:
        task = asyncio.create_task(own.run("hi"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (engine.active, len(engine.cancelled)) == (0, 1)
        assert (await own.run("again", max_tokens=1)).reason == "length"


async def test_many_runs_at_once_do_not_mix() -> None:
    own, _ = kernel(lambda request: request.context.messages[-1].content)
    async with own:
        answers = await asyncio.gather(*(own.run(f"number {i} of many words") for i in range(50)))
    assert [answer.text for answer in answers] == [f"number {i} of many words" for i in range(50)]


def test_plain_code_needs_no_loop() -> None:
    own, _ = kernel("hello")
    with own:
        assert own.run_sync("hi").text == "hello"
        assert own.run_sync("hi").text == "hello"


async def test_the_sync_form_works_inside_a_running_loop_beside_the_async_one() -> None:
    own, _ = kernel("hello")
    async with own:
        assert (await own.run("hi")).text == "hello"
        assert own.run_sync("hi").text == "hello"
        assert (await own.run("hi")).text == "hello"


def test_several_loops_and_threads_share_one_kernel() -> None:
    own, _ = kernel("hello")
    texts: list[str] = []

    def use() -> None:
        texts.append(asyncio.run(own.run("hi")).text)
        texts.append(own.run_sync("hi").text)

    with own:
        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert texts == ["hello"] * 8


async def test_the_sync_form_refuses_to_wait_for_itself() -> None:
    engine = ScriptedEngine(lambda request: own.run_sync("inner").text)
    own = Kernel(engine=engine, settings=Settings())
    async with own:
        with pytest.raises(EngineError, match="wait for itself"):
            await own.run("hi")


async def test_an_engines_error_reaches_the_caller_and_hurts_nobody_else() -> None:
    own, _ = kernel({"long": Reply("a", error=PromptTooLong("too long")), "fine": "yes"})
    async with own:
        bad, good = await asyncio.gather(own.run("long"), own.run("fine"), return_exceptions=True)
    assert isinstance(bad, PromptTooLong)
    assert isinstance(good, Answer)


async def test_closing_ends_what_runs_and_refuses_what_comes() -> None:
    own, _ = kernel("word " * 1000, seconds_per_token=0.01)
    await own.__aenter__()
    run = asyncio.create_task(own.run("hi"))
    await asyncio.sleep(0.05)
    await own.close()
    with pytest.raises(EngineClosed):
        await asyncio.wait_for(run, 10)
    with pytest.raises(EngineClosed):
        await own.run("again")
    with pytest.raises(EngineClosed):
        own.run_sync("again")
    await own.close()
    assert own.state == "closed"


async def test_a_model_that_is_not_there_fails_at_the_run_and_can_be_tried_again(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    own = Kernel(f"scripted:{script}", settings=Settings())
    async with own:
        with pytest.raises(ModelNotFound):
            await own.run("hi")
        assert own.state == "failed"
        script.write_text('["here now"]')
        assert (await own.run("hi")).text == "here now"
        assert own.info is not None


async def test_loading_goes_on_in_the_background(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text('{"replies": "hello", "load_seconds": 0.3, "name": "slow"}')
    own = Kernel(f"scripted:{script}", settings=Settings(engine=EngineOptions(context=99)))
    assert (own.state, own.info) == ("new", None)
    async with own:
        assert own.state == "loading"
        assert (await own.run("hi")).text == "hello"
        assert own.info is not None
        assert (own.info.name, own.info.context) == ("slow", 99)


async def test_closing_while_it_loads_ends_the_wait(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text('{"replies": "hello", "load_seconds": 60}')
    own = Kernel(f"scripted:{script}", settings=Settings())
    run = asyncio.create_task(own.run("hi"))
    await asyncio.sleep(0.1)
    await own.close()
    with pytest.raises(LlmosError):
        await asyncio.wait_for(run, 10)


def test_a_program_that_forgets_to_close_still_ends() -> None:
    code = "from llmos import Kernel; print(Kernel('scripted:').run_sync('hello').text)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")


def test_confidence_is_unknown_where_the_engine_does_not_tell() -> None:
    assert confidence_of(math.nan) is None
    assert confidence_of(0.0) == 1.0


async def test_confidence_is_not_claimed_under_a_constraint() -> None:
    own, _ = kernel(Reply("yes", logprob=-6.0))
    async with own:
        answer = await own.run("hi", constraint=Choices(("yes", "no")))
    assert answer.confidence is None


async def test_any_failure_of_loading_is_ours_and_another_try_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(spec: str | None, options: EngineOptions) -> ScriptedEngine:
        raise OSError("libllama.so: cannot open shared object file")

    own = Kernel("scripted:", settings=Settings())
    with monkeypatch.context() as patch:
        patch.setattr("llmos.engine.open_engine", broken)
        with pytest.raises(EngineError, match=r"'scripted:' could not be loaded: OSError: libllama\.so") as caught:
            await own.engine()
        assert isinstance(caught.value.__cause__, OSError)
        assert own.state == "failed"
    async with own:
        assert (await own.run("hello")).text == "hello"
