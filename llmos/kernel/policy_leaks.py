"""Text that leaves: whether it is the user's own words, and where else it came from, also when it is disguised.

Content that leaves while other material is in sight must be the user's own words; whether it resembles the material is
looked up only to explain a refusal, since no search for resemblance can be complete (a summary, a translation, a
cipher). Knows no tool.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from llmos.kernel.calls import Label
from llmos.kernel.policy_records import Sight
from llmos.kernel.policy_values import hidden, leaves, lookalike, plain, word_set
from llmos.kernel.policy_words import Words

_WINDOW = 24
_PIECE = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*|[^\w\s]|_", re.UNICODE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}[\s:]?){4,}")
# may stand between the user's words without saying anything
_GLUE = word_set("a an and the to of for in on at is are with by or")


@dataclass(frozen=True, slots=True)
class Seen:
    """Where a text stands: a result, and how it was disguised."""

    label: Label
    source: str
    start: int
    end: int
    encoding: str = ""


def is_yours(text: str, words: Words) -> bool:
    """Whether a text is made of the user's own words: a few whole passages, and nothing that could carry more.

    Choice and order of passages, case, blanks and invisible characters can all carry a message, so each is bounded:
    passages are at most three, or one for every four words; only the first letter of a passage may change its case;
    blanks are single.
    """
    text = text.strip()
    if hidden(text) or re.search(r"[^\S\n]{2,}|\n{3,}|[^\S\n]\n|\n[^\S\n]", text):
        return False
    if not text or words.find(text):
        return True
    pieces = _PIECE.findall(text)
    if len(pieces) > 2_000:
        return False
    passages = _passages(pieces, _PIECE.findall(words.text))
    return passages is not None and passages <= max(3, len(pieces) // 4)


def _passages(pieces: list[str], said: list[str]) -> int | None:
    """How many passages of the request a text is made of, taking the longest each time; None if it isn't."""
    places: dict[str, list[int]] = {}
    for index, piece in enumerate(said):
        places.setdefault(piece.lower(), []).append(index)
    count = position = 0
    while position < len(pieces):
        longest = 0
        for start in places.get(pieces[position].lower(), ()):
            if _capital(pieces[position]) != _capital(said[start]):
                continue
            length = 1
            while (
                position + length < len(pieces)
                and start + length < len(said)
                and pieces[position + length] == said[start + length]
            ):
                length += 1
            longest = max(longest, length)
        if not longest and pieces[position].lower() not in _GLUE and not (pieces[position] in ".,!?" and position):
            return None
        count += 1
        position += longest or 1
    return count


def _capital(piece: str) -> str:
    return piece[:1].lower() + piece[1:]


def where_seen(text: str, sight: Sight) -> Seen | None:
    """The newest result that has a text in it, plain or disguised; None if none has it."""
    readings = list(_readings(text))
    for seen, said in sight.texts:
        for encoding, needle in readings:
            if (start := said.find(needle)) >= 0:
                return Seen(seen.label, source_of(seen.tool, seen.arguments), start, start + len(needle), encoding)
    return None


def material_in(text: str, sight: Sight) -> Seen | None:
    """The result from which part of a text came: the text in disguise, a window of it, or a long word."""
    if (whole := where_seen(text, sight)) is not None:
        return whole
    windows = [text[i : i + _WINDOW].lower() for i in range(0, min(len(text), 960) - _WINDOW + 1, _WINDOW)]
    words = sorted({w.lower() for w in re.findall(r"[\w@./:-]{6,}", text[:4_000])}, key=len, reverse=True)[:12]
    for seen, said in sight.texts:
        for part in (*windows, *words):
            if (start := said.find(part)) >= 0:
                return Seen(seen.label, source_of(seen.tool, seen.arguments), start, start + len(part))
    return None


def _readings(text: str) -> Iterator[tuple[str, str]]:
    """A text as it is, and what it could stand for."""
    yield "", text.lower()
    shown = lookalike(text)
    if shown != text.lower():
        yield "with hidden or look-alike characters", shown
    if len(text) < 6:
        return
    yield "reversed", text[::-1].lower()
    yield "rot13", codecs.encode(text, "rot13").lower()
    for name, decoded in (("URL-encoded", unquote(text)), ("HTML-encoded", html.unescape(text))):
        if decoded != text:
            yield name, decoded.lower()
    for name, pattern, decode in (("hex", _HEX, _from_hex), ("base64", _BASE64, _from_base64)):
        for found in pattern.finditer(text[:8_000]):
            if len(decoded := decode(found[0])) >= 4:
                yield f"as {name}", decoded.lower()


def _from_hex(text: str) -> str:
    try:
        return bytes.fromhex(re.sub(r"[\s:]", "", text)).decode("utf-8")
    except ValueError:
        return ""


def _from_base64(text: str) -> str:
    bare = text.rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return ""


def source_of(tool: str, arguments: Any) -> str:  # noqa: ANN401 - any JSON object
    """A result for people: `http.get 'https://…'`."""
    first = next((plain(leaf) for leaf in leaves(list(arguments.values()))), "")
    return f"{tool} {first}".rstrip()
