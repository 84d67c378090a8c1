"""The commands for taught skills: what each is called and takes, and nothing of what it does.

Imports what a command needs when it runs, as `llmos.shell.cli` does.
"""

from __future__ import annotations

from typing import Annotated

import typer

from llmos.shell import cli_runs
from llmos.shell.cli_runs import AsJson, Model

Name = Annotated[str, typer.Argument(metavar="NAME", help="As `llmos skill list` shows it.")]
Allow = Annotated[
    list[str] | None, typer.Option("--allow", metavar="ORIGIN", help="A local origin that may be opened, too.")
]
Profile = Annotated[str, typer.Option(metavar="NAME", help="What the browser remembers under this name: logins.")]

app = typer.Typer(
    name="skill",
    help="Browser tasks that you have shown with `llmos teach`: list, show, run, rm. (SKILL.md folders: llmos agents.)",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def teach(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it will be called: order-tea.")],
    task: Annotated[str, typer.Argument(metavar="TASK", help="What you will show, in words, with its values.")],
    url: Annotated[str, typer.Option(metavar="URL", help="Where it begins.")],
    allow: Allow = None,
    profile: Profile = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Keep it without a question.")] = False,
) -> None:
    """Show a browser task once, so that it can be done again with other values.

    A browser's window opens; do the task there, then come back and press Enter. What you typed and clicked that stands
    in TASK becomes a parameter. Passwords, card data and codes are never written down.
    """
    from llmos.shell import teaching
    from llmos.shell.cli import settings_of

    lesson = teaching.Lesson(name=name, task=task, url=url, allow=tuple(allow or ()), profile=profile, yes=yes)
    raise typer.Exit(teaching.teach(lesson, settings_of(context)))


@app.command("list", epilog="Example:  llmos skill list --json")
def list_(as_json: AsJson = False) -> None:
    """List what was shown, and what is wrong with files that can't be used."""
    from llmos.shell import teaching

    teaching.show_list(as_json=as_json)


@app.command(epilog="Example:  llmos skill show order-tea")
def show(name: Name, as_json: AsJson = False) -> None:
    """Show a skill's steps, its file, and the secrets that it needs."""
    from llmos.shell import teaching

    teaching.show_one(name, as_json=as_json)


@app.command(epilog='Example:  llmos skill run order-tea "Order 3 packets of Assam"')
def run(
    context: typer.Context,
    name: Name,
    task: Annotated[list[str] | None, typer.Argument(metavar="TASK", help="What to do this time, in words.")] = None,
    url: Annotated[str, typer.Option(metavar="URL", help="Where it begins, on the same origin.")] = "",
    allow: Allow = None,
    profile: Profile = "",
    headed: Annotated[bool, typer.Option("--headed", help="With a window.")] = False,
    model: Model = None,
    level: Annotated[str | None, typer.Option(metavar="L0…L5", help="How far it may go by itself; L3.")] = None,
    as_json: AsJson = False,
) -> None:
    """Do a skill again; values that the words don't have are asked for."""
    from llmos.browsing import Browse
    from llmos.shell import teaching
    from llmos.shell.cli import settings_of

    settings = settings_of(context, {"model": model, "level": cli_runs.level_of(level)})
    job = Browse(task=" ".join(task or ()), url=url, allow=tuple(allow or ()), profile=profile, headed=headed)
    raise typer.Exit(teaching.run(name, job, settings, as_json=as_json))


@app.command()
def rm(context: typer.Context, name: Name) -> None:
    """Forget a skill: its file, and what memory has of it."""
    from llmos.shell import teaching
    from llmos.shell.cli import settings_of

    teaching.remove(name, settings_of(context).memory)


def add_to(commands: typer.Typer) -> None:
    """Add `llmos teach` and `llmos skill …` to the command line."""
    commands.command(
        epilog='Example:  llmos teach order-tea "Order 2 packets of Assam" --url http://localhost:8000/shop/'
    )(teach)
    commands.add_typer(app)
