"""Servers behind a URL: the SDK's own over HTTP on this machine, and some that are none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from llmos.config import data_dir
from llmos.errors import ConfigError, Denied, McpError
from llmos.tools.mcp import connection, settings
from llmos.tools.mcp.look import look
from llmos.tools.mcp.settings import Server
from llmos.tools.secrets import Secrets
from tests.tools.helpers import Place
from tests.tools.mcp.conftest import Bench, serving

AUTHORIZED = {"Authorization": "Bearer secret://sesame"}


def keep_secret(host: str = "127.0.0.1") -> None:
    Secrets(data_dir(), vault=None).set("sesame", "open-sesame", tool="mcp.web", host=host)


@pytest.mark.parametrize("mode", ["http", "json"])
async def test_a_server_behind_a_url_is_called_with_its_secret(bench: Bench, place: Place, mode: str) -> None:
    keep_secret()
    with serving(bench, mode) as url:
        tools = await bench.tools(Server(name="web", url=url, headers=AUTHORIZED))
        assert tools["add"].spec.name == "web__add"
        assert (await tools["add"].call({"a": 40}, place.access())).text == "42"
        assert (await tools["slow"].call({"seconds": 0}, place.access())).text == "awake"
        await bench.pool.close()


async def test_a_server_that_wants_a_key_says_so(bench: Bench) -> None:
    with serving(bench, "http") as url, pytest.raises(McpError, match="answered with HTTP status 401") as raised:
        await look(Server(name="web", url=url))
    assert raised.value.reason == "refused"
    assert "--header" in str(raised.value)


async def test_a_secret_goes_to_its_own_host_only(bench: Bench) -> None:
    keep_secret("mcp.example.com")
    with pytest.raises(Denied, match=r"may not be used by 'mcp\.web' for '127\.0\.0\.1'"):
        await look(Server(name="web", url="http://127.0.0.1:9/mcp", headers=AUTHORIZED))


async def test_a_long_answer_over_http_is_refused(bench: Bench, place: Place) -> None:
    keep_secret()
    with serving(bench, "json") as url:
        tools = await bench.tools(Server(name="web", url=url, headers=AUTHORIZED))
        result = await tools["big"].call({"megabytes": 8}, place.access())
        assert result.failed
        assert "sent an answer of more than 4,194,304 bytes" in result.text
        assert (await tools["add"].call({"a": 1}, place.access())).text == "3"
        await bench.pool.close()


async def test_a_server_that_goes_away_and_one_that_takes_its_place(bench: Bench, place: Place) -> None:
    keep_secret()
    with serving(bench, "http") as url:
        server = Server(name="web", url=url, headers=AUTHORIZED, seconds=5)
        add = (await bench.tools(server))["add"]
        assert (await add.call({"a": 1}, place.access())).text == "3"
    result = await add.call({"a": 1}, place.access())
    assert result.failed
    with serving(bench, "http") as url:
        again = bench.accepted(Server(name="web", url=url, headers=AUTHORIZED))["add"]
        await bench.pool.close()
        assert (await again.call({"a": 1}, place.access())).text == "3"
        await bench.pool.close()


async def test_nobody_at_the_address(bench: Bench) -> None:
    with pytest.raises(McpError, match="can't be reached") as raised:
        await look(Server(name="web", url="http://127.0.0.1:9/mcp"))
    assert raised.value.reason == "unreachable"


@asynccontextmanager
async def answering(head: bytes, body: bytes = b"") -> AsyncGenerator[str]:
    """A web server that gives the same answer to everything."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head + b"\r\n\r\n")
            for _ in range(64 if body else 0):
                writer.write(body)
                await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"


@pytest.mark.parametrize(
    ("head", "body", "said"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-type: text/html", b"<html>", "content type"),
        (b"HTTP/1.1 200 OK\r\ncontent-type: application/json", b"x" * (1 << 17), "more than 4,194,304 bytes"),
        (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip", b"x", "packed answer"),
        (b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream", b"data: {]\n\n", ""),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.2:9/", b"", "not followed"),
        (b"HTTP/1.1 307 Moved\r\nlocation: https://evil.example/", b"", "not followed"),
        (b"HTTP/1.1 503 Busy\r\ncontent-type: text/plain", b"later", "HTTP status 503"),
        (b"HTTP/1.1 202 Accepted\r\ncontent-length: 0", b"", ""),
        (b"SSH-2.0-OpenSSH_9.9", b"", ""),
    ],
)
async def test_what_is_no_server_of_this_protocol_is_an_error_in_time(
    bench: Bench, head: bytes, body: bytes, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "START_SECONDS", 5.0)
    async with answering(head, body) as url:
        with pytest.raises(McpError) as raised:
            async with asyncio.timeout(20):
                await look(Server(name="web", url=url))
    assert said.lower() in str(raised.value).lower()


@pytest.mark.parametrize(
    "url",
    ["http://mcp.example.com/mcp", "ftp://127.0.0.1/", "mcp.example.com", "https://me:pw@mcp.example.com/", "https://"],
)
def test_only_https_or_this_machine(url: str) -> None:
    with pytest.raises(ConfigError):
        settings.check_url(url)


@pytest.mark.parametrize("url", ["https://mcp.example.com/mcp", "http://localhost:8000/mcp", "http://[::1]:8000/mcp"])
def test_urls_that_may_be_used(url: str) -> None:
    settings.check_url(url)
