"""The browser's way out, over real sockets: who may use it, where it leads, and what passes through."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from llmos.errors import BrowserError
from llmos.tools.browser import proxy as proxying
from llmos.tools.browser.proxy import Proxy, Wall
from tests.tools.web_server import Server, serving

TLS_HELLO = b"\x16\x03\x01\x00\x05hello"
PUBLIC = "93.184.215.14"


@pytest.fixture
def server() -> Generator[Server]:
    with serving() as found:
        yield found


@dataclass
class Names:
    """A name server whose answers change: each question of a name takes the next one."""

    answers: dict[str, list[list[str]]] = field(default_factory=dict[str, list[list[str]]])
    asked: list[str] = field(default_factory=list[str])

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        found = self.answers.get(host)
        if not found:
            raise OSError("no such name")
        return found.pop(0) if len(found) > 1 else found[0]


@pytest.fixture
def names() -> Names:
    return Names({"localhost": [["127.0.0.1"]]})


@pytest_asyncio.fixture(loop_scope="module")
async def proxy(names: Names) -> AsyncGenerator[Proxy]:
    made = Proxy(resolver=names)
    await made.start()
    yield made
    await made.close()


@contextlib.asynccontextmanager
async def connected(proxy: Proxy) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to the proxy."""
    at = urlsplit(proxy.server)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """The next answer, which says how long it is."""
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode()
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = await reader.readuntil(b"0\r\n\r\n")
    elif "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    else:
        body = b"" if first.startswith("HTTP/1.1 200 Connection") else await reader.read()
    return int(first.split()[1]), headers, body


async def asked(
    proxy: Proxy, wall: Wall | None, target: str, *, method: str = "GET", more: str = "", body: bytes = b""
) -> tuple[int, dict[str, str], bytes]:
    """What comes back for one request."""
    async with connected(proxy) as (reader, writer):
        writer.write(request(wall, target, method=method, more=more) + body)
        return await answer_of(reader)


def request(wall: Wall | None, target: str, *, method: str = "GET", more: str = "") -> bytes:
    known = f"Proxy-Authorization: {wall.credentials}\r\n" if wall else ""
    return f"{method} {target} HTTP/1.1\r\nHost: wrong.example\r\n{known}{more}\r\n".encode()


async def test_a_page_of_an_allowed_origin_comes_through_and_the_proxys_own_headers_stay(
    proxy: Proxy, server: Server
) -> None:
    server.html("/a", "<p>hello</p>")
    wall = proxy.wall([f"http://localhost:{server.port}"])
    more = "Accept: text/html\r\nProxy-Connection: keep-alive\r\nX-Mine: 1\r\nConnection: X-Mine\r\n"
    status, _, body = await asked(proxy, wall, f"http://localhost:{server.port}/a?b=1", more=more)
    assert (status, body) == (200, b"<p>hello</p>")
    (one,) = server.asked
    assert (one.method, one.path) == ("GET", "/a?b=1")
    sent = {name.lower(): value for name, value in one.headers.items()}
    assert sent == {"host": f"localhost:{server.port}", "accept": "text/html"}
    assert wall.blocked() == ()


async def test_many_requests_share_a_connection(proxy: Proxy, server: Server) -> None:
    for number in range(30):
        server.html(f"/{number}", str(number) * number)
    wall = proxy.wall([f"http://localhost:{server.port}"])
    async with connected(proxy) as (reader, writer):
        for number in range(30):
            writer.write(request(wall, f"http://localhost:{server.port}/{number}"))
            assert (await answer_of(reader))[2] == (str(number) * number).encode()
    assert len(server.asked) == 30


@pytest.mark.parametrize("given", ["", "Basic " + base64.b64encode(b"eve:guess").decode(), "Bearer x"])
async def test_without_a_sessions_credentials_nothing_is_let_through(proxy: Proxy, server: Server, given: str) -> None:
    proxy.wall([f"http://localhost:{server.port}"])
    more = f"Proxy-Authorization: {given}\r\n" if given else ""
    for method, target in (("GET", f"http://localhost:{server.port}/"), ("CONNECT", f"localhost:{server.port}")):
        status, headers, _ = await asked(proxy, None, target, method=method, more=more)
        assert status == 407
        assert headers["proxy-authenticate"].startswith("Basic")
    assert server.asked == []


async def test_each_session_has_its_own_rules_and_its_credentials_end_with_it(proxy: Proxy, server: Server) -> None:
    server.html("/", "hello")
    url = f"http://localhost:{server.port}/"
    one, other = proxy.wall([f"http://localhost:{server.port}"]), proxy.wall()
    assert one.credentials != other.credentials
    assert (await asked(proxy, one, url))[0] == 200
    assert (await asked(proxy, other, url))[0] == 403
    assert [str(blocked) for blocked in other.blocked()] == [
        f"http://localhost:{server.port} was blocked: it leads to this machine."
    ]
    assert other.blocked() == ()
    async with connected(proxy) as (reader, writer):
        writer.write(request(one, url))
        await answer_of(reader)
        await one.close()
        assert await reader.read() == b""
    assert (await asked(proxy, one, url))[0] == 407
    with pytest.raises(BrowserError):
        proxy.wall(["http://localhost/path"])


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "0x7f.1", "2130706433", "017700000001", "[::1]", "[::ffff:127.0.0.1]", "localhost."),
        *("169.254.169.254", "10.1.2.3", "0.0.0.0", "x.localhost", "[fd00:ec2::254]", "168.63.129.16"),
    ],
)
async def test_this_machine_and_its_network_are_walled_off(proxy: Proxy, server: Server, host: str) -> None:
    wall = proxy.wall([f"http://localhost:{server.port + 1}"])
    assert (await asked(proxy, wall, f"http://{host}:{server.port}/"))[0] == 403
    assert (await asked(proxy, wall, f"{host}:{server.port}", method="CONNECT"))[0] == 403
    assert wall.blocked()
    assert server.asked == []


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "::ffff:192.168.0.1"])
async def test_a_name_that_leads_here_is_walled_off(proxy: Proxy, names: Names, server: Server, address: str) -> None:
    names.answers["evil.example"] = [[PUBLIC, address]]
    wall = proxy.wall()
    assert (await asked(proxy, wall, f"http://evil.example:{server.port}/"))[0] == 403
    assert (await asked(proxy, wall, f"evil.example:{server.port}", method="CONNECT"))[0] == 403
    assert {blocked.where for blocked in wall.blocked()} == {
        f"http://evil.example:{server.port}",
        f"https://evil.example:{server.port}",
    }
    assert server.asked == []


async def test_a_name_that_changes_its_address_after_the_check_gains_nothing(
    proxy: Proxy, names: Names, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    names.answers["evil.example"] = [[PUBLIC], ["127.0.0.1"]]
    went: list[str] = []

    async def connect(host: str, port: int, **more: object) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        went.append(host)
        raise OSError("unreachable")

    wall = proxy.wall()
    async with connected(proxy) as (reader, writer):
        monkeypatch.setattr(asyncio, "open_connection", connect)
        writer.write(request(wall, f"http://evil.example:{server.port}/"))
        assert (await answer_of(reader))[0] == 502
        monkeypatch.undo()
        assert went == [PUBLIC]
        assert names.asked == ["evil.example"]
        monkeypatch.setattr(proxying, "RESOLVED_SECONDS", 0.0)
        proxy._resolved.clear()  # pyright: ignore[reportPrivateUsage]
        writer.write(request(wall, f"http://evil.example:{server.port}/"))
        assert (await answer_of(reader))[0] == 403
    assert server.asked == []


async def test_a_redirect_to_this_machine_is_a_request_like_any_other(proxy: Proxy, server: Server) -> None:
    server.redirect("/go", "http://127.0.0.1:1/secret")
    wall = proxy.wall([f"http://localhost:{server.port}"])
    status, headers, _ = await asked(proxy, wall, f"http://localhost:{server.port}/go")
    assert status == 302
    assert (await asked(proxy, wall, headers["location"]))[0] == 403


async def test_an_allowed_name_never_leads_to_the_metadata_of_a_cloud(proxy: Proxy, names: Names) -> None:
    names.answers["intranet.example"] = [["169.254.169.254"]]
    wall = proxy.wall(["http://intranet.example"])
    assert (await asked(proxy, wall, "http://intranet.example/"))[0] == 403


@pytest.mark.parametrize(
    "head",
    [
        "GET /local HTTP/1.1\r\n\r\n",
        "GET https://example.org/ HTTP/1.1\r\n\r\n",
        "GET ftp://example.org/ HTTP/1.1\r\n\r\n",
        "GET http://example.org/ HTTP/1.0\r\n\r\n",
        "nonsense\r\n\r\n",
        "GET http://example.org/ HTTP/1.1\r\nbad header\r\n\r\n",
        "GET http://example.org/ HTTP/1.1\r\nA: b\r\n folded: c\r\n\r\n",
        "GET http://example.org/ HTTP/1.1\r\nA: b\nHost: evil\r\n\r\n",
        "POST http://example.org/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST http://example.org/ HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST http://example.org/ HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc",
        "POST http://example.org/ HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "GET http://example.org/ HTTP/1.1\r\nA: " + "x" * 70_000 + "\r\n\r\n",
    ],
)
async def test_a_request_that_can_be_read_in_two_ways_is_refused(proxy: Proxy, names: Names, head: str) -> None:
    wall = proxy.wall()
    first, rest = head.split("\r\n", 1)
    async with connected(proxy) as (reader, writer):
        writer.write(f"{first}\r\nProxy-Authorization: {wall.credentials}\r\n{rest}".encode())
        status, _, _ = await answer_of(reader)
        assert status == 400
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    assert names.asked == []


@pytest.mark.parametrize("target", ["http://good.example@evil.example/", "http://a\\@b/", "http://%31.example/"])
async def test_a_spelling_that_hides_where_it_leads_is_refused(proxy: Proxy, names: Names, target: str) -> None:
    wall = proxy.wall()
    assert (await asked(proxy, wall, target))[0] == 403
    assert len(wall.blocked()) == 1
    assert names.asked == []


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def talking(talk: Talk) -> AsyncGenerator[int]:
    """A server of raw bytes, on a port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            await talk(reader, writer)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65_536):
        writer.write(piece)
        await writer.drain()


async def test_a_websocket_goes_through_a_tunnel_to_an_allowed_origin(proxy: Proxy) -> None:
    async with talking(echo) as port:
        wall = proxy.wall([f"http://localhost:{port}"])
        async with connected(proxy) as (reader, writer):
            writer.write(request(wall, f"localhost:{port}", method="CONNECT"))
            assert (await answer_of(reader))[0] == 200
            payload = b"GET /live HTTP/1.1\r\n" + b"x" * 500_000
            writer.write(payload)
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(-1), 10) == payload
        assert wall.blocked() == ()


@pytest.mark.parametrize(
    ("scheme", "first", "passes"),
    [
        ("https", TLS_HELLO, True),
        ("http", TLS_HELLO, False),
        ("https", b"GET / HTTP/1.1\r\n\r\n", False),
        ("http", b"SSH-2.0-x\r\n", False),
        ("https", b"\x00\x01\x00\x00", False),
    ],
)
async def test_an_origin_is_allowed_with_its_scheme_only(proxy: Proxy, scheme: str, first: bytes, passes: bool) -> None:
    async with talking(echo) as port:
        wall = proxy.wall([f"{scheme}://localhost:{port}"])
        async with connected(proxy) as (reader, writer):
            writer.write(request(wall, f"localhost:{port}", method="CONNECT"))
            assert (await answer_of(reader))[0] == 200
            writer.write(first)
            writer.write_eof()
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 10) == (first if passes else b"")
        assert bool(wall.blocked()) is not passes


async def test_bodies_of_every_kind_pass_in_both_directions(proxy: Proxy) -> None:
    chunks = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: x\r\n\r\n"

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            if "chunked" in head:
                body = await reader.readuntil(b"0\r\n\r\n")
            else:
                body = await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0] or 0))
            path = head.split()[1]
            if path == "/pieces":
                writer.write(
                    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
                )
            elif path == "/end":
                writer.write(b"HTTP/1.0 200 OK\r\n\r\nto the end")
                return
            else:
                said = json.dumps([len(body), body[:30].decode()]).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(said) + said)

    async with talking(talk) as port:
        wall = proxy.wall([f"http://localhost:{port}"])
        url = f"http://localhost:{port}"
        async with connected(proxy) as (reader, writer):
            writer.write(
                request(wall, f"{url}/sized", method="POST", more="Content-Length: 300000\r\n") + b"z" * 300_000
            )
            assert (await answer_of(reader))[2] == json.dumps([300_000, "z" * 30]).encode()
            writer.write(request(wall, f"{url}/sent", method="POST", more="Transfer-Encoding: chunked\r\n") + chunks)
            assert json.loads((await answer_of(reader))[2])[1] == "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
            writer.write(request(wall, f"{url}/pieces"))
            assert (await answer_of(reader))[2] == b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
            writer.write(request(wall, f"{url}/end"))
            status, headers, body = await answer_of(reader)
            assert (status, body, headers["connection"]) == (200, b"to the end", "close")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    ],
)
async def test_a_server_that_answers_nonsense_is_a_bad_gateway(proxy: Proxy, said: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await writer.drain()

    async with talking(talk) as port:
        wall = proxy.wall([f"http://localhost:{port}"])
        assert (await asked(proxy, wall, f"http://localhost:{port}/"))[0] == 502


async def test_a_server_that_leaves_within_a_body_ends_the_connection(proxy: Proxy) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
        await writer.drain()

    async with talking(talk) as port:
        wall = proxy.wall([f"http://localhost:{port}"])
        with pytest.raises(asyncio.IncompleteReadError):
            await asked(proxy, wall, f"http://localhost:{port}/")


async def test_a_slow_reader_holds_the_server_back(proxy: Proxy) -> None:
    sent = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while sent < 100_000_000:
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 100_000

    async with talking(talk) as port:
        wall = proxy.wall([f"http://localhost:{port}"])
        async with connected(proxy) as (reader, writer):
            writer.write(request(wall, f"http://localhost:{port}/"))
            await reader.readuntil(b"\r\n\r\n")
            before = -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.1)
            assert sent < 50_000_000


async def test_an_idle_connection_is_closed(proxy: Proxy, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxying, "HEAD_SECONDS", 0.05)
    async with connected(proxy) as (reader, _):
        assert await asyncio.wait_for(reader.read(), 10) == b""


async def test_it_ends_with_everything_that_goes_through_it() -> None:
    async with talking(echo) as port:
        proxy = Proxy()
        await proxy.start()
        wall = proxy.wall([f"https://localhost:{port}"])
        async with connected(proxy) as (reader, writer):
            writer.write(request(wall, f"localhost:{port}", method="CONNECT"))
            await answer_of(reader)
            writer.write(TLS_HELLO)
            assert await reader.readexactly(len(TLS_HELLO)) == TLS_HELLO
            await proxy.close()
            await proxy.close()
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        with pytest.raises(OSError, match=r"."):
            await asked(proxy, wall, f"localhost:{port}", method="CONNECT")


async def test_more_connections_than_a_session_needs_are_turned_away(
    proxy: Proxy, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxying, "MAX_CONNECTIONS", 3)
    server.html("/", "hello")
    wall = proxy.wall([f"http://localhost:{server.port}"])
    url = f"http://localhost:{server.port}/"
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            reader, writer = await stack.enter_async_context(connected(proxy))
            writer.write(request(wall, url))
            assert (await answer_of(reader))[0] == 200
        assert (await asked(proxy, wall, url))[0] == 503
