"""What a part of an instruction says of a control: its name, role, place, and what it stands beside; and values.

Knows no page.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from llmos.agents.operator.lexicon import lexicon, ordinal_of, words_of
from llmos.agents.spans import of_kind

HIDDEN = "¤"
"""Stands for each character of what is in quotes, in a text whose clauses are looked for."""

_SECRET = re.compile(r"secret://[\w.-]+")
_NAMED = re.compile(
    r"\b(?:labell?ed|named|called|titled|marked|reading|that says|which says|saying"
    r"|with the (?:text|label|name|title|words?))\s+",
    re.I,
)
_BESIDE = re.compile(
    r"\s*\b(?P<how>next to|beside|near|close to|to the (?:left|right) of|below|under|above|after|before|belonging to"
    r"|for|of|from|by|in|on|within|inside|at|with|containing|corresponding to)\s+",
    re.I,
)
_PLACE = re.compile(r"(?:the\s+)?(?:very\s+)?(?:left|right|top|bottom|middle|center|centre)\b(?!\s+of\b)", re.I)
_PAIR = re.compile(r"\([^()]*\d[^()]*\)")
_MAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+")
_FIGURE = re.compile(r"(?<![\w.,:/#-])[-\u2212+]?[$€£]?\d[\d,]*(?:\.\d+)?%?(?![\w:/]|[.,]\d)")
_MOMENT = re.compile(r"\b\d{1,4}[/.-]\d{1,2}[/.-]\d{1,4}\b|\b\d{1,2}:\d{2}(?::\d{2})?(?:\s?[ap]\.?m\b\.?)?", re.I)


@dataclass(frozen=True, slots=True)
class Said:
    """A value that stands in the task.

    Attributes:
        text: It, without quotes.
        start, end: Where it stands.
        quoted: It stands in quotes.
    """

    text: str
    start: int
    end: int
    quoted: bool = False

    @property
    def outer(self) -> tuple[int, int]:
        """Where it stands with its quotes."""
        return (self.start - 1, self.end + 1) if self.quoted else (self.start, self.end)


@dataclass(frozen=True, slots=True)
class Target:
    """What words say of a control.

    Attributes:
        text: The words.
        start: Where they begin in the task.
        names: What stands in quotes, or after `called`.
        words: What else may be a part of its name.
        roles: What roles it may have; empty where the words don't say.
        tag: The element that it must be, where the words say that.
        ordinal: Which one of those that fit, from 1; negative from the end.
        places: `top`, `left`, …
        size: 1 for a large one, -1 for a small one.
        traits: Colours and shapes.
        beside: What it stands beside or belongs to.
        fields: What it is for, of a field: `password`, `date`.
        url: An address.
    """

    text: str = ""
    start: int = 0
    names: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    roles: frozenset[str] = frozenset()
    tag: str = ""
    ordinal: int | None = None
    places: tuple[str, ...] = ()
    size: int = 0
    traits: frozenset[str] = frozenset()
    beside: str = ""
    fields: tuple[str, ...] = ()
    url: str = ""
    said: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing is said."""
        return not (self.names or self.words or self.roles or self.ordinal or self.places or self.fields or self.url)

    @property
    def names_field(self) -> bool:
        """Whether it is said to be a field, or what one is for."""
        return bool(self.fields or self.roles & {"textbox", "searchbox", "combobox", "spinbutton", "slider"})


NOTHING = Target()
"""No words at all."""


def mask(task: str) -> str:
    """A task with what is in quotes, addresses and secrets hidden, each character for itself."""
    hidden = list(task)
    for start, end in _kept(task):
        hidden[start:end] = HIDDEN * (end - start)
    return "".join(hidden)


def _kept(task: str) -> list[tuple[int, int]]:
    found = [(one.start - 1, one.end + 1) for one in of_kind(task, "quoted")]
    found += [(one.start, one.end) for one in of_kind(task, "url")]
    found += [match.span() for match in _SECRET.finditer(task)]
    found += [match.span() for match in _MAIL.finditer(task)]
    return sorted(found)


def values_in(task: str, start: int, end: int) -> list[Said]:
    """What stands in a part of a task and can only be a value: quotes, secrets, addresses, dates, times, figures."""
    found = [Said(one.text, one.start, one.end, quoted=True) for one in of_kind(task, "quoted")]

    def add(matches: Sequence[re.Match[str]]) -> None:
        for match in matches:
            if not any(one.outer[0] < match.end() and match.start() < one.outer[1] for one in found):
                found.append(Said(match[0], *match.span()))

    add(list(_SECRET.finditer(task)))
    add(list(_MAIL.finditer(task)))
    add(list(_MOMENT.finditer(task)))
    for one in of_kind(task, "date"):
        if any(sign.isdigit() for sign in one.text) and not any(
            known.outer[0] < one.end and one.start < known.outer[1] for known in found
        ):
            found.append(Said(one.text, one.start, one.end))
    inside = [one for one in found if start <= one.start and one.end <= end]
    if not inside:
        add(list(_FIGURE.finditer(task)))
        inside = [one for one in found if start <= one.start and one.end <= end]
    return sorted(inside, key=lambda one: one.start)


def target_of(task: str, start: int, end: int) -> Target:
    """What a part of a task says of a control."""
    text = task[start:end]
    masked = mask(task)[start:end]
    names = tuple(one.text for one in of_kind(task, "quoted") if start <= one.start - 1 and one.end + 1 <= end)
    url = next((one.text for one in of_kind(task, "url") if start <= one.start and one.end <= end), "")
    masked = _without_purpose(masked)
    beside, cut = _beside(text, masked)
    outside = names
    if beside:
        names = tuple(
            one.text for one in of_kind(task, "quoted") if start <= one.start - 1 and one.end + 1 <= start + cut
        )
        masked = masked[:cut]
    if not names and (match := _NAMED.search(masked)):
        called = text[match.end() : len(masked)].strip().strip(".,;:")
        if called:
            names, masked = (called,), masked[: match.start()]
    if not names and outside and (match := _NAMED.search(beside)) and beside[match.end() :][:1] in "\"'“`«":
        names, beside = outside, beside[: match.start()].strip()  # the name of the control, not of its place
    if not names and not beside and (match := _PAIR.search(masked)):
        names = (match[0],)
        masked = masked[: match.start()] + " " * len(match[0]) + masked[match.end() :]
    if not names and outside and not _content(masked):
        names, beside = outside, ""  # the quote is all there is
    return _described(text, masked, start, names, beside, url)


def _without_purpose(masked: str) -> str:
    """A phrase without what the control is for: `the star icon to mark it as important`."""
    for match in re.finditer(r"\s+to\s+(\w+)", masked, re.I):
        before = words_of(masked[: match.start()])
        said = HIDDEN in masked[: match.start()] or any(one.text in lexicon().roles for one in before)
        if said and match[1].lower() in lexicon().verbs:
            return masked[: match.start()]
    return masked


def _content(masked: str) -> bool:
    known = lexicon()
    return any(
        one.text not in known.stop and (one.text not in known.roles or known.roles[one.text])
        for one in words_of(masked)
        if HIDDEN not in one.text
    )


def _beside(text: str, masked: str) -> tuple[str, int]:
    """What a control is said to stand beside, and where that begins."""
    for match in _BESIDE.finditer(masked):
        before = masked[: match.start()]
        rest = text[match.end() :].strip().strip(".,;:")
        if _PLACE.match(rest):
            continue
        if rest and (_content(before) or HIDDEN in before):
            return rest, match.start()
    return "", len(text)


def _described(text: str, masked: str, start: int, names: tuple[str, ...], beside: str, url: str) -> Target:
    known = lexicon()
    words: list[str] = []
    roles: frozenset[str] = frozenset()
    tag, ordinal, size = "", None, 0
    places: list[str] = []
    traits: set[str] = set()
    fields: list[str] = []
    spoken = [one for one in words_of(masked) if HIDDEN not in one.text]
    shouted = {one.text for one in spoken if masked[one.start : one.end].isupper() and one.end - one.start > 1}
    said = [one.text for one in spoken]
    for place, word in enumerate(said):
        last = place == len(said) - 1 or not any(one not in known.stop for one in said[place + 1 :])
        if (number := ordinal_of(word)) is not None and ordinal is None:
            ordinal = number
        elif word in known.roles and (last or known.roles[word] or not names):
            if known.roles[word]:
                roles = known.roles[word]
                tag = known.tags.get(word, "")
            if word not in ("button", "link", "text", "word", "element", "widget"):
                words.append(word)
        elif word in known.places:
            places.append(known.places[word])
            words.append(word)
        elif word in known.sizes:
            size = known.sizes[word]
            words.append(word)
        elif word not in known.stop or word in shouted:
            words.append(word)
            if word in known.colours or word in known.shapes or word.rstrip("s") in known.shapes:
                traits.add(word)
        if word in known.fields:
            fields.append(word)
    return Target(
        text=text.strip(), start=start, names=names, words=tuple(words), roles=roles, tag=tag, ordinal=ordinal,
        places=tuple(places), size=size, traits=frozenset(traits), beside=beside, fields=tuple(fields), url=url,
        said=tuple(said),
    )  # fmt: skip
