"""Which words of a turn are to be remembered or forgotten: requests, corrections, directions, statements by the way.

What the user quotes, pastes, asks, supposes or has written for somebody else is none of it. English. Knows no store.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from llmos.kernel.policy_words import Words
from llmos.memory.personal.asking import POLITE, to_forget
from llmos.memory.personal.directions import directed
from llmos.memory.personal.statements import NOTE, Statement, parse

MAX_READ = 4_000
"""So many characters of a turn are read. A longer one is material; if it begins with a request to remember, all of it
is kept as it is."""

MAX_SENTENCE = 400
"""A sentence of more characters states nothing by the way."""


@dataclass(frozen=True, slots=True)
class Said:
    """A statement in a turn.

    Attributes:
        explicit: It is asked to be remembered, corrects what was said before, or tells how to behave from now on.
            Otherwise it was said by the way.
        turn: The words of the turn in which it was said.
    """

    statement: Statement
    explicit: bool
    turn: str


@dataclass(frozen=True, slots=True)
class Turn:
    """What a turn has for the memory.

    Attributes:
        forget: What is to be forgotten, in the user's words; `EVERYTHING` stands for all.
    """

    said: tuple[Said, ...] = ()
    forget: tuple[str, ...] = ()


_PASTED = "\x00"
_EDGES = " .!,;:-\x00"
_TOKEN = re.compile(r"\S+")
_END = re.compile(r"(?P<mark>[.!?]+)[\"')\]]*(?=\s|$)|\n+|;\s")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:[B-HJ-Z]|Dr|Mr|Mrs|Ms|Prof|Rev|Fr|Sr|Jr|St|Mt|Ave|Rd|Blvd|Apt|Inc|Ltd|Co|Corp|vs|etc|approx"
    r"|no|No|tel"
    r"|[ap]\.m|e\.g|i\.e|Ph\.D|(?:[A-Z]\.)+[A-Z])$"
)
_FILLER = re.compile(
    r"(?:(?:well|so|oh|ok|okay|hi|hello|hey|yes|yeah|yep|sure|right|great|thanks|thank\s+you|also|and|but|btw"
    r"|by\s+the\s+way"
    r"|as\s+you\s+know|to\s+be\s+honest|honestly|in\s+general|generally|good\s+(?:morning|evening|afternoon|day)"
    r"|hi\s+there|hello\s+there|oh\s+and|and\s+also|one\s+more\s+thing|llmos|plus)\b[\s,!:.-]+|[-*•]\s+"
    r"|\d{1,2}[.)]\s+)",
    re.IGNORECASE,
)
_WEAK = re.compile(
    r"(?:(?:please\s+)?note\s+that|fyi|for\s+(?:the\s+record|your\s+information|future\s+reference|next\s+time|context)"
    r"|just\s+so\s+(?:that\s+)?you\s+know|just\s+to\s+let\s+you\s+know|(?:so\s+)?you\s+(?:should|need\s+to|must)\s+know"
    r"(?:\s+that)?|I\s+(?:just\s+)?want(?:ed)?\s+(?:you\s+)?to\s+(?:know|let\s+you\s+know|tell\s+you)(?:\s+that)?"
    r"|let\s+me\s+tell\s+you(?:\s+that)?|I(?:'ve|\s+have)?\s+(?:already\s+)?told\s+you(?:\s+(?:that|before))*"
    r"|as\s+I(?:'ve)?\s+(?:said|told\s+you"
    r"|mentioned)(?:\s+before)?|it(?:'s|\s+is)\s+important\s+(?:that\s+you|to)\s+know(?:\s+that)?"
    r"|be\s+aware\s+that|important)\b[\s,:-]*",
    re.IGNORECASE,
)
_CORRECTION = re.compile(
    r"(?:(?:no|nope|wrong|sorry|correction)(?=\s*(?:[,.:;!-]|$))|that(?:'s|\s+is)\s+(?:wrong|not\s+right"
    r"|incorrect|not\s+true|outdated|old|no\s+longer\s+true)"
    r"|not\s+quite|not\s+any\s?more|actually|I\s+meant|I\s+mean|update(?=\s*[:,.-])|scratch\s+that"
    r"|I(?:'ve|\s+have)?\s+changed\s+my\s+mind)\b(?:[\s,.:;!-]+|$)",
    re.IGNORECASE,
)
_FOR_LATER = r"for\s+(?:me|later|next\s+time|the\s+future)"
_REMEMBER = re.compile(
    rf"{POLITE}(?:"
    r"(?P<all>#\s*(?:note|remember|memo)\b|(?:note\s+to\s+self|memo|note|reminder)\s*(?=:))"
    r"|remember|memori[sz]e|keep\s+in\s+(?:mind|memory)|bear\s+in\s+mind"
    r"|(?:don't|do\s+not|never)\s+(?:ever\s+)?forget(?!\s+to\b)"
    r"|make\s+a\s+(?:mental\s+)?note|take\s+(?:a\s+)?note|note\s+down|jot\s+down|commit\s+to\s+memory"
    r"|(?:add|save|store|put|write)\s+(?:this|it|that)?\s*(?:down\s+)?(?:to|in|into)\s+(?:your\s+|the\s+|my\s+)?memory"
    r"|learn(?=\s+that)|(?:keep|save|store|record|retain)"
    rf"(?=\s+(?:this|the\s+following)(?:\s+{_FOR_LATER})*\s*:|\s+that\s+(?:I|my|we|our)\b))"
    rf"(?P<gap>(?:\s*[,:-])?(?:\s+(?:this|the\s+following|{_FOR_LATER})"
    rf"(?=\s*[:,.-]|\s+{_FOR_LATER}|\s+that\b|\s*$))*\s*[,:-]?\s*(?:of\s+)?(?:(?:the\s+fact\s+)?that\b(?!\s*[.!]?$))?\s*[,:-]?\s*)(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_RECALLS = re.compile(r"remember\b.*\?", re.IGNORECASE | re.DOTALL)  # "Remember that film?"
_NO_MATTER = re.compile(
    r"(?:when|what|where|who|whom|whose|which|how|if|whether|why|the\s+time)\b(?!.*:\s*\S)"
    r"|(?:this|that|it|them|these|me|us|everything|all\s+(?:of\s+)?(?:this|that|it))[\s.!?]*$|about\b"
    r"|the\s+(?:last|previous)\b",
    re.IGNORECASE,
)
_AFTERTHOUGHT = re.compile(
    r"(?:^|[,;:.-]\s*|\s(?=(?:so|and|please|can|could)\s))(?:so\s+|and\s+)?(?:please\s+|(?:can|could)\s+you\s+)?"
    r"(?:remember|memori[sz]e|keep|bear|note|don't\s+forget|do\s+not\s+forget|never\s+forget|write)\s+(?:that|this|it)"
    r"(?:\s+(?:in\s+(?:mind|memory)|down|please|too|for\s+(?:me|later|next\s+time|the\s+future"
    r"|future\s+(?:reference|conversations?))))*[\s.!?]*$",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"(?:who|whom|whose|when|where|what|which|why|how|did|do|does|has|have|had|was|were|is|are|am|can|could"
    r"|would|will|should"
    r"|may|shall)\b",
    re.IGNORECASE,
)
_UNREAL = re.compile(
    r"\b(?:if\s+I|if\s+my|suppose|imagine|pretend|let's\s+say|assum(?:e|ing)|what\s+if|as\s+if|as\s+though"
    r"|I\s+wish|role-?play"
    r"|hypothetically|for\s+example|e\.g\.|maybe|perhaps|might|supposedly|joking|kidding)(?!\w)",
    re.IGNORECASE,
)
_COMPOSE = re.compile(
    rf"{POLITE}(?:(?:help\s+me\s+(?:to\s+)?)?(?:write|draft|compose|translate|say|rephrase|rewrite|paraphrase"
    rf"|summari[sz]e"
    r"|correct|proofread|improve|shorten|expand|continue|complete|finish|imagine|pretend|suppose|act|fix|edit"
    r"|reply\s+to"
    r"|respond\s+to|e-?mail|text|send|post|print|echo|repeat|classify|spell|conjugate|parse|extract|label|quote|type)\b"
    r"(?!\s+(?:me|to\s+me|in\s+[A-Z]\w+)\b(?!.*:))"
    r"|(?:what\s+does|how\s+do\s+(?:I|you)\s+say|is\s+this\s+(?:sentence|correct|right)|which\s+(?:is|sentence))\b)",
    re.IGNORECASE,
)
_CLAUSES = re.compile(
    r"\s*(?:,|;|\s-+)?\s+(?:and|but|plus|while|so)\s+(?:also\s+|that\s+)?(?=(?:I|I'm|I've|my|we)\b)"
    r"|\s*[,;]\s+(?=(?:I|my)\b)|\s+-+\s+",
    re.IGNORECASE,
)
_SAME_SUBJECT = re.compile(
    r"\s*,?\s+(?:and|but)\s+(?:also\s+)?(?=(?:like|love|hate|enjoy|prefer|live|work|speak|play|drink|eat|don't"
    r"|do\s+not|can't"
    r"|am|dislike|drive|study)\s)",
    re.IGNORECASE,
)


def read(text: str, *, asked: bool = False) -> Turn:
    """What a turn of the user has for the memory.

    Args:
        text: The whole turn.
        asked: The user was asked what he states here: all of it counts as explicit.
    """
    if len(text) > MAX_READ:
        return _long(text)
    sentences = _own_sentences(text)
    material = _is_material(sentences)
    said: list[Said] = []
    forget: list[str] = []
    corrects = False
    for number, sentence in enumerate(sentences):
        bare, now_corrects = _uncorrected(_unfilled(sentence))
        corrects = corrects or now_corrects
        if not bare:
            continue  # "No." corrects with the sentence that follows
        match = _REMEMBER.fullmatch(bare)
        if (wanted := to_forget(bare)) is not None:
            forget += [wanted] if wanted else []
        elif match and (match["all"] or ":" in match["gap"]):  # what follows belongs to it
            said += _asked("\n".join([match["rest"], *sentences[number + 1 :]]), sentence=sentence)
            break
        elif _is_afterthought(bare):  # "Remember that." is about what was said before it
            said = [replace(one, explicit=True) for one in said] or _asked_before(sentences[:number], material)
        elif match and _RECALLS.fullmatch(bare):
            continue
        elif match:
            said += _asked(match["rest"], sentence=sentence)
        elif not material:
            said += _by_the_way(bare, turn=sentence, asked=asked, corrects=corrects)
        corrects = False
    return Turn(tuple(said), tuple(forget))


def own_clauses(text: str) -> list[str]:
    """The clauses of a turn that may state something about the user: no quotes, questions, suppositions or drafts."""
    sentences = _own_sentences(text) if len(text) <= MAX_READ else []
    return [
        clause
        for sentence in sentences
        if not _is_material(sentences) and not _is_no_statement(bare := _unfilled(sentence)) and not _ASKS.match(bare)
        for clause in _clauses(bare.strip(_EDGES))
        if re.search(r"\b(?:I|my|me|we|our)\b", clause, re.IGNORECASE)
    ]


def _long(text: str) -> Turn:
    """A turn that is too long to be read: only what it asks to be kept, as it is."""
    text = text.strip()
    match = _REMEMBER.match(text[:200])
    if match is None or not (rest := text[match.start("rest") :].strip()):
        return Turn()
    return Turn((Said(_note(rest), True, rest),))


def _own_sentences(text: str) -> list[str]:
    """The sentences of a turn; a mark stands before each word that the user only quotes."""
    words = Words((text,))
    parts: list[str] = []
    end = 0
    for token in _TOKEN.finditer(words.text):
        parts.append(words.text[end : token.start()])
        parts.append(f"{_PASTED if words.is_pasted(token.start()) else ''}{token[0]}")
        end = token.end()
    return [one.strip() for one in _sentences("".join(parts)) if one.strip(_EDGES)]


def _sentences(text: str) -> Iterator[str]:
    start = 0
    for match in _END.finditer(text):
        if match["mark"] == "." and _ABBREVIATION.search(text[start : match.start()]):
            continue
        yield text[start : match.end() if match["mark"] else match.start()]
        start = match.end()
    yield text[start:]


def _is_material(sentences: Sequence[str]) -> bool:
    """Whether a turn is about a text that is written, translated or corrected: what it says, the user need not mean."""
    return any(_COMPOSE.match(_unfilled(sentence)) for sentence in sentences)


def _is_no_statement(sentence: str) -> bool:
    return (
        len(sentence) > MAX_SENTENCE
        or _PASTED in sentence
        or sentence.rstrip().endswith("?")
        or _UNREAL.search(sentence) is not None
    )


def _unfilled(sentence: str) -> str:
    sentence = sentence.strip()
    while match := _FILLER.match(sentence):
        sentence = sentence[match.end() :]
    return sentence


def _uncorrected(sentence: str) -> tuple[str, bool]:
    """A sentence without `no, …` or `actually, …` before it, and whether that stood there."""
    corrects = False
    while match := _CORRECTION.match(sentence):
        corrects = True
        sentence = _unfilled(sentence[match.end() :])
    return sentence, corrects


def _unweakened(sentence: str) -> str:
    while match := _WEAK.match(sentence):
        sentence = _unfilled(sentence[match.end() :])
    return sentence


def _is_afterthought(sentence: str) -> bool:
    match = _AFTERTHOUGHT.search(sentence)
    return match is not None and match.start() == 0


def _asked_before(sentences: Sequence[str], material: bool) -> list[Said]:
    """The sentence before a request to remember that does not say what."""
    return _asked(sentences[-1], sentence=sentences[-1]) if sentences and not material else []


def _asked(rest: str, *, sentence: str) -> list[Said]:
    """What is asked to be remembered: statements, and as a note what is none."""
    parts = [part.strip(_EDGES + "?\n") for part in _sentences(rest)]
    parts = [part for part in parts if part and not _NO_MATTER.match(part)]
    return [one for part in parts for one in _read_asked(part, turn=sentence if len(parts) == 1 else part)]


def _read_asked(text: str, *, turn: str) -> list[Said]:
    """The statements of a sentence that is to be remembered; what can't be read is kept as it was said."""
    if _PASTED in text:
        return [Said(_note(_unmarked(text)), True, _unmarked(turn))]
    if found := directed(text, asked=True):
        return [Said(found[0], True, turn)]
    text = _unweakened(_uncorrected(text)[0])
    parts = _clauses(text)
    by_part = [parse(part, asked=True) for part in parts]
    if not all(by_part) and (whole := parse(text, asked=True)):
        parts, by_part = [text], [whole]
    said = [Said(one, True, turn if len(parts) == len(some) == 1 else one.text) for some in by_part for one in some]
    left = [part for part, some in zip(parts, by_part, strict=True) if not some]
    if left and not all(len(part.split()) >= 3 for part in left):
        left = [text]
    return said + [Said(_note(part), True, turn if len(parts) == 1 else part) for part in left]


def _unmarked(text: str) -> str:
    return text.replace(_PASTED, "")


def _note(text: str) -> Statement:
    return Statement(attribute=NOTE, value=text, many=True, text=text)


def _by_the_way(sentence: str, *, turn: str, asked: bool, corrects: bool) -> list[Said]:
    """What a sentence states that does not begin with a request to remember it."""
    if before := _AFTERTHOUGHT.search(sentence):
        return _asked(sentence[: before.start()], sentence=turn)
    if _is_no_statement(sentence):
        return []
    if found := directed(sentence, asked=False):
        return [Said(found[0], found[1] or asked or corrects, turn)]
    bare = _unweakened(sentence).strip(_EDGES)
    weighty = asked or corrects or bare != sentence.strip(_EDGES)
    if _ASKS.match(bare):
        return []
    parts = _clauses(bare)
    by_part = [parse(part, asked=asked, corrects=corrects) for part in parts]
    return [
        Said(
            one,
            weighty or one.changed or one.attribute == "called",
            turn if len(parts) == len(some) == 1 else one.text,
        )
        for some in by_part
        for one in some
    ]


def _clauses(sentence: str) -> list[str]:
    """The clauses of a sentence, each with a subject of its own."""
    whole: list[str] = []
    for part in (part.strip(" ,;") for part in _CLAUSES.split(sentence)):
        if re.match(r"I\s", part, re.IGNORECASE):
            first, *others = _SAME_SUBJECT.split(part)
            whole += [first, *(f"I {other}" for other in others)]
        elif part:
            whole.append(part)
    return whole
