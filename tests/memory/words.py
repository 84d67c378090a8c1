"""An embedder without a model: texts with words in common have vectors that are alike."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from llmos.memory.protocols import Role


class WordEmbedder:
    """Hashes each word to a direction and adds them up.

    Args:
        dimension: Of the vectors.
        name: Of the model, the dimension's number appended.

    Attributes:
        embedded: The texts that were embedded, in order: for tests of what is embedded twice.
    """

    def __init__(self, dimension: int = 64, *, name: str = "words") -> None:
        self.dimension = dimension
        self.name = f"{name}-{dimension}"
        self.embedded: list[str] = []

    def embed(self, texts: Sequence[str], /, *, role: Role = "text") -> NDArray[np.float32]:
        import numpy as np

        if role == "text":
            self.embedded += texts
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in re.findall(r"\w+", text.lower()):
                seed = int.from_bytes(hashlib.blake2b(f"{self.name} {word}".encode(), digest_size=8).digest())
                row += np.random.default_rng(seed).standard_normal(self.dimension, np.float32)
            if not row.any():
                row[0] = 1
            row /= np.linalg.norm(row)
        return vectors
