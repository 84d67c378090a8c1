"""What memory holds: items with a kind, a label and a source, and filters that choose among them. Plain data.

Knows no database and no index.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from llmos.kernel.calls import Label

Kind = Literal["passage", "episode", "fact", "preference", "skill"]
"""A piece of a document; a turn of a conversation or a message; something that is so; something somebody wants; how
something is done."""

KINDS: tuple[Kind, ...] = ("passage", "episode", "fact", "preference", "skill")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Where in its source a text stands. What is not known is None.

    Attributes:
        start, stop: Offsets in characters of the source's text.
        line, last_line: From 1.
        page: Of a document with pages, from 1.
        heading: The headings above it, outermost first, joined by " > ".
    """

    start: int | None = None
    stop: int | None = None
    line: int | None = None
    last_line: int | None = None
    page: int | None = None
    heading: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewItem:
    """Something to be remembered.

    Attributes:
        tenant: Whose it is. Nothing is ever found for another tenant.
        kind: What it is.
        text: What is searched and shown.
        label: Where it comes from; it survives chunking, summaries and consolidation.
        namespace: A part of the tenant's memory, such as a project's; empty for the common one.
        source: Which file, page or conversation it is from; empty if none.
        span: Where in the source.
        metadata: JSON data that its kind needs.
        created: When it was written down, seconds since 1970; None for now.
        valid_from: Since when it is so, if not since it was created.
        key: Idempotency key: a tenant has one item of it, and adding a second changes nothing; empty for none.
    """

    tenant: str
    kind: Kind
    text: str
    label: Label
    namespace: str = ""
    source: str = ""
    span: Span = field(default_factory=Span)
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    created: float | None = None
    valid_from: float | None = None
    key: str = ""

    @property
    def hash(self) -> bytes:
        """Of its text, 16 bytes: embeddings are kept under it."""
        return hash_of(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item(NewItem):
    """Something remembered.

    Attributes:
        id: Never used again for another.
        seq: The number of the change that wrote it last, across all processes.
        superseded_by: The item that takes its place, if one does.
    """

    id: int
    seq: int
    superseded_by: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which items are meant. A tenant always; None leaves the others open.

    Attributes:
        sources: Exact ones.
        since, until: By time of creation, seconds since 1970, `until` excluded.
        current: Only what nothing has superseded; None for both.
    """

    tenant: str
    namespaces: tuple[str, ...] | None = None
    kinds: tuple[Kind, ...] | None = None
    labels: tuple[Label, ...] | None = None
    sources: tuple[str, ...] | None = None
    since: float | None = None
    until: float | None = None
    current: bool | None = True


@dataclass(frozen=True, slots=True)
class Hit:
    """An item that was found.

    Attributes:
        score: How well it fits, 0 to 1, calibrated: about the probability that it is relevant.
        dense: Cosine of query and text; None if the index was not asked.
        lexical: BM25 of words in common, higher is better; None without any.
    """

    item: Item
    score: float
    dense: float | None = None
    lexical: float | None = None


def hash_of(text: str) -> bytes:
    """Sixteen bytes that stand for a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
