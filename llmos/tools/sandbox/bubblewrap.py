"""The command line of `bwrap`: name spaces of the program's own, and in them only the folders it may see.

Knows nothing of limits and system calls: the launcher, the first process inside, sees to them. Source: bwrap(1).
"""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path

from llmos.tools.sandbox.places import HARDWARE, Places, etc, links, system

TEMPORARY_BYTES = 256 << 20
SHARED_BYTES = 64 << 20


@cache
def find() -> str | None:
    """Where `bwrap` is, if it is installed."""
    return shutil.which("bwrap")


def command(bwrap: str, places: Places, *, network: bool) -> list[str]:
    """`bwrap` with all options, to be followed by the program to start inside."""
    words = [bwrap, "--unshare-all", "--die-with-parent", "--new-session", "--as-pid-1", "--cap-drop", "ALL"]
    words += ["--share-net"] if network else []
    words += ["--hostname", "sandbox", "--proc", "/proc", "--dev", "/dev"]
    words += ["--perms", "1777", "--size", str(SHARED_BYTES), "--tmpfs", "/dev/shm"]
    words += ["--perms", "1777", "--size", str(TEMPORARY_BYTES), "--tmpfs", "/tmp"]
    for path in system():
        # where /bin is a link to usr/bin it is one inside, too
        words += ["--symlink", os.readlink(path), path] if os.path.islink(path) else ["--ro-bind", path, path]
    for path in (*etc(network=network), *HARDWARE):
        words += ["--ro-bind-try", os.path.realpath(path), path]
    words += [word for place, target in links() for word in ("--symlink", target, place) if _free(place, places)]
    folders = [("--ro-bind", path) for path in places.read] + [("--bind", places.workspace)]
    # outer ones first: an inner one shows through
    for option, folder in sorted(folders, key=lambda pair: len(pair[1].parts)):
        words += [option, str(folder), str(folder)]
    # what is left of the root and of /dev is a tmpfs that could be filled
    return [*words, "--remount-ro", "/dev", "--remount-ro", "/", "--"]


def _free(place: str, places: Places) -> bool:
    """Whether a link can be made there: it is not in a folder that is shown as it is."""
    return not any(Path(place).is_relative_to(path) for path in (places.workspace, *places.read))
