"""What the browser's rows are measured with: local servers, a plain Chromium, its memory, MiniWoB++'s tasks.

MiniWoB++ (Farama Foundation, MIT) is a folder of web pages; its Python is not imported, because it needs Selenium.
Knows no part of llmos but the one that finds a Chromium.
"""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from bench.report import Pairs, Skipped
from llmos.errors import BrowserError
from llmos.tools.browser.launching import find, is_root

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, Page

PAGES = Path(__file__).parent / "browser_pages"
SITES = Path(__file__).resolve().parent.parent / "examples" / "sites"
SEEDS = range(10_000)
"""Those that may be looked at; others are for checking from outside."""

Rewrite = Callable[[str, str], str]
"""What a page is served as, from its path and its text."""

_BEGIN = """seed => {
    Math.seedrandom(seed);
    core.EPISODE_MAX_TIME = 600000;
    core.startEpisodeReal();
    const said = core.getUtterance();
    return typeof said === "string" ? said : said.utterance;
}"""
_RESULT = "() => [WOB_DONE_GLOBAL, WOB_RAW_REWARD_GLOBAL]"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an episode stands. `reward` is the raw one, which does not fall with time."""

    done: bool
    reward: float

    @property
    def success(self) -> bool:
        """Done, and with the full reward."""
        return self.done and self.reward >= 1


@contextmanager
def serving(
    folder: Path,
    *,
    rewrite: Rewrite | None = None,
    slow: Mapping[str, float] | None = None,
    asked: list[str] | None = None,
) -> Generator[str]:
    """A web server on this machine for the time of the block; yields its origin.

    Args:
        folder: What it serves.
        rewrite: Changes pages, scripts and styles on their way.
        slow: Seconds before it answers, by path.
        asked: Gets the path of every request.
    """
    over = Event()

    class Handler(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # one connection for many files

        def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - what socketserver passes
            super().__init__(*arguments, directory=str(folder))

        def do_GET(self) -> None:
            with suppress(ConnectionError):  # the page was left while it loaded
                if asked is not None:
                    asked.append(self.path)
                over.wait((slow or {}).get(self.path, 0))
                path = Path(self.translate_path(self.path))
                if rewrite is None or path.suffix not in (".html", ".js", ".css") or not path.is_file():
                    return super().do_GET()
                content = rewrite(self.path.partition("?")[0], path.read_text(encoding="utf-8")).encode()
                self.send_response(200)
                self.send_header("Content-Type", self.guess_type(path))
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            return None

        def log_message(self, format: str, *args: object) -> None:
            pass

    with running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            over.set()


@contextmanager
def running(server: ThreadingHTTPServer) -> Generator[ThreadingHTTPServer]:
    """A server that answers for the time of the block."""
    server.daemon_threads = True  # a browser holds connections open
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def chromium() -> Path:
    """Where a Chromium is.

    Raises:
        Skipped: There is none.
    """
    try:
        return find()
    except BrowserError as error:
        raise Skipped(f"the browser's rows: {error.message}".rstrip(".")) from None


@asynccontextmanager
async def plain_browser() -> AsyncGenerator[Browser]:
    """A Chromium under Playwright alone, as anybody would start it."""
    from playwright.async_api import async_playwright

    path = chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, chromium_sandbox=not is_root())
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def plain_page(browser: Browser) -> AsyncGenerator[Page]:
    """A page in a context of its own."""
    context: BrowserContext = await browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(5_000)
    try:
        yield await context.new_page()
    finally:
        await context.close()


def miniwob() -> Path:
    """The folder that MiniWoB++'s pages are served from.

    Raises:
        Skipped: It is not installed.
    """
    found = importlib.util.find_spec("miniwob")
    if found is None or not found.submodule_search_locations:
        raise Skipped("the rows on MiniWoB++: `pip install --no-deps miniwob` first")
    return Path(found.submodule_search_locations[0]) / "html"


def task_names() -> list[str]:
    """All tasks of MiniWoB++."""
    return sorted(path.stem for path in (miniwob() / "miniwob").glob("*.html"))


def address(origin: str, task: str) -> str:
    """Where a task's page is."""
    return f"{origin}/miniwob/{task}.html"


async def begin(page: Page, seed: int) -> str:
    """Start an episode on a task's page; returns what is to be done."""
    said: str = await page.evaluate(_BEGIN, seed)
    await page.wait_for_function("() => WOB_TASK_READY", timeout=5_000)
    return said


async def result(page: Page) -> Verdict:
    """How the episode on a page stands."""
    done, reward = await page.evaluate(_RESULT)
    return Verdict(bool(done), float(reward))


def browsers() -> dict[int, bool]:
    """The processes of all Chromiums that this one has started; true for the first of each, which the others serve."""
    import psutil

    found = dict[int, bool]()
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a zombie is one, too
            words = process.cmdline()
            if any(word.startswith(("--type=", "--headless")) for word in words):
                found[process.pid] = not any(word.startswith("--type=") for word in words)
    return found


def proportional_set_size() -> float:
    """Megabytes that all Chromiums of this process occupy, shared pages counted in parts (Linux).

    Raises:
        Skipped: This system does not tell.
    """
    import psutil

    total = 0
    for pid in browsers():
        with suppress(psutil.NoSuchProcess):
            try:
                total += psutil.Process(pid).memory_full_info().pss
            except (AttributeError, psutil.AccessDenied):
                raise Skipped("the memory of a browser's contexts: this system does not tell it") from None
    return total / 1e6


async def taking_turns(
    ours: Callable[[], Awaitable[float]], peers: Callable[[], Awaitable[float]], repeats: int
) -> Pairs:
    """Run both so many times on one event loop, alternating which goes first, after one unmeasured run each."""
    await ours()
    await peers()
    first, second = list[float](), list[float]()
    for number in range(repeats):
        turns = [(ours, first), (peers, second)]
        for one, results in turns if number % 2 == 0 else reversed(turns):
            results.append(await one())
    return Pairs(tuple(first), tuple(second))
