"""Which wishes matter for a request, where words and meaning say too little: "find me a taco recipe" and "I can't stand
coriander" are alike only to those who know what is cooked with what.

Both sides are compared with examples of everyday situations (`situations.toml`); a request and a wish that call the
same ones to mind belong together. Knows no store; keeps the examples' vectors in the cache, a file for each model.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import tomllib
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmos.config import cache_dir
from llmos.memory.protocols import Embedder

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SHARPNESS = 20.0  # how much more a situation counts that is a little nearer: 1 / temperature of the softmax
_lock = threading.Lock()
_loaded: dict[str, Situations] = {}


class Situations:
    """The means of the examples' vectors.

    Args:
        requests, wishes: Shape (situations, dimension), float32, in the same order.
    """

    def __init__(self, requests: NDArray[np.float32], wishes: NDArray[np.float32]) -> None:
        self._requests = requests
        self._wishes = wishes

    def common(self, request: NDArray[np.float32], wishes: NDArray[np.float32]) -> NDArray[np.float32]:
        """How much a request and each of some wishes have in common: shape (wishes,), 0 to 1.

        Args:
            request: Shape (dimension,), of length 1.
            wishes: Shape (wishes, dimension), of length 1 each.
        """
        common: NDArray[np.float32] = _recalled(wishes @ self._wishes.T) @ _recalled(request @ self._requests.T)
        return common


def _recalled(cosines: NDArray[np.float32]) -> NDArray[np.float32]:
    """How strongly each situation comes to mind: a softmax, of length 1."""
    strength: NDArray[np.float32] = np.exp(_SHARPNESS * (cosines - cosines.max(axis=-1, keepdims=True)))
    length: NDArray[np.float32] = np.linalg.norm(strength, axis=-1, keepdims=True)
    recalled: NDArray[np.float32] = strength / length
    return recalled


def situations(embedder: Embedder) -> Situations:
    """The situations as a model sees them. The first use with a model embeds the examples, which takes some seconds.

    Raises:
        ModelError: The model can't be used.
    """
    with _lock:
        if embedder.name not in _loaded:
            _loaded[embedder.name] = _load(embedder)
        return _loaded[embedder.name]


def _load(embedder: Embedder) -> Situations:
    text = _text()
    key = hashlib.blake2b(f"{embedder.name}\n{text}".encode(), digest_size=12).hexdigest()
    path = cache_dir() / "embedding" / f"situations-{key}.npy"
    shape = (2, len(_examples()), embedder.dimension)
    with suppress(OSError, ValueError, EOFError):  # not there, or damaged: made anew
        kept: NDArray[Any] = np.load(path, allow_pickle=False)
        if kept.shape == shape and kept.dtype == np.float32 and bool(np.isfinite(kept).all()):
            return Situations(kept[0], kept[1])
    means = np.zeros(shape, np.float32)
    for number, situation in enumerate(_examples()):
        means[0, number] = embedder.embed(situation[0], role="query").mean(axis=0)
        means[1, number] = embedder.embed(situation[1]).mean(axis=0)
    with suppress(OSError):  # no room for the file: it is made again the next time
        _write(path, means)
    return Situations(means[0], means[1])


@cache
def _text() -> str:
    return files("llmos.memory.retrieval").joinpath("situations.toml").read_text(encoding="utf-8")


@cache
def _examples() -> list[tuple[list[str], list[str]]]:
    return [(list(one["requests"]), list(one["wishes"])) for one in tomllib.loads(_text())["situation"]]


def _write(path: Path, means: NDArray[np.float32]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
        np.save(file, means)
    os.replace(file.name, path)
