"""A Llama in torch, read from a GGUF file, that learns by low-rank adapters (LoRA, Hu et al. 2021, arXiv:2106.09685).

Weights keep the names and the layout of the file, so that an adapter goes back into a GGUF file as it is. The model
reads *sheets*: a beginning that several continuations share, which is computed once, as the engine's prefix tree does.
That is why it is written out here: on a CPU it trains at twice the speed of a general implementation. The base is
frozen, in bfloat16; adapters are float32. Knows no data and no training loop.
"""

# torch's own types leave much open
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from llmos.errors import BadArguments, ModelError

RANK = 16
ALPHA = 32.0
PARTS: Mapping[str, tuple[str, ...]] = {
    "attention": ("attn_q", "attn_k", "attn_v"),
    "output": ("attn_output",),
    "up": ("ffn_gate", "ffn_up"),
    "down": ("ffn_down",),
}
"""The linear layers of a block that read the same input are one matrix."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a model.

    Attributes:
        width: Of a token's state; `inner` is that of the feed-forward layer.
        heads, shared: Heads of queries, and of keys and values.
        base: Of the rotary positions.
    """

    blocks: int
    width: int
    inner: int
    heads: int
    shared: int
    vocabulary: int
    epsilon: float
    base: float

    @property
    def head(self) -> int:
        """The width of one head."""
        return self.width // self.heads


@dataclass(frozen=True, slots=True)
class Sheet:
    """Token ids: a beginning, and what follows it, each by itself.

    Attributes:
        beginning: Shape (P,), at least one.
        branches: Each of shape (L,), at least one.
    """

    beginning: Sequence[int]
    branches: Sequence[Sequence[int]]

    @property
    def tokens(self) -> int:
        """How many are read."""
        return len(self.beginning) + sum(map(len, self.branches))


# Compiled, because torch's own backward of the norm takes 50 times as long on a CPU, the others twice.


@torch.compile(dynamic=True)
def _normed(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    return functional.rms_norm(x, weight.shape, weight, epsilon)


@torch.compile(dynamic=True)
def _gated(x: Tensor) -> Tensor:
    gate, up = x.chunk(2, dim=1)
    return functional.silu(gate) * up


@torch.compile(dynamic=True)
def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


@torch.compile(dynamic=True)
def _shares(scores: Tensor, scale: float) -> Tensor:
    return functional.softmax(scores.float() * scale, dim=-1).to(scores.dtype)


class Linear(nn.Module):
    """Frozen linear layers over one input, each with its adapter."""

    base: Tensor

    def __init__(self, weights: Sequence[Tensor], rank: int, scale: float) -> None:
        super().__init__()
        self.register_buffer("base", torch.cat(list(weights)), persistent=False)
        self.scale, width = scale, weights[0].shape[1]
        self.a = nn.ParameterList(torch.empty(rank, width) for _ in weights)
        self.b = nn.ParameterList(torch.zeros(weight.shape[0], rank) for weight in weights)
        for one in self.a:
            nn.init.kaiming_uniform_(one, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """(rows, in) to (rows, all outs)."""
        down = torch.cat(list(self.a)).to(x.dtype)
        up = (torch.block_diag(*self.b) * self.scale).to(x.dtype)  # type: ignore[no-untyped-call]
        return functional.linear(x, self.base) + functional.linear(functional.linear(x, down), up)


class Block(nn.Module):
    """One layer: attention and feed-forward."""

    norm: Tensor
    norm_forward: Tensor
    attention: Linear
    output: Linear
    up: Linear
    down: Linear

    def __init__(self, shape: Shape, weights: Mapping[str, Tensor], rank: int, scale: float) -> None:
        super().__init__()
        self.shape = shape
        for part, names in PARTS.items():
            self.add_module(part, Linear([weights[name] for name in names], rank, scale))
        self.register_buffer("norm", weights["attn_norm"], persistent=False)
        self.register_buffer("norm_forward", weights["ffn_norm"], persistent=False)

    def forward(self, x: Tensor, plan: Plan) -> Tensor:
        """(rows, width) to the same, rows as in the plan."""
        shape = self.shape
        read = self.attention.forward(_normed(x, self.norm, shape.epsilon))
        read = read.view(-1, shape.heads + 2 * shape.shared, shape.head)
        turned = _turned(read[:, : shape.heads + shape.shared], plan.cos, plan.sin)
        queries, keys = turned.split([shape.heads, shape.shared], dim=1)  # type: ignore[no-untyped-call]
        x = x + self.output.forward(plan.attend(queries, keys, read[:, shape.heads + shape.shared :]))
        return x + self.down.forward(_gated(self.up.forward(_normed(x, self.norm_forward, shape.epsilon))))


class Plan:
    """Where the rows of some sheets stand, and what each may look at.

    Rotary positions are as in GGUF files: neighbouring values are turned. Rows are the sheets one after the other, each
    with its beginning and then its branches.
    """

    def __init__(self, sheets: Sequence[Sheet], shape: Shape, device: torch.device) -> None:
        self.ids = torch.tensor([i for one in sheets for i in (*one.beginning, *(t for b in one.branches for t in b))])
        self.ids = self.ids.to(device)
        places = torch.tensor(
            [
                place
                for one in sheets
                for place in (
                    *range(len(one.beginning)),
                    *(len(one.beginning) + offset for branch in one.branches for offset in range(len(branch))),
                )
            ]
        )
        rates = shape.base ** (-torch.arange(0, shape.head, 2).double() / shape.head)
        angles = places.double()[:, None] * rates
        self.cos = angles.cos().to(device, torch.bfloat16)[:, None]
        self.sin = angles.sin().to(device, torch.bfloat16)[:, None]
        self.groups, self.scale = shape.heads // shape.shared, shape.head**-0.5
        self.spans: list[_Span] = []
        start = 0
        for one in sheets:
            self.spans.append(_Span(start, one, device))
            start += one.tokens

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(rows, heads, head) and (rows, shared, head) twice to (rows, heads · head)."""
        parts = [span.attend(queries, keys, values, self.groups, self.scale) for span in self.spans]
        return torch.cat(parts)


class _Span:
    """The rows of one sheet."""

    def __init__(self, start: int, sheet: Sheet, device: torch.device) -> None:
        self.start, self.first = start, start + len(sheet.beginning)
        lengths = [len(branch) for branch in sheet.branches]
        self.end, self.count, self.longest = self.first + sum(lengths), len(lengths), max(lengths)
        rows, at = torch.zeros(self.count, self.longest, dtype=torch.long), 0
        back = torch.zeros(sum(lengths), dtype=torch.long)
        for number, length in enumerate(lengths):
            rows[number, :length] = torch.arange(at, at + length)
            back[at : at + length] = number * self.longest + torch.arange(length)
            at += length
        self.rows, self.back = rows.flatten().to(device), back.to(device)
        self.causal = _causal(len(sheet.beginning), device)
        self.causal_branch = _causal(self.longest, device)

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, groups: int, scale: float) -> Tensor:
        begins, rest = slice(self.start, self.first), slice(self.first, self.end)
        shared, head = keys.shape[1:]
        kept = keys[begins].permute(1, 2, 0)  # (shared, head, P)
        said = values[begins].transpose(0, 1)  # (shared, P, head)

        def grouped(x: Tensor) -> Tensor:
            """(rows, heads, head) to (shared, groups, rows, head)."""
            return x.reshape(-1, shared, groups, head).permute(1, 2, 0, 3)

        count = self.first - self.start
        scores = (grouped(queries[begins]).reshape(shared, -1, head) @ kept).view(shared, groups, count, count)
        shares = _shares(scores + self.causal, scale)
        first = (shares.view(shared, -1, count) @ said).view(shared, groups, count, head)

        asked = grouped(queries[rest].index_select(0, self.rows))  # (shared, groups, N · L, head), padded
        size = (shared, groups, self.count, self.longest)
        old = (asked.reshape(shared, -1, head) @ kept).view(*size, count)
        own_keys = (
            keys[rest].index_select(0, self.rows).view(self.count, self.longest, shared, head).permute(2, 0, 3, 1)
        )
        own_values = (
            values[rest].index_select(0, self.rows).view(self.count, self.longest, shared, head).permute(2, 0, 1, 3)
        )
        own_queries = asked.view(*size, head).transpose(1, 2)  # (shared, N, groups, L, head)
        new = own_queries.flatten(2, 3) @ own_keys
        new = new.view(shared, self.count, groups, self.longest, self.longest).transpose(1, 2)
        shares = _shares(torch.cat((old, new + self.causal_branch), dim=-1), scale)
        to_old, to_new = shares.split([count, self.longest], dim=-1)  # type: ignore[no-untyped-call]
        out = (to_old.reshape(shared, -1, count) @ said).view(*size, head)
        late = to_new.transpose(1, 2).flatten(2, 3) @ own_values
        out = out + late.view(shared, self.count, groups, self.longest, head).transpose(1, 2)

        both = torch.cat(
            (first.flatten(0, 1), out.reshape(shared * groups, -1, head).index_select(1, self.back)), dim=1
        )
        return both.transpose(0, 1).flatten(1)


def _causal(length: int, device: torch.device) -> Tensor:
    return torch.full((length, length), -math.inf, dtype=torch.bfloat16).triu(1).to(device)


class Model(nn.Module):
    """A frozen Llama with an adapter that can be trained."""

    embedding: Tensor
    head: Tensor
    norm: Tensor

    def __init__(self, shape: Shape, weights: Mapping[str, Tensor], *, rank: int = RANK, alpha: float = ALPHA) -> None:
        super().__init__()
        self.shape, self.rank, self.alpha = shape, rank, alpha
        self.blocks = nn.ModuleList(
            Block(shape, _of_block(weights, number), rank, alpha / rank) for number in range(shape.blocks)
        )
        self.register_buffer("embedding", weights["token_embd"], persistent=False)
        self.register_buffer("norm", weights["output_norm"], persistent=False)
        self.register_buffer("head", weights.get("output", weights["token_embd"]), persistent=False)

    def forward(self, sheets: Sequence[Sheet], rows: Tensor) -> Tensor:
        """Logits.

        Args:
            rows: Of the sheets one after the other, those whose next token is asked for, shape (N,).

        Returns:
            Shape (N, vocabulary), bfloat16.
        """
        plan = Plan(sheets, self.shape, self.embedding.device)
        x = functional.embedding(plan.ids, self.embedding)
        for block in self.blocks:
            x = block(x, plan)
        x = _normed(x.index_select(0, rows), self.norm, self.shape.epsilon)
        return functional.linear(x, self.head)

    def adapter(self) -> dict[str, tuple[Tensor, Tensor]]:
        """The adapter: matrices A (rank, in) and B (out, rank) by the name of the weight, `blk.0.attn_q.weight`."""
        found: dict[str, tuple[Tensor, Tensor]] = {}
        for number, block in enumerate(self.blocks):
            for part, names in PARTS.items():
                linear = cast(Linear, getattr(block, part))
                for name, a, b in zip(names, linear.a, linear.b, strict=True):
                    found[f"blk.{number}.{name}.weight"] = (a, b)
        return found

    def load(self, adapter: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Take over an adapter's values.

        Raises:
            BadArguments: It is one of another model, or has values that are no numbers.
        """
        own = self.adapter()
        if adapter.keys() != own.keys():
            raise BadArguments("The adapter has other layers than the model.", hint="Take the one made for this model.")
        with torch.no_grad():
            for name, (a, b) in own.items():
                for mine, other in ((a, adapter[name][0]), (b, adapter[name][1])):
                    if mine.shape != other.shape or not torch.isfinite(other).all():
                        raise BadArguments(f"The adapter does not fit: {name!r} has {tuple(other.shape)}.")
                    mine.copy_(other)


def read(path: Path, *, rank: int = RANK, alpha: float = ALPHA, device: str = "cpu") -> Model:
    """A model with a fresh adapter.

    Raises:
        ModelError: The file can't be read, or is no Llama.
    """
    import numpy as np
    from gguf import GGUFReader
    from gguf.quants import dequantize

    try:
        reader = GGUFReader(path)
        shape = _shape(reader)
        weights = {
            tensor.name.removesuffix(".weight"): torch.from_numpy(
                dequantize(np.array(tensor.data), tensor.tensor_type)
            ).to(device, torch.bfloat16)
            for tensor in reader.tensors
        }
        return Model(shape, weights, rank=rank, alpha=alpha).to(device)
    except (OSError, ValueError, KeyError, IndexError, RuntimeError) as error:
        hint = "Training needs a GGUF file of the architecture 'llama'."
        raise ModelError(f"The model {str(path)!r} can't be read for training: {error}.", hint=hint) from error


def _shape(reader: Any) -> Shape:  # noqa: ANN401  # gguf-py has no types
    def value(name: str) -> Any:  # noqa: ANN401  # a number or a string
        return reader.fields[name].contents()

    if (architecture := value("general.architecture")) != "llama":
        raise ValueError(f"its architecture is {architecture!r}")
    heads = int(value("llama.attention.head_count"))
    return Shape(
        blocks=int(value("llama.block_count")),
        width=int(value("llama.embedding_length")),
        inner=int(value("llama.feed_forward_length")),
        heads=heads,
        shared=int(value("llama.attention.head_count_kv")),
        vocabulary=next(int(tensor.shape[1]) for tensor in reader.tensors if tensor.name == "token_embd.weight"),
        epsilon=float(value("llama.attention.layer_norm_rms_epsilon")),
        base=float(value("llama.rope.freq_base")),
    )


def _of_block(weights: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
    start = f"blk.{number}."
    return {name.removeprefix(start): weight for name, weight in weights.items() if name.startswith(start)}
