"""An observation as JSON data, as programs get it in a tool's result; what has its usual value is left out.

Knows no browser and no tool.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from llmos.tools.browser.elements import Element, Form, Node, Observation

MAX_NODES = 4_000
"""More of a page's tree is left out, what is out of view first."""

_USUAL: dict[str, Any] = {field.name: field.default for kind in (Element, Form, Node) for field in fields(kind)} | {
    "states": frozenset[str](),
    "children": (),
}


def as_data(page: Observation, *, origin: Callable[[Element], str], most: int = MAX_NODES) -> dict[str, Any]:
    """A page as JSON data: the fields of `Observation` by their own names.

    Args:
        page: The page.
        origin: Of the document that an element is in; each element has it as `origin`.
        most: Nodes of the tree, at most.
    """
    only_seen = _count(page.root) > most
    left = [most]
    root = [data for node in page.root if (data := _node(node, left, only_seen=only_seen)) is not None]
    elements = {
        ref: _fields(element, frame=page.url) | {"origin": origin(element)}
        for ref, element in page.elements.items()
        if not only_seen or element.seen or element.modal
    }
    return {
        "url": page.url,
        "title": page.title,
        "tab": page.tab,
        "tabs": {str(number): title for number, title in page.tabs.items()},
        "root": root,
        "elements": dict(list(elements.items())[:most]),
        "forms": {key: _fields(form) for key, form in page.forms.items()},
        "above": page.above,
        "below": page.below,
        "notices": list(page.notices),
        **({"cut": True} if only_seen else {}),
    }


def _count(nodes: Sequence[Node]) -> int:
    left, count = list(nodes), 0
    while left:
        count += 1
        left += left.pop().children
    return count


def _node(node: Node, left: list[int], *, only_seen: bool) -> dict[str, Any] | None:
    if left[0] <= 0 or (only_seen and not (node.seen or node.modal)):
        return None
    left[0] -= 1
    data = _fields(node)
    inner = [found for child in node.children if (found := _node(child, left, only_seen=only_seen)) is not None]
    return {**data, "children": inner} if inner else data


def _fields(part: Element | Form | Node, *, frame: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in fields(part):
        name, value = field.name, getattr(part, field.name)
        if name == "children" or value == _USUAL[name] or (name == "frame" and value == frame):
            continue
        found[name] = _json(value)
    return found


def _json(value: Any) -> Any:  # noqa: ANN401 - of any field
    if isinstance(value, frozenset):
        return sorted(map(str, value))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return list(value) if isinstance(value, tuple) else value  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
