"""What a page is to an agent: elements with handles, forms, and everything else as text. Plain data.

Knows no browser: `eyes` makes it from a page, `observation` writes it down for a model, `controls` judges it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Box = tuple[float, float, float, float]
"""Left, top, width and height in CSS pixels of the window, frames taken into account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """One thing on a page that can be acted on.

    Attributes:
        ref: Its handle, such as `e12`. It stays the same as long as the element lives, and is never given to another.
        role: As assistive technology sees it (`button`, `textbox`, `link`, `checkbox`, …); `clickable` for what only
            listens to the mouse.
        name: Its accessible name.
        value: What stands in a field; empty for passwords.
        states: Any of `disabled`, `checked`, `selected`, `expanded`, `collapsed`, `required`, `readonly`, `invalid`,
            `focused`, `pressed`, `filled` (a password field that is not empty).
        tag: Its element, in lower case.
        kind: For `input` and `button`, the type: `text`, `password`, `date`, `file`, `submit`, …
        label: What its label or placeholder says, where that is not its name; where it has no name, what else tells it
            from others: its id, class or colour.
        near: The text around it that belongs to nothing else, at most 100 characters.
        options: Of a list to choose from, the texts.
        href: Where a link leads, or a button with its own `formaction` sends its form, as an absolute URL.
        autocomplete: The attribute of that name (`cc-number`, `current-password`, …).
        form: The form that it belongs to, a key of `Observation.forms`; empty for none.
        frame: URL of the document that it is in.
        box: Where it is; all zero where it is not laid out.
        seen: It is in the window now.
        modal: It is in the dialog on top.
    """

    ref: str
    role: str
    name: str
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
    box: Box = (0.0, 0.0, 0.0, 0.0)
    seen: bool = True
    modal: bool = False


@dataclass(frozen=True, slots=True)
class Node:
    """A place in the page's tree: an element with a handle, a structure (`heading`, `list`, `row`), or text alone.

    Attributes:
        role: Empty for text alone.
        text: The text, or the structure's name.
        ref: Of an element, a key of `Observation.elements`; empty otherwise.
        level: Of a heading, 1 to 6; else 0.
        seen: Any of it is in the window now.
        modal: It is the dialog on top.
    """

    role: str
    text: str = ""
    ref: str = ""
    children: tuple[Node, ...] = ()
    level: int = 0
    seen: bool = True
    modal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A form: where it sends what.

    Attributes:
        key: Its name in `Observation.forms`.
        action: Absolute URL that it is sent to; the page's own without one.
        method: `get`, `post` or `dialog`.
        name: Its accessible name, or the heading above it.
        fields: Refs of its elements, in their order.
        text: What it says, at most 500 characters.
    """

    key: str
    action: str
    method: str
    name: str = ""
    fields: tuple[str, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A page as it was at one moment.

    Attributes:
        url, title: Of the tab's document.
        tab: Its number, from 1.
        tabs: Titles of all tabs, by number.
        root: The tree, in document order, frames in their places.
        elements: By ref, in document order.
        forms: By key.
        above, below: Pixels that are scrolled out of the window, upwards and downwards.
        notices: What happened besides, in sentences: a dialog that was answered, a download, a blocked address.
    """

    url: str
    title: str
    tab: int = 1
    tabs: Mapping[int, str] = field(default_factory=dict[int, str])
    root: tuple[Node, ...] = ()
    elements: Mapping[str, Element] = field(default_factory=dict[str, Element])
    forms: Mapping[str, Form] = field(default_factory=dict[str, Form])
    above: int = 0
    below: int = 0
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an action did.

    Attributes:
        changes: In sentences, what is different: `opened https://…`, `e4 is now checked`, `a dialog came: …`. Empty
            where nothing was seen to change.
        before, after: The page.
    """

    changes: tuple[str, ...]
    before: Observation
    after: Observation
