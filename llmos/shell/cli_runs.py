"""The commands for runs: what each is called and takes, and nothing of what it does.

Imports what a command needs when it runs, as `llmos.shell.cli` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from llmos.kernel.budget import Budget
    from llmos.kernel.calls import Level


Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", metavar="NAME", help="A path, a name from `model list`, hf:…, ollama:…, http://host/v1#model."
    ),
]
Pid = Annotated[str, typer.Argument(metavar="PID", help="As `llmos ps` shows it; its beginning is enough.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]
Tools = Annotated[str | None, typer.Option("--tools", metavar="A,B,…", help="Only these tools; by default all.")]
Unsafe = Annotated[bool, typer.Option("--unsafe", help="Run code with all your rights where nothing can confine it.")]

grants = typer.Typer(
    name="grants",
    help="Standing permissions: list, add, revoke.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def add_to(app: typer.Typer) -> None:
    """Put the commands on the command line."""
    app.command(epilog="Example:  llmos ps --all")(ps)
    app.command()(top)
    app.command(epilog="Example:  llmos log 3f2a91")(log)
    app.command(epilog="Example:  llmos trace 3f2a91 --html run.html")(trace)
    app.command(epilog="Example:  llmos resume 3f2a91")(resume)
    app.command(epilog="Example:  llmos kill 3f2a91 --signal stop")(kill)
    app.command(epilog="Example:  llmos undo 3f2a91")(undo)
    app.command()(replay)
    app.command()(audit)
    app.command(epilog="Example:  llmos forget --older-than 30d")(forget)
    app.add_typer(grants)


def ps(
    everything: Annotated[bool, typer.Option("--all", "-a", help="Those that are over, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what runs, in every terminal, and what was interrupted."""
    from llmos.shell import processes

    processes.show(ended=everything, as_json=as_json)


def top() -> None:
    """Watch what runs, until Ctrl-C."""
    from llmos.shell import processes

    processes.top()


def log(pid: Pid, as_json: AsJson = False) -> None:
    """Show the calls of a run, one line each."""
    from llmos.shell.runlog import show_log

    show_log(pid, as_json=as_json)


def trace(
    pid: Pid,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it as one HTML page.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the timeline of a run: what it thought, did and waited for, what it cost, and why."""
    from llmos.shell.runlog import show_trace

    show_trace(pid, html=html, as_json=as_json)


def resume(
    context: typer.Context,
    pid: Pid,
    model: Model = None,
    tools: Tools = None,
    unsafe: Unsafe = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write events as JSON lines.")] = False,
) -> None:
    """Go on with a run that was interrupted; nothing it did is done again."""
    from llmos.shell.cli import settings_of
    from llmos.shell.processes import run_id
    from llmos.shell.working import Job, resume_run

    job = Job(tools=names(tools), unsafe=unsafe, json=as_json)
    raise typer.Exit(resume_run(run_id(pid), job, settings_of(context, {"model": model})))


def kill(
    pid: Pid,
    signal: Annotated[
        str, typer.Option("--signal", "-s", metavar="NAME", help="stop|continue|interrupt|kill.")
    ] = "kill",
) -> None:
    """End a run or one process of it; or stop, continue or interrupt it."""
    import asyncio

    from llmos.shell.processes import SIGNALS, send

    if signal not in SIGNALS:
        raise typer.BadParameter(f"there is no signal {signal!r}", param_hint="--signal")
    print(f"{signal}: {asyncio.run(send(pid, signal))}")


def undo(
    pid: Pid,
    force: Annotated[bool, typer.Option("--force", help="Files that were changed since, too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Take back what a run did to files: shows it and asks."""
    from llmos.shell import keeping

    raise typer.Exit(keeping.undo(pid, force=force, yes=yes))


def replay(pid: Pid) -> None:
    """Run a finished run again on what is recorded: nothing is generated, nothing happens."""
    from llmos.shell import keeping

    keeping.replay(pid)


def audit(as_json: AsJson = False) -> None:
    """Check that no record of any run was changed, removed or cut off; exit code 1 if one was."""
    from llmos.shell import keeping

    raise typer.Exit(keeping.audit(as_json=as_json))


def forget(
    pid: Annotated[str | None, typer.Argument(metavar="PID", help="The run; its beginning is enough.")] = None,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="AGE", help="All that ended longer ago: 12h, 30d, 2w.")
    ] = None,
) -> None:
    """Forget what runs were told, thought and kept; that they ran stays on record."""
    if (pid is None) == (older_than is None):
        raise typer.BadParameter("give either a PID or --older-than", param_hint="PID")
    from llmos.shell import keeping

    keeping.forget(pid, older_than)


@grants.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the standing permissions in force."""
    from llmos.shell import keeping

    keeping.list_grants(as_json=as_json)


@grants.command(epilog="Example:  llmos grants add write_file --target 'path=notes/*' --expires 30d")
def add(
    tools: Annotated[list[str], typer.Argument(metavar="TOOL", help="Names or patterns of tools.")],
    target: Annotated[
        list[str] | None, typer.Option(metavar="ARGUMENT=PATTERN", help="Allowed values of a steering argument.")
    ] = None,
    calls: Annotated[int | None, typer.Option(metavar="N", min=1, help="For so many calls.")] = None,
    expires: Annotated[str | None, typer.Option(metavar="AGE", help="For so long: 12h, 30d.")] = None,
    workspace: Annotated[Path | None, typer.Option(metavar="FOLDER", help="For code confined to it.")] = None,
    origin: Annotated[list[str] | None, typer.Option(metavar="URL", help="For pages of it.")] = None,
) -> None:
    """Permit calls in advance, for all runs."""
    from llmos.shell import keeping

    print(
        keeping.add_grant(
            tools=tuple(tools),
            targets=tuple(target or ()),
            calls=calls,
            expires=expires,
            workspace=workspace,
            origins=tuple(origin or ()),
        )
    )


@grants.command()
def revoke(grant: Annotated[str, typer.Argument(metavar="ID", help="As `llmos grants list` shows it.")]) -> None:
    """End a standing permission."""
    from llmos.shell import keeping

    keeping.revoke_grant(grant)
    print(f"revoked {grant}")


def names(written: str | None) -> tuple[str, ...] | None:
    """The names in a list with commas; None if none was given."""
    if written is None:
        return None
    found = tuple(name.strip() for name in written.split(",") if name.strip())
    if not found:
        raise typer.BadParameter("no tool is named", param_hint="--tools")
    return found


def level_of(written: str | None) -> Level | None:
    """A level by its name."""
    if written is None:
        return None
    from llmos.config import SETTINGS

    try:
        level: Level = SETTINGS["level"].check(written.upper())
    except ValueError:
        raise typer.BadParameter(f"there is no level {written!r}; there are L0 to L5", param_hint="--level") from None
    return level


def budget_of(written: str | None) -> Budget | None:
    """A budget as it is written: `tokens=1000,seconds=60`; what is not named has its default."""
    if written is None:
        return None
    from dataclasses import replace

    from llmos.kernel.budget import DEFAULT, RESOURCES

    bounds: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in written.split(","))):
        name, _, number = part.partition("=")
        try:
            bounds[name.strip()] = float(number.replace("_", ""))
        except ValueError:
            raise typer.BadParameter(f"{part!r} is no bound, such as tokens=1000", param_hint="--budget") from None
        if name.strip() not in RESOURCES or not bounds[name.strip()] >= 0:
            known = ", ".join(RESOURCES)
            raise typer.BadParameter(f"{part!r} can't be bounded so; there are {known}", param_hint="--budget")
    return replace(DEFAULT, **bounds)
