"""The researcher: answers questions from files with what stands there word for word, in one lookup or in two.

The first lookup finds the sentence that the question's words fit best. Where it leaves words open, a name in it (a
person, a code, a file) is followed into a second lookup. Every quote is checked to stand in its source. What was not
found is said. Nothing that is found authorizes anything: the kernel labels it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from llmos.agents.answers import has_kind
from llmos.agents.citing import statements
from llmos.agents.plan import Check
from llmos.agents.report import Report, Source
from llmos.agents.spans import of_kind
from llmos.agents.workers.passages import Library, Passage, asked_stems, entities, passages_of
from llmos.agents.workers.reporting import Inputs, as_json, earlier_of, task_id_of
from llmos.agents.workers.tables import WorkFailed
from llmos.agents.workers.worker import Worker
from llmos.errors import BadArguments, Denied
from llmos.kernel.entry import Profile
from llmos.kernel.process import Process
from llmos.messages import Context, Message

TEXTS = (
    ".md",
    ".txt",
    ".rst",
    ".org",
    ".csv",
    ".tsv",
    ".log",
    ".ini",
    ".toml",
    ".json",
    ".yaml",
    ".yml",
    ".html",
    ".eml",
)
MAX_FILES = 60
MAX_FOLDERS = 20
PAGES = 4
"""Files are read so far: some 15,000 characters each."""

MEMOS = 8
FIRSTS = 6
ENOUGH = 0.5
"""The part of the question's weight that must be found for it to count as answered."""

SURE = 0.7
"""Below this part the answer is not passed off as one to the whole question."""

NEAR = 0.05
HOP = 0.08
"""A second lookup must bring so much more."""

_KIND = 0.15
_HAS = (
    (re.compile(r"\b(?:numbers?|telephone|phone|extension|code|address|id)\b", re.I), re.compile(r"\d")),
    (re.compile(r"\be-?mail\b", re.I), re.compile(r"\w@\w")),
    (re.compile(r"\b(?:where|which (?:city|town|place|room|street))\b", re.I), re.compile(r"(?<=[a-z,] )[A-Z]")),
)
"""More of what questions ask for, and what a text has that answers them."""


async def work(process: Process, task: str, inputs: dict[str, Any] | None = None) -> dict[str, Any]:
    """Answers questions from the files here, and from web pages that you name, with quotes and where they stand.

    Args:
        process: The process that runs it.
        task: The question, in words.
        inputs: `files` to look in, all here by default; and see `llmos.agents.workers`.

    Returns:
        A `Report`; its value has the `answer` (the last quote), the `path` of lookups that led to it (quote, place, and
        the name that was followed), and the words of the question that were `missing`.
    """
    try:
        return as_json(await _Research(process, task, inputs).report())
    except WorkFailed as error:
        return as_json(Report(task_id=task_id_of(inputs), agent="researcher", outcome="failed", reasons=(str(error),)))


@dataclass(frozen=True, slots=True)
class _Trail:
    """One or two passages that answer a question together.

    Attributes:
        via: The name that led from the first to the second.
        score: The part of the question's weight that they have, with what speaks for them besides.
        missing: Words of the question that are in neither.
    """

    passages: tuple[Passage, ...]
    via: str
    score: float
    missing: tuple[str, ...]


class _Research:
    """One question."""

    def __init__(self, process: Process, task: str, inputs: Inputs) -> None:
        self.process, self.task, self.inputs = process, task, inputs or {}
        self.words = _without_places(task)
        self.notes: list[str] = []
        self.texts: dict[str, str] = {}

    async def report(self) -> Report:
        library = Library(await self._passages())
        asked = asked_stems(self.words)
        if not asked:
            raise WorkFailed("The question has no words to look for.")
        trails = self._trails(library, asked)
        if not trails:
            raise WorkFailed(f"In {len(self.texts)} texts I found none of: {', '.join(_words_of(self.words, asked))}.")
        best = await self._decided(trails)
        weight = sum(map(library.weight, asked))
        lacking = sum(map(library.weight, best.missing)) / weight if weight else 1.0
        missing = tuple(word for word in _words_of(self.words, best.missing))
        if 1 - lacking < ENOUGH:
            raise WorkFailed(
                f"I did not find it in {len(self.texts)} texts. Nothing there connects: {', '.join(missing)}. "
                f'The nearest is "{best.passages[-1].text}" ({best.passages[-1].place}).'
            )
        if missing:
            self.notes.append(f"I found nothing said about: {', '.join(missing)}.")
        return self._told(best, missing, 1 - lacking)

    def _told(self, trail: _Trail, missing: Sequence[str], found: float) -> Report:
        sources = tuple(Source(place=one.place, quote=one.text) for one in trail.passages)
        lines = [f"“{one.text}” ({one.place})" for one in trail.passages]
        path = [{"quote": one.text, "place": one.place} for one in trail.passages]
        if trail.via:
            path[1]["via"] = trail.via
            lines[1] = f"{trail.via}: {lines[1]}"
        return Report(
            task_id=task_id_of(self.inputs), agent="researcher", outcome="done" if found >= SURE else "unverified",
            value={"answer": trail.passages[-1].text, "path": path, "missing": list(missing)},
            text="\n".join(lines), sources=sources, confidence=round(min(found, 1.0), 2), reasons=tuple(self.notes),
        )  # fmt: skip

    # -- what there is

    async def _passages(self) -> list[Passage]:
        """Everything that may be cited: files, pages that the words name, memory."""
        found: list[Passage] = []
        for path in await self._files():
            text = await self._read(path)
            self.texts[path] = text
            found += passages_of(text, path)
        for span in of_kind(self.task, "url"):
            found += await self._page(span.text)
        for one in statements(await self.process.recall(self.words, limit=MEMOS)):
            found.append(Passage(" ".join(one.text.split()), one.place, " ".join(sorted(one.around))))
        if not found:
            raise WorkFailed("There is no text here to look in.")
        return found

    async def _files(self) -> list[str]:
        given = [str(one) for one in self.inputs.get("files", ())]
        said = [one.text for one in of_kind(self.task, "path")]
        known = [place for report in earlier_of(self.inputs) for place in report.artifacts]
        files = [one for one in dict.fromkeys([*given, *said, *known]) if one.lower().endswith(TEXTS)]
        if files:
            return files[:MAX_FILES]
        folders = [one.rstrip("/") for one in said if one.endswith("/")] or ["."]
        found: list[str] = []
        looked = 0
        while folders and looked < MAX_FOLDERS:
            listed = await self.process.act("list_files", {"folder": folders.pop(0)})
            looked += 1
            for one in listed.value or ():
                if one["path"].rpartition("/")[2].startswith("."):
                    continue
                if one["kind"] == "folder":
                    folders.append(one["path"])
                elif one["path"].lower().endswith(TEXTS):
                    found.append(one["path"])
        if len(found) > MAX_FILES or folders:
            found = await self._likely(found)
        return found

    async def _likely(self, found: list[str]) -> list[str]:
        """Of many files those that have words of the question in them."""
        likely: list[str] = []
        for word in sorted(_words_of(self.words, asked_stems(self.words)), key=len, reverse=True)[:6]:
            hits = await self.process.act("search_files", {"text": word})
            likely += [one["path"] for one in hits.value or () if one["path"].lower().endswith(TEXTS)]
        self.notes.append("There are many files: I read those that have words of the question in them.")
        return list(dict.fromkeys([*likely, *found]))[:MAX_FILES]

    async def _read(self, path: str) -> str:
        """A file's text, as far as it is read."""
        text, start = "", 1
        for _ in range(PAGES):
            done = await self.process.act("read_file", {"path": path, "start": start})
            if done.failed or done.retry:
                self.notes.append(f"{path} could not be read: {done.text}")
                return text
            body, more, _ = done.text.rpartition("\n… goes on: read from start=")
            text += f"{body}\n" if more else done.text
            if not more:
                return text
            start = text.count("\n") + 1
        self.notes.append(f"Of {path} I read the first {start:,} lines.")
        return text

    async def _page(self, url: str) -> list[Passage]:
        try:
            done = await self.process.act("http_get", {"url": url})
        except (Denied, BadArguments) as error:
            self.notes.append(f"{url} was not read: {error.message}")
            return []
        if done.failed:
            self.notes.append(f"{url} was not read: {done.text}")
            return []
        self.texts[url] = done.text
        return passages_of(done.text, url, lines=False)

    # -- what answers

    def _trails(self, library: Library, asked: Sequence[str]) -> list[_Trail]:
        """Ways to an answer, best first."""
        found: list[_Trail] = []
        for first in library.search(asked, limit=FIRSTS):
            found.append(self._trail(library, asked, (first,), ""))
            for entity in entities(first.text):
                if entity.casefold() in self.words.casefold():
                    continue
                for second in library.naming(entity):
                    if second.place != first.place:
                        found.append(self._trail(library, asked, (first, second), entity))
        return sorted(found, key=lambda one: (-one.score, len(one.passages)))

    def _trail(self, library: Library, asked: Sequence[str], passages: tuple[Passage, ...], via: str) -> _Trail:
        said = frozenset[str]().union(*(one.stems() for one in passages))
        around = frozenset[str]().union(*(one.context() for one in passages))
        weight = sum(map(library.weight, asked)) or 1.0
        score = sum(library.weight(word) * (1.0 if word in said else 0.6) for word in asked if word in said | around)
        last = passages[-1]
        kind = _KIND * _is_of_kind(self.words, last.text.replace(via, "") if via else last.text)
        hop = HOP if via else 0.0
        missing = tuple(word for word in asked if word not in said | around)
        return _Trail(passages, via, score / weight + kind - hop, missing)

    async def _decided(self, trails: Sequence[_Trail]) -> _Trail:
        """The best way; where several are as good, the one whose end the model takes for the answer."""
        near = [one for one in trails if trails[0].score - one.score < NEAR]
        ends = list(dict.fromkeys(one.passages[-1].text for one in near))[:4]
        if len(ends) < 2:
            return trails[0]
        listed = "\n".join(ends)
        context = Context(messages=(Message("user", f"{listed}\n\nWhich of these answers: {self.words}"),))
        thought = await self.process.aside(context).think(choices=ends)
        return next(one for one in near if one.passages[-1].text == thought.value)


def _is_of_kind(words: str, text: str) -> bool:
    """Whether a text has the kind of thing that the question's own beginning asks for."""
    asked = " ".join(words.split()[:6])
    return has_kind(asked, text) or any(said.search(asked) and has.search(text) for said, has in _HAS)


def _without_places(task: str) -> str:
    for span in of_kind(task, "path", "url"):
        task = task[: span.start] + " " * (span.end - span.start) + task[span.end :]
    return task


def _words_of(words: str, stems: Iterable[str]) -> list[str]:
    """The question's own words for some stems."""
    wanted = set(stems)
    return [word for word in dict.fromkeys(words.replace("?", " ").split()) if set(asked_stems(word)) & wanted]


researcher = Worker(
    name="researcher",
    code=work,
    description="Answers questions from the files here, and from pages you name, with quotes and where they stand.",
    examples=(
        "According to the files here, who runs the depot where lamps are stored, and what is the number?",
        "Find in the notes when the person responsible for the contract is away",
        "What does the contract say about the notice period? Quote it.",
    ),
    effects=("reads", "external"),
    profile=Profile(tools=("http_get", "list_files", "read_file", "search_files")),
    check=Check(verifier="quotes_found"),
)
