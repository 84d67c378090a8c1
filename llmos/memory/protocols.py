"""What memory asks of those that turn texts into vectors. Knows no implementation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Role = Literal["query", "text"]


class Embedder(Protocol):
    """Texts to unit vectors. Called from any thread; the same text gives the same vector whatever stands beside it."""

    @property
    def name(self) -> str:
        """The model with the hash of its weights: vectors of one name can be compared."""
        ...

    @property
    def dimension(self) -> int:
        """How many numbers a vector has."""
        ...

    def embed(self, texts: Sequence[str], /, *, role: Role = "text") -> NDArray[np.float32]:
        """The vectors of some texts: shape (texts, dimension), float32, each of length 1.

        Args:
            role: What the texts are: some models embed queries in another way.

        Raises:
            ModelNotFound: The model is not there.
            ModelInvalid: Its weights are not those that are expected, or it gives vectors of another dimension.
        """
        ...
