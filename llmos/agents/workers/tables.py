"""Tables and the questions that can be asked of them: what the analyst and its program exchange.

Knows no words; `llmos.agents.workers.asked` reads those.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from llmos.agents.programming import problem_of
from llmos.kernel.process import Branch

Function = Literal["count", "distinct", "sum", "mean", "median", "max", "min"]
Period = Literal["", "year", "quarter", "month", "week", "day"]


class WorkFailed(Exception):
    """A worker can't do its task; the message says why, for the report."""


class Column(BaseModel):
    """A column of a table.

    Attributes:
        missing: How many rows have nothing of its kind there.
        values: Its different texts, 200 at most; none for numbers and dates.
        first, last: Of dates, as YYYY-MM-DD.
        doubtful: Its dates could have day and month the other way round.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    kind: Literal["number", "date", "text"]
    missing: int = 0
    distinct: int = 0
    values: tuple[str, ...] = ()
    first: str = ""
    last: str = ""
    doubtful: bool = False


class Table(BaseModel):
    """A table as its program sees it."""

    model_config = ConfigDict(frozen=True)

    path: str
    sheet: str = ""
    sheets: tuple[str, ...] = ()
    rows: int
    columns: tuple[Column, ...]

    def of(self, *kinds: str) -> list[Column]:
        """The columns of some kinds."""
        return [one for one in self.columns if one.kind in kinds]

    def column(self, name: str) -> Column:
        """A column that is known to be there."""
        return next(one for one in self.columns if one.name == name)


class Condition(BaseModel):
    """Which rows count.

    Attributes:
        test: `is`, `not`: one of the values; `in`: a date in one of the periods (2025, 2025-Q1, 2025-03, 2025-03-04;
            `*` for any year); `over`, `under`, `from`, `to`: a number.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: str
    test: Literal["is", "not", "in", "over", "under", "from", "to"]
    values: tuple[str, ...]


class Query(BaseModel):
    """A question that can be computed.

    Attributes:
        function: Of the column's values in each group; `count` of rows.
        times: A column by which each value is multiplied first.
        by: The column whose values make groups; with `period`, its dates' periods do. Empty for one group.
        share: The value as a part of that of the whole table.
        order, top: Only the groups with most or least, so many of them; 0 for all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    sheet: str = ""
    function: Function
    column: str = ""
    times: str = ""
    by: str = ""
    period: Period = ""
    filters: tuple[Condition, ...] = ()
    share: bool = False
    order: Literal["", "most", "least"] = ""
    top: int = 0


@cache
def program(name: str) -> str:
    """The text of a program for the sandbox."""
    return (Path(__file__).with_name("programs") / f"{name}.py").read_text(encoding="utf-8")


async def run_program(branch: Branch, name: str, order: dict[str, Any], *, seconds: int = 30) -> Any:  # noqa: ANN401  # JSON data
    """Run one of our programs in the sandbox on an order, and give what it printed last.

    Raises:
        WorkFailed: It failed; the message is its last line.
        Denied, BudgetExceeded, LoopDetected: See `Branch.act`.
    """
    code = f"{program(name)}\nmain(json.loads({json.dumps(json.dumps(order))}))\n"
    result = await branch.act("compute", {"code": code, "seconds": seconds})
    lines = result.text.strip().splitlines()
    if result.failed:
        raise WorkFailed(problem_of(result))
    try:
        return json.loads(lines[-1])
    except (ValueError, IndexError):
        raise WorkFailed("The program printed something else than a result.") from None


async def look_at(branch: Branch, path: str, sheet: str = "") -> Table:
    """What a file holds.

    Raises:
        WorkFailed: It can't be read as a table.
    """
    data = await run_program(branch, "table", {"do": "profile", "path": path, "sheet": sheet})
    return Table(path=path, sheet=sheet, **data)
