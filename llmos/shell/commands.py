"""The commands of the chat, as a table: a later part of llmos adds its own with `@command`.

Knows what they do, not where they are shown.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmos.config import write_atomically
from llmos.errors import LlmosError, StorageError
from llmos.messages import Context
from llmos.shell import conversations, window
from llmos.shell.text import columns

if TYPE_CHECKING:
    from llmos.shell.shell import Shell

Run = Callable[["Shell", str], Awaitable[None]]
Complete = Callable[["Shell", str], Iterable[str]]

_LISTED = 15


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Attributes:
        usage: How it is written, without the slash.
        summary: One line for `/help`.
        run: Called with the shell and what stands behind the command's name. It may raise any `LlmosError`.
        complete: Gives what may stand behind the name, for completion.
        details: More lines for `/help NAME`.
    """

    name: str
    usage: str
    summary: str
    run: Run
    complete: Complete | None = None
    details: str = ""


COMMANDS: dict[str, Command] = {}
_ALIASES = {"quit": "exit", "q": "exit", "?": "help", "new": "clear"}


def command(usage: str, summary: str, *, complete: Complete | None = None, details: str = "") -> Callable[[Run], Run]:
    """Register a function as the command that its usage begins with."""

    def register(run: Run) -> Run:
        name = usage.split()[0]
        COMMANDS[name] = Command(name, usage, summary, run, complete, details)
        return run

    return register


def names_like(name: str) -> list[str]:
    """Commands that could have been meant: those that begin so, or the nearest ones."""
    return [known for known in COMMANDS if name and known.startswith(name)] or difflib.get_close_matches(name, COMMANDS)


def find(name: str) -> Command | None:
    """The command of a name or of one of the other names it goes by."""
    return COMMANDS.get(_ALIASES.get(name, name))


def _command_names(shell: Shell, typed: str) -> Iterable[str]:
    return COMMANDS


@command("help [COMMAND]", "the commands, or one of them in detail", complete=_command_names)
async def _help(shell: Shell, argument: str) -> None:
    if argument:
        found = find(argument.lstrip("/"))
        if found is None:
            raise LlmosError(f"No command {argument!r}.", hint="/help lists them.")
        shell.screen.say("\n".join(filter(None, (f"/{found.usage}   {found.summary}", found.details))))
        return
    rows = [(f"/{item.usage}", item.summary) for item in sorted(COMMANDS.values(), key=lambda item: item.name)]
    keys = [
        ("@FILE", "attach a text file to the message"),
        ("Alt-Enter", "a new line; a ``` block is also more than one line"),
        ("Ctrl-R", "search what you typed before"),
        ("Ctrl-C, Esc", "stop the answer and keep what was said"),
        ("Ctrl-D", "leave"),
    ]
    shell.screen.say(f"{columns(rows)}\n\n{columns(keys)}")


@command("exit", "leave; the conversation is saved")
async def _exit(shell: Shell, argument: str) -> None:
    shell.done = True


def _model_names(shell: Shell, typed: str) -> Iterable[str]:
    return ["default"]


@command(
    "model [NAME]",
    "what runs now, or change to another model",
    complete=_model_names,
    details="  NAME is a path, a name from `llmos model list`, hf:…, ollama:…, http://host/v1#model, or default.",
)
async def _model(shell: Shell, argument: str) -> None:
    session = shell.session
    if argument:
        shell.screen.warn(f"loading {argument} …")
        await session.use_model(None if argument == "default" else argument)
    engine = await session.kernel.engine()
    info = engine.info
    rows = [
        ("model", info.name),
        ("context", f"{info.context:,} tokens"),
        ("template", info.template),
        ("tools", info.tool_format),
        *info.details.items(),
    ]
    shell.screen.say(columns(rows))


@command(
    "context [pin|unpin TURN]",
    "what fills the context, page by page; what was left out of it",
    complete=lambda shell, typed: ["pin", "unpin"],
    details="  `pin 3` keeps the third turn in the context whatever happens.",
)
async def _context(shell: Shell, argument: str) -> None:
    session = shell.session
    engine = await session.kernel.engine()
    if argument:
        shell.screen.say(await window.pin(session, engine, argument))
        return
    shell.screen.say(await window.shown(session, engine))


@command("clear", "begin a new conversation; the old one stays saved")
async def _clear(shell: Shell, argument: str) -> None:
    shell.session.clear()
    shell.screen.say("a new conversation")


@command("undo", "take back the last question and its answer")
async def _undo(shell: Shell, argument: str) -> None:
    turn = shell.session.undo()
    if turn is None:
        raise LlmosError("There is no turn of this session to take back.")
    shell.screen.say(f"taken back: {conversations.shorten(turn.words)}")


@command("retry", "ask the last question again")
async def _retry(shell: Shell, argument: str) -> None:
    turn = shell.session.undo()
    if turn is None:
        raise LlmosError("There is no question of this session to ask again.")
    await shell.answer(turn.words, attached=turn.attached)


@command("system [TEXT]", "the system prompt, or another one from now on")
async def _system(shell: Shell, argument: str) -> None:
    if argument:
        shell.session.set_system(argument)
    shell.screen.say(shell.session.settings.system or "no system prompt: the model's chat template decides")


@command(
    "save [TITLE|FILE.md]",
    "give the conversation a title, or write it to a Markdown file",
    details="  Every turn is saved by itself; /resume lists the saved conversations.",
)
async def _save(shell: Shell, argument: str) -> None:
    session = shell.session
    if not any(message.role == "user" for message in session.context.messages):
        raise LlmosError("The conversation is empty.", hint="Ask something first.")
    if argument.endswith(".md"):
        path = (shell.folder or Path()) / Path(argument).expanduser()
        if path.exists():
            raise StorageError(f"{str(path)!r} exists already.", hint="Choose another name.")
        write_atomically(path, _transcript(session.context))
        shell.screen.say(f"written to {path}")
    elif session.save(title=argument or None) and session.conversation is not None:
        shell.screen.say(f"saved as “{session.conversation.title}”")


def _transcript(context: Context) -> str:
    parts = (f"## {message.role}\n\n{message.content}\n" for message in context.messages if message.content)
    return "\n".join(parts)


@command(
    "resume [NUMBER|WORDS]",
    "the saved conversations, or go on with one",
    details="  NUMBER is its place in the list; WORDS stand in its title.",
)
async def _resume(shell: Shell, argument: str) -> None:
    good, bad = conversations.recent(_LISTED if argument.isdigit() or not argument else 1000)
    for error in bad:
        shell.screen.warn(str(error))
    if argument and (good or bad):
        resume(shell, _chosen(good, argument))
    elif good:
        shell.screen.say("\n".join(f"  {number:>2}  {_listed(item)}" for number, item in enumerate(good, 1)))
        shell.screen.say("/resume NUMBER goes on with one")
    else:
        shell.screen.say("no conversation is saved yet" + ("; this is a new one" if argument else ""))


def resume(shell: Shell, conversation: conversations.Conversation) -> None:
    """Go on with a conversation, and show where it stood."""
    shell.session.resume(conversation)
    summary = f"\n  {conversation.summary}" if conversation.summary else ""
    shell.screen.say(f"resumed “{conversation.title}”, {_turns(conversation.turns)}{summary}")
    last = [message for message in conversation.messages if message.role in ("user", "assistant")][-2:]
    for message in last:
        if message.role == "user":
            shell.screen.say(f"> {conversations.shorten(message.content)}")
        else:
            shell.screen.markdown(message.content)


def _chosen(saved: list[conversations.Conversation], argument: str) -> conversations.Conversation:
    if argument.isdigit():
        if 1 <= int(argument) <= len(saved):
            return saved[int(argument) - 1]
        raise LlmosError(f"There is no conversation number {argument}.", hint="/resume lists them.")
    for conversation in saved:
        if argument.lower() in conversation.title.lower():
            return conversation
    raise LlmosError(f"No saved conversation has {argument!r} in its title.", hint="/resume lists them.")


def _listed(conversation: conversations.Conversation) -> str:
    return f"{conversation.title}  ({_turns(conversation.turns)}, {_ago(time.time() - conversation.updated)})"


def _turns(count: int) -> str:
    return "1 turn" if count == 1 else f"{count:,} turns"


def _ago(seconds: float) -> str:
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // size)
        if count >= 1:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


@command("stats", "tokens, speed and time of this session and its last answer")
async def _stats(shell: Shell, argument: str) -> None:
    session = shell.session
    totals = session.totals
    rows = [
        ("turns", f"{totals.turns:,}"),
        ("read", f"{totals.prompt_tokens - totals.reused_tokens:,} tokens"),
        ("reused", f"{totals.reused_tokens:,} tokens that were in the cache already"),
        ("written", f"{totals.generated_tokens:,} tokens"),
        ("time", f"{totals.seconds:.1f} s"),
    ]
    if session.turns:
        turn = session.turns[-1]
        rows.append(("last answer", f"{turn.usage.generated_tokens:,} tokens in {turn.usage.seconds:.2f} s"))
        rows.append(("first token", f"after {turn.usage.first_token_seconds:.2f} s"))
    if session.tokens_per_second:
        rows.append(("speed", f"{session.tokens_per_second:.0f} tokens/s"))
    if session.confidence is not None:
        rows.append(("confidence", f"{session.confidence:.2f}"))
    shell.screen.say(columns(rows))
