"""The map of what is remembered as a PNG picture, for documents and for pages without scripts.

Knows no page. The drawing library is loaded with the first picture.
"""

from __future__ import annotations

import io
import textwrap
from functools import cache
from typing import Any

import numpy as np

from llmos.memory.map_layout import Near, Neighbours, Role, Sheet, brief, groups, tail

_INK, _DIM = "#1c1e22", "#63676f"
_MARKS: dict[Role, tuple[str, str]] = {"query": ("*", _INK), "like": ("D", "#b0169a")}
_LINES = 62  # of text that the column beside the points has room for
_WIDTH = 74  # of a line, in characters


def picture(sheet: Sheet) -> bytes:
    """The picture, the same bytes for the same sheet."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(13, 8.4), dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    axes: Any = figure.add_axes((0.01, 0.02, 0.62, 0.93))
    _points(axes, sheet)
    for number, found in enumerate(sheet.neighbours):
        _highlight(axes, sheet, number, found)
    column: Any = figure.add_axes((0.645, 0.02, 0.35, 0.93))
    column.set_axis_off()
    _write(column, sheet)
    figure.text(0.012, 0.965, _drawable(sheet.title), fontsize=13, color=_INK, parse_math=False)
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _points(axes: Any, sheet: Sheet) -> None:  # noqa: ANN401  # matplotlib's types are incomplete
    by = groups(sheet.items, sheet.by)
    colours = [by.colours[group] for group in by.of]
    size = min(36.0, max(3.0, 12_000 / max(len(colours), 1)))
    points = sheet.projection.points
    axes.scatter(points[:, 0], points[:, 1], s=size, c=colours or None, alpha=0.75, linewidths=0)
    axes.set_xlim(-1.06, 1.06)
    axes.set_ylim(-1.06, 1.06)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#d9dce1")


def _highlight(axes: Any, sheet: Sheet, number: int, found: Neighbours) -> None:  # noqa: ANN401
    """Where something was asked, with a line and a number to each neighbour."""
    from matplotlib.patheffects import withStroke

    marker, colour = _MARKS[found.role]
    x, y = sheet.projection.asked[number]
    rows = {item.id: row for row, item in enumerate(sheet.items)}
    there = sheet.projection.points[np.array([rows[each.item.id] for each in found.nearest], np.int64)]
    for place in there:
        axes.plot([x, place[0]], [y, place[1]], color=colour, linewidth=0.6, alpha=0.45, zorder=3)
    axes.scatter(there[:, 0], there[:, 1], s=70, facecolors="none", edgecolors=colour, linewidths=1.3, zorder=4)
    side = (5, 4) if found.role == "query" else (5, -10)
    for rank, place in enumerate(there, 1):
        label = axes.annotate(str(rank), place, xytext=side, textcoords="offset points", fontsize=8, color=colour)
        label.set(zorder=6, path_effects=[withStroke(linewidth=2, foreground="white")])
    axes.scatter(x, y, s=260 if marker == "*" else 90, marker=marker, color=colour, edgecolors="white", zorder=5)


def _write(column: Any, sheet: Sheet) -> None:  # noqa: ANN401
    """The legend, what is nearest and the notes, one below the other."""
    by = groups(sheet.items, sheet.by)
    counts = [by.of.count(group) for group in range(len(by.names))]
    lines: list[tuple[str, str, str]] = []  # a mark, its colour, a text
    for name, colour, count in zip(by.names, by.colours, counts, strict=True):
        lines.append(("●", colour, f"{tail(name, 56)} ({count:,})"))
    rows = 1 if len(sheet.neighbours) > 1 else 2
    for found in sheet.neighbours:
        marker, colour = _MARKS[found.role]
        heading = "nearest to" if found.role == "query" else "most like"
        lines += [("", _DIM, ""), ("★" if marker == "*" else "◆", colour, f"{heading}: {brief(found.text, 56)}")]
        for rank, each in enumerate(found.nearest, 1):
            lines += _entry(rank, each, rows)
    lines.append(("", _DIM, ""))
    for note in sheet.notes:
        lines += [("", _DIM, part) for part in textwrap.wrap(note, _WIDTH)]
    if len(lines) > _LINES:
        lines = [*lines[: _LINES - 1], ("", _DIM, "…")]
    for place, (mark, colour, text) in enumerate(lines):
        y = 1 - (place + 0.7) / _LINES
        column.text(0.0, y, mark, fontsize=9, color=colour, va="center", parse_math=False)
        ink = _DIM if colour == _DIM else _INK
        column.text(0.04, y, _drawable(text), fontsize=7.6, color=ink, va="center", parse_math=False)


def _entry(rank: int, near: Near, rows: int) -> list[tuple[str, str, str]]:
    """One neighbour, in as many rows."""
    text = f"{rank:>2}  {near.cosine:.2f}  {brief(near.item.text, 400)}"
    wrapped = textwrap.wrap(text, _WIDTH, subsequent_indent=" " * 10, max_lines=rows, placeholder="…")
    return [("", _INK, line) for line in wrapped]


def _drawable(text: str) -> str:
    """A text with a box for each character that the font has no picture of."""
    known = _characters()
    return "".join(letter if ord(letter) in known else "\u25a1" for letter in text)


@cache
def _characters() -> frozenset[int]:
    from matplotlib import font_manager, ft2font

    manager: Any = font_manager
    loader: Any = ft2font
    return frozenset(loader.FT2Font(manager.findfont(manager.FontProperties())).get_charmap())
