"""Examples of choosing a control of a web page: made-up pages, and what somebody says who means one of their controls.

The controls are named as the operator names its actions (see `llmos.agents.operator.hands`). A sheet is one page with
several instructions. Words are in `pages.toml`. Knows no browser.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from llmos.agents import jobs
from llmos.learn.data.example import Example, Sheet, Split
from llmos.learn.data.noise import noisy
from llmos.learn.data.pools import MONTHS, dealt
from llmos.learn.data.values import draw

_SIZES = (6, 9)
_CONTROLS = (4, 12)
_ROWS = (2, 4)
_SAME_NAMES = 0.3
_PLAIN = 0.25
_INSTEAD = 0.07
_ENTER = 0.25
_TEXT = 900
_TRIES = 50
_NTH = ("first", "second", "third", "fourth")
_SLOT = re.compile(r"\{(([A-Za-z]+)\d?)\}")
_CLICK = re.compile(r"click (?P<role>\w+) “(?P<label>.*)”")
_TYPE = re.compile(r"type “(?P<value>.*)” into (?P<role>\w+) “(?P<label>.*)”")
_CHOOSE = re.compile(r"choose “(?P<value>.*)” in (?P<role>\w+) “(?P<label>.*)”")
_RANGES: Mapping[str, tuple[int, int]] = {
    "n": (210, 9800), "m": (11, 99), "k": (3, 9), "d": (10, 28), "y": (2015, 2029),
}  # fmt: skip
_KINDS: Mapping[str, str] = {"first": "first_name", "last": "last_name"}


@dataclass(frozen=True, slots=True)
class Control:
    """Something that can be done on the page.

    Attributes:
        title: As the operator names it; two may be the same until they are told apart.
        says: Instructions that mean it; templates that are filled. None where it is only there to be left alone.
        place: Its place on the page.
        row: What it belongs to, if it is one of several.
    """

    title: str
    says: tuple[str, ...]
    place: int
    row: str = ""

    @property
    def label(self) -> str:
        """The name that the page shows for it."""
        return self.parts.get("label", "")

    @property
    def parts(self) -> Mapping[str, str]:
        """Its role, label and value."""
        for form in (_CLICK, _TYPE, _CHOOSE):
            if found := form.fullmatch(self.title):
                return found.groupdict()
        return {}


def browse_sheet(random: Random, split: Split) -> Sheet:
    """Instructions for one page, each meaning one of its controls."""
    listed: Sequence[Mapping[str, Any]] = _texts()["page"]
    names = set(dealt([one["name"] for one in listed], split, "page"))
    page: Mapping[str, Any] = random.choice([one for one in listed if one["name"] in names])
    values: dict[str, str] = {}
    title = _filled(random, split, random.choice(page["titles"]), values)
    texts = [_filled(random, split, one, values) for one in _some(random, page["texts"])]
    rows, of_rows = _rows(random, split, page, values)
    controls = _controls(random, split, page, values, of_rows)
    shown = f"{title}\n{_shown(texts, rows, controls)}"
    titles = _told_apart(controls)
    choices = tuple(titles)
    sheet: dict[str, Example] = {}
    for place, (says, kind) in _asked(random, split, controls, titles):
        instruction = noisy(random, says, keep=_kept(controls[place], values))
        context = jobs.browse(shown, choices, instruction)
        sheet.setdefault(instruction, Example("browse", context, choices[place], choices, kind))
    return list(sheet.values())


# -- the page


def _rows(
    random: Random, split: Split, page: Mapping[str, Any], values: dict[str, str]
) -> tuple[dict[str, str], list[Control]]:
    """The rows of a page with their texts, and some kinds of controls for each of them."""
    given: Mapping[str, Any] | None = page.get("rows")
    if given is None:
        return {}, []
    names: list[str] = []
    for _ in range(_TRIES):
        name = _value(random, split, given["kind"])
        if name not in names and name not in values.values() and len(names) < random.randint(*_ROWS):
            names.append(name)
    texts: dict[str, str] = {}
    for name in names:
        own = {"row": name}
        texts[name] = _filled(random, split, given["text"], own)
    chosen = random.sample(given["controls"], random.randint(1, min(2, len(given["controls"]))))
    same = random.random() < _SAME_NAMES
    controls: list[Control] = []
    for number, name in enumerate(names):
        nth = ["last"] if number == len(names) - 1 and len(names) > 2 and random.random() < 0.5 else [_NTH[number]]
        for did, *says in chosen:
            known = {"row": name, "nth": nth[0]}
            template = _without_row(did) if same else did
            filled = tuple(_filled(random, split, one, known) for one in says)
            controls.append(Control(_filled(random, split, template, known), filled, 100 + number, name))
    return texts, controls


def _without_row(did: str) -> str:
    """A control's name without the row's, where something is left of it."""
    found = _CLICK.fullmatch(did)
    label = found["label"].replace(" the post of", "").replace(" of {row}", "").replace("{row}", "") if found else ""
    return f"click {found['role']} “{label.strip()}”" if found and label.strip() else did


def _controls(
    random: Random, split: Split, page: Mapping[str, Any], values: dict[str, str], of_rows: Sequence[Control]
) -> list[Control]:
    """Those of the page that are listed, in the order in which they are listed."""
    least = max(_CONTROLS[0] - len(of_rows), 2)
    listed: Sequence[Sequence[str]] = page["controls"]
    most = min(len(listed), _CONTROLS[1] - len(of_rows))
    chosen = random.sample(list(enumerate(listed)), random.randint(min(least, most), most))
    controls = [
        Control(
            _filled(random, split, did, values), tuple(_filled(random, split, one, values) for one in says), place
        )
        for place, (did, *says) in chosen
    ]  # fmt: skip
    fields = [one for one in controls if one.parts.get("role") in ("textbox", "searchbox")]
    if fields and len(controls) + len(of_rows) < _CONTROLS[1] and random.random() < _ENTER:
        field = random.choice(fields)
        said = tuple(one.replace("{label}", field.label) for one in dealt(_texts()["plain"]["enter"], split, "plain"))
        controls.append(Control(f"press Enter in {field.parts['role']} “{field.label}”", said, field.place))
    controls += of_rows
    random.shuffle(controls)
    return _in_order(controls)


def _in_order(controls: Sequence[Control]) -> list[Control]:
    """Controls, where those with the same name come as they stand on the page."""
    same: dict[str, list[Control]] = {}
    for one in sorted(controls, key=lambda one: one.place):
        same.setdefault(one.title, []).append(one)
    return [same[one.title].pop(0) for one in controls]


def _told_apart(controls: Sequence[Control]) -> list[str]:
    """The names of controls; those that are the same are numbered, as the operator does it."""
    titles = [one.title for one in controls]
    return [
        f"{title} ({titles[: place + 1].count(title)})" if titles.count(title) > 1 else title
        for place, title in enumerate(titles)
    ]


def _shown(texts: Sequence[str], rows: Mapping[str, str], controls: Sequence[Control]) -> str:
    """What the page says, from top to bottom: texts, names of controls, rows with theirs."""
    ordered = sorted(controls, key=lambda one: one.place)
    labels = [one.label for one in ordered if not one.row and one.label]
    said = [*texts[:1], *dict.fromkeys(labels), *texts[1:]]
    for name, text in rows.items():
        said += [text, *(one.label for one in ordered if one.row == name and one.label not in text)]
    return " · ".join(said)[:_TEXT]


# -- what is said


def _asked(
    random: Random, split: Split, controls: Sequence[Control], titles: Sequence[str]
) -> list[tuple[int, tuple[str, str]]]:
    """Instructions, each with the place of the control that it means, and what it is a case of."""
    meant = [place for place, one in enumerate(controls) if one.says]
    count = random.randint(*_SIZES)
    places = (random.sample(meant, len(meant)) * count)[:count]
    asked: list[tuple[int, tuple[str, str]]] = []
    used: set[str] = set()
    for place in places:
        says = _said(random, split, controls, place, alone=titles[place] == controls[place].title)
        if says[0] not in used:
            used.add(says[0])
            asked.append((place, says))
    return asked


def _said(random: Random, split: Split, controls: Sequence[Control], place: int, *, alone: bool) -> tuple[str, str]:
    control = controls[place]
    parts = control.parts
    chance = random.random()
    if not parts or not alone or chance >= _PLAIN + _INSTEAD:
        return random.choice(control.says), "row" if control.row else "meant"
    words = {"label": control.label, "value": parts.get("value", ""), "role": _role(random, parts["role"])}
    clicked = [one.label for one in controls if one.title.startswith("click") and one.label != control.label]
    if chance < _INSTEAD and clicked and control.title.startswith("click"):
        words["other"] = random.choice(clicked)
        return _put(random.choice(dealt(_texts()["plain"]["instead"], split, "plain")), words), "instead"
    action = control.title.partition(" ")[0]
    return _put(random.choice(dealt(_texts()["plain"][action], split, "plain")), words), "named"


def _role(random: Random, role: str) -> str:
    roles: Mapping[str, Sequence[str]] = _texts()["roles"]
    return random.choice(roles[role])


def _kept(control: Control, values: Mapping[str, str]) -> tuple[str, ...]:
    """What must stay as it is in an instruction: what is typed, and names."""
    typed = control.parts.get("value", "")
    return tuple(one for one in (typed, control.row, *values.values()) if one)


# -- words


def _filled(random: Random, split: Split, template: str, values: dict[str, str]) -> str:
    """A template with its slots filled, with the values that they have already or new ones, all different."""

    def value(found: re.Match[str]) -> str:
        slot, kind = found[1].lower(), found[2].lower()
        for _ in range(_TRIES):
            if slot in values:
                break
            drawn = _value(random, split, kind)
            if drawn not in values.values():
                values[slot] = drawn
        text = values[slot]
        return text[:1].upper() + text[1:] if found[1][0].isupper() else text

    return _SLOT.sub(value, template)


def _value(random: Random, split: Split, kind: str) -> str:
    if kind in _RANGES:
        return str(random.randint(*_RANGES[kind]))
    slots: Mapping[str, Sequence[str]] = _texts()["slots"]
    if kind in slots:
        return random.choice(dealt(slots[kind], split, kind))
    match kind:
        case "t":
            return f"{random.randint(7, 22)}:{random.choice(('00', '15', '30', '45'))}"
        case "w":
            return random.choice(("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"))
        case "money":
            return f"{random.randint(3, 900)}.{random.choice(('00', '50', '90', '99'))} €"
        case "month":
            return random.choice(MONTHS)
        case "id":
            return f"T-{random.randint(100, 9999)}"
        case "date":
            return f"{random.randint(1, 28)} {random.choice(MONTHS)}"
        case "animal" | "language":
            return draw(kind, random, split).text
        case _:
            text = draw(_KINDS.get(kind, kind), random, split).text
            return " ".join(word[:1].upper() + word[1:] for word in text.split(" ")) if kind != "file" else text


def _some(random: Random, texts: Sequence[str]) -> list[str]:
    """Most of some texts, in their order."""
    return [one for one in texts if random.random() < 0.85] or list(texts[:1])


def _put(template: str, words: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: words[found[1]], template)


@cache
def _texts() -> Mapping[str, Any]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
