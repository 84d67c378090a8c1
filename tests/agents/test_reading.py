"""Of many passages those are read that are about the question."""

from __future__ import annotations

from llmos.agents.reading import SHOWN, nearest, parts

PASSAGES = (
    "The kiln is lit at noon. It burns oak.",
    "Invoice INV-098 names no seller. It is due in May.",
    "Invoice INV-77 comes from the firm Northgate. It is due in June.",
    "The harbour closes at six. Boats stay outside.",
)


def test_the_passage_with_the_words_comes_first() -> None:
    assert nearest("When does the harbour close?", PASSAGES, None)[0] == 3
    assert len(nearest("When does the harbour close?", PASSAGES, None)) == SHOWN


def test_a_number_stands_for_itself() -> None:
    assert nearest("Who sent invoice INV-098?", PASSAGES, None)[0] == 1
    assert nearest("Who sent invoice INV-77?", PASSAGES, None)[0] == 2


def test_meaning_finds_what_has_no_word_in_common() -> None:
    assert nearest("What is the oven fired with?", PASSAGES, {"0": 0.6, "1": 0.1, "2": 0.1, "3": 0.2})[0] == 0


def test_a_passage_is_compared_sentence_by_sentence() -> None:
    assert parts(["One is here. Two is there.\n\nThree.", "a list without an end"]) == {
        "0": ("One is here.", "Two is there.", "Three."),
        "1": ("a list without an end",),
    }


def test_fewer_passages_than_are_shown_are_all_there() -> None:
    assert nearest("What?", PASSAGES[:1], None) == [0]
    assert nearest("What?", (), None) == []
