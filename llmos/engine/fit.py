"""Decides how a model is run on a machine: context, KV cache, batch, threads, layers on the GPU.

Pure arithmetic over a header and a machine. It loads nothing and measures nothing; sizes are estimates on the safe
side. What can't fit is refused with the numbers, never cut silently.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from llmos.engine.gguf import GgufHeader
from llmos.engine.hardware import Hardware, gigabytes
from llmos.errors import ConfigError, OutOfMemory

KvType = Literal["f16", "q8_0"]

ELEMENT_BYTES: dict[KvType, float] = {"f16": 2.0, "q8_0": 34 / 32}
USUAL_CONTEXT = 32_768
"""Context where none is asked for: KV memory is taken when the model is loaded, and few conversations are longer."""
LEAST_CONTEXT = 2_048
_MIB = 1 << 20
_LEAST_RESERVE, _MOST_RESERVE = 256 * _MIB, 4_096 * _MIB
_GPU_RESERVE = 512 * _MIB
_GRAPH_BYTES = 64 * _MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How a model is run. Sizes in bytes.

    Attributes:
        context: Tokens that one conversation may have.
        trained: Tokens that the model was trained for.
        cells: Tokens in the KV cache, all conversations together.
        kv_type: Number format of the KV cache.
        gpu_layers: llama.cpp's `n_gpu_layers`; one more than `layers` puts the output layer there too.
        layers: Layers that the model has.
        batch: Tokens in one step.
        threads: Threads of one step.
        bytes_model: The weights.
        bytes_kv: The KV cache.
        bytes_compute: Buffers of one step.
        bytes_ram: What all of it takes of the RAM; with an Apple GPU this is everything.
        bytes_gpu: What all of it takes of the GPU's memory.
        ram: What could be taken of the RAM.
        gpu: What could be taken of the GPU's memory.
    """

    context: int
    trained: int
    cells: int
    kv_type: KvType
    gpu_layers: int
    layers: int
    batch: int
    threads: int
    bytes_model: int
    bytes_kv: int
    bytes_compute: int
    bytes_ram: int
    bytes_gpu: int
    ram: int
    gpu: int

    @property
    def offload(self) -> str:
        """The layers on the GPU, for people: `none`, `12 of 30`, `all 30`."""
        if self.gpu_layers == 0:
            return "none"
        return f"all {self.layers}" if self.gpu_layers > self.layers else f"{self.gpu_layers} of {self.layers}"

    def lines(self) -> list[str]:
        """What was decided and why, for people."""
        shorter = f" (of {self.trained:,} trained)" if self.context < self.trained else ""
        saved = "; q8_0, because memory is short" if self.kv_type == "q8_0" else ""
        memory = f"memory: {gigabytes(self.bytes_ram)} of {gigabytes(self.ram)} usable RAM"
        if self.gpu_layers:
            memory += f", {gigabytes(self.bytes_gpu)} of {gigabytes(self.gpu)} usable on the GPU"
        return [
            f"context: {self.context:,} tokens a conversation{shorter}, {self.cells:,} for all of them",
            f"KV cache: {gigabytes(self.bytes_kv)} in {self.kv_type}{saved}",
            f"layers on the GPU: {self.offload}",
            f"step: {self.batch} tokens on {self.threads} threads",
            f"weights: {gigabytes(self.bytes_model)}; {memory}",
        ]


def fit(
    header: GgufHeader,
    hardware: Hardware,
    *,
    context: int | None = None,
    sequences: int = 16,
    kv_type: KvType | None = None,
    gpu_layers: int | None = None,
) -> Fit:
    """Choose how to run a model.

    As many layers as possible go to the GPU, each with its part of the KV cache. The KV cache is f16; q8_0 is taken
    where f16 would not fit. Without a wish the context is what the model was trained for, up to 32,768, or less where
    memory is short. Where half of the memory that is left allows it, there is room for two contexts.

    Args:
        context: Tokens of one conversation; exactly this or an error.
        sequences: Conversations at once; one alone needs no second context.
        kv_type: Takes this one only.
        gpu_layers: Exactly so many, at most all.

    Raises:
        ConfigError: The wish is impossible for this model or this machine, whatever the memory.
        OutOfMemory: It does not fit; the message has the numbers, the hint what would.
    """
    _check_wishes(header, hardware, context, sequences, gpu_layers)
    plans = list(_plans(header, hardware, kv_type, gpu_layers))
    wanted = context or min(header.context_length, USUAL_CONTEXT)
    for plan in plans:
        if plan.capacity >= wanted:
            return plan.result(wanted, sequences)
    best = max(plans, key=lambda plan: plan.capacity)
    if context is None and best.capacity >= min(LEAST_CONTEXT, wanted):
        return best.result(best.capacity, sequences)
    raise _too_little(header, best, wanted)


def _check_wishes(
    header: GgufHeader, hardware: Hardware, context: int | None, sequences: int, gpu_layers: int | None
) -> None:
    trained = header.context_length
    if trained < 1:
        raise ConfigError(f"The model {header.name!r} claims a context of {trained} tokens.", hint="Use another model.")
    if context is not None and not 1 <= context <= trained:
        raise ConfigError(
            f"A context of {context:,} tokens was asked for, and {header.name!r} was trained for {trained:,}.",
            hint=f"Ask for 1 to {trained:,}, or use a model with a longer context.",
        )
    if sequences < 1:
        raise ConfigError(f"{sequences} conversations at once were asked for.", hint="Ask for at least 1.")
    if gpu_layers is not None and (gpu_layers < 0 or (gpu_layers > 0 and not hardware.offload)):
        reason = "that is no number of layers" if gpu_layers < 0 else "no GPU that this llama.cpp can use was found"
        raise ConfigError(
            f"{gpu_layers} layers on the GPU were asked for, but {reason}.", hint="`llmos doctor` says what is missing."
        )


@dataclass(frozen=True, slots=True)
class _Plan:
    """One way to lay a model out, and how many KV cells there would be room for."""

    header: GgufHeader
    hardware: Hardware
    kv_type: KvType
    gpu_layers: int
    batch: int

    @property
    def cell_bytes(self) -> float:
        return self.header.kv_bytes_per_token(ELEMENT_BYTES[self.kv_type])

    @property
    def compute(self) -> int:
        """Logits of a whole batch, activations, the graph."""
        return self.batch * 4 * (self.header.vocabulary + 16 * self.header.embedding_length) + _GRAPH_BYTES

    @property
    def shared(self) -> bool:
        return self.hardware.offload == "metal"

    @property
    def gpu_share(self) -> float:
        """The part of the KV cache that lies on the GPU: that of its layers."""
        layers = max(1, self.header.block_count)
        return min(self.gpu_layers, layers) / layers

    @property
    def gpu_weights(self) -> int:
        return round(self.header.tensor_bytes * self.gpu_layers / (self.header.block_count + 1))

    @property
    def gpu_fixed(self) -> int:
        return self.gpu_weights + self.compute if self.gpu_layers else 0

    @property
    def ram_fixed(self) -> int:
        """What is in RAM without any KV cell; an Apple GPU takes its share from there."""
        if self.shared:
            return self.header.tensor_bytes + self.compute
        return self.header.tensor_bytes - self.gpu_weights + self.compute

    @property
    def ram_cell(self) -> float:
        return self.cell_bytes if self.shared else self.cell_bytes * (1 - self.gpu_share)

    @property
    def gpu_cell(self) -> float:
        return self.cell_bytes * self.gpu_share

    @property
    def capacity(self) -> int:
        """KV cells that there is room for."""
        return self._cells(1.0)

    def _cells(self, part: float) -> int:
        """KV cells in a part of the memory that weights and buffers leave; 0 where those alone don't fit."""
        cells = _divide((usable_ram(self.hardware) - self.ram_fixed) * part, self.ram_cell)
        if self.gpu_layers:
            cells = min(cells, _divide((usable_gpu(self.hardware) - self.gpu_fixed) * part, self.gpu_cell))
        return cells

    def result(self, context: int, sequences: int) -> Fit:
        cells = max(context, min(context * min(sequences, 2), self._cells(0.5)))
        return Fit(
            context=context,
            trained=self.header.context_length,
            cells=cells,
            kv_type=self.kv_type,
            gpu_layers=self.gpu_layers,
            layers=self.header.block_count,
            batch=self.batch,
            threads=self.hardware.threads,
            bytes_model=self.header.tensor_bytes,
            bytes_kv=int(cells * self.cell_bytes),
            bytes_compute=self.compute,
            bytes_ram=int(self.ram_fixed + cells * self.ram_cell),
            bytes_gpu=int(self.gpu_fixed + cells * self.gpu_cell),
            ram=usable_ram(self.hardware),
            gpu=usable_gpu(self.hardware) if self.hardware.offload else 0,
        )


def usable_ram(hardware: Hardware) -> int:
    """What may be taken of the RAM in bytes: what is available, less a tenth of all of it (256 MiB to 4 GiB)."""
    reserve = min(max(hardware.ram_total // 10, _LEAST_RESERVE), _MOST_RESERVE)
    return max(0, hardware.ram_available - reserve)


def usable_gpu(hardware: Hardware) -> int:
    """What may be taken of the GPU's memory in bytes, 0 without one that llama.cpp can use.

    Of an Apple GPU two thirds of the RAM, about what Metal recommends as its working set.
    """
    if hardware.offload == "metal":
        return min(hardware.ram_total * 2 // 3, usable_ram(hardware))
    if hardware.offload == "cuda":
        return sum(max(0, gpu.free_bytes - _GPU_RESERVE) for gpu in hardware.gpus)
    return 0


def _divide(room: float, cell: float) -> int:
    """How many cells go into the room; a cell of 0 bytes always does, unless the room is overdrawn already."""
    if room < 0:
        return 0
    return int(min(room / cell, sys.maxsize // 4)) if cell else sys.maxsize // 4


def _plans(header: GgufHeader, hardware: Hardware, kv_type: KvType | None, gpu_layers: int | None) -> Iterator[_Plan]:
    """All layouts, the fastest first."""
    everything = header.block_count + 1
    if gpu_layers is not None:
        layouts = [min(gpu_layers, everything)]
    else:
        layouts = list(range(everything, -1, -1)) if hardware.offload else [0]
    kinds: list[KvType] = [kv_type] if kv_type else _kv_types(header)
    for layers in layouts:
        for batch in (1024, 256) if layers > header.block_count else (512, 128):
            for kind in kinds:
                yield _Plan(header, hardware, kind, layers, batch)


def _kv_types(header: GgufHeader) -> list[KvType]:
    """q8_0 stores blocks of 32 values, and a running state stays f16 or f32."""
    whole_blocks = header.key_length % 32 == 0 and header.value_length % 32 == 0
    return ["f16", "q8_0"] if whole_blocks and not header.recurrent else ["f16"]


def _too_little(header: GgufHeader, best: _Plan, wanted: int) -> OutOfMemory:
    plan = best.result(wanted, 1)
    need = [f"{gigabytes(plan.bytes_ram)} of RAM ({gigabytes(plan.ram)} usable)"]
    if plan.gpu_layers:
        need.append(f"{gigabytes(plan.bytes_gpu)} of GPU memory ({gigabytes(plan.gpu)} usable)")
    message = (
        f"{header.name!r} with a context of {wanted:,} tokens needs {' and '.join(need)}: "
        f"{gigabytes(plan.bytes_model)} weights, {gigabytes(plan.bytes_kv)} KV cache in {plan.kv_type}, "
        f"{gigabytes(plan.bytes_compute)} buffers."
    )
    if best.capacity >= min(LEAST_CONTEXT, wanted):
        return OutOfMemory(message, hint=f"A context of {best.capacity:,} tokens fits; or use a smaller model.")
    return OutOfMemory(message, hint="Close other programs, or use a smaller model: `llmos model list`.")
