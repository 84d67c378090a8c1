"""Cancelling, closing, waiting in line, and contexts in files."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from pathlib import Path

import pytest

from llmos.engine.remote import Timeouts
from llmos.errors import EngineClosed, EngineError, RemoteError, StorageError
from llmos.events import Token
from llmos.kernel.protocols import Engine
from llmos.messages import Context, Generate, Message, Priority
from tests.engine.remote.conftest import Open, collect
from tests.engine.remote.server import CHAT, Server, Talk, chunk, says

ASK = Generate(context=Context.chat("Hello"))


class Watch:
    """A handler that streams until the client goes, and sees that."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.begun = asyncio.Event()

    async def __call__(self, talk: Talk) -> None:
        await talk.begin()
        await talk.event(chunk(content="a"))
        self.begun.set()
        await talk.gone()
        self.gone.set()


async def test_leaving_the_stream_closes_the_connection(server: Server, remote: Open) -> None:
    watch = Watch()
    server.on(CHAT, watch)
    async with aclosing(remote().generate(ASK)) as events:
        async for event in events:
            if isinstance(event, Token):
                break
    async with asyncio.timeout(5):
        await watch.gone.wait()


async def test_cancelling_the_task_closes_the_connection(server: Server, remote: Open) -> None:
    watch = Watch()
    server.on(CHAT, watch)
    task = asyncio.create_task(collect(remote(), ASK))
    async with asyncio.timeout(5):
        await watch.begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await watch.gone.wait()


async def test_a_cancelled_request_gives_its_place_back(server: Server, remote: Open) -> None:
    engine = remote(concurrency=1)
    for _ in range(3):
        watch = Watch()
        server.on(CHAT, watch)
        running = asyncio.create_task(collect(engine, ASK))
        await watch.begun.wait()
        waiting = asyncio.create_task(collect(engine, ASK))
        await asyncio.sleep(0)
        waiting.cancel()
        running.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)
    server.on(CHAT, says("ok"))
    async with asyncio.timeout(5):
        await collect(engine, ASK)


async def test_closing_ends_every_stream_and_who_waits(server: Server, remote: Open) -> None:
    watch = Watch()
    server.on(CHAT, watch)
    engine = remote(concurrency=1)
    running = asyncio.create_task(collect(engine, ASK))
    await watch.begun.wait()
    waiting = asyncio.create_task(collect(engine, ASK))
    await asyncio.sleep(0.05)
    await engine.close()
    async with asyncio.timeout(5):
        for task in (running, waiting):
            with pytest.raises(EngineClosed):
                await task
        await watch.gone.wait()


async def test_closing_ends_a_stream_whose_reader_is_busy(server: Server, remote: Open) -> None:
    server.on(CHAT, Watch())
    engine = remote()

    async def read() -> None:
        async with aclosing(engine.generate(ASK)) as events:
            async for event in events:
                if isinstance(event, Token):
                    await engine.close()

    with pytest.raises(EngineClosed):
        await read()


async def test_closing_ends_the_wait_between_tries(server: Server, remote: Open) -> None:
    async def busy(talk: Talk) -> None:
        await talk.json({}, status=429, Retry_After="20")

    server.on(CHAT, busy)
    engine = remote()
    task = asyncio.create_task(collect(engine, ASK))
    while not server.received:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    await engine.close()
    async with asyncio.timeout(5):
        with pytest.raises(EngineClosed):
            await task


async def test_a_closed_engine_says_so_everywhere(remote: Open, tmp_path: Path) -> None:
    engine = remote()
    await engine.close()
    await engine.close()
    with pytest.raises(EngineClosed):
        await collect(engine, ASK)
    for call in (
        engine.connect(),
        engine.tokenize("a"),
        engine.detokenize([1]),
        engine.fork(ASK.context, 2),
        engine.save(ASK.context, tmp_path / "a"),
        engine.restore(tmp_path / "a"),
    ):
        with pytest.raises(EngineClosed):
            await call
    assert engine.info.name == "m"


async def test_no_more_requests_run_at_once_than_allowed(server: Server, remote: Open) -> None:
    async def slow(talk: Talk) -> None:
        await asyncio.sleep(0.02)
        await says("ok")(talk)

    server.on(CHAT, slow)
    engine = remote(concurrency=3)
    async with asyncio.timeout(20):
        await asyncio.gather(*(collect(engine, ASK) for _ in range(20)))
    assert server.most_running <= 3
    assert len(server.received) == 20


async def test_interactive_requests_go_first_and_nobody_starves(server: Server, remote: Open) -> None:
    go = asyncio.Event()

    async def blocked(talk: Talk) -> None:
        await go.wait()
        await says("ok")(talk)

    server.on(CHAT, blocked)
    engine = remote(concurrency=1)
    first = asyncio.create_task(collect(engine, ASK))
    while not server.received:
        await asyncio.sleep(0.01)
    high: list[Priority] = ["interactive"] * 6
    order: list[Priority] = ["background", "normal", *high]
    tasks = [first]
    for number, priority in enumerate(order):
        request = Generate(context=Context.chat(f"{priority} {number}"), priority=priority)
        tasks.append(asyncio.create_task(collect(engine, request)))
        await asyncio.sleep(0)
    go.set()
    async with asyncio.timeout(20):
        await asyncio.gather(*tasks)
    served = [request.body["messages"][0]["content"].split()[0] for request in server.received[1:]]
    assert served[:3] == ["interactive"] * 3
    assert served[3] == "background"
    assert served[4:] == ["interactive"] * 3 + ["normal"]


async def test_a_fork_is_the_same_context_again(remote: Open) -> None:
    engine = remote()
    assert await engine.fork(ASK.context, 3) == (ASK.context,) * 3
    assert "fork" not in engine.info.capabilities


async def test_a_saved_context_comes_back_without_token_ids(remote: Open, tmp_path: Path) -> None:
    context = Context(messages=(Message("user", "Grüße"), Message("assistant", "Hi")), tokens=(1, 2), model="x")
    engine = remote()
    await engine.save(context, tmp_path / "saved")
    assert await engine.restore(tmp_path / "saved") == Context(messages=context.messages)
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


async def test_what_is_no_saved_context_is_a_storage_error(remote: Open, tmp_path: Path) -> None:
    engine = remote()
    for content in (b"", b"\xff\xfe", b'{"type": "Context"', b'{"type": "Message", "role": "user"}\n', b"[" * 9999):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(StorageError):
            await engine.restore(tmp_path / "bad")
    with pytest.raises(StorageError):
        await engine.restore(tmp_path / "missing")
    with pytest.raises((StorageError, EngineError)):
        await engine.save(ASK.context, tmp_path / "bad" / "below a file")


def test_it_is_an_engine(remote: Open) -> None:
    engine: Engine = remote()
    assert engine.info.fingerprint.startswith("remote:http://127.0.0.1:")


async def test_two_hundred_requests_with_random_ends_leave_nothing_behind(server: Server, remote: Open) -> None:
    chance = random.Random(4)

    async def moody(talk: Talk) -> None:
        match chance.randrange(6):
            case 0:
                talk.cut()
            case 1:
                await talk.json({"error": "busy"}, status=503)
            case 2:
                await talk.begin()
                await talk.event(chunk(content="a"))
                talk.cut()
            case 3:
                await Watch()(talk)
            case _:
                await says("a", "b")(talk)

    server.on(CHAT, moody)
    engine = remote(concurrency=8, timeout=Timeouts(connect=5, first=5, idle=0.2, total=20))
    tasks = [asyncio.create_task(collect(engine, ASK)) for _ in range(200)]
    for task in chance.sample(tasks, 60):
        await asyncio.sleep(0.01)
        task.cancel()
    async with asyncio.timeout(60):
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, tuple | RemoteError | asyncio.CancelledError) for end in ends)
    server.on(CHAT, says("ok"))
    async with asyncio.timeout(10):
        await asyncio.gather(*(collect(engine, ASK) for _ in range(8)))
    async with asyncio.timeout(10):
        while server.running:
            await asyncio.sleep(0.01)
