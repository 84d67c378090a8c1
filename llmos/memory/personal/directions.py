"""Directions for the time to come: `from now on answer in German`, `always use metric units`, `never use emojis`.

What is to be done once is none. English. Knows no turn.
"""

from __future__ import annotations

import re

from llmos.memory.personal.statements import Statement, parse
from llmos.memory.personal.values import clean
from llmos.memory.personal.vocabulary import attribute_key, vocabulary

_FROM_NOW = re.compile(
    r"(?:from\s+now\s+on|from\s+here\s+on|in\s+(?:the\s+)?future|going\s+forward|for\s+all\s+(?:future\s+)?"
    r"(?:answers|replies|responses|conversations))\b[\s,:]*(?P<rest>.+)|(?P<before>.+?)[\s,]+(?:from\s+now\s+on"
    r"|in\s+(?:the\s+)?future|going\s+forward)[\s.!]*$",
    re.IGNORECASE,
)
_ALWAYS = re.compile(
    r"(?:please\s+)?(?P<how>always|never|do\s+not\s+ever|don't\s+ever)\s+(?P<rest>(?:answer|reply|respond|write"
    r"|speak|talk"
    r"|use|keep|address|call|give\s+me|show|format|sign|start|begin|end|explain|be|avoid|include|cite|translate"
    r"|ask|add|put"
    r"|round|convert|suggest|recommend|book|quote)\b.+)",
    re.IGNORECASE,
)
_NOT = re.compile(r"(?:please\s+)?(?:don't|do\s+not|never|not\s+to|not)\s+(?!forget\b)(?P<rest>\S.*)", re.IGNORECASE)
_TO = re.compile(r"to\s+(?P<rest>\w.+)|(?P<not>not\s+to\s+\w.+)", re.IGNORECASE)
_LANGUAGE = re.compile(
    r"(?:please\s+)?(?:answer|reply|respond|write|speak"
    r"|talk)(?:\s+(?:to\s+)?me)?\s+(?:only\s+)?in\s+(?P<value>[A-Za-z]+)",
    re.IGNORECASE,
)
_MANNER = re.compile(
    r"(?:please\s+)?(?:(?:be|stay|keep\s+it)\s+(?P<being>(?:more\s+|very\s+|as\s+)?(?:brief|short|concise|terse"
    r"|detailed|verbose"
    r"|thorough|formal|informal|polite|casual|friendly)(?:\s+as\s+possible)?)"
    r"|(?:answer|reply|respond)(?:\s+(?:to\s+)?me)?\s+(?P<manner>briefly|concisely|formally"
    r"|in\s+(?:one|a\s+few|two|full|short|simple)\s+\w+|in\s+detail|in\s+bullet\s+points)"
    r"|(?:give|write|send)(?:\s+me)?\s+(?P<given>(?:[\w-]+\s+){1,3}(?:answers|replies|responses|explanations)))",
    re.IGNORECASE,
)
_NO_ORDER = re.compile(r"(?:I|I'm|my|we|our|he|she|they|it|there|the|you)\b", re.IGNORECASE)


def directed(sentence: str, *, asked: bool) -> tuple[Statement, bool] | None:
    """What a sentence directs, and whether it says that it is to last; None if it is no direction.

    Args:
        asked: It is to be remembered: then it needs no word that says that it lasts.
    """
    text, lasting = sentence.strip(" .!"), asked
    if match := _FROM_NOW.fullmatch(text):
        text, lasting = (match["rest"] or match["before"]).strip(" ,"), True
    if asked and (match := _TO.fullmatch(text)):
        text = match["rest"] or match["not"]
    elif text == sentence.strip(" .!") and not _ALWAYS.fullmatch(text) and not asked:
        return None
    holds = True
    if match := _ALWAYS.fullmatch(text):
        holds, text = match["how"].lower() == "always", match["rest"]
    elif lasting and (match := _NOT.fullmatch(text)):
        holds, text = False, match["rest"]
    if _NO_ORDER.match(text):
        return None
    statement = _statement(text, holds, sentence.strip(), general=text != sentence.strip(" .!"))
    return (statement, lasting) if statement else None


def _statement(text: str, holds: bool, sentence: str, *, general: bool) -> Statement | None:
    if (match := _LANGUAGE.fullmatch(text)) and match["value"].lower() in vocabulary().languages:
        return Statement(
            attribute="answer language", value=match["value"], kind="preference", holds=holds, text=sentence
        )
    if match := _MANNER.fullmatch(text):
        value = next(group for group in match.groups() if group)
        return Statement(attribute="answer", value=clean(value), kind="preference", holds=holds, text=sentence)
    for statement in parse(text, asked=True):  # "from now on, call me Sam" is a statement, and no direction
        if statement.attribute in ("called", "answer"):
            return statement
    if not general:
        return None
    name = attribute_key("instructions")
    return Statement(attribute=name, value=clean(text), kind="preference", holds=holds, many=True, text=sentence)
