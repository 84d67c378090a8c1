"""Decides between actions: what the helpers know, and the model's choice where they leave it open, as one number.

The model compares all candidates in one batch; its bias for a form of words is taken out by a baseline without the
instruction. What it says counts as much as it is sure of it. Knows no browser.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from llmos.agents import microcode
from llmos.agents.asking import logs_of, shares_of
from llmos.agents.operator.hands import Move
from llmos.agents.operator.page import Page
from llmos.errors import NobodyThere
from llmos.kernel.process import Process
from llmos.messages import Context

SURE = 0.85
"""From this share on the model is not asked: it could not change the choice."""

ASK = 0.34
"""Below this share a person is asked."""

MODEL = 0.4
"""How much the model's log-probabilities weigh against the helpers', whose weights are natural logarithms, too."""

MICROCODE = 1.0
"""How much those of microcode weigh."""

MOST = 8
"""So many candidates are compared at most."""

BELIEVED = 0.6
"""From this share on a model's choice counts where the helpers found nothing."""

LARGE = 3e9
"""Models of fewer parameters are not asked that: they choose at random, and are sure of it."""

_FAR = 5.0
_TEXT = 900


@dataclass(frozen=True, slots=True)
class Decision:
    """The action to take.

    Attributes:
        confidence: Its share among the candidates.
        by: Who decided: `helpers`, `model`, `person`.
    """

    move: Move
    confidence: float
    by: str = "helpers"


@cache
def prompts() -> Mapping[str, str]:
    """What the model is asked, read once."""
    return tomllib.loads(Path(__file__).with_name("prompts.toml").read_text(encoding="utf-8"))


def shares(weights: Sequence[float]) -> list[float]:
    """Probabilities of weights that are natural logarithms (softmax)."""
    top = max(weights)
    powers = [math.exp(weight - top) for weight in weights]
    return [power / sum(powers) for power in powers]


async def decide(
    process: Process, page: Page, words: str, moves: Sequence[Move], *, ask: bool = True, engine: str = ""
) -> Decision:
    """The best of some actions.

    Args:
        words: The part of the instruction that they are for.
        moves: At least one, best first.
        ask: Whether a person may be asked where nothing is clear.
        engine: The name of another engine to be asked where this one is not sure, instead of a person.
    """
    near: list[Move] = [one for one in moves if moves[0].weight - one.weight < _FAR][:MOST]
    found = shares([one.weight for one in near])
    if len(near) == 1 or found[0] >= SURE:
        return Decision(near[0], found[0])
    near, found = await _with_model(process, page, words, near)
    if found[0] >= ASK:
        return Decision(near[0], found[0], "model")
    if engine:
        child = await process.spawn(_choose, _seen(page), words, [one.title for one in near], engine=engine)
        place, share = await process.wait(child)
        return Decision(near[int(place)], float(share), "model")
    if ask and (said := await _ask(process, words, near)) is not None:
        return Decision(said, 1.0, "person")
    return Decision(near[0], found[0], "model")


async def guess(
    process: Process, page: Page, words: str, moves: Sequence[Move], *, engine: str = ""
) -> Decision | None:
    """An action for something that no control on the page says: a person's choice, or that of a model which can be
    believed; None where there is neither, so that nothing is clicked at random.

    Args:
        moves: At least one, best first.
        engine: The name of another engine to be asked.
    """
    near = list(moves[:MOST])
    if engine:
        child = await process.spawn(_choose, _seen(page), words, [one.title for one in near], engine=engine)
        place, share = await process.wait(child)
        return Decision(near[int(place)], float(share), "model") if share >= BELIEVED else None
    own = await process.engine()
    if "score" in own.info.capabilities and (own.info.parameters >= LARGE or not own.info.parameters):
        blended, found = await _with_model(process, page, words, near)
        if found[0] >= BELIEVED:
            return Decision(blended[0], found[0], "model")
    said = await _ask(process, words, near)
    return None if said is None else Decision(said, 1.0, "person")


async def _with_model(process: Process, page: Page, words: str, near: Sequence[Move]) -> tuple[list[Move], list[float]]:
    """The candidates with what the model says of them, best first, and their shares."""
    titles, code = _told_apart(near), await microcode.forms(process)
    if code is not None:
        said = await microcode.control(process, code, _seen(page), titles, words)
        logs, weight = logs_of([said[title] for title in titles]), MICROCODE
    else:
        prompt = prompts()["choose"].format(page=_seen(page), goal=words)
        blank = prompts()["blank"].format(page=_seen(page))
        logs, weight = logs_of(await shares_of(process, Context(), prompt, titles, baseline=blank)), MODEL
    blended = [replace(one, weight=one.weight + weight * log) for one, log in zip(near, logs, strict=True)]
    blended.sort(key=lambda one: -one.weight)
    return blended, shares([one.weight for one in blended])


def _told_apart(moves: Sequence[Move]) -> list[str]:
    """The titles of actions; those that are the same are told apart by their place."""
    titles = [one.title for one in moves]
    return [f"{title} ({titles[: place + 1].count(title)})" if titles.count(title) > 1 else title
            for place, title in enumerate(titles)]  # fmt: skip


def _seen(page: Page) -> str:
    """What a model is told of a page: its title and the beginning of its text."""
    text = " · ".join(one.text for one in page.texts)
    return f"{page.title}\n{text[:_TEXT]}".strip()


async def _ask(process: Process, words: str, near: Sequence[Move]) -> Move | None:
    """Ask the user which one is meant; None where nobody answers, or the answer is none of them."""
    listed = "\n".join(f"{number}. {title}" for number, title in enumerate(_told_apart(near), 1))
    try:
        said = (await process.ask(f"“{words}”: which is meant?\n{listed}\nA number, please.")).strip().rstrip(".")
    except NobodyThere:
        return None
    if said.isdigit() and 1 <= int(said) <= len(near):
        return near[int(said) - 1]
    return next((one for one in near if said and said.casefold() in one.title.casefold()), None)


async def _choose(process: Process, page: str, words: str, titles: list[str]) -> tuple[int, float]:
    """The same choice on another engine."""
    prompt = prompts()["choose"].format(page=page, goal=words)
    found = await shares_of(process, Context(), prompt, titles)
    best = max(range(len(found)), key=found.__getitem__)
    return best, found[best]
