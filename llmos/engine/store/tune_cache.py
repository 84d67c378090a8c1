"""Where tuned models are kept, and how one is found again at start-up: standard library only, a few milliseconds.

A tuned model is a GGUF file and a JSON note beside it. The note is valid for one source file (by content, wherever it
lies), one version of llama-cpp-python, one set of instruction sets and one kind of device. Measures nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from llmos.config import cache_dir
from llmos.engine.hardware import cpu_features, find_llama
from llmos.engine.store.spec import split_parts
from llmos.errors import StorageError

FORMAT_VERSION = 1
_WINDOW = 64 << 10
_WINDOWS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneRow:
    """One format of a model. Speeds are tokens per second as if nothing else ran, 0 where not measured.

    Attributes:
        format: Such as `Q8_0`; of the source as it is.
        bytes: Size of its file.
        prefill: Reading a prompt of 512 tokens.
        decode: Writing, one stream.
        decode16: Writing, 16 streams, all of them together.
        perplexity: On the text that ships; lower is better.
        speedup: Geometric mean of its three speeds over the source's, each measured just before and just after.
        chosen: This one is used from now on.
        why: Why it was chosen or not.
    """

    format: str
    bytes: int = 0
    prefill: float = 0.0
    decode: float = 0.0
    decode16: float = 0.0
    perplexity: float = 0.0
    speedup: float = 0.0
    chosen: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneReport:
    """What a race between formats came to.

    Attributes:
        source: The model as it came.
        path: The file to load from now on; the source where nothing was better.
        rows: The source first, then the candidates in the order they were tried.
        seconds: How long it took.
    """

    source: Path
    path: Path
    rows: tuple[TuneRow, ...]
    seconds: float = 0.0

    @property
    def chosen(self) -> TuneRow:
        """The row of the format to use."""
        return next(row for row in self.rows if row.chosen)

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Column titles and rows of text, for people; the chosen format is marked with an arrow."""
        titles = ("", "format", "size", "prefill", "decode", "16 streams", "speed", "perplexity", "")
        return titles, [_cells(row) for row in self.rows]


def _cells(row: TuneRow) -> tuple[str, ...]:
    def number(value: float, text: str) -> str:
        return text if value else "-"

    return (
        "→" if row.chosen else "",
        row.format,
        number(row.bytes, f"{row.bytes / 1e6:,.0f} MB"),
        number(row.prefill, f"{row.prefill:,.0f}"),
        number(row.decode, f"{row.decode:,.1f}"),
        number(row.decode16, f"{row.decode16:,.1f}"),
        number(row.speedup, f"{row.speedup:.2f}x"),
        number(row.perplexity, f"{row.perplexity:.2f}"),
        row.why,
    )


def folder() -> Path:
    """Where tuned models lie."""
    return cache_dir() / "tuned"


def content_key(path: Path) -> str:
    """16 hexadecimal digits of the content: sizes, and windows of 64 KiB spread over all parts, ends included.

    Raises:
        StorageError: The file is gone or can't be read.
    """
    digest = hashlib.sha256()
    try:
        for name in split_parts(path.name):
            with path.with_name(name).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                digest.update(size.to_bytes(8, "little"))
                for index in range(_WINDOWS):
                    file.seek(max(0, size - _WINDOW) * index // (_WINDOWS - 1))
                    digest.update(file.read(_WINDOW))
    except OSError as error:
        raise StorageError(
            f"{str(path)!r} can't be read: {error.strerror or error}.", hint="Check that it is there, and its rights."
        ) from error
    return digest.hexdigest()[:16]


def machine_key() -> dict[str, str]:
    """What a measurement depends on beside the model."""
    build = find_llama()
    backends = build.backends if build else frozenset[str]()
    return {
        "machine": platform.machine().lower(),
        "features": " ".join(sorted(cpu_features())),
        "device": next((name for name in ("cuda", "metal") if name in backends), "cpu"),
        "llama_cpp_python": build.version if build else "",
    }


def note_path(path: Path, key: str) -> Path:
    """The note of a source."""
    return folder() / f"{_stem(path)}.{key}.json"


def model_path(path: Path, key: str, format: str) -> Path:
    """The tuned file of a source."""
    return folder() / f"{_stem(path)}.{key}.{format}.gguf"


def _stem(path: Path) -> str:
    return split_parts(path.name)[0].removesuffix(".gguf")[:80]


def read_note(path: Path) -> Mapping[str, Any] | None:
    """The valid note of a source; None if there is none, or if it is damaged or of other conditions."""
    try:
        note = json.loads(note_path(path, content_key(path)).read_text(encoding="utf-8"))
    except (OSError, ValueError, StorageError):
        return None
    if not isinstance(note, dict):
        return None
    known = cast("dict[str, Any]", note)
    if known.get("version") != FORMAT_VERSION or known.get("machine") != machine_key():
        return None
    return known


def tuned_path(path: Path) -> Path | None:
    """The file that runs in place of a model; None if it was not tuned, or if it is itself the fastest."""
    note = read_note(path)
    return None if note is None else tuned_file(note)


def tuned_file(note: Mapping[str, Any]) -> Path | None:
    """The file that a note speaks of, if it is there and whole."""
    name, size = note.get("file"), note.get("bytes")
    if not isinstance(name, str) or not name or Path(name).name != name:
        return None
    file = folder() / name
    try:
        return file if file.stat().st_size == size else None
    except OSError:
        return None


def write_note(path: Path, key: str, fingerprint: str, rows: Sequence[TuneRow], chosen: Path | None) -> None:
    """Note a choice, in one step; `chosen` is None where the source won.

    Raises:
        StorageError: The folder can't be written.
    """
    note = {
        "version": FORMAT_VERSION,
        "source": {"name": path.name, "key": key, "fingerprint": fingerprint},
        "machine": machine_key(),
        "file": chosen.name if chosen else "",
        "bytes": chosen.stat().st_size if chosen else 0,
        "rows": [asdict(row) for row in rows],
    }
    try:
        handle, name = tempfile.mkstemp(dir=folder(), suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(note, file, indent=1)
        os.replace(name, note_path(path, key))
    except OSError as error:
        raise StorageError(
            f"The note of the tuned {path.name!r} can't be written to {str(folder())!r}: {error.strerror or error}.",
            hint="Check the folder's rights and the free disk space.",
        ) from error
