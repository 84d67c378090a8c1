"""The commands for secrets: what each is called and takes. `llmos.shell.vault` does the work."""

from __future__ import annotations

from typing import Annotated

import typer

from llmos.shell.cli_runs import AsJson

app = typer.Typer(
    name="secret",
    help="Keys and passwords that tools use and no model sees: set, list, rm.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command("set", epilog="Example:  llmos secret set brave --tool web_search --host api.search.brave.com")
def set_(
    name: Annotated[str, typer.Argument(metavar="NAME", help="It is then written secret://NAME.")],
    tool: Annotated[str, typer.Option(metavar="TOOL", help="The tool that may use it; a pattern, such as http_*.")],
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Where it may be sent; a pattern, such as *.example.com.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Keep a secret, or replace it. Its value is asked for, without echo, or piped in.

    It goes into the system's keyring, or where there is none into a file that only you can read.
    """
    from llmos.shell import vault

    vault.keep(name, tool=tool, host=host, as_json=as_json)


@app.command("list", epilog="Example:  llmos secret list --json")
def list_(as_json: AsJson = False) -> None:
    """List the secrets: what each is for and where it is kept, never its value."""
    from llmos.shell import vault

    vault.show(as_json=as_json)


@app.command(epilog="Example:  llmos secret rm brave")
def rm(names: Annotated[list[str], typer.Argument(metavar="NAME", help="As `llmos secret list` shows it.")]) -> None:
    """Forget secrets."""
    from llmos.shell import vault

    vault.forget(names)
