"""A browser is found, or said to be missing; it starts with flags that keep it quiet, and knows no keys of ours."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import psutil
import pytest

from llmos.errors import BrowserError
from llmos.shell import doctor
from llmos.tools.browser import launching
from llmos.tools.browser.browser import Browser
from llmos.tools.browser.options import Options
from llmos.tools.browser.proxy import Proxy
from tests.tools.browser.sessions import ref, refused
from tests.tools.web_server import Server

DISABLED = "--disable-features="


def _program(path: Path, does: str = "echo 'Chromium 1.2.3 on somewhere'") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without any browser."""
    monkeypatch.delenv(launching.VARIABLE, raising=False)
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path / "playwright"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(launching, "_PLACES", {})
    return tmp_path


def test_without_a_browser_it_is_said_how_to_get_one(bare: Path) -> None:
    with pytest.raises(BrowserError) as caught:
        launching.find()
    assert caught.value.reason == "missing"
    assert "playwright install chromium" in caught.value.hint


def test_the_one_that_was_named_is_taken_then_playwrights_newest_then_the_systems(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = _program(bare / "bin" / "google-chrome")
    assert launching.find() == system
    chromium = _program(bare / "bin" / "chromium")
    assert launching.find() == chromium
    _program(bare / "playwright" / "chromium-999" / "chrome-linux" / "chrome")
    newest = _program(bare / "playwright" / "chromium-1200" / "chrome-linux64" / "chrome")
    assert launching.find() == newest
    other = _program(bare / "other")
    monkeypatch.setenv(launching.VARIABLE, str(other))
    assert launching.find() == other
    assert launching.find("chromium") == chromium


def test_a_named_one_that_is_not_there_is_an_error_and_no_other_is_taken(bare: Path) -> None:
    _program(bare / "bin" / "chromium")
    with pytest.raises(BrowserError) as caught:
        launching.find(str(bare / "nothing"))
    assert caught.value.reason == "missing"


@pytest.mark.skipif(sys.platform == "win32", reason="a browser there is not asked for its version")
def test_a_program_says_which_version_it_is_or_does_not_run(tmp_path: Path) -> None:
    assert launching.version(_program(tmp_path / "good")) == "Chromium 1.2.3 on somewhere"
    assert launching.version(_program(tmp_path / "bad", "exit 3")) is None
    assert launching.version(tmp_path / "nothing") is None


def test_the_flags_keep_it_to_the_proxy() -> None:
    walled = launching.flags(walled=True)
    assert "--disable-quic" in walled
    assert any("disable_non_proxied_udp" in flag for flag in walled)
    assert any("host-resolver-rules" in flag for flag in walled)
    assert not any("host-resolver-rules" in flag for flag in launching.flags(walled=False))
    assert not any("no-sandbox" in flag for flag in walled)


async def test_a_program_that_is_no_browser_is_a_typed_error(tmp_path: Path) -> None:
    async with Browser(executable=str(_program(tmp_path / "chromium", "exit 1")), walled=False) as browser:
        with pytest.raises(BrowserError) as caught:
            await browser.open(Options(downloads=tmp_path))
    assert caught.value.reason == "missing"


async def test_a_window_without_a_screen_is_an_error_that_says_so(
    executable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPLAY", ":4711")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    async with Browser(executable=executable, walled=False) as browser:
        with pytest.raises(BrowserError) as caught:
            await browser.open(Options(downloads=tmp_path, headed=True))
    assert caught.value.reason == "missing"
    assert "no screen" in caught.value.hint


async def test_it_is_sandboxed_unless_root_and_sees_no_keys(
    executable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMOS_API_KEY", "key-of-this-process")
    async with Browser(executable=executable, walled=False) as browser:
        await browser.open(Options(downloads=tmp_path))
        started: list[psutil.Process] = []
        for one in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if "chrom" in one.name():
                    started.append(one)
                    assert "LLMOS_API_KEY" not in one.environ()
        commands = [one.cmdline() for one in started]
        main = next(one for one in commands if not any(flag.startswith("--type=") for flag in one))
        assert ("--no-sandbox" in main) == launching.is_root()
        playwrights, ours = [set(flag.partition("=")[2].split(",")) for flag in main if flag.startswith(DISABLED)]
        assert playwrights < ours


async def test_behind_the_wall_only_what_is_allowed_opens_and_the_rest_is_told(
    executable: str, tmp_path: Path, site: Server
) -> None:
    other = site.url("/x.png", host="localhost")
    site.html("/", f"<!doctype html><title>In</title><img src='{other}'><a href='{other}'>Away</a>")
    proxy = Proxy()
    await proxy.start()
    try:
        async with Browser(executable=executable) as browser:
            allow = (site.url("").rstrip("/"),)
            session = await browser.open(Options(downloads=tmp_path, allow=allow), way=proxy.wall(allow))
            outcome = await session.goto(site.url("/"))
            assert outcome.after.title == "In"
            notices = (*outcome.after.notices, *(await session.observe()).notices)
            assert any("localhost" in notice and "blocked" in notice for notice in notices)
            assert (await refused(session.goto(other))).reason == "blocked"
            outcome = await session.click(ref(await session.observe(), "Away"))
            assert any("blocked" in change for change in outcome.changes)
            assert not any(asked.path == "/x.png" for asked in site.asked)
    finally:
        await proxy.close()


def test_the_doctor_says_how_to_get_a_browser_and_which_one_is_there(bare: Path) -> None:
    check = doctor.check_browser()
    assert (check.status, check.fix) == ("warn", launching.INSTALL)
    _program(bare / "bin" / "chromium", "exit 1")
    assert doctor.check_browser().status == "warn"
    _program(bare / "bin" / "chromium")
    check = doctor.check_browser()
    assert check.status == "ok"
    assert "Chromium 1.2.3" in check.detail
