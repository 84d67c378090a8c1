"""Colours that a page gives as figures, in the words that people use. Knows no page."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Sequence
from functools import lru_cache

_MIXED = re.compile(r"rgba?\(\s*(\d+)[,\s]+(\d+)[,\s]+(\d+)|#([0-9a-f]{6}|[0-9a-f]{3})\b", re.IGNORECASE)
_HUES: Sequence[tuple[int, tuple[str, ...]]] = (
    (15, ("red",)), (45, ("orange", "brown")), (70, ("yellow", "olive", "gold")), (165, ("green", "lime")),
    (195, ("cyan", "aqua", "teal")), (260, ("blue", "navy")), (290, ("purple", "violet")),
    (345, ("magenta", "pink", "fuchsia", "purple")), (361, ("red", "maroon")),
)  # fmt: skip
"""Names of colours by their hue, each up to so many degrees."""


@lru_cache(maxsize=4096)
def colours_in(text: str) -> frozenset[str]:
    """The colours that a text gives as figures, in words: `rgb(200, 30, 30)` is red."""
    found: set[str] = set()
    for match in _MIXED.finditer(text):
        if match[4]:
            digits = match[4] if len(match[4]) == 6 else "".join(2 * digit for digit in match[4])
            mixed = [int(digits[place : place + 2], 16) for place in (0, 2, 4)]
        else:
            mixed = [int(match[place]) for place in (1, 2, 3)]
        hue, light, full = colorsys.rgb_to_hls(*(min(one, 255) / 255 for one in mixed))
        if light < 0.08 or light > 0.95 or full < 0.12:
            found.update({"black"} if light < 0.25 else {"white"} if light > 0.9 else {"gray", "grey", "silver"})
        else:
            found.update(next(names for bound, names in _HUES if hue * 360 < bound))
    return frozenset(found)
