"""`python -m bench reasoning`: which way of reasoning helps the embedded model, on what, and at what cost.

Arithmetic in words (made up anew from a fixed seed), questions on short passages, and the choice of a tool; each method
answers the same questions in the same forms. Nothing here is read by the product, and no method was fitted on it.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import re
import sys
import time
import tomllib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.report import Row
from bench.rig import engine as real_engine
from bench.rig import exactly, run, tuned
from llmos.agents.reasoning import (
    Example,
    Form,
    Reasoned,
    best_of_n,
    chain_of_thought,
    least_to_most,
    plan_and_solve,
    reflect_and_refine,
    self_ask,
    span_of,
    tree_of_thoughts,
)
from llmos.agents.reasoning.parts import Trail, begin, turns
from llmos.agents.verdict import Verifier
from llmos.engine.llama.engine import LlamaEngine, LlamaOptions
from llmos.events import EngineEvent, Finished
from llmos.kernel.branch import Branch
from llmos.kernel.budget import Budget
from llmos.kernel.journal import Journal
from llmos.kernel.policy import DefaultPolicy
from llmos.kernel.process import Process
from llmos.kernel.protocols import Engine
from llmos.kernel.system import System, Task
from llmos.messages import Context, Generate, Message, Regex, Score, Scores
from llmos.tools.arithmetic import evaluate

LIMIT = 40
"""How many questions of each kind; `--limit` sets it."""
METHOD = ""
"""Only methods with this in their name; `--method` sets it."""
AT_ONCE = 4
SQUAD = "LLMOS_BENCH_SQUAD"
"""An environment variable with the path of a file in the form of SQuAD, asked in place of the passages here."""

_DATA: dict[str, Any] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
_INTEGER = Regex(r"[0-9]{1,4}")
_SUM = Regex(r"[0-9]{1,3}( [-+*] [0-9]{1,3}){1,3}")


@dataclass(frozen=True, slots=True)
class Item:
    """A question.

    Attributes:
        context: What the branch has before it.
        right: Whether an answer is.
        verifier: What can be told of an answer without knowing the right one.
    """

    question: str
    form: Form
    right: Callable[[str], bool]
    verifier: Verifier[str]
    context: Context = field(default_factory=Context)


@dataclass(slots=True)
class Tally:
    """What a method did on all questions of a kind."""

    right: int = 0
    asked: int = 0
    read: int = 0
    reused: int = 0
    generated: int = 0
    seconds: float = 0.0


Method = Callable[[Branch, Item, Sequence[Example]], Awaitable[Reasoned]]


async def _direct(branch: Branch, item: Item, examples: Sequence[Example]) -> Reasoned:
    """No reasoning: the question, then the answer in its form."""
    trail = Trail()
    line = begin(branch, *(turn for one in examples for turn in turns(one.question, one.answer)))
    await trail.conclude(line, item.form, item.question)
    return trail.result()


async def _sum(branch: Branch, item: Item, examples: Sequence[Example]) -> Reasoned:
    """The model only says which numbers to add, subtract and multiply; the sum is computed."""
    trail = Trail()
    line = begin(branch, *(turn for one in examples for turn in turns(one.question, " ".join(_sums(one.steps)))))
    await trail.conclude(line, _SUM, item.question)
    trail.answer = str(evaluate(trail.answer))
    return trail.result()


def _sums(steps: str) -> list[str]:
    """An example's steps as one sum: the first, with what the others do to it."""
    found = [match[1] for match in re.finditer(r"([0-9]+ [-+*] [0-9]+) =", steps)]
    return [found[0], *(one.partition(" ")[2] for one in found[1:])] if found else []


async def _calibrated(branch: Branch, item: Item, examples: Sequence[Example]) -> Reasoned:
    """No reasoning, with the model's bias for a choice taken out: how the default agent has it choose."""
    assert isinstance(item.form, tuple)
    line = begin(branch, *(turn for one in examples for turn in turns(one.question, one.answer)))
    thought = await line.think(item.question, choices=item.form, baseline="…")
    return Reasoned(answer=thought.value, confidence=thought.confidence, usage=thought.usage)


METHODS: dict[str, Method] = {
    "direct": lambda b, i, e: _direct(b, i, ()),
    "direct, with examples": _direct,
    "chain of thought": lambda b, i, e: chain_of_thought(b, i.question, form=i.form),
    "chain of thought, with examples": lambda b, i, e: chain_of_thought(b, i.question, examples=e, form=i.form),
    "self-ask, with examples": lambda b, i, e: self_ask(b, i.question, examples=e, form=i.form),
    "least to most, with examples": lambda b, i, e: least_to_most(b, i.question, examples=e, form=i.form),
    "plan and solve, with examples": lambda b, i, e: plan_and_solve(b, i.question, examples=e, form=i.form),
    "reflect and refine, with examples": lambda b, i, e: reflect_and_refine(b, i.question, examples=e, form=i.form),
    "reflect and refine, by verifier, with examples": lambda b, i, e: reflect_and_refine(
        b, i.question, examples=e, form=i.form, verifier=i.verifier
    ),
    "best of 5 by verifier, with examples": lambda b, i, e: best_of_n(
        b, i.question, i.verifier, examples=e, form=i.form, max_tokens=80
    ),
    "tree of thoughts, 3 × 2, 2 levels": lambda b, i, e: tree_of_thoughts(
        b, i.question, form=i.form, beam=2, proposals=3, depth=2
    ),
}
ONLY: dict[str, dict[str, Method]] = {
    "arithmetic": {"direct as a sum that is computed, with examples": _sum},
    "tool choice": {"direct, bias taken out": lambda b, i, e: _calibrated(b, i, ())},
}
"""What makes sense for one kind of question only."""


# -- the questions


def _story(chance: random.Random, steps: int) -> tuple[str, int]:
    """A problem in words with 1 to 3 steps, and its answer."""
    name = chance.choice(("Ana", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gita", "Hugo"))
    thing = chance.choice(("stamps", "shells", "tickets", "pears", "buttons", "cards", "bricks", "candles"))
    have = chance.randint(6, 30)
    text = f"{name} has {have} {thing}."
    for _ in range(steps):
        match chance.randrange(3) if have > 1 else 0:
            case 0:
                more = chance.randint(2, 20)
                have, text = have + more, f"{text} {name} gets {more} more."
            case 1:
                less = chance.randint(1, have - 1)
                have, text = have - less, f"{text} {name} loses {less} of them."
            case _:
                boxes, each = chance.randint(2, 5), chance.randint(2, 9)
                have, text = have + boxes * each, f"{text} {name} buys {boxes} boxes with {each} {thing} in each."
    return f"{text} How many {thing} does {name} have now?", have


def _within_reach(question: str) -> Verifier[str]:
    """Whether the numbers of a question can give an answer, each used once, by adding, subtracting, multiplying."""
    numbers = [int(number) for number in re.findall(r"[0-9]+", question)]

    def reachable(answer: str) -> bool:
        return answer.isdigit() and int(answer) in _results(tuple(numbers))

    return Verifier(reachable, reason="The numbers of the question can't give this.")


def _results(numbers: tuple[int, ...]) -> set[int]:
    """All that numbers give, in their order from left to right, two neighbours multiplied first or not."""
    if len(numbers) == 1:
        return {numbers[0]}
    found = set[int]()
    for cut in range(1, len(numbers)):
        for left in _results(numbers[:cut]):
            for right in _results(numbers[cut:]):
                found |= {left + right, left - right, left * right}
    return found


def _arithmetic() -> list[Item]:
    chance = random.Random(7)
    items: list[Item] = []
    for number in range(LIMIT):
        question, answer = _story(chance, 1 + number % 3)
        items.append(Item(question, _INTEGER, str(answer).__eq__, _within_reach(question)))
    return items


def _bare(text: str) -> list[str]:
    return [word for word in re.findall(r"[a-z0-9]+", text.lower()) if word not in ("a", "an", "the")]


def _overlap(answer: str, right: str) -> float:
    """F1 of the words, as SQuAD has it."""
    ours, theirs = _bare(answer), _bare(right)
    same = sum(min(ours.count(word), theirs.count(word)) for word in set(ours))
    return 2 * same / (len(ours) + len(theirs)) if same else 0.0


def _says(rights: Sequence[str], answer: str) -> bool:
    return max(_overlap(answer, right) for right in rights) >= 0.6


def _says_something_new(question: str) -> Verifier[str]:
    def says_more(answer: str) -> bool:
        return bool(set(_bare(answer)) - set(_bare(question))) and len(answer.split()) <= 8

    return Verifier(says_more, reason="This repeats the question, or is too long.")


def _squad(path: Path) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    for article in articles:  # one question of each passage, so that they differ
        for paragraph in article["paragraphs"]:
            asked = [one for one in paragraph["qas"] if one["answers"]]
            if asked and len(paragraph["context"]) < 900:
                yield paragraph["context"], asked[0]["question"], tuple(one["text"] for one in asked[0]["answers"])
                break


def _passages() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Passage, question, right answers: the first question of each passage, then the second of each."""
    for place in range(4):
        for passage in _DATA["passage"]:
            question, answer = passage["questions"][place]
            yield passage["text"], question, (answer,)


def _retrieval() -> list[Item]:
    path = os.environ.get(SQUAD)
    found = _squad(Path(path)) if path else _passages()
    return [
        Item(
            f"{text}\n\n{question}",
            span_of(text),
            partial(_says, rights),
            _says_something_new(question),
        )
        for (text, question, rights), _ in zip(found, range(LIMIT), strict=False)
    ]


def _tool_choice() -> list[Item]:
    tools: dict[str, str] = _DATA["tools"]
    listed = "\n".join(f"{name}: {what}" for name, what in tools.items())
    context = Context(messages=(Message("system", f"Which tool serves the request? Say its name only.\n{listed}"),))
    nobody_knows = Verifier[str](lambda _: None, name="none")
    rows = [(words, tool) for place in range(4) for tool in tools for words in (_DATA["requests"][tool][place],)]
    return [Item(words, tuple(tools), tool.__eq__, nobody_knows, context) for words, tool in rows[:LIMIT]]


def _examples(task: str) -> list[Example]:
    return [
        Example(one["question"], one["answer"], one["steps"], tuple((part, found) for part, found in one["parts"]))
        for one in _DATA["example"]
        if one["task"] == task.replace(" ", "_")
    ]


# -- the measuring


async def _on_a_system(engine: Engine, code: Callable[[Process], Awaitable[Any]]) -> None:
    async def get() -> Engine:
        return engine

    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        journal = Journal(Path(name))
        system = System(engine=get, journal=journal, policy=DefaultPolicy(), folder=Path(name) / "runs", tools={})
        await system.start(Task(agent="bench", words=("",), budget=Budget()), code=code).result()
        await system.close()
        journal.close()


def _measure(task: str, name: str, method: Method, items: Sequence[Item]) -> Tally:
    """Ask everything, a few questions at once, on an engine that has read nothing before."""
    tally, examples, places = Tally(), _examples(task), asyncio.Semaphore(AT_ONCE)

    async def ask(branch: Branch, item: Item) -> None:
        async with places:
            reasoned = await method(branch, item, examples)
        tally.asked += 1
        tally.right += item.right(reasoned.answer)
        tally.read += reasoned.usage.prompt_tokens - reasoned.usage.reused_tokens
        tally.reused += reasoned.usage.reused_tokens
        tally.generated += reasoned.usage.generated_tokens
        print(f"\r{task}, {name}: {tally.right} of {tally.asked} …", end="", file=sys.stderr, flush=True)

    async def code(process: Process) -> None:
        await asyncio.gather(*(ask(process.aside(item.context), item) for item in items))

    with real_engine() as opened:
        start = time.perf_counter()
        run(_on_a_system(opened, code))
        tally.seconds = time.perf_counter() - start
    print(file=sys.stderr)
    return tally


def interval(right: int, asked: int) -> tuple[float, float]:
    """Where the share lies with 95 % confidence (Wilson 1927)."""
    z, share = 1.96, right / asked
    middle = (share + z * z / (2 * asked)) / (1 + z * z / asked)
    half = z * math.sqrt(share * (1 - share) / asked + z * z / (4 * asked * asked)) / (1 + z * z / asked)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _verdict(one: Tally, base: Tally) -> str:
    """Whether a method helps against the answer without it, as far as this many questions can tell."""
    low, high = interval(one.right, one.asked)
    base_low, base_high = interval(base.right, base.asked)
    if low > base_high:
        return "helps"
    return "harms" if high < base_low else "no clear difference"


def _rows(task: str, items: Sequence[Item]) -> list[Row]:
    table = Table(title=f"{task}: {len(items)} questions, {AT_ONCE} at once", title_justify="left")
    for column in ("method", "right", "95 %", "read", "reused", "written", "s", "against direct"):
        table.add_column(column, justify="left" if column in ("method", "against direct") else "right")
    rows: list[Row] = []
    base: Tally | None = None
    for name, method in {**METHODS, **ONLY.get(task, {})}.items():
        if METHOD not in name:
            continue
        one = _measure(task, name, method, items)
        base = one if name == "direct" else base
        low, high = interval(one.right, one.asked)
        said = _verdict(one, base) if base is not None and base is not one else ""
        each = [f"{count / one.asked:.0f}" for count in (one.read, one.reused, one.generated)]
        seconds = f"{one.seconds / one.asked:.2f}"
        share = 100 * one.right / one.asked
        table.add_row(name, f"{share:.0f} %", f"{100 * low:.0f}-{100 * high:.0f}", *each, seconds, said)
        note = f"95 %: {100 * low:.0f}-{100 * high:.0f}; tokens a question: read {each[0]}, reused {each[1]}, "
        rows.append(
            Row(
                name=f"{task}, {name}",
                value=share,
                unit="%",
                peer="direct" if said else "",
                peer_value=100 * base.right / base.asked if said and base is not None else None,
                note=f"{note}written {each[2]}; {seconds} s; {said}".rstrip("; "),
            )
        )
    Console().print(table)
    return rows


def arithmetic() -> list[Row]:
    """Problems in words, with one to three steps."""
    return _rows("arithmetic", _arithmetic())


def retrieval() -> list[Row]:
    """Questions on short passages; an answer is a run of the passage's words."""
    return _rows("retrieval", _retrieval())


def tool_choice() -> list[Row]:
    """Which of ten tools serves a request."""
    return _rows("tool choice", _tool_choice())


class _Metered(LlamaEngine):
    """Counts the prompt tokens that are really read, those of forks too."""

    read = 0
    whole = 0

    async def generate(self, request: Generate, /, *, prefix: tuple[int, ...] = ()) -> AsyncGenerator[EngineEvent]:
        async for event in super().generate(request, prefix=prefix):
            if isinstance(event, Finished):
                self._count(event.usage.prompt_tokens, event.usage.reused_tokens)
            yield event

    async def score(self, request: Score, /) -> Scores:
        scores = await super().score(request)
        # a fork is no request: independent calls have none
        self._count(scores.prompt_tokens, scores.reused_tokens, counts=request.client != "fork")
        return scores

    def _count(self, prompt: int, reused: int, *, counts: bool = True) -> None:
        self.read += prompt - reused
        self.whole += prompt if counts else 0


def tree_of_thoughts_rows() -> list[Row]:
    """A tree of 4 proposals for each of 4 states on 4 levels, judged by the model, from a prompt of 200 tokens."""
    engine = run(_Metered.load(tuned(), LlamaOptions()))
    assert isinstance(engine, _Metered)

    async def code(process: Process) -> None:
        words = await exactly(engine, 170)
        question = (await engine.detokenize(words)).decode("utf-8", "replace")
        engine.read = engine.whole = 0
        await tree_of_thoughts(process, question, beam=4, proposals=4, depth=4, max_tokens=24)

    try:
        run(_on_a_system(engine, code))
    finally:
        run(engine.close())
    return [
        Row(
            name="tree of thoughts, 4 × 4: prompt tokens processed",
            value=engine.read,
            unit="tokens",
            peer="independent calls",
            peer_value=engine.whole,
            ratio=engine.read / engine.whole,
            goal="≤ 0.15",
            note="4 levels, judged by the model; independent calls: the prompts of the same requests, each read whole",
        )
    ]


GROUPS = (arithmetic, retrieval, tool_choice, tree_of_thoughts_rows)
