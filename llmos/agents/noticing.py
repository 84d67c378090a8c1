"""What code can see of some work, for a model that judges it: its shape, which values are new, which of the task are
left out. A small model can go by what is said to it; comparing texts itself it does badly. Knows no engine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from llmos.agents.vocabulary import plain_words, stem, vocabulary

MOST = 4
"""So many words of a kind are named."""

_TOKEN = re.compile(r"\w+(?:[.,:/'\u2019-]\w+)*")
_SENTENCE_END = re.compile(r"(?<!\bMr)(?<!\bMs)(?<!\bMrs)(?<!\bDr)(?<!\bSt)(?<!\b[A-Z])[.!?](?=\s|$)")
_NUMBERED = re.compile(r"\d+[.)]\s")
_MARK = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s", re.M)
_DIGIT = re.compile(r"\d")


def noticed(task: str, work: str, source: str = "") -> str:
    """One line on some work: its shape; what it says that neither task nor source does; what it leaves out.

    Values come before words: numbers first, then what begins with a capital letter.
    """
    asked, given, said = _words(task), _words(source), _words(_MARK.sub("", work))
    new = [word for key, word in said.items() if key not in asked and key not in given]
    parts = [_shape(work), f"new: {_listed(new)}", f"left out: {_listed(w for k, w in asked.items() if k not in said)}"]
    if source:
        parts.append(f"left out of the source: {_listed(w for k, w in given.items() if k not in said)}")
    return "; ".join(parts)


def _listed(words: Iterable[str]) -> str:
    some = sorted(dict.fromkeys(words), key=lambda word: 2 - word[:1].isupper() - 2 * bool(_DIGIT.search(word)))
    more = f" and {len(some) - MOST} more" if len(some) > MOST else ""
    return ", ".join(some[:MOST]) + more if some else "nothing"


def _words(text: str) -> dict[str, str]:
    """What a text says, each as it stands, by a form that is the same however it is written."""
    found: dict[str, str] = {}
    for match in _TOKEN.finditer(text):
        word = match[0]
        if _DIGIT.search(word):
            found.setdefault(_number(word), word)
        else:
            for part in plain_words(word):
                if part not in vocabulary().stop and (len(part) > 1 or not part.isascii()):
                    found.setdefault(stem(part), word)
    return found


def _number(word: str) -> str:
    """1,250.00 and 1250 are the same; 17:50 stays as it is."""
    plain = word.replace(",", "").casefold()
    return plain.rstrip("0").rstrip(".") if re.fullmatch(r"\d+\.\d+", plain) else plain


def _shape(work: str) -> str:
    text = work.strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    parts = [_kind(text, lines)]
    letters = [sign for sign in text if sign.isalpha()]
    if len(letters) > 1 and all(not sign.islower() for sign in letters):
        parts.append("capitals")
    elif letters and all(not sign.isupper() for sign in letters):
        parts.append("small letters")
    if text.endswith("?"):
        parts.append("a question")
    return ", ".join(parts)


def _kind(text: str, lines: list[str]) -> str:
    if text[:1] in "[{":
        try:
            value: Any = json.loads(text)
        except (ValueError, RecursionError):
            if '"' in text:
                return "broken JSON"
        else:
            return "JSON object" if isinstance(value, dict) else f"JSON list of {len(value)}"
    if re.fullmatch(r"<(\w+)[^>]*>.*</\1>", text, re.S):
        return "XML"
    count = len(lines)
    if count > 1 and all(line.startswith("|") for line in lines):
        return f"table of {count} lines"
    if count and all(line[:2] in ("- ", "* ", "• ") for line in lines):
        return f"bulleted list of {count}"
    if count and all(_NUMBERED.match(line) for line in lines):
        return f"numbered list of {count}"
    if count > 1:
        return f"{count} lines"
    sentences = len(_SENTENCE_END.findall(text))
    if sentences:
        return f"{sentences} sentence{'s' if sentences > 1 else ''}, {len(text.split())} words"
    if ";" in text:
        return f"{text.count(';') + 1} parts with semicolons"
    if ", " in text:
        return f"{text.count(', ') + 1} parts with commas"
    if re.fullmatch(r"[\w ]+[=:] ?.+", text):
        return "name and value"
    if re.fullmatch("[\"'`\u2018\u201c].*[\"'`\u2019\u201d]", text):
        return "in quotes"
    words = len(text.split())
    return f"{words} word{'s' if words != 1 else ''}"
