"""Reads a CSV or Excel file, says what its columns hold, and answers a query in two ways that share no arithmetic.

`answer` counts in exact decimals, row by row; `again` gives the rows to SQLite. Runs in the sandbox: standard library,
and openpyxl for Excel files. A query is described in `llmos.agents.workers.tables`.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
import re
import sqlite3
from decimal import Decimal
from functools import partial
from typing import Any

MAX_VALUES = 200
_BLANK = {"", "-", "n/a", "na", "null", "none", "nan", "?"}
_ISO = re.compile(r"(\d{4})-(\d{1,2})(?:-(\d{1,2}))?(?:[T ]\d.*)?")
_DOTS = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})")
_SLASHES = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})")

Rows = list[list[str]]


def load(path: str, sheet: str = "") -> tuple[list[str], Rows, list[str]]:
    """Column names, rows of texts, and the names of all sheets."""
    if path.lower().endswith((".xlsx", ".xlsm")):
        return _excel(path, sheet)
    with open(path, "rb") as file:
        raw = file.read()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=_delimiter(text)) if any(map(str.strip, row))]
    return _shaped(rows, [])


def _delimiter(text: str) -> str:
    """What stands between fields: of four signs the one that is in the first lines, as often in each."""
    lines = [line for line in text.splitlines()[:20] if line.strip()]
    counts = {sign: [line.count(sign) for line in lines] for sign in (",", ";", "\t", "|")}
    return max(counts, key=lambda sign: (min(counts[sign], default=0) > 0, counts[sign][0] if lines else 0))


def _excel(path: str, sheet: str) -> tuple[list[str], Rows, list[str]]:
    import openpyxl  # type: ignore[import-untyped]  # it has no types

    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    page = book[sheet] if sheet else book.worksheets[0]
    rows = [[_text(cell) for cell in row] for row in page.iter_rows(values_only=True)]
    return _shaped([row for row in rows if any(row)], list(book.sheetnames))


def _text(cell: object) -> str:
    if isinstance(cell, datetime.datetime):
        return cell.date().isoformat() if cell.time() == datetime.time() else cell.isoformat(" ")
    return "" if cell is None else str(cell)


def _shaped(rows: Rows, sheets: list[str]) -> tuple[list[str], Rows, list[str]]:
    """The first row names the columns; short rows are filled up."""
    head = [name.strip() or f"column {place}" for place, name in enumerate(rows[0], 1)] if rows else []
    body = [[*map(str.strip, row[: len(head)]), *[""] * (len(head) - len(row))] for row in rows[1:]]
    return head, body, sheets


def number(text: str) -> Decimal | None:
    """A number as people write it, with signs of currency, percent and thousands; None if it is none."""
    plain = re.sub(r"[\s\u00a0$€£%]|EUR|USD|GBP|CHF", "", text)
    if re.fullmatch(r"\(.+\)", plain):
        plain = "-" + plain[1:-1]
    if re.fullmatch(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?", plain):
        plain = plain.replace(",", "")
    elif re.fullmatch(r"[-+]?\d{1,3}(\.\d{3})+,\d+", plain):
        plain = plain.replace(".", "").replace(",", ".")
    elif re.fullmatch(r"[-+]?\d+,\d+", plain):
        plain = plain.replace(",", ".")
    return Decimal(plain) if re.fullmatch(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", plain) else None


def month_first(values: list[str]) -> bool:
    """Whether dates with slashes have the month first: unless a first figure can't be one."""
    found = [match for text in values if (match := _SLASHES.fullmatch(text))]
    return not any(int(match[1]) > 12 for match in found)


def day(text: str, *, american: bool) -> str:
    """A date as YYYY-MM-DD (YYYY-MM-01 where there is no day); empty if it is none."""
    if match := _ISO.fullmatch(text):
        parts = (match[1], match[2], match[3] or "1")
    elif match := _DOTS.fullmatch(text):
        parts = (match[3], match[2], match[1])
    elif match := _SLASHES.fullmatch(text):
        parts = (match[3], match[1], match[2]) if american else (match[3], match[2], match[1])
    else:
        return ""
    try:
        return datetime.date(*map(int, parts)).isoformat()
    except ValueError:
        return ""


def profile(path: str, sheet: str = "") -> dict[str, Any]:
    """What a table holds: its columns, their kinds, and their different values."""
    head, rows, sheets = load(path, sheet)
    return {"sheets": sheets, "rows": len(rows), "columns": [_column(head, rows, place) for place in range(len(head))]}


def _column(head: list[str], rows: Rows, place: int) -> dict[str, Any]:
    values = [row[place] for row in rows]
    given = [text for text in values if text.casefold() not in _BLANK]
    american = month_first(given)
    numbers = [value for text in given if (value := number(text)) is not None]
    days = [found for text in given if (found := day(text, american=american))]
    different = list(dict.fromkeys(given))
    kind = "text"
    if given and len(days) >= 0.9 * len(given):
        kind = "date"
    elif given and len(numbers) >= 0.9 * len(given):
        kind = "number"
    usable = {"date": len(days), "number": len(numbers), "text": len(given)}[kind]
    doubtful = any(_SLASHES.fullmatch(text) for text in given) and american
    return {
        "name": head[place],
        "kind": kind,
        "missing": len(values) - usable,
        "distinct": len(different),
        "values": different[:MAX_VALUES] if kind == "text" else [],
        "first": min(days) if kind == "date" else "",
        "last": max(days) if kind == "date" else "",
        "doubtful": kind == "date" and doubtful,
    }


# -- the first way: exact decimals, row by row


def answer(query: dict[str, Any]) -> dict[str, Any]:
    """What a query comes to: rows of a label and a value, how many rows of the table count, and how many lacked one."""
    head, rows, _ = load(query["path"], query["sheet"])
    american = {name: month_first([row[place] for row in rows]) for place, name in enumerate(head)}
    records = [dict(zip(head, row, strict=True)) for row in rows]
    whole = _grouped(records, query, american)
    records = [one for one in records if all(_fits(one, test, american) for test in query["filters"])]
    groups = _grouped(records, query, american)
    found: list[tuple[str, Decimal]] = []
    total = _function(query, [one for group in whole.values() for one in group]) if query["share"] else None
    for label, group in groups.items():
        value = _function(query, group)
        if value is not None and total is not None:
            value = value / total if total else None
        if value is not None:
            found.append((label, value))
    figures = query["column"] and query["function"] not in ("count", "distinct")
    lacking = sum(_measure(one, query) is None for one in records) if figures else 0
    return {"rows": _ordered(found, query), "used": len(records), "lacking": lacking}


def _grouped(records: list[dict[str, str]], query: dict[str, Any], american: dict[str, bool]) -> dict[str, Any]:
    by, groups = query["by"], dict[str, Any]()
    for one in records:
        label = ""
        if by:
            label = _period(day(one[by], american=american[by]), query["period"]) if query["period"] else one[by]
            if not label:
                continue
        groups.setdefault(label, []).append(one)
    return groups if groups or by else {"": []}


def _period(date: str, period: str) -> str:
    if not date:
        return ""
    if period == "quarter":
        return f"{date[:4]}-Q{(int(date[5:7]) + 2) // 3}"
    if period == "week":
        year, week, _ = datetime.date.fromisoformat(date).isocalendar()
        return f"{year}-W{week:02}"
    return date[: {"year": 4, "month": 7, "day": 10}[period]]


def _fits(one: dict[str, str], test: dict[str, Any], american: dict[str, bool]) -> bool:
    text, values = one[test["column"]], test["values"]
    match test["test"]:
        case "is":
            return text.casefold() in [value.casefold() for value in values]
        case "not":
            return text.casefold() not in [value.casefold() for value in values]
        case "in":
            date = day(text, american=american[test["column"]])
            return any(_within(date, value) for value in values)
        case comparison:
            found, bound = number(text), Decimal(values[0])
            if found is None:
                return False
            return {
                "over": found > bound, "under": found < bound, "from": found >= bound, "to": found <= bound,
            }[comparison]  # fmt: skip


def _within(date: str, period: str) -> bool:
    """Whether a date is in 2025, 2025-03, 2025-Q1, 2025-03-04, or in any year's *-03."""
    if not date:
        return False
    if "Q" in period:
        return _period(date, "quarter").endswith(period.lstrip("*"))
    return date[4:7] == period[1:] if period.startswith("*") else date.startswith(period)


def _measure(one: dict[str, str], query: dict[str, Any]) -> Decimal | None:
    value = number(one[query["column"]])
    if value is None or not query["times"]:
        return value
    other = number(one[query["times"]])
    return None if other is None else value * other


def _function(query: dict[str, Any], group: list[dict[str, str]]) -> Decimal | None:
    if query["function"] == "count":
        return Decimal(len(group))
    if query["function"] == "distinct":
        return Decimal(len({one[query["column"]].casefold() for one in group} - _BLANK))
    values = [value for one in group if (value := _measure(one, query)) is not None]
    if query["function"] == "sum":
        return sum(values, Decimal(0))
    if not values:
        return None
    middle, ordered = len(values) // 2, sorted(values)
    return {
        "mean": sum(values, Decimal(0)) / len(values),
        "median": ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2,
        "max": ordered[-1],
        "min": ordered[0],
    }[query["function"]]


def _ordered(found: list[tuple[str, Decimal]], query: dict[str, Any]) -> list[list[Any]]:
    if query["order"]:
        found.sort(key=lambda one: (-one[1] if query["order"] == "most" else one[1], one[0]))
        found = _first(found, query["top"])
    elif query["period"]:
        found.sort()
    return [[label, float(value)] for label, value in found]


def _first(found: list[Any], top: int) -> list[Any]:
    """The first so many, with those that are equal to the last of them."""
    if not top or len(found) <= top:
        return found
    return [one for one in found if found.index(one) < top or one[1] == found[top - 1][1]]


# -- the second way: SQLite


def again(query: dict[str, Any]) -> list[list[Any]]:
    """The same rows as `answer`, computed by SQLite in floating point, in no order."""
    head, rows, _ = load(query["path"], query["sheet"])
    base = sqlite3.connect(":memory:")
    base.create_function("num", 1, _float, deterministic=True)
    base.create_function("per", 2, _slot, deterministic=True)
    names = {name: f"c{place}" for place, name in enumerate(head)}
    american = {name: month_first([row[place] for row in rows]) for place, name in enumerate(head)}
    base.execute(f"create table t ({', '.join(names.values())})")
    base.executemany(f"insert into t values ({', '.join('?' * len(head))})", rows)
    for test in [{"column": query["by"]}] if query["period"] else []:
        _to_dates(base, names[test["column"]], american[test["column"]])
    for test in query["filters"]:
        if test["test"] == "in" and test["column"] != (query["by"] if query["period"] else None):
            _to_dates(base, names[test["column"]], american[test["column"]])
    label = "''"
    if query["by"]:
        label = f"per({names[query['by']]}, '{query['period']}')" if query["period"] else names[query["by"]]
    value = "1" if not query["column"] else f"num({names[query['column']]})"
    if query["times"]:
        value += f" * num({names[query['times']]})"
    if query["function"] == "distinct":
        value = f"lower({names[query['column']]})"
    where, given = _where(query, names)
    cursor = base.execute(f"select {label}, {value} from t where {where}", given)
    groups: dict[str, list[Any]] = {} if query["by"] else {"": []}
    for key, one in cursor:
        if key or not query["by"]:
            groups.setdefault(key, []).append(one)
    found = {key: _in_sql(base, query["function"], values) for key, values in groups.items()}
    if query["share"]:
        not_blank = f"coalesce({label}, '') <> ''" if query["by"] else "1"
        everything = [one for (one,) in base.execute(f"select {value} from t where {not_blank}")]
        whole = _in_sql(base, query["function"], everything)
        found = {key: one / whole if whole and one is not None else None for key, one in found.items()}
    return [[key, one] for key, one in found.items() if one is not None]


def _to_dates(base: sqlite3.Connection, column: str, american: bool) -> None:
    """Bring a column's dates into one form."""
    base.create_function("iso", 1, partial(day, american=american), deterministic=True)
    base.execute(f"update t set {column} = iso({column})")


def _slot(date: str, period: str) -> str:
    if not date:
        return ""
    year, month, _ = date.split("-")
    if period == "quarter":
        return f"{year}-Q{-(-int(month) // 3)}"
    if period == "week":
        return datetime.date.fromisoformat(date).strftime("%G-W%V")
    return {"year": year, "month": f"{year}-{month}", "day": date}[period]


def _float(text: str) -> float | None:
    """A number, read in another way than `number` does."""
    kept = "".join(sign for sign in text if sign.isdigit() or sign in ".,-+()eE")
    kept = kept.strip("eE") if not kept[:1].isdigit() or kept[-1:] in "eE" else kept
    sign = -1.0 if kept.startswith(("-", "(")) else 1.0
    kept = kept.strip("()+-")
    comma, dot = kept.rfind(","), kept.rfind(".")
    if comma > dot and not (dot < 0 and len(kept) - comma == 4):
        kept = kept.replace(".", "").replace(",", ".")
    try:
        return sign * float(kept.replace(",", ""))
    except ValueError:
        return None


def _where(query: dict[str, Any], names: dict[str, str]) -> tuple[str, list[Any]]:
    parts, given = ["1"], list[Any]()
    for test in query["filters"]:
        column, values = names[test["column"]], test["values"]
        match test["test"]:
            case "is" | "not":
                word = "" if test["test"] == "is" else "not "
                parts.append(f"lower({column}) {word}in ({', '.join('lower(?)' for _ in values)})")
                given += values
            case "in":
                parts.append("(" + " or ".join(_like(column, value, given) for value in values) + ")")
            case comparison:
                sign = {"over": ">", "under": "<", "from": ">=", "to": "<="}[comparison]
                parts.append(f"num({column}) {sign} ?")
                given.append(float(values[0]))
    return " and ".join(parts), given


def _like(column: str, period: str, given: list[Any]) -> str:
    year, _, rest = period.partition("-")
    pattern = "____" if year == "*" else year
    if rest.startswith("Q"):
        given.append(pattern + "%")
        first = 3 * int(rest[1]) - 2
        return f"({column} like ? and cast(substr({column}, 6, 2) as integer) between {first} and {first + 2})"
    given.append(f"{pattern}-{rest}%" if rest else pattern + "%")
    return f"{column} like ?"


def _in_sql(base: sqlite3.Connection, function: str, values: list[Any]) -> float | None:
    base.execute("create temp table if not exists v (x)")
    base.execute("delete from v")
    base.executemany("insert into v values (?)", [(one,) for one in values])
    blank = ", ".join(f"'{one}'" for one in sorted(_BLANK))
    middle = "select avg(x) from (select x from v where x is not null order by x limit 2 - (select count(x) from v) % 2"
    asked = {
        "count": "select count(*) from v",
        "distinct": f"select count(distinct x) from v where x not in ({blank})",
        "sum": "select total(x) from v",
        "mean": "select avg(x) from v",
        "median": f"{middle} offset (select (count(x) - 1) / 2 from v))",
        "max": "select max(x) from v",
        "min": "select min(x) from v",
    }[function]
    found: float | None = base.execute(asked).fetchone()[0]
    return found


def main(order: dict[str, Any]) -> None:
    """Carry out an order: `do` names a function, the rest are its arguments."""
    work: dict[str, Any] = {"profile": profile, "answer": answer, "again": again}
    print(json.dumps(work[order.pop("do")](**order)))
