"""Finds the files of a folder that are the user's own writing. Links are not followed. Knows no kind of file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

EXCLUDED = frozenset(
    {"node_modules", "bower_components", "__pycache__", "site-packages", "venv", "htmlcov", "__MACOSX", "$RECYCLE.BIN"}
)
"""Folders that are not looked into, besides hidden ones and those that mark themselves as caches or environments."""

_MARKS = ("CACHEDIR.TAG", "pyvenv.cfg")  # https://bford.info/cachedir/


@dataclass(frozen=True, slots=True)
class Skipped:
    """What is not read, and why."""

    path: Path
    reason: str


def walk(root: Path, *, exclude: Sequence[str] = ()) -> Iterator[Path | Skipped]:
    """The files in a folder and the folders below it, by name; or the one file that was named.

    A link inside a folder is not followed: what it leads to inside is found anyway, and what is outside was not named.

    Args:
        root: A folder or a file, hidden or not; it may be a link itself.
        exclude: Patterns of names, or of paths from the folder, that are left out, such as `*.log` or `drafts/*`.

    Yields:
        Absolute paths without links in them.
    """
    try:
        real = root.resolve(strict=True)
        kind = real.stat().st_mode
    except (OSError, RuntimeError, ValueError) as error:
        yield Skipped(Path(os.path.abspath(root)), _reason(error))
        return
    if not stat.S_ISDIR(kind):
        yield real
        return
    folders = [real]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            yield Skipped(folder, _reason(error))
            continue
        below: list[Path] = []
        for entry in entries:
            path = folder / entry.name
            if is_excluded(path, real, exclude):
                continue
            if entry.is_symlink():
                yield from _link(path, real)
            elif entry.is_dir(follow_symlinks=False):
                below += [] if _is_marked(path) else [path]
            elif entry.is_file(follow_symlinks=False):
                yield path
            else:
                yield Skipped(path, "not a regular file")
        folders += reversed(below)


def is_included(path: Path, root: Path, exclude: Sequence[str] = ()) -> bool:
    """Whether a walk through a folder would come upon a path below it."""
    if path == root:
        return True
    between = [folder for folder in path.parents if folder != root and folder.is_relative_to(root)]
    return not is_excluded(path, root, exclude) and not any(_is_marked(folder) for folder in between)


def is_excluded(path: Path, root: Path, exclude: Sequence[str] = ()) -> bool:
    """Whether a path below a folder is left out by its name or that of a folder on the way."""
    parts = path.relative_to(root).parts
    if any(part.startswith(".") for part in parts):
        return True
    if any(part in EXCLUDED or part.endswith(".egg-info") for part in parts[:-1]):
        return True
    if parts and (parts[-1] in EXCLUDED or parts[-1].endswith(".egg-info")) and path.is_dir():
        return True
    inner = [os.sep.join(parts[: count + 1]) for count in range(len(parts))]
    return any(
        fnmatch(part, pattern) or fnmatch(place, pattern)
        for pattern in exclude
        for part, place in zip(parts, inner, strict=True)
    )


def _is_marked(folder: Path) -> bool:
    return any((folder / mark).exists() for mark in _MARKS)


def _link(path: Path, root: Path) -> Iterator[Skipped]:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        yield Skipped(path, "a link in a circle" if "loop" in str(error).lower() else "a link that leads nowhere")
        return
    if not target.is_relative_to(root):
        yield Skipped(path, f"a link that leads out of the folder, to {str(target)!r}")


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "not there"
    if isinstance(error, PermissionError):
        return "may not be read: check its rights"
    if "loop" in str(error).lower() or "too many levels" in str(error).lower():
        return "a link in a circle"
    return f"can't be read: {getattr(error, 'strerror', None) or error}"
