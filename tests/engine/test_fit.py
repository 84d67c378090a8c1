"""How context, KV cache and layers are chosen; properties over random models and machines."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llmos.engine.fit import LEAST_CONTEXT, Fit, fit, usable_gpu, usable_ram
from llmos.engine.gguf import GgufHeader
from llmos.engine.hardware import Gpu, Hardware, LlamaBuild
from llmos.engine.store.catalogue import CATALOGUE, recommend, recommend_line
from llmos.errors import ConfigError, OutOfMemory

GB = 1_000_000_000
CUDA = LlamaBuild("1", Path(), frozenset({"cuda"}))
METAL = LlamaBuild("1", Path(), frozenset({"metal"}))


def model(
    *,
    size: int = 5 * GB,
    context: int = 32_768,
    blocks: int = 36,
    kv_heads: int = 8,
    head: int = 128,
    vocabulary: int = 151_936,
    recurrent: bool = False,
) -> GgufHeader:
    return GgufHeader(
        path=Path("model.gguf"),
        version=3,
        architecture="qwen3",
        name="Model",
        context_length=context,
        block_count=blocks,
        embedding_length=4_096,
        head_count=32,
        head_count_kv=kv_heads,
        key_length=head,
        value_length=head,
        vocabulary=vocabulary,
        file_type="Q4_K_M",
        parameters=size * 8 // 5,
        tensor_bytes=size,
        file_bytes=size,
        recurrent=recurrent,
    )


def machine(ram: float, *, gpu: float | None = None, cores: int = 8, metal: bool = False) -> Hardware:
    gpus = () if gpu is None else (Gpu("Card", int(gpu * GB), int(gpu * GB)),)
    return Hardware(
        ram_total=int(ram * GB),
        ram_available=int(ram * GB),
        usable_cores=cores,
        physical_cores=cores,
        gpus=gpus,
        metal=metal,
        llama=METAL if metal else CUDA,
    )


SMALL = model(size=145_000_000, context=8_192, blocks=30, kv_heads=3, head=64, vocabulary=49_152)


def test_a_small_model_gets_its_whole_context_twice() -> None:
    plan = fit(SMALL, machine(16))
    assert (plan.context, plan.cells, plan.kv_type) == (8_192, 16_384, "f16")
    assert plan.offload == "none"


def test_one_conversation_alone_needs_no_second_context() -> None:
    assert fit(SMALL, machine(16), sequences=1).cells == 8_192


def test_the_context_asked_for_is_the_context_given() -> None:
    assert fit(SMALL, machine(16), context=1_000).context == 1_000


def test_a_very_long_context_is_not_taken_unasked() -> None:
    long = model(context=262_144)
    assert fit(long, machine(64)).context == 32_768
    assert fit(long, machine(64), context=200_000).context == 200_000


def test_a_context_beyond_what_was_trained_is_refused_with_the_numbers() -> None:
    with pytest.raises(ConfigError, match=r"8,193.*8,192"):
        fit(SMALL, machine(16), context=8_193)


@pytest.mark.parametrize("context", [0, -1])
def test_a_context_of_nothing_is_refused(context: int) -> None:
    with pytest.raises(ConfigError):
        fit(SMALL, machine(16), context=context)


def test_short_memory_halves_the_cache_before_the_context() -> None:
    plan = fit(model(), machine(10))
    assert (plan.context, plan.kv_type) == (32_768, "q8_0")


def test_shorter_memory_shortens_the_context_that_nobody_asked_for() -> None:
    plan = fit(model(), machine(7.5))
    assert LEAST_CONTEXT <= plan.context < 32_768
    assert any("of 32,768 trained" in line for line in plan.lines())


def test_a_context_that_does_not_fit_is_refused_with_what_would() -> None:
    with pytest.raises(OutOfMemory) as caught:
        fit(model(), machine(7.5), context=32_768)
    assert "32,768" in caught.value.message
    assert "GB" in caught.value.message
    assert "tokens fits" in caught.value.hint


def test_a_model_that_does_not_fit_at_all_is_refused_with_the_numbers() -> None:
    with pytest.raises(OutOfMemory, match=r"5\.0 GB weights") as caught:
        fit(model(), machine(4))
    assert "smaller model" in caught.value.hint


def test_a_kv_type_asked_for_is_kept_or_refused() -> None:
    assert fit(model(), machine(32), kv_type="q8_0").kv_type == "q8_0"
    with pytest.raises(OutOfMemory):
        fit(model(), machine(10), kv_type="f16", context=32_768)


def test_a_running_state_is_never_quantized() -> None:
    assert fit(model(recurrent=True), machine(10)).kv_type == "f16"


def test_everything_goes_to_a_gpu_with_room() -> None:
    plan = fit(model(), machine(32, gpu=24))
    assert plan.gpu_layers == 37
    assert plan.offload == "all 36"
    assert plan.bytes_ram < GB


def test_a_small_gpu_takes_some_layers_with_their_cache() -> None:
    plan = fit(model(), machine(32, gpu=6))
    assert 0 < plan.gpu_layers < 36
    assert plan.bytes_gpu > plan.gpu_layers * model().tensor_bytes / 37
    assert plan.offload == f"{plan.gpu_layers} of 36"


def test_layers_asked_for_are_given_at_most_all() -> None:
    assert fit(model(), machine(32, gpu=24), gpu_layers=0).gpu_layers == 0
    assert fit(model(), machine(32, gpu=24), gpu_layers=10).gpu_layers == 10
    assert fit(model(), machine(32, gpu=24), gpu_layers=999).gpu_layers == 37


def test_layers_on_a_gpu_that_is_not_there_are_refused() -> None:
    with pytest.raises(ConfigError, match="no GPU"):
        fit(model(), machine(32), gpu_layers=5)


def test_an_apple_gpu_shares_the_memory() -> None:
    plan = fit(model(), machine(16, metal=True))
    assert plan.gpu_layers == 37
    assert plan.bytes_ram >= model().tensor_bytes + plan.bytes_kv


def test_never_more_threads_than_cores() -> None:
    assert fit(SMALL, machine(16, cores=3)).threads == 3


def test_a_plan_explains_itself() -> None:
    text = "\n".join(fit(SMALL, machine(16)).lines())
    for part in ("8,192", "16,384", "f16", "none", "8 threads", "145 MB"):
        assert part in text


machines = st.builds(
    machine,
    st.floats(0.5, 128),
    gpu=st.none() | st.floats(0.5, 96),
    cores=st.integers(1, 64),
    metal=st.booleans(),
)
models = st.builds(
    model,
    size=st.integers(50_000_000, 40 * GB),
    context=st.integers(512, 262_144),
    blocks=st.integers(1, 80),
    kv_heads=st.integers(0, 16),
    head=st.sampled_from([64, 80, 128]),
    vocabulary=st.sampled_from([32_000, 151_936, 262_144]),
    recurrent=st.booleans(),
)


def attempt(header: GgufHeader, hardware: Hardware, context: int | None = None) -> Fit | None:
    try:
        return fit(header, hardware, context=context)
    except OutOfMemory:
        return None


@given(models, machines, st.integers(1, 64))
@settings(max_examples=300, deadline=None)
def test_no_plan_takes_more_than_there_is(header: GgufHeader, hardware: Hardware, sequences: int) -> None:
    try:
        plan = fit(header, hardware, sequences=sequences)
    except OutOfMemory:
        return
    assert plan.bytes_ram <= usable_ram(hardware) <= hardware.ram_available
    assert plan.bytes_gpu <= usable_gpu(hardware)
    assert 1 <= plan.context <= header.context_length
    assert plan.context <= plan.cells <= 2 * plan.context
    assert plan.threads <= hardware.usable_cores
    assert plan.kv_type == "f16" or header.key_length % 32 == 0
    assert plan.bytes_ram + plan.bytes_gpu >= header.tensor_bytes * 0.99


@given(models, st.floats(0.5, 128), st.floats(0, 64))
@settings(max_examples=300, deadline=None)
def test_more_memory_never_means_less(header: GgufHeader, ram: float, more: float) -> None:
    less, bigger = attempt(header, machine(ram)), attempt(header, machine(ram + more))
    assume(less is not None)
    assert less is not None
    assert bigger is not None
    assert bigger.context >= less.context
    assert bigger.cells >= less.cells
    assert not (less.kv_type == "f16" and bigger.kv_type == "q8_0" and bigger.context == less.context)


@given(models, st.floats(1, 64), st.floats(0.5, 64), st.floats(0, 64))
@settings(max_examples=300, deadline=None)
def test_a_bigger_gpu_never_takes_fewer_layers(header: GgufHeader, ram: float, gpu: float, more: float) -> None:
    context = min(header.context_length, 4_096)
    less = attempt(header, machine(ram, gpu=gpu), context)
    bigger = attempt(header, machine(ram, gpu=gpu + more), context)
    assume(less is not None)
    assert less is not None
    assert bigger is not None
    assert bigger.gpu_layers >= less.gpu_layers


def test_the_catalogue_is_in_order() -> None:
    names = [entry.name for entry in CATALOGUE]
    assert 8 <= len(names) == len(set(names)) <= 12
    for entry in CATALOGUE:
        assert entry.file.endswith(f"{entry.quant}.gguf") or entry.quant.lower() in entry.file
        assert entry.repo.count("/") == 1
        assert entry.bytes < entry.memory_bytes
        assert entry.checked
        assert entry.license


@given(machines)
@settings(deadline=None)
def test_a_recommended_model_fits(hardware: Hardware) -> None:
    entry = recommend(hardware)
    if entry is not None:
        assert entry.memory_bytes <= max(usable_ram(hardware), usable_gpu(hardware))
        assert f"llmos model pull {entry.name} && llmos model use {entry.name}" in recommend_line(hardware)


@pytest.mark.parametrize(
    ("hardware", "name"),
    [
        (machine(0.5), None),
        (machine(2, cores=2), "smollm2-360m"),
        (machine(8, cores=2), "qwen3-1.7b"),
        (machine(16, cores=8), "qwen3-4b"),
        (machine(16, cores=12), "qwen3-8b"),
        (machine(64, cores=16), "qwen3-30b-a3b"),
        (machine(16, cores=4, gpu=12), "qwen3-8b"),
    ],
)
def test_what_is_recommended_grows_with_the_machine(hardware: Hardware, name: str | None) -> None:
    entry = recommend(hardware)
    assert (entry.name if entry else None) == name
