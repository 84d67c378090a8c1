"""Pages for tests, as the browser's tools give them: written as lists of elements and texts."""

from __future__ import annotations

from typing import Any

from llmos.agents.operator.page import Page, read_page

URL = "https://shop.example/list"


def element(ref: str, role: str, name: str = "", **more: object) -> dict[str, Any]:
    """An element; `box` and the like go into `more`."""
    return {"ref": ref, "role": role, "name": name, **more}


def text(said: str, role: str = "", *children: dict[str, Any], **more: object) -> dict[str, Any]:
    """A text or a structure."""
    return {"role": role, "text": said, "children": list(children), **more}


def shown(ref: str, said: str = "", role: str = "button") -> dict[str, Any]:
    """An element's place in the tree."""
    return {"role": role, "text": said, "ref": ref}


def value(
    elements: list[dict[str, Any]],
    root: list[dict[str, Any]] | None = None,
    *,
    changes: tuple[str, ...] = (),
    url: str = URL,
    **more: object,
) -> dict[str, Any]:
    """What a tool gives back; without a tree the elements stand one below the other."""
    tree = root if root is not None else [shown(one["ref"], one["name"], one["role"]) for one in elements]
    known = {one["ref"]: one for one in elements}
    page = {"url": url, "title": "Shop", "elements": known, "root": tree, "forms": {}, **more}
    return {"page": page, "changes": list(changes)}


def page(elements: list[dict[str, Any]], root: list[dict[str, Any]] | None = None) -> Page:
    """The same, read."""
    found = read_page(value(elements, root))
    assert found is not None
    return found
