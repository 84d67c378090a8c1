"""One tenant's memory: the store, the index and the embedding model behind it, opened when they are first needed.

It is what a kernel's `recall` and `remember` reach. Nothing is made on the disk before something is to be kept, and
where there is nothing, nothing is loaded. Used from any thread. Knows no command line and no agent.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmos.errors import ConfigError, ModelError, RealModelForbidden, StorageError
from llmos.kernel.calls import Label
from llmos.kernel.protocols import Memo
from llmos.memory.items import KINDS, Filter, Hit, Item, Kind, NewItem, hash_of
from llmos.memory.meaning import Meaning
from llmos.memory.places import place_of
from llmos.memory.protocols import Embedder

if TYPE_CHECKING:
    from llmos.memory.personal import Consolidated, Core, Fact, Personal, Told
    from llmos.memory.retrieval import Found, Reranker
    from llmos.memory.store import MemoryStore
    from llmos.memory.vectors import VectorIndex

TENANT = "me"
"""Whose memory it is where nobody says."""

FEW_TOLD = 20
"""So few facts are found by their words in an answer, because all of them stand in its context anyway: no embedding
model is opened for them."""

TIDY_SECONDS = 86_400.0
"""Memory is tidied no more often."""

_TOLD: tuple[Kind, ...] = ("fact", "preference")
_TEXTS: tuple[Kind, ...] = ("passage", "episode", "skill")
_NAME_LENGTH = 64
_LEAST = 0.05  # what is less likely to be relevant is not recalled beside what is
_BYTES_PER_TOKEN = 3.5


class Memory:
    """What one tenant has in memory (a kernel's `Store`).

    Args:
        folder: The data folder; memory is in `memory` below it.
        tenant: Whose. Nothing of another tenant is ever seen through it.
        embedder: The embedding model, or its name as `open_embedder` takes it; empty is the one that comes with llmos.
        reranker: Takes a second look at the best hits; or the name of a cross-encoder, empty for none.
        notify: Told, in a sentence for people, what takes long when the model is opened.

    Attributes:
        meaning: Its embedding model and index.

    Raises:
        ConfigError: The tenant's name can't be used.
    """

    def __init__(
        self,
        folder: Path,
        *,
        tenant: str = TENANT,
        embedder: str | Embedder = "",
        reranker: str | Reranker = "",
        notify: Callable[[str], None] | None = None,
    ) -> None:
        if not tenant.strip() or len(tenant) > _NAME_LENGTH or not tenant.isprintable():
            raise ConfigError(f"{tenant!r} can't be a tenant.", hint=f"A name has 1 to {_NAME_LENGTH} characters.")
        self.folder = folder / "memory"
        self.tenant = tenant
        self.meaning = Meaning(self.folder, lambda: self.store, embedder, notify)
        self._reranker, self._unranked = reranker, ""
        self._lock = threading.RLock()
        self._store: MemoryStore | None = None
        self._personal: Personal | None = None

    @property
    def exists(self) -> bool:
        """Whether there is anything on the disk."""
        return self._store is not None or self.folder.is_dir()

    @property
    def store(self) -> MemoryStore:
        """The items; made if it is not there yet.

        Raises:
            StorageError: It can't be opened.
        """
        with self._lock:
            if self._store is None:
                from llmos.memory.store import MemoryStore

                self._store = MemoryStore.open(self.folder)
            return self._store

    @property
    def trouble(self) -> str:
        """Why texts are found by their words only, or not looked at again; empty as long as all models work."""
        return self.meaning.trouble or self._unranked

    def close(self) -> None:
        """Close the files. What is used after it is opened again."""
        self.meaning.close()
        with self._lock:
            store, self._store, self._personal = self._store, None, None
        if store is not None:
            store.close()

    # -- finding

    def filter(
        self,
        *,
        namespaces: Sequence[str] | None = None,
        kinds: Sequence[Kind] | None = None,
        sources: Sequence[str] | None = None,
        since: float | None = None,
        until: float | None = None,
        current: bool | None = True,
    ) -> Filter:
        """A filter over this tenant's items: the only way to make one here."""
        return Filter(
            tenant=self.tenant,
            namespaces=None if namespaces is None else tuple(namespaces),
            kinds=None if kinds is None else tuple(kinds),
            sources=None if sources is None else tuple(sources),
            since=since,
            until=until,
            current=current,
        )

    def search(self, query: str, *, limit: int = 10, within: Filter | None = None) -> Found:
        """What fits a query, best first, with whether any of it is relevant.

        Args:
            within: A filter from `filter`; by default all that is current.

        Raises:
            StorageError: The store can't be read.
        """
        from llmos.memory.retrieval import Found

        within = within or self.filter()
        if not self.exists or not self.store.count(within):
            return Found(hits=(), relevant=False)
        return self._found(query, limit, within, self.meaning.ready())

    def _found(self, query: str, limit: int, within: Filter, ready: tuple[VectorIndex, Embedder] | None) -> Found:
        from llmos.memory.retrieval import search

        index, embedder = ready or (None, None)
        try:
            reranker = self._judge()
            return search(self.store, index, embedder, query, within, limit=limit, reranker=reranker)
        except (ModelError, RealModelForbidden) as error:
            if not self._reranker:
                raise
            self._reranker, self._unranked = "", str(error)
            return search(self.store, index, embedder, query, within, limit=limit)

    def _judge(self) -> Reranker | None:
        with self._lock:
            if isinstance(self._reranker, str):
                if not self._reranker:
                    return None
                from llmos.memory.retrieval import CrossEncoderReranker

                self._reranker = CrossEncoderReranker(self._reranker)
            return self._reranker

    def get(self, ids: Sequence[int]) -> list[Item]:
        """Items by their ids; those that are not there, or another's, are left out."""
        return [item for item in self.store.get(ids) if item.tenant == self.tenant] if self.exists else []

    # -- what the user told

    @property
    def personal(self) -> Personal:
        """What the user told of themselves."""
        with self._lock:
            if self._personal is None:
                from llmos.memory.personal import Personal

                self._personal = Personal(self.store, self.tenant)
            return self._personal

    def core(self, task: str, *, tokens: int) -> Core | None:
        """What is always to be in context of what the user told; None where nothing is known.

        The same for every task where all of it has room, so that a context begins alike from turn to turn; otherwise
        what a search for the task finds goes first.

        Args:
            tokens: At most so many, about.

        Raises:
            StorageError: The store can't be read.
        """
        if not self.exists or tokens < 1:
            return None
        core = self.personal.core_block("", tokens=tokens, count=about_tokens)
        if core.left_out:
            core = self.personal.core_block(task, tokens=tokens, count=about_tokens, score=self._matter)
        return core if core.text else None

    def _matter(self, task: str, facts: Sequence[Fact]) -> list[float]:
        """How much each of some facts matters for a task, 0 to 1."""
        found = self.search(task, limit=len(facts), within=self.filter(kinds=_TOLD))
        scores = {hit.item.id: hit.score for hit in found.hits}
        return [scores.get(fact.id, 0.0) for fact in facts]

    def told(self, words: str, *, source: str | Callable[[str], str] = "", key: str = "") -> Told | None:
        """Keep what a turn of the user has for the memory; None if there is nothing. Nothing is ever forgotten by it.

        Args:
            source: The conversation, or what gives its name for these words.

        Raises:
            StorageError: It can't be written.
        """
        from llmos.memory.personal.turns import read

        turn = read(words)
        if not turn.said or turn.forget:
            return None
        name = source if isinstance(source, str) else source(words)
        return self.personal.tell(words, label="user", source=name, key=key)

    def observe(self, attribute: str, value: str, *, source: str = "") -> None:
        """Count something that the user chose: after a few such choices it is known as what they prefer.

        Args:
            attribute: For what, such as `seat`.
            value: What, such as `window`.
            source: The run or conversation.

        Raises:
            StorageError: It can't be written.
        """
        self.personal.observe(attribute, value, time=time.time(), source=source)

    def tidy(self, *, now: float | None = None) -> Consolidated | None:
        """Merge duplicates, settle contradictions, summarize old episodes; None if that was done a short time ago.

        Args:
            now: Seconds since 1970; None for now.

        Raises:
            StorageError: The store can't be read or written.
        """
        from llmos.memory.personal import consolidate

        now = time.time() if now is None else now
        stamp = f"tidied.{hash_of(self.tenant).hex()}"
        if not self.exists or now - float(self.store.setting(stamp) or -math.inf) < TIDY_SECONDS:
            return None
        done = consolidate(self.store, self.tenant, now=now)
        if not done.more:
            self.store.set_setting(stamp, str(now))
        return done

    # -- the kernel's store

    async def remember(self, text: str, /, *, label: Label, source: str = "", key: str = "") -> None:
        """Keep a text. A second one under the same idempotency key is ignored.

        Raises:
            StorageError: It can't be written.
        """
        await asyncio.to_thread(self._remember, text, label, source, key)

    def _remember(self, text: str, label: Label, source: str, key: str) -> None:
        if label == "user" and self.told(text, source=source, key=key) is not None:
            return
        item = NewItem(tenant=self.tenant, kind="episode", text=text, label=label, source=source, key=key)
        self.store.add([item])

    async def recall(self, query: str, /, *, limit: int = 5) -> tuple[Memo, ...]:
        """What fits a query best, best first; nothing where nothing is relevant.

        Raises:
            StorageError: The store can't be read.
        """
        return await asyncio.to_thread(self._recall, query, limit)

    def _recall(self, query: str, limit: int) -> tuple[Memo, ...]:
        if not self.exists:
            return ()
        count = self.store.count
        many = count(self.filter(kinds=_TEXTS)) or count(self.filter(kinds=_TOLD)) > FEW_TOLD
        found = self._found(query, limit, self.filter(), self.meaning.ready() if many else None)
        told = [hit.item.id for hit in found.hits if hit.item.kind in _TOLD] if found.relevant else []
        if told:
            with suppress(StorageError):  # what is used keeps its rank; that it could not be noted harms no answer
                self.personal.used(told)
        return tuple(memo_of(hit) for hit in found.hits if hit.score >= _LEAST) if found.relevant else ()

    async def holds(self) -> bool:
        """Whether there are documents."""

        def look() -> bool:
            return self.exists and self.store.count(self.filter(kinds=("passage", "episode"))) > 0

        return await asyncio.to_thread(look)

    # -- what there is

    def stats(self) -> dict[str, Any]:
        """How much there is, for people and programs: items by kind and by label, sources, bytes on the disk."""
        size = sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file()) if self.exists else 0
        facts: dict[str, Any] = {"tenant": self.tenant, "items": 0, "kinds": {}, "sources": 0, "bytes": size}
        if not self.exists:
            return facts
        counts = {kind: self.store.count(self.filter(kinds=(kind,))) for kind in KINDS}
        facts["kinds"] = {kind: count for kind, count in counts.items() if count}
        facts["items"] = sum(counts.values())
        facts["superseded"] = self.store.count(self.filter(current=None)) - facts["items"]
        facts["sources"] = len(self.store.sources(self.filter()))
        facts["lost"] = str(self.store.lost or "")
        found = self.meaning.ready() if counts["passage"] or counts["episode"] else None
        facts["embedder"] = found[1].name if found is not None else ""
        facts["waiting"] = found[0].waiting if found is not None else 0
        facts["trouble"] = self.trouble
        return facts


def memo_of(hit: Hit) -> Memo:
    """A hit as the kernel gives it to agents."""
    return Memo(hit.item.text, hit.item.label, place_of(hit.item, heading=True), hit.score)


def about_tokens(text: str) -> int:
    """About how many tokens a text has, whatever the model: rather too many than too few."""
    return math.ceil(len(text.encode("utf-8", "replace")) / _BYTES_PER_TOKEN)
