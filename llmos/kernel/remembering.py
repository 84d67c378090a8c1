"""The system calls that ask what is not in the context: recall and remember, on memory, and compare, by meaning.

Knows memory and meanings by their protocols.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmos.kernel.calls import Observed
from llmos.kernel.protocols import Memo

if TYPE_CHECKING:
    from llmos.kernel.branch import Branch


async def recall(process: Branch, query: str, limit: int) -> tuple[Memo, ...]:
    """See `Branch.recall`."""

    async def work(_: int) -> list[dict[str, Any]]:
        found = await process.system.store.recall(query, limit=limit)
        return [{"text": memo.text, "label": memo.label, "source": memo.source, "score": memo.score} for memo in found]

    rows = await process.call("recall", query, {"query": query, "limit": limit}, work)
    memos = tuple(Memo(row["text"], row["label"], row["source"], row["score"]) for row in rows)
    process.entry.seen.extend(Observed("recall", {"query": query}, memo.text, memo.label) for memo in memos)
    return memos


async def remember(process: Branch, text: str, source: str) -> None:
    """See `Branch.remember`."""
    label = process.entry.label

    async def work(number: int) -> None:
        await process.system.store.remember(text, label=label, source=source, key=process.key(number))

    await process.call("remember", text, {"text": text, "source": source}, work)


async def compare(process: Branch, words: str, texts: Mapping[str, Sequence[str]]) -> dict[str, float] | None:
    """See `Branch.compare`."""

    async def work(_: int) -> dict[str, float] | None:
        similar = process.system.similar
        found = await similar(words, texts) if similar is not None else None
        return None if found is None else {name: round(float(value), 4) for name, value in found.items()}

    title = f"compare {len(texts)} by meaning"
    nearest: dict[str, float] | None = await process.call("compare", title, [words, sorted(texts)], work)
    return nearest
