"""Controls that take several actions: a day in a calendar, a number on a slider, an entry of a list that opens.

Knows no tool but the hands.
"""

from __future__ import annotations

import re
from datetime import date

from llmos.agents.operator.dates import calendar_step
from llmos.agents.operator.hands import Done, Hands, Move
from llmos.agents.operator.page import Page, Part

MONTHS = 240
"""A calendar is turned by so many months at most."""

PRESSES = 400
LOOKS = 4
LOOK_SECONDS = 0.25
_NUMBER = re.compile(r"(?<![\w.])[-\u2212]?\d+(?:\.\d+)?(?![\w.])")


async def pick_day(hands: Hands, field: Part, day: date) -> str:
    """Choose a day in the calendar that a field opens.

    Returns:
        Why it was not chosen; empty if it was.
    """
    if calendar_step(hands.page, day) is None:
        opened = await hands.do(Move("click", field), commit=False)
        if not opened.ok:
            return opened.text
        for _ in range(LOOKS):  # it may come up slowly
            if calendar_step(hands.page, day) is not None:
                break
            await hands.process.sleep(LOOK_SECONDS)
            await hands.look()
    for _ in range(MONTHS):
        step = calendar_step(hands.page, day)
        if step is None:
            return f"{field.called} opened no calendar in which {day.isoformat()} could be found."
        before = hands.page.state
        move = Move("select", step.part, step.option) if step.option else Move("click", step.part)
        done = await hands.do(move, commit=False)
        if not done.ok:
            return done.text
        if step.last:
            return ""
        if hands.page.state == before:
            return f"The calendar does not go on from where it is to {day.isoformat()}."
    return f"The calendar was turned by {MONTHS} months and did not come to {day.isoformat()}."


async def move_slider(hands: Hands, slider: Part, wanted: float) -> str:
    """Bring a slider or spinner to a number with the arrow keys, watching what the page shows.

    Returns:
        Why it did not get there; empty if it did.
    """
    more, less = ("ArrowUp", "ArrowDown") if slider.role == "spinbutton" else ("ArrowRight", "ArrowLeft")
    before = hands.page
    done = await _arrow(hands, slider, more, 1)
    if not done.ok:
        return done.text
    shown = _shown(before, hands.page, slider)
    if shown is None:  # it stands at its end, perhaps
        before = hands.page
        await _arrow(hands, slider, less, 1)
        shown = _shown(before, hands.page, slider)
    if shown is None:
        return f"{slider.called} does not say where it stands."
    place, was, now = shown
    step = abs(now - was) or 1.0
    for _ in range(PRESSES):
        value = _at(hands.page, place)
        if value is None:
            return f"{slider.called} does not say any more where it stands."
        if abs(value - wanted) < step / 2:
            return "" if abs(value - wanted) < 1e-9 else f"{slider.called} stands at {value:g}: it has no {wanted:g}."
        key = more if wanted > value else less
        count = max(1, min(int(abs(wanted - value) / step + 0.5), 50))
        done = await _arrow(hands, slider, key, count)
        if not done.ok:
            return done.text
        after = _at(hands.page, place)
        if after == value:
            return f"{slider.called} stays at {value:g}."
    return f"{slider.called} did not come to {wanted:g}."


async def _arrow(hands: Hands, slider: Part, key: str, count: int) -> Done:
    return await hands.do(Move("press", slider, " ".join([key] * count)), commit=False)


_Place = tuple[str, str]
"""Where a number stands: `part` and a ref, or `text` and how many texts stand before it."""


def _numbers(page: Page) -> dict[_Place, float]:
    found: dict[_Place, float] = {}
    for part in page.parts.values():
        for name, said in (("value", part.value), ("name", part.name)):
            if match := _NUMBER.fullmatch(said.strip()):
                found[(f"part {name}", part.ref)] = _float(match[0])
    for place, text in enumerate(one for one in page.texts if not one.ref):
        matches = _NUMBER.findall(text.text)
        if len(matches) == 1:
            found[("text", str(place))] = _float(matches[0])
    return found


def _float(text: str) -> float:
    return float(text.replace("\u2212", "-"))


def _shown(before: Page, after: Page, slider: Part) -> tuple[_Place, float, float] | None:
    """The number that changed with the slider: its own before others."""
    was, now = _numbers(before), _numbers(after)
    changed = [(place, was[place], now[place]) for place in now if place in was and was[place] != now[place]]
    own = [one for one in changed if one[0][1] == slider.ref]
    return next(iter(own or changed), None)


def _at(page: Page, place: _Place) -> float | None:
    return _numbers(page).get(place)
