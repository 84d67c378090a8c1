"""From a training to an adapter file, and the proof that llama.cpp says with it what torch says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmos.agents import jobs
from llmos.engine import adapters
from llmos.engine.gguf import read_header
from llmos.errors import BadArguments
from llmos.learn.train import kept

CLOSE = 0.01
"""What the mean divergence between llama.cpp and torch may be, in nats (Kullback-Leibler)."""


def convert(
    training: Path,
    model: Path,
    out: Path,
    *,
    name: str = "kernel",
    temperatures: Mapping[str, float] | None = None,
    thresholds: Mapping[str, float] | None = None,
    figures: Mapping[str, float] | None = None,
    examples: str = "",
) -> adapters.Notes:
    """Write what a training learnt as an adapter.

    Args:
        training: What `train` keeps.
        model: The GGUF file it was trained on.

    Raises:
        StorageError: The training can't be read, or the adapter can't be written.
        ModelInvalid: The model can't be read.
        BadArguments: The training is one of another model, or has values that are no numbers.
    """
    import numpy as np

    data, header = kept(training), read_header(model)
    if data["model"] != header.fingerprint:
        raise BadArguments(f"The training {str(training)!r} is not one of {str(model)!r}.", hint="Name its model.")
    pairs = {one: (a.float().numpy(), b.float().numpy()) for one, (a, b) in data["adapter"].items()}
    if not all(np.isfinite(part).all() for pair in pairs.values() for part in pair):
        raise BadArguments(f"The training {str(training)!r} has values that are no numbers.", hint="Begin it again.")
    notes = adapters.Notes(
        name=name,
        model=header.name,
        fingerprint=header.fingerprint,
        prompts=jobs.fingerprint(),
        recipe=data["recipe"],
        tokens=data["state"]["tokens"],
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        temperatures=temperatures or {},
        thresholds=thresholds or {},
        figures=figures or {},
        examples=examples,
    )
    adapters.write(out, adapters.Adapter(notes, pairs, data["alpha"]), architecture=header.architecture)
    return notes


def divergence(training: Path, model: Path, adapter: Path, texts: Sequence[Sequence[int]]) -> float:
    """How far what llama.cpp says with an adapter is from what torch says, in nats a token (Kullback-Leibler).

    Args:
        model: A GGUF file; its own quantization is part of what both compute.
        texts: Token ids.
    """
    import numpy as np
    import torch

    from llmos.learn.model import Sheet, read

    data = kept(training)
    own = read(model, rank=data["rank"], alpha=data["alpha"])
    own.load({one: (a, b) for one, (a, b) in data["adapter"].items()})
    total, count = 0.0, 0
    for text, logits in zip(texts, _logits(model, adapter, texts), strict=True):
        with torch.no_grad():
            ours = own([Sheet(text[:1], [text[1:]])], torch.arange(len(text))).float()
        theirs = torch.log_softmax(torch.as_tensor(np.array(logits)), dim=-1)
        shares = torch.log_softmax(ours, dim=-1)
        total += float((shares.exp() * (shares - theirs)).sum())
        count += len(text)
    return total / count


def _logits(model: Path, adapter: Path, texts: Sequence[Sequence[int]]) -> list[Any]:
    import llama_cpp
    import numpy as np

    longest = max(map(len, texts))
    llama = llama_cpp.Llama(
        str(model), lora_path=str(adapter), logits_all=True, n_ctx=longest, n_batch=longest, verbose=False
    )
    found: list[Any] = []
    for text in texts:
        llama.reset()  # type: ignore[no-untyped-call]
        llama.eval(list(text))
        found.append(np.array(llama.scores[: len(text)], dtype=np.float32))
    llama.close()
    return found
