"""Rows of a benchmark, and how they are shown. Knows nothing that is measured."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Table

REPEATS = 5
T = TypeVar("T")


class Skipped(Exception):
    """A group of rows can't be measured here; says which rows and why, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured figure.

    Attributes:
        value, unit: Ours.
        peer, peer_value: Who it is compared with, and theirs in the same unit.
        ratio: What the goal speaks of; value / peer_value unless said otherwise.
        goal: Such as "≥ 0.97"; "" where there is none.
        note: Anything needed to read the row.
    """

    name: str
    value: float
    unit: str
    peer: str = ""
    peer_value: float | None = None
    ratio: float | None = None
    goal: str = ""
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if not self.goal:
            return None
        figure = self.ratio if self.ratio is not None else self.value
        sign, _, bound = self.goal.partition(" ")
        limit = float(bound.split()[0].rstrip("×%"))
        return figure >= limit if sign == "≥" else figure <= limit if sign == "≤" else figure < limit


@dataclass(frozen=True, slots=True)
class Pairs:
    """Paired runs of two things, ours and the peer's, each time one after the other."""

    ours: tuple[float, ...]
    peers: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Median of the paired ratios ours / peer's."""
        return statistics.median(mine / theirs for mine, theirs in zip(self.ours, self.peers, strict=True))

    def row(self, name: str, unit: str, peer: str, goal: str, *, note: str = "") -> Row:
        """The row that these pairs make."""
        return Row(
            name=name,
            value=statistics.median(self.ours),
            unit=unit,
            peer=peer,
            peer_value=statistics.median(self.peers),
            ratio=self.ratio,
            goal=goal,
            note=note,
        )


def paired(ours: Callable[[], float], peers: Callable[[], float], repeats: int = REPEATS) -> Pairs:
    """Run both `repeats` times, alternating which goes first, after one unmeasured run each."""
    ours()
    peers()
    first, second = alternating(ours, peers, repeats)
    return Pairs(tuple(first), tuple(second))


def alternating(ours: Callable[[], T], peers: Callable[[], T], repeats: int = REPEATS) -> tuple[list[T], list[T]]:
    """Run both `repeats` times, alternating which goes first: our results, and the peer's."""
    first: list[T] = []
    second: list[T] = []
    for number in range(repeats):
        for one, results in ((ours, first), (peers, second)) if number % 2 == 0 else ((peers, second), (ours, first)):
            results.append(one())
    return first, second


def machine() -> dict[str, str | int]:
    """What the figures were measured on."""
    model = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "processor": model,
        "cores": os.cpu_count() or 0,
        "system": platform.system(),
        "python": platform.python_version(),
    }


def show(name: str, rows: Sequence[Row], skipped: Sequence[str] = ()) -> None:
    """Print rows as a table, and below it what was skipped."""
    table = Table(title=f"bench {name}", title_justify="left")
    for column in ("row", "value", "peer", "ratio", "goal", ""):
        table.add_column(column, justify="right" if column in ("value", "ratio") else "left", overflow="fold")
    for row in rows:
        peer = f"{row.peer} {_number(row.peer_value)}" if row.peer_value is not None else row.peer
        verdict = {True: "met", False: "missed", None: ""}[row.met]
        ratio = _number(row.ratio) if row.ratio is not None else ""
        table.add_row(row.name, f"{_number(row.value)} {row.unit}", peer, ratio, row.goal, verdict)
    console = Console()
    console.print(table)
    for reason in skipped:
        console.print(f"Skipped: {reason}.", markup=False, highlight=False)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def write_json(path: Path, name: str, rows: Sequence[Row], skipped: Sequence[str] = ()) -> None:
    """Write rows with the machine they were measured on."""
    content = {
        "bench": name,
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "rows": [{**asdict(row), "met": row.met} for row in rows],
        "skipped": list(skipped),
    }
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
