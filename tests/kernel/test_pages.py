"""The window as pages: which there are, what the model sees, what is left out and brought back. No engine."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.kernel.pages import Book, Change, Copy, Mark, PageTable, hash_of, pages_of
from llmos.kernel.paging_plan import LOW_WATER, Need, asked_page, decide
from llmos.kernel.paging_words import Rarity, blocks_of, cut, in_brief, sentences_of, words_of
from llmos.messages import Context, Message, ToolCall, ToolSpec

WINDOW = 1000
CALL = Message("assistant", tool_calls=(ToolCall("read", {"path": "a.txt"}),))


def turn(number: int, words: str = "") -> tuple[Message, Message]:
    question = words or f"Question {number} speaks of subject{number} at some length."
    return Message("user", question), Message("assistant", f"Answer {number} says little of matter{number}.")


def talk(turns: int, *, system: str = "Be brief.") -> Context:
    messages = [Message("system", system)] if system else []
    for number in range(1, turns + 1):
        messages += turn(number)
    return Context(messages=tuple(messages))


def book_of(context: Context, table: PageTable | None = None, *, window: int = WINDOW) -> Book:
    return Book(context, table or PageTable(), window=window)


def fitted(context: Context, room: int, table: PageTable | None = None, *, fresh: int = 0) -> tuple[Book, Change]:
    before = book_of(context, table)
    change = decide(before, Need(room=room, fresh=fresh, label="files"))
    return book_of(context, before.table.apply(change)), change


# -- pages


def test_a_turn_is_a_page_and_a_call_with_its_results_another() -> None:
    messages = (
        Message("system", "Be brief."),
        Message("system", "The user is called Ada."),
        Message("user", "Read it."),
        CALL,
        Message("tool", "contents", name="read"),
        Message("assistant", "It says contents."),
        *turn(2),
    )
    pages = pages_of(Context(messages=messages, tools=(ToolSpec("read"),)), PageTable())
    assert [(page.kind, page.turn, page.stop - page.start, page.pinned) for page in pages] == [
        ("tools", 0, 0, True),
        ("system", 0, 1, True),
        ("profile", 0, 1, True),
        ("conversation", 1, 1, False),
        ("scratch", 1, 2, False),
        ("conversation", 1, 1, False),
        ("conversation", 2, 2, False),
    ]


def test_a_page_keeps_its_id_when_its_answer_comes_and_equal_ones_are_told_apart() -> None:
    question = Context(messages=(Message("user", "Yes."),))
    first = pages_of(question, PageTable())
    answered = pages_of(question.add(Message("assistant", "Good."), Message("user", "Yes.")), PageTable())
    assert answered[0].id == first[0].id == hash_of(Message("user", "Yes."))
    assert len({page.id for page in answered}) == 2


def test_marks_say_what_a_page_is() -> None:
    context = Context(messages=(Message("user", "A manual."), *turn(1)))
    page = pages_of(context, PageTable())[0].id
    table = PageTable().mark(page, Mark(kind="retrieved", owner="memory", pinned=True, label="files"))
    first, second = pages_of(context, table)
    assert (first.kind, first.owner, first.pinned, first.label, first.turn) == (
        "retrieved", "memory", True, "files", 0
    )  # fmt: skip
    assert (second.kind, second.turn) == ("conversation", 1)


# -- what the model sees


def test_without_gaps_the_model_sees_the_context_itself() -> None:
    context = talk(3)
    assert book_of(context).view() is context


def test_a_gap_is_a_note_that_says_how_much_is_left_out_and_what_it_was_about() -> None:
    context = talk(5)
    gone = [page.id for page in book_of(context).pages[2:4]]
    view = book_of(context, PageTable().apply(Change(evict=tuple(gone)))).view()
    assert [message.role for message in view.messages] == [
        "system", "user", "assistant", "user", "user", "assistant", "user", "assistant"
    ]  # fmt: skip
    note = view.messages[3].content
    assert note.startswith("[… 2 earlier turns (2-3) left out: ask about them. In brief: (2) Question 2")
    assert "subject3" in note


def test_steps_that_are_left_out_are_called_steps() -> None:
    context = Context(messages=(Message("user", "Read."), CALL, Message("tool", "x " * 50), *turn(2)))
    scratch = book_of(context).pages[1]
    view = book_of(context, PageTable().apply(Change(evict=(scratch.id,))), window=16).view()
    assert view.messages[1] == Message("user", "[… 1 earlier step of turn 1 left out]")


def test_the_note_changes_only_when_more_is_left_out() -> None:
    book, _ = fitted(talk(40), 600)
    more = book_of(book.context.add(*turn(41), *turn(42)), book.table)
    shown = len(book.view().messages)
    assert more.view().messages[:shown] == book.view().messages


def test_a_note_of_another_view_is_never_left_out_itself() -> None:
    view = fitted(talk(40), 600)[0].view()
    kinds = [page.kind for page in pages_of(view, PageTable())]
    assert kinds.count("note") == 1
    again, _ = fitted(view, 300)
    assert any("earlier turns" in message.content for message in again.view().messages)


# -- what is decided


def test_what_fits_is_left_alone() -> None:
    context = talk(5)
    assert not decide(book_of(context), Need(room=5000))


def test_a_full_window_is_emptied_to_the_low_water_mark_at_once() -> None:
    room = 600
    book, change = fitted(talk(40), room)
    resident = sum(page.tokens for page in book.pages if page.resident)
    assert resident <= LOW_WATER * room
    assert len(change.evict) > 10
    left = [page.turn for page in book.pages if page.resident and page.turn]
    assert left == list(range(min(left), 41)), "the newest turns stay"
    context = book.context
    for number in range(41, 43):
        context = context.add(*turn(number))
        again = decide(book_of(context, book.table), Need(room=room, fresh=len(context.messages)))
        assert not again.evict, "what was made room for is used before more goes"


def test_large_old_results_go_before_small_turns() -> None:
    messages = [*talk(3).messages, CALL, Message("tool", "row " * 600), *talk(6, system="").messages]
    book, change = fitted(Context(messages=tuple(messages)), 800)
    (gone,) = [page for page in book.pages if page.id in change.evict]
    assert gone.kind == "scratch"


def test_what_a_message_is_about_comes_back_beside_it_with_its_turn() -> None:
    facts = talk(2).add(*turn(3, "The code of the harbor gate is 4711."))
    context = Context(messages=(*facts.messages, *talk(60, system="").messages))
    book, _ = fitted(context, 700)
    assert not book.pages[3].resident
    asked = context.add(Message("user", "What was the code of the harbor gate?"))
    again, change = fitted(asked, 700, book.table, fresh=len(context.messages))
    assert change.copies == (Copy(book.pages[3].id),)
    *_, copy, question = again.view().messages
    assert question.content == "What was the code of the harbor gate?"
    assert copy.content.startswith("[Turn 3, brought back for what comes next:\nuser: The code of the harbor gate is")
    assert again.table.faults == 1
    later = asked.add(Message("assistant", "4711."), Message("user", "Is the harbor gate code 4711 still right?"))
    kept, change = fitted(later, 700, again.table, fresh=len(asked.messages) + 1)
    assert not change.copies, "it stands in the window already"
    assert kept.table.hits >= 1


def test_a_turn_that_is_named_comes_back() -> None:
    book, _ = fitted(talk(60), 600)
    asked = book.context.add(Message("user", "Go back to turn 7, please."))
    _, change = fitted(asked, 600, book.table, fresh=len(asked.messages) - 1)
    pages = {page.id: page.turn for page in book.pages}
    assert [pages[copy.page] for copy in change.copies] == [7]


def test_words_that_are_everywhere_bring_nothing_back() -> None:
    book, _ = fitted(talk(60), 600)
    asked = book.context.add(Message("user", "Question and answer of some length, it says little?"))
    assert not fitted(asked, 600, book.table, fresh=len(asked.messages) - 1)[1].copies


def test_of_a_page_that_is_too_large_the_part_that_matters_comes_back() -> None:
    filler = " ".join(f"Paragraph {number} is about thing{number} and others." for number in range(200))
    manual = f"{filler} The valve of the boiler must be closed by hand. {filler}"
    context = Context(messages=(Message("user", manual), Message("assistant", "Read."), *talk(20).messages))
    book, _ = fitted(context, 700)
    asked = context.add(Message("user", "What about the valve of the boiler?"))
    again, change = fitted(asked, 700, book.table, fresh=len(context.messages))
    assert change.copies[0].limit
    copy = again.view().messages[-2].content
    assert "in part" in copy
    assert "valve of the boiler must be closed by hand" in copy
    assert len(copy) < 700


def test_everything_comes_back_when_the_window_is_larger() -> None:
    book, _ = fitted(talk(40), 600)
    again, change = fitted(book.context, 5000, book.table)
    assert change.restore
    assert again.view() is book.context


def test_what_is_pinned_stays_and_comes_back_when_it_was_out() -> None:
    context = talk(40)
    second = book_of(context).pages[2].id
    table = PageTable().mark(second, Mark(pinned=True))
    book, _ = fitted(context, 600, table)
    assert book.pages[2].resident
    out = book_of(context, fitted(context, 600)[0].table.mark(second, Mark(pinned=True)))
    assert out.pages[2].resident


def test_what_was_left_out_of_another_context_is_not_left_out_of_a_question() -> None:
    book, _ = fitted(talk(40), 600)
    again = Context(messages=(Message("user", book.context.messages[1].content),))
    change = decide(book_of(again, book.table), Need(room=book_of(again).pages[0].tokens + 1))
    assert change.stay == (book.pages[1].id,)
    assert book_of(again, book.table.apply(change)).view() is again


def test_pages_that_are_gone_are_forgotten_and_the_rest_survives_as_json() -> None:
    book, _ = fitted(talk(40), 600)
    table = book.table.of(book.context.messages[:11])
    assert len(table.evicted) == 5
    assert PageTable.from_json(json.loads(json.dumps(book.table.to_json()))) == book.table
    assert book.table.marks[book.pages[1].id].label == "files"


@pytest.mark.parametrize(
    "data", [[], "x", {"evicted": 3}, {"evicted": [1]}, {"marks": {"a": {"label": "mine"}}}, {"copies": {"a": [["b"]]}}]
)
def test_a_table_that_cant_be_read_is_refused(data: object) -> None:
    with pytest.raises(ValueError, match="pages"):
        PageTable.from_json(data)


# -- words


def test_words_are_compared_without_case_and_plural() -> None:
    assert words_of("The GATES of a Harbor-gate, glass: 7") == {"the", "gate", "of", "harbor", "glass", "7"}
    assert words_of("東京都の港") == {"東京", "京都", "都の", "の港"}


@given(st.text(max_size=300), st.integers(0, 100))
def test_a_cut_text_is_never_longer_than_its_limit(text: str, limit: int) -> None:
    text = text.encode("utf-8", "ignore").decode()
    assert len(cut(text, limit).encode()) <= max(limit, 3)


@given(st.lists(st.text(max_size=120), max_size=8), st.integers(0, 300))
def test_a_brief_is_made_of_sentences_and_fits(texts: list[str], limit: int) -> None:
    texts = [text.encode("utf-8", "ignore").decode() for text in texts]
    brief = in_brief(tuple((f"({number})", text) for number, text in enumerate(texts)), limit)
    assert len(brief.encode()) <= limit
    sentences = {sentence for text in texts for sentence in sentences_of(text)}
    assert not brief or any(sentence in brief for sentence in sentences)


def test_a_brief_prefers_names_and_numbers_and_does_not_repeat_itself() -> None:
    texts = (
        ("(1)", "Well, that would certainly be something worth considering eventually. It costs 1,840 at Ravenna."),
        ("(2)", "It costs 1,840 at Ravenna."),
    )
    assert in_brief(texts, 40) == "(1) It costs 1,840 at Ravenna."


@given(st.text(max_size=400))
def test_blocks_hold_every_word_of_a_text(text: str) -> None:
    words = frozenset[str]().union(*(words for _, words in blocks_of(text)))
    assert words_of(" ".join(sentences_of(text))) == words


def test_relevance_needs_a_rare_word() -> None:
    rarity = Rarity([*(f"the thing is number {number}" for number in range(30)), "the harbor is far"])
    assert rarity.relevance(words_of("where is the harbor"), "the harbor is far") > 0.3
    assert rarity.relevance(words_of("what is the thing"), "the thing is number 4") == 0.0


# -- what always holds

WORDS = st.sampled_from(["harbor", "gate", "boiler", "valve", "ravenna", "turn 2", "the", "thing", "x " * 200])
TEXTS = st.lists(WORDS, min_size=1, max_size=6).map(" ".join)
STEPS = st.one_of(
    st.tuples(st.just("user"), TEXTS),
    st.tuples(st.just("assistant"), TEXTS),
    st.tuples(st.just("tool"), TEXTS),
    st.tuples(st.just("pin"), TEXTS),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(STEPS, max_size=8), max_size=8), st.integers(60, 900), st.booleans())
def test_whatever_is_said_the_window_holds_and_nothing_is_lost(
    rounds: list[list[tuple[str, str]]], room: int, system: bool
) -> None:
    context = Context(messages=(Message("system", "Be brief."),) if system else ())
    table = PageTable()
    for number, steps in enumerate(rounds):
        fresh = len(context.messages)
        for role, text in steps:
            if role == "pin":
                context = context.add(Message("user", text[:60]))
                table = table.mark(pages_of(context, table)[-1].id, Mark(kind="retrieved", pinned=True))
            elif role == "tool":
                context = context.add(CALL, Message("tool", text, name="read"))
            else:
                context = context.add(Message("user" if role == "user" else "assistant", text))
        context = context.add(Message("user", f"{number} {steps[0][1][:80] if steps else 'go on'}"))
        before = book_of(context, table)
        change = decide(before, Need(room=room, fresh=fresh))
        assert Change.from_json(json.loads(json.dumps(change.to_json()))) == change
        assert decide(book_of(context, table), Need(room=room, fresh=fresh)) == change
        table = table.apply(change)
        check(book_of(context, table), before, room)


def check(book: Book, before: Book, room: int) -> None:
    asked = asked_page(book)
    assert asked is not None
    kept = [page for page in book.pages if page.pinned or page.id in (asked.id, book.pages[-1].id)]
    assert all(page.resident for page in kept)
    view = list(book.view().messages)
    if sum(page.tokens for page in kept) + 48 * (len(kept) + 1) + book.summary_tokens <= room:
        assert sum(page.tokens for page in pages_of(book.view(), PageTable())) <= room
    said = [message for page in book.pages if page.resident for message in book.messages(page)]
    own = [message for message in view if not re.match(r"\[(… |Turn )", message.content)]
    assert own == said, "the order is kept, and each page is in its place once"
    gone = [page for page in book.pages if not page.resident]
    assert len(view) - len(own) >= len(book.gaps()) >= (1 if gone else 0)
    assert [page.id for page in book.pages] == [page.id for page in before.pages]
    assert sorted([*said, *(message for page in gone for message in book.messages(page))], key=hash_of) == sorted(
        book.context.messages, key=hash_of
    ), "nothing is lost"
