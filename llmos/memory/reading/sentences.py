"""Where a text may be divided, and about how long it is for an embedding model.

Knows no tokenizer and no grammar: sentences end by punctuation, except after common abbreviations of English and
German.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Word pieces of a BERT vocabulary, about: a piece of a word has up to six letters, of a number up to three digits,
# each other sign is one, and so is each letter of scripts without spaces.
_PIECE = re.compile(r"[A-Za-z]{1,6}|[0-9]{1,3}|[^\W\d_\u2e80-\U0003ffff]{1,2}|\S")

# the second part is for Chinese and Japanese, where no space follows; the third is an empty line
_END = re.compile(
    r"[.!?\u2026]+[\"'\u201d\u2019\u00bb)\]]*(?=\s)"
    r"|[\u3002\uff01\uff1f\uff61][\u300d\u300f\u201d\u2019\uff09]*"
    r"|\n[ \t]*(?=\n)"
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[\"'“])(?:[A-Za-z]|[Mm]rs?|[Mm]s|[Dd]r|[Pp]rof|[Ss]t|No|[Nn]r|[Vv]ol|[Ff]ig|[Aa]bb|[Pp]p"
    r"|vs|etc|al|cf|ca|bzw|vgl|usw|evtl|ggf|inkl|[A-Za-z]\.[A-Za-z]|Jan|Feb|Mar|Apr|Aug|Sept?|Oct|Nov|Dec|Inc|Ltd|Co|Mt)\.$"
)
_LONGEST_ABBREVIATION = 8


def estimate(text: str) -> int:
    """About how many word pieces a text has for MiniLM's tokenizer.

    No part of a text has more than all of it, and its parts together have at least as many.
    """
    return len(_PIECE.findall(text))


def sentences(text: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """The sentences of a part of a text, with the space behind each: (start, stop), without gaps."""
    place = start
    for found in _END.finditer(text, start, stop):
        end = found.end()
        if end >= stop:
            break
        if text[end - 1] == "." and _is_abbreviated(text, start, end):
            continue
        while end < stop and text[end].isspace():
            end += 1
        if end < stop and text[end].islower() and text[found.start()] in ".…":
            continue
        yield place, end
        place = end
    if place < stop:
        yield place, stop


def _is_abbreviated(text: str, start: int, end: int) -> bool:
    return _ABBREVIATION.search(text[max(start, end - _LONGEST_ABBREVIATION) : end]) is not None
