"""What a model's confidence is worth: one temperature for each kind of decision, and what to do at a confidence.

A raw probability says how likely the model finds what it says; a calibrated one says how often that is right. One
number is fitted per kind (temperature scaling, Guo et al. 2017, arXiv:1706.04599) and kept per model, by its
fingerprint. Fitting and measuring is `python -m bench calibration`. Knows no tool and no verifier.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from llmos.config import data_dir
from llmos.errors import ConfigError

if TYPE_CHECKING:
    from llmos.kernel.branch import Branch
    from llmos.messages import EngineInfo

Kind = Literal["judge", "tool", "answer"]
"""Judging with yes or no; choosing among tools or agents; a free answer, by the mean probability of its tokens."""

Step = Literal["accept", "vote", "escalate", "ask"]
"""What to do with an answer: take it; ask several times and count; give it to a bigger model or another worker; ask the
user."""

KINDS: tuple[Kind, ...] = get_args(Kind)
SHIPPED = Path(__file__).with_name("calibrated")

ACCEPTED_RIGHT = 0.9
"""Of what is accepted at its confidence alone, at least this share is to be right."""

VOTED_RIGHT = 0.55
"""Votes help only what is right more often than not."""

HOPELESS = 0.25
"""Below, not even a bigger model is asked without the user."""

BINS = 5
"""More would measure chance: the held-out parts have about 30 items."""

_FEWEST = 8
_COLDEST, _HOTTEST = 0.02, 100.0


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Calibrated confidences from which on something is done; infinity for never."""

    accept: float = ACCEPTED_RIGHT
    vote: float = VOTED_RIGHT
    escalate: float = HOPELESS


@dataclass(frozen=True, slots=True)
class Sample:
    """One decision of which it is known what would have been right.

    Attributes:
        probabilities: Of all choices before calibration; of a free answer only its own.
        right: The place of the right choice; -1 where it is none of them.
    """

    probabilities: tuple[float, ...]
    right: int

    @property
    def correct(self) -> bool:
        """Whether the likeliest choice is the right one."""
        return self.right == max(range(len(self.probabilities)), key=self.probabilities.__getitem__)


@dataclass(frozen=True, slots=True)
class Fitted:
    """What was fitted for one kind of decision, and how good it is on items that were held out.

    Attributes:
        temperature: 1 changes nothing, more makes it less sure.
        items: How many it was fitted on.
        accuracy: The share of the held-out ones that was right.
        ece_before, ece_after: Expected calibration error on these.
    """

    temperature: float = 1.0
    thresholds: Thresholds = field(default_factory=Thresholds)
    items: int = 0
    accuracy: float = math.nan
    ece_before: float = math.nan
    ece_after: float = math.nan


@dataclass(frozen=True, slots=True)
class Calibration:
    """What is known of one model.

    Attributes:
        model: Its name, for people; empty for an unknown one.
        kinds: What was fitted; a kind that is missing is not calibrated.
    """

    model: str = ""
    kinds: Mapping[Kind, Fitted] = field(default_factory=dict[Kind, Fitted])

    def calibrated(self, kind: Kind) -> bool:
        """Whether confidences of this kind mean something for this model."""
        return kind in self.kinds

    def fitted(self, kind: Kind) -> Fitted:
        """What was fitted; where nothing was, temperature 1 and the usual thresholds."""
        return self.kinds.get(kind, Fitted())

    def shares(self, kind: Kind, probabilities: Sequence[float]) -> tuple[float, ...]:
        """Calibrated probabilities of all choices, or of one free answer."""
        return tempered(probabilities, self.fitted(kind).temperature)

    def decide(self, kind: Kind, confidence: float | None) -> Step:
        """What to do with an answer of this confidence."""
        return decide(confidence, self.fitted(kind).thresholds)


def decide(confidence: float | None, thresholds: Thresholds | None = None) -> Step:
    """What to do with an answer of this (calibrated) confidence; where it is unknown, a vote gives one."""
    bounds = thresholds or Thresholds()
    if confidence is None:
        return "vote"
    if confidence >= bounds.accept:
        return "accept"
    if confidence >= bounds.vote:
        return "vote"
    return "escalate" if confidence >= bounds.escalate else "ask"


def tempered(probabilities: Sequence[float], temperature: float) -> tuple[float, ...]:
    """Probabilities with their logarithms divided by a temperature, adding up to 1 again if there are several."""
    logs = [math.log(max(one, 1e-12)) / temperature for one in probabilities]
    if len(logs) == 1:
        return (math.exp(min(logs[0], 0.0)),)
    top = max(logs, default=0.0)
    shares = [math.exp(one - top) for one in logs]
    return tuple(one / sum(shares) for one in shares)


# -- fitting and measuring


def loss(samples: Sequence[Sample], temperature: float) -> float:
    """Mean negative log-likelihood of what is right."""
    total = 0.0
    for one in samples:
        shares = tempered(one.probabilities, temperature)
        right = shares[one.right] if one.right >= 0 else 1.0 - sum(shares)
        total -= math.log(max(right, 1e-9))
    return total / len(samples)


def fit_temperature(samples: Sequence[Sample]) -> float:
    """The temperature of the least loss, from 0.02 to 100, by golden section over its logarithm.

    A choice among several that does not have the right one teaches nothing and is left out; and where every choice is
    right, any temperature is too hot, so that it stays 1.
    """
    used = [one for one in samples if one.right >= 0 or len(one.probabilities) == 1]
    if not used or all(one.correct for one in used):
        return 1.0
    low, high = math.log(_COLDEST), math.log(_HOTTEST)
    golden = (math.sqrt(5) - 1) / 2
    for _ in range(60):
        left, right = high - golden * (high - low), low + golden * (high - low)
        if loss(used, math.exp(left)) <= loss(used, math.exp(right)):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def outcomes(samples: Sequence[Sample], temperature: float) -> list[tuple[float, bool]]:
    """For each decision its confidence, and whether it was right."""
    return [(max(tempered(one.probabilities, temperature)), one.correct) for one in samples]


@dataclass(frozen=True, slots=True)
class Bin:
    """Decisions of like confidence: how many, their mean confidence, and the share that was right."""

    count: int
    confidence: float
    right: float


def reliability(found: Sequence[tuple[float, bool]], bins: int = BINS) -> tuple[Bin, ...]:
    """A reliability table: bins of equal mass, from the least to the most confident."""
    ordered = sorted(found, key=lambda one: one[0])
    count = min(bins, len(ordered))
    edges = [round(place * len(ordered) / count) for place in range(count + 1)] if count else []
    parts = [ordered[start:end] for start, end in pairwise(edges)]
    return tuple(Bin(len(part), _mean([one for one, _ in part]), _mean([one for _, one in part])) for part in parts)


def ece(found: Sequence[tuple[float, bool]], bins: int = BINS) -> float:
    """Expected calibration error: the mean distance of confidence and share of right ones, over bins of equal mass."""
    table = reliability(found, bins)
    return sum(one.count * abs(one.confidence - one.right) for one in table) / max(len(found), 1)


def fit_thresholds(found: Sequence[tuple[float, bool]]) -> Thresholds:
    """From which confidence on what was fitted on was right often enough, and never below what the number promises."""
    return Thresholds(accept=_bound(found, ACCEPTED_RIGHT), vote=_bound(found, VOTED_RIGHT))


def _bound(found: Sequence[tuple[float, bool]], share: float) -> float:
    """The least confidence, at least `share`, at and above which this share was right; infinity if too few were."""
    known = sorted((one for one in found if one[0] >= share), reverse=True)
    best, right = math.inf, 0
    for place, (confidence, correct) in enumerate(known, start=1):
        right += correct
        last_of_equals = place == len(known) or known[place][0] < confidence
        if last_of_equals and place >= _FEWEST and right / place >= share:
            best = confidence
    return max(best, share) if best < math.inf else best


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def fit(fitting: Sequence[Sample], held_out: Sequence[Sample]) -> Fitted:
    """Fit one kind of decision, and measure it on what was held out."""
    temperature = round(fit_temperature(fitting), 4)
    before, after = outcomes(held_out, 1.0), outcomes(held_out, temperature)
    return Fitted(
        temperature=temperature,
        thresholds=fit_thresholds(outcomes(fitting, temperature)),
        items=len(fitting),
        accuracy=_mean([one.correct for one in held_out]),
        ece_before=ece(before),
        ece_after=ece(after),
    )


# -- what is kept


def key(model: EngineInfo) -> str:
    """What a calibration is kept by: the model's fingerprint. With microcode in it, that one's digest: what a machine
    merges differs in the last bit."""
    known = model.microcode
    return model.fingerprint if known is None or known.adapter or not known.digest else known.digest


def calibration_of(fingerprint: str) -> Calibration:
    """What is known of a model by its `key`: fitted here (see `own_folder`), or shipped. Nothing for an unknown one.

    Raises:
        ConfigError: A file of these can't be read.
    """
    for folder in (own_folder(), SHIPPED):
        for file in sorted(folder.glob("*.json")):
            data = _load(file)
            if fingerprint and fingerprint in data["fingerprints"]:
                return _read(file, data)
    return Calibration()


async def calibration_for(branch: Branch) -> Calibration:
    """What is known of the model of a branch's engine; which model that is stands in the journal."""

    async def work(_: int) -> str:
        return key((await branch.engine()).info)

    return calibration_of(str(await branch.call("verify", "calibration", ["calibration"], work)))


def own_folder() -> Path:
    """Where calibrations that were fitted on this machine are kept."""
    return data_dir() / "calibration"


def kept(file: Path) -> tuple[Calibration, list[str]]:
    """What a file knows, and of which models; nothing where there is no file.

    Raises:
        ConfigError: It can't be read.
    """
    if not file.exists():
        return Calibration(), []
    data = _load(file)
    return _read(file, data), [str(one) for one in data["fingerprints"]]


def _load(file: Path) -> Any:  # noqa: ANN401  # JSON data
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(data["fingerprints"], list) or not isinstance(data["kinds"], dict):
            raise TypeError("it lacks fingerprints or kinds")
        return data
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> ConfigError:
    return ConfigError(
        f"The calibration {str(file)!r} can't be read: {error}.",
        hint="Remove it, or make it again: python -m bench.calibration --write",
    )


def _read(file: Path, data: Any) -> Calibration:  # noqa: ANN401  # JSON data
    kinds: dict[Kind, Fitted] = {}
    try:
        for kind in KINDS:
            if kind in data["kinds"]:
                kinds[kind] = _fitted(data["kinds"][kind])
        return Calibration(str(data["model"]), kinds)
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable(file, error) from error


def _fitted(data: Mapping[str, Any]) -> Fitted:
    bounds = [math.inf if data[name] is None else float(data[name]) for name in ("accept", "vote", "escalate")]
    temperature = float(data["temperature"])
    if not 0 < temperature < math.inf:
        raise ValueError(f"a temperature of {temperature}")
    numbers = [float(data[name]) for name in ("accuracy", "ece_before", "ece_after")]
    return Fitted(temperature, Thresholds(*bounds), int(data["items"]), *numbers)


def written(calibration: Calibration, fingerprints: Sequence[str]) -> str:
    """A calibration as it is kept in a file."""
    kinds = {kind: _plain(fitted) for kind, fitted in calibration.kinds.items()}
    data = {"version": 1, "model": calibration.model, "fingerprints": list(fingerprints), "kinds": kinds}
    return json.dumps(data, indent=1) + "\n"


def _plain(fitted: Fitted) -> dict[str, Any]:
    bounds = fitted.thresholds
    return {
        "temperature": fitted.temperature,
        "accept": None if bounds.accept == math.inf else round(bounds.accept, 4),
        "vote": None if bounds.vote == math.inf else round(bounds.vote, 4),
        "escalate": bounds.escalate,
        "items": fitted.items,
        "accuracy": round(fitted.accuracy, 4),
        "ece_before": round(fitted.ece_before, 4),
        "ece_after": round(fitted.ece_after, 4),
    }


# -- the items that ship with llmos


@dataclass(frozen=True, slots=True)
class Items:
    """Labelled items, `fit` or `held` out.

    Attributes:
        judge: A question, a proposed answer, and whether it is right.
        tool: A request, tools to choose from, and which is right.
        answer: A question, and answers of which any is right.
    """

    judge: tuple[tuple[str, str, bool], ...]
    tool: tuple[tuple[str, tuple[str, ...], str], ...]
    answer: tuple[tuple[str, tuple[str, ...]], ...]


@cache
def items(part: Literal["fit", "held"]) -> Items:
    """The items of `calibration.toml`."""
    import tomllib

    data = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))[part]
    return Items(
        judge=tuple((question, answer, right) for question, answer, right in data["judge"]),
        tool=tuple((request, tuple(tools), right) for request, tools, right in data["tool"]),
        answer=tuple((question, tuple(answers)) for question, answers in data["answer"]),
    )
