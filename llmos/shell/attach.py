"""`@file` in a message attaches that file's text. Knows no terminal and no model.

A file is attached whole or refused with the numbers: nothing is cut.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from llmos.errors import StorageError

MAX_BYTES = 1024 * 1024

REFERENCE = re.compile(r"""(?<!\S)@(?:"(?P<quoted>[^"\n]+)"|(?P<bare>[^\s"]+))""")
_PUNCTUATION = ".,;:!?)]}'"


@dataclass(frozen=True, slots=True)
class Attached:
    """A message with its files.

    Attributes:
        words: The user's words.
        material: Each file's text in a fenced block.
        files: What was attached, each once.
        missing: References that name no file and stay as they were written.
    """

    words: str
    material: str = ""
    files: tuple[Path, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """All of it."""
        return f"{self.words}\n\n{self.material}" if self.material else self.words


def attach(words: str, *, folder: Path | None = None) -> Attached:
    """Add the text of the files that a message refers to.

    Args:
        words: The message.
        folder: Where relative names are looked up, by default the current folder.

    Raises:
        StorageError: A file is too big, is not text, or can't be read.
    """
    files: dict[Path, str] = {}
    missing: list[str] = []
    for match in REFERENCE.finditer(words):
        name = match["quoted"] or match["bare"]
        path = _find(name, folder or Path())
        if path is None:
            missing.append(name)
        elif path not in files:
            files[path] = _read(path)
    blocks = (f"File {str(path)!r}:\n{_fenced(text)}" for path, text in files.items())
    return Attached(words, "\n\n".join(blocks), tuple(files), tuple(missing))


def _find(name: str, folder: Path) -> Path | None:
    for candidate in (name, name.rstrip(_PUNCTUATION)):
        try:
            path = folder / Path(candidate).expanduser()
            if candidate and path.exists():
                return path
        except (OSError, RuntimeError, ValueError):  # a name too long, an unknown user, a NUL
            continue
    return None


def _read(path: Path) -> str:
    if path.is_dir():
        raise StorageError(f"{str(path)!r} is a folder.", hint="Attach single files: @folder/file.txt")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise StorageError(f"{str(path)!r} can't be read: {error.strerror}.") from error
    if len(data) > MAX_BYTES:
        size = max(path.stat().st_size, len(data))
        raise StorageError(
            f"{str(path)!r} has {size:,} bytes; a file to attach may have {MAX_BYTES:,}.",
            hint="Attach the part that matters.",
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise StorageError(f"{str(path)!r} is not UTF-8 text.", hint="Convert it to text first.")
    return text


def _fenced(text: str) -> str:
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}\n{text.rstrip()}\n{fence}"
