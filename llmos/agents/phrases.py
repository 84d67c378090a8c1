"""Takes free text out of a request: what to write, what to replace by what, what to look for.

Every text is a span of the words. English. Knows no tool.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from llmos.agents.spans import Span, of_kind
from llmos.agents.vocabulary import plain_words, vocabulary


@dataclass(frozen=True, slots=True)
class Phrase:
    """A part of the words, and how sure it is that it is what was looked for (a natural logarithm)."""

    text: str
    start: int
    end: int
    weight: float


_SAYING = re.compile(
    r"\b(?:that says|which says|saying|containing|contains|that reads|reading|that contains"
    r"|with (?:the )?(?:text|contents?|line|words?|sentence|note|message|following text))\b:?\s+",
    re.IGNORECASE,
)
_COLON = re.compile(r"(?<![\d\"]):\s+(?=\S)|:\n")
_PUT = re.compile(
    r"\b(?:write|save|put|store|note down|note|add|jot down|record|insert|place|append|enter)\s+(?P<x>.+?)\s*"
    r"\b(?:in|into|to|inside|as|on|onto|under)\s+(?=(?:(?:a|an|the|my|new|text|file|called|named)\s+)*$)",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"^(?:(?:the|this|these|those|a|my)\s+)?(?:following\s+)?(?:text|line|words?|sentence|note|phrase|name|message)\s+(?=\S)",
    re.IGNORECASE,
)
_MAKE_SAY = re.compile(r"^\s+(?:say|read|contain|hold)s?\s+(?P<x>\S.*)$", re.IGNORECASE | re.DOTALL)
_EMPTY = re.compile(r"\b(?:an? )?(?:new )?empty\b", re.IGNORECASE)
_EARLIER = re.compile(
    r"(?:it|that|this|them|these|those|(?:the|that|this|its) (?:result|answer|total|sum|date|number|output|list|listing"
    r"|contents?|text|value|weekday|copy)s?|a copy(?: of it)?|what (?:it|that) (?:is|says)|(?:a|the) copy)",
    re.IGNORECASE,
)
_END = r"(?=\s+(?:in|inside|of|within|on|throughout)\s+(?:the\s+)?(?:file\s+)?$|\s*[.!?]?$)"
_OLD, _NEW = r"(?P<x>\S.{0,400}?)", r"(?P<y>\S.{0,400}?)"
_REPLACE = (
    re.compile(rf"\bsubstitute\s+{_NEW}\s+for\s+{_OLD}{_END}", re.I),  # the new one comes first
    re.compile(rf"\b(?:replace|substitute|exchange)\s+{_OLD}\s+(?:by|with|for)\s+{_NEW}{_END}", re.I),
    re.compile(rf"\bswap\s+(?:out\s+)?{_OLD}\s+(?:for|with|by)\s+{_NEW}{_END}", re.I),
    re.compile(
        rf"\b(?:change|turn|correct|rename|update|set|fix|edit|modify|alter)\s+{_OLD}\s+(?:to|into)\s+{_NEW}{_END}",
        re.I,
    ),
)
_INSTEAD = re.compile(r"\s(?:instead of|rather than)\s+(?=\S)", re.IGNORECASE)
_REMOVE = re.compile(
    rf"\b(?:delete|remove|erase|cut|drop|strip|take out)\s+{_OLD}\s+(?:from|in|out of)\s+(?:the\s+)?(?:file\s+)?$",
    re.I,
)
_SOUGHT = re.compile(
    r"\b(?:mention(?:s|ed|ing)?|contain(?:s|ed|ing)?|about|talks? of|grep(?: for)?|search(?:ing)? for|look(?:ing)? for"
    r"|hunt for|look(?:ing)? up|google|search (?:the )?(?:web|internet|online)(?: for)?|search"
    r"|find|locate|with the words?|ha(?:s|ve) the words?|say(?:s|ing)?|refers? to|deals? with)\s+(?P<x>.+)",
    re.IGNORECASE,
)
_ORDER = re.compile(r"(?:grep|search|look|hunt|google|find|locate)", re.IGNORECASE)
_POLITE = re.compile(
    r"\W*(?:(?:please|can|could|would|will|you|now|then|and|also|help|me|let's|to|i|want|need|like|just)\W+)*",
    re.IGNORECASE,
)
_IN_FILES = re.compile(
    r"\b(?:files?|documents?|docs?|notes?|folders?|papers?|texts?|pages?)\b|\bwhere (?:did|do|have|was) I\b",
    re.IGNORECASE,
)
_PLACE = re.compile(
    r"\s+(?:in|inside|within|among|across|from)\s+(?:(?:all|any|of|the|my|these|this|our)\s+)*[\w./-]+"
    r"(?:\s+(?:folder|directory|files?|documents?|notes))?\s*$",
    re.IGNORECASE,
)
_ARTICLE = re.compile(
    r"^(?:(?:the|a|an|my|any|some|all|for|of|our|out|every)\s+|(?:something|anything|everything)(?:\s+about)?\s+"
    r"|(?:words?|phrase|term|text|string|name|topic)\s+(?=\S))+",
    re.IGNORECASE,
)
_FILES = re.compile(
    r"^(?:files?|documents?|notes?)\b(?:.*?\b(?:mention\w*|contain\w*|about|with|ha(?:s|ve)|say\w*)| for)\s+",
    re.IGNORECASE,
)


def is_earlier(text: str) -> bool:
    """Whether a text only points at what came before: `it`, `the result`, `a copy`."""
    return _EARLIER.fullmatch(text.strip().rstrip(".?!")) is not None


def content(words: str) -> list[Phrase]:
    """What is to be written into something, best first. The target must be a path in the words."""
    found: list[Phrase] = [Phrase(one.text, one.start, one.end, 6.0) for one in of_kind(words, "quoted")[:1]]
    paths = of_kind(words, "path")
    first = min((path.start for path in paths), default=0)
    if match := _SAYING.search(words):
        end = next((p.start for p in paths if p.start > match.end()), len(words))
        found.append(_trim(words, match.end(), _before_target(words, end), 4.5))
    if not found and (match := _COLON.search(words)) and (not paths or match.start() >= first):
        found.append(_trim(words, match.end(), len(words), 3.0))
    for path in paths:
        if (match := _MAKE_SAY.search(words[path.end :])) and re.search(
            r"\b(?:make|let|have)\s+$", words[: path.start], re.I
        ):
            found.append(_trim(words, path.end + match.start("x"), path.end + match.end("x"), 4.5))
        if match := _PUT.search(words[: path.start]):
            found.append(_labelled(words, *match.span("x"), 1.0))
    if not found and _EMPTY.search(words[: first or None]):
        return [Phrase("", 0, 0, 1.0)]
    if paths and replacement(words) is not None:  # a change, told like a text
        found = [one for one in found if one.weight >= 4]
    return [one for one in found if one.text and not _is_order(one.text)]


def _is_order(text: str) -> bool:
    """Whether a text is not what to write but what to write about: `a short poem about trees`."""
    first, *rest = plain_words(text) or [""]
    return first in ("a", "an", "some") and bool(set(rest[:3]) & vocabulary().creative)


def _before_target(words: str, end: int) -> int:
    match = re.search(r"\s+(?:in|into|to|as)\s+(?:(?:a|the|new|file|called|named)\s+)*$", words[:end], re.IGNORECASE)
    return match.start() if match else end


def replacement(words: str) -> tuple[Phrase, Phrase] | None:
    """What is to be replaced, and by what; None if nothing is. A removal is replaced by nothing."""
    for text, offset in _without_path(words):
        for pattern in _REPLACE:
            if match := pattern.search(text):
                old = _labelled(words, *_moved(match, "x", offset), 2.0)
                new = _labelled(words, *_moved(match, "y", offset), 2.0)
                if not any(of_kind(one.text, "path") for one in (old, new)):
                    return old, new
        if match := _INSTEAD.search(text):
            old = _labelled(words, match.end() + offset, offset + len(text.rstrip(" .!?")), 2.0)
            return old, _counterpart(words, offset, match.start() + offset, old.text)
        if match := _REMOVE.search(text):
            old = _labelled(words, *_moved(match, "x", offset), 2.0)
            return old, Phrase("", old.end, old.end, 2.0)
    return None


def _without_path(words: str) -> Iterator[tuple[str, int]]:
    """The parts of a request before and after the file it is about, and where they begin."""
    paths = of_kind(words, "path")
    if not paths:
        yield words, 0
        return
    yield words[: paths[0].start], 0
    yield words[paths[0].end :], paths[0].end


def _moved(match: re.Match[str], group: str, offset: int) -> tuple[int, int]:
    return match.start(group) + offset, match.end(group) + offset


def _counterpart(words: str, start: int, end: int, old: str) -> Phrase:
    """The last words of a stretch, as many as the text has that they come instead of."""
    quoted = [span for span in of_kind(words, "quoted") if start <= span.start < end]
    if quoted:
        return Phrase(quoted[-1].text, quoted[-1].start, quoted[-1].end, 2.0)
    pieces = list(re.finditer(r"\S+", words[start:end]))
    count = min(len(old.split()), len(pieces))
    begin = start + pieces[-count].start() if count else start
    return _labelled(words, begin, end, 1.5)


def query(words: str) -> list[Phrase]:
    """What to look for, best first."""
    found = [Phrase(one.text, one.start, one.end, 3.0) for one in of_kind(words, "quoted")[:1]]
    in_files = _IN_FILES.search(words) is not None
    for match in list(_SOUGHT.finditer(words))[::-1]:
        order = _ORDER.match(match[0]) is not None and _POLITE.fullmatch(words[: match.start()]) is not None
        if not (in_files or order):
            continue
        start, end = match.span("x")
        end = start + len(words[start:end].rstrip(" .?!"))
        while skipped := _FILES.match(words[start:end]) or _ARTICLE.match(words[start:end]):
            start += skipped.end()
        if place := _PLACE.search(words[start:end]):
            end = start + place.start()
        phrase = _trim(words, start, end, 1.5)
        if (
            phrase.text
            and not is_earlier(phrase.text)
            and phrase.text.lower() not in _TOO_WIDE
            and not of_kind(phrase.text, "path")
        ):
            found.append(phrase)
    longest = max((one.end for one in found), default=0)
    return sorted(found, key=lambda one: (-one.weight, longest - one.end, one.end - one.start))


_TOO_WIDE = {"files", "file", "documents", "document", "notes", "note", "here", "it", "folder", "this", "you", "found"}


def _labelled(words: str, start: int, end: int, weight: float) -> Phrase:
    """A stretch without quotes around it, or a name of its kind before it (`the word big`)."""
    if label := _LABEL.match(words[start:end]):
        start += label.end()
    return _trim(words, start, end, weight)


def _trim(words: str, start: int, end: int, weight: float) -> Phrase:
    for span in of_kind(words, "quoted"):
        if span.start - 1 <= start and end <= span.end + 2 and end > span.start:
            return Phrase(span.text, span.start, span.end, weight)
    polite = re.match(r"(?:could|can|would|will) you\b", words, re.IGNORECASE)
    ends = " ?" if polite else " "
    text = words[start:end]
    start += len(text) - len(text.lstrip())
    text = text.strip().rstrip(ends)
    text = re.sub(r"\s*(?:,? please)$", "", text)
    return Phrase(text, start, start + len(text), weight)


def targets(words: str) -> list[Span]:
    """Paths that something goes to: after in, into, to, as, called, named; the others after them."""
    found = of_kind(words, "path")
    after = re.compile(r"\b(?:in|into|to|as|called|named|inside|file)\s+[\"'`]?$", re.IGNORECASE)
    return sorted(found, key=lambda span: (not after.search(words[: span.start]), span.start))
