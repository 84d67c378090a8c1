"""The commands for agents: what each is called and takes, and nothing of what it does.

Imports what a command needs when it runs, as `llmos.shell.cli` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmos.shell import cli_runs
from llmos.shell.cli_runs import AsJson, Model

Name = Annotated[str, typer.Argument(metavar="NAME", help="As `llmos agents list` shows it.")]

app = typer.Typer(
    name="agents",
    help="Agents, those that come with llmos and those in files: list, show, new, run, approve.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command("list", epilog="Example:  llmos agents list --json")
def list_(as_json: AsJson = False) -> None:
    """List the agents and skills that there are, and what is wrong with files that can't be used."""
    from llmos.shell import agents

    agents.show_list(as_json=as_json)


@app.command(epilog="Example:  llmos agents show assistant")
def show(name: Name, as_json: AsJson = False) -> None:
    """Show what an agent is for, what it may do, and its file; with --json its card in A2A's terms."""
    from llmos.shell import agents

    agents.show_one(name, as_json=as_json)


@app.command(epilog='Example:  llmos agents new reviewer --description "Reads a text and says what is unclear."')
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Small letters, digits and '-'.")],
    description: Annotated[str, typer.Option(metavar="TEXT", help="What it is for, one line.")] = "",
    project: Annotated[bool, typer.Option("--project", help="Into this folder's .llmos/agents.")] = False,
) -> None:
    """Write the file of a new agent, to be filled in."""
    from llmos.shell import agents

    raise typer.Exit(agents.new(name, description=description, project=project))


@app.command(epilog='Example:  llmos agents run reviewer "Look at notes/plan.md" --level L1')
def run(
    context: typer.Context,
    name: Name,
    task: Annotated[list[str] | None, typer.Argument(metavar="TASK", help="What to do, or piped in.")] = None,
    model: Model = None,
    level: Annotated[str | None, typer.Option(metavar="L0…L5", help="How far it may go by itself; L3.")] = None,
    workspace: Annotated[
        Path | None, typer.Option(metavar="FOLDER", exists=True, file_okay=False, help="Where it works; here.")
    ] = None,
    budget: Annotated[str | None, typer.Option(metavar="NAME=N,…", help="Bounds: tokens, steps, seconds, …")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write events as JSON lines.")] = False,
) -> None:
    """Have an agent do a task, as `llmos run --agent NAME` does."""
    from llmos.shell.cli import settings_of
    from llmos.shell.oneshot import attached, piped
    from llmos.shell.working import Job, run_job

    words, material = " ".join(task or ()), piped()
    if not words.strip() and not material.strip():
        raise typer.BadParameter("a task is missing, as an argument or piped in", param_hint="TASK")
    settings = settings_of(context, {"model": model, "level": cli_runs.level_of(level)})
    job = Job(
        prompt=words,
        material=material,
        attached=attached(words).material,
        agent=name,
        workspace=workspace,
        budget=cli_runs.budget_of(budget),
        json=as_json,
    )
    raise typer.Exit(run_job(job, settings))


@app.command(epilog="Example:  llmos agents approve reviewer")
def approve(name: Name, yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False) -> None:
    """Show an agent or a skill that this folder brings, whole, and let it be used until it changes."""
    from llmos.shell import agents

    raise typer.Exit(agents.approve(name, yes=yes))
