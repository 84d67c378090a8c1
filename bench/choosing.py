"""Fits what the default agent's shortlist weighs, on the development requests: `python -m bench.choosing [--write]`.

A softmax over the choices of each request, with L2, in ten folds for the figure of unseen requests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from llmos.agents import jobs, joining
from llmos.agents import shortlist as choosing
from llmos.agents.asking import logs_of
from llmos.agents.assistant import (
    SURE,
    VERY_SURE,
    choosing_context,
    nearest,
    nearest_to_microcode,
    sayings_of,
)
from llmos.agents.calibration import tempered
from llmos.agents.grounding import Grounded, Request
from llmos.agents.microcode import fitting
from llmos.agents.prompts import prompts
from llmos.config import EngineOptions
from llmos.engine import open_engine
from llmos.kernel.protocols import Device
from llmos.learn.data import calls
from llmos.learn.data.example import Example
from llmos.learn.evaluate import ask, examples
from llmos.memory.embedding.meanings import Meanings
from llmos.messages import Message, Score
from llmos.tools.registry import load_tools

ROOT = Path(__file__).resolve().parent.parent
REQUESTS = ROOT / "tests/agents/requests.toml"
WEIGHTS = ROOT / "llmos/agents/weights.json"
MODEL = 0.4
"""What the model's log-probabilities weigh: chosen by `--model`, see docs/assistant.md."""

_L2, _STEPS = 1e-5, 1500

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
    """How good the choices of the embedded model without microcode are where the words leave it open, by their weight.

    Args:
        unseen: The scores of each request's choices, by weights that were fitted without it.
    """
    known = tools()
    engine = await open_engine(None, EngineOptions(microcode="off"))
    cases: list[tuple[Floats, Floats, int]] = []
    alone = 0
    for (words, _, _), choices, meant in zip(requests(), _scored(unseen, names), _meant(names, right), strict=True):
        shares = choosing.probabilities(choices)
        near = nearest(choices, shares)
        asked = [one.name for one in near]
        if shares[0] >= SURE or meant not in asked:
            continue
        context = choosing_context([known[name] for name in asked if name != choosing.ANSWER])
        score = Score(
            context=context.add(Message("user", words)),
            baseline=context.add(Message("user", prompts().blank)),
            choices=tuple(asked),
        )
        logs = np.array(logs_of([one.probability for one in (await engine.score(score)).choices]))
        alone += int(logs.argmax()) == asked.index(meant)
        cases.append((np.array([one.score for one in near]), logs, asked.index(meant)))
    await engine.close()
    lines = [f"{len(cases)} open requests; the model alone {alone}"]
    for weight in (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0):
        sums = [words + weight * logs for words, logs, _ in cases]
        lines.append(f"weight {weight}: {_told(sums, [place for _, _, place in cases])}")
    return "\n".join(lines)


def _scored(unseen: list[Floats], names: list[list[str]]) -> Iterator[list[choosing.Scored]]:
    """The choices of each request, best first by words."""
    for scores, choices in zip(unseen, names, strict=True):
        both = zip(choices, scores, strict=True)
        found = [choosing.Scored(name, {}, float(score), Grounded()) for name, score in both]
        yield sorted(found, key=lambda one: (-one.score, one.name))


def _meant(names: list[list[str]], right: list[int]) -> list[str]:
    return [choices[place] for choices, place in zip(names, right, strict=True)]


def _told(scores: Sequence[Floats], right: Sequence[int]) -> str:
    """How many choices with the best score are right, and the mean surprise at the right ones."""
    hits = sum(int(row.argmax()) == place for row, place in zip(scores, right, strict=True))
    logs = [np.log(np.exp(row - row.max()).sum()) + row.max() for row in scores]
    loss = sum(float(log - row[place]) for log, row, place in zip(logs, scores, right, strict=True))
    return f"{hits} of {len(right)} right, loss {loss / max(len(right), 1):.3f}"


# -- what words, meanings and microcode weigh


@dataclass(frozen=True, slots=True)
class _Open:
    """A request that microcode is asked about.

    Attributes:
        rows: Its tools by `joining.COLUMNS`: shape (tools, columns).
        right: The place of the one that is meant; None where none is.
        refusal: By `joining.REFUSAL`.
    """

    group: str
    rows: Floats
    right: int | None
    refusal: Floats


async def _open_ones(unseen: list[Floats], names: list[list[str]], right: list[int], cases: int) -> list[_Open]:
    """The development requests, and validation examples of tools that nobody knows.

    Args:
        cases: So many of each kind of the latter.
    """
    engine, similar = await open_engine(None, EngineOptions()), Meanings()
    if (code := fitting(engine.info)) is None:
        raise SystemExit("The embedded model runs without microcode: `llmos learn use`.")
    temperature, found = code.temperatures.get("choose", 1.0), list[_Open]()
    known = {name: sayings_of(one) for name, one in tools().items()}
    for (words, _, _), choices, meant in zip(requests(), _scored(unseen, names), _meant(names, right), strict=True):
        if choosing.probabilities(choices)[0] >= VERY_SURE:
            continue
        near = await similar(words, known)
        asked = nearest_to_microcode(choices, near)
        specs = [tools()[one.name].spec for one in asked if one.name != choosing.ANSWER]
        form, turned = jobs.choose_in_turn(specs, words)
        example = Example("choose", form, meant, (*(one.name for one in asked), jobs.ASK), turned=(turned,))
        shares = tempered((await ask(engine, [example]))[0].shares, temperature)
        found += _open("development", asked, near, dict(zip(example.choices, shares, strict=True)), meant)
    for maker in (calls.choose_seen, calls.choose_unseen, calls.choose_builtin):
        given = examples(maker, split="validation", count=cases, seed=1)
        for said in await ask(engine, given, similar=similar):
            likely = dict(zip(said.example.choices, tempered(said.shares, temperature), strict=True))
            found += _open(maker.__name__, said.scored, said.near, likely, said.example.answer)
    await engine.close()
    return found


def _open(
    group: str,
    asked: Sequence[choosing.Scored],
    near: Mapping[str, float] | None,
    shares: Mapping[str, float],
    meant: str,
) -> list[_Open]:
    made = joining.rows(asked, near, shares)
    if meant not in (*made, jobs.ANSWER, jobs.ASK):
        return []
    right = list(made).index(meant) if meant in made else None
    return [_Open(group, np.array(list(made.values())), right, np.array(joining.refusal(asked, shares)))]


def _fit_joined(cases: Sequence[_Open]) -> dict[str, dict[str, list[float]]]:
    """What everything weighs, with meanings and without, and how often that is right on cases left out."""
    # calling none is a choice of two, whose other side is 0
    refusals = [np.array([case.refusal, np.zeros(len(joining.REFUSAL))]) for case in cases]
    refused = [int(case.right is not None) for case in cases]
    unseen, refusal = _unseen(refusals, refused)
    print("calling none")
    _tell_groups(cases, unseen, refused, refusals)
    meant = [case for case in cases if case.right is not None]
    right = [case.right for case in meant if case.right is not None]
    found: dict[str, dict[str, list[float]]] = {}
    for key, columns in (("joined", [0, 1, 2]), ("joined_without_meaning", [0, 2])):
        rows = [case.rows[:, columns] for case in meant]
        unseen, weights = _unseen(rows, right)
        print(key)
        _tell_groups(meant, unseen, right, [case.rows[:, [2]] for case in meant])
        tools = np.zeros(len(joining.COLUMNS))
        tools[columns] = weights
        found[key] = {"tools": _rounded(tools), "refusal": _rounded(refusal)}
    return found


def _unseen(rows: Sequence[Floats], right: Sequence[int], folds: int = 5) -> tuple[list[Floats], Floats]:
    """The scores of each case by weights that were fitted without it, and the weights fitted on all."""
    scores: list[Floats] = [np.zeros(0)] * len(rows)
    for fold in range(folds):
        rest = [place for place in range(len(rows)) if place % folds != fold]
        weights = fit([rows[place] for place in rest], [right[place] for place in rest], l2=_L2, steps=_STEPS)
        for place in range(fold, len(rows), folds):
            scores[place] = rows[place] @ weights
    return scores, fit(list(rows), list(right), l2=_L2, steps=_STEPS)


def _tell_groups(
    cases: Sequence[_Open], scores: Sequence[Floats], right: Sequence[int], alone: Sequence[Floats]
) -> None:
    """How often each group is right, and by the model alone: the first of what is given."""
    for group in dict.fromkeys(case.group for case in cases):
        places = [place for place, case in enumerate(cases) if case.group == group]
        told = _told([scores[place] for place in places], [right[place] for place in places])
        by_model = _told([alone[place][:, 0] for place in places], [right[place] for place in places])
        print(f"  {group}: {told}; microcode alone {by_model}")


def _rounded(weights: Floats) -> list[float]:
    return [round(float(weight), 3) for weight in weights]


def main() -> None:
    """Fit, show, and write with `--write`."""
    parser = argparse.ArgumentParser(prog="python -m bench.choosing", description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep the weights")
    parser.add_argument(
        "--model", action="store_true", help="show what the choices of the model without microcode weigh"
    )
    parser.add_argument(
        "--joined", type=int, default=0, metavar="CASES", help="fit what microcode's choices weigh, too"
    )
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
    data = {"version": 1, "requests": len(rows), "held_out": round(hits / len(rows), 3), "weights": found}
    kept = json.loads(WEIGHTS.read_text(encoding="utf-8"))
    data |= {key: kept[key] for key in ("joined", "joined_without_meaning")}
    if options.joined:
        data |= _fit_joined(asyncio.run(_open_ones(unseen, names, right, options.joined)))
        print({key: data[key] for key in ("joined", "joined_without_meaning")})
    if options.write:
        WEIGHTS.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
