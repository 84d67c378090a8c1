"""What the ways of reasoning have in common: results, examples, forms of answers, lines of work.

A method never changes the context of the branch that it is given: it works on lines of its own, which begin with that
context. Knows no method, engine or tool.
"""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import Awaitable
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from llmos.errors import BudgetExceeded
from llmos.events import Usage
from llmos.kernel.branch import Branch
from llmos.kernel.entry import Thought
from llmos.messages import GREEDY, Constraint, Grammar, Message, Regex, Sampling

T = TypeVar("T")
Form = Constraint | tuple[str, ...] | None
"""What an answer looks like: a constraint, one of some choices (compared by likelihood), or None for a free line."""

NUMBER = Regex(r"-?[0-9]{1,9}(\.[0-9]{1,4})?")
"""A number in digits."""
LINE = Regex(r"[^\n]{1,240}")
"""One line."""
VARIED = Sampling(temperature=0.8)
"""How lines that should differ choose their tokens; each gets a seed of its own."""
ANSWER_TOKENS = 32
STEP_TOKENS = 48
REASONING_TOKENS = 160


@dataclass(frozen=True, slots=True)
class Example:
    """A question with its answer, and what stands between them.

    Attributes:
        steps: The reasoning, for a chain of thought.
        parts: What has to be asked or done first, each with what came out, for the methods that take a question apart.
    """

    question: str
    answer: str
    steps: str = ""
    parts: tuple[tuple[str, str], ...] = ()

    @property
    def listed(self) -> str:
        """The parts as a numbered list."""
        return "\n".join(f"{number}. {part}" for number, (part, _) in enumerate(self.parts, 1))

    @property
    def found(self) -> str:
        """What came out of the parts, in sentences."""
        return " ".join(found for _, found in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasoned:
    """What a method came to.

    Attributes:
        answer: Empty where the budget ran out before there was one.
        steps: What led to it, in order.
        confidence: Of an answer among choices its probability, of a vote the share that agrees, of free text the
            geometric mean probability of its tokens; None where nothing tells. None of these is calibrated.
        usage: Of all that the method thought. Seconds add up although lines of work run at once.
        cut: Why it ended early; empty if it did not.
    """

    answer: str
    steps: tuple[str, ...] = ()
    confidence: float | None = None
    usage: Usage = field(default_factory=Usage)
    cut: str = ""


class Trail:
    """What a method has come to so far. A context manager that takes the end of a budget for the end of the method.

    Attributes:
        answer, confidence, steps, usage, cut: As in `Reasoned`.
    """

    def __init__(self) -> None:
        self.answer = ""
        self.confidence: float | None = None
        self.steps: list[str] = []
        self.usage = Usage()
        self.cut = ""

    def __enter__(self) -> Trail:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, BudgetExceeded):
            self.cut = error.message
            return True
        return False

    def count(self, thought: Thought[T]) -> Thought[T]:
        """Add what a thought cost."""
        self.usage = total(self.usage, thought.usage)
        return thought

    def result(self) -> Reasoned:
        """All of it."""
        return Reasoned(
            answer=self.answer, steps=tuple(self.steps), confidence=self.confidence, usage=self.usage, cut=self.cut
        )

    async def conclude(self, line: Branch, form: Form, prompt: str | None = None) -> None:
        """Think the answer on a line, in its form."""
        if isinstance(form, tuple):
            thought = self.count(await line.think(prompt, choices=form))
        else:
            thought = self.count(
                await line.think(
                    prompt,
                    constraint=form,
                    sampling=GREEDY,
                    max_tokens=ANSWER_TOKENS,
                    stop=("\n",) if form is None else (),
                )
            )
        self.answer, self.confidence = thought.text.strip(), thought.confidence

    async def together(self, *work: Awaitable[T]) -> list[T]:
        """Wait for lines of work that run at once; what the budget cut is left out, and noted.

        Raises:
            LlmosError: Of the first line in order that failed otherwise, when all have ended.
        """
        done: list[T] = []
        for found in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(found, BudgetExceeded):
                self.cut = found.message
            elif isinstance(found, BaseException):
                raise found
            else:
                done.append(found)
        return done


def total(*usages: Usage) -> Usage:
    """Usages added up."""
    return Usage(**{item.name: sum(getattr(one, item.name) for one in usages) for item in fields(Usage)})


def begin(branch: Branch, *turns: Message) -> Branch:
    """A line of its own that begins with a branch's context, of which nothing is read again, and some turns."""
    return branch.aside(branch.context.add(*turns))


def turns(*texts: str) -> tuple[Message, ...]:
    """Turns of the user and the model by turns, the user's first."""
    return tuple(Message("assistant" if place % 2 else "user", text) for place, text in enumerate(texts))


async def split(line: Branch, count: int) -> list[Branch]:
    """So many lines that go on from one and share what it has read.

    What it has not read yet is read once, by whichever of them thinks first, and counted there.
    """
    if line.told < len(line.context.messages) or not line.context.messages:
        return [line.aside(line.context) for _ in range(count)]
    return [await line.fork() for _ in range(count)]


def varied(sampling: Sampling, number: int) -> Sampling:
    """Sampling with the seed of a line's number, from 0."""
    return replace(sampling, seed=(sampling.seed or 0) + number + 1)


def numbered(most: int, *, end: str = "", least: int = 1) -> Regex:
    """A numbered list of short lines, at least `least` and at most `most`.

    Args:
        end: A character that ends every line, and stands nowhere else in it.
    """
    pattern = ""
    for number in range(most, 0, -1):
        line = rf"{number}\. [A-Z][^\n{end}]{{8,120}}" + (rf"\{end}" if end else "")
        more = rf"\n{pattern}" if pattern else ""
        pattern = line + (more if number < least or not more else f"({more})?")
    return Regex(pattern)


def items(text: str) -> list[str]:
    """The lines of a numbered list."""
    return [found for line in text.splitlines() if (found := line.partition(". ")[2].strip())]


def span_of(text: str, words: int = 8) -> Grammar:
    """A form for answers that stand in a text: a run of at most so many of its words, as they are."""
    chunks = json.dumps(" ".join(text.split()), ensure_ascii=False)
    return Grammar(
        f'start: SPAN\nSPAN: RUN & /[^ ]+( [^ ]+){{0,{words - 1}}}/\nRUN: %regex {{"substring_words": {chunks}}}'
    )


@dataclass(frozen=True, slots=True)
class Prompts:
    """Texts with `{holes}`; see `prompts.toml`."""

    version: int
    answer: str
    think: str
    ask: str
    asked: str
    split: str
    part: str
    rest: str
    whole: str
    plan: str
    solve: str
    doubt: str
    critique: str
    revise: str
    step: str
    next: str
    value: str


@cache
def prompts() -> Prompts:
    """The prompts, read once."""
    data = tomllib.loads(Path(__file__).with_name("prompts.toml").read_text(encoding="utf-8"))
    texts = {name: text.strip("\n") for name, text in data.items() if name != "version"}
    return Prompts(version=int(data["version"]), **texts)
