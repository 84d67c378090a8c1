"""Models that Ollama has pulled, read in place: manifests give the digest, blobs are the GGUF files.

Writes nothing there, and knows nothing of a running Ollama.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from llmos.engine.store.spec import OLLAMA, ModelFile
from llmos.errors import ModelInvalid, ModelNotFound, StorageError

_MODEL_LAYER = "application/vnd.ollama.image.model"
_DIGEST = re.compile(r"sha256[:-](?P<hex>[0-9a-f]{64})")
_PART = re.compile(r"[\w][\w.-]*", re.ASCII)
_MAX_MANIFEST = 1 << 20
_REGISTRY, _NAMESPACE = "registry.ollama.ai", "library"


def folders() -> tuple[Path, ...]:
    """Where Ollama keeps models, those that exist: `OLLAMA_MODELS`, or the user's and the Linux service's folder."""
    chosen = os.environ.get("OLLAMA_MODELS")
    places = [Path(chosen)] if chosen else [Path.home() / ".ollama/models", Path("/usr/share/ollama/.ollama/models")]
    return tuple(place for place in places if os.access(place / "manifests", os.R_OK | os.X_OK))


def find(spec: str) -> ModelFile:
    """The model of a spec `ollama:[[host/]namespace/]name[:tag]`; the tag defaults to `latest`.

    Raises:
        ModelNotFound: Ollama has no such model here.
        ModelInvalid: Its manifest is damaged or has no model, or the blob is incomplete.
        StorageError: It can't be read.
    """
    name, _, tag = spec.removeprefix(OLLAMA).partition(":")
    parts = [*name.split("/"), tag or "latest"]
    if not all(_PART.fullmatch(part) for part in parts) or len(parts) > 4:
        raise ModelNotFound(f"{spec!r} can't name a model of Ollama.", hint="Write ollama:NAME or ollama:NAME:TAG.")
    place = Path(*[_REGISTRY, _NAMESPACE][: 4 - len(parts)], *parts)
    for folder in folders():
        manifest = folder / "manifests" / place
        if manifest.is_file():
            return _model(folder, manifest)
    raise ModelNotFound(
        f"Ollama has no model {spec.removeprefix(OLLAMA)!r} here.",
        hint=f"Get it with `ollama pull {spec.removeprefix(OLLAMA)}`, or see `llmos model list`.",
    )


def find_all() -> Iterator[ModelFile]:
    """All models of Ollama that can be read; damaged and remote ones are left out."""
    for folder in folders():
        for manifest in sorted((folder / "manifests").glob("*/*/*/*")):
            try:
                yield _model(folder, manifest)
            except (ModelInvalid, StorageError):
                continue


def _model(folder: Path, manifest: Path) -> ModelFile:
    *host, namespace, name, tag = manifest.relative_to(folder / "manifests").parts
    called = "/".join(part for part in (*host, namespace) if part not in (_REGISTRY, _NAMESPACE))
    called = f"{called}/{name}:{tag}" if called else f"{name}:{tag}"
    blob = _blob(folder, manifest, called)
    return ModelFile(blob, called, "ollama", f"{OLLAMA}{called}")


def _blob(folder: Path, manifest: Path, called: str) -> Path:
    layer = _model_layer(_read(manifest), manifest)
    digest = _DIGEST.fullmatch(str(layer.get("digest")))
    if not digest:
        raise ModelInvalid(
            f"Ollama's {called!r} has no model that runs here.", hint="Choose another: `llmos model list`."
        )
    blob = folder / "blobs" / f"sha256-{digest['hex']}"
    hint = f"Get it again with `ollama pull {called}`."
    try:
        size = blob.stat().st_size
    except OSError as error:
        raise ModelInvalid(f"The weights of Ollama's {called!r} are missing: {str(blob)!r}.", hint=hint) from error
    if size != layer.get("size", size):
        raise ModelInvalid(f"{str(blob)!r} has {size:,} of {layer.get('size'):,} bytes.", hint=hint)
    return blob


def _read(manifest: Path) -> object:
    try:
        with manifest.open("rb") as file:
            return json.loads(file.read(_MAX_MANIFEST))
    except ValueError as error:
        raise ModelInvalid(
            f"Ollama's manifest {str(manifest)!r} is damaged: {error}.", hint="Pull it again."
        ) from error
    except OSError as error:
        message = f"Ollama's manifest {str(manifest)!r} can't be read: {error.strerror or error}."
        raise StorageError(message, hint="Check its rights.") from error


def _model_layer(manifest: object, path: Path) -> dict[str, Any]:
    """The layer with the weights; empty for a model that runs elsewhere."""
    layers = cast("dict[str, Any]", manifest).get("layers") if isinstance(manifest, dict) else None
    if not isinstance(layers, list):
        raise ModelInvalid(f"Ollama's manifest {str(path)!r} is damaged: it has no layers.", hint="Pull it again.")
    found = [cast("dict[str, Any]", layer) for layer in cast("list[object]", layers) if isinstance(layer, dict)]
    models = [layer for layer in found if layer.get("mediaType") == _MODEL_LAYER]
    return models[0] if models else {}
