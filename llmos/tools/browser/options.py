"""How a session of the browser is opened, and what it stands on. Plain data and protocols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, StorageState

PATIENCE = 2.5
DOWNLOAD_LIMIT = 100_000_000
MOST_DOWNLOADS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A name and a password for HTTP authentication.

    Attributes:
        origin: Who is told.
        user, password: What.
    """

    origin: str
    user: str
    password: str

    def __repr__(self) -> str:
        return f"Login(origin={self.origin!r}, user={self.user!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a session is opened.

    Attributes:
        downloads: Folder that downloads go into, and nothing runs from.
        headed: With a window.
        profile: What the browser remembers from earlier sessions of this name, and for later ones; empty for nothing.
        allow: Origins that may be opened besides those of the public internet.
        uploads: Files that may be uploaded, and folders of such.
        logins: For HTTP authentication.
        trace: Where Playwright's trace is written when the session is closed; None for no trace. What was typed is in
            it in clear.
        viewport: Width and height of the window's inside, in CSS pixels.
        patience: Seconds that one action waits for a page. One that is slower goes on loading.
        download_limit: Bytes of one download.
        most_downloads: How many of them.
    """

    downloads: Path
    headed: bool = False
    profile: str = ""
    allow: tuple[str, ...] = ()
    uploads: tuple[Path, ...] = ()
    logins: tuple[Login, ...] = ()
    trace: Path | None = None
    viewport: tuple[int, int] = (1280, 800)
    patience: float = PATIENCE
    download_limit: int = DOWNLOAD_LIMIT
    most_downloads: int = MOST_DOWNLOADS


class Way(Protocol):
    """The way of one session to the network: `proxy.Wall`."""

    @property
    def server(self) -> str:
        """URL of a proxy."""
        ...

    @property
    def user(self) -> str:
        """By which it knows the session."""
        ...

    @property
    def password(self) -> str:
        """Likewise."""
        ...

    def blocked(self) -> Sequence[object]:
        """What was refused since this was last asked, each with a sentence as its text."""
        ...

    async def close(self) -> None:
        """Let nothing more through."""
        ...


class Ground(Protocol):
    """What a session stands on: makes its context, and makes it anew after a crash. `browser.Browser` is one."""

    async def context(self, options: Options, way: Way | None, state: StorageState | None) -> BrowserContext:
        """A fresh context.

        Raises:
            BrowserError: `missing`: there is no browser that starts.
        """
        ...

    async def keep(self, profile: str, state: StorageState) -> None:
        """Keep what a profile remembers.

        Raises:
            StorageError: It can't be written.
        """
        ...
