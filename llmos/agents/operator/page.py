"""A page as the browser's tools give it in their results, read for the operator: parts with handles, texts, places.

What is expected of a result's `value` (JSON): `page`, the fields of the browser's observation by their own names
(`url`, `title`, `tab`, `tabs`, `root`, `elements`, `forms`, `above`, `below`, `notices`); for an action also `changes`,
sentences on what is different; for one that failed `reason`, in a word. Knows no browser: agents see only such data.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

Box = tuple[float, float, float, float]
FIELDS = frozenset({"textbox", "searchbox", "combobox", "spinbutton", "slider"})
"""Roles of what takes a value."""

CHOICES = frozenset({"checkbox", "radio", "switch", "menuitemcheckbox", "menuitemradio", "option"})
"""Roles of what is chosen or not."""

ROWS = frozenset({"row", "listitem", "article", "treeitem", "group", "region", "option"})
"""Structures that hold what belongs together."""

_DEEPEST = 10
_UNTYPED = frozenset({"button", "submit", "reset", "image", "checkbox", "radio", "hidden", "file"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One thing on a page that can be acted on.

    Attributes:
        ref: Its handle.
        order: Its place in the document, from 0.
        at: Its place among all that the page shows, texts too; -1 where it stands nowhere.
        path: The structures around it, outermost first, as places in the tree.
        origin: That of its frame, to be named in every action on it.
        box: Left, top, width, height, in CSS pixels of the window; all zero where it is not laid out.

    The other attributes are those of the browser's element.
    """

    ref: str
    order: int = 0
    at: int = -1
    path: tuple[int, ...] = ()
    role: str = ""
    name: str = ""
    value: str = ""
    states: frozenset[str] = frozenset()
    tag: str = ""
    kind: str = ""
    label: str = ""
    near: str = ""
    options: tuple[str, ...] = ()
    href: str = ""
    autocomplete: str = ""
    form: str = ""
    frame: str = ""
    origin: str = ""
    box: Box = (0.0, 0.0, 0.0, 0.0)
    seen: bool = True
    modal: bool = False

    @property
    def editable(self) -> bool:
        """Whether text can be typed into it."""
        typed = self.tag == "textarea" or (self.tag == "input" and self.kind not in _UNTYPED)
        return (self.role in FIELDS - {"slider"} and self.tag != "select") or typed or self.role == "textbox"

    @property
    def chosen(self) -> bool:
        """Whether it is checked or selected."""
        return bool(self.states & {"checked", "selected", "pressed"})

    @property
    def called(self) -> str:
        """What it says of itself, for people."""
        said = self.name or self.label or self.value or self.near[:40]
        return f"{self.role or self.tag} “{said}”" if said else f"{self.role or self.tag} {self.ref}"


@dataclass(frozen=True, slots=True)
class Text:
    """Text on the page, or a structure's name.

    Attributes:
        role: Empty for text alone; otherwise `heading`, `cell`, `row`, …
        ref: Of the part that says it; empty for other text.
        path: The structures around it, outermost first.
        at: Its place among all that the page shows.
    """

    text: str
    role: str = ""
    ref: str = ""
    path: tuple[int, ...] = ()
    at: int = 0


@dataclass(frozen=True, slots=True)
class Structure:
    """A structure with what it holds: a row, a list item, a dialog.

    Attributes:
        path: The structures around it and itself.
    """

    role: str
    name: str
    path: tuple[int, ...]
    modal: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """A page as it was after an action.

    Attributes:
        parts: By ref, in document order.
        texts: All that it says, in document order.
        structures: In document order.
        forms: By key: name, action, method, fields.
        changes: What the last action changed, in sentences.
        twins: For the ref of a part, that of one which lies in it and says the same.
        wraps: Refs of those that only hold others which have names of their own.
    """

    url: str = ""
    title: str = ""
    tab: int = 1
    tabs: Mapping[int, str] = field(default_factory=dict[int, str])
    parts: Mapping[str, Part] = field(default_factory=dict[str, Part])
    texts: tuple[Text, ...] = ()
    structures: tuple[Structure, ...] = ()
    forms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    above: int = 0
    below: int = 0
    notices: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    twins: Mapping[str, str] = field(default_factory=dict[str, str])
    wraps: frozenset[str] = frozenset()

    @property
    def state(self) -> str:
        """What makes it another page or state for the guard against going in circles."""
        said = [f"{one.ref}{one.value}{sorted(one.states - {'focused'})}" for one in self.parts.values()]
        return f"{self.url} {self.tab} {self.above} {' '.join(said)} {hash(tuple(one.text for one in self.texts))}"

    @property
    def modal(self) -> bool:
        """Whether a dialog lies over everything else."""
        return any(one.modal for one in self.parts.values())

    def inner(self, part: Part) -> Part:
        """The innermost part that says the same and lies within it: what a click on it is really for."""
        ref = part.ref
        for _ in range(_DEEPEST):
            if ref not in self.twins:
                break
            ref = self.twins[ref]
        return self.parts.get(ref, part)

    def around(self, path: Sequence[int], depth: int) -> list[Text]:
        """The texts inside the structure that is `depth` deep on a path."""
        prefix = tuple(path[:depth])
        return [one for one in self.texts if one.path[:depth] == prefix]


def read_page(value: Any) -> Page | None:  # noqa: ANN401  # JSON data of a tool
    """A page in a result's value; None if there is none."""
    if not isinstance(value, Mapping):
        return None
    data: Any = value.get("page", value)  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    if not isinstance(data, Mapping) or "elements" not in data:
        return None
    whole: Mapping[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
    return _page(data, whole)  # pyright: ignore[reportUnknownArgumentType]


def _page(data: Mapping[str, Any], whole: Mapping[str, Any]) -> Page:
    walk = _Walk()
    for node in data.get("root") or ():
        walk.node(node, ())
    given = data["elements"]
    listed: Sequence[Mapping[str, Any]] = list(given.values()) if isinstance(given, Mapping) else list(given)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    url = str(data.get("url", ""))
    parts = {str(one["ref"]): _part(one, order, walk, url) for order, one in enumerate(listed)}
    return Page(
        url=url,
        title=str(data.get("title", "")),
        tab=int(data.get("tab", 1)),
        tabs={int(number): str(title) for number, title in dict(data.get("tabs") or {}).items()},
        parts=parts,
        texts=tuple(walk.texts),
        structures=tuple(walk.structures),
        forms=dict(data.get("forms") or {}),
        above=int(data.get("above", 0)),
        below=int(data.get("below", 0)),
        notices=tuple(str(one) for one in data.get("notices") or ()),
        changes=tuple(str(one) for one in whole.get("changes") or ()),
        twins=_twins(parts.values()),
        wraps=_wraps(parts.values()),
    )


def _twins(parts: Iterable[Part]) -> dict[str, str]:
    by_name: dict[str, list[Part]] = {}
    for part in parts:
        if name := plain(part.name):
            by_name.setdefault(name, []).append(part)
    found: dict[str, str] = {}
    for same in by_name.values():
        for outer, inner in pairwise(same):  # what is inside comes right after it
            if _within(inner.box, outer.box):
                found[outer.ref] = inner.ref
    return found


def _wraps(parts: Collection[Part]) -> frozenset[str]:
    named = [one for one in parts if one.name]
    found: set[str] = set()
    for outer in named:
        if outer.role in ("clickable", "listitem", "row", "group"):
            held = (
                one is not outer and one.name != outer.name and one.name in outer.name and _within(one.box, outer.box)
                for one in named
            )  # fmt: skip
            if sum(held) > 1:
                found.add(outer.ref)
    return frozenset(found)


class _Walk:
    """Goes through the tree of an observation once."""

    def __init__(self) -> None:
        self.texts: list[Text] = []
        self.structures: list[Structure] = []
        self.paths: dict[str, tuple[int, ...]] = {}
        self.places: dict[str, int] = {}
        self._number = self._at = 0

    def node(self, node: Mapping[str, Any], path: tuple[int, ...]) -> None:
        role, ref, text = str(node.get("role", "")), str(node.get("ref", "")), str(node.get("text", ""))
        children: Sequence[Mapping[str, Any]] = node.get("children") or ()
        self._at += 1
        if children:
            self._number += 1
        inside = (*path, self._number) if children else path
        if ref:
            self.paths[ref], self.places[ref] = path, self._at
        if text.strip():
            self.texts.append(Text(" ".join(text.split()), role, ref, inside, self._at))
        if not children:
            return
        self.structures.append(Structure(role, text, inside, bool(node.get("modal")) and role in ("dialog", "")))
        for child in children:
            self.node(child, inside)


def _part(data: Mapping[str, Any], order: int, walk: _Walk, url: str) -> Part:
    ref = str(data["ref"])
    frame = str(data.get("frame") or url)
    box = tuple(float(one) for one in data.get("box") or (0, 0, 0, 0))
    return Part(
        ref=ref,
        order=order,
        at=walk.places.get(ref, -1),
        path=walk.paths.get(ref, ()),
        role=str(data.get("role", "")),
        name=_flat(data.get("name")),
        value=str(data.get("value") or ""),
        states=frozenset(str(one) for one in data.get("states") or ()),
        tag=str(data.get("tag", "")),
        kind=str(data.get("kind", "")),
        label=_flat(data.get("label")),
        near=_flat(data.get("near")),
        options=tuple(str(one) for one in data.get("options") or ()),
        href=str(data.get("href", "")),
        autocomplete=str(data.get("autocomplete", "")),
        form=str(data.get("form", "")),
        frame=frame,
        origin=str(data.get("origin") or origin_of(frame)),
        box=box if len(box) == 4 else (0.0, 0.0, 0.0, 0.0),
        seen=bool(data.get("seen", True)),
        modal=bool(data.get("modal", False)),
    )


def _flat(text: object) -> str:
    return " ".join(str(text or "").split())


def origin_of(url: str) -> str:
    """Scheme, host and port of an address as a browser gives it; empty for one without a host."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower()
    return f"{parts.scheme}://{host}" if host and parts.scheme in ("http", "https") else ""


def _within(inner: Box, outer: Box) -> bool:
    """Whether a box lies within another one; a pixel more does not count."""
    if not inner[2] or not outer[2]:
        return False
    return (
        inner[0] >= outer[0] - 1 and inner[1] >= outer[1] - 1
        and inner[0] + inner[2] <= outer[0] + outer[2] + 1 and inner[1] + inner[3] <= outer[1] + outer[3] + 1
    )  # fmt: skip


_ENDS = re.compile(r"^[.-]+(?!\d)|(?<!\d)-+$|\.+$|-+$")
_SIGNS = re.compile(r"[^\w\s#@$€£%+.-]+")


def plain(text: str) -> str:
    """A text for comparison: one case, no punctuation, single blanks."""
    return " ".join(_ENDS.sub("", word) or word for word in _SIGNS.sub(" ", text.casefold()).split())
