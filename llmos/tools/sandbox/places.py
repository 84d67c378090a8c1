"""What a confined program sees: which folders, which environment. Shared by all mechanisms; knows none of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from llmos.errors import ConfigError

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store")
ETC = (
    "alternatives",
    "bash.bashrc",
    "ca-certificates",
    "fonts",
    "group",
    "hosts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "pki/tls",
    "protocols",
    "python3",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
)
"""Below `/etc`: what programs look up, and nothing that differs from user to user."""
ETC_NETWORK = ("resolv.conf", "gai.conf", "host.conf")
HARDWARE = ("/sys/devices/system/cpu", "/sys/devices/system/node")
"""How many processors there are: numeric libraries ask."""


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of one run, all of them absolute and free of links.

    Attributes:
        workspace: May be written.
        read: May be read and run. Those inside the workspace can't be written, either.
    """

    workspace: Path
    read: tuple[Path, ...]

    @property
    def protected(self) -> tuple[Path, ...]:
        """Folders inside the workspace that must stay as they are."""
        return tuple(path for path in self.read if path.is_relative_to(self.workspace))


def places(workspace: Path, readable: Iterable[Path] = ()) -> Places:
    """The folders of a run in a workspace.

    Raises:
        ConfigError: The workspace is no folder, or is one of the system's or of llmos's Python, or the user's home.
    """
    folder = Path(os.path.realpath(workspace))
    if not folder.is_dir():
        raise ConfigError(f"Can't run code in {str(workspace)!r}: there is no such folder.", hint="Make it first.")
    forbidden = [Path(path) for path in ("/", "/etc", "/home", "/proc", "/sys", "/dev", "/run", "/var", *SYSTEM)]
    if folder in (*forbidden, *map(Path, prefixes())):
        raise ConfigError(
            f"Can't run code with {str(workspace)!r} as its workspace: it would own the system.",
            hint="Take a folder of its own.",
        )
    if Path(os.path.realpath(os.path.expanduser("~"))).is_relative_to(folder):
        raise ConfigError(
            f"Can't run code with {str(workspace)!r} as its workspace: your home, with its keys and start-up files, is "
            "in it.",
            hint="Take a folder below your home.",
        )
    extra = (os.path.realpath(path) for path in readable)
    return Places(folder, tuple(map(Path, _outermost([*prefixes(), *extra], folder))))


def _outermost(paths: Iterable[str], workspace: Path) -> list[str]:
    """Without those inside others, unless the workspace lies between, and without those that the system has already."""
    kept: list[str] = []
    for path in sorted(set(paths), key=lambda path: path.count("/")):
        around = [other for other in (*SYSTEM, *kept) if Path(path).is_relative_to(other)]
        covered = any(not workspace.is_relative_to(other) for other in around)
        if not covered or Path(path).is_relative_to(workspace):
            kept.append(path)
    return kept


@cache
def prefixes() -> tuple[str, ...]:
    """Where the running Python and what is installed in it live."""
    found = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}
    found = {os.path.realpath(path) for path in found} - {"/"}
    return tuple(sorted(found))


@cache
def links() -> tuple[tuple[str, str], ...]:
    """Links outside these folders by which the running Python is reached: where each is, and what it says."""
    found: list[tuple[str, str]] = []
    path = sys.executable
    for _ in range(40):
        if not os.path.islink(path):
            break
        target = os.readlink(path)
        if not any(Path(path).is_relative_to(other) for other in (*SYSTEM, *prefixes())):
            found.append((path, target))
        path = os.path.normpath(os.path.join(os.path.dirname(path), target))
    return tuple(found)


def system() -> list[str]:
    """Folders of the system that are here."""
    return [path for path in SYSTEM if os.path.isdir(path)]


def etc(*, network: bool) -> list[str]:
    """Files and folders of `/etc` that are here."""
    names = (*ETC, *ETC_NETWORK) if network else ETC
    return [path for name in names if os.path.exists(path := f"/etc/{name}")]


def interpreter() -> str:
    """The running Python without its environment: links followed."""
    return os.path.realpath(sys.executable)


def environment(temporary: str, extra: Mapping[str, str]) -> dict[str, str]:
    """All variables that a confined program gets: nothing of llmos's own environment.

    Args:
        temporary: Its private folder, which also stands for its home.
        extra: What the caller adds, or puts in place of these.
    """
    folders = [os.path.dirname(sys.executable), "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]
    return {
        "PATH": ":".join(dict.fromkeys(folder for folder in folders if folder)),
        "HOME": temporary,
        "TMPDIR": temporary,
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "PYTHONDONTWRITEBYTECODE": "1",
        # one arena for each thread would use up the address space
        "MALLOC_ARENA_MAX": "2",
        **extra,
    }
