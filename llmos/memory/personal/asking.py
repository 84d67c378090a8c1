"""Questions and requests about what is known: to forget something, or to say why it is known. English."""

from __future__ import annotations

import re

EVERYTHING = "everything"
"""Stands for all that is known about the user."""

POLITE = (
    r"(?:(?:hey|hi|ok|okay|please|also|and|so|oh|kindly|well|yes|right|llmos|just)[\s,]+"
    r"|(?:can|could|would|will)\s+you\s+|I(?:'d|\s+would)\s+like\s+you\s+to\s+"
    r"|I\s+(?:want|need)\s+you\s+to\s+|make\s+sure\s+(?:that\s+)?(?:you\s+|to\s+)?|be\s+sure\s+to\s+|try\s+to\s+"
    r"|you\s+(?:should|must|have\s+to|can)\s+|let's\s+|always\s+){0,8}"
)
"""What may stand before an order. Needs `re.IGNORECASE`."""

_FORGET = re.compile(
    rf"{POLITE}(?:forget|unlearn|stop\s+remembering|(?:don't|do\s+not)\s+remember"
    rf"|no\s+longer\s+remember)\s+(?P<rest>.+)",
    re.IGNORECASE | re.DOTALL,
)
_ERASE = re.compile(
    rf"{POLITE}(?:delete|erase|remove|clear|wipe|drop)\s+(?P<rest>.+?)\s+(?:from|in|out\s+of)\s+(?:your\s+"
    rf"|the\s+|my\s+)?"
    rf"memory\b.*|{POLITE}(?:delete|erase|remove|clear|wipe)\s+(?P<known>(?:everything|all"
    rf"|what(?:ever)?)\s+(?:that\s+)?"
    r"you\s+(?:know|remember|have\s+stored)\s+about\s+.+)",
    re.IGNORECASE | re.DOTALL,
)
_FROM_MEMORY = re.compile(r"\s*,?\s*(?:please|from\s+(?:your\s+)?memory|again|any\s?more)$", re.IGNORECASE)
_ABOUT = re.compile(
    r"(?:(?:everything|all|anything|whatever|what|the\s+things?)\s+)?(?:(?:that\s+)?(?:I|you|we|I've"
    r"|you've)\s+(?:have\s+)?"
    r"(?:ever\s+)?(?:said|told\s+you|tell\s+you|know|knew|remember|learned|learnt|stored|saved|mentioned|talked)\s+)?"
    r"(?:(?:that\s+is\s+)?about|concerning|regarding|on)\s+(?P<x>.+)",
    re.IGNORECASE | re.DOTALL,
)
_ALL = re.compile(
    r"(?:everything|all|it\s+all|all\s+(?:my\s+)?(?:memories|data|personal\s+data|facts)"
    r"|(?:everything|all|what(?:ever)?|anything)\s+(?:that\s+)?(?:you\s+(?:know|remember|learned"
    r"|have)(?:\s+about\s+me)?"
    r"|about\s+me|I(?:'ve)?\s+(?:ever\s+)?told\s+you)|(?:about\s+)?me)",
    re.IGNORECASE,
)
_NOTHING = re.compile(
    r"(?:(?:about\s+)?(?:it|this|that|them|these|those|all\s+(?:of\s+)?(?:this|that|it))"
    r"|(?:about\s+)?(?:my|the|your|all)\s+(?:of\s+)?(?:the\s+|my\s+|your\s+)?(?:last|previous|prior|above"
    r"|earlier|first)\b.*"
    r"|(?:the|your|all|any)\s+(?:\w+\s+)?(?:instructions?|messages?|prompts?|questions?|rules|context|conversation)\b.*"
    r"|to\s+.*|for\s+now|what\s+I\s+(?:just\s+)?said)",
    re.IGNORECASE | re.DOTALL,
)
_FACT_THAT = re.compile(r"(?:the\s+fact\s+)?that\s+(?:you\s+know\s+(?:that\s+)?)?", re.IGNORECASE)
_WHY = re.compile(
    r"\W*(?:(?:and|so|but|ok|okay|hey|wait)[\s,]+)*(?:why|how\s+come|how|from\s+where|where|since\s+when)\s+"
    r"(?:(?:do|did|would|could|can)\s+)?you\s+(?:\w+\s+)?(?:know|knew|get|learn|think|believe|assume|remember"
    r"|say|have|find\s+out)"
    r"\b(?P<x>.*)|\W*(?:who\s+told\s+you|what\s+makes\s+you\s+think|when\s+did\s+I\s+(?:say|tell\s+you)"
    r"|where\s+did\s+I\s+say)"
    r"\b(?P<y>.*)",
    re.IGNORECASE | re.DOTALL,
)
_THIS = re.compile(
    r"(?:(?:about|of|from)\s+)?(?:this|that|it|all\s+(?:this|that)|so)?(?:\s+about\s+me)?", re.IGNORECASE
)
_YOURS = ((r"\byou\s+are\b|\byou're\b", "I am"), (r"\byou\b", "I"), (r"\byours?\b", "my"))


def to_forget(sentence: str) -> str | None:
    """What a sentence asks to forget: empty for nothing that can be known, None if it does not ask."""
    match = _FORGET.fullmatch(sentence) or _ERASE.fullmatch(sentence)
    if match is None:
        return None
    rest = next(group for group in match.groups() if group).strip(" .!?")
    while tail := _FROM_MEMORY.search(rest):
        rest = rest[: tail.start()]
    if _ALL.fullmatch(rest):
        return EVERYTHING
    return "" if _NOTHING.fullmatch(rest) else about(rest)


def about(text: str) -> str:
    """What a phrase is about: `everything you know about my dentist` is about `my dentist`."""
    text = _FACT_THAT.sub("", text.strip(), count=1) if _FACT_THAT.match(text.strip()) else text.strip()
    match = _ABOUT.fullmatch(text)
    return (match["x"] if match else text).strip(" .!?")


def asks_why(text: str) -> str | None:
    """What a question wants the reason of: `why do you know that I like tea?` is about `I like tea`.

    Returns:
        Empty if it only points at what was said before (`why do you know this?`); None if it is no such question.
    """
    match = _WHY.fullmatch(text.strip())
    if match is None:
        return None
    rest = (match["x"] or match["y"] or "").strip(" .!?,:")
    return "" if _THIS.fullmatch(rest) else about(rest)


def as_the_user_says(text: str) -> str:
    """A sentence to the user as the user would say it: `your dentist is Dr. Wu`, `you like tea`."""
    for pattern, own in _YOURS:
        text = re.sub(pattern, own, text, flags=re.IGNORECASE)
    return text
