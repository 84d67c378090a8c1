"""Opens an embedding model in the form that starts fastest: the compiled one, which is made where it is missing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from llmos.config import cache_dir
from llmos.errors import RealModelForbidden, StorageError
from llmos.memory.embedding.compiled import MODEL, TOKENIZER, CompiledEmbedder, Manifest, read_manifest
from llmos.memory.embedding.models import ModelFolder, find_model
from llmos.memory.embedding.reference import ReferenceEmbedder, named
from llmos.memory.protocols import Embedder


def open_embedder(
    name: str = "",
    *,
    cache: Path | None = None,
    reference: bool = False,
    threads: int | None = None,
    notify: Callable[[str], None] | None = None,
) -> Embedder:
    """An embedding model. The first use compiles it, for about half a minute; later ones take milliseconds, and the
    weights are loaded with the first text.

    Args:
        name: Empty for the model that comes with llmos, all-MiniLM-L6-v2 (English); else a folder or an id of the hub.
        cache: Where compiled forms are kept; llmos's own cache by default.
        reference: Use sentence-transformers itself, for example on a GPU.
        threads: How many work on a long list of texts; None for all cores.
        notify: Told, in a sentence for people, that it is being compiled, or why it could not be.

    Raises:
        ModelNotFound: There is no such model, here or at the hub.
        ModelInvalid: Its weights are not those that were published, or it is no embedding model.
        RealModelForbidden: Only models of tests are allowed here.
    """
    model = find_model(name)
    if os.environ.get("LLMOS_FORBID_REAL_MODELS", "0") not in ("", "0"):
        raise RealModelForbidden(
            f"The embedding model {model.name!r} was about to be opened.", hint="Pass an `Embedder` of your own."
        )
    say = notify if notify is not None else _say_nothing
    if reference:
        return ReferenceEmbedder(model)
    try:
        folder, manifest = _compiled(model, cache or cache_dir() / "embedding", say)
    except StorageError as error:
        say(f"The embedding model can't be kept in its fast form, so it starts slowly: {error}")
        return ReferenceEmbedder(model)
    if manifest.problem:
        say(f"The embedding model {model.name!r} can't be compiled, so it starts slowly: {manifest.problem}")
        return ReferenceEmbedder(model, name=manifest.name)
    return CompiledEmbedder(folder, threads=threads)


def _compiled(model: ModelFolder, cache: Path, say: Callable[[str], None]) -> tuple[Path, Manifest]:
    """The folder of a model's compiled form, and its manifest, which may say that there is none."""
    slug = re.sub(r"[^\w.-]+", "-", model.name)
    stamp = model.stamp()
    for folder in cache.glob(f"{slug}-*"):
        manifest = read_manifest(folder)
        if manifest is not None and manifest.stamp == stamp and _is_usable(folder, manifest):
            return folder, manifest
    digest = model.digest()
    folder = cache / f"{slug}-{digest[:16]}"
    manifest = read_manifest(folder)
    from llmos.memory.embedding.compiling import compile_model, write_manifest

    if manifest is not None and manifest.name == named(model.name, digest) and _is_usable(folder, manifest):
        manifest = replace(manifest, stamp=stamp)  # the same files, installed again
        write_manifest(folder, manifest)
        return folder, manifest
    say(f"Preparing the embedding model {model.name!r}: once, for about half a minute.")
    return folder, compile_model(model, digest, folder)


def _say_nothing(sentence: str, /) -> None:
    pass


def _is_usable(folder: Path, manifest: Manifest) -> bool:
    """Whether a manifest still tells what there is: the files, or why there are none with these libraries."""
    if manifest.problem:
        from llmos.memory.embedding.compiling import versions

        return manifest.versions == versions()
    if f"onnxruntime {version('onnxruntime')}" not in manifest.versions:  # the graph was optimized by another one
        return False
    return (folder / MODEL).is_file() and (folder / TOKENIZER).is_file()
