"""Which model was chosen, and which files outside of any store were: one small JSON file in the data folder.

Knows no model and doesn't look whether a chosen one is still there.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmos.config import data_dir
from llmos.engine.store.spec import DEFAULT
from llmos.errors import StorageError


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen model's `spec`, and the model `files` that were chosen at any time, newest first."""

    spec: str = DEFAULT
    files: tuple[Path, ...] = ()


def read() -> Choice:
    """What was chosen; the embedded model when nothing was.

    Raises:
        StorageError: The file can't be read or is damaged.
    """
    path = _path()
    hint = "Choose a model anew with `llmos model use`."
    try:
        stored: Any = json.loads(path.read_bytes())
        return Choice(str(stored["use"]), tuple(Path(str(file)) for file in stored["files"]))
    except FileNotFoundError:
        return Choice()
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{str(path)!r} is damaged: {error}.", hint=hint) from error
    except OSError as error:
        raise StorageError(f"{str(path)!r} can't be read: {error.strerror or error}.", hint=hint) from error


def write(choice: Choice) -> None:
    """Keep a choice, so that a crash leaves the old one or the new one.

    Raises:
        StorageError: It can't be written.
    """
    path = _path()
    text = json.dumps({"use": choice.spec, "files": [str(file) for file in choice.files]}, indent=2)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, text)
    except OSError as error:
        message = f"The choice of {choice.spec!r} can't be written to {str(path)!r}: {error.strerror or error}."
        raise StorageError(message, hint="Check the folder's rights and the free disk space.") from error


def _path() -> Path:
    return data_dir() / "model.json"


def _replace(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except OSError:
        os.unlink(name)
        raise
