"""LoRA adapters as GGUF files: what is in one, written, read, and merged into the model that it was made for.

A file carries notes on what it is (microcode, the model it fits, the forms of the prompts it was trained on, what its
confidences are worth). Reading checks everything before a number is used. Needs gguf-py and numpy, no llama.cpp.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmos.engine.gguf import GgufHeader, read_header
from llmos.errors import EngineClosed, ModelInvalid, StorageError

if TYPE_CHECKING:
    import threading

    import numpy as np
    from numpy.typing import NDArray

    Pair = tuple[NDArray[np.float32], NDArray[np.float32]]
    """A (rank, in) and B (out, rank)."""

NOTES = "llmos.microcode"
_VERSION = 1
_BLOCK = 32
"""Weights that Q8_0 puts together: rows must be a multiple of it."""
_AGAIN = "Get or train it again."
_ANOTHER = (
    "An adapter runs over the one model that it was trained on: train one for this model with `llmos learn train`."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """What an adapter is.

    Attributes:
        name: For people, and to choose it by.
        model: Name of the model that it was made for.
        fingerprint: Of that model's file as it came (`GgufHeader.fingerprint`).
        prompts: Of the forms in which the kernel asks (`llmos.agents.jobs.fingerprint`).
        recipe: What it was trained on.
        tokens: How many it has read in training.
        made: When, ISO 8601.
        temperatures: For each job, what divides log-probabilities to make them worth their number.
        thresholds: By name, confidences from which on something is done.
        figures: What was measured, by row.
        examples: Digest of the training examples that came from traces; empty without.
    """

    name: str
    model: str
    fingerprint: str
    prompts: str
    recipe: str = ""
    tokens: int = 0
    made: str = ""
    temperatures: Mapping[str, float] = field(default_factory=dict[str, float])
    thresholds: Mapping[str, float] = field(default_factory=dict[str, float])
    figures: Mapping[str, float] = field(default_factory=dict[str, float])
    examples: str = ""

    @property
    def digest(self) -> str:
        """Identifies what was trained, not how its confidences were fitted: 16 hex digits."""
        said = [self.name, self.fingerprint, self.prompts, self.recipe, self.tokens, self.made, self.examples]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter's numbers.

    Attributes:
        pairs: By the name of the weight, such as `blk.0.attn_q.weight`.
        alpha: What is added to a weight is B·A times alpha over rank.
    """

    notes: Notes
    pairs: Mapping[str, Pair]
    alpha: float

    def change(self, name: str) -> NDArray[np.float32]:
        """What is added to a weight, shape (out, in)."""
        a, b = self.pairs[name]
        import numpy as np

        change: NDArray[np.float32] = (b @ a) * np.float32(self.alpha / a.shape[0])
        return change


def write(path: Path, adapter: Adapter, *, architecture: str = "llama") -> None:
    """Write an adapter, in f16.

    Raises:
        StorageError: The disk is full or can't be written.
    """
    import numpy as np
    from gguf import GGUFWriter

    new = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = GGUFWriter(new, architecture)
        writer.add_type("adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", adapter.alpha)
        writer.add_name(adapter.notes.name)
        writer.add_string(NOTES, _written(adapter.notes))
        for name, (a, b) in sorted(adapter.pairs.items()):
            writer.add_tensor(f"{name}.lora_a", np.ascontiguousarray(a, dtype=np.float16))
            writer.add_tensor(f"{name}.lora_b", np.ascontiguousarray(b, dtype=np.float16))
        _finish(writer)
        os.replace(new, path)
    except OSError as error:
        with suppress(OSError):
            new.unlink()
        raise StorageError(
            f"The adapter {str(path)!r} could not be written: {error}.", hint="Free some disk space."
        ) from error


def _written(notes: Notes) -> str:
    return json.dumps({"version": _VERSION, **asdict(notes)})


def notes(path: Path) -> Notes:
    """What an adapter is, from its header alone.

    Raises:
        ModelNotFound, ModelInvalid: It can't be read, or is no adapter of llmos.
    """
    header = read_header(path)
    found = _notes_of(header) if header.is_adapter else None
    if found is None:
        raise ModelInvalid(f"{str(path)!r} is no microcode.", hint="Give an adapter that `llmos learn train` made.")
    return found


def merged_notes(header: GgufHeader) -> Notes | None:
    """What the microcode in a model is; None where there is none.

    Raises:
        ModelInvalid: The notes of it are damaged.
    """
    return None if header.is_adapter else _notes_of(header)


def _notes_of(header: GgufHeader) -> Notes | None:
    said = header.metadata.get(NOTES)
    if not isinstance(said, str):
        return None
    try:
        data = json.loads(said)
        if data.pop("version") != _VERSION:
            raise ValueError("it is of another version of llmos")
        found = Notes(**data)
        texts = (found.name, found.model, found.fingerprint, found.prompts, found.recipe, found.made, found.examples)
        if not all(isinstance(one, str) for one in texts):  # pyright: ignore[reportUnnecessaryIsInstance]  # JSON
            raise ValueError("a name is not a text")
        numbers = [*found.temperatures.values(), *found.thresholds.values(), found.tokens]
        if not all(isinstance(one, int | float) and math.isfinite(one) for one in numbers):  # pyright: ignore[reportUnnecessaryIsInstance]  # JSON
            raise ValueError("a temperature is not a number")
        if not all(one > 0 for one in found.temperatures.values()):
            raise ValueError("a temperature is not positive")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelInvalid(f"The notes of {str(header.path)!r} can't be read: {error}.", hint=_AGAIN) from error
    return found


def read(path: Path) -> Adapter:
    """An adapter with its numbers.

    Raises:
        ModelNotFound, ModelInvalid: It can't be read, is truncated, is no adapter of llmos, or has values that are no
            numbers.
    """
    import numpy as np
    from gguf import GGMLQuantizationType, GGUFReader

    found = notes(path)
    plain = (GGMLQuantizationType.F16, GGMLQuantizationType.F32)
    try:
        reader = GGUFReader(path)
        alpha = float(reader.fields["adapter.lora.alpha"].contents())
        if other := [tensor.name for tensor in reader.tensors if tensor.tensor_type not in plain]:
            raise ValueError(f"{other[0]!r} is neither of f16 nor of f32")
        tensors = {tensor.name: np.array(tensor.data, dtype=np.float32) for tensor in reader.tensors}
        names = {name.removesuffix(".lora_a") for name in tensors if name.endswith(".lora_a")}
        pairs = {name: (tensors[f"{name}.lora_a"], tensors[f"{name}.lora_b"]) for name in sorted(names)}
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise ModelInvalid(f"The adapter {str(path)!r} is damaged: {error}.", hint=_AGAIN) from error
    for name, (a, b) in pairs.items():
        if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1]:
            raise ModelInvalid(f"The adapter {str(path)!r} is damaged: the sizes of {name!r} don't fit.", hint=_AGAIN)
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise ModelInvalid(f"The adapter {str(path)!r} has values in {name!r} that are no numbers.", hint=_AGAIN)
    if not pairs or not math.isfinite(alpha):
        raise ModelInvalid(f"The adapter {str(path)!r} is damaged: it changes nothing.", hint=_AGAIN)
    return Adapter(found, pairs, alpha)


def check_fits(path: Path, model: Path) -> Notes:
    """Whether an adapter was made for a model.

    Args:
        model: The model's file as it came, not a tuned form of it.

    Raises:
        ModelNotFound, ModelInvalid: It was made for another, or one of them can't be read.
    """
    found, header = notes(path), read_header(model)
    if found.fingerprint != header.fingerprint:
        raise ModelInvalid(
            f"The adapter {found.name!r} was made for {found.model!r}, and {header.name!r} ({str(model)!r}) is another "
            "model or another file of it.",
            hint=_ANOTHER,
        )
    return found


def merge(model: Path, adapter: Path, out: Path, *, stop: threading.Event | None = None) -> None:
    """Write a model with an adapter in it, in Q8_0; its header has the adapter's notes.

    Takes memory for a few copies of the largest weight, and seconds for a hundred million weights.

    Args:
        model: One file, as it came.
        stop: Set by another thread to have it given up.

    Raises:
        ModelNotFound, ModelInvalid: The adapter was made for another model, or one of them can't be read.
        StorageError: The disk is full or can't be written.
        EngineClosed: It was told to stop.
    """
    check_fits(adapter, model)
    change = read(adapter)
    new = out.with_name(f"{out.name}.new")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _merge(model, change, new, stop)
        os.replace(new, out)
    except OSError as error:
        raise StorageError(
            f"The model {str(out)!r} could not be written: {error}.", hint="Free some disk space."
        ) from error
    except (ValueError, KeyError, IndexError) as error:
        raise ModelInvalid(f"{str(adapter)!r} can't be merged into {str(model)!r}: {error}.", hint=_ANOTHER) from error
    finally:
        with suppress(OSError):
            new.unlink()


def _merge(model: Path, change: Adapter, out: Path, stop: threading.Event | None) -> None:
    import numpy as np
    from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, LlamaFileType
    from gguf.quants import dequantize, quant_shape_to_byte_shape, quantize

    reader = GGUFReader(model)
    if missing := change.pairs.keys() - {tensor.name for tensor in reader.tensors}:
        raise ValueError(f"there is no {min(missing)!r}")
    writer = GGUFWriter(out, str(reader.fields["general.architecture"].contents()))
    for name, said in reader.fields.items():
        if not name.startswith("GGUF.") and name not in ("general.architecture", "general.file_type", NOTES):
            writer.add_key_value(name, said.contents(), said.types[0], said.types[-1] if len(said.types) > 1 else None)
    writer.add_file_type(LlamaFileType.MOSTLY_Q8_0)
    writer.add_string(NOTES, _written(change.notes))
    whole = GGMLQuantizationType.Q8_0
    small = {one.name for one in reader.tensors if len(one.shape) < 2 or one.shape[0] % _BLOCK}
    for one in reader.tensors:
        shape = tuple(int(size) for size in reversed(one.shape))
        size = quant_shape_to_byte_shape(shape, whole) if one.name not in small else shape
        kind = np.dtype(np.float32 if one.name in small else np.uint8)
        bytes_ = math.prod(size) * kind.itemsize
        writer.add_tensor_info(one.name, size, kind, bytes_, raw_dtype=None if one.name in small else whole)
    with closing(writer):
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for one in reader.tensors:
            if stop is not None and stop.is_set():
                raise EngineClosed(f"Merging {change.notes.name!r} was stopped.", hint="Open the model again.")
            values: Any = dequantize(np.array(one.data), one.tensor_type).astype(np.float32)
            if one.name in change.pairs:
                added = change.change(one.name)
                if added.shape != values.shape:
                    raise ValueError(f"{one.name!r} has the sizes {values.shape}, and the change {added.shape}")
                values += added
            writer.write_tensor_data(values if one.name in small else quantize(values, whole))


def _finish(writer: Any) -> None:  # noqa: ANN401  # gguf-py's writer, whose types are not checked
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
