"""Asks a model that has microcode to do the kernel's own jobs, in the forms it was trained on: each answer is bound to
what it may say, and comes with a confidence that is worth its number.

Without microcode merged into the model, or with one that was trained on other forms, nobody is asked: `forms` says so.
Every question is a system call, aside from the conversation. Knows no tool's insides.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from llmos.agents import allowed, jobs, reading
from llmos.agents.calibration import tempered
from llmos.agents.distinct import Bounds, distinct, loaded, of_call, of_fields
from llmos.agents.jobs import Done, Job
from llmos.kernel.branch import Branch
from llmos.kernel.entry import Thought
from llmos.messages import GREEDY, Constraint, Context, EngineInfo, Microcode, ToolSpec

MOST_TOOLS = 12
"""So many tools are shown at once: what it was trained on."""

DOUBT = 0.95
"""A choice of a lesser share is made once more with the list in the other order."""

_TOKENS = 200


@dataclass(frozen=True, slots=True)
class Filled:
    """Values that the model took from what it read, and how likely they are right."""

    values: Mapping[str, Any]
    confidence: float


@dataclass(frozen=True, slots=True)
class Found:
    """An answer out of passages.

    Attributes:
        passage: The index of the one where it stands, from 0.
        missing: How likely it is that no passage says it.
    """

    text: str
    passage: int
    missing: float


def fitting(model: EngineInfo) -> Microcode | None:
    """The microcode of a model, where it was trained on the forms of `llmos.agents.jobs`."""
    known = model.microcode
    if known is None or known.adapter or known.prompts != jobs.fingerprint():
        return None  # an adapter that is not merged in would have to be named by each request
    return known


async def forms(process: Branch) -> Microcode | None:
    """The fitting microcode of a process's model; journaled."""

    async def look() -> dict[str, Any] | None:
        known = fitting((await process.engine()).info)
        return None if known is None else asdict(known)

    data: Any = await process.once("which microcode there is", ["microcode"], look)
    return None if data is None else Microcode(**data)


async def choose(
    process: Branch, code: Microcode, tools: Sequence[ToolSpec], request: str, done: Sequence[Done] = ()
) -> dict[str, float]:
    """How likely each tool is the next one, and `jobs.ANSWER` and `jobs.ASK`; of at most `MOST_TOOLS` tools."""
    names = [*(tool.name for tool in tools), jobs.ANSWER, jobs.ASK]
    return await _shares(process, code, "choose", jobs.choose_in_turn(tools, request, done), names)


async def whom(process: Branch, code: Microcode, ways: Mapping[str, str], request: str) -> dict[str, float]:
    """How likely each of some ways is the right one for a task."""
    return await _shares(process, code, "whom", [jobs.whom(ways, request)], list(ways))


async def judge(process: Branch, code: Microcode, task: str, work: str, source: str = "") -> dict[str, float]:
    """How likely each of `jobs.VERDICTS` is."""
    return await _shares(process, code, "verdict", [jobs.verdict(task, work, source)], list(jobs.VERDICTS))


async def control(
    process: Branch, code: Microcode, page: str, controls: Sequence[str], instruction: str
) -> dict[str, float]:
    """How likely each control of a page is what an instruction means."""
    return await _shares(process, code, "browse", [jobs.browse(page, controls, instruction)], list(controls))


async def knows(process: Branch, code: Microcode, question: str) -> float:
    """How likely the model's own answer to a question is right."""
    return (await _shares(process, code, "know", [jobs.know(question)], ["yes", "no"]))["yes"]


async def fill(process: Branch, code: Microcode, tool: ToolSpec, request: str, done: Sequence[Done] = ()) -> Filled:
    """The arguments of a call, each a span or a number of the request or of what was done."""
    return await _values(process, code, "fill", jobs.fill(tool, request, done), of_call(tool, request, done))


async def extract(process: Branch, code: Microcode, fields: Mapping[str, Any], text: str) -> Filled:
    """Values of fields out of a text; None where it does not say."""
    return await _values(process, code, "extract", jobs.extract(fields, text), of_fields(fields, text))


async def read(process: Branch, code: Microcode, passages: Sequence[str], question: str) -> Found | None:
    """The answer to a question out of the passages that are most about it; None where no words of them can be one."""
    near = await process.compare(question, reading.parts(passages))
    shown = reading.nearest(question, passages, near)
    texts = [passages[index] for index in shown]
    form, bound = jobs.read(texts, question), allowed.answer(texts)
    said = (await _written(process, form, bound)).text.strip()
    text, _, number = said.rpartition(" [")
    if not text.strip() or not number.rstrip("]").isdigit():
        return None
    thought = await process.aside(form).think(choices=(said, jobs.NOT_FOUND))
    likely = thought.likelihoods or tuple(float(one == thought.value) for one in (said, jobs.NOT_FOUND))
    _, missing, _ = tempered(reading.shares(*likely), code.temperatures.get("read", 1.0))
    return Found(text.strip(), shown[int(number.rstrip("]")) - 1], missing)


async def in_turn(ask: Callable[[Context], Awaitable[Sequence[float]]], forms: Sequence[Context]) -> tuple[float, ...]:
    """The shares of some choices: by the first form, and by the next ones as well while none is above `DOUBT`.

    What stands first in a list is favoured by small models; another order of the same list evens that out. The shares
    are the geometric means.
    """
    found: list[Sequence[float]] = []
    shares: tuple[float, ...] = ()
    for form in forms:
        found.append(await ask(form))
        products = [math.prod(max(one, 1e-12) ** (1 / len(found)) for one in each) for each in zip(*found, strict=True)]
        shares = tuple(one / sum(products) for one in products)
        if max(shares) >= DOUBT:
            break
    return shares


async def _shares(
    process: Branch, code: Microcode, job: Job, forms: Sequence[Context], names: Sequence[str]
) -> dict[str, float]:
    async def ask(form: Context) -> Sequence[float]:
        thought = await process.aside(form).think(choices=tuple(names))
        return thought.probabilities or tuple(float(name == thought.value) for name in names)

    found = tempered(await in_turn(ask, forms), code.temperatures.get(job, 1.0))
    return dict(zip(names, found, strict=True))


async def _written(process: Branch, form: Context, bound: Constraint) -> Thought[Any]:
    return await process.aside(form).think(constraint=bound, sampling=GREEDY, max_tokens=_TOKENS)


async def _values(process: Branch, code: Microcode, job: Job, form: Context, bounds: Bounds) -> Filled:
    """The values that the model reads out of a source, no two of them the same words."""

    async def write(bound: Constraint) -> str:
        return (await _written(process, form, bound)).text

    async def weigh(texts: Sequence[str]) -> Sequence[float]:
        thought = await process.aside(form).think(choices=tuple(texts))
        return thought.probabilities or tuple(float(one == thought.value) for one in texts)

    thought = await _written(process, form, bounds.within({}))
    values = loaded(await distinct(thought.text, bounds, write, weigh))
    (sure,) = tempered((thought.likelihood or 0.0,), code.temperatures.get(job, 1.0))
    return Filled(values, sure) if values else Filled({}, 0.0)
