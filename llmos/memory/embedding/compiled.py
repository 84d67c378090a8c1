"""Embeddings by the compiled form of a model: ONNX Runtime and `tokenizers`, without torch.

Opening one reads a few kilobytes; the weights are loaded with the first text. How the form is made is in
`llmos.memory.embedding.compiling`. Knows no sentence-transformers.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from llmos.errors import ModelInvalid
from llmos.memory.embedding.reference import clean
from llmos.memory.protocols import Role

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
"""Of the compiled form; one of another number is made anew."""
BATCH_TOKENS = 2048
"""Of one forward pass: more only needs more memory."""
MODEL, TOKENIZER, MANIFEST = "model.onnx", "tokenizer.json", "manifest.json"
_BATCH_TEXTS = 64
_SLICE = 2048  # texts that are tokenized and sorted by length at once
_WIDE = 16  # from so many texts on, other threads are worth starting
_POLITE = 10  # the nice value from which a thread is taken to work in the background


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What is known of a compiled model without loading it.

    Attributes:
        format: The number of the form, `FORMAT`.
        name: The model with the hash of its files.
        stamp: Of the files it was made from, as they were seen last.
        dimension: How many numbers a vector has.
        tokens: What a text has more is cut off, as the model's own settings say.
        prompts: What is put before a text, by its role.
        inputs: Names of the graph's inputs.
        sha256: Of `model.onnx`.
        cosine: The least between it and sentence-transformers on the texts that were compared.
        problem: Why there is no compiled form; empty if there is one.
        versions: Of the libraries that made it, or could not.
    """

    format: int
    name: str
    stamp: str
    versions: str
    dimension: int = 0
    tokens: int = 0
    prompts: Mapping[str, str] = field(default_factory=dict[str, str])
    inputs: Sequence[str] = ()
    sha256: str = ""
    cosine: float = 0.0
    problem: str = ""


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder; None if there is none, it is damaged, or of another form."""
    try:
        manifest = Manifest(**json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return manifest if manifest.format == FORMAT else None


class CompiledEmbedder:
    """A compiled model. Called from any thread, each computes for itself; long lists are spread over the cores.

    A thread of lowered priority keeps to itself: it works beside an engine that needs the cores more.

    Args:
        folder: Where its three files are.
        threads: How many may work on one long list; None for the cores of this machine, or `OMP_NUM_THREADS`.

    Attributes:
        manifest: What is known of it.

    Raises:
        ModelInvalid: The folder holds no compiled model.
    """

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        manifest = read_manifest(folder)
        if manifest is None or manifest.problem:
            raise ModelInvalid(f"{str(folder)!r} holds no compiled embedding model.", hint="Remove the folder.")
        self.manifest = manifest
        self.folder = folder
        self._threads = threads or _cores()
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None

    @property
    def name(self) -> str:
        """The model with the hash of its files."""
        return self.manifest.name

    @property
    def dimension(self) -> int:
        """How many numbers a vector has."""
        return self.manifest.dimension

    def embed(self, texts: Sequence[str], /, *, role: Role = "text") -> NDArray[np.float32]:
        """The vectors of some texts: shape (texts, dimension), float32, each of length 1.

        Texts are batched by length. What stands beside a text changes its vector by rounding only, about 1e-7.

        Raises:
            ModelInvalid: The file is damaged, or gives vectors of another dimension.
        """
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        session, tokenizer = self._ready()
        prompt = self.manifest.prompts.get(role, "")
        for start in range(0, len(texts), _SLICE):
            part = [tokenizer.encode(prompt + clean(text)) for text in texts[start : start + _SLICE]]
            parts = batches([len(one.ids) for one in part])
            width = min(self._width(len(part)), len(parts))

            def run(batch: list[int], start: int = start, part: list[Any] = part) -> None:
                rows = [start + number for number in batch]
                vectors[rows] = self._run(session, [part[number] for number in batch])

            if width <= 1:
                for batch in parts:
                    run(batch)
            else:
                # made for this call: its threads then have the priority of the caller's
                with ThreadPoolExecutor(width, "llmos-embedding") as pool:
                    list(pool.map(run, parts))
        return vectors

    def _width(self, texts: int) -> int:
        return 1 if texts < _WIDE or _in_background() else self._threads

    def _run(self, session: Any, encoded: list[Any]) -> NDArray[np.float32]:  # noqa: ANN401 - untyped libraries
        length = max(1, *(len(one.ids) for one in encoded))
        columns: dict[str, NDArray[np.int64]] = {}
        for name in self.manifest.inputs:
            columns[name] = np.zeros((len(encoded), length), np.int64)
        for row, one in enumerate(encoded):
            size = len(one.ids)
            columns["input_ids"][row, :size] = one.ids
            columns["attention_mask"][row, :size] = one.attention_mask
            if "token_type_ids" in columns:
                columns["token_type_ids"][row, :size] = one.type_ids
        vectors = session.run(None, columns)[0]
        if vectors.shape != (len(encoded), self.dimension):
            raise ModelInvalid(
                f"The embedding model {self.name!r} gives vectors of shape {vectors.shape[1:]}, and {self.dimension} "
                "numbers were expected.",
                hint=f"Remove {str(self.folder)!r}: it is made anew.",
            )
        return cast("NDArray[np.float32]", vectors)

    def _ready(self) -> tuple[Any, Any]:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _load(self) -> tuple[Any, Any]:
        import onnxruntime  # pyright: ignore[reportMissingTypeStubs]
        from tokenizers import Tokenizer

        path = self.folder / MODEL
        try:
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != self.manifest.sha256:
                raise ValueError(f"its SHA-256 is {digest}, and {self.manifest.sha256} was expected")
            options: Any = cast("Any", onnxruntime).SessionOptions()
            options.intra_op_num_threads = 1  # the calling thread: several texts at once keep the cores busier
            options.inter_op_num_threads = 1
            options.log_severity_level = 3
            # the graph was optimized when it was made
            options.graph_optimization_level = cast("Any", onnxruntime).GraphOptimizationLevel.ORT_DISABLE_ALL
            session = cast("Any", onnxruntime).InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            tokenizer: Any = cast("Any", Tokenizer).from_file(str(self.folder / TOKENIZER))
        except Exception as error:  # both libraries raise bare exceptions of their own for damaged files
            with suppress(OSError):
                (self.folder / MANIFEST).unlink()
            raise ModelInvalid(
                f"The compiled embedding model in {str(self.folder)!r} can't be loaded: {error}",
                hint="Open it again: it is made anew.",
            ) from error
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.manifest.tokens)
        return session, tokenizer


def batches(lengths: Sequence[int]) -> list[list[int]]:
    """Numbers of texts in batches, of about equal length each, the longest first: memory is at its peak at once."""
    made: list[list[int]] = []
    longest = 0
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        if not made or len(made[-1]) >= _BATCH_TEXTS or longest * (len(made[-1]) + 1) > BATCH_TOKENS:
            made.append([])
            longest = max(1, lengths[number])
        made[-1].append(number)
    return made


def _cores() -> int:
    named = os.environ.get("OMP_NUM_THREADS", "")
    if named.isdigit() and int(named) > 0:
        return int(named)
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _in_background() -> bool:
    if sys.platform != "linux":
        return False
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) >= _POLITE
