"""Embeddings by sentence-transformers itself: every model that it can load, on a GPU if there is one.

The reference that the compiled form is compared with. It takes seconds to load, so it is only used where a model can't
be compiled, or where a GPU makes up for it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from llmos.errors import ModelInvalid
from llmos.memory.embedding.models import ModelFolder
from llmos.memory.protocols import Role

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SURROGATE = re.compile("[\ud800-\udfff]")


class ReferenceEmbedder:
    """A model run by torch. Loads when it is made; can be called from any thread, and one call runs at a time.

    Args:
        model: Its files.
        name: What its vectors are kept under; the model's own name and digest if empty.
        device: Such as `cuda` or `cpu`; None for the best there is.

    Raises:
        ModelInvalid: sentence-transformers can't load it.
    """

    def __init__(self, model: ModelFolder, *, name: str = "", device: str | None = None) -> None:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        cast("Any", logging).disable_progress_bar()  # it would be drawn into the terminal of whoever waits
        try:
            loaded: Any = cast("Any", SentenceTransformer)(str(model.path), device=device, local_files_only=True)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, ImportError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ModelInvalid(
                f"The embedding model {model.name!r} in {str(model.path)!r} can't be loaded: {reason}",
                hint="Name a model of the sentence-transformers library.",
            ) from error
        self.transformer = loaded
        self._name = name or named(model.name, model.digest())
        self._lock = threading.Lock()
        self._dimension = int(self._encode(["one"], "text").shape[1])

    @property
    def name(self) -> str:
        """The model with the hash of its files."""
        return self._name

    @property
    def dimension(self) -> int:
        """How many numbers a vector has."""
        return self._dimension

    def embed(self, texts: Sequence[str], /, *, role: Role = "text") -> NDArray[np.float32]:
        """The vectors of some texts: shape (texts, dimension), float32, each of length 1."""
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        with self._lock:
            return self._encode(texts, role)

    def _encode(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        encode = self.transformer.encode_query if role == "query" else self.transformer.encode_document
        vectors = encode([clean(text) for text in texts], normalize_embeddings=True, show_progress_bar=False)
        return np.ascontiguousarray(vectors, np.float32)


def named(name: str, digest: str) -> str:
    """The name of a model's vectors: two models have the same only if their files are the same."""
    return f"{name}@{digest[:16]}"


def clean(text: str) -> str:
    """A text that can be tokenized: lone surrogates, which have no UTF-8, become U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)
