"""`llmos teach` and `llmos skill …`: showing a browser task once, keeping it, having it done again.

Wires recorder, learner, files and memory together. Knows no command line: `llmos.shell.cli_skills` has the commands.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from llmos.agents.operator import skills
from llmos.agents.operator.learning import learn
from llmos.agents.operator.page import origin_of
from llmos.agents.operator.skills import Skill
from llmos.browsing import Browse, again
from llmos.config import MemoryOptions, Settings, data_dir
from llmos.errors import ConfigError, LlmosError, StorageError
from llmos.shell import taught
from llmos.shell.browsing import run_browse
from llmos.shell.confirming import confirmed
from llmos.shell.text import columns, complaint, harmless

if TYPE_CHECKING:
    from playwright.async_api import Page

    from llmos.tools.browser.recording import Demonstration

SHOW_SECONDS = 3600.0
"""How long somebody may take to show something."""

_TOOL = "browser_fill"

Showing = Callable[["Page"], Awaitable[None]]
"""Does on a page what is to be learned, and returns when it is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What will be shown.

    Attributes:
        name: What the skill is called.
        task: The words of what is shown.
        url: Where it begins.
        allow: Local origins that may be opened.
        profile: What the browser remembers.
        headed: In a window.
        yes: Keep it without a question, also in place of one with that name.
    """

    name: str
    task: str
    url: str
    allow: tuple[str, ...] = ()
    profile: str = ""
    headed: bool = True
    yes: bool = False


# ---- Teaching


def teach(lesson: Lesson, settings: Settings, *, showing: Showing | None = None, scripted: bool = False) -> int:
    """Have something shown, learn it, and keep it if the user agrees.

    Args:
        showing: Shows it; by default a person in the browser's window.
        scripted: What a program puts into fields counts, too.

    Returns:
        Exit code: 1 if it was not kept.

    Raises:
        ConfigError: The name can't be used, or nothing was shown.
        BrowserError: The browser does not start, or the page can't be opened.
        StorageError: It can't be written.
    """
    path = skills.path_of(lesson.name)
    if not lesson.task.strip():
        raise ConfigError("Nothing is said of what will be shown.", hint='For example "Order 2 packets of Assam".')
    if path.exists() and not lesson.yes and not _agreed(f"show {lesson.name} anew?"):
        return 1
    shown = asyncio.run(record(lesson, showing or _by_hand, scripted=scripted))
    skill = learn(lesson.name, asdict(shown))
    _say(description(skill))
    if not lesson.yes and not _agreed("keep it?"):
        return 1
    skills.save(skill)
    try:
        taught.register(skill, settings.memory)
    except LlmosError as error:  # it is found by its words all the same
        print(complaint(error.message, error.hint), file=sys.stderr)
    _say(f"kept as {lesson.name}; `llmos browse` uses it for such tasks, `llmos skill run {lesson.name}` at once")
    return 0


async def record(lesson: Lesson, showing: Showing, *, scripted: bool = False) -> Demonstration:
    """Open a browser behind its walls and record what is shown there."""
    from llmos.tools.browser.browser import Browser
    from llmos.tools.browser.options import Options
    from llmos.tools.browser.profiles import Profiles
    from llmos.tools.browser.proxy import Proxy
    from llmos.tools.browser.recording import Recorder

    proxy = Proxy()
    await proxy.start()
    try:
        with TemporaryDirectory(prefix="llmos-teach-", ignore_cleanup_errors=True) as folder:
            options = Options(downloads=Path(folder), headed=lesson.headed, profile=lesson.profile, allow=lesson.allow)
            async with Browser(profiles=Profiles(data_dir() / "browser")) as browser:
                session = await browser.open(options, way=proxy.wall(lesson.allow))
                recorder = await Recorder.install(session.context, session.eyes, task=lesson.task, scripted=scripted)
                await session.goto(lesson.url)
                await session.pause()  # from now on it is the person's
                await recorder.begin(session.page)
                async with asyncio.timeout(SHOW_SECONDS):
                    await showing(session.page)
                shown = await recorder.end()
                with suppress(LlmosError):  # a window that was closed
                    await session.close()
                return shown
    finally:
        await proxy.close()


async def _by_hand(page: Page) -> None:
    """A person shows it, and presses Enter at the terminal or closes the window."""
    from llmos.shell.questions import put

    closed = asyncio.get_running_loop().create_future()
    page.context.on("close", lambda _: None if closed.done() else closed.set_result(None))
    page.on("close", lambda _: None if closed.done() else closed.set_result(None))
    _say("Show it in the browser's window; what you do there is recorded.")
    entered = asyncio.ensure_future(put("Back here, press Enter when it is done.", ""))
    try:
        await asyncio.wait({entered, closed}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        entered.cancel()
        await asyncio.gather(entered, return_exceptions=True)


def description(skill: Skill) -> str:
    """A skill for people: its words, its steps, what it asks for."""
    lines = [f"{skill.name}: {skill.task}", f"begins at {skill.url}"]
    lines += [f"  {number}. {one.does}" for number, one in enumerate(skill.steps, 1)]
    if skill.parameters:
        named = (f"{one.name} (a secret)" if one.kind == "secret" else one.name for one in skill.parameters)
        lines.append(f"takes from the words: {', '.join(named)}")
    host = origin_of(skill.url).partition("://")[2].partition(":")[0]
    for handle in skill.handles:
        name = handle.removeprefix("secret://")
        lines.append(f"needs {handle}: llmos secret set {name} --tool {_TOOL} --host {host}")
    return "\n".join(lines)


# ---- Doing it again


def run(name: str, job: Browse, settings: Settings, *, as_json: bool = False) -> int:
    """Have a skill done again.

    Args:
        name: Which.
        job: Its task: the words of this time; without any, what it needs is asked for.

    Returns:
        Exit code: 0 done, 1 something was denied or could not be done, 130 interrupted.

    Raises:
        ConfigError: There is none, or not for that address.
        LlmosError: The run failed.
    """
    skill = skills.load(name)
    task = job.task or (skill.task if not skill.parameters else skill.name)
    return run_browse(again(replace(job, task=task), skill), settings, as_json=as_json)


# ---- Showing and forgetting


def listing() -> list[dict[str, Any]]:
    """All skills, and what is wrong with those that can't be used."""
    rows: list[dict[str, Any]] = []
    for name in skills.names():
        try:
            skill = skills.load(name)
        except LlmosError as error:
            rows.append({"name": name, "problem": error.message})
            continue
        rows.append({"name": name, "task": skill.task, "url": skill.url, "steps": len(skill.steps), "problem": ""})
    return rows


def show_list(*, as_json: bool) -> None:
    """Print them."""
    rows = listing()
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    shown = [(row["name"], row["problem"] or f"{row['task']}  ({row['steps']} steps, {row['url']})") for row in rows]
    _say(columns(shown, indent=0) if shown else 'nothing was shown yet; llmos teach NAME "TASK" --url URL')


def show_one(name: str, *, as_json: bool) -> None:
    """Print a skill.

    Raises:
        ConfigError: There is none, or its file has a mistake.
    """
    skill = skills.load(name)
    if as_json:
        print(json.dumps(skills.data_of(skill), ensure_ascii=False, indent=2))
        return
    _say(f"{description(skill)}\nin {skills.path_of(name)}")


def remove(name: str, options: MemoryOptions | None = None) -> None:
    """Forget a skill.

    Raises:
        ConfigError: There is none.
        StorageError: It can't be removed.
    """
    path = skills.path_of(name)
    try:
        path.unlink()
    except FileNotFoundError:
        known = ", ".join(skills.names()) or "none"
        raise ConfigError(f"There is no taught skill {name!r}.", hint=f"There are: {known}.") from None
    except OSError as error:
        raise StorageError(f"{str(path)!r} can't be removed: {error.strerror or error}.") from error
    taught.unregister(name, options or MemoryOptions())
    _say(f"forgot {name}")


def _agreed(question: str) -> bool:
    return confirmed(
        question, whether="this skill is to be kept", hint="--yes keeps it.", declined="nothing was changed"
    )


def _say(text: str) -> None:
    """On stdout; what pages say can't do anything to the terminal."""
    print(harmless(text), flush=True)
