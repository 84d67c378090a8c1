"""What a GGUF file says about the model inside it, checked before llama.cpp sees the file.

`read_header` reads megabytes, not gigabytes, and refuses what would make llama.cpp abort the process. It does not judge
whether the model fits into memory (`llmos.engine.fit`) and does not look at the tensors' values.
"""

from __future__ import annotations

import hashlib
import math
import re
import stat
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from llmos.engine.gguf_read import CHAT_TEMPLATE, TOKENS, RawGguf, Scalar, integers, read_raw
from llmos.engine.gguf_types import FILE_TYPES, FLOAT32, INT32, RECURRENT, STRING
from llmos.errors import ModelInvalid, ModelNotFound, StorageError

MAX_LAYERS = 512
"""LLAMA_MAX_LAYERS: llama.cpp aborts above it."""
MAX_EXPERTS = 1024
"""LLAMA_MAX_EXPERTS: llama.cpp aborts above it."""

_SPLIT_NAME = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
_ROPE_SCALING = frozenset({"none", "linear", "yarn", "longrope"})
_SAMPLES = 16
_SAMPLE = 64 << 10
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufHeader:
    """The facts of one model. A number that the file does not give is 0, a text "".

    Attributes:
        path: The file; of a split model the first part.
        version: Of the GGUF format.
        architecture: llama.cpp's name for it, such as `llama` or `qwen3`.
        name: For people.
        context_length: Tokens the model was trained for.
        block_count: Layers.
        embedding_length: Width of the hidden state.
        head_count: Attention heads; the most where layers differ.
        head_count_kv: Heads that keep keys and values; the most where layers differ.
        key_length: Values in one head's key.
        value_length: Values in one head's value.
        vocabulary: Number of token ids.
        file_type: The quantization, such as `Q8_0` or `Q4_K_M`.
        parameters: Number of weights.
        tensor_bytes: Their size, all parts together.
        file_bytes: Size of the file, all parts together.
        chat_template: The Jinja template, untrusted code; None without one.
        bos: Text of the token that begins a sequence.
        eos: Text of the token that ends one.
        tokenizer: Its kind, such as `gpt2` or `llama`.
        is_adapter: It is a LoRA adapter and not a model.
        sliding_window: Tokens that a sliding-window layer sees; 0 where all layers see everything.
        recurrent: Some layers keep a running state, from which no part of a sequence can be taken out again.
        metadata: All single values, texts of more than 1 MiB left out.
        layer_kv_heads: `head_count_kv` of each layer; empty where all are alike.
        data_offset: Byte at which the tensors begin.
        parts: All files of the model, in order.
        unsuitable: Why this can't generate text, "" if it can.
    """

    path: Path
    version: int
    architecture: str
    name: str
    context_length: int
    block_count: int
    embedding_length: int
    head_count: int
    head_count_kv: int
    key_length: int
    value_length: int
    vocabulary: int
    file_type: str
    parameters: int
    tensor_bytes: int
    file_bytes: int
    chat_template: str | None = None
    bos: str = ""
    eos: str = ""
    tokenizer: str = ""
    is_adapter: bool = False
    sliding_window: int = 0
    recurrent: bool = False
    metadata: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])
    layer_kv_heads: tuple[int, ...] = ()
    data_offset: int = 0
    parts: tuple[Path, ...] = ()
    unsuitable: str = ""

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that differ when the weights do.

        A digest of the header, the sizes, the first and last MiB of the weights and 16 places between. It is computed
        from the files at each call, in milliseconds.

        Raises:
            ModelNotFound, StorageError: A file is gone or can't be read.
        """
        digest = hashlib.sha256()
        for index, part in enumerate(self.parts or (self.path,)):
            with _opened(part) as (file, size):
                digest.update(size.to_bytes(8, "little"))
                head = (self.data_offset if index == 0 else 0) + _MIB
                for start, length in _windows(size, head):
                    file.seek(start)
                    digest.update(file.read(length))
        return digest.hexdigest()[:32]

    def kv_bytes_per_token(self, bytes_per_element: float = 2.0) -> float:
        """Bytes of KV cache that one token takes over all layers.

        An upper bound: layers with a sliding window or with latent attention may take less.

        Args:
            bytes_per_element: Of the KV type: 2.0 for f16, 34 / 32 for q8_0.
        """
        heads = sum(self.layer_kv_heads) or self.block_count * self.head_count_kv
        return heads * (self.key_length + self.value_length) * bytes_per_element

    def require_model(self) -> None:
        """Raise `ModelInvalid` unless this is a model that can generate text."""
        if self.unsuitable:
            raise ModelInvalid(
                f"{str(self.path)!r} can't be used as a model: it {self.unsuitable}.",
                hint="Choose a text-generation model: `llmos model list`.",
            )


def read_header(path: Path) -> GgufHeader:
    """Read and check what a GGUF file says, of a split model all parts.

    Raises:
        ModelNotFound: There is no such file.
        ModelInvalid: It is no GGUF, is truncated or malformed, or a part of it is missing; the message says where.
        StorageError: It can't be read.
    """
    first = _read_file(path)
    parts = _parts(path, first)
    raws = [first, *(_read_file(part) for part in parts[1:])]
    _check_parts(path, raws)
    return _header(path, raws, parts)


@contextmanager
def _opened(path: Path) -> Generator[tuple[BinaryIO, int]]:
    """The open file and its size. Whatever is not a regular file is refused: a pipe would never end."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise ModelInvalid(f"{str(path)!r} is {kind}.", hint="Give a GGUF file.")
        with path.open("rb") as file:
            yield file, status.st_size
    except FileNotFoundError as error:
        raise ModelNotFound(
            f"There is no file {str(path)!r}.", hint="Check the path, or see `llmos model list`."
        ) from error
    except OSError as error:
        raise StorageError(
            f"{str(path)!r} can't be read: {error.strerror or error}.", hint="Check its rights."
        ) from error


def _read_file(path: Path) -> RawGguf:
    with _opened(path) as (file, size):
        return read_raw(file, size, path)


def _windows(size: int, head: int) -> Iterator[tuple[int, int]]:
    """What a fingerprint reads of one file: (start, length) of the head, of samples, of the end."""
    yield 0, head
    for sample in range(1, _SAMPLES + 1):
        yield size * sample // (_SAMPLES + 1), _SAMPLE
    yield max(0, size - _MIB), _MIB


def _parts(path: Path, raw: RawGguf) -> tuple[Path, ...]:
    count = _integer(raw, path, "split.count")
    if count <= 1:
        return (path,)
    number = _integer(raw, path, "split.no")
    match = _SPLIT_NAME.fullmatch(path.name)
    if not match or int(match["count"]) != count or int(match["number"]) != number + 1:
        raise ModelInvalid(
            f"{str(path)!r} is part {number + 1} of a model in {count} files, but is not named like one.",
            hint=f"Name it NAME-{number + 1:05}-of-{count:05}.gguf.",
        )
    names = [f"{match['stem']}-{part:05}-of-{count:05}.gguf" for part in range(1, count + 1)]
    if number:
        raise ModelInvalid(f"{str(path)!r} is part {number + 1} of {count}.", hint=f"Give the first: {names[0]!r}.")
    parts = tuple(path.with_name(name) for name in names)
    for position, part in enumerate(parts, 1):
        if not part.exists():
            raise ModelInvalid(
                f"Part {position} of {count} of {str(path)!r} is missing: {part.name!r}.",
                hint="Put all parts into one folder, or pull the model again.",
            )
    return parts


def _check_parts(path: Path, raws: list[RawGguf]) -> None:
    for index, raw in enumerate(raws[1:], 1):
        if _integer(raw, path, "split.no") != index:
            raise ModelInvalid(f"Part {index + 1} of {str(path)!r} says it is another.", hint="Pull the model again.")
    claimed = _integer(raws[0], path, "split.tensors.count")
    found = sum(len(raw.tensors) for raw in raws)
    if claimed and claimed != found:
        raise ModelInvalid(
            f"{str(path)!r} and its parts have {found:,} of {claimed:,} tensors.", hint="Pull the model again."
        )


def _header(path: Path, raws: list[RawGguf], parts: tuple[Path, ...]) -> GgufHeader:
    raw = raws[0]
    architecture = _text(raw, path, "general.architecture")
    if not architecture:
        raise _invalid(path, "it names no architecture ('general.architecture')")
    _check_tokenizer(raw, path)
    embedding = _integer(raw, path, f"{architecture}.embedding_length")
    heads = _per_layer(raw, path, f"{architecture}.attention.head_count")
    kv_heads = _per_layer(raw, path, f"{architecture}.attention.head_count_kv") or heads
    head_size = embedding // max(heads) if any(heads) else 0
    tokens = raw.arrays.get(TOKENS)
    kind = _text(raw, path, "general.type")
    header = GgufHeader(
        path=path,
        version=raw.version,
        architecture=architecture,
        name=_text(raw, path, "general.name") or _text(raw, path, "general.basename") or path.stem,
        context_length=_integer(raw, path, f"{architecture}.context_length"),
        block_count=_integer(raw, path, f"{architecture}.block_count"),
        embedding_length=embedding,
        head_count=max(heads, default=0),
        head_count_kv=max(kv_heads, default=0),
        key_length=_integer(raw, path, f"{architecture}.attention.key_length") or head_size,
        value_length=_integer(raw, path, f"{architecture}.attention.value_length") or head_size,
        vocabulary=tokens.length if tokens else _integer(raw, path, f"{architecture}.vocab_size"),
        file_type=_file_type(raw, raws),
        parameters=sum(tensor.elements for each in raws for tensor in each.tensors),
        tensor_bytes=sum(tensor.size for each in raws for tensor in each.tensors),
        file_bytes=sum(each.file_bytes for each in raws),
        chat_template=_text(raw, path, CHAT_TEMPLATE) or None,
        bos=_special(raw, "bos"),
        eos=_special(raw, "eos"),
        tokenizer=_text(raw, path, "tokenizer.ggml.model"),
        is_adapter=kind == "adapter",
        sliding_window=_integer(raw, path, f"{architecture}.attention.sliding_window"),
        recurrent=_is_recurrent(raw, architecture),
        metadata=MappingProxyType(dict(raw.scalars)),
        layer_kv_heads=kv_heads if len(kv_heads) > 1 else (),
        data_offset=raw.data_offset,
        parts=parts,
        unsuitable=_unsuitable(raw, architecture, kind),
    )
    if not header.unsuitable:
        _check_limits(raw, header)
    return header


def _invalid(path: Path, what: str) -> ModelInvalid:
    hint = "Get the file again from where it came, or choose another model."
    return ModelInvalid(f"{str(path)!r} is not a usable GGUF: {what}.", hint=hint)


def _integer(raw: RawGguf, path: Path, key: str) -> int:
    """A whole number from 0 to 2^31 - 1; 0 where it is missing."""
    value = raw.scalars.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31 or key in raw.arrays:
        raise _invalid(path, f"{key!r} is {value!r} and not a number from 0 to {(1 << 31) - 1:,}")
    return value


def _text(raw: RawGguf, path: Path, key: str) -> str:
    value = raw.scalars.get(key, "")
    if not isinstance(value, str):
        raise _invalid(path, f"{key!r} is {value!r} and not a text")
    return value


def _per_layer(raw: RawGguf, path: Path, key: str) -> tuple[int, ...]:
    """A number that may differ by layer: one for all, or one for each layer; empty where it is missing."""
    array = raw.arrays.get(key)
    if array is None:
        return (_integer(raw, path, key),) if key in raw.scalars else ()
    values = integers(array)
    if not values or not all(0 <= value < 1 << 31 for value in values):
        raise _invalid(path, f"{key!r} is not a list of at most {MAX_LAYERS} numbers from 0 to {(1 << 31) - 1:,}")
    return values


def _special(raw: RawGguf, name: str) -> str:
    id = raw.scalars.get(f"tokenizer.ggml.{name}_token_id")
    return raw.texts.get(id, "") if isinstance(id, int) else ""


def _file_type(raw: RawGguf, raws: list[RawGguf]) -> str:
    """What the file says it is, or else the type that most bytes have."""
    claimed = raw.scalars.get("general.file_type")
    if isinstance(claimed, int) and claimed in FILE_TYPES:
        return FILE_TYPES[claimed]
    sizes = Counter[str]()
    for each in raws:
        for tensor in each.tensors:
            sizes[tensor.kind.name] += tensor.size
    return max(sizes, key=sizes.__getitem__, default="")


def _is_recurrent(raw: RawGguf, architecture: str) -> bool:
    states = tuple(f"{architecture}.{part}." for part in ("ssm", "wkv", "shortconv", "kda"))
    return architecture in RECURRENT or any(key.startswith(states) for key in raw.scalars)


def _check_tokenizer(raw: RawGguf, path: Path) -> None:
    """Refuse lists beside the vocabulary that are of another kind or shorter: they would be read past their end."""
    tokens = raw.arrays.get(TOKENS)
    if TOKENS in raw.scalars or (tokens and tokens.kind != STRING):
        raise _invalid(path, f"{TOKENS!r} is not a list of texts")
    for name, kinds in (("scores", {FLOAT32, INT32}), ("token_type", {INT32})):
        beside = raw.arrays.get(f"tokenizer.ggml.{name}")
        if beside and tokens and (beside.kind not in kinds or beside.length < tokens.length):
            what = f"its {tokens.length:,} tokens don't go with its {beside.length:,} entries of {name!r}"
            raise _invalid(path, what)


def _unsuitable(raw: RawGguf, architecture: str, kind: str) -> str:
    if kind == "adapter":
        return "is a LoRA adapter, to be used together with the model it was made for"
    if architecture == "clip" or kind not in ("", "model"):
        return f"is of the kind {kind or architecture!r}"
    if not raw.tensors:
        return "has a vocabulary and no weights"
    if raw.scalars.get(f"{architecture}.attention.causal") is False or architecture == "t5encoder":
        return f"is an encoder or a diffusion model ({architecture!r}), which can't continue a text"
    if TOKENS not in raw.arrays:
        return "has no vocabulary"
    for name in ("context_length", "embedding_length", "block_count"):
        if not raw.scalars.get(f"{architecture}.{name}"):
            return f"does not say its {name.replace('_', ' ')} ({architecture}.{name})"
    return ""


def _check_limits(raw: RawGguf, header: GgufHeader) -> None:
    """Refuse values at which llama.cpp aborts the whole process (its GGML_ASSERTs while a model is loaded)."""
    path, architecture, layers = header.path, header.architecture, header.block_count
    if layers > MAX_LAYERS:
        raise _invalid(path, f"it claims {layers:,} layers, more than {MAX_LAYERS}")
    if _integer(raw, path, f"{architecture}.nextn_predict_layers") > layers:
        raise _invalid(path, f"it claims more prediction layers than its {layers} layers")
    for name in ("head_count", "head_count_kv"):
        values = raw.arrays.get(f"{architecture}.attention.{name}")
        if values and values.length != layers:
            raise _invalid(path, f"it has {layers} layers but lists {values.length:,} for {name!r}")
    if not header.head_count and not header.recurrent:
        raise _invalid(path, f"it does not say its attention heads ('{architecture}.attention.head_count')")
    scaling = raw.scalars.get(f"{architecture}.rope.scaling.type", "none")
    if scaling not in _ROPE_SCALING:
        raise _invalid(path, f"its rope scaling {scaling!r} is none of {', '.join(sorted(_ROPE_SCALING))}")
    for key, value in raw.scalars.items():
        if key.endswith("_epsilon") and not (isinstance(value, float) and 0 <= value < math.inf):
            raise _invalid(path, f"{key!r} is {value!r} and not a small positive number")
    if not architecture.startswith("hunyuan"):
        _check_experts(raw, header)


def _check_experts(raw: RawGguf, header: GgufHeader) -> None:
    path, architecture = header.path, header.architecture
    experts = _integer(raw, path, f"{architecture}.expert_count")
    used = max(_per_layer(raw, path, f"{architecture}.expert_used_count"), default=0)
    groups = _integer(raw, path, f"{architecture}.expert_group_count")
    groups_used = _integer(raw, path, f"{architecture}.expert_group_used_count")
    possible = experts <= MAX_EXPERTS and used <= experts and (used > 0) == (experts > 0)
    possible = possible and (groups < experts or groups == experts == 0)
    if groups > 1:
        possible = possible and experts % groups == 0 and 0 < groups_used < groups
    if not possible:
        raise _invalid(path, f"{experts} experts, {used} used, in {groups} groups, {groups_used} used, is impossible")
