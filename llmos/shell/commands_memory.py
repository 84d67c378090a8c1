"""The chat's commands for memory, and what it does with words that tell it something, ask why, or want it forgotten.

Knows what they do, not where they are shown.
"""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from llmos.config import cache_dir
from llmos.errors import LlmosError
from llmos.shell import conversations
from llmos.shell.commands import command
from llmos.shell.commands_runs import COMMANDS

if TYPE_CHECKING:
    from llmos.memory.forgetting import Plan
    from llmos.memory.memory import Memory
    from llmos.shell.shell import Shell

__all__ = ["COMMANDS"]

_NOTE = re.compile(r"#note\b[\s:]*(?P<text>.*)", re.IGNORECASE | re.DOTALL)
_VERBS = ("add", "search", "list", "show", "forget", "stats")


def _verbs(shell: Shell, typed: str) -> Iterable[str]:
    return _VERBS


@command(
    "memory [add|search|list|show|forget|stats …]",
    "what is remembered: your documents, what you told; add and find it, forget it",
    complete=_verbs,
    details="  /memory add PATH… adds files, folders and pages; /memory search WORDS finds, /memory show NUMBER shows\n"
    "  one whole; /memory forget WORDS shows what would go, and asks. #note TEXT keeps a note.",
)
async def _memory(shell: Shell, argument: str) -> None:
    verb, _, rest = argument.partition(" ")
    verb, rest = verb or "stats", rest.strip()
    if verb == "forget":
        await forget(shell, rest)
        return
    does: Mapping[str, Callable[[Shell, str], str]] = {
        "add": _add,
        "search": _search,
        "list": _list,
        "show": _show,
        "stats": _stats,
    }
    if verb not in does:
        raise LlmosError(f"/memory does not know {verb!r}.", hint=f"It knows {', '.join(_VERBS)}.")
    shell.screen.say(await asyncio.to_thread(does[verb], shell, rest))


def _of(shell: Shell) -> Memory:
    return shell.session.knowing.memory


def _add(shell: Shell, rest: str) -> str:
    from llmos.shell.adding import in_chat

    try:
        places = shlex.split(rest)
    except ValueError as error:
        raise LlmosError(f"{rest!r} can't be read: {error}.", hint="Quote paths with spaces.") from error
    if not places:
        raise LlmosError("What is to be added?", hint="/memory add docs/ README.md")
    return in_chat(_of(shell), places, shell.folder)


def _search(shell: Shell, rest: str) -> str:
    from llmos.shell.memories import hit_text

    if not rest:
        raise LlmosError("What is to be found?", hint="/memory search when does the lease end")
    found = _of(shell).search(rest, limit=5)
    return "\n\n".join(map(hit_text, found.hits)) if found.relevant else "nothing relevant is remembered"


def _list(shell: Shell, rest: str) -> str:
    from llmos.shell.memories import listing

    return listing(_of(shell))


def _show(shell: Shell, rest: str) -> str:
    from llmos.shell.memories import item_text

    numbers = [int(word) for word in rest.split() if word.isdigit()]
    found = _of(shell).get(numbers)
    if not found:
        raise LlmosError("There is no such item.", hint="/memory search shows the numbers.")
    return "\n".join(map(item_text, found)).rstrip()


def _stats(shell: Shell, rest: str) -> str:
    from llmos.shell.memories import stats_text

    return stats_text(_of(shell).stats())


# -- words


async def heard(shell: Shell, words: str) -> bool:
    """Take from what the user typed what is for the memory; True if there is nothing else to answer.

    Raises:
        StorageError: Memory can't be read or written.
    """
    note = _NOTE.fullmatch(words)
    if note is not None and not note["text"].strip():
        raise LlmosError("The note is empty.", hint="#note the key is under the mat")
    session = shell.session
    for line in session.knowing.news:
        shell.screen.warn(line)
    session.knowing.news = ()
    why = await asyncio.to_thread(_why, shell, words)
    if why is not None:
        shell.screen.say(why)
        return True
    if (query := to_forget(words)) is not None:
        await _forget_told(shell, query, words)
        return True
    lines, only = await asyncio.to_thread(session.knowing.tell, words, session.named)
    if only or (lines and note is not None):
        answer = "\n".join(lines)
        session.noted(words, answer)
        shell.screen.say(answer)
        return True
    for line in lines:
        shell.screen.warn(line)
    return False


def _why(shell: Shell, words: str) -> str | None:
    """The answer to a question why something is known; None if it is none, or nothing is."""
    from llmos.agents.citing import SOURCES
    from llmos.memory.personal import asks_why

    turns = shell.session.turns
    if asks_why(words) == "" and turns and (sources := SOURCES.findall(turns[-1].text)):
        return "\n".join(sources)
    return shell.session.knowing.why(words)


def to_forget(words: str) -> str | None:
    """What the user wants forgotten of what they told; None if nothing."""
    from llmos.memory.personal.turns import read

    wanted = read(words).forget
    return wanted[0] if wanted else None


async def _forget_told(shell: Shell, query: str, words: str) -> None:
    from llmos.memory import forgetting

    memory = _of(shell)

    def look() -> Plan:
        facts = memory.personal.find(query) if memory.exists else ()
        return forgetting.plan(memory, memory.get([fact.id for fact in facts]), also=(words,))

    plan = await asyncio.to_thread(look)
    if plan.items:
        await _carry_out(shell, plan)
    else:
        shell.screen.say("I was told nothing of this; /memory forget WORDS forgets documents")


async def forget(shell: Shell, rest: str) -> None:
    """Show what would be forgotten, ask, and forget it; with `now` at the end, without asking.

    Raises:
        LlmosError: Nothing was said to be forgotten, a run that holds it is under way, or nobody can be asked.
    """
    from llmos.shell.forgets import What, planned

    now = rest.endswith(" now")
    query = rest.removesuffix(" now").strip() if now else rest
    if not query:
        raise LlmosError("What is to be forgotten?", hint="/memory forget WORDS, or /memory forget NUMBER")
    numbers = tuple(int(word) for word in query.split()) if query.replace(" ", "").isdigit() else ()
    what = What(numbers=numbers) if numbers else What(query=query)
    plan = await asyncio.to_thread(planned, _of(shell), what)
    if not plan.items:
        shell.screen.say("nothing of this is remembered")
        return
    await _carry_out(shell, plan, sure=now)


async def _carry_out(shell: Shell, plan: Plan, *, sure: bool = False) -> None:
    from llmos.memory import forgetting
    from llmos.shell.forgets import done_text, plan_text

    text = plan_text(plan)
    if sure:
        shell.screen.say(text)
    else:
        async with shell.screen.answer() as view:
            if view.ask is None:
                shell.screen.say(text)
                raise LlmosError("Nobody can be asked here.", hint="/memory forget WORDS now forgets it.")
            said = await view.ask(text, "forget it for good? [y/N] ")
        if (said or "").strip().casefold() not in ("y", "yes"):
            shell.screen.warn("nothing was forgotten")
            return
    done = await asyncio.to_thread(forgetting.forget, _of(shell), plan, cache=cache_dir())
    session = shell.session
    here = session.conversation
    if here is not None and here.path in plan.chats:
        path = done.renamed.get(here.path, here.path)
        if path.exists():
            session.resume(await asyncio.to_thread(conversations.load, path))
        else:
            session.clear()
    session.knowing.told = ()
    shell.screen.say(done_text(done))
