"""The commands for learning: what each is called and takes, and nothing of what it does.

Imports what a command needs when it runs, as `llmos.shell.cli` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from llmos.shell.cli_runs import AsJson

OfModel = Annotated[
    str | None, typer.Option("--model", "-m", metavar="NAME", help="For this model; by default the one in use.")
]
Squad = Annotated[
    Path | None,
    typer.Option(metavar="FILE", dir_okay=False, help="SQuAD 2.0's dev-v2.0.json: real prose to read and answer from."),
]
Workers = Annotated[int | None, typer.Option(metavar="N", min=1, help="Processes on the CPU; by default what fits.")]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="The same seed trains the same.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]

app = typer.Typer(
    name="learn",
    help="Microcode: train the model for the kernel's own jobs, measure it, choose what runs.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(epilog="Example:  llmos learn train --minutes 30")
def train(
    recipe: Annotated[str, typer.Option(metavar="NAME", help="What to train on: kernel.")] = "kernel",
    model: OfModel = None,
    squad: Squad = None,
    tokens: Annotated[int | None, typer.Option(metavar="N", min=1, help="Read so many in all.")] = None,
    minutes: Annotated[float | None, typer.Option(metavar="M", min=0.0, help="Stop after M, to go on later.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", file_okay=False, help="Where it is kept.")] = None,
    seed: Seed = 1,
    workers: Workers = None,
    device: Annotated[Literal["cpu", "cuda"] | None, typer.Option(help="By default a GPU if there is one.")] = None,
    calibrate: Annotated[
        int, typer.Option(metavar="N", min=0, help="Fit confidences on N cases of each job at the end; 0 is not.")
    ] = 100,
    yes: Yes = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write what came of it as JSON.")] = False,
) -> None:
    """Train an adapter for the kernel's own jobs. The same command goes on where it was stopped.

    On two cores hours, on a GPU minutes. Ctrl-C keeps what was learnt and ends.
    """
    from llmos.shell import learning

    lesson = learning.Lesson(
        recipe=recipe,
        model=model,
        squad=squad,
        tokens=tokens,
        minutes=minutes,
        out=out,
        seed=seed,
        workers=workers,
        device=device,
        calibrate=calibrate,
        yes=yes,
        as_json=as_json,
    )
    raise typer.Exit(learning.train(lesson))


@app.command("eval", epilog="Example:  llmos learn eval kernel ./mine.gguf --job choose --json figures.json")
def eval_(
    adapters: Annotated[
        list[str] | None, typer.Argument(metavar="ADAPTER", help="Names or files; by default the one in use.")
    ] = None,
    model: OfModel = None,
    job: Annotated[
        list[str] | None,
        typer.Option(metavar="JOB", help="Only this: choose, fill, whom, read, verdict, browse, extract, know."),
    ] = None,
    count: Annotated[int, typer.Option(metavar="N", min=1, help="Cases of each row.")] = 200,
    squad: Squad = None,
    base: Annotated[bool, typer.Option("--base", help="The model without any, too.")] = False,
    out: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", dir_okay=False, help="Write the rows there, too.")
    ] = None,
) -> None:
    """Measure adapters on the kernel's own jobs, with 95 % intervals; two are compared case by case."""
    from llmos.agents.jobs import JOBS
    from llmos.shell import learning_figures

    if wrong := [one for one in job or () if one not in JOBS]:
        raise typer.BadParameter(f"there is no job {wrong[0]!r}", param_hint="--job")
    exam = learning_figures.Exam(
        given=tuple(adapters or ()), model=model, jobs=tuple(job or ()), count=count, squad=squad, base=base, out=out
    )
    learning_figures.evaluate(exam)


@app.command("from-traces", epilog="Example:  llmos learn from-traces --since 30d")
def from_traces(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN", help="Only these, which you judge good by naming them.")
    ] = None,
    since: Annotated[str | None, typer.Option(metavar="AGE", help="Only runs younger than that: 12h, 30d, 2w.")] = None,
    model: OfModel = None,
    squad: Squad = None,
    seed: Seed = 1,
    workers: Workers = None,
    count: Annotated[
        int, typer.Option(metavar="N", min=0, help="Cases of each of the kernel's own rows to check; 0 is none.")
    ] = 60,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Agree to every example.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write what came of it as JSON.")] = False,
) -> None:
    """Learn from runs that were verified; you see every example and say whether it goes in.

    What has a secret in it never does. Trains at idle priority from the adapter in use, compares both on examples that
    were held back, and installs the new one only if it is better beyond the noise.
    """
    import time

    from llmos.shell import learning_traces
    from llmos.shell.keeping import seconds_of

    teaching = learning_traces.Teaching(
        runs=tuple(runs or ()),
        since=time.time() - seconds_of(since) if since else 0.0,
        model=model,
        squad=squad,
        seed=seed,
        workers=workers,
        count=count,
        yes=yes,
        as_json=as_json,
    )
    raise typer.Exit(learning_traces.from_traces(teaching))


@app.command("list", epilog="Example:  llmos learn list --json")
def list_(model: OfModel = None, as_json: AsJson = False) -> None:
    """List the adapters that are here; an arrow marks the one that the model runs with."""
    from llmos.shell import learning

    learning.show_list(model=model, as_json=as_json)


@app.command(epilog="Example:  llmos learn use ./kernel.gguf")
def use(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `llmos learn list` shows it, a file, or none.")],
    model: OfModel = None,
    as_json: AsJson = False,
) -> None:
    """Choose the adapter that the model runs with; one from a file is installed first."""
    from llmos.shell import learning

    learning.use(name, model=model, as_json=as_json)


@app.command()
def rollback(model: OfModel = None, as_json: AsJson = False) -> None:
    """Go back to the adapter that was in use before."""
    from llmos.shell import learning

    learning.rollback(model=model, as_json=as_json)
