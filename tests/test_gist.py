"""A summary made of sentences: nothing is invented, nothing is too long, and what a text is about is in it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmos.agents.answers import gist_of, wants_gist
from llmos.gist import gist

SENTENCES = ["The mill burned down.", "It rained.", "The owner of the mill rebuilt the mill.", "Cows slept nearby."]


def content(sentence: str) -> list[str]:
    return [word.strip(".").lower() for word in sentence.split() if len(word) > 3]


@given(st.lists(st.sampled_from(SENTENCES) | st.text(max_size=30), max_size=8), st.integers(0, 40), st.integers(0, 4))
def test_sentences_stay_as_they_are_and_in_order(sentences: list[str], words: int, most: int) -> None:
    taken = gist(sentences, content, words=words, most=most)
    places = [sentences.index(one) for one in taken]
    assert places == sorted(places)
    assert len(set(taken)) == len(taken) <= most
    assert sum(len(one.split()) for one in taken) <= words


def test_what_is_spoken_of_most_is_taken() -> None:
    assert gist(SENTENCES, content, words=40, most=1) == ["The owner of the mill rebuilt the mill."]
    assert gist(SENTENCES, content, words=40, most=1, first=True) == [SENTENCES[0]]


def test_as_many_sentences_are_given_as_are_asked_for() -> None:
    text = "# Mill\n\n" + " ".join(SENTENCES)
    assert gist_of("in one sentence please", text) == SENTENCES[0]
    assert len(gist_of("give me 2 lines", text).split(". ")) == 2
    assert gist_of("sum it up", "") == ""


def test_a_gist_is_told_from_a_question() -> None:
    assert wants_gist("sum the file up for me")
    assert wants_gist("what is mill.md about?")
    assert wants_gist("TL;DR of mill.md")
    assert not wants_gist("what does mill.md say about cows?")
    assert not wants_gist("what is the sum of 3 and 4?")
    assert not wants_gist("read mill.md")
