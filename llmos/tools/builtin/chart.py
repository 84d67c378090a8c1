"""`chart`: draws figures as a PNG picture in the workspace. What was there before is kept, so that it can be undone.

Knows no data: labels and figures are given. The drawing library is loaded with the first chart.
"""

from __future__ import annotations

import io
import math
from typing import Annotated, Any, Literal

from annotated_types import MaxLen, MinLen
from pydantic import BaseModel, ConfigDict

from llmos.kernel.protocols import Access
from llmos.tools.builtin.files import put
from llmos.tools.threads import in_thread
from llmos.tools.tool import Failed, Retry, tool

MAX_POINTS = 200
_MANY = 8  # labels that stand side by side


class Figures(BaseModel):
    """What is drawn.

    Attributes:
        labels: One for each value, in the order in which they are drawn.
        title: Stands above.
        unit: What is counted, beside the axis.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: Annotated[list[Annotated[str, MaxLen(80)]], MinLen(1), MaxLen(MAX_POINTS)]
    values: Annotated[list[float], MinLen(1), MaxLen(MAX_POINTS)]
    title: Annotated[str, MaxLen(200)] = ""
    unit: Annotated[str, MaxLen(80)] = ""


@tool(
    effect="writes",
    steers=("path",),
    returns="files",
    repeatable=True,
    confined="workspace",
    seconds=60,
    parallel=1,
    examples=(
        (
            "draw a bar chart of 3 apples and 5 pears in fruit.png",
            {"path": "fruit.png", "kind": "bar", "figures": {"labels": ["apples", "pears"], "values": [3, 5]}},
        ),
        (
            "plot 1, 4, 9 as a line into squares.png",
            {"path": "squares.png", "kind": "line", "figures": {"labels": ["1", "2", "3"], "values": [1, 4, 9]}},
        ),
    ),
)
async def chart(
    access: Access,
    path: Annotated[str, "the picture, a .png file", MinLen(5), MaxLen(200)],
    kind: Annotated[Literal["bar", "line", "pie"], "how it is drawn"],
    figures: Annotated[Figures, "labels and values"],
) -> str:
    """Draw a chart of some figures and save it as a PNG picture."""
    if not path.lower().endswith(".png"):
        raise Retry(f"{path!r} does not end in .png.")
    if len(figures.labels) != len(figures.values):
        raise Retry(f"There are {len(figures.labels)} labels and {len(figures.values)} values.")
    if not all(map(math.isfinite, figures.values)):
        raise Retry("A value is no finite number.")
    if kind == "pie" and (min(figures.values) < 0 or not any(figures.values)):
        raise Retry("A pie can't show negative values, or nothing: draw bars.")
    content = await in_thread(lambda: draw(kind, figures), name="chart")
    place = await put(access, path, content)
    return f"Drew {len(figures.values)} values as a {kind} chart in {place.path} ({len(content):,} bytes)."


@chart.shows
def show_chart(path: str, kind: str, figures: Figures) -> str:
    """What will be drawn, and where."""
    rows = [f"  {label}: {value:g}" for label, value in zip(figures.labels, figures.values, strict=False)]
    more = [f"  … {len(rows) - 20} more"] if len(rows) > 20 else []
    return "\n".join([f"draw a {kind} chart in {path}: {figures.title or 'no title'}", *rows[:20], *more])


def draw(kind: str, figures: Figures) -> bytes:
    """A chart as a PNG picture, the same bytes for the same figures.

    Raises:
        Failed: The drawing library is broken.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise Failed(f"The drawing library can't be loaded: {error}.") from error

    many = len(figures.labels) > _MANY
    figure: Any = Figure(figsize=(max(6.4, min(0.35 * len(figures.labels), 30.0)), 4.8), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.add_subplot()
    if kind == "pie":
        axes.pie(figures.values, labels=[_plain(one) for one in figures.labels], autopct="%.1f%%")
    else:
        _against_axes(axes, kind, figures, many=many)
    axes.set_title(_plain(figures.title), wrap=True)
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _against_axes(axes: Any, kind: str, figures: Figures, *, many: bool) -> None:  # noqa: ANN401  # matplotlib's types are incomplete
    places = range(len(figures.labels))
    if kind == "line":
        axes.plot(places, figures.values, marker="o")
    else:
        axes.bar(places, figures.values)
    axes.set_xticks(list(places), [_plain(one) for one in figures.labels], rotation=90 if many else 0)
    axes.set_ylabel(_plain(figures.unit))
    axes.grid(visible=True, axis="y", alpha=0.3)
    axes.ticklabel_format(axis="y", style="plain", useOffset=False)


def _plain(text: str) -> str:
    """A text that is not read as a formula."""
    return text.replace("$", r"\$")
