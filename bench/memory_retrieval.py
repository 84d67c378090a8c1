"""How well the memory finds what is asked for, and what embedding costs: rows of `python -m bench memory`.

LoCoMo and SQuAD are read from the folder that `LLMOS_EVAL_DATA` names (`locomo*.json`, `squad*.json`); without it their
rows are skipped. Everything is found by the same `search` that an application calls: the kind of the items is all that
differs.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any, cast

from bench.report import Row, Skipped, paired
from llmos.memory.embedding import open_embedder
from llmos.memory.items import Filter, Kind, NewItem
from llmos.memory.protocols import Embedder
from llmos.memory.retrieval import Found, search
from llmos.memory.store import MemoryStore
from llmos.memory.vectors import VectorIndex

VARIABLE = "LLMOS_EVAL_DATA"
_TURN = re.compile(r"D\d+:\d+")
_TENANT = "bench"
_HERE = Path(__file__).parent
_INGESTED = 200  # passages

_COLD = """
import json, resource, sys
from pathlib import Path
from llmos.memory.embedding import open_embedder
from llmos.memory.items import Filter
from llmos.memory.retrieval import search
from llmos.memory.store import MemoryStore
from llmos.memory.vectors import VectorIndex
folder = Path(sys.argv[1])
embedder = open_embedder()
store = MemoryStore.open(folder)
index = VectorIndex.open(folder, store, embedder)
assert search(store, index, embedder, sys.argv[2], Filter(tenant="bench")).hits
used = resource.getrusage(resource.RUSAGE_SELF)
loaded = [name for name in ("torch", "sentence_transformers", "transformers") if name in sys.modules]
import psutil  # ru_maxrss would be at least what this process's parent had
print(json.dumps([used.ru_utime + used.ru_stime, psutil.Process().memory_info().rss / 1e6, loaded]))
"""


@dataclass(frozen=True, slots=True)
class Question:
    """A query and the keys of the items that answer it, none where nothing does."""

    words: str
    within: Filter
    right: frozenset[str]


class Corpus:
    """Items in a store and an index, made by `opened`."""

    def __init__(self, store: MemoryStore, index: VectorIndex, embedder: Embedder) -> None:
        self.store, self.index, self.embedder = store, index, embedder

    def search(self, question: Question, limit: int) -> Found:
        """As an application searches."""
        return search(self.store, self.index, self.embedder, question.words, question.within, limit=limit)

    def recall(self, questions: Sequence[Question], *places: int) -> list[float]:
        """The mean share of what is right among the first so many hits."""
        found = [[hit.item.key for hit in self.search(one, max(places)).hits] for one in questions]
        return [_recall(questions, [keys[:place] for keys in found]) for place in places]

    def words_alone(self, questions: Sequence[Question], place: int) -> float:
        """The same of the index of words."""
        return _recall(
            questions,
            [self._keys(self.store.matching(one.words, one.within, limit=place)) for one in questions],
        )

    def vectors_alone(self, questions: Sequence[Question], place: int) -> float:
        """The same of the index of vectors."""
        vectors = [self.embedder.embed([one.words], role="query")[0] for one in questions]
        pairs = zip(vectors, questions, strict=True)
        return _recall(
            questions, [self._keys(self.index.search(vector, one.within, limit=place)) for vector, one in pairs]
        )

    def _keys(self, found: Iterable[tuple[int, float]]) -> list[str]:
        return [item.key for item in self.store.get([id for id, _ in found])]


def _recall(questions: Sequence[Question], found: Iterable[Sequence[str]]) -> float:
    return fmean(len(one.right & set(keys)) / len(one.right) for one, keys in zip(questions, found, strict=True))


@cache
def embedder() -> Embedder:
    """The model that comes with llmos."""
    return open_embedder()


@contextmanager
def opened(items: Sequence[NewItem]) -> Generator[Corpus]:
    """A memory with some items."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        store = MemoryStore.open(Path(name))
        store.add(items)
        index = VectorIndex.open(Path(name), store, embedder())
        try:
            yield Corpus(store, index, embedder())
        finally:
            index.close()
            store.close()


def _item(kind: Kind, key: str, text: str, *, namespace: str = "", source: str = "") -> NewItem:
    return NewItem(
        tenant=_TENANT, kind=kind, text=text, label="files", key=key, namespace=namespace, source=source or namespace
    )


def _data(pattern: str) -> list[Any]:
    folder = os.environ.get(VARIABLE)
    if not folder:
        raise Skipped(f"rows on {pattern}: {VARIABLE} names no folder with it")
    found = sorted(Path(folder).glob(pattern))
    if not found:
        raise Skipped(f"rows on {pattern}: there is none in {folder!r}")
    return [json.loads(path.read_text(encoding="utf-8")) for path in found]


# -- conversations


def locomo() -> list[Row]:
    """LoCoMo: turns of long conversations, questions of the categories 1 to 4 with the turns that answer them."""
    conversations = [one for file in _data("locomo*.json") for one in file]
    items: list[NewItem] = []
    questions: list[Question] = []
    for number, one in enumerate(conversations):
        namespace = str(one.get("sample_id", number))
        turns = dict(_turns(one["conversation"], namespace))
        items += turns.values()
        for asked in one["qa"]:
            evidence = [turn for part in asked.get("evidence", ()) for turn in _TURN.findall(str(part))]
            right = frozenset(f"{namespace} {turn}" for turn in evidence if turn in turns)
            if right and asked["category"] != 5:
                questions.append(Question(asked["question"], Filter(tenant=_TENANT, namespaces=(namespace,)), right))
    with opened(items) as corpus:
        ours = corpus.recall(questions, 10)[0]
        words, vectors = corpus.words_alone(questions, 10), corpus.vectors_alone(questions, 10)
    name = f"LoCoMo, {len(conversations)} conversations: evidence recall@10"
    note = f"{len(questions)} questions of categories 1 to 4; vectors alone {vectors:.3f}"
    return [
        Row(name=name, value=ours, unit="", goal="≥ 0.75", note=note),
        Row(
            name="… more than words alone",
            value=ours,
            unit="",
            peer="FTS5",
            peer_value=words,
            ratio=ours - words,
            goal="≥ 0.10",
            note="ratio is the difference",
        ),
    ]


def _turns(conversation: Mapping[str, Any], namespace: str) -> Generator[tuple[str, NewItem]]:
    """Turns by their id, as a reader of chats gives them: who, what, and what is on a picture that was sent."""
    sessions = sorted((name for name in conversation if re.fullmatch(r"session_\d+", name)), key=_number)
    for session in sessions:
        for turn in conversation[session]:
            picture = f" [image: {turn['blip_caption']}]" if turn.get("blip_caption") else ""
            text = f"{turn['speaker']}: {turn['text']}{picture}"
            key, source = f"{namespace} {turn['dia_id']}", f"{namespace} {session}"
            yield turn["dia_id"], _item("episode", key, text, namespace=namespace, source=source)


def _number(name: str) -> int:
    return int(name.rpartition("_")[2])


# -- documents


def squad() -> list[Row]:
    """SQuAD: which paragraph of all answers a question."""
    articles = [article for file in _data("squad*.json") for article in file["data"]]
    paragraphs = [(article["title"], one) for article in articles for one in article["paragraphs"]]
    items = [_item("passage", str(n), one["context"], source=title) for n, (title, one) in enumerate(paragraphs)]
    anywhere = Filter(tenant=_TENANT)
    asked = [(n, one) for n, (_, paragraph) in enumerate(paragraphs) for one in paragraph["qas"]]
    answered = [Question(one["question"], anywhere, frozenset({str(n)})) for n, one in asked if _has_answer(one)]
    with opened(items) as corpus:
        first, fifth = corpus.recall(answered, 1, 5)
        note = f"{len(answered)} questions; vectors alone {corpus.vectors_alone(answered, 1):.3f}"
        words = corpus.words_alone(answered, 1)
        absent = _told_absent(corpus, paragraphs, asked[::10])
    name = f"SQuAD, {len(items)} paragraphs"
    return [
        Row(name=f"{name}: recall@1", value=first, unit="", peer="FTS5", peer_value=words, goal="≥ 0.80", note=note),
        Row(name=f"{name}: recall@5", value=fifth, unit="", goal="≥ 0.95"),
        *absent,
    ]


def _has_answer(question: Mapping[str, Any]) -> bool:
    return not question.get("is_impossible", False)


def _told_absent(
    corpus: Corpus, paragraphs: Sequence[tuple[str, Any]], asked: Sequence[tuple[int, Mapping[str, Any]]]
) -> list[Row]:
    """How often "nothing relevant" is said: with the article left out, with it, with it but without an answer."""
    titles = tuple(dict.fromkeys(title for title, _ in paragraphs))
    said: dict[str, list[float]] = {"left out": [], "there": [], "without": []}
    for number, one in asked:
        own = paragraphs[number][0]
        others = Filter(tenant=_TENANT, sources=tuple(title for title in titles if title != own))
        everywhere = Question(one["question"], Filter(tenant=_TENANT), frozenset())
        said["there" if _has_answer(one) else "without"].append(float(not corpus.search(everywhere, 5).relevant))
        if _has_answer(one):
            elsewhere = Question(one["question"], others, frozenset())
            said["left out"].append(float(not corpus.search(elsewhere, 5).relevant))
    means = {name: fmean(values) if values else 0.0 for name, values in said.items()}
    return [
        Row(
            name="SQuAD: “nothing relevant” where the article is not there",
            value=means["left out"],
            unit="",
            note=f"where it is there {means['there']:.3f}; of the unanswerable questions on it {means['without']:.3f}: "
            "what is relevant need not have the answer",
        )
    ]


# -- people


def preferences() -> list[Row]:
    """A user with twenty preferences, and requests for which one of them matters."""
    people = cast("list[dict[str, Any]]", tomllib.loads(_text("preferences.toml"))["user"])
    others = [one for one in cast("list[dict[str, Any]]", _own()["people"]) if one["preferences"]]
    items: list[NewItem] = []
    asked: dict[str, list[Question]] = {"requests": [], "wishes": [], "questions": []}
    for number, one in enumerate(people):
        within = Filter(tenant=_TENANT, namespaces=(f"user {number}",))
        items += [_item("preference", f"u{number} {n}", t, namespace=f"user {number}") for n, t in _list(one)]
        asked["requests"] += [
            Question(words, within, frozenset({f"u{number} {right}"})) for right, words in one["requests"]
        ]
    for number, one in enumerate(others):
        within = Filter(tenant=_TENANT, namespaces=(f"own {number}",))
        for n, (text, request, question) in _list(one):
            items.append(_item("preference", f"o{number} {n}", text, namespace=f"own {number}"))
            for name, words in (("wishes", request), ("questions", question)):
                asked[name].append(Question(words, within, frozenset({f"o{number} {n}"})))
    with opened(items) as corpus:
        first, third = corpus.recall(asked["requests"], 1, 3)
        vectors = corpus.vectors_alone(asked["requests"], 3)
        words = corpus.words_alone(asked["requests"], 3)
        rest = {name: corpus.recall(asked[name], 3)[0] for name in ("wishes", "questions")}
    return [
        Row(
            name=f"20 preferences, {len(asked['requests'])} requests: recall@3",
            value=third,
            unit="",
            peer="vectors alone",
            peer_value=vectors,
            goal="≥ 0.94",
            note=f"recall@1 {first:.3f}; words alone {words:.3f}",
        ),
        Row(
            name="the set that weights were chosen on: recall@3",
            value=rest["wishes"],
            unit="",
            note=f"requests; of questions about a preference {rest['questions']:.3f}",
        ),
    ]


def _list(person: Mapping[str, Any]) -> Iterable[tuple[int, Any]]:
    return enumerate(cast("list[Any]", person["preferences"]))


# -- nothing relevant


def nothing_relevant() -> list[Row]:
    """On the texts that come with the benchmark: how often a question with an answer has hits that are said to be
    relevant, and one without an answer none."""
    items, answered, unanswered = own_texts()
    with opened(items) as corpus:
        kept = fmean(float(corpus.search(one, 5).relevant) for one in answered)
        empty = fmean(float(not corpus.search(one, 5).relevant) for one in unanswered)
    return [
        Row(name=f"{len(answered)} questions with an answer: relevant", value=kept, unit=""),
        Row(
            name=f"{len(unanswered)} without: “nothing relevant”",
            value=empty,
            unit="",
            note="on the same subjects, which is the hardest case; the set on which the threshold was chosen",
        ),
    ]


def own_texts() -> tuple[list[NewItem], list[Question], list[Question]]:
    """Passages, turns and facts of `retrieval.toml`, and questions with and without an answer among them."""
    data = _own()
    items: list[NewItem] = []
    answered: list[Question] = []
    unanswered: list[Question] = []
    groups: tuple[tuple[Kind, str, Callable[[Mapping[str, Any]], list[str]]], ...] = (
        ("passage", "documents", lambda one: list(one["passages"])),
        ("episode", "conversations", lambda one: [f"{who}: {what}" for who, what in one["turns"]]),
        ("fact", "people", lambda one: [text for text, _ in one.get("facts", ())]),
    )
    for kind, group, texts in groups:
        within = Filter(tenant=_TENANT, kinds=(kind,))
        for number, one in enumerate(data[group]):
            source = f"{group} {number}"
            items += [_item(kind, f"{source} {n}", text, source=source) for n, text in enumerate(texts(one))]
            facts = [[words, n] for n, (_, words) in enumerate(one.get("facts", ()))]
            asked: list[Any] = one.get("asked") or facts
            answered += [Question(words, within, frozenset({f"{source} {right}"})) for words, right in asked]
            unanswered += [Question(words, within, frozenset()) for words in one.get("missing", ())]
    return items, answered, unanswered


def _own() -> dict[str, Any]:
    return tomllib.loads(_text("retrieval.toml"))


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


# -- what it costs


def cold_open() -> list[Row]:
    """A new process opens the memory and the model, and searches once."""
    items, answered, _ = own_texts()
    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        store = MemoryStore.open(Path(name))
        store.add(items)
        index = VectorIndex.open(Path(name), store, embedder())
        index.save()
        index.close()
        store.close()
        runs = [_cold(name, answered[0].words) for _ in range(3)]
    seconds, megabytes, loaded = min(runs, key=lambda run: run[0])
    return [
        Row(name="cold open and first query", value=seconds, unit="CPU-s", goal="≤ 0.6 CPU-s", note="best of 3"),
        Row(
            name="… memory of the process",
            value=megabytes,
            unit="MB",
            goal="≤ 500 MB",
            note=f"loaded: {', '.join(loaded)}" if loaded else "torch is not loaded",
        ),
    ]


def _cold(folder: str, words: str) -> tuple[float, float, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", _COLD, folder, words], capture_output=True, text=True, timeout=300, check=True
    )
    seconds, megabytes, loaded = json.loads(done.stdout)
    return seconds, megabytes, loaded


def ingest_with_embedding() -> list[Row]:
    """Passages are stored, embedded and indexed, against embedding them alone."""
    passages = [text for one in _own()["documents"] for text in one["passages"]]
    rounds = iter(range(1000))

    def texts() -> list[str]:
        salt = next(rounds)  # nothing that is measured was embedded before
        return [f"{passages[n % len(passages)]} {passages[n * 7 % len(passages)]} {salt}" for n in range(_INGESTED)]

    def ingest() -> float:
        some = texts()
        with TemporaryDirectory(ignore_cleanup_errors=True) as name:
            store = MemoryStore.open(Path(name))
            index = VectorIndex.open(Path(name), store, embedder())
            start = time.perf_counter()
            store.add([_item("passage", str(n), text) for n, text in enumerate(some)])
            index.refresh()
            seconds = time.perf_counter() - start
            index.close()
            store.close()
        return len(some) / seconds

    def embed() -> float:
        some = texts()
        start = time.perf_counter()
        embedder().embed(some)
        return len(some) / (time.perf_counter() - start)

    note = "stored, indexed by words and by vectors, durable"
    return [paired(ingest, embed, 3).row("ingest with embedding", "texts/s", "the embedder alone", "≥ 0.9", note=note)]
