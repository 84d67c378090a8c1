"""The chat's commands for runs, beside those of `llmos.shell.commands`.

Knows what they do, not where they are shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from llmos.config import write_atomically
from llmos.errors import LlmosError
from llmos.shell import conversations
from llmos.shell.commands import COMMANDS, command
from llmos.shell.text import columns

__all__ = ["COMMANDS"]

if TYPE_CHECKING:
    from llmos.shell.shell import Shell


def _last(shell: Shell, argument: str) -> str:
    """The run that is meant: the one named, or the last one of this session."""
    if argument:
        return argument
    pid = next((turn.pid for turn in reversed(shell.session.turns) if turn.pid), shell.session.last_pid)
    if not pid:
        raise LlmosError("Nothing has run in this session.", hint="/ps all lists all runs.")
    return pid


@command("tools [on|off]", "what an answer may use; `off` answers by the model alone")
async def _tools(shell: Shell, argument: str) -> None:
    session = shell.session
    if argument in ("on", "off"):
        session.tools = argument == "on"
    elif argument:
        raise LlmosError(f"{argument!r} is neither on nor off.")
    if not session.tools:
        shell.screen.say("no tools: the model answers alone")
        return
    from llmos.tools import load_tools

    tools = await asyncio.to_thread(load_tools)
    rows = [(name, conversations.shorten(tool.spec.description, 70)) for name, tool in sorted(tools.items())]
    shell.screen.say(f"{columns(rows)}\nlevel {session.settings.level}, in {Path.cwd()}; /tools off turns them off")


@command("route TASK", "who would do a task: all candidates with their probabilities; nothing is done")
async def _route(shell: Shell, argument: str) -> None:
    from llmos.shell.cli_route import chart, route_of

    if not argument.strip():
        raise LlmosError("Which task?", hint="/route what is 12% of 80?")
    shell.screen.say(chart(await route_of(shell.session.kernel, argument)))


@command("agents", "who can do tasks, and the skills there are; `llmos agents` writes and approves them")
async def _agents(shell: Shell, argument: str) -> None:
    from llmos.shell.agents import listing_text

    shell.screen.say(await asyncio.to_thread(listing_text))


@command("mcp", "the MCP servers whose tools may be used; `llmos mcp` adds and tests them")
async def _mcp(shell: Shell, argument: str) -> None:
    from llmos.shell.servers import listing_text

    shell.screen.say(await asyncio.to_thread(listing_text))


def _all(shell: Shell, typed: str) -> Iterable[str]:
    return ["all"]


@command("ps [all]", "what runs, in every terminal; `all` with what is over", complete=_all)
async def _ps(shell: Shell, argument: str) -> None:
    from llmos.shell.processes import processes, table

    shell.screen.say(table(await processes(ended=argument == "all")))


@command("log [PID]", "the calls of a run, one line each; by default the last one")
async def _log(shell: Shell, argument: str) -> None:
    from llmos.shell.runlog import log_line, story_of

    story = await asyncio.to_thread(story_of, _last(shell, argument))
    shell.screen.say("\n".join(log_line(step) for step in story.steps) or "no call yet")


@command(
    "trace [PID] [FILE.html]",
    "what a run thought and did, when, at what cost and why",
    details="  With FILE.html it is written as one page that needs nothing else.",
)
async def _trace(shell: Shell, argument: str) -> None:
    from llmos.shell.runlog import story_of, trace_text
    from llmos.shell.tracepage import page

    pid, _, file = argument.rpartition(" ") if argument.endswith(".html") else (argument, "", "")
    story = await asyncio.to_thread(story_of, _last(shell, pid.strip()))
    if file:
        path = (shell.folder or Path()) / Path(file).expanduser()
        write_atomically(path, page(story))
        shell.screen.say(f"written to {path}")
    else:
        shell.screen.say(trace_text(story))


@command("continue [PID]", "go on with a run that was interrupted; by default the last one")
async def _continue(shell: Shell, argument: str) -> None:
    from llmos.shell.processes import resumable

    run = await asyncio.to_thread(resumable, _last(shell, argument))
    await shell.go_on(run.id)


@command(
    "kill PID [SIGNAL]",
    "end a run or a process of it, also of another terminal",
    details="  SIGNAL is kill, stop, continue or interrupt.",
)
async def _kill(shell: Shell, argument: str) -> None:
    from llmos.shell.processes import send

    pid, _, signal = argument.partition(" ")
    if not pid:
        raise LlmosError("Which process?", hint="/ps lists them.")
    signal = signal.strip() or "kill"
    shell.screen.say(f"{signal}: {await send(pid, signal)}")


@command(
    "revert [PID] [now]",
    "what a run did to files; with `now` it is taken back",
    details="  By default the last run. /undo takes back the last question, this takes back its effects on files.",
)
async def _revert(shell: Shell, argument: str) -> None:
    from llmos import runs
    from llmos.config import data_dir
    from llmos.shell.keeping import to_undo, undo_text

    words = argument.split()
    now = bool(words) and words[-1] == "now"
    run, files = await asyncio.to_thread(to_undo, _last(shell, " ".join(words[:-1] if now else words)))
    if not files:
        shell.screen.say(f"the run {run} changed no file that is still to be taken back")
    elif now:
        for file in await asyncio.to_thread(runs.undo, data_dir(), run):
            shell.screen.say(f"taken back: {file}")
    else:
        shell.screen.say(f"{undo_text(files)}\n/revert {run} now takes it back")


@command(
    "secrets",
    "what tools may use and no model sees: names, tools and hosts",
    details="  `llmos secret set` keeps one, `llmos secret rm` forgets it.",
)
async def _secrets(shell: Shell, argument: str) -> None:
    from llmos.shell.vault import listed

    shell.screen.say(await asyncio.to_thread(listed))


@command(
    "approve [revoke ID]",
    "the standing permissions, or end one of them",
    details="  `llmos grants add` enters one; so does “always” when you are asked.",
)
async def _approve(shell: Shell, argument: str) -> None:
    from llmos.shell.keeping import grants, grants_text, revoke_grant

    verb, _, grant = argument.partition(" ")
    if verb == "revoke" and grant:
        revoke_grant(grant.strip())
        shell.screen.say(f"revoked {grant.strip()}")
    elif argument:
        raise LlmosError(f"{argument!r} is not understood.", hint="/approve lists them, /approve revoke ID ends one.")
    else:
        shell.screen.say(grants_text(await asyncio.to_thread(grants)))
