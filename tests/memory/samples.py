"""Items for tests."""

from __future__ import annotations

from typing import Any

from llmos.memory.items import NewItem


def item(text: str, **more: Any) -> NewItem:  # noqa: ANN401 - any field of an item
    """Something of ann's, from a file of hers."""
    fields: dict[str, Any] = {"tenant": "ann", "kind": "passage", "label": "files", **more}
    return NewItem(text=text, **fields)
