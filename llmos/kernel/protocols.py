"""What the kernel asks of the parts below and beside it: small protocols, implemented elsewhere.

Knows no implementation.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Protocol

from llmos.events import EngineEvent
from llmos.messages import Context, EngineInfo, Generate, Score, Scores


class Engine(Protocol):
    """The processor: many requests at once, each an independent stream of events.

    All methods may raise any `EngineError`. After `close` every method raises `EngineClosed`.
    """

    @property
    def info(self) -> EngineInfo:
        """What this engine is and can do."""
        ...

    def generate(self, request: Generate, /) -> AsyncIterator[EngineEvent]:
        """Continue a context: `Started`, any number of `Token`, one `Finished`.

        An async generator: closing it (`aclose`, leaving an `async for`, cancelling the task) cancels the request at
        its next token. Text that arrived until then stays valid.
        """
        ...

    async def score(self, request: Score, /) -> Scores:
        """How likely each choice is as the continuation of a context."""
        ...

    async def tokenize(self, text: str, /, *, special: bool = False) -> tuple[int, ...]:
        """The token ids of a text; with `special`, names of control tokens in it become those tokens."""
        ...

    async def detokenize(self, tokens: Sequence[int], /) -> bytes:
        """The bytes that token ids stand for, control tokens by name; a part of a character stays a part."""
        ...

    async def fork(self, context: Context, n: int, /) -> tuple[Context, ...]:
        """n branches of a context. Where `fork` is a capability they share its KV state, and no token is read again;
        elsewhere each branch re-sends it."""
        ...

    async def save(self, context: Context, path: Path, /) -> None:
        """Write the KV state of a context to a file, so that `restore` continues it without reading it again."""
        ...

    async def restore(self, path: Path, /) -> Context:
        """Bring a saved context back. A damaged or foreign file is a `StorageError`; its messages are then re-read."""
        ...

    async def close(self) -> None:
        """End all requests with `EngineClosed` and free the model. A second call does nothing."""
        ...
