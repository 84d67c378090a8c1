"""The analyst computes what the words ask for, draws it, and refuses what it can't say."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmos.agents.report import Report
from llmos.agents.workers.analyst import agree, analyst
from llmos.agents.workers.asked import read
from llmos.agents.workers.programs import table as program
from llmos.agents.workers.tables import Query, Table, WorkFailed
from tests.agents.workers.conftest import Office

CSV = """nr,day,shop,kind,pieces,takings
1,2024-01-05,Mill Lane,tea,4,"1,200.50"
2,2024-01-19,Harbour,tea,1,300
3,2024-02-11,Mill Lane,cups,2,600
4,2024-03-11,Old Town,cups,5,450.25
5,2025-03-02,Harbour,tea,7,n/a
"""


def table(folder: Path) -> Table:
    path = folder / "shops.csv"
    path.write_text(CSV, encoding="utf-8")
    return Table(path=str(path), **program.profile(str(path)))


def answered(folder: Path, words: str) -> list[list[object]]:
    query = read(words, table(folder)).query
    assert query is not None
    asked = query.model_dump(mode="json")
    found = program.answer(dict(asked))["rows"]
    assert agree(found, program.again(dict(asked)), whole=not query.top), "SQLite has other figures"
    return [list(row) for row in found]


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        ("What are the total takings?", [["", 2550.75]]),
        ("total takings by shop", [["Mill Lane", 1800.5], ["Harbour", 300.0], ["Old Town", 450.25]]),
        ("which shop had the highest takings?", [["Mill Lane", 1800.5]]),
        ("which shop had the lowest takings in 2024?", [["Harbour", 300.0]]),
        ("how many rows are there for tea?", [["", 3.0]]),
        ("how many pieces were sold in Harbour?", [["", 8.0]]),
        ("what is the average takings per kind", [["tea", 750.25], ["cups", 525.125]]),
        ("median takings", [["", 525.125]]),
        ("largest takings in March 2024", [["", 450.25]]),
        ("total pieces per year", [["2024", 12.0], ["2025", 7.0]]),
        ("monthly pieces in 2024", [["2024-01", 5.0], ["2024-02", 2.0], ["2024-03", 5.0]]),
        ("total pieces in Q1 2024", [["", 12.0]]),
        ("total takings without cups", [["", 1500.5]]),
        ("total takings of rows with more than 3 pieces", [["", 1650.75]]),
        ("how many different shops are there?", [["", 3.0]]),
        ("what share of the pieces is from Harbour?", [["", 8 / 19]]),
        ("top 2 shops by pieces", [["Harbour", 8.0], ["Mill Lane", 6.0]]),
        ("compare Harbour and Old Town by pieces", [["Harbour", 8.0], ["Old Town", 5.0]]),
    ],
)
def test_a_question_comes_to_its_figures(words: str, rows: list[list[object]], tmp_path: Path) -> None:
    found = answered(tmp_path, words)
    assert [label for label, _ in found] == [label for label, _ in rows]
    assert [value for _, value in found] == pytest.approx([value for _, value in rows])


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("what is the correlation of pieces and takings?", "correlation"),
        ("predict the takings of next month", "predict"),
        ("what were the takings last month?", "last month"),
    ],
)
def test_what_the_query_language_can_not_say_is_refused_by_name(words: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(WorkFailed, match=reason):
        read(words, table(tmp_path))


@pytest.mark.parametrize(
    ("text", "value"),
    [("1,234.50", 1234.5), ("1.234,50", 1234.5), ("3,5", 3.5), ("€ 12", 12), ("(7)", -7), ("12 %", 12), ("-0.5", -0.5)],
)
def test_numbers_are_read_as_people_write_them(text: str, value: float) -> None:
    found = program.number(text)
    assert found is not None
    assert float(found) == value


@pytest.mark.parametrize("text", ["", "n/a", "12 apples", "1-2", "Q4"])
def test_what_is_no_number_is_none(text: str) -> None:
    assert program.number(text) is None


def test_an_excel_file_is_read_as_a_csv_file_is(tmp_path: Path) -> None:
    import openpyxl  # type: ignore[import-untyped]  # it has no types

    book = openpyxl.Workbook()
    sheet = book.create_sheet("All", 0)
    for row in (["shop", "takings"], ["Harbour", 12.5], ["Harbour", 7]):
        sheet.append(row)
    book.save(tmp_path / "shops.xlsx")
    query = Query(path=str(tmp_path / "shops.xlsx"), function="sum", column="takings", by="shop")
    assert program.answer(query.model_dump())["rows"] == [["Harbour", 19.5]]


async def test_a_chart_is_drawn_where_the_words_say(office: Office) -> None:
    office.write("shops.csv", CSV)
    report = await office.do(analyst, "Draw the total takings by shop in shops.csv as a bar chart in shops.png")
    assert report.outcome == "done", report.reasons
    assert report.artifacts == ("shops.png",)
    assert (office.workspace / "shops.png").read_bytes().startswith(b"\x89PNG")
    assert "Mill Lane: 1,800.50" in report.text
    assert office.person.shown[0].startswith("draw a bar chart in shops.png")


async def test_a_chart_that_is_refused_is_told_and_the_figures_stay(office: Office) -> None:
    office.write("shops.csv", CSV)
    office.person.reply = "no"
    report = await office.do(analyst, "Draw the total takings by shop in shops.csv as a bar chart in shops.png")
    assert report.artifacts == ()
    assert not (office.workspace / "shops.png").exists()
    assert any("not drawn" in reason for reason in report.reasons)
    assert "Mill Lane: 1,800.50" in report.text


async def test_figures_of_an_earlier_report_are_drawn(office: Office) -> None:
    office.write("shops.csv", CSV)
    first = await office.do(analyst, "total takings by shop in shops.csv")
    second = await office.do(analyst, "Draw it as a pie chart in a.png", {"earlier": [first.model_dump(mode="json")]})
    assert second.artifacts == ("a.png",)


async def test_reading_and_computing_need_no_question(office: Office) -> None:
    office.write("shops.csv", CSV)
    report = await office.do(analyst, "total takings by shop in shops.csv", level="L1")
    assert report.outcome == "done"
    assert office.person.shown == []


async def test_rows_without_a_figure_are_counted_and_told(office: Office) -> None:
    office.write("shops.csv", CSV)
    report = await office.do(analyst, "total takings in shops.csv")
    assert any("1 rows have no figure" in reason for reason in report.reasons)


async def test_where_there_is_no_table_it_says_so(office: Office) -> None:
    report: Report = await office.do(analyst, "total takings by shop")
    assert report.outcome == "failed"
    assert report.reasons == ("There is no CSV or Excel file here.",)
