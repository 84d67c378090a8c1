"""A Llama of two blocks with random weights and the first words of the embedded model, and adapters for it."""

from __future__ import annotations

import os
import signal
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from gguf import GGUFReader, GGUFWriter

from llmos.engine import adapters
from llmos.engine.gguf import read_header
from llmos.engine.store import builtin
from llmos.learn.data.example import Example, Sheet, Split
from llmos.learn.recipe import Recipe
from llmos.learn.train import Job, Plan, State, train
from llmos.messages import Context, Message

WIDTH, INNER, BLOCKS, HEADS, SHARED, TOKENS = 64, 128, 2, 4, 2, 2048
_CONTROLS, _BYTES = 17, 256
_SIZES = {
    "llama.embedding_length": WIDTH,
    "llama.feed_forward_length": INNER,
    "llama.block_count": BLOCKS,
    "llama.attention.head_count": HEADS,
    "llama.attention.head_count_kv": SHARED,
    "llama.rope.dimension_count": WIDTH // HEADS,
    "llama.vocab_size": TOKENS,
    "general.file_type": 0,
    "general.name": "Tiny",
}


@cache
def _fields() -> list[tuple[str, Any, Any, Any]]:
    reader = GGUFReader(builtin.find().path)
    # the vocabulary is that of a byte-level BPE: controls, bytes, and what each merge makes, in their order
    cut = {f"tokenizer.ggml.{name}": TOKENS for name in ("tokens", "token_type", "scores")}
    cut["tokenizer.ggml.merges"] = TOKENS - _CONTROLS - _BYTES

    def value(name: str, said: Any) -> Any:  # noqa: ANN401  # any value of a GGUF file
        return said[: cut[name]] if name in cut else _SIZES.get(name, said)

    return [
        (name, value(name, one.contents()), one.types[0], one.types[-1] if len(one.types) > 1 else None)
        for name, one in reader.fields.items()
        if not name.startswith("GGUF.") and name != "general.architecture"
    ]


def shapes() -> dict[str, tuple[int, ...]]:
    """The linear layers: weight to (out, in)."""
    head = WIDTH // HEADS
    found: dict[str, tuple[int, ...]] = {}
    for block in range(BLOCKS):
        for name, size in {
            "attn_q": (WIDTH, WIDTH),
            "attn_k": (SHARED * head, WIDTH),
            "attn_v": (SHARED * head, WIDTH),
            "attn_output": (WIDTH, WIDTH),
            "ffn_gate": (INNER, WIDTH),
            "ffn_up": (INNER, WIDTH),
            "ffn_down": (WIDTH, INNER),
        }.items():
            found[f"blk.{block}.{name}.weight"] = size
    return found


def write_model(path: Path, *, seed: int = 1) -> Path:
    """The model as a file, in F32."""
    dice = np.random.default_rng(seed)
    writer = GGUFWriter(path, "llama")
    for name, value, kind, inner in _fields():
        writer.add_key_value(name, value, kind, inner)
    norms = ["output_norm", *(f"blk.{block}.{name}" for block in range(BLOCKS) for name in ("attn_norm", "ffn_norm"))]
    writer.add_tensor("token_embd.weight", dice.normal(0, 0.2, (TOKENS, WIDTH)).astype(np.float32))
    for name in norms:
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, dtype=np.float32))
    for name, size in shapes().items():
        writer.add_tensor(name, dice.normal(0, size[1] ** -0.5, size).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def random_pairs(*, rank: int = 4, scale: float = 0.1, seed: int = 1) -> dict[str, adapters.Pair]:
    """The numbers of an adapter that changes what the model says."""
    dice = np.random.default_rng(seed)
    return {
        name: (
            dice.normal(0, scale, (rank, size[1])).astype(np.float32),
            dice.normal(0, scale, (size[0], rank)).astype(np.float32),
        )
        for name, size in shapes().items()
    }


def write_adapter(path: Path, model: Path, *, name: str = "first", seed: int = 1, **more: Any) -> Path:  # noqa: ANN401
    """An adapter for a model of `write_model`."""
    header = read_header(model)
    notes = adapters.Notes(
        name=name, model=header.name, fingerprint=header.fingerprint, prompts="forms", tokens=1000, **more
    )
    adapters.write(path, adapters.Adapter(notes, random_pairs(seed=seed), 8.0))
    return path


def damage(path: Path, out: Path, value: float = float("nan")) -> Path:
    """An adapter with one value that is no number."""
    found = adapters.read(path)
    a, b = found.pairs["blk.1.attn_q.weight"]
    a[0, 0] = value
    adapters.write(out, adapters.Adapter(found.notes, {**found.pairs, "blk.1.attn_q.weight": (a, b)}, found.alpha))
    return out


# -- a recipe and a training


def _words(random: Random, split: Split) -> Sheet:
    """Which of three words comes: one system message, so that the beginning is shared."""
    system = Message("system", f"Say the word for the number. {random.choice(['Be short.', 'One word.'])}")
    words = {"1": "one", "2": "two", "3": "three"}
    return [
        Example(
            "choose",
            Context(messages=(system, Message("user", f"Which is {number}, please?"))),
            words[number],
            tuple(words.values()),
        )
        for number in random.sample(sorted(words), 3)
    ]


def recipe() -> Recipe:
    """Something that a tiny model can learn by heart."""
    return Recipe("tiny", {"words": _words}, {"words": 1.0})


def train_on(model: Path, folder: Path, *, steps: int = 6, die_at: int = 0, workers: int = 1) -> State:
    """A training of some steps, the last tokens of which don't matter.

    Args:
        die_at: The step at which the process kills itself.
    """

    def tell(state: State) -> None:
        if state.steps == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    # no sheet is as long as that: the learning rate is the same for any number of steps
    plan = Plan(tokens=1_000_000, sheets=2, rate=5e-3, warm=2, save_seconds=0.0, workers=workers)
    count = 0

    def stopped() -> bool:
        nonlocal count
        count += 1
        return count >= steps

    return train(Job(model=model, recipe=recipe, folder=folder, plan=plan), tell=tell, stopped=stopped)
