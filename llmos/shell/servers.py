"""`llmos mcp …`: show, add, look at, approve and remove MCP servers.

Talks to the user; what a server is and what is believed of it is decided in `llmos.tools.mcp`.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmos.config import data_dir
from llmos.errors import ConfigError, LlmosError
from llmos.shell.confirming import confirmed
from llmos.shell.text import columns, complaint, harmless
from llmos.tools.mcp import pins, settings
from llmos.tools.mcp.settings import Server
from llmos.tools.secrets import HANDLE, Secrets

if TYPE_CHECKING:
    from llmos.tools.mcp.look import Look, SeenTool

_WIDTH = 300


def add(server: Server, *, yes: bool) -> int:
    """Show what a new server is, ask, look at it, and write it down with the tools it has now.

    Returns:
        Exit code: 1 if the user did not agree.

    Raises:
        ConfigError: It can't be added.
        McpError: It does not work; nothing was written.
    """
    if server.command and "/" in server.command[0]:  # the same program from every folder
        server = replace(server, command=(str(Path(server.command[0]).expanduser().absolute()), *server.command[1:]))
    settings.check(server)
    _say(introduction(server))
    if not yes and not _agreed("add it?", "--yes adds it."):
        return 1
    _ask_for_secrets(server)
    pins.forget(server)
    found = asyncio.run(_look(server))
    settings.add(server)
    pins.accept(server, found.definitions.values())
    _say(f"{_tools_text(found.tools, news=False)}\nadded {server.name}: {_summary(found)}")
    return 0


def introduction(server: Server) -> str:
    """What using a server means, before it is used."""
    if server.url:
        lines = [f"{server.name} is at {server.url}", "What agents ask of its tools is sent there."]
    else:
        program = shutil.which(server.command[0])
        lines = [
            f"{server.name} is a program that runs outside the sandbox, with all your rights, while an agent uses it:",
            f"  {server.where}",
            f"  ({program or 'not found on this machine'})",
        ]
    for title, table in (("variable", server.env), ("header", server.headers)):
        lines += [f"  {title} {name} = {value}" for name, value in table.items()]
    plain = [
        name for name, value in server.headers.items() if name.lower() == "authorization" and "secret:" not in value
    ]
    if plain:
        lines.append(f"  {plain[0]} stands in the file as it is; secret://NAME would keep it out.")
    return "\n".join(lines)


def listing() -> list[dict[str, Any]]:
    """All servers, and where they stand.

    Raises:
        ConfigError: The user's file has a mistake.
    """
    rows: list[dict[str, Any]] = []
    for server in settings.load().servers.values():
        accepted = len(pins.accepted(server))
        rows.append(
            {
                "name": server.name,
                "from": "project" if server.project else "user",
                "where": server.where,
                "tools": accepted,
                "state": "ready" if accepted else "not accepted",
            }
        )
    return rows


def listing_text() -> str:
    """The same for people, with what is to be said of servers that don't count."""
    rows = listing()
    lines = [
        (
            row["name"],
            f"{row['tools']} tools" if row["tools"] else f"not in use: llmos mcp test {row['name']} --accept",
            row,
        )
        for row in rows
    ]
    shown = [
        (name, f"{what}  {row['where']}" + ("  (project)" if row["from"] == "project" else ""))
        for name, what, row in lines
    ]
    text = columns(shown, indent=0) if shown else "no MCP server; llmos mcp add NAME -- COMMAND … adds one"
    return harmless("\n".join([text, *settings.load().notices]))


def show_list(*, as_json: bool) -> None:
    """Print them."""
    print(json.dumps(listing(), ensure_ascii=False, indent=2) if as_json else listing_text())


def show_test(name: str, *, accept: bool, as_json: bool) -> int:
    """Look at a server, print what its tools are now, and take them as they are if told so.

    Returns:
        Exit code: 1 if something is not as it was accepted.

    Raises:
        McpError: It does not work.
    """
    server = _find(name)
    _ask_for_secrets(server)
    found = asyncio.run(_look(server))
    if accept:
        pins.accept(server, found.definitions.values())
    good = found.good or accept
    if as_json:
        row = {key: value for key, value in asdict(found).items() if key not in ("server", "definitions")}
        print(json.dumps({"name": name, **row, "accepted": accept, "good": good}, ensure_ascii=False, indent=2))
    else:
        _say(f"{_tools_text(found.tools, news=True)}\n{name}: {_summary(found)}")
        if accept:
            _say("accepted as they are now")
        elif not found.good:
            _say(f"what is new or changed is not used until `llmos mcp test {name} --accept`")
    return 0 if good else 1


def approve(*, yes: bool) -> int:
    """Show this project's file whole, ask, and look at each of its servers.

    Returns:
        Exit code: 1 if the user did not agree, or a server does not work.

    Raises:
        ConfigError: There is no such file, or it has a mistake.
    """
    file = settings.project_file()
    if file is None:
        raise ConfigError(f"There is no {str(settings.PROJECT)!r} in {str(Path.cwd())!r}.")
    servers = list(settings.parse(file.text, str(file.path), project=file.path.parent.parent))
    _say(f"{file.path}:\n")
    _say("\n".join(f"  │ {line}" for line in file.text.splitlines()))
    for server in servers:
        _say(f"\n{introduction(server)}")
    if not yes and not _agreed("let these servers be used?", "--yes approves them."):
        return 1
    settings.approve(file)
    failed = 0
    for server in servers:
        if settings.load().servers.get(server.name) != server:
            _say(f"{server.name} is not used: you have one of this name")
            continue
        try:
            _ask_for_secrets(server)
            found = asyncio.run(_look(server))
        except LlmosError as error:
            failed = 1
            print(complaint(error.message, error.hint), file=sys.stderr)
            continue
        pins.accept(server, found.definitions.values())
        _say(f"{_tools_text(found.tools, news=False)}\n{server.name}: {_summary(found)}")
    return failed


def remove(name: str) -> None:
    """Take a server out of the user's file, and what was accepted of it.

    Raises:
        ConfigError: There is none of this name there.
    """
    server = next((one for one in settings.own_servers() if one.name == name), None)
    settings.remove(name)
    if server is not None:
        pins.forget(server)
    _say(f"removed {name}")


def pairs(written: Iterable[str], option: str) -> Mapping[str, str]:
    """`K=V` options as a table.

    Raises:
        ConfigError: One has no `=`.
    """
    found: dict[str, str] = {}
    for one in written:
        key, equals, value = one.partition("=")
        if not key.strip() or not equals:
            raise ConfigError(
                f"{option} {one!r} is no NAME=VALUE.", hint=f"For example {option} TOKEN=secret://github."
            )
        found[key.strip()] = value.strip()
    return found


def _find(name: str) -> Server:
    known = settings.load()
    if name not in known.servers:
        hint = f"There are: {', '.join(sorted(known.servers))}." if known.servers else "`llmos mcp add` adds one."
        raise ConfigError(f"There is no MCP server {name!r}.", hint=" ".join((hint, *known.notices)))
    return known.servers[name]


async def _look(server: Server) -> Look:
    from llmos.tools.mcp.look import look

    return await look(server)


def _ask_for_secrets(server: Server) -> None:
    """Have the user type the secrets that a server needs and that are not kept yet, each for this server only."""
    store = Secrets(data_dir())
    known = {binding.name for binding in store.bindings()}
    values = [*server.env.values(), *server.headers.values()]
    for name in dict.fromkeys(name for value in values for name in HANDLE.findall(value) if name not in known):
        if not sys.stdin.isatty():
            raise ConfigError(
                f"The MCP server {server.name!r} needs the secret {name!r}, which is not kept here.",
                hint=f"Run this in a terminal, or first: llmos secret set {name} --tool {server.scope}"
                + (f" --host {server.host}" if server.host else ""),
            )
        import getpass

        store.set(
            name, getpass.getpass(f"secret {name} for {server.name}: ").strip(), tool=server.scope, host=server.host
        )


def _agreed(question: str, hint: str) -> bool:
    return confirmed(question, whether="this server may be used", hint=hint, declined="nothing was changed")


def _tools_text(tools: Iterable[SeenTool], *, news: bool) -> str:
    parts: list[str] = []
    for tool in tools:
        said = ", ".join(f"{key}={str(value).lower()}" for key, value in tool.hints.items())
        notes = [tool.effect, *([tool.state.upper()] if news and tool.state != "accepted" else [])]
        if tool.changed:
            notes.append(f"differs in {', '.join(tool.changed)}")
        if tool.problem:
            notes.append(f"can't be used: {tool.problem}")
        if said:
            notes.append(f"it says of itself: {said}")
        about = tool.description if len(tool.description) <= _WIDTH else f"{tool.description[:_WIDTH]}…"
        parts.append(f"  {tool.name}  [{'; '.join(notes)}]" + (f"\n      {about}" if about else ""))
    return "\n".join(parts) or "  no tools"


def _summary(found: Look) -> str:
    title = f" ({found.title})" if found.title else ""
    return (
        f"{len(found.tools)} tools{title}, protocol {found.protocol},"
        f" ready after {found.connect_seconds * 1000:,.0f} ms, listed in {found.list_seconds * 1000:,.0f} ms"
    )


def _say(text: str) -> None:
    """On stdout; what servers and files of others say can't do anything to the terminal."""
    print(harmless(text), flush=True)
