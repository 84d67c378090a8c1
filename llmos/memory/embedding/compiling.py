"""Makes the torch-free form of an embedding model, once, and compares it with sentence-transformers.

The whole of the model (transformer, pooling, dense layers, normalization) becomes one ONNX graph with the weights in
it. Runs in a child process of its own (`python -m llmos.memory.embedding.compiling`), so that torch's memory and
threads don't stay with the program that asked.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import numpy as np

from llmos.errors import ModelInvalid, StorageError
from llmos.memory.embedding.compiled import (
    FORMAT,
    MANIFEST,
    MODEL,
    TOKENIZER,
    CompiledEmbedder,
    Manifest,
    read_manifest,
)
from llmos.memory.embedding.models import ModelFolder, find_model
from llmos.memory.embedding.reference import ReferenceEmbedder, named
from llmos.memory.protocols import Embedder, Role

LEAST_COSINE = 0.9999
"""Between the two forms, on every text that is compared."""
_SECONDS = 900.0  # a model of 2 GB takes some minutes on a slow disk
_LIBRARIES = ("torch", "sentence-transformers", "onnx", "onnxscript", "onnxruntime", "tokenizers")
_OPSET = 18
PROBES = (
    "",
    " ",
    "a",
    "The lease ends on 31 March and needs three months' notice.",
    "Wo steht, wann der Vertrag endet? Größe, Straße, Ärger.",
    "合同什么时候结束\uff1f需要提前三个月通知。",
    "Когда заканчивается договор аренды?",
    "متى ينتهي العقد؟",
    "👩‍👩‍👧‍👦 naïve café №½ ﬁ \uff26\uff35\uff2c\uff2c e\u0301 \u200b\u202e\x00\x7f \ud800",
    "def area(width: float, height: float) -> float:\n\treturn width * height  # m²",
    "x" * 300,
    "0 1 2 3 4 5 6 7 8 9 " * 20,
    "\n\n- one\n- two\n\n\n\t\tthree",
    "A long text that is cut off at the end, since it has more words than the model reads. " * 60,
)
"""Texts on which the two forms are compared: empty, short, long, of many scripts, and odd."""


def versions() -> str:
    """The libraries that take part, for the manifest: what could not be compiled is tried again with others."""
    found: list[str] = []
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)


def compile_model(model: ModelFolder, digest: str, target: Path) -> Manifest:
    """Make the compiled form of a model in a folder. Several processes may do it at once: one of them wins.

    Args:
        digest: Of the model's files.
        target: The folder; it is there with all its files or not at all.

    Returns:
        Its manifest; with a `problem` if the model can't be compiled, which is written, too.

    Raises:
        StorageError: The folder can't be written.
    """
    name = named(model.name, digest)
    with _scratch(target) as scratch:
        problem = _in_child(model, name, scratch)
        made = None if problem else read_manifest(scratch)
        if made is None:
            for file in scratch.iterdir():
                file.unlink()
            made = Manifest(format=FORMAT, name=name, stamp="", versions=versions(), problem=problem or "it is damaged")
        manifest = replace(made, stamp=model.stamp())
        write_manifest(scratch, manifest)
        _move(scratch, target)
    return manifest


def _in_child(model: ModelFolder, name: str, scratch: Path) -> str:
    """Run `main` in a child process. Returns why it came to nothing, empty if it did not."""
    command = [sys.executable, "-P", "-m", __name__, str(model.path), name, str(scratch)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return f"it took longer than {_SECONDS:.0f} s"
    except OSError as error:
        return f"no process could be started for it: {error}"
    if done.returncode == 0 and (scratch / MANIFEST).is_file():
        return ""
    last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
    return last[0].strip()[:500] if last else f"its process ended with {done.returncode}"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a folder, all of it or nothing."""
    text = json.dumps(asdict(manifest), indent=1, ensure_ascii=False) + "\n"
    try:
        with tempfile.NamedTemporaryFile("w", dir=folder, encoding="utf-8", delete=False) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(file.name, folder / MANIFEST)
    except OSError as error:
        raise _unwritten(folder, error) from error


@contextmanager
def _scratch(target: Path) -> Generator[Path]:
    """A folder beside the target, so that it can be renamed; gone afterwards."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix="compiling-", dir=target.parent, ignore_cleanup_errors=True)
    except OSError as error:
        raise _unwritten(target.parent, error) from error
    with folder as name:
        place = Path(name) / "model"
        place.mkdir()
        yield place


def _move(scratch: Path, target: Path) -> None:
    """Put a finished folder in its place: each file is on the disk before the name is."""
    try:
        for file in (*scratch.iterdir(), scratch):
            descriptor = os.open(file, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
        if target.exists():  # of another form, or of other libraries that could not compile it, or another process's
            target.rename(scratch.parent / "replaced")
        scratch.rename(target)
    except FileExistsError:
        return
    except OSError as error:
        if not target.exists():
            raise _unwritten(target, error) from error


def _unwritten(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        f"The compiled embedding model can't be written to {str(folder)!r}: {error.strerror or error}.",
        hint="Free some space, or set LLMOS_HOME to a folder on another disk.",
    )


def main(path: str, name: str, target: str) -> None:
    """Compile the model in one folder into another, and write what its manifest needs. In a process of its own.

    Raises:
        ModelInvalid: The two forms differ.
    """
    warnings.simplefilter("ignore")
    folder = Path(target)
    reference = ReferenceEmbedder(find_model(path), name=name, device="cpu")
    model = reference.transformer
    tokenizer = model.tokenizer.backend_tokenizer
    tokenizer.no_padding()
    inputs = [key for key in model.preprocess(["one"]) if key in ("input_ids", "attention_mask", "token_type_ids")]
    _export(model, inputs, folder / MODEL)
    _optimize(folder / MODEL)
    (folder / TOKENIZER).write_text(tokenizer.to_str(), encoding="utf-8")
    prompts = {"query": _prompt(model, "query"), "text": _prompt(model, "document", "passage", "corpus")}
    with open(folder / MODEL, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    manifest = Manifest(
        format=FORMAT,
        name=name,
        stamp="",
        versions=versions(),
        dimension=reference.dimension,
        tokens=int(model.max_seq_length or 512),
        prompts=prompts,
        inputs=inputs,
        sha256=digest,
    )
    write_manifest(folder, manifest)
    write_manifest(folder, replace(manifest, cosine=compare(CompiledEmbedder(folder), reference)))


def compare(compiled: Embedder, reference: Embedder) -> float:
    """The least cosine between the two forms over `PROBES`, one by one and all together, as queries and as texts.

    Raises:
        ModelInvalid: It is below `LEAST_COSINE`.
    """
    least = 1.0
    roles: tuple[Role, ...] = ("query", "text")
    for role in roles:
        expected = reference.embed(PROBES, role=role)
        together = compiled.embed(PROBES, role=role)
        alone = np.concatenate([compiled.embed([probe], role=role) for probe in PROBES])
        for vectors in (together, alone):
            least = min(least, float(np.min(np.sum(vectors * expected, axis=1))))
    if not least >= LEAST_COSINE:  # NaN is no cosine either
        raise ModelInvalid(
            f"The compiled form of the embedding model {reference.name!r} has a cosine of only {least:.6f} with what "
            f"sentence-transformers gives."
        )
    return least


def _export(model: Any, inputs: list[str], file: Path) -> None:  # noqa: ANN401 - a SentenceTransformer
    """Write the whole model as one ONNX graph: ids and masks of shape (texts, tokens) to unit vectors."""
    import torch

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *columns: Any) -> Any:  # noqa: ANN401 - tensors
            features = dict(zip(inputs, columns, strict=True))
            pooled = self.model(features)["sentence_embedding"]
            return torch.nn.functional.normalize(pooled, p=2, dim=1)

    example = model.preprocess(["two texts of", "about the same length, but not quite"])
    columns = tuple(example[name] for name in inputs)
    axes = {name: {0: "texts", 1: "tokens"} for name in inputs} | {"vectors": {0: "texts"}}
    with torch.inference_mode():
        cast("Any", torch.onnx).export(
            Whole().eval(),
            columns,
            str(file),
            input_names=inputs,
            output_names=["vectors"],
            dynamic_axes=axes,
            opset_version=_OPSET,
            dynamo=False,
        )


def _optimize(file: Path) -> None:
    """Fuse what ONNX Runtime would else fuse at every start; what only suits this very processor is left out."""
    import onnxruntime  # pyright: ignore[reportMissingTypeStubs]

    library = cast("Any", onnxruntime)
    options = library.SessionOptions()
    options.graph_optimization_level = library.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    optimized = file.with_suffix(".optimized")
    options.optimized_model_filepath = str(optimized)
    library.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    os.replace(optimized, file)


def _prompt(model: Any, *names: str) -> str:  # noqa: ANN401 - a SentenceTransformer
    """What the model's settings put before a text of some role."""
    named_prompts = cast("dict[str, str]", model.prompts)
    default = named_prompts.get(model.default_prompt_name or "", "")
    return next((named_prompts[name] for name in names if name in named_prompts), default)


if __name__ == "__main__":
    main(*sys.argv[1:])
