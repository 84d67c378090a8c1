"""The map of what is remembered as one HTML page that needs nothing else.

Texts in memory are hostile: a template that escapes by itself puts them in, scripts reach them as data and write them
as text, and the page's policy lets no script run but its own, by its hash. Knows no projection.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from llmos.memory.map_layout import Groups, Near, Sheet, brief, groups, place_of, tail
from llmos.memory.places import named

_LONGEST = 300  # characters of a text that the page shows at a point
_LISTED = 160  # and in a list


def page(sheet: Sheet, png: bytes) -> str:
    """The whole page.

    Args:
        png: The picture, for browsers without scripts.
    """
    from jinja2 import Environment, StrictUndefined

    source = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
    script = source.partition("<script>{% raw %}")[2].partition("{% endraw %}</script>")[0]
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment.from_string(source).render(
        title=sheet.title,
        notes=sheet.notes,
        by=sheet.by,
        neighbours=_neighbours(sheet),
        digest=base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii"),
        png=base64.b64encode(png).decode("ascii"),
        data=_data(sheet),
    )


def _neighbours(sheet: Sheet) -> list[dict[str, Any]]:
    """What is nearest to what, as it stands in the page without scripts too."""
    rows = {item.id: row for row, item in enumerate(sheet.items)}
    return [
        {
            "role": found.role,
            "text": brief(found.text, _LISTED),
            "nearest": [
                {
                    "row": rows[each.item.id],
                    "cosine": f"{each.cosine:.2f}",
                    "text": brief(each.item.text, _LISTED),
                    "source": _where(each),
                }
                for each in found.nearest
            ],
        }
        for found in sheet.neighbours
    ]


def _where(near: Near) -> str:
    return " · ".join(part for part in (tail(named(near.item.source), 80), place_of(near.item)) if part)


def _data(sheet: Sheet) -> dict[str, Any]:
    """What the script gets: columns, so that 20,000 points are a few megabytes."""
    sources = list(dict.fromkeys(item.source for item in sheet.items))
    number = {source: place for place, source in enumerate(sources)}
    points = sheet.projection.points.round(4)
    rows = {item.id: row for row, item in enumerate(sheet.items)}
    return {
        "by": sheet.by,
        "x": points[:, 0].tolist(),
        "y": points[:, 1].tolist(),
        "texts": [brief(item.text, _LONGEST) for item in sheet.items],
        "sources": [tail(named(source), 200) for source in sources],
        "source": [number[item.source] for item in sheet.items],
        "places": [place_of(item) for item in sheet.items],
        "kinds": [item.kind for item in sheet.items],
        "labels": [item.label for item in sheet.items],
        "groups": {"source": _group(groups(sheet.items, "source")), "kind": _group(groups(sheet.items, "kind"))},
        "asked": [
            {
                "role": found.role,
                "x": round(float(place[0]), 4),
                "y": round(float(place[1]), 4),
                "rows": [rows[each.item.id] for each in found.nearest],
            }
            for found, place in zip(sheet.neighbours, sheet.projection.asked, strict=True)
        ],
    }


def _group(by: Groups) -> dict[str, Any]:
    return {"names": [tail(name, 120) for name in by.names], "colours": by.colours, "of": by.of}
