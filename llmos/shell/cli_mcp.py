"""The commands for MCP servers: what each is called and takes, and nothing of what it does.

Imports what a command needs when it runs, as `llmos.shell.cli` does.
"""

from __future__ import annotations

from typing import Annotated

import typer

from llmos.shell.cli_runs import AsJson

Name = Annotated[str, typer.Argument(metavar="NAME", help="As `llmos mcp list` shows it.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]

app = typer.Typer(
    name="mcp",
    help="MCP servers, whose tools agents may use: add, list, test, approve, remove.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(epilog="Example:  llmos mcp add github --env GITHUB_TOKEN=secret://github -- npx -y some-mcp-server")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What its tools are named after.")],
    command: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND", help="The program and its arguments, after --.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Instead of a program: a streamable HTTP server.")
    ] = None,
    env: Annotated[list[str] | None, typer.Option(metavar="K=V", help="A variable; V may be secret://NAME.")] = None,
    header: Annotated[list[str] | None, typer.Option(metavar="K=V", help="A header; V may hold secret://NAME.")] = None,
    yes: Yes = False,
) -> None:
    """Add a server: shows what would run or be reached, asks, looks at its tools."""
    if bool(command) == bool(url):
        raise typer.BadParameter("give either a command after -- or --url", param_hint="NAME")
    from llmos.shell import servers
    from llmos.tools.mcp.settings import Server

    server = Server(
        name=name,
        command=tuple(command or ()),
        url=url or "",
        env=servers.pairs(env or (), "--env"),
        headers=servers.pairs(header or (), "--header"),
    )
    raise typer.Exit(servers.add(server, yes=yes))


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the servers; nothing is started."""
    from llmos.shell import servers

    servers.show_list(as_json=as_json)


@app.command("test", epilog="Example:  llmos mcp test github --accept")
def look(
    name: Name,
    accept: Annotated[bool, typer.Option("--accept", help="Take its tools as they are now.")] = False,
    as_json: AsJson = False,
) -> None:
    """Connect to a server and show its tools, what each counts as and what has changed; exit code 1 if it has."""
    from llmos.shell import servers

    raise typer.Exit(servers.show_test(name, accept=accept, as_json=as_json))


@app.command()
def approve(yes: Yes = False) -> None:
    """Show the servers that this folder's .llmos/mcp.toml brings, and let them be used."""
    from llmos.shell import servers

    raise typer.Exit(servers.approve(yes=yes))


@app.command()
def remove(name: Name) -> None:
    """Take a server of yours away."""
    from llmos.shell import servers

    servers.remove(name)
