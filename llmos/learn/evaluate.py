"""Measures a model, with microcode or without, on the kernel's own jobs: choices by likelihood, values under their
constraints, as the kernel asks. Test sheets differ from those of training in templates, values and tools.

Knows engines by their protocol, and no training.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import re
import string
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, cast

from llmos.agents import allowed, jobs, reading
from llmos.agents.distinct import Bounds, distinct, loaded, of_call, of_fields
from llmos.agents.filling import is_open, joined
from llmos.agents.grounding import Request, ground
from llmos.agents.jobs import Job
from llmos.agents.joining import sayings
from llmos.agents.microcode import Filled, in_turn
from llmos.agents.router import SURE
from llmos.agents.routing import Weighed, sayings_of, weigh
from llmos.agents.shortlist import Scored, roles_of, shortlist
from llmos.agents.structure import own_words
from llmos.agents.ways import given as ways_of
from llmos.events import Finished
from llmos.kernel.calls import Traits
from llmos.learn.data.example import Example, SheetMaker, Split
from llmos.messages import GREEDY, Constraint, Context, Generate, Score, ToolSpec

if TYPE_CHECKING:
    from llmos.kernel.protocols import Device, Engine, Similar

AT_ONCE = 16
MAX_TOKENS = 240
_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Said:
    """What a model said to an example.

    Attributes:
        text: Its choice, or what it wrote.
        shares: Of all choices, in their order; for answers out of passages as `llmos.agents.reading.shares` has them;
            otherwise one, the mean probability of the tokens.
        right: It is what was wanted; a program, that it prints what the wanted one does.
        scored, near: Of a choice among tools, what words and meanings say of it (`llmos.agents.joining`).
        weighed: And of a choice among agents (`llmos.agents.routing`).
        settled: These leave nothing to ask the model.
        call: Of arguments, what the kernel makes of them (`llmos.agents.filling`).
    """

    example: Example
    text: str
    shares: tuple[float, ...]
    right: bool
    scored: tuple[Scored, ...] = ()
    near: Mapping[str, float] | None = None
    weighed: tuple[Weighed, ...] = ()
    settled: bool = False
    call: str = ""

    @property
    def confidence(self) -> float:
        """How likely it is right: the share of what was taken."""
        return max(self.shares[:2] if self.example.job == "read" else self.shares)

    @property
    def found(self) -> bool:
        """What it says is one of the answers, whether it was taken or not."""
        return self.text in self.example.accepted


@dataclass(frozen=True, slots=True)
class Figure:
    """A share of n cases with its 95 % interval (Wilson 1927)."""

    name: str
    value: float
    n: int

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end."""
        return wilson(self.value, self.n)


def wilson(share: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share of n independent cases."""
    if n == 0:
        return 0.0, 1.0
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def examples(maker: SheetMaker, *, split: Split, count: int, seed: int, each: int = 4) -> list[Example]:
    """So many examples, of as many sheets as possible: a sheet's are alike."""
    found: list[Example] = []
    seen: set[str] = set()
    for number in range(count * 4):
        random = Random(f"evaluate {seed} {number} {split}")
        sheet = list(maker(random, split))
        random.shuffle(sheet)
        for one in sheet[:each]:
            if (key := digest(one)) not in seen:
                seen.add(key)
                found.append(one)
        if len(found) >= count:
            break
    return found[:count]


def digest(example: Example) -> str:
    """Identifies what is asked and answered, whatever stands around it: the last message, and the answer."""
    asked = example.context.messages[-1].content if example.context.messages else example.context.text or ""
    return hashlib.sha256(f"{example.job}\n{asked}\n{example.answer}".lower().encode()).hexdigest()[:16]


async def ask(
    engine: Engine,
    given: Iterable[Example],
    *,
    adapter: str = "",
    similar: Similar | None = None,
    tell: Callable[[int], None] = lambda _: None,
) -> list[Said]:
    """What a model says to examples.

    Args:
        similar: Compares meanings, for choices among tools.
        tell: Called with the number of answers so far.

    Raises:
        EngineError: The engine failed.
    """
    gate, done = asyncio.Semaphore(AT_ONCE), 0

    async def one(example: Example) -> Said:
        nonlocal done
        async with gate:
            if example.passages and similar is not None:
                said = await _read_nearest(engine, example, adapter, similar)
            else:
                ask_one = _choose if example.choices else _JOBS.get(example.job, _write)
                said = await ask_one(engine, example, adapter)
            if example.tools and example.choices:
                said = await _with_helpers(said, similar)
            elif example.ways:
                said = await _with_router(said, similar)
        done += 1
        tell(done)
        return said

    return list(await asyncio.gather(*(one(example) for example in given)))


async def _choose(engine: Engine, example: Example, adapter: str) -> Said:
    async def shares(form: Context) -> Sequence[float]:
        return await _likely(engine, form, example.choices, adapter)

    found = await in_turn(shares, [example.context, *example.turned])
    text = example.choices[max(range(len(found)), key=found.__getitem__)]
    return Said(example, text, found, text == example.answer)


async def _likely(engine: Engine, context: Context, texts: Sequence[str], adapter: str) -> list[float]:
    """The share of each of some texts."""
    request = Score(context=context, choices=tuple(texts), adapter=adapter, priority="background")
    return [one.probability for one in (await engine.score(request)).choices]


async def _with_helpers(said: Said, similar: Similar | None) -> Said:
    """What words and meanings say of the tools, of which nothing is known but what they say of themselves."""
    example = said.example
    devices = {tool.name: _Shown(tool) for tool in example.tools}
    scored = shortlist(cast("Mapping[str, Device]", devices), Request(example.request))
    texts = {tool.name: sayings(tool.name, tool.description) for tool in example.tools}
    near = None if similar is None else await similar(example.request, texts)
    return replace(said, scored=tuple(scored), near=near)


async def _with_router(said: Said, similar: Similar | None) -> Said:
    """What the router makes of the words, and of meanings where these leave it open; of agents of which only what they
    are for is known."""
    ways, task = ways_of(said.example.ways), said.example.request
    found = weigh(task, ways, {})
    settled = found[0].share >= SURE
    if similar is not None and not settled:
        found = weigh(task, ways, {}, await similar(own_words(task), sayings_of(ways)))
    return replace(said, weighed=tuple(found), settled=settled)


@dataclass(frozen=True, slots=True)
class _Shown:
    """A tool that is not there."""

    spec: ToolSpec
    traits: Traits = Traits(effect="reads")  # noqa: RUF009  # frozen


async def _write(engine: Engine, example: Example, adapter: str) -> Said:
    text, likelihood = await _generated(engine, example, adapter)
    right = same(text, example.answer)
    return Said(example, text, (likelihood,), right)


async def _read(engine: Engine, example: Example, adapter: str) -> Said:
    """As `llmos.agents.microcode.read`: the best answer, and how likely it is that there is none."""
    text, _ = await _generated(engine, example, adapter)
    choices = (text or "?", jobs.NOT_FOUND)
    request = Score(context=example.context, choices=choices, adapter=adapter, priority="background")
    found, missing = (min(math.exp(one.logprob), 1.0) for one in (await engine.score(request)).choices)
    return _judged(example, text, reading.shares(found, missing))


async def _read_nearest(engine: Engine, example: Example, adapter: str, similar: Similar) -> Said:
    """The same with only those passages in view that are most about the question."""
    near = await similar(example.request, reading.parts(example.passages))
    shown = reading.nearest(example.request, example.passages, near)
    texts = [example.passages[index] for index in shown]
    context, within = jobs.read(texts, example.request), allowed.answer(texts)
    said = await _read(engine, replace(example, context=context, within=within), adapter)
    answer, number = split_answer(said.text)
    text = jobs.found(answer, shown[number - 1] + 1) if number else said.text
    return _judged(example, text, said.shares)


def _judged(example: Example, text: str, shares: tuple[float, ...]) -> Said:
    """What was read, or "not found" where that is likelier."""
    said = Said(example, text, shares, right=False)
    right = said.found if shares[0] >= shares[1] else example.answer == jobs.NOT_FOUND
    return replace(said, right=right)


async def _program(engine: Engine, example: Example, adapter: str) -> Said:
    """A program, which is right if it prints what the wanted one prints. It is run confined."""
    text, likelihood = await _generated(engine, example, adapter)
    right = text == example.answer
    if not right and (printed := await _printed(text)):
        right = printed == await _printed(example.answer)
    return Said(example, text, (likelihood,), right)


async def _printed(program: str) -> str:
    """What a program prints; empty if it fails."""
    from llmos.tools.sandbox import Sandbox

    sandbox = await asyncio.to_thread(Sandbox.best)
    with tempfile.TemporaryDirectory(prefix="llmos-eval-", ignore_cleanup_errors=True) as folder:
        argv = [sys.executable, "-I", "-X", "utf8", "-c", program]
        done = await sandbox.run(argv, workspace=Path(folder), seconds=_SECONDS)
    return "" if done.returncode or done.timed_out else done.stdout.decode("utf-8", "replace").strip()


async def _fill(engine: Engine, example: Example, adapter: str) -> Said:
    """As `llmos.agents.microcode.fill`, and the call that the kernel makes of it where nothing was done before."""
    if not example.tools:
        return await _write(engine, example, adapter)
    (tool,) = example.tools
    said = await _values(engine, example, adapter, of_call(tool, example.request, example.done))
    return said if example.done else replace(said, call=_called(example, said.text))


async def _extract(engine: Engine, example: Example, adapter: str) -> Said:
    """As `llmos.agents.microcode.extract`."""
    return await _values(engine, example, adapter, of_fields(example.schema, example.request))


async def _values(engine: Engine, example: Example, adapter: str, bounds: Bounds) -> Said:
    text, likelihood = await _generated(engine, example, adapter)

    async def write(bound: Constraint) -> str:
        return (await _generated(engine, replace(example, within=bound), adapter))[0]

    async def weigh(texts: Sequence[str]) -> Sequence[float]:
        return await _likely(engine, example.context, texts, adapter)

    text = await distinct(text, bounds, write, weigh)
    return Said(example, text, (likelihood,), same(text, example.answer))


def _called(example: Example, text: str) -> str:
    """The arguments of a call, out of what rules and the model found."""
    (tool,), request = example.tools, Request(example.request)
    device = cast("Device", _Shown(tool))
    grounded, roles = ground(tool, device.traits, request), roles_of(device)
    if is_open(roles, grounded):
        grounded = joined(tool, roles, grounded, Filled(loaded(text), 1.0), request)
    return jobs.arguments({name: found[0].value for name, found in grounded.values.items()})


_JOBS: Mapping[Job, Callable[[Engine, Example, str], Awaitable[Said]]] = {
    "read": _read,
    "program": _program,
    "fill": _fill,
    "extract": _extract,
}


async def _generated(engine: Engine, example: Example, adapter: str) -> tuple[str, float]:
    """What a model writes, and the mean probability of its tokens before the constraint."""
    request = Generate(
        context=example.context,
        sampling=GREEDY,
        max_tokens=MAX_TOKENS,
        constraint=example.within,
        adapter=adapter,
        priority="background",
    )
    async for event in engine.generate(request):
        if isinstance(event, Finished):
            return event.message.content.strip(), math.exp(event.logprob) if event.logprob < 0 else 1.0
    return "", 0.0


def same(text: str, wanted: str) -> bool:
    """Whether two texts are the same, as JSON if they are such."""
    try:
        return bool(json.loads(text) == json.loads(wanted))
    except ValueError:
        return text == wanted


_CITED = re.compile(r"\s*\[(\d+)\]$")


def split_answer(text: str) -> tuple[str, int]:
    """An answer and the number of its passage; 0 where it is not found."""
    match = _CITED.search(text)
    return (text[: match.start()], int(match[1])) if match else (text, 0)


def f1(said: str, wanted: str) -> float:
    """Overlap of words, articles and punctuation left out, as SQuAD measures it (Rajpurkar et al. 2016)."""
    (mine, number), (theirs, other) = split_answer(said), split_answer(wanted)
    if not (number and other):
        return float(number == other)
    ours, gold = _words(mine), _words(theirs)
    common = sum((Counter(ours) & Counter(gold)).values())
    return 2 * common / (len(ours) + len(gold)) if common else 0.0


def _words(text: str) -> list[str]:
    plain = "".join(" " if character in string.punctuation else character for character in text.lower())
    return [word for word in plain.split() if word not in ("a", "an", "the")]
