"""Contexts in files: their messages as one line of JSON. Knows no server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from llmos import wire
from llmos.config import write_atomically
from llmos.errors import EngineError, StorageError
from llmos.messages import Context


def write_context(context: Context, path: Path) -> None:
    """Write a context so that a crash leaves the old file or the new one; without token ids, which belong to an engine.

    Raises:
        StorageError: It can't be written.
    """
    write_atomically(path, wire.encode(replace(context, tokens=(), model="")).decode())


def read_context(path: Path) -> Context:
    """The context of a file.

    Raises:
        StorageError: It can't be read, or holds something else.
    """
    hint = "Start the conversation again from its messages."
    try:
        context = wire.decode(path.read_bytes())
    except OSError as error:
        why = error.strerror or str(error)
        raise StorageError(f"Can't restore a context from {str(path)!r}: {why}.", hint=hint) from error
    except EngineError as error:
        raise StorageError(f"Can't restore a context from {str(path)!r}: it is damaged.", hint=hint) from error
    if not isinstance(context, Context):
        raise StorageError(f"Can't restore a context from {str(path)!r}: it holds something else.", hint=hint)
    return context
