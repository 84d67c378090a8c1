"""Sessions behind the proxy: how the browser gets by with its credentials, and what is said of an address refused."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from llmos.tools.browser.browser import Browser
from llmos.tools.browser.options import Login, Options
from llmos.tools.browser.proxy import Proxy
from llmos.tools.browser.session import Session
from tests.tools.browser.sessions import refused, value_of
from tests.tools.web_server import Server, serving


@dataclass
class Walled:
    """A browser, its proxy, and a site that sessions may be allowed to open."""

    browser: Browser
    proxy: Proxy
    site: Server
    folder: Path

    @property
    def origin(self) -> str:
        return self.site.url("").rstrip("/")

    @contextlib.asynccontextmanager
    async def session(self, *allow: str, logins: tuple[Login, ...] = ()) -> AsyncGenerator[Session]:
        options = Options(downloads=self.folder, allow=allow, logins=logins)
        session = await self.browser.open(options, way=self.proxy.wall(allow))
        yield session
        await session.close()


async def _inside(host: str, port: int) -> list[str]:
    return ["127.0.0.1" if host == "localhost" else "10.1.2.3"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def walled(executable: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Walled]:
    proxy = Proxy(resolver=_inside)
    await proxy.start()
    folder = tmp_path_factory.mktemp("walled")
    async with Browser(executable=executable) as browser:
        with serving() as site:
            site.html("/", "<!doctype html><title>Home</title><script src=/app.js></script>")
            headers = {"Content-Type": "text/javascript", "Cache-Control": "max-age=600"}
            site.answers["/app.js"] = (200, headers, b"window.ran = 1")
            yield Walled(browser, proxy, site, folder)
    await proxy.close()


async def test_a_name_that_leads_inside_is_refused_with_the_address_and_the_reason(walled: Walled) -> None:
    async with walled.session() as session:
        error = await refused(session.goto("http://inside.example/"))
        assert error.reason == "blocked"
        assert "http://inside.example was blocked" in error.message
        assert "leads to an address of this machine or its network" in error.message


async def test_a_redirect_to_a_refused_address_is_refused_with_the_reason(walled: Walled) -> None:
    walled.site.redirect("/away", "http://inside.example/")
    async with walled.session(walled.origin) as session:
        error = await refused(session.goto(walled.site.url("/away")))
        assert error.reason == "blocked"
        assert "http://inside.example was blocked" in error.message


async def test_a_403_of_a_server_is_a_page_even_if_something_else_was_blocked(walled: Walled) -> None:
    body = b"<title>No</title><img src='http://inside.example/x.png'>"
    walled.site.answers["/no"] = (403, {"Content-Type": "text/html"}, body)
    async with walled.session(walled.origin) as session:
        for _ in range(2):
            assert (await session.goto(walled.site.url("/no"))).after.title == "No"


async def test_sessions_of_one_browser_get_by_with_their_own_rules_and_use_its_cache(walled: Walled) -> None:
    walled.site.asked.clear()
    async with walled.session(walled.origin) as one, walled.session() as other:
        for _ in range(2):
            assert (await one.goto(walled.site.url("/"))).after.title == "Home"
            assert await value_of(one, "() => window.ran") == 1
        assert (await refused(other.goto(walled.site.url("/")))).reason == "blocked"
    assert [asked.path for asked in walled.site.asked].count("/app.js") == 1
    assert not any("authorization" in name.lower() for asked in walled.site.asked for name in asked.headers)


async def test_a_session_with_logins_gets_by_as_well(walled: Walled) -> None:
    async with walled.session(
        walled.origin, logins=(Login(origin="http://a.test", user="u", password="p"),)
    ) as session:
        assert (await session.goto(walled.site.url("/"))).after.title == "Home"


async def test_a_server_that_asks_for_a_password_does_not_get_the_proxys(walled: Walled) -> None:
    challenge = {"WWW-Authenticate": 'Basic realm="llmos"', "Content-Type": "text/html"}
    walled.site.answers["/ask"] = (401, challenge, b"<title>Asks</title>")
    walled.site.asked.clear()
    async with walled.session(walled.origin) as session:
        assert (await refused(session.goto(walled.site.url("/ask")))).reason == "unreachable"
    assert walled.site.asked
    assert not any("authorization" in name.lower() for asked in walled.site.asked for name in asked.headers)
