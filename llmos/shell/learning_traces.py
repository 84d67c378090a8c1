"""`llmos learn from-traces`: shows what verified runs could teach, trains on what the user agrees to, and installs the
result only if it is better.

Knows no command line: `llmos.shell.cli_learn` has the commands.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmos.config import cache_dir, data_dir
from llmos.engine import adapters
from llmos.engine.gguf import read_header
from llmos.engine.store import ModelFile, microcode
from llmos.errors import RunError
from llmos.messages import ToolSpec
from llmos.shell.calls import one_line
from llmos.shell.learning import (
    INTERRUPTED,
    best_device,
    check_disk,
    converted,
    duration,
    fitting_workers,
    outcome,
    plain_model,
    progress,
    say,
    stopping,
)
from llmos.shell.learning_figures import cell, opened
from llmos.shell.processes import find_run
from llmos.shell.processes import opened as opened_journal

if TYPE_CHECKING:
    from llmos.learn.install import Judgement
    from llmos.learn.traces import Collected, Trace

_SHOWN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Teaching:
    """What to learn from.

    Attributes:
        runs: Only these, which the user judges good by naming them.
        since: Only runs that began after this time, in seconds since the epoch.
        count: Cases of each of the kernel's own rows that the new adapter is checked on; 0 for none.
    """

    runs: tuple[str, ...] = ()
    since: float = 0.0
    model: str | None = None
    squad: Path | None = None
    seed: int = 1
    workers: int | None = None
    count: int = 60
    yes: bool = False
    as_json: bool = False


def from_traces(teaching: Teaching) -> int:
    """Collect, ask, train, compare and install; the exit code.

    Raises:
        LlmosError: Something of it can't be done; what the user agreed to is kept.
    """
    from llmos.learn import traces
    from llmos.learn.install import FEWEST, check_apart

    model = plain_model(teaching.model)
    collected = _collected(teaching)
    known = {one.digest for one in traces.kept()}
    fresh = [one for one in collected.traces if one.digest not in known]
    _say_left_out(collected)
    agreed = _agreed(fresh, yes=teaching.yes)
    everything = traces.keep(agreed) if agreed else traces.kept()
    train = [one for one in everything if one.part == "train"]
    held = [one for one in everything if one.part == "held"]
    say(
        f"{len(agreed)} of {len(fresh)} new examples agreed to; {len(train)} to train on and {len(held)} held back are "
        f"kept in {str(traces.file())!r}."
    )
    check_apart([one.example for one in held], [one.example for one in train])
    if len(train) < FEWEST or len(held) < FEWEST:
        say(f"That is too little to learn from: {FEWEST} of each are needed. They are kept; do more with llmos first.")
        return _ended(teaching, {"trained": False, "train": len(train), "held": len(held)}, 1)
    if not agreed and not teaching.yes and not teaching.runs:
        say("There is nothing new to learn from.")
        return _ended(teaching, {"trained": False, "train": len(train), "held": len(held)}, 0)
    return _learn(teaching, model, train, held)


def _collected(teaching: Teaching) -> Collected:
    from llmos.learn import traces
    from llmos.tools.registry import load_tools
    from llmos.tools.secrets import Secrets

    tools: dict[str, ToolSpec] = {name: device.spec for name, device in load_tools().items()}
    with opened_journal() as journal:
        runs = tuple(find_run(journal, run).id for run in teaching.runs)
        return traces.collect(journal, tools, runs=runs, since=teaching.since, redact=Secrets(data_dir()).redact)


def _say_left_out(collected: Collected) -> None:
    why: dict[str, int] = {}
    for _, reason in collected.left_out:
        why[reason] = why.get(reason, 0) + 1
    runs = len({one.run for one in collected.traces})
    say(f"{len(collected.traces)} examples of {runs} verified runs.")
    for reason, count in sorted(why.items(), key=lambda item: -item[1]):
        say(f"  left out, {count} run{'' if count == 1 else 's'}: {reason}")


def _agreed(fresh: Sequence[Trace], *, yes: bool) -> list[Trace]:
    """What the user agrees to, one by one.

    Raises:
        RunError: Nobody is there to ask.
    """
    if yes or not fresh:
        for number, trace in enumerate(fresh, 1):
            say(shown(trace, number, len(fresh)))
        return list(fresh)
    if not sys.stdin.isatty():
        raise RunError(
            "Nobody is there to ask whether these examples may be learnt from.",
            hint="Look at them in a terminal, or agree to all with --yes.",
        )
    found: list[Trace] = []
    for number, trace in enumerate(fresh, 1):
        say(shown(trace, number, len(fresh)))
        try:
            said = input("  learn from it? [y]es, [n]o, [a]ll, [q]uit: ").strip().casefold()
        except (EOFError, KeyboardInterrupt):
            break
        if said in ("a", "all"):
            return [*found, *fresh[number - 1 :]]
        if said in ("q", "quit"):
            break
        if said in ("y", "yes"):
            found.append(trace)
    return found


def shown(trace: Trace, number: int, count: int) -> str:
    """An example for people: what was asked, and what is the right answer."""
    asked = trace.example.context.messages[-1].content.replace("\n", "  ")
    held = ", held back to compare with" if trace.part == "held" else ""
    head = f"{number}/{count}  run {trace.run}: {trace.why}{held}"
    doing = "next tool" if trace.example.job == "choose" else "arguments"
    return f"{head}\n  asked: {one_line(asked, _SHOWN)}\n  {doing}: {one_line(trace.example.answer, _SHOWN)}"


def _learn(teaching: Teaching, model: ModelFile, train: Sequence[Trace], held: Sequence[Trace]) -> int:
    from llmos.learn import install, traces

    header, before = read_header(model.path), microcode.chosen(model.path)
    device = best_device()
    workers = fitting_workers(header, teaching.workers) if device == "cpu" else 1
    folder = cache_dir() / "learn" / f"traces-{traces.digest_of(train)}"
    check_disk(header, cache_dir())
    microcode.check_room(header)
    chosen = install.plan(model.path, squad=teaching.squad, seed=teaching.seed, workers=workers, device=device)
    install.begin(folder, model=model.path, adapter=before, seed=teaching.seed)
    start = f"from {before.stem!r}" if before is not None else "from nothing"
    say(f"Training on {len(train)} examples and as many of the kernel's own, {start}: {chosen.tokens:,} tokens.")
    with progress(chosen.tokens) as tell, stopping(None) as stopped:
        state = install.learn(folder, model.path, chosen, squad=teaching.squad, tell=tell, stopped=stopped)
    if state.tokens < chosen.tokens:
        say("Stopped. The examples are kept, nothing was installed; the same command begins again.")
        return _ended(teaching, {"trained": False, **outcome(state, chosen, folder)}, INTERRUPTED)
    notes = adapters.notes(before) if before is not None else None
    adapter = converted(
        folder,
        model,
        time.strftime("own-%Y%m%d"),
        temperatures=notes.temperatures if notes else None,
        thresholds=notes.thresholds if notes else None,
        examples=traces.digest_of(train),
    )
    say(f"Trained in {duration(state.seconds)}. Comparing with {before.stem if before else 'the plain model'} …")
    judgement = asyncio.run(_compared(model, before, adapter, held, teaching.count))
    print(table(judgement), file=sys.stderr)
    data: dict[str, Any] = {
        "trained": True,
        "installed": judgement.better,
        "why": judgement.why,
        "adapter": str(adapter),
        "rows": [
            {"row": old.name, "before": old.figure.value, "after": new.figure.value, "n": old.figure.n}
            | {"difference": apart.mean, "low": apart.low, "high": apart.high}
            for old, new, apart in judgement.rows
        ],
    }
    if judgement.better:
        name = microcode.install(adapter, model.path)
        microcode.use(name, model.path)
        say(f"Installed as {name!r}: {judgement.why}. `llmos learn rollback` goes back.")
        return _ended(teaching, {**data, "name": name}, 0)
    say(f"Not installed: {judgement.why}. It is kept aside: {str(adapter)!r}")
    return _ended(teaching, data, 0)


async def _compared(model: ModelFile, before: Path | None, after: Path, held: Sequence[Trace], count: int) -> Judgement:
    from llmos.learn import install

    examples = [one.example for one in held]
    rows: list[Any] = []
    for adapter in (before, after):
        async with opened(model, adapter) as engine:
            rows.append(await install.measured(engine, examples, count=count))
    return install.judge(rows[0], rows[1])


def table(judgement: Judgement) -> str:
    """Before and after, row by row."""
    width = max(len(old.name) for old, _, _ in judgement.rows)
    lines = [f"{'':<{width}}  {'before':>16}  {'after':>16}  better by"]
    for old, new, apart in judgement.rows:
        sure = " *" if apart.better or apart.worse else ""
        lines.append(f"{old.name:<{width}}  {cell(old):>16}  {cell(new):>16}  {apart.mean:+.1%}{sure}")
    return "\n".join(lines)


def _ended(teaching: Teaching, data: dict[str, Any], code: int) -> int:
    if teaching.as_json:
        print(json.dumps(data))
    return code
