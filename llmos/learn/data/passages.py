"""Examples of reading: questions about invented documents and articles, about what somebody said, and about Python.

Python's own language reference and docstrings (PSF licence) come from the Python that runs this. Three of ten questions
have no answer in the passages. Knows no data set.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from llmos.agents import allowed, jobs
from llmos.learn.data.documents import python
from llmos.learn.data.documents.topics import Document, Fact, Topic, ask, document, topics
from llmos.learn.data.documents.values import shares, value
from llmos.learn.data.example import Example, Sheet, Split
from llmos.learn.data.noise import noisy
from llmos.learn.data.squad import NOT_ANSWERED, TYPED, Paragraph, Question, passage_count, reading_sheet

_TRIES = 20
_UNSAID = 4
_MEMOS = (
    "", "", "", "", "", "Note from {date}: ", "On {date} you said: ", "Chat, {date}: ", "Memo: ", "You told me: ",
    "[{date}] ", "Remembered: ", "From a conversation: ",
)  # fmt: skip
_BEFORE = (
    "According to the passages, ", "Quick question: ", "Hi, ", "I forgot: ", "Can you check, ", "Please look up: ",
    "One thing, ", "Just wondering, ", "For my notes: ", "Could you tell me, ", "Once more: ",
    "Hello! ", "Sorry, ", "Hm, ", "From the documents: ", "Remind me, ", "So, ",
)  # fmt: skip


def passage_sheet(random: Random, split: Split) -> Sheet:
    """Six to nine questions about the same one to five passages, about three of ten without an answer."""
    made = random.choices((_document_sheet, _essay_sheet, _memory_sheet, _python_sheet), (55, 22, 16, 7))[0]
    return made(random, split)


# -- documents


def _document_sheet(random: Random, split: Split) -> Sheet:
    count = passage_count(random, split)
    prose = random.choice((1, 2)) if count > 2 and random.random() < 0.2 else 0
    documents = _documents(random, split, count - prose)
    texts = [*(one.text for one in documents), *(python.prose(random, split) for _ in range(prose))]
    random.shuffle(texts)

    def question(unanswered: bool) -> Example | None:
        one = random.choice(documents)
        made = _unanswered(random, split, documents, one) if unanswered else _answered(random, documents, one)
        if made is None:
            return None
        asked, answer, kind = made
        said = jobs.found(answer, texts.index(one.text) + 1) if answer else jobs.NOT_FOUND
        return _example(texts, _typed(random, split, asked), said, kind)

    return _sheet(random, question)


def _documents(random: Random, split: Split, count: int) -> list[Document]:
    """Documents of which some are often of one kind; every pair of one kind has different keys."""
    known = topics(split)
    main = random.choice(known)
    alike = min(count, random.choices((1, 2, 3, 4, 5), (38, 26, 18, 10, 8))[0])
    others = random.sample([one for one in known if one is not main], min(count - alike, len(known) - 1))
    chosen = [main] * alike + others
    made: list[Document] = []
    person = value(random, split, "person").text
    for topic in chosen:
        taken = {one.who for one in made if one.topic is topic}
        who = person if topic.key == "person" and random.random() < 0.15 else topic.who(random, split)
        for _ in range(20):
            if who not in taken:
                break
            who = topic.who(random, split)
        if who in taken:
            continue
        facts = list(topic.facts.values())
        said = random.sample(facts, random.randint(min(2, len(facts)), max(2, len(facts) - 1)))
        made.append(document(random, split, topic, who, said))
    return made


def _answered(random: Random, documents: Sequence[Document], one: Document) -> tuple[str, str, str] | None:
    facts = [one.topic.facts[name] for name in one.values if one.topic.facts[name].asks]
    if not facts:
        return None
    fact = random.choice(facts)
    named = _must_name(documents, one.topic, fact) or random.random() < 0.4
    return ask(random, one.topic, fact, one.who, named=named), one.values[fact.name].text, "found"


def _unanswered(
    random: Random, split: Split, documents: Sequence[Document], one: Document
) -> tuple[str, str, str] | None:
    if random.random() < 0.5:
        missing = [fact for fact in one.topic.facts.values() if fact.name not in one.values and fact.asks]
        if not missing:
            return None
        fact = random.choice(missing)
        named = _must_name(documents, one.topic, fact) or random.random() < 0.6
        return ask(random, one.topic, fact, one.who, named=named), "", "other attribute"
    who = one.topic.who(random, split)
    asked = [fact for fact in one.topic.facts.values() if fact.asks]
    said = [fact for fact in asked if fact.name in one.values]
    if any(who == other.who or who in other.text for other in documents):
        return None
    fact = random.choice(said or asked)
    return ask(random, one.topic, fact, who, named=True), "", "other entity"


def _must_name(documents: Sequence[Document], topic: Topic, fact: Fact) -> bool:
    """Whether another document could be meant as well."""
    kin = sum(one.topic is topic for one in documents)
    return kin > 1 or sum(fact.name in one.topic.facts for one in documents) > 1


# -- articles


def _essay_sheet(random: Random, split: Split) -> Sheet:
    return reading_sheet(random, split, _essays(split), typed=TYPED)


@cache
def _essays(split: Split) -> tuple[Paragraph, ...]:
    path = Path(__file__).parent / "documents" / "essays.toml"
    data = tomllib.loads(path.read_text(encoding="utf-8"))["essays"]
    return tuple(_essay(data[name]) for name in shares(data, split))


def _essay(data: dict[str, Any]) -> Paragraph:
    asked = [Question(text, (answer,)) for text, answer in data["asks"]]
    return Paragraph("essay", data["text"], (*asked, *(Question(text) for text in data["missing"])))


# -- what somebody said


@dataclass(frozen=True, slots=True)
class _Note:
    """Something about a person's life, as it is said and asked for."""

    kind: str
    values: tuple[str, ...]
    says: tuple[str, ...]
    asks: tuple[str, ...]


@cache
def _notes(split: Split) -> tuple[_Note, ...]:
    data = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return tuple(_note(data["notes"][name]) for name in shares(data["notes"], split))


def _note(data: dict[str, Any]) -> _Note:
    return _Note(data.get("kind", ""), tuple(data.get("values", ())), tuple(data["says"]), tuple(data["asks"]))


def _memory_sheet(random: Random, split: Split) -> Sheet:
    """One or two things in each passage; other things are asked for that were never said."""
    notes = random.sample(_notes(split), len(_notes(split)))
    texts: list[str] = []
    known: list[tuple[_Note, str, int]] = []
    for number in range(1, random.choice((2, 3, 4, 5, 5, 5)) + 1):
        sentences: list[str] = []
        for _ in range(random.choice((1, 1, 1, 2))):
            note = notes.pop()
            said = random.choice(note.values) if note.values else value(random, split, note.kind).text
            sentences.append(random.choice(note.says).format(v=said))
            known.append((note, said, number))
            if len(notes) == _UNSAID:
                break
        texts.append(random.choice(_MEMOS).format(date=value(random, split, "date").text) + " ".join(sentences))
        if len(notes) == _UNSAID:
            break
    kinds = {note.kind for note, _, _ in known if note.kind}
    close = [one for one in notes if one.kind in kinds]

    def question(unanswered: bool) -> Example | None:
        if unanswered:
            note = random.choice(close if close and random.random() < 0.6 else notes)
            return _example(texts, _typed(random, split, random.choice(note.asks)), jobs.NOT_FOUND, "never said")
        note, said, number = random.choice(known)
        return _example(texts, _typed(random, split, random.choice(note.asks)), jobs.found(said, number), "found")

    return _sheet(random, question)


# -- Python's documentation


def _python_sheet(random: Random, split: Split) -> Sheet:
    """What functions of Python's library return, and prose of the language reference among it."""
    entries = python.entries(split)
    shown = random.sample(entries, random.choice((3, 4, 5, 5)))
    hidden = [one for one in entries if one not in shown]
    texts = [one.text for one in shown]
    if random.random() < 0.4:
        texts.append(python.prose(random, split))
    random.shuffle(texts)

    def question(unanswered: bool) -> Example | None:
        one = random.choice(hidden if unanswered else shown)
        said = jobs.NOT_FOUND if unanswered else jobs.found(one.answer, texts.index(one.text) + 1)
        asked = _typed(random, split, python.ask(random, split, one))
        return _example(texts, asked, said, "other entity" if unanswered else "found")

    return _sheet(random, question)


# -- all of them


def _sheet(random: Random, question: Callable[[bool], Example | None]) -> Sheet:
    """Eight to fourteen different questions. Some tries fail: a passage says everything, or a question was asked."""
    made: dict[str, Example] = {}
    for _ in range(random.randint(8, 14)):
        unanswered = random.random() < NOT_ANSWERED
        for _ in range(_TRIES):
            one = question(unanswered)
            said = one.context.messages[-1].content.casefold().rstrip("?. ") if one else ""
            if one and said not in made:
                made[said] = one
                break
    return tuple(made.values())


def _typed(random: Random, split: Split, question: str) -> str:
    """A question as somebody types it, now and then with words before it."""
    if random.random() < 0.1:
        before = random.choice(shares(_BEFORE, split))
        question = f"{before}{question[0].lower()}{question[1:]}"
    return noisy(random, question)


def _example(texts: Sequence[str], question: str, answer: str, kind: str) -> Example:
    context, passages = jobs.read(texts, question), tuple(texts)
    return Example(
        "read", context, answer, kind=kind, within=allowed.answer(texts), request=question, passages=passages
    )
