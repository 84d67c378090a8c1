"""Hot pages: prefixes whose KV state stays on disk, so that a later start maps them in without reading a token.

For what many contexts begin with: tool manuals, pinned documents. A file is named by a hash of the model and the token
ids of the messages; one that is damaged, or of another model, is read again and replaced. Knows no model format: the
engine writes and reads the files. They hold the text of what they are of: `forget` removes them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from llmos.errors import StorageError
from llmos.kernel.journal import canonical
from llmos.messages import Context, Message, ToolSpec

if TYPE_CHECKING:
    from llmos.kernel.protocols import Engine

FOLDER = "hot"
"""Their folder in the data folder."""

LIMIT_BYTES = 2 << 30
_SUFFIX = ".kv"


class HotPages:
    """Prefixes of one engine, in a folder that only the user can read. Several processes may use it.

    Args:
        folder: Where they are; made when something is kept.
        limit_bytes: What they may take together; those that were used longest ago go first.
    """

    def __init__(self, folder: Path, engine: Engine, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self._folder, self._engine, self._limit = folder, engine, limit_bytes

    async def prefix(self, messages: Sequence[Message], *, tools: tuple[ToolSpec, ...] = ()) -> Context:
        """A context that begins with some messages, which the engine has read when this returns.

        From disk where it was read before, else it is read now and kept. A disk that is full or can't be written only
        means that it is read again the next time. An engine without KV state of its own to keep gives the bare context.

        Raises:
            PromptTooLong: It does not fit into the window.
            EngineError: The engine failed.
        """
        engine = self._engine
        context = Context(messages=tuple(messages), tools=tools)
        if not {"fork", "save", "tokenize"} <= engine.info.capabilities:
            return context
        path = self._folder / f"{await self._name(context)}{_SUFFIX}"
        known = await self._restored(path, context)
        if known is not None:
            return known
        (known,) = await engine.fork(context, 1)
        with suppress(StorageError, OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            await engine.save(known, path)
            path.chmod(0o600)
            prune(self._folder, self._limit)
        return known

    async def _restored(self, path: Path, context: Context) -> Context | None:
        """What a file has of a context; None if there is none, or it is damaged, which is then removed."""
        if not path.is_file():
            return None
        try:
            known = await self._engine.restore(path)
        except StorageError:
            known = None
        if known is None or known.messages != context.messages or known.model != self._engine.info.fingerprint:
            path.unlink(missing_ok=True)
            return None
        with suppress(OSError):  # a read-only folder: it only counts as used longer ago
            os.utime(path)
        return known

    async def _name(self, context: Context) -> str:
        """By the model, its template, and the token ids of everything that is said."""
        info = self._engine.info
        said = [[message.role, message.name, message.tool_call_id] for message in context.messages]
        digest = hashlib.blake2b(canonical([info.fingerprint, info.template, said]).encode(), digest_size=16)
        texts = [canonical(asdict(tool)) for tool in context.tools]
        texts += [canonical(asdict(message)) for message in context.messages]
        for text in texts:
            digest.update(repr(await self._engine.tokenize(text)).encode())
        return digest.hexdigest()


def prune(folder: Path, limit_bytes: int) -> None:
    """Remove what was used longest ago, until the rest takes no more than so many bytes.

    Raises:
        OSError: A file can't be removed.
    """
    found: list[tuple[float, int, Path]] = []
    for path in folder.glob(f"*{_SUFFIX}"):
        with suppress(FileNotFoundError):  # another process has removed it
            about = path.stat()
            found.append((about.st_mtime, about.st_size, path))
    left = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if left <= limit_bytes:
            return
        path.unlink(missing_ok=True)
        left -= size


def forget(folder: Path) -> int:
    """Remove all of them: they hold text that is to be forgotten. Returns how many there were.

    Raises:
        StorageError: One can't be removed.
    """
    count = 0
    for path in folder.glob(f"*{_SUFFIX}"):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{str(path)!r} can't be removed: {error.strerror or error}.") from error
        count += 1
    return count
