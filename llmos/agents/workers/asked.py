"""Reads a question about a table: which of its columns and values the words mean, and what is to be computed.

Everything comes from the words and the table; where they leave a choice, `Asked.unclear` says between what. What the
query language can't say is refused by name. English; knows no model.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from llmos.agents.spans import of_kind
from llmos.agents.vocabulary import stem, vocabulary
from llmos.agents.workers.tables import Column, Condition, Period, Query, Table, WorkFailed

MAX_KINDS = 12
"""Numbers of more different values than these are figures and make no groups."""

ChartKind = Literal["", "bar", "line", "pie"]

_WORD = re.compile(r"[A-Za-z][A-Za-z']*|\d+")
_NUMBER = r"[$€£]?\s?(\d[\d,]*(?:\.\d+)?)"
_COMPARED = (
    ("from", re.compile(rf"\b(?:at least|no less than|not under|or more than) {_NUMBER}|{_NUMBER} or more\b", re.I)),
    ("to", re.compile(rf"\b(?:at most|no more than|up to|not over) {_NUMBER}|{_NUMBER} or less\b", re.I)),
    ("over", re.compile(rf"\b(?:over|above|(?:more|greater|higher|larger) than|exceed(?:s|ing)?) {_NUMBER}", re.I)),
    ("under", re.compile(rf"\b(?:under|below|(?:less|fewer|lower|smaller|cheaper) than) {_NUMBER}", re.I)),
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(?P<month>january|february|march|april|may|june|july|august|september|october|november|december"
    r"|jan|feb|mar|apr|jun|jul|aug|sept|sep|oct|nov|dec)\b\.?"
)
_WHEN = (
    re.compile(r"\b(?P<iso>\d{4}-\d{2}(?:-\d{2})?)\b"),
    re.compile(r"\bQ(?P<q>[1-4])\b(?:,? (?:of )?(?P<year>(?:19|20)\d{2})\b)?", re.I),
    re.compile(r"\b(?P<nth>first|second|third|fourth) quarter(?:,? (?:of )?(?P<year>(?:19|20)\d{2})\b)?", re.I),
    re.compile(rf"\b{_MONTH}(?:,? (?:of )?(?P<year>(?:19|20)\d{{2}})\b)?", re.I),
    re.compile(r"\b(?:in|of|during|for|year) (?P<year>(?:19|20)\d{2})\b", re.I),
)
_NTH = ("first", "second", "third", "fourth")
_GROUPS = re.compile(
    r"\b(?:by|per|for each|for every|in each|in every|of each|of every|each|every|across|split by|grouped by|for all|"
    r"over (?:the|all)) (?:(?:the|all|different) )*$",
    re.I,
)
_WHICH = re.compile(r"\b(?:which|what|whose)(?: (?:two|three|four|five|\d+))? $", re.I)
_COUNTS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_TOP = re.compile(rf"\b(?:top|best|bottom|worst|first|which|the) (?P<n>\d+|{'|'.join(_COUNTS)})\b", re.I)
_PICKS = re.compile(r"\b(?:which|who|top|best|worst|bottom|what)\b", re.I)
_NEGATED = re.compile(
    r"\b(?:not|except|excluding|without|other than|but not|outside)(?: in| from| for| of)?(?: the)? $", re.I
)
_CHART = re.compile(r"\b(?:chart|plot|graph|diagram|visuali[sz]e|draw)\b", re.I)
_OVER_TIME = re.compile(r"\b(?:over time|trend|over the (?:months|years|weeks|days)|develop\w*|time series)\b", re.I)
_TIMES = re.compile(r"^\s*(?:×|\*|x|times|multiplied by)\s*$", re.I)
_HOW_MANY = re.compile(
    r"\b(?:how many|number of|count (?:the|of|all|how))(?: of)?(?: the)?(?: (?:different|distinct|unique))? $", re.I
)


@cache
def words_known() -> dict[str, Any]:
    """The words of `data_words.toml`, stemmed."""
    data = tomllib.loads(Path(__file__).with_name("data_words.toml").read_text(encoding="utf-8"))
    known: dict[str, Any] = {"columns": [{stem(word) for word in same} for same in data["columns"]]}
    for part in ("functions", "extremes", "periods"):
        known[part] = {name: {stem(word) for word in some} for name, some in data[part].items()}
    known["beyond"] = {stem(word) for word in data["beyond"]["words"]}
    known["rows"] = {stem(word) for word in data["rows"]}
    known["phrases"] = tuple(data["beyond"]["phrases"])
    known["plain"] = {stem(word) for word in data["plain"]["words"]}
    return known


@dataclass(frozen=True, slots=True)
class Mention:
    """Where the words speak of a column, and of which value in it (empty for the column itself)."""

    column: str
    start: int
    end: int
    value: str = ""
    exact: bool = True


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as it was understood.

    Attributes:
        query: None where only a chart is asked for.
        unclear: Columns that the figures could be taken from, where the words leave it open; the query has the first.
        chart: Its kind; empty for none.
        chart_path: Where it shall be, if the words say so.
        notes: What was assumed.
        unread: Words that nothing was made of.
    """

    query: Query | None
    unclear: tuple[str, ...] = ()
    chart: ChartKind = ""
    chart_path: str = ""
    notes: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Token:
    stem: str
    text: str
    start: int
    end: int


def _tokens(text: str) -> list[_Token]:
    return [_Token(stem(match[0].lower()), match[0], *match.span()) for match in _WORD.finditer(text)]


def name_stems(name: str) -> list[str]:
    """The words of a column's name, without a unit in brackets."""
    plain = re.sub(r"\(.*?\)|\[.*?\]", " ", name)
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", plain)
    return [one.stem for one in _tokens(plain)]


def mentions_of(words: str, columns: Sequence[Column]) -> list[Mention]:
    """Where the words speak of columns, longest names first, then words that mean the same, then values."""
    tokens, found = _tokens(words), list[Mention]()

    def free(start: int, end: int) -> bool:
        return all(end <= one.start or one.end <= start for one in found)

    named = sorted(columns, key=lambda one: -len(name_stems(one.name)))
    for column in named:
        stems = name_stems(column.name)
        for place in range(len(tokens) - len(stems) + 1):
            part = tokens[place : place + len(stems)]
            if stems and [one.stem for one in part] == stems and free(part[0].start, part[-1].end):
                found.append(Mention(column.name, part[0].start, part[-1].end))
    for column in columns:
        for value in sorted(column.values, key=len, reverse=True):
            pattern = rf"(?<!\w){re.escape(value)}(?:'?s|es)?(?!\w)"
            for match in re.finditer(pattern, words, re.I if len(value) > 2 else 0):
                if len(value) > 1 and (free(*match.span()) or _also(found, match.span())):
                    found.append(Mention(column.name, *match.span(), value))
    said = {one.column for one in found if not one.value}
    for column in columns:
        if column.name not in said:
            found += [one for one in _meant(column, tokens) if free(one.start, one.end)]
    return sorted(found, key=lambda one: (one.start, -one.end))


def _also(found: Iterable[Mention], place: tuple[int, int]) -> bool:
    """Whether the same words are a value in another column."""
    return any(one.value and (one.start, one.end) == place for one in found)


def _meant(column: Column, tokens: Sequence[_Token]) -> Iterator[Mention]:
    """Words that share a part of a column's name, or stand for the same kind of thing."""
    stems = name_stems(column.name)
    same = set(stems[-1:]) if len(stems) > 1 else set[str]()
    same |= {one for group in words_known()["columns"] if group & set(stems) for one in group}
    for token in tokens:
        if token.stem in same and token.stem not in vocabulary().stop | {"sum", "total"}:
            yield Mention(column.name, token.start, token.end, exact=False)


def read(words: str, table: Table) -> Asked:
    """Understand a question.

    Raises:
        WorkFailed: The query language can't say it, or the words name nothing of the table.
    """
    return _Reading(_without_paths(words), words, table).asked()


def _without_paths(words: str) -> str:
    """The words with blanks in place of file names, at the same places."""
    for span in of_kind(words, "path", "url"):
        words = words[: span.start] + " " * (span.end - span.start) + words[span.end :]
    return words


def chart_of(words: str) -> tuple[ChartKind, str]:
    """Which kind of chart the words ask for (`bar` where they don't say, empty for none), and where it shall be."""
    if not _CHART.search(_without_paths(words)) and ".png" not in words.lower():
        return "", ""
    paths = [one.text for one in of_kind(words, "path") if one.text.lower().endswith(".png")]
    kind: ChartKind = "bar"
    for one in ("line", "pie"):
        if re.search(rf"\b{one}s?\b", words, re.I):
            kind = one
    return kind, paths[0] if paths else ""


@dataclass(slots=True)
class _Reading:
    """One question being read."""

    words: str
    whole: str
    table: Table
    mentions: list[Mention] = field(default_factory=list[Mention])
    used: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    notes: list[str] = field(default_factory=list[str])

    def asked(self) -> Asked:
        self._refuse_what_is_beyond()
        self.mentions = mentions_of(self.words, self.table.columns)
        chart, path = chart_of(self.whole)
        filters = self._filters()
        by, period = self._groups(chart)
        order, top = self._order(by)
        taken = {one.column for one in filters if one.test not in ("over", "under", "from", "to")}
        function, share = self._function(by, order)
        if chart and not (by or order or filters or any(not one.value for one in self.mentions)):
            return Asked(None, chart=chart, chart_path=path)
        if not function and self._speaks_of_rows():
            function = "count"
        column, times, unclear = ("", "", ()) if function == "count" else self._measure(function, {by, *taken})
        if not function:
            function = "sum"
            self.notes.append("I took the sum.")
        if chart == "bar" and period and not re.search(r"\bbars?\b", self.words, re.I):
            chart = "line"
        query = Query(
            path=self.table.path, sheet=self.table.sheet, function=function, column=column, times=times, by=by,
            period=period, filters=tuple(filters), share=share, order=order, top=top,
        )  # fmt: skip
        return Asked(query, unclear, chart, path, tuple(self.notes), tuple(self._unread()))

    def _refuse_what_is_beyond(self) -> None:
        known, low = words_known(), self.words.lower()
        columns = {one for column in self.table.columns for one in name_stems(column.name)}
        beyond = [one.text for one in _tokens(self.words) if one.stem in known["beyond"] - columns]
        beyond += [phrase for phrase in known["phrases"] if phrase in low]
        if beyond:
            raise WorkFailed(
                f"I can't compute what {beyond[0]!r} asks for. I can count, add up, take mean, median, largest, "
                "smallest and shares, of rows that fit, by group or period."
            )

    # -- which rows

    def _filters(self) -> list[Condition]:
        found: list[Condition] = []
        places: dict[tuple[int, int], list[Mention]] = {}
        for one in self.mentions:
            if one.value:
                places.setdefault((one.start, one.end), []).append(one)
        values: dict[tuple[str, bool], list[str]] = {}
        for place, same in places.items():
            if len({one.column for one in same}) > 1:
                names = " or ".join(one.column for one in same)
                raise WorkFailed(f"{same[0].value!r} stands in more than one column: {names}. Please say which.")
            negated = _NEGATED.search(self.words[: place[0]]) is not None
            values.setdefault((same[0].column, negated), []).append(same[0].value)
        for (column, negated), some in values.items():
            found.append(Condition(column=column, test="not" if negated else "is", values=tuple(dict.fromkeys(some))))
        return [*found, *self._dates(), *self._bounds()]

    def _dates(self) -> Iterator[Condition]:
        """Periods that the words name."""
        columns = self.table.of("date")
        taken: list[tuple[int, int]] = [(one.start, one.end) for one in self.mentions]
        periods: list[str] = []
        for pattern in _WHEN:
            for match in pattern.finditer(self.words):
                if any(match.start() < end and start < match.end() for start, end in taken):
                    continue
                if match[0] in ("may", "mar"):  # the verb, and the one that spoils
                    continue
                taken.append(match.span())
                periods.append(_period(match))
                self.used.append(match.span())
        if not periods:
            return
        if not columns:
            raise WorkFailed(f"The table has no dates, so I can't tell what belongs to {periods[0]}.")
        column = self._date_column(columns)
        if column.first[:4] == column.last[:4]:
            periods = [period.replace("*", column.first[:4]) for period in periods]
        elif any("*" in period for period in periods):
            self.notes.append(f"It covers {column.first[:4]} to {column.last[:4]}: I took that time of every year.")
        yield Condition(column=column.name, test="in", values=tuple(periods))

    def _date_column(self, columns: Sequence[Column]) -> Column:
        said = [one for one in columns if any(mention.column == one.name for mention in self.mentions)]
        column = (said or list(columns))[0]
        if len(columns) > 1 and not said:
            self.notes.append(f"I went by {column.name!r}.")
        if column.doubtful:
            self.notes.append(f"I read the dates in {column.name!r} as month/day/year; they could be day/month/year.")
        return column

    def _bounds(self) -> Iterator[Condition]:
        """Numbers that a column must be above or below."""
        numeric = {one.name for one in self.table.of("number")}
        taken: list[tuple[int, int]] = []
        for test, pattern in _COMPARED:
            for match in pattern.finditer(self.words):
                if any(match.start() < end and start < match.end() for start, end in taken):
                    continue
                taken.append(match.span())
                near = [one for one in self.mentions if one.column in numeric and not one.value]
                number = next(text for text in match.groups() if text).replace(",", "")
                if not near and len(numeric) != 1:
                    raise WorkFailed(f"Which column is to be {match[0]!r}? There are: {', '.join(sorted(numeric))}.")
                gap = {one: _gap(match.span(), (one.start, one.end)) for one in near}
                column = min(near, key=lambda one: gap[one]) if near else Mention(next(iter(numeric)), 0, 0)
                self.used.append(match.span())
                if near:
                    self.mentions.remove(column)
                    self.used.append((column.start, column.end))
                yield Condition.model_validate({"column": column.column, "test": test, "values": (number,)})

    # -- which groups

    def _groups(self, chart: ChartKind) -> tuple[str, Period]:
        """The column that makes groups, and the period where it holds dates."""
        dates = self.table.of("date")
        period = self._period_said()
        if dates and (period or _OVER_TIME.search(self.words)):
            column = self._date_column(dates)
            return column.name, period or _natural(column)
        if re.search(r"\b(?:compare|versus|vs|or)\b", self.words, re.I):
            several = [one.column for one in self.mentions if one.value]
            for name in dict.fromkeys(several):
                if several.count(name) > 1:
                    return name, ""
        for one in self.mentions:
            if one.value:
                continue
            before = self.words[: one.start]
            if _GROUPS.search(before) or _WHICH.search(before) or _top(self.words, one) or self._who(one):
                kind = self.table.column(one.column).kind
                if kind == "date":
                    return one.column, _natural(self.table.column(one.column))
                few = self.table.column(one.column).distinct <= MAX_KINDS and not self._counts_rows(one.column)
                if kind == "text" or (_GROUPS.search(before) and few):
                    return one.column, ""
        return "", ""

    def _who(self, one: Mention) -> bool:
        return self.words[one.start : one.end].lower() == "who"

    def _period_said(self) -> Period:
        known: dict[Period, set[str]] = words_known()["periods"]
        for token in _tokens(self.words):
            for name, stems in known.items():
                if token.stem not in stems or any(start <= token.start < end for start, end in self.used):
                    continue
                if any(one.start <= token.start < one.end for one in self.mentions):
                    continue
                before = self.words[: token.start]
                if token.text.lower().endswith("ly") or _GROUPS.search(before) or _WHICH.search(before):
                    self.used.append((token.start, token.end))
                    return name
        return ""

    def _order(self, by: str) -> tuple[Literal["", "most", "least"], int]:
        if not by:
            return "", 0
        extremes = words_known()["extremes"]
        for token in _tokens(self.words):
            for name in ("most", "least"):
                if token.stem in extremes[name] and not self._of_values(token):
                    self.used.append((token.start, token.end))
                    said = _TOP.search(self.words)
                    number = _count(said["n"]) if said else 1
                    return name, number
        return "", 0

    def _of_values(self, token: _Token) -> bool:
        """Whether an extreme is that of the figures in each group (`the highest amount by region`)."""
        return not _WHICH.search(self.words[: token.start]) and not any(
            pattern.search(self.words)
            for pattern in (re.compile(r"\b(?:which|who|top|best|worst|bottom|what)\b", re.I),)
        )

    # -- what is computed

    def _function(self, by: str, order: str) -> tuple[Any, bool]:
        """The function (empty where nothing says so), and whether a share is asked for."""
        known = words_known()["functions"]
        stems = {one.stem for one in _tokens(self.words)}
        share = bool(stems & known["share"]) or "% of" in self.words
        if stems & known["distinct"]:
            return "distinct", share
        for name in ("median", "mean"):
            if stems & known[name]:
                return name, share
        match = [one for one in self.mentions if not one.value and _HOW_MANY.search(self.words[: one.start])]
        if re.search(r"\b(?:how many|number of|count (?:the|of|all|how))\b", self.words, re.I):
            numeric = [one for one in match if self.table.column(one.column).kind == "number"]
            return ("sum" if numeric and not self._counts_rows(numeric[0].column) else "count"), share
        if stems & known["sum"]:
            return "sum", share
        if not order:
            for name in ("max", "min"):
                if stems & known[name]:
                    return name, share
        return "", share

    def _counts_rows(self, name: str) -> bool:
        """Whether a column only numbers the rows: an id, of which nothing is added up."""
        column = self.table.column(name)
        last = name_stems(name)[-1:]
        numbered = last in (["id"], ["no"], ["nr"], [stem("number")], ["index"])
        return column.kind == "number" and column.distinct == self.table.rows > 1 and (numbered or self._is_first(name))

    def _is_first(self, name: str) -> bool:
        return self.table.columns[0].name == name

    def _measure(self, function: str, taken: set[str]) -> tuple[str, str, tuple[str, ...]]:
        """The column that figures are taken from, one to multiply it by, and between which the words leave it open."""
        said = [one for one in self.mentions if not one.value and one.column not in taken]
        if function == "distinct":
            names = list(dict.fromkeys(one.column for one in said))
            if not names:
                raise WorkFailed("Different values of which column? Please name one.")
            return names[0], "", tuple(names) if len(names) > 1 else ()
        numeric = [one for one in said if self.table.column(one.column).kind == "number"]
        for first, second in pairwise(numeric):
            if _TIMES.match(self.words[first.end : second.start]):
                return first.column, second.column, ()
        numeric = [one for one in numeric if not self._counts_rows(one.column)] or numeric
        numeric = [one for one in numeric if one.exact] or numeric
        names = list(dict.fromkeys(one.column for one in numeric))
        if not names:
            names = [one.name for one in self.table.of("number") if one.name not in taken]
            names = [one for one in names if not self._counts_rows(one)] or names
            if len(names) == 1:
                self.notes.append(f"I took the figures from {names[0]!r}.")
        if not names:
            raise WorkFailed("The table has no column of numbers to compute that from.")
        return names[0], "", tuple(names) if len(names) > 1 else ()

    def _speaks_of_rows(self) -> bool:
        """Whether what is counted are the rows themselves, by the column that numbers them or a word for them."""
        if any(not one.value and self._counts_rows(one.column) for one in self.mentions):
            return not any(
                not one.value and self.table.column(one.column).kind == "number" and not self._counts_rows(one.column)
                for one in self.mentions
            )
        return bool({one.stem for one in _tokens(self.words)} & words_known()["rows"])

    def _unread(self) -> Iterator[str]:
        known = words_known()
        common = known["plain"] | set().union(*known["functions"].values(), *known["extremes"].values())
        common |= set().union(*known["periods"].values())
        places = [*self.used, *((one.start, one.end) for one in self.mentions)]
        for token in _tokens(self.words):
            plain = token.stem in common or token.text.lower() in vocabulary().stop or token.text.isdigit()
            if not plain and not any(start <= token.start < end for start, end in places) and len(token.text) > 2:
                yield token.text


def _period(match: re.Match[str]) -> str:
    """What a match of `_WHEN` names, as `Condition` has it."""
    parts = match.groupdict()
    year = parts.get("year") or "*"
    if parts.get("iso"):
        return parts["iso"]
    if parts.get("q"):
        return f"{year}-Q{parts['q']}"
    if parts.get("nth"):
        return f"{year}-Q{_NTH.index(parts['nth'].lower()) + 1}"
    if parts.get("month"):
        return f"{year}-{_MONTHS.index(parts['month'][:3].lower()) + 1:02}"
    return year


def _natural(column: Column) -> Period:
    """By which periods some dates are told, where nobody says."""
    years = int(column.last[:4]) - int(column.first[:4])
    if years >= 4:
        return "year"
    return "month" if column.first[:7] != column.last[:7] else "day"


def _gap(one: tuple[int, int], other: tuple[int, int]) -> int:
    return max(other[0] - one[1], one[0] - other[1], 0)


def _top(words: str, one: Mention) -> bool:
    """Whether a column stands behind `top 3`."""
    return re.search(r"\b(?:top|best|bottom|worst) (?:\d+|\w+ )?\s?$", words[: one.start], re.I) is not None


def _count(text: str) -> int:
    return int(text) if text.isdigit() else _COUNTS.index(text.lower()) + 2
