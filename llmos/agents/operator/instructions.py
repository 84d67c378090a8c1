"""Reads what is to be done on a page: goals in their order, each with what it is about and the values that it gives.

A task is cut where a clause begins with a verb. What stands in quotes is a name or a value and is not read further.
English. Every value is a span of the words, with its place. Knows no page: `matching` finds what a target means.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from llmos.agents.operator.lexicon import Word, form_of, lexicon, ordinal_of, words_of
from llmos.agents.operator.phrases import HIDDEN, NOTHING, Said, Target, mask, target_of, values_in
from llmos.agents.spans import of_kind

Act = Literal[
    "click", "select", "check", "uncheck", "fill", "clear", "expand", "collapse", "close", "focus", "scroll", "go",
    "back", "switch", "find", "search", "read", "copy", "paste", "login", "submit", "press", "wait",
]  # fmt: skip

_STARTERS = frozenset({"and", "then", "please", "also", "now", "next", "finally", "first", "afterwards", "just", "&"})
_IN_ORDER = frozenset({"then", "afterwards", "finally"})
"""After these any word begins the next step, also one that is no verb here: `then place the order`."""

_INTO = frozenset({"use", "using", "expand", "go", "navigate", "switch", "scroll", "open", "search", "try", "browse"})
"""Verbs after which `to` goes on with the task, in place of saying what a control is for."""

_BY_HAND = frozenset({"login", "scroll", "submit", "uncheck"})
_IN_BROWSER = re.compile(r"\b(?:in|with|using) (?:the|a|my|your) (?:web )?browser\b", re.I)
_SENDS = frozenset({"submit", "ok", "enter", "search", "login", "save", "done", "next", "send"})
_NOT_BEFORE = frozenset({"the", "a", "an", "to", "of", "or", "your", "this", "that"})
_CONTEXT = re.compile(
    r"^\W*(?:then\s+|and\s+|now\s+)?(?:for|in|on|under|from|within|inside|at|with|using)\s+(?P<what>[^.;]+?)\s*(?:,|:|$)",
    re.IGNORECASE,
)
_PRONOUNS = frozenset({"it", "them", "that", "this", "one"})
_FOR_ME = frozenset({"for", "me", "us", "please"})
_THERE_IS = re.compile(r"\b(?:there(?:'s| is)|has|shows|contains|with|see|find) (?:an?|the|one)\b", re.I)
_UPPER = re.compile(r"\b(?:all )?(?:upper ?-?case|caps|capitals?|capital letters|upper ?-?case letters)\b", re.I)
_LOWER = re.compile(r"\b(?:all )?(?:lower ?-?case|small letters)\b", re.I)
_ASKS = re.compile(r"^\W*(?:what|which|who|how|where|when|is|are|does|do)\b", re.I)
_KEY = re.compile(
    r"^\s*(?:the\s+)?(?P<key>(?:(?:ctrl|control|alt|shift|cmd|meta)\s*\+\s*)*[\w]+)(?:\s+key)?\s*(?:(?P<n>\d+)\s+times)?"
    r"\W*$",
    re.I,
)
_FORM = re.compile(
    r"\s*(?:in|out|up)?\s*(?:(?:the|this|that|a)\s+)?(?:[\w-]+\s+)?form\b\s*(?:below\s*)?"
    r"(?:with|using|as follows|:|so that)?\s*:?",
    re.I,
)
_KEYS = {
    "enter": "Enter", "return": "Enter", "escape": "Escape", "esc": "Escape", "tab": "Tab", "space": "Space",
    "spacebar": "Space", "backspace": "Backspace", "delete": "Delete", "home": "Home", "end": "End",
    "pageup": "PageUp", "pagedown": "PageDown",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pair:
    """A value and the field that it is for."""

    field: Target
    value: Said


@dataclass(frozen=True, slots=True)
class Goal:
    """One thing to be done.

    Attributes:
        act: What.
        words: The clause that says so.
        start: Where it begins in the task.
        target: What it is about, as one thing.
        items: The same as several things, where the words list some.
        pairs: What is to be filled in where.
        context: What it belongs to: `for the user Ann`, the thing that an earlier clause found, or what a menu or a
            list is called.
        keys: For `press`; for `find`, how: `use`, `through`.
        change: What is done to a value first: `upper` or `lower`.
        every: All that fit are meant, and not one.
        nothing: None of them: `select nothing`.
        hints: Roles of what may hide it: the tabs or sections that the task speaks of.
    """

    act: Act
    words: str
    start: int = 0
    target: Target = NOTHING
    items: tuple[Target, ...] = ()
    pairs: tuple[Pair, ...] = ()
    context: Target = NOTHING
    keys: str = ""
    change: str = ""
    every: bool = False
    nothing: bool = False
    hints: frozenset[str] = frozenset[str]()


@dataclass(frozen=True, slots=True)
class _Clause:
    kind: str
    verb: str
    start: int
    begin: int
    end: int
    by: bool = False


def read(task: str) -> tuple[Goal, ...]:
    """The goals of a task, in their order; none if no instruction is recognized."""
    masked = mask(task)
    clauses = _clauses(masked)
    if not clauses:
        return (Goal("read", task.strip(), 0, target_of(task, 0, len(task))),) if _ASKS.search(task) else ()
    goals: list[Goal] = []
    context = _leading(task, masked, 0, clauses[0].start)
    for number, clause in enumerate(clauses):
        following = clauses[number + 1] if number + 1 < len(clauses) else None
        if following is not None and following.by:
            context = target_of(task, clause.begin, clause.end)
            continue
        made = [_spoken_of(task, masked, one) for one in _goals(task, masked, clause)]
        goals += [replace(one, context=context if one.context.empty else one.context) for one in made]
        context = _leading(task, masked, clause.end, following.start) if following is not None else Target()
    return tuple(_joined(goals))


def by_hand(task: str) -> bool:
    """Whether words ask for what only a browser does at an address that they name: a click, a form, a login. To fetch
    and read what is there needs none."""
    if not of_kind(task, "url") or _ASKS.search(task):
        return False
    clauses = _clauses(mask(task))
    return any(_is_by_hand(task, one) for one in clauses) or (bool(clauses) and bool(_IN_BROWSER.search(task)))


def _is_by_hand(task: str, clause: _Clause) -> bool:
    said = task[clause.begin : clause.end]
    if of_kind(said, "path"):
        return False
    match clause.kind:
        case "open":
            return bool(said.strip()) and not of_kind(said, "url")
        case "click":
            return not target_of(task, clause.begin, clause.end).empty and not said.lstrip().startswith("http")
        case "complete":
            return bool(_FORM.match(said))
        case "fill":
            return clause.verb in ("enter", "type")
        case kind:
            return kind in _BY_HAND


def _spoken_of(task: str, masked: str, goal: Goal) -> Goal:
    """A click on `it` as one on what is said to be there before: `The page has a link called Details. Click it.`"""
    if goal.act != "click" or not goal.target.said or not set(goal.target.said) <= _PRONOUNS | _FOR_ME:
        return goal
    there = list(_THERE_IS.finditer(masked, 0, goal.start))
    return replace(goal, target=target_of(task, there[-1].end(), goal.start)) if there else goal


def _leading(task: str, masked: str, start: int, end: int) -> Target:
    """What a clause is about that says so before its verb: `for the user Ann, click …`."""
    match = _CONTEXT.search(masked[start:end])
    return target_of(task, start + match.start("what"), start + match.end("what")) if match else Target()


def _clauses(masked: str) -> list[_Clause]:
    """Where clauses begin: at a verb that stands where an instruction can begin."""
    known, words = lexicon(), words_of(masked)
    found: list[_Clause] = []
    for place, word in enumerate(words):
        in_order = bool(found) and words[place - 1].text in _IN_ORDER and word.text not in known.stop
        kind, by = _kind(word.text) or ("named" if in_order and word.text.isalpha() else ""), False
        if not kind or not (starts := _starts(masked, words, place, found)):
            continue
        following = words[place + 1] if place + 1 < len(words) else None
        if found and following is not None and following.text in known.roles and not known.verbs.get(following.text):
            beside = words[place - 1].text
            if beside in ("and", "or", ",") and masked[word.end : following.start].isspace() and kind != "read":
                continue  # a part of a name: the Save and Close button
        by = starts == "by"
        start = word.start
        if found:
            last = found[-1]
            found[-1] = replace(last, end=_trimmed(masked, last.begin, start))
        begin = word.end
        if word.text in ("fill", "filling") and following is not None and following.text in ("in", "out", "up"):
            begin = following.end
        found.append(_Clause(kind, word.text, start, begin, len(masked), by))
    if found:
        found[-1] = replace(found[-1], end=_trimmed(masked, found[-1].begin, len(masked)))
    return found


def _kind(word: str) -> str:
    """What a verb wants, also in its form with -ing; empty for other words."""
    verbs = lexicon().verbs
    if word in verbs:
        return verbs[word]
    if word.endswith("ing"):
        base = word[:-3]
        for form in (base, f"{base}e", base[:-1] if len(base) > 2 and base[-1] == base[-2] else base):
            if form in verbs:
                return verbs[form]
    return ""


def _starts(masked: str, words: Sequence[Word], place: int, found: Sequence[_Clause]) -> str:
    """Whether a clause can begin at a word, and how."""
    word = words[place]
    gap = masked[words[place - 1].end : word.start] if place else masked[: word.start]
    before = words[place - 1].text if place else ""
    bare = word.text.endswith("ing") and word.text not in lexicon().verbs
    if not place or re.search(r"[.;:!?\n]", gap) or ("," in gap and not bare):
        return "start"
    if before == "by":
        return "by" if found else ""
    if HIDDEN in gap and not found:  # after an address or a name in quotes that says where
        return "start"
    if before in _STARTERS and not bare:
        return "start"
    if before in _STARTERS and bare:
        return "start" if found and found[-1].by else ""
    if before == "to" and not bare:
        if not found or masked[words[place - 2].end : words[place - 1].start].strip() == ",":
            return "start"
        return "start" if found[-1].verb in _INTO else ""
    following = words[place + 1].text if place + 1 < len(words) else ""
    if word.text in ("hit", "press", "click") and following in _SENDS and before not in _NOT_BEFORE and found:
        return "start"  # a comma was left out
    if not found and before in ("you", "should", "must", "to", "can", "could"):
        return "start"
    return ""


_TAIL = re.compile(
    r"(?:[\s,.;:!?&]|\b(?:when|once|after|if)\s+(?:you\s+are\s+|you're\s+|it\s+is\s+)?(?:done|finished|ready|complete)\b|\b(?:and|then|to|by|please|also|now|next|finally|afterwards|just)\b)+$",
    re.I,
)


def _trimmed(masked: str, start: int, end: int) -> int:
    match = _TAIL.search(masked, start, end)
    return match.start() if match and match.end() == end else end


# -- goals of one clause


def _goals(task: str, masked: str, clause: _Clause) -> list[Goal]:
    words = task[clause.start : clause.end]
    goal = Goal("click", words, clause.start, target_of(task, clause.begin, clause.end))
    match clause.kind:
        case "fill" | "change" | "complete" | "paste":
            return [_fill(task, masked, clause, goal)]
        case "select" | "check" | "uncheck":
            return _choices(task, masked, clause, goal)
        case "click":
            keys = _keys(masked, clause)
            if keys and clause.verb in ("press", "hit", "push", "tap"):
                return [replace(goal, act="press", keys=keys)]
            return _clicks(task, masked, clause, goal)
        case "scroll" | "close" | "focus" | "expand" | "collapse" | "clear" | "copy" | "read" | "find" | "login":
            every = _every(task, masked, clause)
            return [replace(goal, act=clause.kind, every=every)]
        case "search":
            return [_search(task, masked, clause, goal)]
        case "go":
            return [_go(masked, clause, goal)]
        case "open":
            return [replace(goal, act="go")] if goal.target.url else _clicks(task, masked, clause, goal)
        case "switch":
            between = re.match(r"\s*(?:between|among|through)\b", masked[clause.begin : clause.end], re.I)
            return [replace(goal, act="find", keys="through")] if between else _clicks(task, masked, clause, goal)
        case "submit" | "wait":
            return [replace(goal, act=clause.kind)]
        case "named":
            verb = target_of(task, clause.start, clause.begin)
            return [replace(goal, target=replace(verb, text=words), context=goal.target)]
        case _:  # use: what the next clause is done with
            return [replace(goal, act="find", keys="use")]


def _go(masked: str, clause: _Clause, goal: Goal) -> Goal:
    """To an address, back, to what a link names, or only along while something is looked for."""
    said = masked[clause.begin : clause.end]
    if goal.target.url:
        return replace(goal, act="go")
    if re.match(r"\s*back\W*(?:$|to\b)", said, re.I):
        return replace(goal, act="back")
    if re.match(r"\s*(?:through|around|along)\b", said, re.I):
        return replace(goal, act="find", keys="through")
    return replace(goal, act="click")


def _keys(masked: str, clause: _Clause) -> str:
    """The key that a clause names, in Playwright's words; empty for none."""
    match = _KEY.match(masked[clause.begin : clause.end])
    if not match:
        return ""
    *held, last = [one.strip().lower() for one in match["key"].split("+")]
    name = _KEYS.get(last) or (f"Arrow{last.removeprefix('arrow').title()}" if last.startswith("arrow") else "")
    if not name and held and len(last) == 1:
        name = last
    names = {"ctrl": "Control", "control": "Control", "alt": "Alt", "shift": "Shift", "cmd": "Meta", "meta": "Meta"}
    return "+".join([*(names[one] for one in held), name]) if name else ""


def _every(task: str, masked: str, clause: _Clause) -> bool:
    said = masked[clause.begin : clause.end]
    return bool(re.search(r"\b(?:all|every|each|both|sections|them)\b", said, re.I))


def split(masked: str, start: int, end: int, *, path: bool = False) -> list[tuple[int, int]]:
    """The parts of a list (`a, b and c`), or the steps of a path (`File > Save`)."""
    pattern = r"\s*(?:>|→|»|\u203a|\\)\s*" if path else r"\s*,\s*(?:and\s+)?|\s+and\s+|\s*&\s*|\s*;\s*"
    found: list[tuple[int, int]] = []
    begin = start
    bracketed = re.sub(r"\([^()]*\)|\[[^\[\]]*\]", lambda match: HIDDEN * len(match[0]), masked[start:end])
    for match in re.finditer(pattern, bracketed, re.I):
        found.append((begin, start + match.start()))
        begin = start + match.end()
    found.append((begin, end))
    return [(one, other) for one, other in found if masked[one:other].strip()]


def _clicks(task: str, masked: str, clause: _Clause, goal: Goal) -> list[Goal]:
    """Clicks on one thing, on several in turn, or down a path of menus."""
    steps = split(masked, clause.begin, clause.end, path=True)
    if len(steps) > 1:
        return [replace(goal, target=target_of(task, *one)) for one in steps]
    every = _every(task, masked, clause)
    items = split(masked, clause.begin, clause.end)
    if len(items) > 1 and not every:
        targets = tuple(target_of(task, *one) for one in items)
        roles = next((one.roles for one in reversed(targets) if one.roles), frozenset[str]())
        return [replace(goal, items=tuple(replace(one, roles=one.roles or roles) for one in targets))]
    return [replace(goal, every=every)]


_CONTAINER = re.compile(r"\s+(?:from|in|on|with|using|of)\s+(?:the|a|an|this)\s+", re.I)


def _choices(task: str, masked: str, clause: _Clause, goal: Goal) -> list[Goal]:
    """What is to be chosen: items, from a list or with a control that is named."""
    steps = split(masked, clause.begin, clause.end, path=True)
    if len(steps) > 1:
        return [replace(goal, target=target_of(task, *one)) for one in steps]
    act: Act = "uncheck" if clause.kind == "uncheck" else "check" if clause.kind == "check" else "select"
    begin, end, context = clause.begin, clause.end, Target()
    for match in reversed(list(_CONTAINER.finditer(masked, begin, end))):
        inside = target_of(task, match.end(), end)
        if inside.roles & {"listbox", "combobox", "slider", "spinbutton", "list", "menu", "textbox"} or inside.ordinal:
            end, context = match.start(), inside
    said = masked[begin:end]
    nothing = bool(re.match(r"\s*(?:nothing|none|no\b)", said, re.I))
    items = tuple(target_of(task, *one) for one in split(masked, begin, end))
    return [
        replace(
            goal, act=act, target=target_of(task, begin, end), items=items if len(items) > 1 else (), context=context,
            nothing=nothing, every=_every(task, masked, clause),
        )
    ]  # fmt: skip


def _search(task: str, masked: str, clause: _Clause, goal: Goal) -> Goal:
    """`search (for) X (on Y)`."""
    begin = clause.begin
    if match := re.match(r"\s*for\s+", masked[begin : clause.end], re.I):
        begin += match.end()
    end = clause.end
    if match := re.search(r"\s+(?:in|on|using|with)\s+(?:the\s+)?", masked[begin:end], re.I):
        end = begin + match.start()
    value = next(iter(values_in(task, begin, end)), None)
    said = value or Said(task[begin:end].strip(), begin, end)
    return replace(goal, act="search", pairs=(Pair(Target(), said),), target=target_of(task, begin, end))


# -- filling in


def _fill(task: str, masked: str, clause: _Clause, goal: Goal) -> Goal:
    """What is to be filled in where."""
    begin, end = clause.begin, clause.end
    change = "upper" if _UPPER.search(masked, begin, end) else "lower" if _LOWER.search(masked, begin, end) else ""
    for form in (_UPPER, _LOWER) if change else ():
        task, masked = _blanked(task, masked, form, begin, end)
    if match := _FORM.match(masked[begin:end]):
        begin += match.end()
    act: Act = "paste" if clause.kind == "paste" else "fill"
    pairs = _assigned(task, masked, begin, end, clause.kind)
    every = bool(re.search(r"\b(?:all|every|each|both)\b", masked[begin:end], re.I))
    return replace(goal, act=act, pairs=tuple(pairs), change=change, every=every)


def _blanked(task: str, masked: str, form: re.Pattern[str], begin: int, end: int) -> tuple[str, str]:
    """A task without the words that say how a value is written, so that they name no field."""
    match = form.search(masked, begin, end)
    if match is None:
        return task, masked
    before = re.search(r"\b(?:in|as|using|with)\s+(?:all\s+)?$", masked[begin : match.start()], re.I)
    start = begin + before.start() if before else match.start()
    after = re.match(r"\s+(?:letters|characters)\b", masked[match.end() : end], re.I)
    stop = match.end() + (after.end() if after else 0)
    blank = " " * (stop - start)
    return task[:start] + blank + task[stop:], masked[:start] + blank + masked[stop:]


def _assigned(task: str, masked: str, begin: int, end: int, kind: str) -> list[Pair]:
    """Fields with their values, by the form of the words."""
    values = values_in(task, begin, end)
    pieces = split(masked, begin, end)
    if len(pieces) > 1:
        trailing = _field_after(task, masked, values[-1], end) if values else Target()
        found: list[Pair] = []
        for start, stop in pieces:
            mine = [one for one in values if start <= one.start < stop]
            found += _one(task, masked, start, stop, mine, kind)
        found = [replace(one, field=one.field if not one.field.empty else trailing) for one in found]
        if len(found) == len(pieces) and all(not one.field.empty for one in found):
            return found
    return _one(task, masked, begin, end, values, kind)


_SETS = re.compile(r"\s*(?:\bto\b|\bwith\b|\bas\b|\bequal to\b|=|:|\bis\b)\s*", re.I)
_INTO_FIELD = re.compile(r"\s+\b(?:into|in to|in|onto|on|inside|as|for|under|within|to|with|using)\b\s+", re.I)


def _one(task: str, masked: str, begin: int, end: int, values: Sequence[Said], kind: str) -> list[Pair]:
    """One field and its value."""
    if values:
        before = target_of(task, begin, values[0].outer[0])
        after = _field_after(task, masked, values[0], end)
        first = not before.empty and (after.empty or before.names_field or (kind != "fill" and not before.words))
        return [Pair(before if first else after, values[0])]
    if kind in ("change", "complete"):
        for match in _SETS.finditer(masked, begin, end):
            said = _bare(task, match.end(), end)
            if said and match.start() > begin:
                return [Pair(target_of(task, begin, match.start()), said)]
    places = list(_INTO_FIELD.finditer(masked, begin, end))
    named = [one for one in places if target_of(task, one.end(), end).names_field]
    for place in named[:1] or places[-1:]:
        if said := _bare(task, begin, place.start()):
            return [Pair(target_of(task, place.end(), end), _without_noun(task, said))]
    said = _bare(task, begin, end)
    if said is None:
        return []
    return [_noun_first(task, said) or Pair(NOTHING, said)]


def _field_after(task: str, masked: str, value: Said, end: int) -> Target:
    """The field that stands behind a value: `into the search box`."""
    rest = masked[value.outer[1] : end]
    match = re.match(
        r"\W*(?:\w+\s+){0,4}?(?:into|in to|in|onto|on|inside|as|for|under|within|to|with|using)\s+", rest, re.I
    )
    return target_of(task, value.outer[1] + match.end(), end) if match else NOTHING


def _bare(task: str, start: int, end: int) -> Said | None:
    """A value without quotes: all that stands there."""
    text = task[start:end]
    cut = text.strip().strip(",;")
    if not cut:
        return None
    place = start + text.index(cut)
    return Said(cut, place, place + len(cut))


def _without_noun(task: str, value: Said) -> Said:
    """A value without the word for what it is: `the text hello` is `hello`."""
    match = re.match(
        r"(?:the\s+)?(?:text|word|words|value|number|phrase|string|date|time|name)\s+(?!of\b|from\b|in\b|below\b|above\b)(?=\S)",
        value.text,
        re.I,
    )
    start = value.start + match.end() if match else value.start
    return Said(task[start : value.end], start, value.end)


def _noun_first(task: str, value: Said) -> Pair | None:
    """`the username ann42`: a field's name, then its value."""
    words = words_of(value.text)
    known = lexicon()
    for place, word in enumerate(words[:-1]):
        named = word.text in known.fields or word.text in known.roles
        if named and words[place + 1].text not in known.fields and words[place + 1].text not in known.roles:
            start = value.start + words[place + 1].start
            return Pair(
                target_of(task, value.start, value.start + word.end), Said(task[start : value.end], start, value.end)
            )
        if word.text not in known.stop and not named:
            return None
    return None


# -- several clauses that make one goal


def _joined(goals: Sequence[Goal]) -> list[Goal]:
    """Goals without those that only say what others are about: `find the mail by Bob and click its bin`."""
    found: list[Goal] = []
    held: Target | None = None
    hints = frozenset[str]()
    for number, goal in enumerate(goals):
        following = goals[number + 1] if number + 1 < len(goals) else None
        if following is not None and goal.act == "find" and goal.keys == "through":
            hints |= goal.target.roles
            continue
        if following is not None and goal.act == "expand" and following.act == "click" and following.target.names:
            hints |= goal.target.roles | {"heading", "clickable"}
            continue
        if goal.act == "find" and following is not None and following.act != "read":
            held = goal.target
            continue
        if hints:
            goal = replace(goal, hints=hints)
            hints = frozenset[str]()
        if held is not None and goal.act != "submit":
            pronoun = goal.target.empty or {form_of(one) for one in goal.target.said} <= _PRONOUNS
            if goal.act == "click" and pronoun:
                goal = replace(goal, target=held)
            elif goal.context.empty:
                goal = replace(goal, context=held)
            held = None
        found.append(replace(goal, act="click") if goal.act == "find" else goal)
    return found


__all__ = ["Act", "Goal", "Pair", "by_hand", "ordinal_of", "read", "split"]
