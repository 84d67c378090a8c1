"""From the user's own traces to a better adapter: training goes on from the one in use, and the new one is installed
only if it is better beyond the noise.

Traces are mixed with sheets of the kernel's recipe, half and half, against forgetting (rehearsal, Robins 1995). Knows
no terminal.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from llmos.errors import BadArguments, StorageError
from llmos.learn import traces, train
from llmos.learn.data.example import Example, Sheet, Split
from llmos.learn.evaluate import ask, digest
from llmos.learn.figures import Difference, Row, difference, measure
from llmos.learn.packing import Encoder, pack
from llmos.learn.recipe import Recipe, kernel
from llmos.learn.train import FILE, Job, Plan, State

if TYPE_CHECKING:
    from llmos.kernel.protocols import Engine

NAME = "traces"
EPOCHS = 3
RATE = 2e-4
WARM = 5
FEWEST = 4
"""Fewer examples to train on, or held back, are not worth a training."""
CHECKED = 60
"""Cases of each row of the kernel's own jobs on which a new adapter must not be worse."""
JOBS = ("choose", "fill", "whom", "verdict")
_SAMPLED = 12


@dataclass(frozen=True, slots=True)
class Mixed(Recipe):
    """Sheets of examples, each as often as the others, and as many of another recipe between them."""

    own: tuple[Sheet, ...] = field(default=(), repr=False)

    def sheet(self, seed: int, number: int, split: Split = "train") -> tuple[str, Sheet]:
        """A sheet, and the name of its maker."""
        if number % 2:
            return Recipe.sheet(self, seed, number, split)
        epoch, place = divmod(number // 2, len(self.own))
        order = list(range(len(self.own)))
        Random(f"{seed} {epoch} {NAME}").shuffle(order)
        return NAME, self.own[order[place]]


def recipe(squad: Path | None = None) -> Mixed:
    """The kept examples that are trained on, with sheets of the kernel's recipe.

    Raises:
        StorageError: The examples or `squad` can't be read.
        BadArguments: There are none.
    """
    own = traces.sheets(one for one in traces.kept() if one.part == "train")
    if not own:
        raise BadArguments("There are no examples to train on.", hint="Agree to some: `llmos learn from-traces`.")
    base = kernel(squad)
    return Mixed(NAME, base.makers, base.shares, own=tuple(own))


def begin(folder: Path, *, model: Path, adapter: Path | None, seed: int) -> None:
    """Make a training that starts from an adapter, in place of one that may be there; from none, an empty folder.

    Raises:
        StorageError: It can't be written.
        ModelInvalid: The adapter is damaged, or of another model.
        BadArguments: Its rank is higher than that of trainings.
    """
    import torch

    from llmos.engine import adapters
    from llmos.engine.gguf import read_header
    from llmos.learn.model import ALPHA, RANK

    file = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{str(folder)!r} can't be written: {error}.", hint="Check its rights.") from error
    if adapter is None:
        return
    adapters.check_fits(adapter, model)
    found = adapters.read(adapter)
    pairs: dict[str, list[torch.Tensor]] = {}
    for name, (a, b) in found.pairs.items():
        rank = a.shape[0]
        if rank > RANK:
            raise BadArguments(f"The adapter {str(adapter)!r} has the rank {rank}, over {RANK}.", hint="Train anew.")
        wide_a, wide_b = torch.zeros(RANK, a.shape[1]), torch.zeros(b.shape[0], RANK)
        wide_a[:rank], wide_b[:, :rank] = torch.as_tensor(a), torch.as_tensor(b) * (found.alpha / rank * RANK / ALPHA)
        pairs[name] = [wide_a, wide_b]
    job = {"recipe": NAME, "model": read_header(model).fingerprint, "seed": seed, "rank": RANK, "alpha": ALPHA}
    train.begin(folder, job, pairs)


def plan(model: Path, *, squad: Path | None = None, seed: int = 1, workers: int = 1, device: str = "cpu") -> Plan:
    """How to train on the kept examples: each is read three times.

    Raises:
        ModelInvalid: The model can't be read.
        StorageError, BadArguments: As `recipe`.
    """
    mixed, encoder = recipe(squad), Encoder(model)
    try:
        own = sum(pack([[encoder.encode(one) for one in sheet]]).tokens for sheet in mixed.own)
        others = [mixed.sheet(seed, 2 * number + 1)[1] for number in range(_SAMPLED)]
        mean = sum(pack([[encoder.encode(one) for one in sheet]]).tokens for sheet in others) / _SAMPLED
    finally:
        encoder.close()
    tokens = EPOCHS * (own + int(mean * len(mixed.own)))
    return Plan(tokens=tokens, rate=RATE, warm=WARM, seed=seed, workers=workers, device=device, sheets=4)


def learn(
    folder: Path,
    model: Path,
    chosen: Plan,
    *,
    squad: Path | None = None,
    tell: Callable[[State], None] = lambda _: None,
    stopped: Callable[[], bool] = lambda: False,
) -> State:
    """Train on the kept examples, at idle priority; see `llmos.learn.train`."""
    if hasattr(os, "nice"):
        os.nice(19)
    job = Job(model=model, recipe=partial(recipe, squad), folder=folder, plan=chosen)
    return train.train(job, tell=tell, stopped=stopped)


# -- is it better?


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether a new adapter is better.

    Attributes:
        better: It is, beyond the noise, and nothing is worse beyond it.
        why: In words.
        rows: Name, old and new value, and the difference.
    """

    better: bool
    why: str
    rows: tuple[tuple[Row, Row, Difference], ...]


def check_apart(evaluated: Iterable[Example], trained: Iterable[Example]) -> None:
    """See that nothing is evaluated on that was trained on.

    Raises:
        BadArguments: Something is.
    """
    known = {digest(one) for one in trained}
    if both := [one for one in evaluated if digest(one) in known]:
        asked = both[0].context.messages[-1].content if both[0].context.messages else both[0].answer
        raise BadArguments(
            f"{len(both)} of the examples to evaluate on are in training, such as {asked[:80]!r}.",
            hint="What a model has learnt by heart says nothing: hold others back.",
        )


async def measured(
    engine: Engine, held: Sequence[Example], *, count: int = CHECKED, tell: Callable[[str, float], None] | None = None
) -> tuple[Row, ...]:
    """What a model makes of held-back traces (the first row), and of the kernel's own jobs."""
    said = await ask(engine, held)
    own = Row("your traces", NAME, tuple(float(one.right) for one in said))
    if not count:
        return (own,)
    others = await measure(engine, count=count, split="validation", jobs=JOBS, tell=tell or (lambda name, share: None))
    return (own, *(row for row in others.rows if row.value is None))


def judge(old: Sequence[Row], new: Sequence[Row]) -> Judgement:
    """Whether the new one is better on the traces beyond the noise, and no worse on any row beyond it."""
    rows = tuple((one, two, difference(one, two)) for one, two in zip(old, new, strict=True))
    own, others = rows[0][2], rows[1:]
    if worse := [one.name for one, _, apart in others if apart.worse]:
        return Judgement(False, f"it is worse at: {', '.join(worse)}", rows)
    if own.worse:
        return Judgement(False, "it is worse on your traces", rows)
    if not own.better:
        count = len(rows[0][0].values)
        return Judgement(False, f"on {count} held-back examples of yours it is not better beyond the noise", rows)
    return Judgement(True, f"it is right on {own.mean:+.0%} of your held-back examples", rows)
