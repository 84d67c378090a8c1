"""The command `llmos browse`: what it is called and takes, and nothing of what it does.

Imports what the command needs when it runs, as `llmos.shell.cli` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmos.shell import cli_runs
from llmos.shell.cli_runs import Model

_MAX_STEPS = 40  # as in llmos.browsing, which is not imported for --help


def add_to(app: typer.Typer) -> None:
    """Put the command on the command line."""
    app.command(epilog='Example:  llmos browse "search for lamps and open the first one" --url https://shop.example')(
        browse
    )


def browse(
    context: typer.Context,
    task: Annotated[list[str], typer.Argument(metavar="TASK", help="What is to be done, in words.")],
    url: Annotated[
        str, typer.Option("--url", metavar="URL", help="Where it begins; by default an address in TASK.")
    ] = "",
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", metavar="ORIGIN", help="A local origin that may be opened: http://localhost:8000."),
    ] = None,
    profile: Annotated[
        str, typer.Option("--profile", metavar="NAME", help="What the browser remembers under this name: logins.")
    ] = "",
    headed: Annotated[bool, typer.Option("--headed", help="Show the browser's window.")] = False,
    value: Annotated[
        list[str] | None,
        typer.Option("--value", metavar="FIELD=TEXT", help="What goes into a field; a password as secret://NAME."),
    ] = None,
    level: Annotated[
        str | None, typer.Option("--level", metavar="L0…L5", help="How far it may go by itself; L3.")
    ] = None,
    max_steps: Annotated[
        int, typer.Option("--max-steps", metavar="N", min=1, max=1000, help="At most N steps.")
    ] = _MAX_STEPS,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="DIR", file_okay=False, help="Copy the report with pictures there."),
    ] = None,
    model: Model = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write events as JSON lines.")] = False,
) -> None:
    """Do a task on web pages in a browser: the answer on stdout, what is done on stderr.

    What can't be taken back (buying, sending, deleting) is asked about first. Exit codes: 0 done, 1 not done or
    something was denied, 2 wrong usage, 130 interrupted.
    """
    words = " ".join(task)
    if not words.strip():
        raise typer.BadParameter("a task is missing", param_hint="TASK")
    values = dict(_pair(one) for one in value or ())
    from llmos.browsing import Browse
    from llmos.shell.browsing import run_browse
    from llmos.shell.cli import settings_of

    job = Browse(
        task=words,
        url=url,
        allow=tuple(allow or ()),
        profile=profile,
        headed=headed,
        max_steps=max_steps,
        values=values,
    )
    settings = settings_of(context, {"model": model, "level": cli_runs.level_of(level)})
    raise typer.Exit(run_browse(job, settings, report=report, as_json=as_json))


def _pair(written: str) -> tuple[str, str]:
    name, sign, text = written.partition("=")
    if not sign or not name.strip():
        raise typer.BadParameter(f"{written!r} is no FIELD=TEXT", param_hint="--value")
    return name.strip(), text
