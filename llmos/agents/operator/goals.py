"""From a goal and a page to the actions that could reach it, best first. The deterministic half of the operator.

Knows no model and no tool: an action is a `Move`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from llmos.agents.operator import dates
from llmos.agents.operator.hands import Move, Wants, spanned
from llmos.agents.operator.instructions import Goal
from llmos.agents.operator.lexicon import lexicon, means, words_of
from llmos.agents.operator.matching import Match, Matcher, is_choice, option_of, strength
from llmos.agents.operator.page import FIELDS, Page, Part
from llmos.agents.operator.phrases import Said, Target
from llmos.kernel.calls import Provenance

FOUND = 0.5
"""From this fit on a control counts as the one that is meant, so that nothing else need be looked for."""

_SUBMITS = frozenset({"submit", "send", "ok", "go", "done", "save", "search", "continue", "next", "login", "apply"})
_OPENS = 1.5
"""From this weight on a control is thought to show more of the page."""

_HEADED = frozenset({"button", "tab", "clickable", "heading", "link", "treeitem", "menuitem", "summary", "listitem"})


@dataclass(frozen=True, slots=True)
class Ways:
    """Actions that could reach a goal.

    Attributes:
        moves: Best first.
        fit: How much of what is meant is true of the best one, 0 to 1.
    """

    moves: tuple[Move, ...]
    fit: float

    @property
    def found(self) -> bool:
        """Whether what is meant seems to be there."""
        return bool(self.moves) and self.fit >= FOUND


def clicks(page: Page, task: str, target: Target, context: Target) -> Ways:
    """Clicks on what a target names; of a list, the option itself is chosen."""
    matcher = Matcher(page, task)
    wanted = target.names or ((" ".join(target.words),) if target.words else ())
    moves: list[tuple[Move, float]] = []
    for match in matcher.ranked(target, _clickable(target), context=context):
        fit = matcher.fit(match.part, target)
        moves.append((Move("click", match.part, weight=match.weight, wants="change"), fit))
    for part in page.parts.values():
        for name in wanted[:1] if part.options and "disabled" not in part.states else ():
            option, fit = option_of(part, name)
            if fit >= 0.8 and not target.roles & {"button", "link", "tab"}:
                moves.append((Move("select", part, option, weight=_option_weight(fit), wants="value"), fit))
    return _ways(moves)


def _option_weight(fit: float) -> float:
    return 8.0 * fit


def _ways(moves: Sequence[tuple[Move, float]]) -> Ways:
    ordered = sorted(moves, key=lambda one: -one[0].weight)
    return Ways(tuple(move for move, _ in ordered), ordered[0][1] if ordered else 0.0)


def _clickable(target: Target) -> Callable[[Part], bool]:
    """What a click can be meant for: not a list's own box, unless it is named."""

    def fits(part: Part) -> bool:
        if target.names_field or any(name.lower() in lexicon().roles for name in target.names):
            return True
        return not (part.editable or part.tag == "select") or not target.names

    return fits


def choices(page: Page, task: str, item: Target, context: Target) -> Ways:
    """Ways to choose an item: a box or button that has its name, or an option of a list."""
    matcher = Matcher(page, task)
    wanted = item.names[0] if item.names else item.text
    moves: list[tuple[Move, float]] = []
    place = replace(context, ordinal=None) if context.ordinal else context
    lists = [one for one in page.parts.values() if one.options]
    ranked = {one.part.ref: one.weight for one in matcher.ranked(context, lambda part: bool(part.options))}
    for part in lists:
        option, fit = option_of(part, wanted)
        if fit > 0:
            weight = _option_weight(fit) + 1.0 + 0.3 * ranked.get(part.ref, 0.0)
            moves.append((Move("select", part, option, weight=weight, wants="value"), fit))
    for match in matcher.ranked(item, lambda part: not part.editable and not part.options, context=place):
        fit = matcher.fit(match.part, item)
        boxed = 1.5 if is_choice(match.part) else 0.0
        wants: Wants = "chosen" if is_choice(match.part) else "change"
        moves.append((Move("click", match.part, weight=match.weight + boxed, wants=wants), fit))
    return _ways(moves)


def mentioned(page: Page, words: str) -> list[Part]:
    """The boxes to be chosen that words name by their whole names."""
    said = f" {' '.join(one.text for one in words_of(words))} "
    found: list[Part] = []
    for part in page.parts.values():
        name = " ".join(one.text for one in words_of(part.name or part.label))
        if is_choice(part) and name and f" {name} " in said:
            found.append(part)
    return [one for one in found if not any(
        other is not one and f" {(one.name or one.label).lower()} " in f" {(other.name or other.label).lower()} "
        for other in found
    )]  # fmt: skip


def fields(
    page: Page, task: str, target: Target, context: Target, *, used: frozenset[str] = frozenset()
) -> list[Match]:
    """The fields that a target may mean, best first.

    Args:
        used: Refs of those that have been filled in already.
    """

    def fits(part: Part) -> bool:
        return (part.editable or part.tag == "select" or part.role in FIELDS) and part.ref not in used

    found = Matcher(page, task).ranked(target, fits, context=context)

    def plainly(match: Match) -> float:
        part = match.part
        better = 0.6 if "focused" in part.states else 0.0
        better -= 0.4 if part.value or "filled" in part.states else 0.0
        better -= 3.0 if "readonly" in part.states else 0.0
        return match.weight + better

    return sorted((replace(one, weight=plainly(one)) for one in found), key=lambda one: -one.weight)


def filling(part: Part, value: Said, change: str = "", weight: float = 0.0) -> Move:
    """A value put into a field, written as the field wants it."""
    text = changed(value.text, change)
    if part.options or part.tag == "select":
        option, fit = option_of(part, text)
        return Move("select", part, option or text, weight=weight + (fit - 1), wants="value")
    written = dates.written(text, part.kind)
    known: Provenance | None = None
    if value.start >= 0:
        known = spanned(value.text, value.start, value.end)
        if written != value.text:
            known = Provenance("computed", "user", known.source, of=(known,))
    return Move("fill", part, written, weight=weight, origin=known, wants="value")


def changed(text: str, change: str) -> str:
    """A value in capitals or small letters, as the words ask."""
    return text.upper() if change == "upper" else text.lower() if change == "lower" else text


def submits(page: Page, task: str, target: Target, *, form: str = "") -> Ways:
    """What sends a form: its submit button.

    Args:
        form: The form that was filled in last.
    """
    matcher = Matcher(page, task)
    moves: list[tuple[Move, float]] = []
    for match in matcher.ranked(target, lambda part: not part.editable and not part.options and not is_choice(part)):
        part, weight = match.part, match.weight
        names = {one.text for one in words_of(f"{part.name} {part.value} {part.label}")}
        submits_it = part.kind in ("submit", "image")
        named = bool(names & _SUBMITS)
        weight += 3.0 * submits_it + 2.5 * named + 1.5 * bool(form and part.form == form)
        moves.append((Move("click", part, weight=weight), 1.0 if submits_it or named else 0.0))
    return _ways(moves)


def openers(page: Page, goal: Goal, tried: frozenset[str], hints: frozenset[str] = frozenset()) -> list[Move]:
    """What may show more of the page, likeliest first: tabs, folded sections, menus, the next page.

    Args:
        tried: Refs of what was tried already.
        hints: Roles that the task speaks of: `the tabs`, `the sections`.
    """
    known = lexicon()
    about = {one.text for text in (goal.words, goal.context.text) for one in words_of(text)} - known.stop
    found: list[Move] = []
    for part in page.parts.values():
        if part.ref in tried or "disabled" in part.states or part.editable or part.options or is_choice(part):
            continue
        if part.kind in ("submit", "reset", "file", "image") or (page.modal and not part.modal):
            continue
        if (part.role not in _HEADED and "collapsed" not in part.states) or part.ref in page.wraps:
            continue
        names = [one.text for one in words_of(f"{part.name} {part.label}")]
        weight = 4.0 * ("collapsed" in part.states) - 3.0 * ("expanded" in part.states)
        weight += {"tab": 3.0, "treeitem": 2.0, "menuitem": 1.5}.get(part.role, 0.0)
        weight -= 4.0 * bool(part.states & {"selected"})
        weight += 2.0 * any(name in known.explore for name in names)
        weight += 2.0 * bool(hints and (part.role in hints or part.tag == "summary"))
        weight += 1.5 * bool(hints and part.role in ("clickable", "heading"))
        weight += 1.0 * any(means(word, name) for word in about for name in names)
        if weight >= _OPENS:
            inner = page.inner(part)
            if inner.ref not in tried:
                found.append(Move("click", inner, weight=weight - 0.01 * part.order))
    return sorted(found, key=lambda one: -one.weight)


def suggestions(before: Page, after: Page, fits: Callable[[str], bool]) -> list[Part]:
    """What came up while something was typed, and says what is wanted."""
    new = [one for ref, one in after.parts.items() if ref not in before.parts and not one.editable]
    listed = [one for one in after.parts.values() if one.role in ("option", "menuitem")]
    return [one for one in dict.fromkeys([*new, *listed]) if fits(one.name)]


_PREDICATE = re.compile(
    r"\b(?P<how>start|begin|end|finish)(?:s|ing|ning)?\s+(?:with|in|on)\s+[\"'“](?P<what>[^\"'”]+)", re.I
)


def predicate(words: str) -> Callable[[str], bool] | None:
    """What words say of how something begins and ends; None if they don't."""
    found = [
        (match["how"].lower() in ("start", "begin"), match["what"].casefold()) for match in _PREDICATE.finditer(words)
    ]
    if not found:
        return None

    def holds(text: str) -> bool:
        said = text.strip().casefold()
        return all(said.startswith(what) if first else said.endswith(what) for first, what in found)

    return holds


def value_fits(part: Part, move: Move) -> bool:
    """Whether a field holds what was put into it."""
    if part.kind == "password":
        return "filled" in part.states or not move.text
    if move.text.startswith("secret://"):
        return bool(part.value or "filled" in part.states)
    if move.action == "select":
        chosen = {one.casefold() for one in (part.value, *part.value.split(", "))}
        options = move.options or (move.text,)
        return all(strength(one, part.value) >= 0.9 or one.casefold() in chosen for one in options)
    said, wanted = part.value.strip(), move.text.strip()
    return (
        said == wanted
        or said.casefold() == wanted.casefold()
        or dates.same_moment(said, wanted)
        or _numbers(said, wanted)
    )


def _numbers(one: str, other: str) -> bool:
    try:
        return float(one.replace(",", "")) == float(other.replace(",", ""))
    except ValueError:
        return False
