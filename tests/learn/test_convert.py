"""From a training to an adapter: llama.cpp says with it what torch says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llmos.agents import jobs
from llmos.engine import adapters
from llmos.errors import BadArguments, ModelInvalid
from llmos.learn.convert import CLOSE, convert, divergence
from llmos.learn.install import begin
from llmos.learn.train import FILE, kept
from tests.learn import tiny


@pytest.fixture(scope="module")
def training(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    tiny.train_on(model, folder, steps=8)
    return folder / FILE


@pytest.mark.model
def test_llama_cpp_says_with_the_adapter_what_torch_says(model: Path, training: Path, tmp_path: Path) -> None:
    notes = convert(training, model, tmp_path / "a.gguf", name="mine", temperatures={"choose": 1.5})
    assert (notes.name, notes.prompts, notes.recipe) == ("mine", jobs.fingerprint(), "tiny")
    assert adapters.check_fits(tmp_path / "a.gguf", model) == notes
    dice = np.random.default_rng(1)
    texts = [[int(one) for one in dice.integers(20, tiny.TOKENS, 24)] for _ in range(4)]
    found = divergence(training, model, tmp_path / "a.gguf", texts)
    assert found <= CLOSE
    # an adapter that does nothing is not as close: the test can fail
    pairs = {name: (a, 0 * b) for name, (a, b) in adapters.read(tmp_path / "a.gguf").pairs.items()}
    adapters.write(tmp_path / "none.gguf", adapters.Adapter(notes, pairs, 32.0))
    assert divergence(training, model, tmp_path / "none.gguf", texts) > 2 * found


def test_a_training_of_another_model_is_not_converted(training: Path, tmp_path: Path) -> None:
    other = tiny.write_model(tmp_path / "other.gguf", seed=8)
    with pytest.raises(BadArguments, match="not one of"):
        convert(training, other, tmp_path / "a.gguf")
    assert not (tmp_path / "a.gguf").exists()


def test_values_that_are_no_numbers_are_not_converted(model: Path, training: Path, tmp_path: Path) -> None:
    import torch

    data = kept(training)
    data["adapter"]["blk.0.attn_q.weight"][0][0, 0] = float("nan")
    torch.save(data, tmp_path / FILE)
    with pytest.raises(BadArguments, match="no numbers"):
        convert(tmp_path / FILE, model, tmp_path / "a.gguf")


def test_a_training_begins_with_an_adapter(model: Path, training: Path, tmp_path: Path) -> None:
    convert(training, model, tmp_path / "a.gguf")
    begin(tmp_path / "next", model=model, adapter=tmp_path / "a.gguf", seed=1)
    old, new = kept(training), kept(tmp_path / "next" / FILE)
    for name, (a, b) in old["adapter"].items():
        change = (b @ a).numpy() * old["alpha"] / old["rank"]
        first, second = new["adapter"][name]
        assert np.allclose((second @ first).numpy() * new["alpha"] / new["rank"], change, atol=1e-3)
    assert new["state"]["tokens"] == 0
    low = tiny.write_adapter(tmp_path / "low.gguf", model)  # another rank, another alpha
    begin(tmp_path / "next", model=model, adapter=low, seed=1)
    found = adapters.read(low)
    a, b = kept(tmp_path / "next" / FILE)["adapter"]["blk.0.ffn_down.weight"]
    assert np.allclose((b @ a).numpy() * 2, found.change("blk.0.ffn_down.weight"), atol=1e-3)
    with pytest.raises(ModelInvalid):
        begin(tmp_path / "next", model=tiny.write_model(tmp_path / "o.gguf", seed=8), adapter=low, seed=1)
