"""llmos's own browser as its rows use it: behind its proxy, with what is allowed named."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.browser_rig import chromium
from llmos.tools.browser.browser import Browser
from llmos.tools.browser.elements import Observation
from llmos.tools.browser.options import Options
from llmos.tools.browser.proxy import Proxy
from llmos.tools.browser.session import Session
from llmos.tools.web import Resolver, resolve


@dataclass(frozen=True, slots=True)
class Own:
    """A browser and its proxy.

    Attributes:
        folder: Where downloads go, and whatever else a session leaves.
    """

    browser: Browser
    proxy: Proxy
    folder: Path

    async def open(self, *allow: str, uploads: tuple[Path, ...] = ()) -> Session:
        """A session that may open these origins besides those of the internet."""
        options = Options(downloads=self.folder / "downloads", allow=allow, uploads=uploads)
        return await self.browser.open(options, way=self.proxy.wall(allow))


@asynccontextmanager
async def own_browser(*, resolver: Resolver = resolve) -> AsyncGenerator[Own]:
    """llmos's browser for the time of the block.

    Args:
        resolver: Turns names into addresses.
    """
    chromium()
    with TemporaryDirectory(prefix="llmos-bench-", ignore_cleanup_errors=True) as folder:
        proxy = Proxy(resolver=resolver)
        await proxy.start()
        try:
            async with Browser() as browser:
                yield Own(browser, proxy, Path(folder))
        finally:
            await proxy.close()


@asynccontextmanager
async def own_session(*allow: str) -> AsyncGenerator[Session]:
    """One session in a browser of its own."""
    async with own_browser() as own:
        yield await own.open(*allow)


def named(observation: Observation, role: str, name: str) -> str:
    """The handle of the first element with this role, empty for any, and this name.

    Raises:
        LookupError: There is none.
    """
    for each in observation.elements.values():
        if each.name == name and role in ("", each.role):
            return each.ref
    raise LookupError(f"there is no {role} {name!r}")
