"""`llmos memory forget`: shows what would be forgotten, asks, forgets it in all files, and says what is left.

Knows no command line: `llmos.shell.cli_memory` has the command, `llmos.memory.forgetting` does it.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import datetime

from llmos.config import cache_dir
from llmos.errors import ConfigError
from llmos.memory import forgetting
from llmos.memory.forgetting import Forgotten, Plan
from llmos.memory.items import Item
from llmos.memory.memory import Memory
from llmos.shell import jsonl, memories, waiting
from llmos.shell.confirming import confirmed
from llmos.shell.keeping import seconds_of
from llmos.shell.text import harmless

_LISTED = 15
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2})?)?")


@dataclass(frozen=True, slots=True)
class What:
    """What is to be forgotten, as it is written; nothing given means all."""

    query: str = ""
    sources: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None
    numbers: tuple[int, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing is given."""
        return not (self.query.strip() or self.sources or self.since or self.until or self.numbers)


def moment(written: str | None, *, now: float) -> float | None:
    """A moment as it is written: a day, a day with a time, or how long ago.

    Raises:
        ConfigError: It is none.
    """
    if written is None:
        return None
    if _DAY.fullmatch(written.strip()):
        try:
            return datetime.fromisoformat(written.strip()).timestamp()
        except ValueError:
            pass
    try:
        return now - seconds_of(written.replace("ago", "").strip())
    except ConfigError:
        hint = "Such as 2026-11-21, '2026-11-21 14:30', or 30d for thirty days ago."
        raise ConfigError(f"{written!r} is no moment.", hint=hint) from None


def forget(what: What, tenant: str | None, *, yes: bool, as_json: bool) -> int:
    """Show what would go, ask, and forget it.

    Returns:
        Exit code: 1 if it was not done, or something is left.

    Raises:
        NoSuchProcess: A run that holds it is under way.
        RunError: Nobody is there to ask.
        StorageError: Something can't be read or written.
    """
    with memories.opened(tenant) as memory:
        plan = planned(memory, what)
        if plan.empty:
            print(jsonl.line({"items": 0}) if as_json else "nothing of this is remembered")
            return 1
        if not as_json:
            print(plan_text(plan))
        if not yes and not confirmed(
            "forget it for good?",
            whether="this is to be forgotten",
            hint="--yes forgets it.",
            declined="nothing was forgotten",
            say=waiting.say,
        ):
            return 1
        done = forgetting.forget(memory, plan, cache=cache_dir())
    print(_json(done) if as_json else done_text(done))
    return 1 if done.left else 0


def planned(memory: Memory, what: What) -> Plan:
    """What would go.

    Raises:
        ConfigError: A moment can't be read.
        StorageError: The journal or a file can't be read.
    """
    now = time.time()
    items: list[Item] = memory.get(what.numbers)
    if what.empty or what.query.strip() or what.sources or what.since or what.until:
        items += forgetting.meant(
            memory,
            query=what.query.strip(),
            sources=what.sources,
            since=moment(what.since, now=now),
            until=moment(what.until, now=now),
        )
    return forgetting.plan(memory, items)


def plan_text(plan: Plan) -> str:
    """What would go, for people."""
    lines = [memories.items_text(plan.items[:_LISTED])] if plan.items else []
    if len(plan.items) > _LISTED:
        lines.append(f"and {len(plan.items) - _LISTED:,} more")
    also = [
        _count(len(plan.runs), "run", "whose contents go"),
        _count(len(plan.chats), "saved chat", "in which it is blacked out"),
        _count(plan.typed, "line", "of what was typed"),
    ]
    lines += [f"and with it {', '.join(filter(None, also))}"] if any(also) else []
    return harmless("\n".join(lines))


def _count(number: int, name: str, what: str) -> str:
    return f"{number:,} {name}{'' if number == 1 else 's'} {what}" if number else ""


def done_text(done: Forgotten) -> str:
    """What went and what is left, for people."""
    parts = [
        _count(done.items, "item", "").strip(),
        _count(done.runs, "run", "").strip(),
        _count(done.chats, "saved chat", "").strip(),
        _count(done.typed, "typed line", "").strip(),
    ]
    lines = [f"forgot {', '.join(filter(None, parts))}"]
    lines += [f"still in {path}: “{words}”" for path, words in list(done.left.items())[:_LISTED]]
    if done.left:
        lines.append("there it stands for another reason, or another program holds it open")
    return harmless("\n".join(lines))


def _json(done: Forgotten) -> str:
    values = {"items": done.items, "runs": done.runs, "chats": done.chats, "typed": done.typed}
    return jsonl.line({**values, "left": {str(path): words for path, words in done.left.items()}})
