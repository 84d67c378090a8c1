"""Texts to vectors: any model of sentence-transformers, compiled once to a form that needs no torch.

    embedder = open_embedder()                # the model that comes with llmos
    embedder.embed(["a text"])                # shape (1, 384), float32, of length 1

Knows nothing of what the vectors are for.
"""

from __future__ import annotations

from llmos.memory.embedding.models import DEFAULT, ModelFolder, find_model
from llmos.memory.embedding.opening import open_embedder

__all__ = ["DEFAULT", "ModelFolder", "find_model", "open_embedder"]
