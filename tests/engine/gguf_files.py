"""Writes small GGUF files for tests: valid ones, and ones that are wrong in one chosen place."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from llmos.engine.gguf_types import ARRAY, BOOL, FLOAT32, INT32, SCALARS, STRING, TENSOR_TYPES, UINT32


@dataclass(frozen=True)
class Value:
    """A value as it stands in a file: its type and its bytes."""

    kind: int
    data: bytes


def text(value: str | bytes) -> bytes:
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


def string(value: str | bytes) -> Value:
    return Value(STRING, text(value))


def u32(value: int) -> Value:
    return Value(UINT32, struct.pack("<I", value))


def f32(value: float) -> Value:
    return Value(FLOAT32, struct.pack("<f", value))


def truth(value: int) -> Value:
    return Value(BOOL, bytes([value]))


def strings(values: Sequence[str | bytes]) -> Value:
    return Value(ARRAY, struct.pack("<IQ", STRING, len(values)) + b"".join(map(text, values)))


def numbers(kind: int, values: Sequence[float]) -> Value:
    pattern = SCALARS[kind][0]
    return Value(ARRAY, struct.pack("<IQ", kind, len(values)) + b"".join(struct.pack(pattern, v) for v in values))


@dataclass(frozen=True)
class Tensor:
    name: str
    dims: tuple[int, ...]
    kind: int = 0
    offset: int | None = None


TOKENS = ["<unk>", "<s>", "</s>", "a", "b", "", "", "ä"]

MODEL: dict[str, Value] = {
    "general.architecture": string("llama"),
    "general.type": string("model"),
    "general.name": string("Tiny"),
    "general.file_type": u32(7),
    "llama.context_length": u32(128),
    "llama.embedding_length": u32(64),
    "llama.block_count": u32(2),
    "llama.attention.head_count": u32(4),
    "llama.attention.head_count_kv": u32(2),
    "llama.attention.layer_norm_rms_epsilon": f32(1e-5),
    "tokenizer.ggml.model": string("llama"),
    "tokenizer.ggml.tokens": strings(TOKENS),
    "tokenizer.ggml.scores": numbers(FLOAT32, [0.0] * len(TOKENS)),
    "tokenizer.ggml.token_type": numbers(INT32, [1] * len(TOKENS)),
    "tokenizer.ggml.bos_token_id": u32(1),
    "tokenizer.ggml.eos_token_id": u32(2),
    "tokenizer.chat_template": string("{{ messages }}"),
}
TENSORS = (Tensor("token_embd.weight", (64, 8), 8), Tensor("output_norm.weight", (64,)), Tensor("x.weight", (32, 2), 2))


def gguf(
    metadata: Mapping[str, Value] = MODEL,
    tensors: Sequence[Tensor] = TENSORS,
    *,
    version: int = 3,
    alignment: int = 32,
    fill: int = 7,
) -> bytes:
    """A whole file. Offsets of tensors are computed where they are not given."""
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    for key, value in metadata.items():
        out += text(key) + struct.pack("<I", value.kind) + value.data
    offset = 0
    for tensor in tensors:
        known = TENSOR_TYPES.get(tensor.kind)
        size = prod(tensor.dims) // known.block * known.size if known else 0
        place = offset if tensor.offset is None else tensor.offset
        shape = struct.pack(f"<I{len(tensor.dims)}Q", len(tensor.dims), *tensor.dims)
        out += text(tensor.name) + shape + struct.pack("<IQ", tensor.kind, place)
        offset += -(-size // alignment) * alignment
    out += bytes(-len(out) % alignment)
    return out + bytes([fill]) * min(offset, 1 << 20)


def changed(**values: Value | None) -> dict[str, Value]:
    """`MODEL` with other values; None takes one out. A double underscore stands for a dot."""
    result = dict(MODEL)
    for name, value in values.items():
        key = name.replace("__", ".")
        if value is None:
            del result[key]
        else:
            result[key] = value
    return result
