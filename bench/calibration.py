"""How much a model's confidence is worth, before and after temperature scaling: `python -m bench calibration`.

Fits on one part of the items that ship with llmos, reports on the other. Writes nothing, unless
`python -m bench.calibration --write` asks for it: for the embedded model into the package, for another into the data
folder.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.report import Row
from llmos.agents import calibration
from llmos.agents.assistant import choosing_context
from llmos.agents.calibration import BINS, Calibration, Fitted, Items, Kind, Sample, items, outcomes, reliability
from llmos.agents.prompts import prompts
from llmos.agents.verifiers.judging import NO, YES, questions, sample
from llmos.config import EngineOptions
from llmos.engine import open_engine
from llmos.events import Finished
from llmos.kernel.protocols import Engine
from llmos.messages import GREEDY, Context, Generate, Message, Score
from llmos.tools.registry import load_tools

PARTS: tuple[Literal["fit", "held"], ...] = ("fit", "held")
CRITERION = "The answer is right."
ANSWER_TOKENS = 24
AT_ONCE = 8


async def judged(engine: Engine, item: tuple[str, str, bool]) -> Sample:
    """Yes or no, as the judge asks."""
    question, answer, right = item
    by_order: list[tuple[float, float]] = []
    for one in questions(f"Question: {question}\nAnswer: {answer}", CRITERION):
        scores = await engine.score(
            Score(
                context=one.context.add(Message("user", one.ask)),
                baseline=one.context.add(Message("user", one.blank)),
                choices=one.choices,
            )
        )
        shares = {choice.choice: choice.probability for choice in scores.choices}
        by_order.append((shares[YES], shares[NO]))
    return sample(by_order, right=right)


async def chosen(engine: Engine, item: tuple[str, tuple[str, ...], str]) -> Sample:
    """One of some tools, as the default agent has the model choose."""
    tools, (request, names, right) = load_tools(), item
    context = choosing_context([tools[name] for name in names])
    scores = await engine.score(
        Score(
            context=context.add(Message("user", request)),
            baseline=context.add(Message("user", prompts().blank)),
            choices=names,
        )
    )
    return Sample(tuple(choice.probability for choice in scores.choices), names.index(right))


async def answered(engine: Engine, item: tuple[str, tuple[str, ...]]) -> Sample:
    """A short free answer; right if one of the known answers stands in it."""
    question, answers = item
    context = Context.chat(question, system=prompts().chat)
    finished: Finished | None = None
    async for event in engine.generate(Generate(context=context, sampling=GREEDY, max_tokens=ANSWER_TOKENS)):
        finished = event if isinstance(event, Finished) else finished
    assert finished is not None, "an engine's stream ends with how it went"
    said = finished.message.content
    right = any(re.search(rf"(?<!\w){re.escape(one)}(?!\w)", said, re.IGNORECASE) for one in answers)
    return Sample((math.exp(min(finished.logprob, 0.0)),), 0 if right else -1)


async def samples(engine: Engine, kind: Kind, part: Items) -> list[Sample]:
    """What the model decides on all items of a kind, several at once."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(item: Any) -> Sample:  # noqa: ANN401  # each kind has its own items
        async with places:
            return await MEASURES[kind](engine, item)

    return list(await asyncio.gather(*(one(item) for item in getattr(part, kind))))


MEASURES: Mapping[Kind, Callable[[Engine, Any], Awaitable[Sample]]] = {
    "judge": judged,
    "tool": chosen,
    "answer": answered,
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One kind of decision of one model: what was fitted, and what came out on the held-out items."""

    model: str
    fingerprint: str
    fitted: Fitted
    found: list[tuple[float, bool]]


async def measure(kind: Kind, model: str | None) -> Measured:
    """Fit one kind, and measure it."""
    engine = await open_engine(model, EngineOptions())
    try:
        fitting, held = [await samples(engine, kind, items(part)) for part in PARTS]
        fitted = calibration.fit(fitting, held)
        known = engine.info.microcode
        name = engine.info.name if known is None else f"{engine.info.name}+{known.name}"
        return Measured(name, calibration.key(engine.info), fitted, outcomes(held, fitted.temperature))
    finally:
        await engine.close()


def rows(kind: Kind) -> list[Row]:
    """What to show of one kind."""
    fitted = asyncio.run(measure(kind, None)).fitted
    held = len(getattr(items("held"), kind))
    return [
        Row(name=f"{kind}: right", value=100 * fitted.accuracy, unit="%", note=f"of {held} held-out items"),
        Row(name=f"{kind}: temperature", value=fitted.temperature, unit="", note=f"fitted on {fitted.items} items"),
        Row(
            name=f"{kind}: calibration error",
            value=fitted.ece_after,
            unit="ECE",
            peer="uncalibrated",
            peer_value=fitted.ece_before,
            note=f"{BINS} bins of equal mass",
        ),
    ]


def judge() -> list[Row]:
    return rows("judge")


def tool() -> list[Row]:
    return rows("tool")


def answer() -> list[Row]:
    return rows("answer")


GROUPS = (judge, tool, answer)


def main() -> None:
    """Fit, show, and write with `--write`."""
    parser = argparse.ArgumentParser(prog="python -m bench.calibration", description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep what was fitted")
    parser.add_argument("--kind", choices=calibration.KINDS, help="only decisions of this kind")
    parser.add_argument("--model", default=None, help="another model than the embedded one")
    options = parser.parse_args()
    for kind in calibration.KINDS:
        if options.kind in (None, kind):
            one = asyncio.run(measure(kind, options.model))
            print(shown(kind, one), flush=True)
            if options.write:
                print(f"wrote {keep(kind, one, calibration.own_folder() if options.model else calibration.SHIPPED)}")


def shown(kind: Kind, one: Measured) -> str:
    """What was fitted and measured, for people."""
    fitted, bounds = one.fitted, one.fitted.thresholds
    lines = [
        f"{kind}: temperature {fitted.temperature:.3g}, {100 * fitted.accuracy:.0f}% right, "
        f"ECE {fitted.ece_before:.3f} → {fitted.ece_after:.3f}; accept from {bounds.accept:.2f}, "
        f"vote from {bounds.vote:.2f}"
    ]
    for part in reliability(one.found):
        lines.append(f"  {part.count:3} items at {part.confidence:.2f}: {part.right:.2f} right")
    return "\n".join(lines)


def keep(kind: Kind, one: Measured, folder: Path) -> Path:
    """Put what was fitted beside what is kept of this model."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{re.sub(r'[^A-Za-z0-9._-]', '_', one.model)}.json"
    known, names = calibration.kept(file)
    merged = Calibration(one.model, {**known.kinds, kind: one.fitted})
    file.write_text(calibration.written(merged, sorted({*names, one.fingerprint})), encoding="utf-8")
    return file


if __name__ == "__main__":
    main()
