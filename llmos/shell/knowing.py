"""What the chat knows of its user: the lines that stand in every context, what is taken from a turn, why it is known.

Memory that can't be read or written stops no answer: it is told once. Knows no terminal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from llmos.config import MemoryOptions
from llmos.errors import LlmosError
from llmos.kernel.calls import Label
from llmos.memory.memory import Memory
from llmos.memory.places import day_of
from llmos.runs import memory_of
from llmos.shell.text import columns, joined

if TYPE_CHECKING:
    from llmos.memory.personal import Extracted

_SHOWN = 5


class Knowing:
    """The user's memory as a chat uses it.

    Args:
        options: Whose memory.
        warn: Told if it can't be used, the first time.

    Attributes:
        memory: It.
        label: Of what stood in the last context; `user` unless something from elsewhere was pinned.
        told: What was told or used last, for `why do you know this?`.
        news: Lines that the user has not seen yet: what was found and what is to be settled, while nothing was asked.
    """

    def __init__(self, options: MemoryOptions, warn: Callable[[str], None]) -> None:
        self.memory: Memory = memory_of(options, notify=warn)
        self.label: Label = "user"
        self.told: tuple[str, ...] = ()
        self.news: tuple[str, ...] = ()
        self._tokens, self._warn = options.profile_tokens, warn
        self._failed = False

    def system(self, system: str, task: str) -> str:
        """A system prompt with what is known of the user below it."""
        try:
            core = self.memory.core(task, tokens=self._tokens)
        except LlmosError as error:
            self._fail(error)
            return system
        if core is None:
            return system
        self.label = core.label
        self.told = tuple(fact.line for fact in core.facts[:_SHOWN])
        return joined(system, core.text)

    def tell(self, words: str, source: Callable[[str], str]) -> tuple[list[str], bool]:
        """Take from a turn what is to be remembered.

        Args:
            source: Gives the conversation's name, given words to name it after.

        Returns:
            What is told of it, a line each, and whether the turn asks for nothing else.
        """
        try:
            told = self.memory.told(words, source=source)
        except LlmosError as error:
            self._fail(error)
            return [], False
        if told is None or not told.facts:
            return [], False
        self.told = tuple(fact.line for fact in told.facts)
        lines = [f"noted: {fact.line}" for fact in told.facts if fact.superseded_by is None]
        lines += [f"  in place of: {fact.line}" for fact in told.superseded]
        lines += [
            f"  you told me otherwise before: {fact.line}; “remember that …” changes it" for fact in told.conflicts
        ]
        only = all(fact.strength == "explicit" for fact in told.facts) and "?" not in words
        return lines, only and not told.conflicts

    def tidy(self) -> None:
        """Have memory in order, if it was not put in order a short time ago.

        Raises:
            StorageError: It can't be read or written.
        """
        done = self.memory.tidy()
        if done is not None:
            self.news += tuple(f"{one.text} “remember that …” settles it." for one in done.questions)

    def learn(self, found: Sequence[Extracted]) -> None:
        """Keep what the model found in what the user said.

        Raises:
            StorageError: It can't be written.
        """
        told = self.memory.personal.learn(found) if found else None
        if told is not None:
            new = [fact for fact in told.facts if fact.superseded_by is None and fact.strength == "extracted"]
            self.news += tuple(f"noted, as the model read it: {fact.line}" for fact in new)

    def why(self, words: str) -> str | None:
        """The answer to a question why something is known; None if the words ask no such thing.

        Raises:
            StorageError: Memory can't be read.
        """
        from llmos.memory.personal import asks_why

        about = asks_why(words)
        if about is None or not self.memory.exists:
            return None
        asked: Sequence[str] = (about,) if about else self.told
        reasons = [reason for text in asked for reason in self.memory.personal.why(text)]
        if not reasons:
            return "Nothing about this was told to me." if about else None
        rows = [
            (
                f"{'' if reason.current else '(earlier) '}{reason.fact.line}",
                f"“{reason.text}”: {_how(reason.strength)}, {day_of(reason.time)}"
                + (f", in {reason.source}" if reason.source else ""),
            )
            for reason in dict.fromkeys(reasons)
        ]
        return columns(rows, indent=0)

    def close(self) -> None:
        """Close its files."""
        self.memory.close()

    def _fail(self, error: LlmosError) -> None:
        if not self._failed:
            self._warn(f"memory can't be used: {error}")
        self._failed = True


def _how(strength: str) -> str:
    return {
        "explicit": "you asked me to remember it",
        "stated": "you said it by the way",
        "extracted": "a model read it in your words",
        "observed": "seen in what you choose",
    }.get(strength, strength)


def chat_name(stem: str) -> str:
    """What a conversation is called as a source: its time and its end, without words of it."""
    return f"chat {stem[:15]} {stem[-4:]}" if len(stem) > 19 else f"chat {time.strftime('%Y-%m-%d-%H%M')}"
