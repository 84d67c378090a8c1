"""Citations: which sentences of recalled texts answer a question, where each stands, and whether a text has support.

What is cited is cut out of the text as it stands there; a quote is looked up again before it is shown. Words decide, of
any language that puts spaces or ideographs into a text. Knows no model, no process and no memory.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from llmos.agents.answers import has_kind
from llmos.agents.verifiers.quotes import find, plainly
from llmos.agents.vocabulary import stem, vocabulary
from llmos.kernel.calls import Label
from llmos.kernel.protocols import Memo
from llmos.messages import Grammar

ENOUGH = 1.2
"""What a statement must have to count as an answer: the part of the question's weight that it and what is around it
have, and how sure memory is of its passage, together. Of 600 questions of SQuAD 2 it gives the right sentence for .69,
any for .86, and any for .035 of those whose article is left out; 1.1 makes that .70, .89 and .039."""

CERTAIN = 0.85
"""Memory is certain of a passage from here on."""

MOST = 0.5
"""The part of the question's weight that an answer must have besides where something else could answer as well."""

SUPPORT = 0.5
"""The part of a sentence's weight that must stand in a passage for the sentence to be supported by it."""

STATEMENTS = 3
"""An answer has so many statements at most."""

MAX_QUOTE = 200
"""Characters of a quote as it is shown; a longer one is cut with `…`."""

_DEFINES = 0.3
_AROUND = 0.5
_KIND = 0.15
_TRUST = 0.3
_MORE = 0.2
_NEAR = 0.7
_FOLLOWING = 6
_SHORT_ENOUGH = 20
_WORD = re.compile(r"[^\W_]+")
_IDEOGRAPHS = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af]")
_ASKING = frozenset(
    {"about", "accord", "answer", "describ", "doc", "document", "documentation", "explain", "find", "mean", "mention"}
    | {"note", "pleas", "say", "show", "state", "tell", "work"}
)
"""What questions say of anything, as `terms` gives it."""

_CLOSING = "\"')\\]*_\u201d\u2019"
_OPENING = "\"'(\\[*_`\u201c\u2018"
_SENTENCE = re.compile(
    rf"(?<=[.!?])[{_CLOSING}]*\s+(?=[{_OPENING}]*[A-ZÀ-Þ\d])|(?<=[\u3002\uff01\uff1f])"  # and those of CJK
)
_SHORT = re.compile(r"(?:\b(?:e\.g|i\.e|cf|vs|etc|Dr|Mr|Mrs|Ms|Prof|St|No|Nr|approx|p|pp|Fig|Sec|vol)|\b[A-Z])\.$")
_ITEM = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)])\s+")
_HEADING = re.compile(r"\s*#{1,6}\s+(?P<text>.+?)\s*#*$")
_FENCE = re.compile(r"\s*(?:```|~~~)")
_COLUMNS = re.compile(r"[^\s.!?:] {2,}\S")  # parts of a line set apart: a listing, not a sentence
_RULE = re.compile(r"[\s|:=_*-]+$")
_HEADED = " § "  # between a place and the heading that it is under
_PLACE = re.compile(r"^(?P<source>.*?):(?P<first>\d+)(?:-(?P<last>\d+))?$")
_MARK = re.compile(r"\s*\[(\d{1,2})\]")
_WHAT_IS = re.compile(r"\W*(?:what|who)\s+(?:is|are|was|were)\s+(?:an?\s+|the\s+)?(?P<what>[^?]{2,60}?)\W*$", re.I)
_IS = re.compile(r"\W*(?:an?\s+|the\s+)?(?P<what>[^.:?]{2,60}?)\W*\s+(?:is|are|was|were|means)\b", re.I)
_KINDS = (
    (re.compile(r"\bwhich (?:\w+ )?(?:version|year|port|number|size|day)", re.I), re.compile(r"\d")),
    (re.compile(r"\bhow (?:big|large|old|far|fast|often|high)\b", re.I), re.compile(r"\d")),
    (re.compile(r"\bwhere\b", re.I), re.compile(r"/|\b(?:in|at|under|behind|beside|near)\b")),
    (re.compile(r"\bwhy\b", re.I), re.compile(r"\b(?:because|since|so that|therefore)\b", re.I)),
)  # fmt: skip
"""More of what a question asks for, and what a text that answers it has."""

_LOOSE = re.compile(r"(?<=[^\W_]|[.!?)\"\u201d]) \[\d{1,2}\](?=[\s.!?,;]|$)")
SOURCES = re.compile(r"(?m)^\[\d{1,2}\] .+ “.+”$")
"""The line of a source below an answer."""

_FACT = re.compile(r"\d[\d.,:/-]*\d|\d|(?<=[\w,;] )[A-ZÀ-Þ][\w'-]*[a-zß-ÿ]\w*")


def terms(text: str) -> list[str]:
    """The words of a text that say what it is about, brought to one form; of ideographs, pairs of them."""
    known = vocabulary().stop
    found: list[str] = []
    for word in _WORD.findall(unicodedata.normalize("NFKC", text).casefold()):
        if _IDEOGRAPHS.search(word):
            found += [word[place : place + 2] for place in range(max(len(word) - 1, 1))]
        elif word not in known and (len(word) > 1 or word.isdigit()):
            found.append(stem(word))
    return found


def asked_terms(question: str) -> list[str]:
    """The same of a question, without what questions say of anything."""
    return [word for word in dict.fromkeys(terms(question)) if word not in _ASKING]


@dataclass(frozen=True, slots=True)
class Citation:
    """A source of an answer.

    Attributes:
        place: Source with page or line.
        quote: What stands there, verbatim but for line breaks and gaps (`…`).
        heading: What it stands under, where the quote does not say it itself.
    """

    place: str
    quote: str
    heading: str = ""

    def __str__(self) -> str:
        return f"{self.place}{f' ({self.heading})' if self.heading else ''} “{self.quote}”"


Form = Literal["prose", "item", "row", "code"]


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence, item, row or line of code, as it stands in its text.

    Attributes:
        text: Verbatim, line breaks included.
        place: Source with page or line.
        passage: The number of the memo that it is from, from 0.
        around: Words of the heading above it, of the sentences beside it and of the source's name.
        score: How well memory found that its passage fits, 0 to 1.
        label: Where it comes from.
        whole: It is not cut off at an end of its passage.
        form: What it is a part of.
        heading: What it stands under.
    """

    text: str
    place: str
    passage: int
    around: frozenset[str]
    score: float
    label: Label
    whole: bool = True
    form: Form = "prose"
    heading: str = ""

    @property
    def citation(self) -> Citation:
        """It as a source."""
        told = set(terms(self.heading)) <= set(terms(self.text))
        return Citation(self.place, self.quote, "" if told else self.heading)

    @property
    def plain(self) -> str:
        """Its words without the marks of a list or table, on one line."""
        line = " ".join(_ITEM.sub("", self.text, count=1).split())
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        return " · ".join(filter(None, cells)) if line.startswith("|") and len(cells) > 1 else line

    @property
    def quote(self) -> str:
        """What is quoted of it: on one line, cut at a word where it is long."""
        line = " ".join(self.text.split())
        return line if len(line) <= MAX_QUOTE else f"{line[: MAX_QUOTE - 2].rsplit(' ', 1)[0]} …"


@dataclass(frozen=True, slots=True)
class Cited:
    """An answer with its sources.

    Attributes:
        text: Sentences with `[1]` behind them; one without support has `[?]`.
        sources: In the order of their numbers, from 1.
        unsupported: The sentences that no source says.
        confidence: How likely it answers the question, 0 to 1.
    """

    text: str
    sources: tuple[Citation, ...]
    unsupported: tuple[str, ...] = ()
    confidence: float = 0.0

    @property
    def said(self) -> str:
        """The text without the numbers."""
        return _MARK.sub("", self.text)

    def shown(self) -> str:
        """The answer as a person reads it: the text, and below it the sources."""
        lines = [f"[{number}] {one}" for number, one in enumerate(self.sources, 1)]
        note = ["[?] No source says this: it is the model's own."] if self.unsupported else []
        return "\n\n".join(part for part in (self.text, "\n".join([*lines, *note])) if part)


# -- taking texts apart


@dataclass(frozen=True, slots=True)
class _Piece:
    """A span of a text, with the heading above it, its form, and of a table the row at its head."""

    start: int
    stop: int
    heading: str
    form: Form = "prose"
    head: str = ""


def statements(memos: Sequence[Memo]) -> list[Statement]:
    """All statements of recalled texts, in their order; the same one from two overlapping texts once."""
    found: list[Statement] = []
    seen: set[tuple[str, str]] = set()
    for number, memo in enumerate(memos):
        pieces = list(_pieces(memo.text))
        words = [frozenset(terms(memo.text[one.start : one.stop])) for one in pieces]
        named = frozenset(terms(re.sub(r"[/_.:-]", " ", memo.source)))
        for place, piece in enumerate(pieces):
            text = memo.text[piece.start : piece.stop]
            key = (" ".join(text.split()), memo.source.partition(":")[0])
            if key in seen:
                continue
            seen.add(key)
            beside = frozenset[str]().union(*words[max(place - 1, 0) : place + 2])
            heading = piece.heading or memo.source.partition(_HEADED)[2].rpartition(" > ")[2]
            around = beside | named | frozenset(terms(f"{heading} {piece.head}"))
            whole = (piece.start > 0 or _begins(text)) and (piece.stop < len(memo.text.rstrip()) or _ends(text))
            where = place_in(memo, piece.start, piece.stop)
            found.append(Statement(text, where, number, around, memo.score, memo.label, whole, piece.form, heading))
    return found


def place_in(memo: Memo, start: int, stop: int) -> str:
    """Where a part of a recalled text stands: with its own line where the text's lines are known."""
    source = memo.source.partition(_HEADED)[0]
    match = _PLACE.match(source)
    if match is None:
        return source or {"user": "what you said", "files": "your files"}.get(memo.label, memo.label)
    first, last = int(match["first"]), int(match["last"] or match["first"])
    if last - first not in (memo.text.count("\n"), memo.text.rstrip("\n").count("\n")):  # not the source's own lines
        return f"{match['source']}:{first}"
    begin = first + memo.text.count("\n", 0, start)
    end = begin + memo.text.count("\n", start, stop)
    return f"{match['source']}:{begin}" + (f"-{end}" if end > begin else "")


def _pieces(text: str) -> Iterator[_Piece]:
    """Sentences of paragraphs and items; rows of tables and lines of code whole; headings go with what follows."""
    heading, head, fenced, begin, place = "", "", False, -1, 0
    for line in [*text.splitlines(keepends=True), ""]:
        said = line.strip()
        title = None if fenced else _HEADING.match(line)
        set_apart = _RULE.fullmatch(said) or _COLUMNS.search(line.rstrip()) is not None
        row = fenced or said.startswith("|") or set_apart or (begin < 0 and line.startswith(("    ", "\t")))
        ends = not said or row or title or _FENCE.match(line) or _ITEM.match(line)
        head = head if said.startswith("|") else ""
        if begin >= 0 and ends:
            yield from _sentences(text, begin, place, heading)
            begin = -1
        if title:
            heading = title["text"]
        elif _FENCE.match(line):
            fenced = not fenced
        elif row:
            if re.search(r"\w", said):
                start = place + len(line) - len(line.lstrip())
                yield _Piece(start, start + len(said), heading, "row" if said.startswith("|") else "code", head)
                head = head or (said if said.startswith("|") else "")
        elif said and begin < 0:
            begin = place
        place += len(line)


def _sentences(text: str, begin: int, end: int, heading: str) -> Iterator[_Piece]:
    start = begin
    form: Form = "item" if _ITEM.match(text[begin:end]) else "prose"
    for match in [*_SENTENCE.finditer(text, begin, end), None]:
        stop = match.start() if match else end
        if match and (_SHORT.search(text, max(start, stop - 8), stop) or stop == start):
            continue
        body = text[start:stop]
        closing = re.match(rf"[{_CLOSING}]*", text[stop:end]) if match else None
        stop += closing.end() if closing else 0
        left = start + len(body) - len(body.lstrip())
        right = len(text[:stop].rstrip())
        if right > left and re.search(r"\w", text[left:right]):
            yield _Piece(left, right, heading, form)
        start = match.end() if match else end


def _begins(text: str) -> bool:
    first = next((character for character in text if character.isalnum()), "")
    return not first.islower()


def _ends(text: str) -> bool:
    return text.rstrip("\"')]*_\u201d\u2019 ")[-1:] in tuple(".!?:|\u3002\uff01\uff1f") or "\n" not in text


# -- what answers


@dataclass(frozen=True, slots=True)
class Ranked:
    """A statement, and how well it answers a question.

    Attributes:
        score: For the order.
        covered: The part of the question's weight that it and what is around it have.
        said: The words of the question that it has itself.
    """

    statement: Statement
    score: float
    covered: float
    said: frozenset[str]


class Weights:
    """How much a word says: the rarer it is among some statements, the more."""

    def __init__(self, found: Sequence[Statement]) -> None:
        self._found = found

    @cached_property
    def _counts(self) -> Counter[str]:
        return Counter(word for one in self._found for word in set(terms(one.text)) | one.around)

    def of(self, words: Iterable[str]) -> float:
        """What some words say together."""
        total = len(self._found)
        return sum(math.log(1 + total / (1 + self._counts[word])) + 0.1 for word in words)


def ranked(question: str, found: Sequence[Statement]) -> list[Ranked]:
    """Statements by how well they answer a question, best first, without those that ask or have nothing of it."""
    asked = asked_terms(question)
    weights = Weights(found)
    whole = weights.of(asked)
    scored: list[Ranked] = []
    for one in found:
        words = terms(one.text)
        said = frozenset(asked) & frozenset(words)
        near = (frozenset(asked) & one.around) - said
        if one.text.rstrip("*_ ").endswith("?") or (not said and not near and one.score < CERTAIN):
            continue
        own, beside = weights.of(said), weights.of(near)
        share = (own + _AROUND * beside) / whole if whole else 0.0
        score = share + _KIND * _is_of_kind(question, one.text) + _TRUST * one.score
        score += _DEFINES * _defines(question, one.text) - 0.1 * (one.form == "code")
        score -= min(max(len(words) - _SHORT_ENOUGH, 0) * 0.006, 0.25) + 0.1 * (not one.whole) + 0.1 * (len(words) < 3)
        scored.append(Ranked(one, score, (own + beside) / whole if whole else 0.0, said))
    return sorted(scored, key=lambda one: -one.score)


def _is_of_kind(question: str, text: str) -> bool:
    """Whether a text has the kind of thing that a question asks for."""
    return has_kind(question, text) or any(asks.search(question) and has.search(text) for asks, has in _KINDS)


def _defines(question: str, text: str) -> bool:
    """Whether a text begins by saying what that is which a question asks about: `What is a skill?`, `A skill is …`."""
    asked = _WHAT_IS.match(question)
    said = _IS.match(" ".join(_ITEM.sub("", text, count=1).split()))
    return asked is not None and said is not None and terms(asked["what"]) == terms(said["what"]) != []


def answers_it(one: Ranked, *, certain: bool = False) -> bool:
    """Whether a statement can be passed off as an answer: by what it has of the question and how sure memory is of it.

    Args:
        certain: Only without doubt: memory is certain, and the statement itself has several of the question's words.
    """
    if certain and (one.statement.score < CERTAIN or one.covered < MOST or len(one.said) < 2):
        return False
    return bool(one.said) and one.covered + one.statement.score >= ENOUGH


def chosen(question: str, best: Ranked, others: Sequence[Ranked], found: Sequence[Statement]) -> list[Statement]:
    """The statements of an answer: the best one, those that say more of what was asked, and a list that it begins."""
    weights = Weights(found)
    whole = weights.of(asked_terms(question)) or 1.0
    taken, said = [best.statement], set(best.said)
    for one in others:
        more = weights.of(one.said - said) / whole
        near = one.score >= _NEAR * best.score and one.statement.form != "code"
        if len(taken) < STATEMENTS and one.statement not in taken and near and more >= _MORE:
            taken.append(one.statement)
            said |= one.said
    if best.statement.text.rstrip("*_ ").endswith(":") and best.statement in found:
        place = found.index(best.statement) + 1
        following = found[place : place + _FOLLOWING]
        form = following[0].form if following else "prose"
        for part in following:
            if part.passage != best.statement.passage or part in taken or part.form != form or form == "prose":
                break
            taken.append(part)
    return taken


def extract(taken: Sequence[Statement], memos: Sequence[Memo], *, confidence: float) -> Cited | None:
    """An answer of statements as they stand; None if a quote is not found again where it is said to be."""
    sources: list[Citation] = []
    parts: list[str] = []
    for one in taken:
        citation = one.citation
        if not stands(one.quote, memos[one.passage].text):
            return None
        if citation not in sources:
            sources.append(citation)
        text = f"You said “{one.plain}”" if one.label == "user" else one.plain
        parts.append(marked(text, sources.index(citation) + 1))
    listed = any(one.form != "prose" for one in taken[1:])
    text = "\n".join([parts[0], *(f"- {part}" for part in parts[1:])]) if listed else " ".join(parts)
    return Cited(text, tuple(sources), confidence=round(min(confidence, 1.0), 2))


def marked(text: str, number: int) -> str:
    """A sentence with the number of its source, before its last mark."""
    end = text[-1:] if text[-1:] in ".!?" and text else ""
    return f"{text[: len(text) - len(end)]} [{number}]{end}"


def uncited(text: str) -> str:
    """A text without numbers of sources: a model that has seen some writes them behind what it makes up, too."""
    return _LOOSE.sub("", text)


def stands(quote: str, text: str) -> bool:
    """Whether a quote stands in a text word for word, but for line breaks, kinds of marks, and gaps (`…`)."""
    return find(quote, {"": plainly(text)}) is not None


# -- what a model wrote


def check(written: str, found: Sequence[Statement], memos: Sequence[Memo]) -> Cited | None:
    """An answer that a model wrote over numbered passages, sentence by sentence with the source that supports it.

    A sentence is supported by a statement that has its numbers and names and enough of its other words. What the model
    says its source is only decides between several that do.

    Returns:
        None if no sentence has support.
    """
    weights = Weights(found)
    sources: list[Citation] = []
    parts: list[str] = []
    unsupported: list[str] = []
    for sentence in _written(written):
        marks = {int(mark) - 1 for mark in _MARK.findall(sentence)}
        plain = _MARK.sub("", sentence).strip()
        if not terms(plain):
            parts.append(plain)
            continue
        best = _support(plain, found, marks, weights)
        if best is None or not stands(best.quote, memos[best.passage].text):
            unsupported.append(plain)
            parts.append(f"{plain} [?]")
            continue
        citation = best.citation
        if citation not in sources:
            sources.append(citation)
        parts.append(marked(plain, sources.index(citation) + 1))
    if not sources:
        return None
    share = 1 - len(unsupported) / max(len(parts), 1)
    return Cited(" ".join(parts), tuple(sources), tuple(unsupported), round(share, 2))


def _written(text: str) -> list[str]:
    """The sentences of a model's answer, each with the marks behind it."""
    joined = re.sub(r"([.!?])((?:\s*\[\d{1,2}\])+)", r"\2\1", text.strip())
    pieces = [joined[one.start : one.stop] for one in _pieces(joined)]
    return [" ".join(piece.split()) for piece in pieces]


def _support(sentence: str, found: Sequence[Statement], marks: set[int], weights: Weights) -> Statement | None:
    words = frozenset(terms(sentence))
    whole = weights.of(words) or 1.0
    best: tuple[float, Statement] | None = None
    for one in found:
        near = words & one.around
        if not facts_stand(sentence, one.text, near):
            continue
        own = words & frozenset(terms(one.text))
        share = (weights.of(own) + _AROUND * weights.of(near - own)) / whole
        if share >= SUPPORT and own:
            rank = share + 0.1 * (one.passage in marks)
            if best is None or rank > best[0]:
                best = (rank, one)
    return best[1] if best is not None else None


def facts_stand(sentence: str, text: str, near: frozenset[str] = frozenset()) -> bool:
    """Whether every number and name of a sentence is in a text.

    Args:
        near: Words that stand beside the text, of which a name may be made as well.
    """
    line = " ".join(text.split()).casefold()
    facts = {fact.casefold() for fact in _FACT.findall(sentence)}
    return all(
        re.search(rf"(?<!\w){re.escape(fact)}(?!\w)", line) or (fact.isalpha() and set(terms(fact)) <= near)
        for fact in facts
    )


def verbatim(text: str) -> Grammar:
    """A constraint under which only words can be written that follow each other so in a text.

    In llguidance's terms a `substring_words` expression: a suffix automaton over the text's words.
    """
    given = json.dumps({"substring_words": " ".join(text.split())}, ensure_ascii=False)
    return Grammar(f"start: QUOTE\nQUOTE: %regex {given}\n")


def numbered(memos: Sequence[Memo], *, characters: int) -> str:
    """Passages with their numbers, as a model reads them, as far as there is room; each at its share of it."""
    share = characters // max(len(memos), 1)
    parts: list[str] = []
    for number, memo in enumerate(memos, 1):
        text = memo.text.strip()
        shown = text if len(text) <= share else f"{text[:share].rsplit(' ', 1)[0]} …"
        parts.append(f"[{number}] {shown}")
    return "\n\n".join(parts)
