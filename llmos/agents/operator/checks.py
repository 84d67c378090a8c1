"""Whether an action did what was wanted of it, seen on the page before and after it. Knows no tool."""

from __future__ import annotations

from llmos.agents.operator.goals import value_fits
from llmos.agents.operator.hands import Done, Move
from llmos.agents.operator.page import Page


def problem(move: Move, before: Page, after: Page, done: Done) -> str:
    """What is wrong after an action; empty if it did what was wanted.

    A part that is gone, or a page that is another one, can't be looked at any more: then the change itself counts.
    """
    part = after.parts.get(move.part.ref) if move.part is not None else None
    if move.wants == "nothing" or before.url != after.url:
        return ""
    if part is None:
        return "" if move.part is not None or before.state != after.state or done.changes else "Nothing changed."
    match move.wants:
        case "value" if not value_fits(part, move):
            return f"{part.called} holds {part.value!r} now, and not {', '.join(move.options) or move.text!r}."
        case "chosen" if not part.chosen:
            return f"{part.called} is not chosen."
        case "unchosen" if part.chosen:
            return f"{part.called} is still chosen."
        case "change" if before.state == after.state and not done.changes:
            return "Nothing changed."
        case _:
            return ""
