"""Answers from memory by the assistant, on a scripted engine: cited, or not to be found; the same when replayed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from llmos import wire
from llmos.agents import jobs
from llmos.agents.answering import WRITES, asks, names_documents, names_texts
from llmos.agents.assistant import assistant
from llmos.agents.workers.researcher import researcher
from llmos.engine.scripted import ScriptedEngine
from llmos.kernel.calls import Label
from llmos.kernel.journal import Journal
from llmos.kernel.policy import DefaultPolicy
from llmos.kernel.protocols import Memo
from llmos.kernel.system import System, Task
from llmos.messages import Context, EngineInfo, Generate, Message, Microcode, Score
from llmos.tools.registry import load_tools

LEASE = Memo(
    "The lease of the flat ends on 31 March 2027.\nIt needs three months' notice, in writing.",
    "files",
    "notes/lease.md:3-4 § Lease",
    0.9,
)
GARDEN = Memo("The garden belongs to the ground floor.", "files", "house.pdf p. 4", 0.7)
NOT_THERE = "That is not in your documents."


@dataclass
class Documents:
    """A memory of a few texts, that gives them whatever is asked, unless it is about something else."""

    memos: tuple[Memo, ...] = (LEASE, GARDEN)
    asked: list[str] = field(default_factory=list[str])
    kept: list[tuple[str, Label]] = field(default_factory=list[tuple[str, Label]])

    async def remember(self, text: str, /, *, label: Label, source: str = "", key: str = "") -> None:
        self.kept.append((text, label))

    async def recall(self, query: str, /, *, limit: int = 5) -> tuple[Memo, ...]:
        self.asked.append(query)
        words = set(query.lower().replace("?", "").split())
        return tuple(
            one for one in self.memos if words & set(one.text.lower().split()) - {"the", "is", "of", "it", "to"}
        )

    async def holds(self) -> bool:
        return bool(self.memos)


class Large(ScriptedEngine):
    """A scripted engine that claims to be a large model."""

    @property
    def info(self) -> EngineInfo:
        return replace(super().info, parameters=WRITES)


@dataclass
class Desk:
    system: System
    store: Documents
    engine: ScriptedEngine
    run: str = ""

    async def ask(self, words: str, *before: Message) -> str:
        context = wire.encode(Context(messages=before)).decode() if before else ""
        child = self.system.start(
            Task(agent="assistant", arguments=(words,), context=context, workspace=str(self.system.run_folder("w")))
        )
        self.run = child.pid
        return str(await child.result())

    @property
    def kinds(self) -> list[str]:
        return [call.kind for call in self.system.journal.calls(self.run)]


MakeDesk = Callable[..., Desk]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[MakeDesk]:
    desks: list[Desk] = []

    def begin(store: Documents | None = None, engine: ScriptedEngine | None = None) -> Desk:
        chosen = engine or ScriptedEngine("I say something.")
        documents = store or Documents()

        async def get() -> ScriptedEngine:
            return chosen

        system = System(
            engine=get,
            journal=Journal(tmp_path / f"journal{len(desks)}"),
            folder=tmp_path / "runs",
            agents={"assistant": assistant, "researcher": researcher},
            tools=load_tools(),
            policy=DefaultPolicy(),
            store=documents,
        )
        desks.append(Desk(system, documents, chosen))
        return desks[-1]

    yield begin
    for desk in desks:
        await desk.system.close()
        desk.system.journal.close()


async def test_a_question_is_answered_with_the_sentence_and_its_line(make: MakeDesk) -> None:
    desk = make()
    assert await desk.ask("When does the lease of the flat end?") == (
        "The lease of the flat ends on 31 March 2027 [1].\n\n"
        "[1] notes/lease.md:3 “The lease of the flat ends on 31 March 2027.”"
    )
    assert desk.engine.requests == []


async def test_what_was_recalled_keeps_its_label(make: MakeDesk) -> None:
    desk = make(Documents((replace(LEASE, label="outside"),)))
    await desk.ask("When does the lease of the flat end?")
    (recalled,) = [one for one in desk.system.journal.calls(desk.run) if one.kind == "recall"]
    assert '"label":"outside"' in recalled.result


async def test_a_replay_gives_the_same_answer_without_memory_or_model(make: MakeDesk) -> None:
    desk = make()
    answer = await desk.ask("When does the lease of the flat end?")
    asked = len(desk.store.asked)
    assert await desk.system.replay(desk.run) == answer
    assert len(desk.store.asked) == asked


async def test_a_question_of_few_words_is_understood_from_the_one_before(make: MakeDesk) -> None:
    desk = make()
    before = (Message("user", "When does the lease of the flat end?"), Message("assistant", "On 31 March 2027."))
    assert (await desk.ask("And how much notice?", *before)).startswith(
        "It needs three months' notice, in writing [1]."
    )
    assert desk.store.asked == ["When does the lease of the flat end? And how much notice?"]


async def test_what_documents_are_asked_for_and_do_not_say_is_said_to_be_missing(make: MakeDesk) -> None:
    assert await make().ask("What do my documents say about quantum gravity?") == NOT_THERE


async def test_other_answers_are_said_to_be_the_models_own(make: MakeDesk) -> None:
    said = await make().ask("Who discovered quantum gravity?")
    assert said == f"{NOT_THERE} The model itself says:\nI say something."


async def test_without_documents_nothing_is_said_of_them(make: MakeDesk) -> None:
    assert await make(Documents(())).ask("Who discovered quantum gravity?") == "I say something."


@pytest.mark.parametrize("words", ["hello there", "what is 12% of 80?", "thanks, that was nice of you"])
async def test_talk_and_clear_calls_ask_no_memory(make: MakeDesk, words: str) -> None:
    desk = make()
    await desk.ask(words)
    assert desk.store.asked == []
    assert "recall" not in desk.kinds


RUNS = Memo("A run that is over stays on record for 90 days.", "files", "runs.md:7", 0.95)


@pytest.mark.parametrize(
    "words",
    ["How long does a run stay on record when it is over?", "why is a run on record, and how long does it stay there?"],
)
async def test_a_question_that_has_the_word_of_an_order_orders_nothing(make: MakeDesk, words: str) -> None:
    desk = make(Documents((RUNS,)))
    assert (await desk.ask(words)).startswith("A run that is over stays on record for 90 days [1].")
    assert "act" not in desk.kinds


@pytest.mark.parametrize("words", ["what does shopping.txt say?", "show me shopping.txt"])
async def test_a_file_that_is_named_is_read_and_not_looked_up_in_memory(make: MakeDesk, words: str) -> None:
    desk = make(Documents((Memo("What is in shopping.txt says milk.", "files", "tools.md:9", 0.95),)))
    (desk.system.run_folder("w") / "shopping.txt").write_text("Milk is out.")
    assert "Milk is out." in await desk.ask(words)
    assert desk.store.asked == []


async def test_where_a_tool_fits_as_well_memory_must_have_no_doubt(make: MakeDesk) -> None:
    words = "Which files are not read when a folder is added?"
    sure = Memo("When a folder is added, hidden files are not read.", "files", "a.md:1", 0.95)
    desk = make(Documents((sure,)))
    assert (await desk.ask(words)).startswith("When a folder is added, hidden files are not read [1].")
    doubtful = make(Documents((replace(sure, score=0.7),)))
    await doubtful.ask(words)
    assert "act" in doubtful.kinds


async def test_a_near_miss_is_no_answer(make: MakeDesk) -> None:
    said = await make().ask("Who painted the garden door green?")
    assert said.startswith(NOT_THERE)


async def test_of_equally_good_sentences_the_model_chooses(make: MakeDesk) -> None:
    first = Memo("The key is kept under the mat.", "files", "a.md:1", 0.8)
    other = Memo("The key is kept in the shed.", "files", "b.md:1", 0.8)

    def scores(request: Score) -> Sequence[float]:
        return [0.0 if "shed" in choice else -9.0 for choice in request.choices]

    desk = make(Documents((first, other)), ScriptedEngine("x", scores=scores))
    assert (await desk.ask("Where is the key kept?")).startswith("The key is kept in the shed [1].")


async def test_what_the_user_asks_to_remember_is_remembered(make: MakeDesk) -> None:
    desk = make()
    assert await desk.ask("Remember that I like window seats.") == "I keep that in mind."
    assert desk.store.kept == [("Remember that I like window seats.", "user")]


async def test_the_system_prompt_of_the_conversation_is_in_the_models(make: MakeDesk) -> None:
    desk = make(Documents(()))
    await desk.ask("Who are you?", Message("system", "The user likes window seats."))
    system = desk.engine.requests[-1].context.messages[0]
    assert system.role == "system"
    assert "The user likes window seats." in system.content


# -- a model that writes


def writer(*, quote: str = "", yes: float = 0.0) -> Large:
    """Writes an answer with a sentence that nobody said, quotes when it is told to, and judges."""

    def reply(request: Generate) -> str:
        asked = request.context.messages[-1].content
        if "Copy the words" in asked:
            return quote
        if "sailing" in asked:
            return "NOT THERE"
        return "The lease of the flat ends on 31 March 2027 [1]. Giving notice takes a quarter of a year."

    return Large(reply, scores=lambda request: [yes if choice == "yes" else -1.0 for choice in request.choices])


async def test_a_large_model_writes_and_what_no_source_says_is_marked(make: MakeDesk) -> None:
    said = await make(engine=writer()).ask("When does the lease of the flat end?")
    assert said.startswith(
        "The lease of the flat ends on 31 March 2027 [1]. Giving notice takes a quarter of a year. [?]"
    )
    assert said.endswith("[?] No source says this: it is the model's own.")


async def test_a_verbatim_quote_that_says_it_in_other_words_is_support(make: MakeDesk) -> None:
    desk = make(engine=writer(quote="It needs three months' notice", yes=5.0))
    said = await desk.ask("When does the lease of the flat end?")
    assert "Giving notice takes a quarter of a year [2]." in said
    assert "[2] notes/lease.md:4 “It needs three months' notice”" in said
    assert "[?]" not in said
    (asked,) = [one for one in desk.engine.requests if one.constraint is not None]
    assert asked.constraint is not None
    assert asked.constraint.kind == "grammar"


async def test_a_quote_that_the_model_does_not_stand_by_is_none(make: MakeDesk) -> None:
    desk = make(engine=writer(quote="It needs three months' notice", yes=-5.0))
    assert "[?]" in await desk.ask("When does the lease of the flat end?")


async def test_where_the_model_finds_nothing_the_sentences_are_quoted(make: MakeDesk) -> None:
    desk = make(Documents((Memo("The flat is for sailing people.", "files", "a.md:1", 0.9),)), writer())
    assert (await desk.ask("Who is the flat with sailing for?")).startswith("The flat is for sailing people [1].")


# -- the researcher


async def test_the_researcher_cites_memory_with_lines(make: MakeDesk) -> None:
    desk = make()
    task = Task(
        agent="researcher",
        arguments=("When does the lease of the flat end?",),
        workspace=str(desk.system.run_folder("empty")),
    )
    report = await desk.system.start(task).result()
    assert report["sources"][0] == {
        "place": "notes/lease.md:3",
        "quote": "The lease of the flat ends on 31 March 2027.",
    }


# -- what words ask


@pytest.mark.parametrize(
    ("words", "does"),
    [
        ("When does it end, the lease?", True),
        ("tell me about the lease", True),
        ("and who signs the lease", True),
        ("hello", False),
        ("what?", False),
        ("I moved to Leeds", False),
        ("is it? " + "word " * 90, False),
    ],
)
def test_only_questions_of_some_content_ask(words: str, does: bool) -> None:
    assert asks(words) is does


@pytest.mark.parametrize(
    ("words", "does"),
    [
        ("What do my notes say about the lease?", False),
        ("according to the readme, what is it", False),
        ("what does the documentation say", True),
        ("what's in all my documents on this", True),
    ],
)
def test_documents_are_named_by_words_for_them(words: str, does: bool) -> None:
    assert names_documents(words) is does
    assert names_texts(words)
    assert not names_texts("who wrote Hamlet?")


class Near(Documents):
    """A memory that finds by meaning: its texts are near whatever is asked."""

    async def recall(self, query: str, /, *, limit: int = 5) -> tuple[Memo, ...]:
        return self.memos


def reader(said: str, *, there: bool) -> ScriptedEngine:
    """A model with microcode that reads an answer out of passages, or finds that there is none."""

    def scores(request: Score) -> list[float]:
        likely = said if there else jobs.NOT_FOUND
        return [-0.1 if choice in (likely, jobs.ANSWER) else -9.0 for choice in request.choices]

    return ScriptedEngine(said, scores=scores, microcode=Microcode(name="kernel", prompts=jobs.fingerprint()))


async def test_a_passage_without_the_questions_words_is_read_by_microcode(make: MakeDesk) -> None:
    question = "Until when may we stay here?"
    desk = make(Near(), reader("31 March 2027 [1]", there=True))
    assert (await desk.ask(question)).startswith("The lease of the flat ends on 31 March 2027 [1].")
    form = desk.engine.requests[0].context.messages[0].content
    assert form == jobs.read([LEASE.text], question).messages[0].content
    other = make(Near(), reader("31 March 2027 [1]", there=False))
    assert "lease.md" not in await other.ask(question)
    plain = make(Near(), ScriptedEngine("I say something."))
    assert "lease.md" not in await plain.ask(question)
