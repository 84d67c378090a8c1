"""Answers questions from what is remembered: sentences of the sources as they stand there, each with its place.

Words decide whether memory is asked at all, which sentences answer, and whether they answer enough; the model is asked
where several fit as well. A model that is large enough writes the answer itself over the numbered passages, and what
no passage says is marked. Everything is a system call, so that a resumed run has the same answer. What is recalled is
data: nothing in it is followed, and the kernel labels it. Documentation: docs/memory.md.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Protocol, runtime_checkable

from llmos.agents import microcode
from llmos.agents.asking import shares_of
from llmos.agents.citing import (
    Citation,
    Cited,
    Ranked,
    Statement,
    answers_it,
    asked_terms,
    check,
    chosen,
    extract,
    facts_stand,
    marked,
    numbered,
    ranked,
    stands,
    statements,
    terms,
    verbatim,
)
from llmos.kernel.branch import Branch
from llmos.kernel.process import Process
from llmos.kernel.protocols import Memo
from llmos.messages import Context, Message, Microcode, Sampling

NOT_THERE = "That is not in your documents."

PASSAGES = 8
"""So many passages are recalled for a question."""

WRITES = 3_000_000_000
"""From so many parameters on a model writes the answer itself."""

NEAR = 0.1
"""Statements whose scores are nearer than this to the best one's are put to the model."""

READ = 5
"""So many of them microcode reads, those with the best statements."""

ABSENT = 0.9
"""From this probability on, microcode's finding that no passage answers counts, unless its notes say another."""

_SURE = 0.6
_LONGEST = 80
_TOKENS = 300
_QUOTE_TOKENS = 80
_CHARACTERS = 9000
_MODEL = Sampling(temperature=0.0, seed=0)
_QUESTION = re.compile(
    r"\?|^\W*(?:(?:please |can you |could you |and |so |but )*)(?:what|which|who|whom|whose|when|where|why|how|is|are"
    r"|was|were|does|do|did|has|have|can|could|should|must|may|tell me|say|show me|find out|look up|explain|describe"
    r"|name|list|remind me)\b",
    re.I,
)
_THE = r"\b(?:my|the|these|those|our|your|all|any) (?:\w+ )?"
_DOCUMENTS = re.compile(rf"{_THE}(?:documents?|docs|documentation|memory|papers?)\b", re.I)
_FILES = re.compile(rf"{_THE}(?:files?|notes?|manual|letters?|e?-?mails?|read ?me)\b|\baccording to\b", re.I)


@runtime_checkable
class Holding(Protocol):
    """A memory that can say whether there is anything in it at all."""

    async def holds(self) -> bool:
        """Whether it has documents."""
        ...


@dataclass(frozen=True, slots=True)
class _Texts:
    write: str
    question: str
    quote: str
    judge: str


@cache
def _texts() -> _Texts:
    data = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return _Texts(**{name: str(data[name]).strip() for name in ("write", "question", "quote", "judge")})


# -- whether memory is asked


def asks(words: str) -> bool:
    """Whether words ask for something that could stand in a document: a question of some content, not a whole text."""
    return bool(_QUESTION.search(words)) and bool(asked_terms(words)) and len(words.split()) <= _LONGEST


def speaks_of(words: str, texts: Sequence[str]) -> bool:
    """Whether words ask for something that some texts speak of."""
    return not {term for text in texts for term in terms(text)}.isdisjoint(asked_terms(words))


def names_documents(words: str) -> bool:
    """Whether words say that the answer is to come from documents, and from nowhere else."""
    return _DOCUMENTS.search(words) is not None


def names_texts(words: str) -> bool:
    """Whether words say that it is to come from documents, or from other texts that a tool could read as well."""
    return names_documents(words) or _FILES.search(words) is not None


async def holds(process: Process) -> bool:
    """Whether there are documents at all; journaled."""
    store = process.system.store

    async def look(_: int) -> bool:
        return isinstance(store, Holding) and await store.holds()

    return bool(await process.call("recall", "are there documents", {"holds": True}, look))


# -- answering


async def answer(process: Process, question: str, *, before: str = "", certain: bool = False) -> Cited | None:
    """Answer a question from memory.

    Args:
        question: In the user's words.
        before: What the user asked before: a question of few words is understood from it.
        certain: Something else could answer as well: only where memory leaves no doubt.

    Returns:
        None if memory has nothing relevant, or nothing there supports an answer.

    Raises:
        BudgetExceeded, Interrupted, EngineError: As of the system calls that it makes.
    """
    query = question if len(asked_terms(question)) > 1 or not before else f"{before} {question}"
    memos = await process.recall(query, limit=PASSAGES)
    found = statements(memos)
    for asked in dict.fromkeys((question, query)):
        good = [one for one in ranked(asked, found) if answers_it(one, certain=certain)]
        if good:
            break
    else:
        return None if certain else await _by_meaning(process, question, memos, found)
    if await writes(process) and (written := await _written(process, question, memos, found)) is not None:
        return written
    code = await microcode.forms(process)
    if code is None:
        best: Ranked | None = await _decided(process, question, good)
    else:
        best = await _read(process, code, question, good, memos, otherwise=good[0])
    if best is None:
        return None
    taken = chosen(asked, best, good, found)
    return extract(taken, memos, confidence=max(best.covered, best.statement.score))


async def _decided(process: Process, question: str, good: Sequence[Ranked]) -> Ranked:
    """The best statement; where several are as good, the one that the model takes for the answer."""
    near = [one for one in good if good[0].score - one.score < NEAR][:4]
    texts = list(dict.fromkeys(one.statement.plain for one in near))
    if len(texts) < 2:
        return good[0]
    prompt = _texts().question.format(passages="\n".join(texts), question=question)
    shares = dict(zip(texts, await shares_of(process, Context(), prompt, texts), strict=True))
    return max(near, key=lambda one: one.score + NEAR * shares[one.statement.plain])


async def _by_meaning(
    process: Process, question: str, memos: Sequence[Memo], found: Sequence[Statement]
) -> Cited | None:
    """The answer out of passages that have few words of the question, if microcode finds one there."""
    code = await microcode.forms(process) if found else None
    if code is None:
        return None
    near = [Ranked(one, one.score, 0.0, frozenset()) for one in found]
    best = await _read(process, code, question, near, memos, otherwise=None)
    return None if best is None else extract([best.statement], memos, confidence=best.statement.score)


async def _read(
    process: Process,
    code: Microcode,
    question: str,
    good: Sequence[Ranked],
    memos: Sequence[Memo],
    *,
    otherwise: Ranked | None,
) -> Ranked | None:
    """The statement with the words that microcode finds to be the answer; None where it finds that there is none.

    Args:
        otherwise: What is taken where it can't tell.
    """
    numbers = list(dict.fromkeys(one.statement.passage for one in good))[:READ]
    found = await microcode.read(process, code, [memos[number].text for number in numbers], question)
    if found is None:
        return otherwise
    if found.missing >= code.thresholds.get("not found", ABSENT):
        return None
    passage = numbers[found.passage]
    there = (one for one in good if one.statement.passage == passage and found.text in one.statement.plain)
    return next(there, otherwise)


# -- a model that writes


async def writes(process: Process) -> bool:
    """Whether the model is large enough to write; servers don't say how large theirs is, and are trusted."""

    async def look() -> bool:
        info = (await process.engine()).info
        return info.parameters >= WRITES or info.template == "remote"

    return bool(await process.once("does the model write answers", [], look))


async def _written(process: Process, question: str, memos: Sequence[Memo], found: Sequence[Statement]) -> Cited | None:
    """The model's answer with its sentences checked; None if it found none, or nothing of it has support."""
    aside = process.aside(Context(messages=(Message("system", _texts().write),)))
    prompt = _texts().question.format(passages=numbered(memos, characters=_CHARACTERS), question=question)
    thought = await aside.think(prompt, sampling=_MODEL, max_tokens=_TOKENS)
    if "NOT THERE" in thought.text.upper():
        return None
    cited = check(thought.text, found, memos)
    if cited is None or not cited.unsupported:
        return cited
    return await _supported(process, cited, memos, found)


async def _supported(process: Process, cited: Cited, memos: Sequence[Memo], found: Sequence[Statement]) -> Cited:
    """The answer, where sentences that share few words with a source got a quote from the model that says the same.

    The quote is verbatim by constraint; that it says the same is the model's judgement, so that numbers and names of
    the sentence must stand in it besides.
    """
    for sentence in cited.unsupported:
        quote = await _quoted(process, sentence, memos)
        number = next((place for place, one in enumerate(memos) if quote and stands(quote, one.text)), None)
        if number is None or not facts_stand(sentence, quote) or not await _judged(process, quote, sentence):
            continue
        said = next((one for one in found if one.passage == number and stands(quote, one.text)), None)
        source = Citation(said.place if said else memos[number].source, quote)
        sources = cited.sources if source in cited.sources else (*cited.sources, source)
        text = cited.text.replace(f"{sentence} [?]", marked(sentence, sources.index(source) + 1))
        left = tuple(one for one in cited.unsupported if one != sentence)
        cited = replace(cited, text=text, sources=sources, unsupported=left)
    return cited


async def _quoted(process: Process, sentence: str, memos: Sequence[Memo]) -> str:
    text = numbered(memos, characters=_CHARACTERS)
    prompt = _texts().quote.format(passages=text, sentence=sentence)
    thought = await process.aside().think(
        prompt,
        constraint=verbatim(" ".join(memo.text for memo in memos)),
        sampling=_MODEL,
        max_tokens=_QUOTE_TOKENS,
    )
    quote = thought.text.strip()
    return quote if len(terms(quote)) > 1 else ""


async def _judged(process: Branch, quote: str, sentence: str) -> bool:
    prompt = _texts().judge.format(quote=quote, sentence=sentence)
    thought = await process.aside().think(prompt, choices=("yes", "no"))
    return thought.value == "yes" and (not thought.probabilities or thought.probabilities[0] >= _SURE)
