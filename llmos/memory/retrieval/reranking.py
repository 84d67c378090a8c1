"""A second, slower look at the best hits by a model that reads query and text together. Off unless somebody passes one.

Knows no index and no store.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Sequence
from typing import Any, Protocol, cast

from llmos.errors import ModelNotFound, RealModelForbidden


class Reranker(Protocol):
    """Says how well texts answer a query. Called from any thread."""

    def scores(self, query: str, texts: Sequence[str], /) -> list[float]:
        """For each text about the probability that it answers the query, 0 to 1."""
        ...


class CrossEncoderReranker:
    """A cross-encoder of sentence-transformers. Needs torch, which takes seconds to load, with the first query.

    Args:
        name: Such as `cross-encoder/ms-marco-MiniLM-L6-v2`, or a folder.
        device: Such as `cuda`; None for the best there is.
    """

    def __init__(self, name: str, *, device: str | None = None) -> None:
        self._name = name
        self._device = device
        self._lock = threading.Lock()
        self._model: Any = None

    def scores(self, query: str, texts: Sequence[str], /) -> list[float]:
        """For each text about the probability that it answers the query, 0 to 1.

        Raises:
            ModelNotFound: There is no such model, here or at the hub.
            RealModelForbidden: Only models of tests are allowed here.
        """
        if not texts:
            return []
        with self._lock:
            if self._model is None:
                self._model = self._load()
            import torch

            found = self._model.predict(
                [(query, text) for text in texts], activation_fn=torch.nn.Sigmoid(), show_progress_bar=False
            )
        return [float(value) if math.isfinite(value) else 0.0 for value in found]

    def _load(self) -> Any:  # noqa: ANN401 - a CrossEncoder
        if os.environ.get("LLMOS_FORBID_REAL_MODELS", "0") not in ("", "0"):
            raise RealModelForbidden(
                f"The reranker {self._name!r} was about to be loaded.", hint="Pass a `Reranker` of your own."
            )
        from sentence_transformers import CrossEncoder

        try:
            return cast("Any", CrossEncoder)(self._name, num_labels=1, device=self._device)
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ModelNotFound(
                f"The reranker {self._name!r} can't be loaded: {reason}",
                hint="Name a cross-encoder of the sentence-transformers library, or a folder with one.",
            ) from error
