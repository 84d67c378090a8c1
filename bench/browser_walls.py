"""Attacks on the walls: addresses that a browser on this machine must never open, by whatever way they come.

A server that stands for everything private on this machine notes each request. An attack has succeeded if it was asked
anything, if a session's page shows what is not of the web, or if a file came to lie where it does not belong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.browser_own import Own, named, own_browser
from bench.browser_sites import PUBLIC, Answer, Names, Site, site
from llmos.errors import BrowserError

if TYPE_CHECKING:
    from llmos.tools.browser.session import Session

_PATIENCE = 25.0


@dataclass(frozen=True, slots=True)
class Field:
    """Where an attack takes place.

    Attributes:
        own: The browser.
        session: A session that may open `friendly` and nothing else on this machine.
        friendly: The attacker's site.
        private: Which must not be asked anything.
    """

    own: Own
    session: Session
    friendly: Site
    private: Site


Attack = Callable[[Field], Awaitable[None]]


def opens(url: str, *, resolved: bool = False) -> Attack:
    """The address itself; `{port}` is that of the private server. It must be refused at once unless it is a name."""

    async def attack(field: Field) -> None:
        await field.session.goto(url.format(port=field.private.port, friendly=field.friendly.origin))
        if not resolved:
            field.private.asked.append(f"nothing, but {url} was opened")

    return attack


def shows(body: str, *, click: str = "") -> Attack:
    """A page of the attacker's, on which something is clicked; `PRIVATE` stands for the private server."""

    async def attack(field: Field) -> None:
        url = field.friendly.page("/", body.replace("PRIVATE", f"127.0.0.1:{field.private.port}"))
        await field.session.goto(url)
        if click:
            await field.session.click(named(await field.session.observe(), "", click))
        await asyncio.sleep(0.4)
        await field.session.observe()

    return attack


async def redirected(field: Field) -> None:
    field.friendly.pages["/go"] = Answer(status=302, headers={"Location": f"{field.private.origin}/secret"})
    await field.session.goto(f"{field.friendly.origin}/go")


async def redirected_twice(field: Field) -> None:
    field.friendly.pages["/one"] = Answer(status=307, headers={"Location": "/two"})
    field.friendly.pages["/two"] = Answer(status=308, headers={"Location": f"http://2130706433:{field.private.port}/"})
    await field.session.goto(f"{field.friendly.origin}/one")


async def rebound(field: Field) -> None:
    """A name that is public when it is looked at first, and this machine from then on."""
    for _ in range(3):
        try:
            async with asyncio.timeout(6):
                await field.session.goto(f"http://rebind.test:{field.private.port}/")
        except (BrowserError, TimeoutError):
            pass  # what counts is who was asked


def downloads(name: str) -> Attack:
    """A download that would like to lie somewhere else."""

    async def attack(field: Field) -> None:
        field.friendly.pages["/file"] = Answer(
            "planted",
            headers={
                "Content-Disposition": f'attachment; filename="{name}"',
                "Content-Type": "application/octet-stream",
            },
        )
        await field.session.goto(field.friendly.page("/", "<a href='/file' download>Get</a>"))
        await field.session.click(named(await field.session.observe(), "link", "Get"))
        await asyncio.sleep(0.6)
        await field.session.observe()

    return attack


async def uploads(field: Field) -> None:
    """A file that was not given."""
    await field.session.goto(field.friendly.page("/", "<input type=file aria-label=File>"))
    page = await field.session.observe()
    await field.session.fill(next(each.ref for each in page.elements.values() if each.kind == "file"), "/etc/hostname")


ATTACKS: dict[str, Attack] = {
    "file": opens("file:///etc/passwd"),
    "view-source": opens("view-source:{friendly}/"),
    "chrome": opens("chrome://version"),
    "data": opens("data:text/html,<h1>mine</h1>"),
    "javascript": opens("javascript:document.write('mine')"),
    "loopback": opens("http://127.0.0.1:{port}/"),
    "localhost": opens("http://localhost:{port}/"),
    "decimal": opens("http://2130706433:{port}/"),
    "hexadecimal": opens("http://0x7f.0.0.0x1:{port}/"),
    "octal": opens("http://0177.0.0.01:{port}/"),
    "short": opens("http://127.1:{port}/"),
    "full width": opens("http://\uff11\uff12\uff17.\uff10.\uff10.\uff11:{port}/"),
    "IPv6": opens("http://[::1]:{port}/"),
    "mapped": opens("http://[::ffff:7f00:1]:{port}/"),
    "unspecified": opens("http://0.0.0.0:{port}/"),
    "metadata": opens("http://169.254.169.254/latest/meta-data/"),
    "a name of this machine": opens("http://inside.test:{port}/", resolved=True),
    "a name of both": opens("http://both.test:{port}/", resolved=True),
    "rebinding": rebound,
    "redirect": redirected,
    "two redirects": redirected_twice,
    "frame": shows("<iframe src='http://PRIVATE/secret'></iframe>"),
    "picture": shows("<img src='http://PRIVATE/secret' alt=x>"),
    "fetch": shows("<script>fetch('http://PRIVATE/secret', {mode: 'no-cors'}).catch(() => 0)</script>"),
    "WebSocket": shows("<script>new WebSocket('ws://PRIVATE/secret')</script>"),
    "form": shows("<form action='http://PRIVATE/secret'><button>Next</button></form>", click="Next"),
    "new window": shows("<button onclick=\"open('http://PRIVATE/secret')\">Next</button>", click="Next"),
    "traversal": downloads("../../../planted.txt"),
    "absolute path": downloads("/tmp/planted.txt"),
    "upload": uploads,
}


async def run_attacks() -> dict[str, str]:
    """All attacks, each in a session of its own; what it achieved, or nothing."""
    names = Names(
        {
            "inside.test": [["127.0.0.1"]],
            "both.test": [[PUBLIC, "127.0.0.1"]],
            "rebind.test": [[PUBLIC], ["127.0.0.1"]],
        }
    )
    achieved = dict[str, str]()
    async with own_browser(resolver=names) as own:
        for name, attack in ATTACKS.items():
            with site() as friendly, site() as private:
                session = await own.open(friendly.origin)
                field = Field(own, session, friendly, private)
                try:
                    async with asyncio.timeout(_PATIENCE):
                        await attack(field)
                except (BrowserError, LookupError, TimeoutError):
                    pass  # a wall
                achieved[name] = await _achieved(field)
                await session.close()
    return achieved


async def _achieved(field: Field) -> str:
    """What came of an attack: empty is well."""
    if field.private.asked:
        return f"asked {field.private.asked[0]}"
    try:
        url = field.session.page.url
        files = await field.session.page.evaluate("() => [...document.querySelectorAll('input')].map((i) => i.value)")
    except BrowserError:
        return ""
    if not url.startswith(("http://", "about:blank", "chrome-error:")):
        return f"shows {url}"
    if any(files):
        return f"holds {files}"
    stray = [path for path in field.own.folder.rglob("*") if path.is_file() and path.parent.name != "downloads"]
    stray += [path for path in _elsewhere(field.own.folder) if path.exists()]
    return f"left {', '.join(map(str, stray))}" if stray else ""


def _elsewhere(folder: Path) -> list[Path]:
    return [Path("/tmp/planted.txt"), *(parent / "planted.txt" for parent in folder.parents), folder / "planted.txt"]
