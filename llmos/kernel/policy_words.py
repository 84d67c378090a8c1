"""The user's words, read as authority: what they name, in which sentence, and what they only quote or rule out.

Case, blanks and typographic quotes are normalised, meaning is not guessed. English only: in
other languages values are still found, verbs and dates in words are not. Knows no tool and no record.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache

from llmos.kernel.policy_values import word_set

_QUOTES = str.maketrans(
    "\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\xab\xbb\u2010\u2011\u2012\u2013\u2014\xa0",
    "''''" + '"' * 6 + "----- ",
)
# directly before or after a value these make it a part of something longer
_BEFORE = "@./\\-+_%&~=?"
FUNCTION_WORDS = word_set(
    "a an the this that these those my his her its our your their i me we us you he she it they him them who which"
    " what and or but nor not no if so as at by for from in into of off on onto out over to up with is are was be"
    " do does did have has all any some each every both then there here when where"
)
"""Words that are no value, even beside the name of an argument."""

_TAIL = re.compile(r"[@/\\\-_%&=+~#:.]+")
_SENTENCE = re.compile(r"[.!?;](?=[\s\"')\]]|$)|\n+")
# a comma ends no clause: "not to bob, alice or eve"
_ITEM = re.compile(r"(?:^|\n|(?<=[.:!?;] ))[ \t]*(?:\(?\d{1,2}[.)]|[-*•])\s+(?=\S)")
_CLAUSE = re.compile(r"[;!?\n]|[.](?=\s)|\b(?:but|instead(?! of)|then)\b", re.IGNORECASE)
_NEGATION = re.compile(
    r"\b(?:not|never|don't|dont|doesn't|won't|can't|cannot|mustn't|shouldn't|avoid|except|excluding|exclude|without"
    r"|ignore|skip|stop|keep|preserve|neither|nor|rather than|other than|apart from|besides|instead of)\b"
    r"(?!\s+(?:forget|hesitate))"
    r"|\bno\s+(?:longer|more)\b",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"(?:and |or |but |so |also,? )?(?:who|whom|whose|when|where|what|which|why|how|did|do|does|has|have|had|was|were"
    r"|is|are|am)\b(?!n't you\b)"
)
_DELEGATION = re.compile(
    r"\b(?:follow|obey|do|perform|carry\s+out|execute|act\s+on|complete|apply|implement|handle|process|run)\b"
    r"(?![^.!?\n]{0,30}\bfollowing\b)[^.!?\n]{0,40}"
    r"\b(?:instructions?|actions?|steps?|tasks?|to-?dos?|orders?|requests?|everything|whatever|what)\b[^.!?\n]{0,60}"
    r"\b(?:in|from|of|on|at|that|specified|described|listed|says?|it|there|precisely|exactly)\b"
    r"|\b(?:follow|obey)\b[^.!?\n]{0,40}\binstructions?\b"
    r"|\b(?:as|what|whatever)\s+(?:it|he|she|they|(?:the|this|that|his|her|their)\s+[\w-]+)\s+"
    r"(?:says?|asks?|tells?|instructs?|wants?|requests?|requires?|describes?|specif(?:y|ies))\b"
    r"|\baccordingly\b",
    re.IGNORECASE,
)
_PASTED = (
    re.compile(r"^[ \t]*[>|].*$", re.MULTILINE),
    re.compile(r"```.*?(?:```|\Z)", re.DOTALL),
    re.compile(r'"""(?:.*?)(?:"""|\Z)', re.DOTALL),
    re.compile(r"^[ \t-]*(?:original message|forwarded message|begin forwarded)\b.*\Z", re.DOTALL | re.I | re.M),
    re.compile(r"^(?:from|sent|date):[^\n]*\n(?:(?:from|sent|date|to|cc|subject):.*)\Z", re.S | re.I | re.M),
    re.compile(
        r"\b(?:here|this|below|following|attached|copied|pasted)\b[^.\n]{0,40}"
        r"\b(?:e-?mail|mail|message|text|letter|page|note|document|article|chat|conversation|post|notice|invoice|bill"
        r"|review|ticket|comment|transcript)\b[^.\n:]{0,60}:(?P<quoted>.*)\Z",
        re.DOTALL | re.IGNORECASE,
    ),
    re.compile(
        r"\b(?:says|said|wrote|writes|reads|states|stated|claims)\s*[:,]?\s*[\"'].*?(?:[\"'](?!\w)|\Z)", re.S | re.I
    ),
    re.compile(
        r"\b(?:says|said|wrote|writes|reads|states|stated|claims)\s*:(?P<quoted>.*)\Z", re.DOTALL | re.IGNORECASE
    ),
    re.compile(r'"(?:[^"\s]+\s+){11,}[^"]*"'),
    re.compile(r"(?<!\w)'(?:[^'\s]+\s+){11,}[^']*'(?!\w)"),
)
_WORDS_BEFORE = re.compile(r"(?:[^\s,.;:!?()]+\s+)?[^\s,.;!?()]+:?\s*[\"'(]?$")
_WORD_AFTER = re.compile(r"[\"')%]*\s+([^\W\d_]+)")
PIECE = re.compile(r"[^\W_]+")
_TAG = re.compile(r"<([A-Za-z][\w-]{0,40})[^<>\n]{0,200}>")
_TOKEN = re.compile(r"[^\s\"'`()\[\]{}<>,;!?]+(?:'[a-z]+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Span:
    """Where something stands in the user's words.

    Attributes:
        start, end: In characters of the normalised words.
        sentence: Number of the sentence.
        pasted: It stands in text that the user quotes, and did not say.
        negated: The clause rules it out ("but not to …").
    """

    start: int
    end: int
    sentence: int
    pasted: bool
    negated: bool


@dataclass(frozen=True, slots=True)
class Token:
    """A word of the request: as written, lower case, where it starts, in which sentence."""

    text: str
    lower: str
    start: int
    sentence: int


class Words:
    """What the user has said in a run, ready to be searched. Immutable; made once for the same words by `read`."""

    def __init__(self, words: tuple[str, ...]) -> None:
        joined = unicodedata.normalize("NFC", "\n".join(words)).translate(_QUOTES)
        self.text, self._origins = _collapse(joined)
        self.lower = _lower(self.text)
        self._flat, self._flat_lower = self.text.replace("\n", " "), self.lower.replace("\n", " ")
        self._pasted = _pasted(words, self.text)
        self._items = [found.end() for found in _ITEM.finditer(self.text)]
        self._sentences = [found.end() for found in _SENTENCE.finditer(self.text)]
        self.pieces = frozenset(PIECE.findall(self.lower))
        self.tokens = tuple(self._tokens())
        self._starts = [token.start for token in self.tokens]
        self.delegates = any(not self.is_pasted(found.start()) for found in _DELEGATION.finditer(self.text))

    def _tokens(self) -> list[Token]:
        tokens: list[Token] = []
        for found in _TOKEN.finditer(self.text):
            if not self.is_pasted(found.start()):
                text = found[0].rstrip(".:")
                if text:
                    tokens.append(Token(text, text.lower(), found.start(), self.sentence(found.start())))
        return tokens

    def sentence(self, position: int) -> int:
        """The number of the sentence at a position."""
        return bisect_right(self._sentences, position)

    def item(self, position: int) -> int:
        """The number of the item of a list at a position; 0 outside of lists."""
        return bisect_right(self._items, position)

    def is_pasted(self, position: int) -> bool:
        """Whether a position is in text that the user quotes."""
        return any(start <= position < end for start, end in self._pasted)

    def _is_negated(self, start: int) -> bool:
        clause = max(0, start - 200)
        for found in _CLAUSE.finditer(self.text, clause, start):
            clause = found.end()
        return _NEGATION.search(self.text, clause, start) is not None

    def origin(self, span: Span) -> tuple[int, int]:
        """Start and end of a span in the user's words as they were written, joined by line breaks."""
        return self._origins[span.start], self._origins[span.end - 1] + 1

    def find(self, value: str, *, caseless: bool = False) -> list[Span]:
        """Every place where a value stands by itself, not as a part of something longer."""
        wanted = value if value.isascii() else unicodedata.normalize("NFC", value).translate(_QUOTES)
        wanted = " ".join(wanted.split())
        text = self._flat
        if caseless:
            text, wanted = self._flat_lower, _lower(wanted)
        spans: list[Span] = []
        position = text.find(wanted) if wanted else -1
        while position >= 0:
            end = position + len(wanted)
            if self._aligned(position, end):
                spans.append(self.span(position, end))
            position = text.find(wanted, position + 1)
        return spans

    def span(self, start: int, end: int) -> Span:
        """The span between two positions."""
        return Span(start, end, self.sentence(start), self.is_pasted(start), self._is_negated(start))

    def _aligned(self, start: int, end: int) -> bool:
        text = self.text
        if start and (_joins(text[start - 1]) or self._glued(start)):
            return False
        tail = _TAIL.match(text, end)
        if tail is None or "@" in tail[0]:
            return tail is None and not (end < len(text) and _joins(text[end]))
        return tail.end() >= len(text) or not _joins(text[tail.end()])

    def _glued(self, start: int) -> bool:
        before = self.text[start - 1]
        if before == "@":  # @alice is a mention of alice, bob@alice.com is not
            return start > 1 and not self.text[start - 2].isspace()
        return before in _BEFORE

    def near(self, span: Span, names: frozenset[str], *, within: int = 3) -> bool:
        """Whether one of these words stands at most so many words before or after a span."""
        index = bisect_right(self._starts, span.start) - 1
        around = self.tokens[max(0, index - within) : index + within + 1]
        return any(token.sentence == span.sentence and not names.isdisjoint(stems(token.lower)) for token in around)

    def around(self, start: int, end: int) -> tuple[tuple[str, ...], str]:
        """The two words before a place and the one after it, lower case, as far as no punctuation is between."""
        before = _WORDS_BEFORE.search(self.lower, max(0, start - 60), start)
        after = _WORD_AFTER.match(self.lower, end)
        return tuple(before[0].replace(":", " ").split()) if before else (), after[1] if after else ""

    def after(self, span: Span, pattern: re.Pattern[str]) -> bool:
        """Whether a pattern, which ends with `$`, matches what stands right before a span; in lower case."""
        return pattern.search(self.lower[max(0, span.start - 120) : span.start]) is not None

    def is_question(self, sentence: int) -> bool:
        """Whether a sentence asks what is or was, and for nothing to be done: "Did I send it to Bob?"."""
        start = self._sentences[sentence - 1] if sentence else 0
        end = self._sentences[sentence] if sentence < len(self._sentences) else len(self.text)
        text = self.lower[start:end].strip()
        return text.endswith("?") and _QUESTION.match(text) is not None

    def begins_sentence(self, span: Span) -> bool:
        """Whether a span is at the beginning of a sentence, where capitals mean nothing."""
        before = self.text[: span.start].rstrip()
        return before == "" or before[-1] in ".!?:\n\"'"

    def quoted(self, span: Span) -> bool:
        """Whether quotes stand right around a span."""
        before, after = self.text[max(0, span.start - 1) : span.start], self.text[span.end : span.end + 1]
        return before != "" and before in "\"'`#@" and (before in "#@" or after == before)


@lru_cache(maxsize=64)
def read(words: tuple[str, ...]) -> Words:
    """The user's words, ready to be searched."""
    return Words(words)


def _joins(character: str) -> bool:
    return character.isalnum() or character == "_" or unicodedata.combining(character) > 0


def _lower(text: str) -> str:
    """Lower case of the same length, so that positions stay."""
    lowered = text.lower()
    return lowered if len(lowered) == len(text) else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def _collapse(text: str) -> tuple[str, list[int]]:
    """Runs of blanks as one blank (one line break if there is one), and where each character was."""
    characters: list[str] = []
    origins: list[int] = []
    for position, character in enumerate(text):
        if not character.isspace():
            characters.append(character)
        elif characters and characters[-1] in " \n":
            characters[-1] = "\n" if character == "\n" else characters[-1]
            continue
        else:
            characters.append("\n" if character == "\n" else " ")
        origins.append(position)
    return "".join(characters), origins


def _pasted(words: tuple[str, ...], text: str) -> list[tuple[int, int]]:
    """Parts of the words that the user quotes; what is pasted ends with the message at the latest."""
    found: list[tuple[int, int]] = []
    start = 0
    for message in words:
        normal, _ = _collapse(unicodedata.normalize("NFC", message).translate(_QUOTES))
        normal = normal.strip()
        at = text.find(normal, start)
        if at < 0:  # blanks at the seams only
            at = start
        for pattern in _PASTED:
            part = "quoted" if "quoted" in pattern.groupindex else 0
            found += [(at + m.start(part), at + m.end(part)) for m in pattern.finditer(normal)]
        found += [(at + first, at + last) for first, last in _tagged(normal)]
        start = at + len(normal)
    return found


def _tagged(text: str) -> list[tuple[int, int]]:
    """Parts between `<mail>` and the last `</mail>`, whatever the tag is."""
    found: list[tuple[int, int]] = []
    for tag in _TAG.finditer(text):
        if not found or tag.start() >= found[-1][1]:
            end = text.rfind(f"</{tag[1]}>", tag.end())
            if end >= 0:
                found.append((tag.start(), end))
    return found


@lru_cache(maxsize=4096)
def stems(word: str) -> frozenset[str]:
    """A word and its simpler forms: without the endings of plural and conjugation."""
    forms = {word}
    for ending in ("s", "es", "ed", "ing", "d", "'s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            stem = word[: -len(ending)]
            forms |= {stem, f"{stem}e"}
            if len(stem) > 3 and stem[-1] == stem[-2]:
                forms.add(stem[:-1])
    if word.endswith("ies") and len(word) > 4:
        forms.add(f"{word[:-3]}y")
    return frozenset(forms)
