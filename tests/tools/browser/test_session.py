"""Sessions: tabs, dialogs, files, logins, profiles, slow and dead pages, crashes, a person who takes over."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import AsyncGenerator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from PIL import Image

from llmos.errors import BrowserError, ConfigError, StorageError
from llmos.tools.browser.browser import Browser
from llmos.tools.browser.downloads import safe_name
from llmos.tools.browser.options import Login, Options
from llmos.tools.browser.profiles import Profiles
from llmos.tools.browser.session import Session
from tests.tools.browser.sessions import Surf, ref, refused, surfing, value_of


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_web(executable: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Surf]:
    async with surfing(executable, tmp_path_factory.mktemp("session")) as web:
        yield web


@pytest_asyncio.fixture(loop_scope="module")
async def web(module_web: Surf) -> AsyncGenerator[Surf]:
    yield module_web
    await module_web.end()


# ---- Tabs


async def test_a_new_window_becomes_the_current_tab_and_one_can_go_back(web: Surf) -> None:
    web.site.html("/pop", "<title>Pop</title><button onclick='window.close()'>Close</button>")
    session = await web.show("<a href=/pop target=_blank>Open</a>", viewport=(800, 600))
    outcome = await session.click(ref(session, "Open"))
    assert outcome.after.tab == 2
    assert outcome.after.title == "Pop"
    assert dict(outcome.after.tabs) == {1: "Page", 2: "Pop"}
    assert any("new tab" in change for change in outcome.changes)
    outcome = await session.tab(1)
    assert outcome.after.url == web.site.url("/")
    await session.tab(2)
    outcome = await session.click(ref(session, "Close"))
    assert outcome.after.tab == 1
    assert any("Tab 2 was closed" in change for change in outcome.changes)
    assert (await refused(session.tab(2))).reason == "closed"


async def test_a_reference_of_one_tab_means_nothing_in_another(web: Surf) -> None:
    web.site.html("/pop", "<title>Pop</title><button>Two</button>")
    session = await web.show("<a href=/pop target=_blank>Open</a>", viewport=(800, 600))
    link = ref(session, "Open")
    outcome = await session.click(link)
    assert ref(outcome.after, "Two") != link
    assert (await refused(session.click(link))).reason == "stale"


async def test_pages_can_not_open_tabs_without_end(web: Surf) -> None:
    session = await web.show(
        "<button onclick='for (let i = 0; i < 40; i++) window.open(\"/\")'>Many</button>",
        viewport=(800, 600),
        patience=10.0,  # twenty new tabs take a busy machine more than the usual few seconds
    )
    await session.click(ref(session, "Many"))
    assert len((await session.observe()).tabs) <= 20


# ---- Dialogs


async def test_dialogs_are_dismissed_unless_the_action_accepts_them(web: Surf) -> None:
    session = await web.show(
        "<button onclick=\"document.title = 'said ' + confirm('Sure?')\">Ask</button>"
        "<button onclick=\"document.title = 'named ' + prompt('Who?', 'nobody')\">Name</button>"
        "<button onclick=\"alert('Hello'); document.title = 'told'\">Tell</button>"
    )
    outcome = await session.click(ref(session, "Ask"))
    assert outcome.after.title == "said false"
    assert "A dialog came (confirm): 'Sure?'. It was dismissed." in outcome.after.notices
    assert (await session.click(ref(session, "Ask"), accept="")).after.title == "said true"
    assert (await session.click(ref(session, "Name"))).after.title == "named null"
    assert (await session.click(ref(session, "Name"), accept="Ada")).after.title == "named Ada"
    assert (await session.click(ref(session, "Tell"))).after.title == "told"


async def test_a_page_that_asks_whether_to_leave_it_is_left_only_if_that_is_accepted(web: Surf) -> None:
    web.site.html("/next", "<title>Next</title>")
    session = await web.show(
        "<input aria-label=F><script>onbeforeunload = (e) => { e.preventDefault(); return 'x' }</script>",
        viewport=(800, 600),
    )
    await session.fill(ref(session, "F"), "draft")
    assert (await refused(session.goto(web.site.url("/next")))).reason == "unchanged"
    assert (await session.observe()).elements[ref(session, "F")].value == "draft"
    assert (await session.goto(web.site.url("/next"), accept="")).after.title == "Next"


# ---- Addresses that don't open


async def test_dead_links_slow_pages_and_other_schemes_give_typed_errors(web: Surf) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        dead = f"http://127.0.0.1:{taken.getsockname()[1]}"
    go_on = threading.Event()

    def slow(handler: BaseHTTPRequestHandler) -> None:
        go_on.wait(10)
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html")
        handler.send_header("Content-Length", "20")
        handler.end_headers()
        handler.wfile.write(b"<title>Slow</title>.")

    web.site.answers["/slow"] = slow
    session = await web.open(allow=(*web.options.allow, dead), patience=1.0)
    assert (await refused(session.goto(dead))).reason == "unreachable"
    for bad in (
        "file:///etc/passwd",
        "javascript:alert(1)",
        "chrome://version",
        "data:text/html,x",
        "http://127.0.0.1:1/",
    ):
        assert (await refused(session.goto(bad))).reason == "blocked"
    assert (await refused(session.goto(web.site.url("/slow")))).reason == "timeout"
    go_on.set()
    assert (await session.observe()).title == "Slow"
    outcome = await session.goto(web.site.url("/nowhere"))
    assert "The server answered 404 Not Found." in outcome.after.notices


async def test_a_link_to_a_slow_page_is_followed_by_and_by(web: Surf) -> None:
    go_on = threading.Event()

    def slow(handler: BaseHTTPRequestHandler) -> None:
        go_on.wait(10)
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html")
        handler.send_header("Content-Length", "20")
        handler.end_headers()
        handler.wfile.write(b"<title>Slow</title>.")

    web.site.answers["/slow"] = slow
    session = await web.show("<a href=/slow>On</a>", patience=1.0)
    outcome = await session.click(ref(session, "On"))
    assert any("not over yet" in change for change in outcome.changes)
    go_on.set()
    assert (await session.observe()).title == "Slow"


async def test_a_page_whose_scripts_never_end_does_not_hold_anyone_up(web: Surf) -> None:
    session = await web.show("<button onclick='for (;;);'>Hang</button>", patience=1.0)
    error = await refused(session.click(ref(session, "Hang")))
    assert error.reason == "timeout"


async def test_there_is_no_way_back_from_the_first_page(web: Surf) -> None:
    web.site.html("/next", "<title>Next</title>")
    session = await web.show("<a href=/next>On</a>", viewport=(800, 600))
    await session.click(ref(session, "On"))
    assert (await session.back()).after.title == "Page"
    assert (await refused(session.back())).reason == "unfit"
    assert (await session.observe()).title == "Page"


async def test_logins_are_sent_to_their_origin_only(web: Surf) -> None:
    def guarded(handler: BaseHTTPRequestHandler) -> None:
        known = handler.headers.get("Authorization") == "Basic YWRhOnNlY3JldA=="
        body = b"<title>Inside</title>" if known else b"<title>Outside</title>"
        handler.send_response(200 if known else 401)
        if not known:
            handler.send_header("WWW-Authenticate", 'Basic realm="here"')
        handler.send_header("Content-Type", "text/html")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    web.site.answers["/guarded"] = guarded
    error = await refused(web.kept.goto(web.site.url("/guarded")))
    assert "HTTP authentication" in error.message
    login = Login(origin=web.site.url("").rstrip("/"), user="ada", password="secret")
    assert "secret" not in repr(login)
    session = await web.open(logins=(login,))
    assert (await session.goto(web.site.url("/guarded"))).after.title == "Inside"
    await refused(session.goto(web.site.url("/guarded", host="localhost")))
    assert "Authorization" not in web.site.asked[-1].headers


# ---- Files


def _file(name: str, content: bytes) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Disposition": f'attachment; filename="{name}"'}, content


async def test_downloads_go_into_quarantine_under_safe_names(web: Surf, tmp_path: Path) -> None:
    web.site.answers["/a"] = _file("../../report.sh", b"#!/bin/sh\nexit 1\n")
    folder = tmp_path / "quarantine"
    session = await web.show("<a href=/a>Get</a>", downloads=folder)
    outcome = await session.click(ref(session, "Get"))
    await session.click(ref(session, "Get"))
    await session.goto(web.site.url("/a"))
    assert any("Downloaded" in change for change in outcome.changes)
    assert len(session.downloads) == 3
    assert len({one.path for one in session.downloads}) == 3
    for one in session.downloads:
        assert one.path.parent == folder
        assert one.path.read_bytes() == b"#!/bin/sh\nexit 1\n"
        assert one.path.stat().st_mode & 0o777 == 0o600
    await session.close()
    assert len(list(folder.iterdir())) == 3


async def test_downloads_that_are_too_large_or_too_many_are_stopped(web: Surf, tmp_path: Path) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Disposition", "attachment; filename=endless.bin")
        handler.end_headers()
        for _ in range(10_000):
            handler.wfile.write(b"x" * 10_000)

    web.site.answers["/endless"] = endless
    web.site.answers["/big"] = _file("big.bin", b"x" * 300_000)
    web.site.answers["/small"] = _file("small.bin", b"x")
    session = await web.open(downloads=tmp_path, download_limit=200_000, most_downloads=3)
    outcome = await session.goto(web.site.url("/big"))
    assert any("larger than 200,000 bytes" in change for change in outcome.changes)
    changes = list((await session.goto(web.site.url("/endless"))).changes)
    while not any("larger" in change for change in changes):
        changes += (await session.observe()).notices
    await session.goto(web.site.url("/small"))
    outcome = await session.goto(web.site.url("/small"))
    assert any("may download 3" in change for change in outcome.changes)
    assert [one.name for one in session.downloads] == ["small.bin"]


@pytest.mark.parametrize(
    ("suggested", "safe"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\x.exe", "x.exe"),
        (".bashrc", "bashrc"),
        ("a\x00b\n.txt", "a_b_.txt"),
        ("con.txt", "download_con.txt"),
        ("", "download"),
        ("..", "download"),
        ("gpj\u202eexe.png", "gpj_exe.png"),
        ("x" * 300 + ".tar", "x" * 116 + ".tar"),
    ],
)
def test_names_of_downloads_are_made_safe(suggested: str, safe: str) -> None:
    assert safe_name(suggested) == safe


async def test_only_listed_files_are_uploaded(web: Surf, tmp_path: Path) -> None:
    good, folder, bad = tmp_path / "cv.pdf", tmp_path / "letters", tmp_path / "id_rsa"
    folder.mkdir()
    for path in (good, folder / "one.txt", bad):
        path.write_text("text")
    (folder / "link").symlink_to(bad)
    session = await web.show(
        "<input type=file multiple aria-label=Files id=f "
        'onchange="document.title = [...this.files].map((f) => f.name)">'
        "<button onclick='f.click()'>Choose…</button>",
        uploads=(good, folder),
    )
    files = ref(session, "Files")
    assert (await session.fill(files, str(good))).after.title == "cv.pdf"
    assert (await session.fill(files, f"{good}\n{folder / 'one.txt'}")).after.title == "cv.pdf,one.txt"
    for path in (bad, folder / "link", folder / ".." / "id_rsa", Path("/etc/passwd")):
        error = await refused(session.fill(files, str(path)))
        assert error.reason == "unfit"
        assert "cv.pdf" in error.hint
    assert (await session.fill(ref(session, "Choose…"), str(folder / "one.txt"))).after.title == "one.txt"
    outcome = await session.click(ref(session, "Choose…"))
    assert any("file picker" in change for change in outcome.changes)


# ---- Profiles


async def test_a_profile_remembers_logins_and_is_encrypted(web: Surf, tmp_path: Path) -> None:
    web.site.html("/", "<title>x</title>")
    profiles = Profiles(tmp_path / "profiles", vault=None)
    async with Browser(profiles=profiles, walled=False) as browser:
        options = Options(downloads=tmp_path, allow=web.options.allow, profile="work")
        session = await browser.open(options)
        await session.goto(web.site.url("/"))
        await value_of(session, "() => { document.cookie = 'who=ada-lovelace; max-age=999'; localStorage.at = 'home' }")
        with pytest.raises(ConfigError, match="in use"):
            await browser.open(options)
        await session.close()
        session = await browser.open(options)
        await session.goto(web.site.url("/"))
        assert await value_of(session, "() => document.cookie + localStorage.at") == "who=ada-lovelacehome"
    kept = (tmp_path / "profiles" / "work.profile").read_bytes()
    assert b"ada-lovelace" not in kept
    assert (tmp_path / "profiles" / "key").stat().st_mode & 0o777 == 0o600
    assert profiles.names() == ("work",)
    (tmp_path / "profiles" / "work.profile").write_bytes(kept[:-5] + b"AAAAA")
    with pytest.raises(StorageError, match="decrypted"):
        profiles.load("work")
    profiles.delete("work")
    assert profiles.load("work") is None
    with pytest.raises(ConfigError):
        profiles.load("../work")


async def test_sessions_share_a_process_and_no_cookies(web: Surf) -> None:
    web.site.html("/", "<title>x</title>")
    one, two = await web.open(), await web.open()
    await one.goto(web.site.url("/"))
    await value_of(one, "() => { document.cookie = 'a=1' }")
    await two.goto(web.site.url("/"))
    assert await value_of(two, "() => document.cookie") == ""
    assert one.context.browser is two.context.browser


# ---- Secrets and pictures


async def test_passwords_and_secrets_are_on_no_picture_and_in_no_observation(web: Surf, tmp_path: Path) -> None:
    style = "style='position:absolute;left:0;width:200px;height:50px;border:0;background:white'"
    session = await web.show(
        f"<style>body {{ background: white }}</style><input aria-label=Code {style}>"
        f"<input type=password aria-label=Word {style} id=w>"
        "<button style='position:absolute;top:200px;left:300px'>Go</button>"
        "<script>w.style.top = '100px'</script>"
    )
    seen = await session.observe()
    outcome = await session.fill(ref(seen, "Code"), "hunter2hunter2", secret=True)
    outcome = await session.fill(ref(seen, "Word"), "hunter2hunter2")
    assert "hunter2" not in str(outcome)
    assert "filled" in outcome.after.elements[ref(seen, "Code")].states
    await session.screenshot(tmp_path / "page.png", mark=ref(seen, "Go"))
    with Image.open(tmp_path / "page.png") as picture:
        left, top, width, height = outcome.after.elements[ref(seen, "Go")].box
        assert picture.convert("RGB").getpixel((100, 120)) == (0x22, 0x22, 0x22)
        assert picture.convert("RGB").getpixel((100, 40)) == (0x22, 0x22, 0x22)
        assert picture.convert("RGB").getpixel((int(left + width / 2), int(top + height) + 2)) == (0xE5, 0x48, 0x4D)
    await session.screenshot(tmp_path / "page.jpg")
    assert (tmp_path / "page.jpg").read_bytes()[:2] == b"\xff\xd8"


# ---- Crashes


async def test_a_page_that_crashes_comes_back_at_its_address(web: Surf) -> None:
    session = await web.show("<button>Go</button>", viewport=(800, 600))
    go = ref(session, "Go")
    await _crash(session)
    assert (await refused(session.click(go))).reason == "crashed"
    seen = await session.observe()
    assert seen.url == web.site.url("/")
    assert ref(seen, "Go") != go
    assert (await refused(session.click(go))).reason == "stale"
    await session.click(ref(seen, "Go"))


async def test_a_browser_that_is_killed_comes_back_with_its_tabs_and_cookies(web: Surf, tmp_path: Path) -> None:
    web.site.html("/", "<title>Page</title><a href=/pop target=_blank>Open</a>")
    web.site.html("/pop", "<title>Pop</title><button onclick=\"document.title = 'done'\">Go</button>")
    async with Browser(walled=False) as browser:
        session = await browser.open(Options(downloads=tmp_path, allow=web.options.allow))
        await session.goto(web.site.url("/"))
        await value_of(session, "() => { document.cookie = 'who=ada; max-age=999' }")
        outcome = await session.click(ref(session, "Open"))
        old = set(outcome.after.elements)
        _kill(browser)
        assert (await refused(session.click(ref(outcome.after, "Go")))).reason == "crashed"
        seen = await session.observe()
        assert (seen.tab, seen.url) == (2, web.site.url("/pop"))
        assert set(seen.tabs) == {1, 2}
        assert not old & set(seen.elements)
        assert await value_of(session, "() => document.cookie") == "who=ada"
        assert (await session.click(ref(seen, "Go"))).after.title == "done"
        _kill(browser)
        assert (await session.goto(web.site.url("/"))).after.title == "Page"


async def _crash(session: Session) -> None:
    crashed = asyncio.Event()
    session.page.on("crash", lambda _: crashed.set())
    asked = asyncio.ensure_future(session.page.goto("chrome://crash"))
    await asyncio.wait_for(crashed.wait(), 5)
    await asyncio.gather(asked, return_exceptions=True)


def _kill(browser: Browser) -> None:
    """Kill the newest Chromium that this process has started."""
    mains: list[psutil.Process] = []
    for one in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "chrom" in one.name() and "--type=" not in " ".join(one.cmdline()):
                mains.append(one)
    newest = max(mains, key=lambda one: one.create_time())
    os.kill(newest.pid, signal.SIGKILL)
    assert browser.sessions


# ---- A person takes over, and the end


async def test_a_person_takes_over_and_gives_back(web: Surf) -> None:
    session = await web.show("<input aria-label=Code><button>Go</button>")
    await session.pause()
    assert (await refused(session.click(ref(session, "Go")))).reason == "paused"
    assert (await refused(session.goto(web.site.url("/")))).reason == "paused"
    await session.page.locator("input").fill("1234")
    outcome = await session.resume()
    assert any("'1234'" in change for change in outcome.changes)
    await session.click(ref(session, "Go"))


async def test_a_closed_session_says_so(web: Surf) -> None:
    session = await web.open()
    await session.close()
    await session.close()
    for action in (session.observe(), session.goto(web.site.url("/")), session.click("e1")):
        assert (await refused(action)).reason == "closed"
    assert session not in web.browser.sessions


async def test_a_walled_browser_opens_nothing_without_a_way(tmp_path: Path) -> None:
    async with Browser() as browser:
        with pytest.raises(ConfigError):
            await browser.open(Options(downloads=tmp_path))


async def test_a_closed_browser_opens_nothing(executable: str, tmp_path: Path) -> None:
    browser = Browser(executable=executable, walled=False)
    await browser.close()
    with pytest.raises(BrowserError) as caught:
        await browser.open(Options(downloads=tmp_path))
    assert caught.value.reason == "closed"


async def test_links_to_other_schemes_lead_nowhere(web: Surf) -> None:
    session = await web.show(
        "<a href='file:///etc/passwd'>File</a><a href='chrome://version'>Chrome</a>"
        "<a href='data:text/html,<title>Data</title>'>Data</a><a href='view-source:http://127.0.0.1/'>Source</a>"
        "<button onclick=\"window.open('file:///etc/passwd')\">Window</button>",
        viewport=(800, 600),
    )
    seen = await session.observe()
    for name in ("File", "Chrome", "Data", "Source", "Window"):
        outcome = await session.click(ref(seen, name))
        assert outcome.after.url in (web.site.url("/"), "about:blank")
        assert "root:" not in str(outcome.after)
        await session.tab(1)
