"""What code sees of some work, for a model that judges it."""

from __future__ import annotations

import pytest

from llmos.agents.noticing import MOST, noticed


@pytest.mark.parametrize(
    ("work", "shape"),
    [
        ("It rained.", "1 sentence, 2 words"),
        ("Mrs. Kim met Dr. Diallo. It rained!", "2 sentences, 7 words"),
        ('["a", "b"]', "JSON list of 2"),
        ('{"a": 1}', "JSON object"),
        ('{"a": 1', "broken JSON"),
        ("[x for x in xs]", "5 words"),
        ("[" * 100_000, "1 word"),
        ("<p>one</p>", "XML"),
        ("- one\n- two", "bulleted list of 2"),
        ("1. one\n2. two", "numbered list of 2"),
        ("| a |\n|---|", "table of 2 lines"),
        ("one\ntwo", "2 lines"),
        ("one, two, three", "3 parts with commas"),
        ("result=4", "name and value"),
        ('"so it is"', "in quotes"),
        ("Tuesday", "1 word"),
        ("", "0 words"),
    ],
)
def test_the_shape_of_the_work_is_said(work: str, shape: str) -> None:
    assert noticed("t", work).partition(";")[0].removesuffix(", small letters") == shape


def test_case_and_questions_are_said() -> None:
    assert noticed("t", "LOUD WORDS").startswith("2 words, capitals;")
    assert noticed("t", "quiet words").startswith("2 words, small letters;")
    assert noticed("t", "Is it so?").startswith("1 sentence, 3 words, a question;")


def test_what_is_new_and_what_is_left_out_is_named() -> None:
    said = noticed("Both 56 and 17:50 are mentioned.", "The concert in Oslo has 56 seats.")
    assert said == "1 sentence, 7 words; new: Oslo, concert, seats; left out: 17:50, Both, mentioned"


def test_a_source_counts_as_known_and_what_is_missing_of_it_is_named() -> None:
    said = noticed("How many grams?", "It is 76,000 grams.", "calculator -> 76000.0")
    assert said == "1 sentence, 4 words; new: nothing; left out: nothing; left out of the source: calculator"


def test_endings_and_the_marks_of_a_list_make_no_difference() -> None:
    assert "new: nothing; left out: nothing" in noticed("list the apples", "1. apple\n2. lists")


def test_values_come_first_and_only_a_few_are_named() -> None:
    said = noticed("t", "blue seats near Oslo cost 12 coins every winter")
    assert f"new: 12, Oslo, blue, seats and {9 - MOST} more" in said
