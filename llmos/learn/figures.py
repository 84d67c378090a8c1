"""What microcode is worth, row by row: the table that `llmos learn eval` and `python -m bench microcode` print.

A row keeps the value of each case, so that two models are compared case by case. Where something is refused (no tool
fits, nothing is found, not known), the threshold is set so that few of the others are refused, and the row says how
many of those that should be are. Knows engines by their protocol, and no training.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from llmos.agents.calibration import Sample, ece, fit_temperature, tempered
from llmos.agents.jobs import ANSWER, ASK, NOT_FOUND, Job
from llmos.agents.joining import joined
from llmos.agents.router import MICROCODE, SHOWN
from llmos.agents.routing import Weighed, judged, nearest
from llmos.learn.data.example import Example, Sheet, SheetMaker, Split
from llmos.learn.evaluate import Figure, Said, ask, examples, f1, same, split_answer

if TYPE_CHECKING:
    from llmos.kernel.protocols import Engine, Similar

REFUSED = 0.05
"""So many of the requests that a tool fits may be refused, and of the questions that it does not know answered."""
ABSTAINED = 0.10
"""So many of the questions that passages answer may be said not to be found."""
COUNT = 200
ECE = "calibration error (ECE)"
_CASES = 1_000
_Z = 1.96


@dataclass(frozen=True, slots=True)
class Row:
    """One measured figure.

    Attributes:
        job: What was asked.
        values: Of each case, 0 to 1: right or not, or the overlap of words.
        lower: Less is better.
        value: Where it is not the mean of the values.
    """

    name: str
    job: str
    values: tuple[float, ...]
    lower: bool = False
    value: float | None = None

    @property
    def figure(self) -> Figure:
        """The mean of the cases with its interval."""
        mean = sum(self.values) / len(self.values) if self.values else 0.0
        return Figure(self.name, mean if self.value is None else self.value, len(self.values))


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of measuring a model.

    Attributes:
        said: Every answer, by job.
    """

    rows: tuple[Row, ...]
    said: Mapping[Job, Sequence[Said]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Set:
    """Examples of one maker.

    Attributes:
        maker: Module and function in `llmos.learn.data`.
        kinds: Only these; empty for all, and with `others` all but these.
        times: So many cases for one of a row, where a row is of a part of them.
    """

    name: str
    job: Job
    maker: tuple[str, str]
    kinds: tuple[str, ...] = ()
    others: bool = False
    times: int = 1

    def keeps(self, example: Example) -> bool:
        """Whether an example is one of them."""
        return not self.kinds or (example.kind in self.kinds) is not self.others


_NO_TOOL = ("none", "ask")
_SETS = (
    _Set("choose a tool, seen tools", "choose", ("calls", "choose_seen"), _NO_TOOL, others=True),
    _Set("choose a tool, unseen tools", "choose", ("calls", "choose_unseen"), _NO_TOOL, others=True),
    _Set("choose a tool, unseen and near ones", "choose", ("calls", "choose_unseen"), ("near",)),
    _Set("no tool fits, or information missing", "choose", ("calls", "choose_sheet"), _NO_TOOL),
    _Set("exact arguments, seen tools", "fill", ("calls", "fill_seen")),
    _Set("exact arguments, unseen tools", "fill", ("calls", "fill_unseen")),
    _Set("whole calls, seen tools", "fill", ("calls", "call_seen")),
    _Set("whole calls, unseen tools", "fill", ("calls", "call_unseen")),
    _Set("whole calls, unseen tools with near ones in view", "fill", ("calls", "call_unseen"), ("near",)),
    _Set("whole episodes", "choose", ("episodes", "episode_sheet")),
    _Set("route to an agent", "whom", ("routes", "route_sheet")),
    _Set("answer, retrieve or act", "whom", ("routes", "decide_sheet"), times=3),
    _Set("passages", "read", ("passages", "passage_sheet")),
    _Set("real prose", "read", ("squad", "squad_sheets"), times=4),
    _Set("verdict", "verdict", ("verdicts", "verdict_sheet")),
    _Set("choose a control of a page", "browse", ("pages", "browse_sheet")),
    _Set("extract fields", "extract", ("fields", "extract_sheet")),
    _Set("small programs, kinds that were trained", "program", ("programs", "sheet"), ("seen",)),
    _Set("small programs of other kinds", "program", ("programs", "sheet"), ("unseen",)),
    _Set("what it knows", "know", ("facts", "know_sheet"), times=3),
)


async def measure(
    engine: Engine,
    *,
    count: int = COUNT,
    split: Split = "test",
    seed: int = 1,
    jobs: Sequence[str] = (),
    squad: Path | None = None,
    temperatures: Mapping[str, float] | None = None,
    similar: Similar | None = None,
    tell: Callable[[str, float], None] = lambda name, share: None,
) -> Measured:
    """Measure a model.

    Args:
        count: Cases of each row.
        jobs: Only these.
        squad: The development file of SQuAD 2.0, for the rows on real prose; they are left out without it.
        temperatures: Of its microcode, for what its confidences are compared with and joined to.
        similar: Compares meanings, for choices among tools.
        tell: Called with what is measured, and the share of all that is done.

    Raises:
        EngineError: The engine failed.
        StorageError: `squad` can't be read.
    """
    sets = [one for one in _SETS if (not jobs or one.job in jobs) and (squad or one.name != "real prose")]
    rows: list[Row] = []
    by_job: dict[Job, list[Said]] = {}
    chosen: list[Said] = []
    known = temperatures or {}
    for number, one in enumerate(sets):
        given = _examples(one, count * one.times, split, seed, squad)

        def told(done: int, one: _Set = one, number: int = number, many: int = len(given)) -> None:
            tell(one.name, (number + done / many) / len(sets))

        said = await ask(engine, given, similar=similar, tell=told)
        rows += _reading(one.name, said) if one.job == "read" else _rows(one, said, chosen, known)
        for each in said:
            by_job.setdefault(each.example.job, []).append(each)
        if one.job == "choose" and one.others:
            chosen += said
    every = [_decided(one, known) for said in by_job.values() for one in said]
    sure = [(one.confidence, one.right) for one in every]
    if sure:
        rows.append(Row(ECE, "all", (0.0,) * len(sure), lower=True, value=ece(sure)))
    return Measured(tuple(rows), by_job)


def _examples(one: _Set, count: int, split: Split, seed: int, squad: Path | None) -> list[Example]:
    module, name = one.maker
    function = getattr(importlib.import_module(f"llmos.learn.data.{module}"), name)
    maker: SheetMaker = function(squad) if module == "squad" else function
    if one.name == "whole episodes":
        return _episodes(maker, count, split, seed)
    if one.name.startswith("whole calls"):
        return _pairs(one, maker, count, split, seed)

    def kept(random: Random, split: Split) -> Sheet:
        return [example for example in maker(random, split) if one.keeps(example)]

    return examples(kept, split=split, count=count, seed=seed)


def _episodes(maker: SheetMaker, count: int, split: Split, seed: int) -> list[Example]:
    """All steps of so many episodes of at least two calls."""
    found: dict[str, list[Example]] = {}
    for number in range(count * 4):
        for one in maker(Random(f"evaluate {seed} {number} {split}"), split):
            found.setdefault(_request(one), []).append(one)
        if sum(_is_long(steps) for steps in found.values()) >= count:
            break
    long = [steps for steps in found.values() if _is_long(steps)][:count]
    return [step for steps in long for step in steps]


def _pairs(one: _Set, maker: SheetMaker, count: int, split: Split, seed: int) -> list[Example]:
    """So many choices of a tool, each followed by the arguments."""
    found: list[Example] = []
    for number in range(count * 4):
        sheet = maker(Random(f"evaluate {seed} {number} {split}"), split)
        pairs = [(first, second) for first, second in zip(sheet[::2], sheet[1::2], strict=True) if one.keeps(first)]
        found += [example for pair in pairs[:3] for example in pair]
        if len(found) >= 2 * count:
            break
    return found[: 2 * count]


def _request(example: Example) -> str:
    return example.context.messages[-1].content.partition("\n\nDone:\n")[0]


def _is_long(steps: Sequence[Example]) -> bool:
    return sum(step.job == "fill" for step in steps) > 1


def _rows(one: _Set, said: Sequence[Said], chosen: Sequence[Said], known: Mapping[str, float]) -> list[Row]:
    alone = tuple(float(each.right) for each in said)
    said, chosen = [_decided(each, known) for each in said], [_decided(each, known) for each in chosen]
    right = tuple(float(each.right) for each in said)
    match one.name:
        case name if name.startswith("whole calls"):
            both = tuple(float(tool.right and filled.right) for tool, filled in zip(said[::2], said[1::2], strict=True))
            return [Row(f"{name}: tool and arguments", "call", both)]
        case "whole episodes":
            whole: dict[str, bool] = {}
            for each in said:
                whole[_request(each.example)] = whole.get(_request(each.example), True) and each.right
            return [Row("whole episodes of two calls or more", "episode", tuple(map(float, whole.values())))]
        case "no tool fits, or information missing":
            name = f"{one.name}: recall at ≤ {REFUSED:.0%} false refusals"
            return [Row(name, one.job, _recall(_each(said, _refusal), _each(chosen, _refusal), REFUSED))]
        case "what it knows":
            knowing = [each for each in said if each.example.answer == "yes"]
            others = [each for each in said if each.example.answer != "yes"]
            name = f"answers what it knows, at ≤ {REFUSED:.0%} of the rest"
            return [Row(name, one.job, _recall(_each(knowing, _knows), _each(others, _knows), REFUSED))]
        case "verdict":
            outcome = tuple(float(_outcome(each.text) == _outcome(each.example.answer)) for each in said)
            return [Row("verdict", one.job, outcome), Row("verdict with its reason", one.job, right)]
        case "answer, retrieve or act":
            hard = tuple(float(each.right) for each in said if each.example.kind != "decide")
            more = [Row(f"{one.name}, other words", one.job, hard)] if hard else []
            return [Row(one.name, one.job, right), *more]
        case name if said and (said[0].scored or said[0].weighed or said[0].call):
            return [Row(name, one.job, right), Row(f"{name}: microcode alone", one.job, alone)]
        case _:
            return [Row(one.name, one.job, right)]


def _decided(said: Said, known: Mapping[str, float]) -> Said:
    """An answer as the kernel takes it: its shares at the job's temperature, a choice among tools or agents joined with
    what words and meanings say, and arguments with what rules found.
    """
    example = said.example
    shares = tempered(said.shares, known.get(example.job, 1.0))
    if said.call:
        return replace(said, shares=shares, text=said.call, right=same(said.call, example.answer))
    if not said.scored and not said.weighed:
        return replace(said, shares=shares)
    by_name = dict(zip(example.choices, shares, strict=True))
    found = joined(said.scored, said.near, by_name) if said.scored else _routed(said, by_name)
    best = next(iter(found))
    shares = tuple(found[name] for name in example.choices)
    return replace(said, text=best, shares=shares, right=best == example.answer)


def _routed(said: Said, shares: Mapping[str, float]) -> dict[str, float]:
    """The share of every agent as the router has it, best first."""
    found: Sequence[Weighed] = said.weighed
    if not said.settled:
        found = judged(found, {one.way.title: shares[one.way.title] for one in nearest(found, SHOWN)}, MICROCODE)
    return {one.way.title: one.share for one in found}


def _each(said: Sequence[Said], share: Callable[[Said], float]) -> list[float]:
    """A number of each answer."""
    return [share(one) for one in said]


def _refusal(said: Said) -> float:
    return sum(share for name, share in zip(said.example.choices, said.shares, strict=True) if name in (ANSWER, ASK))


def _knows(said: Said) -> float:
    return said.shares[_place(said.example, "yes")]


def _missing(said: Said) -> float:
    return said.shares[_place(said.example, NOT_FOUND)]


def _place(example: Example, text: str) -> int:
    """Where the share of a choice stands; of passages, which have none, that of "not found" is the second."""
    return example.choices.index(text) if example.choices else int(text == NOT_FOUND)


def _outcome(verdict: str) -> str:
    return verdict.partition(":")[0]


def _recall(wanted: Sequence[float], others: Sequence[float], share: float) -> tuple[float, ...]:
    """Whether each of those wanted is above the least bound that at most a share of the others is above."""
    bound = _bound(others, share)
    return tuple(float(one > bound) for one in wanted)


def _bound(others: Sequence[float], share: float) -> float:
    """The least number that at most a share of others is above."""
    allowed = math.floor(share * len(others))
    return sorted(others, reverse=True)[allowed] if len(others) > allowed else -math.inf


# -- passages

_ABSENT = {"not shown": "the passage is not there", "impossible": "a passage looks as if it answered"}
"""Of real prose, why there is no answer, by kind of example."""


def _reading(name: str, said: Sequence[Said]) -> list[Row]:
    found = [one for one in said if one.example.answer != NOT_FOUND]
    absent = [one for one in said if one.example.answer == NOT_FOUND]
    overlap = tuple(max(f1(one.text, wanted) for wanted in one.example.accepted) for one in found)
    cited = tuple(float(split_answer(one.text)[1] == split_answer(one.example.answer)[1]) for one in found)
    recall = _recall(_each(absent, _missing), _each(found, _missing), ABSTAINED)
    kinds = [one.example.kind for one in absent]
    parts = {
        name: tuple(value for value, kind in zip(recall, kinds, strict=True) if kind == which)
        for which, name in _ABSENT.items()
    }
    return [
        Row(f"{name}: answer (F1)", "read", overlap),
        Row(f"{name}: citation", "read", cited),
        Row(f"{name}: “not found”, recall at ≤ {ABSTAINED:.0%} false abstentions", "read", recall),
        *(Row(f"{name}: “not found”, {part}", "read", values) for part, values in parts.items() if values),
    ]


# -- confidences

_OTHER_WORDS = 2
"""Which of `llmos.agents.reading.shares` is that of other words."""


def temperatures(said: Mapping[Job, Sequence[Said]]) -> dict[str, float]:
    """For each job, the temperature at which what was right is the likeliest."""
    return {job: round(fit_temperature([_sample(one) for one in answers[:_CASES]]), 3) for job, answers in said.items()}


def _sample(said: Said) -> Sample:
    """An answer as calibration takes it; of what was written freely, only whether it is right."""
    if len(said.shares) == 1:
        return Sample(said.shares, 0 if said.right else -1)
    if said.example.job == "read" and said.example.answer != NOT_FOUND and not said.found:
        return Sample(said.shares, _OTHER_WORDS)
    return Sample(said.shares, _place(said.example, said.example.answer))


def thresholds(said: Mapping[Job, Sequence[Said]], known: Mapping[str, float]) -> dict[str, float]:
    """From which confidence on a question is answered from what the model knows, and passages are said to lack an
    answer: so that few are wrongly.

    Args:
        known: The temperatures.
    """

    def shares(job: Job, text: str) -> list[float]:
        """Of a text where another one is right."""
        others = [one for one in said.get(job, ()) if one.example.answer != text]
        return [tempered(one.shares, known.get(job, 1.0))[_place(one.example, text)] for one in others]

    bounds = {
        "know": _bound(shares("know", "yes"), REFUSED),
        "not found": _bound(shares("read", NOT_FOUND), ABSTAINED),
    }
    return {name: math.ceil(bound * 1e4 + 1e-6) / 1e4 for name, bound in bounds.items() if bound > -math.inf}


@dataclass(frozen=True, slots=True)
class Confidences:
    """What makes a model's confidences worth their number, and from which on something is done; by job and by name."""

    temperatures: Mapping[str, float]
    thresholds: Mapping[str, float]


async def calibrated(
    engine: Engine,
    *,
    count: int = COUNT,
    squad: Path | None = None,
    similar: Similar | None = None,
    tell: Callable[[str, float], None] = lambda name, share: None,
) -> Confidences:
    """The confidences of a model's answers, fitted on validation examples; see `measure`.

    Raises:
        EngineError: The engine failed.
        StorageError: `squad` can't be read.
    """
    said = (await measure(engine, count=count, split="validation", squad=squad, similar=similar, tell=tell)).said
    known = temperatures(said)
    return Confidences(known, thresholds(said, known))


# -- two models


@dataclass(frozen=True, slots=True)
class Difference:
    """Of a row of two models, case by case: the mean and its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def better(self) -> bool:
        """It is above 0 beyond the noise."""
        return self.low > 0

    @property
    def worse(self) -> bool:
        """It is below 0 beyond the noise."""
        return self.high < 0


def difference(old: Row, new: Row) -> Difference:
    """How much better the new model is, over the cases of both (normal approximation of the paired mean)."""
    pairs = list(zip(old.values, new.values, strict=True))
    if old.value is not None or not pairs:
        return Difference(0.0, -math.inf, math.inf)
    apart = [after - before for before, after in pairs]
    mean = sum(apart) / len(apart)
    spread = sum((one - mean) ** 2 for one in apart) / max(len(apart) - 1, 1)
    half = _Z * math.sqrt(spread / len(apart))
    return Difference(mean, mean - half, mean + half)
