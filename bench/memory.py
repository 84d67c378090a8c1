"""`python -m bench memory`: the store, the index, retrieval, pages. Each part's rows are in a module of their own."""

from __future__ import annotations

from bench import memory_pages, memory_peers, memory_retrieval, memory_store

GROUPS = (
    *memory_store.GROUPS,
    memory_retrieval.locomo,
    memory_retrieval.squad,
    memory_retrieval.preferences,
    memory_retrieval.nothing_relevant,
    memory_retrieval.cold_open,
    memory_retrieval.ingest_with_embedding,
    *memory_pages.GROUPS,
    *memory_peers.GROUPS,
)
