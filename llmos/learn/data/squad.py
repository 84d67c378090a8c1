"""Examples of reading from real prose: the public development file of SQuAD 2.0, read from a path and checked by hash.

Questions and paragraphs are by Rajpurkar et al., "Know What You Don't Know: Unanswerable Questions for SQuAD" (2018),
CC BY-SA 4.0; nothing of them is in llmos. Paragraphs that also stand in XQuAD are left out of training, so that XQuAD
remains a fair test. Knows no other data set.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from llmos.agents import allowed, jobs
from llmos.errors import StorageError
from llmos.learn.data.example import Example, Sheet, SheetMaker, Split
from llmos.learn.data.noise import noisy
from llmos.messages import Constraint

SHA256 = "e67e5969b6dc6c1642154740806b79263b77fc048c7c11ee60d534eb48ef81e8"
"""The one file that is taken: 646 paragraphs with 6,078 questions, in the order of chrischute/squad."""

NOT_ANSWERED = 0.3
"""The share of questions that no passage answers."""

TYPED = 0.35
"""The share of questions in training that are typed carelessly: the file's are all well-formed."""

_TRAINED = 480
_MEASURED = (70, 12, 8, 6, 4)
_IN_TRAINING = (42, 8, 8, 36, 6)
_LONGEST = 130
_SHORTEST_CUT = 55
_ALL = 500
_ANSWER_WORDS = 12
_TRIES = 10
_FEWEST = 5
_SENTENCE = re.compile(r"(?<=[.!?])(?<!\b[A-Z]\.)(?<!\bSt\.)(?<!\bDr\.)(?<!\bMr\.)\s+(?=[\"“(]?[A-Z])")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Question:
    """One question about a paragraph. `answers` are what people said, one item for each, none if it says nothing."""

    text: str
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph of the article `title`, with its questions."""

    title: str
    text: str
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Squad:
    """The paragraphs of the file by split, in file order."""

    train: tuple[Paragraph, ...]
    validation: tuple[Paragraph, ...]
    test: tuple[Paragraph, ...]

    @classmethod
    def load(cls, path: Path) -> Squad:
        """Read the file.

        Raises:
            StorageError: The file can't be read, or it is another one.
        """
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise StorageError(
                f"Reading SQuAD from {str(path)!r} failed: {error.strerror or error}.",
                hint="Give the path of the development file of SQuAD 2.0 (chrischute/squad).",
            ) from error
        digest = hashlib.sha256(raw).hexdigest()
        if digest != SHA256:
            raise StorageError(
                f"{str(path)!r} is not the expected file of SQuAD: its sha256 is {digest!r}, not {SHA256!r}.",
                hint="Only the development file of SQuAD 2.0 with 646 paragraphs (chrischute/squad) is taken.",
            )
        paragraphs = [
            _paragraph(article["title"], one) for article in json.loads(raw)["data"] for one in article["paragraphs"]
        ]
        rest = paragraphs[_TRAINED:]
        half = len(rest) // 2
        return cls(
            train=tuple(one for one in paragraphs[:_TRAINED] if digest_of(one.text) not in held_out()),
            validation=tuple(rest[:half]),
            test=tuple(rest[half:]),
        )

    def of(self, split: Split) -> tuple[Paragraph, ...]:
        """The paragraphs of a split."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[split]


def squad_sheets(path: Path) -> SheetMaker:
    """A maker of sheets over the paragraphs of a file: six to nine questions about the same one to five passages.

    About three of ten have no answer there. Questions of training are now and then typed carelessly.

    Raises:
        StorageError: The file can't be read, or it is another one.
    """
    squad = Squad.load(path)

    def squad_sheet(random: Random, split: Split) -> Sheet:
        return reading_sheet(random, split, squad.of(split), typed=TYPED if split == "train" else 0.0)

    return squad_sheet


def held_out() -> frozenset[str]:
    """The digests of paragraphs that also stand in XQuAD."""
    return _lists()["held_out"]


@cache
def _lists() -> dict[str, frozenset[str]]:
    data = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return {name: frozenset(words) for name, words in data.items()}


def digest_of(text: str) -> str:
    """Identifies a text whatever its case and white space: 16 hex digits."""
    return hashlib.sha256(" ".join(text.casefold().split()).encode()).hexdigest()[:16]


# -- making sheets


@dataclass(frozen=True, slots=True)
class _Shown:
    """What is shown of a paragraph."""

    paragraph: Paragraph
    text: str


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question, what is to be said, what it is a case of, and what may be said too."""

    text: str
    said: str
    kind: str
    alike: tuple[str, ...] = ()


def passage_count(random: Random, split: Split) -> int:
    """How many passages are in view: mostly five, but in training nearly as often two, as the kernel shows them."""
    return random.choices((5, 4, 3, 2, 1), _IN_TRAINING if split == "train" else _MEASURED)[0]


def reading_sheet(random: Random, split: Split, paragraphs: Sequence[Paragraph], *, typed: float) -> Sheet:
    """Six to nine questions about the same one to five paragraphs, long ones cut, mostly of one title.

    Args:
        typed: The share of questions that are typed carelessly.
    """
    asked: list[_Asked] = []
    texts: list[str] = []
    for _ in range(_TRIES):
        shown = _passages(random, split, paragraphs)
        texts = [one.text for one in shown]
        asked = _asked(random, paragraphs, shown)
        if len(asked) >= _FEWEST:
            break
    within = allowed.answer(texts)
    sheet: list[Example] = []
    for one in asked:
        question = noisy(random, one.text) if random.random() < typed else one.text
        sheet.append(_read(texts, replace(one, text=question), within))
    return tuple(sheet)


def _read(texts: Sequence[str], one: _Asked, within: Constraint) -> Example:
    return Example(
        "read",
        jobs.read(texts, one.text),
        one.said,
        kind=one.kind,
        within=within,
        request=one.text,
        passages=tuple(texts),
        alike=one.alike,
    )


def _asked(random: Random, paragraphs: Sequence[Paragraph], shown: Sequence[_Shown]) -> list[_Asked]:
    """Questions in any order."""
    texts = [one.text for one in shown]
    answered: list[_Asked] = []
    impossible: list[_Asked] = []
    for number, one in enumerate(shown, 1):
        for question in one.paragraph.questions:
            answer = _answer(question, one.text)
            if answer and _only_here(question.text, answer, number, texts):
                others = {text for text in question.answers if stands(text, one.text)} - {answer}
                alike = tuple(jobs.found(text, number) for text in sorted(others))
                answered.append(_Asked(question.text, jobs.found(answer, number), "found", alike))
            elif not question.answers and _only_here(question.text, "", number, texts):
                impossible.append(_Asked(question.text, jobs.NOT_FOUND, "impossible"))
    count = random.randint(10, 16)
    without = sum(random.random() < NOT_ANSWERED for _ in range(count))
    without = min(without, max(1, len(answered) * 2 // 3))
    hidden = _elsewhere(random, paragraphs, shown, sum(random.random() < 0.4 for _ in range(without)))
    chosen = [_Asked(one.text, jobs.NOT_FOUND, "not shown") for one in hidden]
    chosen += random.sample(impossible, min(len(impossible), without - len(chosen)))
    chosen += random.sample(answered, min(len(answered), count - without))
    return random.sample(chosen, len(chosen))


def _passages(random: Random, split: Split, paragraphs: Sequence[Paragraph]) -> list[_Shown]:
    """Some paragraphs, mostly of one article, each as a run of sentences, together at most `_ALL` words."""
    first = random.choice(paragraphs)
    kin = [one for one in paragraphs if one.title == first.title and one is not first]
    others = [one for one in paragraphs if one.title != first.title]
    count = passage_count(random, split)
    near = min(len(kin), sum(random.random() < 0.75 for _ in range(count - 1)))
    chosen = [first, *random.sample(kin, near)]
    if others:
        chosen += random.sample(others, min(len(others), count - len(chosen)))
    random.shuffle(chosen)
    shown: list[_Shown] = []
    room = _ALL
    for index, one in enumerate(chosen):
        fair = room // (len(chosen) - index)
        text = _cut(random, one.text, min(_LONGEST, max(_SHORTEST_CUT, fair)))
        room -= len(text.split())
        shown.append(_Shown(one, text))
    return shown


def _cut(random: Random, text: str, words: int) -> str:
    """The sentences around one by chance, so many words at most (but at least that sentence)."""
    sentences = _SENTENCE.split(text)
    lengths = [len(one.split()) for one in sentences]
    if sum(lengths) <= words:
        return text
    low = high = random.randrange(len(sentences))
    total = lengths[low]
    while True:
        sides = [side for side in (low - 1, high + 1) if 0 <= side < len(sentences) and total + lengths[side] <= words]
        if not sides:
            return " ".join(sentences[low : high + 1])
        side = random.choice(sides)
        total += lengths[side]
        low, high = min(low, side), max(high, side)


def _answer(question: Question, text: str) -> str:
    """The shortest answer that two people gave, else the shortest, of those that stand in the text; or nothing."""
    counts = Counter(one for one in question.answers if stands(one, text) and len(one.split()) <= _ANSWER_WORDS)
    agreed = [one for one, count in counts.items() if count > 1]
    return min(agreed or counts, key=len, default="")


def stands(answer: str, text: str) -> bool:
    """Whether an answer stands in a text as whole words."""
    return re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text) is not None


def _only_here(question: str, answer: str, number: int, texts: Sequence[str]) -> bool:
    """Whether no other passage looks as if it answered the question too."""
    own = _overlap(question, texts[number - 1])
    for other, text in enumerate(texts, 1):
        if other == number:
            continue
        overlap = _overlap(question, text)
        if overlap >= 0.75 or (answer and stands(answer, text) and overlap >= 0.6 * own):
            return False
    return True


def _elsewhere(random: Random, paragraphs: Sequence[Paragraph], shown: Sequence[_Shown], count: int) -> list[Question]:
    """Questions whose answers are nowhere in what is shown, three of four about the same articles."""
    texts = [one.text for one in shown]
    titles = {one.paragraph.title for one in shown}
    kin = [one for one in paragraphs if one.title in titles]
    others = [one for one in paragraphs if one.title not in titles] or kin
    found: list[Question] = []
    for _ in range(20 * count):
        if len(found) == count:
            break
        questions = random.choice(kin if random.random() < 0.75 else others).questions
        if not questions:
            continue
        question = random.choice(questions)
        hidden = question.answers and not any(stands(answer, text) for answer in question.answers for text in texts)
        if hidden and question not in found and all(_overlap(question.text, text) < 0.6 for text in texts):
            found.append(question)
    return found


def _overlap(question: str, text: str) -> float:
    """The share of a question's words that stand in a text, by their first five letters."""
    asked = _stems(question)
    return len(asked & _stems(text)) / len(asked) if asked else 0.0


@cache
def _stems(text: str) -> frozenset[str]:
    return frozenset(one[:5] for one in _WORD.findall(text.casefold()) if one not in _lists()["common"])


def _paragraph(title: str, data: dict[str, Any]) -> Paragraph:
    questions = tuple(
        Question(_line(one["question"]), tuple(_line(answer["text"]) for answer in one["answers"]))
        for one in data["qas"]
        if len(one["question"].split()) > 2
    )
    return Paragraph(title, _line(data["context"]), questions)


def _line(text: str) -> str:
    return " ".join(text.split())
