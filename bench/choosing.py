"""Fits what the default agent's shortlist weighs, on the development requests: `python -m bench.choosing [--write]`.

A softmax over the choices of each request, with L2, in ten folds for the figure of unseen requests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tomllib
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from llmos.agents import jobs
from llmos.agents import shortlist as choosing
from llmos.agents.asking import logs_of
from llmos.agents.assistant import SURE, VERY_SURE, choosing_context, nearest, nearest_to_microcode
from llmos.agents.calibration import tempered
from llmos.agents.grounding import Grounded, Request
from llmos.agents.microcode import fitting
from llmos.agents.prompts import prompts
from llmos.config import EngineOptions
from llmos.engine import open_engine
from llmos.kernel.protocols import Device, Engine
from llmos.messages import Message, Microcode, Score
from llmos.tools.registry import load_tools

ROOT = Path(__file__).resolve().parent.parent
REQUESTS = ROOT / "tests/agents/requests.toml"
WEIGHTS = ROOT / "llmos/agents/weights.json"
MODEL = 0.4
"""What the model's log-probabilities weigh: chosen by `--model`, see docs/assistant.md."""

Floats = NDArray[np.float64]


def tools() -> dict[str, Device]:
    """The tools that the requests are about."""
    return {name: one for name, one in load_tools().items() if name != "ask_user" and not name.startswith("browser_")}


def requests() -> list[tuple[str, str, dict[str, Any]]]:
    """The development requests: words, tool, arguments."""
    data = tomllib.loads(REQUESTS.read_text(encoding="utf-8"))
    return [cast("tuple[str, str, dict[str, Any]]", tuple(row)) for row in data["requests"]]


def table() -> tuple[list[str], list[Floats], list[int], list[list[str]]]:
    """Names of features; for each request the features of its choices, which is right, and the choices' names."""
    known = tools()
    rows: list[Floats] = []
    right: list[int] = []
    names: list[list[str]] = []
    columns: list[str] = []
    for words, tool, _ in requests():
        found = choosing.shortlist(known, Request(words))
        columns = list(dict.fromkeys([*columns, *(name for one in found for name in one.features)]))
        names.append([one.name for one in found])
        right.append(names[-1].index(tool or choosing.ANSWER))
        rows.append(np.array([[one.features.get(column, 0.0) for column in columns] for one in found]))
    return columns, [np.pad(row, ((0, 0), (0, len(columns) - row.shape[1]))) for row in rows], right, names


def fit(rows: list[Floats], right: list[int], *, l2: float = 0.02, steps: int = 600, rate: float = 0.3) -> Floats:
    """Weights that make the right choices likeliest: gradient descent with momentum (Adam)."""
    weights = np.zeros(rows[0].shape[1])
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    for step in range(1, steps + 1):
        gradient = 2 * l2 * weights
        for row, index in zip(rows, right, strict=True):
            shares = np.exp(row @ weights - (row @ weights).max())
            shares /= shares.sum()
            gradient += (shares @ row - row[index]) / len(rows)
        first, second = 0.9 * first + 0.1 * gradient, 0.99 * second + 0.01 * gradient**2
        weights -= rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.99**step)) + 1e-8)
        rate = max(rate * 0.995, 0.01)
    return weights


async def _model_weight(unseen: list[Floats], names: list[list[str]], right: list[int]) -> str:
    """How good the embedded model's choices are where the words leave it open, by the weight they get.

    Args:
        unseen: The scores of each request's choices, by weights that were fitted without it.
    """
    engine = await open_engine(None, EngineOptions())
    code = fitting(engine.info)
    cases: list[tuple[Floats, Floats, int]] = []
    alone = 0
    for (words, _, _), scores, tools_of, place in zip(requests(), unseen, names, right, strict=True):
        order = sorted(range(len(scores)), key=lambda index, scores=scores: -scores[index])
        choices = [choosing.Scored(tools_of[i], {}, float(scores[i]), Grounded({}, ())) for i in order]
        shares = choosing.probabilities(choices)
        near = nearest(choices, shares) if code is None else nearest_to_microcode(choices)
        asked = [one.name for one in near]
        if shares[0] >= (SURE if code is None else VERY_SURE) or tools_of[place] not in asked:
            continue
        logs = np.array(logs_of(await _shares(engine, code, asked, words)))
        here = asked.index(tools_of[place])
        alone += int(logs.argmax()) == here
        cases.append((np.array([one.score for one in near]), logs, here))
    await engine.close()
    lines = [f"{len(cases)} open requests; the model alone {alone}"]
    for weight in (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0):
        sums = [words + weight * logs for words, logs, _ in cases]
        hits = sum(int(total.argmax()) == right for total, (_, _, right) in zip(sums, cases, strict=True))
        loss = sum(
            float(np.log(np.exp(total - total.max()).sum()) - (total - total.max())[right])
            for total, (_, _, right) in zip(sums, cases, strict=True)
        )
        lines.append(f"weight {weight}: {hits} right, loss {loss / max(len(cases), 1):.3f}")
    return "\n".join(lines)


async def _shares(engine: Engine, code: Microcode | None, names: list[str], words: str) -> list[float]:
    """How likely the model finds each choice, asked as the agent asks it."""
    known = tools()
    if code is None:
        context = choosing_context([known[name] for name in names if name != choosing.ANSWER])
        score = Score(
            context=context.add(Message("user", words)),
            baseline=context.add(Message("user", prompts().blank)),
            choices=tuple(names),
        )
        return [one.probability for one in (await engine.score(score)).choices]
    specs = [known[name].spec for name in names if name != choosing.ANSWER]
    score = Score(context=jobs.choose(specs, words), choices=(*names, jobs.ASK))
    found = [one.probability for one in (await engine.score(score)).choices]
    return list(tempered(found, code.temperatures.get("choose", 1.0)))[:-1]


def main() -> None:
    """Fit, show, and write with `--write`."""
    parser = argparse.ArgumentParser(prog="python -m bench.choosing", description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep the weights")
    parser.add_argument("--model", action="store_true", help="also show what the embedded model's choice is worth")
    parser.add_argument("--l2", type=float, default=0.002)
    options = parser.parse_args()
    columns, rows, right, names = table()
    order = list(range(len(rows)))
    random.Random(1).shuffle(order)
    hits, wrong = 0, list[str]()
    asked = [words for words, _, _ in requests()]
    unseen: list[Floats] = [np.zeros(0)] * len(rows)
    for fold in range(10):
        held = set(order[fold::10])
        kept = [index for index in order if index not in held]
        weights = fit([rows[i] for i in kept], [right[i] for i in kept], l2=options.l2)
        for index in sorted(held):
            scores = rows[index] @ weights
            best = int(scores.argmax())
            shares = np.exp(scores - scores.max())
            shares /= shares.sum()
            hits += best == right[index]
            if best != right[index]:
                said = f"{names[index][best]} {shares[best]:.2f}"
                meant = f"{names[index][right[index]]} {shares[right[index]]:.2f}"
                wrong.append(f"  {asked[index]!r}: {said}, not {meant}")
            unseen[index] = scores
    weights = fit(rows, right, l2=options.l2)
    within = sum(int((row @ weights).argmax()) == index for row, index in zip(rows, right, strict=True))
    print("\n".join(wrong))
    print(f"held out {hits} of {len(rows)}, fitted {within} of {len(rows)}")
    found = {name: round(float(value), 3) for name, value in zip(columns, weights, strict=True)}
    found["model"] = MODEL
    print(found)
    if options.model:
        print(asyncio.run(_model_weight(unseen, names, right)))
    if options.write:
        data = {"version": 1, "requests": len(rows), "held_out": round(hits / len(rows), 3), "weights": found}
        WEIGHTS.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
