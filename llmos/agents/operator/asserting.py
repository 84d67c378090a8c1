"""What the words say must hold in the end: `… and make sure that the page says “Thank you”`. Knows no page and no tool.

Such a clause is no instruction: it is taken out of the words before they are read, and looked for afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_QUOTE = r"(?:“[^”]+”|\"[^\"]+\"|«[^»]+»)"
_CLAUSE = re.compile(
    r"[,;]?\s*(?:\b(?:and|then)\s+)*\b"
    r"(?:(?:make\s+sure|ensure|verify|confirm|check|see\s+to\s+it)\s+(?:that\s+)?|until\s+|so\s+that\s+)"
    r"(?:(?:the\s+(?:page|site|web\s?site|screen)|it)\s+(?:then\s+)?(?:says?|shows?|reads|displays?|contains?)\s+"
    rf"(?P<texts>{_QUOTE}(?:\s*(?:,|and)\s*{_QUOTE})*)"
    r"|the\s+(?:address|url)\s+(?:is|begins\s+with)\s+(?P<url>https?://[^\s\"”»]*[^\s\"”».,;:!?)]))",
    re.IGNORECASE,
)


def stated(task: str) -> Mapping[str, Any]:
    """What must hold of the last page, as arguments of the verifier `page_shows`; empty where the words say nothing."""
    found: dict[str, Any] = {}
    for clause in _CLAUSE.finditer(task):
        if clause["url"]:
            found["url"] = clause["url"]
        else:
            found.setdefault("texts", []).extend(quote[1:-1] for quote in re.findall(_QUOTE, clause["texts"]))
    return found


def without(task: str) -> str:
    """The words with blanks in place of what must hold, so that all else keeps its place."""
    return _CLAUSE.sub(lambda clause: " " * len(clause[0]), task)
