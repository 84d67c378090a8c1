"""LoRA adapters on the real engine: chosen per request, never mixed up, and refused when they don't fit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import gguf
import numpy as np
import pytest
import pytest_asyncio

from llmos.engine.llama import LlamaEngine, LlamaOptions
from llmos.errors import ModelInvalid
from llmos.messages import Context
from tests.engine.llama.conftest import ask, run

pytestmark = [pytest.mark.model, pytest.mark.asyncio(loop_scope="module")]


def write_adapter(path: Path, *, width: int = 576, scale: float = 0.3) -> Path:
    """A random adapter over the first layers' query projections."""
    dice = np.random.default_rng(1)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 8.0)
    for layer in range(8):
        name = f"blk.{layer}.attn_q.weight"
        writer.add_tensor(f"{name}.lora_a", dice.normal(0, scale, (8, width)).astype(np.float32))
        writer.add_tensor(f"{name}.lora_b", dice.normal(0, scale, (width, 8)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(model: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[LlamaEngine]:
    folder = tmp_path_factory.mktemp("adapters")
    adapters = {
        "wild": write_adapter(folder / "wild.gguf"),
        "misfit": write_adapter(folder / "misfit.gguf", width=100),
        "broken": folder / "broken.gguf",
    }
    adapters["broken"].write_bytes(adapters["wild"].read_bytes()[:2000])
    opened = await LlamaEngine.load(model, LlamaOptions(context=512, cells=1024, adapters=adapters))
    yield opened
    await opened.close()


async def test_requests_with_and_without_an_adapter_run_side_by_side(engine: LlamaEngine) -> None:
    prompt = Context(text="The quick brown fox jumps over")
    alone = {name: (await run(engine, ask(prompt, adapter=name, max_tokens=8)))[1] for name in ("", "wild")}
    assert alone[""].message.content != alone["wild"].message.content
    both = await asyncio.gather(*(run(engine, ask(prompt, adapter=name, max_tokens=8)) for name in ("", "wild") * 2))
    for (_, end), name in zip(both, ("", "wild") * 2, strict=True):
        assert end.message.content == alone[name].message.content


async def test_state_made_under_an_adapter_is_not_used_without_it(engine: LlamaEngine) -> None:
    prompt = Context(text="A prompt that only the adapter has read so far, in these very words")
    _, first = await run(engine, ask(prompt, adapter="wild", max_tokens=1))
    _, plain = await run(engine, ask(prompt, max_tokens=1))
    _, again = await run(engine, ask(prompt, adapter="wild", max_tokens=1))
    assert first.usage.reused_tokens == 0
    assert plain.usage.reused_tokens < 3
    assert again.usage.reused_tokens == again.usage.prompt_tokens - 1


@pytest.mark.parametrize("name", ["misfit", "broken"])
async def test_an_adapter_that_does_not_fit_fails_its_request_alone(engine: LlamaEngine, name: str) -> None:
    good = asyncio.ensure_future(run(engine, ask("Say hello.", max_tokens=4)))
    with pytest.raises(ModelInvalid):
        await run(engine, ask("Hello", adapter=name))
    assert (await good)[1].usage.generated_tokens
