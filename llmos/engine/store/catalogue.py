"""A short list of good small models that can be pulled, and which of them suits a machine.

Every entry was looked up in November 2026, in public documentation and in projects that pull these files (the hub
itself was not asked); `checked` says what was found. Left out on purpose: models that keep a running state (Qwen 3.5,
Granite 4 hybrids, LFM2), because their contexts can't be shared between agents, and models whose answers come in a
format that llmos does not parse (gpt-oss). Downloads nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmos.engine.fit import usable_gpu, usable_ram
from llmos.engine.hardware import Hardware, gigabytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """A model at Hugging Face.

    Attributes:
        name: What it is called here.
        repo: The repository, as owner/name.
        file: The GGUF file in it.
        quant: Its quantization.
        bytes: About the size of the file.
        memory_bytes: About what it takes when it runs with a context of 8,192 tokens.
        parameters: In billions.
        active: Billions of parameters that one token uses; fewer than `parameters` in a mixture of experts.
        context: Tokens it was trained for.
        license: Of the weights.
        tool_format: How it writes tool calls.
        good_for: One line.
        checked: What was verified, and where.
    """

    name: str
    repo: str
    file: str
    quant: str
    bytes: int
    memory_bytes: int
    parameters: float
    active: float
    context: int
    license: str
    tool_format: str
    good_for: str
    checked: str


CATALOGUE: tuple[CatalogueEntry, ...] = (
    CatalogueEntry(
        name="smollm2-360m",
        repo="HuggingFaceTB/SmolLM2-360M-Instruct-GGUF",
        file="smollm2-360m-instruct-q8_0.gguf",
        quant="Q8_0",
        bytes=386_000_000,
        memory_bytes=1_000_000_000,
        parameters=0.36,
        active=0.36,
        context=8_192,
        license="Apache-2.0",
        tool_format="generic",
        good_for="rewriting and short answers on very little memory",
        checked="repository, file, size, licence, context: lists of apps that pull this file",
    ),
    CatalogueEntry(
        name="qwen3-0.6b",
        repo="Qwen/Qwen3-0.6B-GGUF",
        file="Qwen3-0.6B-Q8_0.gguf",
        quant="Q8_0",
        bytes=639_446_688,
        memory_bytes=1_900_000_000,
        parameters=0.6,
        active=0.6,
        context=32_768,
        license="Apache-2.0",
        tool_format="hermes",
        good_for="simple tool calls, with reasoning, on a small machine",
        checked="repository, file, exact size, licence: registries with pinned revisions",
    ),
    CatalogueEntry(
        name="llama-3.2-1b",
        repo="bartowski/Llama-3.2-1B-Instruct-GGUF",
        file="Llama-3.2-1B-Instruct-Q4_K_M.gguf",
        quant="Q4_K_M",
        bytes=807_694_464,
        memory_bytes=1_500_000_000,
        parameters=1.2,
        active=1.2,
        context=131_072,
        license="Llama 3.2 Community License",
        tool_format="llama3",
        good_for="fast chat and summaries",
        checked="repository, file, exact size: download records; licence: the model's name and Meta's terms",
    ),
    CatalogueEntry(
        name="qwen3-1.7b",
        repo="Qwen/Qwen3-1.7B-GGUF",
        file="Qwen3-1.7B-Q8_0.gguf",
        quant="Q8_0",
        bytes=1_834_426_016,
        memory_bytes=3_200_000_000,
        parameters=1.7,
        active=1.7,
        context=32_768,
        license="Apache-2.0",
        tool_format="hermes",
        good_for="tools and reasoning where there are few cores",
        checked="repository, file, exact size: a registry that quotes the hub; licence: as the whole Qwen 3 family",
    ),
    CatalogueEntry(
        name="smollm3-3b",
        repo="ggml-org/SmolLM3-3B-GGUF",
        file="SmolLM3-Q4_K_M.gguf",
        quant="Q4_K_M",
        bytes=1_915_305_312,
        memory_bytes=3_100_000_000,
        parameters=3.1,
        active=3.1,
        context=65_536,
        license="Apache-2.0",
        tool_format="hermes",
        good_for="an open model (data and recipe too) for chat and tools, with optional reasoning",
        checked="repository, file, exact size, licence: registries with a pinned revision and hash",
    ),
    CatalogueEntry(
        name="ministral-3-3b",
        repo="mistralai/Ministral-3-3B-Instruct-2512-GGUF",
        file="Ministral-3-3B-Instruct-2512-Q4_K_M.gguf",
        quant="Q4_K_M",
        bytes=2_147_023_008,
        memory_bytes=3_600_000_000,
        parameters=3.4,
        active=3.4,
        context=262_144,
        license="Apache-2.0",
        tool_format="mistral",
        good_for="European languages and tool calls",
        checked="repository, file, exact size and hash: registries; licence, context: the family's model card",
    ),
    CatalogueEntry(
        name="gemma-3-4b",
        repo="ggml-org/gemma-3-4b-it-GGUF",
        file="gemma-3-4b-it-Q4_K_M.gguf",
        quant="Q4_K_M",
        bytes=2_490_000_000,
        memory_bytes=4_200_000_000,
        parameters=3.9,
        active=3.9,
        context=131_072,
        license="Gemma Terms of Use",
        tool_format="generic",
        good_for="writing in many languages",
        checked="repository, file: llama.cpp's documentation; size: about 2.5 GB in lists of apps",
    ),
    CatalogueEntry(
        name="qwen3-4b",
        repo="unsloth/Qwen3-4B-Instruct-2507-GGUF",
        file="Qwen3-4B-Instruct-2507-Q4_K_M.gguf",
        quant="Q4_K_M",
        bytes=2_497_281_120,
        memory_bytes=4_200_000_000,
        parameters=4.0,
        active=4.0,
        context=262_144,
        license="Apache-2.0",
        tool_format="hermes",
        good_for="agents: reliable tool calls, long context, answers at once without reasoning",
        checked="repository, file, exact size and hash: registries; licence: as the whole Qwen 3 family",
    ),
    CatalogueEntry(
        name="ministral-3-8b",
        repo="mistralai/Ministral-3-8B-Instruct-2512-GGUF",
        file="Ministral-3-8B-Instruct-2512-Q4_K_M.gguf",
        quant="Q4_K_M",
        bytes=5_198_911_904,
        memory_bytes=6_900_000_000,
        parameters=8.4,
        active=8.4,
        context=262_144,
        license="Apache-2.0",
        tool_format="mistral",
        good_for="European languages, JSON and tools, a step up from 3B",
        checked="repository, file, exact size and hash: registries; licence, context: its model card",
    ),
    CatalogueEntry(
        name="qwen3-8b",
        repo="Qwen/Qwen3-8B-GGUF",
        file="Qwen3-8B-Q4_K_M.gguf",
        quant="Q4_K_M",
        bytes=5_030_000_000,
        memory_bytes=6_800_000_000,
        parameters=8.2,
        active=8.2,
        context=32_768,
        license="Apache-2.0",
        tool_format="hermes",
        good_for="planning and harder reasoning",
        checked="repository, file, size 5.03 GB: projects that pull it; licence: as the whole Qwen 3 family",
    ),
    CatalogueEntry(
        name="qwen3-30b-a3b",
        repo="unsloth/Qwen3-30B-A3B-Instruct-2507-GGUF",
        file="Qwen3-30B-A3B-Instruct-2507-Q4_K_M.gguf",
        quant="Q4_K_M",
        bytes=18_600_000_000,
        memory_bytes=20_000_000_000,
        parameters=30.5,
        active=3.3,
        context=262_144,
        license="Apache-2.0",
        tool_format="hermes",
        good_for="the best here where there are 24 GB: as fast as a 4B, knows as much as a 30B",
        checked="repository, file, size about 18.6 GB: projects that pull it; licence: as the whole Qwen 3 family",
    ),
)
"""From the least to the most capable."""

_PREFERRED = ("smollm2-360m", "qwen3-0.6b", "qwen3-1.7b", "qwen3-4b", "qwen3-8b", "qwen3-30b-a3b")
"""What `recommend` chooses from, the better ones last: one family, because it calls tools best for its size."""
_BILLIONS_PER_CORE = 1.0
"""About what a core can do: a prompt of 1,000 tokens is then read in a minute, not in ten."""


def recommend(hardware: Hardware) -> CatalogueEntry | None:
    """The most capable model that fits into free memory and is fast enough to talk to; None if none fits."""
    gpu = usable_gpu(hardware)
    most_active = hardware.threads * _BILLIONS_PER_CORE
    best: CatalogueEntry | None = None
    for entry in _preferred():
        on_gpu = entry.memory_bytes <= gpu
        if on_gpu or (entry.memory_bytes <= usable_ram(hardware) and entry.active <= max(most_active, 0.6)):
            best = entry
    return best


def _preferred() -> list[CatalogueEntry]:
    by_name = {entry.name: entry for entry in CATALOGUE}
    return [by_name[name] for name in _PREFERRED]


def recommend_line(hardware: Hardware) -> str:
    """One line for people, with the one command that gets and uses the recommended model."""
    entry = recommend(hardware)
    if entry is None:
        return f"No better model fits into the {gigabytes(usable_ram(hardware))} of memory that can be used."
    return (
        f"{entry.name} ({gigabytes(entry.bytes)}, {entry.license}) suits this machine: "
        f"llmos model pull {entry.name} && llmos model use {entry.name}"
    )
