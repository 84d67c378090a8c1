"""What is done with a memory when nobody needs it: duplicates merged, contradictions settled, old episodes summarized.

Nothing is deleted: what is merged or settled becomes history, and a summary points to its originals, which stay. That
unused facts sink in rank needs no work: `llmos.memory.personal.facts.rank` tells it from the clock. Can be stopped
between any two steps and done again: the second time changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmos.gist import gist
from llmos.kernel.calls import Label, join
from llmos.memory.items import Filter, Item, NewItem, hash_of
from llmos.memory.personal.facts import Fact, contradicts
from llmos.memory.personal.ledger import Ledger
from llmos.memory.personal.vocabulary import content_words, words_of

if TYPE_CHECKING:
    from llmos.memory.store import MemoryStore

OLD = 30 * 86_400.0
"""Seconds after which an episode is summarized."""

LEAST, MOST = 6, 40
"""So many episodes of one source make a summary."""

SUMMARY_WORDS = 80
"""A summary made of sentences has about so many words at most."""

_OF = "summary_of"
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")


@dataclass(frozen=True, slots=True)
class Question:
    """A contradiction that only the user can settle.

    Attributes:
        text: What to ask. Tell the answer with `asked=True`.
        stands: What was asked to be remembered.
        against: What was said by the way later.
    """

    text: str
    stands: Fact
    against: Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class Consolidated:
    """What was done.

    Attributes:
        merged: Duplicates that are history now.
        settled: Facts that contradicted another, and lost by rule: the newest of the strongest stands.
        questions: What no rule settles.
        summaries: Ids of new summaries.
        more: There are more episodes to summarize.
    """

    merged: tuple[Fact, ...]
    settled: tuple[Fact, ...]
    questions: tuple[Question, ...]
    summaries: tuple[int, ...]
    more: bool


def consolidate(
    store: MemoryStore,
    tenant: str,
    *,
    now: float,
    most: int = 20,
) -> Consolidated:
    """Tidy up a tenant's memory.

    Args:
        now: Seconds since 1970.
        most: So many summaries are made at most.

    Raises:
        StorageError: The store can't be read or written.
    """
    ledger = Ledger(store, tenant)
    before = {fact.id: fact for fact in ledger.everything()}
    lost = ledger.settle(ledger.open())
    after = {fact.id: fact for fact in ledger.everything()}
    merged = [fact for fact in lost if fact.same(before[_heir(after, fact.id)])]
    groups = _groups(store, tenant, until=now - OLD)
    summaries: list[int] = []
    more = False
    for group in groups:
        if len(summaries) >= most:
            more = True
            break
        summaries += _summarized(store, group, now=now)
    return Consolidated(
        merged=tuple(merged),
        settled=tuple(fact for fact in lost if fact not in merged),
        questions=tuple(questions(ledger.everything())),
        summaries=tuple(summaries),
        more=more,
    )


def _heir(facts: dict[int, Fact], id: int) -> int:
    return facts[id].superseded_by or id


def questions(facts: Sequence[Fact]) -> Iterator[Question]:
    """What was said by the way after something else had been asked to be remembered, the latest for each."""
    latest: dict[int, Fact] = {}
    known = {fact.id: fact for fact in facts}
    for fact in facts:
        stands = known.get(fact.superseded_by or 0)
        if stands is None or stands.superseded_by is not None or fact.strength != "stated":
            continue
        if stands.strength == "explicit" and contradicts(fact, stands):
            latest[stands.id] = fact
    for id, fact in latest.items():
        stands = known[id]
        yield Question(
            f"You asked me to remember “{stands.text}”. Later you said “{fact.text}”. Which is right?", stands, fact
        )


def _groups(store: MemoryStore, tenant: str, *, until: float) -> Iterator[list[Item]]:
    """Old episodes without a summary, those of one source together, oldest first."""
    for source in store.sources(Filter(tenant=tenant, kinds=("episode",), until=until)):
        items = store.items(Filter(tenant=tenant, kinds=("episode",), sources=(source.source,)))
        done = {id for item in items for id in item.metadata.get(_OF, ())}
        by_namespace: dict[str, list[Item]] = {}
        for item in items:
            if item.id not in done and _OF not in item.metadata and (item.created or 0.0) < until:
                by_namespace.setdefault(item.namespace, []).append(item)
        for left in by_namespace.values():
            for start in range(0, len(left), MOST):
                if len(group := left[start : start + MOST]) >= LEAST:
                    yield group


def _summarized(store: MemoryStore, group: Sequence[Item], *, now: float) -> list[int]:
    text = sentences([item.text for item in group])
    if not text:
        return []
    ids = [item.id for item in group]
    labels: list[Label] = [item.label for item in group]
    first = group[0]
    return store.add(
        [
            NewItem(
                tenant=first.tenant,
                kind="episode",
                text=text,
                label=join(*labels),
                namespace=first.namespace,
                source=first.source,
                metadata={_OF: ids},
                created=now,
                valid_from=first.valid_from if first.valid_from is not None else first.created,
                key=f"summary/{hash_of(' '.join(map(str, ids))).hex()}",
            )
        ]
    )


def summaries_of(store: MemoryStore, tenant: str, episodes: Iterable[Item]) -> list[int]:
    """The summaries that were made of some episodes: to forget these is to forget those too."""
    wanted: dict[str, set[int]] = {}
    for item in episodes:
        wanted.setdefault(item.source, set()).add(item.id)
    if not wanted:
        return []
    items = store.items(Filter(tenant=tenant, kinds=("episode",), sources=tuple(wanted), current=None))
    return [item.id for item in items if wanted[item.source].intersection(item.metadata.get(_OF, ()))]


def sentences(texts: Sequence[str]) -> str:
    """The sentences that say most of what some texts are about, in their order."""
    found = [part.strip() for text in texts for part in _SENTENCE.findall(text) if len(part.split()) > 2]

    def content(sentence: str) -> list[str]:
        telling = content_words(sentence)
        return [word for word in words_of(sentence) if word in telling]

    return " ".join(gist(found, content, words=SUMMARY_WORDS))
