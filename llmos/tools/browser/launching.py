"""Finds a Chromium on this machine and starts it with flags that keep it quiet. Knows no session and no page.

Playwright's own browser is taken where it was downloaded; else the system's Chromium, Chrome or Edge.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from llmos.errors import BrowserError

if TYPE_CHECKING:
    from playwright.async_api import Browser, Playwright, ProxySettings

VARIABLE = "LLMOS_BROWSER"
"""Environment variable with the path of the browser to use."""
INSTALL = "playwright install chromium   (or your system's package: apt install chromium)"

_LAUNCH_SECONDS = 20.0
_VERSION_SECONDS = 10.0
_NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "microsoft-edge",
    "microsoft-edge-stable",
)
_PLACES: Mapping[str, tuple[str, ...]] = {
    "darwin": (
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    ),
    "win32": (
        "C:/Program Files/Google/Chrome/Application/chrome.exe",
        "C:/Program Files (x86)/Google/Chrome/Application/chrome.exe",
        "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
    ),
}
_CACHES = {"darwin": "~/Library/Caches/ms-playwright", "win32": "~/AppData/Local/ms-playwright"}
_DOWNLOADED = ("chrome-linux*/chrome", "chrome-mac*/*.app/Contents/MacOS/*", "chrome-win*/chrome.exe")

_DISABLED = (
    # pages of the address bar: Chromium loads them for each context, even without windows, at 40 MB each
    "WebUIOmniboxAimPopup",
    "WebUIOmniboxPopup",
    # Playwright's own list: of several such switches Chromium takes the last. A test compares them.
    "AimEnabled",
    "AvoidCorsURLLoaderRestartOnRedirect",
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsFirstBalancedModeAutoEnable",
    "HttpsUpgrades",
    "LensOverlay",
    "MediaRouter",
    "NetworkTimeServiceQuerying",
    "OptimizationHints",
    "PaintHolding",
    "PreconnectToSearch",
    "TcpPortRandomizationWin",
    "ThirdPartyStoragePartitioning",
    "msEdgeUpdateLaunchServicesPreferredVersion",
    "msForceBrowserSignIn",
)
_FLAGS = (
    f"--disable-features={','.join(_DISABLED)}",
    # roles and names of elements as Chromium computes them, for page.js
    "--enable-blink-features=ComputedAccessibilityInfo",
    # nothing besides the pages' own requests, and those by the proxy only
    "--disable-client-side-phishing-detection",
    "--disable-domain-reliability",
    "--disable-quic",
    "--dns-prefetch-disable",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--no-pings",
)
_WALLED = ("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",)
"""The proxy resolves names: the browser asks nobody."""
_NOWHERE: ProxySettings = {"server": "http://127.0.0.1:9"}
"""For what the browser itself would ask; each context has its own proxy."""
_KEPT = ("PATH", "HOME", "TMPDIR", "TEMP", "TMP", "LANG", "LANGUAGE", "TZ", "DISPLAY", "XAUTHORITY", "WAYLAND_DISPLAY")
_KEPT_PREFIXES = ("LC_", "XDG_", "SYSTEMROOT", "LOCALAPPDATA", "APPDATA", "PROGRAMFILES", "USERPROFILE")


def find(executable: str = "") -> Path:
    """A Chromium on this machine.

    Args:
        executable: Its path or name. Empty takes `LLMOS_BROWSER`, Playwright's own, or one that the system has.

    Raises:
        BrowserError: `missing`: there is none, or none at that path.
    """
    wanted = executable or os.environ.get(VARIABLE, "")
    if wanted:
        found = shutil.which(wanted)
        if found is None:
            raise BrowserError(
                f"There is no browser {wanted!r} that can be run.",
                reason="missing",
                hint=f"Name another, or none, to have one found (it is set by {VARIABLE} or `executable`).",
            )
        return Path(found)
    for place in _candidates():
        if os.access(place, os.X_OK):
            return place
    raise BrowserError("No Chromium, Chrome or Edge was found.", reason="missing", hint=INSTALL)


def _candidates() -> Iterator[Path]:
    own = os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or _CACHES.get(sys.platform, "~/.cache/ms-playwright")
    downloaded = Path(own).expanduser().glob("chromium-*")
    for folder in sorted(downloaded, key=lambda path: (len(path.name), path.name), reverse=True):
        for pattern in _DOWNLOADED:
            yield from sorted(folder.glob(pattern))
    yield from (Path(path) for name in _NAMES if (path := shutil.which(name)))
    yield from map(Path, _PLACES.get(sys.platform, ()))


def version(executable: Path) -> str | None:
    """What a browser calls itself; None if it does not run. Empty on Windows, where asking it would open a window."""
    if sys.platform == "win32":
        return ""
    try:
        done = subprocess.run(
            [executable, "--version"], capture_output=True, text=True, timeout=_VERSION_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.strip().splitlines()
    return lines[-1].strip() if lines and done.returncode == 0 else None


def flags(*, walled: bool) -> tuple[str, ...]:
    """The flags that a browser is started with, besides Playwright's own.

    Args:
        walled: Every context has a proxy: what goes past it finds no address.
    """
    return _FLAGS + (_WALLED if walled else ())


async def launch(playwright: Playwright, executable: Path, *, headed: bool, walled: bool) -> Browser:
    """Start a browser. It ends with this process.

    Args:
        playwright: Playwright, started.
        executable: Which one.
        headed: With a window, for a person to see.
        walled: As in `flags`.

    Raises:
        BrowserError: `missing`: it does not start.
    """
    from playwright.async_api import Error

    try:
        return await playwright.chromium.launch(
            executable_path=executable,
            headless=not headed,
            args=flags(walled=walled),
            # Chromium refuses to be sandboxed as root
            chromium_sandbox=not is_root(),
            handle_sigint=False,
            handle_sigterm=False,
            handle_sighup=False,
            timeout=_LAUNCH_SECONDS * 1000,
            env=_environment(),
            proxy=_NOWHERE if walled else None,
        )
    except Error as error:
        raise BrowserError(
            f"The browser {str(executable)!r} did not start: {_first_line(error.message)}",
            reason="missing",
            hint=_launch_hint(error.message, headed=headed),
        ) from error


def is_root() -> bool:
    """This process runs as the superuser of a Unix system."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _environment() -> dict[str, str | float | bool]:
    """What a browser needs to know of the environment: no keys of this process are for it."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.upper() in _KEPT or name.upper().startswith(_KEPT_PREFIXES)
    }


def _launch_hint(message: str, *, headed: bool) -> str:
    lowered = message.lower()
    if headed and ("display" in lowered or "x server" in lowered):
        return "There is no screen to show a window on: work without a window, or where there is a screen."
    if "no usable sandbox" in lowered:
        return "This system does not let it make its sandbox: allow unprivileged user namespaces."
    return f"Run `llmos doctor`, or name another browser in {VARIABLE}."


def _first_line(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[0] if lines else "no reason was given."
