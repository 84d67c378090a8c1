"""`llmos learn train | list | use | rollback`: trains adapters and chooses which one a model runs with.

Answers go to stdout, progress and what is going on to stderr. Imports torch only where something is trained.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from llmos.config import cache_dir
from llmos.engine import store
from llmos.engine.fit import usable_ram
from llmos.engine.gguf import GgufHeader, read_header
from llmos.engine.guard import check_real_model_allowed
from llmos.engine.hardware import detect, gigabytes
from llmos.engine.store import ModelFile, microcode
from llmos.errors import ModelInvalid, OutOfMemory, StorageError
from llmos.shell.confirming import confirmed

if TYPE_CHECKING:
    from llmos.learn.train import Plan, State

INTERRUPTED = 130

_TOKENS_A_SECOND = 225 * 135e6
"""What one core trains, times the weights: measured on the embedded model."""
_BYTES_A_WEIGHT = 64
_BYTES_A_WORKER = 600_000_000
"""Memory that one worker takes, measured on the embedded model: 9 GB at most."""
_RANK_BYTES = 4 * 3 * 2 + 2
"""Of each number of an adapter: itself and two moments, twice while they are replaced, and once in f16."""
_LINE_SECONDS = 60.0
_MINUTE = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What to train.

    Attributes:
        model: Its spec; None for the chosen one.
        squad: The development file of SQuAD 2.0.
        tokens: How many are read in all; None for what the recipe needs.
        minutes: After which it stops, to be gone on with.
        out: Where it is kept.
        workers, device: None for what is there.
        calibrate: Cases of each job on which confidences are fitted at the end; 0 for none.
    """

    recipe: str = "kernel"
    model: str | None = None
    squad: Path | None = None
    tokens: int | None = None
    minutes: float | None = None
    out: Path | None = None
    seed: int = 1
    workers: int | None = None
    device: str | None = None
    calibrate: int = 100
    yes: bool = False
    as_json: bool = False


def train(lesson: Lesson) -> int:
    """Train, or go on with a training; the exit code.

    Raises:
        LlmosError: It can't be trained: see the hint.
    """
    from llmos.learn.recipe import recipe
    from llmos.learn.train import Job
    from llmos.learn.train import train as learn

    model = plain_model(lesson.model)
    make = partial(recipe, lesson.recipe, squad=lesson.squad)
    make()  # says at once what is wrong with it
    folder = lesson.out or cache_dir() / "learn" / lesson.recipe
    plan = planned(lesson, model)
    say(described(plan, lesson, model, folder))
    if not lesson.yes and sys.stdin.isatty() and not _agreed():
        return 1
    with progress(plan.tokens) as tell, stopping(lesson.minutes) as stopped:
        state = learn(Job(model=model.path, recipe=make, folder=folder, plan=plan), tell=tell, stopped=stopped)
    done = state.tokens >= plan.tokens
    adapter = converted(folder, model, lesson.recipe) if done else None
    if adapter is not None and lesson.calibrate:
        adapter = _calibrated(folder, model, lesson, adapter)
    if lesson.as_json:
        print(json.dumps({**outcome(state, plan, folder), "adapter": str(adapter) if adapter else None}))
    if adapter is None:
        again = command(lesson, folder, plan)
        say(f"Stopped at {state.tokens:,} of {plan.tokens:,} tokens; kept in {str(folder)!r}. Go on with:\n  {again}")
        return 0 if lesson.minutes is not None else INTERRUPTED
    say(
        f"Trained on {state.tokens:,} tokens in {duration(state.seconds)}, loss {state.loss:.3f}: {str(adapter)!r}.\n"
        f"See what it is worth:  llmos learn eval {adapter} --base\nUse it:                llmos learn use {adapter}"
    )
    return 0


def plain_model(spec: str | None) -> ModelFile:
    """The file of a model as it came, which can be trained.

    Raises:
        ModelNotFound, ModelInvalid: It is not here, or can't be trained.
    """
    model = store.resolve(spec or store.current(), tuned=False)
    check_real_model_allowed(str(model.path))
    header = read_header(model.path)
    header.require_model()
    if header.architecture != "llama" or len(header.parts) > 1:
        raise ModelInvalid(
            f"{model.name!r} can't be trained: it is no Llama in one file.", hint="Choose another with --model."
        )
    return model


def planned(lesson: Lesson, model: ModelFile) -> Plan:
    """How a lesson is trained here.

    Raises:
        OutOfMemory, StorageError: There is too little memory or disk space; the message has the numbers.
    """
    from llmos.learn.train import Plan

    header = read_header(model.path)
    device = lesson.device or best_device()
    workers = fitting_workers(header, lesson.workers) if device == "cpu" else 1
    check_disk(header, lesson.out or cache_dir())
    plan = Plan(seed=lesson.seed, workers=workers, device=device)
    return plan if lesson.tokens is None else replace(plan, tokens=lesson.tokens)


def best_device() -> str:
    """`cuda` where torch has it, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def fitting_workers(header: GgufHeader, wanted: int | None) -> int:
    """How many processes train side by side: one for each core, as far as memory goes.

    Raises:
        OutOfMemory: There is too little for one, or for as many as are wanted.
    """
    hardware = detect()
    each = _BYTES_A_WORKER + header.parameters * _BYTES_A_WEIGHT
    most = usable_ram(hardware) // each
    if most < (wanted or 1):
        raise OutOfMemory(
            f"Training {header.name!r} with {wanted or 1} workers needs {gigabytes((wanted or 1) * each)} of memory; "
            f"{gigabytes(usable_ram(hardware))} can be used.",
            hint="End other programs, or give fewer --workers." if (wanted or 1) > 1 else "End other programs.",
        )
    return wanted or max(1, min(hardware.threads, most))


def check_disk(header: GgufHeader, place: Path) -> None:
    """See that what is learnt can be kept.

    Raises:
        StorageError: There is too little disk space.
    """
    import shutil

    from llmos.learn.model import RANK

    inner = header.metadata.get(f"{header.architecture}.feed_forward_length", 0)
    wide = header.embedding_length * 11 + (int(inner) if isinstance(inner, int) else 0) * 3
    needed = RANK * header.block_count * wide * _RANK_BYTES
    there = next(one for one in (place, *place.absolute().parents) if one.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise StorageError(
            f"What is learnt of {header.name!r} takes {gigabytes(needed)} of disk; {gigabytes(free)} are free in "
            f"{str(there)!r}.",
            hint="Free some space, or name another folder with --out.",
        )


def described(plan: Plan, lesson: Lesson, model: ModelFile, folder: Path) -> str:
    """What is about to be done, and how long it takes."""
    seconds = plan.tokens * read_header(model.path).parameters / (_TOKENS_A_SECOND * plan.workers)
    long = f"about {duration(seconds)}" if plan.device == "cpu" else "minutes"
    prose = "" if lesson.squad or lesson.recipe != "kernel" else "; without --squad no real prose is read"
    return (
        f"Training {lesson.recipe!r} for {model.name}: {plan.tokens / 1e6:.2f} million tokens on {plan.device}, "
        f"{plan.workers} worker{'s' if plan.workers > 1 else ''}, {long}{prose}.\n"
        f"It is kept in {str(folder)!r} every {plan.save_seconds / _MINUTE:.0f} minutes; Ctrl-C keeps it and ends, and "
        "the same command goes on."
    )


def command(lesson: Lesson, folder: Path, plan: Plan) -> str:
    """The command line that goes on with a training."""
    given = {
        "--model": lesson.model,
        "--squad": lesson.squad,
        "--tokens": plan.tokens if lesson.tokens is not None else None,
        "--out": folder if lesson.out is not None else None,
        "--seed": lesson.seed if lesson.seed != 1 else None,
        "--workers": lesson.workers,
        "--device": lesson.device,
    }
    options = " ".join(f"{name} {value}" for name, value in given.items() if value is not None)
    return f"llmos learn train --recipe {lesson.recipe} {options}".rstrip()


def _agreed() -> bool:
    return confirmed(
        "Begin?",
        whether="to train",
        hint="Use --yes.",
        declined="Nothing was trained.",
        say=say,
    )


def converted(
    folder: Path,
    model: ModelFile,
    name: str,
    *,
    temperatures: Mapping[str, float] | None = None,
    thresholds: Mapping[str, float] | None = None,
    examples: str = "",
) -> Path:
    """The adapter of a training that is over."""
    from llmos.learn.convert import convert
    from llmos.learn.train import FILE

    out = folder / f"{name}.gguf"
    convert(
        folder / FILE,
        model.path,
        out,
        name=name,
        temperatures=temperatures,
        thresholds=thresholds,
        examples=examples,
    )
    return out


def _calibrated(folder: Path, model: ModelFile, lesson: Lesson, adapter: Path) -> Path:
    """An adapter whose confidences are worth their number."""
    import asyncio

    from llmos.learn.figures import Confidences, calibrated
    from llmos.memory.embedding.meanings import Meanings
    from llmos.shell.learning_figures import opened, steps

    async def fit() -> Confidences:
        async with opened(model, adapter) as engine:
            with steps("fitting confidences") as tell:
                return await calibrated(
                    engine, count=lesson.calibrate, squad=lesson.squad, similar=Meanings(), tell=tell
                )

    found = asyncio.run(fit())
    return converted(folder, model, lesson.recipe, temperatures=found.temperatures, thresholds=found.thresholds)


def outcome(state: State, plan: Plan, folder: Path) -> dict[str, Any]:
    """How far a training is, for programs."""
    return {
        "tokens": state.tokens,
        "of": plan.tokens,
        "steps": state.steps,
        "seconds": round(state.seconds, 1),
        "loss": round(state.loss, 4),
        "losses": {name: round(value, 4) for name, value in state.losses.items()},
        "done": state.tokens >= plan.tokens,
        "folder": str(folder),
    }


# -- while it trains


@contextmanager
def stopping(minutes: float | None) -> Generator[Callable[[], bool]]:
    """Whether it shall stop: Ctrl-C was pressed once, or the time is over. A second Ctrl-C ends it at once."""
    end = None if minutes is None else time.monotonic() + minutes * _MINUTE
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        say("Stopping after this step …")

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked or (end is not None and time.monotonic() > end)
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def progress(tokens: int) -> Generator[Callable[[State], None]]:
    """A bar in a terminal, a line each minute elsewhere."""
    first: list[tuple[float, int]] = []

    def speed(state: State) -> float:
        """Tokens a second since this process began."""
        now = time.monotonic()
        if not first:
            first.append((now, state.tokens))
        began, before = first[0]
        return (state.tokens - before) / (now - began) if now > began else state.tokens / max(state.seconds, 1e-9)

    if not sys.stderr.isatty():
        yield _lines(tokens, speed)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.description}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=600) as bar:
        task = bar.add_task("beginning", total=tokens)

        def tell(state: State) -> None:
            said = f"{state.tokens:,} tokens, {speed(state):,.0f}/s, loss {state.loss:.3f}"
            bar.update(task, completed=min(state.tokens, tokens), description=said)

        yield tell


def _lines(tokens: int, speed: Callable[[State], float]) -> Callable[[State], None]:
    last = 0.0

    def tell(state: State) -> None:
        nonlocal last
        rate = speed(state)
        if time.monotonic() - last > _LINE_SECONDS or state.tokens >= tokens:
            last = time.monotonic()
            left = duration(max(tokens - state.tokens, 0) / rate) if rate > 0 else "?"
            say(f"{state.tokens:,} of {tokens:,} tokens, {rate:,.0f}/s, {left} left, loss {state.loss:.3f}")

    return tell


def duration(seconds: float) -> str:
    """A time in words."""
    minutes = round(seconds / _MINUTE)
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 2 * _MINUTE else f"{minutes / _MINUTE:.1f} h"


def say(text: str) -> None:
    """Tell what is going on."""
    print(text, file=sys.stderr, flush=True)


# -- what is installed


def show_list(*, model: str | None, as_json: bool) -> None:
    """Print the adapters that are here, for a model."""
    chosen = store.resolve(model or store.current(), tuned=False)
    found = microcode.installed(chosen.path)
    if as_json:
        print(json.dumps([{**asdict(one), "path": str(one.path)} for one in found], indent=2))
        return
    if not found:
        say(f"There is no microcode yet. Train some: `llmos learn train`. ({chosen.name} runs as it is.)")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold")
    for title in ("", "name", "made", "tokens", "for", "remarks"):
        table.add_column(title, justify="right" if title == "tokens" else "left", overflow="fold")
    for one in found:
        remarks = [one.problem] if one.problem else []
        remarks += ["came with llmos"] if one.shipped else []
        remarks += [f"for another model than {chosen.name}"] if one.fits is False else []
        tokens = f"{one.tokens / 1e6:.2f} M" if one.tokens else ""
        cells = ("→" if one.in_use else "", one.name, one.made[:10], tokens, one.model, "; ".join(remarks))
        table.add_row(*map(Text, cells))
    (Console() if sys.stdout.isatty() else Console(width=200)).print(table)


def use(name: str, *, model: str | None, as_json: bool) -> None:
    """Choose an adapter by name, or install one from a file and choose it; `none` is none."""
    chosen = store.resolve(model or store.current(), tuned=False)
    if name.lower() in ("none", microcode.OFF):
        microcode.use(None, chosen.path)
        _used("", chosen, as_json=as_json)
        return
    path = Path(name).expanduser()
    if path.suffix == ".gguf" or path.is_file():
        name = microcode.install(path, chosen.path)
    microcode.use(name, chosen.path)
    _used(name, chosen, as_json=as_json)


def rollback(*, model: str | None, as_json: bool) -> None:
    """Choose what was chosen before."""
    chosen = store.resolve(model or store.current(), tuned=False)
    _used(microcode.rollback(chosen.path), chosen, as_json=as_json)


def _used(name: str, model: ModelFile, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"model": model.spec, "microcode": name or None}))
    else:
        say(f"{model.name} runs {f'with {name!r}' if name else 'without microcode'} from now on.")
