"""How often the router is right, on requests that it was not fitted on: `python -m bench routing`.

`python -m bench.routing` fits what the router weighs on the other groups of `tests/agents/routes.toml` and shows what
goes wrong among them when each is held out in turn; `--write` keeps the weights.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.choosing import fit
from bench.report import Row
from llmos.agents import jobs, routing
from llmos.agents.asking import logs_of
from llmos.agents.assistant import is_offered
from llmos.agents.calibration import ece, tempered
from llmos.agents.knowledge import knowledge
from llmos.agents.microcode import fitting
from llmos.agents.prompts import prompts
from llmos.agents.router import NEAR, SHOWN, SURE, SURE_ENOUGH, Route, context_for, routed
from llmos.agents.routing import Weighed, features_of, nearest, tools_for
from llmos.agents.structure import own_words
from llmos.agents.ways import Way, agent, answer, retrieve, tool
from llmos.config import EngineOptions
from llmos.engine import open_engine
from llmos.kernel.journal import Journal
from llmos.kernel.policy import DefaultPolicy
from llmos.kernel.process import AgentCode, Process
from llmos.kernel.protocols import Device, Engine
from llmos.kernel.system import System, Task
from llmos.messages import Message, Score
from llmos.tools.registry import BUILT_IN, load_tools

ROOT = Path(__file__).resolve().parent.parent
REQUESTS = ROOT / "tests/agents/routes.toml"
WEIGHTS = ROOT / "llmos/agents/routes.json"
MODEL = 0.2
"""What the model's log-probabilities weigh: chosen by `--worth`, see docs/routing.md."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Case:
    """A request and the ways that are right for it."""

    group: int
    words: str
    right: tuple[str, ...]
    held: bool


def cases() -> list[Case]:
    """All requests, those that are held out too."""
    groups: list[dict[str, Any]] = tomllib.loads(REQUESTS.read_text(encoding="utf-8"))["group"]
    return [
        Case(number, words, tuple(group["route"]), bool(group.get("held")))
        for number, group in enumerate(groups)
        for words in group["say"]
    ]


def devices() -> dict[str, Device]:
    """The tools that come with llmos."""
    return {name: one for name, one in load_tools(BUILT_IN).items() if is_offered(name)}


def all_ways(tools: Mapping[str, Device]) -> tuple[Way, ...]:
    """The ways of a system with its own tools and agents."""
    return (
        answer(),
        *(tool(one) for one in tools.values()),
        retrieve(),
        *(agent(name) for name in knowledge()["agents"]),
    )


def is_right(way: Way, right: Sequence[str]) -> bool:
    """Whether a way is right, whichever tool it is."""
    return any(way.kind == "tool" if name.startswith("tool ") else way.title == name for name in right)


def near_in_meaning(ways: Sequence[Way], chosen: Sequence[Case]) -> list[dict[str, float]]:
    """How near in meaning each way but the tools is to each request, by the embedding model that comes with llmos."""
    from llmos.memory.embedding import open_embedder

    embed = open_embedder().embed
    texts = [(way.title, text) for way in ways if way.kind != "tool" for text in (way.description, *way.examples[:8])]
    known = embed([text for _, text in texts])
    found: list[dict[str, float]] = []
    for similar in (embed([own_words(case.words) for case in chosen]) @ known.T).tolist():
        best: dict[str, float] = {}
        for (title, _), value in zip(texts, similar, strict=True):
            best[title] = max(best.get(title, -1.0), value)
        found.append(best)
    return found


@dataclass(frozen=True, slots=True)
class Table:
    """Requests as numbers.

    Attributes:
        columns: Names of features.
        rows: For each request the features of its ways: shape (ways, features).
        right: For each the place of the way that is right.
    """

    columns: list[str]
    rows: list[Floats]
    right: list[int]
    ways: list[list[Way]]


def table(chosen: Sequence[Case], *, meaning: bool = False) -> Table:
    """The features of every way for every request."""
    tools = devices()
    ways = all_ways(tools)
    similar = near_in_meaning(ways, chosen) if meaning else [dict[str, float]()] * len(chosen)
    found = [
        features_of(own_words(case.words), ways, tools_for(case.words, ways, tools), tools, like)
        for case, like in zip(chosen, similar, strict=True)
    ]
    columns = list(dict.fromkeys(name for row in found for _, features in row for name in features))
    rows = [np.array([[features.get(name, 0.0) for name in columns] for _, features in row]) for row in found]
    right = [
        next(place for place, (way, _) in enumerate(row) if is_right(way, case.right))
        for row, case in zip(found, chosen, strict=True)
    ]
    return Table(columns, rows, right, [[way for way, _ in row] for row in found])


def folds(chosen: Sequence[Case], count: int) -> list[set[int]]:
    """Places of the requests of every count-th group, so that a group is never split."""
    groups = sorted({case.group for case in chosen})
    return [
        {place for place, case in enumerate(chosen) if groups.index(case.group) % count == fold}
        for fold in range(count)
    ]


def best_temperature(scores: Sequence[tuple[Floats, int]]) -> float:
    """The temperature at which the right ways are likeliest (Guo et al. 2017)."""

    def loss(temperature: float) -> float:
        return -sum(math.log(routing.softmax(list(row / temperature))[place] + 1e-9) for row, place in scores)

    return min((round(0.5 + 0.05 * step, 2) for step in range(50)), key=loss)


def fit_on(known: Table, places: Sequence[int], l2: float) -> Floats:
    """Weights for some requests; the rule for agents that are named is not fitted."""
    weights = fit([known.rows[place] for place in places], [known.right[place] for place in places], l2=l2)
    if "addressed" in known.columns:
        weights[known.columns.index("addressed")] = routing.ADDRESSED
    return weights


def unseen_scores(known: Table, chosen: Sequence[Case], l2: float) -> list[Floats]:
    """The scores of each request's ways by weights that were fitted without its group."""
    scores: dict[int, Floats] = {}
    for held in folds(chosen, 8):
        kept = [place for place in range(len(chosen)) if place not in held]
        weights = fit_on(known, kept, l2)
        scores |= {place: known.rows[place] @ weights for place in held}
    return [scores[place] for place in range(len(chosen))]


def mistakes(known: Table, chosen: Sequence[Case], scores: Sequence[Floats]) -> list[str]:
    """The requests for which another way than the right one is first."""
    found: list[str] = []
    for case, row, place, ways in zip(chosen, scores, known.right, known.ways, strict=True):
        best = int(row.argmax())
        if best != place:
            found.append(
                f"  {case.words!r}: {ways[best].title} {routing.softmax(list(row))[best]:.2f}, not {case.right[0]}"
            )
    return found


async def model_worth(known: Table, chosen: Sequence[Case], scores: Sequence[Floats], temperature: float) -> list[str]:
    """How many unseen requests that the words leave open come out right, by the weight of the model's choice."""
    engine = await open_engine(None, EngineOptions())
    count = NEAR if fitting(engine.info) is None else SHOWN
    open_ones: list[tuple[Floats, Floats, int]] = []
    for case, row, place, ways in zip(chosen, scores, known.right, known.ways, strict=True):
        shares = routing.softmax(list(row / temperature))
        order = sorted(range(len(ways)), key=lambda index: -row[index])
        near = nearest([Weighed(ways[index], {}, row[index], shares[index]) for index in order], count)
        if near[0].share >= SURE:
            continue
        logs = logs_of(await _shares(engine, [one.way for one in near], own_words(case.words)))
        said = {one.way.title: log - sum(logs) / len(logs) for one, log in zip(near, logs, strict=True)}
        open_ones.append((row, np.array([said.get(way.title, 0.0) for way in ways]), place))
    await engine.close()
    lines = [f"{len(open_ones)} of {len(chosen)} requests are left open by the words"]
    for weight in (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 1.5, 2.0, 3.0):
        joined = [(row + weight * logs, place) for row, logs, place in open_ones]
        hits = sum(int(row.argmax()) == place for row, place in joined)
        loss = -sum(math.log(routing.softmax(list(row / temperature))[place] + 1e-9) for row, place in joined)
        lines.append(f"weight {weight}: {hits} right, loss {loss / max(len(joined), 1):.3f}")
    return lines


async def _shares(engine: Engine, near: Sequence[Way], words: str) -> Sequence[float]:
    """How likely the model finds each way, asked as the router asks it."""
    titles = tuple(way.title for way in near)
    if (code := fitting(engine.info)) is None:
        context = context_for(near)
        blank = context.add(Message("user", prompts().blank))
        score = Score(context=context.add(Message("user", words)), baseline=blank, choices=titles)
    else:
        score = Score(context=jobs.whom({way.title: way.description for way in near}, words), choices=titles)
    found = [one.probability for one in (await engine.score(score)).choices]
    return found if code is None else tempered(found, code.temperatures.get("whom", 1.0))


# -- what the fitted router is worth


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one request.

    Attributes:
        way, share: The likeliest one, and its probability.
        tool: Whether the tool is the right one, where a tool is right.
    """

    case: Case
    found: Route
    way: Way
    share: float
    right: bool
    tool: bool | None
    seconds: float


async def measured(chosen: Sequence[Case], more: Mapping[str, AgentCode] | None = None) -> list[Outcome]:
    """Route requests on the embedded model, with nobody to ask.

    Args:
        more: Agents besides those that come with llmos.
    """
    agents: dict[str, AgentCode] = {**dict.fromkeys(knowledge()["agents"], _nothing), **(more or {})}
    engine = await open_engine(None, EngineOptions())

    async def get() -> Engine:
        return engine

    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder))
        system = System(
            engine=get, journal=journal, policy=DefaultPolicy(), folder=Path(folder) / "runs", agents=agents,
            tools=load_tools(BUILT_IN),
        )  # fmt: skip
        for case in chosen:
            begun = time.perf_counter()
            found = Route.read(await system.start(Task(agent="routed", arguments=(case.words,)), code=routed).result())
            seconds = time.perf_counter() - begun
            way, share = likeliest(found)
            right = is_right(way, case.right)
            tool_right = way.title in case.right if way.kind == "tool" and right else None
            outcomes.append(Outcome(case, found, way, share, right, tool_right, seconds))
        await system.close()
        journal.close()
    await engine.close()
    return outcomes


async def _nothing(process: Process, task: str) -> None:
    """Stands for an agent whose work is not measured."""


def likeliest(found: Route) -> tuple[Way, float]:
    """The likeliest way, whatever was done where that is not sure; all tools together count as one."""
    tools = {title: share for title, share in found.shares.items() if title.startswith("tool ")}
    others = {title: share for title, share in found.shares.items() if title not in tools}
    best = max(others, key=others.__getitem__)
    if sum(tools.values()) > others[best]:
        return Way("tool", max(tools, key=tools.__getitem__).removeprefix("tool ")), sum(tools.values())
    return Way("agent", best), others[best]


def of_unseen_requests() -> list[Row]:
    """The router on groups that it was not fitted on."""
    found = asyncio.run(measured([case for case in cases() if case.held]))
    settled = [one for one in found if one.found.by != "default" and one.share >= SURE_ENOUGH]
    tools = [one.tool for one in found if one.tool is not None]
    rows = [
        _share("right", sum(one.right for one in found), len(found), note="the likeliest way is the right one"),
        _share("right, of those not asked about", sum(one.right for one in settled), len(settled)),
        _share("asked", len(found) - len(settled), len(found), note=f"confidence under {SURE_ENOUGH}"),
        _share("right tool, where a tool is right", sum(tools), len(tools)),
        Row(
            name="ECE", value=ece([(one.share, one.right) for one in found]), unit="",
            note="10 bins of equal mass",
        ),
    ]  # fmt: skip
    for name, wanted in (("words alone", True), ("with the model", False)):
        seconds = [one.seconds for one in found if (one.share >= SURE) == wanted]
        rows.append(Row(name=f"time, {name}", value=_mean(seconds), unit="s", note=f"{len(seconds)} requests"))
    kinds = dict.fromkeys("tool" if one.case.right[0].startswith("tool ") else one.case.right[0] for one in found)
    for kind in kinds:
        mine = [one for one in found if one.case.right[0].partition(" ")[0] == kind]
        rows.append(_share(f"of {kind}", sum(one.right for one in mine), len(mine)))
    _tell_mistakes(found)
    return rows


def of_strangers() -> list[Row]:
    """Agents that were added, of which only what they say of themselves is known."""
    strangers: list[dict[str, Any]] = tomllib.loads(REQUESTS.read_text(encoding="utf-8"))["stranger"]
    more: dict[str, AgentCode] = {
        one["name"]: _Stranger(one["description"], tuple(one.get("examples", ()))) for one in strangers
    }
    asked = [Case(-1, words, (one["name"],), held=True) for one in strangers for words in one["say"]]
    found = asyncio.run(measured(asked, more))
    held = asyncio.run(measured([case for case in cases() if case.held], more))
    _tell_mistakes(found)
    return [
        _share("right, for added agents", sum(one.right for one in found), len(found)),
        _share("right, for the others beside them", sum(one.right for one in held), len(held)),
    ]


@dataclass(frozen=True, slots=True)
class _Stranger:
    """An agent that says what it is for."""

    description: str
    examples: tuple[str, ...]

    async def __call__(self, process: Process, task: str) -> None:
        """Do nothing."""


def _share(name: str, count: int, total: int, note: str = "") -> Row:
    return Row(name=name, value=100 * count / max(total, 1), unit=f"% ({count} of {total})", note=note)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(len(values), 1)


def _tell_mistakes(found: Sequence[Outcome]) -> None:
    for one in found:
        if not one.right:
            said = f"{one.way.title} {one.share:.2f}"
            print(f"  {one.case.words!r}: {said}, not {one.case.right[0]}", file=sys.stderr)


GROUPS = (of_unseen_requests, of_strangers)


def main() -> None:
    """Fit, show, and write with `--write`."""
    parser = argparse.ArgumentParser(prog="python -m bench.routing", description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep the weights")
    parser.add_argument("--l2", type=float, default=0.002)
    parser.add_argument("--model", type=float, default=MODEL, help="what the model's log-probabilities weigh")
    parser.add_argument("--worth", action="store_true", help="also show what the embedded model's choice is worth")
    options = parser.parse_args()
    chosen = [case for case in cases() if not case.held]
    data: dict[str, Any] = {"version": 1, "requests": len(chosen), "model": options.model}
    for key, meaning in (("weights", False), ("with_meaning", True)):
        known = table(chosen, meaning=meaning)
        scores = unseen_scores(known, chosen, options.l2)
        wrong = mistakes(known, chosen, scores)
        print(f"{key}: {len(chosen) - len(wrong)} of {len(chosen)} right when their group is held out")
        print("\n".join(wrong))
        temperature = best_temperature(list(zip(scores, known.right, strict=True)))
        data.setdefault("temperature", temperature)
        data.setdefault("unseen", round(1 - len(wrong) / len(chosen), 3))
        weights = fit_on(known, range(len(chosen)), options.l2)
        data[key] = {name: round(float(value), 3) for name, value in zip(known.columns, weights, strict=True)}
        if options.worth and not meaning:
            print("\n".join(asyncio.run(model_worth(known, chosen, scores, temperature))))
    print(json.dumps({key: value for key, value in data.items() if not isinstance(value, dict)}))
    if options.write:
        WEIGHTS.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
