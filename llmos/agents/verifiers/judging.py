"""A verifier by the model's judgement: yes or no by likelihood, asked in two orders, with a calibrated confidence.

Both orders, and a baseline without content, take out the model's liking for a word or a place (Zheng et al. 2023,
arXiv:2306.05685; Zhao et al. 2021, arXiv:2102.09690). Microcode is asked once, in the form it was trained on. Below the
threshold it can't tell.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from llmos.agents import jobs, microcode
from llmos.agents.calibration import Calibration, Sample, calibration_for
from llmos.agents.verdict import Verdict, Verifier
from llmos.agents.verifiers.common import brief, text_of, unsure_if_refused
from llmos.kernel.branch import Branch
from llmos.messages import Context, Message

YES, NO = "Yes", "No"
ORDERS = ((YES, NO), (NO, YES))
SURE = 0.75
"""The calibrated confidence below which a judge can't tell, unless its threshold is given."""

Example = tuple[str, str, bool]
"""A piece of work, a criterion, and whether it holds."""


@dataclass(frozen=True, slots=True)
class Question:
    """One order of a judgement: what the model has before it, what it is asked, and the same without content."""

    context: Context
    ask: str
    blank: str
    choices: tuple[str, str]


def judge(
    branch: Branch,
    criterion: str,
    *,
    examples: Sequence[Example] = (),
    threshold: float = SURE,
    calibration: Calibration | None = None,
) -> Verifier[Any]:
    """The model finds that a criterion holds of the value.

    Args:
        branch: Whose engine judges; its context is not looked at and does not change.
        criterion: A sentence that is true of good work: "The text names a date."
        examples: Judgements to go by; by default two simple ones.
        threshold: The confidence from which on it passes or fails.
        calibration: By default what is known of the engine's model.
    """

    @unsure_if_refused
    async def check(value: Any) -> Verdict:  # noqa: ANN401  # whatever is checked
        code = None if examples or calibration else await microcode.forms(branch)
        if code is not None:
            return _by_kind(await microcode.judge(branch, code, criterion, text_of(value)), threshold, criterion)
        known = calibration or await calibration_for(branch)
        asked = questions(text_of(value), criterion, examples)
        thoughts = [
            await branch.aside(one.context).think(one.ask, choices=one.choices, baseline=one.blank) for one in asked
        ]
        if any(not thought.probabilities for thought in thoughts):  # the engine can't score: it wrote
            said = {thought.value for thought in thoughts}
            return _verdict(said == {YES} if len(said) == 1 else None, None, criterion)
        by_order = [
            dict(zip(one.choices, two.probabilities, strict=True)) for one, two in zip(asked, thoughts, strict=True)
        ]
        yes, _ = known.shares("judge", combined([(one[YES], one[NO]) for one in by_order]))
        sure = max(yes, 1 - yes)
        holds = None if sure < threshold else yes > 0.5
        return _verdict(holds, sure, criterion, calibrated=known.calibrated("judge"))

    return Verifier(check, name="judge")


def _verdict(holds: bool | None, sure: float | None, criterion: str, *, calibrated: bool = True) -> Verdict:
    how = "" if sure is None else f" (confidence {sure:.2f}{'' if calibrated else ', not calibrated'})"
    match holds:
        case True:
            return Verdict("pass", (f"Holds: {brief(criterion)}{how}",), sure)
        case False:
            return Verdict("fail", (f"Does not hold: {brief(criterion)}{how}",), sure)
        case None:
            return Verdict("unsure", (f"The model can't tell whether this holds: {brief(criterion)}{how}",), sure)


def _by_kind(shares: Mapping[str, float], threshold: float, criterion: str) -> Verdict:
    """The verdict of microcode, which also says what is wrong. Its confidence is calibrated already."""
    passed, *failed, _ = jobs.VERDICTS
    wrong = sum(shares[name] for name in failed)
    sure = max(shares[passed], wrong)
    if sure < threshold:
        return _verdict(None, sure, criterion)
    if shares[passed] == sure:
        return _verdict(True, sure, criterion)
    kind = max(failed, key=shares.__getitem__).removeprefix("fail: ")
    return _verdict(False, sure, f"{brief(criterion)} ({kind})")


def questions(work: str, criterion: str, examples: Sequence[Example] = ()) -> tuple[Question, Question]:
    """The same judgement in both orders."""
    texts = _texts()
    shown: Sequence[Example] = examples or texts["examples"]

    def put(text: str, about: str, order: tuple[str, str]) -> str:
        filled = {"{work}": text, "{criterion}": about, "{first}": order[0].lower(), "{second}": order[1].lower()}
        asked = str(texts["ask"]).strip()
        return "".join(filled.get(part, part) for part in _cut(asked))

    def in_order(order: tuple[str, str]) -> Question:
        messages = [Message("system", str(texts["system"]))]
        for text, about, holds in shown:
            messages += [Message("user", put(text, about, order)), Message("assistant", YES if holds else NO)]
        asked, blank = put(work, criterion, order), put(str(texts["blank"]), criterion, order)
        return Question(Context(messages=tuple(messages)), asked, blank, order)

    return in_order(ORDERS[0]), in_order(ORDERS[1])


def combined(by_order: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Yes and no over all orders: the normalized geometric means."""
    yes = no = 1.0
    for first, second in by_order:
        yes *= max(first, 1e-9) ** (1 / len(by_order))
        no *= max(second, 1e-9) ** (1 / len(by_order))
    return yes / (yes + no), no / (yes + no)


def sample(by_order: Sequence[tuple[float, float]], *, right: bool) -> Sample:
    """A judgement for calibration."""
    return Sample(combined(by_order), 0 if right else 1)


def _cut(template: str) -> list[str]:
    """A template's texts and holes: what is put in is not looked at for holes again."""
    return re.split(r"(\{\w+\})", template)


@cache
def _texts() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("judge.toml").read_text(encoding="utf-8"))
