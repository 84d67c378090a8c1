"""The disk: what is remembered, and how it is found again.

Documents, personal memory, the vector index, ingestion and retrieval belong here. KV state of the processor does not:
that is `llmos.engine`. What goes into the context window is `llmos.kernel.paging`'s business.
"""
