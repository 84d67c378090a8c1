"""Models in Hugging Face's cache, found without the network and without importing `huggingface_hub`.

The layout is shared with every other program that uses the hub, so a model is never kept twice:

    models--OWNER--REPO/blobs/HASH                 the files, named by their hash
    models--OWNER--REPO/refs/main                  the newest commit that was looked at
    models--OWNER--REPO/snapshots/COMMIT/FILE      links to the blobs

`llmos.engine.store.download` fills it; here it is only read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from llmos.engine.store.spec import HubSpec, ModelFile, choose_file, is_model, model_name, split_parts


def cache_folder() -> Path:
    """Where the hub's files are kept: `HF_HUB_CACHE`, or `hub` in `HF_HOME`, read at each call."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if place := os.environ.get(name):
            return _expanded(place)
    if home := os.environ.get("HF_HOME"):
        return _expanded(home) / "hub"
    return _expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface" / "hub"


def _expanded(place: str) -> Path:
    return Path(os.path.expandvars(place)).expanduser()


def repo_folder(repo: str, cache: Path) -> Path:
    """Where the files of a repository are kept."""
    return cache / f"models--{repo.replace('/', '--')}"


def find(spec: HubSpec, cache: Path | None = None) -> ModelFile | None:
    """The model that a spec names, if all of its parts are here; the newest commit first."""
    for snapshot in _snapshots(repo_folder(spec.repo, cache or cache_folder())):
        file = choose_file(_complete(snapshot), spec)
        if file:
            return _model(spec, snapshot, file)
    return None


def find_all(cache: Path | None = None) -> Iterator[ModelFile]:
    """All models in the cache; of several commits of one file the newest."""
    for folder in sorted((cache or cache_folder()).glob("models--*--*")):
        owner, _, repo = folder.name.removeprefix("models--").partition("--")
        spec = HubSpec(f"{owner}/{repo}")
        seen = set[str]()
        for snapshot in _snapshots(folder):
            for file in sorted(filter(is_model, _complete(snapshot))):
                if file not in seen:
                    seen.add(file)
                    yield _model(spec, snapshot, file)


def _model(spec: HubSpec, snapshot: Path, file: str) -> ModelFile:
    return ModelFile(snapshot / file, model_name(file), "hub", str(spec.named(file)))


def _snapshots(folder: Path) -> list[Path]:
    """The commits of a repository that are here, that of `main` first, then by age."""
    try:
        main = (folder / "refs" / "main").read_text().strip()
    except (OSError, UnicodeDecodeError):
        main = ""
    snapshots = [path for path in folder.glob("snapshots/*") if path.is_dir()]
    return sorted(snapshots, key=lambda path: (path.name == main, path.stat().st_mtime), reverse=True)


def _complete(snapshot: Path) -> list[str]:
    """The GGUF files of one commit, those of a split model only if all are there."""
    files = {path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*.gguf") if path.is_file()}
    return [file for file in files if files.issuperset(split_parts(file))]
