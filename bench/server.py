"""A peer in a process of its own: `llama-server` on the same model, and a client that streams from it.

Knows no rows and nothing of the engine.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import httpx

from bench.report import Skipped

NAME = "llama-server"
_PATIENCE = 300.0  # seconds without a byte: the last of several long prompts on a slow machine waits for all others


@dataclass(frozen=True, slots=True)
class Answer:
    """What came for one prompt.

    Attributes:
        tokens: Ids that were told, in order.
        seconds: When each of them was here, from the moment the request was sent.
        count: Tokens that were generated; more than were told where the server holds back parts of a character.
    """

    tokens: tuple[int, ...]
    seconds: tuple[float, ...]
    count: int


def find() -> Path:
    """The `llama-server` on PATH.

    Raises:
        Skipped: There is none.
    """
    found = shutil.which(NAME)
    if found is None:
        raise _failure("it is not on PATH")
    return Path(found)


@contextmanager
def serving(
    binary: Path, model: Path, *, threads: int, cells: int, slots: int, rows: int, wait: float = 120.0
) -> Generator[str]:
    """A server that is ready for the time of the block, and gone after it; yields its URL.

    Set to what the engine here uses: the threads of steps and of prompts, the tokens in the KV cache (one cache for all
    slots, f16), the rows of a step (`-b` and `-ub`; by default `-b` is 2,048, with which streams wait several times as
    long for a prompt), and no polling, so that an idle server leaves the cores alone. The rest is its default: the
    prompt cache in RAM, and flash attention, with which it is faster in all that is measured here.

    Raises:
        Skipped: It did not start, or was not ready within `wait` seconds.
    """
    port = _free_port()
    command = [str(binary), "-m", str(model), "--host", "127.0.0.1", "--port", str(port), "--parallel", str(slots)]
    command += ["-t", str(threads), "-tb", str(threads), "-c", str(cells), "--kv-unified", "-b", str(rows)]
    command += ["-ub", str(rows), "--poll", "0"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_ready(process, url, log, time.monotonic() + wait)
            yield url
        finally:
            _end(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: IO[bytes], deadline: float) -> None:
    with httpx.Client(base_url=url, timeout=5, trust_env=False) as client:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise _failure(f"it ended at once with {process.returncode}: {_last_line(log)}")
            try:
                if client.get("/health").status_code == 200:
                    return
            except httpx.TransportError:
                pass  # it does not listen yet
            time.sleep(0.05)
    raise _failure(f"it was not ready in time: {_last_line(log)}")


def _last_line(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)


class Server:
    """A client of one server; make one with `connect`."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def ask(self, prompt: Sequence[int], count: int, *, each: Callable[[], None] | None = None) -> Answer:
        """Continue token ids greedily by `count` tokens, beyond any end; `each` is called for each as it comes.

        Raises:
            Skipped: The server refused, reported an error, cut the stream, or said nothing for minutes.
        """
        body = {
            "prompt": list(prompt),
            "n_predict": count,
            "temperature": 0,
            "top_k": 1,
            "samplers": ["top_k"],  # the cheapest way to the likeliest token
            "ignore_eos": True,
            "cache_prompt": True,
            "stream": True,
        }
        tokens: list[int] = []
        seconds: list[float] = []
        start = time.perf_counter()
        with _failing():
            async with self._client.stream("POST", "/completion", json=body) as response:
                if response.status_code != 200:
                    raise _failure(f"it answered {response.status_code}: {(await response.aread())[:500]!r}")
                async for event in _events(response.aiter_lines()):
                    if event.get("stop"):
                        return Answer(tuple(tokens), tuple(seconds), int(event["tokens_predicted"]))
                    for token in event.get("tokens", ()):
                        tokens.append(token)
                        seconds.append(time.perf_counter() - start)
                        if each:
                            each()
        raise _failure(f"it ended a stream after {len(tokens)} tokens without saying so")

    async def settle(self) -> None:
        """Wait until it computes nothing; at most half a minute, after which it is `Skipped`."""
        with _failing():
            async with asyncio.timeout(30):
                while any(slot["is_processing"] for slot in (await self._client.get("/slots")).json()):
                    await asyncio.sleep(0.01)


@asynccontextmanager
async def connect(url: str) -> AsyncGenerator[Server]:
    """A client for the time of the block."""
    limits = httpx.Limits(max_connections=None)
    timeout = httpx.Timeout(_PATIENCE)
    async with httpx.AsyncClient(base_url=url, timeout=timeout, limits=limits, trust_env=False) as client:
        yield Server(client)


async def _events(lines: AsyncIterator[str]) -> AsyncGenerator[dict[str, Any]]:
    """The JSON objects of a stream of server-sent events of one `data:` line each."""
    async for line in lines:
        field, _, data = line.partition(":")
        data = data.strip()
        if field not in ("data", "error") or not data.startswith("{"):
            continue  # pings, blank lines, [DONE]
        event = cast(dict[str, Any], json.loads(data))
        if field == "error" or "error" in event:
            raise _failure(f"it reported an error: {data[:500]}")
        yield event


def _failure(why: str) -> Skipped:
    return Skipped(f"rows against {NAME}: {why}")


@contextmanager
def _failing() -> Generator[None]:
    """What breaks a peer ends its rows, and not those that were measured before."""
    try:
        yield
    except (httpx.TransportError, TimeoutError) as error:
        raise _failure(f"{type(error).__name__} {error}".strip()) from error
