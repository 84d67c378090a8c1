"""The disk: what is remembered, and how it is found again. Nothing is here yet.

Document stores, the vector index, ingestion, retrieval and personal memory belong here. KV state of the processor does
not: that is `llmos.engine`.
"""
