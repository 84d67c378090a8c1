"""How near in meaning texts are to some words, for whoever chooses among them. Nothing is loaded before it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

from llmos.errors import LlmosError


class Meanings:
    """Compares by the embedding model that comes with llmos; keeps the vectors of texts that come again.

    Args:
        notify: Told, in a sentence for people, what takes long.
    """

    def __init__(self, notify: Callable[[str], None] | None = None) -> None:
        self._notify = notify
        self._known: dict[str, Any] = {}  # vectors by text
        self._embed: Callable[[list[str]], Any] | None = None

    async def __call__(self, words: str, texts: Mapping[str, Sequence[str]], /) -> dict[str, float] | None:
        """The cosine of the nearest text of each name, -1 to 1; None where there is no embedding model."""
        try:
            return await asyncio.to_thread(self._similar, words, texts)
        except (LlmosError, ImportError, OSError):
            return None

    def _similar(self, words: str, texts: Mapping[str, Sequence[str]]) -> dict[str, float]:
        if self._embed is None:
            from llmos.memory.embedding import open_embedder

            self._embed = open_embedder(notify=self._notify).embed
        new = [text for text in dict.fromkeys(chain.from_iterable(texts.values())) if text not in self._known]
        self._known |= dict(zip(new, self._embed(new), strict=True)) if new else {}
        asked = self._embed([words])[0]
        return {name: max(float(self._known[text] @ asked) for text in several) for name, several in texts.items()}
