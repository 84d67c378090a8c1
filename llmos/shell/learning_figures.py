"""`llmos learn eval`: what models and adapters are worth, side by side.

Opens an engine for each, on the weights merged as they would be in use. Knows no training.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmos.config import cache_dir, write_atomically
from llmos.engine import adapters
from llmos.engine.gguf import read_header
from llmos.engine.store import ModelFile, microcode
from llmos.errors import StorageError
from llmos.kernel.protocols import Engine
from llmos.shell.learning import plain_model, say

if TYPE_CHECKING:
    from llmos.learn.figures import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """What to measure.

    Attributes:
        given: Names of installed adapters, or files; none for the one in use.
        base: The model without any, too.
        jobs: Only these.
        out: Where the rows are written as JSON.
    """

    given: tuple[str, ...] = ()
    model: str | None = None
    jobs: tuple[str, ...] = ()
    count: int = 200
    squad: Path | None = None
    base: bool = False
    out: Path | None = None


def evaluate(exam: Exam) -> None:
    """Measure, and print the table.

    Raises:
        LlmosError: An adapter does not fit, or the engine failed.
    """
    model = plain_model(exam.model)
    found = [(name, _found(name)) for name in exam.given]
    if not found:
        used = microcode.chosen(model.path)
        found = [(used.stem, used)] if used is not None else []
    entrants: list[tuple[str, Path | None]] = [*([("base", None)] if exam.base or not found else []), *found]
    for _, adapter in found:
        adapters.check_fits(adapter, model.path)
    columns = [(name, asyncio.run(_measured(name, model, adapter, exam))) for name, adapter in entrants]
    if exam.out is not None:
        write_atomically(exam.out, json.dumps(as_data(columns), indent=2))
    show(columns)


def _found(name: str) -> Path:
    path = Path(name).expanduser()
    if path.suffix == ".gguf" or path.is_file():
        return path
    return microcode.path_of(name)


async def _measured(name: str, model: ModelFile, adapter: Path | None, exam: Exam) -> tuple[Row, ...]:
    from llmos.learn.figures import measure
    from llmos.memory.embedding.meanings import Meanings

    notes = adapters.notes(adapter) if adapter is not None else None
    async with opened(model, adapter) as engine:
        with steps(name) as tell:
            found = await measure(
                engine,
                count=exam.count,
                jobs=exam.jobs,
                squad=exam.squad,
                temperatures=notes.temperatures if notes else None,
                similar=Meanings(),
                tell=tell,
            )
    return found.rows


@asynccontextmanager
async def opened(model: ModelFile, adapter: Path | None) -> AsyncGenerator[Engine]:
    """An engine on a model with an adapter merged in, or without one.

    Raises:
        ModelInvalid: The adapter does not fit, or is damaged.
        StorageError, OutOfMemory: There is too little disk space or memory.
    """
    from llmos.engine.llama import LlamaEngine, LlamaOptions
    from llmos.engine.store.tune import quick_default

    place = cache_dir() / "learn"
    try:
        place.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix="eval-", dir=place, ignore_cleanup_errors=True)
    except OSError as error:
        raise StorageError(f"{str(place)!r} can't be written: {error}.", hint="Check its rights.") from error
    with scratch as folder:
        if adapter is None:
            path = await asyncio.to_thread(quick_default, model.path) if model.source == "builtin" else model.path
        else:
            path = Path(folder) / "merged.gguf"
            microcode.check_room(read_header(model.path))
            await asyncio.to_thread(adapters.merge, model.path, adapter, path)
        engine = await LlamaEngine.load(path, LlamaOptions(name=model.name))
        try:
            yield engine
        finally:
            await engine.close()


@contextmanager
def steps(name: str) -> Generator[Callable[[str, float], None]]:
    """What is being measured, with a bar in a terminal and a line each elsewhere."""
    if not sys.stderr.isatty():
        last = ""

        def tell(what: str, share: float) -> None:
            nonlocal last
            if what != last:
                last = what
                say(f"{name}: {what} ({share:.0%})")

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(name, markup=False), BarColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda what, share: bar.update(task, completed=share, description=what)


def as_data(columns: Sequence[tuple[str, Sequence[Row]]]) -> list[dict[str, Any]]:
    """Rows for programs."""
    found: list[dict[str, Any]] = []
    for name, rows in columns:
        for row in rows:
            low, high = row.figure.interval
            found.append(
                {"of": name, "row": row.name, "job": row.job, "value": row.figure.value, "n": row.figure.n}
                | ({} if row.lower else {"low": low, "high": high})
            )
    return found


def show(columns: Sequence[tuple[str, Sequence[Row]]]) -> None:
    """Print the table: each model a column, with 95 % intervals, and for two how much better the second is."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from llmos.learn.figures import difference

    table = Table(box=None, header_style="bold")
    table.add_column("")
    for name, _ in columns:
        table.add_column(Text(name), justify="right")
    table.add_column("n", justify="right")
    if len(columns) == 2:
        table.add_column("better by", justify="right")
    for number, row in enumerate(columns[0][1]):
        each = [rows[number] for _, rows in columns]
        cells = [row.name, *(cell(one) for one in each), f"{row.figure.n}"]
        if len(each) == 2:
            apart = difference(each[0], each[1])
            sure = "" if not (apart.better or apart.worse) else " *"
            cells.append(f"{apart.mean:+.1%}{sure}" if each[0].value is None else "")
        table.add_row(*map(Text, cells))
    (Console() if sys.stdout.isatty() else Console(width=160)).print(table)
    if len(columns) == 2:
        print("* beyond the noise: the 95 % interval of the paired difference does not reach 0")


def cell(row: Row) -> str:
    """A figure with its interval."""
    figure = row.figure
    if not figure.n:
        return "-"
    if row.lower:
        return f"{figure.value:.3f}"
    low, high = figure.interval
    return f"{figure.value:.1%} ({low:.0%} to {high:.0%})"
