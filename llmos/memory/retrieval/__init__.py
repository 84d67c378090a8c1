"""From a query to what fits it: words and meaning, fused by scores, with a policy for each kind of memory.

found = search(store, index, embedder, "when does the lease end?", Filter(tenant="me"))
if found.relevant: found.hits[0].item.text
"""

from __future__ import annotations

from llmos.memory.retrieval.policy import RELEVANT
from llmos.memory.retrieval.reranking import CrossEncoderReranker, Reranker
from llmos.memory.retrieval.search import Found, search

__all__ = ["RELEVANT", "CrossEncoderReranker", "Found", "Reranker", "search"]
