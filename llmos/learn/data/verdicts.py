"""Examples of judging work: a task, what was done for it, perhaps a source, and what is to be said of it.

What is wrong is made wrong on purpose, in one way, so that every label is known: a digit off, numbers taken the wrong
way round, a part left out, something that the source does not say, another form, another subject, or nothing to check
it by. Words are in `verdicts.toml`. Knows no verifier.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import Any

from llmos.agents import jobs
from llmos.learn.data.criteria import criterion
from llmos.learn.data.example import Example, Sheet, Split
from llmos.learn.data.noise import noisy
from llmos.learn.data.operations import OPERATIONS, altered, put, wrong
from llmos.learn.data.pools import dealt
from llmos.learn.data.stated import DIGITS, Stated, drawn_value, opened, text_values, texts

PASS, VALUE, MISSING, INVENTED, FORM, TOPIC, UNSURE = jobs.VERDICTS

_SHARES: Mapping[str, float] = {
    PASS: 0.40, VALUE: 0.19, MISSING: 0.1, INVENTED: 0.1, FORM: 0.08, TOPIC: 0.06, UNSURE: 0.07,
}  # fmt: skip
_SIZES = (6, 9)
_CALCULATED = 0.8
_TRIES = 50


@dataclass(frozen=True, slots=True)
class Case:
    """Some work to be judged.

    Attributes:
        keep: Parts of the task that must stay as they are.
    """

    task: str
    work: str
    source: str = ""
    keep: tuple[str, ...] = ()


Family = Callable[[Random, Split, str], Case | None]
"""Makes a case with a verdict; None where it can't."""


def verdict_sheet(random: Random, split: Split) -> Sheet:
    """Works of all kinds, each with what is to be said of it; 40 of 100 pass."""
    sheet: list[Example] = []
    for label in random.choices(list(_SHARES), list(_SHARES.values()), k=random.randint(*_SIZES)):
        case, name = _case(random, split, label)
        context = jobs.verdict(noisy(random, case.task, keep=case.keep), case.work, case.source)
        sheet.append(Example("verdict", context, label, jobs.VERDICTS, name))
    return sheet


# -- sums


def _compute(random: Random, split: Split, label: str) -> Case | None:
    """Something to calculate, mostly with what a calculator gave for it: a small model compares better than it
    calculates."""
    if label in (INVENTED, UNSURE):
        return None
    specs: Sequence[Mapping[str, Any]] = texts()["compute"]
    spec = random.choice(specs)
    found = OPERATIONS[spec["op"]](random)
    task, right = put(random.choice(_dealt(spec["tasks"], split)), found.values), found.result
    source = f"calculator -> {right}" if random.random() < _CALCULATED else ""
    if label == TOPIC:
        return Case(task, _stray(random, split), source, tuple(found.values.values()))
    shown = wrong(random, found) if label == VALUE else right
    slots = {"x": shown, "calc": found.calc, "X": shown.upper(), "xl": shown.lower()}
    keep = (*found.values.values(), right)
    chance = random.random()
    if label == MISSING or (label != FORM and chance < 0.15):
        extra = random.choice(_split_by(texts()["besides"], split))
        said = random.choice(extra["missing" if label == MISSING else "right"])
        if not found.calc and "{calc}" in str(extra):
            return None
        return Case(f"{task} {extra['ask']}", put(said, slots), source, keep)
    if label == FORM or chance < 0.4:
        return _sourced(_formed(random, split, label, task, slots, keep), source)
    if (unit := spec.get("unit")) and random.random() < 0.5:
        slots["x"] = f"{shown} {unit}"
    said = random.choice(
        [one for one in _dealt(texts()["says"]["results"], split) if found.calc or "{calc}" not in one]
    )
    return Case(task, put(said, slots), source, keep)


def _formed(
    random: Random, split: Split, label: str, task: str, slots: Mapping[str, str], keep: tuple[str, ...]
) -> Case | None:
    """Work that must have a form, which it has, or not."""
    shown = slots["x"]
    plain = shown.replace(".", "").replace(":", "").isdigit()
    lettered = shown.lower() != shown != shown.upper()
    forms = [
        one for one in _split_by(texts()["form"], split)
        if (plain or not one.get("numbers")) and (lettered or not one.get("words"))
    ]  # fmt: skip
    if not forms:
        return None
    form: Mapping[str, Any] = random.choice(forms)
    asked = f"{task} {form['ask']}" if random.random() < 0.7 else f"{form['ask']} {task}"
    return Case(
        asked, put(random.choice(form["wrong" if label == FORM else "right"]), slots), keep=(*keep, form["ask"])
    )


# -- criteria


def _criterion(random: Random, split: Split, label: str) -> Case | None:
    """A sentence that is to be true of the work, which stands as the task."""
    found = criterion(random, split, label)
    return None if found is None else Case(*found, keep=(found[0],))


# -- texts with values


def _record(random: Random, split: Split, label: str) -> Case | None:
    stated = text_values(random, split)
    count = random.randint(2, min(5, len(stated) - 1))
    here, absent = stated[:count], stated[count:]
    source = " ".join(one.said(random) for one in here)
    keep = tuple(one.value for one in here)
    if label == UNSURE:
        one = random.choice(stated)
        ask = random.choice(one.asks)
        task = _referred(random, split, ask) if random.random() < 0.7 else ask
        return Case(task, _value_or_sentence(random, split, one, one.value))
    if label == TOPIC:
        one, other = random.sample(here, 2)
        stray = random.random() < 0.3
        task = _summary_ask(random, split) if stray and random.random() < 0.5 else random.choice(one.asks)
        return Case(task, _stray(random, split) if stray else other.said(random), source, keep)
    making: Callable[..., Case | None] = random.choices((_asked, _asked_two, _summed), (0.55, 0.2, 0.25))[0]
    return making(random, split, label, here, absent, source)


def _asked(
    random: Random, split: Split, label: str, here: Sequence[Stated], absent: Sequence[Stated], source: str
) -> Case | None:
    """One value is asked for; also one that is not there."""
    missing = label == INVENTED or (label == PASS and random.random() < 0.2)
    one = random.choice(absent if missing else here)
    task = random.choice(one.asks)
    if random.random() < 0.2:
        task = _referred(random, split, task)
    keep = tuple(known.value for known in (*here, one))
    match label:
        case "pass" if missing:
            return Case(task, random.choice(_dealt(texts()["says"]["absent"], split)), source, keep)
        case "fail: not in the source":
            return Case(task, _value_or_sentence(random, split, one, one.value), source, keep)
        case "fail: wrong value" if random.random() < 0.08:  # it says so, in fact
            return Case(task, random.choice(_dealt(texts()["says"]["absent"], split)), source, keep)
        case "fail: wrong value":
            return Case(task, _value_or_sentence(random, split, one, _other(random, split, one, here)), source, keep)
        case "fail: wrong form":
            return _sourced(_formed(random, split, label, task, _slots(one.value), keep), source)
        case "pass":
            if random.random() < 0.25:
                return _sourced(_formed(random, split, label, task, _slots(one.value), keep), source)
            return Case(task, _value_or_sentence(random, split, one, one.value), source, keep)
        case _:
            return None


def _asked_two(
    random: Random, split: Split, label: str, here: Sequence[Stated], absent: Sequence[Stated], source: str
) -> Case | None:
    """Two values are asked for."""
    first, second = random.sample(here, 2)
    ask, other = random.choice(first.asks), random.choice(second.asks)
    task = random.choice((f"{ask} {other}", f"{ask} And {_lowered(other)}", f"Two questions: {ask} {other}"))
    keep = tuple(one.value for one in here)
    both = [first.said(random), second.said(random)]
    match label:
        case "pass":
            bare = f"{first.value}, {second.value}"
            return Case(task, bare if random.random() < 0.3 else " ".join(both), source, keep)
        case "fail: missing part":
            one = random.choice((first, second))
            return Case(task, _value_or_sentence(random, split, one, one.value), source, keep)
        case "fail: wrong value":
            place = random.randrange(2)
            one = (first, second)[place]
            both[place] = one.said(random, _other(random, split, one, here))
            return Case(task, " ".join(both), source, keep)
        case "fail: not in the source":
            return Case(task, " ".join((*both, random.choice(absent).said(random))), source, keep)
        case _:
            return None


def _summed(
    random: Random, split: Split, label: str, here: Sequence[Stated], absent: Sequence[Stated], source: str
) -> Case | None:
    """The text is to be put in short; sometimes with two values that must be in it."""
    chosen = random.sample(here, 2)
    required = label == MISSING or random.random() < 0.35
    task = _summary_ask(random, split)
    if required:
        template = random.choice(_dealt(texts()["summary"]["required"], split))
        task = template.replace("{l}", chosen[0].label).replace("{m}", chosen[1].label)
    sentences = [one.said(random) for one in chosen]
    match label:
        case "pass":
            pass
        case "fail: missing part":
            others = [one for one in here if one not in chosen]
            sentences = [sentences[random.randrange(2)]]
            sentences += [random.choice(others).said(random)] if others and random.random() < 0.6 else []
        case "fail: wrong value":
            place = random.randrange(2)
            sentences[place] = chosen[place].said(random, _other(random, split, chosen[place], here))
        case "fail: not in the source":
            sentences.append(random.choice(absent).said(random))
        case _:
            return None
    if random.random() < 0.5 and not required:
        random.shuffle(sentences)
    return Case(task, " ".join(sentences), source, tuple(one.value for one in here))


def _referred(random: Random, split: Split, ask: str) -> str:
    """A question that speaks of where the answer stands."""
    template = random.choice(_dealt(texts()["nowhere"]["asks"], split))
    return template.replace("{ask}", ask if template.startswith("{ask}") else _lowered(ask))


def _stray(random: Random, split: Split) -> str:
    return random.choice(_dealt(texts()["stray"]["works"], split))


def _summary_ask(random: Random, split: Split) -> str:
    return random.choice(_dealt(texts()["summary"]["asks"], split))


def _sourced(case: Case | None, source: str) -> Case | None:
    return None if case is None else replace(case, source=source)


def _value_or_sentence(random: Random, split: Split, one: Stated, value: str) -> str:
    return _told(random, split, value) if random.random() < 0.6 else one.said(random, value)


def _told(random: Random, split: Split, value: str) -> str:
    return opened(random.choice(_dealt(texts()["says"]["values"], split)).replace("{x}", value))


def _other(random: Random, split: Split, one: Stated, here: Sequence[Stated]) -> str:
    """A value that the text does not give for this: another one of it, one with a digit changed, or a fresh one."""
    taken = {known.value for known in here} | {one.value}
    same = [known.value for known in here if known.kind == one.kind and known.value != one.value]
    chance = random.random()
    if same and chance < 0.35:
        return random.choice(same)
    for _ in range(_TRIES):
        digits = one.kind in DIGITS and random.random() < 0.6
        value = altered(random, one.value) if digits else drawn_value(random, split, one.kind)
        if value not in taken:
            return value
    return altered(random, f"{one.value} 1")


# -- lists


def _list(random: Random, split: Split, label: str) -> Case | None:
    """Items that are to be written in a shape."""
    if label in (TOPIC, UNSURE):
        return None
    kinds: Sequence[str] = texts()["lists"]["kinds"]
    kind = random.choice(kinds)
    items = _several(random, split, kind, random.randint(3, 6))
    shapes: Sequence[Mapping[str, Any]] = texts()["list"]
    shape = random.choice(shapes)
    task = random.choice(_dealt(shape["asks"], split))
    if len(items) < 3:
        return None
    extra, shown = items[-1], items[:-1]
    listed = ", ".join(shown)
    done, wanted = list(shown), str(shape["shape"])
    match label:
        case "fail: missing part":
            done.remove(random.choice(done))
        case "fail: not in the source":
            done.insert(random.randint(0, len(done)), extra)
        case "fail: wrong value":
            done[random.randrange(len(done))] = extra
        case "fail: wrong form":
            wanted = random.choice(
                [one["shape"] for one in shapes if one["shape"] != wanted and one["shape"] != "sentence"]
            )
        case _:
            pass
    work = _SHAPES[wanted](done)
    if label == FORM and work == _SHAPES[str(shape["shape"])](done):
        return None
    if label == INVENTED or random.random() < 0.4:
        return Case(task.replace(": {items}", "").replace("{items}", "the items"), work, listed)
    return Case(task.replace("{items}", listed), work, keep=(listed,))


def _named(random: Random, split: Split, label: str) -> Case | None:
    """So many things of a kind."""
    if label not in (PASS, MISSING, VALUE, TOPIC):
        return None
    kinds: Mapping[str, str] = texts()["named"]["kinds"]
    kind, other = random.sample(list(kinds), 2)
    count = random.randint(2, 5)
    items = _several(random, split, kind, count)
    if len(items) < count:
        return None
    match label:
        case "fail: missing part":
            items = items[:-1]
        case "fail: wrong value":
            items[random.randrange(count)] = drawn_value(random, split, other)
        case "fail: off topic":
            items = _several(random, split, other, count)
            if len(items) < count:
                return None
        case _:
            pass
    task = random.choice(_dealt(texts()["named"]["asks"], split))
    said = random.choice((str(count), _WORDS[count]))
    task = task.replace("{count}", said).replace("{kind}", kinds[kind])
    return Case(
        task, _SHAPES[random.choice(("commas", "bullets", "numbers", "lines"))](items), keep=(said, kinds[kind])
    )


def _several(random: Random, split: Split, kind: str, count: int) -> list[str]:
    """So many different ones, or as many as there are."""
    items: list[str] = []
    for _ in range(_TRIES):
        if len(items) == count:
            break
        item = drawn_value(random, split, kind)
        if item.lower() not in (known.lower() for known in items) and "," not in item:
            items.append(item)
    return items


def _sentence(items: Sequence[str]) -> str:
    return f"There are {', '.join(items[:-1])} and {items[-1]}." if len(items) > 1 else f"There is {items[0]}."


_SHAPES: Mapping[str, Callable[[Sequence[str]], str]] = {
    "json": lambda items: json.dumps(list(items), ensure_ascii=False),
    "bullets": lambda items: "\n".join(f"- {one}" for one in items),
    "numbers": lambda items: "\n".join(f"{number}. {one}" for number, one in enumerate(items, 1)),
    "commas": ", ".join,
    "semicolons": "; ".join,
    "upper": lambda items: ", ".join(items).upper(),
    "lines": "\n".join,
    "sentence": _sentence,
    "quoted": lambda items: ", ".join(f'"{one}"' for one in items),
    "table": lambda items: "| item |\n|---|\n" + "\n".join(f"| {one} |" for one in items),
}


# -- works that were written for their tasks


def _made(random: Random, split: Split, label: str) -> Case | None:
    items: Sequence[Mapping[str, Any]] = [one for one in _items(split) if one.get(_KEYS[label])]
    if not items:
        return None
    item = random.choice(items)
    values: dict[str, str] = {}
    task = _slotted(random, split, random.choice(item["task"]), values)
    source = _slotted(random, split, str(item.get("source", "")), values)
    work = _slotted(random, split, random.choice(item[_KEYS[label]]), values)
    return Case(task, work, source, tuple(values.values()))


@cache
def _items(split: Split) -> list[Mapping[str, Any]]:
    listed: Sequence[Mapping[str, Any]] = texts()["item"]
    firsts = set(dealt([one["task"][0] for one in listed], split, "item"))
    return [one for one in listed if one["task"][0] in firsts]


def _slotted(random: Random, split: Split, template: str, values: dict[str, str]) -> str:
    """A template with its slots filled, with the values that they have already or new ones, all different."""

    def value(found: re.Match[str]) -> str:
        slot, kind, form = found[1].lower(), found[2].lower(), found[3]
        if slot not in values:
            text = drawn_value(random, split, kind)
            for _ in range(_TRIES):
                if text not in values.values():
                    break
                text = drawn_value(random, split, kind)
            values[slot] = text
        text = values[slot]
        return text.upper() if found[1].isupper() else _FORMED[form or ""](text)

    return _SLOT.sub(value, template)


def _unknown(random: Random, split: Split, label: str) -> Case | None:
    """What nobody can check."""
    if label != UNSURE:
        return None
    numbers = random.random() < 0.5
    words: Mapping[str, Sequence[str]] = texts()["unknown" if numbers else "unknown_words"]
    values = {"x": str(random.randint(2, random.choice((12, 90, 900))))} if numbers else {}
    task = _slotted(random, split, random.choice(_dealt(words["tasks"], split)), values)
    return Case(task, _slotted(random, split, random.choice(words["works"]), values), keep=tuple(values.values()))


_KEYS: Mapping[str, str] = dict(
    zip(jobs.VERDICTS, ("good", "value", "part", "invented", "form", "topic", "unsure"), strict=True)
)
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_SLOT = re.compile(r"\{(([A-Za-z]+)\d?)(\.[0lwsc])?\}")
_FORMED: Mapping[str, Callable[[str], str]] = {
    "": str,
    ".0": lambda text: text[0],
    ".l": str.lower,
    ".w": lambda text: _WORDS[int(text)],
    ".s": lambda text: text.lower().replace(" ", "-"),
    ".c": lambda text: text.replace(":", ""),
}
_FAMILIES: Mapping[str, tuple[Family, float]] = {
    "sum": (_compute, 4),
    "source": (_record, 4),
    "list": (_list, 2),
    "named": (_named, 0.7),
    "made": (_made, 3),
    "unknown": (_unknown, 3),
    "criterion": (_criterion, 4),
}


def _case(random: Random, split: Split, label: str) -> tuple[Case, str]:
    names = list(_FAMILIES)
    weights = [_FAMILIES[name][1] for name in names]
    while True:  # each verdict has families that can make it
        name = random.choices(names, weights)[0]
        case = _FAMILIES[name][0](random, split, label)
        if case is not None:
            return case, name


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]


def _slots(value: str) -> dict[str, str]:
    return {"x": value, "X": value.upper(), "xl": value.lower(), "calc": ""}


def _dealt(pool: Sequence[str], split: Split) -> list[str]:
    return dealt(pool, split, "verdict")


def _split_by(entries: Sequence[Mapping[str, Any]], split: Split) -> list[Mapping[str, Any]]:
    asks = set(_dealt([one["ask"] for one in entries], split))
    return [one for one in entries if one["ask"] in asks]
