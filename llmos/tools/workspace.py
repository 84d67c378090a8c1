"""Files inside one folder and nowhere else, whatever the path says and whoever changes links meanwhile.

A path is walked one name at a time from an open folder, never following a link by itself (`openat` with `O_NOFOLLOW`);
a link is read and its target walked in turn, so that links inside the folder work and none leads out. What was checked
is what is opened: there is no moment between. Knows nothing of tools but their errors.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
import secrets
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llmos.tools.tool import Failed, Retry

MAX_LINKS = 20
MAX_DEPTH = 32
SKIPPED = frozenset({".git", ".hg", ".svn", "__pycache__", "node_modules", ".venv", ".mypy_cache", ".ruff_cache"})
"""Folders that a walk does not enter: large, and not the user's own writing."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # not waiting for the other end of a named pipe


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is or will be: an open folder and a name in it that is no link.

    Attributes:
        folder: File descriptor, open while the place is in use.
        name: The last part; `.` for the workspace itself.
        path: From the workspace, links resolved.
        absolute: In the file system.
    """

    folder: int
    name: str
    path: str
    absolute: Path


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in a folder. `path` is relative to the workspace; `modified` in seconds since the epoch."""

    path: str
    folder: bool
    size: int
    modified: float


class Workspace:
    """The files of a folder.

    Args:
        root: The folder; it may be a link itself.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def place(self, path: str, *, create: bool = False) -> Generator[Place]:
        """Find the place of a path, which need not exist itself.

        Args:
            path: Relative to the workspace, or absolute inside it.
            create: Make the folders on the way that are missing.

        Raises:
            Failed: It leads out of the workspace, or can't be reached.
            Retry: There is no such folder.
        """
        walk = _Walk(self.root, path)
        try:
            with _explained(path):
                yield walk.to(self._parts(path), create=create)
        finally:
            walk.close()

    @contextmanager
    def file(self, path: str) -> Generator[int]:
        """Open a regular file for reading; yields its descriptor.

        Raises:
            Failed: It is outside, or no file.
            Retry: There is no such file; one of a similar name is offered.
        """
        with self.place(path) as place:
            try:
                descriptor = os.open(place.name, _FILE, dir_fd=place.folder)
            except FileNotFoundError:
                raise _missing(path, _names(place.folder)) from None
            try:
                kind = os.fstat(descriptor).st_mode
                if stat.S_ISDIR(kind):
                    raise Failed(f"{path!r} is a folder.")
                if not stat.S_ISREG(kind):
                    raise Failed(f"{path!r} is not a regular file.")
                yield descriptor
            finally:
                os.close(descriptor)

    def read(self, path: str, *, limit: int) -> bytes:
        """The content of a file.

        Raises:
            Failed: It is longer than `limit` bytes, outside, or no file.
            Retry: There is no such file.
        """
        with self.file(path) as descriptor, open(descriptor, "rb", closefd=False) as file:
            content = file.read(limit + 1)
            if len(content) > limit:
                raise Failed(f"{path!r} is larger than {limit:,} bytes.")
            return content

    def write(self, path: str, content: bytes) -> Place:
        """Replace or create a file in one step: whoever reads it sees the old or the new content, never a part.

        Raises:
            Failed: It is outside, a folder, or can't be written; nothing is changed then.
        """
        with self.place(path, create=True) as place:
            mode = 0o666 & ~_umask()
            with contextlib.suppress(FileNotFoundError):
                old = os.stat(place.name, dir_fd=place.folder, follow_symlinks=False)
                if not stat.S_ISREG(old.st_mode):
                    raise Failed(f"{path!r} is not a regular file.")
                mode = stat.S_IMODE(old.st_mode) & 0o777
            draft = f".{secrets.token_hex(8)}.part"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(draft, flags, 0o600, dir_fd=place.folder)
            try:
                with open(descriptor, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fchmod(file.fileno(), mode)
                    os.fsync(file.fileno())
                os.rename(draft, place.name, src_dir_fd=place.folder, dst_dir_fd=place.folder)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(draft, dir_fd=place.folder)
                raise
            os.fsync(place.folder)
            return place

    def entries(self, path: str, *, limit: int) -> tuple[list[Entry], bool]:
        """What is in a folder, at most `limit` things, and whether there is more.

        Raises:
            Failed: It is outside, or no folder.
            Retry: There is no such folder.
        """
        with self._folder(path) as (descriptor, base):
            found: list[Entry] = []
            with os.scandir(descriptor) as scan:
                for item in scan:
                    if len(found) == limit:
                        return found, True
                    if entry := _entry(item, base):
                        found.append(entry)
            return found, False

    def walk(self, path: str, *, limit: int) -> Iterator[Entry]:
        """The files in a folder and its folders, at most `limit`. Links are not followed, `SKIPPED` not entered.

        Raises:
            Failed: It is outside, or no folder.
            Retry: There is no such folder.
        """
        left = [limit]
        with self._folder(path) as (descriptor, base):
            yield from _walk(descriptor, base, left, 0)

    @contextmanager
    def _folder(self, path: str) -> Generator[tuple[int, str]]:
        with self.place(path) as place:
            try:
                descriptor = os.open(place.name, _FOLDER, dir_fd=place.folder)
            except FileNotFoundError:
                raise _missing(path, _names(place.folder)) from None
            try:
                yield descriptor, place.path
            finally:
                os.close(descriptor)

    def _parts(self, path: str) -> list[str]:
        """The names of a path from the workspace on. `..` stays in it: it is walked, not computed."""
        if "\0" in path:
            raise Failed(f"{path!r} is not a path.")
        if path.startswith("/"):
            for root in (self.root, self.root.resolve()):
                with contextlib.suppress(ValueError):
                    return list(Path(path).relative_to(root).parts)
            raise _outside(path)
        return [part for part in path.split("/") if part not in ("", ".")]


class _Walk:
    """A stack of open folders from the workspace down to where a path leads."""

    def __init__(self, root: Path, path: str) -> None:
        self._root = root
        self._path = path
        self._folders: list[int] = []
        self._names: list[str] = []

    def to(self, parts: list[str], *, create: bool) -> Place:
        self._folders.append(os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        todo = parts[::-1]
        links = 0
        while todo:
            name = todo.pop()
            if name == "..":
                self._up()
                continue
            target = self._link(name)
            if target is not None:
                links += 1
                if links > MAX_LINKS or len(todo) > 200:
                    raise Failed(f"{self._path!r} goes through too many links.")
                todo += self._inside(target)[::-1]
            elif todo:
                self._down(name, create=create)
            else:
                return self._place(name)
        if not self._names:
            return self._place(".")
        os.close(self._folders.pop())  # it ended at a folder: name it in its parent
        return self._place(self._names.pop())

    def close(self) -> None:
        while self._folders:
            os.close(self._folders.pop())

    def _place(self, name: str) -> Place:
        path = "/".join([*self._names, name]) if name != "." else "."
        return Place(self._folders[-1], name, path, self._root.joinpath(*self._names, name))

    def _up(self) -> None:
        if not self._names:
            raise _outside(self._path)
        self._names.pop()
        os.close(self._folders.pop())

    def _down(self, name: str, *, create: bool) -> None:
        if len(self._folders) > MAX_DEPTH:
            raise Failed(f"{self._path!r} is too deep.")
        try:
            folder = os.open(name, _FOLDER, dir_fd=self._folders[-1])
        except FileNotFoundError:
            if not create:
                raise _missing(self._path, ()) from None
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=self._folders[-1])
            folder = os.open(name, _FOLDER, dir_fd=self._folders[-1])
        self._folders.append(folder)
        self._names.append(name)

    def _link(self, name: str) -> str | None:
        try:
            return os.readlink(name, dir_fd=self._folders[-1])
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):  # no link; nothing there
                return None
            raise

    def _inside(self, target: str) -> list[str]:
        if not target.startswith("/"):
            return [part for part in target.split("/") if part not in ("", ".")]
        for root in (self._root, self._root.resolve()):
            with contextlib.suppress(ValueError):
                inside = list(Path(target).relative_to(root).parts)
                while self._names:
                    self._up()
                return inside
        raise _outside(self._path)


def _walk(folder: int, base: str, left: list[int], depth: int) -> Iterator[Entry]:
    with os.scandir(folder) as scan:
        items = sorted(scan, key=lambda item: item.name)
    for item in items:
        if left[0] <= 0:
            return
        entry = _entry(item, base)
        if entry is None:
            continue
        if not entry.folder:
            left[0] -= 1
            yield entry
        elif item.name not in SKIPPED and depth < MAX_DEPTH:
            with contextlib.suppress(OSError):  # removed or replaced meanwhile, or not ours to read
                inner = os.open(item.name, _FOLDER, dir_fd=folder)
                try:
                    yield from _walk(inner, entry.path, left, depth + 1)
                finally:
                    os.close(inner)


def _entry(item: os.DirEntry[str], base: str) -> Entry | None:
    """A file or folder; links and special files are left out, and so is what vanished meanwhile."""
    try:
        info = item.stat(follow_symlinks=False)
    except OSError:
        return None
    if not (stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode)):
        return None
    path = item.name if base == "." else f"{base}/{item.name}"
    return Entry(path, stat.S_ISDIR(info.st_mode), info.st_size, info.st_mtime)


def _names(folder: int) -> list[str]:
    with os.scandir(folder) as scan:
        return [item.name for item, _ in zip(scan, range(2000), strict=False)]


def _missing(path: str, names: tuple[str, ...] | list[str]) -> Retry:
    name = path.rstrip("/").rpartition("/")[2]
    close = difflib.get_close_matches(name.lower(), names, 1, 0.5)
    offer = f" Did you mean {path[: len(path) - len(name)] + close[0]!r}?" if close else ""
    return Retry(f"There is no {path!r} here.{offer}")


def _outside(path: str) -> Failed:
    return Failed(f"{path!r} is outside the workspace.")


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@contextmanager
def _explained(path: str) -> Generator[None]:
    """Turn errors of the file system into a tool's."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EXDEV):
            raise Failed(f"{path!r} was replaced by a link meanwhile.") from error
        if error.errno == errno.ENOTDIR:
            raise Failed(f"{path!r} goes through something that is no folder.") from error
        raise Failed(f"{path!r}: {(error.strerror or type(error).__name__).lower()}.") from error
