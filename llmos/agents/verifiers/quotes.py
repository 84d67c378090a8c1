"""A verifier that looks every quote up: it must stand in a source word for word, and it says where.

Only the form of characters and white space may differ (line breaks, kinds of dashes and quotation marks). Knows the
`read_file` tool by its name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmos.agents.report import Report
from llmos.agents.verdict import Verdict, Verifier
from llmos.agents.verifiers.common import brief, several, text_of, unsure_if_refused
from llmos.kernel.branch import Branch

MAX_PAGES = 20
"""How often a file is read on from where it was cut."""

MAX_QUOTES = 50

TELLING = 8
"""A quote of fewer characters stands almost anywhere: alone it proves nothing."""

_QUOTED = re.compile(r"\"([^\"]+)\"|“([^“”]+)”|„([^„“”]+)[“”]|«([^«»]+)»|((?:^[ \t]*>[^\n]*(?:\n|\Z))+)", re.MULTILINE)
_GAP = re.compile(r"\s*(?:\[\s*(?:…|\.\.\.)\s*\]|…|\.\.\.)\s*")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_SURE = re.compile(r"\d[\d.,:/-]*\d|\d|(?<=[\w,;] )[A-ZÀ-Þ][\w'-]*[a-zß-ÿ]\w*")
_GOES_ON = re.compile(r"\n… goes on: read from start=(\d+)\s*\Z")
_PLACE = re.compile(r"(?::\d+(?:-\d+)?| (?:p|line)\. ?\d+)\Z")
_FORMS = str.maketrans(
    dict.fromkeys(map(chr, (*range(0x2010, 0x2016), 0x2212)), "-")
    | dict.fromkeys("\u2018\u2019", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb", '"')
)


@dataclass(frozen=True, slots=True)
class Found:
    """A quote that stands in a source: its name and the line where it begins."""

    quote: str
    source: str
    line: int


def quotes_found(
    sources: Mapping[str, str] | None = None,
    *,
    process: Branch | None = None,
    files: tuple[str, ...] = (),
    claims: bool = False,
) -> Verifier[Any]:
    """Every quote of the answer stands in a source, word for word.

    Quotes are what stands in double quotation marks or in quoted lines (`> …`), and the quotes in a report's sources.
    Gaps (`…`) are allowed: the pieces must follow each other. Without any quote that could prove something it
    can't tell.

    Args:
        sources: Texts by name.
        process: Reads files; without it only `sources` are known.
        files: More sources in the workspace. If neither these nor `sources` are given, a report's own places are read.
        claims: Sentences without a quote must not have a number or a name that is in no source.
    """
    given = dict(sources or {})
    known: dict[str, str] = {}

    @unsure_if_refused
    async def check(value: Any) -> Verdict:  # noqa: ANN401  # whatever is checked
        texts = dict(given)
        cited = value.sources if isinstance(value, Report) else ()
        places = files if files or given else tuple(dict.fromkeys(_PLACE.sub("", one.place) for one in cited))
        for path in places:
            if path not in known and process is not None:
                known[path] = await _read(process, path)
            texts[path] = known.get(path, "")
        text = text_of(value)
        quotes = [*quotes_of(text), *(one.quote for one in cited if one.quote.strip())]
        return _verdict(text, quotes, texts, claims=claims)

    return Verifier(check, name="quotes_found")


def _verdict(text: str, quotes: list[str], texts: Mapping[str, str], *, claims: bool) -> Verdict:
    if not any(texts.values()):
        return Verdict("unsure", ("There is no source to look anything up in.",))
    plain = {name: plainly(text) for name, text in texts.items()}
    different = list(dict.fromkeys(quotes))
    found = {quote: find(quote, plain) for quote in different[:MAX_QUOTES]}
    wrong = [f"This is quoted but stands in no source: “{brief(quote, 120)}”" for quote, at in found.items() if not at]
    if claims:
        wrong += [f"No source says {word!r}: {brief(sentence, 120)}" for word, sentence in _unbacked(text, plain)]
    if wrong:
        return Verdict("fail", several(wrong))
    if len(different) > MAX_QUOTES:
        return Verdict("unsure", (f"It has {len(different):,} quotes; {MAX_QUOTES} are looked up.",))
    if not any(len(plainly(quote)[0]) >= TELLING for quote in quotes):
        return Verdict("unsure", ("Nothing is quoted: quote the words of the source that the answer rests on.",))
    return Verdict("pass", several([f"“{brief(at.quote, 80)}” {at.source}:{at.line}" for at in found.values() if at]))


def quotes_of(text: str) -> list[str]:
    """What a text quotes, in order."""
    found: list[str] = []
    for match in _QUOTED.finditer(text):
        quote = next(group for group in match.groups() if group is not None)
        if match[5] is not None:
            quote = re.sub(r"^[ \t]*>[ \t]?", "", quote, flags=re.MULTILINE)
        if re.search(r"\w", quote):
            found.append(quote.strip())
    return found


def find(quote: str, sources: Mapping[str, tuple[str, list[int]]]) -> Found | None:
    """Where a quote stands: the first source that has it. Sources are as `plainly` gives them."""
    pieces = [plainly(piece)[0].strip() for piece in _GAP.split(quote)]
    pieces = [piece for piece in pieces if re.search(r"\w", piece)]
    if pieces:
        pieces[-1] = pieces[-1].rstrip(".,;:!?")  # as some write it: the sentence's own mark before the closing one
    for name, (body, lines) in sources.items():
        start = place = -1
        for piece in pieces:
            place = _stands(piece, body, place + 1)
            if place < 0:
                break
            start = place if start < 0 else start
        if pieces and place >= 0:
            return Found(quote, name, lines[start])
    return None


def _stands(piece: str, body: str, begin: int) -> int:
    """Where whole words stand in a text, from a place on; -1 if nowhere."""
    before = r"(?<!\w)" if piece[0].isalnum() else ""
    after = r"(?!\w)" if piece[-1].isalnum() else ""
    match = re.compile(before + re.escape(piece) + after).search(body, begin)
    return match.start() if match else -1


def plainly(text: str) -> tuple[str, list[int]]:
    """A text with one form of dashes and quotation marks and single spaces; and for each character its line, from 1."""
    words: list[str] = []
    lines: list[int] = []
    number = 1
    for part in re.split(r"(\s+)", text):
        if not part or part.isspace():
            number += part.count("\n")
            continue
        word = unicodedata.normalize("NFKC", part).translate(_FORMS).replace("…", "...")
        words.append(word)
        lines += [number] * (len(word) + 1)
    return " ".join(words), lines


def _unbacked(text: str, sources: Mapping[str, tuple[str, list[int]]]) -> list[tuple[str, str]]:
    """Numbers and names that no source has, in sentences that quote nothing."""
    body = "\n".join(body for body, _ in sources.values())
    found: list[tuple[str, str]] = []
    bare = _QUOTED.sub(" ", text)
    for sentence in _SENTENCE.split(bare):
        for match in _SURE.finditer(plainly(sentence)[0]):
            word = match[0]
            if len(found) <= MAX_QUOTES and not re.search(rf"(?<!\w){re.escape(word)}(?!\w)", body):
                found.append((word, sentence))
    return found


async def _read(process: Branch, path: str) -> str:
    """A file as the agent may read it; empty where it can't be read."""
    pages: list[str] = []
    start = 1
    for _ in range(MAX_PAGES):
        result = await process.act("read_file", {"path": path, "start": start})
        if result.failed or result.retry:
            return ""
        goes_on = _GOES_ON.search(result.text)
        pages.append(result.text[: goes_on.start()] if goes_on else result.text)
        if goes_on is None:
            break
        start = int(goes_on[1])
    return "\n".join(pages)
