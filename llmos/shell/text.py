"""Small things about text on a terminal. Knows no terminal library."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from llmos.errors import LlmosError

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def harmless(text: str) -> str:
    """A text that can't move the cursor, ring a bell, reorder a line or break the encoding.

    Control characters except newline and tab, bidirectional overrides and lone surrogates become U+FFFD.
    """
    return _CONTROLS.sub("\ufffd", text.replace("\r\n", "\n"))


def joined(words: str, material: str) -> str:
    """A message with some material below it."""
    return "\n\n".join(part for part in (words, material) if part.strip())


def columns(rows: Sequence[tuple[str, str]], *, indent: int = 2) -> str:
    """Two columns, the second one aligned."""
    width = max((len(left) for left, _ in rows), default=0)
    return "\n".join(f"{' ' * indent}{left:<{width}}  {right}".rstrip() for left, right in rows)


def complaint(message: str, hint: str) -> str:
    """What went wrong, for people: what happened, and below it what to do. All that llmos complains of looks so."""
    first, *below = [*message.splitlines(), *hint.splitlines()] or [""]
    return harmless("\n  ".join((f"error: {first}", *below)))


def traced(error: LlmosError) -> str:
    """Where an error came from, as Python prints it, if `LLMOS_DEBUG` is set; otherwise ""."""
    if not os.environ.get("LLMOS_DEBUG"):
        return ""
    import traceback

    return harmless("".join(traceback.format_exception(error)))
