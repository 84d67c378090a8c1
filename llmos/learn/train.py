"""Trains an adapter on a recipe, on a CPU or a GPU; it can be stopped at any time and taken up again.

The loss is that of the answers only. What is kept (`training.pt`) holds the adapter, the optimizer and how far the
recipe was read: a resumed training is the one that was stopped. Knows no job and no engine.
"""

# torch's own types leave much open
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math
import multiprocessing
import os
import pickle
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmos.errors import OutOfMemory, StorageError, Unfinished
from llmos.learn.packing import Encoder, Packed, pack

if TYPE_CHECKING:
    import torch

    from llmos.learn.recipe import Recipe

FILE = "training.pt"
_VERSION = 1
_SMOOTH = 0.98
_CURVE = 50
_WAIT = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to train.

    Attributes:
        tokens: How many are read in all; the learning rate falls to 0 until then.
        sheets: How many are read for one change of the adapter.
        rate: The highest learning rate, reached after `warm` changes.
        seed: Of the recipe and of the adapter's first values.
        save_seconds: How often what was learnt is kept.
        device: As torch names it.
        workers: Processes of one thread each that share the work of a CPU: a fifth faster than one with as many
            threads, and no thread waits for another that lost its core. On a GPU there is one.
    """

    tokens: int = 7_300_000
    sheets: int = 4
    rate: float = 7e-4
    warm: int = 30
    clip: float = 1.0
    seed: int = 1
    save_seconds: float = 600.0
    device: str = "cpu"
    workers: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to train, on what, and where it is kept.

    Attributes:
        model: A GGUF file.
        recipe: Makes the recipe; each worker calls it, so it must be picklable.
        folder: A training that is there is gone on with.
    """

    model: Path
    recipe: Callable[[], Recipe]
    folder: Path
    plan: Plan


@dataclass(slots=True)
class State:
    """How far a training is.

    Attributes:
        steps: Changes of the adapter.
        sheets: Those of the recipe that were read.
        answers: Tokens of the answers among `tokens`.
        losses: The smoothed loss of each maker.
        curve: Tokens read, and the mean of `losses`, every 50 changes.
    """

    steps: int = 0
    sheets: int = 0
    tokens: int = 0
    answers: int = 0
    seconds: float = 0.0
    losses: dict[str, float] = field(default_factory=dict[str, float])
    curve: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])

    @property
    def loss(self) -> float:
        """The mean over the makers."""
        return sum(self.losses.values()) / max(len(self.losses), 1)


def train(
    job: Job, *, tell: Callable[[State], None] = lambda _: None, stopped: Callable[[], bool] = lambda: False
) -> State:
    """Train until the plan's tokens are read, or until it is stopped.

    Args:
        tell: Called after each change of the adapter.
        stopped: Asked after each change; what was learnt is kept before it ends.

    Raises:
        ModelError: The model can't be read.
        StorageError: What is kept can't be read or written, or is of another training.
        OutOfMemory: There is too little memory.
        LlmosError: That of the recipe.
    """
    workers = job.plan.workers
    with tempfile.TemporaryDirectory(prefix="llmos-train-") as folder:
        meeting = Path(folder) / "meeting"
        context = multiprocessing.get_context("spawn")
        others = [context.Process(target=_help, args=(job, rank, meeting), daemon=True) for rank in range(1, workers)]
        try:
            with _unheard():
                for one in others:
                    one.start()
            return _Trainer(job, 0, meeting).run(tell, stopped)
        finally:
            for one in others:
                one.join(5.0)
                one.kill()


@contextmanager
def _unheard() -> Generator[None]:
    """What is started meanwhile never hears of Ctrl-C, not even before it could ignore it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _help(job: Job, rank: int, meeting: Path) -> None:
    """What the other workers do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first worker is told, and tells the others
    _Trainer(job, rank, meeting).run(lambda _: None, lambda: False)


class _Trainer:
    """One worker: all read the same recipe, each learns its part of a batch, and all change the same adapter alike."""

    def __init__(self, job: Job, rank: int, meeting: Path) -> None:
        import torch
        from torch import distributed

        from llmos.learn.model import read

        self.job, self.plan, self.rank, self.recipe = job, job.plan, rank, job.recipe()
        if job.plan.workers > 1:
            torch.set_num_threads(1)
            distributed.init_process_group(
                "gloo", init_method=meeting.as_uri(), rank=rank, world_size=job.plan.workers, timeout=_WAIT
            )
        torch.manual_seed(job.plan.seed)
        self.encoder = Encoder(job.model)
        self.model = read(job.model, device=job.plan.device)
        self.trained = [parameter for pair in self.model.adapter().values() for parameter in pair]
        self.optimizer = _optimizer(self.trained)
        self.state = self._resumed(job.folder / FILE)

    def run(self, tell: Callable[[State], None], stopped: Callable[[], bool]) -> State:
        """Train to the end."""
        kept = began = time.monotonic()
        before, state, over = self.state.seconds, self.state, self.state.tokens >= self.plan.tokens
        try:
            while not over:
                losses = self._step()
                state.seconds = before + time.monotonic() - began
                self._count(losses)
                tell(state)
                over = self._any(stopped()) or state.tokens >= self.plan.tokens
                if self.rank == 0 and (over or time.monotonic() - kept > self.plan.save_seconds):
                    self._keep(self.job.folder / FILE)
                    kept = time.monotonic()
        except RuntimeError as error:
            if "memory" not in str(error).lower():
                raise
            raise OutOfMemory(
                f"There is too little memory to train: {error}.",
                hint=f"Give fewer workers or sheets a change than {self.plan.sheets}; "
                f"what was learnt is in {str(self.job.folder)!r}.",
            ) from error
        finally:
            self.encoder.close()
            if self.plan.workers > 1:
                from torch import distributed

                distributed.destroy_process_group()
        return state

    def _step(self) -> list[tuple[str, float, float]]:
        """One change of the adapter; the loss and the weight of each maker's answers."""
        import torch
        from torch import distributed

        parts = self._parts()
        total = sum(weight for part in parts for _, packed in part for weight in packed.weights)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        self.optimizer.zero_grad(set_to_none=True)
        mine = parts[self.rank]
        found = self._learn(mine, total) if mine else []
        for one in self.trained:
            if one.grad is None:  # nothing fell to this worker
                one.grad = torch.zeros_like(one)
        if self.plan.workers > 1:
            flat = torch.cat([one.grad.flatten() for one in self.trained if one.grad is not None])
            distributed.all_reduce(flat)
            parts_of = flat.split([one.numel() for one in self.trained])  # type: ignore[no-untyped-call]
            for one, part in zip(self.trained, parts_of, strict=True):
                one.grad = part.view_as(one)
            lists: list[Any] = [None] * self.plan.workers
            distributed.all_gather_object(lists, found)
            found = [item for items in lists for item in items]
        torch.nn.utils.clip_grad_norm_(self.trained, self.plan.clip)
        self.optimizer.step()
        self.state.tokens += sum(packed.tokens for part in parts for _, packed in part)
        self.state.answers += sum(len(packed.targets) for part in parts for _, packed in part)
        return found

    def _rate(self) -> float:
        state, plan = self.state, self.plan
        return plan.rate * min((state.steps + 1) / plan.warm, max(1.0 - state.tokens / plan.tokens, 0.0))

    def _parts(self) -> list[list[tuple[str, Packed]]]:
        """The next sheets with their makers, divided among the workers so that each has about as much to read."""
        start, end = self.state.sheets, self.state.sheets + self.plan.sheets
        self.state.sheets = end
        sheets: list[tuple[str, Packed]] = []
        for number in range(start, end):
            name, sheet = self.recipe.sheet(self.plan.seed, number)
            sheets.append((name, pack([[self.encoder.encode(one) for one in sheet]])))
        sheets.sort(key=lambda one: -one[1].tokens)
        parts: list[list[tuple[str, Packed]]] = [[] for _ in range(self.plan.workers)]
        for one in sheets:
            min(parts, key=lambda part: sum(packed.tokens for _, packed in part)).append(one)
        return parts

    def _learn(self, part: list[tuple[str, Packed]], total: float) -> list[tuple[str, float, float]]:
        """Add the gradients of some sheets."""
        import torch

        device, start = self.model.embedding.device, 0
        rows: list[int] = []
        for _, packed in part:
            rows += [start + row for row in packed.rows]
            start += packed.tokens
        targets = torch.tensor([target for _, packed in part for target in packed.targets], device=device)
        weights = torch.tensor([weight for _, packed in part for weight in packed.weights], device=device)
        sheets = [sheet for _, packed in part for sheet in packed.sheets]
        logits = self.model(sheets, torch.tensor(rows, device=device))
        losses = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none") * weights
        loss = losses.sum() / total
        if not math.isfinite(float(loss.detach())):
            raise Unfinished("The loss is no number any more.", hint="Go on with a lower learning rate.")
        loss.backward()  # type: ignore[no-untyped-call]
        found: list[tuple[str, float, float]] = []
        values, start = losses.tolist(), 0
        for name, packed in part:
            end = start + len(packed.targets)
            found.append((name, sum(values[start:end]), sum(packed.weights)))
            start = end
        return found

    def _count(self, losses: list[tuple[str, float, float]]) -> None:
        state = self.state
        state.steps += 1
        for name, loss, weight in losses:
            mean = loss / weight
            state.losses[name] = _SMOOTH * state.losses.get(name, mean) + (1 - _SMOOTH) * mean
        if state.steps % _CURVE == 0:
            state.curve.append((state.tokens, state.loss))

    def _any(self, said: bool) -> bool:  # the value that is asked about
        """Whether it is so for any worker."""
        if self.plan.workers == 1:
            return said
        import torch
        from torch import distributed

        flag = torch.tensor([int(said)])
        distributed.all_reduce(flag)
        return bool(flag.item())

    def _keep(self, file: Path) -> None:
        adapter = {name: [a.detach().cpu(), b.detach().cpu()] for name, (a, b) in self.model.adapter().items()}
        _write(file, {**self._own(), "alpha": self.model.alpha}, self.state, adapter, self.optimizer)

    def _own(self) -> dict[str, Any]:
        """What a training must have in common with this one to be gone on with."""
        return {
            "recipe": self.recipe.name,
            "model": self.encoder.fingerprint,
            "seed": self.plan.seed,
            "rank": self.model.rank,
        }

    def _resumed(self, file: Path) -> State:
        if not file.exists():
            return State()
        data = kept(file)
        if other := {name: data[name] for name, value in self._own().items() if data[name] != value}:
            hint = "Name another folder, or move it aside."
            raise StorageError(f"The training {str(file)!r} is another one: {other}.", hint=hint)
        self.model.load({name: (a, b) for name, (a, b) in data["adapter"].items()})
        self.optimizer.load_state_dict(data["optimizer"])
        return State(**data["state"])


def _optimizer(trained: Sequence[torch.Tensor]) -> torch.optim.Optimizer:
    """Adam; each step sets the learning rate."""
    import torch

    return torch.optim.AdamW(trained, betas=(0.9, 0.99), weight_decay=0.0)


# -- what is kept


def begin(folder: Path, job: Mapping[str, Any], adapter: Mapping[str, list[torch.Tensor]]) -> None:
    """Keep a training that has read nothing yet, and starts from an adapter.

    Args:
        job: Its `recipe`, the `model`'s fingerprint, its `seed`, and the adapter's `rank` and `alpha`.
        adapter: A and B by the name of the weight.

    Raises:
        StorageError: It can't be written.
    """
    fresh = _optimizer([one for pair in adapter.values() for one in pair])
    _write(folder / FILE, job, State(), adapter, fresh)


def _write(
    file: Path,
    job: Mapping[str, Any],
    state: State,
    adapter: Mapping[str, list[torch.Tensor]],
    optimizer: torch.optim.Optimizer,
) -> None:
    import torch

    data = {
        "version": _VERSION,
        **job,
        "state": asdict(state),
        "adapter": dict(adapter),
        "optimizer": optimizer.state_dict(),
    }
    new = file.with_suffix(".new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with new.open("wb") as handle:
            torch.save(data, handle)
            handle.flush()
            os.fsync(handle.fileno())
        new.replace(file)
    except (OSError, RuntimeError) as error:
        with suppress(OSError):
            new.unlink()
        said = f"What was learnt could not be kept in {str(file)!r}: {error}."
        raise StorageError(said, hint="Free some disk space; what was kept before is still there.") from error


def kept(file: Path) -> dict[str, Any]:
    """What was kept of a training.

    Raises:
        StorageError: It can't be read.
    """
    import torch

    try:
        data: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        if data["version"] != _VERSION:
            raise ValueError(f"it is of version {data['version']}")
        return data
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
        hint = "Move it aside to begin a new one."
        raise StorageError(f"The training {str(file)!r} can't be read: {error}.", hint=hint) from error
