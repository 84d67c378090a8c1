"""A profile for macOS's `sandbox-exec`. Written from its documentation and from published profiles: **untested**.

Knows nothing of limits: the launcher sets them. Daemons that leave the program's session are not collected here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from llmos.tools.sandbox.places import Places

PROGRAM = "/usr/bin/sandbox-exec"

_READ = (
    "/usr",
    "/bin",
    "/sbin",
    "/System",
    "/Library/Apple",
    "/Library/Frameworks",
    "/Library/Developer/CommandLineTools",
    "/opt/homebrew",
    "/private/etc/ssl",
    "/private/etc/localtime",
    "/private/etc/hosts",
    "/private/etc/resolv.conf",
    "/private/etc/passwd",
    "/private/etc/group",
    "/private/var/db/timezone",
    "/private/var/db/dyld",
)
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/dtracehelper", "/dev/fd")
_BASE = """
(version 1)
(deny default)
(import "bsd.sb")
(allow process-fork)
(allow process-exec)
(allow signal (target same-sandbox))
(allow process-info* (target same-sandbox))
(allow sysctl-read)
(allow ipc-posix-sem)
(deny mach-register)
(allow mach-lookup (global-name "com.apple.system.logger") (global-name "com.apple.system.opendirectoryd.libinfo"))
(allow file-read-metadata)
(allow file-read* (literal "/"))
"""


def here() -> bool:
    """Whether this is a macOS with `sandbox-exec`."""
    return sys.platform == "darwin" and os.access(PROGRAM, os.X_OK)


def command(places: Places, temporary: str, *, network: bool) -> list[str]:
    """`sandbox-exec` with its profile, to be followed by the program."""
    return [PROGRAM, "-p", profile(places, temporary, network=network)]


def profile(places: Places, temporary: str, *, network: bool) -> str:
    """The rules; later ones count more."""
    read = _subpaths([*_READ, *map(str, places.read)])
    write = _subpaths([str(places.workspace), os.path.realpath(temporary)])
    parts = [
        _BASE,
        f"(allow file-read* {read} {write})",
        f"(allow file-write* {write})",
        f"(allow file-read* file-write-data file-ioctl {_subpaths(_DEVICES)})",
        "(allow network*)" if network else "(deny network*)",
    ]
    if places.protected:
        parts.append(f"(deny file-write* {_subpaths(map(str, places.protected))})")
    # no program may leave one behind that gives its starter another user's rights
    parts.append("(deny file-write-setugid)")
    return "\n".join(parts)


def _subpaths(paths: Iterable[str]) -> str:
    return " ".join(f"(subpath {_quoted(path)})" for path in paths)


def _quoted(path: str) -> str:
    """A string of the profile's language."""
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'
