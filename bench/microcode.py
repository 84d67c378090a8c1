"""What microcode brings to the kernel's own jobs: `python -m bench microcode`.

The embedded model as it is against the one with the adapter that it runs with, both as they are opened in use: choices
by likelihood, values under their constraints. The test split: templates, values and tools that no training read.
SQuAD is read from the folder that `LLMOS_EVAL_DATA` names (`squad*.json`); without it the rows on real prose are left
out.
"""

from __future__ import annotations

import os
from pathlib import Path

from bench import rig
from bench.report import Row, Skipped
from llmos.engine import adapters
from llmos.engine.gguf import read_header
from llmos.engine.llama import LlamaEngine, LlamaOptions
from llmos.engine.store import microcode
from llmos.learn import figures
from llmos.memory.embedding.meanings import Meanings

VARIABLE = "LLMOS_EVAL_DATA"
LIMIT = 200
"""Cases of each row; `--limit` gives fewer."""
GOALS = {
    "choose a tool, seen tools": "≥ 97",
    "whole calls, seen tools: tool and arguments": "≥ 92",
    "choose a tool, unseen and near ones": "≥ 90",
    "whole calls, unseen tools with near ones in view: tool and arguments": "≥ 75",
    "no tool fits, or information missing: recall at ≤ 5% false refusals": "≥ 85",
    "route to an agent": "≥ 95",
    "answer, retrieve or act": "≥ 95",
    "real prose: answer (F1)": "≥ 72",
    "real prose: citation": "≥ 92",
    "real prose: “not found”, recall at ≤ 10% false abstentions": "≥ 88",
    "verdict": "≥ 88",
    "whole episodes of two calls or more": "≥ 65",
    "answers what it knows, at ≤ 5% of the rest": "≥ 60",
    figures.ECE: "≤ 5",
}


def jobs() -> list[Row]:
    """All rows, of the base and with microcode."""
    why: list[str] = []
    merged = microcode.merged(rig.shipped(), tell=why.append)
    if merged is None:
        raise Skipped(why[0] if why else "there is no adapter: `llmos learn train`, then `llmos learn use`")
    base, own = _measured(rig.tuned()), _measured(merged)
    return [_row(before, after) for before, after in zip(base, own, strict=True)]


def _measured(path: Path) -> tuple[figures.Row, ...]:
    squad = next(iter(sorted(Path(os.environ[VARIABLE]).glob("squad*.json"))), None) if VARIABLE in os.environ else None
    notes = adapters.merged_notes(read_header(path))

    async def measure() -> tuple[figures.Row, ...]:
        engine = await LlamaEngine.load(path, LlamaOptions())
        try:
            found = await figures.measure(
                engine,
                count=LIMIT,
                squad=squad,
                temperatures=notes.temperatures if notes else None,
                similar=Meanings(),
            )
            return found.rows
        finally:
            await engine.close()

    return rig.run(measure())


def _row(before: figures.Row, after: figures.Row) -> Row:
    figure = after.figure
    low, high = figure.interval
    between = "" if after.lower else f", 95 % interval {low:.0%} to {high:.0%}"
    return Row(
        name=after.name,
        value=100 * figure.value,
        unit="%",
        peer="base",
        peer_value=100 * before.figure.value,
        goal=GOALS.get(after.name, ""),
        note=f"n = {figure.n}{between}",
    )


GROUPS = (jobs,)
