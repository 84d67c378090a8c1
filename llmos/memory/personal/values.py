"""Values as they stand in a clause: what belongs to them, what is only said around them, and lists of them.

English. Knows no attribute.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from llmos.memory.personal.vocabulary import vocabulary

MAX_VALUE = 12
"""A value that was not asked to be remembered has at most so many words."""

_CHANGED = (
    r"right\s+now|from\s+now\s+on|now|nowadays|these\s+days|any\s?more|any\s+longer|no\s+more|no\s+longer|again|instead"
    r"|as\s+of\s+(?:today|now)|since\s+(?:today|yesterday|last\s+\w+|this\s+\w+)"
)
_AROUND = (
    r"at\s+the\s+moment|currently|too|as\s+well|though|by\s+the\s+way|btw|actually|please|thanks|thank\s+you"
    r"|after\s+all"
    r"|so\s+far|either|at\s+all|very\s+much|so\s+much|a\s+lot|in\s+general|you\s+know|fyi|of\s+course|already"
    r"|the\s+most"
    r"|the\s+best|most\s+of\s+all|obviously|(?:all\s+)?that\s+much|yesterday|recently|lately|last\s+(?:week"
    r"|month|year|spring|summer"
    r"|autumn|fall|winter)|(?:about\s+)?(?:a|an|\w+)\s+(?:while|days?|weeks?|months?|years?)\s+ago"
)
_TAIL = re.compile(rf"[\s,;-]+(?:(?P<changed>{_CHANGED})|{_AROUND})[\s.!,;:]*$", re.IGNORECASE)
_REASON = re.compile(
    r"\s*,\s*so\b.*$|(?:\s*,)?\s+(?:because|'?cause|since\s+(?:I|my|it|the|we)\b|although|though|even\s+though"
    r"|but|so\s+(?:that|I|please|don't|do)"
    r"|which\s+is\s+why|in\s+case|when(?:ever)?\s+you|if\s+you)\b.*$|\s+(?:-+|\()\s*\D.*$",
    re.IGNORECASE,
)
_DEICTIC = re.compile(
    r"(?:it|I|we|us|to$|get|this|that|these|those|you|your|yours|him|her|his|them|their|they|he|she|me|myself"
    r"|how|what|where|who|why|when"
    r"|if|there|here|such|something|anything|everything|nothing|someone|one|another|both|all|none|more|same"
    r"|to\s+(?:know|see|ask"
    r"|have|be\s+able|go|get|do|try|use|hear|think|say|add|make|change|buy|book|order|understand|find)|not"
    r"|the\s+(?:way|idea|fact|first|second|third|last|next|other|same|new|one|result|answer|output|look|sound)"
    r"|some\s+help"
    r"|an?\s+(?:question|problem|bug|error|issue|feeling|look|doubt|lot|few|bit|couple|task|idea|request"
    r"|suggestion|file"
    r"|meeting|call|appointment|test|exam|deadline|headache|cold|moment|minute|choice|hard\s+time|different"
    r"|better|good))\b",
    re.IGNORECASE,
)
_POINTS = re.compile(r"\b(?:it|them|this|these|those|him|yours?)\b", re.IGNORECASE)
_CODE = re.compile(r"[{}<>=;`\\|]|\w\(|::|->|\.\.\.")
_TITLE = re.compile(r"(?:the)\s+(?![A-Z])")
_JOIN = re.compile(r"\s*,\s*(?:and\s+|or\s+|nor\s+)?|\s+(?:and|or|nor|&)\s+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Tail:
    """A clause without what is only said around it, and whether that said that things have changed."""

    text: str
    changed: bool


def untailed(text: str) -> Tail:
    """A clause without `now`, `too`, `by the way` and the like at its end."""
    changed = False
    while match := _TAIL.search(text):
        if not text[: match.start()].strip():
            break
        changed = changed or match["changed"] is not None
        text = text[: match.start()]
    return Tail(text.rstrip(" .!,;:-") if text.strip(" .!,;:-") else text, changed)


def clean(value: str) -> str:
    """A value without reasons, quotes and what is only said around it."""
    value = untailed(_REASON.sub("", value.strip())).text
    value = value.strip(" ,;:!")
    if len(value) > 2 and value[0] in "\"'" and value[-1] == value[0]:
        value = value[1:-1]
    return value.strip(' ,;:!"') if value.count('"') % 2 else value.strip(" ,;:!")


def solid(value: str, *, strict: bool = True) -> bool:
    """Whether a value stands for itself, and does not only point at something.

    Args:
        strict: It must be short and no code too.
    """
    if not re.search(r"\w", value) or _DEICTIC.fullmatch(value):
        return False
    if not strict:
        return True
    return (
        len(value.split()) <= MAX_VALUE
        and not _DEICTIC.match(value)
        and not _POINTS.search(value)
        and not _CODE.search(value)
        and not _TITLE.match(value)
    )


def is_name(value: str) -> bool:
    """Whether a text is written like the name of a person, and is no nationality."""
    words = value.split()
    return (
        1 <= len(words) <= 3
        and all(re.fullmatch(r"[A-Z][\w.'-]*", word) for word in words)
        and words[0].lower() not in vocabulary().demonyms | vocabulary().languages
        and not (len(words) == 1 and len(value) > 1 and value.isupper())
    )


_GOES_WITH = re.compile(r"(?:with|without|in|at|on|from|by|before|after|during|except)\b", re.IGNORECASE)
"""Says how something is meant that stands before it, and is no thing by itself."""


def pieces(value: str) -> list[str]:
    """The parts of a list: `tea, coffee and cake`. What may be one thing stays so: `salt and vinegar crisps`."""
    lowered = value.lower()
    if any(pair in lowered for pair in vocabulary().pairs):
        return [value] if "," not in value else _split(value, only_commas=True)
    parts = _split(value, only_commas=False)
    if len(parts) < 2 or any(len(part.split()) > 4 or _GOES_WITH.match(part) for part in parts):
        return [value]
    sizes = {len(re.sub(r"^(?:an?|the|my)\s+", "", part, flags=re.I).split()) for part in parts}
    listed = "," in value and len(parts) > 2
    return parts if listed or len(sizes) == 1 else [value]


def _split(value: str, *, only_commas: bool) -> list[str]:
    pattern = re.compile(r"\s*,\s*(?:and\s+|or\s+)?") if only_commas else _JOIN
    return [part.strip() for part in pattern.split(value) if part.strip()]
