"""Which adapter (microcode) a model runs with, and the model with it merged in.

One adapter ships for the embedded model; others are installed in the data folder. What was chosen for a model, and what
before, is in one small note. The merged model is a file in the cache, made in seconds at first use. Knows no training.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from llmos.config import data_dir, write_atomically
from llmos.engine import adapters
from llmos.engine.fit import usable_ram
from llmos.engine.gguf import GgufHeader, read_header
from llmos.engine.guard import real_models_forbidden
from llmos.engine.hardware import detect, gigabytes
from llmos.engine.store import builtin
from llmos.engine.store.tune import check_disk, scratch
from llmos.engine.store.tune_cache import content_key, model_path, note_path, tuned_file
from llmos.errors import ConfigError, LlmosError, ModelInvalid, ModelNotFound, OutOfMemory, StorageError

SHIPPED = Path(__file__).with_name("microcode") / "kernel.gguf"
"""The adapter that comes with llmos, for the embedded model; it need not be there."""

ON, OFF = "on", "off"
"""What the setting `microcode` may be beside a name: what was chosen for the model, or none."""

_VERSION = 1
_MOST_HISTORY = 20
_PATIENCE_SECONDS = 10.0
_COPIES = 5
"""How often the largest weight is in memory, as f32, while a model is merged."""
_LIST = "See `llmos learn list`."
_PLAIN = "The model runs without microcode."


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An adapter that is here.

    Attributes:
        name: To choose it by.
        path: Its file.
        made: When, ISO 8601.
        tokens: How many it has read in training.
        recipe: What it was trained on.
        model: Name of the model that it was made for.
        fits: It was made for the model that was asked about; None where none was.
        in_use: That model runs with it.
        shipped: It came with llmos.
        figures: What was measured of it, by row.
        problem: Why it can't be used, "" where nothing is known against it.
    """

    name: str
    path: Path
    made: str = ""
    tokens: int = 0
    recipe: str = ""
    model: str = ""
    fits: bool | None = None
    in_use: bool = False
    shipped: bool = False
    figures: Mapping[str, float] = field(default_factory=dict[str, float])
    problem: str = ""


@dataclass(slots=True)
class _Choice:
    """What was chosen for a model: None is what ships, "" none; `history` has what was before, the last at the end."""

    use: str | None = None
    history: list[str | None] = field(default_factory=list[str | None])


def folder() -> Path:
    """Where installed adapters lie."""
    return data_dir() / "microcode"


def installed(model: Path | None = None) -> list[Listed]:
    """All adapters that are here, the shipped one first.

    Args:
        model: For which model they are asked about: its file as it came.

    Raises:
        ModelNotFound, ModelInvalid: The model can't be read.
        StorageError: The note of what was chosen can't be read.
    """
    fingerprint = read_header(model).fingerprint if model is not None else ""
    used = _chosen(fingerprint) if fingerprint else None
    return [_listed(path, fingerprint, used) for path in _paths()]


def _listed(path: Path, fingerprint: str, used: Path | None) -> Listed:
    shipped = path == SHIPPED
    try:
        notes = adapters.notes(path)
    except LlmosError as error:
        return Listed(name=path.stem, path=path, shipped=shipped, problem=error.message)
    return Listed(
        name=path.stem,
        path=path,
        made=notes.made,
        tokens=notes.tokens,
        recipe=notes.recipe,
        model=notes.model,
        fits=notes.fingerprint == fingerprint if fingerprint else None,
        in_use=path == used,
        shipped=shipped,
        figures=notes.figures,
    )


def install(adapter: Path, model: Path, *, name: str = "") -> str:
    """Copy an adapter to where installed ones lie; it is not used before it is chosen.

    Args:
        name: What it shall be called; by default what its notes say.

    Returns:
        Its name: with a number behind it where another has that name.

    Raises:
        ModelNotFound, ModelInvalid: It was made for another model, is damaged, or is no adapter of llmos.
        StorageError: It can't be copied.
    """
    notes = adapters.check_fits(adapter, model)
    adapters.read(adapter)
    content = adapter.read_bytes()
    wanted = re.sub(r"[^\w.-]+", "-", name or notes.name, flags=re.ASCII).strip("-.")[:64] or "adapter"
    wanted = f"{wanted}-own" if wanted in (ON, OFF) else wanted
    try:
        folder().mkdir(parents=True, exist_ok=True)
        for number in range(1, 1000):
            called = wanted if number == 1 else f"{wanted}-{number}"
            other = SHIPPED if called == SHIPPED.stem and SHIPPED.is_file() else folder() / f"{called}.gguf"
            if not other.exists():
                _copy(content, other)
                return called
            if other.read_bytes() == content:
                return called
    except OSError as error:
        message = f"The adapter {str(adapter)!r} can't be copied to {str(folder())!r}: {error.strerror or error}."
        raise StorageError(message, hint="Check the folder's rights and the free disk space.") from error
    raise StorageError(f"There are too many adapters called {wanted!r}.", hint=f"Delete some in {str(folder())!r}.")


def _copy(content: bytes, target: Path) -> None:
    new = target.with_name(f".{target.name}.new")
    try:
        new.write_bytes(content)
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)


def use(name: str | None, model: Path) -> None:
    """Choose the adapter that a model runs with from now on.

    Args:
        name: As `installed` lists it; None is none.

    Raises:
        ModelNotFound: There is no such adapter.
        ModelInvalid: It was made for another model, or is damaged.
        StorageError: The choice can't be kept.
    """
    if name is not None:
        path = path_of(name)
        adapters.check_fits(path, model)
        adapters.read(path)
    fingerprint = read_header(model).fingerprint
    with _locked():
        choices = _read()
        before = choices.get(fingerprint, _Choice())
        own = None if name == SHIPPED.stem and SHIPPED.is_file() else name or ""
        if own != before.use:
            choices[fingerprint] = _Choice(own, [*before.history, before.use][-_MOST_HISTORY:])
            _write(choices)


def rollback(model: Path) -> str:
    """Choose what was chosen before.

    Returns:
        The name of the adapter; "" for none.

    Raises:
        ConfigError: Nothing was chosen before.
        ModelNotFound, ModelInvalid: The model can't be read.
        StorageError: The choice can't be kept.
    """
    fingerprint = read_header(model).fingerprint
    with _locked():
        choices = _read()
        now = choices.get(fingerprint)
        if now is None or not now.history:
            raise ConfigError("There is nothing to go back to: no other microcode was chosen before.", hint=_LIST)
        choices[fingerprint] = _Choice(now.history[-1], now.history[:-1])
        _write(choices)
    used = _chosen(fingerprint)
    return used.stem if used else ""


def chosen(model: Path) -> Path | None:
    """The adapter that a model runs with; None for none.

    Args:
        model: Its file as it came.

    Raises:
        ModelNotFound, ModelInvalid: The model can't be read.
        StorageError: The note of what was chosen can't be read.
    """
    return _chosen(read_header(model).fingerprint)


def _chosen(fingerprint: str) -> Path | None:
    choice = _read().get(fingerprint, _Choice())
    if choice.use is None:
        return SHIPPED if _is_for(SHIPPED, fingerprint) else None
    return path_of(choice.use) if choice.use else None


def _is_for(path: Path, fingerprint: str) -> bool:
    try:
        return adapters.notes(path).fingerprint == fingerprint
    except LlmosError:
        return False


def _paths() -> list[Path]:
    shipped = [SHIPPED] if SHIPPED.is_file() else []
    return [*shipped, *sorted(path for path in folder().glob("*.gguf") if not path.name.startswith("."))]


def path_of(name: str) -> Path:
    """The file of an adapter.

    Raises:
        ModelNotFound: There is none of this name.
    """
    for path in _paths():
        if path.stem == name:
            return path
    raise ModelNotFound(f"There is no adapter {name!r} in {str(folder())!r}.", hint=_LIST)


def state(model: Path, *, setting: str = ON) -> str:
    """With which microcode a model runs, in words; "" for none.

    Args:
        model: Its file as it came.
    """
    why: list[str] = []
    try:
        adapter = _wanted(model, setting, why.append)
        notes = adapters.notes(adapter) if adapter is not None else None
    except LlmosError as error:
        return f"off: {error.message}"
    if adapter is None or notes is None:
        return f"off: {why[0]}" if why else "off" if setting == OFF else ""
    later = "" if merged_path(model, setting=setting) else "; merged into the model when it is opened next"
    tokens = f", trained on {notes.tokens / 1e6:.1f} million tokens" if notes.tokens else ""
    return f"{adapter.stem}{tokens}{later}"


# -- the merged model


def merged(
    model: Path,
    *,
    setting: str = ON,
    stop: threading.Event | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Path | None:
    """A model with the chosen adapter in it, in Q8_0, made in seconds where it is not there; None where the model runs
    as it is.

    Args:
        model: Its file as it came.
        setting: `on` is what was chosen for the model, `off` none; else the name of an adapter.
        stop: Set by another thread to have it given up.
        tell: Told why microcode that was wanted is not used.
    """
    if (ready := merged_path(model, setting=setting)) is not None:
        return ready
    try:
        adapter = _wanted(model, setting, tell)
        return _merge(model, adapter, stop) if adapter is not None else None
    except LlmosError as error:
        tell(f"{error.message} {_PLAIN}")
        return None


def merged_path(model: Path, *, setting: str = ON) -> Path | None:
    """The merged file that `merged` would give, if it is there: a few milliseconds."""
    note = _note(model)
    if note is None or setting == OFF:
        return None
    try:
        adapter = path_of(setting) if setting != ON else _chosen(str(note.get("model")))
        fits = adapter is not None and note.get("adapter") == content_key(adapter)
    except LlmosError:
        return None
    return tuned_file(note) if fits else None


def is_due(model: Path, *, setting: str = ON) -> bool:
    """Whether `merged` would now make a file, which takes seconds."""
    if real_models_forbidden() or merged_path(model, setting=setting) is not None:
        return False
    return is_wanted(model, setting=setting)


def is_wanted(model: Path, *, setting: str = ON) -> bool:
    """Whether a model shall run with microcode that fits it."""
    try:
        return _wanted(model, setting, lambda _: None) is not None
    except LlmosError:
        return False


def _wanted(model: Path, setting: str, tell: Callable[[str], None]) -> Path | None:
    """The adapter to merge in.

    Raises:
        LlmosError: There is none of this name, or it does not fit.
    """
    if setting == OFF or (not _paths() and setting == ON and not _file().exists()):
        return None
    header = read_header(model)
    adapter = path_of(setting) if setting != ON else _chosen(header.fingerprint)
    if adapter is None:
        if SHIPPED.is_file() and _is_builtin(model) and header.fingerprint not in _read():
            tell(f"The microcode that ships was made for another file than {model.name!r}. {_PLAIN}")
        return None
    adapters.check_fits(adapter, model)
    if header.architecture != "llama" or len(header.parts) > 1:
        raise ModelInvalid(f"{header.name!r} is no Llama in one file, so microcode can't be merged into it.")
    return adapter


def _is_builtin(model: Path) -> bool:
    try:
        return builtin.find().path == model
    except ModelNotFound:
        return False


def _merge(model: Path, adapter: Path, stop: threading.Event | None) -> Path:
    header = read_header(model)
    check_room(header)
    key, digest = content_key(model), content_key(adapter)
    kept = model_path(model, key, f"microcode-{digest}")
    with scratch() as place:
        new = place / "merged.gguf"
        adapters.merge(model, adapter, new, stop=stop)
        size = new.stat().st_size
        try:
            new.replace(kept)
        except OSError as error:
            message = f"{str(kept)!r} can't be written: {error.strerror or error}."
            raise StorageError(message, hint="Check the folder's rights.") from error
    note = {"version": _VERSION, "model": header.fingerprint, "adapter": digest, "file": kept.name, "bytes": size}
    write_atomically(_note_path(model, key), json.dumps({**note, "name": adapter.stem}, indent=1))
    for other in kept.parent.glob(f"{kept.name.partition('.microcode-')[0]}.microcode-*.gguf"):
        if other != kept:
            with suppress(OSError):
                other.unlink()
    return kept


def check_room(header: GgufHeader) -> None:
    """See that a model can be merged here.

    Raises:
        StorageError: There is too little disk space; the message has the numbers.
        OutOfMemory: There is too little memory.
    """
    check_disk(int(header.parameters * 8.5 / 8) + max(0, header.file_bytes - header.tensor_bytes), header.path)
    largest = header.vocabulary * header.embedding_length
    needed, usable = 4 * _COPIES * largest, usable_ram(detect())
    if needed > usable:
        raise OutOfMemory(
            f"Merging microcode into {header.name!r} needs {gigabytes(needed)} of memory; "
            f"{gigabytes(usable)} can be used.",
            hint="End other programs and open the model again.",
        )


def remove(model: Path) -> int:
    """Delete the merged file of a model; the bytes that became free.

    Raises:
        StorageError: It can't be deleted.
    """
    note = _note(model)
    file = tuned_file(note) if note is not None else None
    if file is None:
        return 0
    try:
        size = file.stat().st_size
        file.unlink()
        _note_path(model, content_key(model)).unlink(missing_ok=True)
    except OSError as error:
        message = f"{str(file)!r} can't be deleted: {error.strerror or error}."
        raise StorageError(message, hint="Check the folder's rights.") from error
    return size


def _note_path(model: Path, key: str) -> Path:
    return note_path(model, key).with_suffix(".microcode.json")


def _note(model: Path) -> Mapping[str, Any] | None:
    """The note of a merged file; None if there is none, or if it is damaged."""
    try:
        note: object = json.loads(_note_path(model, content_key(model)).read_text(encoding="utf-8"))
    except (OSError, ValueError, StorageError):
        return None
    known = cast("dict[str, Any]", note) if isinstance(note, dict) else {}
    return known if known.get("version") == _VERSION else None


# -- the note of what was chosen


def _file() -> Path:
    return folder() / "chosen.json"


def _read() -> dict[str, _Choice]:
    try:
        stored: Any = json.loads(_file().read_bytes())
        if stored["version"] != _VERSION:
            raise ValueError(f"it is of version {stored['version']!r}")
        return {str(model): _checked(choice) for model, choice in stored["models"].items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        hint = "Move it aside: the microcode that ships is used then; choose another with `llmos learn use`."
        raise StorageError(f"{str(_file())!r} is damaged: {error}.", hint=hint) from error
    except OSError as error:
        message = f"{str(_file())!r} can't be read: {error.strerror or error}."
        raise StorageError(message, hint="Check its rights.") from error


def _checked(choice: Any) -> _Choice:  # noqa: ANN401  # JSON
    names: list[object] = [choice["use"], *choice["history"]]
    if not all(one is None or isinstance(one, str) for one in names):
        raise ValueError("a name is not a text")
    return _Choice(choice["use"], list(choice["history"]))


def _write(choices: Mapping[str, _Choice]) -> None:
    models = {model: asdict(choice) for model, choice in choices.items()}
    write_atomically(_file(), json.dumps({"version": _VERSION, "models": models}, indent=1))


@contextmanager
def _locked() -> Generator[None]:
    """No other process changes the note meanwhile.

    Raises:
        StorageError: One holds it too long, or the folder can't be written.
    """
    from filelock import FileLock

    try:
        folder().mkdir(parents=True, exist_ok=True)
        with FileLock(folder() / "chosen.lock", timeout=_PATIENCE_SECONDS):
            yield
    except OSError as error:
        message = f"The choice of microcode in {str(folder())!r} can't be changed: {error.strerror or error}."
        raise StorageError(message, hint="Check the folder's rights, and end other `llmos learn`.") from error
