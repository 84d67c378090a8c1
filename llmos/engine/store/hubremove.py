"""Takes models out of Hugging Face's cache: the files of one model, and nothing that another program put beside them.

Imports `huggingface_hub`, so import this module only to remove.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from huggingface_hub import scan_cache_dir
from huggingface_hub.errors import CacheNotFound

from llmos.engine.store import hub
from llmos.engine.store.spec import HubSpec, split_parts
from llmos.errors import ModelNotFound, StorageError


def remove(spec: HubSpec, cache: Path | None = None) -> int:
    """Delete one model's files from the cache, in all commits, and the repository when nothing else is left of it.

    Args:
        spec: With the name of a file.
        cache: The cache's folder; default as in `llmos.engine.store.hub.cache_folder`.

    Returns:
        Bytes that became free.

    Raises:
        ModelNotFound: The cache has no such file.
        StorageError: It can't be deleted.
    """
    folder = hub.repo_folder(spec.repo, cache or hub.cache_folder())
    names = split_parts(spec.file)
    places = (snapshot / name for snapshot in folder.glob("snapshots/*") for name in names)
    pointers = [place for place in places if place.exists()]
    if not pointers:
        raise ModelNotFound(f"{str(spec)!r} is not in the cache.", hint="See `llmos model list`.")
    try:
        freed = _remove_files(folder, pointers)
        _remove_empty(folder, spec.repo)
    except OSError as error:
        message = f"{str(spec)!r} can't be deleted: {error.strerror or error}."
        raise StorageError(message, hint="Check the folder's rights.") from error
    return freed


def remove_parts(repo: str, cache: Path | None = None) -> int:
    """Delete what unfinished pulls of a repository left; the bytes that became free.

    Raises:
        StorageError: It can't be deleted.
    """
    folder = hub.repo_folder(repo, cache or hub.cache_folder())
    try:
        return sum(_unlink(part) for part in folder.glob("blobs/*.incomplete"))
    except OSError as error:
        message = f"The unfinished pull of {repo!r} can't be deleted: {error.strerror or error}."
        raise StorageError(message, hint="Check the folder's rights.") from error


def _unlink(path: Path) -> int:
    size = 0 if path.is_symlink() else path.stat().st_size
    path.unlink()
    return size


def _remove_files(folder: Path, pointers: Sequence[Path]) -> int:
    """Delete links, and the blobs that no other link needs."""
    blobs = {blob for blob in map(_blob, pointers) if blob.parent == folder / "blobs" and os.path.lexists(blob)}
    freed = sum(_unlink(pointer) for pointer in pointers)
    needed = {_blob(path) for path in folder.glob("snapshots/**/*") if not path.is_dir()}
    return freed + sum(_unlink(blob) for blob in blobs - needed)


def _blob(pointer: Path) -> Path:
    """What a link in a snapshot points to, one step: a blob may be a link itself, to a store that others share."""
    return Path(os.path.normpath(pointer.parent / os.readlink(pointer))) if pointer.is_symlink() else pointer


def _remove_empty(folder: Path, repo: str) -> None:
    """Take a repository of which no file is left out of the cache, by the hub's own means."""
    if any(not path.is_dir() for path in folder.glob("snapshots/**/*")):
        return
    with suppress(CacheNotFound):
        cache = scan_cache_dir(folder.parent)
        commits = [
            revision.commit_hash for entry in cache.repos if entry.repo_id == repo for revision in entry.revisions
        ]
        if commits:
            cache.delete_revisions(*commits).execute()
