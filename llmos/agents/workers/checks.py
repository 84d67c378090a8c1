"""A check of the analyst's figures: SQLite computes them anew in the sandbox, from the query that it reports."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from llmos.agents.report import Report
from llmos.agents.verdict import Verdict, Verifier
from llmos.agents.workers.analyst import agree, told
from llmos.agents.workers.tables import Query, WorkFailed, run_program
from llmos.errors import BadArguments, Denied
from llmos.kernel.branch import Branch


def table_again(process: Branch) -> Verifier[Any]:
    """The figures of an analyst's report are those of the table, and its text says them.

    That the query is what the words asked for it can't tell: the report's `reasons` say what was assumed.
    """

    async def check(report: Any) -> Verdict:  # noqa: ANN401  # whatever is checked
        value = report.value if isinstance(report, Report) else report
        try:
            query = Query.model_validate(value["query"])
            rows = [(str(label), float(figure)) for label, figure in value["rows"]]
            used = int(value["used"])
        except (TypeError, KeyError, ValueError, ValidationError):
            return Verdict("unsure", ("It is no report on a table.",))
        try:
            again = await run_program(process, "table", {"do": "again", "query": query.model_dump(mode="json")})
        except (WorkFailed, Denied, BadArguments) as error:
            return Verdict("unsure", (f"The figures could not be computed anew: {error}",))
        if not agree(rows, again, whole=not query.top):
            return Verdict("fail", ("Computed anew, the figures are others.",))
        if isinstance(report, Report) and query.column and told(query, rows, used) not in report.text:
            return Verdict("unsure", ("The text says something else than the figures.",))
        return Verdict("pass")

    return Verifier(check, name="table_again")
