"""The analyst: answers questions about CSV and Excel files, and draws charts of the answers.

The question is read into a small query (`asked`), the model is put between columns where the words leave it open, a
program in the sandbox computes the answer, and SQLite computes it again. What the query language can't say is refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from llmos.agents.plan import Check
from llmos.agents.report import Report, Source
from llmos.agents.spans import of_kind
from llmos.agents.vocabulary import concepts
from llmos.agents.workers.asked import Asked, chart_of, read
from llmos.agents.workers.reporting import Inputs, as_json, earlier_of, effect, task_id_of
from llmos.agents.workers.tables import Query, Table, WorkFailed, look_at, run_program
from llmos.agents.workers.worker import Worker
from llmos.errors import BadArguments, NobodyThere
from llmos.kernel.entry import Profile
from llmos.kernel.process import Process
from llmos.messages import Context, Message

TABLES = (".csv", ".tsv", ".xlsx", ".xlsm")
SHOWN = 20
SURE = 0.6
"""Below this share of the model's choice between columns, the user is asked."""

MAX_DRAWN = 200
_NAMES = {"sum": "total", "mean": "mean", "median": "median", "max": "largest", "min": "smallest"}


async def work(process: Process, task: str, inputs: dict[str, Any] | None = None) -> dict[str, Any]:
    """Answers questions about CSV and Excel files, exactly, and draws charts of the answers.

    Args:
        process: The process that runs it.
        task: The question, in words.
        inputs: `path` of the file, where the words don't name it; and see `llmos.agents.workers`.

    Returns:
        A `Report`; its value has the `query`, the `rows` it came to (label and figure), and how many rows it `used`.
    """
    try:
        return as_json(await _Analysis(process, task, inputs).report())
    except WorkFailed as error:
        return as_json(Report(task_id=task_id_of(inputs), agent="analyst", outcome="failed", reasons=(str(error),)))


class _Analysis:
    """One question."""

    def __init__(self, process: Process, task: str, inputs: Inputs) -> None:
        self.process, self.task, self.inputs = process, task, inputs
        self.id = task_id_of(inputs)
        self.notes: list[str] = []
        self.confidence = 1.0

    async def report(self) -> Report:
        before = _with_rows(earlier_of(self.inputs))
        chart, where = chart_of(self.task)
        path = self._path_said()
        if before is not None and chart and not path:
            drawn = await self._draw(before.value, chart, where, before.text)
            return self._report(before.value, before.text, before.sources, drawn)
        table = await look_at(self.process, path or await self._find_file(), str((self.inputs or {}).get("sheet", "")))
        table = await self._sheet(table)
        asked = read(self.task, table)
        if asked.query is None:
            raise WorkFailed("What shall the chart show? Please say which figures, and by what.")
        self.notes += asked.notes
        if len(asked.unread) > 1 or (asked.unread and not asked.unclear):
            self.notes.append(f"I made nothing of: {', '.join(dict.fromkeys(asked.unread))}.")
            self.confidence = min(self.confidence, 0.5)
        query = await self._settled(asked, table)
        value = await self._computed(query)
        text = told(query, value["rows"], value["used"])
        drawn = await self._draw(value, asked.chart, asked.chart_path, _heading(query)) if asked.chart else ()
        rows = "row" if value["used"] == 1 else "rows"
        source = Source(place=table.path, quote=f"{value['used']:,} of {table.rows:,} {rows}")
        return self._report(value, text, (source,), drawn)

    def _report(self, value: Any, text: str, sources: tuple[Source, ...], drawn: tuple[str, ...]) -> Report:  # noqa: ANN401  # JSON data
        if drawn:
            text = f"{text}\nChart: {', '.join(drawn)}".strip()
        return Report(
            task_id=self.id, agent="analyst", outcome="done", value=value, text=text, sources=sources,
            artifacts=drawn, confidence=self.confidence, reasons=tuple(self.notes),
        )  # fmt: skip

    # -- the file

    def _path_said(self) -> str:
        """The table that the words or the inputs name."""
        said = [one.text for one in of_kind(self.task, "path") if one.text.lower().endswith(TABLES)]
        return said[0] if said else str((self.inputs or {}).get("path", ""))

    async def _find_file(self) -> str:
        """The only table here, or the one whose name shares most words with the question."""
        found: list[str] = []
        for ending in (".csv", ".xlsx"):
            listed = await self.process.act("search_files", {"text": ending})
            found += [one["path"] for one in listed.value or () if one["path"].lower().endswith(TABLES)]
        found = list(dict.fromkeys(found))
        if not found:
            raise WorkFailed("There is no CSV or Excel file here.")
        said = set(concepts(self.task))
        common = {path: len(said & set(concepts(PurePosixPath(path).stem))) for path in found}
        best = [path for path in found if common[path] == max(common.values())]
        if len(best) > 1:
            raise WorkFailed(f"Which file? There are: {', '.join(best[:8])}.")
        self.notes.append(f"I took {best[0]}.")
        return best[0]

    async def _sheet(self, table: Table) -> Table:
        """The sheet that the words name, the first one otherwise."""
        if len(table.sheets) < 2 or table.sheet:
            return table
        said = [name for name in table.sheets if name.lower() in self.task.lower()]
        if not said:
            self.notes.append(f"I took the sheet {table.sheets[0]!r}; there are also {', '.join(table.sheets[1:])}.")
            return table
        return await look_at(self.process, table.path, said[0])

    # -- what is computed

    async def _settled(self, asked: Asked, table: Table) -> Query:
        """The query, with the column that the model takes the words to mean where they leave it open."""
        query = asked.query
        assert query is not None
        if not asked.unclear:
            return query
        listed = ", ".join(column.name for column in table.columns)
        context = Context(messages=(Message("system", f"A table has the columns {listed}."),))
        thought = await self.process.aside(context).think(
            f"{self.task}\nWhich column holds the figures?", choices=asked.unclear,
            baseline="Which column holds the figures?",
        )  # fmt: skip
        share = thought.confidence if thought.confidence is not None else 0.0
        if share < SURE:
            column = await self._ask_which(asked.unclear)
        else:
            column, self.confidence = thought.value, min(self.confidence, share)
            self.notes.append(f"I took the figures from {column!r}; it could also be {_others(asked.unclear, column)}.")
        return query.model_copy(update={"column": column})

    async def _ask_which(self, names: Sequence[str]) -> str:
        try:
            said = await self.process.ask(f"Which column do you mean: {', '.join(names)}?")
        except NobodyThere:
            said = ""
        for name in names:
            if name.casefold() == said.strip().casefold():
                return name
        raise WorkFailed(f"The question does not say which column it means: {', '.join(names)}.")

    async def _computed(self, query: Query) -> dict[str, Any]:
        """What the query comes to, computed twice.

        Raises:
            WorkFailed: Nothing fits, or the two ways differ.
        """
        order = {"query": query.model_dump(mode="json")}
        value = await run_program(self.process, "table", {"do": "answer", **order})
        again = await run_program(self.process, "table", {"do": "again", **order})
        if not agree(value["rows"], again, whole=not query.top):
            raise WorkFailed("Two ways to compute it gave different results, so neither is to be trusted.")
        if not value["rows"] or (not value["used"] and query.function != "count"):
            raise WorkFailed("No row of the table fits, so there is nothing to compute.")
        if value["lacking"]:
            self.notes.append(f"{value['lacking']:,} rows have no figure in {query.column!r} and were left out.")
        return {"query": order["query"], **value}

    # -- the chart

    async def _draw(self, value: dict[str, Any], kind: str, where: str, title: str) -> tuple[str, ...]:
        """Draw the rows; the file, or nothing and a note why."""
        rows = value["rows"]
        if len(rows) < 2 or len(rows) > MAX_DRAWN:
            self.notes.append(f"I drew no chart: there are {len(rows)} figures, and 2 to {MAX_DRAWN} can be drawn.")
            return ()
        query = value["query"]
        path = where or f"{PurePosixPath(query['path']).stem}-{_slug(query['by'])}.png"
        figures = {
            "labels": [str(label)[:80] for label, _ in rows],
            "values": [figure for _, figure in rows],
            "title": title.partition("\n")[0].rstrip(".:")[:200],
            "unit": str(query["column"])[:80] or "rows",
        }
        try:
            problem = await effect(self.process, "chart", {"path": path, "kind": kind, "figures": figures})
        except BadArguments as error:
            problem = error.message
        if problem:
            self.notes.append(f"The chart was not drawn: {problem}")
            self.confidence = min(self.confidence, 0.5)
            return ()
        return (path,)


def _with_rows(reports: Sequence[Report]) -> Report | None:
    """The latest report with figures to draw."""
    for one in reversed(reports):
        value: Any = one.value
        if isinstance(value, dict) and "rows" in value and "query" in value and one.usable:
            return one
    return None


def _others(names: Sequence[str], but: str) -> str:
    return ", ".join(name for name in names if name != but)


def _slug(text: str) -> str:
    return "".join(sign if sign.isalnum() else "-" for sign in text.lower()).strip("-") or "chart"


def agree(rows: Sequence[Sequence[Any]], again: Sequence[Sequence[Any]], *, whole: bool) -> bool:
    """Whether two computations have the same figures; the second may have more rows unless both are `whole`."""
    other = {str(label): float(value) for label, value in again}
    if whole and len(rows) != len(other):
        return False
    return all(
        str(label) in other and math.isclose(float(value), other[str(label)], rel_tol=1e-9, abs_tol=1e-9)
        for label, value in rows
    )


def number(value: float, *, share: bool = False) -> str:
    """A figure for people."""
    if share:
        return f"{value:.1%}"
    rounded = round(value, 2)
    return f"{rounded:,.0f}" if rounded == int(rounded) else f"{rounded:,.2f}"


def told(query: Query, rows: Sequence[Sequence[Any]], used: int) -> str:
    """The answer in words."""
    figures = [(str(label) or "(empty)", number(value, share=query.share)) for label, value in rows]
    if not query.by:
        return f"{_heading(query)}: {figures[0][1]}."
    if query.order and query.top == 1 and len(figures) == 1:
        extreme = "most" if query.order == "most" else "least"
        return f"{figures[0][0]} has the {extreme}: {_lower(_heading(query, order=False))} {figures[0][1]}."
    lines = [f"- {label}: {figure}" for label, figure in figures[:SHOWN]]
    more = [f"- … {len(figures) - SHOWN} more"] if len(figures) > SHOWN else []
    return "\n".join([f"{_heading(query)}:", *lines, *more])


def _heading(query: Query, *, order: bool = True) -> str:
    """What was computed, in words."""
    column = f"{query.column} × {query.times}" if query.times else query.column
    what = {"count": "Number of rows", "distinct": f"Number of different values of {column}"}.get(query.function)
    what = what or f"{_NAMES[query.function].capitalize()} {column}"
    if query.share:
        what = f"Share of the {_lower(what)}"
    parts = [what]
    if query.by:
        parts.append(f"by {query.period} of {query.by}" if query.period else f"by {query.by}")
    parts += [_condition(one.test, one.column, one.values) for one in query.filters]
    if order and query.order:
        parts.append(f"({query.order} first)" if query.top != 1 else f"(the {query.order})")
    return " ".join(parts)


def _condition(test: str, column: str, values: Sequence[str]) -> str:
    said = " or ".join(values)
    sign = {"is": "is", "not": "is not", "in": "in", "over": ">", "under": "<", "from": "≥", "to": "≤"}[test]
    return f"where {column} {sign} {said}"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


analyst = Worker(
    name="analyst",
    code=work,
    description="Answers questions about CSV and Excel files, exactly, and draws charts of the answers.",
    examples=(
        "What is the total amount by region in sales.csv? Draw a bar chart.",
        "Which product sold best in March 2025?",
        "How many rows of members.xlsx have a fee over 50?",
        "Plot the average temperature per month from weather.csv as a line chart",
    ),
    effects=("reads", "writes"),
    profile=Profile(tools=("ask_user", "chart", "compute", "search_files")),
    check=Check(verifier="table_again"),
)
