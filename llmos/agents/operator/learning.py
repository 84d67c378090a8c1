"""Makes a skill of a demonstration: what stands in the task's words becomes a parameter, the rest stays as it was.

Takes the demonstration as plain JSON data, the pages in it as observations. Passwords, card data and codes are not in
it: each becomes a parameter, if the words have it, or the handle of a secret. Knows no browser and no model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from llmos.agents.operator import dates
from llmos.agents.operator.lexicon import lexicon, words_of
from llmos.agents.operator.matching import echoes
from llmos.agents.operator.page import Page, Part, origin_of, plain, read_page
from llmos.agents.operator.phrases import values_in
from llmos.agents.operator.skills import Parameter, Skill, Step
from llmos.errors import ConfigError

_MANY = 3
"""A name that has so many words besides a value is known by the value alone."""

_NEAR = 60
_SHOWN = 80
_PLAIN = (
    "ok okay submit send cancel save close search next previous back continue login log sign in up out on delete reply "
    "forward button link go done yes no add to the"
)
_GENERAL = frozenset(_PLAIN.split())
"""Words of controls that do the same in every task: a name made of them is no parameter, unless it is in quotes."""


@dataclass(slots=True)
class _Words:
    """The task's words, and what of them was found to be a parameter.

    Attributes:
        taken: Where each parameter stands, by its name.
        extra: Parameters that the words don't have.
    """

    task: str
    taken: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    secret: set[str] = field(default_factory=set[str])
    extra: list[str] = field(default_factory=list[str])

    def place(self, value: str, *, exactly: bool = False) -> tuple[int, int] | None:
        """Where a value stands by itself in the words, in another case or as another way to write a date, too."""
        value = value.strip()
        if not value:
            return None
        before, after = (r"(?<!\w)" if value[0].isalnum() else ""), (r"(?!\w)" if value[-1].isalnum() else "")
        pattern = before + r"\s+".join(map(re.escape, value.split())) + after
        for flags in (0,) if exactly else (0, re.IGNORECASE):
            places = [found.span() for found in re.finditer(pattern, self.task, flags)]
            quoted = [span for span in places if self.quoted(span)]
            if places:
                return (quoted or places)[0]
        if not exactly:
            for said in values_in(self.task, 0, len(self.task)):
                if dates.same_moment(said.text, value):
                    return said.start, said.end
        return None

    def quoted(self, span: tuple[int, int]) -> bool:
        """Whether a place in the words is the whole of a quotation."""
        start, end = span
        signs = "\"“”'`«»"
        return start > 0 and end < len(self.task) and self.task[start - 1] in signs and self.task[end] in signs

    def name(self, span: tuple[int, int], wanted: str, *, secret: bool = False) -> str:
        """The parameter at a place; a new one if there is none yet. Empty where it overlaps another."""
        for known, (start, end) in self.taken.items():
            if (start, end) == span:
                return known
            if span[0] < end and start < span[1]:
                return ""
        name = self._free(wanted)
        self.taken[name] = span
        if secret:
            self.secret.add(name)
        return name

    def _free(self, wanted: str) -> str:
        plainly = "_".join(re.findall(r"[a-z0-9]+", wanted.lower()))[:24].strip("_") or "value"
        plainly = plainly if plainly[0].isalpha() else f"value_{plainly}"
        used = {*self.taken, *self.extra}
        number = 2
        name = plainly
        while name in used:
            name, number = f"{plainly}_{number}", number + 1
        return name

    def more(self, wanted: str) -> str:
        """A new parameter that the words don't have."""
        name = self._free(wanted)
        self.extra.append(name)
        return name

    def values(self) -> list[tuple[str, str]]:
        """Values that are not secret with their parameters, the longest first."""
        found = [(self.task[start:end], name) for name, (start, end) in self.taken.items() if name not in self.secret]
        return sorted(found, key=lambda one: -len(one[0]))

    def holed(self, text: str) -> str:
        """A text with parameters in place of their values."""
        for value, name in self.values():
            before, after = (r"(?<![\w{])" if value[0].isalnum() else ""), (r"(?![\w}])" if value[-1].isalnum() else "")
            text = re.sub(before + re.escape(value) + after, f"{{{name}}}", text, flags=re.IGNORECASE)
        return text

    def template(self) -> str:
        """The task with parameters in place of their values."""
        text, place = "", 0
        for name, (start, end) in sorted(self.taken.items(), key=lambda one: one[1]):
            text += self.task[place:start] + f"{{{name}}}"
            place = end
        return text + self.task[place:]

    def parameters(self) -> tuple[Parameter, ...]:
        ordered = sorted(self.taken, key=lambda one: self.taken[one])
        found = [
            Parameter(name=one, kind="secret" if one in self.secret else "words", quoted=self.quoted(self.taken[one]))
            for one in ordered
        ]
        return (*found, *(Parameter(name=one) for one in self.extra))


@dataclass(frozen=True, slots=True)
class _Act:
    """One act of a demonstration, read."""

    data: Mapping[str, Any]
    page: Page
    part: Part | None

    @property
    def action(self) -> str:
        return str(self.data["action"])

    @property
    def value(self) -> str:
        return str(self.data.get("value") or "")

    @property
    def options(self) -> tuple[str, ...]:
        return tuple(str(one) for one in self.data.get("options") or ())


def learn(name: str, demonstration: Mapping[str, Any]) -> Skill:
    """A skill from a demonstration.

    Args:
        name: What it is called.
        demonstration: The fields of the recorder's demonstration: `task`, `url`, `acts`, `end`.

    Raises:
        ConfigError: Nothing was done that could be done again.
    """
    acts = [act for one in demonstration["acts"] if (act := _read(one)) is not None]
    if not acts:
        raise ConfigError(
            "Nothing was shown that could be done again.",
            hint="Click, type or choose something on the page before you end it.",
        )
    words = _Words(str(demonstration["task"]))
    _find_parameters(words, acts)
    end = read_page(demonstration.get("end") or None)
    steps: list[Step] = []
    for number, act in enumerate(acts):
        after = acts[number + 1].page if number + 1 < len(acts) else end
        url = str(acts[number + 1].data.get("url", "")) if number + 1 < len(acts) else (end.url if end else "")
        steps.append(_step(name, words, act, after, url))
    began = str(demonstration["url"])
    visited = [origin_of(str(one.data.get("url", ""))) for one in acts] + [
        origin_of(one.part.frame) for one in acts if one.part
    ]
    others = tuple(dict.fromkeys(one for one in visited if one and one != origin_of(began)))
    return Skill(
        name=name, task=words.template(), url=began, origins=others, parameters=words.parameters(), steps=tuple(steps)
    )  # fmt: skip


def _read(data: Mapping[str, Any]) -> _Act | None:
    if data["action"] == "goto":
        return _Act(data, Page(url=str(data["url"])), None)
    page = read_page(data["page"])
    part = page.parts.get(str(data["ref"])) if page is not None else None
    return _Act(data, page, part) if page is not None and part is not None else None


# ---- Parameters


def _find_parameters(words: _Words, acts: Sequence[_Act]) -> None:
    """What of the acts stands in the task's words: what was typed first, then what was clicked, then its row."""
    for act in acts:
        part = act.part
        if part is None:
            continue
        wanted = _called(part)
        said = act.data.get("said")
        if act.data.get("private"):
            if said:
                words.name((int(said[0]), int(said[1])), wanted or "password", secret=True)
            continue
        for value in (act.value,) if act.action == "fill" else act.options:
            if (span := words.place(value)) is not None:
                words.name(span, wanted or "text")
    for act in acts:
        part = act.part
        if part is None or act.action != "click":
            continue
        span = words.place(part.name, exactly=len(part.name) < 3)
        if span is not None and (words.quoted(span) or not _is_general(part.name)):
            words.name(span, _noun(part))
    for act in acts:
        if act.part is not None and act.action != "goto":
            _row(words, act.page, act.part)


def _called(part: Part) -> str:
    """What a field is called, short enough for a name."""
    said = part.name or part.label or part.near
    kept = [one.text for one in words_of(said) if one.text not in lexicon().stop and one.text.isalnum()]
    return " ".join(kept[:2]) or part.kind


def _noun(part: Part) -> str:
    return part.role if part.role not in ("", "clickable", "img") else "name"


def _is_general(name: str) -> bool:
    said = [one.text for one in words_of(name)]
    return not said or all(one in _GENERAL for one in said)


def _row(words: _Words, page: Page, part: Part) -> None:
    """What of the task's words stands in the same row as a control that nothing else tells from its like."""
    like = _alike(page, part)
    if len(like) < 2 and not any(_stands(value, part.name) for value, _ in words.values()):
        return
    for texts in _around(page, part, words.task):
        if any(_stands(value, text) for value, _ in words.values() for text in texts):
            return
        for text in sorted(texts, key=len, reverse=True):
            span = words.place(text, exactly=len(text) < 3) if not _is_general(text) else None
            if span is not None and len(text) <= _SHOWN and words.name(span, "name"):
                return
        if found := _named_in(words, texts):
            words.name(found, "name")
            return


def _alike(page: Page, part: Part) -> list[Part]:
    """The controls that are like one: fields are told apart by what they are for, and what is clicked by its row."""
    like = [one for one in page.parts.values() if (one.role, one.tag) == (part.role, part.tag)]
    if part.editable or part.options:
        like = [one for one in like if (one.name, one.label) == (part.name, part.label)]
        if not part.name:  # then the text before it is its name
            like = [one for one in like if one.near == part.near]
    return like


def _named_in(words: _Words, texts: Sequence[str]) -> tuple[int, int] | None:
    """A capitalized word, a figure or a quotation of the task that stands in one of some texts."""
    said = [(one.start, one.end) for one in values_in(words.task, 0, len(words.task))]
    said += [one.span() for one in re.finditer(r"(?<![.!?] )(?<!^)\b[A-Z]\w+(?: [A-Z]\w+)*", words.task)]
    for start, end in said:
        value = words.task[start:end]
        if not _is_general(value) and any(_stands(value, text) for text in texts):
            return start, end
    return None


def _around(page: Page, part: Part, task: str) -> Iterable[list[str]]:
    """The texts in the structures around a control, the smallest first; what only repeats the task is left out."""
    own = [part.name] if part.name else []
    for depth in range(len(part.path), 0, -1):
        texts = [one.text for one in page.around(part.path, depth) if not _repeats(one.text, task)]
        yield own + texts
    equal = [one for one in page.parts.values() if (one.role, one.name) == (part.role, part.name)]
    if not part.path:
        before = part.near if len(equal) > 1 or not part.name else ""
        yield own + ([before] if before and not _repeats(before, task) else [])


def _repeats(text: str, task: str) -> bool:
    """Whether a text is only the task once more, as pages that set tasks show it."""
    return echoes(text, task) or plain(text) == plain(task)


def _stands(value: str, text: str) -> bool:
    """Whether a value stands by itself in a text."""
    return f" {plain(value)} " in f" {plain(text)} " if plain(value) else value in text


# ---- Steps


def _step(skill: str, words: _Words, act: _Act, after: Page | None, url: str) -> Step:
    part = act.part
    if part is None:
        return Step(action="goto", value=str(act.data["url"]), expects=f"opens {_path(str(act.data['url']))}")
    equal = [one for one in act.page.parts.values() if (one.role, one.name) == (part.role, part.name)]
    near = "" if _repeats(part.near, words.task) else part.near[:_NEAR]
    step = Step(
        action=act.data["action"],
        role=part.role,
        name=_name(words, part),
        label=words.holed(part.label),
        near=words.holed(near),
        beside=_beside(words, act.page, part),
        tag=part.tag,
        kind=part.kind,
        place=1 + next((place for place, one in enumerate(equal) if one.ref == part.ref), 0),
        among=max(1, len(equal)),
        width=round(part.box[2]),
        height=round(part.box[3]),
        value=_value(skill, words, act),
        options=tuple(_written(words, one) for one in act.options),
    )
    return replace(step, expects=_expected(words, act, part, after, url))


def _name(words: _Words, part: Part) -> str:
    """A control's name; one that says much besides a parameter, or a figure such as a price, is known by that alone."""
    holed = words.holed(part.name)
    for _, name in words.values():
        hole = f"{{{name}}}"
        rest = holed.replace(hole, "")
        if hole in holed and rest and (len(words_of(rest)) > _MANY or any(sign.isdigit() for sign in rest)):
            return ("" if holed.startswith(hole) else "…") + hole + ("" if holed.endswith(hole) else "…")
    return holed if len(holed) <= _SHOWN else holed[:_SHOWN] + "…"


def _beside(words: _Words, page: Page, part: Part) -> str:
    """The parameter that stands in the smallest structure around a control, if its own name does not have it."""
    if any(_stands(value, part.name) for value, _ in words.values()):
        return ""
    if len(_alike(page, part)) < 2:
        return ""
    for texts in _around(page, part, words.task):
        for value, name in words.values():
            if any(_stands(value, text) for text in texts):
                return f"{{{name}}}"
    return ""


def _value(skill: str, words: _Words, act: _Act) -> str:
    if act.action == "press":
        return act.value
    if act.action != "fill":
        return ""
    part = act.part
    assert part is not None
    if act.data.get("private"):
        said = act.data.get("said")
        name = words.name((int(said[0]), int(said[1])), "password", secret=True) if said else ""
        return f"{{{name}}}" if name else f"secret://{_slug(skill, part)}"
    if part.kind == "file":
        return f"{{{words.more('file')}}}"
    return _written(words, act.value)


def _slug(skill: str, part: Part) -> str:
    called = "-".join(re.findall(r"[a-z0-9]+", _called(part).lower()))[:24].strip("-") or "secret"
    return f"{skill}-{called}"


def _written(words: _Words, value: str) -> str:
    """A value with its parameter in its place, also where it is written in another way than in the words."""
    span = words.place(value)
    if span is not None:
        for name, taken in words.taken.items():
            if taken == span:
                return f"{{{name}}}"
    return words.holed(value)


# ---- Effects


def _expected(words: _Words, act: _Act, part: Part, after: Page | None, url: str) -> str:
    """What an action brought about, so that it can be looked for when it is done again."""
    chosen = act.data.get("chosen")
    if chosen is not None:
        return "chosen" if chosen else "unchosen"
    if act.action in ("fill", "select"):
        return "value"
    before = str(act.data.get("url", ""))
    if url and url.partition("#")[0] != before.partition("#")[0]:
        return f"opens {words.holed(_path(url))}"
    if after is None or after.url.partition("#")[0] != act.page.url.partition("#")[0]:
        return ""
    was = {one.text for one in act.page.texts}
    new = [
        one for one in after.texts if one.text not in was and one.text.strip() and not _repeats(one.text, words.task)
    ]
    headed = [one.text for one in new if one.role in ("heading", "dialog", "alert", "status")]
    if headed and len(headed[0]) <= _SHOWN:
        return f"shows {words.holed(headed[0])}"
    return "change" if new or len(after.parts) != len(act.page.parts) else ""


def _path(url: str) -> str:
    """Of an address, what is alike when it is opened again: not the query."""
    return urlsplit(url).path or "/"
